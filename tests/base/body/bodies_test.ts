/** The kinds of bodies: how each is framed, canceled and kept, and when it is consumed. */
import { assertEquals, assertInstanceOf, assertStrictEquals, assertThrows } from "@std/assert";
import {
  bodies,
  Body,
  BodyError,
  BodyIter,
  type Chunk,
  ChunkedBody,
  ChunkedBodyIter,
  makeOutputFromInput,
} from "@degu/degu/base";
import {
  type BodyIn,
  type BodyOut,
  cancelQuietly,
  cancelUnused,
  checkBodies,
  isConsumed,
  keepUnused,
  outgoingFraming,
  releaseKept,
} from "@degu/internal/base/body/bodies.ts";
import { unhandledRejections } from "@degu/testing/rejections.ts";
import { RecordingSink, streamOf, TrackedStream } from "@degu/testing/streams.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";

const ENCODED = latin1("5\r\nhello\r\n0\r\n\r\n");

/** A body of each received kind. */
const received: Record<string, () => Body | ChunkedBody> = {
  Body: () => new Body(streamOf(latin1("hello")), 5),
  ChunkedBody: () => new ChunkedBody(streamOf(ENCODED)),
};

Deno.test("outgoingFraming returns the length of a body, or chunked, or null", () => {
  const rows: [BodyOut, unknown][] = [
    [null, null],
    [new Uint8Array(0), 0],
    [new Uint8Array(16777216), 16777216],
    [new Body(streamOf(), 5), 5],
    [new BodyIter([], 7), 7],
    [new ChunkedBody(streamOf()), "chunked"],
    [new ChunkedBodyIter([]), "chunked"],
    [{ chunked: false, contentLength: 2 ** 53 - 1, writeTo() {} } as unknown as Body, 2 ** 53 - 1],
  ];
  for (const [body, framing] of rows) assertEquals(outgoingFraming(body), framing);
});

Deno.test("outgoingFraming uses the real length of an array, whatever the array reports", () => {
  class Liar extends Uint8Array {
    override get length(): number {
      return 3;
    }
  }
  assertEquals(outgoingFraming(new Liar(5)), 5);
});

Deno.test("outgoingFraming refuses values that are not a body, are too large, or were used", () => {
  const writeTo = () => {};
  const none: unknown[] = [undefined, "text", 5, {}, [], writeTo, { chunked: true }, { writeTo }];
  for (const contentLength of [-1, 1.5, NaN, 2 ** 53, "5", undefined]) {
    none.push({ chunked: false, contentLength, writeTo });
  }
  for (const body of none) assertThrows(() => outgoingFraming(body as BodyOut), TypeError);
  assertThrows(() => outgoingFraming(new Uint8Array(16777217)), RangeError);
  const used = new Body(streamOf(), 0);
  used.cancel();
  assertThrows(() => outgoingFraming(used), BodyError);
  assertThrows(() => makeOutputFromInput(used), BodyError);
  const body = received["Body"]!();
  assertStrictEquals(makeOutputFromInput(body), body);
});

Deno.test("checkBodies requires all four classes", () => {
  checkBodies(bodies);
  for (const name of Object.keys(bodies)) {
    assertThrows(() => checkBodies({ ...bodies, [name]: null }), TypeError, `the class ${name}`);
  }
  assertThrows(() => checkBodies(null as never), TypeError, "the class Body");
});

// ───────────────────────── consumed

const ends: Record<string, [consumed: boolean, use: (body: Body | ChunkedBody) => unknown]> = {
  untouched: [false, () => {}],
  "read to its end": [true, (body) => body.read()],
  "read in part": [false, (body) => body.chunked ? body.readChunk() : body.read(2)],
  "read to its last byte": [
    true,
    async (body) => {
      if (body.chunked) await Array.fromAsync(body);
      else await body.read(5);
    },
  ],
  written: [true, (body) => body.writeTo(new RecordingSink())],
  cancelled: [false, (body) => body.cancel()],
  "cancelled after its end": [true, async (body) => {
    await body.read();
    await body.cancel();
  }],
  "read in part and canceled": [false, async (body) => {
    await (body.chunked ? body.readChunk() : body.read(2));
    await body.cancel();
  }],
};
for (const [kind, make] of Object.entries(received)) {
  for (const [how, [consumed, use]] of Object.entries(ends)) {
    Deno.test(`a ${kind} that is ${how} is ${consumed ? "" : "not "}consumed`, async () => {
      const body = make();
      await use(body);
      assertEquals(isConsumed(body), consumed);
    });
  }
}

