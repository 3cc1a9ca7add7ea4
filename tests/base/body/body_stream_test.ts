import { concatReadableStreams, toArrayBuffer, toText } from "@std/streams";
import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import { Body } from "@degu/degu/base";
import {
  assertBodyError,
  assertCutShort,
  callWith,
  rejectionOf,
} from "@degu/testing/expectations.ts";
import {
  collect,
  concat,
  cut,
  FailingSink,
  PartialSink,
  PieceSource,
  RecordingSink,
  RecordingStream,
  streamOf,
  TrackedStream,
  withFile,
  ZeroSource,
} from "@degu/testing/streams.ts";
import { fromLatin1, latin1 } from "@degu/testing/wire_grammar.ts";

const DIGITS = latin1("1234567890");

/** Bytes in which every position is recognisable. */
function pattern(length: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, (_, i) => (i * 31 + (i >> 8)) & 255);
}

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

Deno.test("Body.readable of an empty body ends for both kinds of reader", async () => {
  const byob = new Body(streamOf(), 0).readable.getReader({ mode: "byob" });
  assertEquals((await byob.read(new Uint8Array(5))).done, true);
  const plain = new Body(streamOf(), 0).readable.getReader();
  assertEquals((await plain.read()).done, true);
});

Deno.test("Body.readable errors if the source ends too early", async () => {
  const reader = new Body(streamOf(latin1("123")), 5).readable.getReader();
  const read = async () => {
    for (let i = 0; i < 5; i++) if ((await reader.read()).done) return;
  };
  await assertCutShort(read(), "a short source");
  await assertCutShort(reader.closed, "closed");
});

Deno.test("Body.writeTo writes all bytes to a byte sink and returns their number", async () => {
  const bytes = pattern(200000);
  for (const source of [streamOf(...cut(bytes, 70000, 1)), new PieceSource(cut(bytes, 4096))]) {
    const sink = new RecordingSink();
    assertEquals(await new Body(source, bytes.length).writeTo(sink), bytes.length);
    assertEquals(sink.bytes, bytes);
  }
});

Deno.test("Body.writeTo writes the content of a file", async () => {
  const bytes = pattern(300000);
  await withFile(bytes, async (file) => {
    await file.seek(100, Deno.SeekMode.Start);
    const sink = new RecordingSink();
    assertEquals(await new Body(file, 250000).writeTo(sink), 250000);
    assertEquals(sink.bytes, bytes.subarray(100, 250100));
  });
});

Deno.test("Body.writeTo retries the rest after a partial write", async () => {
  for (const most of [1, 3, 9, 10, 11]) {
    const sink = new PartialSink(most);
    assertEquals(await new Body(streamOf(...cut(DIGITS, 4)), 10).writeTo(sink), 10);
    assertEquals(sink.bytes, DIGITS);
  }
});

Deno.test("Body.writeTo does not trust the count of a sink", async () => {
  for (const count of [-1, 11, 1.5, NaN, Infinity]) {
    let writes = 0;
    const sink = {
      write: (): Promise<number> => {
        if (writes++ > 100) throw new Error("asked too often");
        return Promise.resolve(count);
      },
    };
    const body = new Body(streamOf(DIGITS), 10);
    const error = await rejectionOf(
      callWith(body.writeTo.bind(body), sink) as Promise<unknown>,
      `${count}`,
    );
    assert(error instanceof Error && writes <= 2, `${count}: ${writes} writes`);
  }
});

Deno.test("Body.writeTo does not close a writable stream or keep its lock", async () => {
  const sink = new RecordingStream();
  assertEquals(await new Body(streamOf(...cut(DIGITS, 4)), 10).writeTo(sink.writable), 10);
  assertEquals([sink.closed, sink.aborted, sink.writable.locked], [false, false, false]);
  assertEquals(await new Body(new PieceSource([DIGITS]), 10).writeTo(sink.writable), 10);
  assertEquals(sink.bytes, concat([DIGITS, DIGITS]));
  const writer = sink.writable.getWriter();
  await writer.close();
  assertEquals(sink.closed, true);
});

Deno.test("Body.writeTo releases a writable stream if the source fails", async () => {
  for (const length of [9, 11]) {
    const sink = new RecordingStream();
    await rejectionOf(
      new Body(streamOf(...cut(DIGITS, 4)), length).writeTo(sink.writable),
      "writeTo",
    );
    assertEquals([sink.closed, sink.writable.locked], [false, false]);
    assert(sink.bytes.length < length);
  }
});

Deno.test("Body.writeTo writes the last bytes only after the stream has ended", async () => {
  const sink = new RecordingSink();
  const seen: string[] = [];
  const onPull = () => void seen.push(fromLatin1(sink.bytes));
  const source = new TrackedStream([latin1("12"), latin1("34"), latin1("5")], { onPull });
  assertEquals(await new Body(source.stream, 5).writeTo(sink), 5);
  assert((seen.at(-1) ?? "").length < 5, `${seen} written before the end was known`);
  assertEquals(fromLatin1(sink.bytes), "12345");
});

