/** Responses that have to be a success. */
import { Client, expectOk, isTransient, reply, retry, StatusError } from "@degu/degu";
import { Response as DeguResponse } from "@degu/degu/base";
import { callApp, mkreq } from "@degu/degu/misc";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { serve } from "@degu/testing/serving.ts";
import { assertEquals, assertInstanceOf, assertRejects, assertStrictEquals } from "@std/assert";

Deno.test("expectOk returns the very response whose status is 200 to 299, its body untouched", async () => {
  for (const status of [200, 204, 299]) {
    const response = new DeguResponse(status, "xx", {}, "text");
    assertStrictEquals(await expectOk(response), response);
    assertStrictEquals(await expectOk(Promise.resolve(response)), response);
  }
  const response = await expectOk(callApp(() => reply(200, "hello"), mkreq("GET", "/")));
  assertEquals(await response.text(), "hello");
});

Deno.test("expectOk rejects any other status with it, and quotes the reason", async () => {
  const rows: [status: number, reason: string, message: string][] = [
    [199, "xx", 'the server answered 199 "xx"'],
    [300, "xx", 'the server answered 300 "xx"'],
    [404, "Not Found", 'the server answered 404 "Not Found"'],
    [500, "a\u{1b}[2J", 'the server answered 500 "a\\x1b[2J"'],
  ];
  for (const [status, reason, message] of rows) {
    const response = new DeguResponse(status, reason, {}, null);
    const error = await assertRejects(() => expectOk(response), StatusError);
    assertEquals([error.status, error.message, error.name], [status, message, "StatusError"]);
  }
});

Deno.test("after expectOk has rejected the connection makes the next request", async () => {
  await using serving = serve(() => reply(404, "x".repeat(1000)));
  using connection = await new Client(serving.server.address).connect();
  for (let i = 0; i < 3; i++) await assertRejects(() => expectOk(connection.get("/")), StatusError);
});

Deno.test("retry asks again after the statuses of a server that is busy, and after no other", async () => {
  const busy = [408, 429, 502, 503, 504];
  for (let status = 300; status < 600; status++) {
    const error = await rejectionOf(expectOk(new DeguResponse(status, "xx", {}, null)), "it");
    assertEquals(isTransient(error), busy.includes(status), `${status}`);
  }
  let requests = 0;
  await using serving = serve(() => reply(requests++ < 2 ? 503 : 200, "hello"));
  const client = new Client(serving.server.address);
  const response = await retry(() => expectOk(client.request("GET", "/")), { seconds: 0 });
  assertEquals([await response.text(), requests], ["hello", 3]);
});

Deno.test("expectOk passes the error of the request on, and takes nothing but a response of this library", async () => {
  const refused = new Deno.errors.ConnectionRefused("nobody");
  assertStrictEquals(await rejectionOf(expectOk(Promise.reject(refused)), "it"), refused);
  for (const wrong of [undefined, null, 200, {}, new Response("a response of fetch")]) {
    const call = expectOk as (response: unknown) => Promise<unknown>;
    const error = await rejectionOf(call(wrong), "it");
    assertInstanceOf(error, TypeError);
  }
});
