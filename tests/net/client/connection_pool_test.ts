/** A pool of connections: reuse, replacement, and waiting requests. */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  bodies,
  Body,
  BodyIter,
  ChunkedBodyIter,
  ConnectionClosedError,
  ConnectionError,
  EmptyPreambleError,
  type Method,
  Response,
} from "@degu/degu/base";
import {
  Client,
  type Connection,
  ConnectionPool,
  type ConnectionPoolOptions,
  type Connector,
  type Requester,
} from "@degu/degu/client";
import type { AppFunction, Request, ServerOptions, Session } from "@degu/degu/server";
import { isTransient } from "@degu/degu";
import { timeoutOf } from "@degu/internal/net/client/connection_pool.ts";
import { captureTimeouts, speedUpTimeouts, stopPerformanceClock } from "@degu/testing/clock.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { RawServer, waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import { openSharedPki, startTls } from "@degu/testing/tls_endpoints.ts";

/** Starts a server that counts its sessions, and makes a pool of connections to it. */
function setUp(
  handle: AppFunction = ({ uri }) => [200, "OK", {}, uri],
  options: ConnectionPoolOptions = {},
  serverOptions: ServerOptions = {},
) {
  const sessions: Session[] = [];
  const onConnect = (session: Session) => sessions.push(session) > 0;
  const serving = serve({ handle, onConnect }, serverOptions);
  const pool = new ConnectionPool(serving.makeClient(), options);
  return {
    sessions,
    pool,
    async [Symbol.asyncDispose]() {
      await pool.close();
      await serving[Symbol.asyncDispose]();
    },
  };
}

const EMPTY_200 = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
/** A body that is too long for a pool to prefetch. */
const longBody = new Uint8Array(200_000);
const readText = async (response: Promise<Response>) => await (await response).text();

for (const maxConnections of [1, 3, Infinity]) {
  Deno.test(`with at most ${maxConnections} connections, each carries one request at a time, and other requests wait in order`, async () => {
    let running = 0;
    let maxRunning = 0;
    const receivedUris: string[] = [];
    await using test = setUp(async ({ uri }) => {
      receivedUris.push(uri);
      maxRunning = Math.max(maxRunning, ++running);
      await waitForTick();
      running--;
      return [200, "OK", {}, uri];
    }, { maxConnections });
    const uris = Array.from({ length: 12 }, (_, i) => `/${i}`);
    const texts = uris.map((uri) => readText(test.pool.request("GET", uri)));
    assertEquals(await Promise.all(texts), uris);
    assert(
      maxRunning <= maxConnections && test.sessions.length <= Math.min(maxConnections, 12),
      `${maxRunning} at a time`,
    );
    if (maxConnections === 1) assertEquals(receivedUris, uris);
  });
}

Deno.test("a pool opens four connections by default, and a further request waits until one is free", async () => {
  await using test = setUp(({ uri }) => [200, "OK", {}, uri === "/" ? longBody : uri]);
  const unreadResponses = [];
  for (let i = 0; i < 4; i++) unreadResponses.push(await test.pool.request("GET", "/"));
  let isWaiting = true;
  const fifthText = readText(test.pool.request("GET", "/fifth")).finally(() => isWaiting = false);
  for (let i = 0; i < 3; i++) await waitForTick();
  assertEquals([isWaiting, test.sessions.length], [true, 4]);
  // A wrong argument doesn't wait.
  await assertRejects(() => test.pool.get("no path"), RangeError);
  await unreadResponses[2]!.bytes();
  assertEquals([await fifthText, test.sessions.length], ["/fifth", 4]);
});

const endings: [string, (response: Response) => Promise<unknown>, isKept: boolean][] = [
  ["readable", (response) => response.body!.readable.pipeTo(new WritableStream()), true],
  ["writeTo()", (response) => response.body!.writeTo(new WritableStream()), true],
  ["cancel()", (response) => response.body!.cancel(), false],
];

for (const kind of ["Body", "ChunkedBody"] as const) {
  Deno.test(`a connection is free again when the ${kind} of its response has ended`, async (t) => {
    await using test = setUp(
      () => [200, "OK", {}, kind === "Body" ? longBody : makeChunkedBody()],
      { maxConnections: 1 },
    );
    await testEachRow(t, endings, async (_name, endBody, isKept) => {
      const response = await test.pool.request("GET", "/");
      const sessionCountBefore = test.sessions.length;
      const nextRequest = test.pool.request("GET", "/");
      await endBody(response);
      await (await withTimeout(nextRequest, "a connection")).text();
      assertEquals(test.sessions.length - sessionCountBefore, isKept ? 0 : 1);
    });
  });
}

