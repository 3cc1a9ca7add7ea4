/**
 * Requesters and connectors are recognized by their methods: wrappers work like the wrapped
 * objects. expectOk() and StatusError.
 */
import {
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
} from "@std/assert";
import {
  Client,
  ConnectionPool,
  createFetch,
  expectOk,
  isTransient,
  ProxyApp,
  reply,
  StatusError,
} from "@degu/degu";
import {
  bodies,
  Body,
  type BodyOut,
  type HeadersToSend,
  Range,
  type Response,
  Response as DeguResponse,
} from "@degu/degu/base";
import type { Connection, Requester } from "@degu/degu/client";
import { waitForAbort } from "@degu/testing/aborts.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import { makeRequesters, WrappedClient } from "./requesters.ts";
import { callApp, mkreq } from "@degu/degu/misc";
import { catchRejection, catchThrown } from "@degu/testing/expectations.ts";
import { FakeTime } from "@std/testing/time";
import { connect } from "./connected.ts";

Deno.test("createFetch accepts every kind of requester", async (t) => {
  await using serving = serve(async ({ uri, body }) => [200, "OK", {}, await body?.text() ?? uri]);
  using shapes = await makeRequesters(serving.makeClient());
  const requesters = shapes.filter((shape): shape is [string, Requester] => "request" in shape[1]);
  await testEachRow(t, requesters, async (_name, target) => {
    const fetch = createFetch(target);
    for (let i = 0; i < 3; i++) {
      const posted = await fetch("/a", { method: "POST", body: "hello" });
      assertEquals(await posted.text(), "hello");
    }
    assertEquals(await (await fetch("/a")).text(), "/a");
  });
});

Deno.test("ProxyApp connects if it can, and keeps the connection; otherwise it relays each request", async () => {
  await using upstream = serve(async ({ uri, body }) => [200, "OK", { uri }, await body!.text()]);
  const wrapped = new WrappedClient(upstream.makeClient());
  const requester: Requester = {
    request: (method, uri, headers = {}, body = null) => {
      return wrapped.request(method, uri, headers, body);
    },
  };
  for (const [target, expected] of [[wrapped, 1], [requester, 0]] as const) {
    wrapped.connections = 0;
    await using proxy = serve(new ProxyApp(target));
    using conn = await proxy.makeClient().connect();
    for (let i = 0; i < 3; i++) {
      const response = await conn.put("/a?b", {}, "hello");
      assertEquals([response.headers["uri"], await response.text()], ["/a?b", "hello"]);
    }
    assertEquals(wrapped.connections, expected);
  }
});

Deno.test("ProxyApp aborts a request of a requester without connections when its client leaves", async () => {
  const requestSignal = Promise.withResolvers<AbortSignal>();
  const target: Requester = {
    request: (_method, _uri, _headers, _body, options) => {
      requestSignal.resolve(options!.signal!);
      return waitForAbort(options!.signal!).then((reason) => Promise.reject(reason));
    },
  };
  await using proxy = serve(new ProxyApp(target));
  const conn = await proxy.makeClient().connect();
  const rejection = assertRejects(() => conn.get("/"));
  const signal = await requestSignal.promise;
  conn.close();
  await rejection;
  await withTimeout(waitForAbort(signal), "the request is aborted");
});

