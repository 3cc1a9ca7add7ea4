/** The chunked coding (RFC 9112 §7.1): at most one extension for each chunk, no trailers. */

import { concatenate, decodeAscii, EMPTY, viewOf } from "../../internal/bytes.ts";
import {
  checkUint8Array,
  notAllowedError,
  wrongArgumentError,
  wrongTypeError,
} from "../../internal/checks.ts";
import { BodyError, ProtocolError } from "../errors.ts";
import { quote, typeName } from "../../internal/quote.ts";
import { MAX_CHUNK_BYTES, MAX_CHUNK_LINE_BYTES } from "./limits.ts";
import { allows, EXTENSION_KEY, EXTENSION_VALUE } from "./tables.ts";

/** An extension, or `null`, and the data that follows; the last chunk of a body has empty data. */
export type Chunk<Data extends Uint8Array = Uint8Array> = readonly [
  extension: readonly [key: string, value: string] | null,
  data: Data,
];

/** The contents of the line before a chunk's data. */
export interface ChunkHeader {
  /** Bytes of data. */
  readonly size: number;
  /** The extension, or `null`. */
  readonly extension: [key: string, value: string] | null;
}

const CR = 0x0d, LF = 0x0a, SEMICOLON = 0x3b;
const MAX_SIZE_DIGITS = 7;

function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

/** Parses a chunk's line, `bytes` from `start` to `end`, without its CR LF. */
export function parseChunkLine(bytes: Uint8Array, start: number, end: number): ChunkHeader {
  let size = 0;
  let i = start;
  for (; i < end && bytes[i] !== SEMICOLON; i++) {
    const digit = hexDigit(bytes[i]!);
    if (digit < 0 || i - start >= MAX_SIZE_DIGITS) throw invalidChunkLineError(bytes, start, end);
    size = size * 16 + digit;
  }
  if (i === start || (bytes[start] === 0x30 && i - start > 1)) {
    throw invalidChunkLineError(bytes, start, end);
  }
  if (size > MAX_CHUNK_BYTES) {
    throw new ProtocolError(
      "CHUNK_TOO_LARGE",
      `a chunk of ${size} bytes, more than the ${MAX_CHUNK_BYTES} allowed`,
    );
  }
  return { size, extension: i === end ? null : parseExtension(bytes.subarray(i + 1, end)) };
}

function invalidChunkLineError(bytes: Uint8Array, start: number, end: number): ProtocolError {
  const line = quote(bytes.subarray(start, end));
  return new ProtocolError("BAD_CHUNK_LINE", `bad chunk line: ${line}`);
}

function parseExtension(bytes: Uint8Array): [string, string] {
  const text = decodeAscii(bytes);
  const equals = text.indexOf("=");
  const key = text.substring(0, equals);
  const value = text.substring(equals + 1);
  if (
    equals <= 0 || value === "" || !allows(EXTENSION_KEY, key) || !allows(EXTENSION_VALUE, value)
  ) {
    throw new ProtocolError("BAD_CHUNK_EXTENSION", `bad chunk extension: ${quote(bytes)}`);
  }
  return [key, value];
}

const encoder = new TextEncoder();

/** A chunk that can be sent: its line, CR LF included, and its data. */
export interface SendableChunk {
  readonly line: Uint8Array;
  /** The number of bytes of data that the line announces. */
  readonly size: number;
  /** A view of the data; its buffer may be detached before the data is sent. */
  readonly data: Uint8Array;
}

/** Checks a chunk that a caller wants to send and formats its line. Each part is read once. */
export function makeSendable(chunk: Chunk): SendableChunk {
  if (!Array.isArray(chunk) || chunk.length !== 2) {
    throw wrongTypeError("chunk", "[extension, data]", chunk);
  }
  const [extension, bytes] = chunk as Chunk;
  checkUint8Array("chunk[1]", bytes);
  const data = viewOf(bytes);
  const size = data.length;
  if (size > MAX_CHUNK_BYTES) {
    throw notAllowedError(
      "chunk[1]",
      `must have at most ${MAX_CHUNK_BYTES} bytes; got ${size} bytes`,
    );
  }
  const digits = size.toString(16);
  if (extension === null) return { line: encoder.encode(`${digits}\r\n`), size, data };
  const line = encoder.encode(`${digits};${formatExtension(extension)}\r\n`);
  if (line.length > MAX_CHUNK_LINE_BYTES) {
    throw notAllowedError(
      "chunk[0]",
      `must fit in a chunk line of ${MAX_CHUNK_LINE_BYTES} bytes; got ${line.length} bytes`,
    );
  }
  return { line, size, data };
}

