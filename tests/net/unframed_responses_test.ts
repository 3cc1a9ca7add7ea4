/** Responses with neither length nor chunks, which end with their connection (RFC 9112 §6.3). */
import { once } from "node:events";
import * as net from "node:net";
import type * as tls from "node:tls";
import { assert, assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import {
  BodyError,
  type ChunkedBody,
  ConnectionClosedError,
  ProtocolError,
  type Response,
} from "@degu/degu/base";
import {
  Client,
  type ClientOptions,
  Connection,
  ConnectionPool,
  describeConnectionError,
  isTransient,
} from "@degu/degu/client";
import { connect } from "@degu/testing/connected.ts";
import { assertProtocolRejection, catchRejection } from "@degu/testing/expectations.ts";
import { connectThrough, serveProxy } from "@degu/testing/proxies.ts";
import { RawPeer, RawServer, waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { serveNodeTls, serveRaw } from "@degu/testing/raw_tls.ts";
import { openSharedPki } from "@degu/testing/tls_endpoints.ts";
import { readTexts } from "@degu/testing/tls_configs.ts";

const HEAD = "HTTP/1.1 200 OK\r\nx: y\r\n\r\n";
const EMPTY = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

function unframedBodyOf(response: Response): ChunkedBody {
  const { body } = response;
  assert(body !== null && body.chunked, "the body is chunked");
  assertEquals(body.endsWithConnection, true);
  return body;
}

/** Connects, responds without framing, and returns the response. */
async function receiveUnframed(text: string, options?: ClientOptions) {
  const pair = await connect(options);
  const response = await pair.answer(HEAD + text);
  return {
    ...pair,
    response,
    body: unframedBodyOf(response),
    [Symbol.dispose]: () => void pair[Symbol.dispose](),
  };
}

/** Responds to one request, and resets its connection when the promise resolves. */
async function serveReset(bytes: string, resetPromise: Promise<unknown>) {
  const server = net.createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => socket.write(bytes));
    resetPromise.then(() => socket.resetAndDestroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  return {
    address: ["127.0.0.1", port] as const,
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      await withTimeout(closed, "node:net closes");
    },
  };
}

// ───────────────────────── the end of the body

const READS: Readonly<Record<string, (body: ChunkedBody) => Promise<string>>> = {
  text: (body) => body.text(),
  readChunk: async (body) => {
    let text = "";
    for (;;) {
      const [extension, data] = await body.readChunk();
      assertEquals(extension, null);
      if (data.length === 0) return text;
      text += new TextDecoder("latin1").decode(data);
    }
  },
  iteration: async (body) => {
    let text = "";
    for await (const [, data] of body) text += new TextDecoder("latin1").decode(data);
    return text;
  },
  readable: (body) => new globalThis.Response(body.readable).text(),
};

Deno.test("a body without framing has all bytes up to the end of the connection, which is not used again", async (t) => {
  const texts = ["", "hello", EMPTY, "5\r\nhello\r\n0\r\n\r\n", "x".repeat(3_000_000)];
  for (const [label, read] of Object.entries(READS)) {
    for (const text of texts) {
      await t.step(`${label}, ${text.length} bytes`, async () => {
        using pair = await connect();
        const responding = pair.conn.get("/");
        await pair.peer.respond(HEAD);
        const response = await responding;
        const reading = read(unframedBodyOf(response));
        await pair.peer.send(text);
        await pair.peer.closeWrite();
        assertEquals(await reading === text, true);
        assertEquals(pair.conn.closed, true);
        await pair.peer.assertClosedSilently();
      });
    }
  }
});

Deno.test("only the end of the connection ends a body without framing, however its bytes arrive", async () => {
  const bytes = HEAD + "hello";
  for (let at = 0; at <= bytes.length; at++) {
    using pair = await connect();
    const result = pair.conn.get("/").then((response) => unframedBodyOf(response).text());
    result.catch(() => {});
    await pair.peer.respond(...bytes.slice(0, at));
    await pair.peer.closeWrite();
    if (at >= HEAD.length) {
      assertEquals(await result, bytes.slice(HEAD.length, at));
      continue;
    }
    const codes = [at === 0 ? "EMPTY_PREAMBLE" : "PREAMBLE_INCOMPLETE"];
    await assertProtocolRejection(result, codes, `cut after ${at} bytes`);
  }
});

Deno.test("a reset that a write of the request reports is not the end of a body without framing", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  await using server = await serveReset(HEAD + "half", promise);
  using conn = await new Client(server.address, { timeout: 60 }).connect();
  const resumed = Promise.withResolvers<void>();
  async function* makePieces() {
    yield "x";
    await resumed.promise;
    // The system reports the reset to one of these writes, and then the end to reads.
    for (let i = 0; i < 3; i++) yield "x";
  }
  const body = unframedBodyOf(await conn.put("/", {}, makePieces(), { duplex: "full" }));
  resolve();
  await waitForTick();
  resumed.resolve();
  await conn.requestSent;
  await assertProtocolRejection(body.text(), ["BODY_INCOMPLETE"], "a body that was reset");
});

