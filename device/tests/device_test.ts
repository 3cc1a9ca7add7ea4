/** Opening and closing a device, its directory, and two devices from pairing to forgetting. */
import { type Address, DeguError } from "@degu/degu/base";
import { Device, DeviceError, peerOf } from "@degu/degu/device";
import { StateDirectory } from "@degu/internal/device/identity/device_directory.ts";
import { ServingRecords } from "@degu/internal/device/peers/serving_records.ts";
import { speedUpTimeouts } from "@degu/testing/clock.ts";
import { namesOf, record, setUpPeers, TestDevices } from "@degu/testing/device_pairs.ts";
import { LOOPBACK, respondWithName, setUp } from "./device_serving.ts";
import { createTempDir, listNames, readMode, readTree } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { runScript } from "@degu/testing/processes.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";
import { makeFifo } from "@degu/testing/special_files.ts";
import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { closeLocked } from "@degu/internal/files/disk/files.ts";
import { join } from "@degu/internal/internal/paths.ts";
import { pathToFileURL } from "node:url";
import { assertSynced, recordSyncedPaths } from "@degu/testing/synced.ts";
import { makeDevices } from "./pairing.ts";
import { reply } from "@degu/degu";
import { TempDevices } from "@degu/degu/device/testing";
import { callApp, mkreq } from "@degu/degu/misc";
import { describeTrust } from "@degu/testing/sessions.ts";

Deno.test("Device.open creates a device, and then opens the existing one", async () => {
  await using dir = await createTempDir();
  const path = join(dir.path, "home", "camera");
  let id, infoBefore;
  {
    await using device = await Device.open(path, { name: "Camera_1" });
    ({ id } = device);
    assertEquals([device.name, device.dir], ["Camera_1", path]);
    infoBefore = await Deno.stat(join(path, "device.json"));
  }
  for (const options of [{}, { name: "Camera_1" }, { name: "CAMERA_1" }]) {
    await using device = await Device.open(pathToFileURL(path), options);
    assertEquals([device.name, device.dir, device.id], ["Camera_1", path, id]);
  }
  const infoAfter = await Deno.stat(join(path, "device.json"));
  assertEquals(infoAfter.ino, infoBefore.ino, "it was written again");
});

Deno.test("Device.open rejects arguments of a wrong type, and unknown options", async () => {
  await using dir = await createTempDir();
  const open = Device.open as (dir: unknown, options?: unknown) => Promise<Device>;
  const invalidArguments = [
    () => open(1),
    () => open(dir.path, { name: 1 }),
    () => open(dir.path, { name: "camera", logger: {} }),
  ];
  for (const call of invalidArguments) await assertRejects(call, TypeError);
  const paths = { camera: '"camera"', [`${dir.path}/a\0b`]: '\\x00b"' };
  for (const [path, expectedPath] of Object.entries(paths)) {
    const openCamera = () => open(path, { name: "camera" });
    const error = await assertRejects(openCamera, RangeError, expectedPath);
    assertMatch(error.message, /^dir: must be an absolute path/);
  }
  await assertRejects(() => open(new URL("https://a/b"), { name: "camera" }), TypeError, "file");
  assertEquals(await listNames(dir.path), []);
});

Deno.test("simultaneous opens of one directory create one device", async () => {
  await using dir = await createTempDir();
  const devices = await Promise.all(
    Array.from({ length: 4 }, () => Device.open(dir.path, { name: "camera" })),
  );
  const ids = new Set(devices.map(({ id }) => id));
  for (const device of devices) await device[Symbol.asyncDispose]();
  assertEquals(ids.size, 1);
  const names = await Promise.allSettled(
    ["a", "b"].map((name) => Device.open(join(dir.path, "other"), { name })),
  );
  for (const outcome of names) {
    if (outcome.status === "fulfilled") await outcome.value[Symbol.asyncDispose]();
  }
  assertEquals(names.map(({ status }) => status).toSorted(), ["fulfilled", "rejected"]);
});

