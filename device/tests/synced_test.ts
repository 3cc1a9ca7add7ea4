/** A device survives a power failure: its files and their directories are synced to the disk. */
import { Device, DeviceError } from "@degu/device";
import { createTempDir } from "@degu/testing/directories.ts";
import { assertSynced, recordSyncedPaths } from "@degu/testing/synced.ts";
import { assertEquals, assertRejects } from "@std/assert";
import { makeDevices } from "./pairing.ts";

const IDENTITY = ["", "/ca.pem", "/ca_key.pem", "/cert.pem", "/key.pem"];

Deno.test("Device.open syncs a new device to the disk before it resolves", async () => {
  await using dir = await createTempDir();
  const path = `${dir.path}/camera`;
  await Deno.mkdir(path, { mode: 0o700 });
  const synced = await recordSyncedPaths(path, async () => {
    await using _device = await Device.open(path, { name: "camera" });
  });
  const identity = IDENTITY.map((file) => `./identity/device${file}`);
  assertSynced(path, synced, [".", "./device.json", "./identity", ...identity]);
});

Deno.test("the new name of a device is synced to the disk before Device.open resolves, and the same name is not written", async () => {
  await using devices = await makeDevices("camera");
  const { camera } = devices;
  for (const expected of [[".", "./device.json"], []]) {
    const synced = await recordSyncedPaths(camera.dir, async () => {
      await using _device = await Device.open(camera.dir, { name: "garden", rename: true });
    });
    assertSynced(camera.dir, synced, expected);
  }
});

Deno.test("pairing, rename() and forget() are synced to the disk before they resolve, so no forgotten peer comes back", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  await using invitation = await camera.invite();
  const file = `./peers/${viewer.id}.json`;
  const ofPairing = await recordSyncedPaths(camera.dir, async () => {
    await Promise.all([viewer.join(invitation.line), invitation.paired]);
  });
  assertSynced(camera.dir, ofPairing, ["./peers", file]);
  const rename = () => camera.device.rename("viewer", "screen");
  const ofRename = await recordSyncedPaths(camera.dir, rename);
  assertSynced(camera.dir, ofRename, ["./peers", file]);
  const ofForget = await recordSyncedPaths(camera.dir, async () => {
    await camera.device.forget("screen");
  });
  assertSynced(camera.dir, ofForget, ["./peers"]);
  const failedForget = () => assertRejects(() => camera.device.forget("screen"), DeviceError);
  assertEquals(await recordSyncedPaths(camera.dir, failedForget), []);
});
