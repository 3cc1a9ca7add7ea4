/** A caller's mistakes, which are detected before the first byte is sent. */
import { assert, assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import { Body, BodyError, BodyIter, ConnectionClosedError, Range } from "@degu/degu/base";
import { connect, requestWith } from "@degu/testing/connected.ts";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { streamOf, TrackedItems, TrackedStream } from "@degu/testing/streams.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";
import { sent } from "@degu/testing/connected.ts";

/** Mistakes of a caller, and the error that tells of them. */
const mistakes: readonly (readonly [what: string, args: readonly unknown[], Class: ErrorClass])[] =
  [
    ["method unknown", ["FOO", "/", {}, null], RangeError],
    ["method in lower case", ["get", "/", {}, null], RangeError],
    ["method no string", [null, "/", {}, null], TypeError],
    ["uri empty", ["GET", "", {}, null], RangeError],
    ["uri relative", ["GET", "foo", {}, null], RangeError],
    ["uri absolute", ["GET", "http://localhost/", {}, null], RangeError],
    ["uri with a space", ["GET", "/a b", {}, null], RangeError],
    ["uri with a line", ["GET", "/ HTTP/1.1\r\na: b\r\n\r\nGET /", {}, null], RangeError],
    ["uri with a fragment", ["GET", "/#a", {}, null], RangeError],
    ["uri with //", ["GET", "//a", {}, null], RangeError],
    ["uri with ..", ["GET", "/../a", {}, null], RangeError],
    ["uri no string", ["GET", new URL("http://localhost/"), {}, null], TypeError],
    ["GET with a body", ["GET", "/", {}, latin1("x")], RangeError],
    ["HEAD with a body", ["HEAD", "/", {}, latin1("")], RangeError],
    ["DELETE with a body", ["DELETE", "/", {}, latin1("x")], RangeError],
    ["headers null", ["GET", "/", null, null], TypeError],
    ["headers Headers", ["GET", "/", new Headers(), null], TypeError],
    ["headers Map", ["GET", "/", new Map(), null], TypeError],
    ["headers array", ["GET", "/", [], null], TypeError],
    ["name in upper case", ["GET", "/", { A: "b" }, null], RangeError],
    ["name empty", ["GET", "/", { "": "b" }, null], RangeError],
    ["name too long", ["GET", "/", { ["a".repeat(33)]: "b" }, null], RangeError],
    ["value empty", ["GET", "/", { a: "" }, null], RangeError],
    ["value with a line", ["GET", "/", { a: "b\r\nc: d" }, null], RangeError],
    ["value a number", ["GET", "/", { a: 5 }, null], TypeError],
    ["value undefined", ["GET", "/", { a: undefined }, null], TypeError],
    ["range as text", ["GET", "/", { range: "bytes=0-1" }, null], TypeError],
    ["range with a body", ["PUT", "/", { range: new Range(0, 1) }, latin1("x")], RangeError],
    ["content-length in GET", ["GET", "/", { "content-length": 0 }, null], RangeError],
    ["content-length without a body", ["PUT", "/", { "content-length": 0 }, null], RangeError],
    [
      "content-length of another body",
      ["PUT", "/", { "content-length": 2 }, latin1("x")],
      RangeError,
    ],
    ["content-length as text", ["PUT", "/", { "content-length": "1" }, latin1("x")], TypeError],
    ["chunked without a body", ["PUT", "/", { "transfer-encoding": "chunked" }, null], RangeError],
    [
      "chunked beside a length",
      ["PUT", "/", { "transfer-encoding": "chunked" }, latin1("x")],
      RangeError,
    ],
    ["body text", ["PUT", "/", {}, "text"], TypeError],
    ["body undefined", ["PUT", "/", {}, undefined], TypeError],
    ["body ArrayBuffer", ["PUT", "/", {}, new ArrayBuffer(1)], TypeError],
    ["body stream", ["PUT", "/", {}, new Blob(["x"]).stream()], TypeError],
    ["body over 16 MiB", ["PUT", "/", {}, new Uint8Array(16777217)], RangeError],
    ["preamble over 32768 bytes", ["GET", `/${"a".repeat(32768)}`, {}, null], RangeError],
  ];

type ErrorClass = typeof TypeError | typeof RangeError;

Deno.test("a caller's mistake sends nothing and leaves the connection as it was", async (t) => {
  using ends = await connect();
  for (const [what, args, Class] of mistakes) {
    await t.step(what, async () => {
      const error = await rejectionOf(requestWith(ends.conn, ...args), what);
      assertInstanceOf(error, Class);
      assertEquals(ends.conn.closed, false);
      assertEquals(await sent(ends, ends.conn.get("/")), "GET / HTTP/1.1\r\n\r\n");
    });
  }
});

Deno.test("a body that was passed is canceled if a check fails", async (t) => {
  using closed = await connect();
  closed.conn.close();
  using unread = await connect();
  await unread.answer("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n");
  using free = await connect();
  const rows = [
    ["closed", closed, ["PUT", "/", {}]],
    ["previous body unread", unread, ["PUT", "/", {}]],
    ["method", free, ["FOO", "/", {}]],
    ["uri", free, ["PUT", "", {}]],
    ["method without a body", free, ["GET", "/", {}]],
    ["headers", free, ["PUT", "/", { A: "b" }]],
    ["content-length", free, ["PUT", "/", { "content-length": 6 }]],
  ] as const;
  for (const [what, { conn }, args] of rows) {
    await t.step(what, async () => {
      const stream = new TrackedStream([new Uint8Array(5)]);
      const items = new TrackedItems([new Uint8Array(5)]);
      await assertRejects(() => requestWith(conn, ...args, new Body(stream.stream, 5)));
      await assertRejects(() => requestWith(conn, ...args, new BodyIter(items.async(), 5)));
      assert(stream.settled, "the stream was not canceled");
      assert(items.settled || items.returned, "the iterator was not returned");
    });
  }
});

Deno.test("a body that can no longer be sent is a BodyError", async () => {
  using ends = await connect();
  const body = new Body(streamOf(latin1("x")), 1);
  await body.read();
  await assertRejects(() => ends.conn.put("/", {}, body), BodyError);
  assertEquals(ends.conn.closed, false);
});

/** Everything is wrong in this request from some check on. */
function wrongFrom(check: "method" | "uri" | "body" | "headers"): readonly unknown[] {
  const order = ["method", "uri", "body", "headers"];
  const isWrong = (name: string) => order.indexOf(name) >= order.indexOf(check);
  return [
    isWrong("method") ? null : "GET",
    isWrong("uri") ? "http:" : "/",
    isWrong("headers") ? new Headers() : {},
    isWrong("body") ? latin1("x") : null,
  ];
}

Deno.test("the checks run in a fixed order", async () => {
  using closed = await connect();
  await closed.answer("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n");
  closed.conn.close();
  await assertRejects(
    () => requestWith(closed.conn, ...wrongFrom("method")),
    ConnectionClosedError,
  );

  using busy = await connect();
  const first = busy.conn.get("/");
  const second = await rejectionOf(requestWith(busy.conn, ...wrongFrom("method")), "a second");
  assert(!(second instanceof TypeError) && !(second instanceof ConnectionClosedError));
  await sent(busy, first);

  using unread = await connect();
  const { body } = await unread.answer("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx");
  // Each row is wrong in what its error does not tell of, too: the type of the error says which check came first.
  await assertRejects(() => requestWith(unread.conn, ...wrongFrom("method")), TypeError);
  await assertRejects(() => requestWith(unread.conn, ...wrongFrom("uri")), RangeError);
  await assertRejects(() => requestWith(unread.conn, ...wrongFrom("body")), RangeError);
  await assertRejects(() => requestWith(unread.conn, ...wrongFrom("headers")), BodyError);
  await body?.read();
  await assertRejects(() => requestWith(unread.conn, ...wrongFrom("headers")), TypeError);
});
