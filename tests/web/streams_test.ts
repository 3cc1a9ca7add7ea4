/** Streams and headers between the two worlds. */
import { createFetch } from "@degu/degu";
import {
  type Address,
  Body,
  BodyError,
  BodyIter,
  type BodyOut,
  type ByteSink,
  type Chunk,
  ChunkedBody,
  ChunkedBodyIter,
  ContentRange,
  Range,
} from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import type { WritableBody } from "@degu/internal/base/body/bodies.ts";
import { dictOf, headersOf } from "@degu/internal/web/headers.ts";
import {
  chunkedBody,
  encodedStreamOf,
  streamOf,
  StreamPieces,
} from "@degu/internal/web/streams.ts";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { RawPeer, turnOfEventLoop, within } from "@degu/testing/raw_peer.ts";
import { eachRow } from "@degu/testing/rows.ts";
import * as sources from "@degu/testing/streams.ts";
import { serveHandler, serveWithDeno } from "@degu/testing/web_serving.ts";
import { fromLatin1, latin1 } from "@degu/testing/wire_grammar.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { toArrayBuffer } from "@std/streams";
import fc from "fast-check";

// Web streams, piece by piece: bodies from streams, and streams from bodies.

/** A stream whose pieces come when the test says so. */
function lateStream() {
  let controller!: ReadableStreamDefaultController<Uint8Array>;
  const stream = new ReadableStream<Uint8Array>({ start: (given) => void (controller = given) });
  return { stream, controller };
}

/** The pieces of a stream, and what it reported. */
function observed(stream: ReadableStream<Uint8Array>) {
  const cuts: unknown[] = [];
  const ends: string[] = [];
  const pieces = new StreamPieces(stream, (reason) => cuts.push(reason), () => ends.push("end"));
  return { pieces, cuts, ends };
}

Deno.test("hasBytes waits for the first byte, which next() still returns", async () => {
  const some = observed(sources.streamOf(latin1(""), latin1(""), latin1("a"), latin1("b")));
  assertEquals(await some.pieces.hasBytes(), true);
  assertEquals((await Array.fromAsync(some.pieces)).map(fromLatin1), ["a", "b"]);
  const none = observed(sources.streamOf(latin1("")));
  assertEquals([await none.pieces.hasBytes(), none.ends], [false, []]);
  assertEquals([(await none.pieces.next()).done, none.ends], [true, ["end"]]);
});

Deno.test("StreamPieces is canceled once, with the first reason, which next() throws", async () => {
  const source = new sources.TrackedStream([latin1("a")]);
  const { pieces, cuts, ends } = observed(source.stream);
  const reason = new Error("enough");
  pieces.cancel(reason);
  pieces.cancel("again");
  await pieces.return("again");
  assertStrictEquals(await rejectionOf(pieces.next(), "a canceled stream"), reason);
  assertEquals([source.cancelled, cuts, ends], [[reason], [reason], []]);
});

Deno.test("a stream that fails reports it once, and every later read fails with the same error", async () => {
  const failure = new Error("the disk is gone");
  const { pieces, cuts } = observed(new sources.TrackedStream<Uint8Array>([], { failure }).stream);
  for (let i = 0; i < 2; i++) {
    assertStrictEquals(await rejectionOf(pieces.next(), "a failing stream"), failure);
  }
  pieces.cancel("too late");
  assertEquals(cuts, [failure]);
});

Deno.test("takeWhole loses nothing of a stream that is late, long, or not of bytes", async () => {
  const late = lateStream();
  late.controller.enqueue(latin1("a"));
  const waiting = observed(late.stream).pieces;
  assertEquals(await waiting.takeWhole({}), null);
  late.controller.enqueue(latin1("b"));
  late.controller.close();
  assertEquals((await Array.fromAsync(waiting)).map(fromLatin1), ["a", "b"]);

  const list = Array.from({ length: 16 }, () => latin1("x"));
  const long = observed(sources.streamOf(...list)).pieces;
  assertEquals(await long.takeWhole({}), null);
  assertEquals((await Array.fromAsync(long)).length, 16);

  const strange = new sources.TrackedStream<unknown>(["text"]);
  const { pieces } = observed(strange.stream as ReadableStream<Uint8Array>);
  assertEquals(await pieces.takeWhole({}), null);
  assertInstanceOf(await rejectionOf(pieces.next(), "no bytes"), BodyError);

  const failure = new Error("broken");
  const failing = observed(new sources.TrackedStream<Uint8Array>([], { failure }).stream);
  assertEquals([await failing.pieces.takeWhole({}), failing.cuts], [null, []]);
  assertStrictEquals(await rejectionOf(failing.pieces.next(), "a failing stream"), failure);
});

// ───────────────────────── bodies

