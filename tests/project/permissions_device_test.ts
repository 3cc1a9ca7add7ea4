/** The permissions of devices in docs/permissions.md. */
import { join } from "@std/path";
import { Device } from "@degu/degu/device";
import type { App } from "@degu/degu/server";
import { record } from "@degu/testing/device_pairs.ts";
import { tempDir } from "@degu/testing/directories.ts";
import { runCases } from "@degu/testing/permission_cases.ts";

const ok: App = () => [200, "OK", {}, null];

Deno.test("a device needs the permissions in the table", async () => {
  await using dir = await tempDir();
  await using camera = await Device.open(join(dir.path, "camera"), { name: "camera" });
  await using viewer = await Device.open(join(dir.path, "viewer"), { name: "viewer" });
  await record(camera, viewer);
  await using server = camera.listen(["127.0.0.1", 0], ok);
  server.serveForever();
  await server.ready;
  await record(viewer, camera, { addresses: [server.address] });
  const [, port] = server.address as readonly [string, number];
  const fresh = join(dir.path, "fresh");
  const home = viewer.dir;
  const onHome = [`read=${home}`, `write=${home}`, "sys=uid"];
  const open = `import { Device } from "./device.ts";
await using device = await Device.open(${JSON.stringify(home)});`;
  await runCases([
    {
      name: "Device.open that makes a device",
      permissions: [`read=${fresh}`, `write=${fresh}`, "sys=uid"],
      script: `import { Device } from "./device.ts";
await Deno.remove(${JSON.stringify(fresh)}, { recursive: true }).catch(() => {});
await using device = await Device.open(${JSON.stringify(fresh)}, { name: "fresh" });`,
    },
    {
      name: "Device.open, peers, rename and forget",
      permissions: onHome,
      script: `${open}
await device.rename("camera", "camera");
await device.forget("nobody");
if ((await device.peers()).length !== 1) throw new Error("no peer");`,
    },
    {
      name: "device.listen",
      permissions: [...onHome, "net=127.0.0.1:0"],
      script: `${open}
const server = device.listen(["127.0.0.1", 0], () => [200, "OK", {}, null]);
const serving = server.serveForever();
await server.ready;
await server.shutdown();
await serving;`,
    },
    {
      name: "device.client",
      permissions: [...onHome, `net=127.0.0.1:${port}`],
      script: `${open}
const client = await device.client("camera");
const { status } = await client.request("GET", "/");
if (status !== 200) throw new Error(String(status));`,
    },
  ]);
});
