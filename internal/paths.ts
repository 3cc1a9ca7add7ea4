/**
 * Paths of this disk. Their separator is a slash in this library, also on Windows, where the system
 * accepts slashes and the runtime returns backslashes.
 */

import * as path from "node:path";

export { basename, dirname, isAbsolute } from "node:path";

/** On other systems a name can have a backslash. */
export function replaceBackslashes(path: string): string {
  return Deno.build.os === "windows" ? path.replaceAll("\\", "/") : path;
}

export async function realPath(path: string): Promise<string> {
  return replaceBackslashes(await Deno.realPath(path));
}

export function realPathSync(path: string): string {
  return replaceBackslashes(Deno.realPathSync(path));
}

export function join(...paths: string[]): string {
  return replaceBackslashes(path.join(...paths));
}

export function resolve(...paths: string[]): string {
  return replaceBackslashes(path.resolve(...paths));
}
