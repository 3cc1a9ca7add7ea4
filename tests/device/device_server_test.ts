/** The server of a device accepts only its peers. */
import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { peerOf } from "@degu/degu/device";
import type { Session, SSLServer } from "@degu/degu/server";
import { makeAuthority, makeLeaf } from "@degu/testing/authorities.ts";
import { authorityOf, record, storeOf, TestDevices } from "@degu/testing/device_pairs.ts";
import {
  answerOf,
  clientWith,
  LOOPBACK,
  ownCertificate,
  PATIENCE_MILLISECONDS,
  recordAuthority,
  REFUSED,
  setUp,
  tellName,
} from "@degu/testing/device_serving.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";

Deno.test("a peer is accepted, and peerOf returns it", async () => {
  await using setup = await setUp((_request, session) => {
    const { id, name } = peerOf(session);
    return [200, "OK", { name: `${name} ${id}` }, null];
  });
  assertEquals(await setup.ask(), `viewer ${setup.viewer.id}`);
  await setup.camera.rename("viewer", "anna");
  assertEquals(await setup.ask(), `anna ${setup.viewer.id}`);
});

Deno.test("a stranger is refused, and so is the device itself", async () => {
  const asked: Session[] = [];
  await using setup = await setUp({
    onConnect: (session) => asked.push(session) > 0,
    handle: tellName as never,
  });
  const { devices, camera } = setup;
  const stranger = await devices.open("stranger", { name: "viewer" });
  await record(stranger, camera, { addresses: [setup.server.address] });
  assertEquals(await setup.ask(stranger), REFUSED);
  const { cert, key } = await ownCertificate(camera);
  assertEquals(await answerOf(await clientWith(camera, setup.server.address, cert, key)), REFUSED);
  assertEquals(asked, []);
  assertEquals(await setup.ask(), "viewer");
  assertEquals(setup.logger.at("warn"), []);
});

Deno.test("a server without peers refuses everybody until there is one", async () => {
  await using devices = await TestDevices.create();
  const [camera, viewer] = [await devices.open("camera"), await devices.open("viewer")];
  await using server = camera.listen(LOOPBACK, tellName);
  server.serveForever();
  await server.ready;
  await record(viewer, camera, { addresses: [server.address] });
  const client = await viewer.client("camera");
  assertEquals(await answerOf(client), REFUSED);
  await record(camera, viewer);
  assertEquals(await answerOf(client), "viewer");
});

Deno.test("a pairing that another process stored takes effect while the server runs", async () => {
  await using setup = await setUp();
  const { devices, camera } = setup;
  const other = await devices.open("other");
  await record(other, camera, { addresses: [setup.server.address] });
  const store = await storeOf(camera.dir);
  await store.record({
    authority: await authorityOf(other.dir),
    receivedName: "other",
    addresses: [],
  });
  let answer = REFUSED;
  const end = Date.now() + PATIENCE_MILLISECONDS;
  while (answer === REFUSED && Date.now() < end) answer = await setup.ask(other);
  assertEquals(answer, "other");
});

Deno.test("malicious paired peer: a certificate below an intermediate authority of its own is refused", async () => {
  await using setup = await setUp();
  const { camera, server, logger } = setup;
  const root = await makeAuthority();
  await recordAuthority(camera, root, "mallory");
  const between = await makeAuthority({ issuer: root });
  const below = await makeLeaf(between);
  const chain = below.pem + between.pem;
  const client = await clientWith(camera, server.address, chain, below.keyPem);
  assertEquals(await answerOf(client), REFUSED);
  assertMatch(logger.at("info").join("\n"), /has not signed its certificate directly/);
  const direct = await makeLeaf(root);
  const other = await clientWith(camera, server.address, direct.pem, direct.keyPem);
  assertEquals(await answerOf(other), "mallory");
});

Deno.test("onConnect of the app can refuse a peer", async () => {
  let letIn = false;
  await using setup = await setUp({ onConnect: () => letIn, handle: tellName as never });
  assertEquals(await setup.ask(), REFUSED);
  letIn = true;
  assertEquals(await setup.ask(), "viewer");
});

Deno.test("the trust of a device's server can't be set", async () => {
  await using setup = await setUp();
  const { server } = setup;
  const { setSslctx } = server as SSLServer;
  assertThrows(() => setSslctx.call(server, server.sslctx), TypeError, "forget()");
  assertEquals(await setup.ask(), "viewer");
});

Deno.test("a device returns the addresses of its servers as long as they listen", async () => {
  await using devices = await TestDevices.create();
  const camera = await devices.open("camera");
  assertEquals(await camera.serving(), []);
  await using server = camera.listen(LOOPBACK, tellName);
  server.serveForever();
  await server.ready;
  assertEquals(await camera.serving(), [server.address]);
  await server.shutdown();
  assertEquals(await camera.serving(), []);
});

Deno.test("listen validates its arguments, and logs to the device's logger", async () => {
  await using devices = await TestDevices.create();
  const camera = await devices.open("camera");
  const listen = camera.listen.bind(camera) as (...args: unknown[]) => unknown;
  assertThrows(() => listen(LOOPBACK), TypeError, "app");
  assertThrows(() => listen(LOOPBACK, tellName, { timeOut: 1 }), TypeError, "timeOut");
  assertThrows(() => listen(LOOPBACK, tellName, null), TypeError);
  assertThrows(() => listen(["127.0.0.1", 99999], tellName), RangeError);
  const logger = new RecordingLogger();
  await using own = camera.listen(LOOPBACK, tellName, { logger, maxRequests: 3 });
  assertEquals(own.options.logger, logger);
  await using other = camera.listen(LOOPBACK, tellName);
  assertEquals(typeof other.options.logger?.warn, "function");
});

Deno.test("ready rejects if an address is in use, and leaves nothing behind", async () => {
  await using devices = await TestDevices.create();
  const camera = await devices.open("camera");
  await using first = camera.listen(LOOPBACK, tellName);
  await first.ready;
  await using second = camera.listen(first.address, tellName);
  const results = await Promise.allSettled([second.ready, second.serveForever()]);
  assertEquals(results.map(({ status }) => status), ["rejected", "rejected"]);
  assertEquals(await camera.serving(), [first.address]);
});
