/** Apps around apps: wrapApp(), timeLimit(), and the refusal of misspelled hooks. */
import {
  type App,
  type AppFunction,
  Body,
  type BodyOut,
  Client,
  type HeadersToSend,
  reply,
  Response,
  ResponseError,
  routes,
  Server,
  type Session,
  timeLimit,
  wrapApp,
} from "@degu/degu";
import { callApp, mkreq } from "@degu/degu/misc";
import { api, deadSocket, makeSession } from "@degu/testing/calling.ts";
import { assertTypeError, callWith } from "@degu/testing/expectations.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { makeUntypedApp, RecordingLogger, serve } from "@degu/testing/serving.ts";
import {
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { createTempDir } from "@degu/testing/directories.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";

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

Deno.test("wrapApp refuses an invalid app, and a handle that is not a function", () => {
  const app: App = () => reply(200);
  for (const value of [undefined, { handle: 5 }, { handle: app, onConnect: 5 }]) {
    assertTypeError(() => callWith(wrapApp, value, () => reply(200)), Deno.inspect(value));
  }
  assertTypeError(() => callWith(wrapApp, app, {}), "no function");
});

// timeLimit(), and the signal of a request.

const request = () => mkreq("GET", "/");

Deno.test("an answer within the limit is the response, and so is an error", async () => {
  const app = timeLimit(({ body }) => reply(200, `${body}`), 60);
  assertEquals(await (await callApp(app, request())).text(), "null");
  const failing = timeLimit(() => Promise.reject(new Error("mine")), 60);
  await assertRejects(() => callApp(failing, request()), Error, "mine");
});

Deno.test("after the limit the response is 503, the signal is aborted, and the body that comes late is canceled", async () => {
  await using dir = await createTempDir();
  await Deno.writeTextFile(`${dir.path}/file`, "a file");
  const bodies: Body[] = [];
  const app: App = timeLimit(async ({ signal }) => {
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    assertEquals(signal.reason.name, "TimeoutError");
    const body = await Body.fromFile(`${dir.path}/file`);
    bodies.push(body);
    return reply(200, body);
  }, 0.01);
  const logger = new RecordingLogger();
  await using server = await Server.start(["127.0.0.1", 0], app, { logger });
  const client = new Client(server.address);
  for (let i = 0; i < 3; i++) assertEquals((await client.get("/")).status, 503);
  // The sanitizer of resources finds a file that is still open.
  const isDone = () => bodies.length === 3 && bodies.every(({ used }) => used);
  while (!isDone()) await new Promise((resolve) => setTimeout(resolve));
});

Deno.test("an error that comes after the limit is logged, unless it is the reason of the signal", async () => {
  const logger = new RecordingLogger();
  const app: App = timeLimit(async ({ signal, path }) => {
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    if (path[0] === "own") throw new Error("mine");
    signal.throwIfAborted();
    return reply(200);
  }, 0.01);
  await using server = await Server.start(["127.0.0.1", 0], app, { logger });
  const client = new Client(server.address);
  for (const uri of ["/abort", "/own"]) assertEquals((await client.get(uri)).status, 503);
  const lines = await logger.waitFor("info", "after the time limit");
  assertEquals(
    lines.filter((line) => line.includes("an error after the time limit: Error: mine")).length,
    1,
  );
});

Deno.test("an object keeps its hooks, and invalid arguments are refused", async () => {
  const sessions: Session[] = [];
  const onConnect = (session: Session) => sessions.push(session) > 0;
  const app = timeLimit({ onConnect, isMount: true, handle: () => reply(404) }, 60);
  assertEquals((await callApp(app, mkreq("GET", "/none"))).status, 404);
  assertEquals([sessions.length, app.isMount], [1, true]);
  const invalid = (seconds: unknown) => () => timeLimit(() => reply(200), seconds as number);
  for (const seconds of [0, -1, NaN, 3601, Infinity]) {
    assertThrows(invalid(seconds), RangeError, "seconds: must be a number of seconds above 0");
  }
  assertThrows(invalid("5"), TypeError, "seconds");
  assertThrows(() => timeLimit(5 as unknown as App, 5), TypeError, "app");
});

Deno.test("the signal of a request is that of its session, also in copies, and is aborted when the client disconnects", async () => {
  const called = Promise.withResolvers<AbortSignal>();
  const app: App = async (request, session) => {
    assertStrictEquals(request.signal, session.signal);
    assertStrictEquals(request.with({ path: [] }).signal, session.signal);
    called.resolve(request.signal);
    await new Promise((resolve) => request.signal.addEventListener("abort", resolve));
    return reply(200);
  };
  await using server = await Server.start(["127.0.0.1", 0], app, { logger: new RecordingLogger() });
  const controller = new AbortController();
  const { signal } = controller;
  const requesting = new Client(server.address).request("GET", "/", {}, null, { signal });
  const requestSignal = await called.promise;
  controller.abort(new Error("enough"));
  await assertRejects(() => requesting, Error, "enough");
  const aborted = new Promise((resolve) => requestSignal.addEventListener("abort", resolve));
  if (!requestSignal.aborted) await withTimeout(aborted, "the signal is aborted");
  assertEquals(mkreq("GET", "/").signal.aborted, false);
});

// The refusal of misspelled hooks of an app, such as `onConnected`.

/** The functions that take an app, and throw or reject for any other value. */
const users: readonly (readonly [name: string, use: (app: App) => unknown])[] = [
  ["Server", (app) => Reflect.construct(Server, [["127.0.0.1", 0], app])],
  ["routes", (app) => callWith(routes, { "GET /": app })],
  ["wrapApp", (app) => wrapApp(app, (next) => next())],
  ["callApp", (app) => callApp(app, mkreq("GET", "/"))],
];

Deno.test("an app with a misspelled onConnect, own or inherited, is refused, and the error names onConnect", async (t) => {
  const handle = () => reply(200);
  await testEachRow(t, users, async (_name, use) => {
    const attempt = (app: unknown) => Promise.resolve().then(() => use(app as App));
    for (const method of ["ONCONNECT", "onConnected", "onConnectPeer"]) {
      class Base {
        handle = handle;
        [method]() {
          return false;
        }
      }
      class Derived extends Base {}
      for (const app of [{ handle, [method]: () => false }, new Derived()]) {
        const words = `.${method}: is never called; the method of an app is onConnect`;
        await assertRejects(() => attempt(app), TypeError, words, method);
      }
    }
    for (const method of ["onConnect", "onDisconnect", "connect", "reOnConnect"]) {
      const result = await attempt({ handle, [method]: () => true });
      if (result instanceof Server) result.close();
    }
  });
});
