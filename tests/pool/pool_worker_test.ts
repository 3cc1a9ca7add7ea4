/** The workers of a pool: what they run, and how they are replaced when they end or hang. */
import { DeguError } from "@degu/degu/base";
import { Client, SSLClient } from "@degu/degu/client";
import { TempPKI } from "@degu/degu/misc";
import type { ServerSslconfig } from "@degu/degu/server";
import { HeldSocket } from "@degu/internal/net/held_socket.ts";
import { watchFile } from "@degu/internal/pool/pool_member.ts";
import { readSslconfig } from "@degu/internal/pool/server_pool.ts";
import {
  type Bound,
  type Report,
  type Request,
  type Service,
  WorkerServer,
} from "@degu/internal/worker/server_worker.ts";
import { WorkerThread } from "@degu/internal/worker/worker_thread.ts";
import { recordIntervals } from "@degu/testing/clock.ts";
import { mustRun } from "@degu/testing/commands.ts";
import { tempDir } from "@degu/testing/directories.ts";
import {
  appOf,
  askThread,
  meetNewWorker,
  meetWorkers,
  reaches,
  servePool,
  TIMES,
} from "@degu/testing/pools.ts";
import { runScript } from "@degu/testing/processes.ts";
import { runProgram } from "@degu/testing/programs.ts";
import { dial, within } from "@degu/testing/raw_peer.ts";
import { makeLinks } from "@degu/testing/special_files.ts";
import { read } from "@degu/testing/tree.ts";
import { sharedPki } from "@degu/testing/tls_endpoints.ts";
import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { FakeTime } from "@std/testing/time";

// The worker of a pool: its module, and the server in it, by its messages in both directions.

Deno.test("importing the worker's module has no effect in another thread", async () => {
  // In a process of its own: what shares this one loads modules, too.
  const program = `
    const globals = Object.getOwnPropertyNames(globalThis);
    await import("./worker/server_worker.ts");
    console.log(JSON.stringify(Object.getOwnPropertyNames(globalThis).filter((name) => {
      return !globals.includes(name);
    })));`;
  // It ends, so nothing of it waits for a message either.
  assertEquals(await runScript(program, ["--allow-read"], {}), "[]\n");
});

Deno.test("an app that uses the port of its worker gets none of the pool's messages, and does not disturb them", async () => {
  await using pooling = await servePool(appOf("buildTalking", []), { workers: 1 });
  await pooling.pool.setSslctx(pooling.pki.serverSslconfig);
  for (let i = 0; i < 10; i++) {
    assertEquals(await askThread(pooling.client), '{"heard":[],"workerData":{}}');
  }
  assertEquals(pooling.logger.at("error"), []);
});

Deno.test("a cached program finds the worker without its server", async () => {
  const { serverSslconfig, clientSslconfig } = await sharedPki();
  const program = `
    import { SSLClient } from "./client.ts";
    import { ServerPool } from "./pool.ts";
    import "./app.ts";
    const { serverSslconfig: sslconfig, clientSslconfig } = JSON.parse(Deno.args[0]);
    const app = { module: import.meta.resolve("./app.ts"), name: "app" };
    await using pool = await ServerPool.start(["127.0.0.1", 0], app, { workers: 1, sslconfig });
    console.log((await new SSLClient(clientSslconfig, pool.address).request("GET", "/")).status);`;
  const app = `export const app = () => [204, "No Content", {}, null];`;
  const files = [serverSslconfig, clientSslconfig].flatMap((
    config,
  ) => [config.certFile, config.keyFile, config.caFile]);
  const texts = { "/main.ts": program, "/app.ts": app };
  const permissions = ["--allow-net=127.0.0.1", `--allow-read=${files}`];
  const argument = JSON.stringify({ serverSslconfig, clientSslconfig });
  const printed = await runFromCache(texts, permissions, argument);
  assertEquals(printed, "204\n");
});

/**
 * Loads a program from a web server into a cache of its own, runs it without the server, and returns what it prints.
 *
 * @param texts The texts of its modules by path; `/main.ts` is the program.
 */
