/** Hosts that give no sign of life. */
import { assertEquals } from "@std/assert";
import { isUnreachable, systemCode } from "@degu/internal/net/thrown.ts";

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