Deno.test("Body.writeTo never completes a message if its stream misbehaves", async (t) => {
  const failure = new Error("the disk is gone");
  const rows: Record<string, TrackedStream> = {
    "a byte more in the last item": new TrackedStream([latin1("1234"), latin1("56")]),
    "an item more": new TrackedStream([latin1("1234"), latin1("5"), latin1("6")]),
    "one item too long": new TrackedStream([latin1("123456")]),
    "an error instead of the end": new TrackedStream([latin1("1234"), latin1("5")], { failure }),
  };
  for (const [what, source] of Object.entries(rows)) {
    await t.step(what, async () => {
      const sink = new RecordingSink();
      const body = new Body(source.stream, 5);
      assert(await rejectionOf(body.writeTo(sink), what) instanceof Error);
      assert(sink.bytes.length < 5, fromLatin1(sink.bytes));
      assert("12345".startsWith(fromLatin1(sink.bytes)));
    });
  }
});

Deno.test("Body.writeTo rejects if its sink fails, and cancels the stream", async () => {
  for (const after of [0, 1]) {
    const source = new TrackedStream(cut(DIGITS, 2));
    const sink = new FailingSink(after);
    const body = new Body(source.stream, 10);
    const error = await rejectionOf(body.writeTo(sink), "a failing sink");
    assertStrictEquals(error instanceof Error ? error.cause ?? error : error, sink.failure);
    assertEquals(source.cancelled.length, 1);
    await assertBodyError(body.read(), "read() after it");
  }
});

Deno.test("Body.writeTo rejects if its writable stream fails, and cancels the source", async () => {
  const failure = new Error("the sink broke");
  const writable = new WritableStream<Uint8Array>({
    write() {
      throw failure;
    },
  });
  const source = new TrackedStream(cut(DIGITS, 2));
  assertStrictEquals(
    await rejectionOf(new Body(source.stream, 10).writeTo(writable), "it"),
    failure,
  );
  assertEquals([source.cancelled.length, writable.locked], [1, false]);
});

Deno.test("Body.writeTo refuses what is not a sink", async () => {
  for (const sink of [null, undefined, "a", 5, {}, [], { write: 5 }, new Uint8Array(5)]) {
    const body = new Body(streamOf(DIGITS), 10);
    const promise = callWith(body.writeTo.bind(body), sink);
    assert(promise instanceof Promise, "writeTo throws instead of rejecting");
    assert(await rejectionOf(promise, Deno.inspect(sink)) instanceof TypeError);
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
  await t.step("stream", () => check(new Body(streamOf(...cut(bytes, 70000)), bytes.length)));
  await t.step("byte source", async () => {
    await check(new Body(new PieceSource(cut(bytes, 1000)), bytes.length));
  });
  await t.step("file", () => withFile(bytes, (file) => check(new Body(file, bytes.length))));
});

Deno.test("Body accepts every kind of stream as its source", async (t) => {
  const text = "hello, world";
  const bytes = latin1(text);
  const response = new Response(text).body;
  const request = new Request("http://localhost/", { method: "POST", body: text }).body;
  assert(response !== null && request !== null);
  const compressed = new Blob([text]).stream().pipeThrough(new CompressionStream("gzip"));
  const identity = new TransformStream<Uint8Array, Uint8Array>();
  const rows: Record<string, ReadableStream<Uint8Array>> = {
    "the body of a Response": response,
    "the body of a Request": request,
    "a Blob": new Blob([text]).stream(),
    "a decompressed stream": compressed.pipeThrough(new DecompressionStream("gzip")),
    "a transformed stream": streamOf(...cut(bytes, 5)).pipeThrough(identity),
    "an encoded text": ReadableStream.from([text]).pipeThrough(new TextEncoderStream()),
    "an iterable": ReadableStream.from(cut(bytes, 2)),
    "one of two": streamOf(bytes).tee()[0],
    "joined streams": concatReadableStreams(streamOf(bytes.slice(0, 3)), streamOf(bytes.slice(3))),
    "a byte stream": new ReadableStream({
      type: "bytes",
      start(controller) {
        controller.enqueue(bytes.slice());
        controller.close();
      },
    }),
    "another body": new Body(new PieceSource([bytes]), bytes.length).readable,
  };
  for (const [what, stream] of Object.entries(rows)) {
    await t.step(what, async () => assertEquals(await new Body(stream, bytes.length).text(), text));
  }
  await t.step("a file's readable, which closes the file", async () => {
    const path = await Deno.makeTempFile();
    try {
      await Deno.writeFile(path, bytes);
      const file = await Deno.open(path);
      assertEquals(await new Body(file.readable, bytes.length).text(), text);
    } finally {
      await Deno.remove(path);
    }
  });
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
