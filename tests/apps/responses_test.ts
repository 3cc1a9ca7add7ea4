/** reply() and json(), and responses that an app throws or returns as objects, in logs, wrappers and proxies. */
import {
  type App,
  DeguError,
  fromFetchHandler,
  type HeadersToSend,
  json,
  reply,
  Response,
  ResponseError,
  type ResponseTuple,
  retry,
  routes,
  wrapApp,
} from "@degu/degu";
import {
  assertRangeError,
  assertTypeError,
  callWith,
  constructWith,
} from "@degu/testing/expectations.ts";
import {
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
} from "@std/assert";
import type { ResponseObject } from "@degu/degu/server";
import { callApp, mkreq } from "@degu/degu/misc";
import { serve } from "@degu/testing/serving.ts";

const text = (bytes: unknown) => new TextDecoder().decode(bytes as Uint8Array);
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
    assertEquals([text(response[3]), response[2]], [body, headers]);
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
  assertEquals(text(body), '{"a":[1,"ö"]}');
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
  for (const value of values) assertEquals(text(json(value)[3]), JSON.stringify(value));
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
