/** Chunked bodies, and streams that encode and decode. */
import {
  BodyError,
  type Chunk,
  ChunkedBody,
  ChunkedDecoderStream,
  ChunkedEncoderStream,
  DeguError,
  LengthDecoderStream,
  LengthEncoderStream,
} from "@degu/degu/base";
import { formatChunk } from "@degu/degu/misc";
import { chunks as chunksArbitrary, damaged, pieceLengths } from "@degu/testing/arbitraries.ts";
import { anyBodyOperations } from "@degu/testing/bodies.ts";
import {
  assertBodyError,
  assertCutShort,
  assertProtocolRejection,
  assertRangeError,
  assertTypeError,
  constructWith,
  rejectionOf,
  shown,
} from "@degu/testing/expectations.ts";
import {
  collect,
  concat,
  cut,
  everySplit,
  FailingSink,
  PieceSource,
  RecordingSink,
  StallingSource,
  streamOf,
  TrackedStream,
  withFile,
} from "@degu/testing/streams.ts";
import { fromLatin1, latin1, limits } from "@degu/testing/wire_grammar.ts";
import { assert, assertEquals, assertInstanceOf, assertStrictEquals } from "@std/assert";
import { toText } from "@std/streams";
import fc from "fast-check";
import { acceptedChunkLines, refusedCodings } from "../wire/chunk.rows.ts";

// Chunked bodies over each kind of source, and every operation on them.

/** A chunked body as it is sent. */
const ENCODED: Uint8Array<ArrayBuffer> = latin1(
  "3\r\n123\r\n4;k=v\r\n4567\r\n3\r\n890\r\n0\r\n\r\n",
);
/** Its data. */
const DATA = "1234567890";
/** Its chunks as {@linkcode flat} gives them. */
const CHUNKS: (string | null)[][] = [[null, "123"], ["k=v", "4567"], [null, "890"], [
  null,
  "",
]];

/** A chunk as text: `["k=v", "data"]`. */
function flat([extension, data]: Chunk): [string | null, string] {
  return [extension && extension.join("="), fromLatin1(data)];
}

/** All chunks that readChunk gives, the last one included. */
async function readChunks(body: ChunkedBody): Promise<Chunk[]> {
  const chunks: Chunk[] = [];
  for (;;) {
    const chunk = await body.readChunk();
    chunks.push(chunk);
    if (chunk[1].length === 0) return chunks;
  }
}

/** Everything that can be done with a chunked body, each as a promise. */
const operations: Record<string, (body: ChunkedBody) => Promise<unknown>> = {
  "read()": (body) => body.read(),
  "readChunk()": (body) => body.readChunk(),
  ...anyBodyOperations,
};

/** Runs a test with the encoded bytes in each kind of source. */
async function withEachSource(
  t: Deno.TestContext,
  bytes: Uint8Array,
  run: (body: ChunkedBody) => Promise<void>,
): Promise<void> {
  await t.step("stream", () => run(new ChunkedBody(streamOf(...cut(bytes, 5)))));
  await t.step("byte source", () => run(new ChunkedBody(new PieceSource(cut(bytes, 1)))));
  await t.step("file", () => withFile(bytes, (file) => run(new ChunkedBody(file))));
}

// `ChunkedBody`: what its operations read and write, when each is allowed, its limits, and what
// it leaves in its source.

/** The operations that take a body to its end. */
const finishers = { ...operations, "readChunk()": readChunks };

Deno.test("ChunkedBody.readChunk returns each chunk as it was sent, the empty one last", async (t) => {
  await withEachSource(t, ENCODED, async (body) => {
    assertEquals<unknown>((await readChunks(body)).map(flat), CHUNKS);
    await assertBodyError(body.readChunk(), "readChunk() after the last one");
  });
});

Deno.test("ChunkedBody iterates over the chunks, the empty one last", async (t) => {
  await withEachSource(t, ENCODED, async (body) => {
    assertEquals<unknown>((await collect(body)).map(flat), CHUNKS);
    await assertBodyError(body.readChunk(), "readChunk() after it");
  });
});

