/** Routers, and the filter of methods. */
import {
  AllowedMethods,
  type App,
  type AppEntries,
  type AppFunction,
  type AppMap,
  type AppObject,
  MethodFilter,
  Router,
} from "@degu/degu";
import { type HeaderDict, type Method, Response, type ResponseTuple } from "@degu/degu/base";
import { callApp, mkreq } from "@degu/degu/misc";
import { api, deadSocket, makeSession } from "@degu/testing/calling.ts";
import {
  assertRangeError,
  assertTypeError,
  callWith,
  constructWith,
} from "@degu/testing/expectations.ts";
import { RawPeer } from "@degu/testing/raw_peer.ts";
import { eachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import { allowedBytes } from "@degu/testing/wire_grammar.ts";
import { assert, assertEquals, assertRejects, assertStrictEquals, assertThrows } from "@std/assert";

/** An app that tells its name and what it has seen of the request. */
function named(name: string): AppFunction {
  return ({ mount, path }) => {
    return [200, "OK", { name, mount: Deno.inspect(mount), path: Deno.inspect(path) }, null];
  };
}

/** What a router answers to a GET. */
async function answer(router: Router, uri: string, method: Method = "GET") {
  const answered = await router.handle(mkreq(method, uri), makeSession(), api);
  const [status, reason, headers, body] = answered;
  return { status, reason, headers, body };
}

Deno.test("Router forwards a request to the app of its path and shifts the matched component", async (t) => {
  const router = new Router(
    new Map<string | null, App | AppMap>([
      [null, named("root")],
      ["", named("never")],
      ["foo", named("foo")],
      [
        "bar",
        new Map<string | null, App | AppMap>([
          [null, named("bar")],
          ["", named("bar/")],
          ["constructor", { handle: named("object") }],
          ["deep", new Map([["er", named("deeper")]])],
        ]),
      ],
    ]),
  );
  const cases: [uri: string, name: string, mount: string[], path: string[]][] = [
    ["/", "root", [], []],
    ["/foo", "foo", ["foo"], []],
    ["/foo/", "foo", ["foo"], [""]],
    ["/foo/a/b?c=d", "foo", ["foo"], ["a", "b"]],
    ["/bar", "bar", ["bar"], []],
    ["/bar/", "bar/", ["bar", ""], []],
    ["/bar/constructor/x", "object", ["bar", "constructor"], ["x"]],
    ["/bar/deep/er/", "deeper", ["bar", "deep", "er"], [""]],
  ];
  await eachRow(t, cases, async (uri, name, mount, path) => {
    const { status, headers } = await answer(router, uri);
    assertEquals(status, 200);
    assertEquals(headers, { name, mount: Deno.inspect(mount), path: Deno.inspect(path) });
  });
});

Deno.test("Router answers 410 if there is no entry, whatever the method", async () => {
  const router = new Router(new Map([["foo", new Map([["bar", named("bar")]])]]));
  for (const uri of ["/", "/Foo", "/foo", "/foo/", "/foo/baz", "/bar", "/foo.", "/toString"]) {
    for (const method of ["GET", "HEAD", "DELETE", "PUT", "POST"] as const) {
      const gone = { status: 410, reason: "Gone", headers: {}, body: null };
      assertEquals(await answer(router, uri, method), gone, `${method} ${uri}`);
    }
  }
});

/** Maps inside of each other, an app in the last. */
function nested(depth: number): AppMap {
  let appmap: AppMap = new Map([["x", named("deep")]]);
  for (let i = 1; i < depth; i++) appmap = new Map([["x", appmap]]);
  return appmap;
}

Deno.test("Router accepts ten nested maps, and not eleven, nor one that contains itself", async () => {
  for (const depth of [1, 9, 10]) {
    const { status } = await answer(new Router(nested(depth)), "/x".repeat(depth));
    assertEquals(status, 200, `${depth}`);
  }
  const itself = new Map<string, App | AppMap>();
  itself.set("again", itself);
  const array: [string, AppEntries][] = [];
  array.push(["again", array]);
  for (const appmap of [nested(11), nested(12), nested(100), itself, array]) {
    assertThrows(() => new Router(appmap), RangeError, "must be at most 10 nested maps");
  }
});

Deno.test("Router accepts every key that can be a path component, and no other", async () => {
  for (let code = 0; code < 300; code++) {
    const character = String.fromCharCode(code);
    for (const key of [character, `a${character}`, `${character}a`, `a${character}a`]) {
      const appmap = new Map([[key, named("app")]]);
      if (allowedBytes.path.includes(character)) {
        assertEquals((await answer(new Router(appmap), `/${key}`)).status, 200, key);
      } else {
        assertThrows(() => new Router(appmap), RangeError, "appmap: a key must be", key);
      }
    }
  }
  for (const key of [".", "...", "..a", "-"]) new Router(new Map([[key, named("app")]]));
  assertThrows(() => new Router(new Map([["..", named("app")]])), RangeError, '".."');
});

Deno.test("Router takes the entries of a map in its place, at every depth, and keeps a copy of them", async () => {
  const inner: [string | null, App][] = [["c", named("c")], [null, named("end")]];
  const entries: [string, App | AppMap | AppEntries][] = [
    ["a", named("a")],
    ["b", inner],
    ["d", new Map([["e", [["f", named("f")]]]])],
  ];
  const router = new Router(entries);
  inner.pop();
  entries.pop();
  const rows: [uri: string, name: string, mount: string[], path: string[]][] = [
    ["/a", "a", ["a"], []],
    ["/b/c/x", "c", ["b", "c"], ["x"]],
    ["/b", "end", ["b"], []],
    ["/d/e/f", "f", ["d", "e", "f"], []],
  ];
  for (const [uri, name, mount, path] of rows) {
    const { headers } = await answer(router, uri);
    assertEquals(headers, { name, mount: Deno.inspect(mount), path: Deno.inspect(path) });
  }
  for (const uri of ["/", "/c", "/b/", "/d", "/d/e"]) {
    assertEquals((await answer(router, uri)).status, 410, uri);
  }
  assertEquals((await answer(new Router([]), "/")).status, 410);
});

Deno.test("Router takes plain objects, nested too, by their own keys", async () => {
  const inherited = Object.create({ e: named("inherited") });
  const router = new Router({
    handle: named("handle"),
    "": named("slash"),
    a: { b: named("ab"), handle: { c: named("ahc") }, "": named("a/") },
    app: { handle: named("app"), b: named("hidden") },
    map: new Map([[null, { handle: named("map") }]]),
    list: [["x", { y: named("xy") }]],
    bare: Object.assign(Object.create(null), { d: named("d") }),
    own: { ...inherited, f: named("f") },
  });
  const rows: [uri: string, name: string | null][] = [
    ["/handle", "handle"],
    ["/a/b", "ab"],
    ["/a/", "a/"],
    ["/a/handle/c", "ahc"],
    ["/app/b", "app"],
    ["/map", "map"],
    ["/list/x/y", "xy"],
    ["/bare/d", "d"],
    ["/own/f", "f"],
    ["/own/e", null],
    ["/own/constructor", null],
    ["/toString", null],
    ["/a", null],
    ["/", null],
  ];
  for (const [uri, name] of rows) {
    const { status, headers } = await callApp(router, mkreq("GET", uri));
    assertEquals([status, headers["name"] ?? null], [name === null ? 410 : 200, name], uri);
  }
});

Deno.test("Router asks each app in a plain object when a peer connects", async () => {
  const asked: string[] = [];
  const asking = (name: string, answer: boolean): AppObject => ({
    handle: named(name),
    onConnect: () => asked.push(name) > 0 && answer,
  });
  const router = new Router({ a: asking("a", true), b: { c: asking("c", false) } });
  assertEquals(await router.onConnect(makeSession(), deadSocket), false);
  assertEquals(asked, ["a", "c"]);
});

Deno.test("Router refuses a key that comes twice in an array, and names it", () => {
  const app = named("app");
  assertThrows(
    () => new Router([["a", [["b", app], ["c", app], ["b", app]]]]),
    RangeError,
    'appmap["a"]["b"]: must come once; got it twice',
  );
  assertThrows(() => new Router([[null, app], [null, app]]), RangeError, "appmap[null]: must come");
});

Deno.test("Router refuses what is no Map of apps and Maps, and reports which entry of which map is wrong", () => {
  const app = named("app");
  const inside = (key: unknown, value: unknown) => {
    const first = new Map([["a", new Map([[null, new Map([["b", app]])]])]]);
    return new Map<unknown, unknown>([...first, ["c", new Map([[key, value]])]]);
  };
  const needsApp = 'appmap["c"][null]: must be a function or an object with a method "handle"';
  const rows: [appmap: unknown, said: string][] = [
    ...[undefined, 5, 5n, true, Symbol("a"), {}, ["a"]]
      .map((key): [unknown, string] => [inside(key, app), 'appmap["c"]: must be a map whose keys']),
    ...[undefined, null, 5, "app", new Set([app]), new (class Handler {})()]
      .map((value): [unknown, string] => [inside(null, value), needsApp]),
    [inside("d", { handle: 5 }), 'appmap["c"]["d"]["handle"]: must be a function or an object'],
    [
      inside("d", { handle: app, onConnect: true }),
      'appmap["c"]["d"].onConnect: must be a function',
    ],
    ...[undefined, null, new Set([app]), new (class Handler {})(), "foo", () => []]
      .map((appmap): [unknown, string] => [appmap, "appmap: must be a plain object, a Map or an"]),
    ...[app, [], ["a"], ["a", app, app], "ab", undefined]
      .map((entry): [unknown, string] => [[["b", app], entry], "appmap[1]: must be an entry"]),
    [inside(null, [app]), 'appmap["c"][null][0]: must be an entry [key, app]'],
    [[["a", [[5, app]]]], 'appmap["a"]: must be a map whose keys'],
  ];
  for (const [appmap, said] of rows) {
    assertThrows(() => constructWith(Router, appmap), TypeError, said, Deno.inspect(appmap));
  }
});

Deno.test("Router keeps a copy of its maps", async () => {
  const inner = new Map<string | null, App>([["b", named("b")]]);
  const outer = new Map<string | null, App | AppMap>([["a", inner]]);
  const router = new Router(outer);
  inner.delete("b");
  inner.set("c", named("c"));
  outer.set("d", named("d"));
  outer.delete("a");
  assertEquals((await answer(router, "/a/b")).status, 200);
  for (const uri of ["/a/c", "/d"]) assertEquals((await answer(router, uri)).status, 410, uri);
});

// ───────────────────────── onConnect

/** An app with a say, which notes in a list when it is asked. */
function asker(name: string, asked: string[], says: unknown) {
  return {
    handle: named(name),
    onConnect: () => {
      asked.push(name);
      return says as boolean;
    },
  };
}

Deno.test("Router asks every app in the order of its maps, each object once", async () => {
  const asked: string[] = [];
  const shared = asker("shared", asked, true);
  const router = new Router(
    new Map<string | null, App | AppMap>([
      ["first", asker("first", asked, true)],
      ["function", named("function")],
      [
        "map",
        new Map<string | null, App | AppMap>([["x", shared], ["y", asker("y", asked, true)]]),
      ],
      [null, shared],
      ["last", asker("last", asked, Promise.resolve(true))],
    ]),
  );
  assertStrictEquals(await router.onConnect(makeSession(), deadSocket), true);
  assertEquals(asked, ["first", "shared", "y", "last"]);
  for (const appmap of [new Map(), new Map([["a", named("a")]])]) {
    assertStrictEquals(await new Router(appmap).onConnect(makeSession(), deadSocket), true);
  }
});

Deno.test("Router refuses a peer as soon as one app does not return exactly true", async () => {
  const noes = [false, undefined, null, 1, "true", {}, Promise.resolve(false), Promise.resolve(1)];
  for (const says of noes) {
    const asked: string[] = [];
    const apps = [asker("a", asked, true), asker("b", asked, says), asker("c", asked, true)];
    const router = new Router(new Map(apps.map((app, i) => [`${i}`, app])));
    assertStrictEquals(await router.onConnect(makeSession(), deadSocket), false);
    assertEquals(asked, ["a", "b"], Deno.inspect(says));
  }
});

Deno.test("Router inside of a Router and on a server: routes, and vetoes", async () => {
  let open = true;
  const guarded: App = { handle: named("guarded"), onConnect: () => open };
  const inner = new Router(new Map([["guarded", guarded]]));
  await using serving = serve(new Router(new Map([["outer", inner]])));
  const client = serving.makeClient();
  const response = await client.request("GET", "/outer/guarded/x");
  assertEquals(response.headers["mount"], '[ "outer", "guarded" ]');
  assertEquals((await client.request("GET", "/outer")).status, 410);
  open = false;
  await assertRejects(() => client.request("GET", "/outer/guarded/x"));
  assert((await serving.logger.waitFor("info")).some((line) => line.includes("onConnect")));
});

// AllowedMethods and MethodFilter, and how the building blocks work together.

const METHODS: readonly Method[] = ["GET", "HEAD", "DELETE", "PUT", "POST"];
const app: AppFunction = () => [200, "OK", {}, null];

Deno.test("MethodFilter forwards the allowed methods and answers 405 to others", async () => {
  for (let chosen = 0; chosen < 2 ** METHODS.length; chosen++) {
    const allowed = METHODS.filter((_, i) => chosen & (1 << i));
    const filter = new AllowedMethods(...allowed).wrap(app);
    for (const method of METHODS) {
      const response = await filter.handle(mkreq(method, "/foo"), makeSession(), api);
      const headers: HeaderDict = allowed.length === 0 ? {} : { allow: allowed.join(", ") };
      const body = method === "HEAD" ? null : new Uint8Array();
      const expected: ResponseTuple = allowed.includes(method)
        ? [200, "OK", {}, null]
        : [405, "Method Not Allowed", headers, body];
      assertEquals([...response], [...expected], `${method} of ${allowed}`);
    }
  }
});

Deno.test("AllowedMethods lists the methods that it allows, each once", () => {
  assertEquals(new AllowedMethods("PUT", "GET", "PUT").methods, ["PUT", "GET"]);
  assertEquals(new AllowedMethods().methods, []);
});

Deno.test("AllowedMethods and MethodFilter refuse invalid methods", () => {
  for (const method of [undefined, null, 5, {}, ["GET"], Symbol("GET")]) {
    assertTypeError(() => constructWith(AllowedMethods, "GET", method), Deno.inspect(method));
    assertTypeError(() => constructWith(MethodFilter, app, [method]), Deno.inspect(method));
  }
  for (const method of ["", "get", "OPTIONS", "PATCH", "GET ", "CONNECT", "constructor"]) {
    assertRangeError(() => constructWith(AllowedMethods, "GET", method), method);
    assertRangeError(() => constructWith(MethodFilter, app, [method]), method);
  }
});

Deno.test("AllowedMethods wraps only apps", () => {
  const { wrap } = AllowedMethods.prototype;
  const readOnly = new AllowedMethods("GET");
  for (const wrong of [undefined, null, 5, "app", {}, { handle: 5 }, [app]]) {
    assertTypeError(() => callWith(wrap.bind(readOnly), wrong), Deno.inspect(wrong));
  }
  const object = { handle: app, onConnect: 5 };
  assertTypeError(() => callWith(wrap.bind(readOnly), object), "onConnect that is no function");
});

/** What stands between a server and an app. */
const middlewares: Record<string, (app: App) => AppObject> = {
  Router: (app) => new Router(new Map([["foo", app]])),
  MethodFilter: (app) => new AllowedMethods("GET").wrap(app),
};

for (const [name, wrap] of Object.entries(middlewares)) {
  Deno.test(`${name} passes on arguments, responses and errors, and asks its app whether a peer may connect`, async () => {
    const request = () => mkreq("GET", "/foo?bar");
    const session = makeSession();
    const failure = new Error("an app's error");
    const responses: (ResponseTuple | Response)[] = [
      [200, "OK", { a: "b" }, new Uint8Array(3)],
      new Response(200, "OK", { hello: "world" }, null),
    ];
    for (const response of responses) {
      for (const says of [true, false]) {
        for (const answer of [response, Promise.resolve(response)]) {
          const app = {
            answer,
            says,
            seen: [] as unknown[][],
            handle(...args: Parameters<AppFunction>) {
              this.seen.push(args);
              return this.answer;
            },
            onConnect(...args: unknown[]) {
              this.seen.push(args);
              return answer === response ? this.says : Promise.resolve(this.says);
            },
          };
          const asked = request();
          const wrapped = wrap(app);
          assertStrictEquals(await wrapped.onConnect!(session, deadSocket), says);
          const answered = await wrapped.handle(asked, session, api);
          assertStrictEquals(answered, response);
          assertEquals(app.seen.map(({ length }) => length), [2, 3]);
          const [connected, handled] = app.seen;
          [session, deadSocket].forEach((arg, i) => assertStrictEquals(connected![i], arg));
          [asked, session, api].forEach((arg, i) => assertStrictEquals(handled![i], arg));
        }
      }
    }
    const failing = wrap(() => Promise.reject(failure));
    const failed = Promise.resolve().then(() => failing.handle(request(), session, api));
    assertStrictEquals(await failed.catch((error) => error), failure);
    assertStrictEquals(await failing.onConnect!(session, deadSocket), true);
  });
}

Deno.test("a 405 to an upload leaves the body unread and ends the session", async () => {
  await using serving = serve(new AllowedMethods("GET").wrap(app));
  using peer = await RawPeer.connect(serving.address);
  await peer.send("PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhel");
  assertEquals(
    (await peer.readToEnd()).received,
    "HTTP/1.1 405 Method Not Allowed\r\nallow: GET\r\ncontent-length: 0\r\n\r\n",
  );
  assertEquals(serving.logger.at("error"), []);
});
