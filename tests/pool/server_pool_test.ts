/** A pool: its options, its port, its trust, and how it shuts down. */
import { type Address, DeguError } from "@degu/degu/base";
import { Client, type Connection, SSLClient } from "@degu/degu/client";
import { createDevicePki } from "@degu/degu/device";
import { TempPKI } from "@degu/degu/misc";
import { type PoolApp, ServerPool } from "@degu/degu/pool";
import { Server, type ServerSslconfig } from "@degu/degu/server";
import { checkPool } from "@degu/internal/pool/server_pool.ts";
import { tempDir } from "@degu/testing/directories.ts";
import {
  appOf,
  askThread,
  meetNewWorker,
  meetWorkers,
  type Pooling,
  reaches,
  servePool,
} from "@degu/testing/pools.ts";
import { listenAgain } from "@degu/testing/ports.ts";
import { within } from "@degu/testing/raw_peer.ts";
import { RecordingLogger, serve } from "@degu/testing/serving.ts";
import { sharedPki } from "@degu/testing/tls_endpoints.ts";
import { assertNoSecret, readTexts } from "@degu/testing/tls_configs.ts";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { threadId } from "node:worker_threads";

// A pool: its workers share a port, run any app, and shut down gracefully.

Deno.test("connections are distributed over all workers, each of which calls onExchange and logs what fails", async () => {
  const counters = new SharedArrayBuffer(4);
  const { module } = appOf("countExchange");
  const onExchange = { module, name: "countExchange" };
  await using pooling = await servePool(appOf("buildWatched", [counters]), { onExchange });
  assertEquals(pooling.pool.workers, 2);
  const conns = await meetWorkers(pooling.client);
  const before = Atomics.load(new Int32Array(counters), 0);
  const threads = await Promise.all(conns.map(askThread));
  assertEquals(new Set(threads).size, 2);
  assert(!threads.includes(`${threadId}`));
  await reaches(new Int32Array(counters), before + 2);
  for (const conn of conns) await assertRejects(() => conn.get("/fail"));
  await pooling.logger.waitFor("error");
  const again = await meetWorkers(pooling.client); // the same threads, which have logged by then
  assertEquals((await Promise.all(again.map(askThread))).sort(), threads.sort());
  assertEquals(pooling.logger.at("error").length, 2);
  for (const line of pooling.logger.at("error")) assert(line.includes("nobody caught this"), line);
  for (const conn of again) conn.close();
});

Deno.test("a pool of one worker without TLS needs no flag, and does not share its port", async () => {
  const logger = new RecordingLogger();
  const options = { workers: 1, logger };
  await using pool = await ServerPool.start(["127.0.0.1", 0], appOf("app"), options);
  assertEquals(pool.workers, 1);
  assert(await askThread(new Client(pool.address)) !== `${threadId}`);
  const again = () => ServerPool.start(pool.address, appOf("app"), { workers: 1 });
  await assertRejects(again, Deno.errors.AddrInUse);
  await assertRejects(() => pool.setSslctx({}), TypeError, "must have TLS");
  const client = new Client(pool.address);
  const thread = await askThread(client);
  await client.request("GET", "/exit").catch(() => {});
  await meetNewWorker(client, [thread]);
  const [line = ""] = await logger.waitFor("error");
  assert(line.endsWith("a new one starts in 100 ms"), line);
});

Deno.test("a Unix socket has one worker, which is replaced when it ends, and is free after close()", async () => {
  await using dir = await tempDir();
  const pki = await sharedPki();
  const { serverSslconfig, clientSslconfig } = pki;
  const path = `${dir.path}/socket`;
  const logger = new RecordingLogger();
  const rows = [[path, serverSslconfig], [new Uint8Array(), undefined]] as const;
  for (const [asked, sslconfig] of Deno.build.os === "linux" ? rows : rows.slice(0, 1)) {
    await using pool = await ServerPool.start(asked, appOf("app"), { sslconfig, logger });
    assertEquals(pool.workers, 1);
    const { address } = pool;
    const client = sslconfig ? new SSLClient(clientSslconfig, address) : new Client(address);
    const thread = await askThread(client);
    await client.request("GET", "/exit").catch(() => {});
    await meetNewWorker(client, [thread, `${threadId}`]);
    await pool.close();
    await using server = await listenAgain(() =>
      new Server(address, () => [204, "No Content", {}, null])
    );
    assertEquals(server.address, address);
  }
});

