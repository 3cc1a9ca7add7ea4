/**
 * Streams, aborts and clients that leave, through createFetch and fromFetchHandler; and the unmodified
 * frameworks Hono and itty-router.
 */
import {
  Client,
  createFetch,
  type FetchHandler,
  type FetchHandlerInfo,
  fromFetchHandler,
} from "@degu/degu";
import { ConnectionClosedError, ConnectionError } from "@degu/degu/base";
import type { AppFunction } from "@degu/degu/server";
import { CLOSING_ACTIONS, waitForAbort } from "@degu/testing/aborts.ts";
import { recordIntervals } from "@degu/testing/clock.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { RawPeer, RawServer, waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { serve, type Serving } from "@degu/testing/serving.ts";
import { serveHandler } from "./web_serving.ts";
import { assert, assertEquals, assertInstanceOf, assertStrictEquals } from "@std/assert";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import type { Connection } from "@degu/degu/client";
import { Hono } from "npm:hono@4.13.19";
import { AutoRouter, error as ittyError, type IRequest } from "npm:itty-router@6.0.0";

// Aborts and cancellation through the fetch adapters: each side is notified with the reason.

const PIECE = new Uint8Array(65536);
const encode = (text: string) => new TextEncoder().encode(text);

/** Returns the error with which a promise rejects in time. */
function catchSoon(promise: Promise<unknown>, label: string): Promise<unknown> {
  return withTimeout(catchRejection(promise, label), `${label} rejects`);
}

/**
 * Makes a stream that enqueues the bytes once or repeatedly and never ends; `cancelled` resolves to
 * the reason of its cancellation.
 */
function makeSource(bytes: Uint8Array, goesOn = false) {
  const { promise, resolve } = Promise.withResolvers<unknown>();
  const enqueue = (controller: ReadableStreamDefaultController<Uint8Array>) =>
    controller.enqueue(bytes);
  const stream = new ReadableStream({ [goesOn ? "pull" : "start"]: enqueue, cancel: resolve });
  return { stream, cancelled: withTimeout(promise, "the stream is canceled") };
}

const makeEndlessStream = () => makeSource(PIECE, true);
const makeStuckStream = () => makeSource(PIECE);
const makeEventStream = () => makeSource(encode("data: hello\n\n"));
const streams = [["that goes on", makeEndlessStream], ["that is stuck", makeStuckStream]] as const;

/** An app that reads every body. */
const readingApp: AppFunction = async (request) => {
  await request.body?.writeTo({ write: () => Promise.resolve() });
  return [200, "OK", {}, null];
};

Deno.test("fetch rejects with the reason of a signal that is already aborted", async (t) => {
  const reason = new Error("not now");
  const signal = AbortSignal.abort(reason);
  const { stream, cancelled } = makeStuckStream();
  // There is no listener, so a fetch that tries to connect fails with another error.
  const fetch = createFetch(new Client(["127.0.0.1", 1]));
  const rows: [name: string, start: () => Promise<Response>][] = [
    ["by init", () => fetch("/", { signal })],
    ["by Request", () => fetch(new Request("http://127.0.0.1:1/", { signal }))],
    ["with a body", () => fetch("/", { method: "POST", body: stream, signal })],
  ];
  for (const [name, start] of rows) {
    await t.step(name, async () => assertStrictEquals(await catchSoon(start(), name), reason));
  }
  assertStrictEquals(await cancelled, reason);
});

