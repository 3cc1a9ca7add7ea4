/**
 * Header lines: parsing, formatting, and the rules that hold for both.
 *
 * @module
 */

import { ProtocolError, quote, typeName } from "./errors.ts";
import { MAX_HEADER_NAME_BYTES, MAX_LENGTH } from "./limits.ts";
import {
  type ContentRange,
  isContentRange,
  isRange,
  parseContentRange,
  parseDecimal,
  parseRange,
  type Range,
} from "./range.ts";
import { allows, NAME, NAME_LOWER, VALUE } from "./tables.ts";

/**
 * Headers by name. As received: lower-case names and no prototype. As sent: a plain object. In both
 * `content-length` is a number, `range` a {@linkcode Range}, `content-range` a
 * {@linkcode ContentRange} and everything else a string.
 */
export type HeaderDict = Record<string, string | number | Range | ContentRange>;

/** Which message the headers belong to; a body is possible only in PUT and POST requests. */
export type HeaderContext = "request" | "request without body" | "response" | "any";

/**
 * How the end of a body is known: its length in bytes, `"chunked"`, or `null` for no body
 * (RFC 9112 §6.3, without "until the connection closes").
 */
export type Framing = number | "chunked" | null;

/** Which of the four headers with a meaning are present, as a set of bits. */
const LENGTH = 1, ENCODING = 2, RANGE = 4, CONTENT_RANGE = 8;

const SPECIAL: Readonly<Record<string, number>> = Object.freeze(Object.assign(
  Object.create(null),
  {
    "content-length": LENGTH,
    "transfer-encoding": ENCODING,
    "range": RANGE,
    "content-range": CONTENT_RANGE,
  },
));

/** The one place that says which headers may not stand together, or not in this message. */
function checkPresence(present: number, context: HeaderContext): ProtocolError | null {
  const framed = present & (LENGTH | ENCODING);
  if (framed === (LENGTH | ENCODING)) {
    return conflict("content-length and transfer-encoding (RFC 9112 §6.1)");
  }
  if (present & RANGE && (framed || present & CONTENT_RANGE)) {
    return conflict("range and a header of a message with content");
  }
  if (context === "any") return null;
  if (context === "response") {
    return present & RANGE ? forbidden("range", "a response") : null;
  }
  if (present & CONTENT_RANGE) return forbidden("content-range", "a request");
  if (framed && context === "request without body") {
    return forbidden(present & LENGTH ? "content-length" : "transfer-encoding", "such a request");
  }
  return null;
}

function conflict(names: string): ProtocolError {
  return new ProtocolError("CONFLICTING_HEADERS", `headers that exclude each other: ${names}`);
}

function forbidden(name: string, where: string): ProtocolError {
  return new ProtocolError("FORBIDDEN_HEADER", `the header ${name} is not allowed in ${where}`);
}

// ───────────────────────── parsing

const CR = 0x0d, LF = 0x0a, COLON = 0x3a, SPACE = 0x20;

/** A header's name as it arrived, and what it means. */
interface KnownName {
  readonly bytes: Uint8Array;
  readonly name: string;
  readonly special: number;
}

// Names repeat from message to message: a name that was seen before is compared byte by byte with
// the one in its slot, and needs no string of its own. A slot is overwritten on a miss, so a peer
// that sends ever new names costs time but no memory.
const KNOWN_NAME_SLOTS = 512;
const knownNames = new Array<KnownName | undefined>(KNOWN_NAME_SLOTS).fill(undefined);

function findName(bytes: Uint8Array, start: number, end: number): KnownName {
  const length = end - start;
  const slot = (bytes[start]! * 7 + bytes[end - 1]! * 31 + bytes[(start + end) >> 1]! * 3 +
    length * 13) & (KNOWN_NAME_SLOTS - 1);
  const known = knownNames[slot];
  if (known !== undefined && known.bytes.length === length) {
    let i = 0;
    while (i < length && known.bytes[i] === bytes[start + i]) i++;
    if (i === length) return known;
  }
  const own = bytes.slice(start, end);
  const name = String.fromCharCode(...own).toLowerCase();
  return knownNames[slot] = { bytes: own, name, special: SPECIAL[name] ?? 0 };
}

/** What a block of header lines says. */
export interface ParsedHeaders {
  /** By lower-case name, without a prototype. */
  readonly headers: HeaderDict;
  /** How the end of the body would be known. */
  readonly framing: Framing;
}

