/** The statuses that a client accepts, and their classes (RFC 9110 §15). */
import { expectOk, StatusError } from "@degu/degu";
import { connect } from "@degu/testing/connected.ts";
import { assertProtocolRejection, catchRejection } from "@degu/testing/expectations.ts";
import { assertEquals, assertInstanceOf } from "@std/assert";

Deno.test("a client handles an unknown status by its class", async () => {
  using pair = await connect();
  for (const status of [200, 218, 299, 300, 399, 400, 471, 499, 500, 599]) {
    const bytes = `HTTP/1.1 ${status} xx\r\ncontent-length: 0\r\n\r\n`;
    const response = await pair.answer(bytes);
    const isSuccess = status < 300;
    assertEquals([response.status, response.ok], [status, isSuccess]);
    const checked = expectOk(pair.answer(bytes));
    if (isSuccess) await checked;
    else assertInstanceOf(await catchRejection(checked, `${status}`), StatusError);
  }
});

Deno.test("a client refuses an interim response, alone and before a final response", async () => {
  for (const status of [100, 101, 103, 199]) {
    for (const final of ["", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"]) {
      using pair = await connect();
      const response = pair.answer(`HTTP/1.1 ${status} xx\r\n\r\n${final}`);
      await assertProtocolRejection(response, ["UNEXPECTED_STATUS"], `${status}`);
      assertEquals(pair.conn.closed, true);
    }
  }
});
