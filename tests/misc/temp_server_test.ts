/** Servers in workers: what they run, what crosses, what fails, and that they end. */
import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { type Address, buildUri, ChunkedBody, makeOutputFromInput } from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import {
  type AppRef,
  type BuildFunction,
  TempPKI,
  TempServer,
  TempSSLServer,
} from "@degu/degu/misc";
import { type AppFunction, Server } from "@degu/degu/server";
import { tempDir } from "@degu/testing/directories.ts";
import { hasIPv6 } from "@degu/testing/endpoints.ts";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { turnOfEventLoop, within } from "@degu/testing/raw_peer.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";

const anywhere: Address = ["127.0.0.1", 0];
const apps = import.meta.resolve("../../tests/support/temp_apps.ts");
const uselessApp = () => [200, "OK", { hello: "world" }, null] as const;

Deno.test(
  "the tutorial: an app, and a reverse proxy to it over IPv6",
  { ignore: !hasIPv6 },
  async () => {
    await using server = await TempServer.start(anywhere, null, uselessApp);
    const response = await new Client(server.address).request("GET", "/");
    const shown = 'Response(status=200, reason="OK", headers={ hello: "world" }, body=null)';
    assertEquals(Deno.inspect(response), shown);
    const build = { module: apps, name: "buildProxyApp" };
    await using proxy = await TempServer.start(["::1", 0, 0, 0], build, server.address);
    const client = new Client(proxy.address);
    assertEquals(Deno.inspect(await client.request("GET", "/")), shown);
    assertEquals(buildUri([], null), "/");
    assertEquals(makeOutputFromInput(null), null);
  },
);

Deno.test("it runs on every kind of address, whose address is final", async () => {
  await using directory = await tempDir();
  const addresses: readonly Address[] = [
    anywhere,
    ...(hasIPv6 ? [["::1", 0] as const, ["::1", 0, 0, 0] as const] : []),
    `${directory.path}/socket`,
    new TextEncoder().encode(`\0degu-test-${crypto.randomUUID()}`),
    new Uint8Array(0),
  ];
  await Promise.all(addresses.map(async (address) => {
    const server = await TempServer.start(address, null, uselessApp);
    assertEquals((await new Client(server.address).request("GET", "/")).status, 200);
    await server.close();
    new Server(server.address, uselessApp).close();
  }));
  await assertRejects(() => Deno.lstat(`${directory.path}/socket`), Deno.errors.NotFound);
});

Deno.test("functions of every form cross by their source", async () => {
  async function declared() {
    await Promise.resolve();
    return [201, "Created", {}, null] as const;
  }
  const forms: readonly (readonly [AppFunction, number])[] = [
    [declared, 201],
    [() => [202, "Accepted", {}, null], 202],
    [async () => await Promise.resolve([203, "xx", {}, null] as const), 203],
    [function () {
      return [205, "xx", {}, null];
    }, 205],
    [({ path }, session, api) => {
      const body = new api.BodyIter([new TextEncoder().encode(`${path}${session.requests}`)], 4);
      return [206, "xx", {}, body];
    }, 206],
  ];
  await Promise.all(forms.map(async ([app, status]) => {
    await using server = await TempServer.start(anywhere, null, app);
    const response = await new Client(server.address).request("GET", "/foo");
    await response.body?.read();
    assertEquals(response.status, status);
  }));
});

Deno.test("a build function gets its arguments, may be asynchronous, and may return an object", async () => {
  const build = async (status: number, headers: Record<string, string>, bytes: Uint8Array) => {
    await Promise.resolve();
    return {
      handle: () => [status, "As told", headers, bytes] as const,
      onConnect: () => true,
    };
  };
  await using server = await TempServer.start(anywhere, build, 210, { a: "b" }, latin1("hello"));
  const { status, headers, body } = await new Client(server.address).request("GET", "/");
  assertEquals([status, headers["a"], await body?.text()], [210, "b", "hello"]);
});

Deno.test("an export of a module crosses by its name, as a string or URL", async () => {
  for (const module of [apps, new URL(apps)]) {
    await using app = await TempServer.start(anywhere, null, { module, name: "echo" });
    const { body } = await new Client(app.address).request("POST", "/", {}, latin1("hello"));
    assertEquals(await body?.text(), "hello");
    await using built = await TempServer.start(anywhere, { module, name: "build" }, 211);
    assertEquals((await new Client(built.address).request("GET", "/")).status, 211);
  }
});

Deno.test("the options of the server cross with the address", async () => {
  const place = { address: anywhere, options: { maxRequests: 2, timeout: 5, maxConnections: 3 } };
  await using server = await TempServer.start(place, null, uselessApp);
  using conn = await new Client(server.address).connect();
  await conn.get("/");
  await conn.get("/");
  await assertRejects(() => conn.get("/"));
  await assertRejects(
    () => TempServer.start({ address: anywhere, options: { maxRequests: 0 } }, null, uselessApp),
    RangeError,
    "maxRequests",
  );
  await assertRejects(
    () =>
      Reflect.apply(TempServer.start, TempServer, [
        { address: anywhere, options: { logger: console } },
        null,
        uselessApp,
      ]),
    TypeError,
    "logger",
  );
});

