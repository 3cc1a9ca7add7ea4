/**
 * Compares this tree with a commit by the processor time of client and server. The processes of
 * both versions are measured alternately.
 */

import { runOrThrow } from "../tests/support/commands.ts";
import type { Contender, Group } from "./measure.ts";
import { pinnedTo, type Row, type RowSetting } from "./pair.ts";
import { jobs } from "./peers/both_ends.ts";
import { startProgram } from "./process.ts";

const program = new URL("peers/both_ends.ts", import.meta.url).pathname;
const thisTree = new URL("../", import.meta.url);

/** Makes the groups of a comparison with a commit. */
export async function* groupsAgainst(commit: string, setting: RowSetting): AsyncGenerator<Group> {
  const commitRoot = await checkOut(commit, setting.directory);
  let number = 0;
  const roots = { "this tree": thisTree.href, [commit]: commitRoot };
  for (const [name, isSlow] of Object.keys(jobs).map((name) => [name, name.includes("64")])) {
    for (const isReused of [true, false]) {
      for (const tls of [null, setting.tls]) {
        // With a handshake, an exchange takes ten times as long.
        const amount = (isSlow || tls !== null ? 500 : 4000) / (isReused ? 1 : 2) /
          (setting.isQuick ? 4 : 1);
        yield {
          id: String(++number),
          title: `${name}, ${isReused ? "a reused connection" : "its own connection"}, ` +
            (tls === null ? "TCP" : "mutual TLS"),
          unit: "µs",
          placement: "processor time of client and server in one process",
          references: [commit],
          contenders: Object.entries(roots).map(([label, root]): Contender => ({
            name: label,
            async start(programStack) {
              const args = [root, `${name}`, isReused ? "reused" : "new", JSON.stringify(tls)];
              const run = [Deno.execPath(), "run", "--quiet", "--no-check", "-A"];
              const command = [
                ...pinnedTo("first core", setting),
                ...run,
                "--v8-flags=--expose-gc",
              ];
              const { request } = await startProgram([...command, program, ...args], programStack);
              // Let V8 optimize the code.
              await request({ command: "run", amount: 2 * amount });
              return () => request({ command: "run", amount });
            },
          })),
        };
      }
    }
  }
}

/**
 * Makes the groups of rows that compare this tree with a commit instead of peers. Both versions of
 * the library run the programs of this tree's benchmark.
 */
export async function* rowsAgainst(
  commit: string,
  rows: readonly Row[],
  setting: RowSetting,
): AsyncGenerator<Group> {
  const commitRoot = new URL(await checkOut(commit, setting.directory)).pathname;
  await Deno.remove(`${commitRoot}bench`, { recursive: true });
  await runOrThrow([
    "cp",
    "--recursive",
    new URL("bench", thisTree).pathname,
    `${commitRoot}bench`,
  ]);
  const trees = { "this tree": thisTree.pathname, [commit]: commitRoot };
  for (const row of rows) yield* row.groups({ ...setting, trees });
}

/** Unpacks a commit; resolves to the URL of its directory. */
async function checkOut(commit: string, directory: string): Promise<string> {
  const archive = `${directory}/against.tar`, root = `${directory}/against`;
  const git = ["git", "-C", thisTree.pathname];
  await runOrThrow([...git, "archive", `--output=${archive}`, "--end-of-options", commit]);
  await Deno.mkdir(root);
  await runOrThrow(["tar", "--extract", `--file=${archive}`, `--directory=${root}`]);
  return `file://${root}/`;
}
