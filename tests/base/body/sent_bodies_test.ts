/** Bodies of files and of the platform, streams and generators, in requests and responses. */
import {
  Body,
  BodyError,
  BodyIter,
  type BodyOut,
  ChunkedBodyIter,
  ConnectionError,
  EmptyPreambleError,
  type HeadersToSend,
  type Method,
  Response,
} from "@degu/degu/base";
import { createTempDir } from "@degu/testing/directories.ts";
import { callWith, catchRejection } from "@degu/testing/expectations.ts";
import { makeUntypedApp, serve } from "@degu/testing/serving.ts";
import { patch } from "@degu/testing/patching.ts";
import { Client, Connection } from "@degu/degu/client";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
} from "@std/assert";
import { toFileUrl } from "@std/path";
import { type App, ConnectionPool, createFetch, reply, wrapApp } from "@degu/degu";
import type { ResponseTuple } from "@degu/degu/server";
import { callApp, mkreq } from "@degu/degu/misc";
import { formatRequest, formatResponse } from "../messages.ts";
import { connect } from "../../net/client/connected.ts";
import { RawPeer, RawServer, waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { decodeLatin1, encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { RecordingSocket } from "../../net/recording_socket.ts";
import { streamOf, TrackedItems, TrackedStream } from "@degu/testing/streams.ts";

// Bodies that open their file. The sanitizer of resources fails a test if a file stays open.

Deno.test("Body.fromFile has the bytes of a file, by its path or URL", async () => {
  await using dir = await createTempDir();
  const path = `${dir.path}/a b`;
  await Deno.writeTextFile(path, "hello");
  for (const at of [path, toFileUrl(path)]) {
    const body = await Body.fromFile(at);
    assertEquals([body.contentLength, body.used], [5, false]);
    assertEquals(await body.text(), "hello");
  }
  await Deno.writeTextFile(path, "");
  assertEquals(await (await Body.fromFile(path)).text(), "");
});

Deno.test("Body.fromFile closes the file when the body is consumed, canceled, disposed of, or fails", async () => {
  await using dir = await createTempDir();
  const path = `${dir.path}/file`;
  const endings: Record<string, (body: Body) => Promise<unknown>> = {
    read: (body) => body.read(),
    "in parts": async (body) => {
      while ((await body.read(2)).length > 0);
    },
    canceled: (body) => body.cancel(),
    "canceled in the middle": async (body) => {
      await body.read(2);
      await body.cancel(new Error("enough"));
    },
    "disposed of": async (body) => {
      await using _body = body;
    },
    "disposed of twice": async (body) => {
      await body.cancel();
      await using _body = body;
    },
    iterated: async (body) => {
      for await (const _ of body) break;
    },
    streamed: (body) => body.readable.cancel(),
    truncated: async (body) => {
      await Deno.truncate(path, 2);
      assertInstanceOf(await catchRejection(body.read(), "a truncated file"), BodyError);
    },
  };
  for (const end of Object.values(endings)) {
    await Deno.writeTextFile(path, "hello");
    await end(await Body.fromFile(path));
  }
});

Deno.test("bytes that are appended to a file while it is sent are not sent", async () => {
  await using dir = await createTempDir();
  const path = `${dir.path}/file`;
  await Deno.writeTextFile(path, "hello");
  const body = await Body.fromFile(path);
  await Deno.writeTextFile(path, ", world", { append: true });
  assertEquals(await body.text(), "hello");
});

Deno.test("a server closes the file of a response, also after HEAD, and with an invalid reason", async () => {
  await using dir = await createTempDir();
  const path = `${dir.path}/file`;
  await Deno.writeTextFile(path, "hello");
  await using serving = serve(async ({ path: [reason = "OK"] }) => {
    return [200, reason, {}, await Body.fromFile(path)];
  });
  const client = new Client(serving.server.address);
  assertEquals(await (await client.request("GET", "/")).text(), "hello");
  assertEquals((await client.request("HEAD", "/")).headers["content-length"], 5);
  assertEquals((await client.request("GET", "/%0A")).status, 500); // an invalid reason
});

Deno.test("Body.fromFile rejects for a missing file and for wrong arguments", async () => {
  await using dir = await createTempDir();
  await assertRejects(() => Body.fromFile(`${dir.path}/none`), Deno.errors.NotFound);
  await Deno.writeTextFile(`${dir.path}/file`, "");
  const info = await Deno.stat(`${dir.path}/file`);
  const makePatches = [
    // A directory isn't opened, and is closed if it has just replaced the file.
    () => patch(Deno, "open", () => () => Promise.reject(new Error("opened"))),
    () => patch(Deno, "stat", () => () => Promise.resolve(info)),
  ];
  for (const makePatch of makePatches) {
    using _patch = makePatch();
    assertInstanceOf(await catchRejection(Body.fromFile(dir.path), "a directory"), RangeError);
  }
  for (const path of [undefined, null, 5, {}]) {
    const opening = callWith(Body.fromFile, path) as Promise<unknown>;
    assertInstanceOf(await catchRejection(opening, Deno.inspect(path)), TypeError);
  }
});

// Bodies of the platform: Blob, ArrayBuffer, URLSearchParams.

const FORM = "application/x-www-form-urlencoded;charset=UTF-8";
const TYPED = new Blob(["he", "llo"], { type: "Text/HTML; charset=utf-8" });
const OK = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/** Each body with the caller's headers, and the sent content-type, if any, and bytes. */
const SENT: readonly (readonly [
  label: string,
  body: Exclude<BodyOut, null>,
  headers: HeadersToSend,
  type: string | undefined,
  bytes: string,
])[] = [
  ["an ArrayBuffer", encodeLatin1("hello").buffer, {}, undefined, "hello"],
  ["an ArrayBuffer without bytes", new ArrayBuffer(0), {}, undefined, ""],
  ["a Blob without a type", new Blob(["hello"]), {}, undefined, "hello"],
  ["a Blob without bytes", new Blob([]), {}, undefined, ""],
  ["a Blob with a type", TYPED, {}, "text/html; charset=utf-8", "hello"],
  ["a part of a Blob, which has a type of its own", TYPED.slice(1, 3, "a/b"), {}, "a/b", "el"],
  ["a File", new File(["hello"], "a.txt", { type: "text/plain" }), {}, "text/plain", "hello"],
  ["a Blob, and a content-type of the headers", TYPED, { "content-type": "a/b" }, "a/b", "hello"],
  ["a Blob, and an omitted content-type", TYPED, { "content-type": undefined }, undefined, "hello"],
  [
    "a Blob whose type is no header value, and a content-type of the headers",
    new Blob(["a"], { type: "text/{x}" }),
    { "content-type": "a/b" },
    "a/b",
    "a",
  ],
  [
    "URLSearchParams",
    new URLSearchParams([["a", "ä b"], ["c", "&="], ["a", ""]]),
    {},
    FORM,
    "a=%C3%A4+b&c=%26%3D&a=",
  ],
];

/** Formats the end of a message: the headers of a body, and its bytes. */
function formatSent(type: string | undefined, bytes: string): string {
  const typeLine = type === undefined ? "" : `content-type: ${type}\r\n`;
  return `content-length: ${bytes.length}\r\n${typeLine}\r\n${bytes}`;
}

Deno.test("a body of the platform is sent with its length and its type, unless the headers have a type, in requests and in responses", async (t) => {
  await testEachRow(t, SENT, async (_label, body, headers, type, bytes) => {
    const sent = formatSent(type, bytes);
    const frozenHeaders = Object.freeze({ ...headers });
    using pair = await connect();
    for (let i = 0; i < 2; i++) {
      const responding = pair.conn.post("/", frozenHeaders, body);
      const request = `POST / HTTP/1.1\r\n${sent}`;
      assertEquals(await pair.peer.readExactly(request.length), request);
      await pair.peer.send(OK);
      await responding;
    }
    const tuple: ResponseTuple = [200, "OK", frozenHeaders, body];
    const responses = [
      tuple,
      reply(200, body, frozenHeaders),
      new Response(200, "OK", frozenHeaders, body),
    ];
    await using serving = serve(({ path }) => responses[Number(path[0])]!);
    using peer = await RawPeer.connect(serving.address);
    const response = `HTTP/1.1 200 OK\r\n${sent}`;
    const preamble = response.slice(0, response.indexOf("\r\n\r\n") + 4);
    for (const i of responses.keys()) {
      await peer.send(`GET /${i} HTTP/1.1\r\n\r\n`);
      assertEquals(await peer.readExactly(response.length), response);
      await peer.send(`HEAD /${i} HTTP/1.1\r\n\r\n`);
      assertEquals(await peer.readExactly(preamble.length), preamble);
    }
    assertEquals(
      decodeLatin1(formatRequest("PUT", "/", frozenHeaders, body)),
      `PUT / HTTP/1.1\r\n${sent.slice(0, sent.indexOf("\r\n\r\n") + 4)}`,
    );
    assertEquals(decodeLatin1(formatResponse(200, "OK", frozenHeaders, body)), preamble);
    assertEquals(serving.logger.lines, []);
  });
});

Deno.test("a middleware, callApp and mkreq see a body of the platform with its type, and can read it", async (t) => {
  await testEachRow(t, SENT, async (_label, body, headers, type, content) => {
    const types: unknown[] = [];
    const innerApp: App = () => [200, "OK", headers, body];
    const app = wrapApp(innerApp, async (next) => {
      const response = await next();
      types.push(response.headers["content-type"]);
      return response;
    });
    const response = await callApp(app, mkreq("GET", "/"));
    types.push(response.headers["content-type"]);
    assertEquals(types, [type, type]);
    assertEquals(await response.text(), content);
    assertEquals(await new Response(200, "OK", headers, body).text(), content);

    const request = mkreq("POST", "/", headers, body as Blob);
    assertEquals(request.headers["content-type"], type);
    assertEquals(request.headers["content-length"] ?? 0, content.length);
    assertEquals(await request.text(), content);
  });
});

Deno.test("a content-type among the headers of a client or the base headers of a connection replaces that of the body", async () => {
  await using serving = serve(({ headers }) => reply(200, `${headers["content-type"]}`));
  const requestType = async (headers: HeadersToSend, baseHeaders: HeadersToSend = {}) =>
    await (await serving.makeClient({ headers }).request("POST", "/", baseHeaders, TYPED)).text();
  assertEquals(await requestType({ "content-type": "a/b" }), "a/b");
  assertEquals(await requestType({ "content-type": "a/b" }, { "content-type": "c/d" }), "c/d");
  assertEquals(
    await requestType({ "content-type": "a/b" }, { "content-type": undefined }),
    "undefined",
  );
  assertEquals(await requestType({}), TYPED.type);
});

Deno.test("a FormData is sent as the Blob that the platform makes of it", async () => {
  const form = new FormData();
  form.append("name", "ä lamp");
  form.append("file", new Blob(["hello"]), "a.txt");
  await using serving = serve(async ({ body, headers }) => {
    const init = { headers: { "content-type": headers["content-type"]! } };
    const received = await new globalThis.Response(await body!.bytes(), init).formData();
    const file = received.get("file") as File;
    return reply(200, `${received.get("name")} ${file.name} ${await file.text()}`);
  });
  const blob = await new globalThis.Response(form).blob();
  const response = await serving.makeClient().request("POST", "/", {}, blob);
  assertEquals(await response.text(), "ä lamp a.txt hello");
});

Deno.test("a Blob of many pieces arrives whole, from a client and from a server", async () => {
  const parts = Array.from({ length: 7 }, (_, i) => new Uint8Array(500_001 + i).fill(i));
  const blob = new Blob([...parts, new Blob(["end"])], { type: "a/b" });
  const expected = new Uint8Array(await blob.arrayBuffer());
  await using serving = serve(async ({ method, body, headers }) => {
    if (method === "GET") return reply(200, blob);
    assertEquals(headers["content-length"], blob.size);
    return reply(200, await body!.bytes());
  });
  const client = serving.makeClient();
  const response = await client.request("GET", "/");
  assertEquals(response.headers["content-length"], blob.size);
  assertEquals(await response.bytes(), expected);
  assertEquals(await (await client.request("PUT", "/", {}, blob)).bytes(), expected);
  const fetched = await createFetch(client)("/", { method: "PUT", body: blob });
  assertEquals(new Uint8Array(await fetched.arrayBuffer()), expected);
});

Deno.test("a Blob whose type is no header value is refused before the request is sent, with advice", async () => {
  const oddBlob = new Blob(["a"], { type: " text/x" });
  const message = 'body: its type " text/x" can\'t be the value of a header; ' +
    'set headers["content-type"]';
  using pair = await connect();
  const error = await assertRejects(() => pair.conn.put("/", {}, oddBlob), RangeError);
  assertEquals(error.message, message);
  assertEquals(pair.conn.closed, false);

  let connected = 0;
  await using serving = serve({
    handle: () => reply(200, oddBlob),
    onConnect: () => ++connected > 0,
  });
  await assertRejects(() => serving.makeClient().request("PUT", "/", {}, oddBlob), RangeError);
  assertEquals(connected, 0);
  assertEquals((await serving.makeClient().request("GET", "/")).status, 500);
  assertStringIncludes(serving.logger.lines.join("\n"), `response.${message}`);
});

class LyingBlob extends Blob {
  readonly #lies: Partial<Blob>;

  constructor(lies: Partial<Blob>) {
    super(["hello"]);
    this.#lies = lies;
  }

  override get size() {
    return this.#lies?.size ?? super.size;
  }

  override get type() {
    return this.#lies?.type ?? super.type;
  }

  override slice(...args: Parameters<Blob["slice"]>) {
    return this.#lies.slice?.() ?? super.slice(...args);
  }
}

Deno.test("a Blob that reports a wrong size or type doesn't break the framing", async (t) => {
  const rows: readonly (readonly [label: string, lies: Record<string, unknown>, error: string])[] =
    [
      ["parts without bytes", { slice: () => new Blob([]) }, "BodyError"],
      ["parts that are too long", { slice: () => new Blob(["hello, hello"]) }, "RangeError"],
      ["a size that is no number", { size: "5" }, "TypeError"],
      ["a negative size", { size: -1 }, "RangeError"],
      ["a second header in the type", { type: "a/b\r\nx-a: b" }, "RangeError"],
      ["a type that is no text", { type: 5 }, "TypeError"],
    ];
  await testEachRow(t, rows, async (_label, lies, name) => {
    using pair = await connect();
    const error = await catchRejection(pair.conn.put("/", {}, new LyingBlob(lies)), "the request");
    assert(error instanceof Error);
    assertEquals(error.name, name);
    assert(!pair.peer.text.includes("x-a"));
  });
});

Deno.test("an ArrayBuffer that was transferred or resized is refused, and an ArrayBuffer of the right size is sent", async () => {
  const transferred = encodeLatin1("hello").buffer;
  transferred.transfer();
  using pair = await connect();
  const error = await catchRejection(pair.conn.put("/", {}, transferred), "a transferred buffer");
  assertInstanceOf(error, TypeError);
  assertStringIncludes(error.message, "body: must be an ArrayBuffer with its memory");
  assertEquals(pair.conn.closed, false);
  const call = () => callApp(() => reply(200, transferred), mkreq("GET", "/"));
  await assertRejects(call, TypeError);

  const resizable = new ArrayBuffer(5, { maxByteLength: 9 });
  resizable.resize(7);
  const sending = pair.conn.put("/", {}, resizable);
  const sent = `PUT / HTTP/1.1\r\ncontent-length: 7\r\n\r\n${"\0".repeat(7)}`;
  assertEquals(await pair.peer.readExactly(sent.length), sent);
  await pair.peer.send(OK);
  await sending;
  const changes: [label: string, change: (buffer: ArrayBuffer) => void][] = [
    ["resized", (buffer) => buffer.resize(3)],
    ["grown", (buffer) => buffer.resize(9)],
    ["transferred", (buffer) => buffer.transfer()],
  ];
  for (const [label, change] of changes) {
    using otherPair = await connect();
    const buffer = new ArrayBuffer(5, { maxByteLength: 9 });
    const rejection = catchRejection(otherPair.conn.put("/", {}, buffer), label);
    change(buffer);
    assertInstanceOf(await rejection, BodyError, label);
  }
});

Deno.test("URLSearchParams and an ArrayBuffer above the limit of bytes in memory are refused, and an array of the limit and a Blob are sent", async () => {
  const largeBuffer = new ArrayBuffer(16777217);
  await using serving = serve(async ({ body }) => {
    let bytes = 0;
    for await (const piece of body!) bytes += (piece as Uint8Array).length;
    return reply(200, `${bytes}`);
  });
  const client = serving.makeClient();
  const text = new URLSearchParams({ a: "b".repeat(16777216) });
  for (const body of [largeBuffer, text]) {
    const error = await catchRejection(client.request("PUT", "/", {}, body), "too much");
    assertInstanceOf(error, RangeError);
    assertStringIncludes(
      error.message,
      "body: must be a Blob, a Body or a BodyIter above 16777216",
    );
  }
  for (
    const [body, size] of [[new Uint8Array(16777216), 16777216], [
      new Blob([largeBuffer]),
      16777217,
    ]] as const
  ) {
    assertEquals(await (await client.request("PUT", "/", {}, body)).text(), `${size}`);
  }
});

Deno.test("a value that is no body is refused with the kinds of bodies", async () => {
  const values = [undefined, 5, true, new Date(), new Map(), [1], {}];
  for (const value of values) {
    const app = makeUntypedApp(() => [200, "OK", {}, value]);
    const error = await catchRejection(callApp(app, mkreq("GET", "/")), Deno.inspect(value));
    assertInstanceOf(error, TypeError);
    assertStringIncludes(error.message, "response.body: must be null, a string, Uint8Array");
  }
});

Deno.test("a body that was canceled or used is refused with this reason, and the connection stays usable", async () => {
  using pair = await connect();
  const enough = new Error("enough");
  const uses: [use: (body: Body) => Promise<unknown>, problem: string, cause: unknown][] = [
    [(body) => body.cancel(enough), "was canceled or disposed of", enough],
    [(body) => body.read(), "has been used before", undefined],
    [
      async (body) => {
        await body.read(2);
        await body.cancel(enough);
      },
      "has been used before",
      enough,
    ],
  ];
  for (const [use, problem, cause] of uses) {
    const body = new Body(streamOf(encodeLatin1("hello")), 5);
    await use(body);
    const error = await assertRejects(() => pair.conn.put("/", {}, body), BodyError);
    assertEquals(error.message, `body: ${problem}; make a new one for each message`);
    assertStrictEquals(error.cause, cause);
  }
  assertEquals(pair.conn.closed, false);
});

// Streams and generators.

const MAX_CHUNK_BYTES = 16777216;

async function* generate(...items: (Uint8Array | string)[]) {
  for (const item of items) yield await Promise.resolve(item);
}

const sources: [name: string, make: () => BodyOut][] = [
  ["a stream", () => streamOf(encodeLatin1("he"), encodeLatin1(""), encodeLatin1("llo"))],
  [
    "a generator of arrays",
    () => generate(encodeLatin1("he"), encodeLatin1(""), encodeLatin1("llo")),
  ],
  ["a generator of strings", () => generate("he", "", "llo")],
  ["an iterable", () => ({ [Symbol.asyncIterator]: () => generate("he", "llo") })],
];

Deno.test("items of a stream or a generator are sent in chunks; empty items are skipped, and the last chunk is added", async (t) => {
  const echoApp: App = async ({ body }) => reply(200, await body!.text());
  await testEachRow(t, sources, async (_name, make) => {
    await using serving = serve(makeRoutes(make, echoApp));
    using peer = await RawPeer.connect(serving.address, "GET /get HTTP/1.1\r\n\r\n");
    const preamble = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    assertEquals(
      await peer.readUntil("0\r\n\r\n"),
      `${preamble}2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n`,
    );
    using conn = await serving.makeClient().connect();
    for (let i = 0; i < 2; i++) {
      assertEquals(await (await conn.post("/post", {}, make())).text(), "hello");
    }
    assertEquals(
      await (await callApp(() => reply(200, make()), mkreq("GET", "/"))).text(),
      "hello",
    );
    assertEquals(serving.logger.lines, []);
  });
});

function makeRoutes(make: () => BodyOut, echo: App): App {
  return (request, session, api) =>
    request.method === "GET"
      ? [200, "OK", {}, make()]
      : (echo as Extract<App, CallableFunction>)(request, session, api);
}

Deno.test("an item is sent as soon as it is yielded, and an item above the limit of a chunk is split", async () => {
  const first = Promise.withResolvers<void>();
  async function* makeLateStream() {
    yield "first";
    await first.promise;
    yield new Uint8Array(16777217);
  }
  await using serving = serve(() => reply(200, makeLateStream()));
  const { body } = await serving.makeClient().request("GET", "/");
  assert(body?.chunked);
  const sizes = [];
  for await (const [, data] of body) {
    sizes.push(data.length);
    first.resolve();
  }
  assertEquals(sizes, [5, 16777216, 1, 0]);
});

Deno.test("an item that is neither bytes nor a string cuts the message, and ends its source", async (t) => {
  for (const item of [5, [null, encodeLatin1("a")], "\ud800"]) {
    await t.step(Deno.inspect(item), async () => {
      const items = new TrackedItems<unknown>(["a", item, "b"]);
      const stream = new TrackedStream<unknown>(["a", item, "b"]);
      for (const body of [items.toAsyncIterable(), stream.stream]) {
        await using serving = serve(() => reply(200, body as BodyOut));
        const response = await serving.makeClient().request("GET", "/");
        assertInstanceOf(await catchRejection(response.text(), "a cut body"), ConnectionError);
        const [line = ""] = await serving.logger.waitFor("error");
        const problem = typeof item === "string"
          ? "lone surrogate"
          : "must be Uint8Arrays or strings";
        assertStringIncludes(line, problem);
      }
      assertEquals([items.isSettled, stream.cancelReasons.length], [true, 1]);
    });
  }
});

async function* makeTransferredItems() {
  const item = new Uint8Array(3000);
  queueMicrotask(() => item.buffer.transfer());
  yield item;
  yield "the end";
}

function makeShrunkArray(): Uint8Array {
  const buffer = new ArrayBuffer(100, { maxByteLength: 100 });
  const bytes = new Uint8Array(buffer, 50, 20);
  buffer.resize(10);
  return bytes;
}

const transferred: [name: string, make: () => BodyOut][] = [
  ["bytes", () => {
    const bytes = encodeLatin1("lost");
    bytes.buffer.transfer();
    return bytes;
  }],
  ["bytes of a buffer that has become too small", () => makeShrunkArray()],
  ["an item whose buffer has become too small", async function* () {
    yield makeShrunkArray();
  }],
  ["an item of a generator", makeTransferredItems],
  ["an item of a stream", () => ReadableStream.from(makeTransferredItems())],
];

Deno.test("an array whose buffer was transferred before it was sent is an error, not empty", async (t) => {
  await testEachRow(t, transferred, async (_name, make) => {
    await using serving = serve(({ method }) => [200, "OK", {}, method === "GET" ? make() : ""]);
    const client = serving.makeClient();
    const error = await catchRejection(client.post("/", {}, make()), "the request");
    assertStringIncludes(`${error}`, "transferred");
    const { status, body } = await client.get("/");
    if (status === 200) await catchRejection(body!.bytes(), "the response");
    const [line = ""] = await serving.logger.waitFor("error");
    assertStringIncludes(line, "transferred");
  });
});

Deno.test("an item whose buffer is transferred between its chunks cuts the message", async () => {
  const item = new Uint8Array(MAX_CHUNK_BYTES + 1);
  const socket = new RecordingSocket();
  socket.write = (bytes) => {
    if (decodeLatin1(bytes) === "\r\n") item.buffer.transfer();
    return Promise.resolve(bytes.length);
  };
  using conn = new Connection(socket, null);
  const error = await catchRejection(conn.post("/", {}, generate(item)), "the request");
  assertInstanceOf(error, BodyError);
  assertStringIncludes(error.message, "transfer");
});

Deno.test("a source that fails without an error is named by the error of the request", async () => {
  const failures: BodyOut[] = [undefined, null].flatMap((reason) => [
    new ReadableStream({ pull: (controller) => controller.error(reason) }),
    new Body(new ReadableStream({ pull: (controller) => controller.error(reason) }), 5),
    new BodyIter({ [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(reason) }) }, 5),
  ]);
  await using serving = serve(async (request) => reply(200, await request.text()));
  for (const body of failures) {
    const error = await catchRejection(serving.makeClient().post("/", {}, body), "the request");
    assertInstanceOf(error, BodyError);
    assertStringIncludes(error.message, "source");
  }
});

Deno.test("a source is canceled if its message is not sent: an invalid response, a response to HEAD, a refused request", async () => {
  const sendAndSettle = async (send: (body: BodyOut) => Promise<unknown>) => {
    const items = new TrackedItems(["a"]);
    const stream = new TrackedStream([encodeLatin1("a")]);
    for (const body of [items.toAsyncIterable(), stream.stream]) await send(body);
    await waitForTick();
    assertEquals([items.isSettled, stream.cancelReasons.length], [true, 1]);
  };
  const get = mkreq("GET", "/");
  await sendAndSettle((body) =>
    catchRejection(callApp(() => [99, "OK", {}, body], get), "a bad status")
  );
  const unreadable: Record<string, (body: BodyOut) => unknown> = {
    "five items": (body) => [200, "OK", {}, body, null],
    "no headers": (body) => ({ status: 200, reason: "OK", body }),
    "headers that throw": (body) => ({
      ...{ status: 200, reason: "OK", body },
      get headers(): unknown {
        throw new Error("no headers");
      },
    }),
  };
  for (const [label, make] of Object.entries(unreadable)) {
    let sent: unknown;
    await using failing = serve(makeUntypedApp(() => sent));
    await sendAndSettle(async (body) => {
      sent = make(body);
      assertEquals((await failing.makeClient().get("/")).status, 500, label);
    });
    assertEquals(failing.logger.messagesOf("error").length, 2);
  }
  await using serving = serve(() => reply(200));
  const method: Method = "GET" as Method;
  await sendAndSettle((body) =>
    catchRejection(serving.makeClient().request(method, "/", {}, body), "a GET")
  );
  let response: BodyOut = null;
  await using heads = serve(() => reply(200, response));
  await sendAndSettle(async (body) => {
    response = body;
    const { headers } = await heads.makeClient().request("HEAD", "/");
    assertEquals(headers["transfer-encoding"], "chunked");
  });
});

Deno.test("a stream is sent once, and a used or locked stream is a TypeError", async () => {
  await using serving = serve(async ({ body }) => reply(200, await body?.text() ?? ""));
  const client = serving.makeClient();
  for (const [name, make] of sources) {
    const body = make();
    assertEquals(await (await client.request("POST", "/", {}, body)).text(), "hello");
    const secondError = await catchRejection(client.request("POST", "/", {}, body), name);
    assertInstanceOf(secondError, BodyError, name);
    assertStringIncludes(secondError.message, "has been used before");
  }
  const locked = streamOf(encodeLatin1("a"));
  locked.getReader();
  const refused = await catchRejection(client.request("POST", "/", {}, locked), "a locked stream");
  assertInstanceOf(refused, TypeError);
  assertStringIncludes(refused.message, "body: must be an unlocked stream");
  using conn = await client.connect();
  const stream = streamOf(encodeLatin1("a"));
  const requesting = conn.request("POST", "/", {}, stream);
  stream.getReader();
  const error = await catchRejection(requesting, "a stream that is locked before it is read");
  assertInstanceOf(error, TypeError);
  assertStringIncludes(error.message, "body: must be an unlocked stream");
});

Deno.test("a pool that repeats any request sends none with a stream or generator again", async () => {
  for (const [name, make] of sources) {
    using server = new RawServer();
    await using pool = new ConnectionPool(new Client(server.address), { repeat: "any" });
    const first = pool.request("PUT", "/", {}, "a");
    const peer = await server.respond("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    await first;
    const refused = catchRejection(pool.request("PUT", "/", {}, make()), name);
    // A body with a length would now be sent over a new connection.
    await peer.readPreamble();
    peer.close();
    assertInstanceOf(await withTimeout(refused, "the request rejects"), EmptyPreambleError, name);
  }
});

Deno.test("a pool that repeats any request sends a text, bytes and a body of the platform again", async () => {
  const bodies: BodyOut[] = [
    ...["a=b", encodeLatin1("a=b"), encodeLatin1("a=b").buffer],
    ...[new Blob(["a=b"]), new URLSearchParams("a=b")],
  ];
  for (const body of bodies) {
    using server = new RawServer();
    await using pool = new ConnectionPool(new Client(server.address), { repeat: "any" });
    const first = pool.request("PUT", "/", {}, "a");
    let peer = await server.respond(OK);
    await first;
    const repeated = pool.request("PUT", "/", {}, body);
    await peer.readUntil("a=b");
    peer.close();
    peer = await server.accept();
    await peer.readUntil("a=b");
    await peer.send(OK);
    assertEquals((await repeated).status, 200);
  }
});

Deno.test("the first chunk of an iterable is sent together with the preamble", async () => {
  const socket = new RecordingSocket();
  using conn = new Connection(socket, null);
  const chunks = ["hello", ""].map((text): [null, Uint8Array] => [null, encodeLatin1(text)]);
  const written = socket.waitForWrite();
  const responding = conn.put("/", {}, new ChunkedBodyIter(chunks));
  await written;
  socket.receive(OK);
  await responding;
  assertEquals(socket.writes[0]?.split("\r\n\r\n")[1], "5\r\nhello\r\n");
});
