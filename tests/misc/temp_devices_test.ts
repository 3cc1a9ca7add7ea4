/** Devices for one test. */
import { reply } from "@degu/degu";
import { type Device, peerOf } from "@degu/degu/device";
import { TempDevices } from "@degu/degu/misc";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { assertEquals, assertInstanceOf, assertRejects } from "@std/assert";

Deno.test("TempDevices are paired with each other, by their names, and gone in the end", async () => {
  let dir = "";
  {
    await using temp = await TempDevices.create("camera", "viewer", "recorder");
    const { camera, viewer, recorder } = temp.devices;
    dir = camera.dir;
    assertEquals((await Deno.stat(`${dir}/..`)).mode! & 0o777, 0o700);
    for (
      const [device, others] of [
        [camera, ["recorder", "viewer"]],
        [viewer, ["camera", "recorder"]],
        [recorder, ["camera", "viewer"]],
      ] as [Device, string[]][]
    ) {
      assertEquals((await device.peers()).map(({ name }) => name).sort(), others);
    }
    await using server = await camera.serve(["127.0.0.1", 0], (_request, session) => {
      return reply(200, peerOf(session).name);
    });
    for (const device of [viewer, recorder]) {
      const client = await device.client("camera", { addresses: [server.address] });
      const { body } = await client.request("GET", "/");
      assertEquals(await body?.text(), device.name);
    }
  }
  await assertRejects(() => Deno.stat(`${dir}/..`), Deno.errors.NotFound);
});

Deno.test("TempDevices refuses names that no devices can have, and leaves no directory", async () => {
  const create = TempDevices.create as (...names: unknown[]) => Promise<unknown>;
  for (
    const [names, kind] of [
      [["a", "a"], RangeError],
      [["a/b"], RangeError],
      [["a", 5], TypeError],
    ] as const
  ) {
    assertInstanceOf(await rejectionOf(create(...names), `${names}`), kind, `${names}`);
  }
});
