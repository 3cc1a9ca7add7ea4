/** `WorkerApp`: what crosses between the threads, and what happens if a worker ends or is silent. */
import { type Client, SSLClient } from "@degu/degu/client";
import { type App, type AppObject, type Request, SSLServer } from "@degu/degu/server";
import { reply, ResponseError, routes, timeLimit, WorkerApp } from "@degu/degu";
import { callApp, mkreq, TempPKI } from "@degu/degu/misc";
import { type Address, BodyIter, ChunkedBodyIter, ContentRange, Range } from "@degu/degu/base";
import { createTempDir } from "@degu/testing/directories.ts";
import { RawPeer, withTimeout } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { RecordingLogger, runServer, serve } from "@degu/testing/serving.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
} from "@std/assert";
import { module, startApp, startBlockingApp } from "./worker_serving.ts";
import { fromPostedError, toPostedError } from "@degu/internal/worker/worker_port.ts";

async function serveWorker(wrap: (app: WorkerApp) => App = (app) => app, address?: Address) {
  const logger = new RecordingLogger();
  const app = await startApp(logger);
  const serving = serve(wrap(app), { logger }, address);
  return {
    ...{ app, logger, client: serving.makeClient(), address: serving.address },
    messages: app.messages,
    async [Symbol.asyncDispose]() {
      await serving[Symbol.asyncDispose]();
      await app.close();
    },
  };
}

const text = async (response: Promise<{ text(): Promise<string> }>) =>
  await (await response).text();

const areEqual = (a: Uint8Array, b: Uint8Array) =>
  a.length === b.length && a.every((byte, i) => byte === b[i]);

/** The pause between two requests to a worker that is to be started again. */
const pause = () => new Promise((resolve) => setTimeout(resolve, 25));

// ───────────────────────── what crosses

Deno.test("a request crosses: method, path below the mount, headers, ranges, and the session", async () => {
  await using worker = await serveWorker((app) =>
    routes({
      "/a/": routes({
        "GET /{name}/{rest}": (request, session, api) => {
          request.store.set("user", { name: "anna" });
          const headers = { "x-added": "yes", "x-removed": undefined };
          const path = ["describe", ...request.path];
          return app.handle((request as Request).with({ headers, path }), session, api);
        },
      }),
    })
  );
  const headers = { range: new Range(2, 5), "x-removed": "no", "x-kept": "é" };
  const { client } = worker;
  const received = await (await client.get("/a/b/c%20d?q=%20", headers)).json() as {
    session: Record<string, unknown>;
    [property: string]: unknown;
  };
  const { name, address } = received.session;
  assertMatch(`${name}`, /^127\.0\.0\.1:\d+$/);
  assertEquals(received, {
    method: "GET",
    uri: "/describe/b/c%20d?q=%20",
    mount: [],
    path: ["describe", "b", "c d"],
    query: "q=%20",
    parameters: {},
    headers: { "x-added": "yes", "x-kept": "é" },
    range: "Range",
    rangeText: "bytes=2-4",
    prototypes: [null, null],
    store: [],
    api: [
      ...["Body", "BodyIter", "ChunkedBody", "ChunkedBodyIter"],
      ...["Range", "SuffixRange", "ContentRange", "UnsatisfiedRange"],
    ],
    session: { name, address, user: null, requests: 0, maxRequests: "Infinity", certificate: null },
  });
});

Deno.test("responses cross: bytes, iterables, streams, chunks with extensions, ranges, HEAD", async () => {
  await using worker = await serveWorker();
  const { client } = worker;
  const bytes = await client.get("/bytes");
  assertEquals(bytes.headers["set-cookie"], ["c=d", "e=f"]);
  assertEquals([bytes.headers["x-a"], await bytes.bytes()], ["b", new Uint8Array([1, 2])]);
  assertEquals(await text(client.get("/chunks")), "0,1,2,3,4,");
  assertEquals((await (await client.get("/iterable")).bytes()).length, 7);
  const range = await client.get("/range");
  assertEquals([range.status, range.headers["content-range"]], [206, new ContentRange(2, 4, 9)]);
  assertEquals(await range.text(), "23");
  const { body } = await client.get("/extensions");
  assert(body?.chunked);
  assertEquals(await body.readChunk(), [["k", "v"], new Uint8Array([65])]);
  await body.cancel();
  for (const path of ["/iterable", "/chunks", "/bytes"]) {
    const { status, headers } = await client.request("HEAD", path);
    const framing = headers["content-length"] ?? headers["transfer-encoding"];
    assertEquals([status, framing], [200, { "/iterable": 7, "/chunks": "chunked" }[path] ?? 2]);
  }
});

