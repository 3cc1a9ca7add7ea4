/** BodyUse: what may be done with a body, one operation at a time. */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import fc from "fast-check";
import { BodyError } from "@degu/degu/base";
import { BodyUse } from "@degu/internal/base/body/body_state.ts";
import { Interruption } from "@degu/internal/base/body/byte_io.ts";
import { rejectionOf, thrownBy } from "@degu/testing/expectations.ts";
import { RecordingSink } from "@degu/testing/streams.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";

/** The states of a body, and how each is reached. */
const states: Record<string, () => BodyUse> = {
  untouched: () => new BodyUse(),
  "in use": () => {
    const use = new BodyUse();
    use.beginRead();
    return use;
  },
  "read in part": () => {
    const use = new BodyUse();
    use.beginRead();
    use.end();
    return use;
  },
  consumed: () => {
    const use = new BodyUse();
    use.beginRead();
    use.consume();
    return use;
  },
  failed: () => {
    const use = new BodyUse();
    use.fail(new Error("broken"));
    return use;
  },
  cancelled: () => {
    const use = new BodyUse();
    use.cancel(undefined);
    return use;
  },
};

/** What each state allows, and says of itself. */
const rules: Record<
  string,
  { allowed: string[]; used: boolean; consumed: boolean; over: boolean }
> = {
  untouched: { allowed: ["read", "part", "whole"], used: false, consumed: false, over: false },
  "in use": { allowed: [], used: true, consumed: false, over: false },
  "read in part": { allowed: ["read", "part"], used: true, consumed: false, over: false },
  consumed: { allowed: ["read"], used: true, consumed: true, over: true },
  failed: { allowed: [], used: true, consumed: false, over: true },
  cancelled: { allowed: [], used: true, consumed: false, over: true },
};

for (const [state, make] of Object.entries(states)) {
  Deno.test(`a body that is ${state} allows the right operations`, () => {
    const { allowed, used, consumed, over } = rules[state]!;
    const use = make();
    assertEquals([use.used, use.isConsumed, use.isOver], [used, consumed, over]);
    const operations: Record<string, (use: BodyUse) => void> = {
      read: (it) => void it.beginRead(),
      part: (it) => it.begin("read a chunk of", false),
      whole: (it) => it.begin("write", true),
    };
    for (const [operation, begin] of Object.entries(operations)) {
      if (allowed.includes(operation)) begin(make());
      else assertThrows(() => begin(make()), BodyError, "can't");
    }
  });
}

Deno.test("a consumed body answers one read with zero bytes, unless the last read has reported the end", () => {
  const use = states["consumed"]!();
  assertEquals(use.beginRead(), false);
  assertThrows(() => use.beginRead(), BodyError, "has been consumed");
  const other = states["consumed"]!();
  other.giveEmptyRead();
  assertThrows(() => other.beginRead(), BodyError, "has been consumed");
});

Deno.test("a withdrawn operation leaves the body as it was", () => {
  for (const state of ["untouched", "read in part"]) {
    const use = states[state]!();
    const { used } = use;
    use.beginRead();
    assertEquals(use.used, true);
    use.undo();
    assertEquals(use.used, used);
    use.beginRead();
  }
});

Deno.test("the error of a failed body names the operation, and has the failure as its cause", () => {
  const failure = new Error("broken");
  const use = new BodyUse();
  use.fail(failure);
  const error = thrownBy(() => use.begin("write", true), "a failed body");
  assertInstanceOf(error, BodyError);
  assertEquals(error.message, "can't write a body that has failed or was canceled");
  assertStrictEquals(error.cause, failure);
  for (const end of [() => use.end(), () => use.consume(), () => use.checkAlive()]) {
    assertStrictEquals(thrownBy(end, "the end of an operation"), failure);
  }
});

Deno.test("the error of a body in use names the pending operation", () => {
  const use = new BodyUse();
  use.begin("iterate", true);
  assertThrows(() => use.beginRead(), BodyError, "can't read a body that is in use (iterate)");
});

Deno.test("a wait settles with what it waits for", async () => {
  const use = new BodyUse();
  use.beginRead();
  assertEquals(await use.wait(Promise.resolve(5)), 5);
  const failure = new Error("the disk is gone");
  const seen: unknown[] = [];
  const waiting = use.wait(Promise.reject(failure), (error) => seen.push(error));
  assertStrictEquals(await rejectionOf(waiting, "a failing wait"), failure);
  assertEquals(seen, [failure]);
});

Deno.test("a wait rejects when the body fails, and what happens later is not reported", async () => {
  const late = Promise.withResolvers<number>();
  const use = new BodyUse();
  use.beginRead();
  const seen: unknown[] = [];
  const waiting = rejectionOf(use.wait(late.promise, (error) => seen.push(error)), "a cut wait");
  const failure = new Error("broken");
  use.fail(failure);
  assertStrictEquals(await waiting, failure);
  late.reject(new Error("late"));
  await late.promise.catch(() => {});
  await Promise.resolve();
  assertEquals(seen, []);
  assertStrictEquals(await rejectionOf(use.wait(Promise.resolve(1)), "a later wait"), failure);
});