for (const [name, make] of streams) {
  Deno.test(`an abort while sending a body ${name}`, async () => {
    const aborter = new AbortController();
    const reason = new Error("enough");
    const readStarted = Promise.withResolvers<void>();
    const signalReason = Promise.withResolvers<unknown>();
    await using serving = serve(fromFetchHandler(async (request) => {
      const reader = request.body!.getReader();
      request.signal.addEventListener("abort", () => signalReason.resolve(request.signal.reason));
      await reader.read();
      readStarted.resolve();
      while (!(await reader.read()).done);
      return new Response("complete");
    }));
    const { stream, cancelled } = make();
    const fetch = createFetch(serving.makeClient());
    const responding = fetch("/", { method: "POST", body: stream, signal: aborter.signal });
    const rejection = catchSoon(responding, "an aborted fetch");
    await withTimeout(readStarted.promise, "the body arrives");
    aborter.abort(reason);
    assertStrictEquals(await rejection, reason);
    assertStrictEquals(await cancelled, reason);
    const abortReason = await withTimeout(signalReason.promise, "the handler's signal is aborted");
    assert(
      abortReason instanceof ConnectionError,
      `${abortReason}`,
    );
    assertEquals(serving.logger.messagesOf("error"), []);
  });

  Deno.test(`an abort while reading a response ${name}, and canceling it, end its source`, async () => {
    const reason = new Error("seen enough");
    for (const isAborted of [true, false]) {
      const aborter = new AbortController();
      const { stream, cancelled } = make();
      const signal = Promise.withResolvers<AbortSignal>();
      await using serving = serve(fromFetchHandler((request) => {
        signal.resolve(request.signal);
        return new Response(stream);
      }));
      const fetch = createFetch(serving.makeClient());
      const reader = (await fetch("/", { signal: aborter.signal })).body!.getReader();
      if (isAborted) {
        await reader.read();
        const readToEnd = async () => {
          while (!(await reader.read()).done);
        };
        const reading = catchSoon(readToEnd(), "reading goes on");
        aborter.abort(reason);
        assertStrictEquals(await reading, reason);
      } else await reader.cancel(reason);
      // A server detects at a write that its peer has gone; a stuck stream doesn't write.
      if (make === makeStuckStream) serving.server.close();
      await cancelled;
      assert((await signal.promise).aborted);
      assertEquals(serving.logger.messagesOf("error"), []);
    }
  });
}

Deno.test("the client's own signal aborts its fetches", async () => {
  const aborter = new AbortController();
  const reason = new Error("shutting down");
  using server = new RawServer();
  const fetch = createFetch(new Client(server.address, { signal: aborter.signal }));
  const rejection = catchSoon(fetch("/"), "an aborted fetch");
  await (await server.accept()).readPreamble();
  aborter.abort(reason);
  // The reason of the client's signal is the cause, like any other failure of a request.
  assertStrictEquals((await rejection as Error).cause, reason);
  const refused = await catchSoon(fetch("/"), "an aborted client");
  assertStrictEquals((refused as Error).cause, reason);
});

Deno.test("a peer that breaks off an upload makes the handler's reads fail", async () => {
  const failure = Promise.withResolvers<unknown>();
  const signal = Promise.withResolvers<AbortSignal>();
  await using serving = serve(fromFetchHandler(async (request) => {
    signal.resolve(request.signal);
    try {
      await request.bytes();
    } catch (error) {
      failure.resolve(error);
      throw error;
    }
    return new Response("complete");
  }));
  using peer = await RawPeer.connect(serving.address);
  await peer.send("POST / HTTP/1.1\r\ncontent-length: 10\r\n\r\n12345");
  await peer.closeWrite();
  await peer.assertClosedSilently();
  const error = await withTimeout(failure.promise, "reading fails");
  assertInstanceOf(error, ConnectionError);
  assertEquals(error.code, "BODY_INCOMPLETE");
  assertStrictEquals((await signal.promise).reason, error);
});

Deno.test("a response whose stream errors is detectably cut", async (t) => {
  const framings = [{}, { "content-length": "100000" }];
  for (const headers of framings) {
    await t.step(Object.keys(headers)[0] ?? "chunked", async () => {
      const stream = new ReadableStream({
        async pull(controller) {
          await new Promise((resolve) => setTimeout(resolve));
          if (pulls++ === 0) controller.enqueue(PIECE);
          else controller.error(new Error("the disk is gone"));
        },
      });
      let pulls = 0;
      await using serving = serve(fromFetchHandler(() => new Response(stream, { headers })));
      const response = await createFetch(serving.makeClient())("/");
      const error = await catchSoon(response.bytes(), "a body that is cut");
      assertInstanceOf(error, ConnectionError);
      assert((await serving.logger.waitFor("error"))[0]?.includes("the disk is gone"));
    });
  }
});

Deno.test("a request whose stream errors rejects the fetch, and is detectably cut", async () => {
  const error = new Error("the disk is gone");
  const stream = new ReadableStream({
    async pull(controller) {
      await new Promise((resolve) => setTimeout(resolve));
      controller.error(error);
    },
  });
  await using serving = serve(readingApp);
  const responding = createFetch(serving.makeClient())("/", { method: "POST", body: stream });
  const rejection = await catchSoon(responding, "a body that fails");
  assertInstanceOf(rejection, TypeError);
  assertStrictEquals(rejection.cause, error);
  assertEquals(serving.logger.messagesOf("error"), []);
});

