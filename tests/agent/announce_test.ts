import { assertEquals } from "@std/assert";
import { findAddresses } from "@degu/internal/agent/find.ts";
import type { Incoming, KnownRecord } from "@degu/internal/agent/mdns/packet.ts";
import { announce } from "@degu/internal/agent/announce.ts";
import type { Service } from "@degu/internal/agent/mdns/service.ts";
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
const isProbe = ({ authorities }: Incoming) => authorities.length > 0;
const isGoodbye = ({ answers }: Incoming) =>
  answers.length > 0 && (answers as KnownRecord[]).every(({ ttl }) => ttl === 0);

Deno.test("an announced device is found, with its port and its addresses", async () => {
  const network = await loopbackNetwork();
  await using camera = announceCamera(network);
  assertEquals(await named(camera), "camera");
  assertEquals(await findAddresses(CAMERA.id, { logger: SILENT }, network), [[ADDRESS, 7443]]);
});

Deno.test("a device probes for its name three times, and then announces it twice", async () => {
  const network = await loopbackNetwork();
  await using stranger = await Stranger.join(network);
  await using _camera = announceCamera(network);
  await stranger.hears("an announcement", isResponse);
  assertEquals(stranger.heard.filter(isProbe).length, 3);
  await stranger.hearsMany("another one", isResponse, 2);
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