Deno.test("bodies of every size and framing cross in both directions", async () => {
  await using worker = await serveWorker();
  const { client } = worker;
  for (const size of [0, 1, 65535, 1_300_000]) {
    const bytes = new Uint8Array(size).map((_, i) => i * 7 + (i >> 8));
    const chunks = () => new ChunkedBodyIter([[null, bytes], [null, new Uint8Array()]]);
    const bodies = [() => bytes, () => new BodyIter([bytes], size), ...size > 0 ? [chunks] : []];
    for (const makeBody of bodies) {
      for (const path of ["/echo", "/stream"]) {
        const response = await client.request("POST", path, {}, makeBody(), { duplex: "full" });
        assertEquals((await response.bytes()).length, size);
      }
      const response = await client.request("POST", "/echo", {}, makeBody());
      assert(areEqual(await response.bytes(), bytes), `${size}`);
    }
  }
});

Deno.test("a request and its response are one stream in both directions", async () => {
  await using worker = await serveWorker();
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const writer = writable.getWriter();
  const write = (text: string) => writer.write(new TextEncoder().encode(text));
  const written = write("one");
  const options = { duplex: "full" } as const;
  const response = await worker.client.request("POST", "/upper", {}, readable, options);
  const reader = response.readable.pipeThrough(new TextDecoderStream()).getReader();
  assertEquals((await reader.read()).value, "ONE");
  await written;
  write("two");
  assertEquals((await reader.read()).value, "TWO");
  writer.close();
  assertEquals((await reader.read()).done, true);
});

Deno.test("a certificate and a name cross, and the trust is that of the server at the time of the call", async () => {
  await using pki = await TempPKI.create();
  const logger = new RecordingLogger();
  await using worker = await startApp(logger);
  let isTrusted: boolean | "unknown" = true;
  const app: AppObject = {
    onConnect: () => ({
      user: "anna",
      isTrusted() {
        if (isTrusted !== "unknown") return isTrusted;
        throw new ResponseError(reply(503));
      },
    }),
    handle: (request, session) => worker.handle(request, session),
  };
  const server = new SSLServer(pki.serverSslconfig, ["127.0.0.1", 0], app, { logger });
  await using serving = runServer(server, logger);
  await server.ready;
  const client = new SSLClient(pki.clientSslconfig, serving.address);
  using conn = await client.connect();
  const { session } = await (await conn.get("/describe")).json() as {
    session: { user: string; certificate: Record<string, unknown> };
  };
  const { certificate } = session;
  const [own] = [...server.sessions].map(({ peerCertificate }) => peerCertificate!);
  assertEquals(session.user, "anna");
  assertEquals(certificate.fingerprint256, own!.fingerprint256);
  assertEquals(certificate.validFrom, own!.validFrom.getTime());
  assertEquals(certificate.authority, own!.authority!.publicKey256);
  assertEquals(await text(conn.get("/trust")), "trusted");
  assertEquals(await text(conn.get("/checkTrusted")), "trusted");
  isTrusted = "unknown";
  assertEquals((await (await client.connect()).get("/trust")).status, 503);
  isTrusted = true;
  using untrusted = await client.connect();
  await text(untrusted.get("/bytes"));
  isTrusted = false;
  assertEquals(await text(untrusted.get("/trust")), "untrusted");
  assertEquals((await untrusted.get("/checkTrusted")).status, 403);
  await logger.waitFor("info", "checkTrusted() found that the peer is not trusted");
  // The server ends the session, also if the app has not awaited the check.
  isTrusted = true;
  using careless = await client.connect();
  await text(careless.get("/bytes"));
  isTrusted = false;
  assertEquals(await text(careless.get("/uncheckedTrust")), "not awaited");
  await assertRejects(() => careless.get("/bytes"));
});

