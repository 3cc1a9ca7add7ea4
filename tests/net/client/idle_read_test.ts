/**
 * Idle connections: a close between two requests is detected at once, and the idle read delays no
 * request. Time-outs: the timer that connections share, and the waits that it bounds.
 */
import fc from "fast-check";
import { Client, Connection, ConnectionPool, isTransient, reply, Server } from "@degu/degu";
import {
  BodyIter,
  ConnectionClosedError,
  ConnectionError,
  EmptyPreambleError,
  ProtocolError,
} from "@degu/degu/base";
import { createTempDir } from "@degu/testing/directories.ts";
import { assertProtocolRejection, catchRejection } from "@degu/testing/expectations.ts";
import { findUnusedPort } from "@degu/testing/ports.ts";
import { runProgram } from "@degu/testing/processes.ts";
import {
  isBroken,
  RawPeer,
  RawServer,
  retryUntilInTime,
  waitForTick,
  withTimeout,
} from "@degu/testing/raw_peer.ts";
import { openSharedPki, serveRaw, startTls } from "@degu/testing/tls_endpoints.ts";
import { RecordingSocket } from "../recording_socket.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { FakeTime } from "@std/testing/time";
import type { App } from "@degu/degu/server";
import { ConnectionDeadline, Deadline } from "@degu/internal/net/transport/deadline.ts";
import {
  captureIntervals,
  recordIntervals,
  setClockAhead,
  stopPerformanceClock,
} from "@degu/testing/clock.ts";
import { connect } from "./connected.ts";
import { patch } from "@degu/testing/patching.ts";
import { serve } from "@degu/testing/serving.ts";

/** A client's connection, and functions by which its peer sends bytes or ends. */
interface ConnectionPair extends AsyncDisposable {
  readonly conn: Connection;
  send(text: string): Promise<void>;
  end(): Promise<void>;
}

async function openPlain(path?: string): Promise<ConnectionPair> {
  const server = new RawServer(path);
  const conn = await new Client(server.address, { host: null, timeout: 60 }).connect();
  const peer = await server.accept();
  return {
    conn,
    send: (text) => peer.send(text),
    end: () => peer.closeWrite(),
    [Symbol.asyncDispose]() {
      conn.close();
      server[Symbol.dispose]();
      return Promise.resolve();
    },
  };
}

async function openTls(): Promise<ConnectionPair> {
  const accepted = Promise.withResolvers<{ write(bytes: Uint8Array): unknown; end(): unknown }>();
  const server = await serveRaw(await openSharedPki(), (socket) => {
    socket.resume();
    accepted.resolve(socket);
  });
  const conn = await server.client.connect();
  const peer = await accepted.promise;
  return {
    conn,
    send: (text) => Promise.resolve(void peer.write(encodeLatin1(text))),
    end: () => Promise.resolve(void peer.end()),
    [Symbol.asyncDispose]() {
      conn.close();
      return server[Symbol.asyncDispose]();
    },
  };
}

const kinds: Record<string, (dir: string) => Promise<ConnectionPair>> = {
  "TCP": () => openPlain(),
  "Unix": (dir) => openPlain(`${dir}/socket`),
  "TLS": () => openTls(),
};

const EMPTY = "HTTP/1.1 204 No Content\r\n\r\n";
const HELLO = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
const CHUNKED = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";

/** Makes a request, responds with these bytes, and reads the response. */
async function exchange({ conn, send }: ConnectionPair, bytes: string): Promise<void> {
  const responding = conn.get("/");
  await send(bytes);
  await (await responding).text();
}

async function waitUntilClosed(conn: Connection): Promise<void> {
  await withTimeout(
    (async () => {
      while (!conn.closed) await waitForTick();
    })(),
    "the connection closes by itself",
  );
}

