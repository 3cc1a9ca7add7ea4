/** Server: options, start, sessions, and closing. */
import { type Address, Body, BodyIter, type Socket } from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import { type App, Server, type ServerOptions, type Session, SSLServer } from "@degu/degu/server";
import { waitForAbort } from "@degu/testing/aborts.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { assertTypeError, constructWith } from "@degu/testing/expectations.ts";
import { findOwnAddress, listenAgain } from "@degu/testing/ports.ts";
import { RawPeer, waitForTick, waitUntilRefused, withTimeout } from "@degu/testing/raw_peer.ts";
import { connectRawPeer, RecordingLogger, serve } from "@degu/testing/serving.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { TempPKI } from "@degu/degu/misc";
import { recordUnhandledRejections } from "@degu/testing/rejections.ts";

// Constructing a server, and accepting connections.

const get = "GET / HTTP/1.1\r\n\r\n";
const respondEmpty: App = () => [200, "OK", {}, null];
const anywhere = ["127.0.0.1", 0] as const;

const counts = { types: ["5", null, 5n], values: [0, -1, 0.5, 1.5, NaN, -Infinity, 2 ** 53] };
const levels = ["debug", "info", "warn", "error"];

/** Values of a wrong type, and disallowed values, of each option. */
const OPTIONS: Record<string, { types: readonly unknown[]; values?: readonly unknown[] }> = {
  maxConnections: counts,
  maxRequests: counts,
  timeout: { types: ["5", true], values: [0, -1, NaN, Infinity, -Infinity, 3600.1] },
  logger: {
    types: [null, () => {}, {}, ...levels.map((level) => ({ ...console, [level]: undefined }))],
  },
  onExchange: { types: [null] },
  replaceStaleSocket: { types: [null, "yes", 1] },
};

Deno.test("an app or option of a wrong type, or an unknown option, is a TypeError; a wrong value a RangeError", () => {
  assertTypeError(() => constructWith(Server, anywhere, { onConnect: () => true }), "no handle");
  const make = (options: unknown) => () => constructWith(Server, anywhere, respondEmpty, options);
  for (const options of [null, 5]) assertTypeError(make(options), `${options}`);
  for (const name of ["maxConnection", "Timeout", "host", "toString", ""]) {
    assertThrows(make({ [name]: undefined }), TypeError, name);
  }
  for (const [name, { types, values = [] }] of Object.entries(OPTIONS)) {
    for (const value of types) {
      assertThrows(make({ [name]: value }), TypeError, name, Deno.inspect(value));
    }
    for (const value of values) assertThrows(make({ [name]: value }), RangeError, name, `${value}`);
  }
});

Deno.test("onConnect gets the session and the socket, once per connection, before any byte", async () => {
  const calls: (readonly [Session, Socket])[] = [];
  const sessions: Session[] = [];
  await using serving = serve({
    handle: (_request, session) => {
      sessions.push(session);
      return [200, "OK", { greeting: String(session.store.get("greeting")) }, null];
    },
    onConnect(session, sock) {
      calls.push([session, sock]);
      session.store.set("greeting", "hello");
      return true;
    },
  });
  using conn = await serving.makeClient().connect();
  assertEquals((await conn.get("/")).headers["greeting"], "hello");
  assertEquals((await conn.get("/")).headers["greeting"], "hello");
  const [[session, sock] = [], ...moreCalls] = calls;
  assertEquals(moreCalls, []);
  for (const otherSession of sessions) assertStrictEquals(otherSession, session);
  assertEquals([typeof sock?.read, typeof sock?.write], ["function", "function"]);
});

Deno.test("serveForever() may be called again, and before or after close()", async () => {
  const server = new Server(anywhere, respondEmpty);
  const first = server.serveForever();
  const second = server.serveForever();
  assertEquals((await new Client(server.address).request("GET", "/")).status, 200);
  server.close();
  await Promise.all([first, second, server.serveForever()]);
  server.close();
  await server.shutdown();
  await server[Symbol.asyncDispose]();

  const unused = new Server(anywhere, respondEmpty);
  unused.close();
  await unused.serveForever();
  const shut = new Server(anywhere, respondEmpty);
  await shut.shutdown();
  await shut.serveForever();
});

