/**
 * Paths on this device, with slashes as separators on every system. Repeats four functions of
 * `internal/paths.ts`, which the library doesn't export.
 */

import * as path from "node:path";

export function findHomeDirectory(): string | null {
  const home = Deno.env.get(Deno.build.os === "windows" ? "USERPROFILE" : "HOME");
  return home !== undefined && path.isAbsolute(home) ? home : null;
}

/** On other systems a name can have a backslash. */
export function replaceBackslashes(path: string): string {
  return Deno.build.os === "windows" ? path.replaceAll("\\", "/") : path;
}

export async function realPath(path: string): Promise<string> {
  return replaceBackslashes(await Deno.realPath(path));
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
