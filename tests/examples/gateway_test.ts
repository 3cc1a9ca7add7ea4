/** The gateway of the examples: each peer reaches what the rules have for it, and nothing else. */
import { type App, type Client, type Method, reply, Server } from "@degu/degu";
import { Device } from "@degu/degu/device";
import { TempDevices } from "@degu/degu/misc";
import { tempDir } from "@degu/testing/directories.ts";
import { assertNeeded, runExample, startExample } from "@degu/testing/examples.ts";
import { unusedPort } from "@degu/testing/ports.ts";
import { buildGateway } from "@degu/internal/examples/gateway.ts";
import { assert, assertEquals } from "@std/assert";

const GATEWAY = "examples/gateway.ts";

/** What the camera behind the gateway answers: who asks, and for what. */
const camera: App = ({ method, uri, headers }) =>
  reply(200, `${headers["x-peer"]} ${method} ${uri}`);

const textOf = async (client: Client, ...request: Parameters<Client["request"]>) => {
  const response = await client.request(...request);
  return [response.status, await response.text()];
};

Deno.test("each peer can do what the rules say", async () => {
  await using dir = await tempDir();
  await using _behind = await Server.start(`${dir.path}/socket`, camera);
  await using temp = await TempDevices.create(
    "gateway",
    "phone",
    "tablet",
    "doorbell",
    "constructor",
  );
  const { gateway, ...peers } = temp.devices;
  await using server = await gateway.serve(["127.0.0.1", 0], buildGateway(`${dir.path}/socket`));
  const rows: [
    peer: keyof typeof peers,
    method: Method,
    uri: string,
    status: number,
    text: string,
  ][] = [
    ["doorbell", "POST", "/notes/?text=ring", 201, '["doorbell: ring"]'],
    ["doorbell", "GET", "/notes/", 405, ""],
    ["doorbell", "GET", "/camera/live", 410, ""],
    ["phone", "GET", "/notes/", 200, '["doorbell: ring"]'],
    ["phone", "GET", "/camera/live", 200, "phone GET /live"],
    ["phone", "PUT", "/camera/zoom", 200, "phone PUT /zoom"],
    ["tablet", "GET", "/camera/live", 200, "tablet GET /live"],
    ["tablet", "PUT", "/camera/zoom", 405, ""],
    ["tablet", "GET", "/notes/", 410, ""],
    ["constructor", "GET", "/camera/live", 403, ""],
    ["constructor", "GET", "/notes/", 403, ""],
  ];
  for (const [peer, method, uri, status, text] of rows) {
    const client = await peers[peer].client("gateway", { addresses: [server.address] });
    assertEquals(await textOf(client, method, uri), [status, text], `${peer} ${method} ${uri}`);
  }
});

Deno.test("no peer can tell the camera that it is another one", async () => {
  await using dir = await tempDir();
  await using _behind = await Server.start(`${dir.path}/socket`, camera);
  await using temp = await TempDevices.create("gateway", "tablet");
  const { gateway, tablet } = temp.devices;
  await using server = await gateway.serve(["127.0.0.1", 0], buildGateway(`${dir.path}/socket`));
  const client = await tablet.client("gateway", { addresses: [server.address] });
  for (const headers of [{ "x-peer": "phone" }, { "x-peer": "phone", connection: "x-peer" }]) {
    assertEquals(await textOf(client, "GET", "/camera/", headers), [200, "tablet GET /"]);
  }
});

Deno.test("the gateway pairs a device under the name that the rules have, and outlives the camera", async () => {
  await using dir = await tempDir();
  const [cwd, audit, port] = [`${dir.path}/gateway`, `${dir.path}/audit`, `${await unusedPort()}`];
  await Deno.mkdir(cwd);
  await using running = await startExample(GATEWAY, {
    cwd,
    audit,
    args: ["phone", "127.0.0.1", port],
  });
  await using phone = await Device.open(`${dir.path}/phone`, { name: "annas-phone" });
  await phone.join(await running.printed(/^degu:\S+$/m));
  await running.printed(/^Paired with phone \([a-z2-7]{52}\)\.$/m);

  const client = await phone.client("gateway");
  assertEquals(await textOf(client, "POST", "/notes/?text=hello"), [201, '["phone: hello"]']);
  assertEquals(await textOf(client, "GET", "/camera/"), [502, ""]);
  {
    await using _behind = await Server.start(`${cwd}/camera.socket`, camera);
    assertEquals(await textOf(client, "GET", "/camera/"), [200, "phone GET /"]);
  }
  assertEquals(await textOf(client, "GET", "/camera/"), [502, ""]);
  await running.printed(/ - phone \[.*"GET \/camera\/ HTTP\/1\.1" 502 -$/m);

  running.child.kill("SIGTERM");
  assert((await running.ended()).success);
  // Only a wildcard needs the addresses of the machine.
  const options = { cwd: dir.path, args: ["phone", "0.0.0.0", "0"] };
  await assertNeeded(GATEWAY, audit, cwd, (flags) => runExample(GATEWAY, { ...options, flags }));
});
