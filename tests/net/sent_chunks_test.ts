/** Chunks that are sent: when each is written, and what happens if the source or a write fails. */
import { ProxyApp } from "@degu/degu";
import { BodyError, type BodyOut, type Chunk, ChunkedBody, ChunkedBodyIter } from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import { formatChunk } from "@degu/degu/misc";
import type { App } from "@degu/degu/server";
import { catchRejection } from "@degu/testing/expectations.ts";
import { RawPeer, waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { recordUnhandledRejections } from "@degu/testing/rejections.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import { readStatedNumber } from "@degu/testing/stated.ts";
import { concat, RecordingSink } from "@degu/testing/streams.ts";
import { openSharedPki, startTls } from "@degu/testing/tls_endpoints.ts";
import { decodeLatin1, encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import fc from "fast-check";

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

Deno.test("the first chunk is written at once, and the chunks of that time in the next write", async () => {
  const sink = new GatedSink();
  const writing = new ChunkedBodyIter(["a", "b", "c", ""].map(chunkOf)).writeTo(sink);
  assertEquals(sink.writes, [encodedText("a")], "written synchronously, with the preamble");
  await waitForTick();
  await sink.passToNextWrite();
  sink.pass();
  await writing;
  assertEquals(sink.writes, [encodedText("a"), encodedText("b", "c", "")]);
});

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

Deno.test("a chunk above the stated number of bytes is written alone, before the next item is requested", async () => {
  const events: string[] = [];
  const data = new Uint8Array(MAX_JOINED_BYTES);
  function* makeChunks(): Generator<Chunk> {
    for (const chunk of [chunkOf("a"), chunkOf("b"), [null, data] as const, chunkOf("c"), END]) {
      events.push(`item ${chunk[1].length}`);
      yield chunk;
    }
  }
  const write = async (bytes: Uint8Array) => {
    events.push(`write ${bytes.length}`);
    await waitForTick();
  };
  await new ChunkedBodyIter(makeChunks()).writeTo({ write });
  assertEquals(events, [
    ...["item 1", "write 6", "item 1", `item ${MAX_JOINED_BYTES}`, "write 6"],
    ...[
      "write 7",
      `write ${MAX_JOINED_BYTES}`,
      "write 2",
      "item 1",
      "write 6",
      "item 0",
      "write 5",
    ],
  ]);
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

Deno.test("the option sequential is a boolean", () => {
  const wrongOptions: unknown[] = [null, true, { sequential: "true" }, { sequential: null }, {
    x: 1,
  }];
  for (const options of wrongOptions) {
    assertThrows(() => new ChunkedBodyIter([], options as object), TypeError);
  }
  for (const options of [undefined, {}, { sequential: undefined }, { sequential: false }]) {
    new ChunkedBodyIter([], options);
  }
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

Deno.test("chunks that an app yields before its error arrive, in both directions, over TCP and TLS", async () => {
  async function* makeChunks() {
    for (let i = 0; i < 100; i++) yield new Uint8Array(1000).fill(i);
    await Promise.resolve();
    throw new Error("the app failed");
  }
  const received = Promise.withResolvers<number>();
  const count = async (body: ChunkedBody) => {
    let size = 0;
    const reading = (async () => {
      for await (const [, data] of body) size += data.length;
    })();
    await catchRejection(reading, "an incomplete body");
    return size;
  };
  const app: App = async ({ method, body }) => {
    if (method === "GET") return [200, "OK", {}, makeChunks()];
    received.resolve(await count(body as ChunkedBody));
    return [204, "No Content", {}, null];
  };
  await using plain = serve(app);
  await using tls = await startTls(await openSharedPki(), app);
  for (const client of [plain.makeClient(), tls.client]) {
    const { body } = await client.get("/");
    assertEquals(await count(body as ChunkedBody), 100_000);
    await catchRejection(client.request("PUT", "/", {}, makeChunks()), "a failed source");
    assertEquals(await withTimeout(received.promise, "the chunks arrive"), 100_000);
  }
});

Deno.test("a body that is canceled while a write and an item are pending rejects at once, and writes no more", async (t) => {
  using unhandled = recordUnhandledRejections();
  await testEachRow(t, wraps, async (_kind, wrap) => {
    const item = Promise.withResolvers<never>();
    let hasEnded = false;
    async function* makeChunks(): AsyncGenerator<Chunk> {
      try {
        yield chunkOf("a");
        yield chunkOf("b");
        yield await item.promise;
      } finally {
        hasEnded = true;
      }
    }
    const sink = new GatedSink();
    const body = new ChunkedBodyIter(wrap(makeChunks()));
    const writing = catchRejection(body.writeTo(sink), "a canceled body");
    while (sink.writes.length === 0) await waitForTick();
    await waitForTick();
    const reason = new Error("enough");
    await withTimeout(body.cancel(reason), "the cancellation doesn't wait");
    assertStrictEquals(await withTimeout(writing, "the write doesn't wait"), reason);
    sink.pass();
    item.reject(new Error("the source fails later"));
    while (!hasEnded) await waitForTick();
    assertEquals(sink.writes, [encodedText("a")]);
  });
  assertEquals(unhandled.reasons, []);
});

Deno.test("a generator that yields chunks faster than its peer reads ends when the peer leaves", async () => {
  const ended = Promise.withResolvers<void>();
  async function* makeChunks() {
    try {
      for (;;) yield new Uint8Array(16384);
    } finally {
      ended.resolve();
    }
  }
  await using serving = serve(() => [200, "OK", {}, makeChunks()]);
  {
    using peer = await RawPeer.connect(serving.address, "GET / HTTP/1.1\r\n\r\n");
    await peer.readExactly(1_000_000);
  }
  await withTimeout(ended.promise, "the generator ends");
});

Deno.test("a chunk whose array is transferred while it waits for room cuts the message", async () => {
  const size = MAX_JOINED_BYTES / 2;
  const arrays = [1, 2, 3, 4].map((i) => new Uint8Array(size).fill(i));
  const sink = new GatedSink();
  const body = new ChunkedBodyIter([...arrays.map((data): Chunk => [null, data]), END]);
  const writing = catchRejection(body.writeTo(sink), "a transferred array");
  await waitForTick();
  // The first array is being written, the second is joined, the third waits.
  for (const { buffer } of arrays.slice(0, 3)) buffer.transfer();
  await sink.passToNextWrite();
  sink.pass();
  assertInstanceOf(await writing, BodyError);
  const sent = decodeLatin1(
    concat(arrays.slice(0, 2).map((_, i) => formatChunk([null, new Uint8Array(size).fill(i + 1)]))),
  );
  assert(sink.writes.join("") === sent, "the first two arrays were copied");
});

// ───────────────────────── random bodies

/** The ways to send chunks. All but the first reuse their memory, or have no extensions. */
const senders: Record<string, (chunks: readonly Chunk[]) => BodyOut> = {
  "an array": (chunks) => new ChunkedBodyIter(chunks),
  "a generator that reuses its memory": (chunks) =>
    new ChunkedBodyIter(function* () {
      const buffer = new Uint8Array(Math.max(...chunks.map(([, data]) => data.length)));
      for (const [extension, data] of chunks) {
        buffer.set(data);
        yield [extension, buffer.subarray(0, data.length)];
        buffer.fill(0xff);
      }
    }()),
  "an asynchronous generator that reuses its memory": (chunks) =>
    new ChunkedBodyIter(async function* () {
      const buffer = new Uint8Array(Math.max(...chunks.map(([, data]) => data.length)));
      for (const [index, [extension, data]] of chunks.entries()) {
        buffer.set(data);
        yield [extension, buffer.subarray(0, data.length)];
        buffer.fill(0xff);
        if (index % 5 === 4) await new Promise((resolve) => setTimeout(resolve));
      }
    }()),
  "a stream": (chunks) => ReadableStream.from(chunks.slice(0, -1).map(([, data]) => data)),
};

/** The ways to read a body; each returns the chunks, or all of the data, as text. */
const readers: Record<string, (body: ChunkedBody) => Promise<unknown>> = {
  async chunks(body) {
    const chunks = [];
    for await (const [extension, data] of body) chunks.push([extension, decodeLatin1(data)]);
    return chunks;
  },
  async "encoded chunks"(body) {
    const sink = new RecordingSink();
    await body.writeTo(sink);
    return decodeLatin1(sink.bytes);
  },
  async "a BYOB reader"(body) {
    const pieces: Uint8Array[] = [];
    const reader = body.readable.getReader({ mode: "byob" });
    for (;;) {
      const { done, value } = await reader.read(new Uint8Array(65536));
      if (done) return decodeLatin1(concat(pieces));
      pieces.push(value);
    }
  },
};

const size = fc.oneof(
  { arbitrary: fc.integer({ min: 1, max: 100 }), weight: 4 },
  { arbitrary: fc.integer({ min: 1, max: 70_000 }), weight: 4 },
  { arbitrary: fc.integer({ min: MAX_JOINED_BYTES - 20, max: MAX_JOINED_BYTES + 20 }), weight: 1 },
);
const chunkList = fc.array(
  fc.tuple(fc.option(fc.constant(["key", "value"] as const)), size),
  { maxLength: 30 },
).map((rows): Chunk[] => [
  ...rows.map(([extension, size], index): Chunk => [
    extension,
    new Uint8Array(size).fill(index + 1),
  ]),
  END,
]);

Deno.test("random chunks arrive byte for byte and chunk for chunk, over TCP and TLS and through a proxy, in both directions", async () => {
  let make: () => BodyOut = () => null;
  let read: (body: ChunkedBody) => Promise<unknown> = () => Promise.resolve();
  let received: unknown;
  const app: App = async ({ method, body }) => {
    if (method === "GET") return [200, "OK", {}, make()];
    received = await read(body as ChunkedBody);
    return [204, "No Content", {}, null];
  };
  await using plain = serve(app);
  await using tls = await startTls(await openSharedPki(), app);
  await using proxy = serve(new ProxyApp(new Client(plain.address)));
  using plainConn = await plain.makeClient().connect();
  using tlsConn = await tls.client.connect();
  using proxyConn = await proxy.makeClient().connect();
  const property = fc.asyncProperty(
    chunkList,
    fc.constantFrom(...Object.entries(senders)),
    fc.constantFrom(...Object.entries(readers)),
    async (chunks, [sender, send], [reader, readBody]) => {
      make = () => send(chunks);
      read = readBody;
      const sent = sender === "a stream" ? chunks.map(([, data]): Chunk => [null, data]) : chunks;
      const encoded = new Blob([concat(sent.map(formatChunk)).slice()]);
      const expected = await readBody(new ChunkedBody(encoded.stream()));
      for (const conn of [plainConn, tlsConn, proxyConn]) {
        const { body } = await conn.get("/");
        assertEquals(await readBody(body as ChunkedBody), expected, `${sender}, ${reader}`);
        await conn.request("PUT", "/", {}, make());
        assertEquals(received, expected, `${sender}, ${reader}`);
      }
    },
  );
  await fc.assert(property, { numRuns: 40 });
});
