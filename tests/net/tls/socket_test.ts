/** A TLS socket: its ends, its backpressure, and whether it keeps the process alive. */
import { assert, assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import * as net from "node:net";
import * as tls from "node:tls";
import {
  type Address,
  Body,
  BodyIter,
  type BodyOut,
  type Chunk,
  ChunkedBodyIter,
  ProtocolError,
  TlsError,
} from "@degu/degu/base";
import { isTransient } from "@degu/degu";
import { Connection, SSLClient } from "@degu/degu/client";
import type { App, Request } from "@degu/degu/server";
import { makeDuplex, makeNetStream } from "@degu/internal/net/tls/raw_stream.ts";
import { TlsSocket } from "@degu/internal/net/tls/socket.ts";
import { passOn, Relay } from "@degu/testing/cutting_relay.ts";
import { hasIPv6 } from "@degu/testing/endpoints.ts";
import { RunningProcess, runScript, spawnScript } from "@degu/testing/processes.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";
import { readIdentity, serveRaw } from "@degu/testing/raw_tls.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";
import { readStatedNumber } from "@degu/testing/stated.ts";
import { cutBytes } from "@degu/testing/streams.ts";
import { readTexts } from "@degu/testing/tls_configs.ts";
import { openSharedPki, startTls } from "@degu/testing/tls_endpoints.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";

const pki = await openSharedPki();

/** Reads all bytes of a socket until its connection ends. */
function receivedBy(socket: tls.TLSSocket): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  let text = "";
  socket.on("data", (piece: Uint8Array) => text += String(piece));
  socket.on("error", () => {});
  socket.on("close", () => resolve(text));
  return withTimeout(promise, "the connection ends");
}

Deno.test("a client that closes its write side after its request is still answered", async () => {
  const body = new Uint8Array(300_000).fill(120);
  await using endpoint = await startTls(pki, () => [200, "OK", {}, body]);
  const port = Number(endpoint.server.address[1]);
  const below = net.connect({ host: "127.0.0.1", port, allowHalfOpen: true });
  const socket = tls.connect({ socket: below, ...await readIdentity(pki) }, () => {
    socket.end("GET / HTTP/1.1\r\n\r\n");
  });
  const answer = await receivedBy(socket);
  assertEquals(answer, `HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\n${"x".repeat(300_000)}`);
});

Deno.test("a truncated request never reaches the app as a whole", async (t) => {
  const bodies: unknown[] = [];
  await using endpoint = await startTls(pki, async (request) => {
    bodies.push(await request.body?.bytes().catch((error) => error));
    return [204, "No Content", {}, null];
  });
  const port = Number(endpoint.server.address[1]);
  const options = { host: "127.0.0.1", port, ...await readIdentity(pki) };
  for (const method of ["end", "destroy"] as const) {
    await t.step(method === "end" ? "with close_notify" : "without close_notify", async () => {
      bodies.length = 0;
      endpoint.logger.lines.length = 0;
      const socket = tls.connect(options, () => {
        socket.write("POST / HTTP/1.1\r\ncontent-length: 10\r\n\r\nhello", () => socket[method]());
      });
      const received = receivedBy(socket);
      await endpoint.logger.waitFor("info");
      assertEquals(await received, "");
      assertEquals(bodies.length, 1);
      assertInstanceOf(bodies[0], ProtocolError);
    });
  }
});

Deno.test("an early response reaches a client whose process waits for the processor meanwhile", async () => {
  const stalled = new Int32Array(new SharedArrayBuffer(4));
  let stalls = 0;
  const stall = () => {
    Atomics.wait(stalled, 0, 0, 250);
    if (--stalls > 0) setTimeout(stall, 5);
  };
  const logger = new RecordingLogger();
  // The server has sent the response, and is about to close.
  logger.debug = () => void setTimeout(stall, 2);
  await using endpoint = await startTls(
    pki,
    () => [413, "Content Too Large", {}, encodeLatin1("no")],
    {
      server: { logger },
    },
  );
  for (let i = 0; i < 3; i++) {
    stalls = 2;
    const upload = new BodyIter(Array.from({ length: 64 }, () => new Uint8Array(262_144)), 2 ** 24);
    const { status, body } = await endpoint.client.request("PUT", "/", {}, upload);
    assertEquals([status, await body?.text()], [413, "no"]);
  }
});

