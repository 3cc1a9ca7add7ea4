/** File names as components of a URI's path. */

import type { Request } from "../../server.ts";
import { checkString, notAllowedError } from "../../internal/checks.ts";
import { checkUri } from "../../base/wire/uri.ts";
import { quoteName } from "../../internal/quote.ts";
import { buildUri } from "../../base.ts";
/** The maximum length of a file name in UTF-8 on the file systems of Unix. */
const MAX_NAME_BYTES = 255;

const encoder = new TextEncoder();

/**
 * Returns the URI of a file, from the names of its parent directories and its own name. With a
 * final `""`, returns the URI of a directory. The names are percent-encoded as by
 * `buildUri` of `@degu/degu`.
 *
 * @param names The names, from the outermost directory to the file: each of 1 to 255 bytes of UTF-8
 * without `/` and NUL; neither `.` nor `..`; without `.;` or `..;` at the beginning.
 * @throws {TypeError} if a name is not a string.
 * @throws {RangeError} if a name can't be the name of a file, or has a lone surrogate.
 *
 * @example
 * ```ts
 * import { fileUri } from "@degu/degu/files";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(fileUri("my photos", "1.jpg"), "/my%20photos/1.jpg");
 * assertEquals(fileUri("my photos", ""), "/my%20photos/");
 * assertEquals(fileUri(), "/");
 * ```
 */
export function fileUri(...names: string[]): string {
  names.forEach((name, index) => {
    if (index < names.length - 1 || name !== "") checkName(name);
  });
  return buildUri(names);
}

function checkName(name: string): void {
  checkString("name", name);
  const problem = describeInvalidName(name);
  if (problem !== null) throw notAllowedError("name", `${quoteName(name)} ${problem}`);
}

export function toUri(uri: string | readonly string[]): string {
  const text = isNameList(uri) ? fileUri(...uri) : uri;
  checkUri(text);
  return text;
}

export function toDirectoryUri(uri: string | readonly string[]): string {
  const text = toUri(isNameList(uri) && uri.at(-1) !== "" ? [...uri, ""] : uri);
  if (text.split("?")[0]!.endsWith("/")) return text;
  throw notAllowedError("uri", `the path of a directory must end with "/"; got ${uri}`);
}

function isNameList(uri: string | readonly string[]): uri is readonly string[] {
  return Array.isArray(uri);
}

/**
 * The maximum number of names in a path. Each directory on the path is looked up, and the time to
 * resolve the real path grows with the cube of their number: 60 ms for 1,000 directories.
 */
export const MAX_DEPTH = 256;

export function areFileNames(components: readonly string[]): boolean {
  return components.length <= MAX_DEPTH && components.every(isFileName);
}

/** Returns the names of the path of a file, or `null` if the text is not such a path. */
export function parseFilePath(text: string): string[] | null {
  try {
    const { path, query } = checkUri(text);
    return query === null && path.length > 0 && areFileNames(path) ? path : null;
  } catch {
    return null;
  }
}

export function isSamePath(a: readonly string[], b: readonly string[]): boolean {
  return a === b || a.length === b.length && a.every((name, index) => name === b[index]);
}

export function isFileName(name: string): boolean {
  return describeInvalidName(name) === null;
}

export interface RequestedPath {
  readonly names: readonly string[];
  readonly isDirectory: boolean;
}

export function parseRequestedPath(
  { mount, path }: Pick<Request, "mount" | "path">,
): RequestedPath | null {
  // For an app that is mounted at /foo, a request for /foo has an empty path.
  const lastComponent = path.at(-1) ?? mount.at(-1) ?? "";
  const names = path.at(-1) === "" ? path.slice(0, -1) : [...path];
  return areFileNames(names) ? { names, isDirectory: lastComponent === "" } : null;
}

export function describeInvalidName(name: string): string | null {
  if (name === "") return "is empty";
  if (name === "." || name === "..") return "refers to a directory itself or the one above it";
  if (name.includes("/")) return "has a slash; pass each name separately";
  if (name.includes("\0")) return "has a NUL byte";
  if (/^\.\.?;/.test(name)) {
    return 'begins with ".;" or "..;", which some servers read as "." or ".."';
  }
  if (!name.isWellFormed()) return "has a lone surrogate";
  // UTF-8 has at most three bytes for each code unit of a string.
  if (name.length * 3 > MAX_NAME_BYTES && encoder.encode(name).length > MAX_NAME_BYTES) {
    return `has more than ${MAX_NAME_BYTES} bytes of UTF-8`;
  }
  return null;
}
