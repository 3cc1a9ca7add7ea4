/** The body methods of a request, and the responses to invalid bodies. */
import {
  type App,
  type AppFunction,
  BodyError,
  type HeadersToSend,
  json,
  reply,
  wrapApp,
} from "@degu/degu";
import { callApp, mkreq } from "@degu/degu/misc";
import { serve } from "@degu/testing/serving.ts";
import { assertEquals, assertRejects } from "@std/assert";

Deno.test("a request reads its body as bytes, text or JSON, and null is empty", async () => {
  const put = (sent?: Uint8Array | string) => mkreq("PUT", "/", {}, sent ?? null);
  assertEquals(await put("héllo").text(), "héllo");
  assertEquals(await put("hi").bytes(), new Uint8Array([104, 105]));
  assertEquals(await put().text(), "");
  assertEquals((await put().bytes()).length, 0);
  const rows: [sent: string, value: unknown][] = [
    ['{"on":true}', { on: true }],
    [" null ", null],
    ["0", 0],
  ];
  for (const [sent, value] of rows) assertEquals(await put(sent).json(), value);
  for (
    const sent of ["", "undefined", "{on: true}", new Uint8Array([0x22, 0xff, 0x22]), undefined]
  ) {
    const error = await assertRejects(() => put(sent).json(), SyntaxError);
    assertEquals(error.message, "the body of the request is not JSON in UTF-8");
  }
  for (const options of [{ maxbytes: 5 }, { maxBytes: "5" }]) {
    const { json, text, bytes } = mkreq("PUT", "/").constructor.prototype;
    for (const read of [json, text, bytes]) {
      await assertRejects(() => read.call(put("a"), options) as Promise<unknown>, TypeError);
    }
  }
});

Deno.test("with() adds, replaces and removes headers, and keeps all others", () => {
  const headers = { authorization: "secret", accept: "text/plain", "x-a": "1" };
  const request = mkreq("PUT", "/", headers, "hello");
  const framing = { "content-length": 5 };
  const rows: [changes: HeadersToSend, expected: HeadersToSend][] = [
    [{}, { ...headers, ...framing }],
    [{ "x-user": "anna" }, { ...headers, ...framing, "x-user": "anna" }],
    [{ "x-a": "2" }, { ...headers, ...framing, "x-a": "2" }],
    [{ authorization: undefined }, { accept: "text/plain", "x-a": "1", ...framing }],
    [{ ...request.headers, accept: undefined }, {
      authorization: "secret",
      "x-a": "1",
      ...framing,
    }],
    [{ "x-none": undefined }, { ...headers, ...framing }],
  ];
  for (const [changes, expected] of rows) {
    const copy = request.with({ headers: changes });
    assertEquals({ ...copy.headers }, expected);
    assertEquals(Object.getPrototypeOf(copy.headers), null);
    assertEquals({ ...copy.with({ path: ["a"] }).headers }, expected);
  }
  assertEquals({ ...request.headers }, { ...headers, ...framing });
});

Deno.test("a body that isn't JSON causes 400, and a body that is too long causes 413, if the app doesn't catch the error", async () => {
  const app: AppFunction = async (request) => json(await request.json({ maxBytes: 4 }) ?? null);
  const wrapped = wrapApp(app, (next) => next());
  const wrappedWithCopy = wrapApp(app, (next, request) => next(request.with({ headers: {} })));
  const rows: [sent: string, status: number][] = [
    ["5", 200],
    ["five", 400],
    ["", 400],
    ["12345", 413],
  ];
  for (const served of [wrapped, wrappedWithCopy]) {
    await using serving = serve(served);
    for (const [sent, status] of rows) {
      const callResponse = await callApp(served, mkreq("PUT", "/", {}, sent));
      assertEquals(callResponse.status, status, sent);
      const response = await serving.makeClient().request("PUT", "/", {}, sent);
      assertEquals(response.status, status, sent);
      assertEquals(await response.text(), status === 200 ? sent : "");
    }
    assertEquals(serving.logger.messagesOf("error"), []);
    const contentLines = serving.logger.messagesOf("info").filter((line) => /not JSON/.test(line));
    assertEquals(contentLines.length, 2);
  }
  assertEquals((await callApp(app, mkreq("GET", "/"))).status, 400);
  const wrappingApp: App = (request, session, api) =>
    Promise.resolve(app(request, session, api)).catch((cause) => {
      throw new Error("the upload has failed", { cause });
    });
  for (const [sent, status] of rows) {
    const response = await callApp(wrappingApp, mkreq("PUT", "/", {}, sent));
    assertEquals(response.status, status, `${sent} in an error of the app`);
  }
  const ownApp: App = async (request) => {
    const value = await request.json().catch(() => "none");
    return json(value, value === "none" ? 422 : 200);
  };
  assertEquals((await callApp(ownApp, mkreq("PUT", "/", {}, "five"))).status, 422);
  const text: App = async (request) => reply(200, await request.text({ maxBytes: 1 }));
  assertEquals((await callApp(text, mkreq("PUT", "/", {}, "ab"))).status, 413);
});

Deno.test("a SyntaxError that doesn't come from the body is an error of the app", async () => {
  const otherRequest = mkreq("PUT", "/", {}, "five");
  const apps: App[] = [
    () => JSON.parse("five"),
    async ({ body }) => json(await body!.json() ?? null),
    async () => json(await otherRequest.json() ?? null),
    () => Promise.reject(new SyntaxError("mine")),
  ];
  for (const app of apps) {
    await assertRejects(() => callApp(app, mkreq("PUT", "/", {}, "five")), SyntaxError);
  }
  const lateApp: App = async () =>
    reply(200, await mkreq("PUT", "/", {}, "ab").text({ maxBytes: 1 }));
  await assertRejects(() => callApp(lateApp, mkreq("PUT", "/", {}, "ab")), BodyError);
});
