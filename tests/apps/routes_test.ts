/** Apps made of apps: tables by method and path, wrapApp(), and misspelled hooks. */
import {
  type App,
  type AppFunction,
  type AppObject,
  Body,
  type BodyOut,
  Client,
  type HeadersToSend,
  reply,
  type Request,
  Response,
  ResponseError,
  routes,
  Server,
  type Session,
  type Socket,
  wrapApp,
} from "@degu/degu";
import type { Method } from "@degu/degu/base";
import { callApp, mkreq } from "@degu/degu/misc";
import { api, makeSession } from "@degu/testing/sessions.ts";
import { assertTypeError, callWith } from "@degu/testing/expectations.ts";
import { RawPeer, withTimeout } from "@degu/testing/raw_peer.ts";
import { makeUntypedApp, RecordingLogger, serve } from "@degu/testing/serving.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { testEachRow } from "@degu/testing/rows.ts";

/** A socket without a peer. */
const deadSocket: Socket = {
  read: () => Promise.resolve(null),
  write: (bytes) => Promise.resolve(bytes.length),
  close: () => {},
};

/** Makes an app that responds with its label, its parameters and its path. */
function makeApp(route: string) {
  return (
    { parameters, mount, path }: Pick<Request, "mount" | "path"> & { parameters: object },
  ) => {
    const values = Object.entries(parameters).flat();
    const location = mount.length > 0 ? [`at ${mount.join("/")}: ${JSON.stringify(path)}`] : [];
    return reply(200, [route, ...values, ...location].join(" "));
  };
}

const app = routes({
  "GET /{any}": makeApp("any"),
  "GET /{first}/all": makeApp("first"),
  "HEAD /lamps/": () => reply(204),
  "GET /": makeApp("root"),
  "GET /lamps": makeApp("lamps"),
  "POST /lamps": makeApp("new"),
  "GET /lamps/": makeApp("slash"),
  "GET /lamp/{name}": makeApp("lamp"),
  "PUT /lamp/{other}": makeApp("put"),
  "GET /lamp/all": makeApp("all"),
  "DELETE /lamp/{name}/bulb/{bulb_2}": makeApp("bulb"),
  "GET /log/{rest...}": makeApp("log"),
  "GET /log/{day}": makeApp("day"),
  "GET /log/{day}/{rest...}": makeApp("day and rest"),
  "/files/": makeApp("files"),
  "GET /files/status": makeApp("status"),
  "GET /files/{name}/info": makeApp("info"),
  "GET /files/old/{path...}": makeApp("old"),
  "/files/deep/": makeApp("deep"),
  "/{peer}/disk/": makeApp("disk"),
});

async function requestLabel(method: Method, uri: string, table: App = app): Promise<string> {
  const response = await callApp(table, mkreq(method, uri, {}, null));
  return response.ok ? await response.text() : `${response.status} ${response.headers["allow"]}`;
}

Deno.test("routes calls the app of a method and a path, with the parameters", async () => {
  const rows: [method: Method, uri: string, answer: string][] = [
    ["GET", "/", "root"],
    ["GET", "/lamps", "lamps"],
    ["POST", "/lamps", "new"],
    ["GET", "/lamps/", "slash"],
    ["GET", "/lamp/kitchen", "lamp name kitchen"],
    ["GET", "/lamp/constructor", "lamp name constructor"],
    ["PUT", "/lamp/kitchen", "put other kitchen"],
    ["DELETE", "/lamp/a/bulb/b", "bulb name a bulb_2 b"],
    // `{rest...}` is one component or more, joined as received.
    ["GET", "/log/2026/11/23", "day and rest day 2026 rest 11/23"],
    ["GET", "/log/2026", "day day 2026"],
    ["GET", "/log/2026/", "log rest 2026/"],
    ["GET", "/log", "any any log"],
    ["GET", "/log/", "404 undefined"],
  ];
  for (const [method, uri, response] of rows) {
    assertEquals(await requestLabel(method, uri), response, uri);
  }
});

