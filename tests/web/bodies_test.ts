/** Bodies from web streams, and web streams from bodies. */
import { assert, assertEquals, assertInstanceOf, assertStrictEquals } from "@std/assert";
import fc from "fast-check";
import { Body, BodyIter, type ByteSink, ChunkedBody, ChunkedBodyIter } from "@degu/degu/base";
import type { WritableBody } from "@degu/internal/base/body/bodies.ts";
import {
  bodyOfBytes,
  chunkedBody,
  encodedStreamOf,
  endingWith,
  streamedBody,
  streamOf,
  takeWhole,
} from "@degu/internal/web/bodies.ts";
import { StreamPieces } from "@degu/internal/web/stream_pieces.ts";
import { rejectionOf } from "@degu/testing/expectations.ts";
import * as sources from "@degu/testing/streams.ts";
import { fromLatin1, latin1 } from "@degu/testing/wire_grammar.ts";

type Stream = ReadableStream<Uint8Array<ArrayBuffer>>;

const ENCODED = "5\r\nhello\r\n0\r\n\r\n";

/** A body of each kind whose content is "hello". */
const hellos: Record<string, () => WritableBody> = {
  Body: () => new Body(sources.streamOf(latin1("hel"), latin1("lo")), 5),
  BodyIter: () => new BodyIter([latin1("hello")], 5),
  ChunkedBody: () => new ChunkedBody(sources.streamOf(latin1(ENCODED))),
  ChunkedBodyIter: () => new ChunkedBodyIter([[null, latin1("hello")], [null, latin1("")]]),
};

/** What a body writes. */
async function written(body: WritableBody): Promise<string> {
  const sink = new sources.RecordingSink();
  await body.writeTo(sink);
  return fromLatin1(sink.bytes);
}

async function textOf(stream: Stream): Promise<string> {
  return fromLatin1(sources.concat(await sources.collect(stream)));
}

function piecesOf(...items: Uint8Array[]): StreamPieces {
  return new StreamPieces(sources.streamOf(...items));
}

for (const [kind, make] of Object.entries(hellos)) {
  Deno.test(`streamOf: the content of a ${kind}, whatever its coding`, async () => {
    assertEquals(await textOf(streamOf(make())), "hello");
  });

  Deno.test(`streamOf: canceling the stream of a ${kind} cancels the body`, async () => {
    const body = make();
    await streamOf(body).cancel(new Error("enough"));
    assert(await rejectionOf(body.writeTo(new sources.RecordingSink()), "a canceled body"));
  });

  Deno.test(`encodedStreamOf: the stream has what a ${kind} writes, and nothing is written before a read`, async () => {
    const body = make();
    const stream = encodedStreamOf(body);
    assertEquals(body.used, false);
    assertEquals(await textOf(stream), body.chunked ? ENCODED : "hello");
  });
}

Deno.test("encodedStreamOf requests the next write only after a read, and copies it", async () => {
  const array = latin1("a");
  const writes: string[] = [];
  const body = {
    chunked: true,
    used: false,
    cancel() {},
    async writeTo(sink: ByteSink) {
      for (const text of ["a", "b"]) {
        array.set(latin1(text));
        writes.push(text);
        await sink.write(array);
      }
      array.fill(0x78);
    },
  } as unknown as WritableBody;
  const reader = encodedStreamOf(body).getReader();
  const first = (await reader.read()).value!;
  assertEquals(writes.slice(0, 1), ["a"]);
  const second = (await reader.read()).value!;
  assertEquals([fromLatin1(first), fromLatin1(second), (await reader.read()).done], [
    "a",
    "b",
    true,
  ]);
});

Deno.test("encodedStreamOf errors if the body fails, and a body fails if its stream errors", async () => {
  const failure = new Error("broken");
  const failing = new BodyIter(
    (function* () {
      yield latin1("x");
      throw failure;
    })(),
    5,
  );
  assertStrictEquals(await rejectionOf(textOf(encodedStreamOf(failing)), "a broken body"), failure);
  const items = new sources.TrackedItems([latin1("hello"), latin1("world")]);
  const stream = encodedStreamOf(new BodyIter(items.sync(), 15));
  const reader = stream.getReader();
  await reader.read();
  await reader.cancel(failure);
  assertEquals(items.settled, true);
});

