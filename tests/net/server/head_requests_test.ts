/** HEAD (RFC 9110 §9.3.2), to which apps respond as to GET. */
import { assertEquals, assertInstanceOf } from "@std/assert";
import {
  Body,
  BodyError,
  BodyIter,
  type BodyOut,
  type Chunk,
  ChunkedBody,
  ChunkedBodyIter,
} from "@degu/degu/base";
import type { App } from "@degu/degu/server";
import { formatErrorResponse } from "./error_answers.ts";
import { RawPeer } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { connectRawPeer } from "@degu/testing/serving.ts";
import { PieceSource, TrackedItems, TrackedStream } from "@degu/testing/streams.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { routes } from "@degu/degu";
import { recordUnhandledRejections } from "@degu/testing/rejections.ts";
import { serveHandler } from "../../web/web_serving.ts";

// ───────────────────────── HEAD

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

Deno.test("a fetch-style handler may answer HEAD as GET: its body gets the framing of GET, and is canceled", async (t) => {
  const makeEndlessStream = () => new TrackedStream(Array.from({ length: 100 }, () => hello));
  type Row = [string, line: string, make: () => TrackedStream | BodyInit, headers?: HeadersInit];
  const rows: Row[] = [
    ["text", LENGTH, () => "hello"],
    ["text that is to be chunked", CODING, () => "hello", { "transfer-encoding": "chunked" }],
    ["an endless stream", CODING, makeEndlessStream],
    ["an endless stream with a length", LENGTH, makeEndlessStream, { "content-length": "5" }],
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
