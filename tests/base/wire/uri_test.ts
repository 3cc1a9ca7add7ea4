import {
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { buildUri } from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import { formatRequest, mkreq, parseRequest, parseUri } from "@degu/degu/misc";
import {
  assertProtocolError,
  assertRangeError,
  catchMessage,
  formatLabel,
} from "@degu/testing/expectations.ts";
import { patch } from "@degu/testing/patching.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { decodeLatin1, encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { absoluteTargets, acceptedUris, builtUris, dottedUris } from "./uri.rows.ts";

/**
 * Characters above Latin-1 that a table, mask or case folding could confuse with an allowed
 * character.
 */
const LOOK_ALIKES = ["\u012f", "\u212a", "\uff0f", "\ud800", "😀"];

Deno.test("a client refuses a component . and the absolute form", async (t) => {
  const client = new Client(["127.0.0.1", 9]);
  for (
    const uri of [
      ...dottedUris.map(([received]) => received),
      ...absoluteTargets.map(([target]) => target),
    ]
  ) {
    await t.step(formatLabel(uri), async () => {
      assertRangeError(() => formatRequest("GET", uri, {}), uri);
      assertRangeError(() => mkreq("GET", uri), uri);
      await assertRejects(() => client.request("GET", uri), RangeError);
    });
  }
});

Deno.test("buildUri joins the parts that parseUri splits, in one spelling", async (t) => {
  for (const [text, path, query] of builtUris) {
    await t.step(formatLabel(text), () => assertEquals(buildUri(path, query), text));
  }
  for (const [text, path, query] of acceptedUris) {
    await t.step(`${formatLabel(text)}: built and parsed`, () => {
      const uri = buildUri(path, query);
      assertMatch(uri.split("?")[0]!, /^(?:[/A-Za-z0-9+.:_~-]|%[0-9A-F]{2})+$/);
      assertEquals(parseUri(uri), { path: [...path], query });
    });
  }
});

Deno.test("on Windows a received path has no backslash, but a client may send one", async (t) => {
  using _system = patch(Deno, "build", (build) => ({ ...build, os: "windows" as const }));
  for (const uri of ["/%5C", "/a%5cb", "/..%5C..%5Ca", "/a/%5C/", "/a%20%5C"]) {
    await t.step(uri, () => {
      assertProtocolError(() => parseUri(uri), ["BAD_PATH"], uri);
      assertProtocolError(
        () => parseRequest(encodeLatin1(`GET ${uri} HTTP/1.1`)),
        ["BAD_PATH"],
        uri,
      );
      assertRangeError(() => mkreq("GET", uri), uri);
    });
  }
  assertEquals(parseUri("/a%20b?%5C\\").path, ["a b"]);
  assertEquals(buildUri(["a\\b"]), "/a%5Cb");
  assertStringIncludes(decodeLatin1(formatRequest("GET", "/a%5Cb", {})), "GET /a%5Cb HTTP/1.1");
});

Deno.test("parseUri refuses characters beyond Latin-1 that resemble allowed ones", () => {
  const codes = ["BAD_URI", "BAD_PATH"];
  for (const character of LOOK_ALIKES) {
    for (const text of [`/a${character}b`, `/?${character}`, `${character}a`]) {
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
    ...[["."], [".."], ["a/b"], ["", "a"], ["a", "", "b"], ["a", "", ""], ["a", "."], ["..", "a"], [
      "a",
      "..",
      "",
    ]],
    ...[["/a"], ["a", "b/c"], ["a\0"], ["../a"], [".;"], ["..;a", "b"], ["\ud800"], [
      "a",
      "\udc00b",
    ]],
  ];
  for (const path of paths) {
    await t.step(`path ${formatLabel(JSON.stringify(path))}`, () => {
      assertRangeError(() => buildUri(path, null), "path");
      assertRangeError(() => buildUri(path, "a=b"), "path with a query");
    });
  }
  for (const query of ["a b", "a#", "a\r\nb", "ä", "a\u212a"]) {
    await t.step(`query ${formatLabel(query)}`, () => {
      assertRangeError(() => buildUri([], query), "query of the root");
      assertRangeError(() => buildUri(["a"], query), "query");
    });
  }
});

Deno.test("the error for a URI that a caller passes names buildUri, which escapes", async () => {
  const client = new Client(["127.0.0.1", 9]);
  const advice = "; buildUri(path, parameters) escapes paths and parameters";
  for (const uri of ["/find?a=b c", "/find?a=ä", '/"', "/a b?c=d", "/100%", "/%41"]) {
    const error = await assertRejects(() => client.request("GET", uri), RangeError);
    assertEquals(error.message.endsWith(advice), true, error.message);
  }
  const error = assertThrows(() => buildUri(["find"], "name=b c"), RangeError);
  assertStringIncludes(error.message, `" " is not allowed; a URI has `);
  assertEquals(error.message.endsWith(advice), true);
  assertEquals(buildUri(["find"], { name: "it's" }), "/find?name=it%27s");
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

Deno.test("Request.searchParams keeps a question mark at the beginning of a query", () => {
  assertEquals([...mkreq("GET", "/??a=b").searchParams], [["?a", "b"]]);
  assertEquals([...mkreq("GET", "/?").searchParams], []);
});

Deno.test("Request.searchParams are new at each call", () => {
  const request = mkreq("GET", "/a?b=c");
  request.searchParams.set("b", "d");
  assertEquals(request.searchParams.get("b"), "c");
  assertEquals([...mkreq("GET", "/a").searchParams], []);
});

const URI_RULE = "a URI has visible ASCII except #";
const PATH_RULE = 'a path has visible ASCII except " # < > ? \\ and the backtick';
const COMPONENT_RULE = 'a component has no slash or NUL, and doesn\'t begin with ".;" or "..;"';

Deno.test("the error for a URI names the part that is not allowed, and the reason", () => {
  const literal = "letters, digits and - . _ are not escaped";
  const rows = [
    ["http://a/", '"http://a/": it must begin with "/"'],
    ["/a#b", `"/a#b": "#" is not allowed; ${URI_RULE}`],
    ["/é", `"/\\xe9": "\\xe9" is not allowed; ${URI_RULE}`],
    ["/😀", `"/\\ud83d\\ude00": "\\ud83d\\ude00" is not allowed; ${URI_RULE}`],
    ["/a/b?c/d e", `"/a/b?c/d e": " " is not allowed; ${URI_RULE}`],
    ["/a<b", `"/a<b": "<" is not allowed; ${PATH_RULE}`],
    ["/%zz%41", `"/%zz%41": "%zz" is not allowed; two hexadecimal digits follow a percent sign`],
    ["/a%20%2e", `"/a%20%2e": "%2e" is not allowed; ${literal}`],
    ["/a%2Fb", `"/a%2Fb": "/" is not allowed; ${COMPONENT_RULE}`],
    ["/..;/b", `"/..;/b": "..;" is not allowed; ${COMPONENT_RULE}`],
    ["/a%ff", `"/a%ff": "a%ff" is not allowed; escapes are UTF-8`],
    ["/a//b", '"/a//b": "//" is not allowed; each path has one spelling'],
    ["/a/../b", '"/a/../b": ".." is not allowed; each path has one spelling'],
  ] as const;
  for (const [text, expected] of rows) {
    const message = catchMessage(() => parseUri(text));
    assertEquals(message.slice(message.indexOf('"')), expected, text);
  }
});