Deno.test("a mount gets the remaining path with any method, with and without a slash", async () => {
  const rows: [method: Method, uri: string, answer: string][] = [
    ["GET", "/files", "files at files: []"],
    ["GET", "/files/", 'files at files: [""]'],
    ["PUT", "/files/a/b/", 'files at files: ["a","b",""]'],
    ["GET", "/files/status", "status"],
    // The more specific route has no app for this method.
    ["PUT", "/files/status", 'files at files: ["status"]'],
    ["GET", "/files/status/info", "info name status"],
    ["GET", "/files/old/a/b", "old path a/b"],
    ["GET", "/files/old", 'files at files: ["old"]'],
    ["GET", "/files/deep", "deep at files/deep: []"],
    ["GET", "/files/deep/", 'deep at files/deep: [""]'],
    ["GET", "/files/deeper", 'files at files: ["deeper"]'],
    ["GET", "/anna/disk/a", 'disk peer anna at anna/disk: ["a"]'],
    ["GET", "/files/disk/a", 'files at files: ["disk","a"]'],
  ];
  for (const [method, uri, response] of rows) {
    assertEquals(await requestLabel(method, uri), response, `${method} ${uri}`);
  }
  const allTable = routes({ "/": makeApp("all") });
  for (const uri of ["/", "/a", "/a/"]) {
    assertEquals(await requestLabel("PUT", uri, allTable), "all", uri);
  }
});

Deno.test("a nested table matches the remaining path, with and without a slash, and adds its parameters", async () => {
  const innerTable = routes({
    "GET /": makeApp("top"),
    "GET /{name}": makeApp("inner"),
    "/sub/": makeApp("sub"),
  });
  const outerTable = routes({ "/api/": innerTable, "/of/{peer}/": innerTable });
  const rows: [uri: string, answer: string][] = [
    ["/api", "top at api: []"],
    ["/api/", 'top at api: [""]'],
    ["/api/x", 'inner name x at api: ["x"]'],
    ["/api/sub/x", 'sub at api/sub: ["x"]'],
    ["/of/anna/x", 'inner peer anna name x at of/anna: ["x"]'],
    ["/api/x/y", "404 undefined"],
    ["/other", "404 undefined"],
  ];
  for (const [uri, response] of rows) {
    assertEquals(await requestLabel("GET", uri, outerTable), response, uri);
  }
});

Deno.test("a literal component precedes a parameter, from left to right, in any order of the table", async () => {
  assertEquals(await requestLabel("GET", "/lamp/all"), "all");
  assertEquals(await requestLabel("GET", "/heater/all"), "first first heater");
  assertEquals(await requestLabel("GET", "/heater"), "any any heater");
  // Only the route with a parameter has an app for this method.
  assertEquals(await requestLabel("PUT", "/lamp/all"), "put other all");
});

Deno.test("a path without a route is 404, a method without an app 405 with the allowed methods", async () => {
  const rows: [method: Method, uri: string, answer: string][] = [
    ["GET", "/lamp/", "404 undefined"],
    ["GET", "/lamp/kitchen/bulb", "404 undefined"],
    ["POST", "/", "405 GET, HEAD"],
    ["DELETE", "/lamps", "405 GET, POST, HEAD"],
    ["DELETE", "/lamp/all", "405 GET, PUT, HEAD"],
    ["GET", "/lamp/a/bulb/b", "405 DELETE"],
  ];
  for (const [method, uri, response] of rows) {
    assertEquals(await requestLabel(method, uri), response, `${method} ${uri}`);
  }
});

Deno.test("the session continues after 404 and 405, and ends after an unread body", async () => {
  await using serving = serve(app);
  using conn = await serving.makeClient().connect();
  for (let i = 0; i < 2; i++) {
    assertEquals((await conn.get("/lamp/a/b")).status, 404);
    assertEquals((await conn.delete("/lamps")).status, 405);
    assertEquals(await (await conn.get("/lamps")).text(), "lamps");
  }
  assertEquals(serving.logger.lines, []);
  using peer = await RawPeer.connect(serving.address);
  await peer.send("PUT /lamps HTTP/1.1\r\ncontent-length: 5\r\n\r\nhel");
  const refused =
    "HTTP/1.1 405 Method Not Allowed\r\nallow: GET, POST, HEAD\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
  assertEquals((await peer.readToEnd()).received, refused);
});

