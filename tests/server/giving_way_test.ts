/** Sessions that give way to a connection that waits for a slot; slots_test.ts has the slots. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { type Body, BodyIter, ConnectionClosedError } from "@degu/degu/base";
import { type App, type Exchange, Server, type ServerOptions } from "@degu/degu/server";
import { Internal } from "@degu/internal/base/internal.ts";
import { recordIntervals, stopClock } from "@degu/testing/clock.ts";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { appOf, askThread, servePool } from "@degu/testing/pools.ts";
import { within } from "@degu/testing/raw_peer.ts";
import { RecordingSocket } from "@degu/testing/recording_socket.ts";
import { eachRow } from "@degu/testing/rows.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";
import { sharedPki, startTls } from "@degu/testing/tls_endpoints.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";
import { MemoryListener } from "../fuzz/memory.ts";

/** Seconds. */
const TIMEOUT = 10;
/** How often a server checks who must give way. */
const CHECK_MILLISECONDS = 250;
const GET = "GET / HTTP/1.1\r\n\r\n";
const PUT = "PUT / HTTP/1.1\r\ncontent-length: 1000000\r\n\r\n";
const CHUNKED = "PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
const OK = "HTTP/1.1 200 OK\r\n\r\n";

const reader: App = async ({ body }) => {
  await body?.bytes();
  return [200, "OK", {}, null];
};

async function turns(): Promise<void> {
  for (let turn = 0; turn < 100; turn++) await null;
}

function never(): Promise<never> {
  return new Promise(() => {});
}

/** The intervals of so many milliseconds tick when a test lets them, until it is disposed of. */
function ticksOf(milliseconds: number) {
  const { setInterval } = globalThis;
  const running = new Map<unknown, () => void>();
  globalThis.setInterval = ((tick: () => void, each: number) => {
    const timer = setInterval(() => each === milliseconds || tick(), each);
    if (each === milliseconds) running.set(timer, tick);
    return timer;
  }) as typeof setInterval;
  const { clearInterval } = globalThis;
  globalThis.clearInterval = (timer) => {
    running.delete(timer);
    clearInterval(timer);
  };
  return {
    tick: () => running.forEach((tick) => tick()),
    [Symbol.dispose]: () => void Object.assign(globalThis, { setInterval, clearInterval }),
  };
}

/** A server in memory, with one slot unless told otherwise; time passes only as a test lets it. */
function start(app: App, options: ServerOptions = {}) {
  const clock = stopClock();
  const checks = ticksOf(CHECK_MILLISECONDS);
  const logger = new RecordingLogger();
  const listener = new MemoryListener();
  const all = { maxConnections: 1, timeout: TIMEOUT, logger, ...options };
  const server = new Server(["127.0.0.1", 1], app, all, new Internal(() => listener));
  const serving = server.serveForever();
  return {
    server,
    logger,
    pass: clock.pass,
    /** The server checks again who must give way, if a connection waits. */
    async check(): Promise<void> {
      checks.tick();
      await turns();
    },
    /** A peer that connects and sends something; if it has to wait, the server checks `times` times. */
    async connect(sent: string, times = 2): Promise<RecordingSocket> {
      const socket = new RecordingSocket();
      if (sent !== "") socket.give(sent);
      listener.offer(socket);
      // The first time as soon as it waits.
      await turns();
      for (let time = 1; time < times; time++) await this.check();
      return socket;
    },
    /** A peer that sends each of the pieces after so many seconds. */
    async drip(socket: RecordingSocket, pieces: Iterable<string>, seconds = 1): Promise<void> {
      for (const piece of pieces) {
        clock.pass(seconds);
        socket.give(piece);
        await turns();
      }
    },
    async [Symbol.asyncDispose]() {
      server.close();
      await within(serving, "serveForever() settles after close()");
      checks[Symbol.dispose]();
      clock[Symbol.dispose]();
    },
  };
}

type Crowd = ReturnType<typeof start>;

interface Scenario {
  readonly app?: App;
  readonly options?: ServerOptions;
  /** The first bytes of the peer that has the slot. */
  readonly sent: string;
  readonly then: (crowd: Crowd, peer: RecordingSocket) => unknown;
  /** The bytes and seconds after which it gives way; `null` if it doesn't. */
  readonly after: readonly [bytes: number, seconds: string] | null;
}