Deno.test("ChunkedBody.read, bytes, text and json return all the data", async (t) => {
  await withEachSource(
    t,
    ENCODED,
    async (body) => assertEquals(fromLatin1(await body.read()), DATA),
  );
  await withEachSource(
    t,
    ENCODED,
    async (body) => assertEquals(fromLatin1(await body.bytes()), DATA),
  );
  await withEachSource(t, ENCODED, async (body) => assertEquals(await body.text(), DATA));
  await withEachSource(t, ENCODED, async (body) => assertEquals(await body.json(), Number(DATA)));
});

Deno.test("ChunkedBody.read returns the rest after some chunks", async () => {
  const body = new ChunkedBody(streamOf(ENCODED));
  assertEquals(flat(await body.readChunk()), [null, "123"]);
  assertEquals(fromLatin1(await body.read()), "4567890");
  assertEquals(await body.read(), new Uint8Array(0));
  await assertBodyError(body.read(), "the second read after the end");
});

Deno.test("ChunkedBody reads the same chunks however they are split", async () => {
  for (const pieces of everySplit(ENCODED)) {
    assertEquals<unknown>((await collect(new ChunkedBody(streamOf(...pieces)))).map(flat), CHUNKS);
    const body = new ChunkedBody(new PieceSource(pieces));
    assertEquals<unknown>((await readChunks(body)).map(flat), CHUNKS);
  }
  await fc.assert(
    fc.asyncProperty(chunksArbitrary, pieceLengths, async (chunks, lengths) => {
      const bytes = concat(chunks.map(formatChunk));
      const body = new ChunkedBody(streamOf(...cut(bytes, ...lengths)));
      assertEquals((await readChunks(body)).map(flat), chunks.map(flat));
    }),
    { numRuns: 50 },
  );
});

Deno.test("ChunkedBody has the same result or error however its bytes are split", async () => {
  const outcome = async (source: ReadableStream<Uint8Array> | PieceSource): Promise<unknown> => {
    try {
      return (await readChunks(new ChunkedBody(source))).map(flat);
    } catch (error) {
      assert(error instanceof DeguError, Deno.inspect(error));
      return [error.name, "code" in error ? error.code : null];
    }
  };
  const text = chunksArbitrary.map((chunks) => fromLatin1(concat(chunks.map(formatChunk))));
  await fc.assert(
    fc.asyncProperty(damaged(text), pieceLengths, async (bytes, lengths) => {
      const whole = await outcome(streamOf(...[bytes].filter((piece) => piece.length > 0)));
      assertEquals(await outcome(streamOf(...cut(bytes, ...lengths))), whole);
      assertEquals(await outcome(streamOf(...cut(bytes, 1))), whole);
      const source = await outcome(new PieceSource([bytes]));
      assertEquals(await outcome(new PieceSource(cut(bytes, ...lengths))), source);
    }),
    { numRuns: 100 },
  );
});

Deno.test("ChunkedBody returns an empty array to the first read after its end, then rejects", async (t) => {
  for (const [finisher, finish] of Object.entries(finishers)) {
    for (const read of ["read()", "bytes()"]) {
      await t.step(`${read} after ${finisher}`, async () => {
        const body = new ChunkedBody(streamOf(...cut(ENCODED, 4)));
        await finish(body);
        assertEquals(await operations[read]?.(body), new Uint8Array(0));
        for (const [operation, run] of Object.entries(operations)) {
          if (operation === "readable" && finisher === "readable") continue;
          await assertBodyError(run(body), `a later ${operation}`);
        }
      });
    }
  }
});

Deno.test("ChunkedBody rejects every other operation after its end", async (t) => {
  for (const [finisher, finish] of Object.entries(finishers)) {
    for (const operation of ["readChunk()", "iteration", "writeTo()", "readable"]) {
      if (operation === finisher && operation === "readable") continue;
      await t.step(`${operation} after ${finisher}`, async () => {
        const body = new ChunkedBody(new PieceSource([ENCODED]));
        await finish(body);
        await assertBodyError(operations[operation]?.(body) ?? Promise.resolve(), operation);
      });
    }
  }
});

