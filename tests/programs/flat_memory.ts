/**
 * Sends large bodies to slow readers and measures the memory of this process; run with
 * `--v8-flags=--expose-gc` and the path of a socket, because the buffers of TCP grow with the
 * machine. Prints the findings as JSON, in MiB.
 */

import { BodyIter, type Chunk, ChunkedBodyIter } from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import { Server } from "@degu/degu/server";

const MEBIBYTE = 1048576;
const TOTAL = 64 * MEBIBYTE;
const piece = new Uint8Array(65536);
let produced = 0;

function* pieces(): Generator<Uint8Array> {
  for (let i = 0; i < TOTAL / piece.length; i++) {
    produced += piece.length;
    yield piece;
  }
}

function* chunks(): Generator<Chunk> {
  for (const data of pieces()) yield [null, data];
  yield [null, new Uint8Array(0)];
}

declare const gc: () => void;

let peak = 0;
/** Collect garbage first, so that only live objects are measured. */
function look(): void {
  gc();
  peak = Math.max(peak, Deno.memoryUsage().rss);
}

/**
 * Reads a few MiB, pauses, and reads the rest; returns how many bytes were produced during the
 * pause.
 */
async function readSlowly(body: ReadableStream<Uint8Array>): Promise<number> {
  let taken = 0;
  let ahead = 0;
  let looked = 0;
  for await (const bytes of body) {
    taken += bytes.length;
    if (ahead === 0 && taken > 4 * MEBIBYTE) {
      await new Promise((resolve) => setTimeout(resolve, 200));
      ahead = produced - taken;
    }
    if (taken > looked + 8 * MEBIBYTE) {
      look();
      looked = taken;
    }
  }
  if (taken !== TOTAL) throw new Error(`${taken} bytes`);
  return ahead;
}

let uploadAhead = 0;
const server = new Server(Deno.args[0]!, async ({ uri, body }, _session, api) => {
  if (body !== null) uploadAhead = await readSlowly(body.readable);
  if (uri === "/length") return [200, "OK", {}, new api.BodyIter(pieces(), TOTAL)];
  if (uri === "/chunked") return [200, "OK", {}, new api.ChunkedBodyIter(chunks())];
  return [200, "OK", {}, null];
});
const serving = server.serveForever();
using conn = await new Client(server.address).connect();
const found: Record<string, number> = {};

async function measure(what: string, run: () => Promise<number>): Promise<void> {
  produced = 0;
  found[`${what}: produced ahead of the reader`] = await run() / MEBIBYTE;
}

// Warm up, so that code and buffers are allocated.
await measure("warm-up", async () => await readSlowly((await conn.get("/length")).body!.readable));
const before = Deno.memoryUsage().rss;
peak = 0;
await measure("download", async () => await readSlowly((await conn.get("/length")).body!.readable));
await measure("chunked", async () => await readSlowly((await conn.get("/chunked")).body!.readable));
await measure("upload", async () => {
  await conn.put("/", {}, new BodyIter(pieces(), TOTAL));
  return uploadAhead;
});
await measure("chunked upload", async () => {
  await conn.put("/", {}, new ChunkedBodyIter(chunks()));
  return uploadAhead;
});
found["growth of the peak"] = (peak - before) / MEBIBYTE;
conn.close();
server.close();
await serving;
console.log(JSON.stringify(found));
