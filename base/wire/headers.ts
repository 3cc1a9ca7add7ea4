/**
 * Header lines: parsing, formatting, and the rules that hold for both.
 *
 * @module
 */

import { decodeAscii, startsWith, writeBytes } from "../bytes.ts";
import { checkInteger, checkString, wrongType } from "../checks.ts";
import { ProtocolError, quote } from "../errors.ts";
import { quoteLine, quoteValue } from "../inspect.ts";
import { MAX_HEADER_NAME_BYTES, MAX_LENGTH, MAX_PREAMBLE_BYTES } from "./limits.ts";
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

// ───────────────────────── formatting

/** Throws a `TypeError` unless the value is a dictionary of headers. */
export function checkHeaderDict(headers: HeaderDict, label = "headers"): void {
  if (typeof headers === "object" && headers !== null) {
    const prototype = Object.getPrototypeOf(headers);
    if (prototype === null || prototype === Object.prototype) return;
  }
  throw wrongType(label, "a plain object", headers);
}

/** The label of one header in errors: `headers["content-type"]`. */
function itemLabel(label: string, name: string): string {
  return `${label}[${quote(name)}]`;
}

/** Headers for which a client has a separate option. */
const OPTIONS: readonly string[] = ["host", "authorization"];

/**
 * Checks headers that a client sends with every request: names and values, and that none of them has a
 * separate option or describes a single message.
 *
 * @throws {TypeError} if they are not a dictionary, or a value is not a string.
 * @throws {RangeError} if a name or a value can't be sent, or a header is not allowed here.
 */
export function checkBaseHeaders(headers: HeaderDict): void {
  checkHeaderDict(headers);
  let size = 0;
  for (const [name, value] of Object.entries(headers)) {
    const { bytes, special } = makeLine(name, 0, "headers");
    if (OPTIONS.includes(name)) {
      throw new RangeError(`headers["${name}"]: must be given as the option ${name}`);
    }
    if (special !== 0) {
      throw new RangeError(
        `headers["${name}"]: is for one message, and can't be sent with every request`,
      );
    }
    const room = new Uint8Array(typeof value === "string" ? value.length + 2 : 0);
    const end = writeValue(room, 0, value);
    if (end < 0) throw badValue("headers", name, value);
    size += bytes.length + end;
  }
  if (size > MAX_PREAMBLE_BYTES) {
    throw new RangeError(
      `headers: must fit in a preamble of ${MAX_PREAMBLE_BYTES} bytes; got ${size} bytes`,
    );
  }
}

/** A header line to be written, without its value. */
interface Line {
  readonly name: string;
  /** The bytes of the name, with the colon and the space. */
  readonly bytes: Uint8Array;
  readonly special: number;
  /** The index of its name, in the order in which the names were given. */
  readonly index: number;
}

/** What is known about one set of names. */
interface Plan {
  readonly names: readonly string[];
  /** By name in byte order. */
  readonly lines: readonly Line[];
}

// An app sends the same few sets of names again and again: comparing them with the previous set is faster
// than checking and sorting them.
const PLAN_SLOTS = 32;
const plans = new Array<Plan | undefined>(PLAN_SLOTS).fill(undefined);

function planFor(names: readonly string[], label: string): readonly Line[] {
  const count = names.length;
  const slot = count & (PLAN_SLOTS - 1);
  const plan = plans[slot];
  if (plan !== undefined && plan.names.length === count) {
    let i = 0;
    while (i < count && names[i] === plan.names[i]) i++;
    if (i === count) return plan.lines;
  }
  const lines = names.map((name, index) => makeLine(name, index, label))
    .sort((a, b) => a.name < b.name ? -1 : 1);
  if (count < PLAN_SLOTS) plans[slot] = { names, lines };
  return lines;
}

function makeLine(name: string, index: number, label: string): Line {
  if (name.length === 0 || name.length > MAX_HEADER_NAME_BYTES || !allows(NAME_LOWER, name)) {
    throw new RangeError(
      `${itemLabel(label, name)}: the name must be 1 to ${MAX_HEADER_NAME_BYTES} of the ` +
        "characters a-z, 0-9 and -",
    );
  }
  const bytes = Uint8Array.from(`${name}: `, (character) => character.charCodeAt(0));
  return { name, bytes, special: specialOf(name), index };
}

/**
 * Writes header lines, sorted by name, and returns the position after the last one. Bytes beyond
 * the end of the buffer are dropped: the caller checks the position against the limit.
 *
 * @param into Where to write.
 * @param at Where the first line starts.
 * @param headers The caller's headers, which are not changed.
 * @param base Headers that override the caller's.
 * @param framing The framing that the body requires, or `undefined` to send the headers as they are.
 * @param label The name of the headers in errors.
 */
