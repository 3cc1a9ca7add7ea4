/**
 * The entries of lists, of directories and of trees, as both ends of a connection write and read
 * them.
 */

import { Buffer } from "node:buffer";
import { decodeText } from "../internal/bytes.ts";
import { quote } from "../internal/quote.ts";
import { parseTime } from "./conditions.ts";
import { isName, MAX_DEPTH } from "./file_name.ts";
import { LineBuffer, MAX_LINE_BYTES } from "./lines.ts";
import { formatMode, parseMode } from "./modes.ts";
import { TransferError, withRequirement } from "./transfer_error.ts";

/** A file, a directory or anything else that a directory lists. */
export interface DirectoryEntry {
  /** The name, as it is on the disk: `escapeName` converts it to a component of a URI. */
  readonly name: string;
  /** The kind of entry; `"other"` can't be downloaded, for its `reason`. */
  readonly kind: "file" | "directory" | "other";
  /** The bytes of a file; for anything else a number without a meaning. */
  readonly size: number;
  /** When the file or directory was last changed. */
  readonly modified: Date;
  /** Why an entry of the kind `"other"` can't be downloaded; undefined for other kinds. */
  readonly reason?: OtherReason;
}

/**
 * Why an entry can't be downloaded:
 *
 * - `"link"`: a symbolic link, which is not followed;
 * - `"special"`: a FIFO, a socket or a device;
 * - `"unreadable"`: the server may not read the file, or not search the directory, or the disk
 *   fails;
 * - `"name"`: the name is not UTF-8, or too long to be requested; then `name` is for messages only,
 *   and cut after 255 characters.
 */
export type OtherReason = "link" | "special" | "unreadable" | "name";

/** A file, a directory or anything else below the root of a tree. */
export interface TreeEntry extends DirectoryEntry {
  /** The names from the root of the tree to the entry; the last one is `name`. */
  readonly path: readonly string[];
}

/** The part of an entry that a list has on request. */
export interface WithMode {
  /** The permission bits. */
  readonly mode?: number | null;
}

/** The last element of the list of a tree: without it the list was cut. */
export const TREE_END = '{"end":true}';

/** Formats an element of a list. */
export function formatEntry(
  location: { readonly name: string } | { readonly path: readonly string[] },
  { kind, size, modified, reason, mode }: Omit<DirectoryEntry, "name"> & WithMode,
): string {
  const bits = typeof mode === "number" ? { mode: formatMode(mode) } : {};
  return JSON.stringify({ ...location, kind, size, modified, reason, ...bits });
}

/** The most bytes of a path: no system opens a longer path. */
const MAX_PATH_BYTES = 4096;
/**
 * The most characters of a name that a client keeps: no usual file system has longer ones.
 */
const MAX_NAME_CHARACTERS = 255;
/**
 * Parses a list that arrives in pieces, and buffers at most one entry. A list is an array in JSON
 * of which each element is a line.
 */
export class EntryParser<Entry extends DirectoryEntry = DirectoryEntry> {
  /**
   * Makes an entry of an element; `null` of the last element of a tree, which says that the list
   * ends.
   */
  readonly #check: (element: Record<string, unknown>) => Entry | null;
  readonly #isTree: boolean;
  readonly #buffer = new LineBuffer();
  /** The next line: one of these brackets, or an element. */
  #expected: readonly ("[" | "]" | "an entry")[] = ["["];

  private constructor(isTree: boolean, check: (element: Record<string, unknown>) => Entry | null) {
    this.#isTree = isTree;
    this.#check = check;
  }

  static ofDirectory(): EntryParser<DirectoryEntry> {
    return new EntryParser(false, checkEntry);
  }

  /** Makes a parser of the list of a tree, whose last element says that the list ends. */
  static ofTree(): EntryParser<TreeEntry> {
    return new EntryParser(true, checkTreeEntry);
  }

  /**
   * Yields the entries that have arrived with a piece.
   *
   * @throws {TransferError} if the piece does not continue a list.
   */
  *push(piece: Uint8Array): Generator<Entry, void, void> {
    for (let at = 0; at < piece.length;) {
      const taken = this.#buffer.takeLine(piece, at, lineTooLongError);
      if (taken === null) return;
      at = taken.end;
      const entry = this.#read(taken.line);
      if (entry !== null) yield entry;
    }
  }

  /** @throws {TransferError} unless the list is complete. */
  end(): void {
    if (this.#expected.length > 0 || this.#buffer.length > 0) {
      throw invalidListError("it ends early");
    }
  }