Deno.test("a reset within a body without framing is BODY_INCOMPLETE, and transient", async (t) => {
  for (const text of ["", "hello"]) {
    for (const isPending of [false, true]) {
      await t.step(
        `after ${text.length} bytes, ${isPending ? "during" : "before"} a read`,
        async () => {
          const { promise, resolve } = Promise.withResolvers<void>();
          await using server = await serveReset(HEAD + text, promise);
          using conn = await new Client(server.address, { timeout: 60 }).connect();
          const body = unframedBodyOf(await conn.get("/"));
          if (!isPending) resolve();
          const reading = catchRejection(body.text(), "a body that is reset");
          resolve();
          const error = await reading;
          assertInstanceOf(error, ProtocolError);
          assertEquals([error.code, isTransient(error)], ["BODY_INCOMPLETE", true]);
          assert(error.message.includes("reset"), error.message);
          assertEquals(conn.closed, true);
        },
      );
    }
  }
});

// ───────────────────────── the connection

Deno.test("after a body without framing, a request fails with the reason; before its end, the body is unread", async () => {
  using pair = await receiveUnframed("hello");
  await assertRejects(() => pair.conn.get("/"), BodyError, "has not been read to its end");
  await pair.peer.closeWrite();
  assertEquals(await pair.body.text(), "hello");
  const error = await assertRejects(() => pair.conn.get("/"), ConnectionClosedError);
  assert(!error.message.includes("had connection: close"), error.message);
  assert(error.message.includes("the server's last response"), error.message);
});

Deno.test("a pool makes a new connection after a response without framing", async () => {
  using server = new RawServer();
  await using pool = new ConnectionPool(new Client(server.address, { host: null, timeout: 60 }));
  for (let i = 0; i < 3; i++) {
    const [response] = await Promise.all([
      pool.get("/"),
      server.respond(HEAD + i).then((peer) => peer.closeWrite()),
    ]);
    assertEquals(await response.text(), `${i}`);
  }
});

