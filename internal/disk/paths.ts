/**
 * Paths of this disk. Their separator is a slash in this package, also on Windows, where the system
 * takes slashes and the runtime returns backslashes.
 */

import * as path from "node:path";

export { basename, dirname, isAbsolute } from "node:path";

/** A path with slashes. On other systems a backslash is a character of a name. */
export function withSlashes(path: string): string {
  return Deno.build.os === "windows" ? path.replaceAll("\\", "/") : path;
}

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

export function normalize(given: string): string {
  return withSlashes(path.normalize(given));
}

export function relative(from: string, to: string): string {
  return withSlashes(path.relative(from, to));
}

export function resolve(...paths: string[]): string {
  return withSlashes(path.resolve(...paths));
}
