import { assert, assertEquals } from "@std/assert";
import type { Incoming } from "@degu/internal/agent/mdns/packet.ts";
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

Deno.test("many questions get one response a second, and those about others none", async () => {
  const network = await loopbackNetwork();
  await using stranger = await Stranger.join(network);
  await using camera = announceCamera(network);
  await named(camera);
  await stranger.hears(
    "the second announcement",
    (packet) => isResponse(packet),
    stranger.heard.length,
  );
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

Deno.test("one who is about to take the name is told so at once, and one who knows the device nothing", async () => {
  const network = await loopbackNetwork();
  await using stranger = await Stranger.join(network);
  await using camera = announceCamera(network);
  await named(camera);
  await stranger.hears("the second announcement", isResponse, stranger.heard.length);
  const from = stranger.heard.length;
  const known = { name: SERVICE, type: "PTR", ttl: 4500, data: instanceName(CAMERA) } as const;
  await stranger.query({ questions: [{ name: SERVICE, type: "PTR" }], answers: [known] });
  const questions = [{ name: instanceName(CAMERA), type: "ANY" }];
  await stranger.query({ questions, authorities: uniqueRecords(OTHER) });
  await stranger.hears("a defense", isResponse, from);
  assertEquals(stranger.heard.slice(from).filter(isResponse).length, 1);
});
