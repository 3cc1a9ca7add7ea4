/**
 * Which directories can be served.
 *
 * @module
 */

import { sep } from "node:path";
import { FAILED, Failure, USAGE } from "./failure.ts";

/**
 * Checks the directory of `--share` or `--inbox`; returns its real path.
 *
 * @throws {Failure} if there is no such directory, if the permission to write to an inbox is missing, or if the
 * device itself is in it, or it in the device: peers could read its keys.
 */
export async function checkServed(
  option: "--share" | "--inbox",
  dir: string,
  home: string,
): Promise<string> {
  const real = await realDirectory(option, dir);
  const device = await Deno.realPath(home);
  if (!isIn(device, real) && !isIn(real, device)) {
    if (option === "--inbox") checkWritable(real);
    return real;
  }
  throw new Failure(
    USAGE,
    `${option}: ${dir} has the directory of this device in it, ${home}, or is in that, so peers could read its ` +
      "keys: serve another directory, or move the device and say where it is with --home",
  );
}

/** Otherwise this would be noticed only when the first peer is refused. */
function checkWritable(path: string): void {
  if (Deno.permissions.requestSync({ name: "write", path }).state === "granted") return;
  throw new Failure(
    FAILED,
    `--inbox: Requires write access to ${path}, run again with --allow-write=${path}`,
  );
}

async function realDirectory(option: string, dir: string): Promise<string> {
  try {
    const real = await Deno.realPath(dir);
    if ((await Deno.stat(real)).isDirectory) return real;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new Failure(
      FAILED,
      `${option}: there is no directory ${dir}; make it first: mkdir -p ${dir}`,
    );
  }
  throw new Failure(FAILED, `${option}: ${dir} is no directory`);
}

/** Whether a real path is that of a directory, or in it. */
export function isIn(path: string, dir: string): boolean {
  const inside = dir.endsWith(sep) ? dir : dir + sep;
  return path === dir || path.startsWith(inside);
}
