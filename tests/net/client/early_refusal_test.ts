/**
 * Responses that a server sends before the first request: a server without a free slot writes an
 * error as soon as it has accepted a connection, and closes.
 */
import { assert, assertEquals, assertInstanceOf, assertStringIncludes } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { createFetch, ProxyApp } from "@degu/degu";
import { type BodyOut, ConnectionError, type Method, ProtocolError } from "@degu/degu/base";
import { Client, type Connection, ConnectionPool, isTransient, retry } from "@degu/degu/client";
import { catchRejection } from "@degu/testing/expectations.ts";
import { type RawPeer, RawServer, waitForTick } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";
import { TrackedStream } from "@degu/testing/streams.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { openSharedPki, serveRaw } from "@degu/testing/tls_endpoints.ts";

const BUSY = "HTTP/1.1 503 Busy\r\n";
const CLOSE = "connection: close\r\n";

/** Connects, and waits until the bytes, and perhaps the end, have arrived before a request. */
async function connectAfter(
  server: RawServer,
  bytes: string,
  end: "open" | "end",
  timeout: number | null = 60,
): Promise<{ conn: Connection; peer: RawPeer }> {
  const conn = await new Client(server.address, { host: null, timeout }).connect();
  const peer = await server.accept();
  await peer.send(bytes);
  if (end === "end") await peer.closeWrite();
  await waitForTick();
  return { conn, peer };
}

/** Bytes that are the response to the first request, with the body of the response. */
const REFUSALS: readonly (readonly [bytes: string, end: "open" | "end", body: string])[] = [
  [`${BUSY}${CLOSE}content-length: 0\r\n\r\n`, "open", ""],
  [`${BUSY}${CLOSE}content-length: 4\r\n\r\nbusy`, "open", "busy"],
  [`${BUSY}${CLOSE}content-length: 4\r\n\r\nbusy`, "end", "busy"],
  [`${BUSY}connection: x, Close\r\ncontent-length: 4\r\n\r\nbusy`, "open", "busy"],
  [`${BUSY}content-length: 4\r\n\r\nbusy`, "end", "busy"],
  [`${BUSY}transfer-encoding: chunked\r\n\r\n4\r\nbusy\r\n0\r\n\r\n`, "end", "busy"],
  [`${BUSY}\r\nbusy`, "end", "busy"],
  ["HTTP/1.0 503 Busy\r\n\r\nbusy", "end", "busy"],
  [`HTTP/1.1 400 No\r\n${CLOSE}content-length: 0\r\n\r\n`, "open", ""],
  [`HTTP/1.1 599 No\r\n${CLOSE}content-length: 0\r\n\r\n`, "open", ""],
  // The connection ends behind the response: what follows isn't used.
  [
    `${BUSY}${CLOSE}content-length: 4\r\n\r\nbusyHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n`,
    "open",
    "busy",
  ],
];

const REQUESTS: readonly (readonly [method: Method, body: BodyOut])[] = [
  ["GET", null],
  ["HEAD", null],
  ["DELETE", null],
  ["PUT", "hello"],
  ["POST", new Uint8Array(1_000_000)],
];

Deno.test("an error response before the first request is its response if the connection ends behind it, and the request isn't sent", async () => {
  using server = new RawServer();
  for (const [bytes, end, text] of REFUSALS) {
    for (const [method, body] of REQUESTS) {
      // A response to HEAD has no body.
      if (method === "HEAD" && text !== "") continue;
      const { conn, peer } = await connectAfter(server, bytes, end);
      const response = await conn.request(method as "PUT", "/", {}, body);
      assertEquals([response.status, await response.text()], [Number(bytes.slice(9, 12)), text]);
      assert(conn.closed, bytes);
      assertStringIncludes(`${await catchRejection(conn.get("/"), bytes)}`, "refused it before");
      if (end === "open") await peer.assertClosedSilently(bytes);
    }
  }
});

