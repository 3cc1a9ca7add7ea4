/** A pool of connections: reuse, replacement, and waiting requests. */
import {
  assert,
  assertEquals,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  type Address,
  Body,
  BodyIter,
  ChunkedBodyIter,
  ConnectionClosedError,
  EmptyPreambleError,
  type HostAddress,
  type Method,
} from "@degu/degu/base";
import {
  Client,
  type Connection,
  ConnectionPool,
  type ConnectionPoolOptions,
  type Connector,
  type Response,
  SSLClient,
} from "@degu/degu/client";
import { TempPKI } from "@degu/degu/misc";
import {
  type AppFunction,
  type Request,
  type ServerOptions,
  type Session,
  SSLServer,
} from "@degu/degu/server";
import { createFetch, isTransient } from "@degu/degu";
import { speedUpTimeouts } from "@degu/testing/clock.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { patch } from "@degu/testing/patching.ts";
import { runProgram } from "@degu/testing/programs.ts";
import { RawServer, waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";

/** A server that counts its sessions, and a pool of connections to it. */
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

/** As after a pause: a client looks for the end of an idle connection only then. */
function afterPause(): Disposable {
  const later = Date.now() + 60_000;
  return patch(Date, "now", () => () => later);
}

/** A body that a pool does not take at once. */
const long = new Uint8Array(200_000);
const text = async (response: Promise<Response>) => await (await response).text();

Deno.test("requests that follow each other use one connection", async () => {
  await using test = setUp();
  for (let i = 0; i < 20; i++) assertEquals(await text(test.pool.request("GET", `/${i}`)), `/${i}`);
  assertEquals(test.sessions.length, 1);
});

for (const maxConnections of [1, 3, Infinity]) {
  Deno.test(`of at most ${maxConnections} connections each carries one request at a time, and others wait in order`, async () => {
    let running = 0;
    let most = 0;
    const asked: string[] = [];
    await using test = setUp(async ({ uri }) => {
      asked.push(uri);
      most = Math.max(most, ++running);
      await waitForTick();
      running--;
      return [200, "OK", {}, uri];
    }, { maxConnections });
    const uris = Array.from({ length: 12 }, (_, i) => `/${i}`);
    const texts = uris.map((uri) => text(test.pool.request("GET", uri)));
    assertEquals(await Promise.all(texts), uris);
    assert(
      most <= maxConnections && test.sessions.length <= Math.min(maxConnections, 12),
      `${most} at a time`,
    );
    if (maxConnections === 1) assertEquals(asked, uris);
  });
}

Deno.test("four connections are the default, and a request waits until one is free", async () => {
  await using test = setUp(({ uri }) => [200, "OK", {}, uri === "/" ? long : uri]);
  const unread = [];
  for (let i = 0; i < 4; i++) unread.push(await test.pool.request("GET", "/"));
  let waits = true;
  const fifth = text(test.pool.request("GET", "/fifth")).finally(() => waits = false);
  for (let i = 0; i < 3; i++) await waitForTick();
  assertEquals([waits, test.sessions.length], [true, 4]);
  await unread[2]!.bytes();
  assertEquals([await fifth, test.sessions.length], ["/fifth", 4]);
});

const endings: [string, (response: Response) => Promise<unknown>, isKept: boolean][] = [
  ["text()", (response) => response.text(), true],
  ["readable", (response) => response.body!.readable.pipeTo(new WritableStream()), true],
  ["writeTo()", (response) => response.body!.writeTo(new WritableStream()), true],
  [
    "an iteration to the end",
    (response) => Array.fromAsync(response.body as AsyncIterable<unknown>),
    true,
  ],
  ["cancel()", (response) => response.body!.cancel(), false],
  ["a stream that is canceled", (response) => response.body!.readable.cancel(), false],
];

for (const kind of ["Body", "ChunkedBody"] as const) {
  Deno.test(`a connection is free again when the ${kind} of its response is over`, async (t) => {
    await using test = setUp(
      () => [200, "OK", {}, kind === "Body" ? long : chunked()],
      { maxConnections: 1 },
    );
    await testEachRow(t, endings, async (_name, end, isKept) => {
      const response = await test.pool.request("GET", "/");
      const before = test.sessions.length;
      const next = test.pool.request("GET", "/");
      await end(response);
      await (await withTimeout(next, "a connection")).text();
      assertEquals(test.sessions.length - before, isKept ? 0 : 1);
    });
  });
}

Deno.test("a body with a length of up to 64 KiB is taken at once, and frees its connection", async (t) => {
  for (const [length, isTaken] of [[5, true], [65536, true], [65537, false]] as const) {
    await t.step(`${length} bytes`, async () => {
      const sent = new Uint8Array(length).fill(7);
      await using test = setUp(() => [200, "OK", {}, sent], { maxConnections: 1 });
      const first = await test.pool.request("GET", "/");
      const next = test.pool.request("GET", "/");
      if (!isTaken) {
        for (let i = 0; i < 3; i++) await waitForTick();
        assertEquals(first.body!.used, false);
        await first.bytes();
      }
      const second = await withTimeout(next, "a connection");
      if (isTaken) assertEquals(await first.bytes(), sent);
      assertEquals(await second.bytes(), sent);
      assertEquals(test.sessions.length, 1);
    });
  }
});

Deno.test("a body that is taken at once passes its bytes on as they arrive", async () => {
  using server = new RawServer();
  await using pool = new ConnectionPool(new Client(server.address), { maxConnections: 1 });
  const requesting = pool.request("GET", "/");
  const peer = await server.accept();
  await peer.readPreamble();
  await peer.send("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabc");
  const { body } = await requesting;
  assertEquals(new TextDecoder().decode(await (body as Body).read(3)), "abc");
  const rest = body!.text();
  await peer.send("def");
  assertEquals(await rest, "def");
  const second = text(pool.request("GET", "/2"));
  assertEquals((await peer.readPreamble()).split("\r\n")[0], "GET /2 HTTP/1.1");
  await peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
  assertEquals(await second, "ok");
});

Deno.test("a body that is taken at once keeps the process alive while it is awaited, as the next request does, and no longer", async () => {
  using server = new RawServer();
  const running = runProgram("pool_bodies.ts", {
    flags: ["--allow-net"],
    args: [JSON.stringify(server.address)],
    patience: 20,
  });
  const turns = async () => {
    for (let i = 0; i < 50; i++) await waitForTick();
  };
  const peer = await server.accept();
  const head = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
  await peer.readPreamble();
  await peer.send(head);
  await turns();
  await peer.send("hello");
  await peer.readPreamble();
  await turns();
  await peer.send(head);
  await turns();
  await peer.send("world");
  await peer.readPreamble();
  await peer.send(`${head}he`);
  assertEquals(await running, "hello\nworld\n200\n");
});

// ───────────────────────── responses that nobody reads

Deno.test("a request that waits for responses that are never read fails after the client's timeout", async () => {
  await using serving = serve(() => [200, "OK", {}, long]);
  await using pool = new ConnectionPool(serving.makeClient({ timeout: 0.2 }), {
    maxConnections: 2,
  });
  const unread = [await pool.request("GET", "/"), await pool.request("GET", "/")];
  const waiting = [pool.request("GET", "/"), pool.request("GET", "/")];
  for (const request of waiting) {
    const error = await catchRejection(withTimeout(request, "a time-out"), "unread responses");
    assert(error instanceof Deno.errors.TimedOut);
    const advice = "read each body, or call response.discard()";
    assertEquals(error.message, `2 of 2 responses are unread: ${advice}`);
    assertEquals(isTransient(error), false);
  }
  // The pool works on once one of the responses is over.
  await unread[0]!.discard();
  await (await pool.request("GET", "/")).discard();
  await unread[1]!.discard();
});

Deno.test("a stream of which no byte was read holds its connection as an unread body does", async () => {
  await using serving = serve(() => [200, "OK", {}, long]);
  await using pool = new ConnectionPool(serving.makeClient({ timeout: 0.2 }), {
    maxConnections: 1,
  });
  const fetch = createFetch(pool);
  const unread = await fetch("/");
  const error = await catchRejection(withTimeout(fetch("/"), "a time-out"), "an unread stream");
  assertStringIncludes(String(error), "1 of 1 responses are unread");
  await unread.body!.cancel();
  await (await fetch("/")).body!.cancel();
});

Deno.test("the timeout of a connector counts only if it is valid", async () => {
  for (const timeout of [0, -1, NaN, Infinity, "1"]) {
    using server = new RawServer();
    const client = new Client(server.address);
    const connector = {
      timeout,
      connect: (options?: { signal?: AbortSignal }) => client.connect(options),
    };
    await using pool = new ConnectionPool(connector, { maxConnections: 1 });
    const requesting = text(pool.request("GET", "/"));
    const peer = await server.accept();
    await peer.readPreamble();
    await peer.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe");
    for (let i = 0; i < 3; i++) await waitForTick();
    await peer.send("llo");
    assertEquals(await requesting, "hello");
  }
});

const unreadRows: [what: string, timeout: number | null, begin: (first: Response) => unknown][] = [
  ["the client has no timeout", null, () => {}],
  ["a body is being read", 0.05, (first) => (first.body as Body).read(1)],
];

for (const [what, timeout, begin] of unreadRows) {
  Deno.test(`a request waits for responses as long as it takes if ${what}`, async () => {
    await using serving = serve(() => [200, "OK", {}, long]);
    await using pool = new ConnectionPool(serving.makeClient({ timeout }), { maxConnections: 1 });
    const first = await pool.request("GET", "/");
    await begin(first);
    using timeouts = speedUpTimeouts(() => false);
    let waits = true;
    const second = pool.request("GET", "/").finally(() => waits = false);
    // The first time-out passes, and the next one begins, unless the pool has none.
    const begun = () => timeouts.started.filter((each) => each > 0 && each <= 50).length;
    while (timeout !== null && begun() < 2) await waitForTick();
    for (let i = 0; i < 3; i++) await waitForTick();
    assertEquals(waits, true);
    await first.body!.cancel();
    await (await second).discard();
  });
}

function chunked() {
  return new ChunkedBodyIter([[null, new Uint8Array(5)], [null, new Uint8Array(0)]]);
}

Deno.test("a connection is free again after responses without a body, and with an empty one", async () => {
  await using test = setUp(({ method, uri }) => {
    return [
      uri === "/204" ? 204 : 200,
      "OK",
      {},
      method === "HEAD" || uri !== "/empty" ? null : "",
    ];
  }, { maxConnections: 1 });
  for (const uri of ["/204", "/empty", "/null"]) {
    await test.pool.request("GET", uri);
    await test.pool.request("HEAD", uri);
  }
  assertEquals(test.sessions.length, 1);
});

Deno.test("a connection whose response is too long to be dropped is replaced", async () => {
  await using test = setUp(() => [200, "OK", {}, long], { maxConnections: 1 });
  for (let i = 0; i < 3; i++) await (await test.pool.request("GET", "/")).discard();
  assertEquals(test.sessions.length, 3);
});

Deno.test("a POST right after a response that ends its session goes over a new connection", async (t) => {
  const going = [200, 404, 405, 409, 412];
  const ending = [400, 401, 403, 413, 429, 500, 503];
  const rows = [...going, ...ending].map((status) => [`${status}`, status] as const);
  await using pki = await TempPKI.create();
  await testEachRow(t, rows, async (_name, status) => {
    await using server = await SSLServer.start(
      pki.serverSslconfig,
      ["127.0.0.1", 0],
      async (request) => {
        await request.bytes();
        return [status, "OK", {}, "hello"];
      },
    );
    await using pool = new ConnectionPool(new SSLClient(pki.clientSslconfig, server.address));
    const connections = new Set<Session>();
    for (let i = 0; i < 5; i++) {
      const response = await pool.post("/", {}, "hello");
      for (const session of server.sessions) connections.add(session);
      assertEquals([response.status, await response.text()], [status, "hello"]);
    }
    if (going.includes(status)) assertEquals(connections.size, 1);
  });
});

Deno.test("no POST is lost behind a response of an app that reads no body", async () => {
  await using pki = await TempPKI.create();
  const app = () => [200, "OK", {}, "hello"] as const;
  await using server = await SSLServer.start(pki.serverSslconfig, ["127.0.0.1", 0], app);
  await using pool = new ConnectionPool(new SSLClient(pki.clientSslconfig, server.address));
  for (let i = 0; i < 20; i++) assertEquals(await text(pool.post("/", {}, "unread")), "hello");
});

Deno.test("no POST is lost at the limit of requests of a session", async () => {
  await using pki = await TempPKI.create();
  const app = async (request: Request) => [200, "OK", {}, await request.bytes()] as const;
  await using server = await SSLServer.start(pki.serverSslconfig, ["127.0.0.1", 0], app, {
    maxRequests: 3,
  });
  await using pool = new ConnectionPool(new SSLClient(pki.clientSslconfig, server.address));
  for (let i = 0; i < 20; i++) assertEquals(await text(pool.post("/", {}, `${i}`)), `${i}`);
});

Deno.test("a request that is aborted frees its connection, whether it is in flight or unread", async () => {
  await using test = setUp(({ uri }) => {
    if (uri === "/slow") return new Promise<never>(() => {});
    return [200, "OK", {}, uri];
  }, { maxConnections: 1 });
  for (const uri of ["/slow", "/unread"]) {
    const controller = new AbortController();
    const { signal } = controller;
    const asked = test.pool.request("GET", uri, {}, null, { signal });
    if (uri === "/unread") await asked;
    else while (test.sessions.length === 0) await waitForTick();
    const next = text(test.pool.request("GET", "/next"));
    controller.abort(new Error("enough"));
    if (uri === "/slow") await assertRejects(() => asked, Error, "enough");
    assertEquals(await withTimeout(next, "a free connection"), "/next");
  }
});

Deno.test("a request that is aborted while it waits leaves its place to the next", async () => {
  await using test = setUp(undefined, { maxConnections: 1 });
  const first = await test.pool.request("GET", "/first");
  const controller = new AbortController();
  const { signal } = controller;
  let canceled = false;
  const body = new Body(new ReadableStream({ cancel: () => void (canceled = true) }), 5);
  const second = test.pool.request("PUT", "/second", {}, body, { signal });
  const third = text(test.pool.request("GET", "/third"));
  controller.abort(new Error("enough"));
  await assertRejects(() => second, Error, "enough");
  await first.text();
  assertEquals([await third, canceled], ["/third", true]);
});

Deno.test("a connection that is closed with an unread response is no longer in use", async () => {
  await using serving = serve(() => [200, "OK", {}, long]);
  const opened: Connection[] = [];
  const onConnect = (conn: Connection) => opened.push(conn) > 0;
  await using pool = new ConnectionPool(serving.makeClient({ onConnect }), { maxConnections: 1 });
  await pool.request("GET", "/");
  const next = pool.request("GET", "/");
  opened[0]!.close(); // as when a peer is forgotten
  await (await withTimeout(next, "a free connection")).discard();
});

// ───────────────────────── connections that the server has closed

for (const method of ["GET", "HEAD", "PUT", "POST", "DELETE"] as const) {
  Deno.test(`a connection that was closed while idle is replaced before ${method} is sent`, async () => {
    const asked: string[] = [];
    await using test = setUp(async ({ method, body }) => {
      asked.push(`${method} ${await body?.text()}`);
      return [200, "OK", {}, null];
    });
    const make = () => {
      const body = method === "PUT" || method === "POST"
        ? new BodyIter([new Uint8Array([97])], 1)
        : null;
      return test.pool.request(method, "/", {}, body);
    };
    await (await make()).discard();
    test.sessions[0]!.close();
    for (let i = 0; i < 3; i++) await waitForTick();
    using _ = afterPause();
    await (await make()).discard();
    const line = `${method} ${method === "PUT" || method === "POST" ? "a" : undefined}`;
    assertEquals([asked, test.sessions.length], [[line, line], 2]);
  });
}

for (const method of ["GET", "HEAD", "PUT", "POST", "DELETE"] as const) {
  const isAgain = method === "GET" || method === "HEAD";
  const what = isAgain ? "is made once again" : "is not made again";
  Deno.test(`${method} over a connection that was used before, without an answer, ${what}`, async () => {
    using server = new RawServer();
    await using pool = new ConnectionPool(new Client(server.address));
    const first = pool.request("GET", "/first");
    using peer = await server.accept();
    await peer.readPreamble();
    await peer.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    await first;
    const second = catchRejection(pool.request(method, "/second"), "a request without an answer");
    await peer.readPreamble();
    peer.close();
    if (isAgain) {
      // The new connection also fails: there is no third attempt.
      using another = await server.accept();
      const line = (await another.readPreamble()).split(" HTTP")[0];
      assertEquals(line, `${method} /second`);
      another.close();
    }
    assertEquals((await second as Error).name, "EmptyPreambleError");
  });
}

for (const method of ["PUT", "POST", "DELETE"] as const) {
  Deno.test(`${method} over a connection that was used before, without an answer, is made once again with repeat "any", and its error is transient`, async () => {
    using server = new RawServer();
    await using pool = new ConnectionPool(new Client(server.address), { repeat: "any" });
    const first = pool.request("GET", "/first");
    const peer = await server.accept();
    await peer.readPreamble();
    await peer.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    await first;
    const second = catchRejection(pool.request(method, "/second"), "a request without an answer");
    await peer.readPreamble();
    peer.close();
    using another = await server.accept();
    assertEquals((await another.readPreamble()).split(" HTTP")[0], `${method} /second`);
    another.close();
    const error = await second as Error;
    assertEquals([error.name, isTransient(error)], ["EmptyPreambleError", true]);
  });
}

Deno.test("a request over a new connection, or after the first byte of a response, is made once", async () => {
  using server = new RawServer();
  await using pool = new ConnectionPool(new Client(server.address));
  const first = catchRejection(pool.request("GET", "/"), "a request without an answer");
  const peer = await server.accept();
  await peer.readPreamble();
  peer.close();
  assertEquals((await first as Error).name, "EmptyPreambleError");
  const second = pool.request("GET", "/");
  using kept = await server.accept();
  await kept.readPreamble();
  await kept.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
  await second;
  const third = catchRejection(pool.request("GET", "/"), "a response that is cut");
  await kept.readPreamble();
  await kept.send("H");
  kept.close();
  assertEquals((await third as { code?: string }).code, "PREAMBLE_INCOMPLETE");
});

Deno.test("a body that was used in part is not sent again", async () => {
  using server = new RawServer();
  await using pool = new ConnectionPool(new Client(server.address));
  const first = pool.request("GET", "/");
  using peer = await server.accept();
  await peer.readPreamble();
  await peer.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
  await first;
  const body = new BodyIter([new Uint8Array(5)], 5);
  const second = catchRejection(pool.request("PUT", "/", {}, body), "a request without an answer");
  await peer.readPreamble();
  peer.close();
  assertEquals((await second as Error).name, "EmptyPreambleError");
});

Deno.test("a body that is not sent is canceled, also if the server is gone when the request is made again", async () => {
  await using serving = serve(() => [200, "OK", {}, null]);
  using conn = await serving.makeClient().connect();
  let connections = 0;
  const gone = new Deno.errors.ConnectionRefused("nobody is there");
  await using pool = new ConnectionPool({
    connect: () => {
      if (++connections > 1) return Promise.reject(gone);
      const request: Connection["request"] = (method, ...given) => {
        // As if the server had just ended it.
        if (method === "POST") return Promise.reject(new EmptyPreambleError("it has ended"));
        return conn.request(method, ...given);
      };
      return Promise.resolve({ closed: false, close() {}, request });
    },
  });
  await pool.get("/");
  const canceled = Promise.withResolvers<void>();
  const bytes = new ReadableStream<Uint8Array>({ cancel: () => canceled.resolve() });
  const made = catchRejection(pool.post("/", {}, new BodyIter(bytes, 5)), "a request to nobody");
  assertStrictEquals(await made, gone);
  assertEquals(connections, 2);
  await withTimeout(canceled.promise, "the body is canceled");
});

Deno.test("an unused connection is closed after idleTimeout, and a used one is not", async () => {
  await using test = setUp(({ uri }) => [200, "OK", {}, uri === "/held" ? long : uri], {
    idleTimeout: 0.05,
  });
  const held = await test.pool.request("GET", "/held");
  await (await test.pool.request("GET", "/")).text();
  const [holding, idle] = test.sessions;
  const ended = Promise.withResolvers<void>();
  idle!.signal.addEventListener("abort", () => ended.resolve());
  if (idle!.signal.aborted) ended.resolve();
  await withTimeout(ended.promise, "the unused connection is closed");
  assertEquals(holding!.signal.aborted, false);
  assertEquals((await held.bytes()).length, long.length);
});

// ───────────────────────── errors, and the end

Deno.test("a request that fails frees its connection, and one that was invalid keeps it", async () => {
  await using test = setUp(undefined, { maxConnections: 1 });
  await (await test.pool.request("GET", "/")).text();
  await assertRejects(() => test.pool.request("GET", "no slash"), RangeError);
  await assertRejects(() => test.pool.request("PATCH" as never, "/"), RangeError);
  await assertRejects(() => test.pool.request("GET" as Method, "/", {}, "body"), RangeError);
  assertEquals(await text(test.pool.request("GET", "/a")), "/a");
  assertEquals(test.sessions.length, 1);
});

Deno.test("an error of connecting is that of the request, and the next one connects again", async () => {
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
  assertEquals(await text(pool.request("GET", "/")), "hello");
});

Deno.test("close() ends waiting, connecting, requests in flight, reads, and every later request", async () => {
  using server = new RawServer();
  const { promise: never, reject } = Promise.withResolvers<never>();
  let isSlow = false;
  const client = new Client(server.address);
  const pool = new ConnectionPool({
    connect: (options) => {
      if (!isSlow) return client.connect(options);
      options!.signal!.addEventListener("abort", () => reject(options!.signal!.reason));
      return never;
    },
  }, { maxConnections: 3 });
  const asked = pool.request("GET", "/read");
  const peer = await server.accept();
  await peer.readPreamble();
  await peer.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n");
  const read = (await asked).text();
  const inFlight = pool.request("GET", "/in-flight");
  const other = await server.accept();
  await other.readPreamble();
  isSlow = true;
  const connecting = pool.request("GET", "/connecting");
  let canceled = false;
  const body = new Body(new ReadableStream({ cancel: () => void (canceled = true) }), 5);
  const waiting = pool.request("PUT", "/waiting", {}, body);
  const ends = [read, inFlight, connecting, waiting].map((ended) => {
    return assertRejects(() => ended, ConnectionClosedError);
  });
  await pool.close();
  await withTimeout(Promise.all(ends), "all ends");
  await assertRejects(() => pool.request("GET", "/"), ConnectionClosedError, "pool");
  await pool.close();
  await Promise.all([peer, other].map((each) => each.assertClosedSilently()));
  assertEquals(canceled, true);
});

Deno.test("await using closes a pool, and its unused connections with it", async () => {
  await using test = setUp();
  {
    await using pool = test.pool;
    await text(pool.request("GET", "/"));
  }
  const [session] = test.sessions;
  while (!session!.signal.aborted) await waitForTick();
  await assertRejects(() => test.pool.request("GET", "/"), ConnectionClosedError);
});

Deno.test("arguments are checked", () => {
  const client = new Client(["127.0.0.1", 1]);
  const wrong: [typeof TypeError | typeof RangeError, string, unknown[]][] = [
    [TypeError, "connector: must be", [null]],
    [TypeError, "connector: must be", [{ request() {} }]],
    [TypeError, "maxConnections: must be", [client, { maxConnections: "4" }]],
    [TypeError, "idleTimeout: must be", [client, { idleTimeout: "4" }]],
    [TypeError, 'unknown option "size"', [client, { size: 4 }]],
    [TypeError, "options: must be", [client, null]],
    [RangeError, "maxConnections: must be", [client, { maxConnections: 0 }]],
    [RangeError, "maxConnections: must be", [client, { maxConnections: 1.5 }]],
    [RangeError, "idleTimeout: must be", [client, { idleTimeout: 0 }]],
    [RangeError, "idleTimeout: must be", [client, { idleTimeout: Infinity }]],
    [RangeError, 'repeat: must be "safe" or "any"; got "none"', [client, { repeat: "none" }]],
    [TypeError, "repeat: must be a string; got null", [client, { repeat: null }]],
  ];
  for (const [Class, message, args] of wrong) {
    assertThrows(() => Reflect.construct(ConnectionPool, args), Class, message);
  }
  new ConnectionPool(client, {
    maxConnections: undefined,
    idleTimeout: undefined,
    repeat: undefined,
  });
  new ConnectionPool(client, { repeat: "safe" });
  new ConnectionPool(client, { maxConnections: Infinity, idleTimeout: null });
});

// ───────────────────────── what a pool knows

Deno.test("inUse counts the connections of requests in flight and of unread responses", async () => {
  await using test = setUp(() => [200, "OK", {}, long]);
  assertEquals(test.pool.inUse, 0);
  const responses = await Promise.all([test.pool.get("/a"), test.pool.get("/b")]);
  assertEquals(test.pool.inUse, 2);
  await responses[0].bytes();
  assertEquals(test.pool.inUse, 1);
  await responses[1].bytes();
  assertEquals(test.pool.inUse, 0);
});

Deno.test("inUse doesn't count connections that are connecting or closed", async () => {
  const connecting = Promise.withResolvers<void>();
  const goOn = Promise.withResolvers<void>();
  await using serving = serve(() => [200, "OK", {}, long]);
  const onConnect = async () => {
    connecting.resolve();
    await goOn.promise;
    return true;
  };
  await using pool = new ConnectionPool(serving.makeClient({ onConnect }));
  const asked = pool.get("/");
  await connecting.promise;
  assertEquals(pool.inUse, 0);
  goOn.resolve();
  const response = await asked;
  assertEquals(pool.inUse, 1);
  await pool.close();
  assertEquals(pool.inUse, 0);
  await assertRejects(() => response.bytes(), ConnectionClosedError);
});

Deno.test("peer() has the verified certificate and the address of the server", async () => {
  await using pki = await TempPKI.create();
  const app = () => [200, "OK", {}, null] as const;
  await using server = new SSLServer(pki.serverSslconfig, ["127.0.0.1", 0], app);
  server.serveForever();
  await server.ready;
  const client = new SSLClient(pki.clientSslconfig, server.address);
  await using pool = new ConnectionPool(client);
  const { certificate, address } = await pool.peer();
  using conn = await client.connect();
  assertEquals(certificate, conn.sock.peerCertificate);
  assert(certificate?.authority);
  assertEquals(address, server.address);
});

Deno.test("peer() has no certificate of a server without TLS, and the address in the form of a client", async (t) => {
  await using dir = await createTempDir();
  const addresses: [string, Address, Address?][] = [
    ["IPv4", ["127.0.0.1", 0]],
    ["IPv6", ["::1", 0]],
    ["IPv4 in IPv6", ["::ffff:127.0.0.1", 0], ["127.0.0.1", 0]],
    ["a Unix socket", `${dir.path}/socket`],
    ["an abstract name", new Uint8Array()],
  ];
  await testEachRow(t, addresses, async (_name, requested, shown = requested) => {
    await using serving = serve(() => [204, "No Content", {}, null], {}, requested);
    const { address } = serving;
    await using pool = new ConnectionPool(serving.makeClient());
    const expected = Array.isArray(shown) ? [shown[0], (address as HostAddress)[1]] : address;
    assertEquals(await pool.peer(), { certificate: null, address: expected as Address });
  });
});

Deno.test("peer() uses an open connection, and leaves a new one to the next request", async () => {
  await using test = setUp(({ uri }) => [200, "OK", {}, uri === "/long" ? long : uri]);
  await test.pool.peer();
  assertEquals(test.pool.inUse, 0);
  assertEquals(await text(test.pool.get("/a")), "/a");
  await using _unread = await test.pool.get("/long");
  await Promise.all([test.pool.peer(), test.pool.peer()]);
  assertEquals(test.sessions.length, 1);
});

Deno.test("peer() waits for a connection only until its signal, and not over a closed pool", async () => {
  await using serving = serve(() => [204, "No Content", {}, null]);
  const hanging = { onConnect: () => new Promise<boolean>(() => {}) };
  const pool = new ConnectionPool(serving.makeClient(hanging));
  const aborting = new AbortController();
  const asked = assertRejects(() => pool.peer({ signal: aborting.signal }), Error, "enough");
  aborting.abort(new Error("enough"));
  await asked;
  await pool.close();
  await assertRejects(() => pool.peer(), ConnectionClosedError);
  await assertRejects(() => Reflect.apply(pool.peer, pool, [{ timeout: 1 }]), TypeError, "timeout");
});

Deno.test("peer() of a connection without a socket has only null", async () => {
  const connection = { closed: false, close() {}, request: () => Promise.reject(new Error()) };
  await using pool = new ConnectionPool({ connect: () => Promise.resolve(connection) });
  assertEquals(await pool.peer(), { certificate: null, address: null });
});

// ───────────────────────── what uses a pool, and what a pool uses

Deno.test("51 responses that are dropped leave a server of 50 connections free", async () => {
  await using test = setUp(() => [200, "OK", {}, "hello"], {}, { maxConnections: 50 });
  await Promise.all(Array.from({ length: 51 }, async () => {
    await using response = await test.pool.request("GET", "/");
    assertEquals(response.status, 200);
  }));
  assert(test.sessions.length <= 4);
});

Deno.test("connections of other classes are also reused", async () => {
  let connections = 0;
  await using serving = serve({
    onConnect: () => ++connections > 0,
    handle: () => [200, "OK", {}, "hello"],
  });
  const client = serving.makeClient();
  const connector: Connector = {
    async connect(options) {
      const conn = await client.connect(options);
      return {
        get closed() {
          return conn.closed;
        },
        close: () => conn.close(),
        request: (method, uri, headers = {}, body = null) =>
          conn.request(method, uri, headers, body),
      };
    },
  };
  await using pool = new ConnectionPool(connector, { maxConnections: 1 });
  for (let i = 0; i < 3; i++) await text(pool.request("GET", "/"));
  assertEquals(connections, 1);
});
