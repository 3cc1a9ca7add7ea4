/**
 * `Body` and `ChunkedBody`: results of their operations, allowed orders, and bytes that remain in
 * their source.
 */
import { Body, BodyError, type Chunk, ChunkedBody } from "@degu/degu/base";
import { formatChunk } from "../messages.ts";
import { chunks as chunksArbitrary, pieceLengths } from "../arbitraries.ts";
import {
  assertBodyError,
  assertCutShort,
  assertTypeError,
  callWith,
  catchRejection,
  flattenChunk,
  formatLabel,
} from "@degu/testing/expectations.ts";
import { readerOf, whenBodyEnds } from "@degu/internal/base/body/body.ts";
import { stopAllClocks } from "@degu/testing/clock.ts";
import { waitForTick } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { readStatedNumber } from "@degu/testing/project_files.ts";
import {
  concat,
  cutBytes,
  FailingSink,
  PieceSource,
  RecordingSink,
  StallingSource,
  streamOf,
  TrackedStream,
} from "@degu/testing/streams.ts";
import { decodeLatin1, encodeLatin1, limits } from "@degu/testing/wire_grammar.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { toArrayBuffer } from "@std/streams";
import fc from "fast-check";

/** Yields every way to cut the bytes into at most two pieces. */
function* splitEverywhere(bytes: Uint8Array): Generator<Uint8Array<ArrayBuffer>[]> {
  for (let position = 0; position <= bytes.length; position++) {
    yield [bytes.slice(0, position), bytes.slice(position)].filter((piece) => piece.length > 0);
  }
}

/** A byte source of zeros, without end. */
class ZeroSource {
  readCount = 0;

  read(into: Uint8Array): Promise<number> {
    into.fill(0);
    this.readCount += into.length;
    return Promise.resolve(into.length);
  }
}

/** Runs a test with an open temporary file that contains the bytes. */
async function withFile(
  bytes: Uint8Array,
  run: (file: Deno.FsFile) => Promise<void>,
): Promise<void> {
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeFile(path, bytes);
    using file = await Deno.open(path, { read: true });
    await run(file);
  } finally {
    await Deno.remove(path);
  }
}

type Received = Body | ChunkedBody;
type BodyInput = ConstructorParameters<typeof ChunkedBody>[0];

const DATA = encodeLatin1("1234567890");
const ENCODED = encodeLatin1("3\r\n123\r\n4;k=v\r\n4567\r\n3\r\n890\r\n0\r\n\r\n");
const EMPTY = new Uint8Array(0);

/** A class of received bodies. */
interface Kind {
  /** The encoded bytes of ten bytes of data. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  encode(data: Uint8Array): Uint8Array<ArrayBuffer>;
  make(source: BodyInput, length?: number): Received;
  /** Reads some of the data, or the next chunk. */
  part(body: Received): Promise<Uint8Array>;
}

const kinds: Record<string, Kind> = {
  Body: {
    bytes: DATA,
    encode: (data) => data.slice(),
    make: (source, length = 10) => new Body(source, length),
    part: (body) => (body as Body).read(3),
  },
  ChunkedBody: {
    bytes: ENCODED,
    encode: (data) =>
      concat([...cutBytes(data, 1), EMPTY].map((piece) => formatChunk([null, piece]))),
    make: (source) => new ChunkedBody(source),
    part: async (body) => (await (body as ChunkedBody).readChunk())[1],
  },
};

/** All operations that read a whole body; each returns the data. */
const operations: Record<string, (body: Received) => Promise<Uint8Array>> = {
  "read()": (body) => body.read(),
  "bytes()": (body) => body.bytes(),
  "text()": async (body) => encodeLatin1(await body.text()),
  "json()": async (body) => encodeLatin1(`${await body.json()}`),
  "iteration": async (body) => {
    const items = await Array.fromAsync<Uint8Array | Chunk>(body);
    return concat(items.map((item) => item instanceof Uint8Array ? item : item[1]));
  },
  "writeTo()": async (body) => {
    const sink = new RecordingSink();
    assertEquals(await body.writeTo(sink), sink.bytes.length);
    return body.chunked ? await new ChunkedBody(new PieceSource([sink.bytes])).read() : sink.bytes;
  },
  "readable": async (body) => new Uint8Array(await toArrayBuffer(body.readable)),
};