Deno.test("ChunkedBody starts iteration, readable and writeTo only if nothing has been read", async (t) => {
  for (const start of ["readChunk()", "readable"]) {
    for (const operation of ["iteration", "writeTo()", "readable", "read()"]) {
      if (operation === start || operation === "read()" && start === "readChunk()") continue;
      await t.step(`${operation} after ${start}`, async () => {
        const body = new ChunkedBody(streamOf(ENCODED));
        if (start === "readable") assert(body.readable instanceof ReadableStream);
        else await body.readChunk();
        await assertBodyError(operations[operation]?.(body) ?? Promise.resolve(), operation);
      });
    }
  }
});

Deno.test("ChunkedBody is consumed only after its empty chunk was read", async () => {
  const body = new ChunkedBody(streamOf(ENCODED));
  for (let i = 0; i < 3; i++) await body.readChunk();
  assertEquals(flat(await body.readChunk()), [null, ""]);
  assertEquals(await body.read(), new Uint8Array(0));
  const empty = new ChunkedBody(streamOf(latin1("0;k=v\r\n\r\n")));
  assertEquals(flat(await empty.readChunk()), ["k=v", ""]);
  await assertBodyError(empty.readChunk(), "readChunk() after the last one");
});

Deno.test("ChunkedBody.readable has the data without the chunk lines", async () => {
  const body = new ChunkedBody(streamOf(...cut(ENCODED, 3)));
  const readable = body.readable;
  assertStrictEquals(body.readable, readable);
  assertEquals(await toText(readable), DATA);
  const reader = new ChunkedBody(new PieceSource(cut(ENCODED, 2))).readable.getReader({
    mode: "byob",
  });
  const pieces: Uint8Array[] = [];
  for (let turn = 0; turn < 20; turn++) {
    const { done, value } = await reader.read(new Uint8Array(2));
    if (done) break;
    pieces.push(value.slice());
  }
  assertEquals(fromLatin1(concat(pieces)), DATA);
  await reader.closed;
});

Deno.test("ChunkedBody reads every form of chunk line", async () => {
  for (const [line, size, extension] of acceptedChunkLines) {
    if (size > 1000) continue;
    const data = "x".repeat(size);
    const rest = size === 0 ? "\r\n" : `${data}\r\n0\r\n\r\n`;
    const body = new ChunkedBody(streamOf(latin1(`${line}\r\n${rest}`)));
    assertEquals(flat(await body.readChunk()), [extension && extension.join("="), data]);
  }
});

Deno.test("ChunkedBody refuses an invalid chunk in every operation", async (t) => {
  for (const { rule, rfc, text, codes } of refusedCodings) {
    await t.step(`${rule} (${rfc}): ${shown(text)}`, async () => {
      for (const [operation, run] of Object.entries(operations)) {
        for (const source of [streamOf(latin1(text)), new PieceSource(cut(latin1(text), 1))]) {
          const body = new ChunkedBody(source);
          await assertProtocolRejection(run(body), codes, operation);
          await assertBodyError(body.read(), `read() after a failed ${operation}`);
        }
      }
    });
  }
});

Deno.test("ChunkedBody.writeTo preserves chunks and extensions", async () => {
  for (const pieces of [[ENCODED], cut(ENCODED, 1), cut(ENCODED, 7)]) {
    for (const source of [streamOf(...pieces), new PieceSource(pieces)]) {
      const sink = new RecordingSink();
      assertEquals(await new ChunkedBody(source).writeTo(sink), ENCODED.length);
      assertEquals(sink.bytes, ENCODED);
    }
  }
  await fc.assert(
    fc.asyncProperty(chunksArbitrary, pieceLengths, async (chunks, lengths) => {
      const bytes = concat(chunks.map(formatChunk));
      const sink = new RecordingSink();
      const body = new ChunkedBody(streamOf(...cut(bytes, ...lengths)));
      assertEquals(await body.writeTo(sink), bytes.length);
      assertEquals(sink.bytes, bytes);
    }),
    { numRuns: 50 },
  );
});