/**
 * Parses header lines up to the empty line that ends them.
 *
 * @param bytes Where they stand; an empty line, CR LF, must be in it.
 * @param start Where the first line starts.
 * @param text The same bytes as text, from `start - textOffset` on in `bytes`.
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
  // A fast object without a prototype; Object.create(null) would be one in dictionary mode.
  const headers: HeaderDict = Object.setPrototypeOf({}, null);
  let framing: Framing = null;
  let present = 0;
  let i = start;
  while (bytes[i] !== CR) {
    const lineStart = i;
    while (NAME[bytes[i]!] === 1) i++;
    const nameLength = i - lineStart;
    const valueStart = i + 2;
    if (
      nameLength === 0 || nameLength > MAX_HEADER_NAME_BYTES || bytes[i] !== COLON ||
      bytes[i + 1] !== SPACE
    ) {
      throw badLine(bytes, lineStart, end);
    }
    const { name, special } = findName(bytes, lineStart, i);
    i = valueStart;
    while (VALUE[bytes[i]!] === 1) i++;
    if (i === valueStart || bytes[i] !== CR || bytes[i + 1] !== LF) {
      throw badLine(bytes, lineStart, end);
    }
    if (headers[name] !== undefined) {
      throw new ProtocolError("DUPLICATE_HEADER", `the header ${name} stands there twice`);
    }
    const value = text.substring(valueStart - textOffset, i - textOffset);
    if (special === 0) {
      headers[name] = value;
    } else {
      present |= special;
      const parsed = headers[name] = parseSpecial(special, value);
      if (special === LENGTH) framing = parsed as number;
      else if (special === ENCODING) framing = "chunked";
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
  if (special === RANGE) return parseRange(value);
  if (special === CONTENT_RANGE) return parseContentRange(value);
  if (special === ENCODING) {
    if (value === "chunked") return value;
    throw new ProtocolError("BAD_TRANSFER_ENCODING", `bad transfer-encoding: ${quote(value)}`);
  }
  const length = parseDecimal(value);
  if (length >= 0) return length;
  throw new ProtocolError("BAD_CONTENT_LENGTH", `bad content-length: ${quote(value)}`);
}

/** Says which part of a line that is already known to be wrong is the wrong one. */
function badLine(bytes: Uint8Array, start: number, end: number): ProtocolError {
  let stop = start;
  while (stop < end - 2 && !(bytes[stop] === CR && bytes[stop + 1] === LF)) stop++;
  const line = bytes.subarray(start, stop);
  let colon = 0;
  while (colon < line.length && !(line[colon] === COLON && line[colon + 1] === SPACE)) colon++;
  if (colon === line.length) {
    return new ProtocolError("BAD_HEADER_LINE", `a header line without ": ": ${quote(line)}`);
  }
  const name = line.subarray(0, colon);
  if (
    name.length === 0 || name.length > MAX_HEADER_NAME_BYTES || name.some((byte) => !NAME[byte])
  ) {
    return new ProtocolError("BAD_HEADER_NAME", `bad header name: ${quote(name)}`);
  }
  const value = line.subarray(colon + 2);
  return new ProtocolError("BAD_HEADER_VALUE", `bad value of a header: ${quote(value)}`);
}

// ───────────────────────── formatting

/** Throws a `TypeError` unless the value can be a dictionary of headers. */
export function checkHeaderDict(headers: HeaderDict): void {
  if (typeof headers !== "object" || headers === null) {
    throw new TypeError(`headers: need a plain object; got ${typeName(headers)}`);
  }
  const prototype = Object.getPrototypeOf(headers);
  if (prototype !== null && prototype !== Object.prototype) {
    throw new TypeError(`headers: need a plain object; got ${typeName(headers)}`);
  }
}

/** Names that were found to be fit to be sent, each with its bytes up to the value. */
const sendableNames = new Map<string, { readonly bytes: Uint8Array; readonly special: number }>();
const MAX_SENDABLE_NAMES = 512;

function findSendableName(name: string): { readonly bytes: Uint8Array; readonly special: number } {
  const known = sendableNames.get(name);
  if (known !== undefined) return known;
  if (name.length === 0 || name.length > MAX_HEADER_NAME_BYTES || !allows(NAME_LOWER, name)) {
    throw new RangeError(
      `headers: bad name ${quote(name)}; need 1 to ${MAX_HEADER_NAME_BYTES} of a-z, 0-9 and -`,
    );
  }
  const bytes = Uint8Array.from(`${name}: `, (character) => character.charCodeAt(0));
  const made = { bytes, special: SPECIAL[name] ?? 0 };
  if (sendableNames.size >= MAX_SENDABLE_NAMES) sendableNames.clear();
  sendableNames.set(name, made);
  return made;
}

/** Sorts a handful of names in byte order, in place; faster than `sort` for what is typical. */
function sortNames(names: string[]): void {
  if (names.length > 32) {
    names.sort((a, b) => a < b ? -1 : 1);
    return;
  }
  for (let i = 1; i < names.length; i++) {
    const name = names[i]!;
    let j = i - 1;
    while (j >= 0 && names[j]! > name) {
      names[j + 1] = names[j]!;
      j--;
    }
    names[j + 1] = name;
  }
}

