/**
 * Paths on this device, with slashes as separators on every system. Repeats four functions of
 * `internal/paths.ts`, which the library doesn't export.
 */

import * as path from "node:path";
import { Failure } from "../failure.ts";

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

/** Without this check, Deno would prompt for the permission. */
export function mayRead(path: string): boolean {
  return Deno.permissions.querySync({ name: "read", path }).state === "granted";
}

export function mayReadVariable(variable: string): boolean {
  return Deno.permissions.querySync({ name: "env", variable }).state === "granted";
}

/**
 * Refuses a path of the command line that means another file to a shell of Unix: a shell expands
 * `~`, and finds `..` behind the target of a link, but Deno resolves `..` by the text.
 */
export function checkTypedPath(text: string): void {
  if (/^~(?:\/|$)/.test(text)) {
    // An unexpanded path would be a directory with the name ~.
    throw new Failure(
      `${JSON.stringify(text)}: the shell has not expanded ~; a file of this name is ./${text}`,
      "USAGE",
    );
  }
  const root = text.startsWith("/") ? "/" : "";
  const names: string[] = [];
  for (const name of text.split("/").filter((name) => name !== "" && name !== ".")) {
    const parent = root + names.join("/");
    if (name !== ".." || parent === "" || /(?:^|\/)\.\.$/.test(parent)) {
      names.push(name);
    } else if (parent === "/" || isDirectory(parent)) {
      names.pop();
    } else {
      throw new Failure(
        `${JSON.stringify(text)}: ${JSON.stringify(parent)} before ".." is a link, or no directory`,
        "USAGE",
      );
    }
  }
}

/** Without the permission to read the path, `degu permissions` has checked it. */
function isDirectory(path: string): boolean {
  return !mayRead(path) || findReadableInfo(path)?.isDirectory === true;
}

/** Returns `null` for a missing entry, and for one that this user may not read. */
export function findReadableInfo(path: string): Deno.FileInfo | null {
  try {
    return Deno.lstatSync(path);
  } catch {
    return null;
  }
}