Deno.test("ChunkedBody.writeTo writes chunk sizes in lower case", async () => {
  const sink = new RecordingSink();
  await new ChunkedBody(streamOf(latin1("A;K=V\r\n1234567890\r\n0\r\n\r\n"))).writeTo(sink);
  assertEquals(fromLatin1(sink.bytes), "a;K=V\r\n1234567890\r\n0\r\n\r\n");
});

Deno.test("ChunkedBody cancels its stream if iterating, reading or sending is abandoned", async () => {
  const make = () => new TrackedStream(cut(ENCODED, 8));
  const left = make();
  const body = new ChunkedBody(left.stream);
  for await (const _ of body) break;
  assertEquals(left.cancelled.length, 1);
  await assertBodyError(body.readChunk(), "readChunk() after it");
  const cancelled = make();
  await new ChunkedBody(cancelled.stream).readable.cancel();
  assertEquals(cancelled.cancelled.length, 1);
  const failed = make();
  const sink = new FailingSink();
  const error = await rejectionOf(new ChunkedBody(failed.stream).writeTo(sink), "a failing sink");
  assertStrictEquals(error instanceof Error ? error.cause ?? error : error, sink.failure);
  assertEquals(failed.cancelled.length, 1);
});

Deno.test("ChunkedBody accepts chunk lines of 4096 bytes with their CR LF", async () => {
  const value = "v".repeat(4096 - "5;k=\r\n".length);
  const bytes = latin1(`5;k=${value}\r\nhello\r\n0\r\n\r\n`);
  for (
    const source of [streamOf(bytes), streamOf(...cut(bytes, 4095)), new PieceSource(cut(bytes, 1))]
  ) {
    assertEquals(flat(await new ChunkedBody(source).readChunk()), [`k=${value}`, "hello"]);
  }
});

Deno.test("ChunkedBody rejects if its source ends anywhere before the last chunk", async () => {
  for (let length = 0; length < ENCODED.length; length++) {
    const part = ENCODED.slice(0, length);
    const pieces = part.length > 0 ? [part] : [];
    for (const take of [readChunks, operations["read()"], operations["writeTo()"]]) {
      for (const source of [streamOf(...pieces), new PieceSource(pieces)]) {
        const body = new ChunkedBody(source);
        await assertCutShort(take?.(body) ?? Promise.resolve(), shown(fromLatin1(part)));
        await assertBodyError(body.read(), "read() after it");
      }
    }
  }
});

Deno.test("ChunkedBody.readChunk accepts chunks of 16 MiB", async () => {
  const data = new Uint8Array(limits.chunkData);
  data[data.length - 1] = 7;
  const pieces = [latin1("1000000\r\n"), data, latin1("\r\n0\r\n\r\n")];
  for (const source of [streamOf(...pieces), new PieceSource(pieces)]) {
    const [, read] = await new ChunkedBody(source).readChunk();
    assertEquals([read.length, read.at(-1)], [data.length, 7]);
  }
});

Deno.test("ChunkedBody.read returns up to 16 MiB and rejects if there is more", async () => {
  const half = new Uint8Array(limits.collected / 2);
  const chunk = concat([latin1("800000\r\n"), half, latin1("\r\n")]);
  const end = latin1("0\r\n\r\n");
  const most = new ChunkedBody(new PieceSource([chunk, chunk, end]));
  assertEquals((await most.read()).length, limits.collected);
  const more = new ChunkedBody(new PieceSource([chunk, chunk, latin1("1\r\nx\r\n"), end]));
  assert(await rejectionOf(more.read(), "a byte more than 16 MiB") instanceof Error);
  await assertBodyError(more.read(), "read() after it");
});

