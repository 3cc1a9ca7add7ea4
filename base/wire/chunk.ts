/** The chunked coding (RFC 9112 §7.1). Trailers are checked and dropped. */

import { concatenate, decodeBytes, EMPTY_BYTES, makePlainView } from "../../internal/bytes.ts";
import {
  checkUint8Array,
  notAllowedError,
  wrongArgumentError,
  wrongTypeError,
} from "../../internal/checks.ts";
import { BodyError, ConnectionError, ProtocolError } from "../errors.ts";
import { quote, typeNameOf } from "../../internal/quote.ts";
import {
  MAX_CHUNK_BYTES,
  MAX_CHUNK_HEADER_BYTES,
  MAX_HEADER_LINES,
  MAX_LENGTH,
  MAX_PREAMBLE_BYTES,
} from "./limits.ts";
import { allows, TOKEN_TABLE } from "./character_tables.ts";
import { checkHeaderLine } from "./headers.ts";
import type { ContentRange } from "./range.ts";

/** An extension, or `null`, and the data that follows; the last chunk of a body has empty data. */
export type Chunk<Data extends Uint8Array = Uint8Array> = readonly [
  extension: readonly [key: string, value: string] | null,
  data: Data,
];

export interface ChunkHeader {
  readonly size: number;
  /** The only extension, if its value is a token; `null` for all others. */
  readonly extension: [key: string, value: string] | null;
  /** Whether Degu sends the same header. */
  readonly isPlain: boolean;
}

const CR = 0x0d, LF = 0x0a, SEMICOLON = 0x3b, ZERO = 0x30, UPPER_CASE_A = 0x41, UPPER_CASE_F = 0x46;

function parseHexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

export function parseChunkHeader(bytes: Uint8Array, start: number, end: number): ChunkHeader {
  let size = 0;
  let hasUpperCase = false;
  let i = start;
  for (; i < end; i++) {
    const byte = bytes[i]!;
    const digit = parseHexDigit(byte);
    if (digit < 0) break;
    if (byte >= UPPER_CASE_A && byte <= UPPER_CASE_F) hasUpperCase = true;
    size = size * 16 + digit;
    if (size > MAX_LENGTH) {
      throw new ProtocolError("CHUNK_TOO_LARGE", "a chunk of more than 2⁵³ − 1 bytes");
    }
  }
  if (i === start) throw invalidChunkHeaderError(bytes, start, end);
  const hasPlainSize = !hasUpperCase && (bytes[start] !== ZERO || i - start === 1);
  if (i === end) return { size, extension: null, isPlain: hasPlainSize };
  const byte = bytes[i]!;
  if (byte !== SEMICOLON && !isWhitespace(byte)) {
    throw invalidChunkHeaderError(bytes, start, end);
  }
  const text = decodeBytes(bytes.subarray(i, end));
  const extension = parseExtensions(text);
  const isPlain = extension !== null && hasPlainSize && text === `;${extension[0]}=${extension[1]}`;
  return { size, extension, isPlain };
}

function isWhitespace(byte: number): boolean {
  return byte === 0x20 || byte === 0x09;
}

function invalidChunkHeaderError(bytes: Uint8Array, start: number, end: number): ProtocolError {
  const line = quote(bytes.subarray(start, end));
  return new ProtocolError("BAD_CHUNK_LINE", `bad chunk line: ${line}`);
}

/**
 * One extension (RFC 9112 §7.1.1): a token, and perhaps a value, which is a token or a quoted
 * string. Spaces and tabs may surround the semicolon and the equals sign.
 */