export function formatHeaderLines(
  into: Uint8Array,
  at: number,
  headers: HeaderDict,
  base: HeaderDict | null,
  framing: Framing | undefined,
  context: HeaderContext,
  label = "headers",
): number {
  const names: string[] = [];
  const values: unknown[] = [];
  for (const name in headers) {
    if (!Object.hasOwn(headers, name)) continue;
    names.push(name);
    values.push(headers[name]);
  }
  if (base !== null) putOver(base, names, values);
  addFraming(framing, names, values);
  const lines = planFor(names, label);
  let present = 0;
  for (let n = 0; n < lines.length; n++) {
    const { name, bytes, special, index } = lines[n]!;
    let value = values[index];
    if (special !== 0) {
      present |= special;
      checkFraming(name, special, value, framing, label);
      value = formatSpecial(name, special, value, label);
    }
    at = writeValue(into, writeBytes(into, at, bytes), value);
    if (at < 0) throw badValue(label, name, value);
  }
  if (present !== 0) {
    const error = checkPresence(present, context);
    if (error !== null) throw new RangeError(`${label}: ${error.message}`);
  }
  return at;
}

function putOver(base: HeaderDict, names: string[], values: unknown[]): void {
  for (const name of Object.keys(base)) {
    const index = names.indexOf(name);
    if (index >= 0) {
      values[index] = base[name];
    } else {
      names.push(name);
      values.push(base[name]);
    }
  }
}

/** Adds the header that the body requires, unless the caller gave it. */
function addFraming(framing: Framing | undefined, names: string[], values: unknown[]): void {
  if (framing === null || framing === undefined) return;
  const name = framing === "chunked" ? "transfer-encoding" : "content-length";
  if (names.includes(name)) return;
  names.push(name);
  values.push(framing);
}

/**
 * Writes the value of a header and CR LF; returns the position after them, or -1 if the value can't be sent. Making the
 * error here would make the loop slower by an eighth.
 */
function writeValue(into: Uint8Array, at: number, value: unknown): number {
  if (typeof value !== "string" || value === "") return -1;
  const length = value.length;
  for (let i = 0; i < length; i++) {
    const code = value.charCodeAt(i);
    if (VALUE[code] !== 1) return -1;
    into[at + i] = code;
  }
  into[at + length] = CR;
  into[at + length + 1] = LF;
  return at + length + 2;
}

/** The error for a value that can't be sent. */
function badValue(label: string, name: string, value: unknown): Error {
  const item = itemLabel(label, name);
  if (typeof value !== "string") return wrongType(item, "a string", value);
  if (value === "") return new RangeError(`${item}: must have at least one character; got ""`);
  const bad = value.split("").find((character) => !allows(VALUE, character))!;
  return new RangeError(
    `${item}: bad character ${quote(bad)} in ${
      quoteValue(name, value)
    }; must be letters and digits ` +
      "of ASCII, spaces and - + . : _ ~ % & = / ? \" ' ( ) * , ; < > [ ]: encodeURIComponent() " +
      "turns any text into these",
  );
}

/** A framing header from the caller must match the body. */
function checkFraming(
  name: string,
  special: number,
  value: unknown,
  framing: Framing | undefined,
  label: string,
): void {
  if (framing === undefined || value === framing) return;
  if (!(special & (CONTENT_LENGTH_BIT | TRANSFER_ENCODING_BIT))) return;
  const item = itemLabel(label, name);
  if (framing === null) throw new RangeError(`${item}: must be left out, as there is no body`);
  if (special === CONTENT_LENGTH_BIT) checkInteger(item, value, 0, MAX_LENGTH);
  else checkString(item, value);
  const body = framing === "chunked" ? "is chunked" : `has ${framing} bytes`;
  throw new RangeError(
    `${item}: must match the body, which ${body}, or be left out; got ${quote(String(value))}`,
  );
}

function formatSpecial(name: string, special: number, value: unknown, label: string): unknown {
  if (special === TRANSFER_ENCODING_BIT) {
    if (typeof value !== "string" || value === "chunked") return value;
    throw new RangeError(`${itemLabel(label, name)}: must be "chunked"; got ${quote(value)}`);
  }
  if (special === CONTENT_LENGTH_BIT) return formatLength(name, value, label);
  const fits = special === RANGE_BIT ? isRange(value) : isContentRange(value);
  if (!fits) {
    const wanted = special === RANGE_BIT ? "a Range" : "a ContentRange";
    throw wrongType(itemLabel(label, name), wanted, value);
  }
  // Formatted from a parse of itself: an object that only claims to be a range can't send more.
  const text = String(value);
  try {
    return String(special === RANGE_BIT ? parseRange(text) : parseContentRange(text));
  } catch (error) {
    throw new RangeError(`${itemLabel(label, name)}: ${(error as Error).message}`);
  }
}

function formatLength(name: string, value: unknown, label: string): string {
  if (Number.isSafeInteger(value) && value as number >= 0 && !Object.is(value, -0)) {
    return String(value);
  }
  const item = itemLabel(label, name);
  checkInteger(item, value, 0, MAX_LENGTH);
  throw new RangeError(`${item}: must be an integer from 0 to ${MAX_LENGTH}; got -0`);
}