/** Operations that require an unused body. */
const WHOLE = ["iteration", "writeTo()", "readable"];

/** Returns the operations that read a body to its end, including those in parts. */
function listFinishers({ part }: Kind): typeof operations {
  return {
    ...operations,
    "part by part": async (body) => {
      const parts: Uint8Array[] = [];
      let next;
      while ((next = await part(body)).length > 0) parts.push(next);
      // Body.read returns exactly the size, and less only at the end, however its source splits it.
      if (!body.chunked) assert(parts.slice(0, -1).every(({ length }) => length === 3));
      return concat(parts);
    },
  };
}

/** Returns sources of all kinds with these bytes, in pieces of these lengths. */
function makeSources(bytes: Uint8Array, ...lengths: number[]): Record<string, () => BodyInput> {
  return {
    "a stream": () => streamOf(...cutBytes(bytes, ...lengths)),
    "a byte source": () => new PieceSource(cutBytes(bytes, ...lengths)),
  };
}

/**
 * Asserts that a failed body stays unusable. A stream that was already requested reports the
 * failure itself.
 */
async function assertDead(body: Received, label = "") {
  for (const [name, run] of Object.entries(operations)) {
    if (name === "readable" && /readable|stream/.test(label)) continue;
    await assertBodyError(run(body), `${name} of a body with an error`);
  }
}

const getCause = (error: unknown) => error instanceof Error ? error.cause ?? error : error;

