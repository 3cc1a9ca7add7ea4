/** Paths on this device, with slashes as separators on every system. */

import { replaceBackslashes } from "@degu/degu/agent_support";
import * as path from "node:path";

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
