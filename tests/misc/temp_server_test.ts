/** TempServer: its app, its worker, and its errors. */
import type { Address } from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import { TempPKI, TempServer, TempSSLServer } from "@degu/degu/misc";
import { fromFetchHandler, reply, routes } from "@degu/degu";
import { type App, type AppFunction, Server } from "@degu/degu/server";
import { runOrThrow } from "@degu/testing/commands.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { hasIPv6 } from "../net/endpoints.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { listenAgain } from "@degu/testing/ports.ts";
import { spawnScript } from "@degu/testing/processes.ts";
import { waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { makeLinks } from "@degu/testing/special_files.ts";
import { readProjectFile } from "@degu/testing/project_files.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";

// Servers in workers: apps, transferred arguments, failures, and closing.

const anywhere: Address = ["127.0.0.1", 0];

const apps = import.meta.resolve("./temp_apps.ts");

const uselessApp = () => [200, "OK", { hello: "world" }, null] as const;

/** Calls TempServer.start() without types; returns the error. */
const catchStartError = (...args: readonly unknown[]): Promise<unknown> =>
  catchRejection(Reflect.apply(TempServer.start, TempServer, args), Deno.inspect(args));

/** Asserts that no server listens at an address. */
async function assertFree({ address }: { readonly address: Address }): Promise<void> {
  (await listenAgain(() => new Server(address, uselessApp))).close();
}

Deno.test("a TempServer runs on every kind of address, and functions of every form are transferred as source", async () => {
  await using directory = await createTempDir();
  async function declaredBuild() {
    await Promise.resolve();
    return [201, "Created", {}, null] as const;
  }
  const rows: readonly (readonly [Address, AppFunction, number])[] = [
    [anywhere, uselessApp, 200],
    [hasIPv6 ? ["::1", 0, 0, 0] : anywhere, declaredBuild, 201],
    [`${directory.path}/socket`, function () {
      return [205, "xx", {}, null];
    }, 205],
    [new Uint8Array(0), ({ path }, session, api) => {
      const body = new api.BodyIter([new TextEncoder().encode(`${path}${session.requests}`)], 4);
      return [206, "xx", {}, body];
    }, 206],
  ];
  await Promise.all(rows.map(async ([address, app, status]) => {
    const server = await TempServer.start(address, null, app);
    const response = await new Client(server.address).request("GET", "/foo");
    await response.body?.read();
    assertEquals(response.status, status);
    await server.close();
    await assertFree(server);
  }));
  await assertRejects(() => Deno.lstat(`${directory.path}/socket`), Deno.errors.NotFound);
});

Deno.test("a build function gets its arguments, may be asynchronous, and may return an object", async () => {
  const build = async (status: number, headers: Record<string, string>, bytes: Uint8Array) => {
    await Promise.resolve();
    return {
      handle: () => [status, "As told", headers, bytes] as const,
      onConnect: () => true,
    };
  };
  await using server = await TempServer.start(
    anywhere,
    build,
    210,
    { a: "b" },
    encodeLatin1("hello"),
  );
  const { status, headers, body } = await new Client(server.address).request("GET", "/");
  assertEquals([status, headers["a"], await body?.text()], [210, "b", "hello"]);
});

Deno.test("start() rejects with AddrInUse for the path of another file, which stays", async () => {
  await using directory = await createTempDir();
  const file = `${directory.path}/file`;
  await Deno.writeTextFile(file, "precious");
  await assertRejects(() => TempServer.start(file, null, uselessApp), Deno.errors.AddrInUse);
  assertEquals(await Deno.readTextFile(file), "precious");
});

Deno.test("a server gets its options, and has its address until close(), which is idempotent and ends connections; aborting a signal later has no effect", async () => {
  const controller = new AbortController();
  const target = {
    address: anywhere,
    signal: controller.signal,
    options: { maxRequests: 2, timeout: 5, maxConnections: 3 },
  };
  const server = await TempServer.start(target, null, uselessApp);
  const startSecond = () => TempServer.start(server.address, null, uselessApp);
  await assertRejects(startSecond, Deno.errors.AddrInUse);
  using full = await new Client(server.address).connect();
  for (let i = 0; i < 2; i++) await full.get("/");
  await assertRejects(() => full.get("/"));
  using conn = await new Client(server.address).connect();
  await conn.get("/");
  await Promise.all([server.close(), server.close()]);
  await server[Symbol.asyncDispose]();
  await assertFree(server);
  await assertRejects(() => conn.get("/"));
  controller.abort();
  await waitForTick();
});

Deno.test("close() waits for a busy app, but not for an app that never responds", async () => {
  const pendingApp: AppFunction = () => new Promise(() => {});
  const busyApp: AppFunction = () => {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 400);
    return [200, "OK", {}, null];
  };
  for (const app of [pendingApp, busyApp]) {
    const server = await TempServer.start(anywhere, null, app);
    using conn = await new Client(server.address).connect();
    const error = conn.get("/").catch(() => {});
    for (let i = 0; i < 3; i++) await waitForTick();
    await withTimeout(server.close(), "close() resolves");
    await assertFree(server);
    await error;
  }
});

