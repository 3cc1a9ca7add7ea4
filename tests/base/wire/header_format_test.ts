import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { ContentRange, type HeaderDict, Range } from "@degu/degu/base";
import { formatHeaders, parseHeaders } from "@degu/degu/misc";
import { requestHeaders, responseHeaders } from "@degu/testing/arbitraries.ts";
import {
  assertCallerError,
  assertRangeError,
  assertTypeError,
  callWith,
  flatten,
  shown,
} from "@degu/testing/expectations.ts";
import { fromLatin1, latin1, limits } from "@degu/testing/wire_grammar.ts";

/** The block that formatHeaders gives: lines joined by CR LF, none before the first or after the last. */
function formatBlock(headers: HeaderDict): string {
  return fromLatin1(formatHeaders(headers));
}

Deno.test("formatHeaders returns nothing for no headers", () => {
  assertEquals(formatBlock({}), "");
  assertEquals(formatBlock(Object.create(null)), "");
});

Deno.test("formatHeaders sorts lines by name in byte order", async (t) => {
  const rows: string[][] = [
    ["a", "a-b", "a0", "ab", "b"],
    ["-", "0", "1", "10", "2", "9", "a", "z"],
    ["content-length", "content-length2", "content-type", "cookie"],
    ["constructor", "hasownproperty", "tostring", "valueof"],
    Array.from({ length: 60 }, (_, i) => `h${(i * 37) % 60}`).sort(),
  ];
  for (const names of rows) {
    await t.step(names.join(" ").slice(0, 60), () => {
      const expected = names.map((name) => `${name}: ${name === "content-length" ? 1 : "v"}`);
      for (const order of [names, names.toReversed(), names.toSorted(() => 0)]) {
        const headers: HeaderDict = Object.fromEntries(
          order.map((name) => [name, name === "content-length" ? 1 : "v"]),
        );
        assertEquals(formatBlock(headers).split("\r\n"), expected);
      }
    });
  }
});

Deno.test("formatHeaders writes the headers that have a typed value", () => {
  assertEquals(formatBlock({ "content-length": 0 }), "content-length: 0");
  assertEquals(
    formatBlock({ "content-length": limits.number }),
    "content-length: 9007199254740991",
  );
  assertEquals(formatBlock({ "transfer-encoding": "chunked" }), "transfer-encoding: chunked");
  assertEquals(formatBlock({ range: new Range(2, 5) }), "range: bytes=2-4");
  const partial = { "content-range": new ContentRange(2, 5, 10), "content-length": 3 };
  assertEquals(formatBlock(partial), "content-length: 3\r\ncontent-range: bytes 2-4/10");
});

Deno.test("formatHeaders accepts plain objects with and without a prototype, and frozen ones", () => {
  const bare: HeaderDict = Object.assign(Object.create(null), { b: "2", a: "1" });
  assertEquals(formatBlock(bare), "a: 1\r\nb: 2");
  const frozen = Object.freeze({ b: "2", a: "1" });
  assertEquals(formatBlock(frozen), "a: 1\r\nb: 2");
  assertEquals(Object.keys(frozen), ["b", "a"]);
});

Deno.test("formatHeaders and parseHeaders undo each other", () => {
  for (
    const [isResponse, arbitrary] of [[false, requestHeaders], [true, responseHeaders]] as const
  ) {
    fc.assert(fc.property(arbitrary, (headers: HeaderDict) => {
      const before = flatten(headers);
      const block = formatBlock(headers);
      const parsed = parseHeaders(latin1(block), isResponse);
      assertEquals(flatten(parsed), before);
      assertEquals(formatBlock(parsed), block);
      assertEquals(flatten(headers), before);
    }));
  }
});

Deno.test("formatHeaders refuses names and values that can't be read back", () => {
  const names = [
    "",
    "A",
    "Content-Length",
    "a b",
    " a",
    "a ",
    "a:",
    "a_b",
    "é",
    "a\r\nb",
    "a\n",
    "\0",
  ];
  for (const name of [...names, "\u212a", "\u0141", "\u017f", "\u0130"]) {
    assertRangeError(() => formatHeaders({ [name]: "v" }), `name ${shown(name)}`);
  }
  const proto: HeaderDict = JSON.parse('{"__proto__": "v"}');
  assertRangeError(() => formatHeaders(proto), "__proto__ as an own name");
  const values = ["", "\t", "a\tb", "a\r\nb: c", "a\n", "\r", "\0", "é", "{}", "a@b", "\\", "\x7f"];
  for (
    const value of [...values, "\u0141", "\u212a", "\ud800", "😀", "a\u2028b", "\u010d\u010ab: c"]
  ) {
    assertRangeError(() => formatHeaders({ a: value }), `value ${shown(value)}`);
  }
});