const dripping: Readonly<Record<string, Scenario>> = {
  "a body of known length that drips": {
    sent: PUT,
    then: (crowd, peer) => crowd.drip(peer, "x".repeat(11)),
    after: [PUT.length + 11, "11.0"],
  },
  "a body that drips, for the time-out and no longer": {
    sent: PUT,
    then: (crowd, peer) => crowd.drip(peer, "x".repeat(TIMEOUT)),
    after: null,
  },
  "a chunked body whose data drips": {
    sent: `${CHUNKED}fff\r\n`,
    then: (crowd, peer) => crowd.drip(peer, "x".repeat(11)),
    after: [CHUNKED.length + 16, "11.0"],
  },
  "a chunked body of tiny chunks, of which a line drips": {
    sent: CHUNKED,
    then: (crowd, peer) => crowd.drip(peer, "1\r\nx\r\n1\r\nx\r\n"),
    after: [CHUNKED.length + 12, "12.0"],
  },
  "a body of which nothing comes any more": {
    sent: PUT,
    then: (crowd) => crowd.pass(11),
    after: [PUT.length, "11.0"],
  },
  "a preamble that drips": {
    sent: "GET / HT",
    then: (crowd, peer) => crowd.drip(peer, "TP/1.1\r\na: b"),
    after: [20, "12.0"],
  },
  "a preamble that drips, and then a body": {
    sent: "PUT / HTTP",
    then: (crowd, peer) => crowd.drip(peer, ["/1.1\r\n", "content-length: 9\r\n\r\n", "x"], 4),
    after: [38, "12.0"],
  },
  "the second request of a session, whose beginning came with the first": {
    sent: `${GET}PUT / HTTP`,
    then: (crowd, peer) => crowd.drip(peer, ["/1.1\r\ncontent-length: 9\r\n\r\n", "x"], 6),
    after: [38, "12.0"],
  },
  "two requests, each of which is waited for less long": {
    sent: "PUT / HTTP/1.1\r\ncontent-length: 2\r\n\r\n",
    then: (crowd, peer) => crowd.drip(peer, ["x", `x${PUT}`, "x"], 4),
    after: null,
  },
  "a body at a little less than 1 KiB/s": {
    sent: PUT,
    then: (crowd, peer) => crowd.drip(peer, Array(20).fill("x".repeat(1020))),
    after: [PUT.length + 20_400, "20.0"],
  },
  "a body at 1 KiB/s, which is as slow as one may be": {
    sent: PUT,
    then: (crowd, peer) =>
      crowd.drip(peer, ["x".repeat(1024 - PUT.length), ...Array(19).fill("x".repeat(1024))]),
    after: null,
  },
  "a fast upload that pauses": {
    sent: PUT + "x".repeat(500_000),
    then: (crowd) => crowd.pass(60),
    after: null,
  },
  "a body that the app does not read": {
    app: never,
    sent: PUT,
    then: (crowd, peer) => crowd.drip(peer, "x".repeat(100)),
    after: null,
  },
  "a body that the app has stopped reading": {
    app: async ({ body }) => {
      body!.bytes().catch(() => {});
      await null;
      body!.cancel();
      return await never();
    },
    sent: PUT,
    then: (crowd) => crowd.pass(60),
    after: null,
  },
  "a body that has dripped, while the app works on what has come": {
    app: async ({ body }) => {
      await (body as Body).read(11);
      return await never();
    },
    sent: PUT,
    then: (crowd, peer) => crowd.drip(peer, "x".repeat(100)),
    after: null,
  },
  "what follows the last response of a session": {
    app: () => [500, "Internal Server Error", {}, null],
    sent: PUT,
    then: (crowd) => crowd.pass(60),
    after: null,
  },
  "a request whose body was read, and whose answer takes long": {
    app: async ({ body }) => {
      await body?.bytes();
      return await (body === null ? [200, "OK", {}, null] as const : never());
    },
    sent: "PUT / HTTP/1.1\r\ncontent-length: 2\r\n\r\n",
    then: async (crowd, peer) => {
      await crowd.drip(peer, "xx", 9);
      crowd.pass(60);
    },
    after: null,
  },
  "a response that is sent while the body drips": {
    app: ({ body }) => {
      body?.bytes().catch(() => {});
      return body === null ? [200, "OK", {}, null] : never();
    },
    sent: PUT,
    then: (crowd, peer) => crowd.drip(peer, "x".repeat(11)),
    after: [PUT.length + 11, "11.0"],
  },
  "a session between two requests": { sent: GET, then: (crowd) => crowd.pass(60), after: null },
  "a peer that has not sent a byte": { sent: "", then: (crowd) => crowd.pass(60), after: null },
  "a body that drips where there is no time-out": {
    options: { timeout: null },
    sent: PUT,
    then: (crowd, peer) => crowd.drip(peer, "x".repeat(100), 100),
    after: null,
  },
};

