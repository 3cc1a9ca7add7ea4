/**
 * Row 7: servers alone, under `wrk` with 1, 8 and 64 connections, server and load on one core each.
 *
 * @module
 */

import type { Contender, Trial } from "../interleave.ts";
import { answerBody, checkSame, checkStatus } from "../messages.ts";
import type { PeerName } from "../pair.ts";
import { makeEndpoint, startPeer } from "../pair.ts";
import { type Program, runToEnd } from "../process.ts";
import type { AnswerWork, Endpoint } from "../work.ts";
import type { Row, RowSetting } from "./row.ts";
import { makeSkippedGroup } from "./row.ts";

const servers: readonly { readonly name: string; readonly peer: PeerName }[] = [
  { name: "raw", peer: "raw" },
  { name: "degu", peer: "degu" },
  { name: "Deno.serve", peer: "fetch" },
  { name: "node:http", peer: "node_http" },
  { name: "hono", peer: "hono" },
  { name: "fastify", peer: "fastify" },
];

/** Row 7. */
export const loadRow: Row = {
  number: 7,
  title: "Servers alone under wrk",
  async *groups(setting) {
    if (!await hasWrk()) {
      const why = "`wrk` is not installed (on Debian: `apt install wrk`).";
      yield makeSkippedGroup("7", "Servers alone under wrk", why);
      return;
    }
    const all = setting.hasPythonDegu
      ? [...servers, { name: "Python degu", peer: "python_degu" as const }]
      : servers;
    for (const connections of [1, 8, 64]) {
      if (setting.quick && connections !== 8) continue;
      yield {
        id: `7-${connections}`,
        title: `GET of 108 B under wrk, connections: ${connections}`,
        unit: "requests/s",
        better: "higher",
        placement: setting.cores.describe("apart"),
        references: ["raw", "Deno.serve", "node:http"],
        contenders: all.map(({ name, peer }) => makeContender(name, peer, connections, setting)),
        notes: ["“raw” answers every read with the same bytes and looks at none of them."],
      };
    }
  },
};

/** Whether `wrk` is installed. */
export async function hasWrk(): Promise<boolean> {
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
  const seconds = setting.quick ? 1 : 4;
  return {
    name,
    async start(): Promise<Trial> {
      const loaded = await LoadedServer.start(peer, { kind: "answer" }, connections, setting);
      return {
        warmUp: () => loaded.warmUp(),
        measure: async () => (await loaded.run(seconds)).rate,
        stop: () => loaded.program.stop(),
      };
    },
  };
}

/** What `wrk` has measured. */
export interface LoadReport {
  readonly requests: number;
  /** Requests a second. */
  readonly rate: number;
}

/** A server, and the load that it gets. */
export class LoadedServer {
  readonly #url: string;
  readonly #connections: number;
  readonly #setting: RowSetting;

  private constructor(
    readonly program: Program,
    connections: number,
    setting: RowSetting,
  ) {
    this.#url = toUrl(program.ready as Endpoint);
    this.#connections = connections;
    this.#setting = setting;
  }

  /** Starts a server. */
  static async start(
    peer: PeerName,
    work: AnswerWork,
    connections: number,
    setting: RowSetting,
  ): Promise<LoadedServer> {
    const endpoint = makeEndpoint({ transport: "tcp" }, setting);
    const program = await startPeer(peer, "serve", "server", setting, { endpoint, work });
    return new LoadedServer(program, connections, setting);
  }

  /** Brings the server into the state in which measuring begins. */
  async warmUp(): Promise<void> {
    await checkAnswer(this.#url);
    await this.run(1);
    // The answer is the same after a hundred thousand others.
    await checkAnswer(this.#url);
  }

  /** Puts the server under load for so many seconds. */
  run(seconds: number): Promise<LoadReport> {
    return runWrk(this.#url, this.#connections, seconds, this.#setting);
  }
}

function toUrl(endpoint: Endpoint): string {
  if (endpoint.transport !== "tcp") throw new Error("wrk speaks to TCP ports only");
  return `http://${endpoint.hostname}:${endpoint.port}/`;
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
  setting: RowSetting,
): Promise<LoadReport> {
  const connectionArgs = ["--threads", "1", "--connections", String(connections)];
  const report = await runToEnd({
    prefix: setting.cores.prefix("client"),
    command: ["wrk", ...connectionArgs, "--duration", `${seconds}s`, url],
    timeout: setting.timeout,
  });
  const rate = /^Requests\/sec:\s+([\d.]+)$/m.exec(report)?.[1];
  const requests = /^\s*(\d+) requests in /m.exec(report)?.[1];
  if (rate === undefined || requests === undefined) throw new Error("wrk gave no figures");
  const trouble = /^\s*(Non-2xx or 3xx responses|Socket errors):.*$/m.exec(report)?.[0];
  if (trouble !== undefined) throw new Error(`wrk met trouble: ${trouble.trim()}`);
  return { requests: Number(requests), rate: Number(rate) };
}