for (const [kind, open] of Object.entries(kinds)) {
  Deno.test(`${kind}: a peer's close of an idle connection closes it, and is the error of the first request`, async (t) => {
    await using dir = await createTempDir();
    for (const bytes of [EMPTY, HELLO, CHUNKED]) {
      await t.step(JSON.stringify(bytes), async () => {
        await using pair = await open(`${dir.path}`);
        const { conn } = pair;
        for (let i = 0; i < 2; i++) await exchange(pair, bytes);
        assertEquals(conn.closed, false);
        await pair.end();
        await waitUntilClosed(conn);
        const error = await catchRejection(conn.post("/", {}, "hello"), "the first request");
        assertInstanceOf(error, EmptyPreambleError);
        assertStringIncludes(error.message, "before the request was sent");
        assertEquals(isTransient(error), true);
        assertInstanceOf(await catchRejection(conn.get("/"), "the next"), ConnectionClosedError);
        await Deno.remove(`${dir.path}/socket`).catch(() => {});
      });
    }
  });

  Deno.test(`${kind}: unrequested bytes close an idle connection`, async (t) => {
    await using dir = await createTempDir();
    for (const bytes of [EMPTY, "H", null]) {
      await t.step(bytes === null ? "later" : `with the response: ${bytes}`, async () => {
        await using pair = await open(dir.path);
        const { conn } = pair;
        if (bytes !== null) await exchange(pair, HELLO + bytes);
        else {
          await exchange(pair, HELLO);
          await pair.send(EMPTY);
        }
        await waitUntilClosed(conn);
        await assertProtocolRejection(conn.get("/"), ["EXCESS_BYTES"], "the first request");
        assertInstanceOf(await catchRejection(conn.get("/"), "the next"), ConnectionClosedError);
        await Deno.remove(`${dir.path}/socket`).catch(() => {});
      });
    }
  });

  Deno.test(`${kind}: a request that was aborted before its first byte leaves the connection idle and open`, async () => {
    await using dir = await createTempDir();
    await using pair = await open(dir.path);
    const { conn } = pair;
    await exchange(pair, HELLO);
    const aborting = new AbortController();
    const rejection = catchRejection(
      conn.get("/", {}, { signal: aborting.signal }),
      "an aborted request",
    );
    aborting.abort("enough");
    assertEquals([await rejection, conn.closed], ["enough", false]);
    await exchange(pair, HELLO);
    await pair.end();
    await waitUntilClosed(conn);
  });
}

Deno.test("the error of a request over a connection that the peer has ended names an error status before it", async () => {
  for (const [status, end] of [[400, ", after a response with status 400"], [200, ""]] as const) {
    await using pair = await openPlain();
    await exchange(pair, `HTTP/1.1 ${status} OK\r\ncontent-length: 0\r\n\r\n`);
    await pair.end();
    await waitUntilClosed(pair.conn);
    const error = await catchRejection(pair.conn.get("/"), "a request") as Error;
    const expected = `the peer had closed the connection before the request was sent${end}`;
    assertEquals(error.message, expected);
  }
});

/** Starts a server in another thread, which closes each connection while this thread is blocked. */
async function startClosingServer() {
  const state = new Int32Array(new SharedArrayBuffer(4));
  const url = import.meta.resolve("../../programs/closing_server.ts");
  const worker = new Worker(url, { type: "module" });
  const started = Promise.withResolvers<MessageEvent<number>>();
  worker.onmessage = started.resolve;
  worker.postMessage(state);
  const { data: port } = await withTimeout(started.promise, "a server in a worker");
  return {
    address: ["127.0.0.1", port] as const,
    /** Blocks the event loop, as a computation does, until the server has closed a connection. */
    close() {
      Atomics.store(state, 0, 1);
      Atomics.notify(state, 0);
      assert(Atomics.wait(state, 0, 1, 60_000) !== "timed-out", "the server closes");
    },
    [Symbol.dispose]: () => worker.terminate(),
  };
}

Deno.test("a pool reads a connection that was idle for over a second before it reuses it", async () => {
  using server = await startClosingServer();
  using clock = stopPerformanceClock();
  // The server sends a 408, or nothing, and closes while the program computes.
  for (const uri of ["/", "/silent"]) {
    await using pool = new ConnectionPool(new Client(server.address));
    for (const method of ["GET", "POST", "POST", "GET"] as const) {
      const request = pool.request(method, uri);
      // A timer of the request is due before the event loop can read the connection.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
      const response = await request;
      assertEquals([response.status, await response.text()], [200, "ok"]);
      server.close();
      clock.pass(1.1);
    }
  }
});

Deno.test("a socket that can't be unreferenced is read when the next request is made", async () => {
  const socket = new RecordingSocket();
  using conn = new Connection(socket, null, undefined, null);
  const responding = conn.get("/");
  socket.receive(EMPTY);
  await responding;
  socket.receive(EMPTY);
  await waitForTick();
  assertEquals(conn.closed, false);
  const error = await catchRejection(conn.get("/"), "the next request");
  assert(error instanceof ProtocolError && error.code === "EXCESS_BYTES");
});