Deno.test("ChunkedBody allocates little for a chunk size that is only announced", async () => {
  const before = Deno.memoryUsage().external;
  const sources = Array.from({ length: 40 }, () => new StallingSource(latin1("1000000\r\nabc")));
  const reads = sources.map((source) => new ChunkedBody(source).readChunk());
  await Promise.all(sources.map((source) => source.stalled));
  const grown = Deno.memoryUsage().external - before;
  for (const source of sources) source.release();
  const results = await Promise.allSettled(reads);
  assert(results.every(({ status }) => status === "rejected"));
  assert(grown < 40 * 512 * 1024, `${grown} bytes for 40 stalled chunks`);
});

Deno.test("ChunkedBody rejects a second operation while one is pending", async () => {
  const source = new StallingSource(latin1("5\r\nhel"));
  const body = new ChunkedBody(source);
  const first = body.readChunk();
  await source.stalled;
  for (const [operation, run] of Object.entries(operations)) {
    await assertBodyError(run(body), `${operation} while reading`);
  }
  source.release();
  await assertCutShort(first, "the first");
});

Deno.test("ChunkedBody returns new chunks, which later reads don't change", async (t) => {
  await withEachSource(t, ENCODED, async (body) => {
    const chunks = await readChunks(body);
    const texts = chunks.map(flat);
    chunks[1]?.[1].fill(0);
    assertEquals<unknown>(texts, CHUNKS);
    assertEquals(chunks[0] && flat(chunks[0]), [null, "123"]);
    assertEquals(chunks[2] && flat(chunks[2]), [null, "890"]);
  });
});

Deno.test("ChunkedBody.text decodes UTF-8 strictly across chunks and keeps the byte order mark", async () => {
  const encode = (bytes: Uint8Array) =>
    concat([...cut(bytes, 1).map((data) => formatChunk([null, data])), latin1("0\r\n\r\n")]);
  const text = "\ufeffé€😀";
  const bytes = encode(new TextEncoder().encode(text));
  assertEquals(await new ChunkedBody(streamOf(bytes)).text(), text);
  const bad = new ChunkedBody(streamOf(encode(Uint8Array.of(0xc3, 0x28))));
  assert(await rejectionOf(bad.text(), "bad UTF-8") instanceof Error);
});

Deno.test("ChunkedBody returns a chunk, and its end, without waiting for more", async () => {
  const body = new ChunkedBody(new StallingSource(ENCODED));
  assertEquals<unknown>((await readChunks(body)).map(flat), CHUNKS);
  assertEquals(fromLatin1(await new ChunkedBody(new StallingSource(ENCODED)).read()), DATA);
  const part = new ChunkedBody(new StallingSource(ENCODED.slice(0, 8)));
  assertEquals(flat(await part.readChunk()), [null, "123"]);
});

Deno.test("ChunkedBody leaves the bytes after it in a byte source", async () => {
  const names = ["read()", "iteration", "writeTo()", "readable"];
  const takers = [readChunks, ...names.map((name) => operations[name])];
  await fc.assert(
    fc.asyncProperty(chunksArbitrary, pieceLengths, async (chunks, lengths) => {
      const bytes = concat(chunks.map(formatChunk));
      const followed = concat([bytes, latin1("what follows it")]);
      for (const take of takers) {
        for (const pieces of [[followed], cut(followed, ...lengths)]) {
          const source = new PieceSource(pieces);
          await take?.(new ChunkedBody(source));
          assertEquals(source.taken, bytes.length);
        }
      }
    }),
    { numRuns: 60 },
  );
});

Deno.test("ChunkedBody leaves the bytes after it in a file", async () => {
  await withFile(concat([ENCODED, ENCODED]), async (file) => {
    assertEquals(await new ChunkedBody(file).text(), DATA);
    assertEquals(await file.seek(0, Deno.SeekMode.Current), ENCODED.length);
    assertEquals(await new ChunkedBody(file).text(), DATA);
  });
});

const DIGITS = latin1("1234567890");
const lengthStreams = { LengthEncoderStream, LengthDecoderStream };

function decode(pieces: readonly Uint8Array[]): Promise<Chunk[]> {
  return collect(streamOf(...pieces).pipeThrough(new ChunkedDecoderStream()));
}

