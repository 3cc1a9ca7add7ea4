/** Row 7: servers alone, under `wrk` with 1, 8 and 64 connections, server and load on one core each. */

import type { Contender, Trial } from "../measure.ts";
import { answerBody, checkSame, checkStatus } from "../messages.ts";
import type { PeerName, Row, RowSetting } from "../pair.ts";
import { describePlacement, findSkip, peers, pinnedTo, startServer, stopAll } from "../pair.ts";
import { type Endpoint, hostname } from "../peer.ts";
import { runToEnd } from "../process.ts";

/** Their clients are of no concern here. */
export const servers = Object.entries(peers).map(([name, peer]) =>
  [name.replace("fetch + ", ""), peer] as const
);

export const loadRow: Row = {
  number: 7,
  title: "Servers alone under wrk with 1, 8 and 64 connections",
  async *groups(setting) {
    const skip = await findSkip("7", "Servers alone under wrk", "command -v wrk");
    if (skip !== null) return yield skip;
    for (const connections of [1, 8, 64]) {
      if (setting.quick && connections !== 8) continue;
      yield {
        id: `7-${connections}`,
        title: `GET of 108 B under wrk, connections: ${connections}`,
        unit: "requests/s",
        placement: describePlacement("other", setting),
        references: ["raw", "Deno.serve", "node:http"],
        contenders: servers.map(([name, peer]): Contender => ({
          name,
          start: () => startTrial(peer, connections, setting),
        })),
        notes: ["“raw” answers every read with the same bytes and looks at none of them."],
      };
    }
  },
};

async function startTrial(
  peer: PeerName,
  connections: number,
  setting: RowSetting,
): Promise<Trial> {
  const program = await startServer(peer, setting);
  const url = `http://${hostname}:${(program.ready as Endpoint).address}/`;
  return {
    async warmUp() {
      await checkAnswer(url);
      await runWrk(url, connections, 1, setting);
      // The answer is the same after a hundred thousand others.
      await checkAnswer(url);
    },
    measure: () => runWrk(url, connections, setting.quick ? 1 : 4, setting),
    stop: () => stopAll([program]),
  };
}

async function checkAnswer(url: string): Promise<void> {
  using client = Deno.createHttpClient({ poolMaxIdlePerHost: 0 });
  const response = await fetch(url, { client, signal: AbortSignal.timeout(5000) });
  checkStatus(response.status);
  checkSame(answerBody, await response.bytes());
}

async function runWrk(
  url: string,
  connections: number,
  seconds: number,
  setting: RowSetting,
): Promise<number> {
  const args = ["--threads", "1", "--connections", `${connections}`, "--duration", `${seconds}s`];
  const report = await runToEnd([...pinnedTo("other", setting), "wrk", ...args, url]);
  const trouble = /^\s*(Non-2xx or 3xx responses|Socket errors):.*$/m.exec(report)?.[0];
  if (trouble !== undefined) throw new Error(`wrk met trouble: ${trouble.trim()}`);
  const rate = /^Requests\/sec:\s+([\d.]+)$/m.exec(report)?.[1];
  if (rate === undefined) throw new Error("wrk gave no figures");
  return Number(rate);
}