Deno.test("a pool prefetches a body of at most 64 KiB, and frees its connection", async (t) => {
  for (const [length, isPrefetched] of [[1, true], [65536, true], [65537, false]] as const) {
    await t.step(`${length} bytes`, async () => {
      const sentBytes = new Uint8Array(length).fill(7);
      await using test = setUp(() => [200, "OK", {}, sentBytes], { maxConnections: 1 });
      const firstResponse = await test.pool.request("GET", "/");
      let isWaiting = true;
      const secondRequest = test.pool.request("GET", "/").finally(() => isWaiting = false);
      if (!isPrefetched) {
        for (let i = 0; i < 9; i++) await waitForTick();
        assertEquals([firstResponse.body!.used, isWaiting], [false, true]);
        await firstResponse.bytes();
      }
      const secondResponse = await withTimeout(secondRequest, "a connection");
      if (isPrefetched) assertEquals(await firstResponse.bytes(), sentBytes);
      assertEquals(await secondResponse.bytes(), sentBytes);
      assertEquals(test.sessions.length, 1);
    });
  }
});

// ───────────────────────── unread responses

Deno.test("a request that waits for responses that are never read fails after the client's timeout", async () => {
  await using serving = serve(() => [200, "OK", {}, longBody]);
  await using pool = new ConnectionPool(serving.makeClient({ timeout: 0.2 }), {
    maxConnections: 2,
  });
  const unreadResponses = [await pool.request("GET", "/"), await pool.request("GET", "/")];
  const waitingRequests = [pool.request("GET", "/"), pool.request("GET", "/")];
  // The others still fail after a request that no longer waits.
  const controller = new AbortController();
  const abortedRequest = pool.get("/", {}, { signal: controller.signal });
  controller.abort(new Error("enough"));
  await assertRejects(() => abortedRequest, Error, "enough");
  for (const request of waitingRequests) {
    const error = await catchRejection(withTimeout(request, "a time-out"), "unread responses");
    assert(error instanceof ConnectionError);
    assertStringIncludes(error.message, "all connections of the pool");
    assertEquals(isTransient(error), false);
  }
  // The pool continues once a response has ended.
  await unreadResponses[0]!.discard();
  await (await pool.request("GET", "/")).discard();
  await unreadResponses[1]!.discard();
});

/** A sink that never takes a byte. */
const fullSink = { write: () => new Promise<never>(() => {}) };
const beginReading: Record<string, (body: Body) => unknown> = {
  "read() with a size": (body) => body.read(4),
  "writeTo() to a sink that is full": (body) => void body.writeTo(fullSink).catch(() => {}),
};
const POOL_TIMEOUT = 50;

for (const [name, read] of Object.entries(beginReading)) {
  Deno.test(`a request that waits for a response that is half-read by ${name} fails after the client's timeout`, async () => {
    await using serving = serve(() => [200, "OK", {}, longBody]);
    const client = serving.makeClient({ timeout: POOL_TIMEOUT });
    await using pool = new ConnectionPool(client, { maxConnections: 1 });
    const response = await pool.request("GET", "/");
    await read(response.body as Body);
    using timeouts = captureTimeouts(POOL_TIMEOUT * 1000);
    const waitingRequest = catchRejection(pool.request("GET", "/"), "a half-read response");
    // A time-out in which the sink got its first bytes is progress.
    while (timeouts.end() === 1) await waitForTick();
    const error = await withTimeout(waitingRequest, "a time-out");
    assert(error instanceof ConnectionError);
    assertStringIncludes(error.message, "all connections of the pool");
    assertEquals(isTransient(error), false);
    // The response is unchanged, and the pool continues once it has ended.
    assertEquals(pool.inUse, 1);
    const nextRequest = pool.request("GET", "/");
    await response.body!.cancel();
    await (await nextRequest).discard();
  });
}

