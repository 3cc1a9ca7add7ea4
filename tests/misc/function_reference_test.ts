/** Which functions can be transferred to a worker, and how. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { refer } from "@degu/internal/misc/function_reference.ts";

const object = {
  method() {
    return 1;
  },
  async asyncMethod() {
    return await Promise.resolve(1);
  },
  get getter() {
    return 1;
  },
};

Deno.test("a function in any form is transferred as source", () => {
  const functions: readonly ((...args: never[]) => unknown)[] = [
    () => 1,
    async () => await 1,
    function () {
      return 1;
    },
    async function named() {
      return await 1;
    },
    function* () {},
    (a: number, b = "}{") => `${a}${b}`,
  ];
  for (const given of functions) {
    assertEquals(refer("build", given), { kind: "source", source: given.toString() });
  }
});

Deno.test("an export of a module is transferred as the URL of the module and its name", () => {
  for (const module of ["file:///a/b.ts", new URL("file:///a/b.ts"), "data:text/javascript,"]) {
    const reference = { kind: "module" as const, module: String(module), name: "app" };
    assertEquals(refer("app", { module, name: "app" }), reference);
  }
});

Deno.test("a function without source code is a TypeError that says what to do instead", () => {
  const getter = Object.getOwnPropertyDescriptor(object, "getter")!.get!;
  const wrong = [
    Math.max,
    (() => 1).bind(null),
    class A {},
    object.method,
    object.asyncMethod,
    getter,
  ];
  for (const given of wrong) {
    const { message } = assertThrows(() => refer("build", given), TypeError);
    assert(/^build: .*\{ module, name \}/.test(message), message);
  }
});

Deno.test("a value that is neither a function nor a reference is a TypeError", () => {
  const wrong = [undefined, null, 1, "file:///a.ts", {}, { module: "file:///a" }, { name: "a" }];
  for (const given of [...wrong, { module: 1, name: "a" }, { module: "file:///a", name: 1 }]) {
    assertThrows(() => refer("build", given as never), TypeError, "build: ");
  }
});

Deno.test("a relative URL is a RangeError", () => {
  for (const module of ["./app.ts", "app.ts", "/app.ts", ""]) {
    assertThrows(() => refer("app", { module, name: "app" }), RangeError, "app.module: ");
  }
});
