/** Thrown values as text, and errors of the system. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import {
  isUnreachable,
  messageOf,
  plainMessageOf,
  stackOf,
  systemCode,
} from "@degu/internal/net/thrown.ts";

Deno.test("an error is logged with its name and message and its stack, and any other value as text", () => {
  const error = new RangeError("too large");
  assertEquals([messageOf(error), plainMessageOf(error)], ["RangeError: too large", "too large"]);
  assertStringIncludes(stackOf(error), "thrown_test.ts");
  delete error.stack;
  assertEquals(stackOf(error), "RangeError: too large");
  for (const thrown of [undefined, null, 0, "text", 1n, {}, [1]]) {
    assertEquals([messageOf(thrown), stackOf(thrown)], [`${thrown}`, Deno.inspect(thrown)]);
    assertEquals(plainMessageOf(thrown), `${thrown}`);
  }
});

Deno.test("what can't be shown never makes logging fail", () => {
  const fail = () => {
    throw new Error("no");
  };
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  const untellable = [
    Symbol("s"),
    Object.create(null),
    { toString: fail },
    Object.defineProperty(new Error(), "message", { get: fail }),
    Object.assign(new Error(), { name: Symbol("s") }),
    proxy,
  ];
  for (const thrown of untellable) {
    for (const format of [messageOf, plainMessageOf, stackOf]) {
      assertEquals(typeof format(thrown), "string");
    }
  }
});

Deno.test("the message of an error is read without creating its stack", () => {
  let made = 0;
  const error = Object.defineProperty(new Error("a"), "stack", { get: () => `${++made}` });
  assertEquals([messageOf(error), made], ["Error: a", 0]);
  assertEquals([stackOf(error), made], ["1", 1]);
});

Deno.test("a host is unreachable if there is no way to it or no answer in time, not if it refuses", () => {
  const { TimedOut, NetworkUnreachable, AddrNotAvailable, ConnectionRefused } = Deno.errors;
  const codes = (...all: string[]) => all.map((code) => Object.assign(new Error(), { code }));
  const unreachable = [
    ...[new TimedOut(), new NetworkUnreachable(), new AddrNotAvailable()],
    ...codes("EHOSTUNREACH", "EHOSTDOWN", "ENETDOWN"),
  ];
  const reachable = [new ConnectionRefused(), new Error(), ...codes("EACCES"), "text", null];
  for (const error of unreachable) assertEquals(isUnreachable(error), true, Deno.inspect(error));
  for (const error of reachable) assertEquals(isUnreachable(error), false, Deno.inspect(error));
});

Deno.test("only an error of the system has a code", () => {
  const error = Object.assign(new Error(), { code: "EACCES" });
  assertEquals([error, new Error(), "text", null].map(systemCode), [
    "EACCES",
    ...[undefined, undefined, undefined],
  ]);
});
