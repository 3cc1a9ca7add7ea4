/** Responses that an app throws, and responses as objects, in logs, wrappers and proxies. */
import {
  accessLog,
  type App,
  DeguError,
  type Exchange,
  fromFetchHandler,
  json,
  ProxyApp,
  reply,
  Response,
  ResponseError,
  type ResponseTuple,
  retry,
  routes,
  wrapApp,
} from "@degu/degu";
import type { ResponseObject } from "@degu/degu/server";
import { callApp, mkreq } from "@degu/degu/misc";
import { assertTypeError, constructWith } from "@degu/testing/expectations.ts";
import { serve } from "@degu/testing/serving.ts";
import {
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
} from "@std/assert";

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