Deno.test("FilesApp, ProxyApp and the app of a device run in a pool", async (t) => {
  await using dir = await tempDir();
  await t.step("a class, with its arguments", async () => {
    await Deno.mkdir(`${dir.path}/files`);
    await Deno.writeTextFile(`${dir.path}/files/hello.txt`, "hello");
    const module = import.meta.resolve("@degu/degu/files");
    const app = { module, name: "FilesApp", args: [`${dir.path}/files`] };
    await using pool = await ServerPool.start(["127.0.0.1", 0], app, { workers: 1 });
    const { body } = await new Client(pool.address).request("GET", "/hello.txt");
    assertEquals(await body?.text(), "hello");
  });
  await t.step("a function, with its arguments", async () => {
    await using upstream = serve(() => [200, "OK", { from: "upstream" }, null]);
    const app = appOf("buildProxy", [upstream.address]);
    await using pool = await ServerPool.start(["127.0.0.1", 0], app, { workers: 1 });
    const { headers } = await new Client(pool.address).request("GET", "/");
    assertEquals(headers["from"], "upstream");
  });
  await t.step("an app that knows its peers by their authority", async () => {
    const camera = await createDevicePki(`${dir.path}/camera`, "camera");
    const viewer = await createDevicePki(`${dir.path}/viewer`, "viewer");
    const { caFile, certFile, keyFile } = camera;
    const sslconfig = { certFile, keyFile, caFile: viewer.caFile };
    const options = { workers: 1, sslconfig };
    await using pool = await ServerPool.start(["127.0.0.1", 0], appOf("deviceApp"), options);
    const own = { certFile: viewer.certFile, keyFile: viewer.keyFile };
    const client = new SSLClient({ ...own, caFile, checkHostname: false }, pool.address);
    assert(/^([0-9A-F]{2}:){31}/.test(await askThread(client)));
  });
});

Deno.test("shutdown() answers every request that has begun, and accepts no other", async () => {
  const counters = new SharedArrayBuffer(8);
  const numbers = new Int32Array(counters);
  await using pooling = await servePool(appOf("buildWaiting", [counters]));
  const { pool, client } = pooling;
  const answers = Array.from({ length: 40 }, () => askThread(client));
  await reaches(numbers, 40);
  let isDown = false;
  const down = pool.shutdown().then(() => isDown = true);
  await assertRejects(() => client.request("GET", "/"));
  assertEquals(isDown, false);
  Atomics.store(numbers, 1, 1);
  Atomics.notify(numbers, 1);
  const threads = await within(Promise.all(answers), "all are answered");
  assertEquals(new Set(threads).size, 2);
  await within(down, "shutdown() resolves");
  assertEquals(Atomics.load(numbers, 0), 40);
});

Deno.test("shutdown() under load loses no response to a request that has reached an app", async () => {
  const counters = new SharedArrayBuffer(8);
  const numbers = new Int32Array(counters);
  const options = { server: { maxRequests: Infinity } };
  await using pooling = await servePool(appOf("buildCounting", [counters]), options);
  let answered = 0;
  // Before there is load: on a busy machine a handshake may take longer than all the requests of the others.
  const conns = await Promise.all(Array.from({ length: 8 }, () => pooling.client.connect()));
  const load = async (conn: Connection) => {
    while (await askThread(conn).catch(() => null) !== null) answered++;
    conn.close();
  };
  const loads = conns.map(load);
  await reaches(numbers, 500);
  await within(pooling.pool.shutdown(), "shutdown() resolves");
  await within(Promise.all(loads), "all connections end");
  assertEquals(answered, Atomics.load(numbers, 0));
  assertEquals(pooling.logger.at("error"), []);
});

Deno.test("close() cuts shutdown() short, and both can be called again", async () => {
  const counters = new SharedArrayBuffer(8);
  await using pooling = await servePool(appOf("buildWaiting", [counters]), { workers: 1 });
  const { pool, client } = pooling;
  const answer = client.request("GET", "/");
  const failed = assertRejects(() => answer);
  await reaches(new Int32Array(counters), 1);
  const changed = pool.setSslctx(pooling.pki.serverSslconfig);
  const down = pool.shutdown();
  const closed = [pool.close(), pool.close(), pool[Symbol.asyncDispose]()];
  await within(Promise.all([...closed, down, changed]), "all resolve");
  await assertRejects(() => pool.setSslctx(pooling.pki.serverSslconfig), DeguError, "closed");
  await failed;
  await within(pool.shutdown(), "shutdown() after close() resolves");
  const again = () => new Server(pool.address, () => [204, "No Content", {}, null]);
  await using server = await listenAgain(again);
  assertEquals(server.address, pool.address);
});

