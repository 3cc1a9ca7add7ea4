/** `getRange`. */
import { assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import { BodyError, ContentRange, Range } from "@degu/degu/base";
import { connect } from "@degu/testing/connected.ts";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { serve } from "@degu/testing/serving.ts";

Deno.test("getRange() requests the bytes from start up to, but not including, stop", async () => {
  const whole = new TextEncoder().encode("0123456789");
  await using serving = serve(({ headers }) => {
    const { range } = headers;
    if (!(range instanceof Range)) return [200, "OK", {}, whole];
    const part = whole.slice(range.start, Math.min(range.stop, whole.length));
    const contentRange = range.contentRange(whole.length);
    return [206, "Partial Content", { "content-range": contentRange }, part];
  });
  using conn = await serving.makeClient().connect();
  const { status, headers, body } = await conn.getRange("/", { accept: "text/plain" }, 2, 5);
  assertEquals(status, 206);
  assertInstanceOf(headers["content-range"], ContentRange);
  assertEquals(String(headers["content-range"]), "bytes 2-4/10");
  assertEquals(await body?.text(), "234");
  assertEquals(await (await conn.getRange("/", {}, 8, 20)).body?.text(), "89");
});

Deno.test("getRange() accepts an existing range header only if it is equal", async () => {
  using ends = await connect();
  const headers = { range: new Range(2, 5) };
  const responding = ends.conn.getRange("/", headers, 2, 5);
  assertEquals(await ends.peer.readPreamble(), "GET / HTTP/1.1\r\nrange: bytes=2-4\r\n\r\n");
  await ends.peer.send("HTTP/1.1 200 OK\r\n\r\n");
  await responding;
  assertEquals(headers, { range: new Range(2, 5) });
  for (const [start, stop] of [[2, 6], [1, 5], [0, 1]] as const) {
    await assertRejects(() => ends.conn.getRange("/", headers, start, stop), RangeError);
  }
  assertEquals(ends.conn.closed, false);
});

Deno.test("getRange() refuses an invalid range, and leaves the connection as it was", async () => {
  using ends = await connect();
  const rows: readonly (readonly [args: readonly unknown[], Class: typeof TypeError])[] = [
    [["/", {}, 0, 0], RangeError],
    [["/", {}, 5, 2], RangeError],
    [["/", {}, -1, 2], RangeError],
    [["/", {}, 0, 0.5], RangeError],
    [["/", {}, 0, NaN], RangeError],
    [["/", {}, 0, 2 ** 53], RangeError],
    [["/", {}, "0", 1], TypeError],
    [["/", {}, 0, undefined], TypeError],
    [["", {}, 0, 1], RangeError],
    [["/", null, 0, 1], TypeError],
    [["/", new Headers(), 0, 1], TypeError],
    [["/", { range: "bytes=0-0" }, 0, 1], TypeError],
    [["/", { A: "b" }, 0, 1], RangeError],
  ];
  for (const [args, Class] of rows) {
    const error = await rejectionOf(
      Reflect.apply(ends.conn.getRange, ends.conn, args),
      Deno.inspect(args),
    );
    assertInstanceOf(error, Class, Deno.inspect([args, error]));
    assertEquals(ends.conn.closed, false);
  }
});

Deno.test("getRange(): an unread body is reported before wrong headers are", async () => {
  using ends = await connect();
  await ends.answer("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n");
  const headers = { range: new Range(2, 6) };
  await assertRejects(() => ends.conn.getRange("/", headers, 2, 5), BodyError);
});
