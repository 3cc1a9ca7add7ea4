import { dirname } from "node:path";
import { join } from "../machine/paths.ts";
import { IGNORE_FILE } from "../machine/context.ts";
import type { ExcludePatterns } from "./exclude_pattern.ts";
import { explain, RUN_AGAIN } from "../words/explain.ts";
import { Failure } from "../failure.ts";
import { isInInbox } from "../machine/inbox_marker.ts";
import { isNotFound, toExplainedFailure } from "../machine/local_paths.ts";

const MAX_LINES = 10_000;
const MAX_CHARACTERS = 1_000;
/** A line of UTF-8 has at most three bytes for each UTF-16 unit, and ends with two. */
const MAX_BYTES = MAX_LINES * (3 * MAX_CHARACTERS + 2);

export class IgnoreList {
  /** The path of a list that has no effect because a peer may have written it; else `null`. */
  readonly ignoredPeerFile: string | null = null;
  readonly #path: string;
  readonly #bytes: Uint8Array | null = null;
  #patterns: ExcludePatterns | null = null;

  private constructor(path: string, isInInbox: boolean) {
    this.#path = path;
    if (isInInbox) this.ignoredPeerFile = path;
    else this.#bytes = readList(path);
  }

  static async read(dir: string, patterns: readonly string[]): Promise<IgnoreList> {
    const path = join(dir, IGNORE_FILE);
    const list = new IgnoreList(path, exists(path) && await isInInbox(dir));
    if (list.#bytes === null && patterns.length === 0) return list;
    // Most commands don't need this module, whose library takes 5 ms to load.
    const { ExcludePatterns, findPatternProblem } = await import("./exclude_pattern.ts");
    const lines = list.#bytes === null ? [] : parseLines(list.#bytes, list.#path);
    for (const line of lines) {
      const problem = line.startsWith("#") ? null : findPatternProblem(line);
      if (problem !== null) throw new Failure(`${JSON.stringify(list.#path)}: ${line}: ${problem}`);
    }
    list.#patterns = new ExcludePatterns([...lines, ...patterns]);
    return list;
  }

  /** The caller must not pass paths inside an ignored directory. */
  isIgnored(path: readonly string[], isDirectory: boolean): boolean {
    // On Windows, `ignore` reads a backslash as a slash. No name on Windows has a backslash: the
    // copy of such a file of a peer fails.
    if (Deno.build.os === "windows" && path.some((name) => name.includes("\\"))) return false;
    return this.#patterns?.matches(`${path.join("/")}${isDirectory ? "/" : ""}`) ?? false;
  }

  get unusedPatterns(): readonly string[] {
    return this.#patterns?.unusedPatterns ?? [];
  }

  /**
   * Reads the list again.
   *
   * @throws {Failure} if it has changed: the first read may have been during a save in an editor.
   */
  checkUnchanged(): void {
    if (this.ignoredPeerFile !== null) return;
    const bytes = readList(this.#path);
    const isUnchanged = bytes === null || this.#bytes === null
      ? bytes === this.#bytes
      : bytes.length === this.#bytes.length &&
        bytes.every((byte, index) => byte === this.#bytes![index]);
    if (isUnchanged) return;
    const problem = `has changed since it was read: ${RUN_AGAIN}`;
    throw new Failure(`${JSON.stringify(this.#path)} ${problem}`, "CHANGED", {
      path: this.#path,
    });
  }
}

/**
 * Returns true if the disk may open the list by this name. Some disks ignore case and invisible
 * characters.
 */
export function isIgnoreFile(name: string): boolean {
  const visibleName = name.replace(/[. ]+$|\p{Default_Ignorable_Code_Point}/gu, "");
  return visibleName.toUpperCase().toLowerCase() === IGNORE_FILE;
}

function readList(path: string): Uint8Array | null {
  try {
    const { isFile, size } = Deno.statSync(path);
    if (!isFile || size > MAX_BYTES) throw invalidListFailure(path);
    return Deno.readFileSync(path);
  } catch (error) {
    if (error instanceof Failure) throw error;
    if (!isNotFound(error)) throw toExplainedFailure(error);
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
    if (!(error instanceof Deno.errors.PermissionDenied)) throw toExplainedFailure(error);
    // Name the directory, whose permissions hide the list. There may be no list.
    const message = explain(error).replace(
      JSON.stringify(path),
      () => JSON.stringify(dirname(path)),
    );
    throw new Failure(message, null, { cause: error });
  }
}

function parseLines(bytes: Uint8Array, path: string): string[] {
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw invalidListFailure(path);
  }
  const lines = text.replace(/\r?\n$/, "").split(/\r?\n/);
  // UTF-16 without a byte order mark is UTF-8 with zeros.
  const isInvalid = text.includes("\0") || lines.length > MAX_LINES ||
    lines.some((line) => line.length > MAX_CHARACTERS);
  if (isInvalid) throw invalidListFailure(path);
  return lines;
}

/** Fails the command, because without the patterns it would copy or delete too much. */
function invalidListFailure(path: string): Failure {
  return new Failure(
    `${JSON.stringify(path)} can't be used, so no file is copied or deleted: it must be a file ` +
      `of UTF-8 with at most ${MAX_LINES} lines of ${MAX_CHARACTERS} characters`,
  );
}
