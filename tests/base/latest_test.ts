/** The newest value for many readers. */
import { Latest } from "@degu/degu";
import { assertEquals, assertRejects, assertThrows } from "@std/assert";

const turn = () => new Promise((resolve) => setTimeout(resolve));

Deno.test("Latest: the first value of an iteration is the present one", async () => {
  const latest = new Latest<number>();
  assertEquals(latest.value, undefined);
  latest.set(1);
  latest.set(2);
  assertEquals(latest.value, 2);
  const reader = latest[Symbol.asyncIterator]();
  assertEquals(await reader.next(), { done: false, value: 2 });
});

Deno.test("Latest: a reader waits for a value that it has not seen, and misses those between", async () => {
  const latest = new Latest<number>();
  const [quick, slow] = [latest[Symbol.asyncIterator](), latest[Symbol.asyncIterator]()];
  const first = quick.next();
  latest.set(1);
  assertEquals(await first, { done: false, value: 1 });
  const second = quick.next();
  latest.set(2);
  assertEquals(await second, { done: false, value: 2 });
  latest.set(3);
  assertEquals(await slow.next(), { done: false, value: 3 });
  const third = slow.next();
  let isThere = false;
  third.then(() => isThere = true);
  await turn();
  assertEquals(isThere, false);
  latest.set(3);
  assertEquals(await third, { done: false, value: 3 });
});

Deno.test("Latest: undefined is a value like any other", async () => {
  const latest = new Latest<undefined>();
  latest.set(undefined);
  latest.end();
  const seen: unknown[] = [];
  for await (const value of latest) seen.push(value);
  assertEquals(seen, [undefined]);
});

Deno.test("Latest: end() ends every iteration once it has the newest value", async () => {
  const latest = new Latest<number>();
  const waiting = latest[Symbol.asyncIterator]().next();
  latest.end();
  assertEquals((await waiting).done, true);
  const other = new Latest<number>();
  other.set(1);
  other.end();
  for (let i = 0; i < 2; i++) {
    const seen: number[] = [];
    for await (const value of other) seen.push(value);
    assertEquals(seen, [1]);
  }
});

Deno.test("Latest: end() with an error rejects iterations, once, and nothing else", async () => {
  const latest = new Latest<number>();
  const waiting = latest[Symbol.asyncIterator]();
  const first = waiting.next();
  // Nobody handles the error of this reader, since it never asks.
  latest[Symbol.asyncIterator]();
  latest.set(1);
  assertEquals((await first).value, 1);
  latest.end(new Error("unplugged"));
  latest.end(new Error("again"));
  await assertRejects(() => waiting.next(), Error, "unplugged");
  assertEquals((await waiting.next()).done, true);
  const late = latest[Symbol.asyncIterator]();
  assertEquals((await late.next()).value, 1);
  await assertRejects(() => late.next(), Error, "unplugged");
});

Deno.test("Latest: set() after end() is a TypeError", () => {
  const latest = new Latest<number>();
  latest.end();
  assertThrows(() => latest.set(1), TypeError, "after end()");
  assertEquals(latest.value, undefined);
});

Deno.test("Latest: a reader that leaves ends at once, also while it waits", async () => {
  const latest = new Latest<number>();
  const reader = latest[Symbol.asyncIterator]();
  const [first, second] = [reader.next(), reader.next()];
  assertEquals(await reader.return!(), { done: true, value: undefined });
  assertEquals([(await first).done, (await second).done], [true, true]);
  latest.set(1);
  assertEquals((await reader.next()).done, true);
});

Deno.test("Latest: two calls of next at the same time get two values in order", async () => {
  const latest = new Latest<number>();
  const reader = latest[Symbol.asyncIterator]();
  const [first, second] = [reader.next(), reader.next()];
  latest.set(1);
  assertEquals((await first).value, 1);
  latest.set(2);
  assertEquals((await second).value, 2);
});

Deno.test("Latest: next gives each reader what it has not got yet, until the end or until its signal", async () => {
  const latest = new Latest<number>();
  const [one, other] = [new AbortController(), new AbortController()];
  latest.set(1);
  assertEquals(await latest.next(one), 1);
  const waiting = latest.next(one);
  latest.set(2);
  latest.set(3);
  assertEquals([await waiting, await latest.next(other)], [3, 3]);
  const left = latest.next(one);
  one.abort();
  assertEquals([await left, await latest.next(one)], [undefined, undefined]);
  assertEquals(await latest.next({ signal: AbortSignal.abort() }), undefined);
  const last = latest.next(other);
  latest.end(new Error("unplugged"));
  await assertRejects(() => last, Error, "unplugged");
  assertEquals(await latest.next(other), undefined);
});
