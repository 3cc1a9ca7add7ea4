/** Requests that apps read, copy and pass on, and responses that they return and throw. */
import {
  accessLog,
  type App,
  type AppFunction,
  BodyError,
  DeguError,
  type Exchange,
  fromFetchHandler,
  type HeadersToSend,
  json,
  ProxyApp,
  reply,
  type Request,
  Response,
  ResponseError,
  type ResponseTuple,
  retry,
  routes,
  wrapApp,
} from "@degu/degu";
import { callApp, mkreq } from "@degu/degu/misc";
import { serve } from "@degu/testing/serving.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  assertRangeError,
  assertTypeError,
  callWith,
  constructWith,
} from "@degu/testing/expectations.ts";
import type { ResponseObject } from "@degu/degu/server";

Deno.test("a request reads its body as bytes, text or JSON, and null is empty", async () => {
  const put = (sent?: Uint8Array | string) => mkreq("PUT", "/", {}, sent ?? null);
  assertEquals(await put("héllo").text(), "héllo");
  assertEquals(await put("hi").bytes(), new Uint8Array([104, 105]));
  assertEquals(await put().text(), "");
  assertEquals((await put().bytes()).length, 0);
  const rows: [sent: string, value: unknown][] = [
    ['{"on":true}', { on: true }],
    ["0", 0],
    ["\ufeff[5]", [5]],
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
    globalThis.Response.json(Object.fromEntries(request.store))
  );
  const app = set(routes({ "/api/": set(handler, "inner") }), "outer");
  const request = mkreq("GET", "/api/a");
  request.store.set("test", true);
  const response = await callApp(app, request);
  assertEquals(await response.json(), { test: true, outer: 1, inner: 2 });
});

