/**
 * The server of a device accepts and identifies only its peers, also after a theft or on a shared
 * machine.
 */
import { accessLog, EmptyPreambleError, reply } from "@degu/degu";
import { type Address, TlsError } from "@degu/degu/base";
import { SSLClient } from "@degu/degu/client";
import { type Device, type Peer, peerOf, perPeer } from "@degu/degu/device";
import { TempDevices } from "@degu/degu/device/testing";
import { callApp, mkreq } from "@degu/degu/misc";
import type { App, AppObject, Session } from "@degu/degu/server";
import { makeAuthority, makeLeaf } from "../../tests/net/tls/authorities.ts";
import { runCommand } from "@degu/testing/commands.ts";
import {
  authorityOf,
  identityOf,
  record,
  setUpPeers,
  storeOf,
  TestDevices,
} from "@degu/testing/device_pairs.ts";
import {
  assertWorks,
  LOOPBACK,
  recordAuthority,
  REFUSED,
  requestName,
  respondWithName,
  serveDevice,
  setUp,
  setUpClient,
} from "./device_serving.ts";
import { listNames } from "@degu/testing/directories.ts";
import { assertTypeError, callWith, catchRejection } from "@degu/testing/expectations.ts";
import { patch } from "@degu/testing/patching.ts";
import { makePeerSession } from "./peer_sessions.ts";
import { waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { recordUnhandledRejections } from "@degu/testing/rejections.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";
import { ignoreIf } from "@degu/testing/terminals.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { CurrentTlsContext } from "@degu/internal/net/tls/listener.ts";
import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { join } from "@degu/internal/internal/paths.ts";
import { X509Certificate } from "node:crypto";
import { cpSync } from "node:fs";
import {
  checkFirstSignal,
  checkSecondSignal,
  type Gate,
  ignore,
} from "../../tests/net/server/until_signal.ts";
import { describeTrust } from "@degu/testing/sessions.ts";

/** Makes a client with any certificate that trusts a device. */
async function makeClient(device: Device, address: Address, cert: string, key: string) {
  const { ca } = await authorityOf(device.dir);
  return new SSLClient({ ca, cert, key, checkHostname: false }, address, { timeout: 60 });
}

Deno.test("a peer is accepted, and peerOf returns it", async () => {
  await using setup = await setUp((_request, session) => {
    const { id, name } = peerOf(session);
    return [200, "OK", { name: `${name} ${id}` }, null];
  });
  assertEquals(await setup.ask(), `viewer ${setup.viewer.id}`);
  await setup.camera.rename("viewer", "anna");
  assertEquals(await setup.ask(), `anna ${setup.viewer.id}`);
});

Deno.test("strangers, the device itself, and peers that onConnect refuses are refused", async () => {
  const sessions: Session[] = [];
  let letIn = true;
  await using setup = await setUp({
    onConnect: (session) => sessions.push(session) > 0 && letIn,
    handle: respondWithName as never,
  });
  const { devices, camera } = setup;
  const stranger = await devices.open("stranger", { name: "viewer" });
  await record(stranger, camera, { addresses: [setup.server.address] });
  assertEquals(await setup.ask(stranger), REFUSED);
  const { cert, key } = await identityOf(camera.dir);
  const ownClient = await makeClient(camera, setup.server.address, cert, key);
  assertEquals(await requestName(ownClient), REFUSED);
  assertEquals(sessions, []);
  assertEquals(await setup.ask(), "viewer");
  assertEquals(setup.logger.messagesOf("warn"), []);
  const refusals = setup.logger.messagesOf("info");
  assertEquals(refusals.length, 2);
  for (const refusal of refusals) {
    assertMatch(
      refusal,
      /^127\.0\.0\.1:\d+: not a peer of this device \(never paired, or forgotten\)/,
    );
  }
  letIn = false;
  assertEquals(await setup.ask(), REFUSED);
});

Deno.test("a server without peers refuses every client; it accepts a peer that another process stored before the server is ready", async () => {
  await using devices = await TestDevices.create();
  const [camera, viewer] = [await devices.open("camera"), await devices.open("viewer")];
  const authority = await authorityOf(viewer.dir);
  await using server = await serveDevice(camera);
  await record(viewer, camera, { addresses: [server.address] });
  const client = await viewer.client("camera");
  assertEquals(await requestName(client), REFUSED);
  await storeOf(camera.dir).record({ authority, receivedName: "viewer", addresses: [] });
  await using otherServer = await serveDevice(camera);
  const addresses = [otherServer.address];
  assertEquals(await requestName(await viewer.client("camera", { addresses })), "viewer");
  assertEquals(await requestName(client), "viewer");
});

Deno.test("malicious paired peer: a certificate issued by its own intermediate authority is refused", async () => {
  const sessions: Session[] = [];
  await using setup = await setUp((_request, session) => {
    sessions.push(session);
    return [200, "OK", { name: peerOf(session).name }, null];
  });
  const { camera, server, logger } = setup;
  const root = makeAuthority();
  await recordAuthority(camera, root, "mallory");
  const intermediate = makeAuthority({ issuer: root });
  const below = makeLeaf(intermediate);
  const chain = below.pem + intermediate.pem;
  const client = await makeClient(camera, server.address, chain, below.keyPem);
  assertEquals([await requestName(client), sessions], [REFUSED, []]);
  const logged = logger.messagesOf("info").join("\n");
  assertMatch(logged, /no peer.s authority has signed its certificate directly/);
  const direct = makeLeaf(root);
  const directClient = await makeClient(camera, server.address, direct.pem, direct.keyPem);
  assertEquals(await requestName(directClient), "mallory");
});

Deno.test("serve validates its arguments, and logs to the device's logger", async () => {
  await using devices = await TestDevices.create();
  const deviceLogger = new RecordingLogger();
  const camera = await devices.open("camera", { logger: deviceLogger });
  const serve = camera.serve.bind(camera) as (...args: unknown[]) => Promise<unknown>;
  await assertRejects(() => serve(LOOPBACK), TypeError, "app");
  for (const [name, value] of Object.entries({ timeOut: 1, protocol: "a" })) {
    const serveWith = () => serve(LOOPBACK, respondWithName, { [name]: value });
    await assertRejects(serveWith, TypeError, name);
  }
  await assertRejects(() => serve(LOOPBACK, respondWithName, null), TypeError, "options: ");
  await assertRejects(() => serve(["127.0.0.1", 99999], respondWithName), RangeError);
  const logger = new RecordingLogger();
  const options = { logger, maxRequests: 3 };
  await using limitedServer = await camera.serve(LOOPBACK, respondWithName, options);
  // Not TLS.
  using stranger = await Deno.connect({ hostname: "127.0.0.1", port: limitedServer.port });
  await stranger.write(encodeLatin1("GET / HTTP/1.1\r\n\r\n"));
  await logger.waitFor("info");
  assertEquals(deviceLogger.messagesOf("info"), []);
  await using _otherServer = await camera.serve(LOOPBACK, respondWithName);
  assertEquals(deviceLogger.messagesOf("warn"), []);
  // The server also serves if its address can't be recorded.
  await Deno.rename(join(camera.dir, "serving"), join(camera.dir, "away"));
  await using _hidden = await camera.serve(LOOPBACK, respondWithName);
  const warnings = deviceLogger.messagesOf("warn").join();
  assertMatch(warnings, /the address of a server can't be recorded: NotFound/);
});

Deno.test("a server that can't listen, or whose device is closed before it serves, leaves no record and no listener", async () => {
  await using devices = await TestDevices.create();
  const [camera, viewer] = [await devices.open("camera"), await devices.open("viewer")];
  await using first = await camera.serve(LOOPBACK, respondWithName);
  using rejections = recordUnhandledRejections();
  await assertRejects(() => camera.serve(first.address, respondWithName), Deno.errors.AddrInUse);
  assertEquals(await camera.serving(), [first.address]);
  {
    using _broken = patch(Deno, "readDir", () => () => {
      throw new Error("the disk is broken");
    });
    await assertRejects(() => camera.serve(LOOPBACK, respondWithName), Error, "broken");
  }
  // Closed servers don't listen to changes of the peers.
  let replaceCount = 0;
  {
    using _counted = patch(CurrentTlsContext.prototype, "replace", () => () => void replaceCount++);
    await record(camera, viewer);
  }
  assertEquals(replaceCount, 1);
  const serving = camera.serve(LOOPBACK, respondWithName).then(
    (server) => server.serveForever(),
    () => {},
  );
  await camera.close();
  await serving;
  assertEquals([await camera.serving(), rejections.reasons], [[], []]);
});

Deno.test("shutdown and dispose resolve once the record of the address is removed", async () => {
  await using devices = await TestDevices.create();
  const camera = await devices.open("camera");
  for (const endMethod of ["shutdown", Symbol.asyncDispose] as const) {
    await assertRemoved(camera, endMethod);
  }
});

async function assertRemoved(camera: Device, endMethod: "shutdown" | typeof Symbol.asyncDispose) {
  await using server = await camera.serve(LOOPBACK, respondWithName);
  const serving = server.serveForever();
  const gate = Promise.withResolvers<void>();
  using _waiting = patch(Deno, "remove", (remove) => async (...args) => {
    await gate.promise;
    await remove(...args);
  });
  let isDone = false;
  const endPromise = server[endMethod]().then(() => isDone = true);
  if (endMethod === "shutdown") await serving;
  await waitForTick();
  assertEquals(isDone, false);
  gate.resolve();
  await endPromise;
  assertEquals(await listNames(join(camera.dir, "serving")), []);
}

Deno.test("callApp: peerOf needs a session with a peer, and its error names a function that makes such a session", async () => {
  const app: App = (_request, session) => reply(200, peerOf(session).name);
  const without = await catchRejection(callApp(app, mkreq("GET", "/")), "no peer");
  assertStringIncludes((without as Error).message, "TempDevices.peerSession()");
  const session = makePeerSession("camera");
  assertEquals(await (await callApp(app, mkreq("GET", "/"), { session })).text(), "camera");
});

Deno.test("malicious paired peer: a certificate with another peer's name is still its own", async () => {
  await using setup = await setUp();
  const { camera, viewer, server } = setup;
  // The peer's authority and leaf have the names of the viewer's.
  const viewerAuthority = await authorityOf(viewer.dir);
  const { cert } = await identityOf(viewer.dir);
  const dnOf = (pem: string) => new X509Certificate(pem).subject.replace(/^.*CN=/s, "");
  const forged = makeAuthority({ name: dnOf(viewerAuthority.ca) });
  await recordAuthority(camera, forged, "mallory");
  const leaf = makeLeaf(forged, dnOf(cert));
  const client = await makeClient(camera, server.address, leaf.pem, leaf.keyPem);
  assertEquals(await requestName(client), "mallory");
  assertEquals(await setup.ask(), "viewer");
});

Deno.test("a copied directory acts as that device until its peers forget it", async () => {
  await using setup = await setUpClient();
  const { devices, camera, viewer, server } = setup;
  cpSync(viewer.dir, devices.makePath("stolen"), { recursive: true });
  const thief = await devices.open("stolen", { name: "viewer" });
  assertEquals(thief.id, viewer.id);
  const client = await thief.client("camera");
  using conn = await client.connect();
  await conn.get("/");
  await camera.forget("viewer");
  await assertRejects(() => conn.get("/"));
  await assertRejects(() => client.request("GET", "/"));
  // The owner pairs a new identity, which is of no use to the thief.
  const newViewer = await devices.open("fresh", { name: "viewer" });
  await record(camera, newViewer);
  await record(newViewer, camera, { addresses: [server.address] });
  await assertWorks(await newViewer.client("camera"));
  await assertRejects(() => client.request("GET", "/"));
  // The camera doesn't accept the server of the thief.
  await using fakeServer = await serveDevice(thief);
  const lured = await camera.client("viewer", { addresses: [fakeServer.address] });
  const error = await assertRejects(() => lured.connect(), TlsError);
  assertEquals(error.code, "UNTRUSTED");
});

Deno.test("a copied directory can't be used to impersonate the peers in it", async () => {
  await using setup = await setUpClient();
  const { devices, camera, viewer } = setup;
  cpSync(viewer.dir, devices.makePath("stolen"), { recursive: true });
  const thief = await devices.open("stolen", { name: "viewer" });
  // The directory has the camera's authority, but not the camera's key, so the camera's peers
  // refuse the thief.
  const friend = await devices.open("friend");
  await record(friend, camera);
  await record(thief, friend);
  await using fakeServer = await serveDevice(thief);
  const client = await friend.client("camera", { addresses: [fakeServer.address] });
  const error = await assertRejects(() => client.connect(), TlsError);
  assertEquals(error.code, "UNTRUSTED");
});

const ANOTHER_USER = 12345;
const notRoot = Deno.uid() === 0 ? null : "only root can act as another user";

Deno.test(
  "a process of another user can't read or change the directory of a device",
  ignoreIf(notRoot),
  async () => {
    await using setup = await setUpClient();
    const { camera, devices } = setup;
    // Let all users access the parent of the directory.
    await Deno.chmod(devices.makePath("."), 0o755);
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
    const { stdout, stderr } = await runCommand(["python3", "-c", program, camera.dir]);
    assertEquals(stdout, "denied\n".repeat(6), stderr);
    assert((await camera.peers()).length === 1);
  },
);

Deno.test("an app of a device's server can't change the user name, but may refuse the peer and end the trust", async () => {
  await using temp = await TempDevices.create("camera", "viewer");
  const { camera, viewer } = temp.devices;
  const controller = new AbortController();
  let trusts = true;
  const identity = { user: "other", signal: controller.signal, isTrusted: () => trusts };
  const ownApp: AppObject = {
    onConnect: () => identity,
    handle: (_request, session) => reply(200, `${session.user}`),
  };
  const reasons: unknown[] = [];
  for (const app of [ownApp, perPeer(() => ownApp)]) {
    await using server = await camera.serve(["127.0.0.1", 0], app);
    const client = await viewer.client("camera", { addresses: [server.address] });
    using conn = await client.connect();
    assertEquals(await (await conn.get("/")).text(), "viewer");
    const [session] = server.sessions;
    assertEquals([session!.user, await describeTrust(session!)], ["viewer", "trusted"]);
    trusts = false;
    assertEquals(await describeTrust(session!), "untrusted");
    // The app of a peer is asked at the first request, and the other app at the connection.
    const refused = await client.request("GET", "/").then(({ status }) => status, () => 403);
    assertEquals(refused, 403);
    trusts = true;
    using again = await client.connect();
    await (await again.get("/")).discard();
    const { signal } = [...server.sessions].at(-1)!;
    signal.addEventListener("abort", () => reasons.push(signal.reason));
    if (reasons.length === 0) {
      await camera.forget("viewer");
      await using invitation = await camera.invite({ listen: [["127.0.0.1", 0]] });
      await viewer.join(invitation.line);
    } else {
      controller.abort("enough");
    }
  }
  assertEquals(reasons.length, 2);
  assertEquals(reasons[1], "enough");
});

Deno.test("a device's server logs the peer's current name as the user, unless options.user replaces it", async () => {
  await using devices = await TestDevices.create();
  const camera = await devices.open("camera");
  const viewer = await devices.open("viewer");
  await record(camera, viewer);
  const logUsers = async (
    options: Partial<Parameters<typeof accessLog>[0]>,
    act = () => Promise.resolve<unknown>(0),
  ) => {
    const lines: string[] = [];
    const logged = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const onExchange = accessLog({
      print: (line) => logged[lines.push(line) - 1]!.resolve(),
      ...options,
    });
    const app = () => [204, "No Content", {}, null] as const;
    await using server = await camera.serve(LOOPBACK, app, { onExchange });
    await record(viewer, camera, { addresses: [server.address] });
    using conn = await (await viewer.client(camera.id)).connect();
    await conn.get("/");
    await withTimeout(logged[0]!.promise, "the first line");
    await act();
    await conn.get("/");
    await withTimeout(logged[1]!.promise, "the second line");
    return lines.map((line) => /^\S+ - (\S+) \[/.exec(line)?.[1]);
  };
  assertEquals(await logUsers({}, () => camera.rename("viewer", "screen")), ["viewer", "screen"]);
  assertEquals(await logUsers({ user: () => "somebody" }), ["somebody", "somebody"]);
  assertEquals(await logUsers({ user: () => null }), ["-", "-"]);
});

// serveUntilSignal() with the server of a device.

const SIGNAL = "SIGCONT";

async function startGate({ app }: Gate) {
  const setup = await setUp(app);
  return {
    server: setup.server,
    client: await setup.viewer.client(setup.camera.id),
    [Symbol.asyncDispose]: () => setup[Symbol.asyncDispose](),
  };
}

Deno.test(
  "a device's server finishes pending requests at the first signal, and ends",
  { ignore },
  () => checkFirstSignal(SIGNAL, startGate),
);

Deno.test(
  "a device's server is closed at the second signal",
  { ignore },
  () => checkSecondSignal(SIGNAL, startGate),
);

// Separate apps for each peer.

/** Opens a camera and its peers, without the exchange of a pairing. */
async function openDevices<Name extends string>(...names: readonly Name[]) {
  const setup = await setUpPeers(...names);
  const { camera, others } = setup;
  for (const other of others) {
    await record(camera, other);
    await record(other, camera);
  }
  const peers = Object.fromEntries(others.map((other) => [other.name, other]));
  return {
    ...peers as Record<Name, Device>,
    camera,
    [Symbol.asyncDispose]: () => setup[Symbol.asyncDispose](),
  };
}

const ask = async (app: App, peer: string) => {
  return await (await callApp(app, mkreq("GET", "/"), { session: makePeerSession(peer) })).text();
};

/** An app that counts. */
function makeCountingApp(name: string): App {
  let requests = 0;
  return () => reply(200, `${name} ${++requests}`);
}

Deno.test("perPeer makes a new app for a renamed peer, so that rules by name apply at once", async () => {
  await using devices = await openDevices("phone");
  const { camera, phone } = devices;
  const names: string[] = [];
  const app = perPeer(({ name }) => ({
    handle: () => reply(200, name),
    onConnect: () => {
      names.push(name);
      return name !== "stranger";
    },
  }));
  await using server = await camera.serve(["127.0.0.1", 0], app);
  const client = await phone.client("camera", { addresses: [server.address] });
  using connection = await client.connect();
  const textOf = async () => await (await connection.get("/")).text();
  assertEquals(await textOf(), "phone");
  await camera.rename("phone", "tablet");
  assertEquals(await textOf(), "tablet");
  await camera.rename("tablet", "stranger");
  await assertRejects(() => connection.get("/"));
  assertEquals(names, ["phone", "tablet", "stranger"]);
});

Deno.test("perPeer: an error of make fails the request, and the next request calls make again", async () => {
  let attempts = 0;
  const apps: unknown[] = [new Error("full"), undefined, { handle: 5 }];
  const app = perPeer(() => {
    const result = apps[attempts++];
    if (result instanceof Error) throw result;
    return attempts > apps.length ? () => reply(200, "made") : result as App;
  });
  await assertRejects(() => ask(app, "a"), Error, "full");
  await assertRejects(() => ask(app, "a"), TypeError, "make()");
  await assertRejects(() => ask(app, "a"), TypeError, "make()");
  assertEquals([await ask(app, "a"), await ask(app, "a"), attempts], ["made", "made", 4]);
});

const serveApp = (device: Device, app: App) => device.serve(["127.0.0.1", 0], app);

Deno.test("perPeer keeps an app across sessions, until its peer is forgotten", async () => {
  await using devices = await openDevices("viewer", "recorder");
  const { camera, viewer, recorder } = devices;
  const app = perPeer((peer: Peer) => makeCountingApp(peer.name));
  await using server = await serveApp(camera, app);
  const replyTo = async (device: Device) => {
    const client = await device.client("camera", { addresses: [server.address] });
    const { body } = await client.request("GET", "/");
    return await body?.text();
  };
  assertEquals([await replyTo(viewer), await replyTo(viewer)], ["viewer 1", "viewer 2"]);
  assertEquals(await replyTo(recorder), "recorder 1");
  await camera.forget("viewer");
  assertEquals(await replyTo(recorder), "recorder 2");
  // A peer that is paired again gets a new app.
  await using invitation = await camera.invite({ listen: [["127.0.0.1", 0]] });
  await viewer.join(invitation.line);
  assertEquals(await replyTo(viewer), "viewer 1");
});

Deno.test("perPeer: an app whose peer is forgotten while it is made is not used", async () => {
  await using devices = await openDevices("viewer");
  const { camera, viewer } = devices;
  const makeStarted = Promise.withResolvers<void>();
  const gate = Promise.withResolvers<void>();
  let handled = 0;
  const app = perPeer(async () => {
    makeStarted.resolve();
    await gate.promise;
    return () => reply(200, `${++handled}`);
  });
  await using server = await serveApp(camera, app);
  const client = await viewer.client("camera", { addresses: [server.address] });
  const asking = catchRejection(client.request("GET", "/"), "a request of a forgotten peer");
  await makeStarted.promise;
  await camera.forget("viewer");
  await asking;
  gate.resolve();
  await server.shutdown();
  assertEquals(handled, 0);
});

Deno.test("perPeer calls the onConnect of a peer's app before the first request of each session", async () => {
  await using devices = await openDevices("viewer", "recorder");
  const { camera, viewer, recorder } = devices;
  const sessions: string[] = [];
  const app = perPeer(({ name }) => ({
    handle: () => reply(200, name),
    onConnect: (session, sock) => {
      sessions.push(`${peerOf(session).name} ${typeof sock.read}`);
      return name === "viewer";
    },
  }));
  await using server = await serveApp(camera, app);
  const client = await viewer.client("camera", { addresses: [server.address] });
  for (let i = 0; i < 2; i++) {
    using conn = await client.connect();
    for (let j = 0; j < 2; j++) assertEquals(await (await conn.get("/")).body?.text(), "viewer");
  }
  assertEquals(sessions, ["viewer function", "viewer function"]);
  const stranger = await recorder.client("camera", { addresses: [server.address] });
  await assertRejects(() => stranger.request("GET", "/"), EmptyPreambleError);
});

Deno.test("perPeer needs a function, and the server of a device", async () => {
  for (const make of [undefined, null, {}, { handle: () => reply(200) }]) {
    assertTypeError(() => callWith(perPeer, make), Deno.inspect(make));
  }
  const app = perPeer(() => () => reply(200));
  await assertRejects(() => callApp(app, mkreq("GET", "/")), TypeError, "DeviceServer");
});
