/**
 * The queue of handshakes: handshakes occupy no slot, the oldest silent connection is closed first,
 * and handshakes don't delay each other.
 */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { type Address, EmptyPreambleError } from "@degu/degu/base";
import type { App } from "@degu/degu/server";
import { HandshakeQueue, type PendingConnection } from "@degu/internal/net/tls/handshake_queue.ts";
import type { AcceptedConnection, Listener } from "@degu/internal/net/transport/listener.ts";
import { stopAllClocks } from "@degu/testing/clock.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";
import { readStatedNumber } from "@degu/testing/project_files.ts";
import { hasIPv6 } from "../endpoints.ts";
import {
  dial,
  RawPeer,
  retryUntilInTime,
  waitForTick,
  waitUntilRefused,
  withTimeout,
} from "@degu/testing/raw_peer.ts";
import { openSharedPki, startTls, type TlsEndpoint } from "@degu/testing/tls_endpoints.ts";
import { writeAll } from "@degu/internal/base/body/byte_io.ts";
import { listenRaw, type RawConnection } from "@degu/internal/net/tls/listener.ts";
import { createTempDir } from "@degu/testing/directories.ts";

const pki = await openSharedPki();

const MAX_HANDSHAKES = 64;
const MAX_WAITING = 1024;
const sendNoContent: App = () => [204, "No Content", {}, null];

/** Returns the logged reasons of failed handshakes, without the peer. */
function listReasons({ logger }: TlsEndpoint): string[] {
  const FAILURE_PREFIX = /^.*:\d+: the handshake failed: /;
  return [...logger.messagesOf("debug"), ...logger.messagesOf("info")]
    .filter((line) => FAILURE_PREFIX.test(line))
    .map((line) => line.replace(FAILURE_PREFIX, ""));
}

async function connectSilently({ server }: TlsEndpoint, count: number): Promise<RawPeer[]> {
  const peers = [];
  for (let i = 0; i < count; i++) peers.push(await RawPeer.connect(server.address));
  return peers;
}

Deno.test("a handshake occupies no slot, and lasts up to the timeout if no other connection waits", async () => {
  const options = { server: { maxConnections: 1, timeout: 2 } };
  await using endpoint = await startTls(pki, sendNoContent, options);
  const startTime = performance.now();
  using silent = await RawPeer.connect(endpoint.server.address);
  for (let i = 0; i < 5; i++) {
    assertEquals((await endpoint.client.request("GET", "/")).status, 204);
  }
  await silent.assertClosedSilently();
  assert(performance.now() - startTime >= 1990, "the silent peer was closed before its time");
  assertEquals(listReasons(endpoint), ["the TLS handshake took over 2 s"]);
});

Deno.test("a client is accepted despite 120 silent peers that reconnect at once", async (t) => {
  for (const timeout of [30, null]) {
    await t.step(`timeout ${timeout}`, async () => {
      const options = { server: { maxConnections: 1, timeout }, client: { timeout: 30 } };
      await using endpoint = await startTls(pki, sendNoContent, options);
      let isEnded = false;
      using stack = new DisposableStack();
      stack.defer(() => isEnded = true);
      const current = new Set<RawPeer>();
      const strangers = Array.from({ length: 120 }, async () => {
        while (!isEnded) {
          // A connection that is closed at once may fail while it is set up.
          using peer = await RawPeer.connect(endpoint.server.address).catch(() => null);
          if (isEnded) break;
          if (peer === null) {
            await waitForTick();
            continue;
          }
          current.add(peer);
          await peer.conn.read(new Uint8Array(1)).catch(() => {});
          current.delete(peer);
        }
      });
      await endpoint.logger.waitFor("debug", "for a newer handshake", 10);
      const getIn = async () => {
        for (;;) {
          const response = await endpoint.client.request("GET", "/").catch(() => null);
          if (response !== null) return response.status;
        }
      };
      for (let i = 0; i < 3; i++) {
        assertEquals(await withTimeout(getIn(), "the client gets in"), 204);
      }
      isEnded = true;
      for (const peer of current) peer.close();
      await Promise.all(strangers);
    });
  }
});

Deno.test("the oldest of 64 handshakes is closed for the next, without a byte, but not within a second", async () => {
  await using endpoint = await startTls(pki, sendNoContent, { server: { timeout: null } });
  const startTime = performance.now();
  const peers = await connectSilently(endpoint, MAX_HANDSHAKES);
  await waitForTick();
  assertEquals(listReasons(endpoint), []);
  for (const oldest of peers.slice(0, 3)) {
    peers.push(await RawPeer.connect(endpoint.server.address));
    await oldest.assertClosedSilently("the oldest");
    assert(performance.now() - startTime >= 990, "it had no time for its handshake");
  }
  const evicted = new Array(3).fill("it was closed for a newer handshake, with 64 in progress");
  assertEquals(listReasons(endpoint), evicted);
  assertEquals(endpoint.logger.messagesOf("info"), [], "strangers can't fill the log");
  for (const peer of peers) peer.close();
});

