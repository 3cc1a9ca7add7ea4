/** Web streams, piece by piece: bodies from streams, and streams from bodies. */
import { assert, assertEquals, assertInstanceOf, assertStrictEquals } from "@std/assert";
import fc from "fast-check";
import {
  Body,
  BodyError,
  BodyIter,
  type ByteSink,
  ChunkedBody,
  ChunkedBodyIter,
} from "@degu/degu/base";
import type { WritableBody } from "@degu/internal/base/body/bodies.ts";
import {
  bodyOfBytes,
  chunkedBody,
  encodedStreamOf,
  streamedBody,
  streamOf,
  StreamPieces,
} from "@degu/internal/web/streams.ts";
import { rejectionOf, thrownBy } from "@degu/testing/expectations.ts";
import * as sources from "@degu/testing/streams.ts";
import { fromLatin1, latin1 } from "@degu/testing/wire_grammar.ts";

/** A stream whose pieces come when the test says so. */
function lateStream() {
  let controller!: ReadableStreamDefaultController<Uint8Array>;
  const stream = new ReadableStream<Uint8Array>({ start: (given) => void (controller = given) });
  return { stream, controller };
}

/** The pieces of a stream, and what it reported. */
function observed(stream: ReadableStream<Uint8Array>) {
  const cuts: unknown[] = [];
  const ends: string[] = [];
  const pieces = new StreamPieces(stream, (reason) => cuts.push(reason), () => ends.push("end"));
  return { pieces, cuts, ends };
}

Deno.test("StreamPieces iterates over the pieces, empty ones included, and reports the end once", async () => {
  const { pieces, cuts, ends } = observed(sources.streamOf(latin1("a"), latin1(""), latin1("b")));
  assertEquals((await sources.collect(pieces)).map(fromLatin1), ["a", "", "b"]);
  assertEquals([(await pieces.next()).done, cuts, ends], [true, [], ["end"]]);
  pieces.cancel("too late");
  assertEquals(cuts, []);
});

Deno.test("StreamPieces cancels the stream if a loop is left", async () => {
  const source = new sources.TrackedStream([latin1("a"), latin1("b")]);
  const { pieces, cuts } = observed(source.stream);
  for await (const _ of pieces) break;
  assertInstanceOf(cuts[0], BodyError);
  assertEquals([source.cancelled, cuts.length], [cuts, 1]);
});

Deno.test("StreamPieces is canceled once, with the first reason, which next() throws", async () => {
  const source = new sources.TrackedStream([latin1("a")]);
  const { pieces, cuts, ends } = observed(source.stream);
  const reason = new Error("enough");
  pieces.cancel(reason);
  pieces.cancel("again");
  await pieces.return("again");
  assertStrictEquals(await rejectionOf(pieces.next(), "a canceled stream"), reason);
  assertEquals([source.cancelled, cuts, ends], [[reason], [reason], []]);
});

Deno.test("a pending read when the stream is canceled is an error, not the end", async () => {
  const { stream } = lateStream();
  const { pieces, ends } = observed(stream);
  const next = rejectionOf(pieces.next(), "a canceled stream");
  pieces.cancel("enough");
  assertEquals([await next, ends], ["enough", []]);
});

Deno.test("a stream that fails reports it once, and every later read fails with the same error", async () => {
  const failure = new Error("the disk is gone");
  const { pieces, cuts } = observed(new sources.TrackedStream<Uint8Array>([], { failure }).stream);
  for (let i = 0; i < 2; i++) {
    assertStrictEquals(await rejectionOf(pieces.next(), "a failing stream"), failure);
  }
  pieces.cancel("too late");
  assertEquals(cuts, [failure]);
});

Deno.test("a stream whose chunks are not bytes is canceled", async () => {
  for (const item of ["text", 5, [1], new ArrayBuffer(1), new Uint16Array(1)]) {
    const source = new sources.TrackedStream<unknown>([item]);
    const { pieces, cuts } = observed(source.stream as ReadableStream<Uint8Array>);
    const error = await rejectionOf(pieces.next(), "no bytes");
    assertInstanceOf(error, BodyError);
    assertEquals([source.cancelled, cuts], [[error], [error]]);
  }
});

Deno.test("StreamPieces numbers its waits, and has none if nothing is awaited", async () => {
  const { stream, controller } = lateStream();
  const pieces = new StreamPieces(stream);
  const waits = [pieces.wait];
  for (const text of ["a", "b"]) {
    const next = pieces.next();
    waits.push(pieces.wait);
    controller.enqueue(latin1(text));
    await next;
    waits.push(pieces.wait);
  }
  assertEquals(waits, [0, 1, 0, 2, 0]);
});

Deno.test("hasBytes waits for the first byte, which next() still returns", async () => {
  const some = observed(sources.streamOf(latin1(""), latin1(""), latin1("a"), latin1("b")));
  assertEquals(await some.pieces.hasBytes(), true);
  assertEquals((await sources.collect(some.pieces)).map(fromLatin1), ["a", "b"]);
  const none = observed(sources.streamOf(latin1("")));
  assertEquals([await none.pieces.hasBytes(), none.ends], [false, []]);
  assertEquals([(await none.pieces.next()).done, none.ends], [true, ["end"]]);
});

Deno.test("takeWhole returns all the pieces that are available at once", async () => {
  const { pieces } = observed(new Response("hello").body!);
  assertEquals((await pieces.takeWhole({}))!.map(fromLatin1).join(""), "hello");
  assertEquals((await pieces.next()).done, true);
  const sixteen = Array.from({ length: 15 }, () => latin1("x"));
  assertEquals((await observed(sources.streamOf(...sixteen)).pieces.takeWhole({}))!.length, 15);
});

