/**
 * Apps that respond to HEAD as to GET (RFC 9110 §9.3.2): the server sends the headers of GET
 * without a body, and reads no byte of the body.
 */
import { formatErrorResponse } from "@degu/testing/error_answers.ts";
import { type App, Client, createFetch, ProxyApp, routes } from "@degu/degu";
import {
  Body,
  BodyError,
  BodyIter,
  type BodyOut,
  type Chunk,
  ChunkedBody,
  ChunkedBodyIter,
} from "@degu/degu/base";
import { createTempDir } from "@degu/testing/directories.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { RawPeer } from "@degu/testing/raw_peer.ts";
import { recordUnhandledRejections } from "@degu/testing/rejections.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { connectRawPeer, makeUntypedApp, serve } from "@degu/testing/serving.ts";
import { PieceSource, TrackedItems, TrackedStream } from "@degu/testing/streams.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { serveHandler } from "@degu/testing/web_serving.ts";
import { assert, assertEquals, assertInstanceOf } from "@std/assert";

const hello = encodeLatin1("hello");
const chunks: readonly Chunk[] = [[null, hello], [["end", "yes"], new Uint8Array(0)]];
const encoded = encodeLatin1("5\r\nhello\r\n0;end=yes\r\n\r\n");

/** A body for a response, and a check of its source. */
interface TestBody {
  readonly body: BodyOut;
  /** Throws unless the source was canceled without a read. */
  check(): void;
}

type Kind = readonly [kind: string, framing: string, make: () => TestBody];

const LENGTH = "content-length: 5\r\n", CODING = "transfer-encoding: chunked\r\n";

function fromStream(
  bytes: Uint8Array,
  make: (stream: ReadableStream<Uint8Array>) => BodyOut,
): TestBody {
  const tracked = new TrackedStream([bytes], {
    onPull: () => {
      throw new Error("a piece was read");
    },
  });
  const check = () => {
    assertEquals(tracked.cancelReasons.length, 1);
    assertInstanceOf(tracked.cancelReasons[0], BodyError);
  };
  return { body: make(tracked.stream), check };
}

function fromSource(bytes: Uint8Array, make: (source: PieceSource) => BodyOut): TestBody {
  const source = new PieceSource([bytes]);
  return { body: make(source), check: () => assertEquals(source.bufferLengths, []) };
}

function fromItems<T>(items: readonly T[], make: (items: TrackedItems<T>) => BodyOut): TestBody {
  const pulled: number[] = [];
  const tracked = new TrackedItems(items, { onPull: (index) => pulled.push(index) });
  const check = () => assertEquals([tracked.hasReturned, pulled], [true, []]);
  return { body: make(tracked), check };
}

const doNothing = () => {};
const kinds: readonly Kind[] = [
  ["null", "", () => ({ body: null, check: doNothing })],
  ["bytes", LENGTH, () => ({ body: hello, check: doNothing })],
  ["no bytes", "content-length: 0\r\n", () => ({ body: new Uint8Array(0), check: doNothing })],
  ["Body of a stream", LENGTH, () => fromStream(hello, (stream) => new Body(stream, 5))],
  ["Body of a ByteSource", LENGTH, () => fromSource(hello, (source) => new Body(source, 5))],
  ["ChunkedBody of a stream", CODING, () => fromStream(encoded, (s) => new ChunkedBody(s))],
  ["ChunkedBody of a ByteSource", CODING, () => fromSource(encoded, (s) => new ChunkedBody(s))],
  ["BodyIter", LENGTH, () => fromItems([hello], (items) => new BodyIter(items.toIterable(), 5))],
  [
    "BodyIter, async",
    LENGTH,
    () => fromItems([hello], (items) => new BodyIter(items.toAsyncIterable(), 5)),
  ],
  ["ChunkedBodyIter", CODING, () => fromItems(chunks, (i) => new ChunkedBodyIter(i.toIterable()))],
  [
    "ChunkedBodyIter, async",
    CODING,
    () => fromItems(chunks, (i) => new ChunkedBodyIter(i.toAsyncIterable())),
  ],
];

const head = "HEAD /a HTTP/1.1\r\n\r\n";