const EXTENSION =
  /[ \t]*;[ \t]*([!#$%&'*+\-.^_`|~\dA-Za-z]+)(?:[ \t]*=[ \t]*(?:([!#$%&'*+\-.^_`|~\dA-Za-z]+)|"(?:[\t !#-[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"))?/y;

function parseExtensions(text: string): [key: string, value: string] | null {
  let extension: [key: string, value: string] | null = null;
  let count = 0;
  EXTENSION.lastIndex = 0;
  for (let end = 0; end < text.length; end = EXTENSION.lastIndex) {
    const match = EXTENSION.exec(text);
    if (match === null) {
      throw new ProtocolError("BAD_CHUNK_EXTENSION", `bad chunk extension: ${quote(text)}`);
    }
    const [, key, value] = match;
    count++;
    extension = count > 1 || value === undefined ? null : [key!, value];
  }
  return extension;
}

export interface PreparedChunk {
  /** The chunk header with its CR LF, in ASCII. */
  readonly header: string;
  readonly size: number;
  /** A view of the data; its buffer may be detached before the data is sent. */
  readonly data: Uint8Array;
}

/**
 * Reads each part of the chunk only once, because a getter of the program can return another value
 * at each read.
 */
export function prepareChunk(chunk: Chunk): PreparedChunk {
  if (!Array.isArray(chunk) || chunk.length !== 2) {
    throw wrongTypeError("chunk", "[extension, data]", chunk);
  }
  const [extension, bytes] = chunk as Chunk;
  checkUint8Array("chunk[1]", bytes);
  const data = makePlainView(bytes);
  const size = data.length;
  if (size > MAX_CHUNK_BYTES) {
    throw notAllowedError(
      "chunk[1]",
      `must have at most ${MAX_CHUNK_BYTES} bytes; got ${size} bytes`,
    );
  }
  const digits = size.toString(16);
  if (extension === null) return { header: `${digits}\r\n`, size, data };
  const header = `${digits};${formatExtension(extension)}\r\n`;
  if (header.length > MAX_CHUNK_HEADER_BYTES) {
    throw notAllowedError(
      "chunk[0]",
      `must fit in a chunk line of ${MAX_CHUNK_HEADER_BYTES} bytes; got ${header.length} bytes`,
    );
  }
  return { header, size, data };
}

function formatExtension(extension: readonly [string, string]): string {
  if (!Array.isArray(extension) || extension.length !== 2) {
    throw wrongTypeError("chunk[0]", "null or [key, value]", extension);
  }
  const [key, value] = extension;
  if (typeof key !== "string" || typeof value !== "string") {
    throw wrongArgumentError(
      "chunk[0]",
      `must be two strings; got ${typeNameOf(key)} and ${typeNameOf(value)}`,
    );
  }
  for (const [i, text] of [key, value].entries()) {
    if (text !== "" && allows(TOKEN_TABLE, text)) continue;
    throw notAllowedError(
      `chunk[0][${i}]`,
      `must be letters, digits and ! # $ % & ' * + - . ^ _ \` | ~; got ${quote(text)}`,
    );
  }
  return `${key}=${value}`;
}

/**
 * Writes a chunk header with its CR LF as Degu sends it. Returns the position after the header,
 * which is at most as long as the received header.
 */
export function writeChunkHeader(
  into: Uint8Array,
  position: number,
  { size, extension }: ChunkHeader,
): number {
  const text = size.toString(16) + (extension === null ? "" : `;${extension[0]}=${extension[1]}`);
  for (let i = 0; i < text.length; i++) into[position++] = text.charCodeAt(i);
  into[position] = CR;
  into[position + 1] = LF;
  return position + 2;
}

export function encodedLengthOf({ header, size }: PreparedChunk): number {
  return header.length + size + 2;
}

export function encodeChunk(chunk: PreparedChunk): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(encodedLengthOf(chunk));
  encodeChunkInto(bytes, 0, chunk);
  return bytes;
}

export function encodeChunkInto(
  into: Uint8Array,
  position: number,
  { header, data }: PreparedChunk,
): void {
  for (let i = 0; i < header.length; i++) into[position++] = header.charCodeAt(i);
  into.set(data, position);
  position += data.length;
  into[position] = CR;
  into[position + 1] = LF;
}

/** Compares the data of a chunked body with the range in the headers of its message. */
export class RangeChecker {
  readonly #contentRange: ContentRange;
  #dataBytes = 0;

  constructor(contentRange: ContentRange) {
    this.#contentRange = contentRange;
  }

  /**
   * Counts a chunk, of which the last is empty; returns the contradiction, or `null` if there is
   * none.
   */
  countChunk(size: number): string | null {
    this.#dataBytes += size;
    const isComplete = size === 0;
    const { start, stop } = this.#contentRange;
    const missingBytes = stop - start - this.#dataBytes;
    if (missingBytes === 0 || missingBytes > 0 && !isComplete) return null;
    return `"${this.#contentRange}" is a range of ${stop - start} bytes, and the body has ` +
      `${isComplete ? "" : "at least "}${this.#dataBytes}`;
  }
}

/** The cost of a byte of a chunk header with an extension. */
const EXTENSION_BYTE_COST = 2;

/**
 * The next part of a chunked body:
 *
 * - `"header"`: the size and the extensions of a chunk
 * - `"data"`: bytes of its data
 * - `"crlf"`: the CR LF after the data
 * - `"trailer"`: a line of the trailer, or the empty line at its end
 */
export type ChunkPhase = "header" | "data" | "crlf" | "trailer" | "done";

/**
 * The state machine of the chunked coding, which neither reads nor copies bytes.
 *
 * Call {@linkcode advance} with the buffered bytes, until it returns -1. Report data that bypasses
 * the buffer with {@linkcode skipData}.
 */
export class ChunkScanner {
  phase: ChunkPhase = "header";
  remainingDataBytes = 0;
  header: ChunkHeader = { size: 0, extension: null, isPlain: true };
  consumedBytes = 0;
  chunkCount = 0;
  /** The cost of the scanned headers: 1 for a header that is only a size as Degu sends it. */
  cost = 0;
  rangeChecker: RangeChecker | null = null;
  readonly #allowsPadding: boolean;
  /** The number of scanned bytes of an incomplete line, so that no byte is scanned twice. */
  #scannedCount = 0;
  #endsWithCr = false;
  #trailerBytes = 0;
  #trailerLines = 0;

  /**
   * @param allowsPadding Whether spaces and tabs may follow a chunk header, as in the responses of
   * small devices (ESPAsyncWebServer). A server refuses such a request, which another server could
   * read in another way.
   */
  constructor(allowsPadding = false) {
    this.#allowsPadding = allowsPadding;
  }

  /**
   * Returns the position after the part. Returns -1 after the last chunk, or if more bytes are
   * needed: then the next call must start at the same position.
   */
  advance(bytes: Uint8Array, position: number, end: number): number {
    switch (this.phase) {
      case "header":
        return this.#scanHeader(bytes, position, end);
      case "data": {
        const count = Math.min(this.remainingDataBytes, end - position);
        if (count === 0) return -1;
        this.skipData(count);
        return position + count;
      }
      case "crlf":
        return this.#scanCrLf(bytes, position, end);
      case "trailer":
        return this.#scanTrailerLine(bytes, position, end);
      case "done":
        return -1;
    }
  }

  #scanHeader(bytes: Uint8Array, start: number, end: number): number {
    const next = this.#scanLine(bytes, start, end, MAX_CHUNK_HEADER_BYTES, parseChunkHeader);
    if (next === -1) return -1;
    let headerEnd = next - 2;
    while (this.#allowsPadding && headerEnd > start && isWhitespace(bytes[headerEnd - 1]!)) {
      headerEnd--;
    }
    this.header = parseChunkHeader(bytes, start, headerEnd);
    if (headerEnd < next - 2) this.header = { ...this.header, isPlain: false };
    const problem = this.rangeChecker?.countChunk(this.header.size) ?? null;
    if (problem !== null) {
      throw new ProtocolError("CONFLICTING_HEADERS", `content-range and the chunks: ${problem}`);
    }
    this.remainingDataBytes = this.header.size;
    this.phase = this.remainingDataBytes === 0 ? "trailer" : "data";
    this.consumedBytes += next - start;
    this.chunkCount++;
    const isOnlySize = this.header.extension === null && this.header.isPlain;
    this.cost += isOnlySize ? 1 : EXTENSION_BYTE_COST * (next - start);
    return next;
  }

  /** RFC 9112 §7.1.2: the lines are checked, and dropped. */
  #scanTrailerLine(bytes: Uint8Array, start: number, end: number): number {
    const maxBytes = MAX_PREAMBLE_BYTES - this.#trailerBytes;
    const next = this.#scanLine(bytes, start, end, maxBytes, checkHeaderLine);
    if (next === -1) return -1;
    if (next - start === 2) {
      this.phase = "done";
    } else {
      this.#trailerLines++;
      if (this.#trailerLines > MAX_HEADER_LINES) {
        throw trailerTooLargeError(`${MAX_HEADER_LINES} lines`);
      }
      checkHeaderLine(bytes, start, next - 2);
    }
    this.#trailerBytes += next - start;
    this.consumedBytes += next - start;
    return next;
  }

  /**
   * Returns the position after the CR LF of a line, or -1 if the line is incomplete.
   *
   * @param check Throws an error for a line that has a CR or LF before its end.
   */
  #scanLine(
    bytes: Uint8Array,
    start: number,
    end: number,
    maxBytes: number,
    check: (bytes: Uint8Array, start: number, end: number) => unknown,
  ): number {
    const scanEnd = Math.min(end, start + maxBytes);
    let position = start + this.#scannedCount;
    let isCr = this.#endsWithCr;
    for (; position < scanEnd; position++) {
      const byte = bytes[position];
      if (isCr || byte === LF) break;
      isCr = byte === CR;
    }
    if (position >= scanEnd) {
      if (scanEnd - start === maxBytes) {
        throw this.phase === "trailer"
          ? trailerTooLargeError(`${MAX_PREAMBLE_BYTES} bytes`)
          : chunkHeaderTooLongError();
      }
      this.#scannedCount = scanEnd - start;
      this.#endsWithCr = isCr;
      return -1;
    }
    // Parse now, which throws: no later byte can make a line with a bare CR or LF valid.
    if (!isCr || bytes[position] !== LF) check(bytes, start, position + 1);
    this.#scannedCount = 0;
    this.#endsWithCr = false;
    return position + 1;
  }

  skipData(count: number): void {
    this.remainingDataBytes -= count;
    this.consumedBytes += count;
    if (this.remainingDataBytes === 0 && this.phase === "data") this.phase = "crlf";
  }

  #scanCrLf(bytes: Uint8Array, start: number, end: number): number {
    const firstByte = start < end ? bytes[start] : CR;
    const secondByte = start + 1 < end ? bytes[start + 1] : LF;
    if (firstByte !== CR || secondByte !== LF) {
      const quotedBytes = quote(bytes.subarray(start, Math.min(end, start + 2)));
      throw new ProtocolError("BAD_CHUNK_END", `no CR LF after a chunk's data, but ${quotedBytes}`);
    }
    if (start + 2 > end) return -1;
    this.phase = "header";
    this.consumedBytes += 2;
    return start + 2;
  }

  /**
   * Returns the minimum number of bytes of the body that were not read. If the source may have
   * other bytes after the body, the caller must not read more than this number.
   *
   * @param bufferedBytes The number of buffered bytes of an incomplete header or CR LF.
   */
  computeMinRemainingBytes(bufferedBytes: number): number {
    // The last chunk has at least "0" CR LF CR LF.
    const lastChunkBytes = 5;
    switch (this.phase) {
      case "header":
        return bufferedBytes === 0 ? lastChunkBytes : 3;
      case "data":
        return this.remainingDataBytes + 2 + lastChunkBytes;
      case "crlf":
        return 2 - bufferedBytes + lastChunkBytes;
      case "trailer":
        // A line of the trailer that has begun is followed by an empty line.
        if (bufferedBytes === 0) return 2;
        return this.#endsWithCr ? bufferedBytes === 1 ? 1 : 3 : 4;
      case "done":
        return 0;
    }
  }
}

