/** expectOk() and StatusError. */
import { Client, ConnectionPool, expectOk, isTransient, reply, StatusError } from "@degu/degu";
import { Body, type BodyOut, type HeadersToSend, Response as DeguResponse } from "@degu/degu/base";
import { callApp, mkreq } from "@degu/degu/misc";
import { catchRejection, catchThrown } from "@degu/testing/expectations.ts";
import { serve } from "@degu/testing/serving.ts";
import {
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
} from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { connect } from "@degu/testing/connected.ts";

Deno.test("expectOk returns a response with status 200 to 299 itself, and doesn't use its body", async () => {
  for (const status of [200, 204, 299]) {
    const response = new DeguResponse(status, "xx", {}, "text");
    assertStrictEquals(await expectOk(response), response);
    assertStrictEquals(await expectOk(Promise.resolve(response)), response);
  }
  const response = await expectOk(callApp(() => reply(200, "hello"), mkreq("GET", "/")));
  assertEquals(await response.text(), "hello");
});

Deno.test("expectOk rejects any other status with a StatusError that has the status and quotes the reason", async () => {
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

Deno.test("the message of a StatusError names the method and the path of the request, without its query", async () => {
  await using serving = serve(() => reply(404, "no such lamp"));
  const client = serving.makeClient();
  using conn = await client.connect();
  await using pool = new ConnectionPool(client);
  for (const requester of [client, conn, pool]) {
    const request = () => expectOk(requester.request("PUT", "/lamp/a?token=secret", {}, "on"));
    const { message } = await assertRejects(request, StatusError);
    assertEquals(message, 'PUT /lamp/a: the server answered 404 "Not Found", "no such lamp"');
  }
});

Deno.test("a StatusError has the request and the response, and prints neither headers nor the query", async () => {
  const headers = { "set-cookie": "id=secret", "x-token": "secret" };
  await using serving = serve(() => [404, "Not Found", headers, "no such lamp"]);
  const request = expectOk(
    serving.makeClient().request("POST", "/lamp?token=secret", {}, "secret"),
  );
  const error = await assertRejects(() => request, StatusError);
  assertEquals([error.status, error.reason], [404, "Not Found"]);
  assertEquals([error.method, error.uri, error.code], ["POST", "/lamp", null]);
  assertEquals(error.headers["x-token"], "secret");
  assertEquals(error.problem, 'the server answered 404 "Not Found", "no such lamp"');
  assertEquals(error.message, `POST /lamp: ${error.problem}`);
  for (const text of [Deno.inspect(error), JSON.stringify(error), `${error.stack}`]) {
    assertEquals(text.includes("secret"), false, text);
  }
  const ownError = await assertRejects(
    () => expectOk(new DeguResponse(404, "xx", {}, null)),
    StatusError,
  );
  assertEquals([ownError.method, ownError.uri, ownError.headers], [null, null, {}]);
});

Deno.test("a StatusError of a program has its fields, and never the query", () => {
  const cause = new Error("the cause");
  const headers = { "retry-after": "7", "x-token": "secret" };
  const fields = { message: "no lamp; add one", problem: "no lamp", status: 503, reason: "Busy" };
  const error = new StatusError({
    ...{ ...fields, cause, headers, text: "later" },
    ...{ method: "GET", uri: "/lamp?token=secret" } as const,
  });
  assertEquals([error.message, error.problem, error.cause], ["no lamp; add one", "no lamp", cause]);
  assertEquals([error.status, error.reason, error.text], [503, "Busy", "later"]);
  assertEquals([error.method, error.uri, error.retryAfter], ["GET", "/lamp", 7]);
  assertEquals(isTransient(error), true);
  assertEquals(Deno.inspect(error).includes("secret"), false);
  const bare = new StatusError({ message: "no lamp", status: 404 });
  assertEquals([bare.reason, bare.method, bare.uri, bare.text], ["", null, null, ""]);
  assertEquals([bare.headers, bare.retryAfter, "cause" in bare], [{}, null, false]);
});

Deno.test("the constructor of StatusError refuses wrong fields, and names the answer of an app", () => {
  const rows: [args: unknown[], Class: typeof TypeError | typeof RangeError, problem: string][] = [
    [[], TypeError, "reply(404)"],
    [["not found", { status: 404 }], TypeError, "reply(404)"],
    [[{ message: "a" }], TypeError, "status"],
    [[{ status: 404 }], TypeError, "message"],
    [[{ message: "a", status: 1000 }], RangeError, "status"],
    [[{ message: "a", status: 404, body: "b" }], TypeError, '"body"'],
    [[{ message: "a", status: 404, method: "get" }], RangeError, "method"],
  ];
  for (const [args, Class, problem] of rows) {
    const error = catchThrown(() => Reflect.construct(StatusError, args), "the call");
    assertInstanceOf(error, Class);
    assertStringIncludes(error.message, problem);
  }
});

Deno.test("after expectOk has rejected, the connection can make the next request", async () => {
  await using serving = serve(() => reply(404, "x".repeat(1000)));
  using connection = await new Client(serving.server.address).connect();
  for (let i = 0; i < 3; i++) await assertRejects(() => expectOk(connection.get("/")), StatusError);
});

/** Runs pending microtasks, and advances the time. */
async function passTime(time: FakeTime, milliseconds: number): Promise<void> {
  for (let i = 0; i < 100; i++) await Promise.resolve();
  time.tick(milliseconds);
}

Deno.test("a StatusError has the text of a short body, and the seconds of retry-after", async () => {
  const rows: [body: BodyOut, headers: HeadersToSend, text: string, retryAfter: number | null][] = [
    ["no such lamp", {}, "no such lamp", null],
    ["x".repeat(1024), { "retry-after": "120" }, "x".repeat(1024), 120],
    ["x".repeat(1025), { "retry-after": "Wed, 21 Oct 2015 07:28:00 GMT" }, "", null],
    [new Uint8Array([0xff]), { "retry-after": "0" }, "", 0],
    [null, { "retry-after": "-1" }, "", null],
  ];
  for (const [body, headers, text, retryAfter] of rows) {
    await using serving = serve(() => [503, "Busy", headers, body ?? new Uint8Array()]);
    using connection = await new Client(serving.server.address).connect();
    const error = await assertRejects(() => expectOk(connection.get("/")), StatusError);
    assertEquals([error.text, error.retryAfter], [text, retryAfter]);
    if (text === "no such lamp") assertStringIncludes(error.message, '503 "Busy", "no such lamp"');
  }
});

Deno.test("expectOk waits at most a second for an endless body", async () => {
  using time = new FakeTime();
  const endless = new ReadableStream({ pull: () => new Promise<void>(() => {}) });
  const response = new DeguResponse(500, "xx", {}, new Body(endless, 100));
  const rejected = catchRejection(expectOk(response), "the call");
  await passTime(time, 1000);
  assertEquals((await rejected as StatusError).text, "");
});

Deno.test("expectOk rejects with the error of the request, and accepts only responses of this library", async () => {
  const refused = new Deno.errors.ConnectionRefused("no listener");
  assertStrictEquals(await catchRejection(expectOk(Promise.reject(refused)), "the call"), refused);
  for (const value of [undefined, null, 200, {}, new Response("a response of fetch")]) {
    const call = expectOk as (response: unknown) => Promise<unknown>;
    await assertRejects(() => call(value), TypeError);
  }
});

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
