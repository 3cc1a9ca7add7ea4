/**
 * Directory listings, parsed piece by piece.
 *
 * @module
 */

import { decodeText } from "../base/bytes.ts";
import { quote } from "../base/errors.ts";
import { escapeName } from "./file_name.ts";
import { TransferError } from "./transfer_error.ts";

/** An entry of a directory. */
export interface DirectoryEntry {
  /** The name, as it is on the disk: `escapeName` converts it to a component of a URI. */
  readonly name: string;
  /** The kind of entry. */
  readonly kind: "file" | "directory";
  /** Bytes of a file; for a directory whatever its file system reports. */
  readonly size: number;
  /** When it was last changed. */
  readonly modified: Date;
}

/**
 * Bytes of one entry: a name of 255 bytes has up to 1530 with every one of them escaped. Without a
 * limit everything that a peer sends could be buffered.
 */
const MAX_ENTRY_BYTES = 4096;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/** What may follow in the array, besides white space. */
type Expected = "[" | "entry or ]" | "entry" | ", or ]" | "nothing";

/** Parses a JSON array of entries that arrives in pieces, and buffers at most one entry. */
export class EntryParser {
  #expected: Expected = "[";
  // The bytes of an entry that has begun; null between two.
  #bytes: Uint8Array | null = null;
  #length = 0;
  #inString = false;
  #escaped = false;

  /**
   * Yields the entries that end in this piece.
   *
   * @throws {TransferError} if it does not continue a list.
   */
  *push(piece: Uint8Array): Generator<DirectoryEntry, void, void> {
    let start = 0;
    for (let at = 0; at < piece.length; at++) {
      const byte = piece[at]!;
      if (this.#bytes === null) {
        this.#between(byte);
        start = at;
      } else if (this.#endsEntry(byte)) {
        this.#hold(piece.subarray(start, at + 1));
        const entry = parseEntry(this.#bytes.subarray(0, this.#length));
        this.#bytes = null;
        this.#expected = ", or ]";
        yield entry;
      }
    }
    if (this.#bytes !== null) this.#hold(piece.subarray(start));
  }

  /**
   * Checks that the list is complete.
   *
   * @throws {TransferError} if it is not.
   */
  end(): void {
    if (this.#expected !== "nothing") throw badList("it ends early");
  }

  #between(byte: number): void {
    if (byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09) return;
    const expected = this.#expected;
    if (byte === OPEN_BRACKET && expected === "[") {
      this.#expected = "entry or ]";
    } else if (byte === OPEN_BRACE && (expected === "entry" || expected === "entry or ]")) {
      this.#bytes = new Uint8Array(512);
      this.#length = 0;
    } else if (byte === COMMA && expected === ", or ]") {
      this.#expected = "entry";
    } else if (byte === CLOSE_BRACKET && expected.endsWith("]")) {
      this.#expected = "nothing";
    } else {
      throw badList(`it has ${quote(Uint8Array.of(byte))} where ${expected} belongs`);
    }
  }

  /** Reads a byte after the `{` of an entry; true if it is its `}`. */
  #endsEntry(byte: number): boolean {
    if (this.#inString) {
      if (this.#escaped) this.#escaped = false;
      else if (byte === BACKSLASH) this.#escaped = true;
      else if (byte === QUOTE) this.#inString = false;
      return false;
    }
    if (byte === QUOTE) this.#inString = true;
    else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) throw badEntry("it has another inside");
    return byte === CLOSE_BRACE;
  }

  #hold(part: Uint8Array): void {
    const length = this.#length + part.length;
    if (length > MAX_ENTRY_BYTES) throw badEntry(`it has more than ${MAX_ENTRY_BYTES} bytes`);
    if (length > this.#bytes!.length) {
      const larger = new Uint8Array(Math.min(MAX_ENTRY_BYTES, length * 2));
      larger.set(this.#bytes!.subarray(0, this.#length));
      this.#bytes = larger;
    }
    this.#bytes!.set(part, this.#length);
    this.#length = length;
  }
}

function parseEntry(bytes: Uint8Array): DirectoryEntry {
  let value;
  try {
    value = JSON.parse(decodeText(bytes));
  } catch (error) {
    throw badEntry(`it is not JSON: ${quote(bytes)}`, error);
  }
  return checkEntry(value);
}

function checkEntry({ name, kind, size, modified }: Record<string, unknown>): DirectoryEntry {
  if (typeof name !== "string") throw badEntry("it has no name");
  try {
    escapeName(name);
  } catch (error) {
    throw badEntry("its name can't be that of a file", error);
  }
  if (kind !== "file" && kind !== "directory") throw badEntry(`${quote(name)} has a bad kind`);
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) {
    throw badEntry(`${quote(name)} has a bad size`);
  }
  const date = parseDate(modified);
  if (date === null) throw badEntry(`${quote(name)} has a bad time`);
  return { name, kind, size, modified: date };
}

/** Reads a time in ISO 8601, in the one form that `toISOString` writes. */
function parseDate(text: unknown): Date | null {
  if (typeof text !== "string") return null;
  const date = new Date(text);
  return !Number.isNaN(date.getTime()) && date.toISOString() === text ? date : null;
}

function badEntry(problem: string, cause?: unknown): TransferError {
  const options = cause === undefined ? undefined : { cause };
  return new TransferError("BAD_LIST", `the list has a bad entry: ${problem}`, options);
}

function badList(problem: string): TransferError {
  return new TransferError(
    "BAD_LIST",
    `the response is not a directory listing: ${problem}; the server needs a FilesApp with list: true`,
  );
}
