/**
 * Row 7: servers alone, under `wrk` with 1, 8 and 64 connections, server and load on one core each.
 */

import type { Contender } from "../measure.ts";
import { checkEqual, checkStatus, responseBody } from "../messages.ts";
import { describePlacement, findSkip, peers, pinnedTo, type Row, startServer } from "../pair.ts";
import { hostname } from "../peer.ts";
import { runToEnd } from "../process.ts";

/** The servers of all peers; `wrk` replaces their clients. */
export const servers = Object.entries(peers).map(([name, peer]) =>
  [name.replace("fetch + ", ""), peer] as const
);

export const loadRow: Row = {
  number: 7,
  title: "Servers alone under wrk with 1, 8 and 64 connections",
  async *groups(setting) {
    const skippedGroup = await findSkip("7", "Servers alone under wrk", "command -v wrk");
    if (skippedGroup !== null) return yield skippedGroup;
    for (const connections of [1, 8, 64]) {
      if (setting.isQuick && connections !== 8) continue;
      const runWrk = async (url: string, seconds: number) => {
        const amounts = ["--connections", `${connections}`, "--duration", `${seconds}s`];
        const command = [
          ...pinnedTo("second core", setting),
          "wrk",
          "--threads",
          "1",
          ...amounts,
          url,
        ];
        const report = await runToEnd(command);
        const problem = /^\s*(Non-2xx or 3xx responses|Socket errors):.*$/m.exec(report)?.[0];
        if (problem !== undefined) throw new Error(`wrk reported a problem: ${problem.trim()}`);
        const rate = /^Requests\/sec:\s+([\d.]+)$/m.exec(report)?.[1];
        if (rate === undefined) throw new Error("wrk printed no figures");
        return Number(rate);
      };
      yield {
        id: `7-${connections}`,
        title: `GET of 108 B under wrk, connections: ${connections}`,
        unit: "requests/s",
        placement: describePlacement("second core", setting),
        references: ["raw", "Deno.serve", "node:http"],
        contenders: servers.map(([name, peer]): Contender => ({
          name,
          async start(programStack) {
            const { address } = await startServer(peer, setting, programStack);
            const url = `http://${hostname}:${address}/`;
            await checkResponse(url);
            await runWrk(url, 1);
            // Check that the response is the same after a hundred thousand requests.
            await checkResponse(url);
            return () => runWrk(url, setting.isQuick ? 1 : 4);
          },
        })),
        notes: ["“raw” answers every read with the same response, and doesn't parse the requests."],
      };
    }
  },
};

async function checkResponse(url: string): Promise<void> {
  using client = Deno.createHttpClient({ poolMaxIdlePerHost: 0 });
  const response = await fetch(url, { client, signal: AbortSignal.timeout(5000) });
  checkStatus(response.status);
  checkEqual(responseBody, await response.bytes());
}