Deno.test("a request that waits fails a time-out after the start of the last response", async () => {
  using server = new RawServer();
  const client = new Client(server.address, { timeout: POOL_TIMEOUT });
  await using pool = new ConnectionPool(client, { maxConnections: 1 });
  const responding = pool.get("/");
  const peer = await server.accept();
  await peer.readPreamble();
  using timeouts = captureTimeouts(POOL_TIMEOUT * 1000);
  const waitingRequest = catchRejection(pool.get("/"), "an unread response");
  await peer.send("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n");
  await responding;
  assertEquals(timeouts.end(), 1);
  const error = await withTimeout(waitingRequest, "a time-out");
  assertStringIncludes(`${error}`, "all connections of the pool");
});

Deno.test("a request waits as long as a response is read", async () => {
  await using serving = serve(() => [200, "OK", {}, longBody]);
  const client = serving.makeClient({ timeout: POOL_TIMEOUT });
  await using pool = new ConnectionPool(client, { maxConnections: 2 });
  const readResponse = await pool.request("GET", "/");
  const unreadResponse = await pool.request("GET", "/");
  using timeouts = captureTimeouts(POOL_TIMEOUT * 1000);
  let isWaiting = true;
  const waitingRequest = pool.request("GET", "/").finally(() => isWaiting = false);
  for (let i = 0; i < 10; i++) {
    await (readResponse.body as Body).read(1);
    assertEquals(timeouts.end(), 1);
    for (let j = 0; j < 3; j++) await waitForTick();
    assertEquals(isWaiting, true);
  }
  await readResponse.body!.cancel();
  await (await waitingRequest).discard();
  await unreadResponse.body!.cancel();
});

Deno.test("a request that waits for a read doesn't fail while the read waits for the server", async () => {
  for (const isWrapped of [false, true]) {
    using server = new RawServer();
    const client = new Client(server.address, { timeout: POOL_TIMEOUT });
    const connector = isWrapped ? wrapConnections(client) : client;
    await using pool = new ConnectionPool(connector, { maxConnections: 1 });
    const responding = pool.get("/");
    const peer = await server.respond("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n");
    const body = (await responding).body as Body;
    const reading = body.read(4);
    using timeouts = captureTimeouts(POOL_TIMEOUT * 1000);
    const waiting = pool.get("/next");
    assertEquals([timeouts.end(), timeouts.end()], [1, 1]);
    await peer.send("1234");
    assertEquals((await reading).length, 4);
    await body.cancel();
    await server.respond(EMPTY_200);
    assertEquals((await waiting).status, 200);
  }
});

Deno.test("a request that waits for a request whose body stands still fails after the client's timeout", async () => {
  await using serving = serve(async (request) => [200, "OK", {}, await request.text()]);
  const client = serving.makeClient({ timeout: POOL_TIMEOUT });
  await using pool = new ConnectionPool(client, { maxConnections: 1 });
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const writer = writable.getWriter();
  const slowRequest = pool.post("/", {}, readable);
  using timeouts = captureTimeouts(POOL_TIMEOUT * 1000);
  let isWaiting = true;
  const waitingRequest = catchRejection(pool.request("GET", "/"), "a request that stands still")
    .finally(() => isWaiting = false);
  for (let i = 0; i < 3; i++) {
    await writer.write(new Uint8Array([0x61]));
    while (timeouts.end() === 0) await waitForTick();
    for (let j = 0; j < 3; j++) await waitForTick();
    assertEquals(isWaiting, true);
  }
  while (timeouts.end() === 1) for (let j = 0; j < 3; j++) await waitForTick();
  const error = await withTimeout(waitingRequest, "a time-out");
  assert(error instanceof ConnectionError);
  assertStringIncludes(error.message, "all connections of the pool");
  await writer.close();
  assertEquals(await readText(slowRequest), "aaa");
});

Deno.test("a POST isn't lost after the response of an app that doesn't read bodies", async () => {
  await using endpoint = await startTls(await openSharedPki(), () => [200, "OK", {}, "hello"]);
  await using pool = new ConnectionPool(endpoint.client);
  for (let i = 0; i < 20; i++) assertEquals(await readText(pool.post("/", {}, "unread")), "hello");
});

function makeChunkedBody() {
  return new ChunkedBodyIter([[null, new Uint8Array(5)], [null, new Uint8Array(0)]]);
}