async function runFromCache(
  texts: Record<string, string>,
  permissions: readonly string[],
  argument: string,
): Promise<string> {
  const run = async (args: string[], env: Record<string, string> = {}) => {
    const running = mustRun([Deno.execPath(), ...args], { env: { NO_COLOR: "1", ...env } });
    // Nothing is compiled yet in a cache of its own.
    return await within(running, `deno ${args[0]} ends`, 60);
  };
  await using dir = await tempDir();
  // What the certificates are made with is a dependency of the same modules, and in the cache of this process.
  const { npmCache } = JSON.parse(await run(["info", "--json"]));
  await makeLinks({ [`${dir.path}/npm`]: npmCache });
  const site = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async ({ url }) => {
    const { pathname } = new URL(url);
    const text = texts[pathname] ?? await read(pathname.slice(1));
    return new Response(text, { headers: { "content-type": "application/typescript" } });
  });
  const host = `127.0.0.1:${site.addr.port}`;
  const main = `http://${host}/main.ts`;
  const environment = { DENO_DIR: dir.path, HTTPS_PROXY: `http://${host}` }; // nothing else is reached
  try {
    await run(["cache", `--allow-import=${host}`, main], environment);
  } finally {
    await site.shutdown();
  }
  const flags = ["--cached-only", "--no-prompt", `--allow-import=${host}`];
  return await run(["run", ...flags, ...permissions, main, argument], environment);
}

// ───────────────────────── its server

const LISTEN: Request = {
  type: "listen",
  address: ["127.0.0.1", 0],
  sharing: { reusePort: false, fd: null },
};

function serviceOf(name: string, args: unknown[] | null = null): Service {
  const { module } = appOf(name);
  return {
    app: { from: { module: `${module}`, name }, args, otherwise: "leave out args" },
    options: {},
    onExchange: null,
    levels: ["error"],
  };
}

/** A server, what it reports, and how it is asked to do something: resolves to the report. */
function makeServer() {
  const reports: Report[] = [];
  const server = new WorkerServer((report) => reports.push(report));
  const ask = async (request: Request, id = 5) => {
    await server.receive({ ...request, id });
    return reports.pop();
  };
  const load = (service = serviceOf("app"), sslconfig: ServerSslconfig | null = null) =>
    ask({ type: "load", service, sslconfig });
  const listen = async (): Promise<Bound> => {
    const report = await ask(LISTEN);
    assert(report?.type === "done" && report.bound !== null, Deno.inspect(report));
    return report.bound;
  };
  return { reports, ask, load, listen };
}

const DONE: Report = { type: "done", id: 5, bound: null };

Deno.test("the server in a worker loads an app, serves, answers pings, and closes", async () => {
  for (const end of ["shutdown", "close"] as const) {
    const { reports, ask, load, listen } = makeServer();
    assertEquals(await load(), DONE);
    const { address, fd } = await listen();
    assertEquals(fd, null);
    assertEquals(await ask({ type: "ping" }, 7), { ...DONE, id: 7 });
    await askThread(new Client(address));
    assertEquals(await ask({ type: end }), DONE);
    await assertRejects(() => askThread(new Client(address)));
    assertEquals(reports, []);
  }
});

