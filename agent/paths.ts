/** Paths on this device, with slashes as separators on every system. */

import { describeBadName, replaceBackslashes } from "@degu/degu/agent_support";
import * as path from "node:path";
import { Failure } from "./failure.ts";

/** Returns the home directory of the user; `null` if it is unknown. */
export function findHomeDirectory(): string | null {
  const home = Deno.env.get(Deno.build.os === "windows" ? "USERPROFILE" : "HOME");
  return home !== undefined && path.isAbsolute(home) ? home : null;
}

/**
 * Converts a path of the command line. Shells of Unix have expanded `~`; on Windows this function
 * expands it, replaces backslashes, and refuses paths that Windows would interpret in another way.
 *
 * @param mayHaveWildcards True if the caller gives advice about wildcards, which no file of Windows
 * has in its name.
 */
export function toLocalPath(text: string, mayHaveWildcards = false): string {
  if (Deno.build.os !== "windows") return text;
  const fail = (problem: string) => new Failure(`${JSON.stringify(text)}: ${problem}`, "USAGE");
  const slashedText = replaceBackslashes(text);
  if (/^~(?:\/|$)/.test(slashedText)) {
    const home = findHomeDirectory();
    if (home === null) throw fail("USERPROFILE is not set: name the directory of the user");
    return replaceBackslashes(home) + slashedText.slice(1);
  }
  const [, drive = "", rest = ""] = /^([a-z]:)?(.*)$/is.exec(slashedText)!;
  // Node's modules would read the current directory of the drive from the environment.
  if (drive !== "" && rest === "") return `${drive}/`;
  if (drive !== "" && !rest.startsWith("/")) {
    throw fail(
      `${drive} is a drive: write ${drive}/${rest} for a file in its root, and the id of a peer whose name is one letter`,
    );
  }
  for (const name of rest.split("/").filter((name) => !["", ".", ".."].includes(name))) {
    const problem = describeBadName(name);
    if (problem === null || mayHaveWildcards && /[*?]/.test(name)) continue;
    throw fail(`the name ${JSON.stringify(name)} ${problem}`);
  }
  return slashedText;
}

/** Returns the command that creates a directory and its parents, for a message. */
export function findMakeDirectoryCommand(): string {
  return Deno.build.os === "windows" ? "mkdir" : "mkdir -p";
}

/** The real path of a file. */
export async function realPath(path: string): Promise<string> {
  return replaceBackslashes(await Deno.realPath(path));
}

/** The real path of a file. */
export function realPathSync(path: string): string {
  return replaceBackslashes(Deno.realPathSync(path));
}

export function join(...paths: string[]): string {
  return replaceBackslashes(path.join(...paths));
}

export function relative(from: string, to: string): string {
  return replaceBackslashes(path.relative(from, to));
}

export function resolve(...paths: string[]): string {
  return replaceBackslashes(path.resolve(...paths));
}
