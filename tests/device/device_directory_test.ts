/** The directory of a device: its modes, its name, the addresses of its servers, and changes by several processes. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { Device } from "@degu/degu/device";
import { StateDirectory } from "@degu/internal/device/device_directory.ts";
import { namesOf, record, setUpPeers, TestDevices } from "@degu/testing/device_pairs.ts";
import { entries, mode, tempDir } from "@degu/testing/directories.ts";
import { within } from "@degu/testing/raw_peer.ts";

const app = () => [204, "No Content", {}, null] as const;

Deno.test("a device's directories have mode 0700 and its files 0600", async () => {
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
});

Deno.test("Device.open rejects a directory that others could have written to", async () => {
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
});

Deno.test("Device.open does not change the mode of a directory that contains other things", async () => {
  await using dir = await tempDir();
  await Deno.chmod(dir.path, 0o755);
  await Deno.writeTextFile(join(dir.path, "notes.txt"), "for everybody");
  const open = () => Device.open(dir.path, { name: "camera" });
  await assertRejects(open, Deno.errors.PermissionDenied, "chmod 700");
  assertEquals([await mode(dir.path), await entries(dir.path)], [0o755, ["notes.txt"]]);
  await Deno.chmod(dir.path, 0o700);
  await using device = await open();
  assertEquals(device.name, "camera");
});

Deno.test("Device.open requires a name if there is no device yet, and leaves nothing behind without one", async () => {
  await using dir = await tempDir();
  const path = join(dir.path, "camera");
  const error = await assertRejects(() => Device.open(path), RangeError, "name:");
  assertStringIncludes(error.message, "no device");
  assertEquals(await entries(dir.path), []);
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

Deno.test("a change waits for a change by another process", async () => {
  await using setup = await setUpPeers("one");
  const { camera, others: [one] } = setup;
  const peer = await record(camera, one!);
  using lock = await Deno.open(join(camera.dir, "lock"), { write: true });
  await lock.lock(true);
  let done = false;
  const renaming = camera.rename(peer, "two").then(() => done = true);
  assertEquals(namesOf(await camera.peers()), ["one"]);
  assertEquals(done, false);
  await lock.unlock();
  await within(renaming, "the name is changed");
});

Deno.test("a writer removes what an interrupted one has left, and leaves nothing when it fails; changes run one after the other", async () => {
  await using dir = await tempDir();
  const path = join(dir.path, "state");
  await Deno.mkdir(path);
  const files = new StateDirectory(path, join(dir.path, "lock"));
  await Deno.writeTextFile(join(path, ".0123456789abcdef"), "half");
  await Deno.writeTextFile(join(path, ".notes"), "mine");
  assertEquals(await files.names(), [".notes"]); // the other one is no valid name
  await files.exclusively(() => files.write("a", "one"));
  assertEquals(await entries(path), [".notes", "a"]);
  await Deno.mkdir(join(path, "b"));
  const events: string[] = [];
  const change = (name: string) =>
    files.exclusively(async () => {
      events.push(`${name} begins`);
      await files.write(name, name);
      events.push(`${name} ends`);
    });
  const failing = change("b");
  const changes = [change("c"), change("d")];
  await assertRejects(() => failing);
  await Promise.all(changes);
  assertEquals(events, ["b begins", "c begins", "c ends", "d begins", "d ends"]);
  assertEquals(await entries(path), [".notes", "a", "b", "c", "d"]);
});

Deno.test("servingAddresses returns the servers of processes that are alive", async () => {
  await using setup = await setUpPeers();
  const { camera } = setup;
  assertEquals(await camera.serving(), []);
  await using server = camera.listen(["127.0.0.1", 0], () => [204, "No Content", {}, null]);
  assertEquals(setup.logger.lines, []);
  const serving = server.serveForever();
  await server.ready;
  assertEquals(await camera.serving(), [server.address]);
  // What a process that was killed has left: nobody holds its lock.
  const left = join(camera.dir, "serving", "0123456789abcdef");
  await Deno.writeTextFile(left, "127.0.0.1:9");
  assertEquals(await camera.serving(), [server.address]);
  assertEquals(await entries(join(camera.dir, "serving")).then(({ length }) => length), 1);
  server.close();
  await serving;
  assertEquals(await camera.serving(), []);
  assertEquals(await entries(join(camera.dir, "serving")), []);
});