function formatExtension(extension: readonly [string, string]): string {
  if (!Array.isArray(extension) || extension.length !== 2) {
    throw wrongTypeError("chunk[0]", "null or [key, value]", extension);
  }
  const [key, value] = extension;
  if (typeof key !== "string" || typeof value !== "string") {
    throw wrongArgumentError(
      "chunk[0]",
      `must be two strings; got ${typeName(key)} and ${typeName(value)}`,
    );
  }
  if (key === "" || !allows(EXTENSION_KEY, key)) {
    throw notAllowedError("chunk[0][0]", `must be letters, digits and -; got ${quote(key)}`);
  }
  if (value === "" || !allows(EXTENSION_VALUE, value)) {
    throw notAllowedError(
      "chunk[0][1]",
      `must be letters, digits and - + . : _ ~ " ' ( ) * , ; < > [ ]; got ${quote(value)}`,
    );
  }
  return `${key}=${value}`;
}

/** Formats a whole chunk to send. */
export function encodeChunk({ line, data }: SendableChunk): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(line.length + data.length + 2);
  bytes.set(line);
  bytes.set(data, line.length);
  bytes[bytes.length - 2] = CR;
  bytes[bytes.length - 1] = LF;
  return bytes;
}

/** The place of the next byte in the chunked coding. */
export type ChunkPhase = "line" | "data" | "end" | "done";

/**
 * The state machine of the chunked coding: pure, over the bytes that are there.
 *
 * Call {@linkcode advance} with the bytes that have arrived, until it returns -1. Data that never
 * comes into a buffer is reported with {@linkcode skipData}.
 */
export class ChunkScanner {
  /** The place of the next byte. */
  phase: ChunkPhase = "line";
  /** The bytes of the current chunk's data that were not consumed yet. */
  remaining = 0;
  /** The current chunk. */
  header: ChunkHeader = { size: 0, extension: null };
  /** The bytes of all parts so far: of lines, data and the ends of chunks. */
  taken = 0;
  // The number of bytes of an unfinished line, so that no byte is scanned twice.
  #looked = 0;
  // Whether the last one of them is CR.
  #endsWithCr = false;

  /**
   * Scans the next part: a chunk's line, as much of its data as is there, or the CR LF after it.
   * Returns the position after the part; -1 if the last chunk has ended or more bytes are needed,
   * from the same position on.
   */
  advance(bytes: Uint8Array, at: number, end: number): number {
    switch (this.phase) {
      case "line":
        return this.#scanLine(bytes, at, end);
      case "data": {
        const count = Math.min(this.remaining, end - at);
        if (count === 0) return -1;
        this.skipData(count);
        return at + count;
      }
      case "end":
        return this.#scanEnd(bytes, at, end);
      case "done":
        return -1;
    }
  }