Deno.test("get, head, delete, put and post of a client and a pool work as on a connection", async () => {
  await using serving = serve(async ({ method, uri, headers, body }) => {
    const text = body === null ? "none" : await body.text();
    return [200, "OK", { said: `${method} ${uri} ${headers["x-a"]} ${text}` }, null];
  });
  const client = serving.makeClient();
  using conn = await client.connect();
  await using pool = new ConnectionPool(client);
  const abortedOptions = { signal: AbortSignal.abort(new Error("enough")) };
  for (const target of [client, conn, pool]) {
    const readSaid = async (responding: Promise<Response>) => (await responding).headers["said"];
    for (const method of ["get", "head", "delete"] as const) {
      const name = method.toUpperCase();
      assertEquals(await readSaid(target[method]("/a")), `${name} /a undefined none`);
      assertEquals(await readSaid(target[method]("/a", { "x-a": "b" })), `${name} /a b none`);
      await assertRejects(() => target[method]("/a", {}, abortedOptions), Error, "enough");
    }
    assertEquals(await readSaid(target.request("GET", "/a", { "x-a": "b" })), "GET /a b none");
    const withoutHeaders = target.request("GET", "/a", undefined, null);
    assertEquals(await readSaid(withoutHeaders), "GET /a undefined none");
    for (const method of ["put", "post"] as const) {
      const name = method.toUpperCase();
      assertEquals(await readSaid(target[method]("/a")), `${name} /a undefined none`);
      assertEquals(
        await readSaid(target[method]("/a", { "x-a": "b" }, "hello")),
        `${name} /a b hello`,
      );
      await assertRejects(() => target[method]("/a", {}, "hello", abortedOptions), Error, "enough");
      const withoutBody = () => Reflect.apply(target[method], target, ["/a", {}]);
      await assertRejects(withoutBody, TypeError, "body");
    }
  }
});

Deno.test("getRange of a client and a pool works as on a connection", async () => {
  await using serving = serve(({ method, headers }) => {
    return [200, "OK", { said: `${method} ${headers.range} ${headers["x-a"]}` }, null];
  });
  const client = serving.makeClient();
  using conn = await client.connect();
  await using pool = new ConnectionPool(client);
  const abortedOptions = { signal: AbortSignal.abort(new Error("enough")) };
  for (const target of [client, conn, pool]) {
    for (const range of [undefined, new Range(2, 5)]) {
      const { headers } = await target.getRange("/", { "x-a": "b", range }, 2, 5);
      assertEquals(headers["said"], "GET bytes=2-4 b");
    }
    await assertRejects(() => target.getRange("/", {}, 2, 5, abortedOptions), Error, "enough");
    await assertRejects(() => target.getRange("/", {}, 5, 2), RangeError);
    const noObject = new Headers({ "x-a": "b" }) as never;
    await assertRejects(() => target.getRange("/", noObject, 2, 5), TypeError, "headers");
    const text = { range: "bytes=2-4" } as never;
    await assertRejects(() => target.getRange("/", text, 2, 5), TypeError, "a Range");
    for (const range of [new Range(0, 1), new Range(2, 6), new Range(1, 5)]) {
      const send = () => target.getRange("/", { range }, 2, 5);
      await assertRejects(send, RangeError, 'headers["range"]');
    }
  }
  assertEquals(pool.inUse, 0);
});

Deno.test("connect takes its options first, or after the classes of bodies", async () => {
  await using serving = serve(() => [200, "OK", {}, "hello"]);
  const client = serving.makeClient();
  class OtherBody extends bodies.Body {}
  const otherBodies = { ...bodies, Body: OtherBody };
  const { signal } = new AbortController();
  const rows: [() => Promise<Connection>, boolean][] = [
    [() => client.connect(), false],
    [() => client.connect({ signal, bodies: undefined }), false],
    [() => client.connect(undefined, { signal }), false],
    [() => client.connect(null, { signal }), false],
    [() => serving.makeClient({ bodies: null }).connect(), false],
    [() => client.connect({ signal, bodies: otherBodies }), true],
    [() => client.connect(otherBodies), true],
    [() => client.connect(otherBodies, { signal }), true],
  ];
  for (const [connect, usesOtherBody] of rows) {
    using conn = await connect();
    const { body } = await conn.get("/");
    assertEquals(body instanceof OtherBody, usesOtherBody, `${connect}`);
    await body?.read();
  }
});

// ───────────────────────── expectOk()

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
  for (let microtask = 0; microtask < 100; microtask++) await null;
  time.tick(1000);
  assertEquals((await rejected as StatusError).text, "");
});

Deno.test("expectOk rejects with the error of the request, and accepts only responses of this library", async () => {
  const refused = new Deno.errors.ConnectionRefused("no listener");
  assertStrictEquals(await catchRejection(expectOk(Promise.reject(refused)), "the call"), refused);
  for (const value of [undefined, null, 200, {}, new globalThis.Response("a response of fetch")]) {
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