Deno.test("what keeps the server in a worker from serving its app is reported", async () => {
  const code = (text: string) => `data:text/javascript,${encodeURIComponent(text)}`;
  const from = (module: string, name = "app") => ({ from: { module, name }, args: null });
  const { module } = serviceOf("app").app.from as { module: string };
  const built = (name: string) => serviceOf(name, []).app;
  const rows: [change: object, name: string, words: string][] = [
    [{ app: from(`${module}.missing`) }, "TypeError", ".missing"],
    [{ app: from(module, "missing") }, "TypeError", 'has no export "missing"'],
    [{ app: from(code("throw new RangeError('at import')")) }, "RangeError", "at import"],
    [{ app: from(code("export const (")) }, "TypeError", "SyntaxError"],
    [{ app: built("constant") }, "TypeError", "must be a function or a class if there are args"],
    [{ app: built("buildAnswer") }, "TypeError", "returned an array, as an app does"],
    [{ app: built("buildFailing") }, "RangeError", "there is no such database"],
    [{ onExchange: from(module, "missing").from }, "TypeError", "no export"],
    [{ onExchange: from(module, "constant").from }, "TypeError", "must be a function"],
    [{ app: serviceOf("constant").app }, "TypeError", "app: must be"],
  ];
  for (const [change, name, words] of rows) {
    const { ask, load } = makeServer();
    let report = await load({ ...serviceOf("app"), ...change });
    if (report?.type === "done") report = await ask(LISTEN);
    assert(report?.type === "failed", words);
    assertEquals(report.error.name, name, words);
    assertStringIncludes(report.error.error.message, words);
  }
});

Deno.test("the server in a worker logs the requested levels", async () => {
  const { reports, ask, load, listen } = makeServer();
  await load();
  const { address } = await listen();
  await new Client(address).request("GET", "/fail").catch(() => {});
  await ask({ type: "close" });
  // Debug lines aren't sent.
  const [report, ...others] = reports;
  assert(report?.type === "log" && others.length === 0, Deno.inspect(reports));
  assertEquals(report.level, "error");
  assertMatch(report.message, /nobody caught this/);
});

Deno.test("the server in a worker replaces the context, before and after it listens", async () => {
  const pki = await sharedPki();
  await using other = await TempPKI.create();
  const [first, second] = [pki, other].map((each) => readSslconfig(each.serverSslconfig));
  const { ask, load, listen } = makeServer();
  await load(serviceOf("app"), first!);
  assertEquals(await ask({ type: "setSslctx", sslconfig: second! }), DONE);
  const { address, fd } = await listen();
  HeldSocket.open(fd!)!.close();
  await askThread(new SSLClient(other.clientSslconfig, address));
  await ask({ type: "setSslctx", sslconfig: first! });
  await askThread(new SSLClient(pki.clientSslconfig, address));
  await ask({ type: "close" });
});

// A worker that ends is replaced, while the others serve; and so is one whose socket file is
// gone.

Deno.test("a worker that ends by itself or by an error is replaced while the other serves", async (t) => {
  const rows = [
    [
      "/exit",
      "worker N has ended by itself, as with Deno.exit() or self.close(), with exit code 7; a new one",
    ],
    ["/throw", "worker N has failed: Error: nobody caught this\n    at fail "],
    ["/reject", "worker N has failed: Error: nobody caught this\n    at app "],
  ] as const;
  await using pooling = await servePool();
  const known: string[] = [];
  for (const [path, words] of rows) {
    await t.step(path, async () => {
      const [victim, other] = await meetWorkers(pooling.client);
      const threads = await Promise.all([victim!, other!].map(askThread));
      known.push(...threads);
      await victim!.get(path).then((response) => response.body?.bytes()).catch(() => {});
      assertEquals(await askThread(other!), threads[1]);
      const [line = ""] = await pooling.logger.waitFor("error");
      assert(line.replace(/^worker [12]/, "worker N").startsWith(words), line);
      assertMatch(line, /a new one starts in (10|20|40) ms$/);
      await meetNewWorker(pooling.client, known);
      assertEquals(await askThread(other!), threads[1]);
      assertEquals(pooling.logger.at("error").length, 1);
      pooling.logger.lines.length = 0;
      for (const conn of [victim!, other!]) conn.close();
    });
  }
});

Deno.test("a client is disconnected if a worker ends during its handshake, and served when it retries", async () => {
  await using pooling = await servePool();
  const { client, pool } = pooling;
  const [victim, other] = await meetWorkers(client);
  const threads = await Promise.all([victim!, other!].map(askThread));
  // So many that each worker has some.
  const waiting = await Promise.all(Array.from({ length: 30 }, () => dial(pool.address)));
  await assertRejects(() => victim!.get("/exit"));
  const ends = waiting.map((conn) => conn.read(new Uint8Array(1)).catch(() => null));
  assertEquals(await within(Promise.race(ends), "one is disconnected"), null);
  await meetNewWorker(client, threads);
  for (const conn of [...waiting, victim!, other!]) conn.close();
  await Promise.all(ends);
});

