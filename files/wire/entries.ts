import { Buffer } from "node:buffer";
import { quoteName } from "../../internal/quote.ts";
import { parseTime } from "./conditions.ts";
import { isFileName, MAX_DEPTH } from "./file_name.ts";
import { LINE_FEED, LineBuffer, lineDecoder, MAX_LINE_BYTES } from "./lines.ts";
import { formatMode, parseMode } from "./metadata.ts";
import { REASON_PATTERN } from "./refusal_reason.ts";

/** An entry of a directory: a file, a directory, or an entry that can't be downloaded. */
export interface DirectoryEntry {
  /** The name on the disk, not escaped: `fileUri` makes a URI of names. */
  readonly name: string;
  /** A file, a directory, or an entry that can't be downloaded (`"other"`; see `reason`). */
  readonly kind: "file" | "directory" | "other";
  /** The length of a file in bytes; for other kinds the number is meaningless. */
  readonly size: number;
  /**
   * The time of the last change of the file or directory; 1970 if it is unknown, or its year is not
   * in 0 to 9999.
   */
  readonly modified: Date;
  /**
   * The reason that an entry of the kind `"other"` can't be downloaded; otherwise `undefined`.
   *
   * - `"link"`: The entry is a symbolic link, which the server doesn't follow.
   * - `"special"`: The entry is a FIFO, a socket or a device.
   * - `"unreadable"`: The server has no permission to read the file or to search the directory, or
   *   the disk fails. Or the file has more than 2⁵³ − 1 bytes.
   * - `"name"`: The name is not UTF-8, or too long for a request. The `name` is then only for
   *   messages, and cut after 255 characters.
   */
  readonly reason?: "link" | "special" | "unreadable" | "name";
  /** Whether an unreadable entry is a directory; `undefined` if its kind can't be read either. */
  readonly isDirectory?: boolean;
}

type OtherReason = NonNullable<DirectoryEntry["reason"]>;

/** An entry of a tree: a file, a directory, or an entry that can't be downloaded. */
export interface TreeEntry extends DirectoryEntry {
  /** The names from the root of the tree to the entry; the last one is `name`. */
  readonly path: readonly string[];
}

export interface OptionalMode {
  readonly mode?: number | null;
}

export const TREE_END = '{"end":true}';

export function formatEntry(
  location: { readonly name: string } | { readonly path: readonly string[] },
  { kind, size, modified, reason, isDirectory, mode }:
    & Omit<DirectoryEntry, "name">
    & OptionalMode,
): string {
  // `JSON.stringify` of the whole entry takes three times as long.
  const start = JSON.stringify(location).slice(0, -1);
  const reasonField = reason === undefined ? "" : `,"reason":"${reason}"`;
  const directoryField = isDirectory === undefined ? "" : `,"isDirectory":${isDirectory}`;
  const modeField = typeof mode === "number" ? `,"mode":"${formatMode(mode)}"` : "";
  return `${start},"kind":"${kind}","size":${size},"modified":"${modified.toISOString()}"` +
    `${reasonField}${directoryField}${modeField}}`;
}

/** The maximum length of a path in UTF-8: no system opens a longer path. */
const MAX_PATH_BYTES = 4096;
/** The maximum length of a name in memory: usual file systems have no longer names. */
const MAX_NAME_CHARACTERS = 255;

/** The bytes are no list: what is wrong with the list. */
export class ListError extends Error {
  override readonly name = "ListError";
}

function invalidEntryError(problem: string, options?: ErrorOptions): ListError {
  return new ListError(`it has a bad entry: ${problem}`, options);
}

/**
 * A parser of a list that arrives in pieces, which buffers at most one entry. A list is a JSON
 * array with one element in each line.
 */
export class EntryParser<Entry extends DirectoryEntry = DirectoryEntry> {
  readonly #parseEntry: (element: Record<string, unknown>) => Entry | null;
  readonly #isTree: boolean;
  readonly #buffer = new LineBuffer();
  #expectedLines: readonly ("[" | "]" | "an entry")[] = ["["];

  private constructor(
    isTree: boolean,
    parseEntryElement: (element: Record<string, unknown>) => Entry | null,
  ) {
    this.#isTree = isTree;
    this.#parseEntry = parseEntryElement;
  }

  static ofDirectory(): EntryParser<DirectoryEntry> {
    return new EntryParser(false, (element) => parseEntry(element, element.name));
  }

  static ofTree(): EntryParser<TreeEntry> {
    return new EntryParser(true, parseTreeEntry);
  }

