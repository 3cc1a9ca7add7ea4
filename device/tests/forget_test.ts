/** The end of the trust in a peer: `forget`, and a record that another process removes. */
import { DeviceError, peerOf } from "@degu/degu/device";
import { TempDevices } from "@degu/degu/device/testing";
import { bodies, DeguError } from "@degu/degu/base";
import {
  assertWorks,
  REFUSED,
  respondWithName,
  serveDevice,
  setUp,
  setUpClient,
} from "./device_serving.ts";
import { recordIntervals } from "@degu/testing/clock.ts";
import { runScript } from "@degu/testing/processes.ts";
import { waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { reply } from "@degu/degu";
import { FilesApp } from "@degu/degu/files";
import type { App, AppFunction } from "@degu/degu/server";
import { disposeApp } from "@degu/internal/base/app/app.ts";
import type { Session } from "@degu/internal/base/app/session.ts";
import { TrustSignals } from "@degu/internal/device/peers/trust_signals.ts";
import { record, storeOf } from "@degu/testing/device_pairs.ts";
import { createTempDir, listNames } from "@degu/testing/directories.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import { SECRET, UNGUARDED_APPS } from "../../tests/net/server/unguarded_apps.ts";
import { patch } from "@degu/testing/patching.ts";
import { HandshakeRelay } from "../../tests/net/tls/tls_relay.ts";
import { describeTrust } from "@degu/testing/sessions.ts";

/** Resolves when a signal is aborted. */
function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve()));
}

Deno.test("forget ends only the sessions of that peer, and the peer can't reconnect", async () => {
  await using setup = await setUp();
  const { devices, camera, viewer, server } = setup;
  const otherDevice = await devices.open("other");
  await record(camera, otherDevice);
  await record(otherDevice, camera, { addresses: [server.address] });
  // A client is connected before the server has accepted it. The responses make the order certain.
  using conn = await (await viewer.client("camera")).connect();
  await conn.get("/");
  using keptConnection = await (await otherDevice.client("camera")).connect();
  await keptConnection.get("/");
  const signals = Array.from(server.sessions, ({ signal }) => signal);
  assertEquals(signals.length, 2);
  await camera.forget("viewer");
  assertEquals(signals.map(({ aborted }) => aborted), [true, false]);
  const { reason } = signals[0]!;
  assert(reason instanceof DeviceError);
  assertEquals(reason.code, "FORGOTTEN");
  assertEquals(server.sessions.size, 1);
  await conn.get("/").then(() => assert(false), () => {});
  assertEquals(await setup.ask(), REFUSED);
  assertEquals((await keptConnection.get("/")).headers["name"], "other");
  // After it is paired again, it is accepted again.
  await record(camera, viewer);
  assertEquals(await setup.ask(), "viewer");
});

Deno.test("forget in another process ends sessions and connections within a second", async () => {
  await using setup = await setUp();
  const { camera, viewer, server } = setup;
  const attempts: number[] = [];
  // A busy machine may be late once.
  while (attempts.length < 10 && !attempts.some((milliseconds) => milliseconds < 1000)) {
    using conn = await (await viewer.client("camera")).connect();
    await conn.get("/");
    const [session] = server.sessions;
    const endedAt = untilAborted(session!.signal).then(() => Date.now());
    const script = `import { Device } from "@degu/degu/device";
await using device = await Device.open(${JSON.stringify(camera.dir)});
await device.forget("viewer");
console.log(Date.now());`;
    const paths = [`--allow-read=${camera.dir}`, `--allow-write=${camera.dir}`];
    const output = await runScript(script, ["--no-check", "--allow-sys=uid", ...paths], {});
    attempts.push(await withTimeout(endedAt, "the session ends") - Number(output));
    assertEquals(server.sessions.size, 0);
    assertEquals(await setup.ask(), REFUSED);
    await record(camera, viewer);
  }
  assert(Math.min(...attempts) < 1000, `it took ${attempts} ms`);
});

