/** A device's directory, name and id. */
import {
  assert,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { createHash, X509Certificate } from "node:crypto";
import { join } from "@std/path";
import { pathToFileURL } from "node:url";
import { DeguError } from "@degu/degu/base";
import { Device } from "@degu/degu/device";
import { openDevice } from "@degu/internal/device/device.ts";
import { openDevicePki } from "@degu/internal/pki/device_pki.ts";
import { authorityOf, record, storeOf, TestDevices } from "@degu/testing/device_pairs.ts";
import { entries, mode, tempDir } from "@degu/testing/directories.ts";
import { runScript } from "@degu/testing/processes.ts";
import { within } from "@degu/testing/raw_peer.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";
import { makeFifo } from "@degu/testing/special_files.ts";

const onPosix = Deno.build.os !== "windows";
const app = () => [204, "No Content", {}, null] as const;

Deno.test("Device.open makes a device once, and opens it from then on", async () => {
  await using dir = await tempDir();
  const path = join(dir.path, "home", "camera");
  let id;
  {
    await using device = await Device.open(path, { name: "Camera_1" });
    ({ id } = device);
    assertEquals([device.name, device.dir], ["Camera_1", path]);
  }
  for (const options of [{}, { name: "Camera_1" }, { name: "CAMERA_1" }]) {
    await using device = await Device.open(pathToFileURL(path), options);
    assertEquals([device.name, device.dir, device.id], ["Camera_1", path, id]);
  }
});

Deno.test("the id is the SHA-256 of the key of the authority, in base32", async () => {
  await using devices = await TestDevices.create();
  const device = await devices.open("camera");
  const [home = ""] = await entries(join(device.dir, "identity"));
  const pem = await Deno.readTextFile(join(device.dir, "identity", home, "ca.pem"));
  const key = new X509Certificate(pem).publicKey.export({ type: "spki", format: "der" });
  const bits = Array.from(
    createHash("sha256").update(key).digest(),
    (byte: number) => byte.toString(2).padStart(8, "0"),
  ).join("") + "0000";
  const digits = bits.match(/.{5}/g)!.map((five) =>
    "abcdefghijklmnopqrstuvwxyz234567"[parseInt(five, 2)]
  );
  assertEquals(device.id, digits.join(""));
});

Deno.test("Device.open wants a name where there is no device, and leaves nothing behind without one", async () => {
  await using dir = await tempDir();
  const path = join(dir.path, "camera");
  const error = await assertRejects(() => Device.open(path), RangeError, "name:");
  assertStringIncludes(error.message, "no device");
  assertEquals(await entries(dir.path), []);
});

Deno.test("Device.open rejects another name than the device has", async () => {
  await using devices = await TestDevices.create();
  const { dir } = await devices.open("camera");
  await assertRejects(() => Device.open(dir, { name: "viewer" }), RangeError, '"camera"');
});

Deno.test("Device.open takes names of 63 letters, digits, hyphens and underscores, and no others", async (t) => {
  const id = "a".repeat(52);
  const rows: [name: string, isName: boolean][] = [
    ["a", true],
    ["0", true],
    ["A-b_C", true],
    ["a".repeat(63), true],
    ["a".repeat(64), false],
    ["", false],
    ["-a", false],
    ["_a", false],
    ["a b", false],
    ["a.b", false],
    ["caméra", false],
    ["a\n", false],
    [id, false],
    [id.toUpperCase(), false],
    [`${id}a`, true],
    [id.replace(/.$/, "b"), true], // no 256 bits end so
  ];
  for (const [name, isName] of rows) {
    await t.step(`${JSON.stringify(name)}: ${isName}`, async () => {
      await using dir = await tempDir();
      if (isName) {
        await using device = await Device.open(dir.path, { name });
        assertEquals(device.name, name);
      } else {
        await assertRejects(() => Device.open(dir.path, { name }), RangeError, "name:");
        assertEquals(await entries(dir.path), []);
      }
    });
  }
});

Deno.test("Device.open rejects arguments of a wrong type, and unknown options", async () => {
  await using dir = await tempDir();
  const open = Device.open as (dir: unknown, options?: unknown) => Promise<Device>;
  const wrong = [
    () => open(1),
    () => open(dir.path, null),
    () => open(dir.path, { name: 1 }),
    () => open(dir.path, { nam: "camera" }),
    () => open(dir.path, { name: "camera", logger: {} }),
    () => open(dir.path, { name: "camera", logger: null }),
  ];
  for (const each of wrong) await assertRejects(each, TypeError);
  await assertRejects(() => open("camera", { name: "camera" }), RangeError, "absolute");
  await assertRejects(() => open(new URL("https://a/b"), { name: "camera" }), RangeError, "file");
  assertEquals(await entries(dir.path), []);
});

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
  name: "Device.open rejects a directory that others could have written",
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
  name: "Device.open leaves the mode of a directory alone that has other things in it",
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

Deno.test("devices that are opened at once in one directory are one", async () => {
  await using dir = await tempDir();
  const opened = await Promise.all(
    Array.from({ length: 4 }, () => Device.open(dir.path, { name: "camera" })),
  );
  const ids = new Set(opened.map(({ id }) => id));
  for (const device of opened) await device[Symbol.asyncDispose]();
  assertEquals(ids.size, 1);
  const names = await Promise.allSettled(
    ["a", "b"].map((name) => Device.open(join(dir.path, "other"), { name })),
  );
  for (const each of names) {
    if (each.status === "fulfilled") await each.value[Symbol.asyncDispose]();
  }
  assertEquals(names.map(({ status }) => status).toSorted(), ["fulfilled", "rejected"]);
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

Deno.test("two devices have different ids", async () => {
  await using devices = await TestDevices.create();
  const [one, two] = [await devices.open("one"), await devices.open("two")];
  assertMatch(one.id, /^[a-z2-7]{52}$/);
  assertNotEquals(one.id, two.id);
});

Deno.test("disposing closes servers and connections, and the device is closed then", async () => {
  await using devices = await TestDevices.create();
  const camera = await devices.open("camera");
  const viewer = await devices.open("viewer");
  await record(camera, viewer);
  const server = camera.listen(["127.0.0.1", 0], app);
  const serving = server.serveForever();
  await server.ready;
  await record(viewer, camera, { addresses: [server.address] });
  const client = await viewer.client("camera");
  const conn = await client.connect();
  await conn.get("/");
  await viewer[Symbol.asyncDispose]();
  await viewer[Symbol.asyncDispose]();
  await assertRejects(() => conn.get("/"), Error, "closed");
  await assertRejects(() => client.connect(), Error, "device was closed");
  assertThrows(() => viewer.listen(["127.0.0.1", 0], app), DeguError, "closed");
  await assertRejects(() => viewer.client("camera"), DeguError, "closed");
  await assertRejects(() => viewer.invite(), DeguError, "closed");
  await assertRejects(() => viewer.join("degu:"), DeguError, "closed");
  await camera[Symbol.asyncDispose]();
  await within(serving, "the server ends");
});

Deno.test("a device that nobody disposes of keeps no process alive", async () => {
  await using dir = await tempDir();
  const script = `import { Device } from "./device.ts";
const device = await Device.open(${JSON.stringify(dir.path)}, { name: "camera" });
console.log(device.name);`;
  const flags = [`--allow-read=${dir.path}`, `--allow-write=${dir.path}`, "--allow-sys=uid"];
  assertEquals((await within(runScript(script, flags, {}), "it ends", 60)).trim(), "camera");
});

Deno.test("a certificate is renewed while the device is open, by itself or by another process", async () => {
  await using dir = await tempDir();
  const logger = new RecordingLogger();
  const life = { certificate: { days: 365, renewalDays: 30 }, lookEvery: 50 };
  await using camera = await openDevice(join(dir.path, "camera"), { name: "camera", logger }, life);
  await using viewer = await Device.open(join(dir.path, "viewer"), { name: "viewer" });
  await record(camera, viewer);
  await using server = camera.listen(["127.0.0.1", 0], app);
  server.serveForever();
  await server.ready;
  await record(viewer, camera, { addresses: [server.address] });
  const client = await viewer.client("camera");
  const seen = async () => {
    using conn = await client.connect();
    return conn.sock.peerCertificate!;
  };
  const before = await seen();
  const renewal = { days: 365, renewalDays: 400 };
  await openDevicePki(join(camera.dir, "identity"), "camera", {}, renewal);
  let after = before;
  const end = Date.now() + 20_000;
  while (after.fingerprint256 === before.fingerprint256 && Date.now() < end) after = await seen();
  assertNotEquals(after.fingerprint256, before.fingerprint256);
  assertEquals(after.publicKey256, before.publicKey256);
  assertEquals(after.authority!.raw, (await authorityOf(camera.dir)).der);
  assertEquals(logger.at("error"), []);
});

Deno.test({
  name: "a FIFO in the directory of a device is not waited for",
  ignore: !onPosix,
  async fn() {
    await using devices = await TestDevices.create();
    const device = await devices.open("camera");
    const fifo = join(device.dir, "serving", "0123456789abcdef");
    if (!await makeFifo(fifo)) return;
    const reading = (await storeOf(device.dir)).servingAddresses();
    assertEquals(await within(reading, "the records are read"), []);
    assertEquals((await Deno.lstat(fifo)).isFifo, true);
    await devices.open("viewer");
    const name = join(devices.path("viewer"), "device.json");
    await Deno.remove(name);
    await makeFifo(name);
    const opened = assertRejects(
      () => Device.open(devices.path("viewer")),
      Deno.errors.InvalidData,
    );
    await within(opened, "the device is refused");
  },
});
