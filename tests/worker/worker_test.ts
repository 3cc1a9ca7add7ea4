/** What crosses between threads: errors, and code by its module's name. */
import { loadModuleExport, readModuleExport } from "@degu/internal/worker/module_export.ts";
import { fromPlainError, toPlainError } from "@degu/internal/worker/plain_error.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";

// Exports, named by their module.

Deno.test("the export of a module is given as a string or a URL only", () => {
  const expected = { module: "file:///app.ts", name: "app" };
  assertEquals(readModuleExport("app", expected), expected);
  assertEquals(
    readModuleExport("app", { ...expected, module: new URL(expected.module) }),
    expected,
  );
  const others = [
    null,
    undefined,
    5,
    "app",
    [],
    {},
    { module: "file:///app.ts" },
    { name: "app" },
    {
      module: 5,
      name: "app",
    },
    { module: "file:///app.ts", name: 5 },
  ];
  for (const value of others) assertEquals(readModuleExport("app", value), null);
});

Deno.test("a module requires an absolute URL", () => {
  for (const module of ["./app.ts", "app.ts", "/app.ts", ""]) {
    const read = () => readModuleExport("build", { module, name: "app" });
    assertThrows(read, RangeError, "build.module: must be an absolute URL");
  }
});

Deno.test("an export is loaded, and a missing one is a TypeError", async () => {
  const module = "data:text/javascript,export const app = 5, nothing = undefined;";
  assertEquals(await loadModuleExport({ module, name: "app" }), 5);
  for (const name of ["other", "nothing"]) {
    const load = () => loadModuleExport({ module, name });
    await assertRejects(load, TypeError, `has no export "${name}"`);
  }
});

// Errors are transferred from a worker with all their properties.

/** What arrives at the other end. */
function cross(thrown: unknown): Error {
  return fromPlainError(structuredClone(toPlainError(thrown)));
}

const errors: Record<string, Error> = {
  "of a built-in class": new RangeError("too large"),
  "of Deno": new Deno.errors.AddrInUse("taken"),
  "a DOMException": new DOMException("stopped", "AbortError"),
  "of an unknown class": Object.assign(new Error("odd"), { name: "OddError" }),
  "named like something that is no error": Object.assign(new Error("odd"), { name: "Array" }),
  "with a cause": new Error("outer", { cause: new TypeError("inner", { cause: "deepest" }) }),
  "of several": new AggregateError([new TypeError("a"), "b", 3], "all failed"),
};

for (const [what, error] of Object.entries(errors)) {
  Deno.test(`an error ${what} arrives unchanged`, () => {
    const arrived = cross(error);
    assertEquals(Object.prototype.toString.call(arrived), Object.prototype.toString.call(error));
    assertStrictEquals(Object.getPrototypeOf(arrived), Object.getPrototypeOf(error));
    assertEquals([arrived.name, arrived.message], [error.name, error.message]);
    assertEquals(arrived.stack, error.stack);
    assertEquals(arrived.cause, error.cause);
    if (error instanceof AggregateError) {
      assertInstanceOf(arrived, AggregateError);
      assertEquals(arrived.errors, error.errors);
    }
    const shown = ["message", "stack", "cause", "errors"];
    assertEquals(Object.keys(arrived).filter((key) => shown.includes(key)), []);
  });
}

Deno.test("an error that is its own cause arrives with itself as its cause", () => {
  const error = new Error("circle");
  error.cause = new AggregateError([error], "wrapped", { cause: error });
  const arrived = cross(error);
  const { cause } = arrived;
  assertInstanceOf(cause, AggregateError);
  assertStrictEquals(cause.cause, arrived);
  assertStrictEquals(cause.errors[0], arrived);
});

Deno.test("a cause that can't be cloned arrives as text", () => {
  const { cause } = cross(new Error("outer", { cause: { answer: () => 42, secret: 1 } }));
  assert(typeof cause === "string" && cause.includes("secret: 1"), Deno.inspect(cause));
});

Deno.test("a thrown value that is not an error arrives as an error that shows it", () => {
  for (const thrown of ["text", undefined, null, 7, { a: 1 }, Symbol("s"), () => {}]) {
    const { name, message } = cross(thrown);
    assertEquals(name, "Error");
    assertEquals(message, typeof thrown === "string" ? thrown : Deno.inspect(thrown));
  }
});

Deno.test("an error with a property of a wrong type, or one that can't be read, arrives as an error", () => {
  const changed = (property: string, descriptor: PropertyDescriptor) =>
    Object.defineProperty(new Error("odd"), property, descriptor);
  const fail = () => {
    throw new Error("in a getter");
  };
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  const rows: Record<string, unknown> = {
    "a name that is a function": changed("name", { value: () => 5 }),
    "a stack that is a symbol": changed("stack", { value: Symbol("s") }),
    "a message that throws": changed("message", { get: fail }),
    "errors that are no array": Object.assign(new AggregateError([], "odd"), { errors: 5 }),
    "the name of a class that takes more": changed("name", { value: "AggregateError" }),
    "a revoked proxy": proxy,
    "a cause that is one": new Error("odd", { cause: proxy }),
    "an inspection that throws": { [Symbol.for("Deno.customInspect")]: fail },
  };
  for (const [what, thrown] of Object.entries(rows)) {
    const arrived = cross(thrown);
    assertInstanceOf(arrived, Error, what);
    assert(["odd", "what was thrown can't be read"].includes(arrived.message), what);
  }
});

Deno.test("a class of the program's own, which throws, is not taken for the one that an error has the name of", () => {
  class OwnError extends Error {
    constructor({ code }: { code: { text: string } }) {
      super(code.text);
    }
  }
  Object.assign(globalThis, { OwnError });
  const thrown = Object.assign(new Error("odd"), { name: "OwnError" });
  const arrived = cross(thrown);
  Reflect.deleteProperty(globalThis, "OwnError");
  assertEquals([arrived.name, arrived.message], ["OwnError", "odd"]);
});