Deno.test("an empty body is consumed from the start, a failed one never", async () => {
  assertEquals(isConsumed(new Body(streamOf(), 0)), true);
  const failed = new Body(streamOf(), 5);
  await failed.read().catch(() => {});
  assertEquals(isConsumed(failed), false);
  const broken = new ChunkedBody(streamOf(latin1("x")));
  await broken.read().catch(() => {});
  assertEquals(isConsumed(broken), false);
});

Deno.test("a body of another class is consumed after it was used, or if it is empty", () => {
  const rows: [members: object, consumed: boolean][] = [
    [{ chunked: false, contentLength: 5, used: true }, true],
    [{ chunked: false, contentLength: 5, used: false }, false],
    [{ chunked: false, contentLength: 0, used: false }, true],
    [{ chunked: true, used: true }, true],
    [{ chunked: true, used: false }, false],
    [{ chunked: true }, false],
  ];
  for (const [members, consumed] of rows) {
    assertEquals(isConsumed(members as NonNullable<BodyIn>), consumed);
  }
});

// ───────────────────────── cancelled and kept

Deno.test("cancelUnused cancels a body unless it is used or kept", async () => {
  const source = () => new TrackedStream([latin1("hello")]);
  const reason = new Error("not sent");
  const unused = source();
  cancelUnused(new Body(unused.stream, 5), reason);
  assertEquals(unused.cancelled, [reason]);

  const used = source();
  const reading = new Body(used.stream, 5);
  await reading.read(1);
  cancelUnused(reading, reason);
  assertEquals(used.cancelled, []);

  const kept = source();
  const body = new Body(kept.stream, 5);
  keepUnused(body);
  cancelUnused(body, reason);
  assertEquals([kept.cancelled, body.used], [[], false]);
  releaseKept(body);
  cancelUnused(body, reason);
  assertEquals(kept.cancelled, [reason]);
  for (const each of [keepUnused, releaseKept]) each(null);
});

Deno.test("cancelQuietly also cancels a body that is used, kept or of another class", async () => {
  const source = new TrackedStream([latin1("hello")]);
  const body = new Body(source.stream, 5);
  await body.read(1);
  keepUnused(body);
  const reason = new Error("enough");
  cancelQuietly(body, reason);
  assertEquals(source.cancelled, [reason]);
  const seen: unknown[] = [];
  const foreign = { writeTo() {}, cancel: (given: unknown) => seen.push(given) };
  cancelQuietly(foreign, reason);
  cancelUnused(foreign, reason);
  assertEquals(seen, [reason, reason]);
});

Deno.test("canceling never throws, whatever is passed instead of a body", async () => {
  using unhandled = unhandledRejections();
  const thrower = (): never => {
    throw new Error("no");
  };
  const values: unknown[] = [undefined, null, 5, "text", {}, new Uint8Array(5), thrower];
  const writeTo = () => {};
  values.push({ writeTo, cancel: thrower }, { writeTo, cancel: 5 }, { cancel: thrower });
  values.push({ writeTo, cancel: () => Promise.reject(new Error("no")) });
  values.push({
    writeTo,
    cancel: thrower,
    get used(): boolean {
      return thrower();
    },
  });
  values.push(new Proxy({}, { get: thrower }));
  for (const value of values) {
    cancelUnused(value, "reason");
    cancelQuietly(value, "reason");
  }
  await new Promise((resolve) => setTimeout(resolve));
  assertEquals(unhandled.reasons, []);
});

Deno.test("canceling a body cancels the items of its iterable", async () => {
  const reasons: unknown[] = [];
  const iterable: Iterable<Chunk> = {
    [Symbol.iterator]: () => ({
      next: () => ({ done: true, value: undefined }),
      return(reason) {
        reasons.push(reason);
        return { done: true, value: undefined };
      },
    }),
  };
  const reason = new Error("not sent");
  cancelUnused(new ChunkedBodyIter(iterable), reason);
  await Promise.resolve();
  assertEquals(reasons, [reason]);
  assertInstanceOf(reasons[0], Error);
});
