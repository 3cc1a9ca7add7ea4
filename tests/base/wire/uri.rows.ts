/** Request targets, rule by rule (RFC 9112 §3.2). */

import { makeRefusedRows, type RefusedRow } from "@degu/testing/rows.ts";
import { encodeUtf8 } from "@degu/testing/wire_grammar.ts";

/** Codes of a path and of a whole URI: both are accepted where both rules are broken. */
const PATH = ["BAD_URI", "BAD_PATH"];

/** URIs in the spelling of `buildUri`, with their paths and queries. */
export const builtUris: readonly (readonly [
  uri: string,
  path: readonly string[],
  query: string | null,
])[] = [
  ["/", [], null],
  ["/?", [], ""],
  ["/foo/", ["foo", ""], null],
  ["/a..b/.c/d.", ["a..b", ".c", "d."], null],
  ["/-+.:_~", ["-+.:_~"], null],
  ["/a?-+.:_~%&=", ["a"], "-+.:_~%&="],
  ["/a?%zz%2F%00", ["a"], "%zz%2F%00"],
  ["/constructor/toString?valueOf", ["constructor", "toString"], "valueOf"],
  ["/a%20b/%C3%BC", ["a b", "ü"], null],
  ["/%252e%252e", ["%2e%2e"], null],
  ["/%5C%22%3C%3E%60%23%3F", ['\\"<>`#?'], null],
  ["/%21%24%26%27%28%29%2A%2C%3B%3D%40%5B%5D%5E%7B%7C%7D", ["!$&'()*,;=@[]^{|}"], null],
  ["/%01%0A%0D%1B%7F", ["\x01\n\r\x1b\x7f"], null],
  ["/%C2%80%E2%80%AE%EF%BB%BF%EF%BF%BD", ["\x80\u202e\ufeff\ufffd"], null],
  ["/%EF%BC%8F%EF%BC%8E", ["\uff0f\uff0e"], null],
  ["/%F0%9F%98%80%F4%8F%BF%BF", ["😀\u{10ffff}"], null],
  ["/?!\"$&'()*,;<>@[\\]^`{|}", [], "!\"$&'()*,;<>@[\\]^`{|}"],
  ["/a?/../%2F%00", ["a"], "/../%2F%00"],
  ["/a?b?c", ["a"], "b?c"],
];

/** URIs in other spellings. */
export const acceptedUris: typeof builtUris = [
  ...builtUris,
  ["/a!$&'()*,;=@[]^{|}", ["a!$&'()*,;=@[]^{|}"], null],
  ["/%28%29/%3bx", ["()", ";x"], null],
  ["/%c3%bC/%e2%82%ac?%c3", ["ü", "€"], "%c3"],
  ["/a.;/.a;", ["a.;", ".a;"], null],
];

/** URIs with components `.`, which are removed where a target is read. */
export const dottedUris: readonly (readonly [received: string, uri: string])[] = [
  ["/.", "/"],
  ["/./", "/"],
  ["/./a", "/a"],
  ["/a/././b/./?c/./d", "/a/b/?c/./d"],
  ["/a/.?b", "/a/?b"],
  ["/./a%20b/./.c/d./.../.", "/a%20b/.c/d./.../"],
  ["/./%c3%bC", "/%c3%bC"],
  [`${"/.".repeat(1000)}/a`, "/a"],
];

/** Targets in absolute form, with their authority and the URI that they mean (RFC 9112 §3.2.2). */
export const absoluteTargets: readonly (readonly [target: string, host: string, uri: string])[] = [
  ["http://a", "a", "/"],
  ["http://a?b=/c", "a", "/?b=/c"],
  ["http://a:80/b?c", "a:80", "/b?c"],
  ["HTTP://A.Example:8080/B", "A.Example:8080", "/B"],
  ["http://[::1]:80/a", "[::1]:80", "/a"],
  ["http://[fe80::1%eth0]:80/a", "[fe80::1%eth0]:80", "/a"],
  ["http://[fe80::1%25eth0]/a", "[fe80::1%25eth0]", "/a"],
  ["http://a/./b/.", "a", "/b/"],
  ["http://a?//u@b", "a", "/?//u@b"],
];

/** Targets in absolute form that are refused. */
export const refusedAbsoluteTargets: readonly RefusedRow[] = [
  ...refuseAbsolute("no host", "http://", "http:///a", "http://:80/", "http://?a", "http://:/"),
  ...refuseAbsolute("a user name", "http://u@a/", "http://u:p@a/", "http://@a/", "http://a@b@c/"),
  ...refuseAbsolute(
    "an invalid host",
    ...["http://a:b/", "http://[::1/", "http://::1/", "http://[::1]x/", "http://a:80:80/"],
    ...["http://a<b/", "http://a%2/", "http://a\\b/", "http://[]/", "http://[a]/"],
  ),
  ...refuseAbsolute(
    "another scheme",
    ...["file:///etc/passwd", "ftp://a/", "ws://a/", "httpx://a/", "xhttp://a/", "h://a/", "://a/"],
  ),
  ...refuseAbsolute("another form", "http:a", "http:/a", "http:", "http", "//a", "a/b", "http//a/"),
  ...refuseAbsolute(
    "an invalid path or query",
    ...["http://a//", "http://a/..", "http://a/b/../c", "http://a/%2e", "http://a/%2F"],
    ...["http://a#b", "http://a?#", "http://a/..;", "http://a/\\", "http://a/.//"],
  ),
];

