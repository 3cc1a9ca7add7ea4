/** What a pool refuses, and how start() fails: with a clear error, and leaving nothing behind. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { Address } from "@degu/degu/base";
import { TempPKI } from "@degu/degu/misc";
import { ServerPool } from "@degu/degu/pool";
import { checkPool } from "@degu/internal/pool/server_pool.ts";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { appOf } from "@degu/testing/pools.ts";
import { within } from "@degu/testing/raw_peer.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";

const anywhere: Address = ["127.0.0.1", 0];

Deno.test("an invalid argument or option rejects", async (t) => {
  const app = appOf("app");
  const relative = { module: "./app.ts", name: "app" };
  const rows: [args: unknown[], error: new () => Error, words: string][] = [
    [[5, app], TypeError, "address"],
    [[["localhost", 0], app], RangeError, "an IPv4 or IPv6 address"],
    [[anywhere], TypeError, "app: must be an object with module and name"],
    [[anywhere, null], TypeError, "app: must be an object with module and name"],
    [[anywhere, () => {}], TypeError, "app: must be an object with module and name"],
    [[anywhere, { module: app.module }], TypeError, "app: must be an object with module and name"],
    [[anywhere, { ...app, arguments: [] }], TypeError, 'app: unknown option "arguments"'],
    [[anywhere, { ...app, args: "x" }], TypeError, "app.args: must be an array; got string"],
    [[anywhere, { ...app, args: [() => {}] }], DOMException, "could not be cloned"],
    [[anywhere, relative], RangeError, "app.module: must be an absolute URL"],
    [[anywhere, app, null], TypeError, "options: must be an object"],
    [[anywhere, app, { worker: 2 }], TypeError, 'options: unknown option "worker"'],
    [[anywhere, app, { workers: "2" }], TypeError, "workers: must be a number"],
    [[anywhere, app, { workers: 0 }], RangeError, "workers: must be an integer from 1 to 256"],
    [[anywhere, app, { workers: 1.5 }], RangeError, "workers: must be an integer from 1 to 256"],
    [[anywhere, app, { workers: 257 }], RangeError, "workers: must be an integer from 1 to 256"],
    [[anywhere, app, { workers: NaN }], RangeError, "workers: must be an integer from 1 to 256"],
    [["/run/socket", app, { workers: 2 }], RangeError, "workers: must be 1 for a Unix socket"],
    [[new Uint8Array(), app, { workers: 2 }], RangeError, "workers: must be 1 for a Unix socket"],
    [["/run/socket", app, { workers: "1" }], TypeError, "workers: must be a number"],
    [[anywhere, app, { logger: {} }], TypeError, "logger: must be an object with the method debug"],
    [[anywhere, app, { server: null }], TypeError, "options: must be an object"],
    [[anywhere, app, { server: { logger: console } }], TypeError, "options.server.logger"],
    [[anywhere, app, { server: { onExchange() {} } }], TypeError, "options.server.onExchange"],
    [[anywhere, app, { onExchange() {} }], TypeError, "options.onExchange: must be an object with"],
    [
      [anywhere, app, { onExchange: null }],
      TypeError,
      "options.onExchange: must be an object with",
    ],
    [[anywhere, app, { onExchange: relative }], RangeError, "options.onExchange.module: must be"],
    [[anywhere, app, { onExchange: { ...app, args: [] } }], TypeError, 'unknown option "args"'],
    [[anywhere, app, { server: { maxRequests: 0 } }], RangeError, "maxRequests"],
    [[anywhere, app, { server: { unknown: 0 } }], TypeError, 'unknown option "unknown"'],
    [[anywhere, app, { workers: 1, sslconfig: {} }], TypeError, "certFile"],
  ];
  for (const [args, Class, words] of rows) {
    await t.step(words, async () => {
      const what = Deno.inspect(args);
      const error = await rejectionOf(Reflect.apply(ServerPool.start, ServerPool, args), what);
      assert(error instanceof Class, Deno.inspect(error));
      assertStringIncludes(`${(error as Error).message}`, words);
    });
  }
});

Deno.test("two workers without TLS need --unstable-net, and its absence is an error instead of a crash", async () => {
  const error = await rejectionOf(ServerPool.start(anywhere, appOf("app"), { workers: 2 }), "");
  assert(error instanceof Error);
  assertEquals(error.name, "DeguError");
  assertStringIncludes(error.message, "--unstable-net");
});

Deno.test("by default there are as many workers as cores, and one for a Unix socket", async () => {
  await using pki = await TempPKI.create();
  const options = { sslconfig: pki.serverSslconfig };
  const { hardwareConcurrency } = navigator;
  assertEquals(checkPool(anywhere, appOf("app"), options).workers, hardwareConcurrency);
  assertEquals(checkPool("/run/socket", appOf("app"), options).workers, 1);
  assertEquals(checkPool(anywhere, appOf("app"), { ...options, workers: 256 }).workers, 256);
  const undefinedOptions = {
    workers: undefined,
    sslconfig: undefined,
    logger: undefined,
    onExchange: undefined,
    server: { timeout: undefined, logger: undefined, onExchange: undefined },
  };
  assertEquals(checkPool("/run/socket", appOf("app"), undefinedOptions).sslconfig, null);
});

Deno.test("start() rejects with the error of a worker, and nothing is left running", async (t) => {
  await using pki = await TempPKI.create();
  const logger = new RecordingLogger();
  const options = { workers: 2, sslconfig: pki.serverSslconfig, logger };
  const code = (text: string) => `data:text/javascript,${encodeURIComponent(text)}`;
  const missing = new URL("./missing.ts", import.meta.url);
  const rows: [app: Parameters<typeof appOf>[0] | object, name: string, words: string][] = [
    [{ module: missing, name: "app" }, "TypeError", "missing.ts"],
    [appOf("missing"), "TypeError", 'has no export "missing"'],
    [{ module: code("throw new RangeError('at import')"), name: "app" }, "RangeError", "at import"],
    [{ module: code("export const ("), name: "app" }, "TypeError", "SyntaxError"],
    [
      { module: code("Deno.exit(3); await new Promise(() => {})"), name: "app" },
      "DeguError",
      "has ended by itself, as with Deno.exit(), with exit code 3",
    ],
    [appOf("constant"), "TypeError", "app: must be"],
    [appOf("constant", []), "TypeError", "must be a function or a class if there are args"],
    [appOf("buildAnswer", []), "TypeError", "returned an array, as an app does"],
    [appOf("buildFailing", []), "RangeError", "there is no such database"],
    [appOf("buildExiting", []), "DeguError", "a worker of the pool has ended by itself"],
  ];
  for (const [app, name, words] of rows) {
    await t.step(`${name}: ${words}`, async () => {
      const started = Reflect.apply(ServerPool.start, ServerPool, [anywhere, app, options]);
      const error = await rejectionOf(within(started, "it rejects", 20), words);
      assert(error instanceof Error);
      assertEquals(error.name, name);
      assertStringIncludes(error.message, words);
    });
  }
  assertEquals(logger.lines, []);
});