Deno.test("an app of GET answers HEAD, unless HEAD has its own app", async () => {
  await using serving = serve(routes({ "/api/": app }));
  const client = new Client(serving.server.address);
  const requestLength = async (uri: string) =>
    (await client.request("HEAD", uri)).headers["content-length"];
  assertEquals(await requestLength("/api/lamps"), 'lamps at api: ["lamps"]'.length);
  assertEquals((await client.request("HEAD", "/api/lamps/")).status, 204);
});

Deno.test("an app gets the request, the session and the classes, and routes passes on its response or error", async () => {
  const response = reply(200);
  const receivedArgs: unknown[] = [];
  const failure = new Error("an app's error");
  const object: AppObject = {
    handle(...args) {
      receivedArgs.push(...args);
      return this === object ? response : reply(500);
    },
  };
  const table = routes({ "GET /a": object, "GET /b": () => Promise.reject(failure) });
  const handleArgs = [mkreq("GET", "/a"), makeSession(), api] as const;
  assertStrictEquals(await table.handle(...handleArgs), response);
  handleArgs.forEach((arg, i) => assertStrictEquals(receivedArgs[i], arg));
  const rejection = await callApp(table, mkreq("GET", "/b")).catch((error) => error);
  assertStrictEquals(rejection, failure);
});

Deno.test("parameters have no prototype, can't be changed, and are shown", async () => {
  const requests: Request[] = [];
  const table = routes({
    "GET /{constructor}/{a}": (request) => {
      requests.push(request as Request);
      return reply(200);
    },
    "GET /none": (request) => {
      requests.push(request as Request);
      return reply(200);
    },
  });
  await callApp(table, mkreq("GET", "/x/toString"));
  await callApp(table, mkreq("GET", "/none"));
  const [withName, withoutName] = requests;
  assertEquals(Object.entries(withName!.parameters), [["constructor", "x"], ["a", "toString"]]);
  assert(Deno.inspect(withName).includes('a: "toString"'), Deno.inspect(withName));
  for (const { parameters } of requests) {
    assertEquals(Object.getPrototypeOf(parameters), null);
    assertThrows(() => Object.assign(parameters, { b: "" }), TypeError);
  }
  assertEquals(Object.keys(withoutName!.parameters), []);
});

Deno.test("onConnect of each app is called once for a connection, in the order of the table, until a call doesn't return true", async () => {
  const rows: [results: unknown[], callCount: number, accepted: boolean | null][] = [
    [[true, true, true], 3, true],
    [[true, false, true], 2, false],
    [[1, true, true], 1, null],
    [[true, true, undefined], 3, null],
  ];
  for (const [results, callCount, accepted] of rows) {
    const calls: unknown[][] = [];
    const [a, b, c] = results.map((result) => ({
      handle: () => reply(200),
      onConnect(...args: unknown[]) {
        calls.push([this, ...args]);
        return result;
      },
    })) as unknown as AppObject[];
    const innerTable = routes({ "GET /": c! });
    const table = routes({
      "/a/": a!,
      "GET /b": b!,
      "PUT /b": a!,
      "GET /x": () => reply(200),
      "/c/": innerTable,
    });
    const session = makeSession();
    const accepting = Promise.resolve(table.onConnect!(session, deadSocket));
    if (accepted === null) await assertRejects(() => accepting, TypeError, "must return true");
    else assertEquals(await accepting, accepted);
    assertEquals(calls, [a, b, c].slice(0, callCount).map((self) => [self, session, deadSocket]));
  }
  assertEquals(routes({ "GET /": () => reply(200) }).onConnect, undefined);
  const refusingApp = { handle: () => reply(200), onConnect: () => false };
  await using serving = serve(routes({ "/a/": refusingApp }));
  await assertRejects(() => serving.makeClient().request("GET", "/"));
});

Deno.test("disposing of a table disposes of its apps, each once, even if one fails", async () => {
  const events: string[] = [];
  const a = { handle: () => reply(200), [Symbol.dispose]: () => void events.push("a") };
  const b = {
    handle: () => reply(200),
    [Symbol.asyncDispose]: () => {
      events.push("b");
      return Promise.reject(new Error("b fails"));
    },
  };
  const table = routes({ "GET /a": a, "/b/": b, "PUT /a": a, "GET /": () => reply(200) });
  await assertRejects(() => Promise.resolve(table[Symbol.asyncDispose]()), Error, "b fails");
  assertEquals(events.toSorted(), ["a", "b"]);
});