Deno.test("a POST isn't lost if the event loop has seen the close of each connection", async () => {
  using server = new RawServer();
  await using pool = new ConnectionPool(new Client(server.address));
  for (let i = 0; i < 10; i++) {
    // The stream can't be sent again.
    const posting = pool.post("/", {}, new Blob(["hello"]).stream());
    using peer = await server.respond(EMPTY_200);
    assertEquals((await posting).status, 200);
    peer.close();
    for (let tick = 0; tick < 2; tick++) await waitForTick();
  }
});

Deno.test("a request that waits for a read of its connection checks its arguments, and can be aborted", async () => {
  using clock = stopPerformanceClock();
  using server = new RawServer();
  await using pool = new ConnectionPool(new Client(server.address));
  const get = pool.get("/");
  const peer = await server.respond(EMPTY_200);
  await get;
  clock.pass(1.001);
  using timeouts = speedUpTimeouts(() => false);
  await assertRejects(() => pool.post("/", { "Bad": "x" }, "hello"), RangeError, "Bad");
  assertEquals(timeouts.started, []);
  const controller = new AbortController();
  const post = pool.post("/", {}, "hello", { signal: controller.signal });
  controller.abort(new Error("enough"));
  await assertRejects(() => post, Error, "enough");
  const next = pool.post("/next", {}, "hello");
  assertStringIncludes(await peer.readPreamble(), "POST /next");
  await peer.send(EMPTY_200);
  assertEquals((await next).status, 200);
});

Deno.test("a pool lets the event loop read a connection before its reuse after more than a second", async () => {
  using clock = stopPerformanceClock();
  using server = new RawServer();
  await using pool = new ConnectionPool(new Client(server.address));
  const get = pool.get("/");
  const peer = await server.respond(EMPTY_200);
  await get;
  for (const method of ["GET", "POST"] as const) {
    for (const [idleSeconds, hasTimer] of [[0, false], [0.999, false], [1.001, true]] as const) {
      clock.pass(idleSeconds);
      using timeouts = speedUpTimeouts(() => false);
      const request = pool.request(method, "/");
      await peer.respond(EMPTY_200);
      assertEquals((await request).status, 200);
      assertEquals(timeouts.started.includes(0), hasTimer, `${method} after ${idleSeconds} s`);
    }
  }
});

Deno.test("a call of a pool that sends nothing doesn't prolong the announced time of a connection", async () => {
  using clock = stopPerformanceClock();
  using server = new RawServer();
  await using pool = new ConnectionPool(new Client(server.address));
  const first = pool.get("/");
  await server.respond("HTTP/1.1 200 OK\r\nkeep-alive: timeout=5\r\ncontent-length: 0\r\n\r\n");
  await first;
  clock.pass(3);
  await pool.peer();
  await assertRejects(() => pool.get("/", { "Bad": "x" }));
  clock.pass(1.5);
  const second = pool.get("/");
  await server.respond(EMPTY_200);
  assertEquals((await second).status, 200);
});

const keepAliveRows: [header: string, idleSeconds: number, isReused: boolean][] = [
  ["keep-alive: timeout=5", 3.999, true],
  ["keep-alive: timeout=5", 4.001, false],
  ["keep-alive: timeout=5, max=100", 4.1, false],
  ["keep-alive: max=100, Timeout=5", 4.1, false],
  ["x-header: timeout=5", 9, true],
];

Deno.test("a connection isn't reused when the server is about to close it, as it has announced", async (t) => {
  await testEachRow(t, keepAliveRows, async (header, idleSeconds, isReused) => {
    using clock = stopPerformanceClock();
    using server = new RawServer();
    await using pool = new ConnectionPool(new Client(server.address));
    const first = pool.get("/");
    const peer = await server.accept();
    await peer.readPreamble();
    // The time counts from the end of the response.
    clock.pass(60);
    await peer.send(`HTTP/1.1 200 OK\r\n${header}\r\ncontent-length: 0\r\n\r\n`);
    await first;
    clock.pass(idleSeconds);
    const second = pool.post("/", {}, "hello");
    if (isReused) await peer.respond(EMPTY_200);
    else await server.respond(EMPTY_200);
    assertEquals((await second).status, 200);
  });
});