// Ends of sessions through fromFetchHandler.

const get = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

for (const [closing, leave] of Object.entries(CLOSING_ACTIONS)) {
  Deno.test(`request.signal is aborted when a client ${closing} while a handler is pending`, async () => {
    using _intervals = recordIntervals(10);
    const handlerCalled = Promise.withResolvers<void>();
    const signalReason = Promise.withResolvers<unknown>();
    await using serving = serveHandler(async ({ signal }) => {
      handlerCalled.resolve();
      signalReason.resolve(await waitForAbort(signal));
      return new Response("too late");
    });
    using peer = await RawPeer.connect(serving.address, get);
    await withTimeout(handlerCalled.promise, "the handler works");
    await leave(peer);
    assertInstanceOf(
      await withTimeout(signalReason.promise, "the handler goes on"),
      ConnectionClosedError,
    );
    if (leave === CLOSING_ACTIONS["ends its writing side"]) await peer.readUntil("too late");
  });

  Deno.test(`an idle stream is canceled when a client ${closing}`, async () => {
    using _intervals = recordIntervals(10);
    const { stream, cancelled } = makeEventStream();
    const signals: AbortSignal[] = [];
    await using serving = serveHandler(({ signal }) => {
      signals.push(signal);
      return new Response(stream);
    });
    using peer = await RawPeer.connect(serving.address, get);
    await peer.readUntil("hello");
    const [session] = serving.server.sessions;
    await leave(peer);
    const cancelReason = await cancelled;
    assertInstanceOf(cancelReason, ConnectionClosedError);
    assertStrictEquals(signals[0]!.reason, cancelReason);
    assertStrictEquals(session!.signal.reason, cancelReason);
    while (serving.server.sessions.size > 0) await waitForTick();
    assertEquals(serving.logger.messagesOf("error"), []);
  });
}

Deno.test("a stream that a handler creates after its client has left is canceled", async () => {
  using _intervals = recordIntervals(10);
  const { stream, cancelled } = makeEventStream();
  await using serving = serveHandler(async ({ signal }) => {
    await waitForAbort(signal);
    return new Response(stream);
  });
  using peer = await RawPeer.connect(serving.address, get);
  await peer.closeWrite();
  assertInstanceOf(await cancelled, ConnectionClosedError);
  assertEquals(serving.logger.messagesOf("error"), []);
});

// Bodies through the adapters: they stream in both directions, without waiting for the whole body.

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const WORDS = ["one", "two", "three", "four"];
const TEXT = WORDS.join("");

/** Words that are sent to the other side, each when the previous word has arrived. */
class WordRelay {
  readonly #arrived = WORDS.map(() => Promise.withResolvers<void>());

  async *send(): AsyncGenerator<Uint8Array<ArrayBuffer>, void, void> {
    for (const [i, word] of WORDS.entries()) {
      const previous = this.#arrived[i - 1];
      if (previous !== undefined) {
        await withTimeout(previous.promise, `"${WORDS[i - 1]}" arrives alone`);
      }
      yield encoder.encode(word);
    }
  }

  stream(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return ReadableStream.from(this.send());
  }

  /** Reads the pieces; resolves to the whole text. */
  async receive(pieces: AsyncIterable<Uint8Array>): Promise<string> {
    let text = "";
    for await (const piece of pieces) {
      text += decoder.decode(piece);
      for (const [i, { resolve }] of this.#arrived.entries()) {
        if (text.length >= WORDS.slice(0, i + 1).join("").length) resolve();
      }
    }
    return text;
  }
}

const makeReadingHandler = (relay: WordRelay) => async (request: Request) =>
  new Response(await relay.receive(request.body!));

