import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import fc from "fast-check";
import { BodyIter } from "@degu/degu/base";
import { pieceLengths } from "@degu/testing/arbitraries.ts";
import {
  assertBodyError,
  assertCutShort,
  assertRangeError,
  assertTypeError,
  callWith,
  constructWith,
  rejectionOf,
} from "@degu/testing/expectations.ts";
import { assertWritesNothing } from "@degu/testing/iterated_bodies.ts";
import {
  collect,
  concat,
  cut,
  FailingSink,
  PartialSink,
  RecordingSink,
  RecordingStream,
  streamOf,
  TrackedItems,
} from "@degu/testing/streams.ts";
import { fromLatin1, latin1, limits } from "@degu/testing/wire_grammar.ts";

const DIGITS = latin1("1234567890");
const KINDS = ["sync", "async"] as const;

Deno.test("BodyIter reports its length and that it is not chunked", () => {
  for (const length of [0, 1, limits.number]) {
    const body = new BodyIter([], length);
    assertStrictEquals(body.contentLength, length);
    assertStrictEquals(body.chunked, false);
  }
});

Deno.test("BodyIter refuses an invalid iterable or length", () => {
  for (const source of [null, undefined, 5, {}, true, { [Symbol.iterator]: 5 }, () => []]) {
    assertTypeError(() => constructWith(BodyIter, source, 5), Deno.inspect(source));
  }
  for (const length of [undefined, null, "5", 5n, [5], {}, new Number(5)]) {
    assertTypeError(() => constructWith(BodyIter, [], length), Deno.inspect(length));
  }
  for (const length of [-1, 1.5, NaN, Infinity, 2 ** 53]) {
    assertRangeError(() => new BodyIter([], length), `${length}`);
  }
});

Deno.test("BodyIter writes the items of every kind of iterable", async (t) => {
  const pieces = cut(DIGITS, 3);
  const sources: Record<string, () => Iterable<Uint8Array> | AsyncIterable<Uint8Array>> = {
    "an array": () => pieces,
    "a set": () => new Set(pieces),
    "a generator": function* () {
      yield* pieces;
    },
    "an asynchronous generator": async function* () {
      yield* pieces;
    },
    "an iterator without return": () => ({
      [Symbol.iterator]() {
        let index = 0;
        return {
          next: () => {
            const value = pieces[index++];
            return value ? { done: false, value } : { done: true, value: undefined };
          },
        };
      },
    }),
    "a stream": () => streamOf(...pieces),
  };
  for (const [what, make] of Object.entries(sources)) {
    await t.step(what, async () => {
      const sink = new RecordingSink();
      assertEquals(await new BodyIter(make(), 10).writeTo(sink), 10);
      assertEquals(sink.bytes, DIGITS);
    });
  }
});

Deno.test("BodyIter writes any bytes in any pieces", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ maxLength: 60 }),
      pieceLengths,
      fc.boolean(),
      async (bytes, cuts, asynchronous) => {
        const items = new TrackedItems(cut(bytes, ...cuts));
        const body = new BodyIter(asynchronous ? items.async() : items.sync(), bytes.length);
        const sink = new RecordingSink();
        assertEquals(await body.writeTo(sink), bytes.length);
        assertEquals(sink.bytes, Uint8Array.from(bytes));
        assert(items.ended, "the iterable was not run to its end");
      },
    ),
    { numRuns: 50 },
  );
});

Deno.test("BodyIter ignores empty items", async () => {
  const empty = new Uint8Array(0);
  const sink = new RecordingSink();
  const items = [empty, latin1("12"), empty, latin1("3"), empty];
  assertEquals(await new BodyIter(items.slice(0, 4), 3).writeTo(sink), 3);
  assertEquals(fromLatin1(sink.bytes), "123");
});

Deno.test("BodyIter of length 0 writes nothing", async () => {
  const sink = new RecordingSink();
  assertEquals(await new BodyIter([], 0).writeTo(sink), 0);
  assertEquals(sink.bytes.length, 0);
  await assertBodyError(new BodyIter([DIGITS], 0).writeTo(sink), "a byte of none");
  assertEquals(sink.bytes.length, 0);
});

Deno.test("BodyIter writes the last item only after the iterable has ended", async (t) => {
  for (const kind of KINDS) {
    await t.step(kind, async () => {
      const sink = new RecordingSink();
      const seen: string[] = [];
      const onPull = () => void seen.push(fromLatin1(sink.bytes));
      const items = new TrackedItems([latin1("12"), latin1("34"), latin1("5")], { onPull });
      assertEquals(await new BodyIter(items[kind](), 5).writeTo(sink), 5);
      assertEquals(seen.length, 4);
      assert((seen.at(-1) ?? "").length < 5, `${seen} written before the end was known`);
      assertEquals(fromLatin1(sink.bytes), "12345");
    });
  }
});

