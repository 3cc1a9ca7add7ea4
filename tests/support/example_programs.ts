/** The programs of examples/, and the commands in their first lines. */

import { assert } from "@std/assert";

export const ROOT: URL = new URL("../../", import.meta.url);
/** How the first line of a program begins: its path and what it is to be run with follow. */
const PROGRAM = "// deno run ";
/** How the first line of a module begins that others import; why it is there follows. */
export const NO_PROGRAM = "// Not a program: ";

export async function firstLineOf(path: string): Promise<string> {
  return (await Deno.readTextFile(new URL(path, ROOT))).split("\n", 1)[0] ?? "";
}

/** The flags that the first line of a program names. */
export function flagsOf(path: string, firstLine: string): string[] {
  assert(
    firstLine.startsWith(PROGRAM) && firstLine.endsWith(` ${path}`),
    `${path}: its first line must be "${PROGRAM}<flags> ${path}" or "${NO_PROGRAM}<reason>"`,
  );
  assert(!/ (-A|--allow-all)\b/.test(firstLine), `${path} takes every permission`);
  return firstLine.slice(PROGRAM.length, -path.length).split(" ").filter((flag) => flag !== "");
}
