/** Request targets, rule by rule (RFC 9112 §3.2.1: origin-form only, in one spelling). */

import { refused, type RefusedRow } from "@degu/testing/rows.ts";

/** Where a part and the whole URI have a rule each, the code of either is right. */
const PATH = ["BAD_URI", "BAD_PATH"];
const QUERY = ["BAD_URI", "BAD_QUERY"];

/** URIs with their paths and queries. */
export const acceptedUris: readonly (readonly [
  uri: string,
  path: readonly string[],
  query: string | null,
])[] = [
  ["/", [], null],
  ["/?", [], ""],
  ["/a", ["a"], null],
  ["/a?", ["a"], ""],
  ["/foo/", ["foo", ""], null],
  ["/foo/?", ["foo", ""], ""],
  ["/foo/bar", ["foo", "bar"], null],
  ["/foo/bar/", ["foo", "bar", ""], null],
  ["/.", ["."], null],
  ["/./.", [".", "."], null],
  ["/...", ["..."], null],
  ["/..a", ["..a"], null],
  ["/a..", ["a.."], null],
  ["/a..b/.c/d.", ["a..b", ".c", "d."], null],
  ["/a/.../b", ["a", "...", "b"], null],
  ["/-+.:_~", ["-+.:_~"], null],
  ["/AZaz09", ["AZaz09"], null],
  ["/a?-+.:_~%&=", ["a"], "-+.:_~%&="],
  ["/?..", [], ".."],
  ["/a?%", ["a"], "%"],
  ["/a?%zz%2F%00", ["a"], "%zz%2F%00"],
  ["/a?b=c&b=d+e", ["a"], "b=c&b=d+e"],
  ["/a:80/b?c:80", ["a:80", "b"], "c:80"],
  ["/constructor/toString?valueOf", ["constructor", "toString"], "valueOf"],
  ["/0/1", ["0", "1"], null],
];

export const refusedUris: readonly RefusedRow[] = [
  ...refused("an empty URI", "RFC 9112 §3.2", PATH, ""),
  ...refused("no slash at the beginning", "RFC 9112 §3.2.1", PATH, "a", "?", "a/b"),
  ...refused("no slash at the beginning, and one in the query", "RFC 9112 §3.2.1", [
    ...PATH,
    "BAD_QUERY",
  ], "?/"),
  ...refused("the asterisk form", "RFC 9112 §3.2.4", PATH, "*"),
  ...refused("the absolute form", "RFC 9112 §3.2.2", PATH, "http://localhost/"),
  ...refused("two slashes", "RFC 3986 §3.3", "BAD_PATH", "//", "//a", "//localhost/a", "///"),
  ...refused("two slashes", "RFC 3986 §3.3", "BAD_PATH", "/a//", "/a//b", "/a//?"),
  ...refused("a component ..", "RFC 3986 §3.3", "BAD_PATH", "/..", "/../", "/../a", "/a/.."),
  ...refused("a component ..", "RFC 3986 §3.3", "BAD_PATH", "/a/../b", "/..?a", "/./.."),
  ...refused(
    "a component .., and a second ?",
    "RFC 3986 §3.3",
    ["BAD_PATH", "BAD_QUERY"],
    "/..?a?b",
  ),
  ...refused("a percent sign in a path", "RFC 3986 §2.1", "BAD_PATH", "/%41", "/%2e%2e/", "/a%2Fb"),
  ...refused("& or = in a path", "RFC 3986 §3.3", "BAD_PATH", "/a&b", "/a=b", "/a=b?c"),
  ...refused("a second ?", "RFC 3986 §3.4", "BAD_QUERY", "/??", "/a?b?", "/a?b?c"),
  ...refused("a slash in a query", "RFC 3986 §3.4", "BAD_QUERY", "/a?/", "/a?b/c"),
  ...refused("a fragment", "RFC 3986 §3.5", PATH, "/#", "/a#b"),
  ...refused("a fragment", "RFC 3986 §3.5", QUERY, "/a?b#c"),
  ...refused("a space", "RFC 9112 §3.2", PATH, "/a b", " /", "/ "),
  ...refused("a space in a query", "RFC 9112 §3.2", QUERY, "/a?b c"),
  ...refused("a byte that no URI has", "RFC 3986 §2", PATH, "/a\\b", "/a;b", "/a,b", "/@"),
  ...refused("a control byte", "RFC 3986 §2", PATH, "/a\0", "/a\t", "/a\r\n", "/a\n", "/\x7f"),
  ...refused("a byte above 127", "RFC 3986 §2", PATH, "/\xe9"),
  ...refused("a byte above 127 in a query", "RFC 3986 §2", QUERY, "/?\xff"),
];