type Stream = ReadableStream<Uint8Array<ArrayBuffer>>;

async function textOf(stream: Stream): Promise<string> {
  return fromLatin1(new Uint8Array(await toArrayBuffer(stream)));
}

Deno.test("encodedStreamOf requests the next write only after a read, and copies it", async () => {
  const array = latin1("a");
  const writes: string[] = [];
  const body = {
    chunked: true,
    used: false,
    cancel() {},
    async writeTo(sink: ByteSink) {
      for (const text of ["a", "b"]) {
        array.set(latin1(text));
        writes.push(text);
        await sink.write(array);
      }
      array.fill(0x78);
    },
  } as unknown as WritableBody;
  const stream = encodedStreamOf(body);
  assertEquals(writes, []);
  const reader = stream.getReader();
  const first = (await reader.read()).value!;
  assertEquals(writes.slice(0, 1), ["a"]);
  const second = (await reader.read()).value!;
  assertEquals([first, second].map(fromLatin1), ["a", "b"]);
  assertEquals((await reader.read()).done, true);
});

// ───────────────────────── streams that report their end

/** A promise that never settles. */
const never = new Promise<never>(() => {});

Deno.test("streamOf reports the end once, and is a byte stream, whatever the pieces are", async (t) => {
  const pieces = () => ["", "hello", "", "world", ""].map(latin1);
  const chunks = () => [...pieces().filter(({ length }) => length > 0), latin1("")];
  const rows: Record<string, () => WritableBody> = {
    Body: () => new Body(sources.streamOf(...pieces()), 10),
    BodyIter: () => new BodyIter(pieces(), 10),
    ChunkedBody: () =>
      new ChunkedBody(
        sources.streamOf(latin1("5\r\nhello\r\n"), latin1("5\r\nworld\r\n0\r\n\r\n")),
      ),
    ChunkedBodyIter: () => new ChunkedBodyIter(chunks().map((data) => [null, data])),
    "Body of nothing": () => new Body(sources.streamOf(), 0),
    "BodyIter of nothing": () => new BodyIter([], 0),
  };
  for (const [name, make] of Object.entries(rows)) {
    for (const mode of [undefined, "byob"] as const) {
      await t.step(`${name}, ${mode ?? "default"}`, async () => {
        let ends = 0;
        const stream = streamOf(make(), () => ends++, never);
        let text = "";
        if (mode === undefined) text = await textOf(stream);
        else {
          const reader = stream.getReader({ mode });
          for (;;) {
            const { done, value } = await reader.read(new Uint8Array(3));
            text += fromLatin1(value!);
            if (done) break;
          }
        }
        assertEquals([text, ends], [name.endsWith("nothing") ? "" : "helloworld", 1]);
      });
    }
  }
});

Deno.test("streamOf ends with the piece that goes beyond the length of a body of another class", async () => {
  for (
    const [contentLength, expected] of [[0, "hello"], [3, "hello"], [7, "helloworld"]] as const
  ) {
    let left = 0, ends = 0;
    const body: unknown = {
      chunked: false,
      contentLength,
      async *[Symbol.asyncIterator]() {
        for (const word of ["hello", "world", "again"]) yield latin1(word), left++;
      },
    };
    assertEquals(await textOf(streamOf(body as WritableBody, () => ends++, never)), expected);
    // The pieces behind it aren't asked for.
    assertEquals([left, ends], [expected.length / 5 - 1, 1]);
  }
});

Deno.test("streamOf detaches no buffer of the body that it reads", async () => {
  for (
    const [kind, make] of Object.entries({
      Body: (piece: Uint8Array) => new Body(sources.streamOf(piece), 5),
      BodyIter: (piece: Uint8Array) => new BodyIter([piece], 5),
      ChunkedBodyIter: (piece: Uint8Array) =>
        new ChunkedBodyIter([[null, piece], [null, new Uint8Array(0)]]),
    })
  ) {
    const piece = latin1("hello");
    await textOf(streamOf(make(piece), () => {}, never));
    assertEquals(fromLatin1(piece), "hello", kind);
  }
});