Deno.test("a wait rejects with the reason itself when the request is aborted", async () => {
  const interruption = new Interruption();
  const use = new BodyUse(interruption);
  use.beginRead();
  const waiting = rejectionOf(use.wait(new Promise(() => {})), "an aborted wait");
  interruption.abort("enough");
  assertEquals(await waiting, "enough");
  assertEquals(thrownBy(() => use.beginRead(), "an aborted body"), "enough");
  assertEquals(thrownBy(() => use.checkAlive(), "an aborted body"), "enough");
});

Deno.test("an interruption references a body only while the body waits", async () => {
  const interruption = new Interruption();
  const use = new BodyUse(interruption);
  const waits = [Promise.resolve(), Promise.reject(new Error("broken"))];
  for (const promise of waits) {
    const waiting = use.wait(promise);
    assert(interruption.waiting !== null);
    await waiting.catch(() => {});
    assertEquals(interruption.waiting, null);
  }
});

/** A body that records what it is released with. */
class RecordingUse extends BodyUse {
  readonly released: [error: Error, reason: unknown][] = [];

  protected override release(error: Error, reason: unknown): Promise<void> {
    this.released.push([error, reason]);
    return Promise.resolve();
  }
}

Deno.test("cancel() releases the source once, with an error that contains the reason", async () => {
  const failure = new Error("enough");
  for (const reason of [failure, "enough", undefined]) {
    const use = new RecordingUse();
    await use.cancel(reason);
    await use.cancel("again");
    assertEquals(use.released.length, 1);
    const [error, given] = use.released[0]!;
    assertStrictEquals(given, reason);
    if (reason === failure) assertStrictEquals(error, failure);
    else assertEquals([error instanceof BodyError, error.cause], [true, reason]);
    assertStrictEquals(thrownBy(() => use.checkAlive(), "a canceled body"), error);
  }
});

Deno.test("cancel() does nothing to a body that has ended", async () => {
  for (const end of ["consume", "fail"] as const) {
    const use = new RecordingUse();
    use.beginRead();
    use[end](new Error("broken"));
    await use.cancel("enough");
    assertEquals([use.released, use.isConsumed], [[], end === "consume"]);
  }
});

Deno.test("write() begins at once, unlocks the sink, and cancels a body that fails", async () => {
  const failure = new Error("broken");
  for (const fails of [false, true]) {
    const use = new RecordingUse();
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    const text = new Response(readable as ReadableStream<Uint8Array<ArrayBuffer>>).text();
    const writing = use.write(writable, async (out) => {
      await out.write(latin1("hello"));
      if (fails) throw failure;
      use.consume();
      return 5;
    });
    assertEquals([use.used, writable.locked], [true, true]);
    if (fails) assertStrictEquals(await rejectionOf(writing, "a failing write"), failure);
    else assertEquals(await writing, 5);
    assertEquals([writable.locked, use.released.length], [false, fails ? 1 : 0]);
    await writable.close();
    assertEquals(await text, "hello");
  }
});

Deno.test("write() to an invalid sink leaves the body untouched", async () => {
  const use = new BodyUse();
  const write = () => Promise.resolve(0);
  for (const sink of [null, {}, { write: 5 }]) {
    assertInstanceOf(await rejectionOf(use.write(sink as never, write), "no sink"), TypeError);
    assertEquals(use.used, false);
  }
  await use.write(new RecordingSink(), write);
});

Deno.test("a body goes through valid states whatever the order of operations", () => {
  const step = fc.constantFrom("read", "part", "whole", "end", "consume", "undo", "fail", "cancel");
  fc.assert(fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
    const use = new BodyUse();
    let state = "untouched";
    let before = "untouched";
    for (const name of steps) {
      const over = state === "consumed" || state === "failed";
      if (name === "fail" || name === "cancel") {
        if (state === "consumed" && name === "fail") continue; // Nothing fails a body that is over.
        if (name === "fail") use.fail(new Error("broken"));
        else use.cancel(null);
        if (!over) state = "failed";
      } else if (state === "in use") {
        if (name === "end") use.end(), state = "read in part";
        else if (name === "consume") use.consume(), state = "consumed";
        else if (name === "undo") use.undo(), state = before;
        else assertThrows(() => use.begin("write", true), BodyError);
      } else if (name === "read" || name === "part" || name === "whole") {
        if (state === "consumed" || !rules[state]!.allowed.includes(name)) continue;
        before = state;
        if (name === "read") use.beginRead();
        else use.begin(name, name === "whole");
        state = "in use";
      }
      const { used, consumed, over: isOver } = rules[state]!;
      assertEquals([use.used, use.isConsumed, use.isOver], [used, consumed, isOver], name);
    }
  }));
});