for (const [name, kind] of Object.entries(kinds)) {
  const { bytes, encode, make, part } = kind;
  const finishers = listFinishers(kind);

  Deno.test(`${name} returns the same data in every operation, and reads a stream to its end`, async (t) => {
    await testEachRow(t, Object.entries(finishers), async (_operation, run) => {
      for (const lengths of [[100], [1], [4, 3], [5]]) {
        const source = new TrackedStream(cutBytes(bytes, ...lengths));
        assertEquals(await run(make(source.stream)), DATA);
        const { hasEnded, cancelReasons, stream } = source;
        assertEquals([hasEnded, cancelReasons.length, stream.locked], [true, 0, false]);
      }
    });
  });

  Deno.test(`${name} resolves one read() after its end to an empty array, and rejects all other operations`, async () => {
    const readSized = (size: number) => (body: Received) => (body as Body).read(size);
    const reads = {
      "read()": operations["read()"]!,
      ...(name === "Body" ? { "read(0)": readSized(0), "read(1)": readSized(1) } : {}),
    };
    for (const [finisher, finish] of Object.entries(operations)) {
      for (const [read, run] of Object.entries(reads)) {
        const body = make(streamOf(...cutBytes(bytes, 4)));
        await finish(body);
        assertEquals(await run(body), EMPTY, `${read} after ${finisher}`);
        for (const [operation, secondOperation] of Object.entries(operations)) {
          await assertBodyError(
            secondOperation(body),
            `${operation} after ${finisher} and ${read}`,
          );
        }
      }
      for (const operation of [...WHOLE, "bytes()", "text()", "json()"]) {
        const body = make(new PieceSource([bytes]));
        await finish(body);
        await assertBodyError(operations[operation]!(body), `${operation} after ${finisher}`);
      }
    }
  });

  Deno.test(`${name} refuses an operation on the whole body after any other use`, async () => {
    const starts: Record<string, (body: Received) => unknown> = {
      "a part": part,
      "its stream": (body) => body.readable.getReader().read(),
      "an iteration": (body) => body[Symbol.asyncIterator]().next(),
      ...(name === "Body" ? { "read(0)": (body: Received) => (body as Body).read(0) } : {}),
    };
    for (const [start, beginOperation] of Object.entries(starts)) {
      for (const operation of WHOLE) {
        if (start === "its stream" && operation === "readable") continue;
        const body = make(streamOf(...cutBytes(bytes, 4)));
        await beginOperation(body);
        await assertBodyError(operations[operation]!(body), `${operation} after ${start}`);
        if (/its|an /.test(start)) await assertBodyError(body.read(), `a read after ${start}`);
      }
    }
    const freshBody = make(new PieceSource([bytes]));
    assertEquals(decodeLatin1(await part(freshBody)), "123");
    assertEquals(decodeLatin1(await freshBody.read()), "4567890");
  });

  Deno.test(`${name} rejects a second operation while the first is pending, and the first continues`, async () => {
    const gate = Promise.withResolvers<void>();
    const innerSource = new PieceSource([bytes]);
    const body = make({ read: (into) => gate.promise.then(() => innerSource.read(into)) });
    const first = body.read();
    for (const [operation, run] of Object.entries(operations)) {
      await assertBodyError(run(body), `${operation} while reading`);
    }
    gate.resolve();
    assertEquals(await first, DATA);
  });

  Deno.test(`${name} rejects if its source ends anywhere before its end`, async () => {
    for (let length = 0; length < bytes.length; length++) {
      const start = bytes.slice(0, length);
      for (const [operation, run] of Object.entries(finishers)) {
        for (const open of Object.values(makeSources(start, 4))) {
          const body = make(open());
          await assertCutShort(run(body), `${operation} of ${formatLabel(decodeLatin1(start))}`);
          await assertBodyError(body.read(), `a read after ${operation}`);
        }
      }
    }
    await withFile(bytes.slice(0, -1), async (file) => {
      await assertCutShort(make(file).writeTo(new RecordingSink()), "a file");
      assertEquals((await file.stat()).size, bytes.length - 1);
    });
  });

  Deno.test(`${name} fails with its source's error`, async () => {
    const failure = new Error("the disk is gone");
    const start = bytes.slice(0, 2);
    for (const [operation, run] of Object.entries(finishers)) {
      const failingSources: BodyInput[] = [
        new TrackedStream([start], { failure }).stream,
        { read: () => Promise.reject(failure) },
      ];
      for (const source of failingSources) {
        const body = make(source);
        assertStrictEquals(getCause(await catchRejection(run(body), operation)), failure);
        await assertDead(body, operation);
        assertStrictEquals(getCause(await catchRejection(body.read(), "a later read")), failure);
      }
    }
    for (const count of [-1, 0.5, NaN, 1e9, undefined]) {
      const body = make({ read: () => Promise.resolve(count as number) });
      assertInstanceOf(await catchRejection(body.read(), Deno.inspect(count)), Error);
      await assertDead(body);
    }
  });

  Deno.test(`${name} cancels its stream if it is abandoned before its end, and then unlocks it`, async () => {
    const failure = new Error("no more, please");
    const leaving: Record<string, (body: Received) => Promise<unknown>> = {
      "a loop that is left": async (body) => {
        for await (const _ of body) break;
      },
      "a loop that throws": async (body) => {
        const loop = async () => {
          for await (const _ of body) throw failure;
        };
        assertStrictEquals(await catchRejection(loop(), "the loop"), failure);
      },
      "a stream that is canceled": (body) => body.readable.cancel(failure),
      "a sink that fails": (body) => catchRejection(body.writeTo(new FailingSink()), "a sink"),
      "a body that is canceled": async (body) => {
        await part(body);
        await body.cancel();
      },
    };
    for (const [label, leave] of Object.entries(leaving)) {
      const source = new TrackedStream(cutBytes(bytes, 8));
      const body = make(source.stream);
      await leave(body);
      await waitForTick();
      assertEquals([source.cancelReasons.length, source.stream.locked], [1, false], label);
      await assertDead(body, label);
    }
    const locked = new TrackedStream([bytes]).stream;
    locked.getReader();
    assertTypeError(() => make(locked), "a locked stream");
  });

  Deno.test(`${name} doesn't read bytes after its end from a byte source or a file`, async () => {
    const followed = concat([bytes, bytes]);
    for (const [operation, run] of Object.entries(finishers)) {
      for (const lengths of [[100], [1], [7]]) {
        const source = new PieceSource(cutBytes(followed, ...lengths));
        assertEquals(await run(make(source)), DATA, operation);
        assertEquals(source.readCount, bytes.length, operation);
      }
      // The operation doesn't request further bytes.
      assertEquals(await run(make(new StallingSource(bytes))), DATA, operation);
      await withFile(concat([encodeLatin1("ab"), followed]), async (file) => {
        await file.seek(2, Deno.SeekMode.Start);
        for (const end of [bytes.length + 2, followed.length + 2]) {
          assertEquals(await run(make(file)), DATA, operation);
          assertEquals(await file.seek(0, Deno.SeekMode.Current), end, operation);
        }
      });
    }
  });

  Deno.test(`${name} passes on the bytes that have arrived without waiting for more`, async () => {
    const start = bytes.slice(0, 8);
    const had = decodeLatin1(name === "Body" ? start : DATA.slice(0, 3));
    const firsts: Record<string, (body: Received) => Promise<unknown>> = {
      "an iteration": async (body) => {
        const { value } = await body[Symbol.asyncIterator]().next();
        return value instanceof Uint8Array ? value : value![1];
      },
      "its stream": async ({ readable }) => (await readable.getReader().read()).value,
    };
    for (const [label, first] of Object.entries(firsts)) {
      const text = decodeLatin1(await first(make(new StallingSource(start), 20)) as Uint8Array);
      assert(text !== "" && had.startsWith(text), `${label}: ${text}`);
    }
    const sink = new RecordingSink();
    const source = new StallingSource(start);
    const sent = make(source, 20).writeTo(sink);
    await source.stalled;
    assertEquals(sink.bytes, start);
    source.release();
    await assertCutShort(sent, "the rest");
  });

  Deno.test(`${name} decodes UTF-8 strictly and keeps the byte order mark, of which JSON may have one`, async () => {
    const makeBody = (data: Uint8Array) =>
      make(streamOf(...cutBytes(encode(data), 1)), data.length);
    const encoder = new TextEncoder();
    for (const text of ["", "é€😀", "\ufeffa", "a\0b"]) {
      assertEquals(await makeBody(encoder.encode(text)).text(), text);
    }
    for (const invalidBytes of [[0xff], [0xc3], [0xc3, 0x28], [0xed, 0xa0, 0x80], [0xc0, 0x80]]) {
      await assertRejects(() => makeBody(Uint8Array.from(invalidBytes)).text(), TypeError);
    }
    for (const text of ['{"a": [1, "é"]}', "null", " 5 ", '"\ufeff"']) {
      for (const mark of ["", "\ufeff"]) {
        assertEquals(await makeBody(encoder.encode(mark + text)).json(), JSON.parse(text));
      }
    }
    for (const text of ["{", "\ufeff\ufeff5", "5\ufeff", "\ufeff", "5 6", "undefined"]) {
      await assertRejects(() => makeBody(encoder.encode(text)).json(), SyntaxError);
    }
  });

  Deno.test(`${name} returns arrays that share no memory`, async () => {
    for (const open of Object.values(makeSources(bytes, 100))) {
      const body = make(open());
      const first = await part(body);
      const second = await part(body);
      const texts = [first, second].map(decodeLatin1);
      first.fill(0);
      assertEquals(decodeLatin1(second), texts[1]);
      const remainder = await body.read();
      second.fill(0);
      assertEquals(texts.join("") + decodeLatin1(remainder), decodeLatin1(DATA));
      const otherBody = make(open());
      await otherBody.read();
      assert(await body.read() !== await otherBody.read(), "two ends are one array");
    }
  });

  Deno.test(`${name} has one byte stream, which fills the reader's own buffers`, async () => {
    for (const size of [1, 10, 70_000]) {
      const sourceMakers = [makeSources(bytes, 3, 1), makeSources(bytes)].flatMap(Object.values);
      for (const open of sourceMakers as (() => BodyInput)[]) {
        const body = make(open());
        const { readable } = body;
        assertStrictEquals(body.readable, readable);
        const reader = readable.getReader({ mode: "byob" });
        const pieces: Uint8Array[] = [];
        for (;;) {
          const { done, value } = await reader.read(new Uint8Array(size));
          if (done) break;
          assert(value.length > 0 && value.length <= size);
          pieces.push(value.slice());
        }
        assertEquals(concat(pieces), DATA);
        await reader.closed;
      }
    }
  });
}