Deno.test("connections that wait for a slot and handshakes don't block each other", async () => {
  const options = { server: { maxConnections: 1, timeout: null } };
  await retryUntilInTime("the waiting connection was not served within its 2 s", async () => {
    await using endpoint = await startTls(pki, sendNoContent, options);
    using holder = await endpoint.client.connect();
    await holder.get("/");
    using waiting = await endpoint.client.connect();
    const served = waiting.get("/").then(({ status }) => status === 204, () => false);
    const peers = await connectSilently(endpoint, MAX_HANDSHAKES + 3);
    for (const oldest of peers.slice(0, 3)) await oldest.assertClosedSilently("the oldest");
    holder.close();
    for (const peer of peers) peer.close();
    return await served;
  });
});

Deno.test("a closing server closes handshakes, and connections that wait for a slot", async (t) => {
  const rows: ["close" | "shutdown" | "dispose", Address][] = [
    ["close", ["127.0.0.1", 0]],
    ["shutdown", ["127.0.0.1", 0]],
    ["dispose", ["127.0.0.1", 0]],
  ];
  if (hasIPv6) rows.push(["close", ["::1", 0, 0, 1]]);
  for (const [end, address] of rows) {
    await t.step(`${end} at ${address[0]}`, async () => {
      const server = { maxConnections: 1, timeout: null };
      await using endpoint = await startTls(pki, sendNoContent, { server }, address, (bound) => {
        return [String(bound[0]), Number(bound[1])];
      });
      using holder = await endpoint.client.connect();
      await holder.get("/");
      const waiting = [await endpoint.client.connect(), await endpoint.client.connect()];
      const silent = await connectSilently(endpoint, MAX_HANDSHAKES + 5);
      await silent[3]!.send(Uint8Array.of(0x16, 3, 1));
      await waitForTick();
      if (end === "dispose") await endpoint.server[Symbol.asyncDispose]();
      else await withTimeout(Promise.resolve(endpoint.server[end]()), `${end}() resolves`);
      await withTimeout(endpoint.done, "serveForever() settles");
      const [host, port] = endpoint.server.address as [string, number];
      // Don't listen at the port to check it: another test's connection may use it as its local
      // port.
      await waitUntilRefused([host, port]);
      for (const conn of waiting) {
        await assertRejects(() => conn.get("/"), EmptyPreambleError);
      }
      for (const peer of silent) {
        await peer.assertClosedSilently();
        peer.close();
      }
    });
  }
});

/** A connection without a socket. */
class Stranger implements PendingConnection {
  readonly name: string;
  readonly rawStream = { close: () => void (this.isClosed = true) };
  isClosed = false;

  constructor(id: number, readonly peerKey = "192.0.2.1") {
    this.name = `${id}`;
  }
}

function makeStrangers(count: number, host?: string): Stranger[] {
  return Array.from({ length: count }, (_, id) => new Stranger(id, host));
}

/** A queue of strangers, whose handshakes last until the test finishes them by name. */
class TestQueue {
  readonly log = new RecordingLogger();
  readonly begunNames: string[] = [];
  readonly acceptedNames: string[] = [];
  readonly queue: HandshakeQueue<Stranger>;
  readonly #handshakes = new Map<string, PromiseWithResolvers<AcceptedConnection>>();

  constructor(timeout: number | null = null) {
    this.queue = new HandshakeQueue<Stranger>({ timeout, logger: this.log }, ({ name }) => {
      this.begunNames.push(name);
      const handshake = Promise.withResolvers<AcceptedConnection>();
      this.#handshakes.set(name, handshake);
      return handshake.promise;
    }, ({ name }) => this.acceptedNames.push(name));
  }

  /** Completes a handshake; the result tells whether the connection is closed. */
  finish(name: string): { isClosed: boolean } {
    const state = { isClosed: false };
    const socket = { close: () => void (state.isClosed = true) };
    this.#handshakes.get(name)!.resolve({ name, socket } as unknown as AcceptedConnection);
    return state;
  }
}

/** Waits for some microtasks, but not for a timer. */
async function runMicrotasks(): Promise<void> {
  for (let microtask = 0; microtask < 20; microtask++) await null;
}

