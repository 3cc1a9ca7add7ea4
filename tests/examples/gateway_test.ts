/** The gateway of the examples: each peer can send only the requests that the rules allow. */
import { type App, Client, ConnectionPool, type Method, reply, Server } from "@degu/degu";
import { Device } from "@degu/device";
import { callApp, mkreq } from "@degu/degu/misc";
import { createTempDir } from "@degu/testing/directories.ts";
import { assertNeeded, pairExamples, startExample } from "@degu/testing/examples.ts";
import { makePeerSession } from "@degu/testing/peer_sessions.ts";
import { findUnusedPort } from "@degu/testing/ports.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";
import { buildGateway } from "@degu/internal/examples/gateway.ts";
import { assert, assertEquals } from "@std/assert";

const GATEWAY = "examples/gateway.ts";

/** The response of the camera behind the gateway: the peer and the request. */
const camera: App = ({ method, uri, headers }) =>
  reply(200, `${headers["x-peer"]} ${method} ${uri}`);

/**
 * Sends a request to the gateway as the peer with this name; resolves to the status and the text of
 * the response.
 */
async function ask(app: App, peer: string, ...request: Parameters<typeof mkreq>) {
  const session = makePeerSession(peer);
  const response = await callApp(app, mkreq(...request), { session });
  const answered = [response.status, await response.text()];
  session.close();
  return answered;
}

/** Builds the gateway in front of a camera that serves. */
async function setUp() {
  const stack = new AsyncDisposableStack();
  const { path } = stack.use(await createTempDir());
  stack.use(await Server.start(`${path}/socket`, camera));
  const app = buildGateway(stack.use(new ConnectionPool(new Client(`${path}/socket`))));
  return { app, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

Deno.test("the gateway accepts from each peer only the requests that the rules allow", async () => {
  await using setup = await setUp();
  for (
    const [peer, method, uri, status, text] of [
      ["doorbell", "POST", "/notes/?text=ring", 201, '["doorbell: ring"]'],
      ["doorbell", "GET", "/notes/", 405, ""],
      ["doorbell", "GET", "/camera/live", 404, ""],
      ["phone", "GET", "/notes/", 200, '["doorbell: ring"]'],
      ["phone", "GET", "/camera/live", 200, "phone GET /live"],
      ["phone", "PUT", "/camera/zoom", 200, "phone PUT /zoom"],
      ["tablet", "GET", "/camera/live", 200, "tablet GET /live"],
      ["tablet", "PUT", "/camera/zoom", 405, ""],
      ["tablet", "GET", "/notes/", 404, ""],
      ["constructor", "GET", "/camera/live", 403, ""],
      ["constructor", "GET", "/notes/", 403, ""],
    ] as const
  ) {
    const label = `${peer} ${method} ${uri}`;
    assertEquals(await ask(setup.app, peer, method, uri), [status, text], label);
  }
});

Deno.test("no peer can impersonate another to the camera", async () => {
  await using setup = await setUp();
  for (const headers of [{ "x-peer": "phone" }, { "x-peer": "phone", connection: "x-peer" }]) {
    assertEquals(await ask(setup.app, "tablet", "GET", "/camera/", headers), [200, "tablet GET /"]);
  }
});

Deno.test("the gateway identifies a device by its name in the rules, and survives the camera's end", async () => {
  await using dir = await createTempDir();
  const [cwd, audit] = [`${dir.path}/gateway`, `${dir.path}/audit`];
  const args = ["127.0.0.1", `${await findUnusedPort()}`];
  await Deno.mkdir(cwd);
  await using running = await startExample(GATEWAY, { cwd, audit, args });
  await running.waitForStdout(/^Serving/m);
  await using phone = await Device.open(`${dir.path}/phone`, { name: "annas-phone" });
  await pairExamples(`${cwd}/gateway-device`, phone.dir, "phone");

  const client = await phone.client("gateway");
  const textOf = async (method: Method, uri: string) => {
    const response = await client.request(method, uri);
    return [response.status, await response.text()];
  };
  // The gateway detects within a second that another process has paired its device.
  const isKnown = () => client.request("GET", "/notes/").then(() => true, () => false);
  const waitUntilKnown = async () => {
    while (!await isKnown());
  };
  await withTimeout(waitUntilKnown(), "the gateway knows the phone");
  assertEquals(await textOf("POST", "/notes/?text=hello"), [201, '["phone: hello"]']);
  assertEquals(await textOf("GET", "/camera/"), [503, ""]);
  {
    await using _behind = await Server.start(`${cwd}/camera.socket`, camera);
    assertEquals(await textOf("GET", "/camera/"), [200, "phone GET /"]);
  }
  assertEquals(await textOf("GET", "/camera/"), [503, ""]);
  await running.waitForStdout(/ - phone \[.*"GET \/camera\/ HTTP\/1\.1" 503 -$/m);

  running.child.kill("SIGTERM");
  assert((await running.waitForEnd()).success);
  await assertNeeded(GATEWAY, audit, cwd);
});
