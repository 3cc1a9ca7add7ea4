/** A pool: its workers share a port, run any app, and shut down gracefully. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { threadId } from "node:worker_threads";
import { Client, SSLClient } from "@degu/degu/client";
import { ServerPool } from "@degu/degu/pool";
import { createDevicePki } from "@degu/degu/device";
import { Server } from "@degu/degu/server";
import { tempDir } from "@degu/testing/directories.ts";
import {
  appOf,
  askThread,
  meetNewWorker,
  meetWorkers,
  reaches,
  servePool,
} from "@degu/testing/pools.ts";
import { listenAgain } from "@degu/testing/ports.ts";
import { within } from "@degu/testing/raw_peer.ts";
import { RecordingLogger, serve } from "@degu/testing/serving.ts";

Deno.test("the kernel distributes connections over all workers, none of which is this thread", async () => {
  await using pooling = await servePool();
  assertEquals(pooling.pool.workers, 2);
  const conns = await meetWorkers(pooling.client);
  const threads = await Promise.all(conns.map(askThread));
  assertEquals(new Set(threads).size, 2);
  assert(!threads.includes(`${threadId}`));
  for (const conn of conns) conn.close();
});

Deno.test("onExchange is called in each worker, with the exchanges of that worker", async () => {
  const counters = new SharedArrayBuffer(4);
  const { module } = appOf("countExchange");
  const onExchange = { module, name: "countExchange" };
  await using pooling = await servePool(appOf("buildWatched", [counters]), { onExchange });
  const conns = await meetWorkers(pooling.client);
  const before = Atomics.load(new Int32Array(counters), 0);
  for (const conn of conns) {
    await askThread(conn);
    conn.close();
  }
  await reaches(new Int32Array(counters), before + 2);
});

Deno.test("a pool of one worker without TLS needs no flag, and does not share its port", async () => {
  const logger = new RecordingLogger();
  const options = { workers: 1, logger };
  await using pool = await ServerPool.start(["127.0.0.1", 0], appOf("app"), options);
  assertEquals(pool.workers, 1);
  assert(await askThread(new Client(pool.address)) !== `${threadId}`);
  const again = () => ServerPool.start(pool.address, appOf("app"), { workers: 1 });
  await assertRejects(again, Deno.errors.AddrInUse);
  const client = new Client(pool.address);
  const thread = await askThread(client);
  await client.request("GET", "/exit").catch(() => {});
  await meetNewWorker(client, [thread]);
  const [line = ""] = await logger.waitFor("error");
  assert(line.endsWith("a new one starts in 100 ms"), line);
});

Deno.test("a Unix socket has one worker, which is replaced when it ends, and is free after close()", async () => {
  await using dir = await tempDir();
  await using pooling = await servePool();
  const { serverSslconfig, clientSslconfig } = pooling.pki;
  const path = `${dir.path}/socket`;
  const logger = new RecordingLogger();
  for (const asked of Deno.build.os === "linux" ? [path, new Uint8Array()] : [path]) {
    for (const sslconfig of [undefined, serverSslconfig]) {
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
    await using pool = await ServerPool.start(["127.0.0.1", 0], appOf("deviceApp"), { sslconfig });
    const own = { certFile: viewer.certFile, keyFile: viewer.keyFile };
    const client = new SSLClient({ ...own, caFile, checkHostname: false }, pool.address);
    assert(/^([0-9A-F]{2}:){31}/.test(await askThread(client)));
  });
});

Deno.test("the logger gets the lines of all workers, and an app that fails ends no worker", async () => {
  await using pooling = await servePool();
  const conns = await meetWorkers(pooling.client);
  for (const conn of conns) await assertRejects(() => conn.get("/fail"));
  await pooling.logger.waitFor("error");
  const again = await meetWorkers(pooling.client); // the same threads, which have logged by then
  assertEquals(pooling.logger.at("error").length, 2);
  for (const line of pooling.logger.at("error")) assert(line.includes("nobody caught this"), line);
  for (const conn of again) conn.close();
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
  const load = async () => {
    using conn = await pooling.client.connect();
    for (;;) {
      const thread = await askThread(conn).catch(() => null);
      if (thread === null) return;
      answered++;
    }
  };
  const loads = Array.from({ length: 8 }, load);
  await reaches(numbers, 500);
  await within(pooling.pool.shutdown(), "shutdown() resolves");
  await within(Promise.all(loads), "all connections end");
  assertEquals(answered, Atomics.load(numbers, 0));
  assertEquals(pooling.logger.at("error"), []);
});

Deno.test("close() cuts shutdown() short, and both can be called again", async () => {
  const counters = new SharedArrayBuffer(8);
  await using pooling = await servePool(appOf("buildWaiting", [counters]));
  const { pool, client } = pooling;
  const answer = client.request("GET", "/");
  const failed = assertRejects(() => answer);
  await reaches(new Int32Array(counters), 1);
  const down = pool.shutdown();
  const closed = [pool.close(), pool.close(), pool[Symbol.asyncDispose]()];
  await within(Promise.all([...closed, down]), "all resolve");
  await failed;
  await within(pool.shutdown(), "shutdown() after close() resolves");
  const again = () => new Server(pool.address, () => [204, "No Content", {}, null]);
  await using server = await listenAgain(again);
  assertEquals(server.address, pool.address);
});

Deno.test("start() settles whenever a worker ends, and what it has started can be closed", async () => {
  await using pooling = await servePool();
  const logger = new RecordingLogger();
  const options = { workers: 2, sslconfig: pooling.pki.serverSslconfig, logger };
  for (const milliseconds of [0, 1, 2, 5, 10, 20]) {
    const app = appOf("buildDoomed", [new SharedArrayBuffer(8), 1, milliseconds]);
    const started = ServerPool.start(["127.0.0.1", 0], app, options);
    const pool = await within(started.catch(() => null), "start() settles", 20);
    await within(pool?.close() ?? Promise.resolve(), "the pool closes");
  }
});

Deno.test("if the address is in use, or a worker can't start, start() leaves nothing running", async () => {
  await using taken = new Server(["127.0.0.1", 0], () => [200, "OK", {}, null]);
  const logger = new RecordingLogger();
  await using pooling = await servePool();
  const options = { workers: 2, sslconfig: pooling.pki.serverSslconfig, logger };
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
