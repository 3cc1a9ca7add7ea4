/** Request targets, rule by rule (RFC 9112 §3.2.1: origin-form only, in one spelling). */

import { makeRefusedRows, type RefusedRow } from "@degu/testing/rows.ts";
import { encodeUtf8 } from "@degu/testing/wire_grammar.ts";

/** Codes of a path and of a whole URI: both are accepted where both rules are broken. */
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
  ...makeRefusedRows("an empty URI", "RFC 9112 §3.2", PATH, ""),
  ...makeRefusedRows("no slash at the beginning", "RFC 9112 §3.2.1", PATH, "a", "?", "a/b"),
  ...makeRefusedRows("no slash at the beginning, and one in the query", "RFC 9112 §3.2.1", [
    ...PATH,
    "BAD_QUERY",
  ], "?/"),
  ...makeRefusedRows("the asterisk form", "RFC 9112 §3.2.4", PATH, "*"),
  ...makeRefusedRows(
    "the absolute form",
    "RFC 9112 §3.2.2",
    PATH,
    ...["http://localhost/", "https://a/", "file:///etc/passwd"],
  ),
  ...makeRefusedRows("the authority form", "RFC 9112 §3.2.3", PATH, "a:443", "@b/"),
  ...makeRefusedRows(
    "two slashes",
    "RFC 3986 §3.3",
    "BAD_PATH",
    ...["//", "//a", "//localhost/a", "///", "/a//", "/a//b", "/a//?"],
  ),
  ...makeRefusedRows(
    "a component ..",
    "RFC 3986 §3.3",
    "BAD_PATH",
    ...["/..", "/../", "/../a", "/a/..", "/a/../b", "/..?a", "/./.."],
  ),
  ...makeRefusedRows(
    "a component .., and a second ?",
    "RFC 3986 §3.3",
    ["BAD_PATH", "BAD_QUERY"],
    "/..?a?b",
  ),
  ...makeRefusedRows(
    "a percent sign in a path",
    "RFC 3986 §2.1",
    "BAD_PATH",
    ...["/%41", "/%2e%2e/", "/.%2e/b", "/%252e%252e/b", "/%c0%ae%c0%ae/b"],
    ...["/a%2Fb", "/a%5cb", "/a%00b", "/a%0d%0ax:%20y"],
  ),
  ...makeRefusedRows("& or = in a path", "RFC 3986 §3.3", "BAD_PATH", "/a&b", "/a=b", "/a=b?c"),
  ...makeRefusedRows("a second ?", "RFC 3986 §3.4", "BAD_QUERY", "/??", "/a?b?", "/a?b?c"),
  ...makeRefusedRows("a slash in a query", "RFC 3986 §3.4", "BAD_QUERY", "/a?/", "/a?b/c"),
  ...makeRefusedRows("a fragment", "RFC 3986 §3.5", PATH, "/#", "/a#b"),
  ...makeRefusedRows("a fragment", "RFC 3986 §3.5", QUERY, "/a?b#c"),
  ...makeRefusedRows("a space", "RFC 9112 §3.2", PATH, "/a b", " /", "/ "),
  ...makeRefusedRows("a space in a query", "RFC 9112 §3.2", QUERY, "/a?b c"),
  ...makeRefusedRows(
    "a byte that no URI has",
    "RFC 3986 §2",
    PATH,
    ...["/a\\b", "\\a", "/..\\..\\etc", "/a;b=c", "/..;/b", "/a,b", "/@", "/@b", "/{a}"],
  ),
  ...makeRefusedRows(
    "a control byte",
    "RFC 3986 §2",
    PATH,
    ...["/a\0", "/a\tb", "/a\r\n", "/a\n", "/a\rb", "/\x7f"],
  ),
  ...makeRefusedRows("a byte above 127", "RFC 3986 §2", PATH, "/\xe9"),
  ...makeRefusedRows("a byte above 127 in a query", "RFC 3986 §2", QUERY, "/?\xff"),
  // The low bytes of these characters, or their lower-case letters, are ASCII.
  ...makeRefusedRows(
    "UTF-8",
    "RFC 3986 §2.5",
    PATH,
    ...[
      ...["/admin\u0120HTTP/1.1\u010d\u010ax-user:\u0120root", "/admin\u0120", "/a/\u012e\u012e/b"],
      ...["/a\u012fb", "/a\u013fb", "/\u0161\u0164\u016d\u0169\u016e", "/\u212a", "/\u{1f431}"],
    ].map(encodeUtf8),
  ),
  ...makeRefusedRows("UTF-8 in a query", "RFC 3986 §2.5", QUERY, encodeUtf8("/a?\u0120")),
];
