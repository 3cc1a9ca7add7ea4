/** Streams and generators as bodies of requests and responses. */
import { type App, ConnectionPool, reply, retry } from "@degu/degu";
import {
  Body,
  BodyError,
  BodyIter,
  type BodyOut,
  type Method,
  ProtocolError,
} from "@degu/degu/base";
import { Client, Connection } from "@degu/degu/client";
import { callApp, mkreq } from "@degu/degu/misc";
import { catchRejection } from "@degu/testing/expectations.ts";
import { RecordingSocket } from "@degu/testing/recording_socket.ts";
import { RawPeer, RawServer, waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import { streamOf, TrackedItems, TrackedStream } from "@degu/testing/streams.ts";
import { decodeLatin1, encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { assert, assertEquals, assertInstanceOf, assertStringIncludes } from "@std/assert";

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
        assertInstanceOf(await catchRejection(response.text(), "a cut body"), ProtocolError);
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
});

Deno.test("neither a pool nor retry repeats a request with a stream or generator", async () => {
  for (const [name, make] of sources) {
    using server = new RawServer();
    await using pool = new ConnectionPool(new Client(server.address));
    const first = pool.request("PUT", "/", {}, "a");
    const peer = await server.accept();
    await peer.readUntil("\r\n\r\na");
    await peer.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    await (await first).text();
    const options = { retries: 2, seconds: 0 };
    const body = make();
    const refused = catchRejection(retry(() => pool.request("PUT", "/", {}, body), options), name);
    // The server closes the reused connection. A body with a length would be sent again over a new
    // connection.
    await peer.readPreamble();
    peer.close();
    await withTimeout(refused, "the request rejects, without another connection");
  }
});
