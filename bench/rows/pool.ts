/**
 * Row 12: a pool with one worker and with two.
 *
 * @module
 */

import type { Contender, Group, Trial } from "../interleave.ts";
import { denoCommand } from "../pair.ts";
import type { PoolReady, PoolWork } from "../peers/pool.ts";
import { Program, runToEnd } from "../process.ts";
import type { TlsFiles } from "../work.ts";
import type { Row, RowSetting } from "./row.ts";
import { makeSkippedGroup } from "./row.ts";

/** What a group measures. */
interface PoolTask {
  readonly task: "hash" | "bulk";
  readonly title: string;
  readonly tls: TlsFiles | null;
  readonly requests: number;
  readonly connections: number;
  readonly clients: number;
}

const cpuNote =
  "“per second of CPU”: of the busiest thread of the pool, which is what it serves where the clients leave it a core for each worker.";

/** Row 12. */
export const poolRow: Row = {
  number: 12,
  title: "A pool of one worker and of two",
  *groups(setting) {
    const { tls } = setting;
    const factor = setting.quick ? 1 : 4;
    const hash = {
      task: "hash",
      title: "An app that hashes 1 MiB",
      tls: null,
      requests: 1000 * factor,
      connections: 8,
      clients: 1,
    } as const;
    yield* makeGroups(hash, setting);
    if ("problem" in tls) yield makeSkippedGroup("12-bulk", "Bulk over TLS", tls.problem);
    else {
      const title = "Downloads of 64 MiB over TLS";
      const amount = { requests: 8 * factor, connections: 2, clients: 2 };
      yield* makeGroups({ task: "bulk", title, tls, ...amount }, setting);
    }
  },
};

function* makeGroups(task: PoolTask, setting: RowSetting): Generator<Group, void, undefined> {
  for (const perCpu of [false, true]) {
    const unit = perCpu ? "requests per second of CPU" : "requests/s";
    yield {
      id: `12-${task.task}${perCpu ? "-cpu" : ""}`,
      title: `${task.title}, ${unit}`,
      unit,
      better: "higher",
      placement: setting.cores.describe("two"),
      references: ["degu, 1 worker"],
      contenders: [1, 2].map((workers) => makeContender(task, workers, perCpu, setting)),
      notes: [perCpu ? cpuNote : "The clients run on the same two cores."],
    };
  }
}

function makeContender(
  { task, tls, requests, connections, clients }: PoolTask,
  workers: number,
  perCpu: boolean,
  setting: RowSetting,
): Contender {
  return {
    name: `degu, ${workers} worker${workers === 1 ? "" : "s"}`,
    async start(): Promise<Trial> {
      const work = { workers, connections, tls };
      const programs = [await startProgram({ ...work, task: null, port: 0 }, setting)];
      const { port, pid } = programs[0]!.ready as PoolReady;
      const stop = async () => void await Promise.all(programs.map((program) => program.stop()));
      try {
        for (let i = 0; i < clients; i++) {
          programs.push(await startProgram({ ...work, task, port }, setting));
        }
      } catch (error) {
        await stop();
        throw error;
      }
      const ask = async (program: Program, amount: number) =>
        (await program.ask({ command: "run", amount }, setting.timeout)).seconds!;
      const run = (amount: number) =>
        Promise.all(programs.slice(1).map((client) => ask(client, amount / clients)));
      return {
        warmUp: async () => void await run(requests / 4),
        async measure() {
          const before = await threadTimes(pid);
          const seconds = Math.max(...await run(requests));
          const after = await threadTimes(pid);
          return requests / (perCpu ? mostUsed(before, after) : seconds);
        },
        stop,
      };
    },
  };
}

function startProgram(work: PoolWork, setting: RowSetting): Promise<Program> {
  const path = `${import.meta.dirname}/../peers/pool.ts`;
  // Without TLS more than one worker needs the flag.
  const command = [...denoCommand(setting), "--unstable-net", path, JSON.stringify(work)];
  return Program.start({ prefix: setting.cores.prefix("two"), command, timeout: 60 });
}

/** Ticks of a second in which the kernel counts CPU time. */
const TICKS = 100;

/** Seconds of CPU that each thread of a process has used. */
async function threadTimes(pid: number): Promise<Map<string, number>> {
  // Deno reads the files of other processes with all permissions only.
  const command = ["sh", "-c", 'cat /proc/"$0"/task/*/stat', `${pid}`];
  const stats = (await runToEnd({ prefix: [], command, timeout: 10 })).trim().split("\n");
  // proc_pid_stat(5): the name in parentheses may contain spaces; utime and stime are fields 14 and 15.
  return new Map(stats.map((stat) => {
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return [stat.split(" ")[0]!, (Number(fields[11]) + Number(fields[12])) / TICKS];
  }));
}

/** The seconds of the thread that has used most of them. */
function mostUsed(before: Map<string, number>, after: Map<string, number>): number {
  return Math.max(...Array.from(after, ([id, seconds]) => seconds - (before.get(id) ?? 0)));
}