function refuseAbsolute(rule: string, ...targets: string[]): RefusedRow[] {
  return makeRefusedRows(
    `the absolute form with ${rule}`,
    "RFC 9112 §3.2.2",
    [...PATH, "BAD_HOST"],
    ...targets,
  );
}

export const refusedUris: readonly RefusedRow[] = [
  ...makeRefusedRows("an empty URI", "RFC 9112 §3.2", PATH, ""),
  ...makeRefusedRows("no slash at the beginning", "RFC 9112 §3.2.1", PATH, "a", "?", "?/", "a/b"),
  ...makeRefusedRows("the asterisk form", "RFC 9112 §3.2.4", PATH, "*"),
  ...makeRefusedRows("no scheme", "RFC 9112 §3.2.2", PATH, "localhost/", "http", "http/a"),
  ...makeRefusedRows("the authority form", "RFC 9112 §3.2.3", PATH, "a:443", "@b/"),
  ...makeRefusedRows(
    "two slashes",
    "RFC 3986 §3.3",
    "BAD_PATH",
    ...["//", "//localhost/a", "///", "/a//", "/a//b", "/a//?", "/.//a", "/a/.//b"],
  ),
  ...makeRefusedRows(
    "a component ..",
    "RFC 3986 §3.3",
    "BAD_PATH",
    ...[
      "/..",
      "/../",
      "/../a",
      "/a/..",
      "/a/../b",
      "/..?a",
      "/..?a?b",
      "/./..",
      "/.././a",
      "/a/./..",
    ],
  ),
  ...makeRefusedRows(
    "an escaped letter, digit, hyphen, dot or underscore",
    "RFC 3986 §2.3",
    "BAD_PATH",
    ...["/%41", "/%5a", "/%61", "/%7A", "/%30", "/%39", "/a%2Db", "/%5F", "/a%2Etxt"],
    ...["/%2e%2e/", "/.%2e/b", "/%2E", "/%2e./b", "/a/%2E%2E", "/%2E%3B"],
  ),
  ...makeRefusedRows(
    "an escaped slash or NUL",
    "RFC 3986 §2.2",
    "BAD_PATH",
    ...["/a%2Fb", "/a%2f", "/%2F", "/a%00b", "/%00", "/..%2Fa", "/..%00"],
  ),
  ...makeRefusedRows(
    "a component that begins with .; or ..;",
    "RFC 3986 §3.3",
    "BAD_PATH",
    ...["/..;/b", "/.;", "/a/..;b=c/d", "/a/..%3B/b", "/.%3ba"],
  ),
  ...makeRefusedRows(
    "a percent sign without two digits",
    "RFC 3986 §2.1",
    "BAD_PATH",
    ...["/%", "/100%", "/%2", "/%/20", "/%zz", "/%2g", "/%g2", "/%%20", "/%u0041", "/%+1"],
  ),
  ...makeRefusedRows(
    "an escape that is not UTF-8",
    "RFC 3629 §3",
    "BAD_PATH",
    ...["/%c0%ae%c0%ae/b", "/%C0%AF", "/%E0%80%AF", "/%80", "/%ff", "/%C3", "/%C3/%BC", "/%C3a"],
    ...["/%ED%A0%80", "/%ED%A0%BD%ED%B8%80", "/%F4%90%80%80", "/%C3%28", "/%F8%88%80%80%80"],
  ),
  ...makeRefusedRows("a fragment", "RFC 3986 §3.5", PATH, "/#", "/a#b"),
  ...makeRefusedRows("a fragment", "RFC 3986 §3.5", "BAD_URI", "/a?b#c"),
  ...makeRefusedRows("a space", "RFC 9112 §3.2", PATH, "/a b", " /", "/ "),
  ...makeRefusedRows("a space in a query", "RFC 9112 §3.2", "BAD_URI", "/a?b c"),
  ...makeRefusedRows(
    "a byte that no path has",
    "RFC 3986 §2",
    PATH,
    ...["/a\\b", "\\a", "/..\\..\\etc", '/"', "/<a>", "/a>", "/`"],
  ),
  ...makeRefusedRows(
    "a control byte",
    "RFC 3986 §2",
    PATH,
    ...["/a\0", "/a\tb", "/a\r\n", "/a\n", "/a\rb", "/\x7f"],
  ),
  ...makeRefusedRows("a byte above 127", "RFC 3986 §2", PATH, "/\xe9"),
  ...makeRefusedRows("a byte above 127 in a query", "RFC 3986 §2", "BAD_URI", "/?\xff"),
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
  ...makeRefusedRows("UTF-8 in a query", "RFC 3986 §2.5", "BAD_URI", encodeUtf8("/a?\u0120")),
];
