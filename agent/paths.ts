/** Paths on this device, whose separator is a slash, also on Windows. */

import { withSlashes } from "@degu/degu/agent_support";
import * as path from "node:path";

/** The real path of a file. */
export async function realPath(path: string): Promise<string> {
  return withSlashes(await Deno.realPath(path));
}

/** The real path of a file. */
export function realPathSync(path: string): string {
  return withSlashes(Deno.realPathSync(path));
}

export function join(...paths: string[]): string {
  return withSlashes(path.join(...paths));
}

export function relative(from: string, to: string): string {
  return withSlashes(path.relative(from, to));
}

export function resolve(...paths: string[]): string {
  return withSlashes(path.resolve(...paths));
}