Deno.test("the stream of an empty body ends at once for each kind of reader", async () => {
  const bodies = [
    () => new Body(streamOf<Uint8Array>(), 0),
    () => new Body(new PieceSource([]), 0),
    () => new ChunkedBody(streamOf(encodeLatin1("0\r\n\r\n"))),
  ];
  const reads: ((stream: ReadableStream) => Promise<{ done: boolean }>)[] = [
    (stream) => stream.getReader().read(),
    (stream) => stream.getReader({ mode: "byob" }).read(new Uint8Array(5)),
  ];
  for (const make of bodies) {
    for (const read of reads) {
      const body = make();
      const { readable } = body;
      assertEquals((await read(readable)).done, true);
      if (!body.chunked) assertStrictEquals(body.readable, readable);
    }
  }
});

// Known length.

Deno.test("an empty body can be read whole more than once", async () => {
  const body = new Body(streamOf(), 0);
  for (let i = 0; i < 2; i++) assertEquals([await body.text(), await body.bytes()].join(), ",");
});

Deno.test("Body.read refuses invalid sizes, and returns no bytes for 0; neither consumes bytes", async () => {
  const body = new Body(new PieceSource([DATA]), 10);
  for (const size of [-1, 1.5, NaN, limits.collected + 1]) {
    assertInstanceOf(await catchRejection(body.read(size), `read(${size})`), RangeError);
  }
  for (const size of ["1", null]) {
    const promise = callWith(body.read.bind(body), size) as Promise<unknown>;
    assertInstanceOf(await catchRejection(promise, `read(${Deno.inspect(size)})`), TypeError);
  }
  for (let i = 0; i < 2; i++) assertEquals(await body.read(0), EMPTY);
  assertEquals(await body.read(limits.collected), DATA);
});

