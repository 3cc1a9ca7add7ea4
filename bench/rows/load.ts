/** Row 7: servers alone, under `wrk` with 1, 8 and 64 connections, server and load on one core each. */

import { type Contender, makeSkippedGroup, type Trial } from "../measure.ts";
import { answerBody, checkSame, checkStatus } from "../messages.ts";
import type { PeerName, Row, RowSetting } from "../pair.ts";
import { describePlacement, pinnedTo, startServer } from "../pair.ts";
import type { Endpoint } from "../peer.ts";
import { runToEnd } from "../process.ts";

export const servers: readonly (readonly [name: string, peer: PeerName])[] = [
  ["raw", "raw"],
  ["degu", "degu"],
  ["Deno.serve", "fetch"],
  ["node:http", "node_http"],
];

export const loadRow: Row = {
  number: 7,
  title: "Servers alone under wrk with 1, 8 and 64 connections",
  async *groups(setting) {
    if (!await hasWrk()) {
      const why = "`wrk` is not installed (on Debian: `apt install wrk`).";
      return yield makeSkippedGroup("7", "Servers alone under wrk", why);
    }
    for (const connections of [1, 8, 64]) {
      if (setting.quick && connections !== 8) continue;
      yield {
        id: `7-${connections}`,
        title: `GET of 108 B under wrk, connections: ${connections}`,
        unit: "requests/s",
        better: "higher",
        placement: describePlacement("other", setting.cores),
        references: ["raw", "Deno.serve", "node:http"],
        contenders: servers.map(([name, peer]) => makeContender(name, peer, connections, setting)),
        notes: ["“raw” answers every read with the same bytes and looks at none of them."],
      };
    }
  },
};

async function hasWrk(): Promise<boolean> {
  try {
    // Without arguments it prints its usage and fails.
    await new Deno.Command("wrk", { stdout: "null", stderr: "null" }).output();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

function makeContender(
  name: string,
  peer: PeerName,
  connections: number,
  setting: RowSetting,
): Contender {
  return {
    name,
    async start(): Promise<Trial> {
      const program = await startServer(peer, setting);
      const { port } = program.ready as Extract<Endpoint, { transport: "tcp" }>;
      const url = `http://127.0.0.1:${port}/`;
      return {
        async warmUp() {
          await checkAnswer(url);
          await runWrk(url, connections, 1, setting);
          // The answer is the same after a hundred thousand others.
          await checkAnswer(url);
        },
        measure: () => runWrk(url, connections, setting.quick ? 1 : 4, setting),
        stop: () => program[Symbol.asyncDispose](),
      };
    },
  };
}

async function checkAnswer(url: string): Promise<void> {
  using client = Deno.createHttpClient({ poolMaxIdlePerHost: 0 });
  const response = await fetch(url, { client, signal: AbortSignal.timeout(5000) });
  const body = await response.bytes();
  checkStatus(response.status);
  checkSame(answerBody, body);
}

async function runWrk(
  url: string,
  connections: number,
  seconds: number,
  { cores, timeout }: RowSetting,
): Promise<number> {
  const args = ["--threads", "1", "--connections", `${connections}`, "--duration", `${seconds}s`];
  const command = ["wrk", ...args, url];
  const report = await runToEnd({ prefix: pinnedTo("other", cores), command, timeout });
  const trouble = /^\s*(Non-2xx or 3xx responses|Socket errors):.*$/m.exec(report)?.[0];
  if (trouble !== undefined) throw new Error(`wrk met trouble: ${trouble.trim()}`);
  const rate = /^Requests\/sec:\s+([\d.]+)$/m.exec(report)?.[1];
  if (rate === undefined) throw new Error("wrk gave no figures");
  return Number(rate);
}