export function chunkHeaderTooLongError(): ProtocolError {
  const message = `a chunk line of more than ${MAX_CHUNK_HEADER_BYTES} bytes`;
  return new ProtocolError("CHUNK_LINE_TOO_LONG", message);
}

function trailerTooLargeError(limit: string): ProtocolError {
  return new ProtocolError("TRAILER_TOO_LARGE", `a trailer of more than ${limit}`);
}

export function incompleteChunksError(
  isReceived: boolean,
  knownReason: string | null = null,
): ConnectionError {
  const reason = knownReason !== null
    ? `the peer closed: ${knownReason}`
    : isReceived
    ? "the sender has failed, or its connection broke off; try again"
    : "the source of a chunked body has chunks with headers; for plain bytes, use the source itself as body";
  const problem = `the bytes ended before the last chunk: ${reason}`;
  return new ConnectionError(problem, { fault: "broken", code: "BODY_INCOMPLETE" });
}

export function prepareSourceChunk(chunk: Chunk): PreparedChunk {
  try {
    return prepareChunk(chunk);
  } catch (error) {
    throw new BodyError(`the source has a chunk that can't be sent: ${(error as Error).message}`);
  }
}

export class ChunkedValidator {
  readonly #scanner = new ChunkScanner();
  #incompletePart: Uint8Array = EMPTY_BYTES;

  /**
   * @param onPart Called with each valid part of the body, in order. `bytes` is a view of the
   * checked bytes.
   */
  validate(
    piece: Uint8Array,
    onPart?: (part: ChunkPhase, header: ChunkHeader, bytes: Uint8Array) => void,
  ): Uint8Array {
    const bytes = this.#incompletePart.length === 0
      ? piece
      : concatenate([this.#incompletePart, piece]);
    let position = 0;
    for (;;) {
      const { phase } = this.#scanner;
      const nextPosition = this.#scanner.advance(bytes, position, bytes.length);
      if (nextPosition === -1) break;
      onPart?.(phase, this.#scanner.header, bytes.subarray(position, nextPosition));
      position = nextPosition;
    }
    if (this.isComplete && position < bytes.length) {
      throw new BodyError("bytes after the last chunk");
    }
    this.#incompletePart = bytes.slice(position);
    return bytes.subarray(0, position);
  }

  get isComplete(): boolean {
    return this.#scanner.phase === "done";
  }

  finish(): void {
    if (!this.isComplete) throw incompleteChunksError(true);
  }
}
