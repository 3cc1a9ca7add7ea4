/** File names as components of a path, with exactly one spelling of each name. */

import type { Request } from "../server.ts";
import { checkString, notAllowedError } from "../internal/checks.ts";
import { quote } from "../internal/quote.ts";
import { checkUri } from "../base/wire/uri.ts";

/** Bytes of UTF-8 that a file name may have on the file systems of Unix. */
const MAX_NAME_BYTES = 255;

/** The characters that are not escaped. */
const PLAIN = /^[A-Za-z0-9._+-]+$/;

const encoder = new TextEncoder();

/**
 * Converts a file name to a component of a path. ASCII letters, digits and `-`, `.`, `_`, `+` are
 * kept; each other character becomes, for each byte of its UTF-8, `~` and two upper-case
 * hexadecimal digits.
 *
 * @param name 1 to 255 bytes of UTF-8 without `/` and NUL; neither `.` nor `..`.
 * @throws {TypeError} if the name is not a string.
 * @throws {RangeError} if the text can't be the name of a file, or has a lone surrogate.
 *
 * @example
 * ```ts
 * import { escapeName } from "@degu/degu/files";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(escapeName("a b.txt"), "a~20b.txt");
 * assertEquals(escapeName("Öl"), "~C3~96l");
 * ```
 */
export function escapeName(name: string): string {
  checkString("name", name);
  const problem = problemOf(name);
  if (problem !== null) throw notAllowedError("name", `${quote(name)} ${problem}`);
  if (PLAIN.test(name)) return name;
  let component = "";
  for (const byte of encoder.encode(name)) component += escapeByte(byte);
  return component;
}

/**
 * Returns the file name of a component of a path: the inverse of {@linkcode escapeName}.
 *
 * @param component A component of a path.
 * @throws {TypeError} if the component is not a string.
 * @throws {RangeError} if `escapeName` returns the component for no name.
 */
export function unescapeName(component: string): string {
  checkString("component", component);
  const name = readComponent(component);
  if (name !== null && problemOf(name) === null && escapeName(name) === component) return name;
  throw notAllowedError(
    "component",
    `${quote(component)} is not the escaped form of a file name; make it with escapeName()`,
  );
}

/**
 * Returns the URI of a file, from the names of its directories and its own. A final `""` makes the
 * URI that of a directory.
 *
 * @param names The names, from the outermost directory to the file.
 * @throws {TypeError} if a name is not a string.
 * @throws {RangeError} if a name can't be that of a file, as with {@linkcode escapeName}.
 *
 * @example
 * ```ts
 * import { fileUri } from "@degu/degu/files";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(fileUri("my photos", "1.jpg"), "/my~20photos/1.jpg");
 * assertEquals(fileUri("my photos", ""), "/my~20photos/");
 * assertEquals(fileUri(), "/");
 * ```
 */
export function fileUri(...names: string[]): string {
  const last = names.length - 1;
  return `/${names.map((name, i) => i === last && name === "" ? "" : escapeName(name)).join("/")}`;
}

/** The URI of something on a server, checked; from names, if it is a list of them. */
export function uriOf(uri: string | readonly string[]): string {
  const text = isNames(uri) ? fileUri(...uri) : uri;
  checkUri(text);
  return text;
}

/**
 * The URI of a directory, checked: its path ends with a slash, which names need not say; a query
 * may follow.
 */
export function directoryUriOf(uri: string | readonly string[]): string {
  const text = uriOf(isNames(uri) && uri.at(-1) !== "" ? [...uri, ""] : uri);
  if (text.split("?")[0]!.endsWith("/")) return text;
  throw notAllowedError("uri", `the path of a directory must end with "/"; got ${uri}`);
}

function isNames(uri: string | readonly string[]): uri is readonly string[] {
  return Array.isArray(uri);
}

/**
 * The most names of a path. The check where a path leads takes time for each directory on the way,
 * and the time for the real path grows with the cube of their number: 60 ms at 1,000.
 */
export const MAX_DEPTH = 256;

/**
 * The names of the components of a path; `null` if a component is not valid, or there are too many.
 */
export function namesOf(components: readonly string[]): string[] | null {
  if (components.length > MAX_DEPTH) return null;
  try {
    return components.map(unescapeName);
  } catch {
    return null;
  }
}

/** Whether a text can be the name of a file. */
export function isName(name: string): boolean {
  return problemOf(name) === null;
}

/** The file or directory that a request refers to, by its names from the root. */
export interface RequestedPath {
  readonly names: readonly string[];
  readonly isDirectory: boolean;
  /** The last component of the path, as the client has sent it. */
  readonly last: string;
}

/** Reads the path of a request; `null` if a component is not the name of a file. */
export function readRequestedPath(
  { mount, path }: Pick<Request, "mount" | "path">,
): RequestedPath | null {
  // For an app that is mounted at /foo, a request for /foo has an empty path.
  const last = path.at(-1) ?? mount.at(-1) ?? "";
  const names = namesOf(path.at(-1) === "" ? path.slice(0, -1) : path);
  return names && { names, isDirectory: last === "", last };
}

/** Returns why a text can't be the name of a file; `null` for the name of a file. */
function problemOf(name: string): string | null {
  if (name === "") return "is empty";
  if (name === "." || name === "..") return "refers to a directory itself or the one above it";
  if (name.includes("/")) return "has a slash; pass each name separately";
  if (name.includes("\0")) return "has a NUL byte";
  if (!name.isWellFormed()) return "has a lone surrogate";
  // No character has more than three bytes of UTF-8 for each of its code units.
  if (name.length * 3 > MAX_NAME_BYTES && encoder.encode(name).length > MAX_NAME_BYTES) {
    return `has more than ${MAX_NAME_BYTES} bytes of UTF-8`;
  }
  return null;
}

function escapeByte(byte: number): string {
  const character = String.fromCharCode(byte);
  if (PLAIN.test(character)) return character;
  return `~${byte.toString(16).toUpperCase().padStart(2, "0")}`;
}

/** The text of a component; `null` if that has bytes that are not UTF-8. */
function readComponent(component: string): string | null {
  try {
    return decodeURIComponent(component.replaceAll("~", "%"));
  } catch {
    return null;
  }
}