Deno.test("Body.read returns up to 16 MiB and refuses more without consuming anything", async () => {
  const source = new ZeroSource();
  const body = new Body(source, limits.collected + 1);
  assertInstanceOf(await catchRejection(body.read(), "read()"), RangeError);
  for (const name of ["bytes()", "text()", "json()"]) {
    const error = await catchRejection(operations[name]!(body), name);
    assertInstanceOf(error, BodyError);
    assertEquals([error.code, /maxBytes/.test(error.message)], ["TOO_LONG", false]);
  }
  assertEquals(source.readCount, 0);
  assertEquals((await body.read(1)).length, 1);
  assertEquals((await body.read()).length, limits.collected);
  assertEquals(source.readCount, limits.collected + 1);
});

/** The operations with a limit. */
const limited: Record<string, (body: Received, maxBytes: number) => Promise<unknown>> = {
  bytes: (body, maxBytes) => body.bytes({ maxBytes }),
  text: (body, maxBytes) => body.text({ maxBytes }),
  json: (body, maxBytes) => body.json({ maxBytes }),
};

Deno.test("maxBytes: a Body that announces more bytes is refused, and not consumed", async () => {
  for (const [name, read] of Object.entries(limited)) {
    const source = new PieceSource([encodeLatin1("12345")]);
    const body = new Body(source, 5);
    const error = await assertRejects(() => read(body, 4), BodyError, "raise maxBytes", name);
    assertEquals([error.code, body.used], ["TOO_LONG", false], name);
    assertEquals(`${await read(body, 5)}`, name === "bytes" ? "49,50,51,52,53" : "12345");
  }
  const body = new Body(new PieceSource([encodeLatin1("12345")]), 5);
  await body.read(3);
  await catchRejection(body.bytes({ maxBytes: 1 }), "what is left counts");
  assertEquals(await body.text({ maxBytes: 2 }), "45");
  assertEquals(await new Body(new PieceSource([]), 0).bytes({ maxBytes: 0 }), EMPTY);
});

Deno.test("maxBytes: a ChunkedBody that turns out to be longer is dropped and canceled", async () => {
  for (const [name, read] of Object.entries(limited)) {
    const stream = new TrackedStream([
      encodeLatin1("3\r\n123\r\n"),
      encodeLatin1("2\r\n45\r\n0\r\n\r\n"),
    ]);
    const body = new ChunkedBody(stream.stream);
    assertEquals((await assertRejects(() => read(body, 4), BodyError)).code, "TOO_LONG", name);
    assert(stream.isCanceled, name);
    assertInstanceOf(await catchRejection(body.read(), "afterwards"), BodyError);
  }
  const fittingBody = new ChunkedBody(streamOf(encodeLatin1("3\r\n123\r\n2\r\n45\r\n0\r\n\r\n")));
  assertEquals(await fittingBody.text({ maxBytes: 5 }), "12345");
});