// The worker of a temporary server: its end, stopping it, and loading its code.

/** Seconds. The suite checks the types of the worker's module before the first worker starts. */
const PATIENCE = 60;

Deno.test("close() disposes of the app", async () => {
  await using dir = await createTempDir();
  const path = `${dir.path}/disposed`;
  const build = (path: string) => ({
    handle: () => [200, "OK", {}, null] as const,
    [Symbol.asyncDispose]: () => Deno.writeTextFile(path, "disposed"),
  });
  const server = await TempServer.start(["127.0.0.1", 0], build as never, path);
  await server.close();
  assertEquals(await Deno.readTextFile(path), "disposed");
});

Deno.test("start() rejects if the worker terminates before the server is ready", async (t) => {
  const rows: [label: string, build: () => Promise<App>, words: string][] = [
    ["Deno.exit()", () => Deno.exit(0), "has ended by itself"],
    [
      "an uncaught error",
      () => {
        setTimeout(() => {
          throw new Error("the real cause");
        });
        return new Promise(() => {});
      },
      "the real cause",
    ],
  ];
  await testEachRow(t, rows, async (label, build, words) => {
    const start = () => withTimeout(TempServer.start(anywhere, build), label, PATIENCE);
    await assertRejects(start, Error, words);
  });
});

Deno.test("a worker that terminates later is reported, and does not block close() or the process", async () => {
  const script = `
    import { Client } from "./client.ts";
    import { TempServer } from "./misc.ts";
    const app = () => { Deno.exit(0); return new Promise(() => {}); };
    const server = await TempServer.start(["127.0.0.1", 0], null, app);
    await new Client(server.address).request("GET", "/").catch(() => {});
    await server.close();
    const last = await TempServer.start(["127.0.0.1", 0], null, () => self.close());
    console.log("started");
    await new Client(last.address).request("GET", "/").catch(() => {});
    // Ends without close().`;
  const child = await spawnScript(script, ["--allow-net", "--allow-read"], { NO_COLOR: "1" });
  const output = child.output();
  try {
    const { success, stdout, stderr } = await withTimeout(output, "the program ends", PATIENCE);
    const printed = new TextDecoder().decode(stderr);
    assert(success, printed);
    assertEquals(new TextDecoder().decode(stdout), "started\n");
    assertStringIncludes(printed, "the worker of a TempServer has ended by itself, as with");
  } catch (error) {
    child.kill("SIGKILL");
    await output;
    throw error;
  }
});

