/** BodyState: what may be done with a body, one operation at a time, and what its origin learns of it. */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import fc from "fast-check";
import { BodyError } from "@degu/degu/base";
import {
  type BodyOrigin,
  BodyState,
  closeByteStream,
} from "@degu/internal/base/body/body_state.ts";
import { Interruption } from "@degu/internal/base/body/byte_io.ts";
import { rejectionOf, thrownBy } from "@degu/testing/expectations.ts";
import { RecordingSink } from "@degu/testing/streams.ts";
import { fromLatin1, latin1 } from "@degu/testing/wire_grammar.ts";

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
