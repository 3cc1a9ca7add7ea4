/** The options of clients and servers: what is refused, and that they are copied. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { bodies } from "@degu/degu/base";
import {
  checkClientOptions,
  CLIENT_OPTIONS,
  type ClientOptions,
  makeBaseHeaders,
} from "@degu/internal/net/client_options.ts";
import { checkServerOptions, type ServerOptions } from "@degu/internal/net/server_options.ts";

const check = (options: ClientOptions) => checkClientOptions(options, CLIENT_OPTIONS);

Deno.test("every valid option is copied", () => {
  const given: ClientOptions = {
    host: null,
    timeout: null,
    bodies,
    authorization: "Bearer a",
    headers: { accept: "text/plain" },
    onConnect: () => true,
    signal: new AbortController().signal,
  };
  const copy = check(given);
  assert(copy !== given);
  assertEquals(Object.keys(copy).toSorted(), CLIENT_OPTIONS.toSorted());
  for (const name of ["host", "timeout", "bodies", "authorization", "onConnect", "signal"]) {
    assertEquals(copy[name as keyof ClientOptions], given[name as keyof ClientOptions], name);
  }
  assert(copy.headers !== given.headers);
  assertEquals({ ...copy.headers }, given.headers);
  assert(Object.isFrozen(copy.headers));
});

Deno.test("an invalid option is refused by name, and a secret is not shown", () => {
  const rows: readonly (readonly [options: unknown, type: typeof Error, named: string])[] = [
    [{ hots: "a" }, TypeError, "hots"],
    [{ host: 1 }, TypeError, "host"],
    [{ host: "" }, RangeError, "host"],
    [{ host: "a\r\nb" }, RangeError, "host"],
    [{ authorization: null }, TypeError, "authorization"],
    [{ authorization: "" }, RangeError, "authorization"],
    [{ authorization: "secret\n" }, RangeError, "authorization"],
    [{ timeout: 0 }, RangeError, "timeout"],
    [{ timeout: "1" }, TypeError, "timeout"],
    [{ bodies: {} }, TypeError, "bodies"],
    [{ onConnect: true }, TypeError, "onConnect"],
    [{ signal: {} }, TypeError, "signal"],
    [{ headers: { host: "a" } }, Error, "host"],
    [{ headers: { "content-length": 1 } }, Error, "content-length"],
  ];
  for (const [options, type, named] of rows) {
    const error = assertThrows(() => check(options as ClientOptions), type);
    assert(error.message.includes(named), error.message);
    assert(!error.message.includes("secret"), error.message);
  }
});

Deno.test("host and authorization are sent with the other headers of each request", () => {
  assertEquals(makeBaseHeaders(null, {}), null);
  const headers = makeBaseHeaders("a:1", { authorization: "b", headers: { c: "d" } });
  assertEquals({ ...headers }, { host: "a:1", authorization: "b", c: "d" });
  assert(Object.isFrozen(headers));
});

const methods = { debug() {}, info() {}, warn() {}, error() {} };

Deno.test("every valid option is copied", () => {
  const given: ServerOptions[] = [
    {},
    { maxConnections: 1, maxRequests: 1, timeout: 0.001, logger: console },
    { maxConnections: Infinity, maxRequests: Infinity, timeout: null, logger: methods },
    { maxConnections: 2 ** 53 - 1, timeout: undefined, logger: undefined },
  ];
  for (const options of given) {
    const copy = checkServerOptions(options);
    assert(copy !== options);
    for (const [name, value] of Object.entries(options)) {
      assertEquals(copy[name as keyof ServerOptions], value, name);
    }
  }
});

Deno.test("an invalid option is refused with its name and value", () => {
  const rows: readonly (readonly [options: unknown, type: typeof Error, named: string])[] = [
    [{ maxConnection: 1 }, TypeError, "maxConnection"],
    ...["maxConnections", "maxRequests"].flatMap((name) =>
      [
        [{ [name]: "1" }, TypeError, name],
        [{ [name]: null }, TypeError, name],
        [{ [name]: 0 }, RangeError, name],
        [{ [name]: -1 }, RangeError, name],
        [{ [name]: 1.5 }, RangeError, name],
        [{ [name]: NaN }, RangeError, name],
        [{ [name]: 2 ** 53 }, RangeError, name],
      ] as const
    ),
    [{ timeout: "1" }, TypeError, "timeout"],
    [{ timeout: 0 }, RangeError, "timeout"],
    [{ timeout: Infinity }, RangeError, "timeout"],
    ...Object.keys(methods).map((method) =>
      [{ logger: { ...methods, [method]: undefined } }, TypeError, method] as const
    ),
    [{ logger: null }, TypeError, "logger"],
  ];
  for (const [options, type, named] of rows) {
    const error = assertThrows(() => checkServerOptions(options as ServerOptions), type);
    assert(error.message.includes(named), error.message);
  }
});
