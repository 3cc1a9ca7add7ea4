/** What a device says of itself on a link, and when. */
import { assert, assertEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { announce, Responder } from "@degu/internal/agent/mdns/announce.ts";
import { findAddresses } from "@degu/internal/agent/mdns/find.ts";
import type { Link } from "@degu/internal/agent/mdns/links.ts";
import {
  type Incoming,
  instanceName,
  type KnownRecord,
  SERVICE,
  type Service,
} from "@degu/internal/agent/mdns/packet.ts";
import {
  ADDRESS,
  announceCamera,
  idOf,
  loopbackNetwork,
  SILENT,
  Stranger,
} from "@degu/testing/mdns.ts";
import { within } from "@degu/testing/raw_peer.ts";

const CAMERA: Service = { name: "camera", id: idOf("c"), port: 7443 };
const named = ({ announced }: { announced: Promise<string> }) => within(announced, "announced");
const isResponse = ({ type }: Incoming) => type === "response";
const isGoodbye = ({ answers }: Incoming) =>
  answers.length > 0 && (answers as KnownRecord[]).every(({ ttl }) => ttl === 0);

Deno.test("an announced device is found, with its port and its addresses", async () => {
  const network = await loopbackNetwork();
  await using camera = announceCamera(network);
  assertEquals(await named(camera), "camera-cccccccccccccccc");
  assertEquals(await findAddresses(CAMERA.id, { logger: SILENT }, network), [[ADDRESS, 7443]]);
});

Deno.test("a device announces itself twice, and does not ask whether its name is free", async () => {
  const network = await loopbackNetwork();
  await using stranger = await Stranger.join(network);
  await using _camera = announceCamera(network);
  await stranger.hears("an announcement", isResponse);
  await stranger.hearsMany("another one", isResponse, 2);
  assertEquals(stranger.heard.filter(({ type }) => type === "query"), []);
  const types = (stranger.heard.findLast(isResponse)!.answers as KnownRecord[])
    .map(({ type, flush = false }) => `${type} ${flush}`);
  // Nobody else has the latter; others may have services of the type.
  assertEquals(types, ["PTR false", "PTR false", "TXT true", "SRV true", "A true"]);
});

Deno.test("ending an announcement withdraws it", async () => {
  const network = await loopbackNetwork();
  await using stranger = await Stranger.join(network);
  const camera = announceCamera(network);
  await named(camera);
  await camera[Symbol.asyncDispose]();
  const { answers } = await stranger.hears("goodbye", isGoodbye);
  // The addresses may be those of another program, which goes on.
  assertEquals(answers.map(({ type }) => type), ["PTR", "TXT", "SRV"]);
  assertEquals(await findAddresses(CAMERA.id, { seconds: 0.3 }, network), []);
});

Deno.test("a warning says why announcing failed, and disposing still works", async () => {
  const network = await loopbackNetwork();
  const warned = Promise.withResolvers<string>();
  const failing = {
    ...network,
    findInterfaces: () => {
      throw new Error("no interfaces today");
    },
  };
  const logger = { ...SILENT, warn: warned.resolve };
  await using _camera = announce({ ...CAMERA, logger }, failing);
  const text = await within(warned.promise, "a warning");
  assertEquals(text, "the announcement has ended: Error: no interfaces today");
});

Deno.test("two devices of one name are told apart by their ids", async () => {
  const network = await loopbackNetwork();
  await using first = announceCamera(network, { port: 1 });
  await using second = announceCamera(network, { id: idOf("d"), port: 2 });
  await Promise.all([named(first), named(second)]);
  assertEquals(await findAddresses(idOf("c"), {}, network), [[ADDRESS, 1]]);
  assertEquals(await findAddresses(idOf("d"), {}, network), [[ADDRESS, 2]]);
});

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

/** A query, as it is received. */
const query = (name: string, type: string, answers: KnownRecord[] = []): Incoming => {
  return { type: "query", questions: [{ name, type }], answers, additionals: [] };
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
    [query("camera._degu._tcp.local", "ANY"), 0],
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