Deno.test("takeWhole loses nothing of a stream that is late, long, or not of bytes", async () => {
  const late = lateStream();
  late.controller.enqueue(latin1("a"));
  const waiting = observed(late.stream).pieces;
  assertEquals(await waiting.takeWhole({}), null);
  late.controller.enqueue(latin1("b"));
  late.controller.close();
  assertEquals((await sources.collect(waiting)).map(fromLatin1), ["a", "b"]);

  const list = Array.from({ length: 16 }, () => latin1("x"));
  const long = observed(sources.streamOf(...list)).pieces;
  assertEquals(await long.takeWhole({}), null);
  assertEquals((await sources.collect(long)).length, 16);

  const strange = new sources.TrackedStream<unknown>(["text"]);
  const { pieces } = observed(strange.stream as ReadableStream<Uint8Array>);
  assertEquals(await pieces.takeWhole({}), null);
  assertInstanceOf(await rejectionOf(pieces.next(), "no bytes"), BodyError);

  const failure = new Error("broken");
  const failing = observed(new sources.TrackedStream<Uint8Array>([], { failure }).stream);
  assertEquals([await failing.pieces.takeWhole({}), failing.cuts], [null, []]);
  assertStrictEquals(await rejectionOf(failing.pieces.next(), "a failing stream"), failure);
});

Deno.test("StreamPieces requires an unlocked stream, and locks it", () => {
  const stream = sources.streamOf(latin1("a"));
  new StreamPieces(stream);
  assert(stream.locked);
  assertInstanceOf(thrownBy(() => new StreamPieces(stream), "a locked stream"), TypeError);
});

// ───────────────────────── bodies

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
  assertEquals(await pieces.takeWhole(headers), null);
  assertEquals((await pieces.takeWhole({}))!.map(fromLatin1), ["hello"]);
});

// ───────────────────────── streams that report their end

/** A promise that never settles. */
const never = new Promise<never>(() => {});

Deno.test("streamOf reports the end once, and is a byte stream, whatever the pieces are", async (t) => {
  const pieces = () => ["", "hello", "", "world", ""].map(latin1);
  const chunks = () => [...pieces().filter(({ length }) => length > 0), latin1("")];
  const rows: Record<string, () => WritableBody> = {
    Body: () => new Body(sources.streamOf(...pieces()), 10),
    BodyIter: () => new BodyIter(pieces(), 10),
    ChunkedBody: () =>
      new ChunkedBody(
        sources.streamOf(latin1("5\r\nhello\r\n"), latin1("5\r\nworld\r\n0\r\n\r\n")),
      ),
    ChunkedBodyIter: () => new ChunkedBodyIter(chunks().map((data) => [null, data])),
    "Body of nothing": () => new Body(sources.streamOf(), 0),
    "BodyIter of nothing": () => new BodyIter([], 0),
  };
  for (const [name, make] of Object.entries(rows)) {
    for (const mode of [undefined, "byob"] as const) {
      await t.step(`${name}, ${mode ?? "default"}`, async () => {
        let ends = 0;
        const stream = streamOf(make(), () => ends++, never);
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
        assertEquals([text, ends], [name.endsWith("nothing") ? "" : "helloworld", 1]);
      });
    }
  }
});

Deno.test("streamOf detaches no buffer of the body that it reads", async () => {
  for (
    const [kind, make] of Object.entries({
      Body: (piece: Uint8Array) => new Body(sources.streamOf(piece), 5),
      BodyIter: (piece: Uint8Array) => new BodyIter([piece], 5),
      ChunkedBodyIter: (piece: Uint8Array) =>
        new ChunkedBodyIter([[null, piece], [null, new Uint8Array(0)]]),
    })
  ) {
    const piece = latin1("hello");
    await textOf(streamOf(make(piece), () => {}, never));
    assertEquals(fromLatin1(piece), "hello", kind);
  }
});

Deno.test("streamOf reports a failure, a cancellation and a truncation", async (t) => {
  const failure = new Error("broken");
  const makers: Record<string, (stream: ReadableStream<Uint8Array>) => WritableBody> = {
    Body: (stream) => new Body(stream, 2),
    BodyIter: (stream) => new BodyIter(new StreamPieces(stream), 2),
    ChunkedBodyIter: (stream) => chunkedBody(new StreamPieces(stream)),
  };
  for (const [kind, make] of Object.entries(makers)) {
    await t.step(kind, async () => {
      const ends: string[] = [];
      const failing = make(new sources.TrackedStream<Uint8Array>([], { failure }).stream);
      const failed = textOf(streamOf(failing, () => ends.push("failed"), never));
      assertStrictEquals(await rejectionOf(failed, "a failing body"), failure);

      const cancelled = new sources.TrackedStream([latin1("a")]);
      const stream = streamOf(make(cancelled.stream), () => ends.push("cancelled"), never);
      await stream.cancel(failure);
      assertEquals(cancelled.cancelled, [failure]);

      const closed = Promise.withResolvers<never>();
      const cut = new sources.TrackedStream([latin1("a"), latin1("b")]);
      const reader = streamOf(make(cut.stream), () => ends.push("cut"), closed.promise).getReader();
      await reader.read();
      closed.reject(failure);
      assertStrictEquals(await rejectionOf(reader.read(), "a cut stream"), failure);
      assertEquals([cut.cancelled, ends], [[failure], ["failed", "cancelled", "cut"]]);
    });
  }
});
