/** Thrown values as text, and errors of the system. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import {
  isUnreachable,
  messageOf,
  plainMessageOf,
  stackOf,
  systemCode,
} from "@degu/internal/net/thrown.ts";

Deno.test("an error is logged with its name and message, and its stack", () => {
  const error = new RangeError("too large");
  assertEquals(messageOf(error), "RangeError: too large");
  assertStringIncludes(stackOf(error), "thrown_test.ts");
  assertEquals(plainMessageOf(error), "too large");
});

Deno.test("an error without a stack is logged with its message only", () => {
  const error = new Error("odd");
  delete error.stack;
  assertEquals([messageOf(error), stackOf(error)], ["Error: odd", "Error: odd"]);
});

Deno.test("a value that is not an error is logged as text", () => {
  for (const thrown of [undefined, null, 0, "text", 1n, {}, [1]]) {
    assertEquals([messageOf(thrown), stackOf(thrown)], [`${thrown}`, Deno.inspect(thrown)]);
    assertEquals(plainMessageOf(thrown), `${thrown}`);
  }
});

const untellable: Record<string, unknown> = {
  "a symbol": Symbol("s"),
  "an object without a prototype": Object.create(null),
  "a toString that throws": {
    toString() {
      throw new Error("no");
    },
  },
  "an error whose message throws": Object.defineProperty(new Error(), "message", {
    get() {
      throw new Error("no");
    },
  }),
  "an error whose name is a symbol": Object.assign(new Error(), { name: Symbol("s") }),
  "a revoked proxy": (() => {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    return proxy;
  })(),
};

for (const [what, thrown] of Object.entries(untellable)) {
  Deno.test(`${what} never makes logging fail`, () => {
    for (const format of [messageOf, plainMessageOf, stackOf]) {
      assertEquals(typeof format(thrown), "string");
    }
  });
}

Deno.test("the message of an error is read without creating its stack", () => {
  let made = 0;
  const error = Object.defineProperty(new Error("a"), "stack", { get: () => `${++made}` });
  assertEquals([messageOf(error), made], ["Error: a", 0]);
  assertEquals([stackOf(error), made], ["1", 1]);
});

Deno.test("a host is unreachable if there is no way to it, or no answer in time", () => {
  const unreachable = [
    new Deno.errors.TimedOut(),
    new Deno.errors.NetworkUnreachable(),
    new Deno.errors.AddrNotAvailable(),
    ...["EHOSTUNREACH", "EHOSTDOWN", "ENETDOWN"].map((code) =>
      Object.assign(new Error(), { code })
    ),
  ];
  for (const error of unreachable) assertEquals(isUnreachable(error), true, Deno.inspect(error));
});

Deno.test("a host that refuses or resets a connection is reachable", () => {
  const reachable = [
    new Deno.errors.ConnectionRefused(),
    new Deno.errors.ConnectionReset(),
    Object.assign(new Error(), { code: "EACCES" }),
    new Error(),
    ...["text", null, undefined],
  ];
  for (const error of reachable) assertEquals(isUnreachable(error), false, Deno.inspect(error));
});

Deno.test("only an error of the system has a code", () => {
  const error = Object.assign(new Error(), { code: "EACCES" });
  assertEquals([error, new Error(), "text", null].map(systemCode), [
    "EACCES",
    ...[undefined, undefined, undefined],
  ]);
});
