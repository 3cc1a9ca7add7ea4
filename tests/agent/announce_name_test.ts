import { assert, assertEquals } from "@std/assert";
import { findAddresses } from "@degu/internal/agent/find.ts";
import type { Incoming, KnownRecord } from "@degu/internal/agent/mdns/packet.ts";
import { announce } from "@degu/internal/agent/announce.ts";
import {
  instanceName,
  SERVICE,
  type Service,
  uniqueRecords,
} from "@degu/internal/agent/mdns/service.ts";
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
const OTHER: Service = { name: "camera", id: idOf("d"), port: 7443 };

const named = ({ announced }: { announced: Promise<string> }) => within(announced, "announced");
const isResponse = ({ type }: Incoming) => type === "response";
const isProbe = ({ authorities }: Incoming) => authorities.length > 0;
const isGoodbye = ({ answers }: Incoming) =>
  answers.length > 0 && (answers as KnownRecord[]).every(({ ttl }) => ttl === 0);

Deno.test("a name that another device holds gets a number", async () => {
  const network = await loopbackNetwork();
  await using first = announceCamera(network);
  assertEquals(await named(first), "camera");
  await using second = announceCamera(network, { name: "Camera", id: idOf("d") });
  assertEquals(await named(second), "Camera-2");
  assertEquals(await findAddresses(idOf("d"), {}, network), [[ADDRESS, 7443]]);
});

Deno.test("of two devices that want a name at the same moment one gets it", async () => {
  const network = await loopbackNetwork();
  await using first = announceCamera(network);
  await using second = announceCamera(network, { id: idOf("d") });
  const names = await Promise.all([named(first), named(second)]);
  // The one whose records are later in order.
  assertEquals(names, ["camera-2", "camera"]);
});

Deno.test("a device that others contradict asks for its name again, and keeps it if nobody has it", async () => {
  const network = await loopbackNetwork();
  await using stranger = await Stranger.join(network);
  await using camera = announceCamera(network);
  await named(camera);
  const from = stranger.heard.length;
  await stranger.respond({ answers: uniqueRecords(OTHER) });
  await stranger.hears("a probe", isProbe, from);
  await stranger.hears(
    "an announcement of the old name",
    (packet) =>
      (packet.answers as KnownRecord[]).some(({ type, data }) =>
        type === "PTR" && data === "camera._degu._tcp.local"
      ),
    from + 1,
  );
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
