/**
 * What a row is given, and contenders that are a server and a client, each in a process of its own, perhaps with a relay
 * between them.
 *
 * @module
 */

import type { Contender, Group, Trial } from "./measure.ts";
import type { ClientWork, Endpoint, ServerWork, TlsFiles } from "./peer.ts";
import { Program } from "./process.ts";

/** The programs of `peers/`. “raw” over TLS is `node_tls`. */
export type PeerName = "raw" | "degu" | "fetch" | "node_http" | "node_tls";

/** Where a program runs: both ends on `one` core, each on its own, or anywhere on `two` cores. */
export type Placement = "one" | "server" | "client" | "two";

/** What every row needs to know to start programs. */
export interface RowSetting {
  readonly cores: Cores;
  /** A directory for sockets and files, removed at the end. */
  readonly directory: string;
  /** Seconds that one measurement may take. */
  readonly timeout: number;
  /** Whether to use small sizes, for a run of a few seconds. */
  readonly quick: boolean;
  /** Certificates of both ends, or why there are none. */
  readonly tls: TlsFiles | { readonly problem: string };
}

/** One subject of the benchmark. */
export interface Row {
  readonly number: number;
  readonly title: string;
  /** The row's groups, one after the other; what a group needs is there until the next one is asked for. */
  groups(setting: RowSetting): AsyncIterable<Group> | Iterable<Group>;
}

/**
 * Finds the arguments that pin a program to a core: on two cores the scheduler alone changes a round trip by a factor of
 * three.
 */
export class Cores {
  readonly #lists: Readonly<Record<Placement, string>>;

  /** Takes the cores to use, and why programs are not pinned as they should be, or `null`. */
  constructor(cores: readonly number[], readonly problem: string | null) {
    const [first, second = first] = cores.map(String);
    const [one = "", other = ""] = [second, first];
    const two = one === other ? one : `${other},${one}`;
    this.#lists = { one, server: one, client: other, two };
  }

  /** Asks `taskset` for the cores that this process may use. */
  static async find(): Promise<Cores> {
    try {
      const args = ["-c", "-p", String(Deno.pid)];
      const { stdout } = await new Deno.Command("taskset", { args, stderr: "null" }).output();
      const list = /list: ([-,0-9]+)\s*$/.exec(new TextDecoder().decode(stdout))?.[1] ?? "";
      const cores = list.split(",").flatMap((range) => {
        const [first = 0, last = first] = range.split("-").map(Number);
        return Array.from({ length: last - first + 1 }, (_, index) => first + index);
      });
      const problem = cores.length < 2 ? "one core only: both ends share it in every row" : null;
      return new Cores(cores, problem);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      return new Cores([], "`taskset` is missing: the scheduler moved programs as it liked");
    }
  }

  /** What to put before a command line so that it runs there; empty where nothing can be pinned. */
  prefix(placement: Placement): string[] {
    const list = this.#lists[placement];
    return list === "" ? [] : ["taskset", "-c", list];
  }

  /** How a table names a placement. */
  describe(placement: "one" | "apart" | "two"): string {
    const { one, two, server, client } = this.#lists;
    if (this.problem !== null) return `NOT as it should be: ${this.problem}`;
    if (placement === "one") return `all programs on one core (${one})`;
    if (placement === "two") return `all programs on two cores (${two})`;
    return `server on core ${server}, load on core ${client}`;
  }
}

/** A server and a client and what they do together. */
export interface Pair {
  readonly name: string;
  readonly server: PeerName;
  readonly client: PeerName;
  readonly work: ClientWork;
  readonly transport: Endpoint["transport"];
  readonly tls?: TlsFiles | undefined;
  /** The peer that passes everything on between the two. */
  readonly relay?: PeerName | undefined;
  readonly placement: Placement;
  /** Messages or bytes of one measurement. */
  readonly amount: number;
  /** Messages or bytes before the first one. */
  readonly warmUp: number;
}

/** Seconds for a program to start. */
const startTimeout = 60;

let sockets = 0;