Deno.test("a handshake gives way to another only after the time in docs/security.md", async () => {
  const minMilliseconds = 1000 * await readStatedNumber(
    "docs/security.md",
    /the minimum time for a handshake +\| (\d+) s/,
  );
  using time = stopAllClocks();
  const testQueue = new TestQueue();
  testQueue.queue.start();
  const arrivals = makeStrangers(MAX_HANDSHAKES + 2);
  const next = arrivals.slice(MAX_HANDSHAKES);
  for (const stranger of arrivals.slice(0, -1)) testQueue.queue.push(stranger);
  await runMicrotasks();
  time.tick(minMilliseconds - 100);
  testQueue.queue.push(arrivals.at(-1)!);
  await runMicrotasks();
  assertEquals([testQueue.begunNames.length, arrivals.filter((stranger) => stranger.isClosed)], [
    MAX_HANDSHAKES,
    [],
  ]);
  time.tick(100);
  await runMicrotasks();
  assertEquals(testQueue.begunNames.slice(MAX_HANDSHAKES), next.map(({ name }) => name));
  assertEquals(arrivals.filter((stranger) => stranger.isClosed), arrivals.slice(0, next.length));
  testQueue.queue.close();
  await runMicrotasks();
});

function listClosed(connections: readonly Stranger[]): number[] {
  return connections.flatMap(({ isClosed }, index) => isClosed ? [index] : []);
}

Deno.test("a handshake fails at its time limit, and before a quarter more of it, whether or not another connection waits", async () => {
  using time = stopAllClocks();
  const testQueue = new TestQueue(30);
  testQueue.queue.start();
  const [first, second] = makeStrangers(2);
  testQueue.queue.push(first!);
  time.tick(10_000);
  testQueue.queue.push(second!);
  const ticks = [[19_999, []], [7_501, [first]], [2_499, [first]], [7_501, [
    first,
    second,
  ]]] as const;
  for (const [tick, closed] of ticks) {
    time.tick(tick);
    await runMicrotasks();
    assertEquals([first, second].filter((stranger) => stranger!.isClosed), [...closed]);
  }
  const problem = "the handshake failed: the TLS handshake took over 30 s";
  assertEquals(testQueue.log.messagesOf("info"), [`0: ${problem}`, `1: ${problem}`]);
  testQueue.queue.close();
  await runMicrotasks();
});

Deno.test("of too many connections to a server that doesn't serve yet the newest of the host with the most is closed, and the others are closed with the server", () => {
  const testQueue = new TestQueue();
  const others = makeStrangers(MAX_WAITING / 2 - 1, "192.0.2.2");
  const flood = makeStrangers(MAX_WAITING / 2 + 1);
  for (const stranger of [...flood, ...others]) testQueue.queue.push(stranger);
  assertEquals([listClosed(others), listClosed(flood)], [[], []]);
  others.push(new Stranger(1000, "192.0.2.2"));
  testQueue.queue.push(others.at(-1)!);
  assertEquals([listClosed(others), listClosed(flood)], [[], [flood.length - 1]]);
  const lines = testQueue.log.messagesOf("debug");
  assertEquals(lines, [`${flood.length - 1}: closed: too many connections wait for a handshake`]);
  testQueue.queue.close();
  assertEquals(testQueue.begunNames, []);
  assertEquals(listClosed([...flood, ...others]).length, MAX_WAITING + 1);
  assertEquals(testQueue.log.messagesOf("debug"), lines, "what is closed with the server");
});

Deno.test("a connection whose peer leaves before its handshake is forgotten without a line", () => {
  const testQueue = new TestQueue();
  const [first, second] = makeStrangers(2);
  testQueue.queue.push(first!);
  testQueue.queue.push(second!);
  testQueue.queue.delete(first!);
  testQueue.queue.start();
  assertEquals(testQueue.begunNames, ["1"]);
  testQueue.queue.delete(second!);
  assertEquals(testQueue.log.lines, []);
  testQueue.queue.close();
});

Deno.test("other hosts get their handshakes before those of a host with many, and its handshakes give way first", async () => {
  using time = stopAllClocks();
  const testQueue = new TestQueue();
  testQueue.queue.start();
  const other = new Stranger(1000, "192.0.2.2");
  const flood = makeStrangers(MAX_HANDSHAKES + 10);
  for (const stranger of [other, ...flood]) testQueue.queue.push(stranger);
  const late = new Stranger(2000, "192.0.2.3");
  testQueue.queue.push(late);
  await runMicrotasks();
  assertEquals(testQueue.begunNames.length, MAX_HANDSHAKES);
  time.tick(1000);
  await runMicrotasks();
  assertEquals(testQueue.begunNames[MAX_HANDSHAKES], late.name);
  // All others give way within a second, so that a client never waits for all of them.
  for (const count of [7, 12]) {
    assertEquals(testQueue.begunNames.length, MAX_HANDSHAKES + count);
    assertEquals(listClosed(flood).length, count);
    time.tick(100);
    await runMicrotasks();
  }
  assert(!other.isClosed, "the handshake of the other host is older, and not displaced");
  testQueue.queue.close();
  await runMicrotasks();
});