Deno.test("formatHeaders refuses wrong values of the headers that have a typed value", () => {
  for (const length of [-1, 1.5, NaN, Infinity, 2 ** 53, 1e300]) {
    assertRangeError(() => formatHeaders({ "content-length": length }), `${length}`);
  }
  for (const encoding of ["gzip", "Chunked", "", "chunked ", "gzip, chunked", "identity"]) {
    assertRangeError(() => formatHeaders({ "transfer-encoding": encoding }), encoding);
  }
});

Deno.test("formatHeaders refuses headers that exclude each other", () => {
  const range = new Range(0, 1);
  const rows: HeaderDict[] = [
    { "content-length": 0, "transfer-encoding": "chunked" },
    { "content-length": 5, "transfer-encoding": "chunked", a: "b" },
    { range, "content-length": 0 },
    { range, "transfer-encoding": "chunked" },
    { range, "content-range": new ContentRange(0, 1, 2) },
  ];
  for (const headers of rows) assertRangeError(() => formatHeaders(headers), Deno.inspect(headers));
});

Deno.test("formatHeaders refuses values of the wrong type", () => {
  const range = new Range(0, 1);
  const contentRange = new ContentRange(0, 1, 2);
  const others = [null, undefined, true, [], ["a"], {}, 1n, new String("a"), {
    toString: () => "a",
  }];
  const rows: [name: string, values: unknown[]][] = [
    ["a", [5, 0, range, contentRange, ...others]],
    ["constructor", [5, Object, ...others]],
    ["content-length", [
      "5",
      "",
      range,
      contentRange,
      new Number(5),
      { valueOf: () => 5 },
      ...others,
    ]],
    ["transfer-encoding", [5, range, ...others]],
    ["range", ["bytes=0-1", 5, contentRange, ...others]],
    ["content-range", ["bytes 0-1/2", 5, range, ...others]],
  ];
  for (const [name, values] of rows) {
    for (const value of values) {
      const what = `${name}: ${Deno.inspect(value)}`;
      assertTypeError(() => callWith(formatHeaders, { [name]: value }), what);
    }
  }
});

Deno.test("formatHeaders refuses anything but a plain object", () => {
  const values = [null, undefined, "a: b", 5, [], [["a", "b"]], new Headers({ a: "b" }), () => {}];
  for (
    const value of [...values, new Map([["a", "b"]]), new Uint8Array(1), Symbol("a"), new Date()]
  ) {
    assertTypeError(() => callWith(formatHeaders, value), Deno.inspect(value));
  }
});

Deno.test("formatHeaders can't be made to forge a line by a value that changes while it is read", async (t) => {
  const forged = "v\r\nevil: 1";
  const changing = (first: unknown) => {
    let reads = 0;
    return { enumerable: true, get: () => reads++ === 0 ? first : forged };
  };
  const range = new Range(0, 1);
  Reflect.set(range, "toString", () => forged);
  class Lying extends Range {
    override toString() {
      return forged;
    }
  }
  const spoiled = new Range(0, 1);
  for (const name of ["start", "stop"]) Reflect.set(spoiled, name, forged);
  const rows: Record<string, object> = {
    "a text": Object.defineProperty({}, "a", changing("v")),
    "a number": Object.defineProperty({}, "content-length", changing(5)),
    "a range": Object.defineProperty({}, "range", changing(new Range(0, 1))),
    "a range with a toString of its own": { range },
    "a subclass of Range": { range: new Lying(0, 1) },
    "a range with other fields": { range: spoiled },
  };
  for (const [what, headers] of Object.entries(rows)) {
    await t.step(what, () => {
      let text = "";
      try {
        text = fromLatin1(formatHeaders(Object.assign(headers)));
      } catch (error) {
        assertCallerError(() => {
          throw error;
        }, what);
      }
      assert(!text.includes("evil"), shown(text));
    });
  }
});

Deno.test("formatHeaders gives each name its own value, also if the object changes while it is read", () => {
  const removing = {
    get a() {
      Reflect.deleteProperty(this, "b");
      return "of a";
    },
    b: "of b",
    c: "of c",
  };
  assertEquals(fromLatin1(formatHeaders(removing)), "a: of a\r\nc: of c");
  const names = ["a", "b", "c"];
  const proxy = new Proxy<Record<string, string>>({}, {
    ownKeys: () => names.reverse(),
    getOwnPropertyDescriptor: () => ({ enumerable: true, configurable: true }),
    get: (_target, name) => `of ${String(name)}`,
  });
  for (let i = 0; i < 3; i++) {
    assertEquals(fromLatin1(formatHeaders(proxy)), "a: of a\r\nb: of b\r\nc: of c");
  }
});
