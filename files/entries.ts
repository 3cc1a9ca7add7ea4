/**
 * The entries of lists, of directories and of trees, as both ends of a connection write and read
 * them.
 */

import { Buffer } from "node:buffer";
import { quote } from "../internal/quote.ts";
import { parseTime } from "./conditions.ts";
import { isName, MAX_DEPTH } from "./file_name.ts";
import { formatMode, parseMode } from "./modes.ts";
import { TransferError, withNeed } from "./transfer_error.ts";

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
  /** Why an entry of the kind `"other"` can't be downloaded; other kinds have none. */
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

/** What a list says of a file if it is asked for it. */
export interface WithMode {
  /** The permission bits. */
  readonly mode?: number | null;
}

/** The last element of the list of a tree: without it the list was cut. */
export const TREE_END = '{"end":true}';

/** Formats an element of a list. */
export function formatEntry(
  place: { readonly name: string } | { readonly path: readonly string[] },
  { kind, size, modified, reason, mode }: Omit<DirectoryEntry, "name"> & WithMode,
): string {
  const bits = typeof mode === "number" ? { mode: formatMode(mode) } : {};
  return JSON.stringify({ ...place, kind, size, modified, reason, ...bits });
}

/** The most bytes of a path: no system opens a longer path. */
const MAX_PATH_BYTES = 4096;
/**
 * The most characters of a name that a client keeps: no usual file system has longer ones.
 */
const MAX_NAME_CHARACTERS = 255;
/**
 * The most characters of an entry, with the white space before it: a path takes six for each byte,
 * if all are escaped. Without a limit a peer could fill the memory, and a list of white space would
 * never end.
 */
const MAX_ENTRY_CHARACTERS = 65536;

/**
 * The next entry, or any other character but white space. An object inside an entry would end the
 * token early, and `JSON.parse` refuses what was cut.
 */
const TOKEN = /[ \t\r\n]*([^ \t\r\n{]|\{[^"}]*(?:"[^"\\]*(?:\\.[^"\\]*)*"[^"}]*)*\})/y;

/** Parses a JSON array of entries that arrives in pieces, and buffers at most one entry. */
export class EntryParser<Entry extends DirectoryEntry = DirectoryEntry> {
  /**
   * Makes an entry of an element; `null` of the last element of a tree, which says that the list
   * ends.
   */
  readonly #check: (element: Record<string, unknown>) => Entry | null;
  readonly #isTree: boolean;
  readonly #decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  /** The characters that have arrived and are not read yet: the beginning of a token. */
  #rest = "";
  /**
   * The number of characters from which on they are read again: the time for a token that arrives
   * byte by byte would otherwise grow with the square of its length.
   */
  #enough = 0;
  #expected: readonly string[] = ["["];

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
    // A regular expression has no room for a token of megabytes.
    for (let at = 0; at < piece.length; at += MAX_ENTRY_CHARACTERS) {
      this.#rest += this.#decode(piece.subarray(at, at + MAX_ENTRY_CHARACTERS));
      if (this.#rest.length < this.#enough) continue;
      yield* this.#readAll();
      this.#enough = this.#rest.length * 2;
    }
  }

  /**
   * Yields the entries that are left.
   *
   * @throws {TransferError} unless the list is complete.
   */
  *end(): Generator<Entry, void, void> {
    this.#rest += this.#decode();
    yield* this.#readAll();
    if (this.#expected.length > 0 || this.#rest.includes("{")) throw badList("it ends early");
  }

  *#readAll(): Generator<Entry, void, void> {
    const text = this.#rest;
    for (let at = 0;;) {
      TOKEN.lastIndex = at;
      const token = TOKEN.exec(text)?.[1];
      const stop = token === undefined ? text.length : TOKEN.lastIndex;
      if (stop - at > MAX_ENTRY_CHARACTERS) {
        throw badEntry(`it has more than ${MAX_ENTRY_CHARACTERS} characters`);
      }
      if (token === undefined) {
        this.#rest = text.slice(at);
        return;
      }
      at = stop;
      const entry = this.#read(token);
      if (entry !== null) yield entry;
    }
  }

