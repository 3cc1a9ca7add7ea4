/**
 * The gateway, the live pictures, the conversation and the JSON API of the examples. The test in
 * examples/ tests the responses of the API.
 */
import {
  type App,
  Client,
  ConnectionPool,
  type Method,
  reply,
  Server,
  type Session,
} from "@degu/degu";
import { Device } from "@degu/degu/device";
import { callApp, mkreq } from "@degu/degu/misc";
import { createTempDir } from "@degu/testing/directories.ts";
import { assertNeeded, pairExamples, startExample } from "./examples.ts";
import { makePeerSession } from "../../device/tests/peer_sessions.ts";
import { findUnusedPort } from "@degu/testing/ports.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";
import { buildGateway } from "@degu/internal/examples/gateway.ts";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { makeLiveApp, Pictures, watch } from "@degu/internal/examples/live.ts";

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
    while (!await isKnown()) await new Promise((resolve) => setTimeout(resolve, 50));
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

// ───────────────────────── live.ts

const LIVE = "examples/live.ts";
/** More bytes than the buffers of a connection hold. */
const PICTURE_BYTES = 16_777_216;
const PICTURES = 5;

/** Makes a picture from a number; pictures with other numbers differ. */
function picture(number: number): Uint8Array {
  const data = new Uint8Array(PICTURE_BYTES);
  new DataView(data.buffer).setUint32(0, number);
  return data;
}

const numberOf = (data: Uint8Array) => new DataView(data.buffer, data.byteOffset).getUint32(0);

/** Pictures whose requests a test can wait for. */
class Watched extends Pictures {
  pictureRequested = Promise.withResolvers<void>();

  override next(viewer: Session): Promise<Uint8Array | null> {
    const nextPicture = super.next(viewer);
    this.pictureRequested.resolve();
    return nextPicture;
  }
}

Deno.test("a viewer that pauses misses pictures, gets the newest one next, and doesn't delay other viewers", async () => {
  const pictures = new Watched();
  const options = { timeout: null };
  await using server = await Server.start(["127.0.0.1", 0], makeLiveApp(pictures), options);
  const client = new Client(server.address, options);
  pictures.set(picture(1));
  using slow = await client.connect();
  const first = await slow.get("/");

  const leaving = new AbortController();
  const seenNumbers: number[] = [];
  await watch(client, (data) => {
    seenNumbers.push(numberOf(data));
    if (seenNumbers.length === PICTURES) leaving.abort();
    else pictures.set(picture(seenNumbers.length + 1));
  }, leaving.signal);
  assertEquals(seenNumbers, Array.from({ length: PICTURES }, (_, i) => i + 1));

  assertEquals(numberOf(await first.bytes()), 1);
  assertEquals(numberOf(await (await slow.get("/")).bytes()), PICTURES);
  pictures.pictureRequested = Promise.withResolvers();
  const nextResponse = slow.get("/");
  await pictures.pictureRequested.promise;
  pictures.set(picture(PICTURES + 1));
  const number = numberOf(await (await nextResponse).bytes());
  assertEquals(number, PICTURES + 1, "no picture comes twice");
});

Deno.test("a viewer reconnects after the camera was offline, and both end on SIGTERM", async () => {
  await using dir = await createTempDir();
  const [port, audit] = [`${await findUnusedPort()}`, `${dir.path}/audit`];
  const camera = () => startExample(LIVE, { args: ["serve", port], audit });
  await using first = await camera();
  await first.waitForStdout(/^The pictures are at .*\n/m);
  await using viewer = await startExample(LIVE, { args: ["watch", port] });
  await viewer.waitForStdout(/^\d{4}-.*Z\n\d{4}-.*Z\n/m);
  first.kill();
  await first.child.status;
  const killed = Date.now();
  await viewer.waitForStderr(/next run in 1 s\n/);
  await using second = await camera();
  while (Date.parse(await viewer.waitForStdout(/^\d{4}-.*Z$/m)) < killed);

  const response = await new Client(["127.0.0.1", Number(port)]).request("GET", "/");
  assertEquals(response.headers["content-type"], "text/plain");
  assertMatch(await response.text(), /^\d{4}-.*Z\n$/, "one picture");
  second.child.kill("SIGTERM");
  assert((await second.waitForEnd()).success);
  viewer.child.kill("SIGTERM");
  assert((await viewer.waitForEnd()).success);
  await assertNeeded(LIVE, audit, dir.path);
});

// ───────────────────────── api.ts

Deno.test("api.ts serves lamps until SIGTERM, and refuses a body that is too long", async () => {
  const path = "examples/api.ts";
  await using dir = await createTempDir();
  const audit = `${dir.path}/audit`;
  await using running = await startExample(path, { args: ["0"], audit });
  const [, port] = /:(\d+)\//.exec(await running.waitForStdout(/^Serving at .*$/m))!;
  const client = new Client(["127.0.0.1", Number(port)]);
  const putResponse = await client.request("PUT", "/lamp/kitchen", {}, '{"on": true}');
  assertEquals([putResponse.status, await putResponse.json()], [201, { on: true }]);
  const lamps = await client.request("GET", "/lamps");
  assertEquals(await lamps.json(), { kitchen: { on: true } });
  const tooLong = await client.request("PUT", "/lamp/kitchen", {}, " ".repeat(1001));
  assertEquals([tooLong.status, await tooLong.text()], [413, ""]);
  running.child.kill("SIGTERM");
  assert((await running.waitForEnd()).success);
  await assertNeeded(path, audit, dir.path);
});