// Closing a server: `close()`, `shutdown()`, dispose.

Deno.test("close(): a response that waits for its source ends, and the source is canceled", async () => {
  const cancelled = Promise.withResolvers<void>();
  const stream = new ReadableStream<Uint8Array>({ cancel: () => cancelled.resolve() });
  await using pair = await connectRawPeer(() => [200, "OK", {}, new Body(stream, 5)], get);
  await pair.peer.readPreamble();
  pair.serving.server.close();
  await pair.peer.assertClosedSilently();
  await withTimeout(pair.serving.done, "serveForever() settles");
  await withTimeout(cancelled.promise, "the source is canceled");
});

Deno.test("shutdown(): a response that was sent is not lost while the session lingers", async () => {
  const size = 2_000_000;
  const app: App = () => [413, "Too Large", {}, new Uint8Array(size)];
  const request = "POST / HTTP/1.1\r\ncontent-length: 1000000\r\n\r\n";
  await using pair = await connectRawPeer(app, request);
  const { peer, serving } = pair;
  // The buffers of TCP may be smaller than the response.
  const receiving = peer.readToEnd();
  await serving.logger.waitFor("info");
  const shutdown = serving.server.shutdown();
  await peer.sendUntilRefused(new Uint8Array(10_000), 50_000);
  const { received, kind: ending } = await receiving;
  const preamble = "HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 2000000\r\n\r\n";
  assertEquals([received.length, ending], [preamble.length + size, "end"]);
  await shutdown;
});

/** More bytes than the buffers of TCP hold: they grow up to 36 MiB. */
const LARGE_BYTES = 64_000_000;

/** Makes an app that responds after `respond()`; `appCalled` resolves when the app is called. */
function makeGatedApp(): { app: App; appCalled: Promise<void>; respond: () => void } {
  const appCalled = Promise.withResolvers<void>();
  const gate = Promise.withResolvers<void>();
  const app: App = async ({ uri }) => {
    if (uri === "/idle") return [200, "OK", {}, null];
    if (uri === "/large") {
      return [200, "OK", {}, new BodyIter(Array(64).fill(new Uint8Array(1_000_000)), LARGE_BYTES)];
    }
    appCalled.resolve();
    await gate.promise;
    return [200, "OK", {}, encodeLatin1("finished")];
  };
  return { app, appCalled: appCalled.promise, respond: gate.resolve };
}

Deno.test("shutdown(): pending requests finish, idle connections close, and new connections are refused", async () => {
  const { app, appCalled, respond } = makeGatedApp();
  await using serving = serve(app, {}, await findOwnAddress());
  using idle = await RawPeer.connect(serving.address, "GET /idle HTTP/1.1\r\n\r\n");
  await idle.readPreamble();
  using fresh = await RawPeer.connect(serving.address);
  using busyPeer = await RawPeer.connect(serving.address, get + "GET /idle HTTP/1.1\r\n\r\n");
  await appCalled;
  let isDown = false;
  serving.done.then(() => isDown = true);
  const shutdown = serving.server.shutdown().then(() => isDown = true);
  await idle.assertClosedSilently("an idle connection");
  await fresh.assertClosedSilently("a connection without a request");
  await waitUntilRefused(serving.address);
  assertEquals(isDown, false);
  respond();
  const { received, kind: ending } = await busyPeer.readToEnd();
  assertEquals(
    received,
    "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 8\r\n\r\nfinished",
  );
  assertEquals(ending, "end");
  busyPeer.close();
  await Promise.all([shutdown, serving.done]);
  (await listenAgain(() => new Server(serving.address, app))).close();
});

