/** Chunks that are sent: when each is written, and what happens if the source or a write fails. */

import { BodyError, type Chunk, ChunkedBodyIter } from "@degu/degu/base";
import { formatChunk } from "@degu/degu/misc";
import { catchRejection } from "@degu/testing/expectations.ts";
import { waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { recordUnhandledRejections } from "@degu/testing/rejections.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { readStatedNumber } from "@degu/testing/stated.ts";
import { concat } from "@degu/testing/streams.ts";
import { decodeLatin1, encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { assert, assertEquals, assertStrictEquals } from "@std/assert";

const MAX_JOINED_BYTES = 1024 * await readStatedNumber(
  "docs/bodies.md",
  /sends up to (\d+) KiB of them in the next write/,
);
const MAX_JOINED_CHUNKS = await readStatedNumber(
  "docs/bodies.md",
  /in the next write, at most (\d+) chunks/,
);
const END: Chunk = [null, new Uint8Array(0)];

/** A sink whose writes wait until the test lets each continue. */
class GatedSink {
  /** The bytes of each write that has begun. */
  readonly writes: string[] = [];
  #gate = Promise.withResolvers<void>();
  #writeBegun = Promise.withResolvers<void>();

  async write(bytes: Uint8Array): Promise<void> {
    this.writes.push(decodeLatin1(bytes));
    this.#writeBegun.resolve();
    await this.#gate.promise;
  }

  /** Ends the pending write, and waits for the next write. */
  async passToNextWrite(): Promise<void> {
    this.#writeBegun = Promise.withResolvers();
    this.pass();
    await withTimeout(this.#writeBegun.promise, "the next write");
  }

  /** Ends the pending write. */
  pass(): void {
    const gate = this.#gate;
    this.#gate = Promise.withResolvers();
    gate.resolve();
  }

  /** Ends each write until all are done. */
  async passAll(writing: Promise<unknown>): Promise<void> {
    let isDone = false;
    const done = writing.finally(() => isDone = true);
    for (; !isDone; await waitForTick()) this.pass();
    await done;
  }

  fail(error: unknown): void {
    this.#gate.reject(error);
  }
}

/** An asynchronous iterable, or a stream of it. */
type Wrap = (items: AsyncGenerator<Chunk>) => AsyncIterable<Chunk>;

const wraps: [kind: string, wrap: Wrap][] = [
  ["a generator", (items) => items],
  ["a stream", (items) => ReadableStream.from(items)],
];

const chunkOf = (text: string): Chunk => [null, encodeLatin1(text)];
const encodedText = (...texts: string[]) =>
  texts.map((text) => decodeLatin1(formatChunk(chunkOf(text)))).join("");

Deno.test("during a write, chunks are requested and joined up to the stated number of bytes", async () => {
  const size = 16384;
  const encodedSize = formatChunk([null, new Uint8Array(size)]).length;
  const joinedCount = Math.floor(MAX_JOINED_BYTES / encodedSize);
  let requestedCount = 0;
  function* makeChunks(): Generator<Chunk> {
    const buffer = new Uint8Array(size);
    for (; requestedCount < 40;) {
      buffer.fill(requestedCount++);
      yield [null, buffer];
    }
    yield END;
  }
  const sink = new GatedSink();
  const writing = new ChunkedBodyIter(makeChunks()).writeTo(sink);
  await waitForTick();
  // One chunk is being written, one more waits for room.
  assertEquals(requestedCount, 1 + joinedCount + 1);
  assertEquals(sink.writes.map(({ length }) => length), [encodedSize]);
  await sink.passToNextWrite();
  await waitForTick();
  assertEquals(requestedCount, 1 + 2 * joinedCount + 1);
  assertEquals(sink.writes.map(({ length }) => length), [encodedSize, joinedCount * encodedSize]);
  await sink.passAll(writing);
  const chunks = Array.from({ length: 40 }, (_, i): Chunk => [null, new Uint8Array(size).fill(i)]);
  const expected = decodeLatin1(concat([...chunks, END].map(formatChunk)));
  assert(sink.writes.join("") === expected, "each chunk in order, with its bytes");
});

Deno.test("a write has at most the stated number of chunks, so that other requests continue", async (t) => {
  await testEachRow(t, wraps, async (_kind, wrap) => {
    const totalCount = 3 * MAX_JOINED_CHUNKS;
    async function* makeChunks(): AsyncGenerator<Chunk> {
      for (let i = 0; i < totalCount; i++) yield chunkOf("a");
      yield END;
    }
    const sink = new GatedSink();
    const writing = new ChunkedBodyIter(wrap(makeChunks())).writeTo(sink);
    for (let i = 0; i < 3; i++) {
      await waitForTick();
      await sink.passToNextWrite();
    }
    await sink.passAll(writing);
    const encodedSize = encodedText("a").length;
    const chunkCounts = sink.writes.map(({ length }) => Math.floor(length / encodedSize));
    assertEquals(Math.max(...chunkCounts), MAX_JOINED_CHUNKS, `${chunkCounts}`);
    const expected = encodedText("a").repeat(totalCount) + encodedText("");
    assert(sink.writes.join("") === expected, "each chunk in order");
  });
});

Deno.test("a joined chunk doesn't wait for the next item", async (t) => {
  await testEachRow(t, wraps, async (_kind, wrap) => {
    const lastItem = Promise.withResolvers<void>();
    const bRequested = Promise.withResolvers<void>();
    async function* makeChunks(): AsyncGenerator<Chunk> {
      yield chunkOf("a");
      yield chunkOf("b");
      bRequested.resolve();
      await lastItem.promise;
      yield END;
    }
    const sink = new GatedSink();
    const writing = new ChunkedBodyIter(wrap(makeChunks())).writeTo(sink);
    await withTimeout(bRequested.promise, "the item after b is requested during the write of a");
    await sink.passToNextWrite();
    assertEquals(sink.writes, [encodedText("a"), encodedText("b")]);
    sink.pass();
    lastItem.resolve();
    while (sink.writes.length < 3) await waitForTick();
    sink.pass();
    assertEquals(await writing, encodedText("a", "b", "").length);
  });
});

Deno.test("a sequential body requests each chunk after the previous chunk was written", async () => {
  const events: string[] = [];
  async function* makeChunks(): AsyncGenerator<Chunk> {
    for (const chunk of ["a", "b", ""].map(chunkOf)) {
      await Promise.resolve();
      events.push("item");
      yield chunk;
    }
  }
  const write = async () => {
    events.push("write");
    await waitForTick();
    events.push("written");
  };
  await new ChunkedBodyIter(makeChunks(), { sequential: true }).writeTo({ write });
  assertEquals(events, Array(3).fill(["item", "write", "written"]).flat());
});

Deno.test("a write that fails while the next item is awaited ends the body with its error, and closes the source", async (t) => {
  using unhandled = recordUnhandledRejections();
  const failures = [new Error("the sink broke"), "no error"];
  const sources: [kind: string, make: (item: Promise<never>, onClose: () => void) => unknown][] = [
    ["an iterator", (item, onClose) => {
      const items: unknown[] = [{ done: false, value: chunkOf("a") }, item];
      const close = () => (onClose(), Promise.resolve({ done: true, value: undefined }));
      const next = () => Promise.resolve(items.shift());
      return { [Symbol.asyncIterator]: () => ({ next, return: close }) };
    }],
    ["a generator", async function* (item, onClose) {
      try {
        yield chunkOf("a");
        yield await item;
      } finally {
        onClose();
      }
    }],
  ];
  await testEachRow(t, sources, async (_kind, make) => {
    for (const failure of failures) {
      const item = Promise.withResolvers<never>();
      const closed = Promise.withResolvers<void>();
      const sink = new GatedSink();
      const body = new ChunkedBodyIter(make(item.promise, closed.resolve) as AsyncIterable<Chunk>);
      const writing = catchRejection(body.writeTo(sink), "a failing sink");
      while (sink.writes.length === 0) await waitForTick();
      // The next item is requested now.
      await waitForTick();
      sink.fail(failure);
      assertStrictEquals(await withTimeout(writing, "the body doesn't wait for the item"), failure);
      item.reject(new Error("the source fails later"));
      await withTimeout(closed.promise, "the source is closed");
      await waitForTick();
      assertEquals(sink.writes, [encodedText("a")]);
    }
  });
  assertEquals(unhandled.reasons, []);
});

Deno.test("a source that fails while chunks are joined fails the body after these chunks are sent", async (t) => {
  const failure = new Error("the disk is gone");
  const rows: [fault: string, fail: () => Chunk, isExpected: (error: unknown) => boolean][] = [
    ["an error", () => {
      throw failure;
    }, (error) => error === failure],
    [
      "an invalid chunk",
      () => [["", ""], new Uint8Array(1)],
      (error) => error instanceof BodyError,
    ],
    ["no last chunk", () => chunkOf("c"), (error) => error instanceof BodyError],
  ];
  await testEachRow(t, rows, async (_fault, fail, isExpected) => {
    const makers: (() => Iterable<Chunk> | AsyncIterable<Chunk>)[] = [
      function* () {
        yield chunkOf("a");
        yield chunkOf("b");
        yield fail();
      },
      ...wraps.map(([, wrap]) => () =>
        wrap(async function* () {
          yield chunkOf("a");
          yield chunkOf("b");
          yield await Promise.resolve().then(fail);
        }())
      ),
    ];
    for (const make of makers) {
      const sink = new GatedSink();
      const writing = catchRejection(new ChunkedBodyIter(make()).writeTo(sink), "a failed source");
      while (sink.writes.length === 0) await waitForTick();
      await waitForTick();
      assertEquals(sink.writes, [encodedText("a")]);
      await sink.passToNextWrite();
      assert(sink.writes[1]!.startsWith(encodedText("b")));
      sink.pass();
      assert(isExpected(await writing));
      assertEquals(sink.writes.length, 2);
      assert(!sink.writes.join("").includes("\n0\r\n"), "the message is incomplete");
    }
  });
});
