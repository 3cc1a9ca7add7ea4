/** A TLS socket: closing, backpressure, and keeping the process alive. */
import { assert, assertEquals, assertInstanceOf, assertMatch, assertRejects } from "@std/assert";
import { once } from "node:events";
import * as net from "node:net";
import * as tls from "node:tls";
import {
  type Address,
  type Body,
  BodyIter,
  type ChunkedBody,
  ConnectionError,
  TlsError,
} from "@degu/degu/base";
import { isTransient } from "@degu/degu";
import { type Connection, SSLClient } from "@degu/degu/client";
import type { App, Request } from "@degu/degu/server";
import { makeDuplex, NetStream } from "@degu/internal/net/tls/raw_stream.ts";
import { TlsSocket } from "@degu/internal/net/tls/socket.ts";
import { passOn, Relay } from "@degu/testing/cutting_relay.ts";
import { hasIPv6 } from "../endpoints.ts";
import { RunningProcess, runScript, spawnScript } from "@degu/testing/processes.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";
import { openSharedPki, readIdentity, serveRaw, startTls } from "@degu/testing/tls_endpoints.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";
import { readStatedNumber } from "@degu/testing/project_files.ts";
import { concat } from "@degu/testing/streams.ts";
import { decodeLatin1, encodeLatin1 } from "@degu/testing/wire_grammar.ts";

const pki = await openSharedPki();

/** Reads all bytes of a socket until its connection ends. */
function readReceivedText(socket: tls.TLSSocket): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  let text = "";
  socket.on("data", (piece: Uint8Array) => text += String(piece));
  socket.on("error", () => {});
  socket.on("close", () => resolve(text));
  return withTimeout(promise, "the connection ends");
}

Deno.test("a client that closes its write side after its request still gets the response", async () => {
  const body = new Uint8Array(300_000).fill(120);
  await using endpoint = await startTls(pki, () => [200, "OK", {}, body]);
  const port = Number(endpoint.server.address[1]);
  const netSocket = net.connect({ host: "127.0.0.1", port, allowHalfOpen: true });
  const socket = tls.connect({ socket: netSocket, ...await readIdentity(pki) }, () => {
    socket.end("GET / HTTP/1.1\r\n\r\n");
  });
  const response = await readReceivedText(socket);
  assertEquals(response, `HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\n${"x".repeat(300_000)}`);
});

Deno.test("a truncated request never reaches the app as a complete request", async (t) => {
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
      const receivedText = readReceivedText(socket);
      await endpoint.logger.waitFor("info");
      assertEquals(await receivedText, "");
      assertEquals(bodies.length, 1);
      assertInstanceOf(bodies[0], ConnectionError);
    });
  }
});

Deno.test("an early response reaches a client whose process stalls", async () => {
  const stallValue = new Int32Array(new SharedArrayBuffer(4));
  let remainingStalls = 0;
  const stall = () => {
    Atomics.wait(stallValue, 0, 0, 250);
    if (--remainingStalls > 0) setTimeout(stall, 5);
  };
  const logger = new RecordingLogger();
  // The server has sent the response, and is about to close.
  logger.debug = () => void setTimeout(stall, 2);
  await using endpoint = await startTls(
    pki,
    () => [413, "Content Too Large", {}, encodeLatin1("no")],
    { server: { logger } },
  );
  for (let i = 0; i < 3; i++) {
    remainingStalls = 2;
    const upload = new BodyIter(Array.from({ length: 64 }, () => new Uint8Array(262_144)), 2 ** 24);
    const { status, body } = await endpoint.client.request("PUT", "/", {}, upload);
    assertEquals([status, await body?.text()], [413, "no"]);
  }
});

