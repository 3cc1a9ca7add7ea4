/**
 * File operations for which the suite has no permission, in a process without permission checks.
 * Making links and listing open files would need access to all files.
 */

import { assert, assertEquals } from "@std/assert";
import { type CommandResult, runCommand } from "./commands.ts";
import { HAS_LINKS, MissingFeatureError } from "./links.ts";

export { HAS_LINKS };

/** Runs a command line of bash, which starts ten times faster than Deno. */
function run(line: string, ...args: string[]): Promise<CommandResult> {
  return runCommand(["bash", "-c", line, ...args]);
}

/**
 * Makes symbolic links; `links` maps their paths to their targets.
 *
 * @throws {MissingFeatureError} on Windows.
 */
export async function makeLinks(links: Readonly<Record<string, string>>): Promise<void> {
  if (!HAS_LINKS) throw new MissingFeatureError("no symbolic links");
  const line = 'while [ $# -gt 0 ]; do ln -sn -- "$2" "$1" || exit; shift 2; done';
  assertEquals((await run(line, "bash", ...Object.entries(links).flat())).code, 0);
}

/** Makes a FIFO. Resolves to false if `mkfifo` is not installed. */
export async function makeFifo(path: string): Promise<boolean> {
  const { code } = await run('mkfifo "$0"', path);
  assert(code === 0 || code === 127, `${code}`);
  return code === 0;
}

/** Makes a file whose name is not UTF-8. Resolves to false if `bash` is not installed. */
export async function makeNonUtf8Name(dir: string): Promise<boolean> {
  const { code } = await run(`: > "$0/"$'\\xff'`, dir);
  assert(code === 0 || code === 127, `a name that is not UTF-8 in ${dir}`);
  return code === 0;
}

/** Lists the paths of this process's open files below a directory; only on Linux. */
export async function listOpenFiles(dir: string): Promise<string[]> {
  const line = 'find "/proc/$0/fd" -lname "$1/*" -printf "%l\\n"';
  return (await run(line, `${Deno.pid}`, dir)).stdout.split("\n").filter((path) => path !== "");
}

/** Waits until this process has no open file below a directory; only on Linux. */
export async function waitForNoOpenFiles(dir: string): Promise<void> {
  const end = performance.now() + 60_000;
  for (let open; (open = await listOpenFiles(dir)).length > 0;) {
    if (performance.now() > end) throw new Error(`still open after 60 s: ${open}`);
  }
}
