/** The ranges that a client and a server support, over sockets (RFC 9110 §14.2, §15.3.7). */
import { Range } from "@degu/degu/base";
import { connect, readSentRequest, requestWith } from "@degu/testing/connected.ts";
import { formatErrorResponse } from "@degu/testing/error_answers.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { exchange } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";
import { assertEquals, assertInstanceOf } from "@std/assert";

Deno.test("a client requests one range, and can't request several", async () => {
  using pair = await connect();
  const sentRequest = await readSentRequest(pair, pair.conn.get("/", { range: new Range(2, 5) }));
  assertEquals(sentRequest, "GET / HTTP/1.1\r\nrange: bytes=2-4\r\n\r\n");
  const requesting = requestWith(pair.conn, "GET", "/", { range: "bytes=0-1,3-4" }, null);
  assertInstanceOf(await catchRejection(requesting, "several"), TypeError);
  pair.conn.close();
  await pair.peer.assertClosedSilently();
});

Deno.test("a server refuses a request for several ranges", async () => {
  await using serving = serve(() => [206, "Partial Content", {}, "hello"]);
  for (const ranges of ["0-1,3-4", "0-1, 3-4"]) {
    const { received } = await exchange(
      serving.address,
      `GET / HTTP/1.1\r\nrange: bytes=${ranges}\r\n\r\n`,
    );
    assertEquals(received, formatErrorResponse(400));
  }
});
