/**
 * The entries of lists, of directories and of trees, as both ends of a connection write and read
 * them.
 */

import { Buffer } from "node:buffer";
import { decodeText, EMPTY } from "../base/bytes.ts";
import { quote } from "../base/quote.ts";
import { fingerprintOf } from "./digest.ts";
import { isName, MAX_DEPTH } from "./file_name.ts";
import { TransferError } from "./transfer_error.ts";

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
 * - `"link"`: a symbolic link to a directory, to nothing, or out of the directory that is served;
 * - `"special"`: a FIFO, a socket or a device;
 * - `"unreadable"`: the server may not read the file, or not search the directory, or the disk
 *   fails;
 * - `"name"`: the name is not UTF-8, too long to be requested, or the path of something that was
 *   put
 *   aside and can't be put back; then `name` is for messages only, and cut after 255 characters.
 */
export type OtherReason = "link" | "special" | "unreadable" | "name";

/** A file, a directory or anything else below the root of a tree. */
export interface TreeEntry extends DirectoryEntry {
  /** The names from the root of the tree to the entry; the last one is `name`. */
  readonly path: readonly string[];
}

/** An entry of a tree as it is listed. */
export interface ListedEntry extends TreeEntry {
  /** Whether the entry is a link to the file that it describes. */
  readonly link?: true;
}

/** The last element of the list of a tree: without it the list was cut. */
export const TREE_END = '{"end":true}';

/**
 * Formats an element of a list. A link to a file is listed as that file, with `link`: a client that
 * is about to write there must know, since no link is followed then.
 */
export function formatEntry(
  place: { readonly name: string } | { readonly path: readonly string[] },
  { kind, size, modified, reason, link }: Omit<DirectoryEntry, "name"> & { readonly link?: true },
): string {
  return JSON.stringify({ ...place, kind, size, modified, reason, link });
}

/**
 * The SHA-256 of the tree that a client has seen in a directory, in hexadecimal digits. A server
 * that is asked to replace the directory compares the tree that is there then.
 *
 * @param entries Everything in the directory, in any order, with paths that begin there.
 */
export function digestTree(entries: Iterable<Omit<TreeEntry, "name">>): string {
  const lines: string[] = [];
  for (const { path, kind, size, modified } of entries) {
    const version = kind === "file" ? [size, modified] : [0, ""];
    lines.push(JSON.stringify([path, kind, ...version]));
  }
  // By code units, as `sort` does by itself.
  return fingerprintOf(lines.sort().join("\n"));
}

/**
 * The most bytes of an entry of a directory: a name of 255 bytes takes 1,530 if each byte is
 * escaped. Without a limit a peer could fill the memory.
 */
const MAX_ENTRY_BYTES = 4096;
/** The most bytes of a path: no system opens a longer path. */
const MAX_PATH_BYTES = 4096;
/**
 * The most characters of a name that a client keeps: no usual file system has longer ones. Only the
 * path of something that lies aside may have more.
 */
export const MAX_NAME_CHARACTERS = 255;
/** The most bytes of an entry of a tree: six for each byte of its path, if all are escaped. */
const MAX_TREE_ENTRY_BYTES = 32768;
/**
 * The most bytes of white space between two entries, so that a list ends. No program writes as
 * many.
 */
const MAX_SPACE_BYTES = 65536;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/** The beginning of an element that arrives in pieces, until the rest has arrived. */
export class Held {
  readonly #most: number;
  readonly #tooMany: () => Error;
  #buffer: Uint8Array<ArrayBuffer> = EMPTY;
  /** How many bytes are held. */
  length = 0;

  /** Holds nothing yet; with more than `most` bytes the error is thrown. */
  constructor(most: number, tooMany: () => Error) {
    this.#most = most;
    this.#tooMany = tooMany;
  }

