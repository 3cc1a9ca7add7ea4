/** The identity of an open device. */
import { assertEquals, assertNotEquals } from "@std/assert";
import { join } from "@std/path";
import { FakeTime } from "@std/testing/time";
import { Device } from "@degu/degu/device";
import { openDevicePki } from "@degu/internal/identity/device_pki.ts";
import { authorityOf, record } from "@degu/testing/device_pairs.ts";
import { tempDir } from "@degu/testing/directories.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";

const HOUR = 60 * 60 * 1000;

const app = () => [204, "No Content", {}, null] as const;

Deno.test("a certificate is renewed while the device is open, by itself or by another process", async () => {
  await using dir = await tempDir();
  const logger = new RecordingLogger();
  // The device looks every hour. No other timer is needed here: nothing is late.
  using time = new FakeTime();
  await using camera = await Device.open(join(dir.path, "camera"), { name: "camera", logger });
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
  assertEquals((await seen()).fingerprint256, before.fingerprint256);
  time.tick(HOUR);
  for (let tries = 0; tries < 500 && after.fingerprint256 === before.fingerprint256; tries++) {
    after = await seen();
  }
  assertNotEquals(after.fingerprint256, before.fingerprint256);
  assertEquals(after.publicKey256, before.publicKey256);
  assertEquals(after.authority!.raw, (await authorityOf(camera.dir)).der);
  assertEquals(logger.at("error"), []);
});
