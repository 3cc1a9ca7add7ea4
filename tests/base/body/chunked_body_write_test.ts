import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import fc from "fast-check";
import { type Chunk, ChunkedBody } from "@degu/degu/base";
import { formatChunk } from "@degu/degu/misc";
import { chunks as chunksArbitrary, pieceLengths } from "@degu/testing/arbitraries.ts";
import { assertBodyError, rejectionOf, shown } from "@degu/testing/expectations.ts";
import {
  collect,
  concat,
  cut,
  FailingSink,
  PieceSource,
  RecordingSink,
  streamOf,
  TrackedStream,
} from "@degu/testing/streams.ts";
import { fromLatin1, latin1 } from "@degu/testing/wire_grammar.ts";

const END: Chunk = [null, new Uint8Array(0)];
const ENCODED = "3\r\n123\r\n4;k=v\r\n4567\r\n0;e=1\r\n\r\n";
/** Asserts that what a sink was given is not a whole message: that it has no last chunk. */
function assertIncomplete(sink: { bytes: Uint8Array }) {
  assert(!/(^|\n)0[^\n]*\n\r\n$/.test(fromLatin1(sink.bytes)), shown(fromLatin1(sink.bytes)));
}

Deno.test("ChunkedBody.writeTo preserves chunks and extensions", async () => {
  for (const pieces of [[latin1(ENCODED)], cut(latin1(ENCODED), 1), cut(latin1(ENCODED), 7)]) {
    for (const source of [streamOf(...pieces), new PieceSource(pieces)]) {
      const sink = new RecordingSink();
      assertEquals(await new ChunkedBody(source).writeTo(sink), ENCODED.length);
      assertEquals(fromLatin1(sink.bytes), ENCODED);
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

Deno.test("ChunkedBody.writeTo never completes a message if its stream misbehaves", async (t) => {
  const failure = new Error("the disk is gone");
  const end = latin1("0\r\n\r\n");
  const first = latin1("3\r\n123\r\n");
  const rows: Record<string, TrackedStream> = {
    "a byte after the end": new TrackedStream([first, end, latin1("X")]),
    "a byte after the end in the same item": new TrackedStream([first, latin1("0\r\n\r\nX")]),
    "all in one item": new TrackedStream([latin1("3\r\n123\r\n0\r\n\r\n0\r\n\r\n")]),
    "a chunk after the end": new TrackedStream([first, end, first]),
    "an error after the end": new TrackedStream([first, end], { failure }),
    "no end": new TrackedStream([first, first]),
    "half an end": new TrackedStream([first, latin1("0\r\n\r")]),
  };
  for (const [what, source] of Object.entries(rows)) {
    await t.step(what, async () => {
      const sink = new RecordingSink();
      const body = new ChunkedBody(source.stream);
      assert(await rejectionOf(body.writeTo(sink), what) instanceof Error);
      assertIncomplete(sink);
      if (what !== "an error after the end") assert(source.settled);
      await assertBodyError(body.writeTo(sink), "sending it again");
    });
  }
});

Deno.test("ChunkedBody rejects if bytes follow the last chunk of a stream", async (t) => {
  const takers: Record<string, (body: ChunkedBody) => Promise<unknown>> = {
    "read()": (body) => body.read(),
    "iteration": (body) => collect(body),
    "writeTo()": (body) => body.writeTo(new RecordingSink()),
    "readable": (body) => new Response(body.readable).bytes(),
  };
  for (const [taker, take] of Object.entries(takers)) {
    for (const pieces of [[latin1("0\r\n\r\nX")], [latin1("0\r\n\r\n"), latin1("X")]]) {
      await t.step(`${taker}, ${pieces.length} items`, async () => {
        const source = new TrackedStream(pieces);
        await assertBodyError(take(new ChunkedBody(source.stream)), "it");
        assert(source.settled, "the stream was neither read to its end nor canceled");
      });
    }
  }
});

Deno.test("ChunkedBody.writeTo writes the last chunk only after the stream has ended", async () => {
  const sink = new RecordingSink();
  const onPull = () => assertIncomplete(sink);
  const items = [latin1("3\r\n123\r\n"), latin1("0\r\n\r\n")];
  const source = new TrackedStream(items, { onPull });
  assertEquals(await new ChunkedBody(source.stream).writeTo(sink), 13);
  assert(source.ended);
});

Deno.test("ChunkedBody.writeTo does not change what it has written to a stream, however late that is read", async () => {
  const bytes = concat(
    [...cut(new Uint8Array(200000).fill(65), 9000)].map((data, i) =>
      formatChunk([["i", String(i)], data])
    ).concat(formatChunk(END)),
  );
  for (const source of [streamOf(...cut(bytes, 70000)), new PieceSource(cut(bytes, 1000))]) {
    const late = new TransformStream<Uint8Array, Uint8Array>(
      {},
      { highWaterMark: 1e6 },
      { highWaterMark: 1e6 },
    );
    assertEquals(await new ChunkedBody(source).writeTo(late.writable), bytes.length);
    await late.writable.close();
    assertEquals(concat(await collect(late.readable)), bytes);
  }
});

Deno.test("ChunkedBody cancels its stream if iterating, reading or sending is abandoned", async () => {
  const make = () => new TrackedStream(cut(latin1(ENCODED), 8));
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
