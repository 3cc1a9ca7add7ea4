/** TempServer: what is refused, and how errors are returned from its worker. */
import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import type { Address } from "@degu/degu/base";
import { TempPKI, TempServer, TempSSLServer } from "@degu/degu/misc";
import type { AppFunction } from "@degu/degu/server";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { within } from "@degu/testing/raw_peer.ts";

type Build = NonNullable<Parameters<typeof TempServer.start>[1]>;

const anywhere: Address = ["127.0.0.1", 0];

const apps = import.meta.resolve("../../tests/support/temp_apps.ts");

const uselessApp = () => [200, "OK", { hello: "world" }, null] as const;

Deno.test("a function that can't be transferred is a TypeError that says what to do instead", async () => {
  const object = {
    method() {
      return this;
    },
    async asyncMethod() {
      return await Promise.resolve(this);
    },
    get getter() {
      return this;
    },
  };
  const getter = Object.getOwnPropertyDescriptor(object, "getter")!.get!;
  class Built {}
  const { method, asyncMethod } = object;
  const functions = [uselessApp.bind(null), Math.max, method, asyncMethod, getter, Built];
  for (const app of functions) {
    for (const args of [[anywhere, null, app], [anywhere, app]]) {
      const error = await rejectionOf(
        Reflect.apply(TempServer.start, TempServer, args),
        Deno.inspect(app),
      );
      assert(error instanceof TypeError, Deno.inspect(error));
      assertMatch(error.message, /^(app|build): .*\{ module, name \}/);
    }
  }
});

Deno.test("an invalid argument is a TypeError or RangeError", async () => {
  const relative = ["./app.ts", "app.ts", "/app.ts", ""];
  const rows: readonly (readonly unknown[])[] = [
    [anywhere, null],
    [anywhere, null, uselessApp, uselessApp],
    [anywhere, null, null],
    [anywhere, 5],
    [anywhere, "file:///a.ts"],
    [anywhere, {}],
    [anywhere, { module: apps }],
    [anywhere, { name: "build" }],
    [anywhere, { module: 5, name: "build" }],
    [anywhere, { module: apps, name: 1 }],
    ...relative.map((module) => [anywhere, { module, name: "build" }]),
    ...relative.map((module) => [anywhere, null, { module, name: "app" }]),
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
    const shown = Deno.inspect([args, error]);
    assert(error instanceof TypeError || error instanceof RangeError, shown);
    const { module } = (args[1] ?? args[2] ?? {}) as { module?: unknown };
    if (!relative.includes(`${module}`)) return;
    assert(error instanceof RangeError, shown);
    assertMatch(error.message, /^(app|build)\.module: must be an absolute URL/);
  }));
});

Deno.test("a failure in the worker rejects start() with the real cause", async (t) => {
  const throwing: Extract<Build, CallableFunction> = () => {
    throw new RangeError("the build function broke");
  };
  const rows: readonly (readonly [what: string, ref: Build, ...string[]])[] = [
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

Deno.test("errors are transferred with their causes, and with the errors of an AggregateError", async (t) => {
  const rows:
    readonly (readonly [string, Extract<Build, CallableFunction>, (error: Error) => void])[] = [
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

Deno.test("an app in place of the function that builds it is a TypeError that suggests null", async () => {
  const apps: readonly Extract<Build, CallableFunction>[] = [
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

Deno.test("calling new on a temporary server or PKI throws an error that names the right function", () => {
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