Deno.test("an app whose isMount is true is refused under a key with a method and a literal component", async () => {
  class Files implements AppObject {
    readonly isMount = true;
    readonly #texts: Record<string, string> = { "": "index", "lamp.txt": "on" };

    handle({ path }: Request) {
      return reply(200, this.#texts[path.join("/")]!);
    }
  }
  const files = new Files();
  const inner = routes({ "GET /lamp.txt": () => reply(200, "on") });
  const own: AppObject = { handle: inner.handle, isMount: true };
  const apps = { files, inner, own, wrapped: wrapApp(files, (next) => next()) };
  const keys: Record<string, string> = {
    "GET /files/": "/files/",
    "GET /files": "/files/",
    "HEAD /a/b/": "/a/b/",
    "PUT /files/{path...}": "/files/",
    "GET /{user}/files/{name}": "/{user}/files/{name}/",
  };
  for (const [name, app] of Object.entries(apps)) {
    for (const [key, mountKey] of Object.entries(keys)) {
      const message = `table["${key}"]: must be a mount, "${mountKey}"`;
      assertThrows(() => callWith(routes, { [key]: app }), RangeError, message, name);
    }
    for (const key of ["/files/", "/{user}/", "/", "GET /{path...}", "GET /{name}"]) {
      const table = routes({ [key]: app });
      const uri = key.includes("/files/") || key.includes("user") ? "/files/lamp.txt" : "/lamp.txt";
      const response = await callApp(table, mkreq("GET", uri));
      assertEquals(await response.text(), "on", `${name} under ${key}`);
    }
  }
  assertEquals(
    await (await callApp(routes({ "GET /": files }), mkreq("GET", "/"))).text(),
    "index",
  );
  const freed = {
    ...wrapApp(files, (next, request) => next(request.with({ path: ["lamp.txt"] }))),
    isMount: false,
  };
  assertEquals((await callApp(routes({ "GET /a": freed }), mkreq("GET", "/a"))).status, 200);
  assertEquals("isMount" in wrapApp({ handle: () => reply(200) }, (next) => next()), false);
});

Deno.test("a key matches each spelling of its path, and the parameters and the mount are decoded", async () => {
  const app = routes({
    "GET /a%20b/{name}": ({ parameters: { name } }) => reply(200, `name ${name}`),
    "GET /ü/{rest...}": ({ parameters: { rest } }) => reply(200, `rest ${rest}`),
    "GET /%7Bx%7D": () => reply(200, "braces"),
    "GET /a(1)": () => reply(200, "parentheses"),
    "/m%C3%B6/": {
      handle: ({ mount, path }) => reply(200, JSON.stringify([mount, path])),
      isMount: true,
    },
  });
  const rows: [uri: string, text: string][] = [
    ["/a%20b/c%3bd%25", "name c;d%"],
    ["/%C3%BC/x%20y/z", "rest x y/z"],
    ["/{x}", "braces"],
    ["/a%281)", "parentheses"],
    ["/m%c3%b6/%252F/@", '[["mö"],["%2F","@"]]'],
  ];
  for (const [uri, text] of rows) {
    assertEquals(await (await callApp(app, mkreq("GET", uri))).text(), text, uri);
  }
});

Deno.test("routes refuses an invalid table, and names the key and the valid form", () => {
  const okApp = () => reply(200);
  const rangeErrors: [table: object, message: string][] = [
    [{}, "table: must have a route"],
    [{ "TRACE /": okApp }, 'table["TRACE /"]: must be GET'],
    [{ "GET": okApp }, 'must be a method, a space and a path, as in "GET /lamps"'],
    [{ "GET /lamps?all": okApp }, "a query is in request.searchParams"],
    [{ "GET /files/*": okApp }, "{name...} for the rest of the path"],
    [{ "GET /lamp/[name]": okApp }, "must have {name} for a component"],
    [
      { "/lamps": okApp },
      'a method and a path, "GET /lamps", or end with a slash, for everything below: "/lamps/"',
    ],
    [{ "/a//b/": okApp }, '"//" is not allowed'],
    [{ "GET /../b": okApp }, '".." is not allowed'],
    [{ "/a%2/": okApp }, '"%2" is not allowed; two hexadecimal digits follow'],
    [{ "GET /a%2Fb": okApp }, '"/" is not allowed; a component has no slash'],
    [{ "GET /\ud800": okApp }, "must have no lone surrogate"],
    [{ "GET /ü": okApp, "GET /%C3%BC": okApp }, 'table["GET /\\xfc"] has the same'],
    [{ "/a%20b/": okApp, "/a%20b/%7Bc%7D/": okApp, "/a%20b/%7bc}/": okApp }, "braces"],
    [
      { "GET /user/:id": okApp },
      'table["GET /user/:id"]: must have a name in braces, {id}; got ":id"',
    ],
    ...["{}", "{a-b}", "{name}.txt", "{name", "{a..}"].map((
      component,
    ) =>
      [
        { [`GET /${component}`]: okApp },
        `in braces that are a whole component, {name}, or {name...} at the end, and %7B for a brace; got "${component}"`,
      ] as [object, string]
    ),
    [{ "GET /{a...}/b": okApp }, "must have {a...} at the end"],
    [{ "/{a...}/": okApp }, "must have {a...} at the end, and a method"],
    [{ "GET /{a}/{a}": okApp }, "each name must occur once"],
    ...[["GET /{a}", "GET /{b}"], ["GET /{a...}", "GET /{b...}"], ["/{a}/", "/{b}/"]].map((
      [one, other],
    ) =>
      [
        { [one!]: okApp, "GET /c": okApp, [other!]: okApp },
        `table["${other}"]: must be the only one for its requests; table["${one}"] has the same`,
      ] as [object, string]
    ),
  ];
  for (const [table, message] of rangeErrors) {
    assertThrows(() => callWith(routes, table), RangeError, message);
  }
  const invalidTables = [null, "GET /", okApp, { "GET /": null }, { "GET /": {} }, {
    "/": { handle: 5 },
  }];
  for (const table of invalidTables) {
    assertTypeError(() => callWith(routes, table), Deno.inspect(table));
  }
});

// ───────────────────────── wrapApp()

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

Deno.test("wrapApp adds an onConnect, which decides before that of the app, and both must accept", async () => {
  const rows: [added: unknown, own: unknown, calls: string[], accepted: boolean | null][] = [
    [true, true, ["added", "own"], true],
    [false, true, ["added"], false],
    [true, false, ["added", "own"], false],
    ["yes", true, ["added"], null],
    [true, undefined, ["added", "own"], null],
  ];
  for (const [added, own, expectedCalls, accepted] of rows) {
    const calls: string[] = [];
    const makeOnConnect = (name: string, result: unknown) => (...args: unknown[]) => {
      calls.push(name);
      assertEquals(args, [session, deadSocket]);
      return result as boolean;
    };
    const session = makeSession();
    const app = { handle: () => reply(200, "inner"), onConnect: makeOnConnect("own", own) };
    const wrapped = wrapApp(app, { onConnect: makeOnConnect("added", added) });
    const accepting = Promise.resolve(wrapped.onConnect!(session, deadSocket));
    if (accepted === null) await assertRejects(() => accepting, TypeError, "must return true");
    else assertEquals(await accepting, accepted);
    assertEquals(calls, expectedCalls);
  }
  await using serving = serve(wrapApp(() => reply(200, "served"), { onConnect: () => false }));
  await assertRejects(() => serving.makeClient().get("/"));
  await using open = serve(wrapApp(() => reply(200, "served"), { onConnect: () => true }));
  assertEquals(await (await open.makeClient().get("/")).text(), "served");
});

Deno.test("an app with an added onConnect keeps its handle, isMount and disposal", async () => {
  const events: string[] = [];
  class MountedApp extends PrivateApp {
    readonly isMount = true;
  }
  const wrapped = wrapApp(new MountedApp(events), { onConnect: () => true });
  await wrapped.handle(mkreq("GET", "/"), makeSession(), api);
  await wrapped[Symbol.asyncDispose]!();
  assertEquals([events, wrapped.isMount], [["handle", "asyncDispose"], true]);
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
  for (const wrapper of [null, { onConnect: true }, { onConnected: () => true }, []]) {
    assertTypeError(() => callWith(wrapApp, app, wrapper), Deno.inspect(wrapper));
  }
  const onConnect = () => false;
  assertTypeError(() => callWith(wrapApp, app, { onConnect, handle: app }), "a handle");
});

// The signal of a request.

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
