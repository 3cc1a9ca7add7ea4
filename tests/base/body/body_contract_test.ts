/** The common behavior of the four body classes, including cancellation. */
import {
  bodies,
  Body,
  BodyError,
  BodyIter,
  type Chunk,
  ChunkedBody,
  ChunkedBodyIter,
  ProtocolError,
} from "@degu/degu/base";
import { formatChunk } from "../messages.ts";
import { chunks, pieceLengths } from "../arbitraries.ts";
import { connect } from "../../net/client/connected.ts";
import {
  assertBodyError,
  assertCutShort,
  assertRangeError,
  assertTypeError,
  catchRejection,
  catchThrown,
  constructWith,
  formatLabel,
} from "@degu/testing/expectations.ts";
import { RawPeer, waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import {
  concat,
  cutBytes,
  FailingSink,
  PieceSource,
  RecordingSink,
  RecordingStream,
  StallingSource,
  TrackedItems,
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
import { type AnyBody, type BodyRow, bodyRows, DIGITS } from "./body.rows.ts";

/** A sink that accepts at most `maxBytes` bytes per write, and returns their number. */
class PartialSink {
  readonly pieces: Uint8Array[] = [];
  constructor(readonly maxBytes: number) {}

  get bytes(): Uint8Array {
    return concat(this.pieces);
  }

  write(bytes: Uint8Array): Promise<number> {
    const piece = bytes.slice(0, this.maxBytes);
    this.pieces.push(piece);
    return Promise.resolve(piece.length);
  }
}

// Constructing, writing, canceling and failures of bodies. The rows are in body.rows.ts.

/** Registers a test of each class, with a step for each kind of source. */
function testEach(
  label: string,
  run: (row: BodyRow, track: BodyRow["tracks"][string]) => void | Promise<void>,
): void {
  for (const row of bodyRows) {
    Deno.test(`${row.name} ${label}`, async (t) => {
      for (const [kind, track] of Object.entries(row.tracks)) {
        await t.step(kind, async () => await run(row, track));
      }
    });
  }
}

/** Asserts that a sink has the start of a message, but not the whole message. */
function assertIncomplete({ chunked, written }: BodyRow, { bytes }: { bytes: Uint8Array }) {
  const text = decodeLatin1(bytes);
  if (chunked) assert(!/(^|\n)0[^\n]*\n\r\n$/.test(text), formatLabel(text));
  else assert(text.length < written.length && written.startsWith(text), formatLabel(text));
  assert(!text.includes("evil"), formatLabel(text));
}

/** Asserts that a body which has failed stays unusable. */
async function assertDead(body: AnyBody) {
  const sink = new RecordingSink();
  await assertBodyError(body.writeTo(sink), "sending it again");
  assertEquals([body.used, sink.bytes.length], [true, 0]);
  if (!("read" in body)) return;
  await assertBodyError(body.read(), "reading it");
  await assertBodyError(Array.fromAsync<unknown>(body), "iterating over it");
  await assertBodyError(Promise.resolve().then(() => void body.readable), "its stream");
}

const getCause = (error: unknown) => error instanceof Error ? error.cause ?? error : error;

for (const row of bodyRows) {
  Deno.test(`${row.name} reports its framing`, () => {
    for (const track of Object.values(row.tracks)) {
      const body = row.make(track(row.items).source);
      assertEquals([body.chunked, body.used], [row.chunked, false]);
      assertEquals("contentLength" in body ? body.contentLength : null, row.chunked ? null : 10);
    }
  });

  Deno.test(`${row.name} refuses invalid sources`, () => {
    for (const source of row.refused) {
      assertTypeError(() => row.make(source), Deno.inspect(source));
    }
  });

  Deno.test(`${row.name} writes its bytes from every kind of source`, async (t) => {
    await testEachRow(t, Object.entries(row.sources), async (_kind, make) => {
      const sink = new RecordingSink();
      assertEquals(await row.make(make()).writeTo(sink), row.written.length);
      assertEquals(decodeLatin1(sink.bytes), row.written);
    });
  });
}

for (const Class of [Body, BodyIter]) {
  Deno.test(`${Class.name} accepts a length from 0 to 2⁵³ − 1 and no other`, () => {
    const source = Class === Body ? { read: () => Promise.resolve(null) } : [];
    for (const length of [0, 1, limits.number]) {
      const body: Body | BodyIter = Reflect.construct(Class, [source, length]);
      assertStrictEquals(body.contentLength, length);
    }
    for (const length of [undefined, null, "5", 5n, [5], {}, new Number(5)]) {
      assertTypeError(() => constructWith(Class, source, length), Deno.inspect(length));
    }
    for (const length of [-1, 1.5, NaN, Infinity, 2 ** 53]) {
      assertRangeError(() => constructWith(Class, source, length), `${length}`);
    }
    const { message } = catchThrown(() => constructWith(Class, source, -1), "-1") as Error;
    assertEquals(message, `contentLength: must be an integer from 0 to ${limits.number}; got -1`);
  });
}

testEach(
  "writes its bytes to every kind of sink, which stays open and is unlocked",
  async (row, track) => {
    const make = () => row.make(track(row.items).source);
    const { length } = row.written;
    for (const maxBytes of [1, 9, 100]) {
      const sink = new PartialSink(maxBytes);
      assertEquals(await make().writeTo(sink), length);
      assertEquals(decodeLatin1(sink.bytes), row.written);
    }
    const stream = new RecordingStream();
    assertEquals(await make().writeTo(stream.writable), length);
    assertEquals([stream.isClosed, stream.isAborted, stream.writable.locked], [
      false,
      false,
      false,
    ]);
    assertEquals(await make().writeTo(stream.writable), length);
    assertEquals(decodeLatin1(stream.bytes), row.written + row.written);
    await stream.writable.close();
  },
);

testEach("refuses an invalid sink, and can be written afterward", async (row, track) => {
  const body = row.make(track(row.items).source);
  await assertRejects(() => body.writeTo({} as never), TypeError, "sink: must be");
  assertEquals(body.used, false);
  assertEquals(await body.writeTo(new RecordingSink()), row.written.length);
});

testEach("does not trust the count of a sink", async (row, track) => {
  for (const count of [-1, 0, 1e9, 1.5, NaN, Infinity]) {
    let writes = 0;
    const sink = {
      write: (): Promise<number> => {
        if (writes++ > 100) throw new Error("asked too often");
        return Promise.resolve(count);
      },
    };
    const error = await catchRejection(row.make(track(row.items).source).writeTo(sink), `${count}`);
    assert(error instanceof Error && writes <= 2, `${count}: ${writes} writes`);
  }
});

testEach("writes its end only after its source has ended", async (row, track) => {
  const sink = new RecordingSink();
  let pulls = 0;
  const onPull = () => {
    pulls++;
    assertIncomplete(row, sink);
  };
  const tracked = track(row.items, { onPull });
  assertEquals(await row.make(tracked.source).writeTo(sink), row.written.length);
  assertEquals([pulls, tracked.hasEnded, tracked.isCanceled], [row.items.length + 1, true, false]);
  assertEquals(decodeLatin1(sink.bytes), row.written);
});

testEach("writes the bytes that have arrived without waiting for more", async (row, track) => {
  const sink = new RecordingSink();
  const bytesWritten = Promise.withResolvers<void>();
  const watchedSink = {
    async write(bytes: Uint8Array) {
      await sink.write(bytes);
      bytesWritten.resolve();
    },
  };
  // A waiting source is an asynchronous iterable, or a stream of it.
  const items = async function* () {
    for (const [i, item] of row.items.entries()) {
      if (i === row.items.length - 1) await bytesWritten.promise;
      yield item;
    }
  };
  const isStream = track([]).source instanceof ReadableStream;
  const body = row.make(isStream ? ReadableStream.from(items()) : items());
  assertEquals(await body.writeTo(watchedSink), row.written.length);
});

for (const row of bodyRows) {
  Deno.test(`${row.name} never completes a message if its source breaks a rule`, async (t) => {
    for (const [kind, track] of Object.entries(row.tracks)) {
      for (const { rule, items, fails } of row.faults) {
        await t.step(`${kind}: ${rule}`, async () => {
          for (const asStream of [false, true]) {
            const sink = asStream ? new RecordingStream() : new RecordingSink();
            const tracked = track(items);
            const body = row.make(tracked.source);
            const target = sink instanceof RecordingStream ? sink.writable : sink;
            const writing = body.writeTo(target);
            if (fails === "BodyError") await assertBodyError(writing, rule);
            else if (fails === "cut short") await assertCutShort(writing, rule);
            else {
              const error = await catchRejection(writing, rule);
              if (fails === "ProtocolError") assertInstanceOf(error, ProtocolError);
              else {
                assert(error instanceof TypeError || (error as Error).name === "BodyError");
                assertEquals(sink.bytes.length, 0);
              }
            }
            assertIncomplete(row, sink);
            assert(tracked.hasEnded || tracked.isCanceled, "neither read to its end nor canceled");
            if (sink instanceof RecordingStream) {
              assertEquals([sink.isClosed, sink.writable.locked], [false, false]);
            }
            await assertDead(body);
          }
        });
      }
    }
  });
}

testEach(
  "fails with its source's error, even if the source fails instead of ending",
  async (row, track) => {
    const failure = new Error("the disk is gone");
    for (const count of [0, 1, row.items.length]) {
      const sink = new RecordingSink();
      const body = row.make(track(row.items.slice(0, count), { failure }).source);
      assertStrictEquals(getCause(await catchRejection(body.writeTo(sink), "the call")), failure);
      assertIncomplete(row, sink);
      await assertDead(body);
    }
  },
);

testEach("fails with its sink's error, and cancels its source", async (row, track) => {
  const extraItems = row.name === "ChunkedBodyIter" ? row.items.slice(0, 3) : [];
  const items = [...extraItems, ...row.items];
  for (const delay of [0, 1]) {
    const tracked = track(items);
    const sink = new FailingSink(delay);
    const body = row.make(tracked.source);
    assertStrictEquals(
      getCause(await catchRejection(body.writeTo(sink), "the call")),
      sink.failure,
    );
    assertEquals(tracked.isCanceled, true);
    await assertDead(body);
  }
  // The body was read to its end, so cancel() has no effect.
  const wholeSink = new RecordingSink();
  await row.make(track(items).source).writeTo(wholeSink);
  const endedSource = track(items);
  const failingSink = new FailingSink(wholeSink.pieces.length - 1);
  await catchRejection(row.make(endedSource.source).writeTo(failingSink), "its end");
  assertEquals([endedSource.hasEnded, endedSource.isCanceled], [true, false]);
  const failure = new Error("the stream broke");
  const writable = new WritableStream<Uint8Array>({
    write() {
      throw failure;
    },
  });
  const tracked = track(items);
  assertStrictEquals(
    await catchRejection(row.make(tracked.source).writeTo(writable), "the call"),
    failure,
  );
  assertEquals([tracked.isCanceled, writable.locked], [true, false]);
});

testEach("can be written once, and by one operation at a time", async (row, track) => {
  const gate = Promise.withResolvers<void>();
  const first = new RecordingSink();
  const gated = {
    async write(bytes: Uint8Array) {
      await gate.promise;
      await first.write(bytes);
    },
  };
  const body = row.make(track(row.items).source);
  const writing = body.writeTo(gated);
  const second = new RecordingSink();
  assertEquals(body.used, true);
  await assertBodyError(body.writeTo(second), "a second time, during the first");
  gate.resolve();
  assertEquals(await writing, row.written.length);
  await assertBodyError(body.writeTo(second), "a second time");
  assertEquals([decodeLatin1(first.bytes), second.bytes.length], [row.written, 0]);
});

testEach("can be canceled before it is sent", async (row, track) => {
  const tracked = track(row.items);
  const body = row.make(tracked.source);
  await body.cancel(new Error("enough"));
  assertEquals(tracked.isCanceled, true);
  await assertDead(body);
});

Deno.test("each body writes any bytes in any pieces, and doesn't change bytes that a stream has queued", async () => {
  const writeToSlowStream = async (body: AnyBody) => {
    const strategy = { highWaterMark: 1e6 };
    const slowStream = new TransformStream<Uint8Array, Uint8Array>({}, strategy, strategy);
    const { readable, writable } = slowStream;
    const count = await body.writeTo(writable);
    await writable.close();
    const bytes = new Uint8Array(await toArrayBuffer(readable));
    assertEquals(count, bytes.length);
    return bytes;
  };
  await fc.assert(
    fc.asyncProperty(chunks, pieceLengths, fc.boolean(), async (list, lengths, isAsync) => {
      const data = concat(list.map(([, bytes]) => bytes));
      const encodedChunks = concat(list.map(formatChunk));
      for (const { name, tracks } of bodyRows) {
        const track = Object.values(tracks)[isAsync ? Object.keys(tracks).length - 1 : 0]!;
        const isLength = name === "Body" || name === "BodyIter";
        const bytes = isLength ? data : encodedChunks;
        const items = name === "ChunkedBodyIter" ? list : cutBytes(bytes, ...lengths);
        const Class = bodies[name as keyof typeof bodies];
        const args = isLength ? [data.length] : [];
        const body: AnyBody = Reflect.construct(Class, [track(items).source, ...args]);
        assertEquals(await writeToSlowStream(body), bytes, name);
      }
    }),
    { numRuns: 60 },
  );
});

Deno.test("bodies from iterables accept an iterable that reuses its memory for each item", async () => {
  const source = function* () {
    const buffer = new Uint8Array(2);
    for (let i = 0; i < DIGITS.length; i += 2) {
      buffer.set(DIGITS.subarray(i, i + 2));
      yield buffer;
      buffer.fill(0);
    }
  };
  const sink = new RecordingSink();
  await new BodyIter(source(), 10).writeTo(sink);
  assertEquals(sink.bytes, DIGITS);
  const strategy = { highWaterMark: 100 };
  const slowStream = new TransformStream<Uint8Array, Uint8Array>({}, strategy, strategy);
  await new BodyIter(source(), 10).writeTo(slowStream.writable);
  await slowStream.writable.close();
  assertEquals(new Uint8Array(await toArrayBuffer(slowStream.readable)), DIGITS);
});

Deno.test("BodyIter reports the sink's failure even if return() fails too", async () => {
  const sink = new FailingSink();
  const source = {
    [Symbol.asyncIterator]: () => ({
      next: () => Promise.resolve({ done: false, value: encodeLatin1("12") }),
      return: () => Promise.reject(new Error("return() is broken too")),
    }),
  };
  const body: BodyIter = Reflect.construct(BodyIter, [source, 5]);
  assertStrictEquals(
    getCause(await catchRejection(body.writeTo(sink), "a failing sink")),
    sink.failure,
  );
});

Deno.test("a body of length 0 writes no bytes, and its source must be empty", async () => {
  for (const Class of [Body, BodyIter]) {
    for (const items of [[], [encodeLatin1("1")]]) {
      const source = Class === Body
        ? ReadableStream.from(items)
        : new TrackedItems(items).toIterable();
      const sink = new RecordingSink();
      const writing = (Reflect.construct(Class, [source, 0]) as AnyBody).writeTo(sink);
      if (items.length === 0) assertEquals(await writing, 0);
      else await assertBodyError(writing, "a byte of none");
      assertEquals(sink.pieces, []);
    }
  }
});

Deno.test("items of known length may be above 16 MiB, chunks up to it", async () => {
  let count = 0;
  const write = (bytes: Uint8Array) => Promise.resolve(void (count += bytes.length));
  const item = new Uint8Array(limits.chunkData + 1);
  assertEquals(await new BodyIter([item], item.length).writeTo({ write }), item.length);
  assertEquals(count, item.length);
  count = 0;
  const chunk = item.subarray(1);
  const total = "1000000\r\n".length + chunk.length + 2 + "0\r\n\r\n".length;
  const chunked = new ChunkedBodyIter([[null, chunk], [null, new Uint8Array(0)]]);
  assertEquals([await chunked.writeTo({ write }), count], [total, total]);
});

Deno.test("ChunkedBodyIter writes whole chunks even if their data changes while it is read", async () => {
  const chunk: [null, Uint8Array] = [null, encodeLatin1("123")];
  let readCount = 0;
  Object.defineProperty(chunk, 1, {
    get: () =>
      encodeLatin1(
        readCount++ === 0 ? "123" : "123\r\n0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
      ),
  });
  const sink = new RecordingSink();
  try {
    await new bodies.ChunkedBodyIter([chunk, [null, new Uint8Array(0)]]).writeTo(sink);
  } catch (error) {
    assert(error instanceof Error);
    return assertIncomplete(bodyRows[3]!, sink);
  }
  const read = await Array.fromAsync(new ChunkedBody(new Blob([sink.bytes.slice()]).stream()));
  assertEquals(read.map(([, data]) => decodeLatin1(data)), ["123", ""]);
});

// Bodies that are canceled, or whose peer stops sending.

const revoked = new Error("revoked");

type Received = Body | ChunkedBody;

/** All operations that wait for more bytes of a body. */
const operations: Readonly<Record<string, (body: Received) => Promise<unknown>>> = {
  read: (body) => body.read(),
  bytes: (body) => body.bytes(),
  text: (body) => body.text(),
  json: (body) => body.json(),
  "read(10)": (body) => body.chunked ? body.readChunk() : body.read(10),
  iterate: async (body) => {
    for await (const _ of body);
  },
  "a default reader": (body) => toArrayBuffer(body.readable),
  "a BYOB reader": async (body) => {
    const reader = body.readable.getReader({ mode: "byob" });
    while (!(await reader.read(new Uint8Array(10))).done);
  },
  writeTo: (body) => body.writeTo({ write: () => Promise.resolve() }),
  "writeTo a stream": (body) => body.writeTo(new WritableStream()),
};

/** Makes a source of some bytes whose next read never settles. */
function makeStallingSource(bytes: string): StallingSource {
  return new StallingSource(encodeLatin1(bytes));
}

/** Makes a stream of some bytes that never ends. */
function makeEndlessStream(bytes: string): ReadableStream<Uint8Array> {
  return new ReadableStream({ start: (controller) => controller.enqueue(encodeLatin1(bytes)) });
}

const sources: Readonly<Record<string, () => Received>> = {
  "Body over a byte source": () => new Body(makeStallingSource("hello"), 10),
  "Body over a stream": () => new Body(makeEndlessStream("hello"), 10),
  "ChunkedBody over a byte source": () => new ChunkedBody(makeStallingSource("a\r\nhello")),
  "ChunkedBody over a stream": () => new ChunkedBody(makeEndlessStream("a\r\nhello")),
};

for (const [source, make] of Object.entries(sources)) {
  Deno.test(`${source}: cancel() rejects pending and later operations with the reason`, async (t) => {
    await testEachRow(t, Object.entries(operations), async (operation, run) => {
      const body = make();
      const waiting = catchRejection(run(body), operation);
      await waitForTick();
      await body.cancel(revoked);
      assertEquals(await withTimeout(waiting, "the promise rejects"), revoked);
      for (const operation of [body.read(), body.text(), body.writeTo(new WritableStream())]) {
        const error = await assertRejects(() => operation, BodyError);
        assertEquals(error.cause, revoked);
      }
    });
  });
}

Deno.test("a reason that is not an error becomes the cause of a BodyError", async () => {
  for (const reason of ["revoked", undefined, 7]) {
    const body = new Body(makeStallingSource("hello"), 10);
    const waiting = catchRejection(body.read(), "the read");
    await body.cancel(reason);
    const error = await withTimeout(waiting, "the promise rejects");
    assertInstanceOf(error, BodyError);
    assertEquals(error.cause, reason);
  }
});

Deno.test("an iteration or a stream whose body is canceled between two items rejects with the reason, and stops reading", async () => {
  for (const bytes of ["hello", "5\r\nhello\r\n"]) {
    for (const way of ["iteration", "stream"]) {
      const source = new PieceSource([encodeLatin1(bytes), encodeLatin1("more")]);
      const body = bytes === "hello" ? new Body(source, 10) : new ChunkedBody(source);
      const items: AsyncIterable<unknown> = way === "iteration" ? body : body.readable;
      const iterator = items[Symbol.asyncIterator]();
      assertEquals((await iterator.next()).done, false);
      const { readCount } = source;
      await body.cancel(revoked);
      assertEquals(await catchRejection(iterator.next(), "the next item"), revoked);
      assertEquals(source.readCount, readCount);
    }
  }
});

Deno.test("a body from an iterable rejects at once if it is canceled while it waits for an item", async (t) => {
  const bodies = {
    BodyIter: () => new BodyIter(makeEndlessStream(""), 10),
    ChunkedBodyIter: () => new ChunkedBodyIter(new ReadableStream()),
  };
  await testEachRow(t, Object.entries(bodies), async (_name, make) => {
    const body = make();
    const writing = catchRejection(body.writeTo(new WritableStream()), "writeTo");
    await withTimeout(body.cancel(revoked), "cancel() resolves");
    assertEquals(await withTimeout(writing, "the promise rejects"), revoked);
    const error = await assertRejects(() => body.writeTo(new WritableStream()), BodyError);
    assertEquals(error.cause, revoked);
  });
});

Deno.test("an iterable that cancels its own body is asked for no more chunks", async () => {
  let count = 0;
  function* makeChunks(): Iterable<Chunk> {
    for (; count < 100; count++) {
      if (count === 1) body.cancel(revoked);
      yield [null, new Uint8Array(1)];
    }
    yield [null, new Uint8Array(0)];
  }
  const body = new ChunkedBodyIter(makeChunks());
  const writing = body.writeTo({ write: () => Promise.resolve() });
  assertEquals([await catchRejection(writing, "writeTo"), count], [revoked, 1]);
});

Deno.test("a body from an iterable rejects if it is canceled while its sink is busy, and the iterator returns", async () => {
  let returned = 0;
  const items: AsyncIterableIterator<Uint8Array> = {
    [Symbol.asyncIterator]: () => items,
    next: () => Promise.resolve({ done: false, value: new Uint8Array(5) }),
    async return() {
      await waitForTick();
      returned++;
      return { done: true, value: undefined };
    },
  };
  const body = new BodyIter(items, 10);
  const writeStarted = Promise.withResolvers<void>();
  const writing = catchRejection(
    body.writeTo({
      write() {
        writeStarted.resolve();
        return new Promise(() => {});
      },
    }),
    "writeTo",
  );
  await withTimeout(writeStarted.promise, "the sink is written to");
  await body.cancel(revoked);
  assertEquals(await withTimeout(writing, "the promise rejects"), revoked);
  assertEquals(returned, 1);
});

Deno.test("an upload whose body is canceled by the app rejects at once, and the error response is sent", async (t) => {
  const rows: [framing: string, start: string][] = [
    ["content-length: 100", "hello"],
    ["transfer-encoding: chunked", "32\r\nhello"],
  ];
  await testEachRow(t, rows, async (framing, start) => {
    const errors: unknown[] = [];
    const waiting = Promise.withResolvers<void>();
    await using serving = serve(async ({ body }) => {
      const pending = catchRejection(body!.read(), "a read");
      waiting.promise.then(() => body!.cancel(revoked));
      errors.push(await pending);
      const laterError = await catchRejection(body!.read(), "a read of a canceled body");
      errors.push(laterError instanceof BodyError && laterError.cause);
      return [403, "Forbidden", {}, encodeLatin1("revoked")];
    });
    using peer = await RawPeer.connect(serving.address);
    await peer.send(`PUT / HTTP/1.1\r\n${framing}\r\n\r\n${start}`);
    await waitForTick();
    waiting.resolve();
    // The server doesn't wait for the peer, which is still sending.
    const { received, kind } = await peer.readToEnd();
    assertEquals(
      received,
      "HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-length: 7\r\n\r\nrevoked",
    );
    assertEquals([kind, errors], ["end", [revoked, revoked]]);
    assertEquals(serving.logger.messagesOf("error"), []);
  });
});

Deno.test("bytes that arrive after a body was canceled are not read as a request, and don't delay the response", async () => {
  const uris: string[] = [];
  await using serving = serve(async ({ uri, body }) => {
    uris.push(uri);
    const reading = body?.read().catch(() => {});
    await body?.cancel(revoked);
    await reading;
    return [409, "Conflict", {}, null];
  });
  using peer = await RawPeer.connect(serving.address);
  await peer.send("PUT /1 HTTP/1.1\r\ncontent-length: 100\r\n\r\n");
  assertEquals(
    await peer.readPreamble(),
    "HTTP/1.1 409 Conflict\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
  );
  await peer.send("GET /2 HTTP/1.1\r\n\r\n".repeat(10));
  await peer.closeWrite();
  assertEquals((await peer.readToEnd()).received, "");
  assertEquals(uris, ["/1"]);
});

Deno.test("a response whose body the app cancels is cut short, and the reason is logged", async (t) => {
  const bodies: Record<string, () => Body | BodyIter | ChunkedBody | ChunkedBodyIter> = {
    ...sources,
    BodyIter: () => new BodyIter(makeEndlessStream("hello"), 10),
    "ChunkedBodyIter over items": () =>
      new ChunkedBodyIter(
        async function* () {
          yield [null, encodeLatin1("hello")] as const;
          await new Promise(() => {});
        }(),
      ),
  };
  await testEachRow(t, Object.entries(bodies), async (_name, make) => {
    const body = make();
    await using serving = serve(() => [200, "OK", {}, body]);
    using peer = await RawPeer.connect(serving.address, "GET / HTTP/1.1\r\n\r\n");
    await peer.readPreamble();
    await body.cancel(revoked);
    const { received } = await peer.readToEnd();
    assert(!received.includes("0\r\n\r\n") && received.length < 15, received);
    const [message] = await serving.logger.waitFor("error");
    assert(message?.includes("Error: revoked"), message);
  });
});

Deno.test("a request whose body is canceled rejects with the reason", async (t) => {
  await testEachRow(t, Object.entries(sources), async (_name, make) => {
    using connected = await connect();
    const body = make();
    const requesting = catchRejection(connected.conn.put("/", {}, body), "the request");
    await connected.peer.readPreamble();
    await body.cancel(revoked);
    assertEquals(await withTimeout(requesting, "the request rejects"), revoked);
    assert(connected.conn.closed);
  });
});

Deno.test("a client that cancels a response's body rejects its readers, and closes the connection", async () => {
  using connected = await connect();
  const { body } = await connected.answer("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello");
  const waiting = catchRejection(body!.read(), "a read");
  await waitForTick();
  await body!.cancel(revoked);
  assertEquals(await withTimeout(waiting, "the promise rejects"), revoked);
  assert(connected.conn.closed);
});

Deno.test("canceling a consumed body has no effect", async () => {
  for (const body of [new BodyIter([], 0), new ChunkedBodyIter([[null, new Uint8Array(0)]])]) {
    await body.writeTo(new WritableStream());
    await body.cancel(revoked);
    await assertRejects(
      () => body.writeTo(new WritableStream()),
      BodyError,
      "can't write a body that has been consumed",
    );
  }
  await using serving = serve(async ({ body }) => {
    const text = await body!.text();
    await body!.cancel(revoked);
    return [200, "OK", {}, text];
  });
  using conn = await serving.makeClient().connect();
  for (const text of ["one", "two"]) {
    const { body } = await conn.put("/", {}, text);
    assertEquals(await body!.text(), text);
    await body!.cancel(revoked);
  }
});