Deno.test("the trust of an anonymous peer, and addIdentity", async () => {
  await using worker = await serveWorker();
  const { client } = worker;
  assertEquals(await text(client.get("/trust")), "anonymous");
  assertEquals((await client.get("/checkTrusted")).status, 403);
  assertEquals((await client.get("/addIdentity")).status, 200);
});

Deno.test("session.store lasts as long as the connection, and its values are disposed of in the worker", async () => {
  await using worker = await serveWorker();
  const { client, messages, logger } = worker;
  const conn = await client.connect();
  for (const count of ["1", "2", "3"]) assertEquals(await text(conn.get("/store")), count);
  assertEquals(messages.all, []);
  conn.close();
  await messages.waitFor("disposed after 3");
  const other = await client.connect();
  assertEquals(await text(other.get("/store")), "1");
  assertEquals((await other.get("/storeFailure")).status, 200);
  other.close();
  await logger.waitFor("error", "can't be disposed of");
});

Deno.test("session.warn() and session.close() have their effect in the server", async () => {
  await using worker = await serveWorker();
  const { client, logger } = worker;
  assertEquals((await client.get("/warn")).status, 200);
  assertEquals(await logger.waitFor("info"), ["a line\\u{a}of the app: TypeError: the reason"]);
  await assertRejects(() => client.get("/closeSession"));
  await logger.waitFor("debug", "closed by the app: Error: not wanted");
});

Deno.test("an app sees by the signal of its request and of its session that the client disconnects", async () => {
  await using worker = await serveWorker();
  for (const [path, prefix] of [["signal", ""], ["sessionSignal", "session "]]) {
    using peer = await RawPeer.connect(worker.address, `GET /${path} HTTP/1.1\r\nhost: a\r\n\r\n`);
    await worker.messages.waitFor("waiting");
    peer.close();
    await worker.messages.waitFor(`${prefix}aborted: the peer has closed the connection`);
    worker.messages.all.length = 0;
  }
});

Deno.test("a signal that an app in front has limited is aborted at its limit", async () => {
  await using worker = await startApp();
  const limited = timeLimit(worker, 0.05);
  const { status } = await callApp(limited, mkreq("GET", "/signal"));
  assertEquals(status, 503);
  await worker.messages.waitFor("aborted: the peer has closed the connection");
});

// ───────────────────────── errors

const appErrors: readonly (readonly [
  path: string,
  body: string | null,
  status: number,
  level: "error" | "warn" | "info" | null,
  line: string,
])[] = [
  ["throw", null, 500, "error", "RangeError: thrown by the app"],
  ["invalid", null, 500, "error", "bad name"],
  ["uncloneable", null, 500, "error", "x-function"],
  ["tooManyFiles", null, 503, "warn", "Too many open files"],
  ["limit", "four", 413, "info", "status 413"],
  ["json", "{", 400, "info", "the body of the request is not JSON in UTF-8"],
  ["throwResponse", null, 418, null, ""],
];

Deno.test("a server answers and logs an error of an app in a worker as without a worker", async (t) => {
  await using worker = await serveWorker();
  const { client, logger } = worker;
  await testEachRow(t, appErrors, async (path, body, status, level, line) => {
    assertEquals((await client.request("POST", `/${path}`, {}, body)).status, status);
    if (level !== null) await logger.waitFor(level, line);
    if (path === "throw") assertStringIncludes(logger.messagesOf("error")[0]!, "worker_apps.ts");
    assertEquals(await text(client.get("/bytes")), "\x01\x02");
  });
});

