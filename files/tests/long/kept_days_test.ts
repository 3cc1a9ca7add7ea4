/**
 * `keep` and `restoreTree` over two months of random changes, by one or two processes that are
 * killed, and with a clock that is set back, compared with the trees of the time.
 */
import { Client } from "@degu/degu";
import { deleteEntry, RestoreError, restoreTree, uploadTree } from "@degu/degu/files";
import { setClockAhead } from "@degu/testing/clock.ts";
import { createTempDir, fill } from "@degu/testing/directories.ts";
import { importMapFlags, makeProgramCommand, RunningProcess } from "@degu/testing/processes.ts";
import { readFiles } from "./random_days.ts";
import { assert, assertEquals } from "@std/assert";
import { dirname } from "node:path";
import { listPeriods } from "../kept_files.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
/** The full hour, two years ago, at which the days begin. */
const START = -HOUR * Math.round(2 * 365 * 24) - Date.now() % HOUR;

const bytesOf = (text: string) => new TextEncoder().encode(text);

/** Returns a function with random whole numbers below its argument. */
function makeRandom(seed: number): (count: number) => number {
  let state = seed;
  return (count) => {
    state = (state + 0x6d2b79f5) | 0;
    let value = Math.imul(state ^ state >>> 15, state | 1);
    value ^= value + Math.imul(value ^ value >>> 7, value | 61);
    return ((value ^ value >>> 14) >>> 0) % count;
  };
}

/** Servers of a directory, with a clock of their own. */
class Servers implements AsyncDisposable {
  readonly root: string;
  readonly #clockFile: string;
  #ahead = START;
  #processes: RunningProcess[] = [];
  clients: Client[] = [];

  constructor(dir: string) {
    this.root = `${dir}/root`;
    this.#clockFile = `${dir}/clock`;
    Deno.mkdirSync(this.root);
    this.advance(0);
  }

  get now(): number {
    return Date.now() + this.#ahead;
  }

  get ahead(): number {
    return this.#ahead;
  }