Deno.test("a process with only idle connections ends: over TCP, a Unix socket and TLS, and in a pool", async () => {
  await using dir = await createTempDir();
  const pki = await openSharedPki();
  const app = () => reply(200, "hello");
  await using tcp = await Server.start(["127.0.0.1", 0], app);
  await using unix = await Server.start(`${dir.path}/socket`, app);
  await using tls = await startTls(pki, app);
  const args = [tcp, unix, tls.server].map(({ address }) => JSON.stringify(address));
  const printed = await runProgram("idle_connections.ts", {
    flags: ["--allow-net", "--allow-read", "--allow-write"],
    args: [...args, JSON.stringify({ ...pki.clientSslconfig, checkHostname: false })],
  });
  assertEquals(printed, "hello\nhello\ngiven up false\n".repeat(3));
});

// ───────────────────────── time-outs

/** Seconds. */
const TIMEOUT = 8;

interface Waits {
  wait: string | null;
  writeWait: string | null;
}

/** Asks for waits in fake time, and records the times at which one of them expired. */
function watchWaits(waits: Waits) {
  const time = new FakeTime(0);
  const expired: (readonly [time: number, isWrite: boolean])[] = [];
  const onExpire = (isWrite: boolean) => {
    expired.push([time.now, isWrite]);
    deadline.close();
  };
  const deadline: ConnectionDeadline = new ConnectionDeadline(
    TIMEOUT,
    Object.assign(waits, { writeTimeouts: 1, onExpire }),
  );
  return {
    time,
    expired,
    [Symbol.dispose]() {
      deadline.close();
      time.restore();
    },
  };
}

/** Starts a deadline in fake time, and records the times at which it expired. */
function startDeadline(timeout: number | null = TIMEOUT) {
  const time = new FakeTime(0);
  const expired: number[] = [];
  const deadline = new Deadline(timeout, () => expired.push(time.now));
  return {
    time,
    deadline,
    expired,
    [Symbol.dispose]() {
      deadline.close();
      time.restore();
    },
  };
}

Deno.test("a wait expires after 1.0 to 1.25 times the timeout, whenever it began", () => {
  const offsets = fc.integer({ min: 0, max: 3 * TIMEOUT * 1000 });
  const kinds = fc.constantFrom("wait", "writeWait", null);
  fc.assert(fc.property(offsets, kinds, (offset, kind) => {
    const waits: Waits = { wait: null, writeWait: null };
    using timer = kind === null ? startDeadline() : watchWaits(waits);
    timer.time.tick(offset);
    if (kind !== null) waits[kind] = "a";
    else if ("deadline" in timer) timer.deadline.startWait();
    timer.time.tick(TIMEOUT * 1000 - 1);
    assertEquals(timer.expired, [], "before its time is over");
    timer.time.tick(TIMEOUT * 1000 * 0.25 + 1);
    assertEquals(timer.expired.length, 1, "after 1.25 times its time");
    timer.time.tick(TIMEOUT * 1000 * 10);
    assertEquals(timer.expired.length, 1, "it fires once");
  }));
});

Deno.test("a wait doesn't count the time for which the process was stopped", () => {
  const ticks: (() => void)[] = [];
  using _intervalPatch = patch(globalThis, "setInterval", (setInterval) => {
    const record = (tick: () => void, milliseconds?: number) => {
      ticks.push(tick);
      return setInterval(tick, milliseconds);
    };
    return record as typeof setInterval;
  });
  // No other deadline has this time-out, and so this timer.
  let isExpired = false;
  using deadline = new Deadline(TIMEOUT + 1 / 3, () => void (isExpired = true));
  deadline.startWait();
  assertEquals(ticks.length, 1);
  // After the stop, an interval fires once, however long the stop was.
  using _clock = setClockAhead(3_600_000);
  using performanceClock = stopPerformanceClock();
  performanceClock.pass(3600);
  for (let i = 0; i < 8; i++) ticks[0]!();
  assert(!isExpired);
  ticks[0]!();
  assert(isExpired);
});

Deno.test("a wait and a write have separate limits, and no progress of one prolongs the other", () => {
  for (const isWrite of [false, true]) {
    const waits: Waits = { wait: "a", writeWait: "a" };
    using timer = watchWaits(waits);
    for (let seconds = 0; seconds < TIMEOUT * 1.25; seconds++) {
      waits[isWrite ? "wait" : "writeWait"] = `${seconds}`;
      timer.time.tick(1000);
    }
    assertEquals(timer.expired, [[(TIMEOUT + TIMEOUT / 8) * 1000, isWrite]]);
  }
});