Deno.test("bodyOfBytes joins pieces into one array, and returns a single piece unchanged", () => {
  fc.assert(fc.property(fc.array(fc.uint8Array()), (pieces) => {
    const body = bodyOfBytes(pieces);
    assertInstanceOf(body, Uint8Array);
    assertEquals(body, sources.concat(pieces));
    if (pieces.length === 1) assertStrictEquals(body, pieces[0]);
  }));
  const large = [new Uint8Array(16777216), new Uint8Array(1)];
  const body = bodyOfBytes(large);
  assertInstanceOf(body, BodyIter);
  assertEquals(body.contentLength, 16777217);
  assertInstanceOf(bodyOfBytes(large.slice(0, 1)), Uint8Array);
});

Deno.test("streamedBody has the length from the headers, or is chunked", async () => {
  const whole = streamedBody(piecesOf(latin1("hello")), { "content-length": 5 });
  assertEquals([whole.chunked, await written(whole)], [false, "hello"]);
  const chunked = streamedBody(piecesOf(latin1("hello")), {});
  assertEquals([chunked.chunked, await written(chunked)], [true, ENCODED]);
});

Deno.test("chunkedBody makes one chunk of each non-empty piece, and several of a large one", async () => {
  const pieces = ["a", "", "bc", ""].map(latin1);
  assertEquals(await written(chunkedBody(piecesOf(...pieces))), "1\r\na\r\n2\r\nbc\r\n0\r\n\r\n");
  assertEquals(await written(chunkedBody(piecesOf())), "0\r\n\r\n");
  const sink = new sources.RecordingSink();
  await chunkedBody(piecesOf(new Uint8Array(16777217))).writeTo(sink);
  assertEquals(sink.pieces.map(({ length }) => length), [9, 16777216, 2, 6, 5]);
});

Deno.test("chunkedBody cancels its stream if it is not sent to its end", async () => {
  const source = new sources.TrackedStream([latin1("a"), latin1("b")]);
  const body = chunkedBody(new StreamPieces(source.stream));
  const sink = new sources.FailingSink();
  assertStrictEquals(await rejectionOf(body.writeTo(sink), "a failing sink"), sink.failure);
  assertEquals(source.cancelled, [sink.failure]);
});

Deno.test("takeWhole leaves pieces unread that must be sent chunked", async () => {
  const headers = { "transfer-encoding": "chunked" };
  const pieces = piecesOf(latin1("hello"));
  assertEquals(await takeWhole(pieces, headers), null);
  assertEquals((await takeWhole(pieces, {}))!.map(fromLatin1), ["hello"]);
});

Deno.test("endingWith is a byte stream with the same content, and reports its end once", async () => {
  const pieces = ["", "hello", "", "world"].map(latin1);
  for (const mode of [undefined, "byob"] as const) {
    let ends = 0;
    const stream = endingWith(sources.streamOf(...pieces), () => ends++);
    let text = "";
    if (mode === undefined) text = await textOf(stream);
    else {
      const reader = stream.getReader({ mode });
      for (;;) {
        const { done, value } = await reader.read(new Uint8Array(3));
        text += fromLatin1(value!);
        if (done) break;
      }
    }
    assertEquals([text, ends], ["helloworld", 1]);
  }
});

Deno.test("endingWith detaches no buffer of the stream that it reads", async () => {
  const piece = latin1("hello");
  await textOf(endingWith(sources.streamOf(piece), () => {}));
  assertEquals(fromLatin1(piece), "hello");
});

Deno.test("endingWith reports a failure, a cancellation and a truncation", async () => {
  const failure = new Error("broken");
  const ends: string[] = [];
  const failing = new sources.TrackedStream<Uint8Array<ArrayBuffer>>([], { failure });
  const failed = textOf(endingWith(failing.stream, () => ends.push("failed")));
  assertStrictEquals(await rejectionOf(failed, "a failing stream"), failure);

  const cancelled = new sources.TrackedStream([latin1("a")]);
  await endingWith(cancelled.stream, () => ends.push("cancelled")).cancel(failure);
  assertEquals(cancelled.cancelled, [failure]);

  const closed = Promise.withResolvers<never>();
  const cut = new sources.TrackedStream([latin1("a"), latin1("b")]);
  const reader = endingWith(cut.stream, () => ends.push("cut"), closed.promise).getReader();
  await reader.read();
  closed.reject(failure);
  assertStrictEquals(await rejectionOf(reader.read(), "a cut stream"), failure);
  assertEquals([cut.cancelled, ends], [[failure], ["failed", "cancelled", "cut"]]);
});
