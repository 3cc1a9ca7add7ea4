/**
 * Row 7: servers alone, under `wrk` with 1, 8 and 64 connections, server and load on one core each.
 */

import { type Contender, makeReplay } from "../measure.ts";
import { checkEqual, checkStatus, responseBody } from "../messages.ts";
import {
  chooseContenders,
  chooseReferences,
  describePlacement,
  findSkip,
  peers,
  pinnedTo,
  type Row,
  startServer,
  sumProcessorSeconds,
} from "../pair.ts";
import { hostname } from "../peer.ts";
import { runToEnd } from "../process.ts";

/** The servers of all peers; another program replaces their clients. */
export const servers = Object.entries(peers).map(([name, peer]) =>
  [name.replace("fetch + ", ""), peer] as const
);

interface LoadRun {
  /** Requests per second. */
  readonly rate: number;
  /** Processor time of the server for each request. */
  readonly microseconds: number;
}

export const loadRow: Row = {
  number: 7,
  title: "Servers alone under wrk with 1, 8 and 64 connections",
  async *groups(setting) {
    const skippedGroup = await findSkip("7", "Servers alone under wrk", "command -v wrk");
    if (skippedGroup !== null) return yield skippedGroup;
    const contenders = chooseContenders(Object.fromEntries(servers), setting);
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
      /** The runs of each contender, which the first group measures and the second shows too. */
      const runs = contenders.map((): LoadRun[] => []);
      const figures = setting.trees === undefined
        ? ["rate", "microseconds"] as const
        : ["microseconds"] as const;
      for (const [figureIndex, figure] of figures.entries()) {
        yield {
          id: `7-${connections}${figureIndex === 0 ? "" : "-processor"}`,
          title: `GET of 108 B under wrk, connections: ${connections}` +
            (figure === "rate" ? "" : ": processor time of the server for each request"),
          unit: figure === "rate" ? "requests/s" : "µs of processor time",
          placement: describePlacement("second core", setting),
          references: chooseReferences(contenders, setting),
          contenders: contenders.map(([name, implementation], index): Contender => ({
            name,
            async start(programStack) {
              const ownRuns = runs[index]!;
              if (figureIndex > 0) return makeReplay(ownRuns, (run) => run[figure]);
              const server = await startServer(implementation, setting, programStack);
              const url = `http://${hostname}:${server.address}/`;
              await checkResponse(url);
              await runWrk(url, 1);
              // Check that the response is the same after a hundred thousand requests.
              await checkResponse(url);
              const seconds = setting.isQuick ? 1 : 4;
              return async () => {
                let rate = 0;
                const run = async () => rate = await runWrk(url, seconds);
                const processorSeconds = await sumProcessorSeconds([server], run);
                const microseconds = processorSeconds * 1e6 / (rate * seconds);
                ownRuns.push({ rate, microseconds });
                return { rate, microseconds }[figure];
              };
            },
          })),
          notes: setting.trees === undefined
            ? ["“raw” answers every read with the same response, and doesn't parse the requests."]
            : [],
        };
      }
    }
  },
};

async function checkResponse(url: string): Promise<void> {
  using client = Deno.createHttpClient({ poolMaxIdlePerHost: 0 });
  const response = await fetch(url, { client, signal: AbortSignal.timeout(5000) });
  checkStatus(response.status);
  checkEqual(responseBody, await response.bytes());
}