Deno.test("shutdown(): a request whose first bytes have arrived gets a response", async () => {
  await using pair = await connectRawPeer(respondEmpty, "GET / HT");
  const { peer, serving } = pair;
  await waitForTick();
  await waitForTick();
  const shutdown = serving.server.shutdown();
  await peer.send("TP/1.1\r\n\r\n");
  await peer.closeWrite();
  const lines = "connection: close\r\ncontent-length: 0\r\n";
  assertEquals((await peer.readToEnd()).received, `HTTP/1.1 200 OK\r\n${lines}\r\n`);
  await shutdown;
});

Deno.test("shutdown(): a response that is being written is completed", async () => {
  const total = 8_000_000;
  // The buffer of a Unix socket doesn't grow.
  await using dir = await createTempDir();
  const app: App = () => [200, "OK", {}, new Uint8Array(total)];
  await using pair = await connectRawPeer(app, get, {}, `${dir.path}/socket`);
  const { peer, serving } = pair;
  await peer.readExactly(1000);
  const shutdown = serving.server.shutdown();
  await peer.closeWrite();
  const { received, kind: ending } = await peer.readToEnd();
  const preamble = `HTTP/1.1 200 OK\r\ncontent-length: ${total}\r\n\r\n`;
  assertEquals([received.length + 1000, ending], [preamble.length + total, "end"]);
  await shutdown;
});

Deno.test("shutdown() and then close(): pending responses are cut detectably", async () => {
  const { app, appCalled, respond } = makeGatedApp();
  await using pair = await connectRawPeer(app, get);
  const { peer, serving } = pair;
  await appCalled;
  const shutdown = serving.server.shutdown();
  serving.server.close();
  await Promise.all([shutdown, serving.done]);
  await peer.assertClosedSilently();
  respond();
  assertEquals(serving.logger.messagesOf("error"), []);
});

Deno.test("close(): every connection ends at once, and a response is cut detectably", async () => {
  const { app, appCalled, respond } = makeGatedApp();
  const serving = serve(app, {}, await findOwnAddress());
  using idle = await RawPeer.connect(serving.address, "GET /idle HTTP/1.1\r\n\r\n");
  await idle.readPreamble();
  using partial = await RawPeer.connect(serving.address, "GET / HT");
  using waiting = await RawPeer.connect(serving.address, get);
  using largePeer = await RawPeer.connect(serving.address, "GET /large HTTP/1.1\r\n\r\n");
  await largePeer.readExactly(100);
  await appCalled;
  serving.server.close();
  await serving.done;
  for (const peer of [idle, partial, waiting]) await peer.assertClosedSilently();
  const { received } = await largePeer.readToEnd();
  assert(received.length < LARGE_BYTES, "a response that was not written is complete");
  respond();
  assertEquals(serving.logger.messagesOf("error"), []);
  (await listenAgain(() => new Server(serving.address, app))).close();
});

// The properties of a server: its sessions, and its options.

Deno.test("a server's sessions are the accepted sessions that have not ended", async () => {
  const deciding = [Promise.withResolvers<boolean>(), Promise.withResolvers<boolean>()];
  const acceptedSessions: Session[] = [];
  const sessionLists: Session[][] = [];
  await using serving = serve({
    onConnect(session) {
      acceptedSessions.push(session);
      return deciding[acceptedSessions.length - 1]!.promise;
    },
    handle(_request, session) {
      sessionLists.push([...serving.server.sessions]);
      assert(serving.server.sessions.has(session));
      return [200, "OK", {}, null];
    },
  });
  const { sessions } = serving.server;
  using first = await RawPeer.connect(serving.address, get);
  using second = await RawPeer.connect(serving.address, get);
  assertEquals([...sessions], []);
  deciding[0]!.resolve(true);
  await first.readPreamble();
  const [acceptedSession] = acceptedSessions;
  assertEquals(sessionLists, [[acceptedSession!]]);
  assertEquals([...sessions], [acceptedSession!]);
  assertStrictEquals(serving.server.sessions, sessions);
  deciding[1]!.resolve(false);
  await serving.logger.waitFor("info");
  assertEquals([...sessions], [acceptedSession!]);
  const allAborted = Promise.all(Array.from(sessions, ({ signal }) => waitForAbort(signal)));
  first.close();
  second.close();
  await allAborted;
  assertEquals([...sessions], []);
});

