/**
 * The setting of a row, and contenders of a server and a client, each in its own process,
 * optionally with a relay between them.
 */

import { findObstacle } from "../tests/support/commands.ts";
import type { Contender, Group } from "./measure.ts";
import type { Address, ClientWork, PeerArgument, ServerWork, TlsFiles } from "./peer.ts";
import { type Program, startProgram } from "./process.ts";

/** A program of `peers/`. Over TLS, `raw` means the program `node_tls`. */
export type PeerName = "raw" | "degu" | "fetch" | "node_http";

/** The peers by their names in tables. */
export const peers: Readonly<Record<string, PeerName>> = {
  "raw": "raw",
  "degu": "degu",
  "fetch + Deno.serve": "fetch",
  "node:http": "node_http",
};

/** The cores on which a program runs. */
export type Placement = "first core" | "second core" | "both cores";

/** The setting in which every row starts programs. */
export interface RowSetting {
  readonly cores: Cores;
  /** A directory for sockets and files, removed at the end. */
  readonly directory: string;
  /** Whether to use small sizes, for a run of a few seconds. */
  readonly isQuick: boolean;
  readonly tls: TlsFiles;
  /** Flags of V8 for every program. */
  readonly v8Flags?: readonly string[];
  /** Directories with versions of this project to compare instead of peers, by name in tables. */
  readonly trees?: Readonly<Record<string, string>>;
}

/** Returns the contenders of a row: some peers, or commits of this project. */
export function chooseContenders(
  peers: Readonly<Record<string, PeerName>>,
  { trees }: RowSetting,
): [name: string, implementation: Pick<Pair, "peer" | "tree">][] {
  return trees === undefined
    ? Object.entries(peers).map(([name, peer]) => [name, { peer }])
    : Object.entries(trees).map(([name, tree]) => [name, { peer: "degu", tree }]);
}

/** Returns the names of the reference contenders: all peers, or the commit. */
export function chooseReferences(
  contenders: readonly (readonly [name: string, ...unknown[]])[],
  { trees }: RowSetting,
): string[] {
  const names = contenders.map(([name]) => name);
  return trees === undefined ? names.filter((name) => name !== "degu") : names.slice(-1);
}

export interface Row {
  readonly number: number;
  readonly title: string;
  /** Makes the groups of the row. The programs of a group end when the next group is requested. */
  groups(setting: RowSetting): AsyncIterable<Group> | Iterable<Group>;
}

/**
 * The list of cores for each placement. Without fixed cores, the duration of a round trip varies by
 * a factor of three.
 */
export type Cores = Readonly<Record<Placement, string>>;

/** Finds two cores that this process may use, with `taskset`. Throws if there is only one. */
export async function findCores(): Promise<Cores> {
  const args = ["-c", "-p", String(Deno.pid)];
  const { stdout } = await new Deno.Command("taskset", { args }).output();
  const coreList = /list: ([-,0-9]+)\s*$/.exec(new TextDecoder().decode(stdout))?.[1] ?? "";
  const [secondCore, firstCore] = coreList.split(",").flatMap((range) => {
    const [start = 0, end = start] = range.split("-").map(Number);
    return Array.from({ length: end - start + 1 }, (_, index) => String(start + index));
  });
  if (firstCore === undefined) throw new Error("the benchmark needs two cores");
  return {
    "first core": firstCore,
    "second core": secondCore!,
    "both cores": `${secondCore},${firstCore}`,
  };
}

/** Returns the prefix of a command line that runs a program on the cores of the placement. */
export function pinnedTo(placement: Placement, { cores }: RowSetting): string[] {
  return ["taskset", "-c", cores[placement]];
}

/** Formats a placement for tables. With `second core`, the server runs on the first core. */
export function describePlacement(placement: Placement, { cores }: RowSetting): string {
  const { "first core": firstCore, "second core": secondCore, "both cores": bothCores } = cores;
  if (placement === "first core") return `all programs on one core (${firstCore})`;
  if (placement === "both cores") return `all programs on two cores (${bothCores})`;
  return `server on core ${firstCore}, load on core ${secondCore}`;
}

/** Returns a group without contenders if a required shell command fails; otherwise `null`. */
export async function findSkip(
  id: string,
  title: string,
  ...requiredCommands: readonly string[]
): Promise<Group | null> {
  for (const command of requiredCommands) {
    if (await findObstacle(["sh", "-c", command]) === null) continue;
    const notes = [`Skipped: \`${command}\` doesn't work on this machine.`];
    return { id, title, unit: "", placement: "", references: [], contenders: [], notes };
  }
  return null;
}