Deno.test("maxBytes is an integer from 0 to 16 MiB, and the only option", async () => {
  for (const name of ["bytes", "text", "json"] as const) {
    const body = new Body(new PieceSource([encodeLatin1("1")]), 1);
    for (const maxBytes of [-1, 0.5, NaN, limits.collected + 1]) {
      assertInstanceOf(await catchRejection(body[name]({ maxBytes }), `${maxBytes}`), RangeError);
    }
    for (const options of [null, { maxBytes: "1" }, { most: 1 }]) {
      const reading = callWith(body[name].bind(body), options) as Promise<unknown>;
      assertInstanceOf(await catchRejection(reading, Deno.inspect(options)), TypeError);
    }
    assertEquals(`${await body[name]({ maxBytes: undefined })}`, name === "bytes" ? "49" : "1");
  }
});

Deno.test("memory for an announced size is limited as in docs/security.md: a fixed size first, then in proportion to the bytes that have arrived", async () => {
  const row =
    /memory for an announced size +\| at first (\d+) KiB, later (\d+) × the bytes received/;
  const first = 1024 * await readStatedNumber("docs/security.md", row);
  const growth = await readStatedNumber(
    "docs/security.md",
    new RegExp(row.source.replace("(", "(?:")),
  );
  for (const size of [2 ** 20, 2 ** 24, 600_000, first + 1]) {
    const source = new PieceSource(cutBytes(new Uint8Array(size), 5000));
    const allocations = new Set<number>();
    let receivedBytes = 0;
    const read = async (into: Uint8Array) => {
      const { byteLength } = into.buffer;
      assert(byteLength <= Math.max(first, growth * receivedBytes), `${size}: ${byteLength}`);
      allocations.add(byteLength);
      const count = await source.read(into);
      receivedBytes += count ?? 0;
      return count;
    };
    assertEquals((await new Body({ read }, size).bytes()).length, size);
    const [last, ...smaller] = [...allocations].toReversed();
    assertEquals(last, size);
    // Otherwise a body of 1 MiB takes memory for 1.5 MiB.
    const sum = smaller.reduce((sum, bytes) => sum + bytes, 0);
    assert(sum <= Math.max(first, size / growth) + size / growth, `${[...allocations]}`);
  }
});

Deno.test("a piece of an iterated body, or of its stream, keeps at most twice its size alive, and is copied only for this purpose", async () => {
  const lengths = [1, 100, 20_000, 32_767, 32_768, 65_536, 1];
  const total = lengths.reduce((sum, length) => sum + length);
  for (const isStream of [false, true]) {
    const body = new Body(streamOf(...lengths.map((length) => new Uint8Array(length))), total);
    const sizes: number[] = [];
    for await (const { buffer } of isStream ? body.readable : body) sizes.push(buffer.byteLength);
    assertEquals(sizes, [1, 100, 20_000, 32_767, 65_536, 65_536, 1], `${isStream}`);
  }
});

// Chunks.

/** Returns all chunks that readChunk() returns, including the last chunk. */
async function readChunks(body: ChunkedBody): Promise<Chunk[]> {
  const chunks: Chunk[] = [];
  do chunks.push(await body.readChunk()); while (chunks.at(-1)![1].length > 0);
  await assertBodyError(body.readChunk(), "readChunk() after the last one");
  return chunks;
}

Deno.test("ChunkedBody returns and writes each chunk as it was sent, however it is split", async () => {
  const check = async (chunks: Chunk[], pieces: Uint8Array[]) => {
    const bytes = concat(chunks.map(formatChunk));
    for (const open of [() => streamOf(...pieces), () => new PieceSource(pieces)]) {
      assertEquals(
        (await readChunks(new ChunkedBody(open()))).map(flattenChunk),
        chunks.map(flattenChunk),
      );
      assertEquals(
        (await Array.fromAsync(new ChunkedBody(open()))).map(flattenChunk),
        chunks.map(flattenChunk),
      );
      const sink = new RecordingSink();
      assertEquals(await new ChunkedBody(open()).writeTo(sink), bytes.length);
      assertEquals(sink.bytes, bytes);
    }
  };
  const chunks = await readChunks(new ChunkedBody(streamOf(ENCODED)));
  const data = ["123", "k=v 4567", "890", ""];
  assertEquals(
    chunks.map((chunk) => flattenChunk(chunk).filter((field) => field !== null).join(" ")),
    data,
  );
  for (const pieces of splitEverywhere(ENCODED)) await check(chunks, pieces);
  await fc.assert(
    fc.asyncProperty(chunksArbitrary, pieceLengths, async (chunks, lengths) => {
      await check(chunks, cutBytes(concat(chunks.map(formatChunk)), ...lengths));
    }),
    { numRuns: 50 },
  );
});