Deno.test("port is the port of the address, or null without a port", async () => {
  await using dir = await createTempDir();
  const rows: [address: Address, port: "address" | null][] = [
    [["127.0.0.1", 0], "address"],
    [["::1", 0, 0, 0], "address"],
    [`${dir.path}/socket`, null],
    ...Deno.build.os === "linux" ? [[new Uint8Array(0), null] as [Address, null]] : [],
  ];
  for (const [address, port] of rows) {
    await using server = new Server(address, respondEmpty);
    assertEquals(server.port, port === null ? null : server.address[1] as number);
    if (port !== null) assert(server.port! > 0);
  }
});

Deno.test("values of session.store are also disposed of asynchronously, in reverse order", async () => {
  const disposals: string[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  const disposable = {
    [Symbol.dispose]: () => void disposals.push("both, at once"),
    [Symbol.asyncDispose]: () => Promise.resolve(void disposals.push("never")),
  };
  const app: App = (_request, { store }) => {
    store.set("first", {
      [Symbol.asyncDispose]: () => Promise.resolve(resolve(void disposals.push("asynchronous"))),
    });
    store.set("second", disposable);
    store.set("third", {
      [Symbol.asyncDispose]: () => Promise.reject(new Error("a disk is full")),
    });
    return [200, "OK", { connection: "close" }, null];
  };
  await using serving = serve(app);
  await new Client(serving.server.address).request("GET", "/");
  await promise;
  assertEquals(disposals, ["both, at once", "asynchronous"]);
  const [line = ""] = await serving.logger.waitFor("error");
  assert(line.includes("a disk is full"), line);
});

// ───────────────────────── Server.start()

const app: App = () => [200, "OK", {}, "hello"];
const waitForTimer = () => new Promise((resolve) => setTimeout(resolve));

/** Makes functions that start each kind of server. */
async function makeStarters() {
  const pki = await TempPKI.create();
  const { serverSslconfig } = pki;
  const logger = new RecordingLogger();
  return {
    pki,
    starts: {
      plain: (address: typeof anywhere | readonly [string, number]) =>
        Server.start(address, app, { logger }),
      TLS: (address: typeof anywhere | readonly [string, number]) =>
        SSLServer.start(serverSslconfig, address, app, { logger }),
    },
    startsAtPath: {
      plain: (path: string, options?: ServerOptions) =>
        Server.start(path, app, { logger, ...options }),
      TLS: (path: string, options?: ServerOptions) =>
        SSLServer.start(serverSslconfig, path, app, { logger, ...options }),
    },
    [Symbol.asyncDispose]: () => pki[Symbol.asyncDispose](),
  };
}

Deno.test("Server.start resolves to a server that is bound, and closes a connection that it has just accepted", async () => {
  await using servers = await makeStarters();
  for (const [name, start] of Object.entries(servers.starts)) {
    await using server = await start(anywhere);
    assertInstanceOf(server, name === "TLS" ? SSLServer : Server);
    // The type of the server has a port, because the address has one.
    const port: number = server.port;
    (await Deno.connect({ port })).close();
  }
});

Deno.test("an address that is in use rejects only Server.start", async () => {
  await using servers = await makeStarters();
  using rejections = recordUnhandledRejections();
  for (const start of Object.values(servers.starts)) {
    await using first = await start(anywhere);
    await assertRejects(() => start(first.address as typeof anywhere), Deno.errors.AddrInUse);
    await waitForTimer();
  }
  assertEquals(rejections.reasons, []);
});

/** Leaves a socket at the path, as a server does whose process was killed. */
function leaveSocket(path: string): void {
  const listener = Deno.listen({ transport: "unix", path });
  Deno.linkSync(path, `${path}.link`);
  listener.close();
  Deno.renameSync(`${path}.link`, path);
}

Deno.test("replaceStaleSocket replaces a socket at which no process listens, at any number of starts", async () => {
  await using dir = await createTempDir();
  await using servers = await makeStarters();
  for (const [name, start] of Object.entries(servers.startsAtPath)) {
    const path = `${dir.path}/${name}`;
    leaveSocket(path);
    await assertRejects(() => start(path), Deno.errors.AddrInUse, `can't listen at unix:${path}: `);
    for (const _ of [1, 2]) {
      await using server = await start(path, { replaceStaleSocket: true });
      assertEquals(server.address, path);
      (await Deno.connect({ transport: "unix", path })).close();
    }
    // The server has removed its socket.
    await assertRejects(() => Deno.lstat(path), Deno.errors.NotFound);
  }
  const plain = new Server(`${dir.path}/plain`, respondEmpty, { replaceStaleSocket: true });
  plain.close();
  await plain.ready;
  await plain.serveForever();
  await using again = await servers.startsAtPath.plain(`${dir.path}/plain`, {
    replaceStaleSocket: true,
  });
  assertEquals(await (await new Client(again.address).get("/")).text(), "hello");
});

Deno.test("replaceStaleSocket removes no socket of a listening process, and no other file", async () => {
  await using dir = await createTempDir();
  await using servers = await makeStarters();
  const options = { replaceStaleSocket: true };
  const pathOf = (name: string) => `${dir.path}/${name}`;
  using _listener = Deno.listen({ transport: "unix", path: pathOf("in use") });
  await Deno.writeTextFile(pathOf("file"), "kept");
  await Deno.mkdir(pathOf("directory"));
  for (const start of Object.values(servers.startsAtPath)) {
    for (const name of ["in use", "file", "directory"]) {
      await assertRejects(
        () => start(pathOf(name), options),
        Deno.errors.AddrInUse,
        "can't listen at ",
      );
    }
    await assertRejects(() => start(pathOf("none/socket"), options), Deno.errors.NotFound);
  }
  (await Deno.connect({ transport: "unix", path: pathOf("in use") })).close();
  assertEquals(await Deno.readTextFile(pathOf("file")), "kept");
  assert((await Deno.lstat(pathOf("directory"))).isDirectory);
});

Deno.test("of servers that replace a stale socket at once, one serves, and all others fail", async () => {
  await using dir = await createTempDir();
  const path = `${dir.path}/socket`;
  leaveSocket(path);
  const starts = Array.from(
    Array(8),
    () => Server.start(path, app, { replaceStaleSocket: true }),
  );
  const results = await Promise.allSettled(starts);
  const running = results.filter((result) => result.status === "fulfilled");
  const failed = results.filter((result) => result.status === "rejected");
  await using server = running[0]!.value;
  assertEquals([running.length, failed.length], [1, 7]);
  for (const { reason } of failed) {
    assertInstanceOf(reason, Deno.errors.AddrInUse);
    assertMatch(reason.message, /^can't listen at unix:.*: another server uses this path$/);
  }
  assertEquals(await (await new Client(server.address).get("/")).text(), "hello");
});

Deno.test("if ready rejects, a rejection of serveForever() counts as handled", async () => {
  await using servers = await makeStarters();
  await using first = await servers.starts.TLS(anywhere);
  const logger = new RecordingLogger();
  const make = () =>
    new SSLServer(servers.pki.serverSslconfig, first.address as typeof anywhere, app, { logger });
  using rejections = recordUnhandledRejections();
  for (const isServing of [true, false]) {
    await using server = make();
    if (isServing) server.serveForever();
    await assertRejects(() => server.ready, Deno.errors.AddrInUse);
    await waitForTimer();
    if (!isServing) server.serveForever();
    await waitForTimer();
  }
  assertEquals(rejections.reasons, []);
  // An error that the caller ignores is still reported.
  const ignored = make();
  ignored.serveForever();
  while (rejections.reasons.length === 0) await waitForTimer();
  assertInstanceOf(rejections.reasons[0], Deno.errors.AddrInUse);
  await ignored[Symbol.asyncDispose]();
});
