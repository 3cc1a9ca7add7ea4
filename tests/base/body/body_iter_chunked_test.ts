/** `ChunkedBodyIter`: chunks from iterables, written as they are given. */
import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import fc from "fast-check";
import { type Chunk, ChunkedBody, ChunkedBodyIter } from "@degu/degu/base";
import { formatChunk } from "@degu/degu/misc";
import { chunks as chunksArbitrary } from "@degu/testing/arbitraries.ts";
import {
  assertBodyError,
  assertTypeError,
  constructWith,
  rejectionOf,
  shown,
} from "@degu/testing/expectations.ts";
import { assertWritesNothing } from "@degu/testing/iterated_bodies.ts";
import {
  collect,
  cut,
  FailingSink,
  PartialSink,
  RecordingSink,
  RecordingStream,
  streamOf,
  TrackedItems,
} from "@degu/testing/streams.ts";
import { fromLatin1, latin1, limits } from "@degu/testing/wire_grammar.ts";

const END: Chunk = [null, new Uint8Array(0)];
const CHUNKS: Chunk[] = [[null, latin1("123")], [["k", "v"], latin1("4567")], [["e", "1"], END[1]]];
const ENCODED = "3\r\n123\r\n4;k=v\r\n4567\r\n0;e=1\r\n\r\n";
const KINDS = ["sync", "async"] as const;

/** Asserts that what a sink was given is not a whole message: that it has no last chunk. */
function assertIncomplete(sink: { bytes: Uint8Array }) {
  assert(!/(^|\n)0[^\n]*\n\r\n$/.test(fromLatin1(sink.bytes)), shown(fromLatin1(sink.bytes)));
}

Deno.test("ChunkedBodyIter reports that it is chunked and refuses what is not iterable", () => {
  assertStrictEquals(new ChunkedBodyIter([]).chunked, true);
  for (const source of [null, undefined, 5, {}, true, { [Symbol.iterator]: 5 }, () => []]) {
    assertTypeError(() => constructWith(ChunkedBodyIter, source), Deno.inspect(source));
  }
});

Deno.test("ChunkedBodyIter writes the chunks of every kind of iterable", async (t) => {
  const sources: Record<string, () => Iterable<Chunk> | AsyncIterable<Chunk>> = {
    "an array": () => CHUNKS,
    "a generator": function* () {
      yield* CHUNKS;
    },
    "an asynchronous generator": async function* () {
      yield* CHUNKS;
    },
    "a stream": () => streamOf(...CHUNKS),
    "a chunked body": () => new ChunkedBody(streamOf(latin1(ENCODED))),
  };
  for (const [what, make] of Object.entries(sources)) {
    await t.step(what, async () => {
      const sink = new RecordingSink();
      assertEquals(await new ChunkedBodyIter(make()).writeTo(sink), ENCODED.length);
      assertEquals(fromLatin1(sink.bytes), ENCODED);
    });
  }
});

Deno.test("ChunkedBodyIter writes what ChunkedBody reads back", async () => {
  await fc.assert(
    fc.asyncProperty(chunksArbitrary, fc.boolean(), async (chunks, asynchronous) => {
      const items = new TrackedItems(chunks);
      const sink = new RecordingSink();
      const body = new ChunkedBodyIter(asynchronous ? items.async() : items.sync());
      const written = await body.writeTo(sink);
      assertEquals([written, items.ended], [sink.bytes.length, true]);
      const read = await collect(new ChunkedBody(streamOf(sink.bytes)));
      assertEquals(read.map(formatChunk), chunks.map(formatChunk));
    }),
    { numRuns: 50 },
  );
});

Deno.test("ChunkedBodyIter writes the last chunk only after the iterable has ended", async (t) => {
  for (const kind of KINDS) {
    await t.step(kind, async () => {
      const sink = new RecordingSink();
      let pulls = 0;
      const onPull = () => {
        pulls++;
        assertIncomplete(sink);
      };
      const items = new TrackedItems(CHUNKS, { onPull });
      assertEquals(await new ChunkedBodyIter(items[kind]()).writeTo(sink), ENCODED.length);
      assertEquals([pulls, items.ended], [4, true]);
      assertEquals(fromLatin1(sink.bytes), ENCODED);
    });
  }
});

Deno.test("ChunkedBodyIter never completes a message if its iterable misbehaves", async (t) => {
  const data = latin1("123");
  const large = new Uint8Array(limits.chunkData + 1);
  const rows: Record<string, unknown[]> = {
    "nothing at all": [],
    "no empty chunk at the end": [[null, data]],
    "a chunk after the empty one": [[null, data], END, [null, data]],
    "two empty chunks": [[null, data], END, END],
    "an empty chunk in the middle": [END, [null, data], END],
    "a chunk above 16 MiB": [[null, large], END],
    "an extension with a line break": [[["k", "v\r\nevil: 1"], data], END],
    "an extension with an empty key": [[["", "v"], data], END],
    "an extension of the last chunk with an empty value": [[null, data], [["k", ""], END[1]]],
    "an extension that is too long": [[["k", "v".repeat(4096)], data], END],
  };
  for (const kind of KINDS) {
    for (const [what, list] of Object.entries(rows)) {
      await t.step(`${kind}: ${what}`, async () => {
        const items = new TrackedItems<unknown>(list);
        const body: ChunkedBodyIter = Reflect.construct(ChunkedBodyIter, [items[kind]()]);
        const sink = new RecordingSink();
        const error = await rejectionOf(body.writeTo(sink), what);
        assert(error instanceof RangeError || error instanceof Error && error.name === "BodyError");
        assertIncomplete(sink);
        assert(!fromLatin1(sink.bytes).includes("evil"));
        assert(items.settled, "return() was not called");
        await assertBodyError(body.writeTo(new RecordingSink()), "sending it again");
      });
    }
    await t.step(`${kind}: an error after the empty chunk`, async () => {
      const failure = new Error("the disk is gone");
      const sink = new RecordingSink();
      const items = new TrackedItems(CHUNKS, { failure });
      const error = await rejectionOf(new ChunkedBodyIter(items[kind]()).writeTo(sink), "it");
      assertStrictEquals(error instanceof Error ? error.cause ?? error : error, failure);
      assertIncomplete(sink);
    });
  }
});

