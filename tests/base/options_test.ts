/** Options are copied, and unknown ones are detected. */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { copyOptions } from "@degu/internal/base/checks.ts";

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
