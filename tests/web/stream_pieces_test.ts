/** StreamPieces: a web stream, piece by piece, read to its end or canceled. */
import { assert, assertEquals, assertInstanceOf, assertStrictEquals } from "@std/assert";
import { BodyError } from "@degu/degu/base";
import { StreamPieces } from "@degu/internal/web/stream_pieces.ts";
import { rejectionOf, thrownBy } from "@degu/testing/expectations.ts";
import { collect, streamOf, TrackedStream } from "@degu/testing/streams.ts";
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
  const { pieces, cuts, ends } = observed(streamOf(latin1("a"), latin1(""), latin1("b")));
  assertEquals((await collect(pieces)).map(fromLatin1), ["a", "", "b"]);
  assertEquals([(await pieces.next()).done, cuts, ends], [true, [], ["end"]]);
  pieces.cancel("too late");
  assertEquals(cuts, []);
});

Deno.test("StreamPieces cancels the stream if a loop is left", async () => {
  const source = new TrackedStream([latin1("a"), latin1("b")]);
  const { pieces, cuts } = observed(source.stream);
  for await (const _ of pieces) break;
  assertInstanceOf(cuts[0], BodyError);
  assertEquals([source.cancelled, cuts.length], [cuts, 1]);
});

Deno.test("StreamPieces is canceled once, with the first reason, which next() throws", async () => {
  const source = new TrackedStream([latin1("a")]);
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
  const { pieces, cuts } = observed(new TrackedStream<Uint8Array>([], { failure }).stream);
  for (let i = 0; i < 2; i++) {
    assertStrictEquals(await rejectionOf(pieces.next(), "a failing stream"), failure);
  }
  pieces.cancel("too late");
  assertEquals(cuts, [failure]);
});

Deno.test("a stream whose chunks are not bytes is canceled", async () => {
  for (const item of ["text", 5, [1], new ArrayBuffer(1), new Uint16Array(1)]) {
    const source = new TrackedStream<unknown>([item]);
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
  const some = observed(streamOf(latin1(""), latin1(""), latin1("a"), latin1("b")));
  assertEquals(await some.pieces.hasBytes(), true);
  assertEquals((await collect(some.pieces)).map(fromLatin1), ["a", "b"]);
  const none = observed(streamOf(latin1("")));
  assertEquals([await none.pieces.hasBytes(), none.ends], [false, []]);
  assertEquals([(await none.pieces.next()).done, none.ends], [true, ["end"]]);
});

Deno.test("takeWhole returns all the pieces that are available at once", async () => {
  const { pieces } = observed(new Response("hello").body!);
  assertEquals((await pieces.takeWhole())!.map(fromLatin1).join(""), "hello");
  assertEquals((await pieces.next()).done, true);
  const sixteen = Array.from({ length: 15 }, () => latin1("x"));
  assertEquals((await observed(streamOf(...sixteen)).pieces.takeWhole())!.length, 15);
});

Deno.test("takeWhole loses nothing of a stream that is late, long, or not of bytes", async () => {
  const late = lateStream();
  late.controller.enqueue(latin1("a"));
  const waiting = observed(late.stream).pieces;
  assertEquals(await waiting.takeWhole(), null);
  late.controller.enqueue(latin1("b"));
  late.controller.close();
  assertEquals((await collect(waiting)).map(fromLatin1), ["a", "b"]);

  const list = Array.from({ length: 16 }, () => latin1("x"));
  const long = observed(streamOf(...list)).pieces;
  assertEquals(await long.takeWhole(), null);
  assertEquals((await collect(long)).length, 16);

  const strange = new TrackedStream<unknown>(["text"]);
  const { pieces } = observed(strange.stream as ReadableStream<Uint8Array>);
  assertEquals(await pieces.takeWhole(), null);
  assertInstanceOf(await rejectionOf(pieces.next(), "no bytes"), BodyError);

  const failure = new Error("broken");
  const failing = observed(new TrackedStream<Uint8Array>([], { failure }).stream);
  assertEquals([await failing.pieces.takeWhole(), failing.cuts], [null, []]);
  assertStrictEquals(await rejectionOf(failing.pieces.next(), "a failing stream"), failure);
});

Deno.test("StreamPieces requires an unlocked stream, and locks it", () => {
  const stream = streamOf(latin1("a"));
  new StreamPieces(stream);
  assert(stream.locked);
  assertInstanceOf(thrownBy(() => new StreamPieces(stream), "a locked stream"), TypeError);
});
