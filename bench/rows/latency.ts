/**
 * Row 17: how long servers let small requests wait that come at a fixed rate, the same for all of them,
 * server and load on one core each.
 *
 * @module
 */

import type { Contender, Group, Trial } from "../interleave.ts";
import type { PeerName } from "../pair.ts";
import { denoCommand, makeEndpoint, startPeer } from "../pair.ts";
import { type Program, runToEnd } from "../process.ts";
import type { Endpoint, ServerWork } from "../work.ts";
import type { LatencyReport, LatencyWork } from "./latency_program.ts";
import type { Row, RowSetting } from "./row.ts";

const connections = 8;
const servers: readonly { readonly name: string; readonly peer: PeerName }[] = [
  { name: "raw", peer: "raw" },
  { name: "degu", peer: "degu" },
  { name: "Deno.serve", peer: "fetch" },
  { name: "node:http", peer: "node_http" },
];
const messages: Readonly<Record<LatencyWork["message"], ServerWork>> = {
  get: { kind: "answer" },
  post: { kind: "exchange", message: "post", connections },
};
/** Parts of the rate that this project's server reaches at most. node:http reaches about half of that rate. */
const loads = [{ name: "half", share: 1 / 2 }, { name: "quarter", share: 1 / 4 }] as const;
const percentiles = [["p50", "p50"], ["p99", "p99"], ["p999", "p99.9"]] as const;

/** Row 17. */
export const latencyRow: Row = {
  number: 17,
  title: "Latency of servers under a fixed rate",
  async *groups(setting) {
    for (const message of ["get", "post"] as const) {
      const most = await findMost(message, setting);
      for (const { name, share } of loads) {
        yield* makeGroups(
          `17-${message}-${name}`,
          message,
          Math.round(most * share),
          name,
          setting,
        );
      }
    }
  },
};

/** Requests a second that this project's server answers at most. */
async function findMost(message: LatencyWork["message"], setting: RowSetting): Promise<number> {
  const program = await startServer("degu", message, setting);
  try {
    let most = 0;
    // Other load on the machine makes a run slower, never faster.
    for (let run = 0; run < 3; run++) {
      most = Math.max(most, (await load(program, message, null, setting)).rate);
    }
    return most;
  } finally {
    await program.stop();
  }
}

/** A group for each percentile. The first one measures, the others show the same runs. */
function* makeGroups(
  id: string,
  message: LatencyWork["message"],
  rate: number,
  part: string,
  setting: RowSetting,
): Generator<Group, void, undefined> {
  const reports = servers.map((): LatencyReport[] => []);
  for (const [index, [key, title]] of percentiles.entries()) {
    const contenders = servers.map(({ name, peer }, place): Contender => {
      const own = reports[place]!;
      return {
        name,
        start: () =>
          index === 0
            ? startMeasuring(peer, message, rate, own, setting)
            : Promise.resolve(replay(own, key)),
      };
    });
    yield {
      id: `${id}-${title}`,
      title: `${title} of ${message.toUpperCase()} with 108 B, ${connections} connections, ` +
        `${rate} requests/s (a ${part} of what degu reaches)`,
      unit: "µs",
      better: "lower",
      placement: setting.cores.describe("apart"),
      references: ["raw", "Deno.serve"],
      contenders,
      notes: [
        "From the time at which a request is due, so waiting for a free connection counts.",
        "“raw” doesn't look at what it reads.",
      ],
    };
  }
}

async function startMeasuring(
  peer: PeerName,
  message: LatencyWork["message"],
  rate: number,
  reports: LatencyReport[],
  setting: RowSetting,
): Promise<Trial> {
  const program = await startServer(peer, message, setting);
  return {
    warmUp: async () => void await load(program, message, rate, setting),
    async measure(): Promise<number> {
      const report = await load(program, message, rate, setting);
      reports.push(report);
      return report.p50;
    },
    stop: () => program.stop(),
  };
}

/** Gives what was measured, one report after the other. */
function replay(reports: readonly LatencyReport[], key: keyof LatencyReport): Trial {
  let next = 0;
  return {
    warmUp: () => Promise.resolve(),
    measure(): Promise<number> {
      const report = reports[next++];
      return report === undefined
        ? Promise.reject(new Error("see p50"))
        : Promise.resolve(report[key]);
    },
    stop: () => Promise.resolve(),
  };
}

function startServer(
  peer: PeerName,
  message: LatencyWork["message"],
  setting: RowSetting,
): Promise<Program> {
  const endpoint = makeEndpoint({ transport: "tcp" }, setting);
  return startPeer(peer, "serve", "server", setting, { endpoint, work: messages[message] });
}

async function load(
  program: Program,
  message: LatencyWork["message"],
  rate: number | null,
  setting: RowSetting,
): Promise<LatencyReport> {
  const endpoint = program.ready as Endpoint;
  if (endpoint.transport !== "tcp") throw new Error("the load speaks to TCP ports only");
  const work: LatencyWork = {
    port: endpoint.port,
    message,
    connections,
    rate,
    warmUp: 1,
    seconds: setting.quick ? 1 : 3,
  };
  const path = `${import.meta.dirname}/latency_program.ts`;
  const report = await runToEnd({
    prefix: setting.cores.prefix("client"),
    command: [...denoCommand(setting), path, JSON.stringify(work)],
    timeout: setting.timeout,
  });
  const result: LatencyReport | { readonly error: string } = JSON.parse(report);
  if ("error" in result) throw new Error(result.error);
  return result;
}
