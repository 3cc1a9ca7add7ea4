/** The server of a device: it lets in peers, and nobody else. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { Client } from "../../client.ts";
import { peerOf } from "../../device.ts";
import { record, TestDevices } from "../support/device_pairs.ts";

Deno.test("a peer is let in, and known by peerOf", async () => {
  await using devices = await TestDevices.create();
  const camera = await devices.open("camera");
  const viewer = await devices.open("viewer");
  await record(camera, viewer, { peerName: "Anna" });
  await using server = camera.listen(
    ["127.0.0.1", 0],
    (
      _request,
      session,
    ) => [200, "OK", { name: peerOf(session).name, id: peerOf(session).id }, null],
  );
  const serving = server.serveForever();
  await server.ready;
  await record(viewer, camera, { addresses: [server.address] });
  const client = await viewer.client("camera");
  assert(client instanceof Client);
  const { headers } = await client.request("GET", "/");
  assertEquals([headers.name, headers.id], ["Anna", viewer.id]);
  assertThrows(() => server.setSslctx(), TypeError, "forget");
  await server.shutdown();
  await serving;
});
