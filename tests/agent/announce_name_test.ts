import { assertEquals } from "@std/assert";
import { findAddresses } from "@degu/internal/agent/find.ts";
import type { Incoming, KnownRecord } from "@degu/internal/agent/mdns/packet.ts";
import { type Service, uniqueRecords } from "@degu/internal/agent/mdns/service.ts";
import { ADDRESS, announceCamera, idOf, loopbackNetwork, Stranger } from "@degu/testing/mdns.ts";
import { within } from "@degu/testing/raw_peer.ts";

const OTHER: Service = { name: "camera", id: idOf("d"), port: 7443 };

const named = ({ announced }: { announced: Promise<string> }) => within(announced, "announced");
const isProbe = ({ authorities }: Incoming) => authorities.length > 0;

Deno.test("a name that another device has gets a number", async () => {
  const network = await loopbackNetwork();
  await using first = announceCamera(network);
  assertEquals(await named(first), "camera");
  await using second = announceCamera(network, { name: "Camera", id: idOf("d") });
  assertEquals(await named(second), "Camera-2");
  assertEquals(await findAddresses(idOf("d"), {}, network), [[ADDRESS, 7443]]);
});

Deno.test("exactly one of two devices that claim a name at the same moment gets it", async () => {
  const network = await loopbackNetwork();
  await using first = announceCamera(network);
  await using second = announceCamera(network, { id: idOf("d") });
  const names = await Promise.all([named(first), named(second)]);
  // The one whose records are later in order.
  assertEquals(names, ["camera-2", "camera"]);
});

Deno.test("a device whose name is contradicted probes for it again, and keeps it if nobody has it", async () => {
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