Deno.test("an app that handles its own rejections keeps its worker", async () => {
  await using pooling = await servePool(appOf("buildForgiving", []), { workers: 1 });
  const { client } = pooling;
  const thread = await askThread(client);
  assertEquals(await (await client.request("GET", "/reject")).body?.text(), thread);
  assertEquals(await askThread(client), thread);
  assertEquals(pooling.logger.at("error"), []);
});

Deno.test("a worker that fails repeatedly is restarted with growing delays, up to a limit", async () => {
  const counters = new SharedArrayBuffer(8);
  const numbers = new Int32Array(counters);
  await using pooling = await servePool(appOf("buildOnce", [counters, 2]));
  const [victim, other] = await meetWorkers(pooling.client);
  const thread = await askThread(other!);
  await assertRejects(() => victim!.get("/exit"));
  await reaches(numbers, 6);
  assertEquals(await askThread(other!), thread);
  await pooling.pool.close();
  const delays = pooling.logger.at("error").map((line) => /(\d+) ms$/.exec(line)?.[1]);
  assertEquals(delays.slice(0, 4), ["10", "20", "40", "40"]);
  other!.close();
});

Deno.test("a worker that has served for long is restarted at once", async () => {
  const times = { ...TIMES, restart: { first: 1, most: 2 } };
  await using pooling = await servePool(appOf("app"), { workers: 1 }, times);
  const known: string[] = [];
  for (let i = 0; i < 2; i++) {
    known.push(await askThread(pooling.client));
    await pooling.client.request("GET", "/exit").catch(() => {});
    await meetNewWorker(pooling.client, known);
  }
  await pooling.pool.close();
  const lines = pooling.logger.at("error");
  assertEquals(lines.length, 2);
  for (const line of lines) assert(line.endsWith("starts in 1 ms"), line);
});

Deno.test("a report that waits in the port when a worker is ended starts no heartbeat", async () => {
  const counters = new SharedArrayBuffer(8);
  const source = `export function build(counters) {
    const numbers = new Int32Array(counters);
    const reported = () => (Atomics.store(numbers, 0, 1), Atomics.notify(numbers, 0));
    setTimeout(reported, 0);
    return () => [200, "OK", {}, null];
  }`;
  using intervals = recordIntervals();
  const worker = await WorkerThread.start("it", { every: 5000, missed: 6 }, () => {});
  const from = { module: `data:text/javascript,${encodeURIComponent(source)}`, name: "build" };
  const app = { from, args: [counters], otherwise: "" };
  const service: Service = { app, options: {}, onExchange: null, levels: [] };
  const loading = assertRejects(() => worker.load(service, null), DeguError);
  // The worker may have been faster.
  assert(Atomics.wait(new Int32Array(counters), 0, 0, 60_000) !== "timed-out");
  await worker.close();
  await loading;
  assertEquals(intervals.running.size, 0);
});

Deno.test("closing or shutting down a pool while a worker restarts resolves, and starts none", async (t) => {
  for (const how of ["close", "shutdown"] as const) {
    for (const waiting of [true, false]) {
      await t.step(`${how}, ${waiting ? "before it starts" : "as it starts"}`, async () => {
        const counters = new SharedArrayBuffer(8);
        const most = waiting ? 60_000 : 1;
        const times = { ...TIMES, restart: { first: most, most } };
        const app = appOf("buildOnce", [counters, 1000]);
        await using pooling = await servePool(app, { workers: 1 }, times);
        await pooling.client.request("GET", "/exit").catch(() => {});
        await pooling.logger.waitFor("error");
        if (!waiting) await reaches(new Int32Array(counters), 2);
        await within(pooling.pool[how](), `${how}() resolves`);
        const made = Atomics.load(new Int32Array(counters), 0);
        assert(made === (waiting ? 1 : 2), `${made}`);
      });
    }
  }
});