  advance(milliseconds: number): void {
    this.#ahead += milliseconds;
    // A server may read the file at the same time.
    Deno.writeTextFileSync(`${this.#clockFile}-new`, `${this.#ahead}`);
    Deno.renameSync(`${this.#clockFile}-new`, this.#clockFile);
  }

  async start(count: number): Promise<void> {
    const flags = ["--allow-all", "--no-check", ...importMapFlags()];
    const args = [this.root, this.#clockFile];
    for (let index = 0; index < count; index++) {
      const command = makeProgramCommand("keeping_server.ts", { flags, args });
      const process = new RunningProcess(command.spawn());
      this.#processes.push(process);
      this.clients.push(new Client(JSON.parse(await process.waitForStdout(/.*\n/))));
    }
  }

  async kill(): Promise<void> {
    this.clients = [];
    for (const process of this.#processes.splice(0)) {
      process.kill();
      await process.waitForEnd();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}

const PATHS = [
  ...["a", "b", "c", "d", "a/b", "d/a", "d/b", "d/e/a", "A", 'x\n"y', "ä/\u2028"],
  ...["e\u0301", "\u00e9", "43.new", "2026-11-27T14_43", "z".repeat(255)],
];

/** Changes random files of a local tree, of which some become directories, and the reverse. */
function changeTree(dir: string, random: (count: number) => number, text: () => string): void {
  for (let count = 1 + random(6); count > 0; count--) {
    const existing = Object.keys(readFiles(dir));
    const oldPath = existing[random(existing.length || 1)];
    const path = PATHS[random(PATHS.length)]!;
    const action = oldPath === undefined ? 0 : random(5);
    if (action === 3) {
      Deno.removeSync(`${dir}/${oldPath}`);
      continue;
    }
    const names = path.split("/");
    for (let depth = 1; depth < names.length; depth++) {
      const parent = `${dir}/${names.slice(0, depth).join("/")}`;
      if (isFile(parent)) Deno.removeSync(parent);
    }
    const moved = action === 4 ? Deno.readTextFileSync(`${dir}/${oldPath}`) : null;
    if (moved !== null) Deno.removeSync(`${dir}/${oldPath}`);
    Deno.mkdirSync(`${dir}/${dirname(path)}`, { recursive: true });
    try {
      Deno.removeSync(`${dir}/${path}`, { recursive: true });
    } catch {
      // The path is free.
    }
    Deno.writeTextFileSync(`${dir}/${path}`, moved ?? text());
  }
}

function isFile(path: string): boolean {
  try {
    return Deno.lstatSync(path).isFile;
  } catch {
    return false;
  }
}

interface State {
  /** The time until which nothing else changes. */
  readonly at: number;
  /** The number of the last period. */
  readonly number: number;
  readonly tree: Record<string, string>;
}

const numberOf = (period: string | undefined) => Number(period?.split("_")[1] ?? 0);

const startOfHour = (time: number) => new Date(time).setMinutes(0, 0, 0);

/** Returns the start of the local hour in which a period began. */
const hourOf = (period: string | undefined) => Date.parse(`${period?.split("_")[0]}:00`);

/** Changes files until the days have passed; returns the states at the ends of hours. */
async function changeFiles(
  servers: Servers,
  dir: string,
  { days, processes, isSetBack }: {
    readonly days: number;
    readonly processes: number;
    readonly isSetBack: boolean;
  },
  random: (count: number) => number,
): Promise<{ states: State[]; kills: number }> {
  const { root } = servers;
  const states: State[] = [];
  let [kills, textCount] = [0, 0];
  const makeText = () => `${++textCount} `.repeat(random(5) === 0 ? 9000 : 1 + random(20));
  const change = async (client: Client, local: string): Promise<void> => {
    const action = random(5);
    const path = PATHS[random(PATHS.length)]!;
    if (action < 3) {
      changeTree(local, random, makeText);
      const options = { delete: true, deleteAll: true, onEvent: () => {} };
      await uploadTree(client, local, [], options);
    } else if (action === 3) {
      const uri = `/${path.split("/").map(encodeURIComponent).join("/")}`;
      const response = await client.request("PUT", uri, {}, bytesOf(makeText()));
      await response.discard();
    } else {
      const [existing] = Object.keys(readFiles(root));
      if (existing !== undefined) await deleteEntry(client, existing.split("/"));
    }
  };
  await servers.start(processes);
  for (let hours = 0; hours < days * 24;) {
    const isKilled = random(3) === 0;
    const changes = Promise.allSettled(
      servers.clients.map((client, index) => change(client, `${dir}/local-${index}`)),
    );
    if (isKilled) {
      const timer = Promise.withResolvers<void>();
      setTimeout(timer.resolve, random(120));
      await Promise.race([changes, timer.promise]);
      await timer.promise;
      await servers.kill();
      kills += processes;
    }
    await changes;
    if (random(3) > 0) {
      const number = numberOf(listPeriods(root).at(-1));
      const tree = readFiles(root);
      const passed = 1 + random(60);
      hours += passed;
      servers.advance(HOUR * (isSetBack && random(4) === 0 ? -random(40) - 1 : passed));
      // In its own hour, the last period would go on, and restore a later tree.
      if (hourOf(listPeriods(root).at(-1)) === startOfHour(servers.now)) servers.advance(HOUR);
      states.push({ at: startOfHour(servers.now), number, tree });
    }
    if (isKilled) await servers.start(processes);
  }
  await servers.kill();
  return { states, kills };
}

const MODES = [
  ["a process that is killed", 1, false],
  ["two processes that are killed", 2, false],
  ["two processes that are killed, with a clock that is set back", 2, true],
] as const;

for (const [name, processes, isSetBack] of MODES) {
  Deno.test(`after 60 random days, each tree is restored by its hour and by a period: ${name}`, async () => {
    const seed = crypto.getRandomValues(new Uint32Array(1))[0]!;
    await using dir = await createTempDir();
    await fill(dir.path, { "local-0": null, "local-1": null });
    await using servers = new Servers(dir.path);
    const options = { days: 60, processes, isSetBack };
    const { states, kills } = await changeFiles(servers, dir.path, options, makeRandom(seed));
    assert(kills > 0);
    using _clock = setClockAhead(servers.ahead + 100 * DAY);
    const periods = listPeriods(servers.root);
    let restoredCount = 0;
    const check = async (at: Date | string, { tree }: State) => {
      const target = `${dir.path}/restored-${restoredCount++}`;
      const { missing, failed } = await restoreTree(servers.root, { target, at });
      const isEmpty = Object.keys(tree).length === 0;
      const context = `seed ${seed}, ${at}`;
      assertEquals([missing, failed], [0, 0], context);
      assertEquals(isEmpty ? {} : readFiles(target), tree, context);
    };
    for (const state of states) {
      const next = periods.find((period) => numberOf(period) > state.number);
      if (next !== undefined) await check(next, state);
      try {
        // A clock that was set back may be right again in an hour of before.
        if (!isSetBack) await check(new Date(state.at), state);
      } catch (error) {
        if (!(error instanceof RestoreError)) throw error;
        // Before the first change, nothing is known.
        assertEquals([error.code, state.number], ["NO_STATE", 0], `seed ${seed}`);
      }
    }
    assert(restoredCount > 20, `${restoredCount} trees were restored`);
  });
}