Deno.test("streamOf reports a failure, a cancellation and a truncation", async (t) => {
  const failure = new Error("broken");
  const makers: Record<string, (stream: ReadableStream<Uint8Array>) => WritableBody> = {
    Body: (stream) => new Body(stream, 2),
    BodyIter: (stream) => new BodyIter(new StreamPieces(stream), 2),
    ChunkedBodyIter: (stream) => chunkedBody(new StreamPieces(stream)),
  };
  await eachRow(t, Object.entries(makers), async (_kind, make) => {
    const ends: string[] = [];
    const failing = make(new sources.TrackedStream<Uint8Array>([], { failure }).stream);
    const failed = textOf(streamOf(failing, () => ends.push("failed"), never));
    assertStrictEquals(await rejectionOf(failed, "a failing body"), failure);

    const cancelled = new sources.TrackedStream([latin1("a")]);
    const stream = streamOf(make(cancelled.stream), () => ends.push("cancelled"), never);
    await stream.cancel(failure);
    assertEquals(cancelled.cancelled, [failure]);

    const closed = Promise.withResolvers<never>();
    const cut = new sources.TrackedStream([latin1("a"), latin1("b")]);
    const reader = streamOf(make(cut.stream), () => ends.push("cut"), closed.promise).getReader();
    await reader.read();
    closed.reject(failure);
    assertStrictEquals(await rejectionOf(reader.read(), "a cut stream"), failure);
    assertEquals([cut.cancelled, ends], [[failure], ["failed", "cancelled", "cut"]]);
  });
});

// Bodies through the bridge: they stream in both directions, and nothing waits for the whole
// body.

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const WORDS = ["one", "two", "three", "four"];
const TEXT = WORDS.join("");

/** Words on their way from one side to the other; each is given when the one before has arrived. */
class Relay {
  readonly #arrived = WORDS.map(() => Promise.withResolvers<void>());

  /** Gives the words. */
  async *send(): AsyncGenerator<Uint8Array<ArrayBuffer>, void, void> {
    for (const [i, word] of WORDS.entries()) {
      const before = this.#arrived[i - 1];
      if (before !== undefined) await within(before.promise, `"${WORDS[i - 1]}" arrives alone`);
      yield encoder.encode(word);
    }
  }

  /** Gives the words as chunks. */
  async *sendChunks(): AsyncGenerator<Chunk, void, void> {
    for await (const bytes of this.send()) yield [null, bytes];
    yield [null, new Uint8Array(0)];
  }

  /** Gives the words as a stream. */
  stream(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return ReadableStream.from(this.send());
  }

