/** Temporary devices for tests. */
import { outsideScriptFlags } from "@degu/testing/programs.ts";
import { reply } from "@degu/degu";
import { peerOf } from "@degu/device";
import { TempDevices } from "@degu/device/testing";
import { callApp, mkreq } from "@degu/degu/misc";
import { makeDenoCommand, runCommand } from "@degu/testing/commands.ts";
import { assertEquals, assertRejects, assertThrows } from "@std/assert";

Deno.test("TempDevices are paired with each other by their names, and removed on dispose", async () => {
  let dir = "";
  {
    await using temp = await TempDevices.create("camera", "viewer", "recorder");
    const { camera, viewer, recorder } = temp.devices;
    dir = camera.dir;
    assertEquals((await Deno.stat(`${dir}/..`)).mode! & 0o777, 0o700);
    const names = ["camera", "recorder", "viewer"];
    for (const device of [camera, viewer, recorder]) {
      const otherNames = names.filter((name) => name !== device.name);
      assertEquals((await device.peers()).map(({ name }) => name).sort(), otherNames);
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

Deno.test("TempDevices rejects invalid device names, and leaves no directory", async () => {
  const create = TempDevices.create as (...names: unknown[]) => Promise<unknown>;
  await assertRejects(() => create("a", "a"), RangeError);
  await assertRejects(() => create("a/b"), RangeError);
  await assertRejects(() => create("a", 5), TypeError);
});

Deno.test("peerSession makes a trusted session for which peerOf returns the peer object of the other devices", async () => {
  await using temp = await TempDevices.create("camera", "viewer");
  const session = temp.peerSession("viewer");
  const { pairedAt: _, ...peer } = peerOf(session);
  const { pairedAt: __, ...peerFields } = (await temp.devices.camera.peer("viewer"))!;
  assertEquals(peer, peerFields);
  assertEquals([session.user, await session.trust()], ["viewer", "trusted"]);
  const response = await callApp((_request, { user }) => reply(200, user), mkreq("GET", "/"), {
    session: temp.peerSession("camera"),
  });
  assertEquals(await response.text(), "camera");
  assertThrows(() => temp.peerSession("toaster" as "camera"), RangeError, "camera, viewer");
  await using singleDevice = await TempDevices.create("camera");
  assertEquals(peerOf(singleDevice.peerSession("camera")).id, singleDevice.devices.camera.id);
});

Deno.test("the end of TempDevices waits for changes that the program has not awaited", async () => {
  const changes: Promise<unknown>[] = [];
  {
    await using temp = await TempDevices.create("camera", "viewer", "recorder");
    changes.push(temp.devices.camera.rename("viewer", "screen"));
    changes.push(temp.devices.camera.forget("recorder"));
  }
  assertEquals((await Promise.allSettled(changes)).map(({ status }) => status), [
    "fulfilled",
    "fulfilled",
  ]);
});

Deno.test("TempDevices and their servers don't print", async () => {
  const program = `
    import { reply } from ${JSON.stringify(import.meta.resolve("../../mod.ts"))};
    import { TempDevices } from ${JSON.stringify(import.meta.resolve("../testing.ts"))};
    await using temp = await TempDevices.create("camera", "viewer");
    const { camera, viewer } = temp.devices;
    await using server = await camera.serve(["127.0.0.1", 0], () => reply(204));
    const client = await viewer.client("camera", { addresses: [server.address] });
    await client.get("/");
    await camera.forget("viewer");
    await client.get("/").catch(() => {});`;
  const module = `data:application/typescript,${encodeURIComponent(program)}`;
  const { code, stdout, stderr } = await runCommand(
    makeDenoCommand([...outsideScriptFlags(), "--allow-all"], module),
  );
  assertEquals({ code, stdout, stderr }, { code: 0, stdout: "", stderr: "" });
});