Deno.test("bytes behind the response to a HEAD don't end the next GET, which uses another connection", async () => {
  for (const bytes of ["<html></html>", "Hello"]) {
    for (const method of ["GET", "POST"] as const) {
      using server = new RawServer();
      await using pool = new ConnectionPool(new Client(server.address));
      const head = pool.head("/");
      const peer = await server.respond("HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n");
      await head;
      const next = pool.request(method, "/", {}, null);
      await peer.readPreamble();
      const failure = method === "POST" ? catchRejection(next, "the request") : null;
      await peer.send(bytes);
      if (failure === null) {
        await server.respond(EMPTY_200);
        assertEquals((await next).status, 200);
      } else {
        const error = await failure;
        assertEquals([(error as { code?: string }).code, isTransient(error)], [
          "EXCESS_BYTES",
          false,
        ]);
      }
    }
  }
});

Deno.test("a POST isn't lost when a session reaches its limit of requests", async () => {
  const app = async (request: Request) => [200, "OK", {}, await request.bytes()] as const;
  await using endpoint = await startTls(await openSharedPki(), app, { server: { maxRequests: 3 } });
  await using pool = new ConnectionPool(endpoint.client);
  for (let i = 0; i < 20; i++) assertEquals(await readText(pool.post("/", {}, `${i}`)), `${i}`);
});

Deno.test("aborting a request in flight, or with an unread response, frees its connection", async () => {
  await using test = setUp(({ uri }) => {
    if (uri === "/slow") return new Promise<never>(() => {});
    return [200, "OK", {}, uri];
  }, { maxConnections: 1 });
  for (const uri of ["/slow", "/unread"]) {
    const controller = new AbortController();
    const { signal } = controller;
    const request = test.pool.request("GET", uri, {}, null, { signal });
    if (uri === "/unread") await request;
    else while (test.sessions.length === 0) await waitForTick();
    const nextText = readText(test.pool.request("GET", "/next"));
    controller.abort(new Error("enough"));
    if (uri === "/slow") await assertRejects(() => request, Error, "enough");
    assertEquals(await withTimeout(nextText, "a free connection"), "/next");
  }
});

Deno.test("aborting a waiting request lets the next request continue", async () => {
  await using test = setUp(undefined, { maxConnections: 1, repeat: "any" });
  const firstResponse = await test.pool.request("GET", "/first");
  const controller = new AbortController();
  const { signal } = controller;
  let canceled = false;
  const body = new Body(new ReadableStream({ cancel: () => void (canceled = true) }), 5);
  const abortedRequest = test.pool.request("PUT", "/second", {}, body, { signal });
  const nextText = readText(test.pool.request("GET", "/third"));
  controller.abort("enough");
  assertEquals(await catchRejection(abortedRequest, "the request"), "enough");
  await firstResponse.text();
  assertEquals([await nextText, canceled], ["/third", true]);
});

// ───────────────────────── connections that the server has closed

/**
 * Answers the first request of a pool, closes the connection after the second request, perhaps
 * after some bytes, and returns the error of the second request.
 */
