/** What ends when a peer is forgotten. */
import { assertRejects } from "@std/assert";
import { DeguError } from "@degu/degu/base";
import { record } from "@degu/testing/device_pairs.ts";
import { inAnotherProcess } from "@degu/testing/device_programs.ts";
import { within } from "@degu/testing/raw_peer.ts";
import { assertWorks, LOOPBACK, setUpClient } from "@degu/testing/device_clients.ts";

Deno.test("forget closes the connections to the peer, and no new ones are made", async () => {
  await using setup = await setUpClient();
  const { viewer, camera } = setup;
  const client = await viewer.client("camera");
  using conn = await client.connect();
  await conn.get("/");
  await viewer.forget("camera");
  await assertRejects(() => conn.get("/"), Error, "closed");
  await assertRejects(() => client.connect(), DeguError, "forgotten");
  await assertRejects(() => viewer.client("camera"), RangeError);
  await record(viewer, camera, { addresses: [setup.server.address] });
  await assertWorks(client);
});

Deno.test("forget in another process closes connections, and pending requests reject", async () => {
  await using setup = await setUpClient();
  const { viewer, camera } = setup;
  const never = Promise.withResolvers<never>();
  await using slow = camera.listen(LOOPBACK, () => never.promise);
  slow.serveForever();
  await slow.ready;
  const client = await viewer.client("camera", { addresses: [slow.address] });
  using conn = await client.connect();
  const asking = assertRejects(() => conn.get("/"), Error, "forgotten");
  await inAnotherProcess(viewer.dir, `await device.forget("camera");`);
  await within(asking, "the request ends", 20);
});

Deno.test("forget aborts a pending connection attempt", async () => {
  await using setup = await setUpClient();
  const { viewer } = setup;
  const mute = setup.mute();
  const client = await viewer.client("camera", { addresses: [mute.address] });
  const connecting = assertRejects(() => client.connect(), Error, "forgotten");
  while (mute.conns.length === 0) await viewer.peers();
  await viewer.forget("camera");
  await connecting;
});
