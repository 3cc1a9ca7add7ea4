/** Error messages: which part was wrong, why, and what would be right. */
import { assertEquals, assertInstanceOf, assertMatch } from "@std/assert";
import { Router } from "@degu/degu";
import { type BodyOut, buildUri, ContentRange, Range } from "@degu/degu/base";
import { Client, SSLClient } from "@degu/degu/client";
import { download, FilesApp } from "@degu/degu/files";
import { parseUri, TempPKI } from "@degu/degu/misc";
import { connect } from "@degu/testing/connected.ts";
import { callWith, rejectionOf, thrownBy } from "@degu/testing/expectations.ts";
import { eachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";

function messageOf(call: () => unknown): string {
  const error = thrownBy(call, "a mistake");
  assertInstanceOf(error, Error);
  return error.message;
}

Deno.test("the error for a URI names the character that is not allowed, and says why", () => {
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
    const message = messageOf(() => parseUri(text));
    assertEquals(message.slice(message.indexOf('"')), expected, text);
  }
});

Deno.test("buildUri says which character of which part is not allowed", () => {
  const path = "a path is not decoded, and has letters, digits and - + . : _ ~ between slashes";
  const query = "a query has letters, digits and - + . : _ ~ % & =";
  const rows = [
    [["a", "b c"], null, `path[1]: "b c": " " is not allowed; ${path}`],
    [["a/b"], null, `path[0]: "a/b": "/" is not allowed; ${path}`],
    [["a"], "b c", `query: "b c": " " is not allowed; ${query}`],
    [["a", "", "b"], null, 'path[1]: "" is allowed only as the last component'],
    [["a", ".."], null, 'path[1]: ".." is not allowed; each path has one spelling'],
  ] as const;
  for (const [components, text, expected] of rows) {
    assertEquals(messageOf(() => buildUri(components, text)), expected);
  }
});

Deno.test("the error of a request names the character of its URI", async () => {
  using ends = await connect();
  const error = await rejectionOf(ends.conn.get("/a b"), "a space");
  assertInstanceOf(error, RangeError);
  assertEquals(error.message.startsWith('uri: bad URI "/a b": " " is not allowed; '), true);
  assertEquals(ends.conn.closed, false);
});

Deno.test("the error for a path of a Unix socket says what is required", () => {
  const rows = [
    ["my.socket", "must be absolute, and a host is given as [host, port]"],
    ["", "must be absolute, and a host is given as [host, port]"],
    ["/a\0b", "must not contain a NUL"],
    ["/a//b", 'must be normalized, without "//", "/./", "/../" and a trailing slash'],
    ["/a/", 'must be normalized, without "//", "/./", "/../" and a trailing slash'],
    ["/\ud800", "must be valid Unicode"],
    [`/${"a".repeat(107)}`, "must have at most 107 bytes"],
  ] as const;
  for (const [path, expected] of rows) {
    const message = messageOf(() => new Client(path));
    const start = `address: the path of a Unix socket ${expected}; got "`;
    assertEquals(message.slice(0, start.length), start);
  }
  const encoder = new TextEncoder();
  const names = [
    [encoder.encode("name"), 'must begin with a NUL byte; got "name"'],
    [new Uint8Array(0), "must begin with a NUL byte; got an empty array"],
    [new Uint8Array(109), "must have at most 108 bytes; got 109"],
    [Uint8Array.of(0, 0xff), 'must be valid UTF-8; got "\\x00\\xff"'],
  ] as const;
  for (const [name, expected] of names) {
    assertEquals(messageOf(() => new Client(name)), `address: an abstract name ${expected}`);
  }
});

Deno.test("the error for a range names the type of a value that is not a number", () => {
  for (const [value, name] of [[null, "null"], [undefined, "undefined"], [[1], "Array"]] as const) {
    const make = (Class: unknown, ...args: unknown[]) => () =>
      callWith(Reflect.construct, Class, args);
    assertEquals(messageOf(make(Range, value, 1)), `start: must be a number; got ${name}`);
    assertEquals(messageOf(make(Range, 0, value)), `stop: must be a number; got ${name}`);
    assertEquals(
      messageOf(make(ContentRange, 0, 1, value)),
      `total: must be a number; got ${name}`,
    );
  }
});

Deno.test("the error for an invalid response says why it is refused", async () => {
  const rows = [
    [
      "HTTP/1.1 100 Continue\r\n\r\n",
      "status 100: interim responses are refused; a request has one response",
    ],
    [
      "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n",
      "status 204 has no body; its content-length or transfer-encoding is refused",
    ],
  ] as const;
  for (const [bytes, expected] of rows) {
    using ends = await connect();
    const error = await rejectionOf(ends.answer(bytes), "a response that can't be");
    assertInstanceOf(error, Error);
    assertEquals(error.message, expected);
  }
});

Deno.test("what is often got wrong is said with what is right", async (t) => {
  await using pki = await TempPKI.create();
  await using serving = serve(new Router(new Map([["a", () => [200, "OK", {}, null]]])));
  const client = serving.makeClient();
  const rows: [rule: string, call: () => Promise<unknown>, said: RegExp][] = [
    [
      "a number as body",
      () => client.request("POST", "/a", {}, 5 as unknown as BodyOut),
      /^TypeError: body: must be .*; got number$/,
    ],
    [
      "a header name with capitals",
      () => client.request("GET", "/a", { "Content-Type": "text/plain" }),
      /^RangeError: headers\["Content-Type"\]: .*; write it in lower case: "content-type"$/,
    ],
    [
      "a header name that is none",
      () => client.request("GET", "/a", { "Content_Type": "text/plain" }),
      /^RangeError: headers\["Content_Type"\]: the name must be .* 0-9 and -$/,
    ],
    [
      "a path that no app of a Router has",
      () => download(client, "/none", "/tmp/none"),
      /^TransferError: GET "\/none": the other end answered 410 Gone: no app has this path; /,
    ],
    [
      "a directory that is missing",
      async () => await Promise.resolve().then(() => new FilesApp("none/here")),
      /^NotFound: dir: there is no directory ".*\/none\/here"; make it first, or mount its disk$/,
    ],
    [
      "TLS to a plain server",
      () => new SSLClient(pki.clientSslconfig, serving.address).connect(),
      /^TlsError: .*: the peer closed the connection; a server without TLS does so: is one there\?$/,
    ],
  ];
  await eachRow(t, rows, async (rule, call, said) => {
    const error = await rejectionOf(call(), rule);
    assertMatch(String(error), said);
  });
});
