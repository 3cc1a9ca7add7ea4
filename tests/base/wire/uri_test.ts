import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { buildUri } from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import { mkreq, parseUri } from "@degu/degu/misc";
import {
  assertProtocolError,
  assertRangeError,
  assertTypeError,
  callWith,
  catchMessage,
  formatLabel,
} from "@degu/testing/expectations.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { acceptedUris } from "./uri.rows.ts";

/**
 * Characters above Latin-1 that a table, mask or case folding could confuse with an allowed
 * character.
 */
const LOOK_ALIKES = ["\u0141", "\u012f", "\u212a", "\u017f", "\u0130", "\uff0f", "\ud800", "😀"];

Deno.test("parseUri returns a new path array for each URI", () => {
  for (const text of ["/", "/?q=1", "/a"]) {
    const { path } = parseUri(text);
    const length = path.push("added");
    assertEquals(parseUri(text).path.length, length - 1, text);
  }
});

Deno.test("buildUri joins the parts that parseUri splits", async (t) => {
  for (const [text, path, query] of acceptedUris) {
    await t.step(formatLabel(text), () => assertEquals(buildUri(path, query), text));
  }
});

Deno.test("parseUri refuses characters beyond Latin-1 that resemble allowed ones", () => {
  const codes = ["BAD_URI", "BAD_PATH", "BAD_QUERY"];
  for (const character of LOOK_ALIKES) {
    for (const text of [`/${character}`, `/a${character}b`, `/?${character}`, `${character}a`]) {
      assertProtocolError(() => parseUri(text), codes, formatLabel(text));
    }
  }
});

Deno.test("buildUri returns the root for a path of one empty component", () => {
  assertEquals(buildUri([""], null), "/");
  assertEquals(buildUri([""], ""), "/?");
  assertEquals(buildUri([""], "a=b"), "/?a=b");
});

Deno.test("buildUri refuses paths and queries that could not be read back", async (t) => {
  // grammar_test.ts has each single character.
  const paths: string[][] = [
    ...[["", ""], ["", "a"], ["a", "", "b"], ["a", "", ""], ["", "", ""]],
    ...[[".."], ["a", ".."], ["..", "a"], ["a", "..", "b"], ["a", "..", ""]],
    ...[["a/b"], ["/a"], ["a/"], ["a", "b/c"], ["a?b"], ["a", "b?"], ["%41"], ["a&b"], ["a=b"]],
    ...[["a b"], ["a#b"], ["a\r\nb"], ["a\n"], ["a\\b"], ["a", "\u0141"], ["a", "\u212a"]],
  ];
  for (const path of paths) {
    await t.step(`path ${formatLabel(JSON.stringify(path))}`, () => {
      assertRangeError(() => buildUri(path, null), "path");
      assertRangeError(() => buildUri(path, "a=b"), "path with a query");
    });
  }
  for (const query of ["a?b", "a/b", "a b", "a#", "a\r\nb", "a;b", "a\u0141", "a\u212a"]) {
    await t.step(`query ${formatLabel(query)}`, () => {
      assertRangeError(() => buildUri([], query), "query of the root");
      assertRangeError(() => buildUri(["a"], query), "query");
    });
  }
});

Deno.test("the error for an invalid character in a query names buildUri, and the error for a path doesn't", async () => {
  const client = new Client(["127.0.0.1", 9]);
  const advice = "; buildUri(path, parameters) escapes parameters";
  const uris: [uri: string, isInQuery: boolean][] = [
    ["/find?name=it's", true],
    ["/find?a=b c", true],
    ["/find?a=ä", true],
    ["/?a?b", true],
    ["/it's", false],
    ["/a b?c=d", false],
    ["a?b", false],
  ];
  for (const [uri, isInQuery] of uris) {
    const error = await assertRejects(() => client.request("GET", uri), RangeError);
    assertEquals(error.message.endsWith(advice), isInQuery, error.message);
  }
  const error = assertThrows(() => buildUri(["find"], "name=it's"), RangeError);
  assertStringIncludes(error.message, `"'" is not allowed; a query has `);
  assertEquals(error.message.endsWith(advice), true);
  assertEquals(buildUri(["find"], { name: "it's" }), "/find?name=it%27s");
});

Deno.test("buildUri refuses arguments of the wrong type", () => {
  for (const path of [null, undefined, "a", "/a", 5, {}, new Set(["a"]), { length: 1, 0: "a" }]) {
    assertTypeError(() => callWith(buildUri, path, null), `path ${Deno.inspect(path)}`);
  }
  for (const item of [null, undefined, 5, ["a"], {}, new String("a"), Symbol("a")]) {
    assertTypeError(() => callWith(buildUri, [item], null), `component ${Deno.inspect(item)}`);
    assertTypeError(() => callWith(buildUri, ["a", item], null), "a later component");
  }
  assertTypeError(() => callWith(buildUri, new Array(2), null), "an array with holes");
  for (const query of [5, [], ["a=b"], new Map([["a", "b"]]), new String("a"), false, { a: 5 }]) {
    assertTypeError(() => callWith(buildUri, [], query), `query ${Deno.inspect(query)}`);
  }
});

