/**
 * File operations for which the suite has no permission, in a process without permission checks.
 * Making links and listing open files would need access to all files. Programs that run without an
 * import map load this module, which therefore doesn't import `@std`.
 */

import { MISSING_PROGRAM_CODE, runCommand, runOrThrow } from "./commands.ts";

/**
 * Whether tests can make links. Windows requires a privilege, and Wine doesn't support links.
 */
export const HAS_LINKS = Deno.build.os !== "windows";

/** Ends a test that needs what the system doesn't have; `tests/wine/preload.ts` expects it. */
export class MissingFeatureError extends Error {}

/** Returns a command line of bash, which starts ten times faster than Deno. */
function bash(line: string, ...args: string[]): string[] {
  return ["bash", "-c", line, ...args];
}

/** Runs a command to its end; resolves to false if its program is not installed. */
async function runIfInstalled(command: readonly string[]): Promise<boolean> {
  const { code, stderr } = await runCommand(command);
  if (code !== 0 && code !== MISSING_PROGRAM_CODE) throw new Error(`${command}: ${stderr}`);
  return code === 0;
}

/**
 * Makes symbolic links; `links` maps their paths to their targets.
 *
 * @throws {MissingFeatureError} on Windows.
 */
export async function makeLinks(links: Readonly<Record<string, string>>): Promise<void> {
  if (!HAS_LINKS) throw new MissingFeatureError("no symbolic links");
  const line = 'while [ $# -gt 0 ]; do ln -sn -- "$2" "$1" || exit; shift 2; done';
  await runOrThrow(bash(line, "bash", ...Object.entries(links).flat()));
}

/** Makes a FIFO. Resolves to false if `mkfifo` is not installed. */
export function makeFifo(path: string): Promise<boolean> {
  return runIfInstalled(bash('mkfifo "$0"', path));
}

/** Makes a file whose name is not UTF-8. Resolves to false if `bash` is not installed. */
export function makeNonUtf8Name(dir: string): Promise<boolean> {
  return runIfInstalled(bash(`: > "$0/"$'\\xff'`, dir));
}

/** Lists the paths of this process's open files below a directory; only on Linux. */
export async function listOpenFiles(dir: string): Promise<string[]> {
  const line = 'find "/proc/$0/fd" -lname "$1/*" -printf "%l\\n"';
  const { stdout } = await runCommand(bash(line, `${Deno.pid}`, dir));
  return stdout.split("\n").filter((path) => path !== "");
}

/** Waits until this process has no open file below a directory; only on Linux. */
export async function waitForNoOpenFiles(dir: string): Promise<void> {
  const end = performance.now() + 60_000;
  for (let open; (open = await listOpenFiles(dir)).length > 0;) {
    if (performance.now() > end) throw new Error(`still open after 60 s: ${open}`);
  }
}