Deno.test("a function that can't cross is a TypeError that says what to do instead", async () => {
  const object = {
    method() {
      return this;
    },
  };
  class Built {}
  const functions: readonly unknown[] = [uselessApp.bind(null), Math.max, object.method, Built];
  for (const app of functions) {
    for (const args of [[anywhere, null, app], [anywhere, app]]) {
      const error = await rejectionOf(
        Reflect.apply(TempServer.start, TempServer, args),
        Deno.inspect(app),
      );
      assert(error instanceof TypeError, Deno.inspect(error));
      assertStringIncludes(error.message, "module");
    }
  }
});

Deno.test("a wrong argument is a TypeError or RangeError", async () => {
  const rows: readonly (readonly unknown[])[] = [
    [anywhere, null],
    [anywhere, null, uselessApp, uselessApp],
    [anywhere, null, null],
    [anywhere, 5],
    [anywhere, {}],
    [anywhere, { module: apps }],
    [anywhere, { name: "build" }],
    [anywhere, { module: 5, name: "build" }],
    [anywhere, { module: "./apps.ts", name: "build" }],
    [anywhere],
    [5, null, uselessApp],
    [null, null, uselessApp],
    [["localhost", 0], null, uselessApp],
    [["127.0.0.1", 65536], null, uselessApp],
    ["relative", null, uselessApp],
    [{ address: anywhere, options: { unknown: 5 } }, null, uselessApp],
  ];
  await Promise.all(rows.map(async (args) => {
    const error = await rejectionOf(
      Reflect.apply(TempServer.start, TempServer, args),
      Deno.inspect(args),
    );
    assert(error instanceof TypeError || error instanceof RangeError, Deno.inspect([args, error]));
  }));
});

Deno.test("what fails in the worker rejects start() with the real cause", async (t) => {
  const throwing: BuildFunction = () => {
    throw new RangeError("the build function broke");
  };
  const rows: readonly (readonly [what: string, ref: AppRef<BuildFunction>, ...string[]])[] = [
    ["a build function that throws", throwing, "RangeError", "the build function broke"],
    ["one that rejects", async () => await Promise.reject(new TypeError("no")), "TypeError", "no"],
    // deno-lint-ignore no-throw-literal
    [
      "one that throws no error",
      () => {
        throw "text";
      },
      "Error",
      "text",
    ],
    ["one that returns no app", () => Reflect.get({}, "app"), "TypeError", "app"],
    ["a name that is not in scope", () => Reflect.get(globalThis, "x")(), "TypeError", ""],
    ["no such module", { module: `${apps}.missing`, name: "build" }, "", "missing"],
    ["no such export", { module: apps, name: "missing" }, "TypeError", "missing"],
    ["an export that is no function", { module: apps, name: "constant" }, "TypeError", ""],
    ["an export that throws", { module: apps, name: "buildBroken" }, "Error", "the module broke"],
    [
      "a module that fails",
      { module: "data:text/javascript,throw new Error('at import')", name: "a" },
      "Error",
      "at import",
    ],
    [
      "a module with wrong syntax",
      { module: "data:text/javascript,export const (", name: "a" },
      "",
      "",
    ],
  ];
  for (const [what, ref, name = "", words = ""] of rows) {
    await t.step(what, async () => {
      const error = await rejectionOf(within(TempServer.start(anywhere, ref), what), what);
      assert(error instanceof Error);
      if (name !== "") assertEquals(error.name, name);
      assertStringIncludes(error.message, words);
      if (words === "the build function broke") {
        assert(error instanceof RangeError);
        assertStringIncludes(error.stack ?? "", words);
      }
    });
  }
});

Deno.test("errors cross with what they carry: causes, and the errors of an AggregateError", async (t) => {
  const rows: readonly (readonly [string, BuildFunction, (error: Error) => void])[] = [
    ["a cause", () => {
      throw new TypeError("outer", { cause: new RangeError("inner", { cause: { code: 5 } }) });
    }, (error) => {
      assert(error instanceof TypeError && error.cause instanceof RangeError);
      assertEquals([error.message, error.cause.message], ["outer", "inner"]);
      assertEquals(error.cause.cause, { code: 5 });
    }],
    ["a cause that can't be cloned", () => {
      throw new Error("outer", { cause: () => "the cause" });
    }, (error) => assertEquals(typeof error.cause, "string")],
    ["no cause", () => {
      throw new Error("outer");
    }, (error) => assertEquals("cause" in error, false)],
    ["an AggregateError", () => {
      const errors = [
        new Deno.errors.NotFound("a"),
        "b",
        new AggregateError([new SyntaxError("c")]),
      ];
      throw new AggregateError(errors, "all of them", { cause: new Error("d") });
    }, (error) => {
      assert(error instanceof AggregateError && error.cause instanceof Error);
      assertEquals([error.message, error.cause.message], ["all of them", "d"]);
      const [first, second, third] = error.errors;
      assert(first instanceof Deno.errors.NotFound && third instanceof AggregateError);
      assertEquals([first.message, second], ["a", "b"]);
      assert(third.errors[0] instanceof SyntaxError);
    }],
    ["one of Promise.any()", () => Promise.any([Promise.reject(new URIError("a"))]), (error) => {
      assert(error instanceof AggregateError && error.errors[0] instanceof URIError);
      assertStringIncludes(error.stack ?? "", "AggregateError");
    }],
    ["a DOMException", () => Promise.reject(AbortSignal.abort().reason), (error) => {
      assert(error instanceof DOMException);
      assertEquals(error.name, "AbortError");
    }],
    ["one with a name of its own", () => {
      const error = new Error("text");
      error.name = "SuppressedError";
      throw error;
    }, (error) => assertEquals([error.name, error.message], ["SuppressedError", "text"])],
    ["one that is its own cause", () => {
      const error = new Error("round");
      error.cause = new AggregateError([error]);
      throw error;
    }, (error) => {
      assert(error.cause instanceof AggregateError);
      assertEquals(error.cause.errors[0] === error, true);
    }],
    ["an object without a prototype", () => {
      throw Object.assign(Object.create(null), { code: 5 });
    }, (error) => assertStringIncludes(error.message, "code: 5")],
  ];
  for (const [what, build, check] of rows) {
    await t.step(what, async () => {
      const error = await rejectionOf(within(TempServer.start(anywhere, build), what), what);
      assert(error instanceof Error);
      check(error);
    });
  }
});

