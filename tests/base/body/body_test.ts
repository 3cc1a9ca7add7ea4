/** `Body`: what its operations read and write, when each is allowed, and what it leaves in its source. */
import { toArrayBuffer, toText } from "@std/streams";
import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import fc from "fast-check";
import { Body } from "@degu/degu/base";
import { pieceLengths } from "@degu/testing/arbitraries.ts";
import { DIGITS, operations, withEachSource } from "@degu/testing/bodies.ts";
import {
  assertBodyError,
  assertCutShort,
  callWith,
  rejectionOf,
} from "@degu/testing/expectations.ts";
import { turnOfEventLoop } from "@degu/testing/raw_peer.ts";
import {
  collect,
  concat,
  cut,
  PieceSource,
  RecordingSink,
  RecordingStream,
  StallingSource,
  streamOf,
  TrackedStream,
  withFile,
  ZeroSource,
} from "@degu/testing/streams.ts";
import { fromLatin1, latin1, limits } from "@degu/testing/wire_grammar.ts";

/** The operations that take a body of ten bytes to its end. */
const finishers: Record<string, (body: Body) => Promise<unknown>> = {
  ...operations,
  "read(0)": async (body) => assertEquals(await body.read(0) && await body.read(10), DIGITS),
  "read(1)": async (body) => {
    for (let i = 0; i < 10; i++) assertEquals((await body.read(1)).length, 1);
  },
  "read(10)": (body) => body.read(10),
  "read(11)": (body) => body.read(11),
};

const shapes: Record<string, number[]> = {
  "at once": [10],
  "in small pieces": [1],
  "in parts": [4, 3],
};

/** Bytes in which every position is recognisable. */
function pattern(length: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, (_, i) => (i * 31 + (i >> 8)) & 255);
}

/** The operations that take everything, each with the bytes that it got. */
const takers: Record<string, (body: Body) => Promise<Uint8Array>> = {
  "read()": (body) => body.read(),
  "iteration": async (body) => concat(await collect(body)),
  "writeTo()": async (body) => {
    const sink = new RecordingSink();
    await body.writeTo(sink);
    return sink.bytes;
  },
  "readable": (body) => new Response(body.readable).bytes(),
};

/** Asserts that a body which has failed stays unusable. */
async function assertDead(body: Body) {
  await assertBodyError(body.read(), "read() of a body with an error");
  await assertBodyError(body.read(1), "read(1) of a body with an error");
  await assertBodyError(collect(body), "iterating a body with an error");
  await assertBodyError(body.writeTo(new RecordingSink()), "sending a body with an error");
}

Deno.test("Body.read without a size returns everything", async (t) => {
  await withEachSource(t, DIGITS, async (body) => assertEquals(await body.read(), DIGITS));
});

Deno.test("Body.read returns exactly the size, and less only at the end", async (t) => {
  await withEachSource(t, DIGITS, async (body) => {
    const pieces: string[] = [];
    for (let i = 0; i < 3; i++) pieces.push(fromLatin1(await body.read(4)));
    assertEquals(pieces, ["1234", "5678", "90"]);
    assertEquals((await body.read(4)).length, 0);
    await assertBodyError(body.read(4), "after the empty read");
  });
});

Deno.test("Body.read returns exactly the size however the source splits its bytes", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ minLength: 1, maxLength: 60 }),
      pieceLengths,
      pieceLengths,
      async (bytes, cuts, sizes) => {
        for (
          const source of [streamOf(...cut(bytes, ...cuts)), new PieceSource(cut(bytes, ...cuts))]
        ) {
          const body = new Body(source, bytes.length);
          const pieces: Uint8Array[] = [];
          for (let left = bytes.length, i = 0; left > 0; i++) {
            const size = sizes[i % sizes.length] ?? 1;
            const piece = await body.read(size);
            assertEquals(piece.length, Math.min(size, left));
            left -= piece.length;
            pieces.push(piece);
          }
          assertEquals(concat(pieces), Uint8Array.from(bytes));
        }
      },
    ),
    { numRuns: 50 },
  );
});