  #scanLine(bytes: Uint8Array, start: number, end: number): number {
    const limit = Math.min(end, start + MAX_CHUNK_LINE_BYTES);
    let at = start + this.#looked;
    let isCr = this.#endsWithCr;
    for (; at < limit; at++) {
      const byte = bytes[at];
      if (isCr || byte === LF) break;
      isCr = byte === CR;
    }
    if (at >= limit) {
      if (limit - start === MAX_CHUNK_LINE_BYTES) throw chunkLineTooLongError();
      this.#looked = limit - start;
      this.#endsWithCr = isCr;
      return -1;
    }
    // Throws for a bare CR or LF: no later byte makes this line valid.
    if (!isCr || bytes[at] !== LF) parseChunkLine(bytes, start, at + 1);
    this.#looked = 0;
    this.#endsWithCr = false;
    this.header = parseChunkLine(bytes, start, at - 1);
    this.remaining = this.header.size;
    this.phase = this.remaining === 0 ? "end" : "data";
    this.taken += at + 1 - start;
    return at + 1;
  }

  /** Records data that was consumed without passing through {@linkcode advance}. */
  skipData(count: number): void {
    this.remaining -= count;
    this.taken += count;
    if (this.remaining === 0) this.phase = "end";
  }

  #scanEnd(bytes: Uint8Array, start: number, end: number): number {
    const first = start < end ? bytes[start] : CR;
    const second = start + 1 < end ? bytes[start + 1] : LF;
    if (first !== CR || second !== LF) {
      const found = quote(bytes.subarray(start, Math.min(end, start + 2)));
      throw new ProtocolError("BAD_CHUNK_END", `no CR LF after a chunk's data, but ${found}`);
    }
    if (start + 2 > end) return -1;
    this.phase = this.header.size === 0 ? "done" : "line";
    this.taken += 2;
    return start + 2;
  }

  /**
   * The least number of bytes still to come, given the number of buffered bytes of an unfinished
   * part.
   */
  leastToCome(buffered: number): number {
    // The shortest possible rest of a body is "0" CR LF CR LF.
    const shortest = 5;
    switch (this.phase) {
      case "line":
        return buffered === 0 ? shortest : 3;
      case "data":
        return this.remaining + 2 + shortest;
      case "end":
        return 2 - buffered + (this.header.size === 0 ? 0 : shortest);
      case "done":
        return 0;
    }
  }
}

/** The error for a chunk's line that is longer than {@linkcode MAX_CHUNK_LINE_BYTES}. */
export function chunkLineTooLongError(): ProtocolError {
  const message = `a chunk line of more than ${MAX_CHUNK_LINE_BYTES} bytes`;
  return new ProtocolError("CHUNK_LINE_TOO_LONG", message);
}

/** The error for a source that ends inside the chunked coding. */
export function incompleteChunksError(): ProtocolError {
  const problem =
    "the bytes ended before the last chunk: the sender has failed, or its connection broke off; try again";
  return new ProtocolError("BODY_INCOMPLETE", problem);
}

/**
 * Makes a chunk of a source sendable, as {@linkcode makeSendable} does; an invalid chunk is the
 * source's mistake.
 */
export function makeSendableOf(chunk: Chunk): SendableChunk {
  try {
    return makeSendable(chunk);
  } catch (error) {
    throw new BodyError(`the source gave a chunk that can't be sent: ${(error as Error).message}`);
  }
}

/**
 * Receives the parts of the coding, in order: a chunk's line has ended, some of its data has come
 * (never none; a view of the checked bytes), or the chunk has ended.
 */
type ChunkReport = (part: ChunkPhase, header: ChunkHeader, bytes: Uint8Array) => void;

/** Checks the coding in pieces of any size, and reports its parts. */
export class ChunkWalker {
  readonly #scanner = new ChunkScanner();
  // The bytes of a line, or of a chunk's end, that is not complete yet.
  #rest: Uint8Array = EMPTY;

  /**
   * Checks the next piece. Returns the bytes that are known to be valid: the incomplete line of the
   * piece before, then this piece without an incomplete line at its end.
   */
  walk(piece: Uint8Array, report?: ChunkReport): Uint8Array {
    const bytes = this.#rest.length === 0 ? piece : concatenate([this.#rest, piece]);
    let at = 0;
    for (;;) {
      const { phase } = this.#scanner;
      const next = this.#scanner.advance(bytes, at, bytes.length);
      if (next === -1) break;
      report?.(phase, this.#scanner.header, bytes.subarray(at, next));
      at = next;
    }
    if (this.isComplete && at < bytes.length) throw new BodyError("bytes after the last chunk");
    this.#rest = bytes.slice(at);
    return bytes.subarray(0, at);
  }

  /** True once the last chunk has been seen. */
  get isComplete(): boolean {
    return this.#scanner.phase === "done";
  }

  /** Throws a `ProtocolError` unless the last chunk has been seen. */
  end(): void {
    if (!this.isComplete) throw incompleteChunksError();
  }
}