Deno.test("a request that breaks off, or breaks the grammar, fails in the worker, and a body that fails there cuts the response", async () => {
  await using worker = await serveWorker();
  const head = "POST /echo HTTP/1.1\r\nhost: a\r\n";
  using broken = await RawPeer.connect(
    worker.address,
    `${head}transfer-encoding: chunked\r\n\r\n5\r\nhelloXX`,
  );
  assertStringIncludes(await broken.readPreamble(), " 400 ");
  using cut = await RawPeer.connect(worker.address, `${head}content-length: 9\r\n\r\nabc`);
  await cut.closeWrite();
  const { received } = await cut.readToEnd();
  assertEquals(received, "");
  assertEquals(worker.logger.messagesOf("error"), []);
  const response = await worker.client.get("/brokenBody");
  await assertRejects(() => response.bytes());
  await worker.logger.waitFor("error", "the disk has failed");
});

Deno.test("a body that the app doesn't read to its end ends the session, as without a worker", async () => {
  await using worker = await serveWorker();
  const { address, logger } = worker;
  for (const [path, answer] of [["unread", "not read"], ["partly", "true"]]) {
    const head = `POST /${path} HTTP/1.1\r\nhost: a\r\ncontent-length: 90000000\r\n\r\n`;
    using peer = await RawPeer.connect(address, head + "x".repeat(100));
    assertStringIncludes(await peer.readPreamble(), "connection: close");
    assertEquals(await peer.readExactly(answer!.length), answer);
    await logger.waitFor("info", "unread").catch(() => {});
  }
});

// ───────────────────────── backpressure

/** Lets the event loops of both threads turn often. */
async function makeTurns(client: Client): Promise<void> {
  for (let i = 0; i < 50; i++) await text(client.get("/bytes"));
}

Deno.test("the worker doesn't run ahead of a client that doesn't read, and stops when it leaves", async () => {
  // The buffer of a Unix socket doesn't grow.
  await using dir = await createTempDir();
  await using worker = await serveWorker(undefined, `${dir.path}/socket`);
  using peer = await RawPeer.connect(worker.address, "GET /endless HTTP/1.1\r\nhost: a\r\n\r\n");
  await peer.readPreamble();
  const countSent = () => Number(worker.messages.all.at(-1) ?? 0);
  let sent: number;
  do {
    sent = countSent();
    await makeTurns(worker.client);
  } while (sent === 0 || countSent() > sent);
  assert(sent < 8_000_000, `${sent}`);
  peer.close();
});

Deno.test("the server doesn't read a body that the app doesn't take", async () => {
  // The buffer of a Unix socket doesn't grow.
  await using dir = await createTempDir();
  await using worker = await serveWorker(undefined, `${dir.path}/socket`);
  const { client, messages } = worker;
  let sent = 0;
  const size = 100 * 1048576;
  const body = new BodyIter(
    (function* () {
      for (; sent < size; sent += 65536) yield new Uint8Array(65536);
    })(),
    size,
  );
  const response = client.request("POST", "/late", {}, body);
  response.catch(() => {});
  await messages.waitFor("late");
  let earlier;
  do {
    earlier = sent;
    await makeTurns(client);
  } while (sent > earlier);
  assert(sent < 8_000_000, `${sent}`);
  await client.get("/release");
  // 100 MiB are above the limit of `bytes()`.
  assertEquals((await response).status, 413);
});

// ───────────────────────── a worker that is busy, ends, or is closed

Deno.test("while an app computes, the server and its other apps answer", async () => {
  await using app = await startBlockingApp();
  const ping = () => [204, "No Content", {}, null] as const;
  await using serving = serve(routes({ "GET /ping": ping, "/app/": app }));
  const blocked = text(serving.makeClient().get("/app/block"));
  for (let i = 0; i < 20; i++) {
    assertEquals((await serving.makeClient().get("/ping")).status, 204);
  }
  app.unblock();
  assertEquals(await blocked, "unblocked");
});

