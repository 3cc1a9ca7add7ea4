/** Checks of arguments and options. */
import {
  checkArray,
  checkBoolean,
  checkFunction,
  checkInteger,
  checkMethods,
  checkNumber,
  checkObject,
  checkString,
  checkUint8Array,
  copyOptions,
} from "@degu/internal/base/checks.ts";
import { thrownBy } from "@degu/testing/expectations.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";

type Check = (label: string, value: unknown) => void;

const samples: Record<string, unknown> = {
  undefined: undefined,
  null: null,
  boolean: false,
  number: 0,
  string: "",
  function: () => {},
  Object: {},
  Array: [],
  Uint8Array: new Uint8Array(0),
};

const checks: readonly [name: string, check: Check, wanted: string, passing: readonly string[]][] =
  [
    ["checkString", checkString, "a string", ["string"]],
    ["checkBoolean", checkBoolean, "a boolean", ["boolean"]],
    ["checkNumber", checkNumber, "a number", ["number"]],
    ["checkFunction", checkFunction, "a function", ["function"]],
    ["checkObject", checkObject, "an object", ["Object", "Array", "Uint8Array"]],
    ["checkArray", checkArray, "an array", ["Array"]],
    ["checkUint8Array", checkUint8Array, "a Uint8Array", ["Uint8Array"]],
  ];

for (const [name, check, wanted, passing] of checks) {
  Deno.test(`${name} accepts only ${passing.join(", ")}`, () => {
    for (const [type, value] of Object.entries(samples)) {
      if (passing.includes(type)) {
        check("label", value);
        continue;
      }
      const error = thrownBy(() => check("some.label", value), type);
      assertInstanceOf(error, TypeError);
      assertEquals(error.message, `some.label: must be ${wanted}; got ${type}`);
    }
  });
}

Deno.test("checkInteger accepts the integers between its bounds, inclusive", () => {
  for (const value of [1, 2, 9, 10]) checkInteger("count", value, 1, 10);
  for (const value of [0, 11, -1, 1.5, NaN, Infinity, -Infinity, 2 ** 53]) {
    const error = thrownBy(() => checkInteger("count", value, 1, 10), String(value));
    assertInstanceOf(error, RangeError);
    assertEquals(error.message, `count: must be an integer from 1 to 10; got ${value}`);
  }
  const error = thrownBy(() => checkInteger("count", "1", 1, 10), "a string");
  assertInstanceOf(error, TypeError);
  assertEquals(error.message, "count: must be a number; got string");
});

Deno.test("checkInteger accepts Infinity only as the upper bound, and no inexact integer", () => {
  for (const value of [1, Number.MAX_SAFE_INTEGER, Infinity]) {
    checkInteger("count", value, 1, Infinity);
  }
  for (const value of [0, 2 ** 53, -Infinity, NaN]) {
    const error = thrownBy(() => checkInteger("count", value, 1, Infinity), String(value));
    assertInstanceOf(error, RangeError);
    assertEquals(
      error.message,
      `count: must be an integer of 1 or more, or Infinity; got ${value}`,
    );
  }
});

Deno.test("checkMethods names the first missing method", () => {
  const method = () => {};
  checkMethods("logger", { warn: method, error: method }, ["warn", "error"]);
  checkMethods("logger", Object.assign(() => {}, { warn: method }), ["warn"]);
  for (const [value, type] of [[{ warn: method }, "Object"], [null, "null"]] as const) {
    const names = type === "null" ? ["error"] : ["warn", "error"];
    const error = thrownBy(() => checkMethods("logger", value, names), type);
    assertInstanceOf(error, TypeError);
    assertEquals(error.message, `logger: must be an object with the method error; got ${type}`);
  }
});

const KNOWN = ["timeout", "host"];

Deno.test("later changes to options, and getters, have no effect", () => {
  let reads = 0;
  const options = {
    host: "a",
    get timeout() {
      return ++reads;
    },
  };
  const copy = copyOptions(options, KNOWN);
  options.host = "b";
  assertEquals([copy.host, copy.timeout, copy.timeout, reads], ["a", 1, 1, 1]);
});

Deno.test("an unknown option is a TypeError that names it and lists the known ones", () => {
  for (const name of ["Timeout", "", "__proto__x", "toString", "a\nb"]) {
    const { message } = assertThrows(() => copyOptions({ [name]: 1 }, KNOWN), TypeError);
    assertStringIncludes(message, JSON.stringify(name));
    for (const known of KNOWN) assertStringIncludes(message, known);
  }
});

Deno.test("options that are not an object are a TypeError", () => {
  for (const value of [null, undefined, 1, "timeout", true, () => {}]) {
    assertThrows(() => copyOptions(value as unknown as object, KNOWN), TypeError, "options");
  }
});

Deno.test("only own properties of an object are options", () => {
  const inherited = Object.create({ timeout: 1, surprise: 2 });
  assertEquals(Object.keys(copyOptions(inherited, KNOWN)), []);
  const polluted = JSON.parse('{"__proto__": {"timeout": 1}}');
  assertThrows(() => copyOptions(polluted, KNOWN), TypeError, "__proto__");
  assert(!("timeout" in copyOptions({}, KNOWN)));
});