Deno.test("an export of a module is transferred by name and URL; if it uses the port of its worker, it doesn't get the server's messages, and doesn't affect them", async () => {
  const build = { module: new URL(apps), name: "buildTalking" };
  await using server = await TempServer.start(anywhere, build, 211);
  for (let i = 0; i < 10; i++) {
    const { status, body } = await new Client(server.address).request("GET", "/");
    assertEquals([status, await body?.text()], [211, "[]"]);
  }
});

Deno.test("a cached program finds the worker without its server", async () => {
  const program = `
    import { Client } from "./client.ts";
    import { TempServer } from "./misc.ts";
    import "./app.ts";
    const app = { module: import.meta.resolve("./app.ts"), name: "app" };
    await using server = await TempServer.start(["127.0.0.1", 0], null, app);
    console.log((await new Client(server.address).request("GET", "/")).status);`;
  const app = `export const app = () => [204, "No Content", {}, null];`;
  const texts = { "/main.ts": program, "/app.ts": app };
  assertEquals(await runFromCache(texts, ["--allow-net=127.0.0.1"]), "204\n");
});

/**
 * Loads a program from a web server into a new cache, runs it without the server, and returns its
 * output.
 *
 * @param texts The texts of its modules by path; `/main.ts` is the program.
 */
async function runFromCache(
  texts: Record<string, string>,
  permissions: readonly string[],
): Promise<string> {
  const run = async (args: string[], env: Record<string, string> = {}) => {
    const running = runOrThrow([Deno.execPath(), ...args], { env: { NO_COLOR: "1", ...env } });
    // Wait longer, because the cache of this process has no compiled code.
    return await withTimeout(running, `deno ${args[0]} ends`, 60);
  };
  await using dir = await createTempDir();
  // The modules that make certificates need npm packages, which are in the cache of this process.
  const { npmCache } = JSON.parse(await run(["info", "--json"]));
  await makeLinks({ [`${dir.path}/npm`]: npmCache });
  const site = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async ({ url }) => {
    const { pathname } = new URL(url);
    const text = texts[pathname] ?? await readProjectFile(pathname.slice(1));
    return new Response(text, { headers: { "content-type": "application/typescript" } });
  });
  const host = `127.0.0.1:${site.addr.port}`;
  const main = `http://${host}/main.ts`;
  const environment = { DENO_DIR: dir.path, HTTPS_PROXY: `http://${host}` }; // Unread connections would block others.
  try {
    await run(["cache", `--allow-import=${host}`, main], environment);
  } finally {
    await site.shutdown();
  }
  const flags = ["--cached-only", "--no-prompt", `--allow-import=${host}`];
  return await run(["run", ...flags, ...permissions, main], environment);
}

Deno.test("a signal aborts starting a server", async (t) => {
  const buildForever = () => new Promise<App>(() => {});
  await t.step("that never gets ready", async () => {
    const signal = AbortSignal.timeout(50);
    const starting = withTimeout(
      TempServer.start({ address: anywhere, signal }, buildForever),
      "the promise rejects",
    );
    await assertRejects(() => starting, DOMException, "aborted due to timeout");
  });
  await t.step("at the same moment", async () => {
    const controller = new AbortController();
    const reason = new Error("no more");
    const refused = catchStartError(
      { address: anywhere, signal: controller.signal },
      null,
      uselessApp,
    );
    controller.abort(reason);
    assertEquals(await refused, reason);
  });
});

Deno.test("a signal closes a server that has started, with or without TLS", async () => {
  await using pki = await TempPKI.create();
  const controller = new AbortController();
  const options = { address: anywhere, signal: controller.signal, options: { maxRequests: 5 } };
  const servers = [
    await TempServer.start(options, null, uselessApp),
    await TempSSLServer.start(pki.serverSslconfig, options, null, uselessApp),
  ];
  controller.abort();
  for (const server of servers) {
    await withTimeout(server.close(), "close() resolves");
    await assertFree(server);
  }
});

