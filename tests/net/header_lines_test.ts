/** Lines of one name, which are one list (RFC 9110 §5.3), and `set-cookie`, which is no list. */
import { assertEquals, assertInstanceOf } from "@std/assert";
import type { HeadersToSend } from "@degu/degu/base";
import { ProtocolError } from "@degu/degu/base";
import { connect } from "@degu/testing/connected.ts";
import { formatErrorResponse } from "@degu/testing/error_answers.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { connectThrough } from "@degu/testing/proxies.ts";
import { exchange } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";

/** Lines, and the headers of their message in both directions. */
const JOINED: readonly (readonly [lines: string, headers: Record<string, unknown>])[] = [
  ["accept: a\r\nAccept: b\r\nACCEPT: c", { accept: "a, b, c" }],
  ["vary: a\r\nx: y\r\nvary: b, c", { vary: "a, b, c", x: "y" }],
  ["x: a\r\nx: a", { x: "a, a" }],
  ["x:\r\nx: a\r\nx:\r\nx: b", { x: "a, b" }],
  ["cookie: a=1\r\ncookie: b=2; c=3", { cookie: "a=1; b=2; c=3" }],
  ["www-authenticate: Digest a\r\nwww-authenticate: Basic b", {
    "www-authenticate": "Digest a, Basic b",
  }],
  ["set-cookie: a=1", { "set-cookie": ["a=1"] }],
  ["set-cookie: a=1; expires=Wed, 21 Oct 2026\r\nx: y\r\nSet-Cookie: b=2\r\nset-cookie: a=1", {
    "set-cookie": ["a=1; expires=Wed, 21 Oct 2026", "b=2", "a=1"],
    x: "y",
  }],
  ["set-cookie:", { "set-cookie": [""] }],
  ["__proto__: a\r\n__proto__: b", { ["__proto__"]: "a, b" }],
  ["constructor: a\r\nconstructor: b", { constructor: "a, b" }],
  ["x:y", { x: "y" }],
  ["x:\t y \t", { x: "y" }],
  ["x: \t", { x: "" }],
  ["x: \xa0y\xa0", { x: "\xa0y\xa0" }],
  ["x_y!#$%&'*+-.^`|~: caf\xe9\tz", { "x_y!#$%&'*+-.^`|~": "caf\xe9\tz" }],
];

const entriesOf = (headers: object) => Object.entries(headers).sort(([a], [b]) => a < b ? -1 : 1);

Deno.test("a client and a server join the lines of one name, and list those of set-cookie", async (t) => {
  await testEachRow(t, JOINED, async (lines, expected) => {
    using pair = await connect();
    const response = await pair.answer(`HTTP/1.1 204 No Content\r\n${lines}\r\n\r\n`);
    assertEquals(entriesOf(response.headers), entriesOf(expected));
    let headers: object = {};
    await using serving = serve((request) => {
      headers = request.headers;
      return [204, "No Content", {}, null];
    });
    const { received } = await exchange(serving.address, `GET / HTTP/1.1\r\n${lines}\r\n\r\n`);
    assertEquals(received, "HTTP/1.1 204 No Content\r\n\r\n");
    assertEquals(entriesOf(headers), entriesOf(expected));
  });
});

