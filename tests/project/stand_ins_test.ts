/** What the suite relies on in @std holds for the real packages and for their stand-ins. */
import { assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { TextLineStream } from "@std/streams";
import { FakeTime } from "@std/testing/time";

class Point {
  constructor(readonly x: number) {}
}
class Sub extends Point {}
class Hidden {
  #value: number;
  constructor(value: number) {
    this.#value = value;
  }
  /** So that the field is used. */
  isAbove(limit: number): boolean {
    return this.#value > limit;
  }
}
class Shown extends Hidden {
  readonly #shown: number;
  constructor(value: number) {
    super(value);
    this.#shown = value;
  }
  get shown(): number {
    return this.#shown;
  }
}

/** An error without the place where it was made. */
function errorOf(message: string, cause?: unknown): Error {
  return Object.assign(new Error(message, cause === undefined ? {} : { cause }), { stack: "" });
}

function circle(value: number): object {
  const object: { value: number; self?: object } = { value };
  object.self = object;
  return object;
}

const same: Record<string, [unknown, unknown]> = {
  "NaN": [NaN, NaN],
  "0 and -0": [0, -0],
  "a plain object and one without a prototype": [
    { a: 1 },
    Object.assign(Object.create(null), { a: 1 }),
  ],
  "properties in another order": [{ a: 1, b: 2 }, { b: 2, a: 1 }],
  "sets in another order": [new Set([1, { a: 1 }]), new Set([{ a: 1 }, 1])],
  "maps in another order": [new Map([[1, "a"], [2, "b"]]), new Map([[2, "b"], [1, "a"]])],
  "dates of no time": [new Date(NaN), new Date(NaN)],
  "regular expressions": [/a/g, /a/g],
  "URLs": [new URL("http://a/"), new URL("http://a")],
  "typed arrays of one buffer and another": [Uint8Array.of(1, 2).subarray(1), Uint8Array.of(2)],
  "instances whose state nobody sees": [new Hidden(1), new Hidden(2)],
  "circles": [circle(1), circle(1)],
  "errors with the same stack and cause": [errorOf("a", 1), errorOf("a", 1)],
};

const different: Record<string, [unknown, unknown]> = {
  "a number and its text": [1, "1"],
  "a property that is undefined, and none": [{ a: undefined }, {}],
  "a hole and undefined": [[, 1], [undefined, 1]],
  "an object and an array": [{}, []],
  "classes": [new Point(1), new Sub(1)],
  "a class and a plain object": [new Point(1), { x: 1 }],
  "what a getter returns": [new Shown(1), new Shown(2)],
  "what is inherited and not enumerable": [Object.create({ a: 1 }), Object.create({ a: 2 })],
  "errors from two places": [new Error("a"), new Error("a")],
  "causes": [errorOf("a", 1), errorOf("a", 2)],
  "messages": [errorOf("a"), errorOf("b")],
  "kinds of typed arrays": [Uint8Array.of(1), Int8Array.of(1)],
  "buffers": [Uint8Array.of(1).buffer, Uint8Array.of(2).buffer],
  "symbols of one name": [Symbol("a"), Symbol("a")],
  "values of symbols": [{ [Symbol.iterator]: 1 }, { [Symbol.iterator]: 2 }],
  "sets": [new Set([{ a: 1 }]), new Set([{ a: 2 }])],
  "values of maps": [new Map([["a", { b: 1 }]]), new Map([["a", { b: 2 }]])],
  "functions of one source": [() => 1, () => 1],
  "circles": [circle(1), circle(2)],
};

Deno.test("assertEquals treats equal contents as equal", async (t) => {
  for (const [what, [a, b]] of Object.entries(same)) {
    await t.step(what, () => {
      assertEquals(a, b);
      assertEquals([b], [a]);
      assertThrows(() => assertNotEquals(a, b));
    });
  }
});

Deno.test("assertEquals distinguishes everything that is observable", async (t) => {
  for (const [what, [a, b]] of Object.entries(different)) {
    await t.step(what, () => {
      assertNotEquals(a, b);
      assertNotEquals({ a: b }, { a });
      assertThrows(() => assertEquals(a, b));
    });
  }
});

Deno.test("in fake time timers are called in order, each at its time", () => {
  const { setTimeout: real } = globalThis;
  const calls: string[] = [];
  {
    using time = new FakeTime(1000);
    const call = (what: string) => () => calls.push(`${what} at ${Date.now()}`);
    setTimeout(call("late"), 30);
    setTimeout(call("early"), 10.9);
    setTimeout(call("never"), 1000);
    const cleared = setTimeout(call("cleared"), 20);
    clearTimeout(cleared);
    const interval = setInterval(call("again"), 15);
    setTimeout(() => setTimeout(call("nested"), 5), 10);
    time.tick(9);
    assertEquals(calls, []);
    time.tick(22);
    clearInterval(interval);
    time.tick(100);
    assertEquals([time.now, new Date().getTime()], [1131, 1131]);
    assertEquals(calls, [
      "early at 1010",
      "again at 1015",
      "nested at 1015",
      "late at 1030",
      "again at 1030",
    ]);
    assertThrows(() => new FakeTime(), Error);
  }
  assertEquals(globalThis.setTimeout, real);
});

Deno.test("the path of a file URL is unescaped", () => {
  assertEquals(fromFileUrl("file:///a%20b/%25"), "/a b/%");
});

Deno.test("lines end with LF or CR LF, however the text is split, and the last one needs no end", async () => {
  const rows: [text: string, lines: string[]][] = [
    ["a\nb\r\n\nc", ["a", "b", "", "c"]],
    ["a\n", ["a"]],
    ["\n", [""]],
    ["", []],
  ];
  for (const [text, lines] of rows) {
    for (const pieces of [[text], text.split("")]) {
      const stream = ReadableStream.from(pieces).pipeThrough(new TextLineStream());
      assertEquals(await Array.fromAsync(stream), lines);
    }
  }
});