Deno.test("buildUri escapes parameters so that parseUri and URLSearchParams read them back", async (t) => {
  const rows: [uri: string, parameters: Record<string, string>][] = [
    ["/a", {}],
    ["/a?glob=%2A.jpg", { glob: "*.jpg" }],
    ["/a?b=c+d&e=%26%3D%3F%23%2B", { b: "c d", e: "&=?#+" }],
    ["/a?%C3%B6=%F0%9F%98%80", { "ö": "😀" }],
    ["/a?=&b=", { "": "", b: "" }],
    ["/a?b=%2F%2C%40%5B%5D%7E%25", { b: "/,@[]~%" }],
  ];
  await testEachRow(t, rows, (uri, parameters) => {
    assertEquals(buildUri(["a"], parameters), uri);
    assertEquals(buildUri(["a"], new URLSearchParams(parameters)), uri);
    const { query } = parseUri(uri);
    assertEquals([...new URLSearchParams(query ?? "")], Object.entries(parameters));
    assertEquals([...mkreq("GET", uri).searchParams], Object.entries(parameters));
  });
  const repeatedParameters = new URLSearchParams([["a", "1"], ["a", "2"]]);
  assertEquals(buildUri([], repeatedParameters), "/?a=1&a=2");
  assertEquals(buildUri(["a"]), "/a");
  assertEquals(buildUri([], Object.assign(Object.create(null), { a: "b" })), "/?a=b");
});

Deno.test("buildUri refuses a parameter that has no UTF-8", () => {
  for (const query of [{ "\ud800": "a" }, { a: "b\udc00" }]) {
    assertRangeError(() => buildUri([], query), Deno.inspect(query));
  }
});

Deno.test("Request.searchParams are new at each call", () => {
  const request = mkreq("GET", "/a?b=c");
  request.searchParams.set("b", "d");
  assertEquals(request.searchParams.get("b"), "c");
  assertEquals([...mkreq("GET", "/a").searchParams], []);
});

Deno.test("the error for a URI names the character that is not allowed, and the reason", () => {
  const uri = "a URI has letters, digits and - + . : _ ~ % & = / ?";
  const path = "a path is not decoded, and has letters, digits and - + . : _ ~ between slashes";
  const query = "a query has letters, digits and - + . : _ ~ % & =";
  const rows = [
    ["", '"": it must begin with "/"'],
    ["a", '"a": it must begin with "/"'],
    ["http://a/", '"http://a/": it must begin with "/"'],
    ["/a#b", `"/a#b": "#" is not allowed; ${uri}`],
    ["/a b", `"/a b": " " is not allowed; ${uri}`],
    ["/é", `"/\\xe9": "\\xe9" is not allowed; ${uri}`],
    ["/😀", `"/\\ud83d\\ude00": "\\ud83d\\ude00" is not allowed; ${uri}`],
    ["/?a=b&c d", `"/?a=b&c d": " " is not allowed; ${uri}`],
    ["/a/b?c/d e", `"/a/b?c/d e": " " is not allowed; ${uri}`],
    ["/a%20b", `"/a%20b": "%" is not allowed; ${path}`],
    ["/a=b", `"/a=b": "=" is not allowed; ${path}`],
    ["/a&b?c", `"/a&b?c": "&" is not allowed; ${path}`],
    ["//a", '"//a": "//" is not allowed; each path has one spelling'],
    ["/a//b", '"/a//b": "//" is not allowed; each path has one spelling'],
    ["/a/../b", '"/a/../b": ".." is not allowed; each path has one spelling'],
    ["/a?b?c", `"/a?b?c": "?" is not allowed; ${query}`],
    ["/a?b=/c", `"/a?b=/c": "/" is not allowed; ${query}`],
  ] as const;
  for (const [text, expected] of rows) {
    const message = catchMessage(() => parseUri(text));
    assertEquals(message.slice(message.indexOf('"')), expected, text);
  }
});

Deno.test("buildUri names the invalid character and its part", () => {
  const path = "a path is not decoded, and has letters, digits and - + . : _ ~ between slashes";
  const query =
    "a query has letters, digits and - + . : _ ~ % & =; buildUri(path, parameters) escapes parameters";
  const rows = [
    [["a", "b c"], null, `path[1]: "b c": " " is not allowed; ${path}`],
    [["a/b"], null, `path[0]: "a/b": "/" is not allowed; ${path}`],
    [["a"], "b c", `query: "b c": " " is not allowed; ${query}`],
    [["a", "", "b"], null, 'path[1]: "" is allowed only as the last component'],
    [["a", ".."], null, 'path[1]: ".." is not allowed; each path has one spelling'],
  ] as const;
  for (const [components, text, expected] of rows) {
    assertEquals(catchMessage(() => buildUri(components, text)), expected);
  }
});