/** Sends until nothing has been taken for a while, and goes on where something is taken again. */
function flood(socket: tls.TLSSocket): { sent(): number; stuck(): Promise<void> } {
  const piece = new Uint8Array(65536);
  let sent = 0;
  const send = () => {
    while (!socket.destroyed && socket.writableLength < 1_000_000) {
      socket.write(piece, () => sent += piece.length);
    }
  };
  socket.on("drain", send);
  send();
  return {
    sent: () => sent,
    async stuck() {
      for (let before = -1; before !== sent;) {
        before = sent;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    },
  };
}

/** More than the buffers of the kernel and ours hold, and far less than a peer sends in that time. */
const MOST_UNREAD = 32_000_000;

Deno.test("a server that sends endlessly does not fill the memory of a client that does not read", async () => {
  const flooding = Promise.withResolvers<ReturnType<typeof flood>>();
  await using server = await serveRaw(pki, (socket) => {
    socket.once("data", () => {
      socket.write("HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n");
      flooding.resolve(flood(socket));
    });
  });
  using conn = await server.client.connect();
  const response = await conn.get("/");
  const { sent, stuck } = await flooding.promise;
  await withTimeout(stuck(), "the server has to wait");
  const unread = sent();
  assert(unread < MOST_UNREAD, `${unread} bytes were taken that nobody has read`);
  for (let read = 0; read < MOST_UNREAD;) read += (await response.body!.read(1_000_000)).length;
  assert(sent() > unread, "reading did not let the server go on");
});

Deno.test("a client that sends endlessly does not fill the memory of a server that does not read", async (t) => {
  const identity = await readIdentity(pki);
  const addresses: Record<string, Address> = {
    "over a socket of node:net": ["127.0.0.1", 0],
    "over a connection of Deno": ["::1", 0, 0, 1],
  };
  for (const [how, address] of Object.entries(addresses)) {
    await t.step({
      name: how,
      ignore: address[0] === "::1" && !hasIPv6,
      fn: async () => {
        const reading = Promise.withResolvers<void>();
        const read = Promise.withResolvers<void>();
        const app = async (request: Request) => {
          await reading.promise;
          for (let count = 0; count < MOST_UNREAD;) {
            count += (await request.body!.read(1_000_000)).length;
          }
          read.resolve();
          return [503, "Service Unavailable", {}, null] as const;
        };
        await using endpoint = await startTls(pki, app, {}, address);
        const [host, port] = endpoint.server.address as [string, number];
        const connected = Promise.withResolvers<void>();
        const closed = Promise.withResolvers<void>();
        const socket = tls.connect({ host, port, ...identity }, () => connected.resolve());
        socket.on("error", () => {});
        socket.on("close", () => closed.resolve());
        await connected.promise;
        socket.write("POST / HTTP/1.1\r\ncontent-length: 1073741824\r\n\r\n");
        const { sent, stuck } = flood(socket);
        await withTimeout(stuck(), "the client has to wait");
        const unread = sent();
        assert(unread < MOST_UNREAD, `${unread} bytes were taken that nobody has read`);
        reading.resolve();
        await withTimeout(read.promise, "the application gets the bytes");
        assert(sent() > unread, "reading did not let the client go on");
        socket.destroy();
        await withTimeout(closed.promise, "the client is closed");
      },
    });
  }
});

Deno.test("a TLS socket allows one read at a time; close() ends pending operations, and later use fails", async () => {
  await using server = await serveRaw(pki, () => {});
  const sock = await server.client.createSocket();
  assertEquals(await withTimeout(sock.read(new Uint8Array(0)), "a read of no bytes"), 0);
  const reading = assertRejects(() => sock.read(new Uint8Array(10)), Deno.errors.Interrupted);
  const another = () => sock.read(new Uint8Array(1));
  await assertRejects(another, Deno.errors.Busy, "a read is in progress");
  assertEquals(await sock.write(new Uint8Array(0)), 0);
  const piece = new Uint8Array(1_000_000);
  const writing = assertRejects(async () => {
    // The peer doesn't read, so that a write must wait at some time.
    for (;;) await sock.write(piece);
  }, Deno.errors.Interrupted);
  assertEquals(await Promise.race([writing, Promise.resolve("waits")]), "waits");
  await new Promise((resolve) => setTimeout(resolve));
  sock.close();
  sock.close();
  await Promise.all([reading, writing]);
  const uses = [
    () => sock.read(new Uint8Array(1)),
    () => sock.read(new Uint8Array(0)),
    () => sock.write(new Uint8Array(1)),
    () => sock.write(new Uint8Array(0)),
    () => sock.closeWrite!(),
  ];
  for (const use of uses) {
    await withTimeout(assertRejects(use, Deno.errors.BadResource, "the socket is closed"), "a use");
  }
});

/** A relay that can stop to read from the client, until it is released. */
class HoldingRelay extends Relay {
  /** Resolves once a piece is held back. */
  readonly held = Promise.withResolvers<void>();
  readonly released = Promise.withResolvers<void>();
  /** Resolves once the server has ended the connection. */
  readonly over = Promise.withResolvers<void>();
  /** How the client's end of the connection ends. */
  readonly end = Promise.withResolvers<unknown>();

  /** Whether the server's bytes are also delayed until the release. */
  holdsAnswers = false;
  #left = Infinity;

  /** Holds back the piece with which so many more bytes have come, and all that follow it. */
  holdAfter(bytes: number): void {
    this.#left = bytes;
  }

  protected relay(client: Deno.Conn, server: Deno.Conn): Promise<void>[] {
    const hold = (piece: Uint8Array) => {
      this.#left -= piece.length;
      if (this.#left > 0) return;
      this.held.resolve();
      return this.released.promise;
    };
    // The server may be gone by then, and passing on the end fails: that is not the client's end.
    const read = async (into: Uint8Array) => {
      try {
        const count = await client.read(into);
        if (count === null) this.end.resolve("in order");
        return count;
      } catch (error) {
        this.end.resolve(error instanceof Deno.errors.ConnectionReset ? "reset" : error);
        throw error;
      }
    };
    return [
      passOn(server, client, () => this.holdsAnswers ? this.released.promise : undefined)
        .catch(() => {}).then(() => this.over.resolve()),
      passOn({ read }, server, hold).catch((error) => {
        this.end.resolve(error);
        this.close(server);
      }),
    ];
  }
}

/** A relay that changes one bit in each direction, after so many bytes in it. */
class DamagingRelay extends Relay {
  static readonly AFTER = 100_000;

  protected relay(client: Deno.Conn, server: Deno.Conn): Promise<void>[] {
    return [[client, server], [server, client]].map(([from, to]) => {
      let left = DamagingRelay.AFTER;
      const damage = (piece: Uint8Array) => {
        if (left > 0 && left <= piece.length) piece[left - 1]! ^= 1;
        left -= piece.length;
      };
      return passOn(from!, to!, damage).catch(() => {}).finally(() => this.close(to!));
    });
  }
}

Deno.test("bytes that are damaged on the way are a TlsError, at the end that reads them", async () => {
  const large = new Uint8Array(8 * DamagingRelay.AFTER);
  const atServer = Promise.withResolvers<unknown>();
  await using endpoint = await startTls(pki, async ({ body }) => {
    await body?.bytes().catch((error) => {
      atServer.resolve(error);
      throw error;
    });
    return [200, "OK", {}, large];
  });
  await using relay = new DamagingRelay(endpoint.server.address);
  const client = new SSLClient(pki.clientSslconfig, relay.address);
  {
    using connection = await client.connect();
    const { body } = await connection.get("/");
    assertEquals((await assertRejects(() => body!.bytes(), TlsError)).code, "CLOSED");
  }
  using connection = await client.connect();
  await assertRejects(() => connection.put("/", {}, large));
  const error = await withTimeout(atServer.promise, "the server reads what was damaged");
  assertInstanceOf(error, TlsError);
  assertEquals([error.code, isTransient(error)], ["CLOSED", true]);
});

Deno.test("unsent bytes of an abandoned request are never sent", async (t) => {
  const app: App = async ({ body }) => {
    await body?.bytes();
    return [204, "No Content", {}, null];
  };
  await using endpoint = await startTls(pki, app);
  const stop = new AbortController();
  const large = new Uint8Array(8_000_000);
  const put = (conn: Connection) => conn.put("/", {}, large, { signal: stop.signal });
  const rows: [how: string, giveUp: (conn: Connection) => void][] = [
    ["closed", (conn) => conn.close()],
    ["aborted", () => stop.abort(new Error("enough"))],
  ];
  await testEachRow(t, rows, async (_how, giveUp) => {
    await using relay = new HoldingRelay(endpoint.server.address);
    relay.holdAfter(100_000);
    const client = new SSLClient(pki.clientSslconfig, relay.address, { timeout: 60 });
    using conn = await client.connect();
    const failing = assertRejects(() => put(conn));
    await withTimeout(relay.held.promise, "the request is held back");
    giveUp(conn);
    await failing;
    relay.released.resolve();
    assertEquals(await withTimeout(relay.end.promise, "the connection ends"), "reset");
  });
  await t.step("one whose requests were answered ends in order", async () => {
    await using relay = new HoldingRelay(endpoint.server.address);
    const client = new SSLClient(pki.clientSslconfig, relay.address, { timeout: 60 });
    const conn = await client.connect();
    assertEquals((await conn.put("/", {}, large)).status, 204);
    // The server's goodbye would arrive at a closed socket, whose system answers with a reset.
    relay.holdsAnswers = true;
    conn.close();
    assertEquals(await withTimeout(relay.end.promise, "the connection ends"), "in order");
    relay.released.resolve();
  });
});

Deno.test("a request that the network holds back for longer than the server's timeout does nothing", async (t) => {
  const done: string[] = [];
  const app: App = async ({ uri, body }) => {
    await body?.bytes();
    done.push(uri);
    return [204, "No Content", {}, null];
  };
  await using endpoint = await startTls(pki, app, { server: { timeout: 2 } });
  const large = new Uint8Array(100_000);
  const rows: [where: string, bytes: number][] = [
    ["in its body", 60_000],
    ["before its first byte", 0],
  ];
  await testEachRow(t, rows, async (_where, bytes) => {
    await using relay = new HoldingRelay(endpoint.server.address);
    const client = new SSLClient(pki.clientSslconfig, relay.address, { timeout: 60 });
    using conn = await client.connect();
    await conn.get("/first");
    relay.holdAfter(bytes);
    const failing = assertRejects(() => conn.put("/", {}, large));
    await withTimeout(relay.held.promise, "the request is held back");
    await withTimeout(relay.over.promise, "the server ends the connection");
    relay.released.resolve();
    await relay.end.promise;
    await failing;
    assertEquals(done.splice(0), ["/first"]);
  });
});

Deno.test("an idle TLS connection or server does not keep the process alive", async () => {
  await using server = await serveRaw(pki, (socket) => {
    socket.once("data", () => socket.write("HTTP/1.1 204 No Content\r\n\r\n"));
  });
  const script = `
    import { SSLClient } from "./client.ts";
    import { SSLServer } from "./server.ts";
    const { address, clientSslconfig, serverSslconfig } = JSON.parse(Deno.env.get("CONFIG"));
    const server = new SSLServer(serverSslconfig, ["127.0.0.1", 0], () => {});
    await server.ready;
    const conn = await new SSLClient(clientSslconfig, address).connect();
    globalThis.kept = [server, conn];
    console.log((await conn.get("/")).status);
  `;
  const { clientSslconfig, serverSslconfig } = pki;
  const config = { address: server.client.address, clientSslconfig, serverSslconfig };
  const permissions = ["--allow-net=127.0.0.1", "--allow-read", "--allow-env=CONFIG"];
  const running = runScript(script, permissions, { CONFIG: JSON.stringify(config) });
  assertEquals(await withTimeout(running, "the process ends by itself"), "204\n");
});

Deno.test("a write that waits for its peer keeps the process alive", async () => {
  const goOn = Promise.withResolvers<void>();
  let received = 0;
  await using endpoint = await startTls(pki, async ({ body }) => {
    await goOn.promise;
    for (let piece; (piece = await body!.read(1_000_000)).length > 0;) received += piece.length;
    return [204, "No Content", {}, null];
  });
  const script = `
    import { SSLClient } from "./client.ts";
    const { address, clientSslconfig, bytes, preamble } = JSON.parse(Deno.env.get("CONFIG"));
    const piece = new Uint8Array(262144);
    let [written, before] = [0, -1];
    async function put() {
      const socket = await new SSLClient(clientSslconfig, address).createSocket();
      // This continues only while something else keeps the process alive.
      Deno.unrefTimer(setInterval(() => {
        if (written === before) console.log("waits");
        before = written;
      }, 50));
      await socket.write(new TextEncoder().encode(preamble));
      while (written < bytes) written += await socket.write(piece.subarray(0, bytes - written));
      await socket.read(piece);
      socket.close();
    }
    put(); // with await, any timer would keep the process alive
  `;
  const preamble = `PUT / HTTP/1.1\r\ncontent-length: ${MOST_UNREAD}\r\n\r\n`;
  const { clientSslconfig } = pki;
  const { address } = endpoint.server;
  const config = { address, clientSslconfig, bytes: MOST_UNREAD, preamble };
  const flags = ["--allow-net=127.0.0.1", "--allow-read", "--allow-env=CONFIG"];
  const child = await spawnScript(script, flags, { CONFIG: JSON.stringify(config) });
  await using running = new RunningProcess(child);
  await running.waitForStdout(/waits/);
  goOn.resolve();
  const { success, stderr } = await running.waitForEnd();
  assert(success, stderr);
  assertEquals(received, MOST_UNREAD);
});

const app = () => [204, "No Content", {}, null] as const;
const request = encodeLatin1("GET / HTTP/1.1\r\n\r\n");

Deno.test("a TLS socket returns what has arrived before the end, and then the end, repeatedly", async () => {
  await using endpoint = await startTls(pki, app, { server: { maxRequests: 1 } });
  const socket = await endpoint.client.createSocket();
  assertEquals(await socket.write(request), request.length);
  const pieces: number[] = [];
  const into = new Uint8Array(7);
  for (;;) {
    const count = await withTimeout(socket.read(into), "the answer and its end");
    if (count === null) break;
    pieces.push(count);
  }
  const length = pieces.reduce((sum, count) => sum + count, 0);
  assertEquals(length, "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n".length);
  assert(pieces.every((count) => count > 0 && count <= 7));
  for (let i = 0; i < 2; i++) {
    assertEquals(await withTimeout(socket.read(into), "the end once more"), null);
  }
  socket.close();
});

const BYTES = 33_554_432;

/** The most bytes that may wait for the collector while more than twice as many pass. */
const MOST_KEPT = 12_000_000;

/** A sink that checks the received bytes, and records the peak of memory outside of the heap. */
class Watch {
  most = 0;
  received = 0;
  #next = 0;
  readonly #before = Deno.memoryUsage().external;

  write(bytes: Uint8Array): Promise<void> {
    // Each byte of the pattern is that of its position.
    assertEquals(bytes[0], this.#next);
    this.received += bytes.length;
    this.#next = this.received % 251;
    this.most = Math.max(this.most, Deno.memoryUsage().external - this.#before);
    return Promise.resolve();
  }
}

/** The pattern that {@linkcode Watch} expects. */
function* pattern(): Generator<Uint8Array> {
  for (let sent = 0; sent < BYTES; sent += 1_048_576) {
    const piece = new Uint8Array(1_048_576);
    for (let i = 0; i < piece.length; i++) piece[i] = (sent + i) % 251;
    yield piece;
  }
}

Deno.test("bytes over TLS arrive unchanged, and don't fill the memory", async () => {
  const pieces = [...pattern()];
  const up = new Watch();
  const app = async (request: Request) => {
    if (request.body !== null) {
      await request.body.writeTo(up);
      return [204, "No Content", {}, null] as const;
    }
    return [200, "OK", {}, new BodyIter(pieces, BYTES)] as const;
  };
  await using endpoint = await startTls(pki, app);
  using conn = await endpoint.client.connect();
  const down = new Watch();
  const response = await conn.get("/");
  await response.body!.writeTo(down);
  await conn.put("/", {}, new BodyIter(pieces, BYTES));
  for (const [name, { most, received }] of Object.entries({ down, up })) {
    assertEquals(received, BYTES);
    assert(most < MOST_KEPT, `${name}: ${most} bytes were kept`);
  }
});

Deno.test("a peer that ignores backpressure is disconnected above 16 MiB of unread bytes", async () => {
  const app = () => [200, "OK", {}, new BodyIter(pattern(), BYTES)] as const;
  await using endpoint = await startTls(pki, app);
  const below = net.connect({ host: "127.0.0.1", port: Number(endpoint.server.address[1]) });
  const closed = Promise.withResolvers<void>();
  const socket = tls.connect({ socket: below, ...await readIdentity(pki) }, () => {
    const unpausable = { ...makeNetStream(below), pause() {}, resume() {} };
    new TlsSocket(socket, unpausable, null).write(request);
  });
  socket.on("close", () => closed.resolve());
  await withTimeout(closed.promise, "it is disconnected");
});

Deno.test("unread records of one byte make a TLS socket stop reading, and reading lets the peer continue", async (t) => {
  const identity = await readIdentity(pki);
  const ROW = "bytes that TLS reads ahead in addition +";
  const limit = 1024 *
    await readStatedNumber("docs/security.md", new RegExp(`${ROW}\\| (\\d+) KiB`));
  const each = 1024 *
    await readStatedNumber("docs/security.md", new RegExp(`${ROW}.*each piece (\\d+) KiB`));
  const most = Math.floor(limit / (each + 1));
  const streams = {
    "over a socket of node:net": (port: number) =>
      Promise.resolve(makeNetStream(net.connect({ host: "127.0.0.1", port }))),
    "over a connection of Deno": async (port: number) =>
      makeDuplex(await Deno.connect({ hostname: "127.0.0.1", port })),
  };
  await testEachRow(t, Object.entries(streams), async (_how, open) => {
    const sending = Promise.withResolvers<tls.TLSSocket>();
    await using server = await serveRaw(pki, (socket) => sending.resolve(socket));
    const raw = await open(Number(server.address[1]));
    let isPaused = false;
    const watched = {
      ...raw,
      pause() {
        isPaused = true;
        raw.pause();
      },
      resume() {
        isPaused = false;
        raw.resume();
      },
    };
    const handshake = Promise.withResolvers<TlsSocket>();
    const below = tls.connect({ socket: raw.stream, ...identity }, () => {
      handshake.resolve(new TlsSocket(below, watched, null));
    });
    const receiver = await withTimeout(handshake.promise, "the handshake");
    const sender = await sending.promise;
    const sendRecord = async (value: number) => {
      const arrived = once(below, "data");
      sender.write(Uint8Array.of(value));
      // Records that arrive together would become one piece.
      await withTimeout(arrived, "the record arrives");
    };
    let sent = 0;
    while (!isPaused && sent < 2 * most) await sendRecord(sent++);
    assertEquals(sent, most + 1);
    const received: number[] = [];
    const into = new Uint8Array(1);
    while (isPaused) {
      assertEquals(await receiver.read(into), 1);
      received.push(into[0]!);
    }
    assert(received.length > 0 && received.length < sent, "it waits until most records are read");
    await sendRecord(sent++);
    while (received.length < sent) {
      await withTimeout(receiver.read(into), "the rest");
      received.push(into[0]!);
    }
    assertEquals(received, Array.from({ length: sent }, (_, i) => i));
    const closed = once(below, "close");
    receiver.close();
    await closed;
  });
});

// ───────────────────────── over Deno.connectTls, as docs/tls.md describes it

/** Bytes that differ at each position of a piece, so that a lost, doubled or moved piece is seen. */
const DATA = Uint8Array.from({ length: 3 * 1048576 + 17 }, (_, i) => (i * 2654435761) >>> 13);

const inPieces = (bytes: Uint8Array) => new BodyIter(cutBytes(bytes, 100_000), bytes.length);
const inChunks = (bytes: Uint8Array) =>
  new ChunkedBodyIter(
    [...cutBytes(bytes, 100_000), new Uint8Array(0)].map((data): Chunk => [null, data]),
  );

/** Sends the body back as it was sent, and says who asked. */
const echo: App = async ({ body }, { peerCertificate }) => {
  const bytes = await body!.bytes();
  const headers = { subject: peerCertificate?.subject ?? "nobody" };
  return [200, "OK", headers, body!.chunked ? inChunks(bytes) : inPieces(bytes)];
};

Deno.test("bodies of every kind arrive unchanged both ways, over one connection", async (t) => {
  const pki = await openSharedPki();
  await using endpoint = await startTls(pki, echo);
  const [hostname, port] = endpoint.server.address as [string, number];
  const { ca, cert, key } = await readTexts(pki.clientSslconfig);
  const sock = await Deno.connectTls({ hostname, port, caCerts: [ca], cert, key });
  using conn = new Connection(sock, null, undefined, 10);
  assertEquals(conn.sock.peerCertificate, undefined);
  const bodies: readonly (readonly [string, () => BodyOut])[] = [
    ["an array", () => DATA],
    ["a Body", () => new Body(new Blob([DATA]).stream(), DATA.length)],
    ["a BodyIter", () => inPieces(DATA)],
    ["a ChunkedBodyIter", () => inChunks(DATA)],
  ];
  await testEachRow(t, bodies, async (_kind, make) => {
    const { headers, body } = await conn.put("/", {}, make());
    assertEquals(headers["subject"], "CN=TempPKI client");
    assertEquals(Buffer.compare(await body!.bytes(), DATA), 0);
  });
});
