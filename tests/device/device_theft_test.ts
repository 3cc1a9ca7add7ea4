/** What is possible with a stolen directory, or on the same machine. */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { TlsError } from "@degu/degu/base";
import { Server } from "@degu/degu/server";
import { assertWorks, hello, LOOPBACK, setUpClient } from "@degu/testing/device_clients.ts";
import { record } from "@degu/testing/device_pairs.ts";
import { listenAgain } from "@degu/testing/ports.ts";

const ANOTHER_USER = 12345;

Deno.test("a copied directory acts as that device until its peers forget it", async () => {
  await using setup = await setUpClient();
  const { devices, camera, viewer, server } = setup;
  await copyDirectory(viewer.dir, devices.path("stolen"));
  const thief = await devices.open("stolen", { name: "viewer" });
  assertEquals(thief.id, viewer.id);
  const client = await thief.client("camera");
  using conn = await client.connect();
  await conn.get("/");
  await camera.forget("viewer");
  await assertRejects(() => conn.get("/"));
  await assertRejects(() => client.request("GET", "/"));
  // The owner pairs a new identity, which is of no use to the thief.
  const fresh = await devices.open("fresh", { name: "viewer" });
  await record(camera, fresh);
  await record(fresh, camera, { addresses: [server.address] });
  await assertWorks(await fresh.client("camera"));
  await assertRejects(() => client.request("GET", "/"));
  // What the thief serves is not what the camera looks for.
  await using fake = thief.listen(LOOPBACK, hello);
  fake.serveForever();
  await fake.ready;
  const lured = await camera.client("viewer", { addresses: [fake.address] });
  const error = await assertRejects(() => lured.connect(), TlsError);
  assertEquals(error.code, "UNTRUSTED");
});

Deno.test("a copied directory can't be used to impersonate the peers in it", async () => {
  await using setup = await setUpClient();
  const { devices, camera, viewer } = setup;
  await copyDirectory(viewer.dir, devices.path("stolen"));
  const thief = await devices.open("stolen", { name: "viewer" });
  // It has the camera's authority, but not its key: whoever trusts the camera is not fooled.
  const friend = await devices.open("friend");
  await record(friend, camera);
  await record(thief, friend);
  await using fake = thief.listen(LOOPBACK, hello);
  fake.serveForever();
  await fake.ready;
  const client = await friend.client("camera", { addresses: [fake.address] });
  const error = await assertRejects(() => client.connect(), TlsError);
  assertEquals(error.code, "UNTRUSTED");
});

Deno.test("a process that has taken over the port of a device is not mistaken for it", async () => {
  await using setup = await setUpClient();
  const { viewer, server } = setup;
  const { address } = server;
  await server.shutdown();
  await using plain = await listenAgain(() => new Server(address, hello));
  plain.serveForever();
  const client = await viewer.client("camera");
  const error = await assertRejects(() => client.connect(), TlsError);
  assertMatch(error.code, /^(NOT_TLS|CLOSED)$/);
});

Deno.test({
  name: "a process of another user can't read or change the directory of a device",
  ignore: Deno.uid() !== 0,
  async fn() {
    await using setup = await setUpClient();
    const { camera, devices } = setup;
    // Everybody may come as far as the directory itself.
    await Deno.chmod(devices.path("."), 0o755);
    const program = `
import os, sys
os.setgid(${ANOTHER_USER}); os.setuid(${ANOTHER_USER})
dir = sys.argv[1]
attempts = [
  lambda: os.listdir(dir),
  lambda: open(dir + "/device.json"),
  lambda: os.listdir(dir + "/peers"),
  lambda: open(dir + "/lock", "r+"),
  lambda: open(dir + "/peers/new", "w"),
  lambda: os.rename(dir, dir + "-moved"),
]
for attempt in attempts:
  try:
    attempt()
    print("done")
  except PermissionError:
    print("denied")`;
    const { stdout, stderr } = await new Deno.Command("python3", {
      args: ["-c", program, camera.dir],
      stdin: "null",
    }).output();
    const lines = new TextDecoder().decode(stdout).trim().split("\n");
    assertEquals(lines, Array(6).fill("denied"), new TextDecoder().decode(stderr));
    assert((await camera.peers()).length === 1);
  },
});

async function copyDirectory(from: string, to: string): Promise<void> {
  await Deno.mkdir(to, { mode: 0o700 });
  for await (const { name, isDirectory } of Deno.readDir(from)) {
    if (isDirectory) await copyDirectory(`${from}/${name}`, `${to}/${name}`);
    else await Deno.copyFile(`${from}/${name}`, `${to}/${name}`);
  }
}