/** Bytes before the first request that are no response to it. */
const EXCESS: readonly (readonly [bytes: string, end: "open" | "end"])[] = [
  // A success must never make a request look done.
  [`HTTP/1.1 200 OK\r\n${CLOSE}content-length: 0\r\n\r\n`, "end"],
  [`HTTP/1.1 201 Created\r\n${CLOSE}content-length: 0\r\n\r\n`, "open"],
  [`HTTP/1.1 204 No\r\n${CLOSE}\r\n`, "end"],
  [`HTTP/1.1 302 Found\r\n${CLOSE}location: /\r\n\r\n`, "end"],
  [`HTTP/1.1 399 x\r\n${CLOSE}\r\n`, "end"],
  // An interim response.
  [`HTTP/1.1 100 Continue\r\n\r\n${BUSY}${CLOSE}content-length: 0\r\n\r\n`, "end"],
  // The connection would go on.
  [`HTTP/1.1 400 Bad\r\ncontent-length: 0\r\n\r\n`, "open"],
  [`${BUSY}content-length: 4\r\n\r\nbusy`, "open"],
  [`${BUSY}content-length: 4\r\n\r\nbusy${BUSY}content-length: 0\r\n\r\n`, "open"],
  // Half a preamble, and no preamble.
  [`${BUSY}${CLOSE}`, "open"],
  [`${BUSY}${CLOSE}content-length: 0\r\n`, "end"],
  [BUSY.slice(0, 8), "open"],
  ["x", "open"],
  ["\r\n\r\n", "end"],
  ["220 ftp.example ready\r\n", "open"],
  // Invalid preambles.
  [`${BUSY}${CLOSE}content-length: 0\r\ncontent-length: 0\r\n\r\n`, "end"],
  [`${BUSY}${CLOSE}content-length: 0\r\ntransfer-encoding: chunked\r\n\r\n`, "end"],
  [`HTTP/1.1 503 Busy\n${CLOSE}\n`, "end"],
];

Deno.test("any other bytes before the first request are EXCESS_BYTES with the first line, which is transient, and no byte is sent", async () => {
  using server = new RawServer();
  for (const [bytes, end] of EXCESS) {
    for (const [method, body] of REQUESTS) {
      const { conn, peer } = await connectAfter(server, bytes, end);
      const requesting = conn.request(method as "PUT", "/", {}, body);
      const error = await catchRejection(requesting, bytes);
      assertInstanceOf(error, ProtocolError, bytes);
      assertEquals([error.code, isTransient(error)], ["EXCESS_BYTES", true], `${method} ${bytes}`);
      const [line = ""] = bytes.split(/\r?\n/);
      assertStringIncludes(error.message, JSON.stringify(line).slice(1, -1));
      assert(conn.closed);
      peer.close();
    }
  }
});

Deno.test("on a used connection, an error response without a request is EXCESS_BYTES, which is transient, and names the first line", async () => {
  using server = new RawServer();
  for (const method of ["GET", "PUT"] as const) {
    const { conn, peer } = await connectAfter(server, "", "open");
    const requesting = conn.get("/");
    await peer.respond("HTTP/1.1 204 No\r\n\r\n");
    await requesting;
    await peer.send(`${BUSY}${CLOSE}content-length: 0\r\n\r\n`);
    await waitForTick();
    const error = await catchRejection(conn.request(method, "/"), method);
    assertInstanceOf(error, ProtocolError);
    assertEquals([error.code, isTransient(error)], ["EXCESS_BYTES", true]);
    assertStringIncludes(error.message, "HTTP/1.1 503 Busy");
  }
});

Deno.test("on a used connection, bytes that begin no response to a sent request are EXCESS_BYTES, which isn't transient", async () => {
  using server = new RawServer();
  for (const method of ["GET", "PUT"] as const) {
    const { conn, peer } = await connectAfter(server, "", "open");
    const responding = conn.get("/");
    await peer.respond("HTTP/1.1 204 No\r\n\r\n");
    await responding;
    const failing = catchRejection(conn.request(method, "/"), method);
    await peer.readPreamble();
    await peer.send("Hello");
    const error = await failing;
    assertInstanceOf(error, ProtocolError);
    assertEquals([error.code, isTransient(error)], ["EXCESS_BYTES", false]);
  }
});

Deno.test("a body that is cut, or broken, in a response before the first request is an error", async () => {
  using server = new RawServer();
  const rows = [
    [`${BUSY}${CLOSE}content-length: 9\r\n\r\nbusy`, "BODY_INCOMPLETE"],
    [`${BUSY}transfer-encoding: chunked\r\n\r\n4\r\nbusy\r\n`, "BODY_INCOMPLETE"],
    [`${BUSY}transfer-encoding: chunked\r\n\r\nx\r\n`, "BAD_CHUNK_LINE"],
  ] as const;
  for (const [bytes, code] of rows) {
    const { conn } = await connectAfter(server, bytes, "end");
    const response = await conn.put("/", {}, "hello");
    assertEquals(response.status, 503);
    const error = await catchRejection(response.text(), bytes);
    assert(error instanceof ProtocolError || error instanceof ConnectionError);
    assertEquals(error.code, code);
  }
});