Deno.test("ChunkedBody writes chunk headers in one spelling, and no trailer, however the bytes are split", async () => {
  const bytes = encodeLatin1(
    "3\r\nabc\r\n0003;k=v\r\ndef\r\n00A\r\n1234567890\r\n00\r\nx: y\r\n\r\n",
  );
  const written = "3\r\nabc\r\n3;k=v\r\ndef\r\na\r\n1234567890\r\n0\r\n\r\n";
  for (const pieces of [...splitEverywhere(bytes), cutBytes(bytes, 1)]) {
    const sink = new RecordingSink();
    const count = await new ChunkedBody(streamOf(...pieces)).writeTo(sink);
    assertEquals([count, decodeLatin1(sink.bytes)], [written.length, written]);
  }
});

Deno.test("ChunkedBody returns a chunk above 16 MiB in pieces, of which the first has the extension", async () => {
  const size = limits.chunkData + 3;
  const data = new Uint8Array(size);
  for (const at of [0, limits.chunkData - 1, limits.chunkData, size - 1]) data[at] = at % 251 + 1;
  const encoded = [
    encodeLatin1(`00${size.toString(16)};k=v\r\n`),
    data,
    encodeLatin1("\r\n0;e=1\r\n\r\n"),
  ];
  const body = new ChunkedBody(new PieceSource(encoded));
  const pieces: Chunk[] = [];
  do pieces.push(await body.readChunk()); while (pieces.at(-1)![1].length > 0);
  const extensions = pieces.map(([extension]) => extension && extension.join("="));
  assertEquals(extensions, ["k=v", ...pieces.slice(2).map(() => null), "e=1"]);
  assert(pieces.every((piece) => piece[1].length <= limits.chunkData));
  assert(decodeLatin1(concat(pieces.map((piece) => piece[1]))) === decodeLatin1(data));
  // The same chunk, written.
  const sink = new RecordingSink();
  await new ChunkedBody(new PieceSource(encoded)).writeTo(sink);
  const rewritten = new ChunkedBody(new PieceSource([sink.bytes]));
  let copied = 0;
  for await (const [, piece] of rewritten) copied += piece.length;
  assertEquals(copied, size);
});

Deno.test("ChunkedBody accepts chunk lines of 4096 bytes with their CR LF, and chunks of 16 MiB", async () => {
  const value = "v".repeat(4096 - "5;k=\r\n".length);
  const bytes = encodeLatin1(`5;k=${value}\r\nhello\r\n0\r\n\r\n`);
  const streams = [streamOf(bytes), streamOf(...cutBytes(bytes, 4095))];
  for (const source of [...streams, new PieceSource(cutBytes(bytes, 1))]) {
    assertEquals(flattenChunk(await new ChunkedBody(source).readChunk()), [`k=${value}`, "hello"]);
  }
  const data = new Uint8Array(limits.chunkData);
  data[data.length - 1] = 7;
  const pieces = [encodeLatin1("1000000\r\n"), data, encodeLatin1("\r\n0\r\n\r\n")];
  for (const source of [streamOf(...pieces), new PieceSource(pieces)]) {
    const [, read] = await new ChunkedBody(source).readChunk();
    assertEquals([read.length, read.at(-1)], [data.length, 7]);
  }
});

Deno.test("ChunkedBody.read returns up to 16 MiB, and rejects for more bytes", async () => {
  const half = new Uint8Array(limits.collected / 2);
  const chunk = concat([encodeLatin1("800000\r\n"), half, encodeLatin1("\r\n")]);
  const end = encodeLatin1("0\r\n\r\n");
  const longestBody = new ChunkedBody(new PieceSource([chunk, chunk, end]));
  assertEquals((await longestBody.read()).length, limits.collected);
  const source = new TrackedStream([chunk, chunk, encodeLatin1("1\r\nx\r\n"), end]);
  const longerBody = new ChunkedBody(source.stream);
  const error = await assertRejects(() => longerBody.read(), RangeError);
  assertEquals(source.cancelReasons, [error]);
  await assertBodyError(longerBody.read(), "read() after it");
});