  push(piece: Uint8Array): Entry[] {
    const entries: Entry[] = [];
    const end = piece.lastIndexOf(LINE_FEED);
    if (end >= 0) {
      // Decoding each line takes as long as parsing it, so decode all lines of the piece together.
      const text = decodeLines(this.#buffer.take(piece.subarray(0, end)));
      for (const line of text.split("\n")) {
        const entry = this.#parseLine(line);
        if (entry !== null) entries.push(entry);
      }
    }
    const incompleteLine = piece.subarray(end + 1);
    if (this.#buffer.length + incompleteLine.length >= MAX_LINE_BYTES) throw lineTooLongError();
    this.#buffer.add(incompleteLine);
    return entries;
  }

  checkEnd(): void {
    if (this.#expectedLines.length > 0 || this.#buffer.length > 0) {
      throw new ListError("it ends early");
    }
  }

  #parseLine(text: string): Entry | null {
    // UTF-8 has at most three bytes for each code unit of a string.
    if (text.length * 3 >= MAX_LINE_BYTES && byteLength(text) >= MAX_LINE_BYTES) {
      throw lineTooLongError();
    }
    const isElement = text.startsWith("{");
    if (
      !this.#expectedLines.some((expectedLine) => expectedLine === (isElement ? "an entry" : text))
    ) {
      const expectedText = this.#expectedLines.join(" or ") || "nothing";
      throw new ListError(`it has ${quoteName(text)} where ${expectedText} belongs`);
    }
    if (!isElement) {
      const isEmpty = text === "[" && !this.#isTree;
      this.#expectedLines = text === "]" ? [] : isEmpty ? ["an entry", "]"] : ["an entry"];
      return null;
    }
    const isLast = !text.endsWith(",");
    const entry = this.#parseEntry(parseElement(isLast ? text : text.slice(0, -1)));
    if (this.#isTree && isLast && entry !== null) {
      throw new ListError("it ends without saying that it is complete");
    }
    if (entry === null && !isLast) throw new ListError("it goes on behind its last element");
    this.#expectedLines = isLast ? ["]"] : ["an entry"];
    return entry;
  }
}

function lineTooLongError(): ListError {
  return invalidEntryError(`it has more than ${MAX_LINE_BYTES} bytes`);
}

function decodeLines(lines: Uint8Array): string {
  try {
    return lineDecoder.decode(lines);
  } catch (cause) {
    throw invalidEntryError("it is not UTF-8", { cause });
  }
}

function parseElement(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw invalidEntryError(`it is not JSON: ${quoteName(text)}`, { cause: error });
  }
}

const OTHER_REASONS: readonly OtherReason[] = ["link", "special", "unreadable", "name"];

function parseReason(value: unknown): OtherReason | null {
  if (typeof value !== "string" || !REASON_PATTERN.test(value)) return null;
  return OTHER_REASONS.find((reason) => reason === value) ?? "unreadable";
}

function parseEntry(element: Record<string, unknown>, fullName: unknown): DirectoryEntry {
  const { kind, size, modified, reason } = element;
  if (typeof fullName !== "string") throw invalidEntryError("it has no name");
  const name = shortenName(fullName);
  if (reason !== "name" && !isFileName(name)) {
    throw invalidEntryError(`its name can't be that of a file: ${quoteName(name)}`);
  }
  if (kind !== "file" && kind !== "directory" && kind !== "other") {
    throw invalidEntryError(`${quoteName(name)} has a bad kind`);
  }
  const otherReason = kind === "other" ? parseReason(reason) : undefined;
  if (otherReason === null || kind !== "other" && reason !== undefined) {
    throw invalidEntryError(`${quoteName(name)} has a bad reason`);
  }
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) {
    throw invalidEntryError(`${quoteName(name)} has a bad size`);
  }
  const date = parseTime(modified);
  if (date === null) throw invalidEntryError(`${quoteName(name)} has a bad time`);
  const entry: DirectoryEntry = { name, kind, size, modified: date };
  if (element.mode !== undefined) return withMode(entry, element.mode);
  if (otherReason === undefined) return entry;
  const { isDirectory } = element;
  return otherReason === "unreadable" && typeof isDirectory === "boolean"
    ? { ...entry, reason: otherReason, isDirectory }
    : { ...entry, reason: otherReason };
}

function withMode(entry: DirectoryEntry, value: unknown): DirectoryEntry & OptionalMode {
  const mode = parseMode(value);
  if (mode !== null && entry.kind === "file") return { ...entry, mode };
  throw invalidEntryError(`${quoteName(entry.name)} has a bad mode`);
}

/** A slice alone would keep the whole text in memory. */
function shortenName(name: string): string {
  if (name.length <= MAX_NAME_CHARACTERS) return name;
  return Buffer.from(`${name.slice(0, MAX_NAME_CHARACTERS - 1)}…`).toString();
}

const { byteLength } = Buffer;

function parseTreeEntry(element: Record<string, unknown>): TreeEntry | null {
  const { path, end } = element;
  if (end === true) return null;
  if (!Array.isArray(path) || path.length === 0) {
    throw invalidEntryError("it has no path");
  }
  const entry = parseEntry(element, path.at(-1));
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