Deno.test("the body of a request that was answered before it is canceled, and its source isn't read", async () => {
  using server = new RawServer();
  const { conn } = await connectAfter(server, `${BUSY}${CLOSE}content-length: 0\r\n\r\n`, "open");
  const source = new TrackedStream([encodeLatin1("hello")]);
  assertEquals((await conn.put("/", {}, source.stream)).status, 503);
  assert(source.isCanceled);
  await conn.requestSent;
});

Deno.test("an abort ends the wait for the end of the connection behind an error response before the first request, at once", async () => {
  using server = new RawServer();
  const bytes = `${BUSY}content-length: 4\r\n\r\nbusy`;
  for (const [method, body] of [...REQUESTS, ["POOL", "hello"]] as const) {
    // Fake time can't end the interval of a time-out.
    const { conn, peer } = await connectAfter(server, bytes, "open", null);
    // A pool keeps no connection with such bytes.
    const pool = new ConnectionPool({ connect: () => Promise.resolve(conn) });
    const requester = method === "POOL" ? pool : conn;
    const reason = new Error("stop");
    const controller = new AbortController();
    {
      // Without the abort, the wait would end after a time that doesn't pass here.
      using _time = new FakeTime();
      const { signal } = controller;
      const sentMethod = method === "POOL" ? "POST" : method as "PUT";
      const requesting = requester.request(sentMethod, "/", {}, body, { signal });
      const outcome = catchRejection(requesting, method);
      await waitForTick();
      controller.abort(reason);
      assertEquals(await outcome, reason);
    }
    if (requester === conn) conn.close();
    await peer.assertClosedSilently(method);
  }
});

Deno.test("over TLS, an error response before the first request is its response", async () => {
  const pki = await openSharedPki();
  await using server = await serveRaw(pki, (socket) => {
    socket.end(`${BUSY}${CLOSE}content-length: 4\r\n\r\nbusy`);
  });
  for (let i = 0; i < 5; i++) {
    const conn = await server.client.connect();
    await waitForTick();
    const response = await conn.put("/", {}, "hello");
    assertEquals([response.status, await response.text()], [503, "busy"]);
  }
});

/** Runs a server at its limit: it responds to each connection at once, and closes. */
function serveBusy(limit: number) {
  const server = new RawServer();
  let count = 0;
  const serving = (async () => {
    for (;;) {
      let peer;
      try {
        peer = await server.accept();
      } catch {
        return;
      }
      const isBusy = count++ < limit;
      if (isBusy) await peer.send(`${BUSY}content-length: 4\r\n\r\nbusy`).catch(() => {});
      else {await peer.respond(`HTTP/1.1 200 OK\r\n${CLOSE}content-length: 2\r\n\r\nok`).catch(
          () => {},
        );}
      peer.close();
    }
  })();
  return {
    address: server.address,
    get count() {
      return count;
    },
    async [Symbol.asyncDispose]() {
      server[Symbol.dispose]();
      await serving;
    },
  };
}

Deno.test("each response of a server at its limit arrives: through a client, a pool, fetch, and two proxies", async () => {
  await using server = serveBusy(Infinity);
  const client = new Client(server.address, { timeout: 30 });
  await using pool = new ConnectionPool(client);
  await using proxy = serve(new ProxyApp(client));
  await using secondProxy = serve(new ProxyApp(proxy.makeClient()));
  const requesters = [client, pool, proxy.makeClient(), secondProxy.makeClient()];
  for (let i = 0; i < 10; i++) {
    for (const requester of requesters) {
      const response = await requester.get("/");
      assertEquals([response.status, await response.text()], [503, "busy"]);
    }
    const response = await createFetch(client)("/");
    assertEquals([response.status, await response.text()], [503, "busy"]);
  }
});

Deno.test("retry repeats a request that a server at its limit has refused", async () => {
  await using server = serveBusy(2);
  const client = new Client(server.address, { timeout: 30 });
  const text = await retry(async () => {
    const response = await client.get("/");
    return response.ok ? await response.text() : response;
  }, { seconds: 0.001 });
  assertEquals([text, server.count], ["ok", 3]);
});

Deno.test("an error that arrives while a pool keeps an unused connection is not the response to a later request", async () => {
  using server = new RawServer();
  await using pool = new ConnectionPool(new Client(server.address, { host: null, timeout: 60 }));
  await pool.peer();
  const first = await server.accept();
  await first.send(`HTTP/1.1 408 Request Timeout\r\n${CLOSE}content-length: 0\r\n\r\n`);
  await first.closeWrite();
  await waitForTick();
  const response = pool.post("/", {}, "hello");
  const second = await server.accept();
  await second.readUntil("hello");
  await second.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
  assertEquals((await response).status, 200);
});
