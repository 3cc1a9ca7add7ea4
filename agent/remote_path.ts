/**
 * Paths on another device, written as for scp: `PEER:PATH`.
 *
 * @module
 */

import { escapeName } from "../files.ts";
import { Failure, USAGE } from "./failure.ts";

/** A file or directory on another device. */
export interface RemotePath {
  /** The name or the id of the device. */
  readonly peer: string;
  /** The names from the shared directory on; none for that itself. */
  readonly names: readonly string[];
  /** Whether only a directory can be meant: the path is empty or ends with a slash. */
  readonly directory: boolean;
}

/** Whether an argument is a path on another device: it has a colon before its first slash. */
export function isRemotePath(text: string): boolean {
  return /^[^/:]+:/.test(text);
}

/**
 * Reads `PEER:[PATH]`. Leading slashes, repeated slashes and `.` are ignored.
 *
 * @throws {Failure} if it has another form, or a name in it can't be the name of a file.
 */
export function parseRemotePath(text: string): RemotePath {
  const fail = (problem: string) => new Failure(`${JSON.stringify(text)}${problem}`, USAGE);
  if (!isRemotePath(text)) {
    throw fail(
      " is not a path on another device: write PEER:PATH, such as camera:photos/1.jpg, or PEER: for all of it",
    );
  }
  const colon = text.indexOf(":");
  const components = text.slice(colon + 1).split("/");
  const names = components.filter((name) => name !== "" && name !== ".");
  for (const name of names) {
    if (name === "..") {
      throw fail(': ".." leads nowhere: a path begins at the shared directory, and goes down');
    }
    try {
      escapeName(name);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw fail(`: ${error.message.replace(/^name: /, "")}`);
    }
  }
  const last = components.at(-1);
  return { peer: text.slice(0, colon), names, directory: last === "" || last === "." };
}

/** Writes a path on another device, as the command line has it. */
export function formatRemotePath(
  peer: string,
  names: readonly string[],
  directory = false,
): string {
  return `${peer}:${names.join("/")}${directory && names.length > 0 ? "/" : ""}`;
}
