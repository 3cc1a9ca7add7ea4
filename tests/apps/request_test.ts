/**
 * The body methods of a request, the responses to invalid bodies, and the store and the copies by
 * which one app passes values to the next.
 */
import {
  type App,
  type AppFunction,
  BodyError,
  fromFetchHandler,
  json,
  ProxyApp,
  reply,
  type Request,
  routes,
  wrapApp,
} from "@degu/degu";
import { callApp, mkreq } from "@degu/degu/misc";
import { serve } from "@degu/testing/serving.ts";
import { assert, assertEquals, assertRejects, assertStrictEquals, assertThrows } from "@std/assert";
import { callWith } from "@degu/testing/expectations.ts";

Deno.test("a request reads its body as bytes, text or JSON, and null is empty", async () => {
  const put = (sent?: Uint8Array | string) => mkreq("PUT", "/", {}, sent ?? null);
  assertEquals(await put("héllo").text(), "héllo");
  assertEquals(await put("hi").bytes(), new Uint8Array([104, 105]));
  assertEquals(await put().text(), "");
  assertEquals((await put().bytes()).length, 0);
  const rows: [sent: string, value: unknown][] = [
    ['{"on":true}', { on: true }],
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

// The store and copies of a request, by which one app passes values to the next.

/** The user of each token; a request without a token has no user. */
const USERS = new Map([["secret-a", "anna"], ["secret-b", "bert"]]);

/** Wraps an app, and first stores the user of the request's token, if it has one. */
function withUser(app: App, storeOf: (request: Request, store: Map<string, unknown>) => unknown) {
  return wrapApp(app, (next, request, session) => {
    const user = USERS.get(`${request.headers["authorization"]}`);
    const store = storeOf(request, session.store) as Map<string, unknown>;
    if (user !== undefined) store.set("user", user);
    return next();
  });
}

/**
 * Returns the users that an app behind a proxy sees for three clients over one connection; the
 * third client has no token.
 */
async function requestNamesByProxy(app: App): Promise<string[]> {
  await using upstream = serve(app);
  await using proxy = serve(new ProxyApp(upstream.makeClient()));
  const names: string[] = [];
  for (const authorization of ["secret-a", "secret-b", undefined]) {
    using conn = await proxy.makeClient().connect();
    names.push(await (await conn.get("/", { authorization })).text());
  }
  assertEquals(upstream.server.sessions.size, 1, "the proxy used one connection");
  return names;
}

Deno.test("behind a proxy, clients don't share the user in request.store, but share the user in session.store", async () => {
  const requestStoreApp = withUser(
    (request) => reply(200, `${request.store.get("user") ?? "nobody"}`),
    (request) => request.store,
  );
  assertEquals(await requestNamesByProxy(requestStoreApp), ["anna", "bert", "nobody"]);
  const sessionStoreApp = withUser(
    (_request, { store }) => reply(200, `${store.get("user") ?? "nobody"}`),
    (_request, store) => store,
  );
  assertEquals(await requestNamesByProxy(sessionStoreApp), ["anna", "bert", "bert"]);
});

Deno.test("each request of a connection has its own store, whose values are not disposed of", async () => {
  let disposed = 0;
  await using serving = serve((request) => {
    const { size } = request.store;
    request.store.set("a", { [Symbol.dispose]: () => ++disposed });
    return reply(200, `${size}`);
  });
  using conn = await serving.makeClient().connect();
  for (let i = 0; i < 3; i++) assertEquals(await (await conn.get("/")).text(), "0");
  conn.close();
  await serving.server.shutdown();
  assertEquals(disposed, 0);
});

Deno.test("all apps of a request share one store: routes, a wrapper, a fetch handler", async () => {
  const set = (app: App, name: string) =>
    wrapApp(app, (next, request) => {
      request.store.set(name, request.store.size);
      return next();
    });
  const handler = fromFetchHandler((_request, { request }) =>
    Response.json(Object.fromEntries(request.store))
  );
  const app = set(routes({ "/api/": set(handler, "inner") }), "outer");
  const request = mkreq("GET", "/api/a");
  request.store.set("test", true);
  const response = await callApp(app, request);
  assertEquals(await response.json(), { test: true, outer: 1, inner: 2 });
});

Deno.test("a copy of a request has its own headers, path and mount, and shares the rest", async () => {
  const request = mkreq("PUT", "/a/b/c?d=e", { "x-a": "1", "x-b": "2" }, "hello", 1);
  const copy = request.with({
    headers: { "x-b": undefined, "x-c": "3", "x-none": undefined },
    path: ["z", ""],
    mount: ["y"],
  });
  assertEquals({ ...copy.headers }, { "content-length": 5, "x-a": "1", "x-c": "3" });
  assertEquals(copy.headers["constructor"], undefined);
  assertEquals([copy.mount, copy.path], [["y"], ["z", ""]]);
  assertEquals(copy.buildProxyUri(), "/z/?d=e");
  assertEquals([copy.method, copy.uri, copy.query], ["PUT", "/a/b/c?d=e", "d=e"]);
  assertStrictEquals(copy.body, request.body);
  assertStrictEquals(copy.parameters, request.parameters);
  assertStrictEquals(copy.store, request.store);
  assertEquals([request.mount, request.path], [["a"], ["b", "c"]]);
  assertEquals(request.headers["x-a"], "1");
  assertEquals(await copy.text(), "hello");
  assertEquals(request.body?.used, true);
});

Deno.test("a copy without changes equals the request, and shifts its path alone", () => {
  const request = mkreq("GET", "/a/b", { "x-a": "1" });
  const copy = request.with({});
  assert(copy !== request);
  assertEquals(copy.shiftPath(), "a");
  assertEquals([request.path, copy.path, copy.mount], [["a", "b"], ["b"], ["a"]]);
  assertStrictEquals(copy.headers, request.headers);
});

Deno.test("an invalid change to a request is an error that names the change", () => {
  const rows: [changes: unknown, error: typeof Error, message: string][] = [
    [undefined, TypeError, "changes: must be an object; got undefined"],
    [{ uri: "/" }, TypeError, 'unknown option "uri"; the options are headers, path, mount'],
    [{ headers: new Headers() }, TypeError, "changes.headers: must be a plain object"],
    [{ headers: { "X-A": "1" } }, RangeError, '; write it in lower case: "x-a"'],
    [{ path: "/a" }, TypeError, "changes.path: must be an array; got string"],
    [{ path: ["a", 5] }, TypeError, "changes.path[1]: must be a string; got number"],
    [{ path: [".."] }, RangeError, 'changes.path[0]: "..": ".." is not allowed'],
    [{ mount: ["", "a"] }, RangeError, 'changes.mount[0]: "" is allowed only as the last'],
  ];
  const request = mkreq("GET", "/");
  for (const [changes, error, message] of rows) {
    assertThrows(
      () =>
        callWith(
          (requestChanges: Parameters<Request["with"]>[0]) => request.with(requestChanges),
          changes,
        ),
      error,
      message,
    );
  }
});
