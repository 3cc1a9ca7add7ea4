/**
 * This tree beside a commit of its history, in processor time of both ends: the cost of a rewrite,
 * which no table of peers shows. Processes of the two take turns.
 */

import { mustRun } from "../tests/support/commands.ts";
import type { Contender, Group } from "./measure.ts";
import { pinnedTo, type Row, type RowSetting } from "./pair.ts";
import { jobs } from "./peers/both_ends.ts";
import { startProgram } from "./process.ts";

const program = new URL("peers/both_ends.ts", import.meta.url).pathname;
const thisTree = new URL("../", import.meta.url);

/** The groups of a comparison with a commit, named as for `git`. */
export async function* groupsAgainst(commit: string, setting: RowSetting): AsyncGenerator<Group> {
  const other = await checkOut(commit, setting.directory);
  let number = 0;
  const roots = { "this tree": thisTree.href, [commit]: other };
  for (const [name, isSlow] of Object.keys(jobs).map((name) => [name, name.includes("64")])) {
    for (const kept of [true, false]) {
      for (const tls of [null, setting.tls]) {
        // A handshake for each exchange takes ten times as long as all other steps.
        const amount = (isSlow || tls !== null ? 500 : 4000) / (kept ? 1 : 2) /
          (setting.quick ? 4 : 1);
        yield {
          id: String(++number),
          title: `${name}, ${kept ? "a kept connection" : "a connection of its own"}, ` +
            (tls === null ? "TCP" : "mutual TLS"),
          unit: "µs",
          placement: "processor time of both ends in one process",
          references: [commit],
          contenders: Object.entries(roots).map(([label, root]): Contender => ({
            name: label,
            async start(running) {
              const words = [root, `${name}`, kept ? "kept" : "own", JSON.stringify(tls)];
              const run = [Deno.execPath(), "run", "--quiet", "--no-check", "-A"];
              const command = [...pinnedTo("one", setting), ...run, "--v8-flags=--expose-gc"];
              const { ask } = await startProgram([...command, program, ...words], running);
              // Compilers have done most of their work after this run.
              await ask({ command: "run", amount: 2 * amount });
              return () => ask({ command: "run", amount });
            },
          })),
        };
      }
    }
  }
}

/**
 * The groups of rows that compare this tree with a commit in place of peers. The programs of both are
 * those of this benchmark, over the library of each.
 */
export async function* rowsAgainst(
  commit: string,
  rows: readonly Row[],
  setting: RowSetting,
): AsyncGenerator<Group> {
  const other = new URL(await checkOut(commit, setting.directory)).pathname;
  await Deno.remove(`${other}bench`, { recursive: true });
  await mustRun(["cp", "--recursive", new URL("bench", thisTree).pathname, `${other}bench`]);
  const trees = { "this tree": thisTree.pathname, [commit]: other };
  for (const row of rows) yield* row.groups({ ...setting, trees });
}

/** Unpacks a commit; resolves to the URL of its directory. */
async function checkOut(commit: string, directory: string): Promise<string> {
  const archive = `${directory}/against.tar`, root = `${directory}/against`;
  const git = ["git", "-C", thisTree.pathname];
  await mustRun([...git, "archive", `--output=${archive}`, "--end-of-options", commit]);
  await Deno.mkdir(root);
  await mustRun(["tar", "--extract", `--file=${archive}`, `--directory=${root}`]);
  return `file://${root}/`;
}