/** An app that reads 5,000 bytes at a time, and does something between two reads. */
function readingSlowly(work: () => unknown): App {
  return async ({ body }) => {
    while (body !== null && (await (body as Body).read(5000)).length > 0) await work();
    return [200, "OK", {}, null];
  };
}

Deno.test("the time that an app takes between two reads is not the peer's", async () => {
  await using crowd = start(readingSlowly(() => crowd.pass(10)));
  // Ten reads find what has come, the eleventh one waits.
  const peer = await crowd.connect(PUT + "x".repeat(50_000));
  await crowd.drip(peer, "xxxx", 2);
  const waiting = await crowd.connect(GET);
  assertEquals([peer.closings, waiting.writes], [0, []]);
  crowd.pass(3);
  assertEquals(crowd.logger.lines, [], "11 s with 50,000 bytes are fast enough");
});

Deno.test("what arrives while the app works counts, too", async () => {
  using _intervals = recordIntervals(100);
  const working = Promise.withResolvers<void>();
  await using crowd = start(async ({ body }, session) => {
    // From now on the server looks whether the peer is there, and reads ahead.
    assertEquals(session.signal.aborted, false);
    if (body !== null) await working.promise;
    await body?.bytes();
    return [200, "OK", {}, null];
  });
  const peer = await crowd.connect(PUT);
  const arrived = Promise.withResolvers<void>();
  const { read } = peer;
  let left = 20_000;
  peer.read = async (into) => {
    const count = await read.call(peer, into);
    left -= count ?? 0;
    if (left <= 0) arrived.resolve();
    return count;
  };
  peer.give("x".repeat(left));
  await within(arrived.promise, "all of it is read ahead");
  working.resolve();
  await turns();
  crowd.pass(15);
  const waiting = await crowd.connect(GET);
  assertEquals([peer.closings, waiting.writes], [0, []]);
});

Deno.test("for each connection that waits one session gives way: that which has waited longest", async () => {
  await using crowd = start(reader, { maxConnections: 3 });
  const peers: RecordingSocket[] = [];
  for (const sent of [PUT, `${PUT}x`, CHUNKED]) {
    peers.push(await crowd.connect(sent));
    crowd.pass(2);
  }
  crowd.pass(TIMEOUT);
  const counts = () => peers.map(({ closings }) => closings);
  const expected = [[1, 0, 0], [1, 1, 0], [1, 1, 1]];
  for (const gone of expected) {
    // Idle sessions never give way, so each of these keeps its slot.
    assertEquals((await crowd.connect(GET)).writes, [OK]);
    assertEquals(counts(), gone);
  }
  assertEquals((await crowd.connect(GET)).writes, [], "nobody is left who drips");
  const times = crowd.logger.at("info").map((line) => line.split(" in ")[1]);
  assertEquals(times, ["16.0 s", "14.0 s", "12.0 s"]);
});

Deno.test("a session gives way as soon as it has waited too long, while a connection waits", async () => {
  await using crowd = start(reader);
  const peer = await crowd.connect(PUT);
  crowd.pass(TIMEOUT - 1);
  const waiting = await crowd.connect(GET);
  assertEquals([peer.closings, waiting.writes], [0, []]);
  crowd.pass(2);
  await crowd.check();
  await crowd.check();
  assertEquals([peer.closings, waiting.writes], [1, [OK]]);
});

Deno.test("a session whose bytes came while the server was busy or stopped keeps its slot", async () => {
  await using crowd = start(reader);
  const peer = await crowd.connect(PUT);
  const waiting = await crowd.connect(GET);
  crowd.pass(60);
  // A timer that is due runs before a socket that has bytes is read.
  await crowd.check();
  assertEquals(peer.closings, 0);
  peer.give("x".repeat(100_000));
  await turns();
  await crowd.check();
  await crowd.check();
  assertEquals([peer.closings, waiting.writes], [0, []]);

  crowd.pass(60);
  await crowd.check();
  await crowd.check();
  assertEquals([peer.closings, waiting.writes], [1, [OK]]);
});