Deno.test("another name is another wait, also if no tick has seen that there was none", () => {
  const waits: Waits = { wait: "a", writeWait: null };
  using timer = watchWaits(waits);
  timer.time.tick(TIMEOUT * 999);
  waits.wait = "b";
  timer.time.tick(TIMEOUT * 999);
  waits.wait = null;
  timer.time.tick(TIMEOUT * 10_000);
  assertEquals(timer.expired, []);
});

Deno.test("a wait that has ended, never began, or has no limit does not expire", () => {
  type Case = (deadline: Deadline, time: FakeTime) => void;
  const rows: [label: string, run: Case, timeout: number | null][] = [
    ["never began", () => {}, TIMEOUT],
    ["ended in time", (deadline, time) => {
      deadline.startWait();
      time.tick(TIMEOUT * 999);
      deadline.stopWait();
    }, TIMEOUT],
    ["was closed", (deadline) => {
      deadline.startWait();
      deadline.close();
    }, TIMEOUT],
    ["began when it was closed", (deadline) => {
      deadline.close();
      deadline.startWait();
    }, TIMEOUT],
    ["has no limit", (deadline) => deadline.startWait(), null],
  ];
  for (const [label, run, timeout] of rows) {
    using timer = startDeadline(timeout);
    run(timer.deadline, timer.time);
    timer.time.tick(TIMEOUT * 10_000);
    assertEquals(timer.expired, [], `it ${label}`);
  }
});

Deno.test("a timeout that exceeds the engine's longest timer does not expire at once", () => {
  using time = new FakeTime(0);
  using intervals = recordIntervals();
  const expired: number[] = [];
  const deadline = new Deadline(1e12, () => expired.push(time.now));
  deadline.startWait();
  // The engine would convert a longer interval to a millisecond.
  assertEquals([...intervals.running.values()], [2 ** 31 - 1]);
  time.tick(2 ** 31);
  assertEquals(expired, []);
  deadline.close();
});

const SHORT = 0.3;
const MEBIBYTE = 1048576;

/** Waits in real time, which is under test. */
function waitSeconds(count: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, count * 1000));
}

/** Asserts that a call takes at least the time-out. */
async function assertTimedOut(label: string, event: () => Promise<unknown>): Promise<void> {
  const start = performance.now();
  await event();
  const elapsed = (performance.now() - start) / 1000;
  assert(elapsed >= SHORT, `${label}: after ${elapsed} s`);
  // The limit allows for a busy machine, and is far below the time-out of the waiting code.
  assert(elapsed < 30, `${label}: after ${elapsed} s`);
}

/**
 * Sends pieces with pauses until the peer closes the connection. All pieces would take longer than
 * any time-out.
 */
async function drip(peer: RawPeer, pieces: Iterable<string>, pause: number): Promise<void> {
  try {
    for (const piece of pieces) {
      await peer.send(piece);
      await waitSeconds(pause);
    }
  } catch {
    // The peer has closed the connection, as expected.
  }
}

/** Sends text; on a busy machine the connection may already be closed. */
async function sendIfOpen(peer: RawPeer, text: string): Promise<void> {
  try {
    await peer.send(text);
  } catch (error) {
    if (!isBroken(error)) throw error;
  }
}

const readingApp: App = async ({ body }) => {
  const length = (await body?.bytes())?.length ?? 0;
  return [200, "OK", { length: `${length}` }, null];
};

/** Asserts that a server closes the connection of a raw peer after its time-out. */
async function testServerTimeout(
  label: string,
  begin: string,
  act: (peer: RawPeer) => Promise<unknown> = async () => {},
): Promise<void> {
  await using serving = serve(readingApp, { timeout: SHORT });
  // Measure from the connect: on a busy machine the peer may run long after the server's wait
  // began.
  await assertTimedOut(label, async () => {
    using peer = await RawPeer.connect(serving.address, begin);
    const doing = act(peer);
    await peer.assertClosedSilently(label);
    await doing;
  });
  assertEquals(serving.logger.messagesOf("info").length, 1, label);
  assertEquals(serving.logger.messagesOf("error"), [], label);
}

