/** AllowedMethods and MethodFilter, and how the building blocks work together. */
import { assertEquals, assertInstanceOf, assertRejects, assertStrictEquals } from "@std/assert";
import {
  AllowedMethods,
  type App,
  type AppFunction,
  MethodFilter,
  ProxyApp,
  Router,
  Validator,
} from "@degu/degu";
import type { HeaderDict, Method, ResponseTuple } from "@degu/degu/base";
import { FilesApp } from "@degu/degu/files";
import { mkreq } from "@degu/degu/misc";
import { api, deadSocket, makeSession } from "@degu/testing/calling.ts";
import { tempDir } from "@degu/testing/directories.ts";
import {
  assertRangeError,
  assertTypeError,
  callWith,
  constructWith,
} from "@degu/testing/expectations.ts";
import { RawPeer } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";

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

Deno.test("AllowedMethods wraps any number of apps", async () => {
  const readOnly = new AllowedMethods("GET");
  const filters = [readOnly.wrap(app), readOnly.wrap({ handle: app })];
  for (const filter of filters) {
    assertInstanceOf(filter, MethodFilter);
    const [status] = await filter.handle(mkreq("GET", "/"), makeSession(), api);
    assertEquals(status, 200);
  }
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

Deno.test("MethodFilter passes on arguments, response and error unchanged", async () => {
  const request = mkreq("GET", "/");
  const session = makeSession();
  const response: ResponseTuple = [200, "OK", {}, new Uint8Array(1)];
  const failure = new Error("an app's error");
  const object = {
    response,
    handle(...args: Parameters<AppFunction>): ResponseTuple {
      assertEquals(args.length, 3);
      assertStrictEquals(args[0], request);
      assertStrictEquals(args[1], session);
      assertStrictEquals(args[2], api);
      return this.response;
    },
  };
  const gets = new AllowedMethods("GET");
  assertStrictEquals(await gets.wrap(object).handle(request, session, api), response);
  const failing = gets.wrap(() => Promise.reject(failure));
  const error = await assertRejects(async () => await failing.handle(request, session, api));
  assertStrictEquals(error, failure);
});

Deno.test("MethodFilter asks its app whether a peer may connect", async () => {
  const session = makeSession();
  const gets = new AllowedMethods("GET");
  assertStrictEquals(await gets.wrap(app).onConnect(session, deadSocket), true);
  for (const says of [true, false]) {
    const object = {
      says,
      handle: app,
      onConnect(...args: unknown[]): boolean {
        assertStrictEquals(args[0], session);
        assertStrictEquals(args[1], deadSocket);
        return this.says;
      },
    };
    assertStrictEquals(await gets.wrap(object).onConnect(session, deadSocket), says);
  }
});

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

Deno.test("nested apps work, and are validated on every level", async () => {
  await using dir = await tempDir();
  await Deno.writeTextFile(`${dir.path}/file.txt`, "from a file");
  const echo: App = async ({ body, method, uri }) => [
    200,
    "OK",
    { method, uri },
    latin1((await body?.text())?.toUpperCase() ?? ""),
  ];
  await using upstream = serve(new Validator(new Router(new Map([["echo", echo]]))));
  const proxy = new ProxyApp(upstream.makeClient());
  const checked = (inner: App) => new Validator(inner);
  const get = new AllowedMethods("GET", "HEAD");
  await using serving = serve(checked(
    new Router(
      new Map<string, App>([
        ["files", checked(get.wrap(checked(new FilesApp(dir.path))))],
        ["proxy", checked(new AllowedMethods("POST").wrap(checked(proxy)))],
      ]),
    ),
  ));
  using conn = await serving.makeClient().connect();

  const file = await conn.get("/files/file.txt");
  assertEquals(await file.body?.text(), "from a file");
  const echoed = await conn.post("/proxy/echo/a?b", {}, latin1("hello"));
  assertEquals([echoed.headers["method"], echoed.headers["uri"]], ["POST", "/echo/a?b"]);
  assertEquals(await echoed.body?.text(), "HELLO");
  assertEquals((await conn.head("/files/file.txt")).headers["content-length"], 11);
  assertEquals((await conn.delete("/files/file.txt")).status, 405);
  for (const { logger } of [serving, upstream]) assertEquals(logger.at("error"), []);
});