Deno.test("BodyIter never completes a message if its iterable misbehaves", async (t) => {
  const failure = new Error("the disk is gone");
  const rows: Record<string, TrackedItems<Uint8Array>> = {};
  for (const kind of KINDS) {
    rows[`${kind}: a byte more in the last item`] = new TrackedItems([
      latin1("1234"),
      latin1("56"),
    ]);
    rows[`${kind}: an item more`] = new TrackedItems([latin1("1234"), latin1("5"), latin1("6")]);
    rows[`${kind}: one item too long`] = new TrackedItems([latin1("123456")]);
    rows[`${kind}: no end in sight`] = new TrackedItems(Array(1000).fill(latin1("12")));
  }
  for (const [what, items] of Object.entries(rows)) {
    await t.step(what, async () => {
      const sink = new RecordingSink();
      const body = new BodyIter(what.startsWith("async") ? items.async() : items.sync(), 5);
      await assertBodyError(body.writeTo(sink), what);
      assert(sink.bytes.length < 5, fromLatin1(sink.bytes));
      assert(items.settled, "return() was not called");
      await assertBodyError(body.writeTo(sink), "sending it again");
    });
  }
  for (const kind of KINDS) {
    await t.step(`${kind}: an error instead of the end`, async () => {
      const sink = new RecordingSink();
      const items = new TrackedItems([latin1("1234"), latin1("5")], { failure });
      const error = await rejectionOf(new BodyIter(items[kind](), 5).writeTo(sink), "it");
      assertStrictEquals(error instanceof Error ? error.cause ?? error : error, failure);
      assert(sink.bytes.length < 5, fromLatin1(sink.bytes));
    });
  }
});

Deno.test("BodyIter fails if its iterable ends too early", async (t) => {
  for (const kind of KINDS) {
    await t.step(kind, async () => {
      for (const list of [[], [latin1("1234")], cut(latin1("1234"), 1)]) {
        const body = new BodyIter(new TrackedItems(list)[kind](), 5);
        await assertCutShort(body.writeTo(new RecordingSink()), `${list.length} items`);
        await assertBodyError(body.writeTo(new RecordingSink()), "sending it again");
      }
    });
  }
});

Deno.test("BodyIter fails if an item is not bytes, and returns the iterator", async (t) => {
  for (
    const item of ["12345", 5, [1, 2, 3, 4, 5], null, new ArrayBuffer(5), new Uint16Array(5), {}]
  ) {
    await t.step(Deno.inspect(item), async () => {
      for (const kind of KINDS) {
        const items = new TrackedItems<unknown>([item]);
        const body: BodyIter = Reflect.construct(BodyIter, [items[kind](), 5]);
        await assertWritesNothing(body, items, "no bytes");
      }
    });
  }
});

Deno.test("BodyIter refuses a string or an array of bytes as an item, whether first or later", async () => {
  for (const source of ["12345", DIGITS]) {
    const use = async () => {
      const body: BodyIter = Reflect.construct(BodyIter, [source, source.length]);
      await body.writeTo(new RecordingSink());
    };
    const error = await rejectionOf(use(), Deno.inspect(source));
    assert(error instanceof TypeError || error instanceof Error && error.name === "BodyError");
  }
});

Deno.test("BodyIter writes an item without waiting for the next one", async () => {
  const written = Promise.withResolvers<void>();
  const sink = {
    write: () => {
      written.resolve();
      return Promise.resolve();
    },
  };
  const source = async function* () {
    yield latin1("12");
    await written.promise;
    yield latin1("345");
  };
  assertEquals(await new BodyIter(source(), 5).writeTo(sink), 5);
});

Deno.test("BodyIter accepts an iterable that reuses its memory for each item", async (t) => {
  const source = function* () {
    const buffer = new Uint8Array(2);
    for (let i = 0; i < DIGITS.length; i += 2) {
      buffer.set(DIGITS.subarray(i, i + 2));
      yield buffer;
      buffer.fill(0);
    }
  };
  await t.step("to a byte sink", async () => {
    const sink = new RecordingSink();
    await new BodyIter(source(), 10).writeTo(sink);
    assertEquals(sink.bytes, DIGITS);
  });
  await t.step("to a stream that is looked at late", async () => {
    const strategy = { highWaterMark: 100 };
    const late = new TransformStream<Uint8Array, Uint8Array>({}, strategy, strategy);
    await new BodyIter(source(), 10).writeTo(late.writable);
    await late.writable.close();
    assertEquals(concat(await collect(late.readable)), DIGITS);
  });
});

