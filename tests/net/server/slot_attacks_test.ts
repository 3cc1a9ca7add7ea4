/**
 * A server beside peers that try to keep all of its slots, in stopped time. Each peer reconnects at
 * once. `long/net/slot_floods_test.ts` has the same attacks on real sockets.
 */
import { assert, assertEquals } from "@std/assert";
import { type App, Server } from "@degu/degu/server";
import { pause } from "@degu/internal/internal/pause.ts";
import { stopAllClocks } from "@degu/testing/clock.ts";
import { RecordingSocket } from "../recording_socket.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";
import { MemoryListener } from "../../fuzz/memory.ts";

const SLOTS = 10;
const MAX_WAIT_MILLISECONDS = 3000;
const STEP_MILLISECONDS = 50;

const get = "GET / HTTP/1.1\r\n\r\n";
const put = "PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
/** The peer that sends this request reads nothing. */
const ignoredGet = "GET /ignored HTTP/1.1\r\n\r\n";
const largeChunk = `4000\r\n${"a".repeat(0x4000)}\r\n`;

const app: App = async ({ uri, body }) => {
  if (uri === "/unread") return [413, "Content Too Large", {}, null];
  for await (const _ of body ?? []);
  if (uri === "/slow") await pause(50);
  return [200, "OK", {}, null];
};

/** The bytes that a peer sends before it waits until the server reads. */
const MAX_UNREAD_BYTES = 16_384;

/** A socket that notices when the server has closed its side. */
class PeerSocket extends RecordingSocket {
  isEnded = false;
  unreadBytes = 0;
  readonly #isReader: boolean;
  readonly #closing = Promise.withResolvers<never>();

  constructor(isReader: boolean) {
    super();
    this.#isReader = isReader;
    this.#closing.promise.catch(() => {});
  }

  override receive(bytes: string): void {
    this.unreadBytes += bytes.length;
    super.receive(bytes);
  }

  override async read(into: Uint8Array): Promise<number | null> {
    const count = await super.read(into);
    this.unreadBytes -= count ?? 0;
    return count;
  }

  override write(bytes: Uint8Array): Promise<number> {
    return this.#isReader ? super.write(bytes) : this.#closing.promise;
  }

  closeWrite(): Promise<void> {
    this.isEnded = true;
    return Promise.resolve();
  }

  override close(): void {
    this.isEnded = true;

    this.#closing.reject(new Deno.errors.BadResource("closed"));
    super.close();
  }
}

async function runMicrotasks(): Promise<void> {
  for (let microtask = 0; microtask < 500; microtask++) await null;
}

/** A server in memory and in stopped time, and the peers that reconnect to it. */
class SlotLab {
  readonly #time = stopAllClocks();
  readonly #listener = new MemoryListener();
  readonly #server: Server;
  readonly #serving: Promise<void>;
  readonly #attackers: (() => void)[] = [];
  now = 0;

  constructor(maxConnections = SLOTS) {
    this.#server = new Server(
      ["127.0.0.1", 1],
      app,
      { maxConnections, maxRequests: Infinity, logger: new RecordingLogger() },
      this.#listener.maker,
    );
    this.#serving = this.#server.serveForever();
  }

  connect(host: string, bytes: string): PeerSocket {
    const socket = new PeerSocket(bytes !== ignoredGet);
    socket.receive(bytes);
    this.#listener.offer(socket, [host, 1]);
    return socket;
  }

  /** Adds a peer that sends bytes after each interval, and reconnects when it is disconnected. */
  attack(host: string, start: string, drip: string, interval: number): void {
    let socket = this.connect(host, start);
    let dripTime = this.now + interval;
    this.#attackers.push(() => {
      if (socket.isEnded) {
        socket.end();
        socket = this.connect(host, start);
        dripTime = this.now + interval;
      } else if (drip !== "" && this.now >= dripTime) {
        if (socket.unreadBytes < MAX_UNREAD_BYTES) socket.receive(drip);
        dripTime += interval;
      }
    });
  }

  async advance(): Promise<void> {
    await runMicrotasks();
    this.#time.tick(STEP_MILLISECONDS);
    this.now += STEP_MILLISECONDS;
    await runMicrotasks();
    for (const attack of this.#attackers) attack();
  }

  /** Returns the milliseconds until a client is served. */
  async measureWait(host: string): Promise<number> {
    const startTime = this.now;
    const socket = this.connect(host, "GET / HTTP/1.1\r\nconnection: close\r\n\r\n");
    while (socket.writes.length === 0) {
      assert(!socket.isEnded, "the client was refused");
      assert(this.now - startTime <= MAX_WAIT_MILLISECONDS, "the client waits for too long");
      await this.advance();
    }
    assertEquals(socket.writes[0]!.slice(0, 15), "HTTP/1.1 200 OK");
    socket.end();
    return this.now - startTime;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    await this.#serving;
    this.#time[Symbol.dispose]();
  }
}

