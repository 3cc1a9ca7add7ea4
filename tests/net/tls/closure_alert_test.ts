/**
 * The TLS records of clients and servers: application data, and the alert at the end (RFC 9112
 * §9.7, §9.8).
 */
import { once } from "node:events";
import * as tls from "node:tls";
import { BodyIter } from "@degu/degu/base";
import { type Connection, SSLClient } from "@degu/degu/client";
import { passOn, Relay } from "@degu/testing/cutting_relay.ts";
import { waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { readIdentity, serveRaw } from "@degu/testing/raw_tls.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { openSharedPki, startTls, type TlsEndpoint } from "@degu/testing/tls_endpoints.ts";
import { decodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { assert, assertEquals } from "@std/assert";

const pki = await openSharedPki();

/** Types of records (RFC 5246 §6.2.1), which TLS 1.2 doesn't encrypt. */
const ALERT = 21, APPLICATION_DATA = 23;

/** The bytes of one direction of a connection, as the relay receives them. */
class Direction {
  #text = "";
  readonly #ended = Promise.withResolvers<"end" | "reset">();

  add = (bytes: Uint8Array): void => void (this.#text += decodeLatin1(bytes));
  finish = (ending: "end" | "reset"): void => this.#ended.resolve(ending);

  get text(): string {
    return this.#text;
  }

  /** Resolves to the way in which the direction ends. */
  get ended(): Promise<"end" | "reset"> {
    return withTimeout(this.#ended.promise, "the connection ends");
  }

  /** The types of the records after the handshake, without repetitions. */
  get types(): number[] {
    const types: number[] = [];
    for (let at = 0; at + 5 <= this.#text.length;) {
      const [type, high, low] = [0, 3, 4].map((i) => this.#text.charCodeAt(at + i));
      if (types.at(-1) !== type) types.push(type!);
      at += 5 + high! * 256 + low!;
    }
    return types.slice(types.indexOf(APPLICATION_DATA));
  }
}

/** A relay that records the bytes of a connection. */
class RecordRelay extends Relay {
  readonly fromClient = new Direction();
  readonly fromServer = new Direction();

  /** The promise that the relay waits for before it relays more of a response. */
  released: Promise<void> = Promise.resolve();

  protected relay(client: Deno.Conn, server: Deno.Conn): Promise<void>[] {
    // The way in which a direction ends is that of its source. Its target may have closed already.
    const pump = (from: Deno.Conn, to: Deno.Conn, direction: Direction) => {
      const target = {
        write: (bytes: Uint8Array) => to.write(bytes).catch(() => bytes.length),
        closeWrite: () => to.closeWrite().catch(() => {}),
      };
      return passOn(from, target, async (bytes) => {
        direction.add(bytes);
        // With the alert of the server unread, the close of the client would be a reset.
        if (direction === this.fromClient && bytes[0] === ALERT) {
          this.released = direction.ended.then(() => {});
        }
        if (direction === this.fromServer) await this.released;
      })
        .then(() => direction.finish("end"), () => direction.finish("reset"));
    };
    return [pump(client, server, this.fromClient), pump(server, client, this.fromServer)];
  }
}

const OK = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
const TLS_1_2 = { maxVersion: "TLSv1.2" } as const;

/**
 * Connects a client to a server of `node:tls` that responds to each request except for `/silent`.
 */
async function connectThrough() {
  const requested = Promise.withResolvers<void>();
  const server = await serveRaw(pki, (socket) => {
    socket.on("data", (bytes: Uint8Array) => {
      const text = decodeLatin1(bytes);
      if (text.includes("/silent")) requested.resolve();
      else socket.write(text.includes("/cut") ? OK.replace("length: 2", "length: 3") : OK);
    });
  }, TLS_1_2);
  const relay = new RecordRelay(server.address);
  const client = new SSLClient(pki.clientSslconfig, relay.address, { timeout: 60 });
  return {
    relay,
    conn: await client.connect(),
    requested: requested.promise,
    async [Symbol.asyncDispose]() {
      await relay[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}

Deno.test("a client sends HTTP as application data, and an alert before it closes a connection", async (t) => {
  const rows: [label: string, close: (conn: Connection) => Promise<void> | void][] = [
    ["at rest", (conn) => conn.close()],
    ["in the body of a response", async (conn) => {
      await conn.get("/cut");
      conn.close();
    }],
    ["after connection: close", async (conn) => {
      await (await conn.get("/", { connection: "close" })).text();
    }],
  ];
  await testEachRow(t, rows, async (_label, close) => {
    await using connected = await connectThrough();
    const { relay, conn } = connected;
    assertEquals(await (await conn.get("/")).text(), "hi");
    assertEquals(conn.sock.protocol, "TLSv1.2");
    await close(conn);
    assertEquals(await relay.fromClient.ended, "end");
    assertEquals(relay.fromClient.types, [APPLICATION_DATA, ALERT]);
    assert(!relay.fromClient.text.includes("GET"));
  });
});

Deno.test("a client that abandons a request sends no alert, and resets its connection", async () => {
  await using connected = await connectThrough();
  const { relay, conn, requested } = connected;
  const stop = new AbortController();
  const response = conn.get("/silent", {}, { signal: stop.signal }).catch(() => {});
  await withTimeout(requested, "the server has the request");
  stop.abort();
  await response;
  assertEquals(await relay.fromClient.ended, "reset");
  assertEquals(relay.fromClient.types, [APPLICATION_DATA]);
});

/** Connects a client of `node:tls`. */
async function connectTls(relay: RecordRelay): Promise<tls.TLSSocket> {
  const port = Number(relay.address[1]);
  const identity = await readIdentity(pki);
  const socket = tls.connect({ host: "127.0.0.1", port, ...identity, ...TLS_1_2 });
  await withTimeout(once(socket, "secureConnect"), "the handshake ends");
  return socket;
}

Deno.test("a server sends HTTP as application data, and an alert before it closes a session", async (t) => {
  const rows: [label: string, header: string, close: (endpoint: TlsEndpoint) => void][] = [
    ["after connection: close", "connection: close\r\n", () => {}],
    ["close() while it is idle", "", ({ server }) => server.close()],
    ["close() of the session", "", ({ server }) => [...server.sessions][0]!.close()],
  ];
  await testEachRow(t, rows, async (_label, header, close) => {
    await using endpoint = await startTls(pki, () => [200, "OK", {}, "hi"]);
    await using relay = new RecordRelay(endpoint.server.address);
    const socket = await connectTls(relay);
    const received = once(socket, "data");
    socket.write(`GET / HTTP/1.1\r\n${header}\r\n`);
    await withTimeout(received, "a response");
    close(endpoint);
    assertEquals(await relay.fromServer.ended, "end");
    assertEquals(relay.fromServer.types, [APPLICATION_DATA, ALERT]);
    assert(!relay.fromServer.text.includes("HTTP/1.1"));
    socket.destroy();
  });
});

Deno.test("a server sends no alert if a session is closed in the middle of a response", async () => {
  let pieces = 0;
  const makeEndlessPieces = function* () {
    for (;; pieces++) yield new Uint8Array(262144);
  };
  const app = () => [200, "OK", {}, new BodyIter(makeEndlessPieces(), 2 ** 40)] as const;
  await using endpoint = await startTls(pki, app);
  await using relay = new RecordRelay(endpoint.server.address);
  const socket = await connectTls(relay);
  const { promise, resolve } = Promise.withResolvers<void>();
  relay.released = promise;
  socket.on("error", () => {});
  socket.write("GET / HTTP/1.1\r\n\r\n");
  // The server waits for the network when the number of pieces no longer grows.
  for (let previousPieces = -1, unchangedTicks = 0; unchangedTicks < 20;) {
    await waitForTick();
    unchangedTicks = previousPieces === pieces && pieces > 0 ? unchangedTicks + 1 : 0;
    previousPieces = pieces;
  }
  [...endpoint.server.sessions][0]!.close();
  resolve();
  await relay.fromServer.ended;
  assertEquals(relay.fromServer.types, [APPLICATION_DATA]);
  socket.destroy();
});
