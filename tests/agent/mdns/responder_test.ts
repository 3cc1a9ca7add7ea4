import { assert, assertEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import type { Link } from "@degu/internal/agent/mdns/links.ts";
import type { Incoming, KnownRecord } from "@degu/internal/agent/mdns/packet.ts";
import { Responder } from "@degu/internal/agent/mdns/responder.ts";
import {
  instanceName,
  SERVICE,
  type Service,
  uniqueRecords,
} from "@degu/internal/agent/mdns/service.ts";
import { announceCamera, idOf, loopbackNetwork, Stranger } from "@degu/testing/mdns.ts";
import { within } from "@degu/testing/raw_peer.ts";

const CAMERA: Service = { name: "camera", id: idOf("c"), port: 7443 };
const OTHER: Service = { name: "camera", id: idOf("d"), port: 7443 };

const named = ({ announced }: { announced: Promise<string> }) => within(announced, "announced");
const isResponse = ({ type }: Incoming) => type === "response";

/** A device that has been announced, and a stranger who has heard that. */
async function announcedCamera(): Promise<{ stranger: Stranger } & AsyncDisposable> {
  await using resources = new AsyncDisposableStack();
  const network = await loopbackNetwork();
  const stranger = resources.use(await Stranger.join(network));
  await named(resources.use(announceCamera(network)));
  await stranger.hearsMany("both announcements", isResponse, 2);
  const owned = resources.move();
  return { stranger, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

Deno.test("many queries get one response a second, and those about others none", async () => {
  await using both = await announcedCamera();
  const { stranger } = both;
  const from = stranger.heard.length;
  const started = performance.now();
  for (let i = 0; i < 50; i++) {
    await stranger.query({ questions: [{ name: "_ipp._tcp.local", type: "PTR" }] });
    await stranger.query({ questions: [{ name: SERVICE, type: "PTR" }] });
  }
  await stranger.hears("a response", isResponse, from);
  await stranger.query({ questions: [{ name: SERVICE, type: "PTR" }] });
  await stranger.hears("one more", isResponse, stranger.heard.length);
  const seconds = (performance.now() - started) / 1000;
  const responses = stranger.heard.slice(from).filter(isResponse).length;
  assert(responses <= 1 + Math.ceil(seconds), `${responses} responses in ${seconds} s`);
});

Deno.test("a device that is about to claim the name is told at once", async () => {
  await using both = await announcedCamera();
  const { stranger } = both;
  const from = stranger.heard.length;
  const questions = [{ name: instanceName(CAMERA), type: "ANY" }];
  await stranger.query({ questions, authorities: uniqueRecords(OTHER) });
  await stranger.hears("a defense", isResponse, from);
});

/** A query, as it is received. */
const query = (name: string, type: string, answers: KnownRecord[] = []): Incoming => {
  return { type: "query", questions: [{ name, type }], answers, authorities: [], additionals: [] };
};

/** A link that counts what is sent on it: the parts of one that a responder uses. */
function countingLink(): { link: Link; sent: () => number } {
  let count = 0;
  const respond = () => Promise.resolve(void count++);
  return { link: { addresses: [], respond } as unknown as Link, sent: () => count };
}

Deno.test("queries for others, or from a device with a fresh record, get no response; queries for its name do", () => {
  const known = { name: SERVICE, type: "PTR", ttl: 4500, data: instanceName(CAMERA) } as const;
  const cases: [Incoming, number][] = [
    [query(SERVICE, "PTR"), 1],
    [query(SERVICE, "PTR", [known]), 0],
    [query(instanceName(CAMERA), "SRV", [known]), 1],
    [query("_ipp._tcp.local", "PTR"), 0],
    [query("other._degu._tcp.local", "ANY"), 0],
  ];
  for (const [packet, expected] of cases) {
    using time = new FakeTime();
    using responder = new Responder(CAMERA);
    const { link, sent } = countingLink();
    responder.answer(packet, link);
    assertEquals(sent(), 0); // not at once: others may answer, too
    time.tick(120);
    assertEquals(sent(), expected);
  }
});

Deno.test("there is a second between two responses", () => {
  using time = new FakeTime();
  using responder = new Responder(CAMERA);
  const { link, sent } = countingLink();
  for (const [wait, expected] of [[120, 1], [700, 1], [310, 2], [700, 2], [310, 3]] as const) {
    responder.answer(query(SERVICE, "PTR"), link);
    time.tick(wait);
    assertEquals(sent(), expected);
  }
});
