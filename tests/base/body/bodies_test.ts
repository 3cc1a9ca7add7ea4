/** What all kinds of bodies have in common for those who send them, and the states of a body. */
import {
  bodies,
  Body,
  BodyError,
  BodyIter,
  type Chunk,
  ChunkedBody,
  ChunkedBodyIter,
  LengthEncoderStream,
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
import {
  type BodyOrigin,
  BodyState,
  closeByteStream,
} from "@degu/internal/base/body/body_state.ts";
import { Interruption } from "@degu/internal/base/body/byte_io.ts";
import { connect } from "@degu/testing/connected.ts";
import { rejectionOf, thrownBy } from "@degu/testing/expectations.ts";
import { RawPeer } from "@degu/testing/raw_peer.ts";
import { unhandledRejections } from "@degu/testing/rejections.ts";
import { lawless, serve } from "@degu/testing/serving.ts";
import { RecordingSink, streamOf, TrackedStream } from "@degu/testing/streams.ts";
import { fromLatin1, latin1 } from "@degu/testing/wire_grammar.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import fc from "fast-check";

// What all kinds of bodies have in common for those who send them, and arrays that change
// meanwhile.

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

const smuggled = "GET /smuggled HTTP/1.1\r\n\r\n";

/** An array over a buffer that can grow by a whole request, which is there already. */
function growing(size: number): { bytes: Uint8Array; change: () => void } {
  const buffer = new ArrayBuffer(size, { maxByteLength: size + smuggled.length });
  const bytes = new Uint8Array(buffer);
  const change = () => {
    buffer.resize(size + smuggled.length);
    bytes.set(latin1(smuggled), size);
  };
  return { bytes: bytes.fill(0x61), change };
}

/** An array whose memory is given to somebody else. */
function transferred(size: number): { bytes: Uint8Array; change: () => void } {
  const bytes = new Uint8Array(size).fill(0x61);
  return { bytes, change: () => void bytes.buffer.transfer() };
}

/** An array over a buffer that loses its second half. */
function shrinking(size: number): { bytes: Uint8Array; change: () => void } {
  const buffer = new ArrayBuffer(size, { maxByteLength: size });
  return { bytes: new Uint8Array(buffer).fill(0x61), change: () => buffer.resize(size / 2) };
}

const arrays = { growing, transferred, shrinking };

/** All that is sent up to the end, less what stands for the body. */
function withoutBody(received: string): string {
  return received.replace(/\r\n\r\na*$/, "\r\n\r\n");
}

for (const [how, make] of Object.entries(arrays)) {
  for (const size of [10, 200_004]) {
    Deno.test(`an upload from an array of ${size} bytes that is ${how} smuggles nothing`, async () => {
      using connected = await connect();
      const { bytes, change } = make(size);
      const posting = rejectionOf(connected.conn.post("/", {}, bytes), "the request");
      change();
      const { received } = await connected.peer.readToEnd();
      assertInstanceOf(await posting, BodyError);
      assert(connected.conn.closed);
      assert(["", `POST / HTTP/1.1\r\ncontent-length: ${size}\r\n\r\n`].includes(
        withoutBody(received),
      ));
    });
  }

  // What the system can take at once would be sent before it is changed.
  const large = how === "growing" ? 2_000_000 : 16_000_000;
  const bodies: Record<string, (bytes: Uint8Array) => BodyOut> = {
    "one array": (bytes) => bytes,
    "an item of a BodyIter": (bytes) => new BodyIter([bytes, new Uint8Array(10)], large + 10),
    "a chunk": (bytes) => new ChunkedBodyIter([[null, bytes], [null, new Uint8Array(0)]]),
  };
  for (const [what, makeBody] of Object.entries(bodies)) {
    Deno.test(`${what} that is ${how} while it is sent is sent as announced, or cut`, async () => {
      using connected = await connect();
      const { bytes, change } = make(large);
      const posting = connected.conn.post("/", {}, makeBody(bytes)).catch((error) => error);
      await connected.peer.readPreamble();
      change();
      if (what === "a chunk") await connected.peer.readUntil(`${large.toString(16)}\r\n`);
      if (how === "growing") {
        const end = { "a chunk": "\r\n0\r\n\r\n", "one array": "" }[what] ?? "\0".repeat(10);
        assertEquals(await connected.peer.readExactly(large + end.length), "a".repeat(large) + end);
        await connected.peer.send("HTTP/1.1 204 No Content\r\n\r\n");
        assertEquals((await posting).status, 204);
      } else {
        const { received } = await connected.peer.readToEnd();
        assertInstanceOf(await posting, BodyError);
        // The memory that a shrinking buffer loses may be cleared while a write of it goes out.
        assert(/^a*\0*$/.test(received) && received.length < large, `${received.length} bytes`);
      }
    });
  }

  Deno.test(`the empty chunk, if it is ${how} before it is sent, ends the message or cuts it`, async () => {
    const { bytes, change } = make(0);
    async function* chunks(): AsyncGenerator<Chunk> {
      yield [null, latin1("hello")];
      yield [null, bytes];
      change();
      await Promise.resolve();
    }
    using connected = await connect();
    const posting = connected.conn.post("/", {}, new ChunkedBodyIter(chunks())).catch(() => {});
    await connected.peer.readPreamble();
    connected.peer.readExactly(15).then(() => connected.peer.close(), () => {});
    await posting;
    const { received } = await connected.peer.readToEnd().catch(() => ({ received: "" }));
    assert(!received.includes("smuggled"), received);
  });

  Deno.test(`a response is invalid if a header's getter has ${how} the array that is its body`, async () => {
    for (const size of [10, 200_004]) {
      const { bytes, change } = make(size);
      await using serving = serve(lawless(() => {
        const headers = {
          get "x-evil"() {
            change();
            return "yes";
          },
        };
        return [200, "OK", headers, bytes];
      }));
      using peer = await RawPeer.connect(serving.address);
      await peer.send("GET / HTTP/1.1\r\n\r\n");
      await peer.assertClosedSilently();
      const [message] = await serving.logger.waitFor("error");
      assert(message?.includes("BodyError"), message);
    }
  });
}

Deno.test("an array of a class that reports another length is sent with its real length", async () => {
  class Liar extends Uint8Array {
    override get length(): number {
      return 3;
    }
    override get byteLength(): number {
      return 3;
    }
  }
  for (const size of [10, 200_004]) {
    using connected = await connect();
    const bytes = new Liar(size).fill(0x61);
    Uint8Array.prototype.fill.call(bytes, 0x61);
    const bodies: BodyOut[] = [bytes, new BodyIter([bytes], size)];
    for (const body of bodies) {
      const posting = connected.conn.post("/", {}, body);
      const preamble = await connected.peer.readPreamble();
      assertEquals(preamble, `POST / HTTP/1.1\r\ncontent-length: ${size}\r\n\r\n`);
      await connected.peer.readExactly(size);
      await connected.peer.send("HTTP/1.1 204 No Content\r\n\r\n");
      assertEquals((await posting).status, 204);
    }
  }
});

Deno.test("an item of a stream that shrinks while it is copied is an error", async () => {
  using connected = await connect();
  const { bytes, change } = transferred(8_000_000);
  const stream = new ReadableStream<Uint8Array>({
    start(controller) {
      controller.enqueue(bytes);
    },
  });
  const posting = rejectionOf(connected.conn.post("/", {}, new Body(stream, 16_000_000)), "it");
  await connected.peer.readPreamble();
  change();
  await connected.peer.readToEnd();
  assertInstanceOf(await posting, BodyError);
});

Deno.test("LengthEncoderStream passes on what was written, even if the writer changes it afterwards", async () => {
  const { bytes, change } = growing(5);
  const stream = new LengthEncoderStream(5);
  const writer = stream.writable.getWriter();
  const reading = new Response(stream.readable as ReadableStream<Uint8Array<ArrayBuffer>>).text();
  await writer.write(bytes);
  change();
  await writer.close();
  assertEquals(await reading, "aaaaa");
});

// BodyState: what may be done with a body, one operation at a time, and what its origin learns of
// it.

/** What a body is made from, which records what it learns. */
class Origin implements BodyOrigin {
  readonly interruption: Interruption | null;
  readonly seen: [what: string, error?: unknown, reason?: unknown][] = [];

  constructor(interruption: Interruption | null = null) {
    this.interruption = interruption;
  }

  consumed(): void {
    this.seen.push(["consumed"]);
  }

  failed(error: unknown): void {
    this.seen.push(["failed", error]);
  }

  cancel(error: Error, reason: unknown): Promise<void> {
    this.seen.push(["canceled", error, reason]);
    return Promise.resolve();
  }
}

function make(interruption?: Interruption): { state: BodyState; seen: Origin["seen"] } {
  const origin = new Origin(interruption);
  return { state: new BodyState(origin), seen: origin.seen };
}

/** Fails a body as its source does. */
async function fail(state: BodyState, error: unknown): Promise<void> {
  await state.fromSource(Promise.reject(error)).catch(() => {});
}

/** What each state allows and says of itself, and how a body gets there. */
const states: Record<string, {
  reach: (state: BodyState) => void | Promise<void>;
  allowed: string[];
  used: boolean;
  consumed: boolean;
  over: boolean;
}> = {
  untouched: {
    reach: () => {},
    allowed: ["read", "part", "whole"],
    used: false,
    consumed: false,
    over: false,
  },
  "in use": {
    reach: (it) => void it.beginRead(),
    allowed: [],
    used: true,
    consumed: false,
    over: false,
  },
  "read in part": {
    reach: (it) => {
      it.beginRead();
      it.end();
    },
    allowed: ["read", "part"],
    used: true,
    consumed: false,
    over: false,
  },
  consumed: {
    reach: (it) => {
      it.beginRead();
      it.consume();
    },
    allowed: ["read"],
    used: true,
    consumed: true,
    over: true,
  },
  "consumed by an empty read": {
    reach: (it) => {
      it.beginRead();
      it.consume(true);
    },
    allowed: [],
    used: true,
    consumed: true,
    over: true,
  },
  failed: {
    reach: (it) => fail(it, new Error("broken")),
    allowed: [],
    used: true,
    consumed: false,
    over: true,
  },
  canceled: {
    reach: (it) => it.cancel(undefined),
    allowed: [],
    used: true,
    consumed: false,
    over: true,
  },
};

const operations: Record<string, (state: BodyState) => void> = {
  read: (it) => void it.beginRead(),
  part: (it) => it.begin("read a chunk of", false),
  whole: (it) => it.begin("write", true),
};

for (const [name, { reach, allowed, used, consumed, over }] of Object.entries(states)) {
  Deno.test(`a body that is ${name} allows the right operations`, async () => {
    for (const [operation, begin] of Object.entries(operations)) {
      const { state } = make();
      await reach(state);
      assertEquals([state.used, state.isConsumed, state.isOver], [used, consumed, over]);
      if (allowed.includes(operation)) begin(state);
      else assertThrows(() => begin(state), BodyError, "can't");
    }
  });
}

Deno.test("a consumed body answers one read with zero bytes, unless the last read has reported the end", () => {
  const { state } = make();
  states["consumed"]!.reach(state);
  assertEquals(state.beginRead(), false);
  assertThrows(() => state.beginRead(), BodyError, "has been consumed");
  const other = make().state;
  states["consumed by an empty read"]!.reach(other);
  assertThrows(() => other.beginRead(), BodyError, "has been consumed");
});

Deno.test("a withdrawn operation leaves the body as it was", async () => {
  for (const name of ["untouched", "read in part"]) {
    const { state } = make();
    await states[name]!.reach(state);
    const { used } = state;
    state.beginRead();
    assertEquals(state.used, true);
    state.undo();
    assertEquals(state.used, used);
    state.beginRead();
  }
});

Deno.test("the error of a failed body names the operation, and has the failure as its cause", async () => {
  const failure = new Error("broken");
  const { state } = make();
  await fail(state, failure);
  const error = thrownBy(() => state.begin("write", true), "a failed body");
  assertInstanceOf(error, BodyError);
  assertEquals(error.message, "can't write a body that has failed or was canceled");
  assertStrictEquals(error.cause, failure);
  for (const end of [() => state.end(), () => state.consume(), () => state.checkAlive()]) {
    assertStrictEquals(thrownBy(end, "the end of an operation"), failure);
  }
});

Deno.test("the error of a body in use names the pending operation", () => {
  const { state } = make();
  state.begin("iterate", true);
  assertThrows(() => state.beginRead(), BodyError, "can't read a body that is in use (iterate)");
});

Deno.test("the origin learns once that the body is consumed", async () => {
  const { state, seen } = make();
  state.beginRead();
  state.consume();
  await state.cancel("too late");
  state.endIteration();
  assertEquals([state.isConsumed, seen], [true, [["consumed"]]]);
});

Deno.test("the origin does not learn of the end that a canceled body has reached", async () => {
  const { state, seen } = make();
  const reason = new Error("enough");
  state.beginRead();
  await state.cancel(reason);
  assertThrows(() => state.consume(), Error, "enough");
  assertEquals([state.isConsumed, seen], [false, [["canceled", reason, reason]]]);
});

Deno.test("a wait settles with what it waits for; only the source's failure is the body's", async () => {
  const failure = new Error("the disk is gone");
  const { state, seen } = make();
  state.beginRead();
  assertEquals([await state.wait(Promise.resolve(5)), await state.fromSource(Promise.resolve(6))], [
    5,
    6,
  ]);
  const sink = state.wait(Promise.reject(failure));
  assertStrictEquals(await rejectionOf(sink, "a failing sink"), failure);
  assertEquals([state.isOver, seen], [false, []]);
  const source = state.fromSource(Promise.reject(failure));
  assertStrictEquals(await rejectionOf(source, "a failing source"), failure);
  assertEquals([state.isOver, seen], [true, [["failed", failure]]]);
});

Deno.test("a wait rejects when the body is canceled, and what happens later is not reported", async () => {
  for (const wait of ["wait", "fromSource"] as const) {
    const late = Promise.withResolvers<number>();
    const { state, seen } = make();
    state.beginRead();
    const waiting = rejectionOf(state[wait](late.promise), "a cut wait");
    const failure = new Error("enough");
    await state.cancel(failure);
    assertStrictEquals(await waiting, failure);
    late.reject(new Error("late"));
    await late.promise.catch(() => {});
    await Promise.resolve();
    assertEquals(seen, [["canceled", failure, failure]]);
    const later = state[wait](Promise.resolve(1));
    assertStrictEquals(await rejectionOf(later, "a later wait"), failure);
  }
});

Deno.test("an abort rejects the pending operation once, and later ones, with the reason itself", async () => {
  for (const reason of [new Error("enough"), "enough", undefined, null]) {
    const interruption = new Interruption();
    const { state } = make(interruption);
    state.beginRead();
    const waiting = rejectionOf(state.wait(new Promise(() => {})), "an aborted wait");
    interruption.abort(reason);
    assertStrictEquals(await waiting, reason);
    assertEquals(interruption.aborted, { reason });
    for (const later of [() => state.beginRead(), () => state.checkAlive()]) {
      assertStrictEquals(thrownBy(later, "an aborted body"), reason);
    }
    const wait = state.wait(Promise.resolve());
    assertStrictEquals(await rejectionOf(wait, "a later wait"), reason);
  }
});

Deno.test("an abort counts even if nothing is pending", () => {
  const interruption = new Interruption();
  const { state } = make(interruption);
  interruption.abort(new RangeError("enough"));
  assertThrows(() => state.beginRead(), RangeError, "enough");
});

Deno.test("an interruption references a body only while the body waits", async () => {
  const interruption = new Interruption();
  const { state } = make(interruption);
  for (const promise of [Promise.resolve(), Promise.reject(new Error("broken"))]) {
    const waiting = state.wait(promise);
    assert(interruption.waiting !== null);
    await waiting.catch(() => {});
    assertEquals(interruption.waiting, null);
  }
  const waiting = state.wait(new Promise(() => {}));
  interruption.abort("enough");
  assertEquals([await rejectionOf(waiting, "an aborted wait"), interruption.waiting], [
    "enough",
    null,
  ]);
});

Deno.test("cancel() ends the origin once, with an error that contains the reason", async () => {
  const failure = new Error("enough");
  for (const reason of [failure, "enough", undefined]) {
    const { state, seen } = make();
    await state.cancel(reason);
    await state.cancel("again");
    assertEquals(seen.length, 1);
    const [what, error, given] = seen[0]!;
    assertEquals(what, "canceled");
    assertStrictEquals(given, reason);
    if (reason === failure) assertStrictEquals(error, failure);
    else assertEquals([error instanceof BodyError, (error as Error).cause], [true, reason]);
    assertStrictEquals(thrownBy(() => state.checkAlive(), "a canceled body"), error);
  }
});

Deno.test("cancel() does nothing to a body that has ended", async () => {
  for (const name of ["consumed", "consumed by an empty read", "failed"]) {
    const { state, seen } = make();
    await states[name]!.reach(state);
    const before = seen.length;
    await state.cancel("enough");
    assertEquals([seen.length, state.isConsumed], [before, states[name]!.consumed]);
  }
});

Deno.test("write() begins at once, unlocks the sink, and cancels a body that fails", async () => {
  const failure = new Error("broken");
  for (const fails of [false, true]) {
    const { state, seen } = make();
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    const text = new Response(readable as ReadableStream<Uint8Array<ArrayBuffer>>).text();
    const writing = state.write(writable, async (out) => {
      await out.write(latin1("hello"));
      if (fails) throw failure;
      state.consume();
      return 5;
    });
    assertEquals([state.used, writable.locked], [true, true]);
    if (fails) assertStrictEquals(await rejectionOf(writing, "a failing write"), failure);
    else assertEquals(await writing, 5);
    const end = fails ? ["canceled", failure, failure] : ["consumed"];
    assertEquals([writable.locked, seen], [false, [end]]);
    await writable.close();
    assertEquals(await text, "hello");
  }
});

Deno.test("write() to an invalid sink leaves the body untouched", async () => {
  const { state } = make();
  const write = () => Promise.resolve(0);
  for (const sink of [null, {}, { write: 5 }]) {
    assertInstanceOf(await rejectionOf(state.write(sink as never, write), "no sink"), TypeError);
    assertEquals(state.used, false);
  }
  await state.write(new RecordingSink(), write);
});

Deno.test("an iteration that was abandoned cancels the body", () => {
  const { state, seen } = make();
  state.begin("iterate", true);
  state.endIteration();
  const [what, error] = seen[0]!;
  assertEquals([what, seen.length], ["canceled", 1]);
  assertInstanceOf(error, BodyError);
  assertEquals(error.message, "the iteration was abandoned");
});

Deno.test("a body has one stream, which starts the body and cancels it", async () => {
  const { state, seen } = make();
  const stream = state.stream(4, () => Promise.resolve(0), () => true);
  assertEquals(state.used, true);
  assertStrictEquals(state.stream(4, () => Promise.resolve(0), () => true), stream);
  const reason = new Error("enough");
  await stream.cancel(reason);
  assertEquals(seen, [["canceled", reason, reason]]);
  const begun = make().state;
  begun.beginRead();
  assertThrows(() => begun.stream(4, () => Promise.resolve(0), () => true), BodyError, "in use");
});

Deno.test("the stream of a body reads pieces until the end, for both kinds of reader", async () => {
  for (const mode of [undefined, "byob"] as const) {
    const pieces = ["hello", ", ", "world"];
    const sizes: number[] = [];
    const stream = make().state.stream(8, (into) => {
      sizes.push(into.length);
      const piece = latin1(pieces.shift() ?? "");
      into.set(piece);
      return Promise.resolve(piece.length);
    }, () => pieces.length === 0);
    let text = "";
    if (mode === undefined) {
      for await (const piece of stream) text += fromLatin1(piece);
      assertEquals(sizes, [8, 8, 8]);
    } else {
      const reader = stream.getReader({ mode });
      for (;;) {
        const { done, value } = await reader.read(new Uint8Array(6));
        text += fromLatin1(value!);
        if (done) break;
      }
      assertEquals(sizes, [6, 6, 6]);
    }
    assertEquals(text, "hello, world");
  }
});

Deno.test("the stream of an empty body ends at once, for both kinds of reader", async () => {
  for (const mode of [undefined, "byob"] as const) {
    const rooms: number[] = [];
    const stream = make().state.stream(0, (into) => {
      rooms.push(into.length);
      return Promise.resolve(0);
    }, () => true);
    if (mode === undefined) assertEquals((await stream.getReader().read()).done, true);
    else assertEquals((await stream.getReader({ mode }).read(new Uint8Array(6))).done, true);
    assertEquals(rooms, [0]);
  }
});

Deno.test("the stream of an empty body errors if the source has another byte", async () => {
  const failure = new Error("more");
  const stream = make().state.stream(0, () => Promise.reject(failure), () => true);
  assertStrictEquals(await rejectionOf(stream.getReader().read(), "a byte too many"), failure);
});

Deno.test("closeByteStream returns a pending reader's buffer", async () => {
  const stream = new ReadableStream({
    type: "bytes",
    pull: (controller) => closeByteStream(controller),
  });
  const { done, value } = await stream.getReader({ mode: "byob" }).read(new Uint8Array(6));
  assertEquals([done, value!.length, value!.buffer.byteLength], [true, 0, 6]);
});

Deno.test("a body goes through valid states whatever the order of operations", () => {
  const step = fc.constantFrom("read", "part", "whole", "end", "consume", "undo", "cancel");
  fc.assert(fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
    const { state } = make();
    let name = "untouched";
    let before = name;
    for (const next of steps) {
      if (next === "cancel") {
        state.cancel(null);
        if (!states[name]!.over) name = "canceled";
      } else if (name === "in use") {
        if (next === "end") state.end(), name = "read in part";
        else if (next === "consume") state.consume(), name = "consumed";
        else if (next === "undo") state.undo(), name = before;
        else assertThrows(() => operations[next]!(state), BodyError);
      } else if (states[name]!.allowed.includes(next)) {
        operations[next]!(state);
        before = name;
        // The one read that returns no bytes begins nothing.
        name = name === "consumed" ? "consumed by an empty read" : "in use";
      }
      const { used, consumed, over } = states[name]!;
      assertEquals([state.used, state.isConsumed, state.isOver], [used, consumed, over], next);
    }
  }));
});
