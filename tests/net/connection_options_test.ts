/**
 * The options in `connection`, read from a socket by a server and a client (RFC 9110 §5.6.1.2,
 * §7.6.1).
 */
import { ConnectionClosedError } from "@degu/degu/base";
import { connect } from "@degu/testing/connected.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { exchange } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import { assertEquals, assertInstanceOf } from "@std/assert";

const OPTIONS = [
  ...["close", "CLOSE", "te,close", "close , te", ",close", "close,", ", ,close, ,", "te,,Close"],
].map((value) => [value] as const);

Deno.test("a server recognizes the connection option close in any case, in a list, and beside empty elements", async (t) => {
  await using serving = serve(({ uri }) => [200, "OK", { uri }, null]);
  await testEachRow(t, OPTIONS, async (value) => {
    const sent = `GET /a HTTP/1.1\r\nconnection: ${value}\r\n\r\nGET /b HTTP/1.1\r\n\r\n`;
    const { received } = await exchange(serving.address, sent);
    const lines = "connection: close\r\ncontent-length: 0\r\nuri: /a\r\n";
    assertEquals(received, `HTTP/1.1 200 OK\r\n${lines}\r\n`);
  });
});

Deno.test("a client recognizes the connection option close in any case, in a list, and beside empty elements, and sends no further request", async (t) => {
  await testEachRow(t, OPTIONS, async (value) => {
    using pair = await connect();
    const lines = `connection: ${value}\r\ncontent-length: 2\r\n`;
    const response = await pair.answer(`HTTP/1.1 200 OK\r\n${lines}\r\nhi`);
    assertEquals([await response.text(), pair.conn.closed], ["hi", true]);
    assertInstanceOf(await catchRejection(pair.conn.get("/"), "the next"), ConnectionClosedError);
    await pair.peer.assertClosedSilently();
  });
});