  #decode(piece?: Uint8Array): string {
    try {
      return this.#decoder.decode(piece, { stream: piece !== undefined });
    } catch (cause) {
      throw badEntry("it is not UTF-8", { cause });
    }
  }

  /** Reads a token; returns the entry that it is, if it is one. */
  #read(token: string): Entry | null {
    const kind = token.startsWith("{") ? "entry" : token;
    if (!this.#expected.includes(kind)) {
      if (this.#isTree && token === "]") {
        throw badList("it ends without saying that it is complete");
      }
      const expected = this.#expected.join(" or ") || "nothing";
      throw badList(`it has ${quote(token)} where ${expected} belongs`);
    }
    const entry = kind === "entry" ? this.#check(parseElement(token)) : null;
    if (kind === "]") this.#expected = [];
    else if (kind === ",") this.#expected = ["entry"];
    else if (kind === "[") this.#expected = this.#isTree ? ["entry"] : ["entry", "]"];
    else if (entry === null) this.#expected = ["]"];
    else this.#expected = this.#isTree ? [","] : [",", "]"];
    return entry;
  }
}

function parseElement(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw badEntry(`it is not JSON: ${quote(text)}`, { cause: error });
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
  if (typeof entry.name !== "string") throw badEntry("it has no name");
  const name = messageName(entry.name);
  if (reason !== "name" && !isName(name)) {
    throw badEntry(`its name can't be that of a file: ${quote(name)}`);
  }
  if (kind !== "file" && kind !== "directory" && kind !== "other") {
    throw badEntry(`${quote(name)} has a bad kind`);
  }
  if (kind === "other" ? !KNOWN_REASONS.has(reason) : reason !== undefined) {
    throw badEntry(`${quote(name)} has a bad reason`);
  }
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) {
    throw badEntry(`${quote(name)} has a bad size`);
  }
  const date = parseTime(modified);
  if (date === null) throw badEntry(`${quote(name)} has a bad time`);
  if (entry.mode !== undefined) return withMode({ name, kind, size, modified: date }, entry.mode);
  if (kind !== "other") return { name, kind, size, modified: date };
  return { name, kind, size, modified: date, reason: reason as OtherReason };
}

function withMode(entry: DirectoryEntry, value: unknown): DirectoryEntry & WithMode {
  const mode = parseMode(value);
  if (mode !== null && entry.kind === "file") return { ...entry, mode };
  throw badEntry(`${quote(entry.name)} has a bad mode`);
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
    throw withNeed(badEntry("it has no path"), "the server needs a FilesApp of this version");
  }
  const entry = checkEntry({ ...element, name: path.at(-1) });
  path[path.length - 1] = entry.name;
  let bytes = -1;
  for (const name of path) {
    if (typeof name !== "string") throw badEntry("its path is not one of names");
    bytes += 1 + byteLength(name);
  }
  // An entry with the reason `name` is never opened, so its name does not count.
  if (entry.reason === "name") bytes -= 1 + byteLength(entry.name);
  if (bytes > MAX_PATH_BYTES) {
    throw badEntry(`its path has more than ${MAX_PATH_BYTES} bytes, which no system opens`);
  }
  if (path.length > MAX_DEPTH + 1 || entry.reason !== "name" && path.length > MAX_DEPTH) {
    throw badEntry(`its path has more than ${MAX_DEPTH} names`);
  }
  return { path, ...entry };
}

function badEntry(problem: string, options?: ErrorOptions): TransferError {
  return new TransferError("BAD_LIST", `the list has a bad entry: ${problem}`, options);
}

export const NO_LIST = "the response is not a directory listing";
export const NEEDS_LIST = "the server needs a FilesApp with list: true";

/** The error of a response that is not a list. */
export function badList(problem: string): TransferError {
  const error = new TransferError("BAD_LIST", `${NO_LIST}: ${problem}`);
  return withNeed(error, NEEDS_LIST);
}
