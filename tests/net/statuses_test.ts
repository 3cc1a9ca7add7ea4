/** The statuses that a client accepts, and their classes (RFC 9110 §15). */
import { expectOk, StatusError } from "@degu/degu";
import { connect } from "@degu/testing/connected.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
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