Deno.test("a request and its copy share a store that is first used after copying", () => {
  const request = mkreq("GET", "/");
  const copy = request.with({});
  copy.with({}).store.set("a", 1);
  assertEquals(request.store.get("a"), 1);
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
    [{ path: ["."] }, RangeError, 'changes.path[0]: ".": "." is not allowed'],
    [{ path: ["a/b"] }, RangeError, 'changes.path[0]: "a/b": "/" is not allowed'],
    [{ headers: { "x a": "1" } }, RangeError, 'changes.headers["x a"]: the name must be'],
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

// Responses: reply() and json(), and responses that an app throws.

const PLAIN = "text/plain;charset=utf-8";

Deno.test("reply gives each status its standard reason phrase", () => {
  const rows: [status: number, reason: string][] = [
    [200, "OK"],
    [404, "Not Found"],
    [413, "Content Too Large"],
    [431, "Request Header Fields Too Large"],
    [511, "Network Authentication Required"],
  ];
  for (const [status, reason] of rows) {
    assertEquals(reply(status, null, { location: "/" }).slice(0, 2), [status, reason]);
  }
});

Deno.test("reply refuses a status without a standard reason", () => {
  for (const status of [199, 226, 306, 418, 599, 600, 200.5]) {
    assertRangeError(() => reply(status), `${status}`);
  }
  for (const status of [undefined, "200", null, 200n]) {
    assertTypeError(() => callWith(reply, status), Deno.inspect(status));
  }
});

Deno.test("reply refuses a redirect without location", () => {
  for (const status of [301, 302, 303, 307, 308]) {
    assertRangeError(() => reply(status, "/new"), `must have location with status ${status}`);
    assertEquals(reply(status, null, { location: "/new" })[2], { location: "/new" });
  }
  for (const status of [300, 304]) assertEquals(reply(status)[2], {});
});

Deno.test("reply sends a string as UTF-8 text unless headers has a content-type", () => {
  const rows: [string, HeadersToSend | undefined, HeadersToSend][] = [
    ["hello", undefined, { "content-type": PLAIN }],
    ["Öl", { a: "b" }, { "content-type": PLAIN, a: "b" }],
    ["<p>", { "content-type": "text/html" }, { "content-type": "text/html" }],
    ["", undefined, { "content-type": PLAIN }],
  ];
  for (const [body, options, headers] of rows) {
    const response = reply(200, body, options);
    assertEquals([response[3], response[2]], [body, headers]);
  }
  assertRangeError(() => reply(200, "a\ud800b"), "a lone surrogate");
});

Deno.test("reply has no body by default, and refuses one with 204 and 304", () => {
  assertEquals(reply(404)[3], null);
  assertEquals(reply(404, null, { a: "b" }).slice(2), [{ a: "b" }, null]);
  for (const status of [204, 304]) {
    assertStrictEquals(reply(status)[3], null);
    assertStrictEquals(reply(status, null, { etag: '"a"' })[2]["etag"], '"a"');
    for (const body of ["", "a", new Uint8Array(0)]) {
      assertRangeError(() => reply(status, body), `${status} with a body`);
    }
  }
});

Deno.test("reply copies the headers, and passes any other body on", () => {
  const passedHeaders = { a: "b" };
  const bytes = new Uint8Array(3);
  const [, , headers, body] = reply(200, bytes, passedHeaders);
  headers["c"] = "d";
  assertEquals(passedHeaders, { a: "b" });
  assertStrictEquals(body, bytes);
});

Deno.test("reply refuses a body that is given and undefined", () => {
  const lamps = new Map<string, string>();
  const problem = "body: must be null or left out if there is none; got undefined";
  for (const status of [200, 204]) {
    assertTypeError(() => reply(status, lamps.get("a")!), problem);
    assertTypeError(() => callWith(reply, status, undefined, { etag: "a" }), problem);
  }
  assertEquals(callWith(reply, 200, null, undefined), reply(200));
});

Deno.test("json makes a response from a value", () => {
  const [status, reason, headers, body] = json({ a: [1, "ö"] });
  assertEquals([status, reason, headers], [200, "OK", { "content-type": "application/json" }]);
  assertEquals(body, '{"a":[1,"ö"]}');
  assertEquals(json(null, 404, { "content-type": "application/problem+json" }).slice(0, 3), [
    404,
    "Not Found",
    { "content-type": "application/problem+json" },
  ]);
});

Deno.test("json refuses values that JSON can't represent, and a status without a body", () => {
  const cyclic: unknown[] = [];
  cyclic.push(cyclic);
  for (const value of [undefined, () => {}, Symbol("a"), 5n, cyclic]) {
    assertTypeError(() => callWith(json, value), Deno.inspect(value));
  }
  assertRangeError(() => json({}, 204), "204");
});

Deno.test("json writes what JSON.stringify writes", () => {
  const values: unknown[] = [
    null,
    { none: undefined, f: () => 1, map: new Map([["a", 1]]), date: new Date(0) },
    { set: new Set(["a"]), toJSON: () => ["a", {}] },
  ];
  for (const value of values) assertEquals(json(value)[3], JSON.stringify(value));
});

// Responses that an app throws, and responses as objects.

/** A response in each form. */
const ANSWERS: readonly (() => ResponseTuple | ResponseObject)[] = [
  () => [404, "No Lamp", { "x-a": "b" }, "none"],
  () => ({ status: 404, reason: "No Lamp", headers: { "x-a": "b" }, body: "none" }),
  () => new Response(404, "No Lamp", { "x-a": "b" }, "none"),
  () => ({
    status: 404,
    reason: "No Lamp",
    headers: { "x-a": "b" },
    body: new Blob(["none"]).stream(),
  }),
];

async function assertNoLamp(response: Response): Promise<void> {
  const { status, reason, headers } = response;
  assertEquals([status, reason, headers["x-a"]], [404, "No Lamp", "b"]);
  assertEquals(await response.text(), "none");
}

const throwResponse = (response: () => ResponseTuple | ResponseObject): never => {
  throw new ResponseError(response());
};

Deno.test("the server sends a response that an app returns or throws, as an array or an object", async () => {
  for (const response of ANSWERS) {
    const apps: App[] = [
      response,
      () => Promise.resolve(response()),
      () => throwResponse(response),
      async () => {
        await Promise.resolve();
        return throwResponse(response);
      },
      { handle: () => throwResponse(response) },
      routes({ "GET /": () => throwResponse(response) }),
      wrapApp(() => throwResponse(response), (next) => next()),
      wrapApp(() => reply(200), () => throwResponse(response)),
      fromFetchHandler(() => throwResponse(response)),
    ];
    for (const app of apps) {
      await assertNoLamp(await callApp(app, mkreq("GET", "/")));
      await using serving = serve(app);
      using conn = await serving.makeClient().connect();
      await assertNoLamp(await conn.get("/"));
      await assertNoLamp(await conn.get("/"));
      assertEquals(serving.logger.messagesOf("error"), []);
    }
  }
});

Deno.test("next() resolves to a response that the app throws, and to 413 and 400", async () => {
  const app: App = async (request) => {
    if (request.path[0] === "thrown") throw new ResponseError(reply(404));
    if (request.path[0] === "broken") throw new Error("broken");
    return json(await request.json({ maxBytes: 4 }));
  };
  const wrapped = wrapApp(app, async (next) => {
    const response = await next();
    assertInstanceOf(response, Response);
    const { status, reason, headers, body } = response;
    return { status, reason, headers: { ...headers, "x-seen": `${status}` }, body };
  });
  await using serving = serve(wrapped);
  for (
    const [uri, sent, status] of [
      ["/", "5", 200],
      ["/", "five", 400],
      ["/", "12345", 413],
      ["/thrown", "", 404],
    ] as const
  ) {
    for (
      const response of [
        await serving.makeClient().request("PUT", uri, {}, sent),
        await callApp(wrapped, mkreq("PUT", uri, {}, sent)),
      ]
    ) assertEquals([response.status, response.headers["x-seen"]], [status, `${status}`]);
  }
  assertEquals(serving.logger.messagesOf("error"), []);
  assertEquals((await serving.makeClient().request("PUT", "/broken")).status, 500);
  await assertRejects(() => callApp(wrapped, mkreq("PUT", "/broken")), Error, "broken");
});

Deno.test("an access log has a response that an app throws", async () => {
  const lines: string[] = [];
  const log = accessLog({ print: (line) => lines.push(line) });
  const exchangeEnded = Promise.withResolvers<Exchange>();
  const onExchange = (exchange: Exchange) => {
    log(exchange);
    exchangeEnded.resolve(exchange);
  };
  await using serving = serve(() => throwResponse(() => reply(404, "none")), { onExchange });
  assertEquals((await serving.makeClient().request("GET", "/lamp")).status, 404);
  assertEquals((await exchangeEnded.promise).error, null);
  assertMatch(lines[0]!, /"GET \/lamp HTTP\/1\.1" 404 4$/);
});

Deno.test("a proxy sends a response that a custom client throws, and logs no error", async () => {
  for (const response of ANSWERS) {
    await using app = new ProxyApp({ request: async () => await throwResponse(response) });
    await using serving = serve(app);
    await assertNoLamp(await serving.makeClient().request("GET", "/"));
    assertEquals([...serving.logger.messagesOf("error"), ...serving.logger.messagesOf("info")], []);
  }
});

Deno.test("a ResponseError is a DeguError with the response, and is not transient", async () => {
  const response = reply(404, "none");
  const error = new ResponseError(response);
  assertInstanceOf(error, DeguError);
  assertEquals(`${error}`, 'ResponseError: the app answers 404 "Not Found"');
  assertStrictEquals(error.response, response);
  let calls = 0;
  const call = () => {
    calls++;
    return Promise.reject(error);
  };
  await assertRejects(() => retry(call, { seconds: 0 }), ResponseError);
  assertEquals(calls, 1);
});

Deno.test("ResponseError refuses an invalid response, and a response that can't be sent causes 500", async () => {
  for (const value of [undefined, 404, "Not Found", [404], {}, new globalThis.Response()]) {
    assertTypeError(() => constructWith(ResponseError, value), "response: must be ");
  }
  const throwInvalidResponse = () => throwResponse(() => [404, "Not\nFound", {}, null]);
  await using serving = serve(throwInvalidResponse);
  assertEquals((await serving.makeClient().request("GET", "/")).status, 500);
  await serving.logger.waitFor("error", "response.reason");
  await assertRejects(
    () => callApp(throwInvalidResponse, mkreq("GET", "/")),
    RangeError,
    "response.reason",
  );
});

Deno.test("if onConnect throws a response, the peer is refused and gets no byte", async () => {
  await using serving = serve({
    handle: () => reply(200),
    onConnect: () => throwResponse(() => reply(403)),
  });
  await assertRejects(() => serving.makeClient().request("GET", "/"));
  await serving.logger.waitFor("error", "onConnect");
});

Deno.test("the log explains how to answer with a response that an app has thrown, without its headers", async () => {
  const secrets = { "set-cookie": "id=secret" };
  const responses: unknown[] = [
    reply(401, "no", secrets),
    { status: 401, reason: "Unauthorized", headers: secrets, body: null },
    new globalThis.Response("no", { status: 401, headers: secrets }),
  ];
  const throwIt = (thrown: unknown): never => {
    throw thrown;
  };
  for (const thrown of responses) {
    const apps: App[] = [
      () => throwIt(thrown),
      wrapApp(() => throwIt(thrown), (next) => next()),
      fromFetchHandler(() => throwIt(thrown)),
    ];
    for (const app of apps) {
      await using serving = serve(app);
      assertEquals((await serving.makeClient().request("GET", "/")).status, 500);
      const [line = ""] = await serving.logger.waitFor("error");
      assertStringIncludes(line, "it has thrown a response of 401; to answer with a response, ");
      assertStringIncludes(line, "throw new ResponseError(response)");
      assertEquals(line.includes("secret"), false);
    }
  }
});