async function encode(items: readonly (Uint8Array | Chunk)[]): Promise<string> {
  const encoded = streamOf(...items).pipeThrough(new ChunkedEncoderStream());
  return fromLatin1(concat(await collect(encoded)));
}

/** The chunks that a decoder gives, or the error that it ends with, as something to compare. */
async function outcome(pieces: readonly Uint8Array[]): Promise<unknown> {
  try {
    return (await decode(pieces)).map(flat);
  } catch (error) {
    assertInstanceOf(error, DeguError, Deno.inspect(error));
    return [error.name, "code" in error ? error.code : null];
  }
}

Deno.test("LengthEncoderStream and LengthDecoderStream pass on exactly their length", async (t) => {
  for (const [name, Stream] of Object.entries(lengthStreams)) {
    await t.step(name, async () => {
      for (const lengths of [[10], [1], [3, 4], [0, 2]]) {
        const passed = streamOf(...cut(DIGITS, ...lengths)).pipeThrough(new Stream(10));
        assertEquals(concat(await collect(passed)), DIGITS);
      }
      assertEquals(await collect(streamOf<Uint8Array>().pipeThrough(new Stream(0))), []);
    });
  }
});

Deno.test("LengthEncoderStream and LengthDecoderStream error if there is too much or too little", async (t) => {
  for (const [name, Stream] of Object.entries(lengthStreams)) {
    await t.step(name, async () => {
      for (const pieces of [cut(DIGITS, 10), cut(DIGITS, 9, 1), cut(DIGITS, 1)]) {
        const source = new TrackedStream(pieces);
        const excess = collect(source.stream.pipeThrough(new Stream(9)));
        assertInstanceOf(await rejectionOf(excess, "excess"), DeguError);
        assert(source.settled);
        await assertCutShort(collect(streamOf(...pieces).pipeThrough(new Stream(11))), "shortage");
      }
      const none = collect(streamOf(DIGITS).pipeThrough(new Stream(0)));
      assertInstanceOf(await rejectionOf(none, "excess of nothing"), DeguError);
      await assertCutShort(collect(streamOf<Uint8Array>().pipeThrough(new Stream(1))), "nothing");
    });
  }
});

Deno.test("LengthEncoderStream never completes a message if its source misbehaves", async () => {
  for (const texts of [["1234", "56"], ["1234", "5", "6"], ["123456"], ["5", "4321", "x"]]) {
    const pieces: Uint8Array[] = [];
    const encoded = streamOf(...texts.map(latin1)).pipeThrough(new LengthEncoderStream(5));
    const passOn = async () => {
      for await (const piece of encoded) pieces.push(piece);
    };
    assertInstanceOf(await rejectionOf(passOn(), "excess"), DeguError);
    assert(concat(pieces).length < 5, fromLatin1(concat(pieces)));
  }
});

Deno.test("LengthEncoderStream and LengthDecoderStream refuse an invalid length", () => {
  for (const Stream of Object.values(lengthStreams)) {
    for (const length of [undefined, null, "5", 5n, [5], {}]) {
      assertTypeError(() => constructWith(Stream, length), Deno.inspect(length));
    }
    for (const length of [-1, 1.5, NaN, Infinity, 2 ** 53]) {
      assertRangeError(() => new Stream(length), `${length}`);
    }
    new Stream(limits.number);
  }
});

Deno.test("the streams error if a chunk is not bytes", async () => {
  const streams = [
    ...[() => new LengthEncoderStream(5), () => new LengthDecoderStream(5)],
    ...[() => new ChunkedEncoderStream(), () => new ChunkedDecoderStream()],
  ];
  for (const make of streams) {
    for (const item of ["12345", 5, null, new ArrayBuffer(5), new Uint16Array(5), {}, [1, 2], []]) {
      const piped = (async () => {
        const { readable, writable } = make();
        const writer: WritableStreamDefaultWriter<unknown> = Reflect.apply(
          WritableStream.prototype.getWriter,
          writable,
          [],
        );
        const written = [writer.write(item), writer.close()];
        const results = await Promise.allSettled([collect<unknown>(readable), ...written]);
        const failed = results.find((result) => result.status === "rejected");
        if (failed !== undefined) throw failed.reason;
      })();
      const error = await rejectionOf(piped, Deno.inspect(item));
      assert(error instanceof TypeError || error instanceof BodyError, Deno.inspect(error));
    }
  }
});