Deno.test("start() settles whenever a worker ends, and what it has started can be closed", async () => {
  const pki = await sharedPki();
  const logger = new RecordingLogger();
  const options = { workers: 2, sslconfig: pki.serverSslconfig, logger };
  for (const milliseconds of [0, 2, 10, 20]) {
    const app = appOf("buildDoomed", [new SharedArrayBuffer(8), 1, milliseconds]);
    const started = ServerPool.start(["127.0.0.1", 0], app, options);
    const pool = await within(started.catch(() => null), "start() settles");
    await within(pool?.close() ?? Promise.resolve(), "the pool closes");
  }
});

Deno.test("if the address is in use, or a worker can't start, start() leaves nothing running", async () => {
  await using taken = new Server(["127.0.0.1", 0], () => [200, "OK", {}, null]);
  const logger = new RecordingLogger();
  const pki = await sharedPki();
  const options = { workers: 2, sslconfig: pki.serverSslconfig, logger };
  const start = () => ServerPool.start(taken.address, appOf("app"), options);
  await assertRejects(start, Deno.errors.AddrInUse);
  const counters = new SharedArrayBuffer(8);
  const once = appOf("buildOnce", [counters, 1]);
  await assertRejects(
    () => ServerPool.start(["127.0.0.1", 0], once, options),
    Error,
    "not again",
  );
  assertEquals(logger.lines, []);
});

// What a pool refuses, and how start() fails: with a clear error, and leaving nothing behind.

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
    [
      [anywhere, app, { server: { replaceSocket: true } }],
      TypeError,
      "options.server.replaceSocket",
    ],
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
      const start = () => Reflect.apply(ServerPool.start, ServerPool, args) as Promise<unknown>;
      await assertRejects(start, Class, words);
    });
  }
});

Deno.test("two workers without TLS need --unstable-net, and its absence is an error instead of a crash", async () => {
  const start = () => ServerPool.start(anywhere, appOf("app"), { workers: 2 });
  await assertRejects(start, DeguError, "--unstable-net");
});

Deno.test("by default there are as many workers as cores, and one for a Unix socket", async () => {
  const pki = await sharedPki();
  const options = { sslconfig: pki.serverSslconfig };
  const { hardwareConcurrency } = navigator;
  assertEquals(checkPool(anywhere, appOf("app"), options).workers, hardwareConcurrency);
  assertEquals(checkPool("/run/socket", appOf("app"), options).workers, 1);
  assertEquals(checkPool(anywhere, appOf("app"), { ...options, workers: 256 }).workers, 256);
});

Deno.test("start() rejects with the error of a worker, and nothing is left running", async () => {
  const logger = new RecordingLogger();
  const exit = "Deno.exit(3); await new Promise(() => {})";
  const rows: [app: PoolApp, Class: new () => Error, words: string][] = [
    [appOf("buildFailing", []), RangeError, "there is no such database"],
    [
      { module: `data:text/javascript,${encodeURIComponent(exit)}`, name: "app" },
      DeguError,
      "a worker of the pool has ended by itself, as with Deno.exit() or self.close(), with exit code 3",
    ],
  ];
  for (const [app, Class, words] of rows) {
    const start = () => ServerPool.start(anywhere, app, { workers: 1, logger });
    await within(assertRejects(start, Class, words), "it rejects");
  }
  assertEquals(logger.lines, []);
});

// The context of a pool: replaced in all workers, or in none.

/** The number of connections with which each worker is met, but for once in a thousand times. */
const MANY = 11;

/** A client that trusts a server, and has the certificate of another PKI. */
function strangerTo({ pool, pki }: Pooling, other: TempPKI): SSLClient {
  const { caFile } = pki.clientSslconfig;
  return new SSLClient({ ...other.clientSslconfig, caFile }, pool.address);
}

async function assertRefused(client: SSLClient): Promise<void> {
  for (let i = 0; i < MANY; i++) await assertRejects(() => client.request("GET", "/"));
}