/**
 * Writes header lines, sorted by name, and returns the position after the last one. Bytes beyond
 * the end of the buffer are dropped: the caller checks the position against the limit.
 *
 * @param into Where to write.
 * @param at Where the first line starts.
 * @param headers The caller's headers, which are not changed.
 * @param base Headers that are put over the caller's.
 * @param framing What the body asks for, or `undefined` to send the headers as they are.
 */
export function formatHeaderLines(
  into: Uint8Array,
  at: number,
  headers: HeaderDict,
  base: HeaderDict | null,
  framing: Framing | undefined,
  context: HeaderContext,
): number {
  const names = Object.keys(headers);
  if (base !== null) {
    for (const name of Object.keys(base)) if (!Object.hasOwn(headers, name)) names.push(name);
  }
  const framingName = typeof framing === "number"
    ? "content-length"
    : framing === "chunked"
    ? "transfer-encoding"
    : null;
  if (framingName !== null && !Object.hasOwn(headers, framingName)) names.push(framingName);
  if (names.length > 1) sortNames(names);
  let present = 0;
  for (let n = 0; n < names.length; n++) {
    const name = names[n]!;
    const { bytes, special } = findSendableName(name);
    let value: unknown = base !== null && Object.hasOwn(base, name) ? base[name] : headers[name];
    if (special !== 0) {
      present |= special;
      if (value === undefined && name === framingName && !Object.hasOwn(headers, name)) {
        value = framing === "chunked" ? framing : framing as number;
      } else {
        checkFraming(name, special, value, framing);
      }
      value = formatSpecial(name, special, value);
    }
    for (let i = 0; i < bytes.length; i++) into[at + i] = bytes[i]!;
    at = writeValue(into, at + bytes.length, name, value);
  }
  if (present !== 0) {
    const error = checkPresence(present, context);
    if (error !== null) throw new RangeError(`headers: ${error.message}`);
  }
  return at;
}

function writeValue(into: Uint8Array, at: number, name: string, value: unknown): number {
  if (typeof value !== "string") {
    throw new TypeError(`headers["${name}"]: need a string; got ${typeName(value)}`);
  }
  const length = value.length;
  if (length === 0) throw new RangeError(`headers["${name}"]: need at least one character`);
  for (let i = 0; i < length; i++) {
    const code = value.charCodeAt(i);
    if (VALUE[code] !== 1) {
      throw new RangeError(`headers["${name}"]: bad character in ${quote(value)}`);
    }
    into[at + i] = code;
  }
  into[at + length] = CR;
  into[at + length + 1] = LF;
  return at + length + 2;
}

/** A framing header that the caller gives must say what the body says. */
function checkFraming(name: string, special: number, value: unknown, framing?: Framing): void {
  if (framing === undefined || !(special & (LENGTH | ENCODING))) return;
  if (framing === null) {
    throw new RangeError(`headers["${name}"]: there is no body that it could describe`);
  }
  const fits = special === LENGTH ? typeof value === "number" : typeof value === "string";
  if (!fits) {
    const wanted = special === LENGTH ? "number" : "string";
    throw new TypeError(`headers["${name}"]: need a ${wanted}; got ${typeName(value)}`);
  }
  if (value !== framing) {
    const body = framing === "chunked" ? "is chunked" : `has ${framing} bytes`;
    throw new RangeError(`headers["${name}"]: ${quote(String(value))}, but the body ${body}`);
  }
}

function formatSpecial(name: string, special: number, value: unknown): unknown {
  if (special === ENCODING) {
    if (typeof value !== "string" || value === "chunked") return value;
    throw new RangeError(`headers["${name}"]: need "chunked"; got ${quote(value)}`);
  }
  if (special === LENGTH) {
    if (typeof value !== "number") {
      throw new TypeError(`headers["${name}"]: need a number; got ${typeName(value)}`);
    }
    if (Number.isSafeInteger(value) && value >= 0 && !Object.is(value, -0)) return String(value);
    throw new RangeError(
      `headers["${name}"]: need an integer from 0 to ${MAX_LENGTH}; got ${value}`,
    );
  }
  const fits = special === RANGE ? isRange(value) : isContentRange(value);
  if (!fits) {
    const wanted = special === RANGE ? "Range" : "ContentRange";
    throw new TypeError(`headers["${name}"]: need a ${wanted}; got ${typeName(value)}`);
  }
  // Formatted from a parse of itself: an object that only claims to be a range can't send more.
  const text = String(value);
  try {
    return String(special === RANGE ? parseRange(text) : parseContentRange(text));
  } catch (error) {
    throw new RangeError(`headers["${name}"]: ${(error as Error).message}`);
  }
}
