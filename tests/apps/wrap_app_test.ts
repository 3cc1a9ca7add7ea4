/** Wrapping an app in a function. */
import {
  type App,
  type AppFunction,
  type AppObject,
  Body,
  type BodyOut,
  type HeadersToSend,
  reply,
  Response,
  ResponseError,
  routes,
  type Session,
  wrapApp,
} from "@degu/degu";
import { callApp, mkreq } from "@degu/degu/misc";
import { api, deadSocket, makeSession } from "@degu/testing/calling.ts";
import { assertTypeError, callWith } from "@degu/testing/expectations.ts";
import { makeUntypedApp, serve } from "@degu/testing/serving.ts";
import { assertEquals, assertInstanceOf, assertRejects, assertStrictEquals } from "@std/assert";

/** An app with a private field, which works only if the method is called on the app. */
class PrivateApp {
  readonly #events: string[];

  constructor(events: string[]) {
    this.#events = events;
  }

  handle() {
    this.#events.push("handle");
    return reply(200, "inner");
  }

  onConnect(session: Session) {
    this.#events.push("onConnect");
    return session.address !== null && this.#events.length < 100;
  }

  [Symbol.asyncDispose]() {
    this.#events.push("asyncDispose");
    return Promise.resolve();
  }
}

Deno.test("wrapApp calls the function in place of the app, with the app as next", async () => {
  const receivedArgs: unknown[] = [];
  const app: AppFunction = (request, session, receivedApi) => {
    receivedArgs.push(request, session, receivedApi);
    return reply(200);
  };
  const wrapped = wrapApp(app, async (next, request, session, receivedApi) => {
    const { status } = await next(request, session, receivedApi);
    return reply(status === 200 ? 201 : 500);
  });
  const request = mkreq("GET", "/");
  const session = makeSession();
  assertEquals(await wrapped(request, session, api), reply(201));
  for (const [i, arg] of [request, session, api].entries()) {
    assertStrictEquals(receivedArgs[i], arg);
  }
});

Deno.test("next() works without arguments or with replaced ones, and always resolves to a Response", async () => {
  const makeStream = () => new Blob(["hello"]).stream();
  const apps: App[] = [
    ({ uri }) => [200, "OK", { uri }, "hello"],
    ({ uri }) => Promise.resolve([200, "OK", { uri }, new TextEncoder().encode("hello")]),
    ({ uri }) => new Response(200, "OK", { uri }, "hello"),
    ({ uri }) => ({ status: 200, reason: "OK", headers: { uri }, body: makeStream() }) as never,
  ];
  for (const app of apps) {
    const wrapped = wrapApp(app, async (next, request) => {
      const response = await next(
        request.path[0] === "other" ? mkreq("GET", "/another") : undefined,
      );
      assertInstanceOf(response, Response);
      const { status, reason, headers, body } = response;
      return [status, reason, { ...headers, "x-a": "b" }, body];
    });
    for (const [requestUri, expectedUri] of [["/a", "/a"], ["/other", "/another"]] as const) {
      const { headers, ...response } = await callApp(wrapped, mkreq("GET", requestUri));
      const { uri, "x-a": added } = headers;
      assertEquals([uri, added], [expectedUri, "b"]);
      assertEquals(response.status, 200);
    }
    assertEquals(await (await callApp(wrapped, mkreq("GET", "/"))).text(), "hello");
  }
  const invalidApp = wrapApp(() => [200, "OK"] as never, (next) => next());
  await assertRejects(() => callApp(invalidApp, mkreq("GET", "/")), TypeError, "got 2 items");
});

Deno.test("if next() rejects an invalid response, its body is canceled, which closes its file", async () => {
  const responses: ((body: BodyOut) => unknown)[] = [
    (body) => [200, "OK", new Headers(), body],
    (body) => ({ status: 200, reason: "OK", headers: null, body }),
    (body) => [200, "OK", body],
    (body) => {
      throw new ResponseError([200, "OK", new Headers() as unknown as HeadersToSend, body]);
    },
  ];
  for (const response of responses) {
    let reason: unknown;
    const stream = new ReadableStream({ cancel: (cancelReason) => void (reason = cancelReason) });
    await using serving = serve(
      wrapApp(makeUntypedApp(() => response(new Body(stream, 5))), (next) => next()),
    );
    assertEquals((await serving.makeClient().request("GET", "/")).status, 500);
    assertInstanceOf(reason, TypeError);
  }
});

Deno.test("wrapApp keeps onConnect and disposal of an app, on the app itself", async () => {
  const events: string[] = [];
  const app = new PrivateApp(events);
  const wrapped = wrapApp(app, (next) => next());
  assertEquals(await wrapped.onConnect!(makeSession(), deadSocket), true);
  await wrapped.handle(mkreq("GET", "/"), makeSession(), api);
  await wrapped[Symbol.asyncDispose]!();
  assertEquals(events, ["onConnect", "handle", "asyncDispose"]);
  assertEquals(wrapped[Symbol.dispose], undefined);
});

Deno.test("wrapApp adds no onConnect and no disposal to an app without them", () => {
  const handle = () => reply(200);
  for (const app of [{ handle }, Object.freeze({ handle })]) {
    assertEquals(Object.keys(wrapApp(app, () => reply(404))), ["handle"]);
  }
});

Deno.test("a wrapped function of a route has the parameters of the route, and so has a copy", async () => {
  const app = routes({
    "GET /lamp/{name}": wrapApp(
      ({ parameters, headers }) => reply(200, `${parameters.name} ${headers["x-a"]}`),
      (next, request) => {
        if (request.parameters.name === "none") return reply(404);
        return next(request.with({ headers: { "x-a": request.parameters.name } }));
      },
    ),
  });
  assertEquals((await callApp(app, mkreq("GET", "/lamp/none"))).status, 404);
  const response = await callApp(app, mkreq("GET", "/lamp/kitchen"));
  assertEquals(await response.text(), "kitchen kitchen");
});

Deno.test("wrapApp looks up the methods of an app at each call, as a server does", async () => {
  const app: AppObject = { handle: () => reply(200), onConnect: () => false };
  const wrapped = wrapApp(
    wrapApp(app, (next) => next()),
    (next) => next(),
  );
  app.handle = () => reply(404);
  app.onConnect = () => true;
  assertEquals((await callApp(wrapped, mkreq("GET", "/"))).status, 404);
  assertEquals(await wrapped.onConnect!(makeSession(), deadSocket), true);
});

Deno.test("wrapApp refuses an invalid app, and a handle that is not a function", () => {
  const app: App = () => reply(200);
  for (const value of [undefined, null, {}, { handle: 5 }, { handle: app, onConnect: 5 }]) {
    assertTypeError(() => callWith(wrapApp, value, () => reply(200)), Deno.inspect(value));
  }
  for (const value of [undefined, null, {}, "handle"]) {
    assertTypeError(() => callWith(wrapApp, app, value), Deno.inspect(value));
  }
});