Deno.test("BodyIter prefers asynchronous iteration if both kinds are available", async () => {
  const items = new TrackedItems([DIGITS]);
  const both = { ...items.async(), ...new TrackedItems([latin1("wrong")]).sync() };
  const sink = new RecordingSink();
  await new BodyIter(both, 10).writeTo(sink);
  assertEquals(sink.bytes, DIGITS);
});

Deno.test("BodyIter can be sent only once", async () => {
  const body = new BodyIter(cut(DIGITS, 4), 10);
  await body.writeTo(new RecordingSink());
  const sink = new RecordingSink();
  await assertBodyError(body.writeTo(sink), "sending it again");
  assertEquals(sink.bytes.length, 0);
});

Deno.test("BodyIter can't be sent twice at the same time", async () => {
  const gate = Promise.withResolvers<void>();
  const source = async function* () {
    await gate.promise;
    yield DIGITS;
  };
  const body = new BodyIter(source(), 10);
  const sink = new RecordingSink();
  const first = body.writeTo(sink);
  await assertBodyError(body.writeTo(new RecordingSink()), "the second");
  gate.resolve();
  assertEquals(await first, 10);
  assertEquals(sink.bytes, DIGITS);
});

Deno.test("BodyIter returns the iterator if the sink fails", async (t) => {
  for (const kind of KINDS) {
    for (const after of [0, 1]) {
      await t.step(`${kind}, after ${after} writes`, async () => {
        const items = new TrackedItems(cut(DIGITS, 2));
        const sink = new FailingSink(after);
        const body = new BodyIter(items[kind](), 10);
        const error = await rejectionOf(body.writeTo(sink), "a failing sink");
        assertStrictEquals(error instanceof Error ? error.cause ?? error : error, sink.failure);
        assertEquals(items.returned, true);
        await assertBodyError(body.writeTo(new RecordingSink()), "sending it again");
      });
    }
  }
});

Deno.test("BodyIter reports the sink's failure even if return() fails too", async () => {
  const sink = new FailingSink();
  const source = {
    [Symbol.asyncIterator]: () => ({
      next: () => Promise.resolve({ done: false, value: latin1("12") }),
      return: () => Promise.reject(new Error("return() is broken too")),
    }),
  };
  const body: BodyIter = Reflect.construct(BodyIter, [source, 5]);
  const error = await rejectionOf(body.writeTo(sink), "a failing sink");
  assertStrictEquals(error instanceof Error ? error.cause ?? error : error, sink.failure);
});

Deno.test("BodyIter writes to a writable stream without closing it or keeping its lock", async () => {
  const sink = new RecordingStream();
  assertEquals(await new BodyIter(cut(DIGITS, 4), 10).writeTo(sink.writable), 10);
  assertEquals([sink.closed, sink.aborted, sink.writable.locked], [false, false, false]);
  await assertBodyError(new BodyIter([DIGITS], 9).writeTo(sink.writable), "a byte too many");
  assertEquals([sink.closed, sink.writable.locked], [false, false]);
  assertEquals(sink.bytes, DIGITS);
});

Deno.test("BodyIter retries the rest after a partial write", async () => {
  for (const most of [1, 3, 11]) {
    const sink = new PartialSink(most);
    assertEquals(await new BodyIter(cut(DIGITS, 4), 10).writeTo(sink), 10);
    assertEquals(sink.bytes, DIGITS);
  }
});

Deno.test("BodyIter refuses what is not a sink", async () => {
  for (const sink of [null, undefined, "a", 5, {}, { write: 5 }]) {
    const body = new BodyIter([DIGITS], 10);
    const promise = callWith(body.writeTo.bind(body), sink);
    assert(promise instanceof Promise, "writeTo throws instead of rejecting");
    assert(await rejectionOf(promise, Deno.inspect(sink)) instanceof TypeError);
  }
});

Deno.test("BodyIter writes items larger than 16 MiB", async () => {
  const item = new Uint8Array(limits.chunkData + 1);
  let written = 0;
  const sink = {
    write: (bytes: Uint8Array) => {
      written += bytes.length;
      return Promise.resolve();
    },
  };
  assertEquals(await new BodyIter([item], item.length).writeTo(sink), item.length);
  assertEquals(written, item.length);
});
