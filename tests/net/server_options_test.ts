/** The options of a server. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { checkServerOptions, type ServerOptions } from "@degu/internal/net/server_options.ts";

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
