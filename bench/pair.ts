/**
 * What a row is given, and contenders that are a server and a client, each in a process of its own, perhaps with a relay
 * between them.
 */

import type { Contender, Group, Trial } from "./measure.ts";
import type { ClientWork, Endpoint, PeerArgument, ServerWork, TlsFiles } from "./peer.ts";
import { Program } from "./process.ts";

/** The programs of `peers/`. “raw” over TLS is `node_tls`. */
export type PeerName = "raw" | "degu" | "fetch" | "node_http" | "node_tls";

/** Where a program runs: on one core, on another one, or anywhere on these two. */
export type Placement = "one" | "other" | "two";

/** What every row needs to know to start programs. */
export interface RowSetting {
  readonly cores: Cores;
  /** A directory for sockets and files, removed at the end. */
  readonly directory: string;
  readonly timeout: number;
  /** Whether to use small sizes, for a run of a few seconds. */
  readonly quick: boolean;
  readonly tls: TlsFiles;
}

export interface Row {
  readonly number: number;
  readonly title: string;
  /** The row's groups, one after the other; what a group needs is there until the next one is asked for. */
  groups(setting: RowSetting): AsyncIterable<Group> | Iterable<Group>;
}

/** The lists of cores by placement: on two cores the scheduler alone changes a round trip by a factor of three. */
export type Cores = Readonly<Record<Placement, string>>;

/** Asks `taskset` for two cores that this process may use; throws if there are none. */
export async function findCores(): Promise<Cores> {
  const args = ["-c", "-p", String(Deno.pid)];
  const { stdout } = await new Deno.Command("taskset", { args }).output();
  const list = /list: ([-,0-9]+)\s*$/.exec(new TextDecoder().decode(stdout))?.[1] ?? "";
  const [other, one] = list.split(",").flatMap((range) => {
    const [first = 0, last = first] = range.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => String(first + index));
  });
  if (one === undefined) throw new Error("the benchmark needs two cores");
  return { one, other: other!, two: `${other},${one}` };
}

/** What to put before a command line so that it runs there. */
export function pinnedTo(placement: Placement, cores: Cores): string[] {
  return ["taskset", "-c", cores[placement]];
}

/** How a table names a placement; `other`: the server on one core, the load on the other. */
export function describePlacement(placement: Placement, { one, other, two }: Cores): string {
  if (placement === "one") return `all programs on one core (${one})`;
  if (placement === "two") return `all programs on two cores (${two})`;
  return `server on core ${one}, load on core ${other}`;
}

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
  readonly warmUp: number;
}

const startTimeout = 60;

let sockets = 0;

/** Starts the server of a pair, the relay if there is one, and the client, in this order. */
export async function startPair(
  { server, client, relay, work, placement, transport, tls }: Pair,
  setting: RowSetting,
): Promise<Program[]> {
  await using started = new AsyncDisposableStack();
  const programs: Program[] = [];
  const start = async (peer: PeerName, role: "serve" | "drive", argument: PeerArgument) => {
    const program = started.use(await startPeer(peer, role, placement, setting, argument));
    programs.push(program);
    return program.ready as Endpoint;
  };
  const serve = (peer: PeerName, work: ServerWork) => {
    const path = `${setting.directory}/${++sockets}.sock`;
    const base = transport === "tcp" ? anyPort : { transport, path };
    return start(peer, "serve", { endpoint: tls === undefined ? base : { ...base, tls }, work });
  };
  let endpoint = await serve(server, work);
  if (relay !== undefined) endpoint = await serve(relay, { kind: "relay", upstream: endpoint });
  await start(client, "drive", { endpoint, work });
  started.move();
  return programs;
}

/** A contender whose measurements are units of work per second, times `scale`. */
export function makePairContender(pair: Pair, setting: RowSetting, scale = 1): Contender {
  return {
    name: pair.name,
    async start(): Promise<Trial> {
      const programs = await startPair(pair, setting);
      const run = (amount: number) =>
        programs.at(-1)!.ask({ command: "run", amount }, setting.timeout);
      return {
        warmUp: () => run(pair.warmUp),
        measure: async () => pair.amount / await run(pair.amount) * scale,
        stop: () => stopAll(programs),
      };
    },
  };
}

export async function stopAll(programs: readonly Program[]): Promise<void> {
  await Promise.all(programs.map((program) => program[Symbol.asyncDispose]()));
}

const anyPort = { transport: "tcp", hostname: "127.0.0.1", port: 0 } as const;

/** Starts a server that answers small requests over TCP, on the first core. */
export function startServer(peer: PeerName, setting: RowSetting): Promise<Program> {
  const argument = { endpoint: anyPort, work: { kind: "answer" } } as const;
  return startPeer(peer, "serve", "one", setting, argument);
}

function startPeer(
  peer: PeerName,
  role: "serve" | "drive",
  placement: Placement,
  setting: RowSetting,
  argument: PeerArgument,
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
    prefix: pinnedTo(placement, setting.cores),
    command: [...denoCommand(setting), ...args],
    timeout: startTimeout,
  });
}

/** The command that runs a program of this directory with what peers need: loopback, files, environment. */
export function denoCommand({ directory }: RowSetting): string[] {
  return [
    ...[Deno.execPath(), "run", "--quiet", "--no-prompt", "--no-check", "--allow-sys"],
    ...["--allow-net", "--allow-read", `--allow-write=${directory}`, "--allow-env"],
    // The row on idle connections measures what is left after a collection.
    "--v8-flags=--expose-gc",
  ];
}