  /** Reads a line; returns the entry that it has, if it has one. */
  #read(line: Uint8Array): Entry | null {
    const text = decodeLine(line);
    const isElement = text.startsWith("{");
    if (!this.#expected.some((expected) => expected === (isElement ? "an entry" : text))) {
      const expected = this.#expected.join(" or ") || "nothing";
      throw invalidListError(`it has ${quote(text)} where ${expected} belongs`);
    }
    if (!isElement) {
      const isEmpty = text === "[" && !this.#isTree;
      this.#expected = text === "]" ? [] : isEmpty ? ["an entry", "]"] : ["an entry"];
      return null;
    }
    const isLast = !text.endsWith(",");
    const entry = this.#check(parseElement(isLast ? text : text.slice(0, -1)));
    if (this.#isTree && isLast && entry !== null) {
      throw invalidListError("it ends without saying that it is complete");
    }
    if (entry === null && !isLast) throw invalidListError("it goes on behind its last element");
    this.#expected = isLast ? ["]"] : ["an entry"];
    return entry;
  }
}

function lineTooLongError(): TransferError {
  return invalidEntryError(`it has more than ${MAX_LINE_BYTES} bytes`);
}

function decodeLine(line: Uint8Array): string {
  try {
    return decodeText(line);
  } catch (cause) {
    throw invalidEntryError("it is not UTF-8", { cause });
  }
}

function parseElement(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw invalidEntryError(`it is not JSON: ${quote(text)}`, { cause: error });
  }
}

const KNOWN_REASONS: ReadonlySet<unknown> = new Set<OtherReason>([
  "link",
  "special",
  "unreadable",
  "name",
]);

function checkEntry(entry: Record<string, unknown>): DirectoryEntry {
  const { kind, size, modified, reason } = entry;
  if (typeof entry.name !== "string") throw invalidEntryError("it has no name");
  const name = messageName(entry.name);
  if (reason !== "name" && !isName(name)) {
    throw invalidEntryError(`its name can't be that of a file: ${quote(name)}`);
  }
  if (kind !== "file" && kind !== "directory" && kind !== "other") {
    throw invalidEntryError(`${quote(name)} has a bad kind`);
  }
  if (kind === "other" ? !KNOWN_REASONS.has(reason) : reason !== undefined) {
    throw invalidEntryError(`${quote(name)} has a bad reason`);
  }
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) {
    throw invalidEntryError(`${quote(name)} has a bad size`);
  }
  const date = parseTime(modified);
  if (date === null) throw invalidEntryError(`${quote(name)} has a bad time`);
  if (entry.mode !== undefined) return withMode({ name, kind, size, modified: date }, entry.mode);
  if (kind !== "other") return { name, kind, size, modified: date };
  return { name, kind, size, modified: date, reason: reason as OtherReason };
}

function withMode(entry: DirectoryEntry, value: unknown): DirectoryEntry & WithMode {
  const mode = parseMode(value);
  if (mode !== null && entry.kind === "file") return { ...entry, mode };
  throw invalidEntryError(`${quote(entry.name)} has a bad mode`);
}

/** A name for messages, cut if it is too long. A slice would keep the whole text in memory. */
function messageName(name: string): string {
  if (name.length <= MAX_NAME_CHARACTERS) return name;
  return Buffer.from(`${name.slice(0, MAX_NAME_CHARACTERS - 1)}…`).toString();
}

const { byteLength } = Buffer;

function checkTreeEntry(element: Record<string, unknown>): TreeEntry | null {
  const { path, end } = element;
  if (end === true) return null;
  if (!Array.isArray(path) || path.length === 0) {
    throw withRequirement(
      invalidEntryError("it has no path"),
      "the server needs a FilesApp of this version",
    );
  }
  const entry = checkEntry({ ...element, name: path.at(-1) });
  path[path.length - 1] = entry.name;
  let bytes = -1;
  for (const name of path) {
    if (typeof name !== "string") throw invalidEntryError("its path is not one of names");
    bytes += 1 + byteLength(name);
  }
  // An entry with the reason `name` is never opened, so its name does not count.
  if (entry.reason === "name") bytes -= 1 + byteLength(entry.name);
  if (bytes > MAX_PATH_BYTES) {
    throw invalidEntryError(
      `its path has more than ${MAX_PATH_BYTES} bytes, which no system opens`,
    );
  }
  if (path.length > MAX_DEPTH + 1 || entry.reason !== "name" && path.length > MAX_DEPTH) {
    throw invalidEntryError(`its path has more than ${MAX_DEPTH} names`);
  }
  return { path, ...entry };
}

function invalidEntryError(problem: string, options?: ErrorOptions): TransferError {
  return new TransferError("BAD_LIST", `the list has a bad entry: ${problem}`, options);
}

export const NO_LIST = "the response is not a directory listing";
export const NEEDS_LIST = "the server needs a FilesApp with list: true";

/** The error of a response that is not a list. */
export function invalidListError(problem: string): TransferError {
  const error = new TransferError("BAD_LIST", `${NO_LIST}: ${problem}`);
  return withRequirement(error, NEEDS_LIST);
}
