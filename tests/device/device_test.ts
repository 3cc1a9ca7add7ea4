/** Opening and closing a device, and two from pairing to forgetting, as their users see it. */
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { pathToFileURL } from "node:url";
import { DeguError } from "@degu/degu/base";
import { Device } from "@degu/degu/device";
import { TestDevices } from "@degu/testing/device_pairs.ts";
import {
  answerOf,
  LOOPBACK,
  REFUSED,
  serveFrom,
  setUp,
  tellName,
} from "@degu/testing/device_serving.ts";
import { entries, tempDir } from "@degu/testing/directories.ts";
import { runScript } from "@degu/testing/processes.ts";
import { within } from "@degu/testing/raw_peer.ts";
import { makeFifo } from "@degu/testing/special_files.ts";

Deno.test("Device.open creates a device once, and later opens it", async () => {
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

Deno.test("Device.open accepts names of up to 63 letters, digits, hyphens and underscores only", async (t) => {
  const id = "a".repeat(52);
  const names = ["a", "0", "A-b_C", "a".repeat(63), `${id}a`, id.replace(/.$/, "b")]; // no 256 bits end so
  const others = [
    "a".repeat(64),
    "",
    "-a",
    "_a",
    "a b",
    "a.b",
    "caméra",
    "a\n",
    id,
    id.toUpperCase(),
  ];
  for (const name of [...names, ...others]) {
    await t.step(JSON.stringify(name), async () => {
      await using dir = await tempDir();
      const open = () => Device.open(dir.path, { name });
      if (names.includes(name)) {
        await using device = await open();
        assertEquals(device.name, name);
      } else {
        await assertRejects(open, RangeError, "name:");
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

Deno.test("simultaneous opens of one directory create one device", async () => {
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

Deno.test("disposing closes servers and connections, and closes the device", async () => {
  await using setup = await setUp();
  const { camera, viewer } = setup;
  const client = await viewer.client("camera");
  const conn = await client.connect();
  await conn.get("/");
  await viewer[Symbol.asyncDispose]();
  await viewer[Symbol.asyncDispose]();
  await assertRejects(() => conn.get("/"), Error, "closed");
  await assertRejects(() => client.connect(), Error, "device was closed");
  assertThrows(() => viewer.listen(LOOPBACK, tellName), DeguError, "closed");
  await assertRejects(() => viewer.client("camera"), DeguError, "closed");
  await assertRejects(() => viewer.invite(), DeguError, "closed");
  await assertRejects(() => viewer.join("degu:"), DeguError, "closed");
  await camera[Symbol.asyncDispose]();
});

Deno.test("a device that is not disposed of does not keep the process alive", async () => {
  await using dir = await tempDir();
  const script = `import { Device } from "./device.ts";
const device = await Device.open(${JSON.stringify(dir.path)}, { name: "camera" });
console.log(device.name);`;
  const flags = [`--allow-read=${dir.path}`, `--allow-write=${dir.path}`, "--allow-sys=uid"];
  assertEquals((await within(runScript(script, flags, {}), "it ends", 60)).trim(), "camera");
});

Deno.test("a FIFO in the directory of a device does not block it", async () => {
  await using devices = await TestDevices.create();
  const device = await devices.open("camera");
  const fifo = join(device.dir, "serving", "0123456789abcdef");
  if (!await makeFifo(fifo)) return;
  const reading = device.serving();
  assertEquals(await within(reading, "the records are read"), []);
  assertEquals((await Deno.lstat(fifo)).isFifo, true);
  await devices.open("viewer");
  const name = join(devices.path("viewer"), "device.json");
  await Deno.remove(name);
  await makeFifo(name);
  const opened = assertRejects(() => Device.open(devices.path("viewer")), Deno.errors.InvalidData);
  await within(opened, "the device is refused");
});

Deno.test("a pairing takes effect in running servers, even those of other processes", async () => {
  await using devices = await TestDevices.create();
  const [camera, viewer] = [await devices.open("camera"), await devices.open("viewer")];
  const agent = await devices.open("camera"); // as a second process
  await using _server = await serveFrom(camera);
  await using invitation = await agent.invite({ listen: [LOOPBACK] });
  await viewer.join(invitation.line);
  await invitation.paired;
  const client = await viewer.client("camera");
  const end = Date.now() + 20_000;
  let name = REFUSED;
  while (name === REFUSED && Date.now() < end) name = await answerOf(client);
  assertEquals(name, "viewer");
});