const ATTACKS: readonly [label: string, start: string, drip: string, interval: number][] = [
  ["send no byte", "", "", 0],
  ["drip a preamble", "GET / HTTP/1.1\r\n", "a:b\r\n", 200],
  ["drip a body", put, "1\r\na\r\n", 200],
  ["send a large body quickly", put, largeChunk, 100],
  ["make requests", get, get, 700],
  ["begin the next request with each request", "G", "ET / HTTP/1.1\r\n\r\nG", 700],
  [
    "pipeline requests to a slow app",
    "GET /slow HTTP/1.1\r\n\r\n".repeat(4),
    "GET /slow HTTP/1.1\r\n\r\n".repeat(4),
    150,
  ],
  ["read nothing", ignoredGet, "", 0],
  ["send garbage", "GARB AGE\r\n\r\n", "", 0],
  ["send garbage later", "", "GARB AGE\r\n\r\n", 900],
];

for (const [count, addresses] of [[14, 1], [60, 1], [60, 2], [60, 9]] as const) {
  Deno.test(`a client waits for at most 3 s beside ${count} connections of ${addresses} other addresses`, async (t) => {
    await testEachRow(t, ATTACKS, async (_label, ...attack) => {
      await using lab = new SlotLab();
      for (let i = 0; i < count; i++) lab.attack(`192.0.2.${1 + i % addresses}`, ...attack);
      let lastWait = 0;
      while (lab.now < 8000) lastWait = await lab.measureWait("198.51.100.1");
      assert(lastWait <= MAX_WAIT_MILLISECONDS);
    });
  });
}

/** As over TLS: the key of a peer is its authority, a space and its host. */
const AUTHORITY_ATTACKS: Record<string, readonly [addresses: number, client: string]> = {
  "a client waits for at most 3 s beside 60 addresses of an authority": [60, "b 1.1.1.1"],
  "a client waits for at most 3 s beside 60 connections of its authority": [1, "a 1.1.1.1"],
};

for (const [name, [addresses, client]] of Object.entries(AUTHORITY_ATTACKS)) {
  Deno.test(name, async (t) => {
    await testEachRow(t, ATTACKS, async (_label, ...attack) => {
      await using lab = new SlotLab();
      for (let i = 0; i < 60; i++) lab.attack(`a 192.0.2.${1 + i % addresses}`, ...attack);
      while (lab.now < 8000) await lab.measureWait(client);
    });
  });
}

Deno.test("300 clients of one address or of many, each idle after its request, are served with 50 slots", async () => {
  for (const addresses of [1, 300]) {
    await using lab = new SlotLab(50);
    const sockets = Array.from(
      { length: 300 },
      (_, index) => lab.connect(`192.0.2.${index % addresses}`, get),
    );
    // Each of the slots is used by six clients, one after the other, for little more than a second.
    while (sockets.some(({ writes }) => writes.length === 0)) {
      assert(lab.now < 10_000, "a client waits for too long");
      await lab.advance();
    }
  }
});

Deno.test("a connection that lingers after its last response has no slot", async () => {
  const lastRequests = {
    "a close": "GET / HTTP/1.1\r\nconnection: close\r\n\r\n",
    "a refusal": "GARB AGE\r\n\r\n",
    "an unread body": "PUT /unread HTTP/1.1\r\ncontent-length: 1000000\r\n\r\n",
  };
  for (const [label, request] of Object.entries(lastRequests)) {
    await using lab = new SlotLab();
    for (let i = 0; i < SLOTS; i++) lab.connect("192.0.2.1", request);
    await lab.advance();
    assert(await lab.measureWait("198.51.100.1") < 500, label);
  }
});