export interface Pair {
  /** The program of the server, the client and the relay. */
  readonly peer: PeerName;
  /** The directory with the version of this project to use; by default this tree. */
  readonly tree?: string | undefined;
  readonly work: ClientWork;
  readonly usesUnixSocket?: boolean;
  readonly tls?: TlsFiles | undefined;
  /** Whether a relay forwards the bytes between client and server. */
  readonly isRelayed?: boolean | undefined;
  /** The relay's proxy or connection is new for each connection, instead of one for all. */
  readonly relaysEachBy?: "connection" | "proxy" | undefined;
  readonly placement: Placement;
}

let socketCount = 0;

/** Makes a function that starts programs of a peer. Disposing of `programStack` ends them. */
function makeStarter(
  { peer, tree, tls, placement }: Pick<Pair, "peer" | "tree" | "tls" | "placement">,
  setting: RowSetting,
  programStack: AsyncDisposableStack,
) {
  const file = peer === "raw" && tls !== undefined ? "node_tls" : peer;
  const command = programCommand(`peers/${file}.ts`, placement, setting, tree);
  return (role: "serve" | "drive", address: Address, work: ServerWork): Promise<Program> => {
    const argument: PeerArgument = { endpoint: { address, tls }, work };
    return startProgram([...command, role, JSON.stringify(argument)], programStack);
  };
}

/**
 * Starts the server of a pair, the relay if there is one, and the client, in this order. `programs`
 * are all of them.
 */
export async function startPair(
  pair: Pair,
  setting: RowSetting,
  programStack: AsyncDisposableStack,
): Promise<Readonly<Record<"server" | "client", Program>> & { readonly programs: Program[] }> {
  const { work, usesUnixSocket: isUnix, tls, isRelayed, relaysEachBy } = pair;
  const start = makeStarter(pair, setting, programStack);
  const serve = (work: ServerWork) =>
    start("serve", isUnix ? `${setting.directory}/${++socketCount}.sock` : 0, work);
  const server = await serve(work);
  const upstream = { address: server.address, tls };
  const relay = relaysEachBy
    ? await serve({ kind: "relay-each", upstream, by: relaysEachBy })
    : isRelayed
    ? await serve({ kind: "relay", upstream })
    : server;
  const client = await start("drive", relay.address, work);
  return { server, client, programs: [...new Set([server, relay, client])] };
}

/**
 * Makes a contender that exchanges `amount` messages or bytes, and measures units per second. If
 * versions are compared, it measures the processor time of all programs per unit, in microseconds.
 * Without a warm-up, each sample starts new programs, as a user does.
 */
export function makePairContender(
  name: string,
  pair: Pair,
  setting: RowSetting,
  { amount, warmUp, unit = 1 }: { amount: number; warmUp: number | null; unit?: number },
): Contender {
  const measure = async ({ client, programs }: Awaited<ReturnType<typeof startPair>>) => {
    const run = () => client.request({ command: "run", amount });
    if (setting.trees === undefined) return amount / unit / await run();
    return await sumProcessorSeconds(programs, run) * 1e6 / (amount / unit);
  };
  return {
    name,
    async start(programStack) {
      if (warmUp === null) {
        return async () => {
          await using samplePrograms = new AsyncDisposableStack();
          return await measure(await startPair(pair, setting, samplePrograms));
        };
      }
      const programs = await startPair(pair, setting, programStack);
      await programs.client.request({ command: "run", amount: warmUp });
      return () => measure(programs);
    },
  };
}

/** Returns the processor time that programs take during some work, in seconds. */
export async function sumProcessorSeconds(
  programs: readonly Program[],
  work: () => Promise<unknown>,
): Promise<number> {
  const readSum = async () => {
    const seconds = programs.map((program) => program.request({ command: "cpu-time" }));
    return (await Promise.all(seconds)).reduce((sum, value) => sum + value);
  };
  const startSeconds = await readSum();
  await work();
  return await readSum() - startSeconds;
}

/** Starts a server over TCP, on the first core. */
export function startServer(
  implementation: Pick<Pair, "peer" | "tree">,
  work: ServerWork,
  setting: RowSetting,
  programStack: AsyncDisposableStack,
): Promise<Program> {
  const start = makeStarter({ ...implementation, placement: "first core" }, setting, programStack);
  return start("serve", 0, work);
}

/**
 * Returns the command that runs a program of this directory with the permissions that peers need:
 * network, files, environment.
 */
export function programCommand(
  path: string,
  placement: Placement,
  setting: RowSetting,
  tree?: string,
): string[] {
  const directory = tree === undefined ? import.meta.dirname : `${tree}/bench`;
  return [
    ...[...pinnedTo(placement, setting), Deno.execPath()],
    ...["run", "--quiet", "--no-prompt", "--no-check", "--allow-sys", "--allow-env"],
    ...["--allow-net", "--allow-read", `--allow-write=${setting.directory}`],
    // Row 16 measures the memory after a garbage collection.
    `--v8-flags=${["--expose-gc", ...setting.v8Flags ?? []].join(",")}`,
    `${directory}/${path}`,
  ];
}