Deno.test("forget takes effect as soon as the peers can be read again", async () => {
  using intervals = recordIntervals(10);
  await using setup = await setUp();
  const { camera, viewer, server, logger } = setup;
  using conn = await (await viewer.client("camera")).connect();
  await conn.get("/");
  const [session] = server.sessions;
  const sessionEnd = untilAborted(session!.signal);
  {
    using _failing = patch(Deno, "readDir", () => () => {
      throw new Error("Too many open files (os error 24)");
    });
    await assertRejects(() => camera.peers(), Error, "Too many"); // no read is pending any more
    Deno.removeSync(`${camera.dir}/peers/${viewer.id}.json`);
    assertMatch((await logger.waitFor("error"))[0]!, /the peers can't be read: .*Too many/);
    await assertRejects(() => camera.peers(), Error, "Too many");
    assertEquals(session!.signal.aborted, false);
    assertEquals(await describeTrust(session!), "untrusted"); // its own file is missing
  }
  await withTimeout(sessionEnd, "the session ends");
  assert(intervals.started.includes(400), "how often they are read");
  assertEquals(logger.messagesOf("error").length, 1);
});

Deno.test("a peer with a slow handshake is not accepted after it was forgotten", async () => {
  const blockingApp = makeBlockingApp();
  blockingApp.isSlow = false;
  await using setup = await setUp(blockingApp);
  const { camera, viewer, server } = setup;
  await using relay = new HandshakeRelay(server.address);
  const asking = [setup.ask(viewer, relay.address), setup.ask(viewer, relay.address)];
  await relay.waitForHeld(2);
  await camera.forget("viewer");
  relay.release();
  assertEquals(await Promise.all(asking), [REFUSED, REFUSED]);
  assertEquals(blockingApp.sessions, []);
});

/** An app whose `onConnect` blocks while `isSlow` is set, until `release()` is called. */
function makeBlockingApp() {
  const entered = Promise.withResolvers<Session>();
  const released = Promise.withResolvers<void>();
  const sessions: Session[] = [];
  const gate = {
    isSlow: true,
    sessions,
    entered: () => withTimeout(entered.promise, "onConnect is called"),
    release: () => released.resolve(),
    onConnect: async (session: Session) => {
      sessions.push(session);
      if (!gate.isSlow) return true;
      entered.resolve(session);
      await released.promise;
      return true;
    },
    handle: respondWithName as AppFunction,
  };
  return gate;
}

Deno.test("the file of a peer is checked after its handshake and onConnect", async () => {
  const blockingApp = makeBlockingApp();
  await using setup = await setUp(blockingApp);
  const { camera, viewer } = setup;
  const asking = setup.ask();
  const session = await blockingApp.entered();
  assertEquals(peerOf(session).name, "viewer");
  // Like a change by another process that this process has not detected yet.
  Deno.removeSync(`${camera.dir}/peers/${viewer.id}.json`);
  blockingApp.release();
  assertEquals(await asking, REFUSED);
  assertEquals(setup.server.sessions.size, 0);
  assertEquals(await describeTrust(session), "untrusted");
  assertEquals(peerOf(session).name, "viewer");
});

Deno.test("ifTrusted refuses a peer that was forgotten on the disk", async () => {
  await using temp = await TempDevices.create("camera", "viewer");
  const { camera, viewer } = temp.devices;
  const app: App = async (request, session) => {
    if (request.path[0] === "forget") await camera.forget("viewer").catch(() => {});
    return await session.ifTrusted(() => reply(200));
  };
  await using server = await camera.serve(["127.0.0.1", 0], app);
  const client = await viewer.client("camera", { addresses: [server.address] });
  assertEquals((await client.request("GET", "/")).status, 200);
  await assertRejects(() => client.request("GET", "/forget"));
});

Deno.test("a device that can't read whom it trusts answers each request with 503, and logs the reason", async () => {
  await using dir = await createTempDir();
  const files = new FilesApp(dir.path, { write: true });
  const app: App = async (request, session) => {
    if (request.method === "PUT") return files.handle(request, session);
    return reply(200, await describeTrust(session));
  };
  await using setup = await setUp(app);
  const client = await setup.viewer.client("camera");
  using uploading = await client.connect();
  await (await uploading.get("/")).discard();
  using reading = await client.connect();
  await (await reading.get("/")).discard();
  const fail = (path: string | URL) => {
    if (`${path}`.startsWith(setup.camera.dir)) throw new Error("Input/output error (os error 5)");
  };
  using _stat = patch(Deno, "lstatSync", (lstatSync) => (path) => (fail(path), lstatSync(path)));
  using _read = patch(Deno, "readTextFile", (read) => async (path, options) => {
    fail(path);
    return await read(path, options);
  });
  const responses = [
    await uploading.put("/a", {}, "a"),
    await reading.get("/"),
    await client.get("/"),
  ];
  for (const { status, headers } of responses) {
    assertEquals([status, headers["connection"]], [503, "close"]);
  }
  const lines = setup.logger.messagesOf("warn").filter((line) => line.includes("the app failed"));
  assertEquals(lines.length, 3);
  for (const line of lines) {
    assertMatch(
      line,
      /the app failed: UnknownTrustError: the peer's trust can't be read: .*Input/,
    );
  }
});

Deno.test("the request after the removal of a peer's file is refused at once, and no request reads an unchanged file", async () => {
  let handled = 0;
  await using setup = await setUp(() => reply(200, `${++handled}`));
  const { camera, viewer } = setup;
  using conn = await (await viewer.client("camera")).connect();
  await (await conn.get("/")).discard();
  let reads = 0;
  {
    using _read = patch(Deno, "readTextFile", (read) => (path, options) => {
      if (`${path}`.endsWith(`${viewer.id}.json`) && `${path}`.startsWith(camera.dir)) reads++;
      return read(path, options);
    });
    const now = Date.now();
    for (let n = 0; n < 20; n++) await (await conn.get("/")).discard();
    // The store reads all files each 400 ms.
    assert(reads <= 2 + (Date.now() - now) / 400, `${reads}`);
  }
  Deno.removeSync(`${camera.dir}/peers/${viewer.id}.json`);
  await conn.get("/").then(({ status }) => assertEquals(status, 403), () => {});
  assertEquals(handled, 21);
});

Deno.test("no app with a mistake in its check acts for a peer whose file was removed", async (t) => {
  await testEachRow(t, UNGUARDED_APPS, async (_label, make) => {
    let [isTrusted, early, late] = [true, 0, 0];
    const act = () => void (isTrusted ? early++ : late++);
    await using upstream = serve(() => {
      act();
      return reply(200, SECRET);
    });
    const pauses: Promise<void>[] = [];
    const pause = () => pauses[pauses.push(waitForTick()) - 1]!;
    const app = make({ act, pause, upstream: upstream.makeClient() });
    await using _app = { [Symbol.asyncDispose]: () => disposeApp(app) };
    await using setup = await setUp(app);
    const { camera, viewer, server } = setup;
    using conn = await (await viewer.client("camera")).connect();
    assertEquals(await (await conn.put("/", {}, SECRET)).text(), SECRET);
    await Promise.all(pauses);
    await waitForTick();
    isTrusted = false;
    Deno.removeSync(`${camera.dir}/peers/${viewer.id}.json`);
    await conn.put("/", {}, SECRET).then(({ status }) => assertEquals(status, 403), () => {});
    await server.shutdown();
    assertEquals([early > 0, late], [true, 0]);
  });
});

Deno.test("forget ends a session whose onConnect is pending", async () => {
  const blockingApp = makeBlockingApp();
  await using setup = await setUp(blockingApp);
  const { camera, viewer } = setup;
  const asking = setup.ask();
  const { signal } = await blockingApp.entered();
  const sessionEnd = untilAborted(signal);
  try {
    // Like a change by another process.
    Deno.removeSync(`${camera.dir}/peers/${viewer.id}.json`);
    await withTimeout(sessionEnd, "the session ends");
    assertMatch(String(signal.reason), /forgotten/);
    assertEquals(await withTimeout(asking, "the connection is closed"), REFUSED);
  } finally {
    blockingApp.release();
  }
});

Deno.test("a peer that is forgotten and paired again at once loses its earlier sessions", async () => {
  const blockingApp = makeBlockingApp();
  blockingApp.isSlow = false;
  await using setup = await setUp(blockingApp);
  const { camera, viewer, server } = setup;
  using conn = await (await viewer.client("camera")).connect();
  await conn.get("/");
  blockingApp.isSlow = true;
  const asking = setup.ask();
  const waiting = await blockingApp.entered();
  blockingApp.isSlow = false;
  await camera.forget("viewer");
  await record(camera, viewer);
  assertEquals(blockingApp.sessions.length, 2);
  for (const session of blockingApp.sessions) {
    assertMatch(String(session.signal.reason), /forgotten/);
    assertEquals(await describeTrust(session), "untrusted");
  }
  blockingApp.release();
  assertEquals(await asking, REFUSED);
  await conn.get("/").then(() => assert(false), () => {});
  assertEquals(await setup.ask(), "viewer");
  assertEquals(server.sessions.has(waiting), false);
});

Deno.test("an upload whose peer is forgotten never gets its name, even if the peer is paired again at once", async () => {
  await using dir = await createTempDir();
  await using setup = await setUp(new FilesApp(dir.path, { write: true }));
  const { camera, viewer, server } = setup;
  const forgetting = [
    () => camera.forget("viewer").then(() => record(camera, viewer)),
    // Like a change by another process that this process has not detected yet.
    () => Promise.resolve(Deno.removeSync(`${camera.dir}/peers/${viewer.id}.json`)),
  ];
  for (const forget of forgetting) {
    const client = await viewer.client("camera");
    const halfContent = new Uint8Array(100_000);
    let forgotten: Promise<unknown> | undefined;
    const source = async function* () {
      yield halfContent;
      // Before that the peer is not accepted, and could be accepted with the new trust.
      while (server.sessions.size === 0) await waitForTick();
      await (forgotten = forget());
      yield halfContent;
    };
    const body = new bodies.BodyIter(source(), 2 * halfContent.length);
    await client.request("PUT", "/file", {}, body).then(
      ({ status }) => assert(status >= 400, `${status}`),
      () => {},
    );
    // The request may end first, and the peer must not be paired again during the next row.
    await forgotten;
    assertEquals((await listNames(dir.path)).filter((name) => name === "file"), []);
  }
});

Deno.test("a check that detects a forgotten peer ends all sessions of that peer at once", async () => {
  await using setup = await setUp();
  const { camera, viewer, server } = setup;
  const client = await viewer.client("camera");
  using firstConnection = await client.connect();
  using secondConnection = await client.connect();
  for (const conn of [firstConnection, secondConnection]) await conn.get("/");
  const sessions = [...server.sessions];
  Deno.removeSync(`${camera.dir}/peers/${viewer.id}.json`);
  assertEquals(await describeTrust(sessions[0]!), "untrusted");
  assertEquals(sessions.map(({ signal }) => signal.aborted), [true, true]);
});

Deno.test("shutdown lets a request finish, and forget still ends it", async () => {
  const requestStarted = Promise.withResolvers<AbortSignal>();
  await using setup = await setUp(async (_request, session) => {
    requestStarted.resolve(session.signal);
    await untilAborted(session.signal);
    return [204, "No Content", {}, null];
  });
  const asking = setup.ask();
  const signal = await withTimeout(requestStarted.promise, "the request arrives");
  const shutdownPromise = setup.server.shutdown();
  assertEquals(await setup.camera.serving(), []);
  assertEquals(signal.aborted, false);
  await setup.camera.forget("viewer");
  await withTimeout(shutdownPromise, "the server is shut down");
  assertEquals(await asking, REFUSED);
});

Deno.test("forget closes the connections to the peer, and prevents new ones", async () => {
  await using setup = await setUpClient();
  const { viewer, camera } = setup;
  const client = await viewer.client("camera");
  using conn = await client.connect();
  await conn.get("/");
  await viewer.forget("camera");
  await assertRejects(() => conn.get("/"), Error, "closed");
  await assertRejects(() => client.connect(), DeguError, "forgotten");
  await assertRejects(() => viewer.client("camera"), DeviceError);
  await record(viewer, camera, { addresses: [setup.server.address] });
  await assertWorks(client);
});

Deno.test("forget in another process closes connections, and pending requests reject", async () => {
  await using setup = await setUpClient();
  const { viewer, camera } = setup;
  const never = Promise.withResolvers<never>();
  await using slow = await serveDevice(camera, () => never.promise);
  const client = await viewer.client("camera", { addresses: [slow.address] });
  using conn = await client.connect();
  const asking = assertRejects(() => conn.get("/"), DeviceError, "forgotten");
  // Like a change by another process.
  Deno.removeSync(`${viewer.dir}/peers/${camera.id}.json`);
  await withTimeout(asking, "the request ends");
});

Deno.test("all peers are read again only if the file of one is missing, and no peer is trusted after end()", async () => {
  await using setup = await setUp();
  const { camera, viewer } = setup;
  const store = storeOf(camera.dir);
  await store.refresh();
  const { tryRefresh } = store;
  let reads = 0;
  store.tryRefresh = () => {
    reads++;
    return tryRefresh.call(store);
  };
  const trustSignals = new TrustSignals(store);
  const { confirm, signal } = trustSignals.find(viewer.id)!;
  assertEquals([await confirm(), reads, trustSignals.find(camera.id)], [true, 0, null]);
  await Deno.remove(`${camera.dir}/peers/${viewer.id}.json`);
  assertEquals([await confirm(), reads, signal.aborted], [false, 1, true]);
  trustSignals.end(new Error("closed"));
  assertEquals([await confirm(), reads, trustSignals.find(viewer.id)], [false, 1, null]);
});

Deno.test("a peer whose record another process removes during onConnect is not accepted", async () => {
  await using temp = await TempDevices.create("camera", "viewer");
  const { camera, viewer } = temp.devices;
  let requests = 0;
  await using server = await camera.serve(["127.0.0.1", 0], {
    onConnect() {
      Deno.removeSync(`${camera.dir}/peers/${viewer.id}.json`);
      return { user: "anna" };
    },
    handle: () => reply(200, `${++requests}`),
  });
  const client = await viewer.client("camera", { addresses: [server.address] });
  await assertRejects(() => client.request("GET", "/"));
  assertEquals(requests, 0);
});