  /** Takes what arrives; resolves to all of it. */
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

/** The ways to say where a stream of words ends: in the headers of a Request or Response, and with the body of an app. */
type Framing = readonly [string, Record<string, string>, (relay: Relay) => BodyOut];
const framings: readonly Framing[] = [
  ["chunked", {}, (relay) => new ChunkedBodyIter(relay.sendChunks())],
  [
    "of known length",
    { "content-length": `${TEXT.length}` },
    (relay) => new BodyIter(relay.send(), TEXT.length),
  ],
];

const handlerThatReads = (relay: Relay) => async (request: Request) =>
  new Response(await relay.receive(request.body!));

/** Our server and Deno's, with an end of the bridge that reads the words, or gives them. */
const servers: Readonly<
  Record<
    string,
    Record<"reads" | "gives", (r: Relay, f: Framing) => AsyncDisposable & { address: Address }>
  >
> = {
  "fromFetchHandler": {
    reads: (relay) => serveHandler(handlerThatReads(relay)),
    gives: (relay, [, headers]) => serveHandler(() => new Response(relay.stream(), { headers })),
  },
  "toFetchHandler": {
    reads: (relay) =>
      serveWithDeno(async ({ body }) => {
        const text = await relay.receive(body!.readable);
        return [200, "OK", {}, encoder.encode(text)];
      }),
    gives: (relay, [, , make]) => serveWithDeno(() => [200, "OK", {}, make(relay)]),
  },
};

for (const [where, { reads, gives }] of Object.entries(servers)) {
  Deno.test(`createFetch and ${where} stream requests and responses`, async (t) => {
    for (const framing of framings) {
      await t.step(`a request ${framing[0]}`, async () => {
        const relay = new Relay();
        await using server = reads(relay, framing);
        // Not by Deno's fetch, which has no content-length for a stream.
        const fetch = createFetch(new Client(server.address));
        const [, headers] = framing;
        const response = await fetch("/", { method: "POST", body: relay.stream(), headers });
        assertEquals(await response.text(), TEXT);
      });
      await t.step(`a response ${framing[0]}`, async () => {
        const relay = new Relay();
        await using server = gives(relay, framing);
        const response = await createFetch(new Client(server.address))("/");
        assertEquals(await relay.receive(response.body!), TEXT);
      });
    }
  });
}

Deno.test("fromFetchHandler does not wait for the rest of a chunk", async () => {
  const relay = new Relay();
  await using serving = serveHandler(handlerThatReads(relay));
  using peer = await RawPeer.connect(serving.address);
  const size = TEXT.length.toString(16);
  await peer.send(`POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n${size}\r\n`);
  for await (const bytes of relay.send()) await peer.send(bytes);
  await peer.send("\r\n0\r\n\r\n");
  await peer.readPreamble();
  assertEquals(await peer.readExactly(TEXT.length), TEXT);
});

Deno.test("fromFetchHandler sends, and createFetch resolves with, a response before its body is available", async () => {
  const received = Promise.withResolvers<void>();
  await using serving = serveHandler(() => {
    const words = async function* () {
      await within(received.promise, "fetch resolves");
      yield encoder.encode("hello");
    };
    return new Response(ReadableStream.from(words()));
  });
  const response = await createFetch(serving.makeClient())("/");
  received.resolve();
  assertEquals(await response.text(), "hello");
});

/** Far more than all buffers between the two ends can hold. */
const MANY = 48;
const PIECE_BYTES = 1048576;
/** So many turns of the event loop without another piece are the sign that everything is full. */
const QUIET_TURNS = 20;

async function untilQuiet(count: () => number): Promise<void> {
  for (let quiet = 0, before = -1; quiet < QUIET_TURNS; quiet++) {
    if (count() !== before) quiet = 0;
    before = count();
    await turnOfEventLoop();
  }
}

/** A stream of that much, and how many pieces of it were taken. */
function large() {
  const source = { taken: 0, stream: new ReadableStream<Uint8Array<ArrayBuffer>>() };
  source.stream = new ReadableStream({
    pull(controller) {
      if (source.taken++ < MANY) controller.enqueue(new Uint8Array(PIECE_BYTES));
      else controller.close();
    },
  });
  return source;
}

async function lengthOf(stream: ReadableStream<Uint8Array>): Promise<number> {
  let length = 0;
  for await (const piece of stream) length += piece.length;
  return length;
}

Deno.test("a response is produced, and a request consumed, no faster than it is read", async () => {
  const [up, down] = [large(), large()];
  const read = Promise.withResolvers<void>();
  await using serving = serveHandler(async ({ body }) => {
    if (body === null) return new Response(down.stream);
    await read.promise;
    return new Response(`${await lengthOf(body)}`);
  });
  const fetch = createFetch(serving.makeClient());
  const response = await fetch("/");
  await untilQuiet(() => down.taken);
  assert(down.taken < MANY / 2, `${down.taken} of ${MANY} pieces were made before one was read`);
  assertEquals(await lengthOf(response.body!), MANY * PIECE_BYTES);

  const responding = fetch("/", { method: "POST", body: up.stream });
  await untilQuiet(() => up.taken);
  assert(up.taken < MANY / 2, `${up.taken} of ${MANY} pieces were taken before one was read`);
  read.resolve();
  assertEquals(await (await responding).text(), `${MANY * PIECE_BYTES}`);
});

// Converting headers in both directions.

Deno.test("a dictionary has lower-case names, no prototype, and typed numbers and ranges", () => {
  const headers = new Headers({
    ...{ "X-Name": "value", "Content-Length": "12", "constructor": "own" },
    ...{ "Range": "bytes=0-499", "Content-Range": "bytes 0-499/1234" },
  });
  headers.append("x-list", "a");
  headers.append("X-List", "b");
  const dict = dictOf(headers);
  assertEquals(Object.getPrototypeOf(dict), null);
  const { range, "content-range": contentRange, ...rest } = dict;
  assertInstanceOf(range, Range);
  assertInstanceOf(contentRange, ContentRange);
  const texts = { "x-name": "value", "x-list": "a, b", constructor: "own" };
  assertEquals(rest, { ...texts, "content-length": 12 });
});

Deno.test("headersOf is the inverse of dictOf", () => {
  const name = fc.stringMatching(/^[a-z]{1,8}$/).filter((it) => it !== "range");
  const value = fc.stringMatching(/^[!-~]{1,12}$/);
  fc.assert(fc.property(fc.dictionary(name, value), fc.nat(), (given, length) => {
    const headers = new Headers({ ...given, "content-length": `${length}`, range: "bytes=1-2" });
    assertEquals([...headersOf(dictOf(headers))], [...headers]);
  }));
});

Deno.test("a header value in an unsupported form is a RangeError that names it", () => {
  const wrong: Record<string, string[]> = {
    "content-length": ["", "+1", "-1", "1.0", "0x1", "01", "1, 1", "1e3", "9007199254740993"],
    "range": ["", "bytes=0-", "bytes=-5", "bytes=0-1,3-4", "items=0-1", "bytes=2-1"],
    "content-range": ["", "bytes 0-1", "bytes */5", "bytes 0-5/5", "bytes 0-1/*"],
  };
  for (const [name, values] of Object.entries(wrong)) {
    for (const value of values) {
      const { message } = assertThrows(() => dictOf(new Headers({ [name]: value })), RangeError);
      assert(message.includes(`headers["${name}"]`) && message.includes(value), message);
    }
  }
});