/** The ends of a started pair. */
export class RunningPair {
  readonly #programs: Program[] = [];
  readonly #timeout: number;

  private constructor(timeout: number) {
    this.#timeout = timeout;
  }

  /** Starts the server, the relay if there is one, and the client. */
  static async start(pair: Pair, setting: RowSetting): Promise<RunningPair> {
    const { server, client, relay, work, placement } = pair;
    const running = new RunningPair(setting.timeout);
    const start = async (peer: PeerName, work: ServerWork) => {
      const endpoint = makeEndpoint(pair, setting);
      const program = await startPeer(peer, "serve", placement, setting, { endpoint, work });
      running.#programs.push(program);
      return program.ready as Endpoint;
    };
    try {
      let endpoint = await start(server, work);
      if (relay !== undefined) endpoint = await start(relay, { kind: "relay", upstream: endpoint });
      const argument = { endpoint, work };
      running.#programs.push(await startPeer(client, "drive", placement, setting, argument));
      return running;
    } catch (error) {
      await running.stop();
      throw error;
    }
  }

  /** Lets the client do `amount` of its work and gives the seconds it took. */
  run(amount: number): Promise<number> {
    return this.#programs.at(-1)!.ask({ command: "run", amount }, this.#timeout);
  }

  /** Lets the client open connections that it keeps. */
  async hold(amount: number): Promise<void> {
    await this.#programs.at(-1)!.ask({ command: "hold", amount }, this.#timeout);
  }

  /** Bytes of resident memory of all programs after a collection, the server's first, the client's last. */
  takeRest(): Promise<number[]> {
    return Promise.all(this.#programs.map((each) => each.ask({ command: "rest" }, this.#timeout)));
  }

  /** Ends all programs. */
  async stop(): Promise<void> {
    await Promise.all(this.#programs.map((program) => program.stop()));
  }
}

/** A contender whose measurements are units of work per second, times `scale`. */
export function makePairContender(pair: Pair, setting: RowSetting, scale = 1): Contender {
  return {
    name: pair.name,
    async start(): Promise<Trial> {
      const running = await RunningPair.start(pair, setting);
      return {
        warmUp: () => running.run(pair.warmUp),
        measure: async () => pair.amount / await running.run(pair.amount) * scale,
        stop: () => running.stop(),
      };
    },
  };
}

/** An endpoint to listen on. */
export function makeEndpoint(
  { transport, tls }: Pick<Pair, "transport" | "tls">,
  { directory }: RowSetting,
): Endpoint {
  const base: Endpoint = transport === "tcp"
    ? { transport, hostname: "127.0.0.1", port: 0 }
    : { transport, path: `${directory}/${++sockets}.sock` };
  return tls === undefined ? base : { ...base, tls };
}

/** Starts a file of `peers/` in one of its two roles. */
export function startPeer(
  peer: PeerName,
  role: "serve" | "drive",
  placement: Placement,
  setting: RowSetting,
  argument: { readonly endpoint: Endpoint; readonly work: ServerWork },
): Promise<Program> {
  const path = `${import.meta.dirname}/peers/${peer}.ts`;
  return startProgram([path, role, JSON.stringify(argument)], placement, setting);
}

/** Starts a program of this directory that answers commands. */
export function startProgram(
  args: readonly string[],
  placement: Placement,
  setting: RowSetting,
): Promise<Program> {
  return Program.start({
    prefix: setting.cores.prefix(placement),
    command: [...denoCommand(setting), ...args],
    timeout: startTimeout,
  });
}

/** The command that runs a program of this directory with what peers need: loopback, files, environment. */
export function denoCommand({ directory }: RowSetting): string[] {
  const permissions = ["--allow-net", "--allow-read", `--allow-write=${directory}`, "--allow-env"];
  return [
    ...[Deno.execPath(), "run", "--quiet", "--no-prompt", "--no-check", "--allow-sys"],
    ...permissions,
    // The row on idle connections measures what is left after a collection.
    "--v8-flags=--expose-gc",
  ];
}