Deno.test("a server answers HEAD as GET, without the body", async (t) => {
  await testEachRow(t, kinds, async (_kind, framing, make) => {
    using unhandled = recordUnhandledRejections();
    const bodies: TestBody[] = [];
    const app: App = () => {
      bodies.push(make());
      return [200, "OK", { "x-a": "b" }, bodies.at(-1)!.body];
    };
    // Routes don't change the result.
    await using pair = await connectRawPeer(routes({ "GET /a": app }), head + head);
    const { peer, logger } = pair;
    await peer.closeWrite();
    const lines = framing < "x" ? `${framing}x-a: b\r\n` : `x-a: b\r\n${framing}`;
    // The session continues, and no byte of the body was sent.
    const response = `HTTP/1.1 200 OK\r\n${lines}\r\n`;
    assertEquals(await peer.readToEnd(), { received: response + response, kind: "end" });
    for (const { check } of bodies) check();
    assertEquals(logger.lines.map(([level]) => level), ["debug"]);
    assertEquals(unhandled.reasons, []);
  });
});

Deno.test("canceling the body of a response to HEAD closes a file that the body owns, and doesn't move another file's position", async () => {
  await using dir = await createTempDir();
  const path = `${dir.path}/file`;
  await Deno.writeFile(path, hello);
  const ownedFiles: Deno.FsFile[] = [];
  await using pair = await connectRawPeer(async ({ uri }) => {
    const file = await Deno.open(path);
    // The sanitizer finds a stream that stays open.
    if (uri === "/stream") return [200, "OK", {}, new Body(file.readable, 5)];
    ownedFiles.push(file);
    return [200, "OK", {}, new Body(file, 5)];
  }, "HEAD /stream HTTP/1.1\r\n\r\nHEAD /file HTTP/1.1\r\n\r\n");
  await pair.peer.closeWrite();
  const { received } = await pair.peer.readToEnd();
  assertEquals(received, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n".repeat(2));
  using file = ownedFiles[0]!;
  assertEquals(await file.seek(0, Deno.SeekMode.Current), 0);
});

Deno.test("an app can't send a body to HEAD by changing the method of its request", async () => {
  const app: App = (request) => {
    Object.assign(request, { method: "GET" });
    return [200, "OK", {}, hello];
  };
  await using pair = await connectRawPeer(app, head);
  await pair.peer.closeWrite();
  const { received } = await pair.peer.readToEnd();
  assertEquals(received, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n");
});

Deno.test("canceling the body of a response to HEAD may close its session", async () => {
  await using pair = await connectRawPeer(
    makeUntypedApp((_request, session) => {
      const cancel = () => session.close(new Error("enough"));
      return [200, "OK", {}, new ChunkedBody(new ReadableStream({ cancel }))];
    }),
    head + head,
  );
  const { peer, logger } = pair;
  const { received } = await peer.readToEnd();
  // The response may or may not be sent before the session is closed.
  const response = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
  assert(["", response].includes(received), received);
  assertEquals(logger.lines.map(([level]) => level), ["debug"]);
});

Deno.test("a framing header that an app returns to HEAD must match its body", async (t) => {
  const rows:
    readonly (readonly [string, Record<string, string | number>, BodyOut | null, string])[] = [
      ["the content-length of the body", { "content-length": 5 }, hello, LENGTH],
      [
        "chunked for a chunked body",
        { "transfer-encoding": "chunked" },
        new ChunkedBodyIter(chunks),
        CODING,
      ],
      ["another content-length", { "content-length": 6 }, hello, "none"],
      [
        "content-length for a chunked body",
        { "content-length": 5 },
        new ChunkedBodyIter(chunks),
        "none",
      ],
      ["without a body", { "content-length": 12 }, null, "content-length: 12\r\n"],
      ["without a body, chunked", { "transfer-encoding": "chunked" }, null, CODING],
      ["content-length: 0 without a body", { "content-length": 0 }, null, "content-length: 0\r\n"],
    ];
  await testEachRow(t, rows, async (_label, headers, body, line) => {
    await using pair = await connectRawPeer(() => [200, "OK", headers, body], head);
    await pair.peer.closeWrite();
    const { received } = await pair.peer.readToEnd();
    const isRefused = line === "none";
    assertEquals(received, isRefused ? formatErrorResponse(500) : `HTTP/1.1 200 OK\r\n${line}\r\n`);
    assertEquals(pair.logger.messagesOf("error").length, isRefused ? 1 : 0);
  });
});

Deno.test("ProxyApp relays the headers of HEAD for every response of the upstream's app", async (t) => {
  await testEachRow(t, kinds, async (_kind, framing, make) => {
    const bodies: TestBody[] = [];
    const results: unknown[] = [];
    await using upstream = serve(({ headers }) => {
      bodies.push(make());
      results.push({ ...headers });
      return [200, "OK", {}, bodies.at(-1)!.body];
    });
    await using proxy = serve(new ProxyApp(new Client(upstream.address, { host: null })));
    using peer = await RawPeer.connect(proxy.address);
    await peer.send(head, "HEAD /b HTTP/1.1\r\nconnection: close\r\n\r\n", head);
    const response = `HTTP/1.1 200 OK\r\n${framing}\r\n`;
    // The proxy's session ends with the second request, without notifying the server behind it.
    const last = `HTTP/1.1 200 OK\r\nconnection: close\r\n${framing}\r\n`;
    assertEquals(await peer.readToEnd(), { received: response + last, kind: "end" });
    assertEquals([bodies.length, results], [2, [{}, {}]]);
    for (const { check } of bodies) check();
    assertEquals([proxy.logger.messagesOf("error"), upstream.logger.messagesOf("error")], [[], []]);
  });
});

Deno.test("a client, and fetch over it, get the headers of HEAD, and the connection continues", async () => {
  await using serving = serve(() => [200, "OK", {}, new ChunkedBodyIter(chunks)]);
  using conn = await serving.makeClient().connect();
  for (let i = 0; i < 3; i++) {
    const { headers, body } = await conn.head("/");
    assertEquals([headers["transfer-encoding"], body], ["chunked", null]);
    const response = await createFetch(conn)("/", { method: "HEAD" });
    assertEquals([response.status, response.body], [200, null]);
    assertEquals(await (await conn.get("/")).body?.text(), "hello");
  }
});

Deno.test("a fetch-style handler may answer HEAD as GET: its body gets the framing of GET, and is canceled", async (t) => {
  const makeEndlessStream = () => new TrackedStream(Array.from({ length: 100 }, () => hello));
  const makeLateStream = () =>
    new TrackedStream([hello], { onPull: () => new Promise((resolve) => setTimeout(resolve)) });
  type Row = [string, line: string, make: () => TrackedStream | BodyInit, headers?: HeadersInit];
  const rows: Row[] = [
    ["text", LENGTH, () => "hello"],
    ["bytes", LENGTH, () => hello],
    ["text with its length", LENGTH, () => "hello", { "content-length": "5" }],
    ["text that is to be chunked", CODING, () => "hello", { "transfer-encoding": "chunked" }],
    ["an endless stream", CODING, makeEndlessStream],
    ["an endless stream with a length", LENGTH, makeEndlessStream, { "content-length": "5" }],
    ["an endless stream with the coding", CODING, makeEndlessStream, {
      "transfer-encoding": "chunked",
    }],
    ["a stream with a length", LENGTH, makeLateStream, { "content-length": "5" }],
  ];
  await testEachRow(t, rows, async (_label, line, make, headers = {}) => {
    const sources: (TrackedStream | BodyInit)[] = [];
    const abortReasons: unknown[] = [];
    await using serving = serveHandler((request) => {
      request.signal.addEventListener("abort", () => abortReasons.push(request.signal.reason));
      const body = make();
      sources.push(body);
      return new Response(body instanceof TrackedStream ? body.stream : body, {
        headers: { "content-type": "a/b", ...headers },
      });
    });
    using peer = await RawPeer.connect(serving.address);
    const lines = line === LENGTH ? `${line}content-type: a/b\r\n` : `content-type: a/b\r\n${line}`;
    for (let i = 0; i < 2; i++) {
      await peer.send(head);
      assertEquals(await peer.readPreamble(), `HTTP/1.1 200 OK\r\n${lines}\r\n`);
    }
    for (const body of sources) {
      if (body instanceof TrackedStream) assertEquals(body.cancelReasons.length, 1);
    }
    // The server doesn't abort the request because of the unused body.
    assertEquals([abortReasons, serving.logger.lines], [[], []]);
  });
});

Deno.test("the text of a fetch-style handler must have its content-length, for HEAD and for GET", async () => {
  await using serving = serveHandler(({ method }) =>
    new Response(method === "HEAD" ? null : "hello", { headers: { "content-length": "12" } })
  );
  const { headers } = await serving.makeClient().request("HEAD", "/");
  assertEquals(headers["content-length"], 12);
  const response = await serving.makeClient().request("GET", "/");
  await catchRejection(response.text(), "another length");
});