Deno.test("a time-out within a body without framing names unframedNull; within another body it doesn't", async () => {
  for (const text of ["", "hello"]) {
    using pair = await receiveUnframed(text, { timeout: 0.3 });
    const error = await assertRejects(() => pair.body.text(), Deno.errors.TimedOut);
    assertEquals(describeConnectionError(error)?.fault, "timed out");
    assertEquals(
      error.message,
      "the peer kept the connection waiting for over 0.3 s: the server keeps the connection open, " +
        "whose end would be the end of the body; if it is Python Degu, set unframedNull: true",
    );
    assertEquals(pair.conn.closed, true);
  }
  using pair = await connect({ timeout: 0.3 });
  const response = await pair.answer("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
  const error = await assertRejects(() => response.text(), Deno.errors.TimedOut);
  assert(!error.message.includes("unframedNull"), error.message);
});

Deno.test("with unframedNull a response without framing has no body, and bytes after it are refused", async () => {
  using pair = await connect({ unframedNull: true });
  for (let i = 0; i < 2; i++) assertEquals((await pair.answer(HEAD)).body, null);
  assertEquals(pair.conn.closed, false);
  await assertProtocolRejection(pair.answer(HEAD + "hello"), ["UNFRAMED_BODY"], "a body");
  assertEquals(pair.conn.closed, true);
});

// ───────────────────────── uploads, bridges, TLS

for (const duplex of ["half", "full"] as const) {
  Deno.test(`duplex ${duplex}: a response without framing that ends during an upload ends the upload`, async () => {
    using pair = await connect();
    let cancelCount = 0;
    const upload = new ReadableStream<Uint8Array>({ cancel: () => void cancelCount++ });
    const result = pair.conn.put("/", {}, upload, { duplex }).then((response) => response.text());
    await pair.peer.respond(HEAD + "hello");
    await pair.peer.closeWrite();
    assertEquals(await withTimeout(result, "the response ends", 20), "hello");
    await pair.peer.readToEnd();
    assertEquals([cancelCount, pair.conn.closed], [1, true]);
  });
}

Deno.test("ProxyApp forwards a body without framing in chunks, and its connection is used again", async () => {
  await using pair = await connectThrough();
  await pair.clientPeer.send("GET / HTTP/1.1\r\n\r\n");
  const peer = await pair.upstream.respond(HEAD + "hello");
  const head = await pair.clientPeer.readPreamble();
  assert(head.includes("transfer-encoding: chunked\r\n"), head);
  assertEquals(await pair.clientPeer.readUntil("hello\r\n"), "5\r\nhello\r\n");
  await peer.closeWrite();
  assertEquals(await pair.clientPeer.readUntil("\r\n\r\n"), "0\r\n\r\n");
  await pair.clientPeer.send("GET / HTTP/1.1\r\n\r\n");
  await pair.upstream.respond(EMPTY);
  assertEquals(await pair.clientPeer.readPreamble(), EMPTY);
});

Deno.test("ProxyApp cuts its response if a body without framing is reset", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  await using server = await serveReset(HEAD + "hello", promise);
  await using proxy = serveProxy(server.address);
  using peer = await RawPeer.connect(proxy.address, "GET / HTTP/1.1\r\n\r\n");
  await peer.readUntil("hello\r\n");
  resolve();
  await peer.assertClosedSilently();
});

/** Responds without framing, and ends the connection or keeps it open. */
function respondOverTls(end: "end" | "open") {
  return (socket: tls.TLSSocket) => {
    socket.once("data", () => {
      socket.write(HEAD + "hello", () => {
        if (end === "end") socket.end();
      });
    });
  };
}

Deno.test("over TLS a response without framing is UNFRAMED_BODY, and closes the connection", async (t) => {
  const pki = await openSharedPki();
  for (const end of ["end", "open"] as const) {
    await t.step(end, async () => {
      await using server = await serveRaw(pki, respondOverTls(end));
      using conn = await server.client.connect();
      const error = await assertRejects(() => conn.get("/"), ProtocolError);
      assertEquals(error.code, "UNFRAMED_BODY");
      assert(error.message.includes("(status 200)"), error.message);
      assert(error.message.includes("over TLS"), error.message);
      assertEquals(conn.closed, true);
    });
  }
});

Deno.test("over a connection of Deno.connectTls, a response without framing is UNFRAMED_BODY", async () => {
  const pki = await openSharedPki();
  const { ca } = await readTexts(pki.clientSslconfig);
  const serverTexts = await readTexts(pki.serverSslconfig);
  await using server = await serveNodeTls(serverTexts, respondOverTls("end"));
  const [hostname, port] = server.address;
  const sock = await Deno.connectTls({ hostname, port, caCerts: [ca] });
  using conn = new Connection(sock, null, undefined, 60);
  await assertProtocolRejection(conn.get("/"), ["UNFRAMED_BODY"], "the request");
});