Deno.test("a wrong property beside the address is refused by its name", async () => {
  const crossing = "can't cross into a worker";
  const rows: [beside: object, error: new () => Error, words: string][] = [
    [{ signal: new AbortController() }, TypeError, "signal: must be an AbortSignal"],
    [{ timeout: 5 }, TypeError, 'address: unknown option "timeout"'],
    [{ options: { maxRequests: 0 } }, RangeError, "maxRequests"],
    [{ options: { onExchange: () => null } }, TypeError, `options.onExchange: ${crossing}`],
    [{ options: { logger: new RecordingLogger() } }, TypeError, `options.logger: ${crossing}`],
  ];
  for (const [properties, Class, words] of rows) {
    const error = await catchStartError({ address: anywhere, ...properties }, null, uselessApp);
    assert(error instanceof Class, Deno.inspect(error));
    assertStringIncludes(error.message, words);
  }
});

// TempServer: refused arguments, and errors of its worker.

type Build = NonNullable<Parameters<typeof TempServer.start>[1]>;

Deno.test("a function that can't be transferred is a TypeError with advice", async () => {
  class Built {
    method() {
      return this;
    }
  }
  for (const app of [uselessApp.bind(null), Math.max, Built.prototype.method, Built]) {
    for (const args of [[anywhere, null, app], [anywhere, app]]) {
      const error = await catchStartError(...args);
      assert(error instanceof TypeError, Deno.inspect(error));
      assertMatch(error.message, /^(app|build): .*\{ module, name \}/);
    }
  }
});

Deno.test("an invalid argument is a TypeError or RangeError", async () => {
  const relative = ["./app.ts", "/app.ts", ""];
  const rows: readonly (readonly unknown[])[] = [
    [anywhere, null, null],
    [anywhere, {}],
    [anywhere, { module: apps, name: 1 }],
    ...relative.map((module) => [anywhere, { module, name: "build" }]),
    [["127.0.0.1", 65536], null, uselessApp],
  ];
  await Promise.all(rows.map(async (args) => {
    const error = await catchStartError(...args);
    const label = Deno.inspect([args, error]);
    assert(error instanceof TypeError || error instanceof RangeError, label);
    const { module } = (args[1] ?? args[2] ?? {}) as { module?: unknown };
    if (!relative.includes(`${module}`)) return;
    assert(error instanceof RangeError, label);
    assertMatch(error.message, /^(app|build)\.module: must be an absolute URL/);
  }));
});

Deno.test("a failure in the worker rejects start() with the real cause", async () => {
  const start = () =>
    TempServer.start(anywhere, () => {
      throw new RangeError("the build function broke");
    });
  await assertRejects(start, RangeError, "the build function broke");
});

Deno.test("a function that is sent as text may use the names of @degu/degu, and globals keep their meaning", async () => {
  const build = (text: string) =>
    routes({
      "GET /reply": () => reply(200, text),
      "/fetch/": fromFetchHandler(() => new Response(text)),
    });
  await using built = await TempServer.start(anywhere, build, "hello");
  await using direct = await TempServer.start(anywhere, null, () => reply(200, "hello"));
  const targets = [[built, "/reply"], [built, "/fetch/"], [direct, "/"]] as const;
  for (const [{ address }, uri] of targets) {
    assertEquals(await (await new Client(address).get(uri)).text(), "hello", uri);
  }
});

Deno.test("a function that was sent as text has no variable from outside", async () => {
  const greeting = "hello";
  const build = () => {
    const text = greeting;
    return () => reply(200, text);
  };
  const error = await catchRejection(TempServer.start(anywhere, build), "start()");
  assertInstanceOf(error, ReferenceError);
  assertEquals(error.message, "greeting is not defined");
});

Deno.test("an app that is passed without null is called without a request, and the start rejects", async () => {
  const app = (request: { path: string[] }) => [200, "OK", {}, request.path.join("/")] as const;
  const start = () => TempServer.start(["127.0.0.1", 0], app as never);
  await assertRejects(start, TypeError, "Cannot read properties of undefined (reading 'path')");
});