Deno.test("ChunkedEncoderStream encodes each item as a chunk and adds the last chunk", async (t) => {
  const empty = new Uint8Array(0);
  const rows: [items: (Uint8Array | Chunk)[], text: string][] = [
    [[], "0\r\n\r\n"],
    [[DIGITS], "a\r\n1234567890\r\n0\r\n\r\n"],
    [[latin1("12"), latin1("3")], "2\r\n12\r\n1\r\n3\r\n0\r\n\r\n"],
    [[empty, latin1("12"), empty], "2\r\n12\r\n0\r\n\r\n"],
    [[[null, latin1("12")]], "2\r\n12\r\n0\r\n\r\n"],
    [[[["k", "v"], latin1("12")], latin1("3")], "2;k=v\r\n12\r\n1\r\n3\r\n0\r\n\r\n"],
    [[latin1("12"), [null, empty]], "2\r\n12\r\n0\r\n\r\n"],
    [[latin1("12"), [["k", "v"], empty]], "2\r\n12\r\n0;k=v\r\n\r\n"],
    [[[null, empty]], "0\r\n\r\n"],
  ];
  for (const [items, text] of rows) {
    await t.step(shown(text), async () => assertEquals(await encode(items), text));
  }
});

Deno.test("ChunkedEncoderStream errors if anything follows the last chunk", async () => {
  const last: Chunk = [null, new Uint8Array(0)];
  for (const item of [DIGITS, [null, DIGITS] as const, [["k", "v"], DIGITS] as const, last]) {
    await assertBodyError(encode([last, item]), Deno.inspect(item));
  }
});

Deno.test("ChunkedEncoderStream errors if a chunk is invalid", async () => {
  const rows: Chunk[] = [
    [["", "v"], DIGITS],
    [["k", ""], DIGITS],
    [["k\r\n", "v"], DIGITS],
    [["k", "v\r\nevil"], DIGITS],
    [["k", "v".repeat(4096)], DIGITS],
    [null, new Uint8Array(limits.chunkData + 1)],
  ];
  for (const chunk of rows) {
    const error = await rejectionOf(encode([chunk]), Deno.inspect(chunk).slice(0, 50));
    assert(error instanceof RangeError || error instanceof BodyError, Deno.inspect(error));
  }
});

Deno.test("ChunkedDecoderStream yields every chunk with its extension, including the last", async () => {
  const text = "5\r\nhello\r\n2;k=v\r\n\r\n\r\nA;K=v;w\r\n1234567890\r\n0;end=1\r\n\r\n";
  const expected = [[null, "hello"], ["k=v", "\r\n"], ["K=v;w", "1234567890"], ["end=1", ""]];
  for (const pieces of [[latin1(text)], cut(latin1(text), 1), ...everySplit(latin1(text))]) {
    assertEquals<unknown>((await decode(pieces)).map(flat), expected);
  }
  assertEquals((await decode([latin1("0\r\n\r\n")])).map(flat), [[null, ""]]);
});

Deno.test("ChunkedDecoderStream undoes ChunkedEncoderStream however the bytes are split", async () => {
  await fc.assert(
    fc.asyncProperty(chunksArbitrary, pieceLengths, async (chunks, lengths) => {
      const bytes = concat(chunks.map(formatChunk));
      assertEquals(await encode(chunks), fromLatin1(bytes));
      assertEquals((await decode(cut(bytes, ...lengths))).map(flat), chunks.map(flat));
    }),
    { numRuns: 60 },
  );
});

Deno.test("ChunkedDecoderStream has the same result or error however the bytes are split", async () => {
  const text = chunksArbitrary.map((chunks) => fromLatin1(concat(chunks.map(formatChunk))));
  await fc.assert(
    fc.asyncProperty(damaged(text), pieceLengths, async (bytes, lengths) => {
      const whole = await outcome([bytes].filter((piece) => piece.length > 0));
      assertEquals(await outcome(cut(bytes, ...lengths)), whole);
      assertEquals(await outcome(cut(bytes, 1)), whole);
    }),
    { numRuns: 100 },
  );
});