Deno.test("an app in the place of the function that builds it is a TypeError that says null", async () => {
  const apps: readonly BuildFunction[] = [
    ({ path }) => [200, "OK", { path: `${path}` }, null] as never,
    async (_request, _session, api) => await Promise.resolve([200, "OK", {}, api] as never),
    uselessApp as never,
  ];
  for (const app of apps) {
    const error = await rejectionOf(TempServer.start(anywhere, app), Deno.inspect(app));
    assert(error instanceof TypeError, Deno.inspect(error));
    assertStringIncludes(error.message, "put null before it: start(address, null, app)");
  }
  const build = (status = 200): AppFunction => () => [status, "OK", {}, null];
  await (await TempServer.start(anywhere, build)).close();
});

Deno.test("new is no way to a temporary server or PKI, and its error names the way", () => {
  const classes = [
    [TempServer, "TempServer.start()"],
    [TempSSLServer, "TempSSLServer.start()"],
    [TempPKI, "TempPKI.create()"],
  ] as const;
  for (const [Class, way] of classes) {
    for (const args of [[], [null, anywhere], [anywhere, null, uselessApp], ["/tmp", true]]) {
      assertThrows(() => Reflect.construct(Class, args), TypeError, way);
    }
  }
});

Deno.test("an address that is taken rejects start() with AddrInUse", async () => {
  await using server = await TempServer.start(anywhere, null, uselessApp);
  await assertRejects(
    () => TempServer.start(server.address, null, uselessApp),
    Deno.errors.AddrInUse,
  );
  await using directory = await tempDir();
  const file = `${directory.path}/file`;
  await Deno.writeTextFile(file, "precious");
  await assertRejects(() => TempServer.start(file, null, uselessApp), Deno.errors.AddrInUse);
  assertEquals(await Deno.readTextFile(file), "precious");
});

Deno.test("close() is idempotent, ends connections, and frees the address", async () => {
  const server = await TempServer.start(anywhere, null, uselessApp);
  using conn = await new Client(server.address).connect();
  await conn.get("/");
  await Promise.all([server.close(), server.close()]);
  await server[Symbol.asyncDispose]();
  new Server(server.address, uselessApp).close();
  await assertRejects(() => conn.get("/"));
});

Deno.test("close() does not wait for an application that never answers, but for one that is busy", async () => {
  const never: AppFunction = () => new Promise(() => {});
  const busy: AppFunction = () => {
    const start = performance.now();
    while (performance.now() - start < 400);
    return [200, "OK", {}, null];
  };
  for (const app of [never, busy]) {
    const server = await TempServer.start(anywhere, null, app);
    using conn = await new Client(server.address).connect();
    const error = conn.get("/").catch(() => {});
    for (let i = 0; i < 3; i++) await turnOfEventLoop();
    await within(server.close(), "close() resolves");
    new Server(server.address, uselessApp).close();
    await error;
  }
});

Deno.test("both ends speak through two servers in workers, chunk extensions included", async () => {
  await using server = await TempServer.start(anywhere, null, { module: apps, name: "echo" });
  const build = { module: apps, name: "buildProxyApp" };
  await using proxy = await TempServer.start(anywhere, build, server.address);
  using conn = await new Client(proxy.address).connect();
  const { ChunkedBodyIter } = conn.bodies;
  const sent = [[["k", "v"], latin1("hello")], [null, latin1("world")], [
    ["z", "0"],
    latin1(""),
  ]] as const;
  const { body } = await conn.post("/a?b", { "x-y": "z" }, new ChunkedBodyIter(sent));
  assert(body instanceof ChunkedBody);
  const received = await Array.fromAsync(body);
  assertEquals<unknown>(received, sent);
  assertThrows(() => new Server(proxy.address, uselessApp), Deno.errors.AddrInUse);
});