Deno.test("a file is missed when it is gone for two looks in a row, and once, but not when it can't be looked at", async () => {
  await using dir = await tempDir();
  const path = `${dir.path}/file`;
  using time = new FakeTime();
  let lost = 0;
  const watching = watchFile(path, 100, () => lost++);
  time.tick(100);
  Deno.writeTextFileSync(path, "");
  time.tick(100);
  Deno.removeSync(path);
  time.tick(100);
  assertEquals(lost, 0);
  time.tick(100);
  assertEquals(lost, 1);
  time.tick(1000);
  assertEquals(lost, 1);
  clearInterval(watching);
  Deno.writeTextFileSync(path, "");
  const looking = watchFile(`${path}/below`, 100, () => lost++); // it can't be looked at
  time.tick(1000);
  assertEquals(lost, 1);
  clearInterval(looking);
});

// Workers that hang, plain pools, and processes that end: in a process of their own.

const OFFLINE = new URL("../support/offline/import_map.json", import.meta.url).pathname;
const FLAGS = [
  ...["--allow-net", "--allow-read", "--allow-write=/tmp", "--allow-env"],
  ...["--unstable-net", `--import-map=${OFFLINE}`],
];

let found: Promise<string> | null = null;

/** What a part of `pools.ts` has found, which runs once, and ends by itself: nothing that a pool has left keeps it alive. */
async function run(name: string) {
  found ??= sharedPki().then(({ serverSslconfig, clientSslconfig }) => {
    const args = [JSON.stringify({ serverSslconfig, clientSslconfig })];
    return runProgram("pools.ts", { flags: FLAGS, args, patience: 240 });
  });
  return JSON.parse(await found)[name];
}

Deno.test("a worker that hangs is replaced while the other serves, and no connection is lost to it", async () => {
  const { lines, ...found } = await run("hang");
  assertEquals(found, { duringTheHang: true, afterwards: 2, hungAnswers: false });
  assertEquals(lines.length, 1);
  assertMatch(lines[0], /^worker [12] doesn't answer; a new one starts in 10 ms$/);
});

Deno.test("the port of a worker that hangs stays with those after it, even if the next one ends or can't start", async () => {
  assertEquals(await run("hangThenExit"), { answers: 12, errors: 2 });
  assertEquals(await run("hangThenFail"), { answers: 12, errors: 2 });
});

Deno.test("a worker whose socket file is removed, by one that hung and came back, is replaced", async () => {
  const { lines, left } = await run("comeBackOnPath");
  assertEquals(left, 0);
  assertEquals(lines, [
    "worker 1 doesn't answer; a new one starts in 10 ms",
    "worker 1 has lost its socket file; a new one starts in 10 ms",
  ]);
});

Deno.test("a worker whose app is never made is not taken for hung, but warned of", async () => {
  const { lines, errors } = await run("neverMade");
  assertEquals(lines, [
    "worker 1 has not started for 2 s: the module or the function of its app has not finished",
  ]);
  assertEquals(errors, 1); // that its predecessor has ended
});

Deno.test("close() leaves no socket file, even if the worker is busy", async () => {
  assertEquals(await run("closeWhileBusyOnPath"), { left: 0 });
});

Deno.test("no worker is taken for hung while the thread of the pool is busy", async () => {
  assertEquals(await run("busyMainThread"), { same: true, lines: [] });
});

Deno.test("an app that hangs as it is made rejects start()", async () => {
  assertEquals(await run("hangAtStart"), "DeguError: a worker of the pool doesn't answer");
});

Deno.test("shutdown() ends a worker that hangs", async () => {
  assertEquals(await run("shutdownWhileHung"), ["worker N doesn't answer"]);
});

Deno.test("a plain pool serves with two workers, one of which is replaced when it ends", async () => {
  assertEquals(await run("plain"), { workers: 2, others: true });
});