Deno.test("ChunkedBodyIter fails if an item is not a chunk, and returns the iterator", async (t) => {
  const data = latin1("123");
  const wrong = [
    ...["123", 5, null, {}, data, [], [null], [data], [null, "123"], [null, null], [
      undefined,
      data,
    ]],
    ...[["k=v", data], [["k"], data], [["k", 5], data], [{ k: "v" }, data], [
      null,
      new ArrayBuffer(3),
    ]],
  ];
  for (const item of wrong) {
    await t.step(Deno.inspect(item), async () => {
      for (const kind of KINDS) {
        const items = new TrackedItems<unknown>([item, END]);
        const body: ChunkedBodyIter = Reflect.construct(ChunkedBodyIter, [items[kind]()]);
        await assertWritesNothing(body, items, "no chunk");
      }
    });
  }
});

Deno.test("ChunkedBodyIter accepts chunks of 16 MiB", async () => {
  const data = new Uint8Array(limits.chunkData);
  let written = 0;
  const sink = {
    write: (bytes: Uint8Array) => {
      written += bytes.length;
      return Promise.resolve();
    },
  };
  const total = 9 + data.length + 2 + 5;
  assertEquals(await new ChunkedBodyIter([[null, data], END]).writeTo(sink), total);
  assertEquals(written, total);
});

Deno.test("ChunkedBodyIter writes a chunk without waiting for the next one", async () => {
  const written = Promise.withResolvers<void>();
  const sink = new RecordingSink();
  const watched = {
    async write(bytes: Uint8Array) {
      await sink.write(bytes);
      if (fromLatin1(sink.bytes) === "3\r\n123\r\n") written.resolve();
    },
  };
  const source = async function* (): AsyncGenerator<Chunk> {
    yield [null, latin1("123")];
    await written.promise;
    yield END;
  };
  assertEquals(await new ChunkedBodyIter(source()).writeTo(watched), 13);
});

Deno.test("ChunkedBodyIter writes whole chunks even if their data changes while it is read", async () => {
  const chunk: [null, Uint8Array] = [null, latin1("123")];
  let reads = 0;
  Object.defineProperty(chunk, 1, {
    get: () => latin1(reads++ === 0 ? "123" : "123\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"),
  });
  const sink = new RecordingSink();
  try {
    await new ChunkedBodyIter([chunk, END]).writeTo(sink);
  } catch (error) {
    assert(error instanceof Error);
    assertIncomplete(sink);
    return;
  }
  const read = await collect(new ChunkedBody(streamOf(sink.bytes)));
  assertEquals(read.map(([, data]) => fromLatin1(data)), ["123", ""]);
});

Deno.test("ChunkedBodyIter can be sent only once", async () => {
  const body = new ChunkedBodyIter(CHUNKS);
  await body.writeTo(new RecordingSink());
  await assertBodyError(body.writeTo(new RecordingSink()), "sending it again");
});

Deno.test("ChunkedBodyIter returns the iterator if the sink fails", async () => {
  for (const kind of KINDS) {
    for (const after of [0, 1]) {
      const items = new TrackedItems<Chunk>([...CHUNKS.slice(0, 2), ...CHUNKS.slice(0, 2), END]);
      const sink = new FailingSink(after);
      const error = await rejectionOf(new ChunkedBodyIter(items[kind]()).writeTo(sink), "it");
      assertStrictEquals(error instanceof Error ? error.cause ?? error : error, sink.failure);
      assert(items.settled, "return() was not called");
    }
  }
});

Deno.test("the chunked bodies handle sinks that write only a part", async () => {
  const bodies = {
    read: () => new ChunkedBody(streamOf(...cut(latin1(ENCODED), 6))),
    made: () => new ChunkedBodyIter(CHUNKS),
  };
  for (const make of Object.values(bodies)) {
    for (const most of [1, 3, 100]) {
      const sink = new PartialSink(most);
      assertEquals(await make().writeTo(sink), ENCODED.length);
      assertEquals(fromLatin1(sink.bytes), ENCODED);
    }
    const stream = new RecordingStream();
    assertEquals(await make().writeTo(stream.writable), ENCODED.length);
    assertEquals(await make().writeTo(stream.writable), ENCODED.length);
    assertEquals([stream.closed, stream.aborted, stream.writable.locked], [false, false, false]);
    assertEquals(fromLatin1(stream.bytes), ENCODED + ENCODED);
  }
});
