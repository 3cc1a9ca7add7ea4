/** A worker that ends is replaced, while the others serve; and so is one whose socket file is gone. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { watchFile } from "@degu/internal/pool/pool_member.ts";
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
import { dial, within } from "@degu/testing/raw_peer.ts";

Deno.test("a worker that ends by itself or by an error is replaced while the other serves", async (t) => {
  const rows = [
    ["/exit", "worker N has ended by itself, as with Deno.exit(), with exit code 7; a new one"],
    ["/throw", "worker N has failed: Error: nobody caught this\n    at fail "],
    ["/reject", "worker N has failed: Error: nobody caught this\n    at app "],
  ] as const;
  for (const [path, words] of rows) {
    await t.step(path, async () => {
      await using pooling = await servePool();
      const [victim, other] = await meetWorkers(pooling.client);
      const threads = await Promise.all([victim!, other!].map(askThread));
      await victim!.get(path).then((response) => response.body?.bytes()).catch(() => {});
      assertEquals(await askThread(other!), threads[1]);
      const [line = ""] = await pooling.logger.waitFor("error");
      assert(line.replace(/^worker [12]/, "worker N").startsWith(words), line);
      assert(line.endsWith("a new one starts in 10 ms"), line);
      await meetNewWorker(pooling.client, threads);
      assertEquals(await askThread(other!), threads[1]);
      assertEquals(pooling.logger.at("error").length, 1);
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
  await using pooling = await servePool(appOf("buildForgiving", []));
  const conns = await meetWorkers(pooling.client);
  const threads = await Promise.all(conns.map(askThread));
  for (const conn of conns) await (await conn.get("/reject")).body?.bytes();
  assertEquals(await Promise.all(conns.map(askThread)), threads);
  assertEquals(pooling.logger.at("error"), []);
  for (const conn of conns) conn.close();
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
  await using pooling = await servePool(appOf("app"), {}, times);
  const known: string[] = [];
  for (let i = 0; i < 3; i++) {
    known.push(...await Promise.all((await meetWorkers(pooling.client)).map(takeThread)));
    await pooling.client.request("GET", "/exit").catch(() => {});
    await meetNewWorker(pooling.client, known);
  }
  await pooling.pool.close();
  const lines = pooling.logger.at("error");
  assertEquals(lines.length, 3);
  for (const line of lines) assert(line.endsWith("starts in 1 ms"), line);
});

async function takeThread(conn: Parameters<typeof askThread>[0] & Disposable): Promise<string> {
  using _closed = conn;
  return await askThread(conn);
}

Deno.test("closing or shutting down a pool while a worker restarts resolves, and starts none", async (t) => {
  for (const how of ["close", "shutdown"] as const) {
    for (const waiting of [true, false]) {
      await t.step(`${how}, ${waiting ? "before it starts" : "as it starts"}`, async () => {
        const counters = new SharedArrayBuffer(8);
        const most = waiting ? 60_000 : 1;
        const times = { ...TIMES, restart: { first: most, most } };
        await using pooling = await servePool(appOf("buildOnce", [counters, 1000]), {}, times);
        await pooling.client.request("GET", "/exit").catch(() => {});
        await pooling.logger.waitFor("error");
        if (!waiting) await reaches(new Int32Array(counters), 3);
        await within(pooling.pool[how](), `${how}() resolves`);
        const made = Atomics.load(new Int32Array(counters), 0);
        assert(made === (waiting ? 2 : 3), `${made}`);
      });
    }
  }
});

Deno.test("a file is missed when it is gone for two looks in a row, and once", async () => {
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
});

Deno.test("a file that can't be looked at is not missed", async () => {
  await using dir = await tempDir();
  await Deno.writeTextFile(`${dir.path}/file`, "");
  using time = new FakeTime();
  let lost = 0;
  const watching = watchFile(`${dir.path}/file/below`, 100, () => lost++);
  time.tick(1000);
  assertEquals(lost, 0);
  clearInterval(watching);
});