Deno.test("a worker that is silent for three seconds answers 503, and continues later", async () => {
  await using app = await startBlockingApp();
  await using serving = serve(app);
  const blocked = text(serving.makeClient().get("/block"));
  // Requests before the end of the three seconds wait.
  const waiting: Promise<number>[] = [];
  const unavailable = Promise.withResolvers<unknown>();
  const timer = setInterval(() => {
    const response = serving.makeClient().get("/bytes");
    waiting.push(response.then(({ status, headers }) => {
      if (status === 503) unavailable.resolve(headers["retry-after"]);
      return status;
    }));
  }, 500);
  assertEquals(await withTimeout(unavailable.promise, "a response with 503"), "1");
  clearInterval(timer);
  app.unblock();
  assertEquals(await blocked, "unblocked");
  const statuses = await Promise.all(waiting);
  assertEquals(statuses[0], 200);
  assertEquals((await serving.makeClient().get("/bytes")).status, 200);
});

Deno.test("a worker that ends answers 503, cuts responses, and is started again", async () => {
  const endings = [["crash", "has ended by itself"], [
    "uncaught",
    "has failed: Error: nobody catches this",
  ]] as const;
  await Promise.all(endings.map(async ([path, line]) => {
    await using worker = await serveWorker();
    const { client, logger } = worker;
    const half = await client.get("/bytes");
    assertEquals(half.status, 200);
    const crashed = await client.get(`/${path}`);
    assertEquals([crashed.status, crashed.headers["retry-after"]], [503, "1"]);
    await logger.waitFor("error", line);
    let status;
    while ((status = (await client.get("/bytes")).status) === 503) await pause();
    assertEquals(status, 200);
  }));
  await using worker = await serveWorker();
  const response = await worker.client.get("/halfThenCrash");
  await assertRejects(() => response.bytes());
});

Deno.test("a worker is started at most once a second, and its failure is logged", async () => {
  await using dir = await createTempDir();
  const counter = `${dir.path}/counter`;
  await Deno.writeTextFile(counter, "0");
  const logger = new RecordingLogger();
  const source = { module, name: "failAfter", args: [counter] };
  await using app = await WorkerApp.start(source, { logger });
  await using serving = serve(app);
  const start = performance.now();
  await serving.makeClient().get("/crash");
  while (performance.now() - start < 2500) {
    assertEquals((await serving.makeClient().get("/bytes")).status, 503);
    await pause();
  }
  const count = Number(await Deno.readTextFile(counter));
  assert(count >= 2 && count <= 4, `${count}`);
  assertStringIncludes(logger.messagesOf("error").join(), "no second app");
});

Deno.test("if the app hangs while it is started again, clients that leave free their slots, and others get 503", async () => {
  const calls = new Int32Array(new SharedArrayBuffer(4));
  const source = { module, name: "hangAfter", args: [calls] };
  await using app = await WorkerApp.start(source, { logger: new RecordingLogger() });
  await using serving = serve(app, { maxConnections: 2 });
  await serving.makeClient().get("/crash");
  // The request that starts the worker again waits until its client leaves.
  while (Atomics.load(calls, 0) < 2) {
    using peer = await RawPeer.connect(serving.address, "GET /bytes HTTP/1.1\r\n\r\n");
    await Promise.race([peer.readPreamble().catch(() => {}), pause(), pause()]);
  }
  const { status } = await withTimeout(serving.makeClient().get("/bytes"), "a response");
  assertEquals(status, 503);
});

Deno.test("close() disposes of the app, answers pending requests, and later requests get 503", async () => {
  const messages: unknown[] = [];
  const source = { module, name: "AppClass", args: ["lamp"] };
  const onMessage = (message: unknown) => void messages.push(message);
  const app = await WorkerApp.start(source, { onMessage });
  assertEquals(app.isMount, true);
  assertEquals(await (await callApp(app, mkreq("GET", "/"))).text(), "lamp");
  await app.close();
  await app.close();
  assertEquals(messages, ["lamp was disposed of"]);
  assertEquals((await callApp(app, mkreq("GET", "/"))).status, 503);
  const blocked = await startBlockingApp();
  const pending = callApp(blocked, mkreq("GET", "/block"));
  await blocked.close();
  assertEquals((await pending).status, 503);
  blocked.unblock();
});

// ───────────────────────── the start