  /** Holds a further part of the element, after which more follows. */
  add(part: Uint8Array): void {
    const length = this.length + part.length;
    if (length > this.#most) throw this.#tooMany();
    if (length > this.#buffer.length) {
      const larger = new Uint8Array(Math.min(this.#most, length * 2));
      larger.set(this.#buffer.subarray(0, this.length));
      this.#buffer = larger;
    }
    this.#buffer.set(part, this.length);
    this.length = length;
  }

  /**
   * Returns the whole element, of which this part is the rest; the bytes are valid until more is
   * held.
   */
  take(part: Uint8Array): Uint8Array {
    if (this.length === 0 && part.length <= this.#most) return part;
    this.add(part);
    const whole = this.#buffer.subarray(0, this.length);
    this.length = 0;
    return whole;
  }
}

/** The bytes that may follow in the array, besides white space. */
type Expected = "[" | "entry or ]" | "entry" | ", or ]" | "]" | "nothing";

/** Parses a JSON array of entries that arrives in pieces, and buffers at most one entry. */
export class EntryParser<Entry extends DirectoryEntry = DirectoryEntry> {
  /**
   * Makes an entry of an element; `null` of the last element of a tree, which says that the list
   * ends.
   */
  readonly #check: (element: Record<string, unknown>) => Entry | null;
  readonly #isTree: boolean;
  /** The bytes of an entry that has begun. */
  readonly #held: Held;
  #isInside = false;
  #expected: Expected = "[";
  #spaces = 0;
  #inString = false;
  #escaped = false;
  #inPath = false;

  private constructor(isTree: boolean, check: (element: Record<string, unknown>) => Entry | null) {
    this.#isTree = isTree;
    this.#check = check;
    const most = isTree ? MAX_TREE_ENTRY_BYTES : MAX_ENTRY_BYTES;
    this.#held = new Held(most, () => badEntry(`it has more than ${most} bytes`));
  }

  /** Makes a parser of the list of a directory. */
  static ofDirectory(): EntryParser<DirectoryEntry> {
    return new EntryParser(false, checkEntry);
  }

  /** Makes a parser of the list of a tree, whose last element says that the list ends. */
  static ofTree(): EntryParser<ListedEntry> {
    return new EntryParser(true, checkTreeEntry);
  }

  /**
   * Yields the entries that end in a piece.
   *
   * @throws {TransferError} if the piece does not continue a list.
   */
  *push(piece: Uint8Array): Generator<Entry, void, void> {
    let start = 0;
    for (let at = 0; at < piece.length; at++) {
      const byte = piece[at]!;
      if (!this.#isInside) {
        this.#between(byte);
        start = at;
      } else if (this.#endsEntry(byte)) {
        const entry = this.#check(parseElement(this.#held.take(piece.subarray(start, at + 1))));
        this.#isInside = false;
        this.#expected = entry === null ? "]" : ", or ]";
        if (entry !== null) yield entry;
      }
    }
    if (this.#isInside) this.#held.add(piece.subarray(start));
  }

  /** Throws a {@linkcode TransferError} unless the list is complete. */
  end(): void {
    if (this.#expected !== "nothing") throw badList("it ends early");
  }

  #between(byte: number): void {
    if (byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09) {
      if (++this.#spaces > MAX_SPACE_BYTES) {
        throw badList(`it has more than ${MAX_SPACE_BYTES} bytes of white space in one place`);
      }
      return;
    }
    this.#spaces = 0;
    const expected = this.#expected;
    if (byte === OPEN_BRACKET && expected === "[") {
      this.#expected = this.#isTree ? "entry" : "entry or ]";
    } else if (byte === OPEN_BRACE && (expected === "entry" || expected === "entry or ]")) {
      this.#isInside = true;
    } else if (byte === COMMA && expected === ", or ]") {
      this.#expected = "entry";
    } else if (byte === CLOSE_BRACKET && expected.endsWith("]")) {
      if (this.#isTree && expected !== "]") {
        throw badList("it ends without saying that it is complete");
      }
      this.#expected = "nothing";
    } else {
      throw badList(`it has ${quote(Uint8Array.of(byte))} where ${expected} belongs`);
    }
  }

  /** Reads a byte after the `{` of an entry; true if the byte is the `}` of the entry. */
  #endsEntry(byte: number): boolean {
    if (this.#inString) {
      if (this.#escaped) this.#escaped = false;
      else if (byte === BACKSLASH) this.#escaped = true;
      else if (byte === QUOTE) this.#inString = false;
      return false;
    }
    if (byte === QUOTE) this.#inString = true;
    else if (byte === OPEN_BRACKET && this.#isTree && !this.#inPath) this.#inPath = true;
    else if (byte === CLOSE_BRACKET) this.#inPath = false;
    else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) throw badEntry("it has another inside");
    return byte === CLOSE_BRACE;
  }
}

function parseElement(bytes: Uint8Array): Record<string, unknown> {
  try {
    return JSON.parse(decodeText(bytes));
  } catch (error) {
    throw badEntry(`it is not JSON: ${quote(bytes)}`, { cause: error });
  }
}

const REASONS: ReadonlySet<unknown> = new Set<OtherReason>([
  "link",
  "special",
  "unreadable",
  "name",
]);

function checkEntry(entry: Record<string, unknown>): DirectoryEntry {
  const { kind, size, modified, reason } = entry;
  if (typeof entry.name !== "string") throw badEntry("it has no name");
  const name = reason === "name" ? messageName(entry.name) : entry.name;
  if (reason !== "name" && !isName(name)) {
    throw badEntry(`its name can't be that of a file: ${quote(name)}`);
  }
  if (kind !== "file" && kind !== "directory" && kind !== "other") {
    throw badEntry(`${quote(name)} has a bad kind`);
  }
  if (kind === "other" ? !REASONS.has(reason) : reason !== undefined) {
    throw badEntry(`${quote(name)} has a bad reason`);
  }
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) {
    throw badEntry(`${quote(name)} has a bad size`);
  }
  const date = parseTime(modified);
  if (date === null) throw badEntry(`${quote(name)} has a bad time`);
  if (kind !== "other") return { name, kind, size, modified: date };
  return { name, kind, size, modified: date, reason: reason as OtherReason };
}

/** A name for messages, cut if it is too long. A slice would keep the whole text in memory. */
function messageName(name: string): string {
  if (name.length <= MAX_NAME_CHARACTERS) return name;
  return Buffer.from(`${name.slice(0, MAX_NAME_CHARACTERS - 1)}…`).toString();
}

const { byteLength } = Buffer;

function checkTreeEntry(element: Record<string, unknown>): ListedEntry | null {
  const { path, end, link } = element;
  if (end === true) return null;
  if (!Array.isArray(path) || path.length === 0) {
    throw badEntry("it has no path; the server needs a FilesApp of this version");
  }
  const entry = checkEntry({ ...element, name: path.at(-1) });
  path[path.length - 1] = entry.name;
  let bytes = -1;
  for (const name of path) {
    if (typeof name !== "string") throw badEntry("its path is not one of names");
    bytes += 1 + byteLength(name);
  }
  // A name for messages is no part of a path that is opened.
  if (entry.reason === "name") bytes -= 1 + byteLength(entry.name);
  if (bytes > MAX_PATH_BYTES) {
    throw badEntry(`its path has more than ${MAX_PATH_BYTES} bytes, which no system opens`);
  }
  if (path.length > MAX_DEPTH + 1 || entry.reason !== "name" && path.length > MAX_DEPTH) {
    throw badEntry(`its path has more than ${MAX_DEPTH} names`);
  }
  return link === true ? { path, ...entry, link } : { path, ...entry };
}

/**
 * Reads a time in ISO 8601, in the form that `toISOString` writes; `null` if the text has another
 * form.
 */
export function parseTime(text: unknown): Date | null {
  if (typeof text !== "string") return null;
  const date = new Date(text);
  return !Number.isNaN(date.getTime()) && date.toISOString() === text ? date : null;
}

function badEntry(problem: string, options?: ErrorOptions): TransferError {
  return new TransferError("BAD_LIST", `the list has a bad entry: ${problem}`, options);
}

/** The error of a response that is not a list. */
export function badList(problem: string): TransferError {
  return new TransferError(
    "BAD_LIST",
    `the response is not a directory listing: ${problem}; the server needs a FilesApp with list: true`,
  );
}
