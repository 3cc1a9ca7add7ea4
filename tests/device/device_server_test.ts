/** The server of a device: it lets in peers, and nobody else. */
import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { X509Certificate } from "node:crypto";
import { isStillAdmitted } from "@degu/internal/base/app/admission.ts";
import { type Address, EmptyPreambleError, TlsError } from "@degu/degu/base";
import { Client, SSLClient } from "@degu/degu/client";
import { type Device, peerOf } from "@degu/degu/device";
import { readAuthorityText } from "@degu/internal/device/authority.ts";
import { type App, Server, type Session, SSLServer } from "@degu/degu/server";
import { makeAuthority, makeLeaf, type TestAuthority } from "@degu/testing/authorities.ts";
import { authorityOf, record, storeOf, TestDevices } from "@degu/testing/device_pairs.ts";
import { inAnotherProcess } from "@degu/testing/device_programs.ts";
import { within } from "@degu/testing/raw_peer.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";
import { HandshakeRelay } from "@degu/testing/tls_relay.ts";

const LOOPBACK: Address = ["127.0.0.1", 0];
/** Far longer than it takes for what another process has written to be seen. */
const PATIENCE_MILLISECONDS = 20_000;
/** What a client sees that is not let in. */
const REFUSED = "refused";

const tellName: App = (_request, session) => [200, "OK", { name: peerOf(session).name }, null];

/** A camera that serves, and a viewer, each of which knows the other. */
async function setUp(app: App = tellName) {
  const devices = await TestDevices.create();
  const logger = new RecordingLogger();
  const camera = await devices.open("camera", { logger });
  const viewer = await devices.open("viewer");
  await record(camera, viewer);
  const server = camera.listen(LOOPBACK, app);
  const serving = server.serveForever();
  await server.ready;
  await record(viewer, camera, { addresses: [server.address] });
  return {
    devices,
    camera,
    viewer,
    server,
    logger,
    ask: async (device = viewer, address?: Address) => {
      const options = address === undefined ? {} : { addresses: [address] };
      return await answerOf(await device.client(camera.id, options));
    },
    [Symbol.asyncDispose]: async () => {
      await devices[Symbol.asyncDispose]();
      await within(serving, "the server ends");
    },
  };
}

/** What a client is called, or {@linkcode REFUSED}. */
async function answerOf(client: { request: SSLClient["request"] }): Promise<string> {
  try {
    return String((await client.request("GET", "/")).headers["name"]);
  } catch (error) {
    const isRefusal = [
      EmptyPreambleError,
      TlsError,
      Deno.errors.ConnectionReset,
      Deno.errors.BrokenPipe,
    ].some((each) => error instanceof each);
    assert(isRefusal, Deno.inspect(error));
    return REFUSED;
  }
}

/** A client with any certificate that trusts a device. */
async function clientWith(device: Device, address: Address, cert: string, key: string) {
  const ca = (await authorityOf(device.dir)).certificate;
  return new SSLClient({ ca, cert, key, checkHostname: false }, address, { timeout: 10 });
}

/** Writes an authority down as a peer. */
async function recordAuthority(at: Device, { pem }: TestAuthority, receivedName: string) {
  const authority = await readAuthorityText(pem);
  const peer = await (await storeOf(at.dir)).record({ authority, receivedName, addresses: [] });
  await at.peers();
  return peer;
}

Deno.test("a peer is let in, and is known by peerOf", async () => {
  await using setup = await setUp((_request, session) => {
    const { id, name } = peerOf(session);
    return [200, "OK", { name: `${name} ${id}` }, null];
  });
  assertEquals(await setup.ask(), `viewer ${setup.viewer.id}`);
  await setup.camera.rename("viewer", "anna");
  assertEquals(await setup.ask(), `anna ${setup.viewer.id}`);
});