async function cutSecondRequest(
  server: RawServer,
  pool: ConnectionPool,
  sendSecond: () => Promise<unknown>,
  bytes = "",
): Promise<() => Promise<unknown>> {
  const firstRequest = pool.request("GET", "/first");
  const peer = await server.respond("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
  await firstRequest;
  const failure = catchRejection(sendSecond(), "a request that is cut");
  await peer.readPreamble();
  if (bytes !== "") await peer.send(bytes);
  peer.close();
  return () => failure;
}

for (const method of ["GET", "HEAD", "OPTIONS", "PUT", "POST", "PATCH", "DELETE"] as const) {
  const isSafe = ["GET", "HEAD", "OPTIONS"].includes(method);
  Deno.test(`${method} without a response over a reused connection is ${isSafe ? "" : "not "}repeated once`, async () => {
    using server = new RawServer();
    await using pool = new ConnectionPool(new Client(server.address));
    const failure = await cutSecondRequest(server, pool, () => pool.request(method, "/second"));
    if (isSafe) await cutRepeated(server, method);
    assertEquals((await failure() as Error).name, "EmptyPreambleError");
  });

  if (isSafe) continue;

  Deno.test(`${method} without a response over a reused connection is repeated once with repeat "any", and its error is transient`, async () => {
    using server = new RawServer();
    await using pool = new ConnectionPool(new Client(server.address), { repeat: "any" });
    const failure = await cutSecondRequest(server, pool, () => pool.request(method, "/second"));
    await cutRepeated(server, method);
    const error = await failure() as Error;
    assertEquals([error.name, isTransient(error)], ["EmptyPreambleError", true]);
  });

  Deno.test(`${method} with an empty response over a reused connection is not repeated, and its error is final`, async () => {
    using server = new RawServer();
    await using pool = new ConnectionPool(new Client(server.address));
    const sendSecond = () => pool.request(method, "/second");
    const failure = await cutSecondRequest(server, pool, sendSecond, "\r\n\r\n");
    assertEquals(isTransient(await failure()), false);
  });
}

/** Returns a connector whose connections are of another class than those of the client. */
function wrapConnections(
  client: Client,
  onConnect: (conn: Connection) => void = () => {},
): Connector {
  const { timeout } = client;
  return Object.assign({ timeout }, {
    connect: async () => {
      const conn = await client.connect();
      onConnect(conn);
      return {
        request: (...message: Parameters<Requester["request"]>) => conn.request(...message),
        close: () => conn.close(),
        get closed() {
          return conn.closed;
        },
      };
    },
  });
}

Deno.test("a pool refuses a response of another class, and closes its connection", async () => {
  for (const value of [undefined, {}, new globalThis.Response("hello")]) {
    let isClosed = false;
    const request = () => Promise.resolve(value as never);
    const close = () => void (isClosed = true);
    const connect = () => Promise.resolve({ closed: false, request, close });
    await using pool = new ConnectionPool({ connect });
    await assertRejects(() => pool.get("/"), TypeError, "response");
    assertEquals(isClosed, true);
  }
});

Deno.test("a pool closes a reused connection of another class that has failed, and makes a new one", async () => {
  const events: string[] = [];
  const connector: Connector = {
    connect: () => {
      events.push("connect");
      let isUsed = false;
      return Promise.resolve({
        closed: false,
        request: () => {
          if (isUsed) return Promise.reject(new EmptyPreambleError());
          isUsed = true;
          return Promise.resolve(new Response(204, "No Content", {}, null));
        },
        close: () => void events.push("close"),
      });
    },
  };
  await using pool = new ConnectionPool(connector);
  for (let i = 0; i < 2; i++) assertEquals((await pool.get("/")).status, 204);
  assertEquals(events, ["connect", "close", "connect"]);
});

Deno.test("the error of a request over a reused connection has the seconds for which it was idle", async () => {
  using server = new RawServer();
  await using pool = new ConnectionPool(new Client(server.address));
  using clock = stopPerformanceClock();
  const failure = await cutSecondRequest(server, pool, () => {
    clock.pass(5.92);
    return pool.delete("/second");
  });
  assertStringIncludes(`${await failure()}`, "; the connection had been idle for 5.9 s");
});

/** Accepts the repeated request, and closes its connection: there is no third attempt. */
async function cutRepeated(server: RawServer, method: Method): Promise<void> {
  using peer = await server.accept();
  assertEquals((await peer.readPreamble()).split(" HTTP")[0], `${method} /second`);
}

Deno.test("a request over a new connection, or after the first byte of a response, is not repeated", async () => {
  using server = new RawServer();
  await using pool = new ConnectionPool(new Client(server.address));
  const firstFailure = catchRejection(pool.request("GET", "/"), "a request without an answer");
  const peer = await server.accept();
  await peer.readPreamble();
  peer.close();
  assertEquals((await firstFailure as Error).name, "EmptyPreambleError");
  const failure = await cutSecondRequest(server, pool, () => pool.request("GET", "/"), "H");
  assertEquals((await failure() as { code?: string }).code, "PREAMBLE_INCOMPLETE");
});

Deno.test("a request whose body was partly sent is not repeated", async () => {
  using server = new RawServer();
  await using pool = new ConnectionPool(new Client(server.address), { repeat: "any" });
  const body = new BodyIter([new Uint8Array(5)], 5);
  const failure = await cutSecondRequest(server, pool, () => pool.request("PUT", "/", {}, body));
  assertEquals((await failure() as Error).name, "EmptyPreambleError");
});

Deno.test("an idle connection is closed after idleTimeout, and a connection in use is not", async () => {
  await using test = setUp(({ uri }) => [200, "OK", {}, uri === "/held" ? longBody : uri], {
    idleTimeout: 0.05,
  });
  const unreadResponse = await test.pool.request("GET", "/held");
  await (await test.pool.request("GET", "/")).text();
  const [usedSession, idleSession] = test.sessions;
  const sessionEnded = Promise.withResolvers<void>();
  idleSession!.signal.addEventListener("abort", () => sessionEnded.resolve());
  if (idleSession!.signal.aborted) sessionEnded.resolve();
  await withTimeout(sessionEnded.promise, "the unused connection is closed");
  assertEquals(usedSession!.signal.aborted, false);
  assertEquals((await unreadResponse.bytes()).length, longBody.length);
});

// ───────────────────────── errors and close()

Deno.test("a request fails with the error of connecting, and the next request connects again", async () => {
  await using serving = serve(() => [200, "OK", {}, "hello"]);
  const client = serving.makeClient();
  let failures = 2;
  const connector: Connector = {
    connect: (options) => {
      return failures-- > 0 ? Promise.reject(new Error("no way")) : client.connect(options);
    },
  };
  await using pool = new ConnectionPool(connector, { maxConnections: 1 });
  for (let i = 0; i < 2; i++) await assertRejects(() => pool.request("GET", "/"), Error, "no way");
  assertEquals(await readText(pool.request("GET", "/")), "hello");
});

Deno.test("close() ends reads and all requests, and rejects later requests", async () => {
  using server = new RawServer();
  const { promise: connectingFailed, reject } = Promise.withResolvers<never>();
  let shouldHang = false;
  const client = new Client(server.address);
  const pool = new ConnectionPool({
    connect: (options) => {
      if (!shouldHang) return client.connect(options);
      options!.signal!.addEventListener("abort", () => reject(options!.signal!.reason));
      return connectingFailed;
    },
  }, { maxConnections: 3 });
  const firstRequest = pool.request("GET", "/read");
  const peer = await server.respond("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n");
  const textRead = (await firstRequest).text();
  const unansweredRequest = pool.request("GET", "/in-flight");
  const secondPeer = await server.accept();
  await secondPeer.readPreamble();
  shouldHang = true;
  const connectingRequest = pool.request("GET", "/connecting");
  let isBodyCanceled = false;
  const body = new Body(new ReadableStream({ cancel: () => void (isBodyCanceled = true) }), 5);
  const waitingRequest = pool.request("PUT", "/waiting", {}, body);
  const operations: Promise<unknown>[] = [textRead, unansweredRequest];
  operations.push(connectingRequest, waitingRequest);
  const rejections = operations.map((operation) =>
    assertRejects(() => operation, ConnectionClosedError)
  );
  await pool.close();
  await withTimeout(Promise.all(rejections), "all operations fail");
  await assertRejects(() => pool.request("GET", "/"), ConnectionClosedError, "pool");
  await pool.close();
  await Promise.all([peer, secondPeer].map((rawPeer) => rawPeer.assertClosedSilently()));
  assertEquals(isBodyCanceled, true);
});

Deno.test("the end of a connection in use leaves the idle ones in the pool", async () => {
  await using test = setUp(({ uri }) => [200, "OK", {}, uri === "/long" ? longBody : uri]);
  const response = await test.pool.get("/long");
  await readText(test.pool.get("/a"));
  await response.body!.cancel();
  await readText(test.pool.get("/b"));
  assertEquals(test.sessions.length, 2);
});

Deno.test("a connection that closes while its response is unread is free for a request that waits, or follows", async () => {
  const options = { maxConnections: 1 };
  {
    using server = new RawServer();
    await using pool = new ConnectionPool(new Client(server.address), options);
    const failed = Promise.withResolvers<never>();
    const source = (async function* () {
      yield new Uint8Array(5);
      await failed.promise;
    })();
    const unread = pool.put("/", {}, source, { duplex: "full" });
    const peer = await server.respond("HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n");
    await unread;
    const waiting = pool.get("/waiting");
    failed.reject(new Error("the disk has failed"));
    await server.respond(EMPTY_200);
    assertEquals((await waiting).status, 200);
    peer.close();
  }
  await using serving = serve(({ uri }) => [200, "OK", {}, uri === "/long" ? longBody : uri]);
  const connections: Connection[] = [];
  // The pool can't see when a connection of another class closes.
  const connector = wrapConnections(serving.makeClient(), (conn) => connections.push(conn));
  await using pool = new ConnectionPool(connector, options);
  await pool.get("/long");
  connections[0]!.close();
  assertEquals(await readText(pool.get("/next")), "/next");
});

Deno.test("a pool has the time-out of its connector, or of a connector without a valid one the default", () => {
  const rows: [timeout: unknown, expected: number | null][] = [
    ...[null, 0.5, 90].map((timeout): [number | null, number | null] => [timeout, timeout]),
    ...[undefined, 0, Infinity, "5"].map((timeout): [unknown, number] => [timeout, 90]),
  ];
  for (const [timeout, expected] of rows) assertEquals(timeoutOf({ timeout }), expected);
});

Deno.test("a pool checks its arguments", () => {
  const client = new Client(["127.0.0.1", 1]);
  const invalidArguments: [typeof TypeError | typeof RangeError, string, unknown[]][] = [
    [TypeError, "connector: must be", [null]],
    [TypeError, "maxConnections: must be", [client, { maxConnections: "4" }]],
    [RangeError, "maxConnections: must be", [client, { maxConnections: 0 }]],
    [RangeError, "idleTimeout: must be", [client, { idleTimeout: 0 }]],
    [RangeError, 'repeat: must be "safe" or "any"; got "none"', [client, { repeat: "none" }]],
  ];
  for (const [Class, message, args] of invalidArguments) {
    assertThrows(() => Reflect.construct(ConnectionPool, args), Class, message);
  }
  new ConnectionPool(client, { maxConnections: Infinity, idleTimeout: null });
});

// ───────────────────────── inUse and peer()

Deno.test("peer() has the verified certificate and the address of the server", async () => {
  await using endpoint = await startTls(await openSharedPki(), () => [200, "OK", {}, null]);
  const { client, server } = endpoint;
  await using pool = new ConnectionPool(client);
  const { certificate, address } = await pool.peer();
  using conn = await client.connect();
  assertEquals(certificate, conn.sock.peerCertificate);
  assert(certificate?.authority);
  assertEquals(address, server.address);
});

Deno.test("peer() uses an open connection, and leaves a new connection to the next request", async () => {
  await using test = setUp(({ uri }) => [200, "OK", {}, uri === "/long" ? longBody : uri]);
  await test.pool.peer();
  assertEquals(test.pool.inUse, 0);
  assertEquals(await readText(test.pool.get("/a")), "/a");
  await using _unread = await test.pool.get("/long");
  await Promise.all([test.pool.peer(), test.pool.peer()]);
  assertEquals(test.sessions.length, 1);
});

Deno.test("peer() waits for a connection until its signal is aborted, and rejects if the pool is closed", async () => {
  await using serving = serve(() => [204, "No Content", {}, null]);
  const hangingOptions = { onConnect: () => new Promise<boolean>(() => {}) };
  const pool = new ConnectionPool(serving.makeClient(hangingOptions));
  const abortController = new AbortController();
  const rejected = assertRejects(
    () => pool.peer({ signal: abortController.signal }),
    Error,
    "enough",
  );
  abortController.abort(new Error("enough"));
  await rejected;
  await pool.close();
  await assertRejects(() => pool.peer(), ConnectionClosedError);
  await assertRejects(() => Reflect.apply(pool.peer, pool, [{ timeout: 1 }]), TypeError, "timeout");
});

Deno.test("a pool reads a small body at once only if it is of Degu's class, not of the client's own", async () => {
  class OwnBody extends Body {}
  await using serving = serve(() => [200, "OK", {}, "small"]);
  const client = new Client(serving.address, { bodies: { ...bodies, Body: OwnBody } });
  await using pool = new ConnectionPool(client);
  const response = await pool.get("/");
  assertInstanceOf(response.body, OwnBody);
  assertEquals(pool.inUse, 1);
  assertEquals(await response.text(), "small");
  assertEquals(pool.inUse, 0);

  await using usualPool = new ConnectionPool(new Client(serving.address), { maxConnections: 1 });
  const unreadResponse = await usualPool.get("/");
  assertEquals(await (await usualPool.get("/")).text(), "small"); // The connection is free.
  assertEquals(unreadResponse.body?.used, false);
});
