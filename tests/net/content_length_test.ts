/** The content-length that a client and a server accept (RFC 9110 §8.6, RFC 9112 §6.3). */
import { connect } from "@degu/testing/connected.ts";
import { formatErrorResponse } from "@degu/testing/error_answers.ts";
import { assertProtocolRejection } from "@degu/testing/expectations.ts";
import { exchange, RawPeer } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import { assertEquals } from "@std/assert";

Deno.test("a client and a server accept a content-length of up to 2⁵³ − 1", async () => {
  for (const length of [9007199254740990, 9007199254740991]) {
    await using serving = serve(({ headers }) => [400, "No", {}, `${headers["content-length"]}`]);
    using peer = await RawPeer.connect(serving.address);
    await peer.send(`PUT / HTTP/1.1\r\ncontent-length: ${length}\r\n\r\n`);
    await peer.readPreamble();
    assertEquals(await peer.readExactly(16), `${length}`);

    using pair = await connect();
    const { headers } = await pair.answer(`HTTP/1.1 304 xx\r\ncontent-length: ${length}\r\n\r\n`);
    assertEquals(headers["content-length"], length);
  }
});

const REFUSED = [
  ...["9007199254740992", "18446744073709551621", "1".repeat(100), "05", "+5", "-5", "5.0", "0x5"],
  ...["5e0", "5 ", " 5", "", "5, 5", "5,5", "5;5", "five"],
];

Deno.test("a client and a server refuse any other content-length, also a list of the same number", async (t) => {
  await using serving = serve(() => [200, "OK", {}, null]);
  await testEachRow(t, REFUSED.map((length) => [JSON.stringify(length), length] as const), async (
    label,
    length,
  ) => {
    const line = `content-length: ${length}\r\n\r\nhello`;
    const { received } = await exchange(serving.address, `PUT / HTTP/1.1\r\n${line}`);
    assertEquals(received, formatErrorResponse(400));

    using pair = await connect();
    const response = pair.answer(`HTTP/1.1 200 OK\r\n${line}`);
    const codes = ["BAD_CONTENT_LENGTH", "BAD_HEADER_VALUE"];
    await assertProtocolRejection(response, codes, label);
    assertEquals(pair.conn.closed, true);
  });
});
