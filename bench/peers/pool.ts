/**
 * A pool whose app computes or sends, and clients that keep its workers equally busy.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { threadId } from "node:worker_threads";
import type { Address } from "../../base.ts";
import { BodyIter } from "../../base.ts";
import type { Connection } from "../../client.ts";
import { Client } from "../../client.ts";
import { ServerPool } from "../../pool.ts";
import type { AppFunction } from "../../server.ts";
import { block } from "../pattern.ts";
import { answerCommands } from "../peer.ts";
import type { TlsFiles } from "../work.ts";
import { makeClient } from "./degu_tls.ts";

/** The task of one end. */
export interface PoolWork {
  /** `null` for the pool. */
  readonly task: "hash" | "bulk" | null;
  readonly workers: number;
  /** Of the client, a multiple of the number of workers. */
  readonly connections: number;
  readonly port: number;
  readonly tls: TlsFiles | null;
}

/** What the pool says when it serves. */
export interface PoolReady {
  readonly port: number;
  readonly pid: number;
}

/** Bytes of a download. */
const BULK_BYTES = 64 * block.length;

/** Says which thread it runs in, hashes 1 MiB, or sends {@linkcode BULK_BYTES}. */
export const app: AppFunction = ({ path: [what] }) => {
  if (what === "hash") {
    // Web Crypto would use threads of its own, also with one worker.
    return [200, "OK", {}, createHash("sha256").update(block).digest()];
  }
  if (what === "bulk") return [200, "OK", {}, new BodyIter(repeat(), BULK_BYTES)];
  return [200, "OK", {}, new TextEncoder().encode(`${threadId}`)];
};

function* repeat(): Generator<Uint8Array, void, undefined> {
  for (let sent = 0; sent < BULK_BYTES; sent += block.length) yield block;
}

async function serve({ workers, tls }: PoolWork): Promise<number> {
  const pool = await ServerPool.start(
    ["127.0.0.1", 0],
    { module: import.meta.url, name: "app" },
    {
      workers,
      server: { maxRequests: Infinity },
      ...(tls === null ? {} : { sslconfig: { ...tls.server } }),
    },
  );
  return (pool.address as readonly [string, number])[1];
}

/** Opens connections until each worker has the same number: the kernel distributes them at random. */
async function connect(work: PoolWork): Promise<Connection[]> {
  const address: Address = ["127.0.0.1", work.port];
  const client = work.tls === null ? new Client(address) : makeClient(work.tls, address);
  const share = work.connections / work.workers;
  const byThread = new Map<string, Connection[]>();
  const isDone = () =>
    byThread.size === work.workers &&
    [...byThread.values()].every(({ length }) => length === share);
  while (!isDone()) {
    const conn = await client.connect();
    const thread = await (await conn.get("/")).body!.text();
    const conns = byThread.get(thread) ?? [];
    byThread.set(thread, conns);
    if (conns.length < share) conns.push(conn);
    else conn.close();
  }
  return [...byThread.values()].flat();
}

/** Makes so many requests, shared by the connections, and returns the seconds they took. */
async function drive(work: PoolWork, requests: number): Promise<number> {
  const conns = await connect(work);
  const each = async (conn: Connection) => {
    for (let i = 0; i < requests / conns.length; i++) {
      const { body } = await conn.get(`/${work.task}`);
      const count = { bytes: 0 };
      await body!.writeTo(
        new WritableStream({ write: (piece) => void (count.bytes += piece.length) }),
      );
      if (count.bytes !== (work.task === "bulk" ? BULK_BYTES : 32)) throw new Error("cut short");
    }
  };
  const start = performance.now();
  await Promise.all(conns.map(each));
  const seconds = (performance.now() - start) / 1000;
  for (const conn of conns) conn.close();
  return seconds;
}

if (import.meta.main) {
  const work: PoolWork = JSON.parse(Deno.args[0] ?? "{}");
  if (work.task === null) {
    const nothing = () => Promise.reject(new Error("a pool runs no work"));
    await answerCommands({ port: await serve(work), pid: Deno.pid } satisfies PoolReady, nothing);
  }
  await answerCommands(true, (requests) => drive(work, requests));
}
