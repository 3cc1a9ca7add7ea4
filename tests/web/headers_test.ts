/** Converting headers in both directions. */
import { assert, assertEquals, assertInstanceOf, assertThrows } from "@std/assert";
import fc from "fast-check";
import { ContentRange, Range } from "@degu/degu/base";
import { dictOf, headersOf } from "@degu/internal/web/headers.ts";

Deno.test("a dictionary has lower-case names, no prototype, and typed numbers and ranges", () => {
  const headers = new Headers({
    "X-Name": "value",
    "Content-Length": "12",
    "Range": "bytes=0-499",
    "Content-Range": "bytes 0-499/1234",
    "constructor": "own",
  });
  headers.append("x-list", "a");
  headers.append("X-List", "b");
  const dict = dictOf(headers);
  assertEquals(Object.getPrototypeOf(dict), null);
  const { range, "content-range": contentRange, ...rest } = dict;
  assertInstanceOf(range, Range);
  assertInstanceOf(contentRange, ContentRange);
  assertEquals(rest, {
    "x-name": "value",
    "content-length": 12,
    "x-list": "a, b",
    constructor: "own",
  });
});

Deno.test("headersOf is the inverse of dictOf", () => {
  const name = fc.stringMatching(/^[a-z]{1,8}$/).filter((it) => it !== "range");
  const value = fc.stringMatching(/^[!-~]{1,12}$/);
  fc.assert(fc.property(fc.dictionary(name, value), fc.nat(), (given, length) => {
    const headers = new Headers({ ...given, "content-length": `${length}`, range: "bytes=1-2" });
    assertEquals([...headersOf(dictOf(headers))], [...headers]);
  }));
});

Deno.test("a header value in an unsupported form is a RangeError that names it", () => {
  const wrong: Record<string, string[]> = {
    "content-length": ["", "+1", "-1", "1.0", "0x1", "01", "1, 1", "1e3", "9007199254740993"],
    "range": ["", "bytes=0-", "bytes=-5", "bytes=0-1,3-4", "items=0-1", "bytes=2-1"],
    "content-range": ["", "bytes 0-1", "bytes */5", "bytes 0-5/5", "bytes 0-1/*"],
  };
  for (const [name, values] of Object.entries(wrong)) {
    for (const value of values) {
      const { message } = assertThrows(() => dictOf(new Headers({ [name]: value })), RangeError);
      assert(message.includes(`headers["${name}"]`) && message.includes(value), message);
    }
  }
});

Deno.test("one of several cookies is selected, or none can be sent", () => {
  const headers = new Headers([["set-cookie", "a=1, b"], ["x", "y"], ["set-cookie", "c=2"]]);
  assertThrows(() => dictOf(headers), RangeError, "chooseCookie");
  const dict = dictOf(headers, (cookies) => {
    assertEquals(cookies, ["a=1, b", "c=2"]);
    return cookies[1]!;
  });
  assertEquals({ ...dict }, { "set-cookie": "c=2", x: "y" });
  const one = dictOf(new Headers({ "set-cookie": "a=1" }), () => {
    throw new Error("there is nothing to choose");
  });
  assertEquals(one["set-cookie"], "a=1");
});
