/**
 * The patterns of files to skip in a directory, as in `.gitignore`: from the command line, and from
 * a file in the directory.
 */

import { dirname } from "node:path";
import { InvalidArgumentError } from "commander";
import ignore from "ignore";
import { removeIgnoredCharacters } from "@degu/degu/agent_support";
import { join, realPathSync } from "./paths.ts";
import { explain } from "./explain.ts";
import { Failure } from "./failure.ts";
import { RESERVED_DIRECTORY } from "./inbox.ts";
import { isNotFound } from "./local_paths.ts";

/** The file with the patterns of its directory. */
export const IGNORE_FILE = ".deguignore";

const MAX_LINES = 10_000;
const MAX_CHARACTERS = 1_000;
/** A line of UTF-8 has at most three bytes for each UTF-16 unit, and ends with two. */
const MAX_BYTES = MAX_LINES * (3 * MAX_CHARACTERS + 2);

/** The limit of paths in the library's cache. A tree may have a million paths. */
const MAX_CACHED_PATHS = 10_000;
/**
 * All paths are relative. Without `allowRelativePaths`, the library would reject a directory `C:`
 * of a peer as a drive.
 */
const IGNORE_OPTIONS = { ignorecase: false, allowRelativePaths: true };

/**
 * The patterns of paths to skip in a directory of this device. The last pattern that matches a path
 * decides whether the path is skipped.
 */
export class IgnoreList {
  /** The path of a list that has no effect because a peer may have written it; else `null`. */
  readonly ignoredPeerFile: string | null = null;
  readonly #path: string;
  readonly #bytes: Uint8Array | null = null;
  #rules = ignore(IGNORE_OPTIONS);
  #checkCount = 0;