/** Sends until the peer accepts no more bytes, and continues when the peer accepts bytes again. */
function flood(socket: tls.TLSSocket): { countSent(): number; waitUntilStuck(): Promise<void> } {
  const piece = new Uint8Array(65536);
  let sentBytes = 0;
  const send = () => {
    while (!socket.destroyed && socket.writableLength < 1_000_000) {
      socket.write(piece, () => sentBytes += piece.length);
    }
  };
  socket.on("drain", send);
  send();
  return {
    countSent: () => sentBytes,
    async waitUntilStuck() {
      for (let previousBytes = -1; previousBytes !== sentBytes;) {
        previousBytes = sentBytes;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    },
  };
}

/**
 * More bytes than all buffers hold, of which those of TCP grow up to 36 MiB, and far fewer than a
 * peer sends in that time.
 */
const MAX_UNREAD_BYTES = 64_000_000;

Deno.test("a server that sends endlessly does not fill the memory of a client that does not read", async () => {
  const floodStarted = Promise.withResolvers<ReturnType<typeof flood>>();
  await using server = await serveRaw(pki, (socket) => {
    socket.once("data", () => {
      socket.write("HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n");
      floodStarted.resolve(flood(socket));
    });
  });
  using conn = await server.client.connect();
  const response = await conn.get("/");
  const { countSent, waitUntilStuck } = await floodStarted.promise;
  await withTimeout(waitUntilStuck(), "the server has to wait");
  const unreadBytes = countSent();
  assert(unreadBytes < MAX_UNREAD_BYTES, `${unreadBytes} bytes were accepted without being read`);
  for (let readBytes = 0; readBytes < MAX_UNREAD_BYTES;) {
    readBytes += (await response.body!.read(1_000_000)).length;
  }
  assert(countSent() > unreadBytes, "reading didn't let the server continue");
});

Deno.test("a client that sends endlessly does not fill the memory of a server that does not read", async (t) => {
  const identity = await readIdentity(pki);
  const addresses: Record<string, Address> = {
    "over a socket of node:net": ["127.0.0.1", 0],
    "over a connection of Deno": ["::1", 0, 0, 1],
  };
  for (const [connectionKind, address] of Object.entries(addresses)) {
    await t.step({
      name: connectionKind,
      ignore: address[0] === "::1" && !hasIPv6,
      fn: async () => {
        const readAllowed = Promise.withResolvers<void>();
        const allRead = Promise.withResolvers<void>();
        const app = async (request: Request) => {
          await readAllowed.promise;
          for (let count = 0; count < MAX_UNREAD_BYTES;) {
            count += (await request.body!.read(1_000_000)).length;
          }
          allRead.resolve();
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
        const { countSent, waitUntilStuck } = flood(socket);
        await withTimeout(waitUntilStuck(), "the client has to wait");
        const unreadBytes = countSent();
        assert(
          unreadBytes < MAX_UNREAD_BYTES,
          `${unreadBytes} bytes were accepted without being read`,
        );
        readAllowed.resolve();
        await withTimeout(allRead.promise, "the application gets the bytes");
        assert(countSent() > unreadBytes, "reading didn't let the client continue");
        socket.destroy();
        await withTimeout(closed.promise, "the client is closed");
      },
    });
  }
});

for (const method of ["close", "reset"] as const) {
  Deno.test(`a TLS socket allows one read at a time; ${method}() ends pending operations, and later use fails`, async () => {
    await using server = await serveRaw(pki, () => {});
    const sock = await server.client.createSocket();
    assertEquals(await withTimeout(sock.read(new Uint8Array(0)), "a read of no bytes"), 0);
    const readFailed = assertRejects(() => sock.read(new Uint8Array(10)), Deno.errors.Interrupted);
    const startSecondRead = () => sock.read(new Uint8Array(1));
    await assertRejects(startSecondRead, Deno.errors.Busy, "a read is in progress");
    assertEquals(await sock.write(new Uint8Array(0)), 0);
    const piece = new Uint8Array(1_000_000);
    const writeFailed = assertRejects(async () => {
      // The peer doesn't read, so a write must wait eventually.
      for (;;) await sock.write(piece);
    }, Deno.errors.Interrupted);
    assertEquals(await Promise.race([writeFailed, Promise.resolve("waits")]), "waits");
    await new Promise((resolve) => setTimeout(resolve));
    sock[method]!();
    sock.close();
    await Promise.all([readFailed, writeFailed]);
    const uses = [
      () => sock.read(new Uint8Array(1)),
      () => sock.read(new Uint8Array(0)),
      () => sock.write(new Uint8Array(1)),
      () => sock.write(new Uint8Array(0)),
      () => sock.closeWrite!(),
    ];
    for (const use of uses) {
      await withTimeout(
        assertRejects(use, Deno.errors.BadResource, "the socket is closed"),
        "a use",
      );
    }
  });
}

/** A relay that stops reading from the client until it is released. */
class HoldingRelay extends Relay {
  /** Resolves once a piece is held back. */
  readonly pieceHeld = Promise.withResolvers<void>();
  readonly released = Promise.withResolvers<void>();
  /** Resolves once the server has ended the connection. */
  readonly serverClosed = Promise.withResolvers<void>();
  /** The way in which the client closes: "in order" (FIN), "reset" (RST), or an error. */
  readonly clientEnding = Promise.withResolvers<unknown>();

  /** Whether the server's bytes are also delayed until the release. */
  delaysResponses = false;
  #remainingBytes = Infinity;

  /** Holds back the piece that completes the next `bytes` bytes, and all later pieces. */
  holdAfter(bytes: number): void {
    this.#remainingBytes = bytes;
  }

  protected relay(client: Deno.Conn, server: Deno.Conn): Promise<void>[] {
    const hold = (piece: Uint8Array) => {
      this.#remainingBytes -= piece.length;
      if (this.#remainingBytes > 0) return;
      this.pieceHeld.resolve();
      return this.released.promise;
    };
    // If the server has closed, passing on the end fails. That error isn't the client's.
    const read = async (into: Uint8Array) => {
      try {
        const count = await client.read(into);
        if (count === null) this.clientEnding.resolve("in order");
        return count;
      } catch (error) {
        this.clientEnding.resolve(error instanceof Deno.errors.ConnectionReset ? "reset" : error);
        throw error;
      }
    };
    return [
      passOn(server, client, () => this.delaysResponses ? this.released.promise : undefined)
        .catch(() => {}).then(() => this.serverClosed.resolve()),
      passOn({ read }, server, hold).catch((error) => {
        this.clientEnding.resolve(error);
        this.close(server);
      }),
    ];
  }
}

/** A relay that changes one bit in each direction, after 100,000 bytes. */
class DamagingRelay extends Relay {
  static readonly AFTER = 100_000;

  protected relay(client: Deno.Conn, server: Deno.Conn): Promise<void>[] {
    return [[client, server], [server, client]].map(([source, target]) => {
      let remainingBytes = DamagingRelay.AFTER;
      const damage = (piece: Uint8Array) => {
        if (remainingBytes > 0 && remainingBytes <= piece.length) piece[remainingBytes - 1]! ^= 1;
        remainingBytes -= piece.length;
      };
      return passOn(source!, target!, damage).catch(() => {}).finally(() => this.close(target!));
    });
  }
}

Deno.test("reading damaged bytes fails with a TlsError", async () => {
  const largeBody = new Uint8Array(8 * DamagingRelay.AFTER);
  const serverFailed = Promise.withResolvers<unknown>();
  await using endpoint = await startTls(pki, async ({ body }) => {
    await body?.bytes().catch((error) => {
      serverFailed.resolve(error);
      throw error;
    });
    return [200, "OK", {}, largeBody];
  });
  await using relay = new DamagingRelay(endpoint.server.address);
  const client = new SSLClient(pki.clientSslconfig, relay.address);
  {
    using connection = await client.connect();
    const { body } = await connection.get("/");
    assertEquals((await assertRejects(() => body!.bytes(), TlsError)).code, "CLOSED");
  }
  using connection = await client.connect();
  await assertRejects(() => connection.put("/", {}, largeBody));
  const error = await withTimeout(serverFailed.promise, "the server reads the damaged bytes");
  assertInstanceOf(error, TlsError);
  assertEquals([error.code, isTransient(error)], ["CLOSED", true]);
});

Deno.test("unsent bytes of an abandoned request are never sent", async (t) => {
  const app: App = async ({ body }) => {
    for await (const _ of body!.readable);
    return [204, "No Content", {}, null];
  };
  await using endpoint = await startTls(pki, app);
  const abortController = new AbortController();
  const largeBody = new Uint8Array(8_000_000);
  // The buffers of TCP grow up to 36 MiB.
  const makeUnsentBody = () => new BodyIter(Array(8).fill(largeBody), 8 * largeBody.length);
  const sendPut = (conn: Connection) =>
    conn.put("/", {}, makeUnsentBody(), { signal: abortController.signal });
  const rows: [name: string, abandon: (conn: Connection) => void][] = [
    ["closed", (conn) => conn.close()],
    ["aborted", () => abortController.abort(new Error("enough"))],
  ];
  await testEachRow(t, rows, async (_name, abandon) => {
    await using relay = new HoldingRelay(endpoint.server.address);
    relay.holdAfter(100_000);
    const client = new SSLClient(pki.clientSslconfig, relay.address, { timeout: 60 });
    using conn = await client.connect();
    const requestFailed = assertRejects(() => sendPut(conn));
    await withTimeout(relay.pieceHeld.promise, "the request is held back");
    abandon(conn);
    await requestFailed;
    relay.released.resolve();
    assertEquals(await withTimeout(relay.clientEnding.promise, "the connection ends"), "reset");
  });
  await t.step("a connection whose requests have responses ends in order", async () => {
    await using relay = new HoldingRelay(endpoint.server.address);
    const client = new SSLClient(pki.clientSslconfig, relay.address, { timeout: 60 });
    const conn = await client.connect();
    assertEquals((await conn.put("/", {}, largeBody)).status, 204);
    // The server's close_notify would reach a closed socket. The kernel would reply with a reset.
    relay.delaysResponses = true;
    conn.close();
    assertEquals(await withTimeout(relay.clientEnding.promise, "the connection ends"), "in order");
    relay.released.resolve();
  });
});

Deno.test("a request that the network delays for longer than the server's timeout has no effect", async (t) => {
  const processedUris: string[] = [];
  const app: App = async ({ uri, body }) => {
    await body?.bytes();
    processedUris.push(uri);
    return [204, "No Content", {}, null];
  };
  await using endpoint = await startTls(pki, app, { server: { timeout: 2 } });
  const largeBody = new Uint8Array(100_000);
  const rows: [position: string, bytes: number][] = [
    ["in its body", 60_000],
    ["before its first byte", 0],
  ];
  await testEachRow(t, rows, async (_position, bytes) => {
    await using relay = new HoldingRelay(endpoint.server.address);
    const client = new SSLClient(pki.clientSslconfig, relay.address, { timeout: 60 });
    using conn = await client.connect();
    await conn.get("/first");
    relay.holdAfter(bytes);
    const requestFailed = assertRejects(() => conn.put("/", {}, largeBody));
    await withTimeout(relay.pieceHeld.promise, "the request is held back");
    await withTimeout(relay.serverClosed.promise, "the server ends the connection");
    relay.released.resolve();
    await relay.clientEnding.promise;
    await requestFailed;
    assertEquals(processedUris.splice(0), ["/first"]);
  });
});

Deno.test("an idle TLS connection or server does not keep the process alive", async () => {
  const script = `
    import { SSLClient } from "./client.ts";
    import { SSLServer } from "./server.ts";
    const { address, clientSslconfig, serverSslconfig } = JSON.parse(Deno.env.get("CONFIG"));
    const server = new SSLServer(serverSslconfig, ["127.0.0.1", 0], () => {});
    await server.ready;
    const conn = await new SSLClient(clientSslconfig, address).connect();
    globalThis.kept = [server, conn];
    console.log((await conn.get("/")).status);
    // Neither an idle socket nor a read of an unreferenced one is awaited.
    const createSocket = () => new SSLClient(clientSslconfig, address).createSocket();
    globalThis.sockets = [await createSocket(), await createSocket()];
    sockets[0].ref();
    sockets[1].read(new Uint8Array(1)).catch(() => {});
    sockets[1].unref();
  `;
  await using endpoint = await startTls(pki, app, { server: { timeout: 3600 } });
  const { clientSslconfig, serverSslconfig } = pki;
  const config = { address: endpoint.server.address, clientSslconfig, serverSslconfig };
  const permissions = ["--allow-net", "--allow-read", "--allow-write", "--allow-env=CONFIG"];
  const processOutput = runScript(script, permissions, { CONFIG: JSON.stringify(config) });
  assertEquals(await withTimeout(processOutput, "the process ends by itself"), "204\n");
});

/** With `node:net`, and with Deno because of the scope. */
const SERVER_ADDRESSES: readonly Address[] = [
  ["127.0.0.1", 0],
  ...hasIPv6 ? [["::1", 0, 0, 1]] as const : [],
];

for (const requested of SERVER_ADDRESSES) {
  Deno.test(`a write or a read that waits for its peer keeps the process alive, at ${requested}`, async () => {
    const readAllowed = Promise.withResolvers<void>();
    let received = 0;
    await using endpoint = await startTls(
      pki,
      async ({ body }) => {
        await readAllowed.promise;
        for (let piece; (piece = await body!.read(1_000_000)).length > 0;) received += piece.length;
        return [204, "No Content", {}, null];
      },
      {},
      requested,
    );
    const script = `
    import { SSLClient } from "./client.ts";
    const { address, clientSslconfig, bytes, preamble } = JSON.parse(Deno.env.get("CONFIG"));
    const piece = new Uint8Array(262144);
    let [written, before] = [0, -1];
    async function put() {
      const socket = await new SSLClient(clientSslconfig, address).createSocket();
      // This timer runs only while another operation keeps the process alive.
      Deno.unrefTimer(setInterval(() => {
        if (written === before) console.log("waits");
        before = written;
      }, 50));
      const response = socket.read(new Uint8Array(1000));
      await socket.write(new TextEncoder().encode(preamble));
      while (written < bytes) written += await socket.write(piece.subarray(0, bytes - written));
      console.log(await response);
      socket.close();
    }
    put(); // with await, any timer would keep the process alive
  `;
    const preamble = `PUT / HTTP/1.1\r\ncontent-length: ${MAX_UNREAD_BYTES}\r\n\r\n`;
    const { clientSslconfig } = pki;
    const { address } = endpoint.server;
    const config = { address, clientSslconfig, bytes: MAX_UNREAD_BYTES, preamble };
    const flags = ["--allow-net", "--allow-read", "--allow-env=CONFIG"];
    const child = await spawnScript(script, flags, { CONFIG: JSON.stringify(config) });
    await using runningProcess = new RunningProcess(child);
    await runningProcess.waitForStdout(/waits/);
    readAllowed.resolve();
    const { success, stdout, stderr } = await runningProcess.waitForEnd();
    assert(success, stderr);
    assertMatch(stdout, /\n\d+\n$/);
    assertEquals(received, MAX_UNREAD_BYTES);
  });
}

Deno.test("a server that serves keeps the process alive", async () => {
  const script = `
    import { SSLServer } from "./server.ts";
    const serverSslconfig = JSON.parse(Deno.env.get("CONFIG"));
    const server = new SSLServer(serverSslconfig, ["127.0.0.1", 0], () => {});
    server.serveForever(); // with await, an ended event loop would be an error
    Deno.unrefTimer(setTimeout(() => console.log("serves"), 100));
  `;
  const flags = ["--allow-net=127.0.0.1", "--allow-read", "--allow-env=CONFIG"];
  const child = await spawnScript(script, flags, { CONFIG: JSON.stringify(pki.serverSslconfig) });
  await using runningProcess = new RunningProcess(child);
  await runningProcess.waitForStdout(/serves/);
});

const app = () => [204, "No Content", {}, null] as const;

Deno.test("a TLS socket returns pieces in memory of their own, and joins small pieces", async () => {
  const peerConnected = Promise.withResolvers<tls.TLSSocket>();
  await using server = await serveRaw(pki, (socket) => peerConnected.resolve(socket));
  const socket = await server.client.createSocket();
  const readPiece = () => withTimeout(socket.readPiece!(), "a piece");
  const peer = await peerConnected.promise;
  const firstRead = readPiece();
  await assertRejects(() => socket.readPiece!(), Deno.errors.Busy, "a read is in progress");
  peer.write("first");
  assertEquals(await firstRead, encodeLatin1("first"));
  const sentBytes = new Uint8Array(1_000_000).map((_, i) => i % 251);
  peer.end(sentBytes);
  const start = new Uint8Array(7);
  assertEquals(await withTimeout(socket.read(start), "the start"), 7);
  const pieces = [start];
  for (let piece; (piece = await readPiece()) !== null;) {
    assertEquals(piece.length, piece.buffer.byteLength);
    pieces.push(piece);
  }
  assertEquals(concat(pieces), sentBytes);
  assertEquals(await readPiece(), null);
  socket.close();
  await assertRejects(() => socket.readPiece!(), Deno.errors.BadResource);
});

/** Reads a body in one of several ways. The memory of an item is that of its message alone. */
const readers: ((body: Body | ChunkedBody, onItem: (item: Uint8Array) => void) => unknown)[] = [
  async (body, onItem) => {
    for await (const piece of body.readable) onItem(piece);
  },
  async (body, onItem) => {
    for await (const item of body) onItem(item instanceof Uint8Array ? item : item[1]);
  },
  (body, onItem) => body.writeTo(new WritableStream({ write: onItem })),
  (body, onItem) => body.writeTo({ write: (bytes) => Promise.resolve(onItem(bytes.slice())) }),
];

Deno.test("bodies that arrive together over TLS are read apart, in every way", async (t) => {
  const rows: readonly [label: string, cut: number | null, size: number][] = [
    ["with a length", null, 300_000],
    ["in chunks of one byte", 1, 20_000],
    ["in chunks of 16384 bytes", 16_384, 300_000],
    ["in chunks of 70000 bytes", 70_000, 300_000],
  ];
  await testEachRow(t, rows, async (_label, cut, size) => {
    const requests = [..."bcde"].map((letter) => {
      const data = letter.repeat(size);
      const encoded = cut === null ? data : encodeChunks(data, cut);
      return { data, encoded, text: "", memory: "" };
    });
    const app: App = async ({ path, body }) => {
      const request = requests[Number(path[0])]!;
      await readers[Number(path[0])]!(body!, (item) => {
        request.text += decodeLatin1(item);
        request.memory += decodeLatin1(new Uint8Array(item.buffer));
      });
      return [204, "No Content", {}, null];
    };
    await using endpoint = await startTls(pki, app, { server: { maxRequests: requests.length } });
    const port = Number(endpoint.server.address[1]);
    const socket = tls.connect({ host: "127.0.0.1", port, ...await readIdentity(pki) });
    const framing = cut === null ? `content-length: ${size}` : "transfer-encoding: chunked";
    socket.write(
      requests.map(({ encoded }, i) => `PUT /${i} HTTP/1.1\r\n${framing}\r\n\r\n${encoded}`).join(
        "",
      ),
    );
    await readReceivedText(socket);
    for (const [i, { data, encoded, text, memory }] of requests.entries()) {
      assert(text === (i < 2 ? data : encoded), `the data of request ${i}`);
      // The size of a chunk has no letter three times.
      const others = "bcde".replace(data[0]!, "");
      assert(!new RegExp(`PUT|HTTP|([${others}])\\1\\1`).test(memory), `request ${i}`);
    }
  });
});

const encodeChunks = (text: string, size: number): string =>
  text.match(new RegExp(`.{1,${size}}`, "g"))!
    .map((chunk) => `${chunk.length.toString(16)}\r\n${chunk}\r\n`).join("") + "0\r\n\r\n";

Deno.test("an array that is too large for one write over TLS arrives whole", async () => {
  const bytes = Uint8Array.from({ length: 1_000_000 }, (_, index) => index % 251);
  await using endpoint = await startTls(
    pki,
    async (request) => [200, "OK", {}, await request.bytes()],
  );
  const received = await (await endpoint.client.put("/", {}, bytes)).bytes();
  assertEquals(received.length, bytes.length);
  assertEquals(received.findIndex((byte, index) => byte !== bytes[index]), -1);
});

Deno.test("pieces that wait in a stream over a connection of Deno keep their bytes", async () => {
  let readCount = 0;
  const conn = {
    read(into: Uint8Array): Promise<number | null> {
      if (readCount === 3) return Promise.resolve(null);
      into[0] = ++readCount;
      return Promise.resolve(1);
    },
    close() {},
  } as unknown as Deno.TcpConn;
  const { stream, freeUsedMemory } = makeDuplex(conn);
  freeUsedMemory();
  stream.read(0);
  while (stream.readableLength < 3) await new Promise((resolve) => setImmediate(resolve));
  const bytes: number[] = [];
  for (let piece; (piece = stream.read()) !== null;) bytes.push(...piece);
  assertEquals(bytes, [1, 2, 3]);
  stream.destroy();
});

Deno.test("unread records of one byte make a TLS socket stop reading, and reading lets the peer continue", async (t) => {
  const identity = await readIdentity(pki);
  const ROW = "bytes that TLS reads ahead in addition +";
  const limitBytes = 1024 *
    await readStatedNumber("docs/security.md", new RegExp(`${ROW}\\| (\\d+) KiB`));
  const bytesPerRecord = 1024 *
    await readStatedNumber("docs/security.md", new RegExp(`${ROW}.*each piece counts (\\d+) KiB`));
  const maxRecords = Math.floor(limitBytes / (bytesPerRecord + 1));
  const openersByKind = {
    "over a socket of node:net": (port: number) =>
      Promise.resolve(new NetStream(net.connect({ host: "127.0.0.1", port }))),
    "over a connection of Deno": async (port: number) =>
      makeDuplex(await Deno.connect({ hostname: "127.0.0.1", port })),
  };
  await testEachRow(t, Object.entries(openersByKind), async (_kind, openStream) => {
    const senderConnected = Promise.withResolvers<tls.TLSSocket>();
    await using server = await serveRaw(pki, (socket) => senderConnected.resolve(socket));
    const rawStream = await openStream(Number(server.address[1]));
    let isPaused = false;
    const pause = rawStream.pause.bind(rawStream);
    const resume = rawStream.resume.bind(rawStream);
    rawStream.pause = () => {
      isPaused = true;
      pause();
    };
    rawStream.resume = () => {
      isPaused = false;
      resume();
    };
    const handshakeEnded = Promise.withResolvers<TlsSocket>();
    const tlsSocket = tls.connect({ socket: rawStream.stream, ...identity }, () => {
      handshakeEnded.resolve(new TlsSocket(tlsSocket, rawStream, null));
    });
    const receiver = await withTimeout(handshakeEnded.promise, "the handshake");
    const sender = await senderConnected.promise;
    const sendRecord = async (value: number) => {
      const recordArrived = once(tlsSocket, "data");
      sender.write(Uint8Array.of(value));
      // Records that arrive together would become one piece.
      await withTimeout(recordArrived, "the record arrives");
    };
    let sentCount = 0;
    while (!isPaused && sentCount < 2 * maxRecords) await sendRecord(sentCount++);
    assertEquals(sentCount, maxRecords + 1);
    const receivedValues: number[] = [];
    const buffer = new Uint8Array(1);
    while (isPaused) {
      assertEquals(await receiver.read(buffer), 1);
      receivedValues.push(buffer[0]!);
    }
    assert(
      receivedValues.length > sentCount / 2 && receivedValues.length < sentCount,
      "the socket waits until most records are read",
    );
    await sendRecord(sentCount++);
    while (receivedValues.length < sentCount) {
      await withTimeout(receiver.read(buffer), "the rest");
      receivedValues.push(buffer[0]!);
    }
    assertEquals(receivedValues, Array.from({ length: sentCount }, (_, i) => i));
    const closed = once(tlsSocket, "close");
    const lost = assertRejects(() => receiver.read(buffer), ConnectionError, "was lost");
    rawStream.close();
    await withTimeout(lost, "the read ends with its stream", 30);
    await closed;
    receiver.close();
  });
});