Deno.test("the app is an export, or what a function or a class makes of the arguments", async () => {
  const args = ["kitchen", { list: [1, new Date(0)] }];
  await using app = await WorkerApp.start({ module: new URL(module), name: "makeApp", args });
  assertEquals(await (await callApp(app, mkreq("GET", "/"))).json(), {
    name: "kitchen",
    options: { list: [1, "1970-01-01T00:00:00.000Z"] },
  });
});

const startErrors: readonly (readonly [source: object, message: RegExp])[] = [
  [{ module: "./a.ts", name: "app" }, /source\.module: must be an absolute URL/],
  [{ module, name: "app", args: 5 }, /source\.args: must be an array/],
  [{ module, name: "missing" }, /has no export "missing"/],
  [{ module, name: "makeNothing", args: [] }, /the export "makeNothing"/],
  [{ module, name: "failToMake", args: [] }, /no app today/],
  [{ module, name: "withConnect" }, /has onConnect, which can't run in a worker/],
  [{ module, name: "makeApp", args: [() => {}] }, /could not be cloned/],
];
Deno.test("start() rejects with the reason", async () => {
  for (const [source, message] of startErrors) {
    const error = await assertRejects(() => WorkerApp.start(source as never));
    assertInstanceOf(error, Error);
    assertMatch(error.message, message);
  }
});

// Errors that are posted to another thread.

/** Returns the error that the other thread receives. */
function postError(thrown: unknown): Error {
  return fromPostedError(structuredClone(toPostedError(thrown)));
}

Deno.test("an error of a worker is restored with its class, name, message, stack and cause", () => {
  const errors: Error[] = [
    new RangeError("too large"),
    new Deno.errors.AddrInUse("taken"),
    new DOMException("stopped", "AbortError"),
    Object.assign(new Error("odd"), { name: "OddError" }),
    ...["Array", "constructor", "toString"].map((name) =>
      Object.assign(new Error("odd"), { name })
    ),
    new Error("outer", { cause: new TypeError("inner", { cause: "deepest" }) }),
    new AggregateError([new TypeError("a"), "b", 3], "all failed"),
  ];
  for (const error of errors) {
    const received = postError(error);
    assertStrictEquals(Object.getPrototypeOf(received), Object.getPrototypeOf(error));
    assertEquals([received.name, received.message], [error.name, error.message]);
    assertEquals([received.stack, received.cause], [error.stack, error.cause]);
    const errorsOf = (error: Error) => (error as Partial<AggregateError>).errors;
    assertEquals(errorsOf(received), errorsOf(error));
  }
});

Deno.test("every value that a worker throws becomes an error that describes it, if it can be read", () => {
  for (const thrown of [undefined, { a: 1 }, Symbol("s")]) {
    const { name, message } = postError(thrown);
    assertEquals([name, message], ["Error", Deno.inspect(thrown)]);
  }
  const uncloneable = postError(new RangeError("outer", { cause: { answer: () => 42 } }));
  assertEquals([uncloneable.name, uncloneable.message], ["RangeError", "outer"]);
  assertEquals(uncloneable.cause, Deno.inspect({ answer: () => 42 }));
  const fail = () => {
    throw new Error("in a getter");
  };
  const withProperty = (property: string, descriptor: PropertyDescriptor) =>
    Object.defineProperty(new Error("odd"), property, descriptor);
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  const rows: [thrown: unknown, message: string][] = [
    ["text", "text"],
    [withProperty("name", { value: () => 5 }), "odd"],
    [withProperty("stack", { value: Symbol("s") }), "odd"],
    [withProperty("message", { get: fail }), "the thrown value can't be read"],
    [withProperty("code", { get: fail }), "the thrown value can't be read"],
    [withProperty("cause", { get: fail }), "the thrown value can't be read"],
    [proxy, "the thrown value can't be read"],
    [{ [Symbol.for("Deno.customInspect")]: fail }, "the thrown value can't be read"],
  ];
  for (const [thrown, message] of rows) {
    const received = postError(thrown);
    assertInstanceOf(received, Error);
    assertEquals(received.message, message);
  }
});