Deno.test("a header that steers or carries authority can't be repeated", async (t) => {
  const rows: readonly (readonly [name: string, value: string, secondValue?: string])[] = [
    ["host", "a"],
    ["host", "a", "b"],
    ["content-length", "5"],
    ["content-length", "5", "6"],
    ["transfer-encoding", "chunked"],
    ["content-type", "text/plain"],
    ["content-range", "bytes 0-4/5"],
    ["range", "bytes=0-4"],
    ["range", "bytes=0-1,3-4", "bytes=0-4"],
    ["range", "bytes=0-4", "bytes=0-1,3-4"],
    ["authorization", "Basic a", "Basic b"],
    ["proxy-authorization", "Basic a", "Basic b"],
    ["location", "/a", "/b"],
    ["etag", '"a"'],
    ["last-modified", "Wed, 21 Oct 2026 07:28:00 GMT"],
    ["if-range", '"a"'],
    ["if-modified-since", "Wed, 21 Oct 2026 07:28:00 GMT"],
    ["if-unmodified-since", "Wed, 21 Oct 2026 07:28:00 GMT"],
  ];
  await testEachRow(t, rows, async (name, value, secondValue = value) => {
    const lines = `${name}: ${value}\r\n${name.toUpperCase()}: ${secondValue}`;
    if (name !== "range") {
      using pair = await connect();
      const error = await catchRejection(
        pair.answer(`HTTP/1.1 200 OK\r\n${lines}\r\n\r\n`),
        "a response",
      );
      assertInstanceOf(error, ProtocolError);
      assertEquals(error.code, "DUPLICATE_HEADER");
      assertEquals(error.message, `in a response with status 200: duplicate header: ${name}`);
    }
    if (name === "content-range") return;
    const method = name === "range" ? "GET" : "PUT";
    await using serving = serve(() => [204, "No Content", {}, null]);
    const { received } = await exchange(
      serving.address,
      `${method} / HTTP/1.1\r\n${lines}\r\n\r\n`,
    );
    assertEquals(received, formatErrorResponse(400));
  });
});

Deno.test("set-cookie is sent as a line for each item of a list, or one for a text", async () => {
  const rows: readonly (readonly [HeadersToSend["set-cookie"], lines: string])[] = [
    [
      ["a=1; expires=Wed, 21 Oct 2026", "b=2"],
      "set-cookie: a=1; expires=Wed, 21 Oct 2026\r\nset-cookie: b=2\r\n",
    ],
    [["a=1"], "set-cookie: a=1\r\n"],
    ["a=1, b=2", "set-cookie: a=1, b=2\r\n"],
    [[], ""],
    [undefined, ""],
  ];
  for (const [value, lines] of rows) {
    await using serving = serve(() => [204, "No Content", { "set-cookie": value }, null]);
    const { received } = await exchange(serving.address, "GET / HTTP/1.1\r\n\r\n");
    assertEquals(received, `HTTP/1.1 204 No Content\r\n${lines}\r\n`);
    using pair = await connect();
    const responding = pair.conn.get("/", { "set-cookie": value });
    assertEquals(
      await pair.peer.respond("HTTP/1.1 204 No Content\r\n\r\n"),
      `GET / HTTP/1.1\r\n${lines}\r\n`,
    );
    await responding;
  }
});

Deno.test("received headers can be sent again", async () => {
  await using serving = serve(({ headers }) => [204, "No Content", headers, null]);
  const lines = "cookie: a=1; b=2\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nx: \r\n";
  const { received } = await exchange(serving.address, `GET / HTTP/1.1\r\n${lines}\r\n`);
  assertEquals(received, `HTTP/1.1 204 No Content\r\n${lines}\r\n`);
});

Deno.test("ProxyApp forwards each set-cookie as its own line, and joined lines of other names", async () => {
  await using pair = await connectThrough();
  await pair.clientPeer.send(
    "GET / HTTP/1.1\r\ncookie: a=1\r\ncookie: b=2\r\naccept: a\r\naccept: b\r\n\r\n",
  );
  const cookies = "set-cookie: a=1; expires=Wed, 21 Oct 2026\r\nset-cookie: b=2\r\n";
  const peer = await pair.upstream.accept();
  assertEquals(
    await peer.respond(`HTTP/1.1 204 No Content\r\n${cookies}vary: a\r\nvary: b\r\n\r\n`),
    "GET / HTTP/1.1\r\naccept: a, b\r\ncookie: a=1; b=2\r\n\r\n",
  );
  assertEquals(
    await pair.clientPeer.readPreamble(),
    `HTTP/1.1 204 No Content\r\n${cookies}vary: a, b\r\n\r\n`,
  );
});