Deno.test("createFetch and fromFetchHandler stream requests and responses", async (t) => {
  const framings = { chunked: {}, "of known length": { "content-length": `${TEXT.length}` } };
  for (const [framing, headers] of Object.entries(framings)) {
    await t.step(`a request ${framing}`, async () => {
      const relay = new WordRelay();
      await using serving = serveHandler(makeReadingHandler(relay));
      const fetch = createFetch(serving.makeClient());
      const response = await fetch("/", { method: "POST", body: relay.stream(), headers });
      assertEquals(await response.text(), TEXT);
    });
    await t.step(`a response ${framing}`, async () => {
      const relay = new WordRelay();
      await using serving = serveHandler(() => new Response(relay.stream(), { headers }));
      const response = await createFetch(serving.makeClient())("/");
      assertEquals(await relay.receive(response.body!), TEXT);
    });
  }
});

Deno.test("fromFetchHandler does not wait for the rest of a chunk", async () => {
  const relay = new WordRelay();
  await using serving = serveHandler(makeReadingHandler(relay));
  using peer = await RawPeer.connect(serving.address);
  const size = TEXT.length.toString(16);
  await peer.send(`POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n${size}\r\n`);
  for await (const bytes of relay.send()) await peer.send(bytes);
  await peer.send("\r\n0\r\n\r\n");
  await peer.readPreamble();
  assertEquals(await peer.readExactly(TEXT.length), TEXT);
});

/** Far more pieces than the buffer of a Unix socket holds, which doesn't grow. */
const MANY = 48;
const PIECE_BYTES = 1048576;
/** The buffers count as full after this many ticks of the event loop without another piece. */
const QUIET_TURNS = 20;

async function waitUntilQuiet(count: () => number): Promise<void> {
  for (let quietTicks = 0, previousCount = -1; quietTicks < QUIET_TURNS; quietTicks++) {
    if (count() !== previousCount) quietTicks = 0;
    previousCount = count();
    await waitForTick();
  }
}

/** Makes a stream of MANY pieces, and counts the pieces that were read. */
function makeLargeStream() {
  const source = { taken: 0, stream: new ReadableStream<Uint8Array<ArrayBuffer>>() };
  source.stream = new ReadableStream({
    pull(controller) {
      if (source.taken++ < MANY) controller.enqueue(new Uint8Array(PIECE_BYTES));
      else controller.close();
    },
  });
  return source;
}

async function countBytes(stream: ReadableStream<Uint8Array>): Promise<number> {
  let length = 0;
  for await (const piece of stream) length += piece.length;
  return length;
}

Deno.test("a response is produced, and a request consumed, no faster than it is read", async () => {
  const [upload, download] = [makeLargeStream(), makeLargeStream()];
  const readAllowed = Promise.withResolvers<void>();
  const handler: FetchHandler = async ({ body }) => {
    if (body === null) return new Response(download.stream);
    await readAllowed.promise;
    return new Response(`${await countBytes(body)}`);
  };
  await using dir = await createTempDir();
  await using serving = serveHandler(handler, {}, `${dir.path}/socket`);
  const fetch = createFetch(serving.makeClient());
  const response = await fetch("/");
  await waitUntilQuiet(() => download.taken);
  assert(
    download.taken < MANY / 2,
    `${download.taken} of ${MANY} pieces were made before one was read`,
  );
  assertEquals(await countBytes(response.body!), MANY * PIECE_BYTES);

  const responding = fetch("/", { method: "POST", body: upload.stream });
  await waitUntilQuiet(() => upload.taken);
  assert(
    upload.taken < MANY / 2,
    `${upload.taken} of ${MANY} pieces were taken before one was read`,
  );
  readAllowed.resolve();
  assertEquals(await (await responding).text(), `${MANY * PIECE_BYTES}`);
});

// createFetch: responses that arrive while the request's stream is being sent.

function start(server: RawServer, init: RequestInit = {}) {
  const canceled = Promise.withResolvers<unknown>();
  let controller!: ReadableStreamDefaultController<Uint8Array>;
  const body = new ReadableStream<Uint8Array>({
    start: (given) => void (controller = given),
    cancel: (reason) => canceled.resolve(reason),
  });
  controller.enqueue(encodeLatin1("hello"));
  const fetch = createFetch(new Client(server.address));
  const responding = fetch("/", { method: "PUT", body, duplex: "half", ...init } as RequestInit);
  return { responding, controller, canceled: canceled.promise };
}

