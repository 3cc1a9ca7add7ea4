/** File names as components of a URI's path, with exactly one spelling of each name. */

import type { Request } from "../server.ts";
import { checkString, notAllowedError } from "../internal/checks.ts";
import { quote } from "../internal/quote.ts";
import { checkUri } from "../base/wire/uri.ts";

/** The maximum length of a file name in UTF-8 on the file systems of Unix. */
const MAX_NAME_BYTES = 255;

const UNESCAPED_CHARACTERS = /^[A-Za-z0-9._+-]+$/;

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
  const problem = describeInvalidName(name);
  if (problem !== null) throw notAllowedError("name", `${quote(name)} ${problem}`);
  if (UNESCAPED_CHARACTERS.test(name)) return name;
  let component = "";
  for (const byte of encoder.encode(name)) component += escapeByte(byte);
  return component;
}

/** Returns `null` if the component is not the escaped form of a file name. */
export function unescapeName(component: string): string | null {
  const name = decodeComponent(component);
  return name !== null && isFileName(name) && escapeName(name) === component ? name : null;
}

/**
 * Returns the URI of a file, from the names of its parent directories and its own name. With a
 * final `""`, returns the URI of a directory.
 *
 * @param names The names, from the outermost directory to the file.
 * @throws {TypeError} if a name is not a string.
 * @throws {RangeError} if a name can't be the name of a file, as with {@linkcode escapeName}.
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
  const lastIndex = names.length - 1;
  const components = names.map((name, index) =>
    index === lastIndex && name === "" ? "" : escapeName(name)
  );
  return `/${components.join("/")}`;
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

export function unescapeNames(components: readonly string[]): string[] | null {
  if (components.length > MAX_DEPTH) return null;
  const names = components.map(unescapeName);
  return names.every((name) => name !== null) ? names : null;
}

export function isFileName(name: string): boolean {
  return describeInvalidName(name) === null;
}

export interface RequestedPath {
  readonly names: readonly string[];
  readonly isDirectory: boolean;
  readonly lastComponent: string;
}

export function parseRequestedPath(
  { mount, path }: Pick<Request, "mount" | "path">,
): RequestedPath | null {
  // For an app that is mounted at /foo, a request for /foo has an empty path.
  const lastComponent = path.at(-1) ?? mount.at(-1) ?? "";
  const names = unescapeNames(path.at(-1) === "" ? path.slice(0, -1) : path);
  return names && { names, isDirectory: lastComponent === "", lastComponent };
}

function describeInvalidName(name: string): string | null {
  if (name === "") return "is empty";
  if (name === "." || name === "..") return "refers to a directory itself or the one above it";
  if (name.includes("/")) return "has a slash; pass each name separately";
  if (name.includes("\0")) return "has a NUL byte";
  if (!name.isWellFormed()) return "has a lone surrogate";
  // UTF-8 has at most three bytes for each code unit of a string.
  if (name.length * 3 > MAX_NAME_BYTES && encoder.encode(name).length > MAX_NAME_BYTES) {
    return `has more than ${MAX_NAME_BYTES} bytes of UTF-8`;
  }
  return null;
}

function escapeByte(byte: number): string {
  const character = String.fromCharCode(byte);
  if (UNESCAPED_CHARACTERS.test(character)) return character;
  return `~${byte.toString(16).toUpperCase().padStart(2, "0")}`;
}

function decodeComponent(component: string): string | null {
  try {
    return decodeURIComponent(component.replaceAll("~", "%"));
  } catch {
    return null;
  }
}
