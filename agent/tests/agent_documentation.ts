/** The commands in the help and the pages of the program. */

import { assert } from "@std/assert";
import { makeProgram } from "@degu/internal/agent/program.ts";
import { readProjectFile } from "@degu/testing/project_files.ts";

/**
 * Returns the commands of the help's first minute, each with the name of its machine, without
 * explanations in parentheses.
 */
export async function readFirstMinute(): Promise<[machine: string, command: string][]> {
  const program = await makeProgram(() => () => Promise.resolve());
  return parseCommands(program.helpInformation());
}

/** Returns the commands of a text that follow the name of a machine. */
export function parseCommands(text: string): [machine: string, command: string][] {
  return Array.from(
    text.matchAll(/^ *(\w+)\$ (.*?)(?: +\(.*\))?$/gm),
    ([, machine = "", command = ""]) => [machine, command],
  );
}

/** Returns the permissions with which agent/docs/guide.md installs the program. */
export async function readInstallFlags(): Promise<string[]> {
  const [, install] =
    /```sh\n(deno install [^`]*)```/.exec(await readProjectFile("agent/docs/guide.md")) ??
      [];
  assert(install !== undefined, "agent/docs/guide.md doesn't say how to install the program");
  return install.match(/--allow-\S+/g) ?? [];
}