  /**
   * Reads the list in a directory, which may be missing.
   *
   * @param patterns Lines to add after the lines of the list.
   * @throws {Failure} if the list can't be read.
   */
  constructor(dir: string, patterns: readonly string[]) {
    this.#path = join(dir, IGNORE_FILE);
    if (exists(this.#path) && isInInbox(dir)) this.ignoredPeerFile = this.#path;
    else this.#bytes = readList(this.#path);
    if (this.#bytes !== null) this.#rules.add(parseLines(this.#bytes, this.#path));
    this.#rules.add(patterns);
  }

  /** Returns true if a path matches. Don't pass paths in a directory that matches. */
  isIgnored(path: readonly string[], isDirectory: boolean): boolean {
    // On Windows, the library reads a backslash as a slash. No name on Windows has a backslash: the
    // copy of such a file of a peer fails.
    if (Deno.build.os === "windows" && path.some((name) => name.includes("\\"))) return false;
    if (++this.#checkCount % MAX_CACHED_PATHS === 0) {
      this.#rules = ignore(IGNORE_OPTIONS).add(this.#rules);
    }
    return this.#rules.ignores(`${path.join("/")}${isDirectory ? "/" : ""}`);
  }

  /**
   * Reads the list again.
   *
   * @throws {Failure} if the bytes differ: the first read may have been during a save in an editor.
   */
  checkUnchanged(): void {
    if (this.ignoredPeerFile !== null) return;
    const bytes = readList(this.#path);
    const isUnchanged = bytes === null || this.#bytes === null
      ? bytes === this.#bytes
      : bytes.length === this.#bytes.length &&
        bytes.every((byte, index) => byte === this.#bytes![index]);
    if (isUnchanged) return;
    const problem = "has changed since it was read: run the same command again";
    throw new Failure(`${JSON.stringify(this.#path)} ${problem}`, "CHANGED", {
      path: this.#path,
    });
  }
}

/**
 * Returns the problem of a pattern on Windows with a backslash as a separator; `null` for any other
 * pattern. A backslash is an escape, which no letter and no digit needs.
 */
export function findPatternProblem(pattern: string): string | null {
  const escapedCharacters = pattern.matchAll(/\\(.?)/gsu).map(([, character]) => character!);
  const isSeparator = (character: string) => /^[\p{L}\p{N}_.]?$/u.test(character);
  return Deno.build.os === "windows" && escapedCharacters.some(isSeparator)
    ? `separate names by slashes, as in ${pattern.replaceAll("\\", "/")}`
    : null;
}

/**
 * Returns true if the disk may open the list by this name. Some disks ignore case and invisible
 * characters.
 */
export function isIgnoreFile(name: string): boolean {
  return removeIgnoredCharacters(name).toUpperCase().toLowerCase() === IGNORE_FILE;
}

/** Reads a list; `null` if it is missing. */
function readList(path: string): Uint8Array | null {
  try {
    const { isFile, size } = Deno.statSync(path);
    if (!isFile || size > MAX_BYTES) throw invalidListFailure(path);
    return Deno.readFileSync(path);
  } catch (error) {
    if (error instanceof Failure) throw error;
    if (!isNotFound(error)) throw toListFailure(error);
    // A dangling link, such as to a disk that is not mounted, is an unreadable list.
    if (exists(path)) throw invalidListFailure(path);
    return null;
  }
}

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch (error) {
    if (isNotFound(error)) return false;
    throw toListFailure(error);
  }
}

function toListFailure(error: unknown): unknown {
  // A missing permission of Deno concerns the whole command.
  if (error instanceof Deno.errors.NotCapable) return error;
  return new Failure(explain(error), null, { cause: error });
}

function parseLines(bytes: Uint8Array, path: string): string[] {
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw invalidListFailure(path);
  }
  const lines = text.replace(/\r?\n$/, "").split(/\r?\n/);
  // UTF-16 without a mark for the order of its bytes is UTF-8 with zeros.
  const isInvalid = text.includes("\0") || lines.length > MAX_LINES ||
    lines.some((line) => line.length > MAX_CHARACTERS);
  if (isInvalid) throw invalidListFailure(path);
  for (const line of lines) {
    const problem = line.startsWith("#") ? null : findPatternProblem(line);
    if (problem !== null) throw new Failure(`${JSON.stringify(path)}: ${line}: ${problem}`);
  }
  return lines;
}

/** Fails the command, because without the patterns it would copy or delete too much. */
function invalidListFailure(path: string): Failure {
  return new Failure(
    `${
      JSON.stringify(path)
    } can't be used, so no file is copied or deleted: it must be a file of ` +
      `UTF-8 with at most ${MAX_LINES} lines of ${MAX_CHARACTERS} characters`,
  );
}

/**
 * Returns true if a directory is in an inbox, which a server marks by a reserved directory. Checks
 * the parent directories as far as the permissions allow.
 */
function isInInbox(dir: string): boolean {
  for (let parent = realPathSync(dir);; parent = dirname(parent)) {
    const path = join(parent, RESERVED_DIRECTORY);
    if (Deno.permissions.querySync({ name: "read", path }).state !== "granted") return false;
    if (exists(path)) return true;
    if (dirname(parent) === parent) return false;
  }
}

/** The characters that are tried for a set such as `[!a-z]`, besides the characters of the set. */
const SET_CHARACTERS = [..."abcxyzABCXYZ0123456789 !\"#$%&'()*+,-:;<=>?@[\\]^_`{|}~é日"];

/**
 * Parses a pattern of the command line.
 *
 * @throws {InvalidArgumentError} if no path matches: every file would be copied. In a list, as in a
 * `.gitignore`, such a line has no effect. On Windows, if it has a backslash as a separator.
 */
export function parsePattern(pattern: string): string {
  const problem = findPatternProblem(pattern);
  if (problem !== null) throw new InvalidArgumentError(problem);
  const positivePattern = pattern.startsWith("!")
    ? pattern.slice(1).replace(/^[!#]/, "\\$&")
    : pattern;
  const path = makeMatchingPath(positivePattern);
  if (path !== null && ignore(IGNORE_OPTIONS).add([positivePattern]).ignores(path)) return pattern;
  const advice = pattern.trim() === ""
    ? "is a variable of the shell empty?"
    : pattern.startsWith("#")
    ? `a line that begins with # is a comment: write \\${pattern}`
    : /^\.\/+[^/]/.test(pattern)
    ? `write ${pattern.replace(/^\.\/+/, "/")} for a path that begins at the top of the directory`
    : "write it as in .gitignore, such as '*.tmp' or /build/, and \\ before each [ of a name";
  throw new InvalidArgumentError(`${JSON.stringify(pattern)} matches no path: ${advice}`);
}

/** Makes a path for a pattern, which the pattern matches if it matches any; `null` without one. */
function makeMatchingPath(pattern: string): string | null {
  const characters: string[] = [];
  // Spaces at the end have no meaning, unless they are escaped.
  let length = 0;
  for (let index = 0; index < pattern.length; index++) {
    const character = pattern[index]!;
    if (character === "\\") {
      if (++index === pattern.length) return null;
      characters.push(pattern[index]!);
    } else if (character === "[") {
      const end = findSetEnd(pattern, index);
      const member = findSetMember(pattern.slice(index, end));
      if (member === undefined) return null;
      characters.push(member);
      index = end - 1;
    } else characters.push(character === "*" || character === "?" ? "x" : character);
    if (character !== " ") length = characters.length;
  }
  const path = characters.slice(0, length).join("").replace(/^\//, "");
  const names = path.replace(/\/$/, "").split("/");
  return names.some((name) => name === "" || name === "." || name === "..") ? null : path;
}

/** Returns the index behind a set that begins at an index. */
function findSetEnd(pattern: string, start: number): number {
  let index = start + 1;
  if (/[!^]/.test(pattern[index] ?? "")) index++;
  if (pattern[index] === "]") index++;
  while (index < pattern.length && pattern[index] !== "]") {
    const classEnd = pattern.startsWith("[:", index) ? pattern.indexOf(":]", index + 2) : -1;
    if (classEnd >= 0) index = classEnd + 2;
    else index += pattern[index] === "\\" ? 2 : 1;
  }
  return Math.min(index + 1, pattern.length);
}

function findSetMember(set: string): string | undefined {
  const rules = ignore(IGNORE_OPTIONS).add([set]);
  // A name can't be a single dot.
  const characters = [...SET_CHARACTERS, ...set.replaceAll(/[/.]/g, ""), "."];
  return characters.find((character) => rules.ignores(character));
}