Deno.test("a server waits for a peer as long as its timeout", async () => {
  const get = "GET / HTTP/1.1\r\n\r\n";
  const put = "PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\n";
  const chunked = "PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
  const emptyChunked = chunked.replace("PUT", "GET");
  await Promise.all([
    testServerTimeout("no byte", ""),
    testServerTimeout("half a preamble", "GET / HT"),
    testServerTimeout("a whole preamble but its end", "GET / HTTP/1.1\r\n\r"),
    testServerTimeout("a body without a byte", put),
    testServerTimeout("half a body", `${put}he`),
    testServerTimeout("half a chunk", `${chunked}5\r\nhe`),
    testServerTimeout("half a chunk line", `${chunked}5;a=b`),
    testServerTimeout("no last chunk", `${chunked}1\r\na\r\n`),
    testServerTimeout("between two requests", get, (peer) => peer.readPreamble()),
    testServerTimeout("a preamble that drips", "G", (peer) => {
      return drip(peer, `ET / HTTP/1.1\r\na: ${"b".repeat(400)}`, 0.05);
    }),
    testServerTimeout("a request without its empty body", emptyChunked),
    ...["", "G"].map((sent) =>
      testServerTimeout(`an empty body that drips after ${sent || "nothing"}`, sent, (peer) => {
        const rest = emptyChunked.slice(sent.length);
        return drip(peer, [rest, ..."0;a\r\n", ..."a: b\r\n".repeat(200)], 0.05);
      })
    ),
  ]);
});

Deno.test("the time for a preamble begins with its first byte", async () => {
  await using serving = serve(readingApp, { timeout: SHORT });
  await retryUntilInTime("it was closed early", async () => {
    using peer = await RawPeer.connect(serving.address);
    await waitSeconds(SHORT * 0.7);
    await sendIfOpen(peer, "G");
    await waitSeconds(SHORT * 0.7);
    await sendIfOpen(peer, "ET / HTTP/1.1\r\n\r\n");
    const { received } = await peer.readToEnd();
    return received === "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nlength: 0\r\n\r\n";
  });
});

Deno.test("within a body each wait has its own time limit, and an app has none", async () => {
  const slowApp: App = async ({ body }) => {
    const first = await body?.read();
    await waitSeconds(SHORT * 1.5);
    return [200, "OK", {}, first ?? null];
  };
  await using serving = serve(slowApp, { timeout: SHORT });
  await retryUntilInTime("it was closed early", async () => {
    using peer = await RawPeer.connect(serving.address);
    await peer.send("PUT / HTTP/1.1\r\ncontent-length: 3\r\n\r\n");
    await drip(peer, "hey", SHORT * 0.5);
    const { received } = await peer.readToEnd();
    return received === "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhey";
  });
});

/** Lets a test run the timers of connections with the time-out `TIMEOUT`. */
function captureTicks() {
  const intervals = captureIntervals(TIMEOUT * 1000 / 8);
  return {
    tick(count: number) {
      for (; count > 0; count--) intervals.tick();
    },
    [Symbol.dispose]: () => intervals[Symbol.dispose](),
  };
}

Deno.test("each wait inside a request's body has the whole time-out", async () => {
  using timer = captureTicks();
  let readStarted = Promise.withResolvers<void>();
  const app: App = async ({ body }) => {
    for (;;) {
      const reading = body!.read(1);
      readStarted.resolve();
      if ((await reading).length === 0) return [200, "OK", {}, null];
    }
  };
  await using serving = serve(app, { timeout: TIMEOUT });
  using peer = await RawPeer.connect(
    serving.address,
    "PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\n",
  );
  const response = peer.readUntil("\r\n\r\n");
  for (let i = 0; i < 5; i++) {
    await Promise.race([readStarted.promise, response]);
    readStarted = Promise.withResolvers();
    timer.tick(8);
    await peer.send("a");
  }
  assertStringIncludes(await response, "200 OK");
  readStarted = Promise.withResolvers();
  await peer.send("PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\n");
  await readStarted.promise;
  timer.tick(9);
  const [line = ""] = await serving.logger.waitFor("info");
  assertStringIncludes(line, "ConnectionError: the peer kept");
});

