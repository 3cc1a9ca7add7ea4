/**
 * Contenders that are a server and a client, each in a process of its own, perhaps with a relay
 * between them.
 *
 * @module
 */

import type { Cores, Placement } from "./cores.ts";
import type { Contender, Trial } from "./interleave.ts";
import type { MemorySample } from "./peer.ts";
import { Program } from "./process.ts";
import type { ClientWork, Endpoint, ServerWork, TlsFiles } from "./work.ts";

/** The programs of `peers/`. */
export type PeerName =
  | "raw"
  | "degu"
  | "fetch"
  | "node_http"
  | "undici"
  | "hono"
  | "fastify"
  | "node_tls"
  | "python_degu";

/** What every row needs to know to start programs. */
export interface Setting {
  readonly cores: Cores;
  /** A directory for sockets and files, removed at the end. */
  readonly directory: string;
  /** Seconds that one measurement may take. */
  readonly timeout: number;
}

/** A server and a client and what they do together. */
export interface Pair {
  readonly name: string;
  readonly server: PeerName;
  readonly client: PeerName;
  readonly serverWork: ServerWork;
  readonly clientWork: ClientWork;
  readonly transport: Endpoint["transport"];
  readonly tls?: TlsFiles | undefined;
  /** The peer that passes everything on between the two. */
  readonly relay?: PeerName | undefined;
  readonly serverPlacement: Placement;
  readonly clientPlacement: Placement;
  /** Messages or bytes of one measurement. */
  readonly amount: number;
  /** Messages or bytes before the first one. */
  readonly warmUp: number;
}

/** Seconds for a program to start: the first start may download its package. */
const startTimeout = 60;

let sockets = 0;

/** The two ends of a started pair. */
export class RunningPair {
  readonly #programs: readonly Program[];
  readonly #client: Program;
  readonly #timeout: number;

  private constructor(programs: readonly Program[], client: Program, timeout: number) {
    this.#programs = programs;
    this.#client = client;
    this.#timeout = timeout;
  }

  /** Starts the server, the relay if there is one, and the client. */
  static async start(pair: Pair, setting: Setting): Promise<RunningPair> {
    const programs: Program[] = [];
    try {
      let endpoint = await startServer(pair, pair.server, pair.serverWork, setting, programs);
      if (pair.relay !== undefined) {
        const work: ServerWork = { kind: "relay", upstream: endpoint };
        endpoint = await startServer(pair, pair.relay, work, setting, programs);
      }
      const client = await startPeer(pair.client, "drive", pair.clientPlacement, setting, {
        endpoint,
        work: pair.clientWork,
      });
      programs.push(client);
      return new RunningPair(programs, client, setting.timeout);
    } catch (error) {
      await Promise.all(programs.map((program) => program.stop()));
      throw error;
    }
  }

  /** Lets the client do `amount` of its work and gives the seconds it took. */
  async run(amount: number): Promise<number> {
    const { seconds } = await this.#client.ask({ command: "run", amount }, this.#timeout);
    if (seconds === undefined) throw new Error("the client measured nothing");
    return seconds;
  }

  /** Memory samples of all programs since the last call, the server's first, the client's last. */
  async takeMemory(): Promise<MemorySample[][]> {
    const replies = await Promise.all(
      this.#programs.map((program) => program.ask({ command: "memory" }, this.#timeout)),
    );
    return replies.map(({ samples }) => samples as MemorySample[]);
  }

  /** Seconds of processor time that all programs have used. */
  async takeCpu(): Promise<number> {
    const each = await Promise.all(this.#programs.map((program) => program.takeCpu(this.#timeout)));
    return each.reduce((sum, seconds) => sum + seconds, 0);
  }

  /** Lets the client open connections that it keeps. */
  async hold(amount: number): Promise<void> {
    await this.#client.ask({ command: "hold", amount }, this.#timeout);
  }

  /** Bytes of resident memory of all programs after a collection, the server's first, the client's last. */
  async takeRest(): Promise<number[]> {
    const replies = await Promise.all(
      this.#programs.map((program) => program.ask({ command: "rest" }, this.#timeout)),
    );
    return replies.map(({ bytes }) => bytes as number);
  }

  async stop(): Promise<void> {
    await Promise.all(this.#programs.map((program) => program.stop()));
  }
}

/** A contender whose measurements are units of work per second, times `scale`. */
export function makePairContender(pair: Pair, setting: Setting, scale = 1): Contender {
  return {
    name: pair.name,
    async start(): Promise<Trial> {
      const running = await RunningPair.start(pair, setting);
      return {
        warmUp: async () => void await running.run(pair.warmUp),
        measure: async () => pair.amount / await running.run(pair.amount) * scale,
        stop: () => running.stop(),
      };
    },
  };
}

async function startServer(
  pair: Pair,
  peer: PeerName,
  work: ServerWork,
  setting: Setting,
  programs: Program[],
): Promise<Endpoint> {
  const endpoint = makeEndpoint(pair, setting);
  const program = await startPeer(peer, "serve", pair.serverPlacement, setting, { endpoint, work });
  programs.push(program);
  return program.ready as Endpoint;
}

/** An endpoint to listen on. */
export function makeEndpoint(
  { transport, tls }: Pick<Pair, "transport" | "tls">,
  setting: Setting,
): Endpoint {
  const base: Endpoint = transport === "tcp"
    ? { transport, hostname: "127.0.0.1", port: 0 }
    : { transport, path: `${setting.directory}/${++sockets}.sock` };
  return tls === undefined ? base : { ...base, tls };
}

/** Starts a file of `peers/` in one of its two roles. */
export function startPeer(
  peer: PeerName,
  role: "serve" | "drive",
  placement: Placement,
  setting: Setting,
  argument: { readonly endpoint: Endpoint; readonly work: ServerWork | ClientWork },
): Promise<Program> {
  const isPython = peer === "python_degu";
  const interpreter = isPython ? ["python3", "-B"] : denoCommand(setting);
  const path = `${import.meta.dirname}/peers/${peer}.${isPython ? "py" : "ts"}`;
  return Program.start({
    prefix: setting.cores.prefix(placement),
    command: [...interpreter, path, role, JSON.stringify(argument)],
    timeout: startTimeout,
  });
}

/** The command that runs a program of this directory with what peers need: loopback, files, environment. */
export function denoCommand(setting: Setting): string[] {
  return [
    Deno.execPath(),
    "run",
    "--quiet",
    "--no-prompt",
    "--no-check",
    // The row on idle connections measures what is left after a collection.
    "--v8-flags=--expose-gc",
    "--allow-net",
    "--allow-read",
    `--allow-write=${setting.directory}`,
    "--allow-env",
    "--allow-sys",
  ];
}
