/**
 * Header lines: parsing, formatting, and the rules that hold for both.
 *
 * @module
 */

import { decodeAscii, startsWith } from "../bytes.ts";
import { ProtocolError, quote } from "../errors.ts";
import { quoteLine, quoteValue } from "../inspect.ts";
import { MAX_HEADER_NAME_BYTES } from "./limits.ts";
import {
  type ContentRange,
  parseContentRange,
  parseDecimal,
  parseRange,
  type Range,
} from "./range.ts";
import { NAME, VALUE } from "./tables.ts";

/**
 * Headers by name. As received: lower-case names and no prototype. As sent: a plain object. In both
 * `content-length` is a number, `range` a {@linkcode Range}, `content-range` a
 * {@linkcode ContentRange} and everything else a string.
 */
export type HeaderDict = Record<string, string | number | Range | ContentRange>;

/** Which message the headers belong to; only PUT and POST requests may have a body. */
export type HeaderContext = "request" | "request without body" | "response" | "any";

/**
 * How the end of a body is determined: its length in bytes, `"chunked"`, or `null` for no body
 * (RFC 9112 §6.3, without "until the connection closes").
 */
export type Framing = number | "chunked" | null;

/** The bit of `content-length` in a set of the four headers that have a meaning here. */
export const CONTENT_LENGTH_BIT = 1;
/** The bit of `transfer-encoding`. */
export const TRANSFER_ENCODING_BIT = 2;
/** The bit of `range`. */
export const RANGE_BIT = 4;
/** The bit of `content-range`. */
export const CONTENT_RANGE_BIT = 8;

const SPECIAL: Readonly<Record<string, number>> = Object.freeze(Object.assign(
  Object.create(null),
  {
    "content-length": CONTENT_LENGTH_BIT,
    "transfer-encoding": TRANSFER_ENCODING_BIT,
    "range": RANGE_BIT,
    "content-range": CONTENT_RANGE_BIT,
  },
));

/** The bit of a header; 0 for all others. */
export function specialOf(name: string): number {
  return SPECIAL[name] ?? 0;
}

/**
 * Checks which headers exclude each other, and which are not allowed in this message.
 *
 * @param present Which of the four headers are present, as a set of bits.
 */
export function checkPresence(present: number, context: HeaderContext): ProtocolError | null {
  const framed = present & (CONTENT_LENGTH_BIT | TRANSFER_ENCODING_BIT);
  if (framed === (CONTENT_LENGTH_BIT | TRANSFER_ENCODING_BIT)) {
    return conflict("content-length and transfer-encoding (RFC 9112 §6.1)");
  }
  if (present & RANGE_BIT && (framed || present & CONTENT_RANGE_BIT)) {
    return conflict("range and a header of a message with content");
  }
  if (context === "any") return null;
  if (context === "response") {
    return present & RANGE_BIT ? forbidden("range", "a response") : null;
  }
  if (present & CONTENT_RANGE_BIT) return forbidden("content-range", "a request");
  if (framed && context === "request without body") {
    return forbidden(
      present & CONTENT_LENGTH_BIT ? "content-length" : "transfer-encoding",
      "such a request",
    );
  }
  return null;
}

function conflict(names: string): ProtocolError {
  return new ProtocolError("CONFLICTING_HEADERS", `headers that exclude each other: ${names}`);
}

function forbidden(name: string, where: string): ProtocolError {
  return new ProtocolError("FORBIDDEN_HEADER", `the header ${name} is not allowed in ${where}`);
}

/** True if the headers of a response say that its connection ends with it (RFC 9112 §9.6). */
export function saysClose(headers: HeaderDict): boolean {
  return connectionOptions(headers).includes("close");
}

/** The elements of `connection`, in lower case (RFC 9110 §7.6.1). */
export function connectionOptions({ connection }: HeaderDict): readonly string[] {
  if (typeof connection !== "string") return NONE;
  return connection.split(",").map((option) => option.trim().toLowerCase());
}

const NONE: readonly string[] = [];

// ───────────────────────── parsing

const CR = 0x0d, LF = 0x0a, COLON = 0x3a, SPACE = 0x20;

/** A header's name as it arrived, and what it means. */
interface KnownName {
  /** Its bytes, with the colon and the space. */
  readonly bytes: Uint8Array;
  readonly name: string;
  readonly special: number;
  readonly slot: number;
  /** The slot of the name that followed last time: most messages of a peer have the same names. */
  nextSlot: number;
}

// Names repeat from message to message: a name that was seen before is compared byte by byte with the
// one in its slot, and needs no new string. A miss overwrites the slot, and names refer to each other by
// their slots only, so a peer that keeps sending new names costs time but no memory.
const KNOWN_NAME_SLOTS = 512;
const knownNames: KnownName[] = Array.from({ length: KNOWN_NAME_SLOTS }, (_, slot) => ({
  // Longer than any name, so it matches none.
  bytes: new Uint8Array(MAX_HEADER_NAME_BYTES + 3),
  name: "",
  special: 0,
  slot,
  nextSlot: 0,
}));

/** The slot of the first name, as if it followed another name. */
const beforeFirst: KnownName = { ...knownNames[0]! };