/** The chunks of a body, and the maximum number of its bytes that are read in a turn. */
const MANY_CHUNKS: readonly [label: string, chunk: string, maxBytes: number][] = [
  ["a byte", "1\r\nx\r\n", 6 * 4097],
  ["a name", "1;a\r\nx\r\n", 8 * 900],
  ["a name and a value", "1;a=b\r\nx\r\n", 8 * 900],
  ["a quoted value", '1;a="b"\r\nx\r\n', 8 * 900],
  ["eight names", `1${";a".repeat(8)}\r\nx\r\n`, 8 * 900],
  ["a long header", `1${";a".repeat(2000)}\r\nx\r\n`, 3 * 4010],
];

Deno.test("many small chunks that have arrived are read in several turns of the event loop", async (t) => {
  await testEachRow(t, MANY_CHUNKS, async (_label, chunk, maxBytes) => {
    const bytes = encodeLatin1(`${chunk.repeat(Math.ceil(100_000 / chunk.length))}0\r\n\r\n`);
    for (const operation of ["read()", ...WHOLE]) {
      using time = stopAllClocks();
      const body = new ChunkedBody(streamOf(bytes));
      const reader = readerOf(body);
      const reading = operations[operation]!(body);
      let turns = 0;
      for (let startBytes = 0; startBytes < bytes.length; turns++) {
        for (let microtask = 0, bytesRead = -1; microtask < 100; microtask++) {
          if (reader.bytesRead !== bytesRead) microtask = 0;
          ({ bytesRead } = reader);
          await null;
        }
        const { bytesRead } = reader;
        const turnBytes = bytesRead - startBytes;
        assert(turnBytes > 0 && turnBytes <= maxBytes, `${turnBytes} bytes by ${operation}`);
        startBytes = bytesRead;
        time.tick(1);
      }
      await reading;
    }
  });
});

Deno.test("the data of a chunk with the longest header is returned without waiting for more", async () => {
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const writer = writable.getWriter();
  const reader = new ChunkedBody(readable).readable.getReader();
  const longHeader = `1${";a".repeat(limits.chunkHeader / 2 - 2)}\r\n`;
  // The buffer has grown when the long header arrives.
  for (const [data, header] of [["a".repeat(0x4000), "4000\r\n"], ["x", longHeader]] as const) {
    const written = writer.write(encodeLatin1(`${header}${data}\r\n`));
    let received = "";
    while (received.length < data.length) received += decodeLatin1((await reader.read()).value!);
    assertEquals(received, data);
    await written;
  }
  const ended = reader.read();
  await Promise.all([writer.write(encodeLatin1("0\r\n\r\n")), writer.close()]);
  assertEquals((await ended).done, true);
});

Deno.test("each end listener of a body is called once, however the body ends, and at once if the body has ended", async () => {
  const reason = new Error("enough");
  const ways: Record<string, (body: Body | ChunkedBody) => unknown> = {
    consumed: (body) => body.read(),
    cancelled: (body) => body.cancel(reason),
    failed: (body) => body.writeTo({ write: () => Promise.reject(reason) }).catch(() => {}),
    aborted: (body) => readerOf(body).interruption.abort(reason),
  };
  const makers = [
    () => new Body(streamOf(encodeLatin1("hello")), 5),
    () => new ChunkedBody(streamOf(encodeLatin1("5\r\nhello\r\n0\r\n\r\n"))),
  ];
  for (const make of makers) {
    for (const [way, end] of Object.entries(ways)) {
      const body = make();
      const calls: string[] = [];
      for (const name of ["first", "second", "third"]) whenBodyEnds(body, () => calls.push(name));
      assertEquals(calls, [], way);
      await end(body);
      await waitForTick();
      assertEquals(calls, ["first", "second", "third"], way);
      whenBodyEnds(body, () => calls.push("late"));
      assertEquals(calls.length, 4, way);
    }
  }
});
