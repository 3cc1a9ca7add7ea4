/** Pools for tests. */

import type { PoolTimes } from "@degu/internal/pool/pool_member.ts";
import { startPool } from "@degu/internal/pool/server_pool.ts";
import { type Client, type Connection, SSLClient } from "@degu/degu/client";
import type { PoolApp, PoolOptions } from "@degu/degu/pool";
import { within } from "./raw_peer.ts";
import { RecordingLogger } from "./serving.ts";
import { sharedPki, type Trust } from "./tls_endpoints.ts";

/**
 * The times of a pool that replaces a worker quickly, and waits for a silent one as long as usual.
 */
export const TIMES: PoolTimes = {
  heartbeat: { every: 5000, missed: 6 },
  restart: { first: 10, most: 40 },
};

/** An app of `pool_apps.ts`, or a function there that makes one. */
export function appOf(name: string, args?: unknown[]): PoolApp {
  return { module: import.meta.resolve("./pool_apps.ts"), name, args };
}

/** Starts a pool of two workers with TLS; it is closed on dispose. */
export async function servePool(
  app: PoolApp = appOf("app"),
  options: PoolOptions = {},
  times: PoolTimes = TIMES,
  trust?: Trust,
) {
  const pki = trust ?? await sharedPki();
  const logger = new RecordingLogger();
  const all = { workers: 2, sslconfig: pki.serverSslconfig, logger, ...options };
  const pool = await startPool(["127.0.0.1", 0], app, all, times);
  return {
    pool,
    pki,
    logger,
    client: new SSLClient(pki.clientSslconfig, pool.address, { timeout: 60 }),
    [Symbol.asyncDispose]: () => within(pool.close(), "the pool closes"),
  };
}

export type Pooling = Awaited<ReturnType<typeof servePool>>;

/** The number of the answering thread. */
export async function askThread(from: Client | Connection): Promise<string> {
  return await (await from.request("GET", "/", {}, null)).body!.text();
}

/** Connections to both workers; the kernel chooses, so several attempts are needed. */
export async function meetWorkers(client: Client): Promise<Connection[]> {
  const met = new Map<string, Connection>();
  for (let attempt = 0; met.size < 2; attempt++) {
    if (attempt === 200) throw new Error(`only these answer: ${[...met.keys()]}`);
    const conn = await client.connect();
    const thread = await askThread(conn);
    if (met.has(thread)) conn.close();
    else met.set(thread, conn);
  }
  return [...met.values()];
}

/** Waits until a further worker serves. */
export async function meetNewWorker(client: Client, known: readonly string[]): Promise<string> {
  const meet = async () => {
    for (;;) {
      // A worker that is being replaced can't be reached.
      const thread = await askThread(client).catch(() => known[0]!);
      if (!known.includes(thread)) return thread;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  };
  return await within(meet(), "another worker serves", 60);
}

/** Waits until the first shared number is at least this. */
export async function reaches(numbers: Int32Array<SharedArrayBuffer>, least: number) {
  const wait = async () => {
    for (;;) {
      const now = Atomics.load(numbers, 0);
      if (now >= least) return;
      await Atomics.waitAsync(numbers, 0, now).value;
    }
  };
  await within(wait(), `the number reaches ${least}`, 20);
}