/** Reads a name with its colon and space; `null` if there is none. */
function readName(bytes: Uint8Array, start: number): KnownName | null {
  let i = start;
  while (NAME[bytes[i]!] === 1) i++;
  const length = i - start;
  if (length === 0 || length > MAX_HEADER_NAME_BYTES) return null;
  if (bytes[i] !== COLON || bytes[i + 1] !== SPACE) return null;
  const slot = (bytes[start]! * 7 + bytes[i - 1]! * 31 + bytes[(start + i) >> 1]! * 3 +
    length * 13) & (KNOWN_NAME_SLOTS - 1);
  const known = knownNames[slot]!;
  if (known.bytes.length === length + 2 && startsWith(bytes, start, known.bytes)) return known;
  const name = String.fromCharCode(...bytes.subarray(start, i)).toLowerCase();
  return knownNames[slot] = {
    bytes: bytes.slice(start, i + 2),
    name,
    special: specialOf(name),
    slot,
    nextSlot: 0,
  };
}

// The native code of Object.setPrototypeOf has left the processor's caches by the time of the next message, and
// is several times slower then. So objects are made many at a time; each is used once.
const STOCK = 64;
const blanks: HeaderDict[] = [];

/** A new object without a prototype. It is a fast one; Object.create(null) would be in dictionary mode. */
function takeBlank(): HeaderDict {
  if (blanks.length === 0) {
    while (blanks.length < STOCK) blanks.push(Object.setPrototypeOf({}, null));
  }
  return blanks.pop()!;
}

/** What a block of header lines says. */
export interface ParsedHeaders {
  /** By lower-case name, without a prototype. */
  readonly headers: HeaderDict;
  /** How the end of the body would be determined. */
  readonly framing: Framing;
}

/**
 * Parses header lines up to the empty line that ends them.
 *
 * @param bytes Contains the lines and the empty line, CR LF, that ends them.
 * @param start Where the first line starts.
 * @param text The preamble decoded: its first character is `bytes[textOffset]`.
 * @param textOffset What to subtract from a position in `bytes` to get one in `text`.
 * @param end The position after the empty line.
 */
export function parseHeaderLines(
  bytes: Uint8Array,
  start: number,
  end: number,
  text: string,
  textOffset: number,
  context: HeaderContext,
): ParsedHeaders {
  const headers = takeBlank();
  let framing: Framing = null;
  let present = 0;
  let previous = beforeFirst;
  let i = start;
  while (bytes[i] !== CR) {
    const lineStart = i;
    let known: KnownName | null = knownNames[previous.nextSlot]!;
    if (!startsWith(bytes, lineStart, known.bytes)) {
      known = readName(bytes, lineStart);
      if (known === null) throw badLine(bytes, lineStart, end);
      previous.nextSlot = known.slot;
    }
    previous = known;
    const { name, special } = known;
    const valueStart = lineStart + known.bytes.length;
    i = valueStart;
    while (VALUE[bytes[i]!] === 1) i++;
    if (i === valueStart || bytes[i] !== CR || bytes[i + 1] !== LF) {
      throw badLine(bytes, lineStart, end);
    }
    if (headers[name] !== undefined) {
      throw new ProtocolError("DUPLICATE_HEADER", `duplicate header: ${name}`);
    }
    const value = text.substring(valueStart - textOffset, i - textOffset);
    if (special === 0) {
      headers[name] = value;
    } else {
      present |= special;
      const parsed = headers[name] = parseSpecial(special, value);
      if (special === CONTENT_LENGTH_BIT) framing = parsed as number;
      else if (special === TRANSFER_ENCODING_BIT) framing = "chunked";
    }
    i += 2;
  }
  if (i !== end - 2 || bytes[i + 1] !== LF) throw badLine(bytes, i, end);
  if (present !== 0) {
    const error = checkPresence(present, context);
    if (error !== null) throw error;
  }
  return { headers, framing };
}

function parseSpecial(special: number, value: string): string | number | Range | ContentRange {
  if (special === RANGE_BIT) return parseRange(value);
  if (special === CONTENT_RANGE_BIT) return parseContentRange(value);
  if (special === TRANSFER_ENCODING_BIT) {
    if (value === "chunked") return value;
    throw new ProtocolError("BAD_TRANSFER_ENCODING", `bad transfer-encoding: ${quote(value)}`);
  }
  const length = parseDecimal(value);
  if (length >= 0) return length;
  throw new ProtocolError("BAD_CONTENT_LENGTH", `bad content-length: ${quote(value)}`);
}

/** Finds the wrong part of a line that is known to be wrong. */
function badLine(bytes: Uint8Array, start: number, end: number): ProtocolError {
  let stop = start;
  while (stop < end - 2 && !(bytes[stop] === CR && bytes[stop + 1] === LF)) stop++;
  const line = bytes.subarray(start, stop);
  let colon = 0;
  while (colon < line.length && !(line[colon] === COLON && line[colon + 1] === SPACE)) colon++;
  if (colon === line.length) {
    return new ProtocolError("BAD_HEADER_LINE", `a header line without ": ": ${quoteLine(line)}`);
  }
  const name = line.subarray(0, colon);
  if (
    name.length === 0 || name.length > MAX_HEADER_NAME_BYTES || name.some((byte) => !NAME[byte])
  ) {
    return new ProtocolError("BAD_HEADER_NAME", `bad header name: ${quoteLine(name)}`);
  }
  const value = line.subarray(colon + 2);
  const shown = quoteValue(decodeAscii(name), value);
  return new ProtocolError("BAD_HEADER_VALUE", `bad value of a header: ${shown}`);
}
