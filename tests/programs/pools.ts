/**
 * Does with pools what can't be done in the process of the tests, and prints what was found as JSON: a worker that hangs does so until the process ends, and a plain pool needs a flag.
 * Its argument is the configurations of both ends, in JSON.
 */

import { Client, type Connection, SSLClient } from "@degu/degu/client";
import { startPool } from "@degu/internal/pool/server_pool.ts";
import { block } from "@degu/testing/pool_apps.ts";
import {
  appOf,
  askThread,
  meetNewWorker,
  meetWorkers,
  type Pooling,
  reaches,
  servePool,
  TIMES,
} from "@degu/testing/pools.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";
import type { Trust } from "@degu/testing/tls_endpoints.ts";

const trust: Trust = JSON.parse(Deno.args[0]!);

/** Taken for hung after 2 seconds. */
const IMPATIENT = { ...TIMES, heartbeat: { every: 200, missed: 10 } };

/** Lets the only worker hang, and counts the answers once its successor was replaced, too. */
async function replaceTwice(
  { client, pool, pki, logger }: Pooling,
  endSuccessor?: (conn: Connection) => Promise<unknown>,
) {
  const impatient = new SSLClient(pki.clientSslconfig, pool.address, { timeout: 1 });
  const known = [await askThread(client)];
  using victim = await client.connect();
  victim.get("/hang").catch(() => {});
  await logger.waitFor("error");
  known.push(await meetNewWorker(impatient, known));
  if (endSuccessor !== undefined) {
    using conn = await impatient.connect();
    await endSuccessor(conn).catch(() => {});
    await meetNewWorker(impatient, known);
  }
  const answers = await Promise.all(Array.from({ length: 12 }, () => askThread(client)));
  return { answers: answers.length, errors: logger.at("error").length };
}

const programs: Record<string, () => Promise<unknown>> = {
  async hang() {
    await using pooling = await servePool(appOf("app"), {}, IMPATIENT, trust);
    const [victim, other] = await meetWorkers(pooling.client);
    const threads = [await askThread(victim!), await askThread(other!)];
    victim!.get("/hang").catch(() => {});
    const duringTheHang = await askThread(other!) === threads[1];
    // Resolves, although a worker can't answer.
    await pooling.pool.setSslctx(pooling.pki.serverSslconfig);
    await pooling.logger.waitFor("error");
    await meetNewWorker(pooling.client, threads);
    // More than the kernel would let pass, if the socket of the thread that hangs had a share.
    const answered = await Promise.all(Array.from({ length: 24 }, () => askThread(pooling.client)));
    for (const conn of [victim!, other!]) conn.close();
    return {
      duringTheHang,
      afterwards: new Set(answered).size,
      hungAnswers: answered.includes(threads[0]!),
      lines: pooling.logger.at("error"),
    };
  },
  async hangThenExit() {
    await using pooling = await servePool(appOf("app"), { workers: 1 }, IMPATIENT, trust);
    return await replaceTwice(pooling, (conn) => conn.get("/exit"));
  },
  async hangThenFail() {
    // The first successor can't be made.
    const app = appOf("buildExcept", [new SharedArrayBuffer(8), 1]);
    await using pooling = await servePool(app, { workers: 1 }, IMPATIENT, trust);
    return await replaceTwice(pooling);
  },
  async comeBackOnPath() {
    const dir = await Deno.makeTempDir();
    const logger = new RecordingLogger();
    const held = new Int32Array(new SharedArrayBuffer(4));
    const app = appOf("buildHeld", [held.buffer]);
    const pool = await startPool(`${dir}/socket`, app, { logger }, IMPATIENT);
    const client = new Client(pool.address, { timeout: 1 });
    const known = [await askThread(client)];
    using victim = await client.connect();
    victim.get("/wait").catch(() => {});
    await logger.waitFor("error");
    known.push(await meetNewWorker(client, known));
    // The thread that was given up ends, and removes the file.
    Atomics.store(held, 0, 1);
    Atomics.notify(held, 0);
    await meetNewWorker(client, known);
    await pool.close();
    const left = [...Deno.readDirSync(dir)].length;
    await Deno.remove(dir, { recursive: true });
    return { left, lines: logger.at("error") };
  },
  async closeWhileBusyOnPath() {
    const dir = await Deno.makeTempDir();
    const app = appOf("buildEndless", [new SharedArrayBuffer(8)]);
    const numbers = new Int32Array(app.args![0] as SharedArrayBuffer);
    const pool = await startPool(`${dir}/socket`, app, {}, TIMES);
    using victim = await new Client(pool.address).connect();
    victim.get("/").catch(() => {});
    await reaches(numbers, 1);
    await pool.close();
    const left = [...Deno.readDirSync(dir)].length;
    await Deno.remove(dir, { recursive: true });
    return { left };
  },
  async neverMade() {
    const app = appOf("buildFirst", [new SharedArrayBuffer(8)]);
    await using pooling = await servePool(app, { workers: 1 }, IMPATIENT, trust);
    await pooling.client.request("GET", "/exit").catch(() => {});
    const lines = await pooling.logger.waitFor("warn");
    await pooling.pool.close();
    return { lines, errors: pooling.logger.at("error").length };
  },
  async busyMainThread() {
    const heartbeat = { every: 100, missed: 10 };
    const times = { ...TIMES, heartbeat };
    await using pooling = await servePool(appOf("app"), { workers: 1 }, times, trust);
    const before = await askThread(pooling.client);
    block(1500);
    await askThread(pooling.client);
    const same = await askThread(pooling.client) === before;
    return { same, lines: pooling.logger.at("error") };
  },
  async hangAtStart() {
    const options = { workers: 1, sslconfig: trust.serverSslconfig };
    const app = appOf("buildHanging", []);
    return await startPool(["127.0.0.1", 0], app, options, IMPATIENT).catch(String);
  },
  async shutdownWhileHung() {
    const counters = new SharedArrayBuffer(8);
    const app = appOf("buildEndless", [counters]);
    await using pooling = await servePool(app, { workers: 1 }, IMPATIENT, trust);
    using victim = await pooling.client.connect();
    victim.get("/").catch(() => {});
    await reaches(new Int32Array(counters), 1);
    await pooling.pool.shutdown();
    return pooling.logger.at("error").map((line) => line.replace(/\d/, "N"));
  },
  async plain() {
    const logger = new RecordingLogger();
    await using pool = await startPool(
      ["127.0.0.1", 0],
      appOf("app"),
      { workers: 2, logger },
      TIMES,
    );
    const client = new Client(pool.address);
    const conns: Connection[] = await meetWorkers(client);
    const threads = await Promise.all(conns.map(askThread));
    await conns[0]!.get("/exit").catch(() => {});
    const other = await askThread(conns[1]!);
    await meetNewWorker(client, threads);
    await pool.shutdown();
    for (const conn of conns) conn.close();
    return { workers: new Set(threads).size, others: other === threads[1] };
  },
};

/** How many run at a time: most of them only wait. */
const LANES = 5;

// It holds up the others, so it comes last.
const { busyMainThread, ...others } = programs;
const found: Record<string, unknown> = {};
const waiting = Object.entries(others);
const run = async (waiting: [name: string, program: () => Promise<unknown>][]) => {
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
    const [name, program] = next;
    found[name] = await program().catch((error) => ({ failed: String(error) }));
  }
};
await Promise.all(Array.from({ length: LANES }, () => run(waiting)));
await run([["busyMainThread", busyMainThread!]]);
console.log(JSON.stringify(found));