Deno.test("rename: true renames a device, which keeps its id and its peers; its peers keep their name for it", async () => {
  await using setup = await setUp();
  const { camera, viewer } = setup;
  const logger = new RecordingLogger();
  const open = (name: string) => Device.open(camera.dir, { name, rename: true, logger });
  {
    await using renamed = await open("garden");
    assertEquals([renamed.name, renamed.id], ["garden", camera.id]);
    assertEquals(namesOf(await renamed.peers()), ["viewer"]);
    // An open device keeps the name with which it was opened.
    assertEquals(camera.name, "camera");
    await using invitation = await renamed.invite({ listen: [["127.0.0.1", 0]] });
    assertEquals((await viewer.join(invitation.line)).name, "camera");
    await viewer.forget("camera");
    await using other = await renamed.invite({ listen: [["127.0.0.1", 0]] });
    assertEquals((await viewer.join(other.line)).name, "garden");
  }
  for (const name of ["garden", "Garden"]) {
    await using renamed = await open(name);
    assertEquals(renamed.name, name);
    await using reopened = await Device.open(camera.dir);
    assertEquals(reopened.name, name);
  }
  const problem = await assertRejects(() => Device.open(camera.dir, { name: "shed" }), RangeError);
  assertMatch(problem.message, /^name: the device in .* is named "Garden"; got "shed": pass /);
});

