/** The directory of a device: its modes, and its name. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { Device } from "@degu/degu/device";
import { record, TestDevices } from "@degu/testing/device_pairs.ts";
import { entries, mode, tempDir } from "@degu/testing/directories.ts";

const onPosix = Deno.build.os !== "windows";

const app = () => [204, "No Content", {}, null] as const;

Deno.test({
  name: "a device's directories have mode 0700 and its files 0600",
  ignore: !onPosix,
  async fn() {
    await using devices = await TestDevices.create();
    // One that everybody may look into is closed.
    await Deno.mkdir(devices.path("camera"), { mode: 0o755 });
    const camera = await devices.open("camera");
    await record(camera, await devices.open("viewer"));
    await using server = camera.listen(["127.0.0.1", 0], app);
    await server.ready;
    const modes: string[] = [];
    const look = async (path: string): Promise<void> => {
      const { isDirectory } = await Deno.stat(path);
      modes.push(`${isDirectory ? "directory" : "file"} ${(await mode(path)).toString(8)}`);
      if (!isDirectory) return;
      for (const name of await entries(path)) await look(join(path, name));
    };
    await look(camera.dir);
    assertEquals(new Set(modes), new Set(["directory 700", "file 600"]));
    assert(modes.length > 8, modes.join());
  },
});

Deno.test({
  name: "Device.open rejects a directory that others could have written to",
  ignore: !onPosix,
  async fn() {
    await using dir = await tempDir();
    const path = join(dir.path, "camera");
    await Deno.mkdir(path);
    await Deno.chmod(path, 0o770);
    await assertRejects(
      () => Device.open(path, { name: "camera" }),
      Deno.errors.PermissionDenied,
      "open to other users",
    );
    assertEquals(await entries(path), []);
  },
});

Deno.test({
  name: "Device.open does not change the mode of a directory that contains other things",
  ignore: !onPosix,
  async fn() {
    await using dir = await tempDir();
    await Deno.chmod(dir.path, 0o755);
    await Deno.writeTextFile(join(dir.path, "notes.txt"), "for everybody");
    const open = () => Device.open(dir.path, { name: "camera" });
    await assertRejects(open, Deno.errors.PermissionDenied, "chmod 700");
    assertEquals([await mode(dir.path), await entries(dir.path)], [0o755, ["notes.txt"]]);
    await Deno.chmod(dir.path, 0o700);
    await using device = await open();
    assertEquals(device.name, "camera");
  },
});

Deno.test("Device.open requires a name if there is no device yet, and leaves nothing behind without one", async () => {
  await using dir = await tempDir();
  const path = join(dir.path, "camera");
  const error = await assertRejects(() => Device.open(path), RangeError, "name:");
  assertStringIncludes(error.message, "no device");
  assertEquals(await entries(dir.path), []);
});

Deno.test("Device.open rejects a name that differs from the device's", async () => {
  await using devices = await TestDevices.create();
  const { dir } = await devices.open("camera");
  await assertRejects(() => Device.open(dir, { name: "viewer" }), RangeError, '"camera"');
});

Deno.test("Device.open rejects a directory whose name file is damaged", async () => {
  await using devices = await TestDevices.create();
  const { dir } = await devices.open("camera");
  for (
    const text of ["", "{", "[]", '{"version":2,"name":"camera"}', '{"version":1,"name":"a b"}']
  ) {
    await Deno.writeTextFile(join(dir, "device.json"), text);
    await assertRejects(() => Device.open(dir), Deno.errors.InvalidData, "restore");
  }
});