Deno.test("ChunkedDecoderStream refuses invalid chunks however the bytes are split", async (t) => {
  for (const { rule, rfc, text, codes } of refusedCodings) {
    await t.step(`${rule} (${rfc}): ${shown(text)}`, async () => {
      const bytes = latin1(text);
      for (const start of ["", "3\r\nabc\r\n"]) {
        const whole = concat([latin1(start), bytes]);
        for (const pieces of [[whole], cut(whole, 1), cut(whole, 7, 2)]) {
          await assertProtocolRejection(decode(pieces), codes, shown(text));
        }
      }
    });
  }
});

Deno.test("ChunkedDecoderStream accepts chunk lines of 4096 bytes with their CR LF", async () => {
  const value = "v".repeat(4096 - "5;k=\r\n".length);
  const bytes = latin1(`5;k=${value}\r\nhello\r\n0\r\n\r\n`);
  for (const pieces of [[bytes], cut(bytes, 1), cut(bytes, 4095, 1), cut(bytes, 4094)]) {
    assertEquals((await decode(pieces)).map(flat), [[`k=${value}`, "hello"], [null, ""]]);
  }
});

Deno.test("ChunkedDecoderStream errors if the bytes end anywhere before the last chunk", async () => {
  const bytes = latin1("5;k=v\r\nhello\r\n0\r\n\r\n");
  for (let length = 0; length < bytes.length; length++) {
    const part = bytes.slice(0, length);
    await assertCutShort(decode(part.length > 0 ? [part] : []), shown(fromLatin1(part)));
  }
});

Deno.test("ChunkedDecoderStream errors if bytes follow the last chunk", async () => {
  const bytes = latin1("2\r\nhi\r\n0\r\n\r\n");
  for (const more of ["X", "0\r\n\r\n", "\r\n", "\0"]) {
    const whole = concat([bytes, latin1(more)]);
    for (const pieces of [[whole], [bytes, latin1(more)], cut(whole, 1)]) {
      const source = new TrackedStream(pieces);
      const decoded = source.stream.pipeThrough(new ChunkedDecoderStream());
      await assertBodyError(collect(decoded), shown(more));
      assert(source.settled);
    }
  }
});

Deno.test("ChunkedDecoderStream accepts chunks of 16 MiB", async () => {
  const data = new Uint8Array(limits.chunkData);
  data[data.length - 1] = 7;
  const pieces = [latin1("1000000\r\n"), data, latin1("\r\n0\r\n\r\n")];
  const [first, last] = await decode(pieces);
  assertEquals([first?.[1].length, first?.[1].at(-1), last?.[1].length], [data.length, 7, 0]);
});

Deno.test("ChunkedDecoderStream accepts a writer that reuses its memory for each piece", async () => {
  const bytes = latin1("5;k=v\r\nhello\r\n3\r\nabc\r\n0\r\n\r\n");
  for (const length of [1, 2, 3, 7]) {
    const { readable, writable } = new ChunkedDecoderStream();
    const decoded = collect(readable);
    const writer = writable.getWriter();
    const buffer = new Uint8Array(length);
    for (const piece of cut(bytes, length)) {
      buffer.set(piece);
      await writer.write(buffer.subarray(0, piece.length));
      buffer.fill(0);
    }
    await writer.close();
    assertEquals<unknown>((await decoded).map(flat), [["k=v", "hello"], [null, "abc"], [null, ""]]);
  }
});

Deno.test("ChunkedDecoderStream yields chunks that later ones don't change", async () => {
  const bytes = latin1("3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n");
  const given = await decode([bytes]);
  bytes.fill(0);
  const texts = given.map(flat);
  given[1]?.[1].fill(0);
  assertEquals(flat(given[0] ?? [null, bytes]), texts[0]);
});