Deno.test("rename: true creates a missing device, and needs a name that no peer has", async () => {
  await using setup = await setUp();
  const { camera } = setup;
  await using dir = await createTempDir();
  const path = join(dir.path, "shed");
  const invalidOptions = [
    [{ name: "shed", rename: true, create: false }, /^rename: needs a name, and can't be combined/],
    [{ rename: true }, /^rename: needs a name/],
    [{ name: "a b", rename: true }, /^name: must be 1 to 63 letters/],
  ] as const;
  for (const [options, expectedMessage] of invalidOptions) {
    const error = await assertRejects(() => Device.open(path, options), RangeError);
    assertMatch(error.message, expectedMessage);
  }
  assertEquals(await listNames(dir.path), []);
  await using shed = await Device.open(path, { name: "shed", rename: true });
  assertEquals(shed.name, "shed");
  const taken = () => Device.open(camera.dir, { name: "VIEWER", rename: true });
  await assertRejects(taken, RangeError, 'name: the name "VIEWER" is taken, by the peer');
  assertEquals((await Deno.readTextFile(join(camera.dir, "device.json"))).includes("camera"), true);
});

Deno.test("of simultaneous renames one remains, with the peers that were stored meanwhile", async () => {
  await using setup = await setUpPeers("one", "two", "three");
  const { camera, others } = setup;
  const names = ["a", "b", "c", "d"];
  const [devices] = await Promise.all([
    Promise.all(names.map((name) => Device.open(camera.dir, { name, rename: true }))),
    ...others.map((other) => record(camera, other)),
  ]);
  for (const device of devices) await device[Symbol.asyncDispose]();
  await using reopened = await Device.open(camera.dir);
  assert(names.includes(reopened.name), reopened.name);
  assertEquals(namesOf(await reopened.peers()), ["one", "three", "two"]);
  assertEquals((await listNames(camera.dir)).filter((name) => name.startsWith(".")), []);
});

Deno.test("disposing closes servers and connections, and closes the device", async () => {
  await using setup = await setUp();
  const { camera, viewer } = setup;
  const client = await viewer.client("camera");
  const conn = await client.connect();
  await conn.get("/");
  const inviting = assertRejects(() => viewer.invite({ listen: [LOOPBACK] }), DeguError, "closed");
  const connecting = assertRejects(() => client.connect(), Error, "device was closed");
  await viewer[Symbol.asyncDispose]();
  await viewer[Symbol.asyncDispose]();
  await Promise.all([inviting, connecting]);
  await assertRejects(() => conn.get("/"), Error, "closed");
  {
    using _never = patch(Deno, "readDir", () => () => {
      throw new Error("a device that is closed reads its peers");
    });
    await assertRejects(() => client.connect(), Error, "device was closed");
  }
  await assertRejects(() => viewer.serve(LOOPBACK, respondWithName), DeguError, "closed");
  await assertRejects(() => viewer.client("camera"), DeguError, "closed");
  await assertRejects(() => viewer.invite(), DeguError, "closed");
  await assertRejects(() => viewer.join("degu:"), DeguError, "closed");
  await camera[Symbol.asyncDispose]();
});

Deno.test("a device that is not disposed doesn't keep the process alive", async () => {
  await using dir = await createTempDir();
  const script = `import { Device } from "@degu/degu/device";
const device = await Device.open(${JSON.stringify(dir.path)}, { name: "camera" });
console.log(device.name);`;
  const flags = [`--allow-read=${dir.path}`, `--allow-write=${dir.path}`, "--allow-sys=uid"];
  assertEquals((await withTimeout(runScript(script, flags, {}), "it ends", 60)).trim(), "camera");
});

Deno.test("a FIFO in the directory of a device doesn't block the device", async () => {
  await using devices = await TestDevices.create();
  const device = await devices.open("camera");
  const fifo = join(device.dir, "serving", "0123456789abcdef");
  if (!await makeFifo(fifo)) return;
  const reading = device.serving();
  assertEquals(await withTimeout(reading, "the records are read"), []);
  assertEquals((await Deno.lstat(fifo)).isFifo, true);
  await devices.open("viewer");
  const name = join(devices.makePath("viewer"), "device.json");
  await Deno.remove(name);
  await makeFifo(name);
  const open = () => withTimeout(Device.open(devices.makePath("viewer")), "the device is refused");
  await assertRejects(open, Deno.errors.InvalidData);
});

// The directory of a device: modes, name, addresses of servers, and changes by several processes.

Deno.test("a device's directories have mode 0700 and its files 0600", async () => {
  await using devices = await TestDevices.create();
  // A directory that other users can read is made private.
  await Deno.mkdir(devices.makePath("camera"), { mode: 0o755 });
  const camera = await devices.open("camera");
  await record(camera, await devices.open("viewer"));
  await using _server = await camera.serve(LOOPBACK, respondWithName);
  const modes: string[] = [];
  const look = async (path: string): Promise<void> => {
    const { isDirectory } = await Deno.stat(path);
    modes.push(`${isDirectory ? "directory" : "file"} ${(await readMode(path)).toString(8)}`);
    if (!isDirectory) return;
    for (const name of await listNames(path)) await look(join(path, name));
  };
  await look(camera.dir);
  assertEquals(new Set(modes), new Set(["directory 700", "file 600"]));
  assert(modes.length > 8, modes.join());
  // A private directory is not changed.
  await Deno.chmod(join(camera.dir, "peers"), 0o2700);
  await devices.open("camera");
  assertEquals(await readMode(join(camera.dir, "peers")), 0o2700);
});

Deno.test("Device.open rejects a directory that others could have written to", async () => {
  await using dir = await createTempDir();
  const path = join(dir.path, "camera");
  await Deno.mkdir(path);
  await Deno.chmod(path, 0o770);
  const open = () => Device.open(path, { name: "camera" });
  await assertRejects(open, Deno.errors.PermissionDenied, "open to other users");
  assertEquals(await listNames(path), []);
  // Parent directories are not checked.
  await using _device = await Device.open(join(path, "inner"), { name: "camera" });
});

Deno.test("Device.open with create: false opens a device without writing, and rejects without a device", async () => {
  await using dir = await createTempDir();
  const path = join(dir.path, "camera");
  const open = () => Device.open(path, { create: false });
  const error = await assertRejects(open, Deno.errors.NotFound, 'There is no device in "/');
  assertMatch(error.message, /create: false/);
  assertEquals(await listNames(dir.path), []);
  await using device = await Device.open(path, { name: "camera" });
  const script = `
    import { Device } from ${JSON.stringify(import.meta.resolve("../mod.ts"))};
    await using device = await Device.open(${JSON.stringify(path)}, { create: false });
    console.log(device.id, await device.peers(), await device.serving());`;
  const permissions = [`--allow-read=${path}`, "--allow-sys=uid"];
  assertEquals(await runScript(script, permissions, {}), `${device.id} [] []\n`);
  await Deno.chmod(path, 0o720);
  await assertRejects(open, Deno.errors.PermissionDenied, "open to other users");
});

Deno.test("Device.open does not change the mode of a directory that contains other things", async () => {
  await using dir = await createTempDir();
  await Deno.chmod(dir.path, 0o755);
  await Deno.writeTextFile(join(dir.path, "notes.txt"), "for everybody");
  const open = () => Device.open(dir.path, { name: "camera" });
  await assertRejects(open, Deno.errors.PermissionDenied, "is open to other users");
  assertEquals([await readMode(dir.path), await listNames(dir.path)], [0o755, ["notes.txt"]]);
  await Deno.chmod(dir.path, 0o700);
  await using device = await open();
  assertEquals(device.name, "camera");
});

Deno.test("Device.open requires a name for a new device, and writes no file without a name", async () => {
  await using dir = await createTempDir();
  const path = join(dir.path, "camera");
  const error = await assertRejects(() => Device.open(path), RangeError, "name:");
  assertStringIncludes(error.message, "no device");
  assertEquals(await listNames(dir.path), []);
});

Deno.test("Device.open rejects a directory whose name file is damaged", async () => {
  await using devices = await TestDevices.create();
  const { dir } = await devices.open("camera");
  const versions = ['"2"', "1.5"].map((version) => `{"version":${version},"name":"camera"}`);
  const others = ['{"version":1,"name":"a b"}', '{"name":"camera"}'];
  for (const text of ["", "{", "[]", "null", ...versions, ...others]) {
    await Deno.writeTextFile(join(dir, "device.json"), text);
    await assertRejects(
      () => Device.open(dir),
      Deno.errors.InvalidData,
      "is truncated, or not of the form",
    );
  }
});

Deno.test("Device.open makes no new keys for a device that has peers, and writes nothing", async (t) => {
  await using devices = await TestDevices.create();
  const [camera, viewer] = await Promise.all(
    ["camera", "viewer"].map((name) => devices.open(name)),
  );
  await record(camera!, viewer!);
  const problem = 'has peers, but no directory "identity/device" with its keys';
  for (const removedName of ["identity/device", "identity", "device.json"]) {
    await t.step(removedName, async () => {
      await Deno.remove(join(camera!.dir, removedName), { recursive: true });
      const namesBefore = Object.keys(await readTree(camera!.dir));
      const open = () => Device.open(camera!.dir, { name: "camera" });
      await assertRejects(open, Deno.errors.InvalidData, problem);
      assertEquals(Object.keys(await readTree(camera!.dir)), namesBefore);
    });
  }
});

Deno.test("Device.open rejects a directory of another version, names both versions, and changes no file", async () => {
  await using devices = await TestDevices.create();
  const { dir } = await devices.open("camera");
  await Deno.chmod(dir, 0o755);
  const state = async () => {
    const paths = ["", ...Object.keys(await readTree(dir))].map((path) => join(dir, path));
    return [await readTree(dir), paths.map((path) => [Deno.statSync(path)])];
  };
  for (const version of [0, 2, 17, -1]) {
    await Deno.writeTextFile(join(dir, "device.json"), `{"version":${version},"more":[]}`);
    const stateBefore = await state();
    for (const create of [true, false]) {
      const open = () => Device.open(dir, { name: "camera", create });
      const error = await assertRejects(open, Deno.errors.NotSupported);
      assertEquals(
        error.message,
        `the device in "${dir}" has version ${version}, and this version of Degu opens version 1`,
      );
    }
    assertEquals(await state(), stateBefore);
  }
});

Deno.test("a change waits for a change by another process", async () => {
  await using setup = await setUpPeers("one");
  const { camera, others: [one] } = setup;
  const peer = await record(camera, one!);
  const lock = await Deno.open(join(camera.dir, "lock"), { write: true });
  await lock.lock(true);
  let isDone = false;
  const renaming = camera.rename(peer, "two").then(() => isDone = true);
  assertEquals(namesOf(await camera.peers()), ["one"]);
  assertEquals(isDone, false);
  closeLocked(lock);
  await withTimeout(renaming, "the name is changed");
});

Deno.test("a writer removes the temporary files of an interrupted writer, and its own if it fails; changes run sequentially", async () => {
  await using dir = await createTempDir();
  const path = join(dir.path, "state");
  await Deno.mkdir(path);
  const files = new StateDirectory(path, join(dir.path, "lock"));
  await Deno.writeTextFile(join(path, ".0123456789abcdef"), "half");
  await Deno.writeTextFile(join(path, ".notes"), "mine");
  assertEquals(await files.listNames(), [".notes"]); // the other name is invalid
  await files.withLock(() => files.write("a", "one"));
  assertEquals(await listNames(path), [".notes", "a"]);
  await Deno.mkdir(join(path, "b"));
  const events: string[] = [];
  const change = (name: string) =>
    files.withLock(async () => {
      events.push(`${name} begins`);
      await files.write(name, name);
      events.push(`${name} ends`);
    });
  using timeouts = speedUpTimeouts(() => true);
  const failing = change("b");
  const changes = [change("c"), change("d")];
  await assertRejects(() => failing);
  await Promise.all(changes);
  assertEquals(timeouts.started.includes(10), false, "one had to try again");
  assertEquals(events, ["b begins", "c begins", "c ends", "d begins", "d ends"]);
  assertEquals(await listNames(path), [".notes", "a", "b", "c", "d"]);
});

Deno.test("a change fails after another process has held the lock for over a minute", async () => {
  await using dir = await createTempDir();
  const lockFile = join(dir.path, "lock");
  const files = new StateDirectory(dir.path, lockFile);
  using lock = await Deno.open(lockFile, { create: true, write: true });
  await lock.lock(true);
  using timeouts = speedUpTimeouts((milliseconds) => milliseconds === 10);
  const moments = [0, 60_000, 60_001];
  using _clock = patch(performance, "now", () => () => moments.shift() ?? Infinity);
  const { TimedOut } = Deno.errors;
  await assertRejects(() => files.withLock(() => files.listNames()), TimedOut, "for over 60 s");
  assertEquals([timeouts.started, moments], [[10], []]);
});

Deno.test("servingAddresses returns the servers of processes that are alive", async () => {
  await using setup = await setUpPeers();
  const { camera } = setup;
  assertEquals(await camera.serving(), []);
  await using server = await camera.serve(LOOPBACK, respondWithName);
  assertEquals(setup.logger.lines, []);
  const serving = server.serveForever();
  assertEquals(await camera.serving(), [server.address]);
  // The record of a killed process is not locked.
  const deadRecord = join(camera.dir, "serving", "0123456789abcdef");
  await Deno.writeTextFile(deadRecord, "127.0.0.1:9");
  {
    // Another process has the record open.
    using otherFile = await Deno.open(deadRecord);
    await otherFile.lock(false);
    assertEquals(await camera.serving(), [server.address]);
  }
  assertEquals(await listNames(join(camera.dir, "serving")).then(({ length }) => length), 1);
  server.close();
  await serving;
  assertEquals(await camera.serving(), []);
  assertEquals(await listNames(join(camera.dir, "serving")), []);
  const records = new ServingRecords(camera.dir);
  const addresses = [3, 1, 5, 2, 6, 4].map((last): Address => [`10.0.0.${last}`, 80]);
  const added = await Promise.all(addresses.map((address) => records.add(address)));
  assertEquals(await camera.serving(), addresses.toSorted());
  for (const name of await listNames(join(camera.dir, "serving"))) {
    await Deno.utime(join(camera.dir, "serving", name), 1, 1);
  }
  const waitForServers = await records.watch();
  // The server of a device touches its record when the peers have changed.
  for (const { touch } of added) touch();
  using timeouts = speedUpTimeouts(() => false);
  await waitForServers(1000, new AbortController().signal);
  assertEquals(timeouts.started, [], "it need not wait");
  assertEquals(await camera.serving(), addresses.toSorted());
  for (const record of added) await record.remove();
});

Deno.test("stored peers and names can be read and changed after the device is closed", async () => {
  await using setup = await setUpPeers("viewer");
  const { camera, others: [viewer] } = setup;
  await record(camera, viewer!);
  await camera.close();
  assertEquals(namesOf(await camera.peers()), ["viewer"]);
  assertEquals((await camera.rename("viewer", "tablet")).name, "tablet");
  assertEquals((await camera.peer("tablet"))?.name, "tablet");
  assertEquals(await camera.serving(), []);
  await camera.forget("tablet");
});

// A device survives a power failure: its files and their directories are synced to the disk.

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

// Temporary devices for tests.

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

Deno.test("peerSession makes a trusted session for which peerOf returns the peer object of the other devices", async () => {
  await using temp = await TempDevices.create("camera", "viewer");
  const session = temp.peerSession("viewer");
  const { pairedAt: _, ...peer } = peerOf(session);
  const { pairedAt: __, ...peerFields } = (await temp.devices.camera.peer("viewer"))!;
  assertEquals(peer, peerFields);
  assertEquals([session.user, await describeTrust(session)], ["viewer", "trusted"]);
  const response = await callApp((_request, { user }) => reply(200, user), mkreq("GET", "/"), {
    session: temp.peerSession("camera"),
  });
  assertEquals(await response.text(), "camera");
  assertThrows(() => temp.peerSession("toaster" as "camera"), RangeError, "camera, viewer");
  await using singleDevice = await TempDevices.create("camera");
  assertEquals(peerOf(singleDevice.peerSession("camera")).id, singleDevice.devices.camera.id);
});

Deno.test("TempDevices rejects invalid device names", async () => {
  const create = TempDevices.create as (...names: unknown[]) => Promise<unknown>;
  await assertRejects(() => create("a", "a"), RangeError);
  await assertRejects(() => create("a/b"), RangeError);
  await assertRejects(() => create("a", 5), TypeError);
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