Deno.test("each connection whose handshake has finished is passed on at once, in this order, and lets another handshake begin", async () => {
  const testQueue = new TestQueue();
  testQueue.queue.start();
  const arrivals = makeStrangers(MAX_HANDSHAKES + 3);
  for (const stranger of arrivals) testQueue.queue.push(stranger);
  assertEquals(testQueue.begunNames.length, MAX_HANDSHAKES);
  const finished = ["5", "0", "64"];
  const connections = [];
  for (const [index, name] of finished.entries()) {
    connections.push(testQueue.finish(name));
    await runMicrotasks();
    assertEquals(testQueue.acceptedNames, finished.slice(0, index + 1));
    assertEquals(
      testQueue.begunNames.slice(MAX_HANDSHAKES),
      ["64", "65", "66"].slice(0, index + 1),
    );
  }
  testQueue.queue.close();
  await testQueue.queue.waitUntilEnded();
  assertEquals(connections.filter(({ isClosed }) => isClosed), [], "the server has them");
  assertEquals(listClosed(arrivals).length, arrivals.length - finished.length);
  const lateStranger = new Stranger(99);
  testQueue.queue.push(lateStranger);
  assert(lateStranger.isClosed, "a closed queue accepts no connection");
});

Deno.test("a connection whose handshake finishes just before its queue is closed is passed on to the server, which closes it", async () => {
  const testQueue = new TestQueue();
  testQueue.queue.start();
  testQueue.queue.push(new Stranger(0));
  const connection = testQueue.finish("0");
  testQueue.queue.close();
  await testQueue.queue.waitUntilEnded();
  await runMicrotasks();
  assertEquals([testQueue.acceptedNames, connection.isClosed], [["0"], false]);
});

Deno.test("a closed listener has no timer, and a handshake that succeeds later is closed", async () => {
  // The second time-out exceeds the longest timer.
  for (const timeout of [3600, 2 ** 31, null]) {
    const testQueue = new TestQueue(timeout);
    testQueue.queue.start();
    const arrivals = makeStrangers(MAX_HANDSHAKES + 1);
    for (const stranger of arrivals) testQueue.queue.push(stranger);
    testQueue.queue.close();
    await testQueue.queue.waitUntilEnded();
    assertEquals(listClosed(arrivals).length, MAX_HANDSHAKES + 1);
    assertEquals(testQueue.log.messagesOf("info"), []);
    assertMatch(testQueue.log.messagesOf("debug")[0]!, /^0: .*the server closed the connection$/);
    const lateConnection = testQueue.finish("7");
    await runMicrotasks();
    assert(lateConnection.isClosed);
  }
});

// ───────────────────────── the bytes that a waiting connection reads

/** A listener, and its connections. */
class Listening implements Disposable {
  readonly log = new RecordingLogger();
  readonly raw: Listener;
  readonly #arrived: RawConnection[] = [];
  #wake = () => {};

  constructor(address: Address) {
    this.raw = listenRaw(address, { logger: this.log }, (connection) => {
      this.#arrived.push(connection);
      this.#wake();
    });
  }

  static async start(address: Address): Promise<Listening> {
    const listening = new Listening(address);
    await withTimeout(listening.raw.ready, "the listener is bound");
    listening.raw.start();
    listening.raw.start();
    return listening;
  }

  async next(): Promise<RawConnection> {
    if (this.#arrived.length === 0) {
      await withTimeout(
        new Promise<void>((resolve) => this.#wake = resolve),
        "a connection arrives",
      );
    }
    return this.#arrived.shift()!;
  }

  [Symbol.dispose](): void {
    this.raw.close();
    for (const { rawStream } of this.#arrived) rawStream.close();
  }
}

/** Yields an address for each of the two ways to listen. */
async function* addresses(): AsyncGenerator<Address> {
  yield ["127.0.0.1", 0];
  await using directory = await createTempDir();
  yield `${directory.path}/socket`;
}

Deno.test("a waiting connection reads only its first bytes, and loses none", async () => {
  for await (const address of addresses()) {
    using listening = await Listening.start(address);
    using conn = await dial(listening.raw.address);
    const size = 8 << 20;
    const sent = writeAll(conn, new Uint8Array(size)).then(() => conn.closeWrite());
    const { rawStream } = await listening.next();
    rawStream.stream.read(0); // The TLS listener also does this.
    const limit = 65_536;
    while (rawStream.stream.readableLength < limit) await waitForTick();
    for (let tick = 0; tick < 20; tick++) await waitForTick();
    assert(rawStream.stream.readableLength < 2 * limit, `${rawStream.stream.readableLength} bytes`);
    let received = 0;
    for await (const bytes of rawStream.stream) received += bytes.length;
    await withTimeout(sent, "all is sent");
    assertEquals(received, size);
    rawStream.close();
  }
});
