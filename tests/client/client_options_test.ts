/** The options of a client: which are refused, and how. */
import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { bodies } from "@degu/degu/base";
import { Client, Connection } from "@degu/degu/client";
import {
  assertRangeError,
  assertTypeError,
  constructWith,
  optionOf,
} from "@degu/testing/expectations.ts";

Deno.test("an unknown option is a TypeError that names it", () => {
  for (const name of ["Host", "timeOut", "sslHost", "maxRequests", "toString", ""]) {
    const create = () => constructWith(Client, ["127.0.0.1", 80], { [name]: undefined });
    assertThrows(create, TypeError, name);
  }
});

Deno.test("an option of a wrong type is a TypeError", () => {
  const rows: readonly unknown[] = [
    null,
    5,
    "host",
    { host: 5 },
    { host: ["example.com"] },
    { timeout: "5" },
    { timeout: true },
    { timeout: 5n },
    { bodies: null },
    { bodies: {} },
    { bodies: { ...bodies, Body: undefined } },
    { bodies: { ...bodies, ChunkedBodyIter: {} } },
    { authorization: null },
    { authorization: 5 },
    { onConnect: true },
    { onConnect: null },
    { signal: null },
    { signal: {} },
    { signal: new AbortController() },
  ];
  for (const options of rows) {
    const make = () => constructWith(Client, ["127.0.0.1", 80], options);
    assertThrows(make, TypeError, optionOf(options), Deno.inspect(options));
  }
});

Deno.test("an option with an invalid value is a RangeError", () => {
  const rows: readonly unknown[] = [
    { host: "" },
    { host: "a\r\nb: c" },
    { host: "ä" },
    { host: "a#b" },
    { authorization: "" },
    { authorization: "Basic \r\n" },
    { authorization: "Basic\x7f" },
    { timeout: 0 },
    { timeout: -1 },
    { timeout: NaN },
    { timeout: Infinity },
  ];
  for (const options of rows) {
    const make = () => constructWith(Client, ["127.0.0.1", 80], options);
    assertThrows(make, RangeError, optionOf(options), Deno.inspect(options));
  }
});

Deno.test("a credential never appears in an error", () => {
  const error = assertThrows(
    () => new Client(["127.0.0.1", 80], { authorization: "secret\n" }),
    RangeError,
  );
  assert(!error.message.includes("secret"), error.message);
});

Deno.test("a connection refuses invalid constructor arguments", () => {
  const sock = {
    read: () => Promise.resolve(null),
    write: (bytes: Uint8Array) => Promise.resolve(bytes.length),
    close() {},
  };
  const wrongTypes: readonly (readonly unknown[])[] = [
    [],
    [null, null],
    ["sock", null],
    [{ ...sock, read: undefined }, null],
    [{ ...sock, write: 5 }, null],
    [{ ...sock, close: null }, null],
    [sock, undefined],
    [sock, []],
    [sock, new Headers()],
    [sock, new Map()],
    [sock, null, null],
    [sock, null, {}],
    [sock, null, bodies, "5"],
  ];
  for (const args of wrongTypes) {
    assertTypeError(() => constructWith(Connection, ...args), Deno.inspect(args));
  }
  assertRangeError(() => constructWith(Connection, sock, null, bodies, 0), "a timeout of 0");
  const headers = { host: "a" };
  using conn = new Connection(sock, headers);
  assertStrictEquals(conn.sock, sock);
  assertStrictEquals(conn.baseHeaders, headers);
  assertStrictEquals(conn.bodies, bodies);
  assertEquals(conn.closed, false);
});