Deno.test("a stranger is not let in, nor the device itself", async () => {
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

async function ownCertificate({ dir, name }: Device): Promise<{ cert: string; key: string }> {
  const read = (file: string) => Deno.readTextFile(`${dir}/identity/${name}/${file}`);
  return { cert: await read("cert.pem"), key: await read("key.pem") };
}

Deno.test("a server that has no peers yet lets nobody in, until there is one", async () => {
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

Deno.test("a pairing that another process has written takes effect while the server runs", async () => {
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

Deno.test("malicious paired peer: a certificate with the name of another is that peer's own", async () => {
  await using setup = await setUp();
  const { camera, viewer, server } = setup;
  // Its authority, and what it has signed, carry the names of the viewer's.
  const theirs = await authorityOf(viewer.dir);
  const { cert } = await ownCertificate(viewer);
  const dnOf = (pem: string) => new X509Certificate(pem).subject.replace(/^.*CN=/s, "");
  const forged = await makeAuthority({ name: dnOf(theirs.certificate) });
  await recordAuthority(camera, forged, "mallory");
  const leaf = await makeLeaf(forged, dnOf(cert));
  const client = await clientWith(camera, server.address, leaf.pem, leaf.keyPem);
  assertEquals(await answerOf(client), "mallory");
  assertEquals(await setup.ask(), "viewer");
});

Deno.test("malicious paired peer: an authority below its own lets nobody in", async () => {
  await using setup = await setUp();
  const { camera, server, logger } = setup;
  const root = await makeAuthority();
  await recordAuthority(camera, root, "mallory");
  const between = await makeAuthority({ issuer: root });
  const below = await makeLeaf(between);
  const chain = below.pem + between.pem;
  const client = await clientWith(camera, server.address, chain, below.keyPem);
  assertEquals(await answerOf(client), REFUSED);
  assertMatch(logger.at("info").join("\n"), /has not itself signed/);
  const direct = await makeLeaf(root);
  const other = await clientWith(camera, server.address, direct.pem, direct.keyPem);
  assertEquals(await answerOf(other), "mallory");
});

Deno.test("forget ends the sessions of that peer alone, and it does not come back", async () => {
  const signals: AbortSignal[] = [];
  await using setup = await setUp((_request, session) => {
    signals.push(session.signal);
    return [200, "OK", { name: peerOf(session).name }, null];
  });
  const { devices, camera, viewer, server } = setup;
  const other = await devices.open("other");
  await record(camera, other);
  await record(other, camera, { addresses: [server.address] });
  using conn = await (await viewer.client("camera")).connect();
  using kept = await (await other.client("camera")).connect();
  await conn.get("/");
  await kept.get("/");
  assertEquals(server.sessions.size, 2);
  assertEquals(await camera.forget("viewer"), true);
  assertEquals(signals.map(({ aborted }) => aborted), [true, false]);
  assertMatch(String(signals[0]!.reason), /forgotten/);
  assertEquals(server.sessions.size, 1);
  await conn.get("/").then(() => assert(false), () => {});
  assertEquals(await setup.ask(), REFUSED);
  assertEquals((await kept.get("/")).headers["name"], "other");
  // Paired again it is let in again.
  await record(camera, viewer);
  assertEquals(await setup.ask(), "viewer");
});

Deno.test("forget in another process ends sessions and connections within a second", async () => {
  await using setup = await setUp();
  const { camera, viewer, server } = setup;
  const attempts: number[] = [];
  // A machine that is busy with other things may be late for once.
  while (attempts.length < 3 && !attempts.some((milliseconds) => milliseconds < 1000)) {
    using conn = await (await viewer.client("camera")).connect();
    await conn.get("/");
    const [session] = server.sessions;
    const ended = Promise.withResolvers<number>();
    session!.signal.addEventListener("abort", () => ended.resolve(Date.now()));
    const at = await inAnotherProcess(
      camera.dir,
      `await device.forget("viewer"); console.log(Date.now());`,
    );
    attempts.push(await within(ended.promise, "the session ends", 20) - Number(at));
    assertEquals(server.sessions.size, 0);
    assertEquals(await setup.ask(), REFUSED);
    await record(camera, viewer);
  }
  assert(Math.min(...attempts) < 1000, `it took ${attempts} ms`);
});

Deno.test("a peer that dawdles in its handshake is let in no later than it is forgotten", async () => {
  const asked: Session[] = [];
  await using setup = await setUp({
    onConnect: (session) => asked.push(session) > 0,
    handle: tellName as never,
  });
  const { camera, viewer, server } = setup;
  await using relay = new HandshakeRelay(server.address);
  const asking = [setup.ask(viewer, relay.address), setup.ask(viewer, relay.address)];
  await relay.waitForHeld(2);
  await camera.forget("viewer");
  relay.release();
  assertEquals(await Promise.all(asking), [REFUSED, REFUSED]);
  assertEquals(asked, []);
});

Deno.test("the file of a peer is looked at once its handshake and onConnect are done", async () => {
  const entered = Promise.withResolvers<Session>();
  const released = Promise.withResolvers<void>();
  const names: string[] = [];
  await using setup = await setUp({
    onConnect: async (session) => {
      names.push(peerOf(session).name);
      entered.resolve(session);
      await released.promise;
      return true;
    },
    handle: tellName as never,
  });
  const { camera, viewer } = setup;
  const asking = setup.ask();
  const session = await within(entered.promise, "the peer is welcomed");
  // As another process does it, and before this one can have seen it.
  Deno.removeSync(`${camera.dir}/peers/${viewer.id}.json`);
  released.resolve();
  assertEquals(await asking, REFUSED);
  assertEquals(names, ["viewer"]);
  assertEquals(setup.server.sessions.size, 0);
  assertEquals(await isStillAdmitted(session), false);
  assertEquals(peerOf(session).name, "viewer");
});

Deno.test("an app can ask in the middle of a request whether its peer is still one", async () => {
  const started = Promise.withResolvers<Session>();
  const answers: boolean[] = [];
  const forgotten = Promise.withResolvers<void>();
  const asked = Promise.withResolvers<void>();
  await using setup = await setUp(async (_request, session) => {
    answers.push(await isStillAdmitted(session));
    started.resolve(session);
    await forgotten.promise;
    answers.push(await isStillAdmitted(session));
    asked.resolve();
    return [204, "No Content", {}, null];
  });
  const asking = setup.ask();
  await within(started.promise, "the request is there");
  Deno.removeSync(`${setup.camera.dir}/peers/${setup.viewer.id}.json`);
  forgotten.resolve();
  await within(asked.promise, "the app has asked twice");
  assertEquals(answers, [true, false]);
  await asking;
});

Deno.test("onConnect of the app has its say", async () => {
  let letIn = false;
  await using setup = await setUp({ onConnect: () => letIn, handle: tellName as never });
  assertEquals(await setup.ask(), REFUSED);
  letIn = true;
  assertEquals(await setup.ask(), "viewer");
});

Deno.test("peerOf is a TypeError for a session of another server", async () => {
  await using devices = await TestDevices.create();
  const camera = await devices.open("camera");
  const sessions: Session[] = [];
  const app: App = (_request, session) => {
    sessions.push(session);
    return [204, "No Content", {}, null];
  };
  const { cert, key } = await ownCertificate(camera);
  const ca = (await authorityOf(camera.dir)).certificate;
  await using plain = new Server(LOOPBACK, app);
  await using tls = new SSLServer({ ca, cert, key }, LOOPBACK, app);
  plain.serveForever();
  tls.serveForever();
  await tls.ready;
  using conn = await new Client(plain.address).connect();
  await conn.get("/");
  await (await clientWith(camera, tls.address, cert, key)).request("GET", "/");
  assertEquals(sessions.length, 2);
  for (const session of sessions) assertThrows(() => peerOf(session), TypeError, "another server");
  assertThrows(() => peerOf({} as Session), TypeError, "need a session");
});

Deno.test("whom a device's server trusts can't be set", async () => {
  await using setup = await setUp();
  const { server } = setup;
  const { setSslctx } = server as SSLServer;
  assertThrows(() => setSslctx.call(server, server.sslctx), TypeError, "forget()");
  assertEquals(await setup.ask(), "viewer");
});

Deno.test("listen checks its arguments, and logs where the device does", async () => {
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

Deno.test("an address that is taken is reported by ready, and leaves nothing behind", async () => {
  await using devices = await TestDevices.create();
  const camera = await devices.open("camera");
  await using first = camera.listen(LOOPBACK, tellName);
  await first.ready;
  await using second = camera.listen(first.address, tellName);
  const results = await Promise.allSettled([second.ready, second.serveForever()]);
  assertEquals(results.map(({ status }) => status), ["rejected", "rejected"]);
  assertEquals(await (await storeOf(camera.dir)).servingAddresses(), [first.address]);
});

Deno.test("shutdown lets a request end, which forget ends all the same", async () => {
  const started = Promise.withResolvers<AbortSignal>();
  await using setup = await setUp(async (_request, session) => {
    started.resolve(session.signal);
    const gone = Promise.withResolvers<void>();
    session.signal.addEventListener("abort", () => gone.resolve());
    await gone.promise;
    return [204, "No Content", {}, null];
  });
  const asking = setup.ask();
  const signal = await within(started.promise, "the request is there");
  const ended = setup.server.shutdown();
  assertEquals(await (await storeOf(setup.camera.dir)).servingAddresses(), []);
  assertEquals(signal.aborted, false);
  await setup.camera.forget("viewer");
  await within(ended, "the server is shut down");
  assertEquals(await asking, REFUSED);
});