Deno.test("Body.read returns the rest after a partial read", async (t) => {
  await withEachSource(t, DIGITS, async (body) => {
    assertEquals(fromLatin1(await body.read(3)), "123");
    assertEquals(fromLatin1(await body.read()), "4567890");
  });
});

Deno.test("Body returns an empty array to the first read after its last byte, then rejects", async (t) => {
  for (const [finisher, finish] of Object.entries(finishers)) {
    for (const read of ["read()", "read(0)", "read(1)", "bytes()"]) {
      await t.step(`${read} after ${finisher}`, async () => {
        const body = new Body(streamOf(...cut(DIGITS, 4)), 10);
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

Deno.test("Body rejects every other operation after its last byte", async (t) => {
  for (const [finisher, finish] of Object.entries(finishers)) {
    for (const operation of ["iteration", "writeTo()", "readable"]) {
      if (operation === finisher && operation === "readable") continue;
      await t.step(`${operation} after ${finisher}`, async () => {
        const body = new Body(new PieceSource([DIGITS]), 10);
        await finish(body);
        await assertBodyError(operations[operation]?.(body) ?? Promise.resolve(), operation);
      });
    }
  }
});

Deno.test("Body starts iteration, readable and writeTo only if nothing has been read", async (t) => {
  for (const start of ["read(0)", "read(1)", "readable"] as const) {
    for (const operation of ["iteration", "writeTo()", "readable"]) {
      if (operation === start) continue;
      await t.step(`${operation} after ${start}`, async () => {
        const body = new Body(streamOf(...cut(DIGITS, 4)), 10);
        if (start === "readable") assert(body.readable instanceof ReadableStream);
        else await operations[start]?.(body);
        await assertBodyError(operations[operation]?.(body) ?? Promise.resolve(), operation);
      });
    }
  }
});

Deno.test("Body.read(0) returns an empty array and consumes nothing", async (t) => {
  await withEachSource(t, DIGITS, async (body) => {
    assertEquals(await body.read(0), new Uint8Array(0));
    assertEquals(await body.read(0), new Uint8Array(0));
    assertEquals(await body.read(), DIGITS);
  });
});

Deno.test("Body of length 0 is consumed from the start", async (t) => {
  const empties: Record<string, () => Body> = {
    "stream": () => new Body(streamOf(), 0),
    "byte source": () => new Body(new PieceSource([]), 0),
  };
  for (const [kind, make] of Object.entries(empties)) {
    for (const operation of ["read()", "read(0)", "read(1)", "bytes()"]) {
      await t.step(`${operation} of an empty ${kind}`, async () => {
        const body = make();
        assertEquals(await operations[operation]?.(body), new Uint8Array(0));
        for (const [later, run] of Object.entries(operations)) {
          await assertBodyError(run(body), `${later} after ${operation}`);
        }
      });
    }
    await t.step(`other operations of an empty ${kind}`, async () => {
      assertEquals(await make().text(), "");
      assertEquals(await collect(make()), []);
      assertEquals(await new Response(make().readable).bytes(), new Uint8Array(0));
      const sink = new RecordingSink();
      assertEquals(await make().writeTo(sink), 0);
      assertEquals(sink.bytes.length, 0);
    });
  }
});

Deno.test("Body.read refuses invalid sizes and consumes nothing", async () => {
  const body = new Body(new PieceSource([DIGITS]), 10);
  for (const size of [-1, 1.5, NaN, Infinity, limits.collected + 1, 2 ** 53]) {
    const error = await rejectionOf(body.read(size), `read(${size})`);
    assert(error instanceof RangeError, `read(${size}) rejected with ${error}`);
  }
  for (const size of ["1", null, 1n, [1], {}]) {
    const promise = callWith(body.read.bind(body), size);
    assert(promise instanceof Promise, "read throws instead of rejecting");
    const error = await rejectionOf(promise, `read(${Deno.inspect(size)})`);
    assert(error instanceof TypeError, `read(${Deno.inspect(size)}) rejected with ${error}`);
  }
  assertEquals(await body.read(limits.collected), DIGITS);
});

Deno.test("Body.read returns up to 16 MiB and refuses more without consuming anything", async () => {
  const source = new ZeroSource();
  const body = new Body(source, limits.collected + 1);
  for (
    const collectAll of [
      () => body.read(),
      () => body.bytes(),
      () => body.text(),
      () => body.json(),
    ]
  ) {
    const error = await rejectionOf(collectAll(), "16 MiB and a byte");
    assert(error instanceof RangeError, Deno.inspect(error));
  }
  assertEquals(source.taken, 0);
  assertEquals((await body.read(1)).length, 1);
  assertEquals((await body.read()).length, limits.collected);
  assertEquals(source.taken, limits.collected + 1);
});

Deno.test("Body allocates little for a length that is only announced", async () => {
  const before = Deno.memoryUsage().external;
  const sources = Array.from({ length: 40 }, () => new StallingSource(DIGITS));
  const reads = sources.map((source) => new Body(source, limits.collected).read());
  await Promise.all(sources.map((source) => source.stalled));
  const grown = Deno.memoryUsage().external - before;
  for (const source of sources) source.release();
  const results = await Promise.allSettled(reads);
  assert(results.every(({ status }) => status === "rejected"));
  assert(grown < 40 * 512 * 1024, `${grown} bytes for 40 stalled bodies`);
});

Deno.test("Body.writeTo enlarges its reads only if the source fills them", async () => {
  const sink = { pieceBytes: 2 ** 21, write: () => Promise.resolve() };
  const fast = new PieceSource([new Uint8Array(2 ** 21)]);
  await new Body(fast, 2 ** 21).writeTo(sink);
  assertEquals(fast.offered.slice(0, 4), [2 ** 16, 2 ** 18, 2 ** 19, 2 ** 19]);
  const slow = new PieceSource(cut(new Uint8Array(2 ** 21), 2 ** 15));
  await new Body(slow, 2 ** 21).writeTo(sink);
  assertEquals(Math.max(...slow.offered), 2 ** 16);
});

Deno.test("Body.text decodes UTF-8 strictly and keeps the byte order mark", async () => {
  const encoder = new TextEncoder();
  for (const text of ["", "a", "é€😀", "\ufeffa", "\ufeff", "a\0b", "\ufeff\ufeffa"]) {
    const bytes = encoder.encode(text);
    assertEquals(await new Body(streamOf(...cut(bytes, 1)), bytes.length).text(), text);
  }
  for (
    const bytes of [[0xff], [0xc3], [0xc3, 0x28], [0xed, 0xa0, 0x80], [0xf5, 0x80, 0x80, 0x80], [
      0xc0,
      0x80,
    ]]
  ) {
    const body = new Body(new PieceSource([Uint8Array.from(bytes)]), bytes.length);
    assert(await rejectionOf(body.text(), `${bytes}`) instanceof Error);
  }
});

Deno.test("Body.json parses any JSON value and rejects a byte order mark", async () => {
  const parse = (text: string) => {
    const bytes = new TextEncoder().encode(text);
    return new Body(new PieceSource([bytes]), bytes.length).json();
  };
  assertEquals(await parse('{"a": [1, null, "é"]}'), { a: [1, null, "é"] });
  assertEquals(await parse("null"), null);
  assertEquals(await parse(" 5 "), 5);
  for (const text of ["{", "\ufeff5", "5 6", "undefined"]) {
    assert(await rejectionOf(parse(text), text) instanceof SyntaxError, text);
  }
});

Deno.test("Body rejects a second operation while one is pending, and continues the first", async () => {
  const source = new StallingSource(DIGITS.subarray(0, 4));
  const body = new Body(source, 10);
  const first = body.read(10);
  await source.stalled;
  for (const [operation, run] of Object.entries(operations)) {
    await assertBodyError(run(body), `${operation} while reading`);
  }
  source.release();
  assert(await rejectionOf(first, "a source that ended early") instanceof Error);
});

Deno.test("Body completes a pending read when another one is rejected", async () => {
  const gate = Promise.withResolvers<void>();
  const inner = new PieceSource([DIGITS]);
  const source = {
    async read(into: Uint8Array) {
      await gate.promise;
      return inner.read(into);
    },
  };
  const body = new Body(source, 10);
  const first = body.read(4);
  await assertBodyError(body.read(4), "the second read");
  gate.resolve();
  assertEquals(fromLatin1(await first), "1234");
});

Deno.test("Body returns new arrays, which later reads don't change", async (t) => {
  await withEachSource(t, DIGITS, async (body) => {
    const first = await body.read(4);
    const second = await body.read(4);
    assertEquals([fromLatin1(first), fromLatin1(second)], ["1234", "5678"]);
    first.fill(0);
    assertEquals(fromLatin1(second), "5678");
    assertEquals(fromLatin1(await body.read()), "90");
  });
});

Deno.test("Body iterates over all of its bytes, however they are split", async (t) => {
  for (const [shape, lengths] of Object.entries(shapes)) {
    await t.step(shape, async () => {
      for (
        const source of [
          streamOf(...cut(DIGITS, ...lengths)),
          new PieceSource(cut(DIGITS, ...lengths)),
        ]
      ) {
        const pieces = (await collect(new Body(source, 10))).map((piece) => piece.slice());
        assert(pieces.every((piece) => piece.length > 0));
        assertEquals(concat(pieces), DIGITS);
      }
    });
  }
});

Deno.test("Body copies a small piece into an array of its size, and returns the read buffer for a large one", async () => {
  for (const [length, held] of [[1, 1], [20_000, 20_000], [40_000, 65536]] as const) {
    const source = new PieceSource([new Uint8Array(length), new Uint8Array(70_000 - length)]);
    for await (const piece of new Body(source, 70_000)) {
      assertEquals([piece.length, piece.buffer.byteLength], [length, held]);
      break;
    }
  }
});

Deno.test("iterating over a Body of length 0 detects bytes that its stream should not have", async () => {
  const body = new Body(streamOf(latin1("x")), 0);
  await assertBodyError(Array.fromAsync(body), "iterating");
});

Deno.test("Body.readable is a single byte stream of all bytes", async () => {
  const body = new Body(streamOf(...cut(DIGITS, 3)), 10);
  const readable = body.readable;
  assertStrictEquals(body.readable, readable);
  assertEquals(concat(await collect(readable)), DIGITS);
  assertEquals(await body.read(), new Uint8Array(0));
  await assertBodyError(body.read(), "the second read");
});

Deno.test("Body.readable starts the body even if nothing is read from it", async () => {
  const body = new Body(new PieceSource([DIGITS]), 10);
  assert(body.readable instanceof ReadableStream);
  await assertBodyError(body.read(), "read()");
  await assertBodyError(body.writeTo(new RecordingSink()), "writeTo()");
  await assertBodyError(collect(body), "iteration");
});

Deno.test("Body.readable fills the reader's own buffers", async (t) => {
  const bytes = pattern(1000);
  for (const size of [1, 7, 999, 1000, 1001, 70000]) {
    await t.step(`${size} bytes each`, async () => {
      for (const source of [streamOf(...cut(bytes, 300)), new PieceSource(cut(bytes, 90, 1))]) {
        const reader = new Body(source, bytes.length).readable.getReader({ mode: "byob" });
        const pieces: Uint8Array[] = [];
        for (let turn = 0; turn <= bytes.length; turn++) {
          const { done, value } = await reader.read(new Uint8Array(size));
          if (done) break;
          assert(value.length > 0 && value.length <= size);
          pieces.push(value.slice());
        }
        assertEquals(concat(pieces), bytes);
        await reader.closed;
      }
    });
  }
});

Deno.test("Body.writeTo streams a large body without buffering it", async () => {
  const total = 64 * 1024 * 1024;
  let written = 0;
  let longest = 0;
  const sink = {
    write(bytes: Uint8Array) {
      written += bytes.length;
      longest = Math.max(longest, bytes.length);
      return Promise.resolve();
    },
  };
  assertEquals(await new Body(new ZeroSource(), total).writeTo(sink), total);
  assertEquals(written, total);
  assert(longest <= 4 * 1024 * 1024, `${longest} bytes at once`);
});

Deno.test("Body.writeTo does not change what it has written to a stream, however late that is read", async (t) => {
  const bytes = pattern(300000);
  const check = async (body: Body) => {
    const late = new TransformStream<Uint8Array, Uint8Array>(
      {},
      { highWaterMark: 1e6 },
      { highWaterMark: 1e6 },
    );
    assertEquals(await body.writeTo(late.writable), bytes.length);
    await late.writable.close();
    assertEquals(concat(await collect(late.readable)), bytes);
  };
  await t.step("byte source", async () => {
    await check(new Body(new PieceSource(cut(bytes, 1000)), bytes.length));
  });
  await t.step("file", () => withFile(bytes, (file) => check(new Body(file, bytes.length))));
});

Deno.test("Body.readable works wherever a stream is accepted", async (t) => {
  const text = "hello, world";
  const make = () => new Body(new PieceSource(cut(latin1(text), 5)), text.length);
  await t.step(
    "a Response",
    async () => assertEquals(await new Response(make().readable).text(), text),
  );
  await t.step("helpers for streams", async () => {
    assertEquals(await toText(make().readable), text);
    assertEquals(new Uint8Array(await toArrayBuffer(make().readable)), latin1(text));
  });
  await t.step("pipeThrough", async () => {
    const zipped = make().readable.pipeThrough(new CompressionStream("gzip"))
      .pipeThrough(new DecompressionStream("gzip"));
    assertEquals(await toText(zipped), text);
  });
  await t.step("pipeTo", async () => {
    const sink = new RecordingStream();
    await make().readable.pipeTo(sink.writable);
    assertEquals([fromLatin1(sink.bytes), sink.closed], [text, true]);
  });
  await t.step("tee", async () => {
    const texts = make().readable.tee().map((stream) => toText(stream));
    assertEquals(await Promise.all(texts), [text, text]);
  });
  await t.step("iteration", async () => {
    assertEquals(fromLatin1(concat(await collect(make().readable))), text);
  });
});

Deno.test("an item of an iterated body keeps at most twice its own size alive", async () => {
  const lengths = [1, 100, 20_000, 32_767, 32_768, 65_536, 1];
  const total = lengths.reduce((sum, length) => sum + length);
  const body = new Body(streamOf(...lengths.map((length) => new Uint8Array(length))), total);
  let count = 0;
  for await (const { length, buffer } of body) {
    count++;
    assert(buffer.byteLength <= 2 * length, `${length} bytes keep ${buffer.byteLength}`);
  }
  assertEquals(count, lengths.length);
});

Deno.test("Body reads exactly its length from a byte source and leaves the rest", async (t) => {
  for (const [taker, take] of Object.entries(takers)) {
    await t.step(taker, async () => {
      for (const length of [0, 1, 5, 9, 10]) {
        if (length === 0 && taker === "read()") continue;
        const source = new PieceSource(cut(DIGITS, 3));
        const taken = await take(new Body(source, length));
        assertEquals(fromLatin1(taken), fromLatin1(DIGITS).slice(0, length));
        assertEquals(source.taken, length);
      }
    });
  }
});

Deno.test("Body reads a slice of a file from its seek position and leaves the file open", async (t) => {
  for (const [taker, take] of Object.entries(takers)) {
    await t.step(taker, async () => {
      await withFile(DIGITS, async (file) => {
        await file.seek(2, Deno.SeekMode.Start);
        assertEquals(fromLatin1(await take(new Body(file, 3))), "345");
        assertEquals(await file.seek(0, Deno.SeekMode.Current), 5);
        assertEquals(fromLatin1(await take(new Body(file, 4))), "6789");
        assertEquals(await file.seek(0, Deno.SeekMode.Current), 9);
        assertEquals((await file.stat()).size, 10);
      });
    });
  }
});

Deno.test("Body reads no more from a file than was asked for in total", async () => {
  await withFile(DIGITS, async (file) => {
    const body = new Body(file, 6);
    assertEquals(fromLatin1(await body.read(2)), "12");
    assert(await file.seek(0, Deno.SeekMode.Current) <= 6);
    assertEquals(fromLatin1(await body.read(2)), "34");
    assertEquals(fromLatin1(await body.read()), "56");
    assertEquals(await file.seek(0, Deno.SeekMode.Current), 6);
  });
});

Deno.test("Body rejects if a byte source or a file ends too early", async (t) => {
  for (const [taker, take] of Object.entries(takers)) {
    await t.step(`${taker} of a byte source`, async () => {
      const body = new Body(new PieceSource([DIGITS]), 11);
      await assertCutShort(take(body), "a byte too few");
      await assertDead(body);
    });
    await t.step(`${taker} of a file, which stays open`, async () => {
      await withFile(DIGITS, async (file) => {
        const body = new Body(file, 11);
        await assertCutShort(take(body), "a byte too few");
        await assertDead(body);
        assertEquals((await file.stat()).size, 10);
      });
    });
  }
});

Deno.test("Body rejects if its source fails", async (t) => {
  const failure = new Error("the disk is gone");
  /** The error itself, or one of ours that names it as its cause. */
  const assertFailure = (error: unknown) =>
    assertStrictEquals(error instanceof Error ? error.cause ?? error : error, failure);
  for (const [taker, take] of Object.entries(takers)) {
    await t.step(`${taker} of a stream`, async () => {
      const body = new Body(new TrackedStream([latin1("12")], { failure }).stream, 5);
      assertFailure(await rejectionOf(take(body), "a failing stream"));
      await assertDead(body);
    });
    await t.step(`${taker} of a byte source`, async () => {
      const body = new Body({ read: () => Promise.reject(failure) }, 5);
      assertFailure(await rejectionOf(take(body), "a failing source"));
      await assertDead(body);
    });
  }
});

Deno.test("Body does not trust the count of a byte source", async (t) => {
  for (const count of [-1, 1.5, NaN, Infinity, 1e9, "1", undefined, {}]) {
    await t.step(Deno.inspect(count), async () => {
      const source = { read: () => Promise.resolve(count) };
      const body: Body = Reflect.construct(Body, [source, 5]);
      assert(await rejectionOf(body.read(), "a wrong count") instanceof Error);
      await assertDead(body);
    });
  }
});

Deno.test("Body reads its stream to the end", async (t) => {
  for (const [taker, take] of Object.entries(takers)) {
    await t.step(taker, async () => {
      const source = new TrackedStream(cut(DIGITS, 4));
      assertEquals(await take(new Body(source.stream, 10)), DIGITS);
      assert(source.settled);
      assertEquals(source.cancelled.length, 0);
    });
  }
});

Deno.test("Body cancels its stream if an iteration is abandoned", async () => {
  const source = new TrackedStream(cut(DIGITS, 2));
  const body = new Body(source.stream, 10);
  for await (const piece of body) {
    assertEquals(fromLatin1(piece), "12");
    break;
  }
  assertEquals(source.cancelled.length, 1);
  await assertDead(body);
});

Deno.test("Body cancels its stream if the loop over it throws", async () => {
  const source = new TrackedStream(cut(DIGITS, 2));
  const failure = new Error("no more, please");
  const loop = async () => {
    for await (const _ of new Body(source.stream, 10)) throw failure;
  };
  assertStrictEquals(await rejectionOf(loop(), "the loop"), failure);
  assertEquals(source.cancelled.length, 1);
});

Deno.test("Body leaves the rest of a byte source unread if an iteration is abandoned", async () => {
  const source = new PieceSource(cut(DIGITS, 2));
  const body = new Body(source, 8);
  for await (const _ of body) break;
  assert(source.taken <= 8);
  await assertDead(body);
});

Deno.test("Body cancels its stream if its readable is canceled", async () => {
  const source = new TrackedStream(cut(DIGITS, 2));
  const body = new Body(source.stream, 10);
  await body.readable.cancel(new Error("enough"));
  assertEquals(source.cancelled.length, 1);
  await assertDead(body);
});

Deno.test("Body refuses a locked stream", async () => {
  const source = new TrackedStream(cut(DIGITS, 2));
  const reader = source.stream.getReader();
  const use = async () => await new Body(source.stream, 10).read();
  assert(await rejectionOf(use(), "a locked stream") instanceof Error);
  assertEquals(fromLatin1((await reader.read()).value ?? new Uint8Array(0)), "12");
  await reader.cancel();
});

Deno.test("Body does not read from a byte source after its last byte", async (t) => {
  for (const [taker, take] of Object.entries(takers)) {
    await t.step(taker, async () => {
      const source = new StallingSource(DIGITS);
      assertEquals(await take(new Body(source, 10)), DIGITS);
    });
  }
});

Deno.test("Body passes on what has arrived without waiting for the rest", async (t) => {
  await t.step("read(5)", async () => {
    const body = new Body(new StallingSource(DIGITS), 20);
    assertEquals(fromLatin1(await body.read(5)), "12345");
    assertEquals(fromLatin1(await body.read(5)), "67890");
  });
  await t.step("iteration", async () => {
    const source = new StallingSource(DIGITS);
    const iterator = new Body(source, 20)[Symbol.asyncIterator]();
    const { value } = await iterator.next();
    assertEquals(value, DIGITS);
    source.release();
    await assertCutShort(iterator.next(), "the rest");
  });
  await t.step("readable", async () => {
    const source = new StallingSource(DIGITS);
    const reader = new Body(source, 20).readable.getReader();
    assertEquals((await reader.read()).value, DIGITS);
    source.release();
    await assertCutShort(reader.read(), "the rest");
  });
  await t.step("writeTo()", async () => {
    const written = Promise.withResolvers<Uint8Array>();
    const sink = {
      write: (bytes: Uint8Array) => {
        written.resolve(bytes.slice());
        return Promise.resolve();
      },
    };
    const source = new StallingSource(DIGITS);
    const sent = new Body(source, 20).writeTo(sink);
    assertEquals(await written.promise, DIGITS);
    source.release();
    await assertCutShort(sent, "the rest");
  });
});

Deno.test("Body can't be iterated twice", async () => {
  const body = new Body(streamOf(...cut(DIGITS, 2)), 10);
  const first = body[Symbol.asyncIterator]();
  const second = async () => await body[Symbol.asyncIterator]().next();
  assertEquals(fromLatin1((await first.next()).value ?? DIGITS), "12");
  await assertBodyError(second(), "the second iteration");
  assertEquals(fromLatin1((await first.next()).value ?? DIGITS), "34");
});

Deno.test("a stream is unlocked after a partially read body was canceled", async () => {
  const stream = streamOf(DIGITS, DIGITS);
  const body = new Body(stream, 20);
  await body.read(3);
  await body.cancel();
  await turnOfEventLoop();
  assertEquals(stream.locked, false);
});