Deno.test("an app has no time-out, and onConnect has none", async () => {
  using timer = captureTicks();
  const calls = [Promise.withResolvers<() => void>(), Promise.withResolvers<() => void>()];
  const wait = (index: number) => new Promise<void>((resolve) => calls[index]!.resolve(resolve));
  const app: App = {
    async onConnect() {
      await wait(0);
      return true;
    },
    async handle() {
      await wait(1);
      return [204, "No Content", {}, null];
    },
  };
  await using serving = serve(app, { timeout: TIMEOUT });
  using peer = await RawPeer.connect(serving.address, "GET / HTTP/1.1\r\n\r\n");
  const response = peer.readUntil("\r\n\r\n");
  for (const { promise } of calls) {
    // A connection that is closed rejects.
    await Promise.race([promise, response]);
    timer.tick(30);
    (await promise)();
  }
  assertStringIncludes(await response, "204 No Content");
});

Deno.test("a client's program has no time-out between two reads of a body", async () => {
  using timer = captureTicks();
  using pair = await connect({ timeout: TIMEOUT });
  const { body } = await pair.answer("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n");
  const reading = body!.read(2);
  await pair.peer.send("he");
  assertEquals(await reading, encodeLatin1("he"));
  timer.tick(30);
  await pair.peer.send("llo");
  assertEquals(await body!.read(), encodeLatin1("llo"));
});

/** Resolves when a server has closed a connection after its time-out, by a close or a reset. */
async function waitForTimeout(
  label: string,
  app: App,
  request: string,
  laterBytes = "",
): Promise<void> {
  // The buffer of a Unix socket doesn't grow.
  await using dir = await createTempDir();
  await using serving = serve(app, { timeout: SHORT }, `${dir.path}/socket`);
  await assertTimedOut(label, async () => {
    using peer = await RawPeer.connect(serving.address, request);
    await peer.readExactly(1);
    await peer.send(laterBytes);
    const [line = ""] = await serving.logger.waitFor("info");
    assert(line.includes("ConnectionError: the peer took"), line);
  });
}

Deno.test("a server closes the connection of a peer that never reads", async () => {
  const zeros = new Uint8Array(16 * MEBIBYTE);
  const get = "GET / HTTP/1.1\r\n\r\n";
  const put = "PUT / HTTP/1.1\r\ncontent-length: 3\r\n\r\n";
  function* makeEndlessZeros() {
    for (;;) yield zeros;
  }
  const whileReading: App = ({ body }) => {
    body?.read().catch(() => {});
    return [413, "Content Too Large", {}, zeros];
  };
  await Promise.all([
    waitForTimeout("a Uint8Array", () => [200, "OK", {}, zeros], get),
    waitForTimeout(
      "a BodyIter",
      () => [200, "OK", {}, new BodyIter(makeEndlessZeros(), 2 ** 40)],
      get,
    ),
    waitForTimeout("while the application still reads", whileReading, put, "abc"),
  ]);
});

Deno.test("a client waits for a peer as long as its timeout", async () => {
  const testClientTimeout = async (label: string, begin: string, drips = "") => {
    using pair = await connect({ timeout: SHORT });
    // Measure from the connect: on a busy machine the peer may run long after the client's wait
    // began.
    await assertTimedOut(label, async () => {
      const request = pair.conn.get("/").then(({ body }) => body?.read());
      await pair.peer.readPreamble();
      const rejection = catchRejection(request, label);
      await pair.peer.send(begin);
      const dripping = drip(pair.peer, drips, 0.05);
      assertInstanceOf(await rejection, ConnectionError, label);
      assertEquals(pair.conn.closed, true, label);
      await dripping;
    });
  };
  const chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
  await Promise.all([
    testClientTimeout("a preamble that never comes", ""),
    testClientTimeout("half a preamble", "HTTP/1.1 200 O"),
    testClientTimeout("a preamble that drips", "H", `TTP/1.1 200 OK\r\na: ${"b".repeat(400)}`),
    testClientTimeout("half a body", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe"),
    testClientTimeout("half a chunk", `${chunked}5\r\nhe`),
  ]);
});

Deno.test("no timer remains after a request that can't connect, or whose connection was already closed", async () => {
  using server = new RawServer();
  const onConnect = (conn: Connection) => (conn.close(), true);
  const closing = new Client(server.address, { timeout: 1000, onConnect });
  const unreachable = new Client(["127.0.0.1", await findUnusedPort()], { timeout: 1000 });
  const rows = [
    [closing, ConnectionClosedError],
    [closing, ConnectionClosedError],
    [unreachable, ConnectionError],
  ] as const;
  using timers = recordIntervals();
  for (const [i, [client, ErrorClass]] of rows.entries()) {
    await assertRejects(() => client.request("GET", "/"), ErrorClass);
    assertEquals([timers.started.length, timers.running.size], [i + 1, 0]);
  }
});