Deno.test("a session that is late at two checks in a row gives way, even if another was later at the first", async () => {
  await using crowd = start(reader, { maxConnections: 2 });
  const first = await crowd.connect(PUT);
  crowd.pass(1);
  const second = await crowd.connect(PUT);
  crowd.pass(TIMEOUT + 1);
  const waiting = await crowd.connect(GET, 1);
  // Its average is high enough again, so the other one is the latest now.
  first.give("x".repeat(100_000));
  await turns();
  await crowd.check();
  assertEquals([first.closings, second.closings, waiting.writes], [0, 0, []]);
  await crowd.check();
  assertEquals([first.closings, second.closings, waiting.writes], [0, 1, [OK]]);
});

Deno.test("an app is told that its session gave way, and its slot is free even if it never returns", async () => {
  const seen: unknown[] = [];
  const exchanges: Exchange[] = [];
  const app: App = async ({ body }, session) => {
    if (body === null) return [200, "OK", {}, null];
    const { signal } = session;
    const error = await rejectionOf(body.bytes(), "its session gives way");
    seen.push(error, signal.reason, session.message);
    return await never();
  };
  const onExchange = (exchange: Exchange) => void exchanges.push(exchange);
  await using crowd = start(app, { onExchange });
  await crowd.connect(PUT);
  crowd.pass(31);
  const waiting = await crowd.connect(GET);
  assertEquals([waiting.writes, crowd.server.sessions.size], [[OK], 1]);
  const [error, reason, message] = seen;
  const why = `gave way to another connection after ${PUT.length} bytes in 31.0 s`;
  assert(error instanceof ConnectionClosedError);
  assertEquals([error.message, reason, message], [`the session ${why}`, error, why]);
  assertEquals(exchanges.map(({ error, status }) => [error, status]), [[error, null], [null, 200]]);
});

Deno.test("a response that was half sent is cut, not ended", async () => {
  const app: App = ({ body }) => {
    if (body === null) return [200, "OK", {}, null];
    body.bytes().catch(() => {});
    async function* pieces() {
      yield new Uint8Array(3).fill(120);
      await never();
    }
    return [413, "Content Too Large", {}, new BodyIter(pieces(), 6)];
  };
  await using crowd = start(app);
  const peer = await crowd.connect(PUT);
  await crowd.drip(peer, "x".repeat(11));
  assertEquals((await crowd.connect(GET)).writes, [OK]);
  assertEquals([peer.closings, peer.writes.join("")], [
    1,
    "HTTP/1.1 413 Content Too Large\r\ncontent-length: 6\r\n\r\nxxx",
  ]);
});

Deno.test("over TLS a client is served whose slot a body that drips had", async () => {
  using clock = stopClock();
  const begun = Promise.withResolvers<void>();
  await using endpoint = await startTls(await sharedPki(), async ({ body }) => {
    const reading = body?.bytes();
    if (reading !== undefined) begun.resolve();
    await reading;
    return [204, "No Content", {}, null];
  }, { server: { maxConnections: 1 } });
  const socket = await endpoint.client.createSocket();
  await socket.write(latin1(PUT));
  await within(begun.promise, "the app reads");
  clock.pass(31);
  assertEquals((await endpoint.client.request("GET", "/")).status, 204);
  const [line = ""] = await endpoint.logger.waitFor("info");
  assertMatch(line, /: gave way to another connection after \d+ bytes in 31\.0 s$/);
  socket.close();
});

Deno.test("a session gives way in a worker of a pool", async () => {
  const options = { workers: 1, server: { maxConnections: 2 } };
  await using pooling = await servePool(appOf("patient"), options);
  using conn = await pooling.client.connect();
  const socket = await pooling.client.createSocket();
  await socket.write(latin1(PUT));
  await (await conn.get("/later")).body?.bytes();
  await askThread(pooling.client);
  const [line = ""] = await pooling.logger.waitFor("info");
  assertMatch(line, /: gave way to another connection after \d+ bytes in \d+\.\d s$/);
  socket.close();
});

Deno.test("a session gives way that waits for its request longer than the time-out, for less than 1 KiB/s", async (t) => {
  await eachRow(t, Object.entries(dripping), async (name, scenario) => {
    const { app = reader, options, sent, then, after } = scenario;
    await using crowd = start(app, options);
    const peer = await crowd.connect(sent);
    await then(crowd, peer);
    assertEquals(peer.closings, 0, "nobody waits for a slot");
    const waiting = await crowd.connect(GET);
    if (after === null) return assertEquals([peer.closings, waiting.writes], [0, []], name);
    const [bytes, seconds] = after;
    const line = `gave way to another connection after ${bytes} bytes in ${seconds} s`;
    assertEquals([peer.closings, waiting.writes], [1, [OK]], name);
    assertEquals(crowd.logger.lines, [["info", `memory: ${line}`]]);
  });
});
