/** Which operations a `Body` allows when, and its text and JSON. */
import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import { bodies, Body, makeOutputFromInput } from "@degu/degu/base";
import { DIGITS, operations, withEachSource } from "@degu/testing/bodies.ts";
import {
  assertBodyError,
  assertTypeError,
  callWith,
  rejectionOf,
} from "@degu/testing/expectations.ts";
import {
  collect,
  concat,
  cut,
  PieceSource,
  StallingSource,
  streamOf,
} from "@degu/testing/streams.ts";
import { fromLatin1, latin1 } from "@degu/testing/wire_grammar.ts";

const shapes: Record<string, number[]> = {
  "at once": [10],
  "in small pieces": [1],
  "in parts": [4, 3],
};

Deno.test("Body.text decodes UTF-8 strictly and keeps the byte order mark", async () => {
  const encoder = new TextEncoder();
  for (const text of ["", "a", "é€😀", "\ufeffa", "\ufeff", "a\0b", "\ufeff\ufeffa"]) {
    const bytes = encoder.encode(text);
    assertEquals(await new Body(streamOf(...cut(bytes, 1)), bytes.length).text(), text);
  }
  for (
    const bytes of [[0xff], [0xc3], [0xc3, 0x28], [0xed, 0xa0, 0x80], [0xf5, 0x80, 0x80, 0x80], [
      0xc0,
      0x80,
    ]]
  ) {
    const body = new Body(new PieceSource([Uint8Array.from(bytes)]), bytes.length);
    assert(await rejectionOf(body.text(), `${bytes}`) instanceof Error);
  }
});

Deno.test("Body.json parses any JSON value and rejects a byte order mark", async () => {
  const parse = (text: string) => {
    const bytes = new TextEncoder().encode(text);
    return new Body(new PieceSource([bytes]), bytes.length).json();
  };
  assertEquals(await parse('{"a": [1, null, "é"]}'), { a: [1, null, "é"] });
  assertEquals(await parse("null"), null);
  assertEquals(await parse(" 5 "), 5);
  for (const text of ["{", "\ufeff5", "5 6", "undefined"]) {
    assert(await rejectionOf(parse(text), text) instanceof SyntaxError, text);
  }
});

Deno.test("Body rejects a second operation while one is pending, and continues the first", async () => {
  const source = new StallingSource(DIGITS.subarray(0, 4));
  const body = new Body(source, 10);
  const first = body.read(10);
  await source.stalled;
  for (const [operation, run] of Object.entries(operations)) {
    await assertBodyError(run(body), `${operation} while reading`);
  }
  source.release();
  assert(await rejectionOf(first, "a source that ended early") instanceof Error);
});

Deno.test("Body completes a pending read when another one is rejected", async () => {
  const gate = Promise.withResolvers<void>();
  const inner = new PieceSource([DIGITS]);
  const source = {
    async read(into: Uint8Array) {
      await gate.promise;
      return inner.read(into);
    },
  };
  const body = new Body(source, 10);
  const first = body.read(4);
  await assertBodyError(body.read(4), "the second read");
  gate.resolve();
  assertEquals(fromLatin1(await first), "1234");
});

Deno.test("Body returns new arrays, which later reads don't change", async (t) => {
  await withEachSource(t, DIGITS, async (body) => {
    const first = await body.read(4);
    const second = await body.read(4);
    assertEquals([fromLatin1(first), fromLatin1(second)], ["1234", "5678"]);
    first.fill(0);
    assertEquals(fromLatin1(second), "5678");
    assertEquals(fromLatin1(await body.read()), "90");
  });
});

Deno.test("Body iterates over all of its bytes, however they are split", async (t) => {
  for (const [shape, lengths] of Object.entries(shapes)) {
    await t.step(shape, async () => {
      for (
        const source of [
          streamOf(...cut(DIGITS, ...lengths)),
          new PieceSource(cut(DIGITS, ...lengths)),
        ]
      ) {
        const pieces = (await collect(new Body(source, 10))).map((piece) => piece.slice());
        assert(pieces.every((piece) => piece.length > 0));
        assertEquals(concat(pieces), DIGITS);
      }
    });
  }
});

Deno.test("bodies holds the four classes, and makeOutputFromInput returns a body unchanged", () => {
  assertStrictEquals(bodies.Body, Body);
  assertEquals(Object.keys(bodies).toSorted(), [
    "Body",
    "BodyIter",
    "ChunkedBody",
    "ChunkedBodyIter",
  ]);
  const body = new Body(new PieceSource([]), 5);
  assertStrictEquals(makeOutputFromInput(body), body);
  assertStrictEquals(makeOutputFromInput(null), null);
  const chunked = new bodies.ChunkedBody(new PieceSource([]));
  assertStrictEquals(makeOutputFromInput(chunked), chunked);
  const foreign = { chunked: false, contentLength: 5, writeTo: () => Promise.resolve(5) };
  assertStrictEquals(callWith(makeOutputFromInput, foreign), foreign);
  for (const value of [undefined, "abc", 5, {}, []]) {
    assertTypeError(() => callWith(makeOutputFromInput, value), Deno.inspect(value));
  }
});

Deno.test("Body copies a small piece into an array of its size, and returns the read buffer for a large one", async () => {
  for (const [length, held] of [[1, 1], [20_000, 20_000], [40_000, 65536]] as const) {
    const source = new PieceSource([new Uint8Array(length), new Uint8Array(70_000 - length)]);
    for await (const piece of new Body(source, 70_000)) {
      assertEquals([piece.length, piece.buffer.byteLength], [length, held]);
      break;
    }
  }
});

Deno.test("iterating over a Body of length 0 detects bytes that its stream should not have", async () => {
  const body = new Body(streamOf(latin1("x")), 0);
  await assertBodyError(Array.fromAsync(body), "iterating");
});
