/** What crosses between threads: errors, and code by its module's name. */
import { loadModuleExport, readModuleExport } from "@degu/internal/worker/module_export.ts";
import { fromPostedError, toPostedError } from "@degu/internal/worker/posted_error.ts";
import {
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";

// Exports, named by their module.

Deno.test("the export of a module is given as a string or a URL only", () => {
  const expected = { module: "file:///app.ts", name: "app" };
  const { module, name } = expected;
  for (const given of [expected, { module: new URL(module), name }]) {
    assertEquals(readModuleExport("app", given), expected);
  }
  for (const value of [null, undefined, 5, "app", [], {}, { module }, { name }]) {
    assertEquals(readModuleExport("app", value), null);
  }
  assertEquals(readModuleExport("app", { module: 5, name }), null);
  assertEquals(readModuleExport("app", { module, name: 5 }), null);
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

// Errors, posted by a worker.

/** What arrives at the other end. */
function cross(thrown: unknown): Error {
  return fromPostedError(structuredClone(toPostedError(thrown)));
}

Deno.test("an error arrives with its class, name, message, stack and cause", () => {
  const errors: Error[] = [
    new RangeError("too large"),
    new Deno.errors.AddrInUse("taken"),
    new DOMException("stopped", "AbortError"),
    Object.assign(new Error("odd"), { name: "OddError" }),
    ...["Array", "constructor", "toString"].map((name) =>
      Object.assign(new Error("odd"), { name })
    ),
    new Error("outer", { cause: new TypeError("inner", { cause: "deepest" }) }),
    new AggregateError([new TypeError("a"), "b", 3], "all failed"),
  ];
  for (const error of errors) {
    const arrived = cross(error);
    assertStrictEquals(Object.getPrototypeOf(arrived), Object.getPrototypeOf(error));
    assertEquals([arrived.name, arrived.message], [error.name, error.message]);
    assertEquals([arrived.stack, arrived.cause], [error.stack, error.cause]);
    const errorsOf = (error: Error) => (error as Partial<AggregateError>).errors;
    assertEquals(errorsOf(arrived), errorsOf(error));
  }
});

Deno.test("whatever was thrown arrives as an error that shows it, as far as it can be read", () => {
  for (const thrown of [undefined, null, 7, { a: 1 }, Symbol("s"), () => {}]) {
    const { name, message } = cross(thrown);
    assertEquals([name, message], ["Error", Deno.inspect(thrown)]);
  }
  const uncloneable = cross(new RangeError("outer", { cause: { answer: () => 42 } }));
  assertEquals([uncloneable.name, uncloneable.message], ["RangeError", "outer"]);
  assertEquals(uncloneable.cause, Deno.inspect({ answer: () => 42 }));
  const fail = () => {
    throw new Error("in a getter");
  };
  const changed = (property: string, descriptor: PropertyDescriptor) =>
    Object.defineProperty(new Error("odd"), property, descriptor);
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  const rows: [thrown: unknown, message: string][] = [
    ["text", "text"],
    [changed("name", { value: () => 5 }), "odd"],
    [changed("stack", { value: Symbol("s") }), "odd"],
    [changed("message", { get: fail }), "what was thrown can't be read"],
    [proxy, "what was thrown can't be read"],
    [{ [Symbol.for("Deno.customInspect")]: fail }, "what was thrown can't be read"],
  ];
  for (const [thrown, message] of rows) {
    const arrived = cross(thrown);
    assertInstanceOf(arrived, Error);
    assertEquals(arrived.message, message);
  }
});