Deno.test("setSslctx() reaches all workers, also those that are started later, when the files have changed", async () => {
  await using own = await TempPKI.create();
  await using pooling = await servePool(undefined, {}, undefined, own);
  await using other = await TempPKI.create();
  const { pool, client } = pooling;
  const stranger = strangerTo(pooling, other);
  await assertRefused(stranger);
  const [live, second] = await meetWorkers(client);
  await pool.setSslctx({ ...own.serverSslconfig, caFile: other.serverSslconfig.caFile });
  await Deno.writeTextFile(own.serverSslconfig.keyFile, "half of a k");
  await assertRefused(client);
  const threads = await Promise.all((await meetWorkers(stranger)).map(async (conn) => {
    using closed = conn;
    return await askThread(closed);
  }));
  assertEquals((await live!.get("/")).status, 200); // live sessions go on
  await stranger.request("GET", "/exit").catch(() => {});
  await meetNewWorker(stranger, threads);
  await assertRefused(client);
  for (const conn of [live!, second!]) conn.close();
});

Deno.test("a config that is wrong rejects and changes nothing, and no message has a secret", async () => {
  await using pooling = await servePool(appOf("app"), { workers: 1 });
  const { pool, pki, client } = pooling;
  const { certFile, keyFile, caFile } = pki.serverSslconfig;
  const { cert, key, ca } = await readTexts(pki.serverSslconfig) as Record<string, string>;
  await using other = await TempPKI.create();
  const foreign = await readTexts(other.serverSslconfig) as Record<string, string>;
  const rows: readonly unknown[] = [
    undefined,
    null,
    {},
    { certFile, keyFile },
    { certFile, keyFile, caFile, unknown: 5 },
    { certFile, keyFile: `${keyFile}.missing`, caFile },
    { cert, key: foreign["key"], ca },
    { cert, key: key!.slice(0, -60), ca },
    { cert: key, key, ca },
    { cert, key, ca: key },
    { certFile: key, keyFile: key, caFile },
  ];
  for (const config of rows) {
    const options = { workers: 2, sslconfig: (config ?? {}) as ServerSslconfig };
    const calls = [
      () => pool.setSslctx(config as ServerSslconfig),
      () => ServerPool.start(["127.0.0.1", 0], appOf("app"), options),
    ];
    for (const call of calls) assertNoSecret(Deno.inspect(await assertRejects(call)));
  }
  assertNoSecret(Deno.inspect(pool, { depth: 9, showHidden: true }));
  await askThread(client);
  assertEquals(pooling.logger.at("error"), []);
});

Deno.test("setSslctx() as workers end and start resolves, and is in force in each of them", async () => {
  await using pooling = await servePool();
  await using other = await TempPKI.create();
  const { pool, pki, client } = pooling;
  const { caFile } = other.serverSslconfig;
  const stranger = strangerTo(pooling, other);
  await Promise.all((await meetWorkers(client)).map((conn) => conn.get("/exit").catch(() => {})));
  const changes = [
    pool.setSslctx(pki.serverSslconfig),
    pool.setSslctx({ ...pki.serverSslconfig, caFile }),
  ];
  await within(Promise.all(changes), "it resolves");
  await meetNewWorker(stranger, ["none"]);
  await assertRefused(client);
  for (const conn of await meetWorkers(stranger)) conn.close();
});

Deno.test("that every client is accepted is a warning of the pool, once, and again after a change", async () => {
  const pki = await sharedPki();
  const { certFile, keyFile } = pki.serverSslconfig;
  const open = { certFile, keyFile, allowUnauthenticatedClients: true } as const;
  await using pooling = await servePool(appOf("app"), { sslconfig: open });
  const { pool, logger } = pooling;
  const client = new SSLClient({ caFile: pki.clientSslconfig.caFile }, pool.address);
  const threads = [];
  for (const conn of await meetWorkers(client)) {
    using closed = conn;
    threads.push(await askThread(closed));
  }
  await client.request("GET", "/exit").catch(() => {});
  await meetNewWorker(client, threads);
  await pool.setSslctx(open);
  assertEquals(logger.at("warn").length, 1);
  await pool.setSslctx(pki.serverSslconfig);
  await pool.setSslctx(open);
  for (const conn of await meetWorkers(client)) conn.close(); // their lines have arrived
  assertEquals(logger.at("warn").length, 2);
  for (const line of logger.at("warn")) assert(line.includes("allowUnauthenticatedClients"), line);
});