Deno.test("fetch resolves to an early refusal, and cancels the request's stream", async () => {
  using server = new RawServer();
  const { responding, canceled } = start(server);
  const peer = await server.accept();
  await peer.readUntil("hello\r\n");
  await peer.send("HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nno");
  const response = await withTimeout(responding, "the refusal");
  assertEquals([response.status, await response.text()], [413, "no"]);
  await withTimeout(canceled, "the stream is canceled");
  await peer.assertClosedSilently();
});

Deno.test("an abort of a fetch after its early response ends both streams, and an early redirect that is refused cancels the stream", async () => {
  {
    using server = new RawServer();
    const abort = new AbortController();
    const { responding, canceled } = start(server, { signal: abort.signal });
    const peer = await server.accept();
    await peer.readUntil("hello\r\n");
    await peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    const text = catchRejection((await responding).text(), "the body");
    abort.abort();
    await withTimeout(canceled, "the stream is canceled");
    assertInstanceOf(await text, DOMException);
  }
  {
    using server = new RawServer();
    const { responding, canceled } = start(server, { redirect: "error" });
    const peer = await server.accept();
    await peer.readUntil("hello\r\n");
    await peer.send("HTTP/1.1 307 Temporary Redirect\r\nlocation: /b\r\ncontent-length: 0\r\n\r\n");
    assertInstanceOf(await catchRejection(responding, "the redirect"), TypeError);
    await withTimeout(canceled, "the stream is canceled");
  }
});

// ───────────────────────── frameworks from npm

async function getText(conn: Connection, uri: string, headers: Record<string, string> = {}) {
  const response = await conn.get(uri, headers);
  return { ...response, text: await response.text() };
}

function serveHono(app: Hono<{ Bindings: FetchHandlerInfo }>): Serving {
  return serve(fromFetchHandler(app));
}

Deno.test("Hono: routes, parameters, queries, groups and middleware", async () => {
  const books = new Hono()
    .get("/", (c) => c.json(["one", "two"]))
    .get("/:id", (c) => c.json({ id: c.req.param("id"), page: c.req.query("page") ?? null }))
    .delete("/:id", (c) => c.body(null, 204));
  const app = new Hono<{ Bindings: FetchHandlerInfo }>();
  app.use(async (c, next) => {
    await next();
    c.header("x-middleware", "yes");
  });
  app.get("/", (c) => c.text("home"));
  app.route("/books", books);
  app.get("/files/*", (c) => c.html(`<p>${c.req.path}</p>`));
  app.get("/old", (c) => c.redirect("/books/1", 301));
  app.notFound((c) => c.text(`nothing at ${c.req.path}`, 404));
  await using serving = serveHono(app);
  using conn = await serving.makeClient().connect();
  const rows: [uri: string, status: number, text: string | undefined][] = [
    ["/", 200, "home"],
    ["/books", 200, '["one","two"]'],
    ["/books/7?page=2", 200, '{"id":"7","page":"2"}'],
    ["/books/7?page=a%20b", 200, '{"id":"7","page":"a b"}'],
    ["/files/a/b.txt", 200, "<p>/files/a/b.txt</p>"],
    ["/missing", 404, "nothing at /missing"],
    ["/old", 301, ""],
  ];
  for (const [uri, status, text] of rows) {
    const response = await getText(conn, uri);
    assertEquals([response.status, response.text], [status, text], uri);
    assertEquals(response.headers["x-middleware"], "yes", uri);
  }
  const deleted = await conn.delete("/books/7");
  assertEquals([deleted.status, deleted.reason, deleted.body], [204, "No Content", null]);
  const head = await conn.head("/books");
  assertEquals([head.status, head.headers["content-type"]], [200, "application/json"]);
  assertEquals(serving.logger.messagesOf("error"), []);
});

Deno.test("itty-router: routes, parameters, queries and bodies", async () => {
  const router = AutoRouter({ missing: () => ittyError(404, "nothing here") });
  router.post("/items/:id", async (request: IRequest) => {
    const { params, query } = request;
    return { ...params, query, sent: await request.json() };
  });
  await using serving = serve(fromFetchHandler(router));
  using conn = await serving.makeClient().connect();
  const response = await conn.post("/items/2?a=b", {}, '{"c":1}');
  assertEquals(await response.json(), { id: "2", query: { a: "b" }, sent: { c: 1 } });
  assertEquals((await getText(conn, "/nowhere")).status, 404);
});
