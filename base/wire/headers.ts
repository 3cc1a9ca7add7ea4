/**
 * Header lines: the rules, parsing, and formatting, which refuses what a reader would reject.
 *
 * The rules, in the order in which they are applied to a line that arrives (RFC 9112 §5):
 *
 * 1. A name of 1 to 32 letters, digits and `-`, in any case, and exactly `: ` after it.
 * 2. A value of one or more allowed bytes, up to CR LF: no space is trimmed, and no line is folded.
 * 3. Each name once: of two, one reader may take the first and another the last (RFC 9110 §5.3).
 * 4. Four headers have a meaning here, and values of one form each: {@linkcode SPECIAL}.
 * 5. Some of the four exclude each other, or have no place in a message: {@linkcode checkTogether}.
 *
 * A cache of names, a cache of sets of names, and a stock of empty objects are about speed alone.
 */

import { decodeAscii, EMPTY, startsWith, writeBytes } from "../../internal/bytes.ts";
import {
  checkInteger,
  checkString,
  notAllowedError,
  wrongTypeError,
} from "../../internal/checks.ts";
import { ProtocolError } from "../errors.ts";
import { quote } from "../../internal/quote.ts";
import { quoteLine, quoteValue } from "../../internal/printable.ts";
import { MAX_HEADER_NAME_BYTES, MAX_LENGTH } from "./limits.ts";
import {
  type ContentRange,
  isContentRange,
  isRange,
  parseContentRange,
  parseRange,
  type Range,
} from "./range.ts";
import { allows, NAME, NAME_LOWER, parseDecimal, VALUE } from "./tables.ts";

/**
 * Headers by lower-case name, received or to be sent. A header to be sent that is `undefined` is
 * left out.
 */
export type HeaderDict = Record<string, string | number | Range | ContentRange | undefined>;

/**
 * Headers by lower-case name, to be sent: a plain object, such as a {@linkcode HeaderDict} or
 * {@linkcode ReceivedHeaders}. Each header without a type of its own is a string. A header that is
 * `undefined` is left out.
 */
export interface HeadersToSend {
  /** Any header. */
  [name: string]: string | number | Range | ContentRange | undefined;
  /** The number of bytes in the body; added for each body, if it is left out. */
  "content-length"?: number | undefined;
  /** The range of a request. */
  range?: Range | undefined;
  /** The range of a response. */
  "content-range"?: ContentRange | undefined;
}

/**
 * Headers by lower-case name, as they were received: an object without a prototype. They can be
 * sent on, as they are or in a copy. `headers["content-type"]` is a string or `undefined`;
 * `headers["Content-Type"]` is always `undefined`, and its type says so.
 */
export type ReceivedHeaders =
  & {
    /** The number of bytes in the body, if it is announced. */
    readonly "content-length"?: number;
    /** The range of a request. */
    readonly range?: Range;
    /** The range of a response. */
    readonly "content-range"?: ContentRange;
  }
  & {
    readonly [
      name in
        | "Accept"
        | "Accept-Encoding"
        | "Accept-Language"
        | "Accept-Ranges"
        | "Authorization"
        | "Cache-Control"
        | "Connection"
        | "Content-Disposition"
        | "Content-Encoding"
        | "Content-Length"
        | "Content-Range"
        | "Content-Type"
        | "Cookie"
        | "Date"
        | "ETag"
        | "Etag"
        | "Expires"
        | "Host"
        | "If-Match"
        | "If-Modified-Since"
        | "If-None-Match"
        | "If-Range"
        | "Last-Modified"
        | "Location"
        | "Origin"
        | "Range"
        | "Referer"
        | "Retry-After"
        | "Server"
        | "Set-Cookie"
        | "Transfer-Encoding"
        | "User-Agent"
        | "Vary"
        | "WWW-Authenticate"
        | "X-Forwarded-For"
    ]?: never;
  }
  & { readonly [name: string]: string | undefined };

/** The message that headers belong to; only PUT and POST requests may have a body. */
export type HeaderContext = "request" | "request without body" | "response" | "any";

/**
 * How the end of a body is determined (RFC 9112 §6.3): its length in bytes, `"chunked"`, or `null`
 * if the message has neither `content-length` nor `transfer-encoding`. No body ends with its
 * connection.
 *
 * Each question about a framing has one function:
 *
 * - Received: which framing do the headers announce? {@linkcode parseHeaderLines}. Does such a body
 *   follow? Always in a request; in a response, `receivedFraming` decides.
 * - Sent: which framing has this body? `outgoingFraming`. Which one do the headers announce?
 *   `requestFraming` decides in a request, where only some methods may have a body, and
 *   `announcedFraming` in a response, since HEAD asks for headers alone.
 *
 * Both of these ask `isBodiless` whether a response has no body, whatever its headers announce.
 */
export type Framing = number | "chunked" | null;

// ───────────────────────── the four headers with a meaning

/** A header with a meaning for its message. */
interface SpecialHeader {
  /** The bit of this header in the set of those that are present. */
  readonly bit: number;
  /** Reads a value, whose bytes have been checked. */
  parse(value: string): HeaderDict[string];
  /** Formats a value; errors call the value `item`. */
  format(value: unknown, item: () => string): string;
}

const CONTENT_LENGTH = 1, TRANSFER_ENCODING = 2, RANGE = 4, CONTENT_RANGE = 8;
const FRAMING = CONTENT_LENGTH | TRANSFER_ENCODING;

const SPECIAL: ReadonlyMap<string, SpecialHeader> = new Map<string, SpecialHeader>([
  // RFC 9110 §8.6: one number, once. A number has only one spelling: two readers can't see two
  // lengths.
  ["content-length", {
    bit: CONTENT_LENGTH,
    parse(value) {
      const length = parseDecimal(value);
      if (length >= 0) return length;
      throw new ProtocolError("BAD_CONTENT_LENGTH", `bad content-length: ${quote(value)}`);
    },
    format(value, item) {
      if (!Number.isSafeInteger(value) || value as number < 0) {
        checkInteger(item(), value, 0, MAX_LENGTH);
      }
      return String(value);
    },
  }],
  // RFC 9112 §6.1: `chunked`, and no other coding before it.
  ["transfer-encoding", {
    bit: TRANSFER_ENCODING,
    parse(value) {
      if (value === "chunked") return value;
      throw new ProtocolError("BAD_TRANSFER_ENCODING", `bad transfer-encoding: ${quote(value)}`);
    },
    format(value, item) {
      if (value === "chunked") return value;
      checkString(item(), value);
      throw notAllowedError(item(), `must be "chunked"; got ${quote(value)}`);
    },
  }],
  // RFC 9110 §14.2: one range of bytes, with both ends.
  ["range", { bit: RANGE, parse: parseRange, format: formatRange(isRange, "a Range", parseRange) }],
  // RFC 9110 §14.4: one range of bytes, with both ends, and the total.
  ["content-range", {
    bit: CONTENT_RANGE,
    parse: parseContentRange,
    format: formatRange(isContentRange, "a ContentRange", parseContentRange),
  }],
]);

/**
 * Formats a range by parsing its text: an object that only claims to be a range can't send more.
 */
function formatRange(
  isOne: (value: unknown) => boolean,
  wanted: string,
  parse: (text: string) => Range | ContentRange,
): SpecialHeader["format"] {
  return (value, item) => {
    if (!isOne(value)) throw wrongTypeError(item(), wanted, value);
    const text = String(value);
    try {
      return String(parse(text));
    } catch (error) {
      throw notAllowedError(item(), (error as Error).message);
    }
  };
}

/** True for the four headers that describe one message: its body, or a range of it. */
export function isSpecial(name: string): boolean {
  return SPECIAL.has(name);
}

/**
 * The error if two of the four headers exclude each other, or one has no place in this message;
 * else `null`.
 *
 * @param isEmpty Whether there is a content-length of 0, which announces no content, and may stand
 * in each request (RFC 9110 §8.6).
 */
function checkTogether(
  announced: number,
  hasZeroLength: boolean,
  context: HeaderContext,
): ProtocolError | null {
  // RFC 9112 §6.1: two readers that believe different headers see different bodies.
  if ((announced & FRAMING) === FRAMING) {
    return headerConflictError("content-length and transfer-encoding (RFC 9112 §6.1)");
  }
  const present = hasZeroLength ? announced & ~CONTENT_LENGTH : announced;
  // A range is a part of a representation; a message with content would change that representation.
  if (present & RANGE && present & (FRAMING | CONTENT_RANGE)) {
    return headerConflictError("range and a header of a message with content");
  }
  if (context === "any") return null;
  if (context === "response") {
    return present & RANGE ? forbiddenHeaderError("range", "a response") : null;
  }
  if (present & CONTENT_RANGE) return forbiddenHeaderError("content-range", "a request");
  if (present & FRAMING && context === "request without body") {
    const name = present & CONTENT_LENGTH ? "content-length" : "transfer-encoding";
    return forbiddenHeaderError(name, "such a request");
  }
  return null;
}

function headerConflictError(names: string): ProtocolError {
  return new ProtocolError("CONFLICTING_HEADERS", `headers that exclude each other: ${names}`);
}

function forbiddenHeaderError(name: string, where: string): ProtocolError {
  return new ProtocolError("FORBIDDEN_HEADER", `the header ${name} is not allowed in ${where}`);
}

/** True if headers say that the connection ends with this exchange (RFC 9112 §9.6). */
export function saysClose(headers: HeaderDict): boolean {
  return connectionOptions(headers).includes("close");
}

/** The elements of `connection`, in lower case (RFC 9110 §7.6.1). */
export function connectionOptions({ connection }: HeaderDict): readonly string[] {
  if (typeof connection !== "string") return NO_OPTIONS;
  return connection.split(",").map((option) => option.trim().toLowerCase());
}

const NO_OPTIONS: readonly string[] = [];

// ───────────────────────── parsing

const CR = 0x0d, LF = 0x0a, COLON = 0x3a, SPACE = 0x20;

/**
 * Parses the header lines from `start` to `end`, the position after the empty line that ends them.
 * The headers have no prototype.
 *
 * @param text The preamble decoded: its first character is `bytes[textOffset]`.
 */
export function parseHeaderLines(
  bytes: Uint8Array,
  start: number,
  end: number,
  text: string,
  textOffset: number,
  context: HeaderContext,
): { readonly headers: HeaderDict; readonly framing: Framing } {
  const headers = newHeaderDict();
  let framing: Framing = null;
  let present = 0;
  let at = start;
  while (bytes[at] !== CR) {
    const header = readName(bytes, at);
    if (header === null) throw invalidHeaderNameError(lineAt(bytes, at, end));
    const { name, special } = header;

    const valueStart = at + header.bytes.length;
    let valueEnd = valueStart;
    while (VALUE[bytes[valueEnd]!] === 1) valueEnd++;
    if (valueEnd === valueStart || bytes[valueEnd] !== CR || bytes[valueEnd + 1] !== LF) {
      const shown = quoteValue(name, lineAt(bytes, valueStart, end));
      throw new ProtocolError("BAD_HEADER_VALUE", `bad value of a header: ${shown}`);
    }
    const value = text.substring(valueStart - textOffset, valueEnd - textOffset);

    if (headers[name] !== undefined) {
      throw new ProtocolError("DUPLICATE_HEADER", `duplicate header: ${name}`);
    }

    if (special === null) {
      headers[name] = value;
    } else {
      present |= special.bit;
      const parsed = headers[name] = special.parse(value);
      if (special.bit & FRAMING) framing = parsed as number | "chunked";
    }
    at = valueEnd + 2;
  }
  // The empty line must be the end.
  if (at !== end - 2 || bytes[at + 1] !== LF) throw invalidHeaderNameError(lineAt(bytes, at, end));

  if (present !== 0) {
    const error = checkTogether(present, framing === 0, context);
    if (error !== null) throw error;
  }
  return { headers, framing };
}

/** The rest of a line, for an error. */
function lineAt(bytes: Uint8Array, start: number, end: number): Uint8Array {
  let stop = start;
  while (stop < end && !(bytes[stop] === CR && bytes[stop + 1] === LF)) stop++;
  return bytes.subarray(start, stop);
}

/** The error for a line that doesn't begin with a name, a colon and a space. */
function invalidHeaderNameError(line: Uint8Array): ProtocolError {
  const colon = line.findIndex((byte, i) => byte === COLON && line[i + 1] === SPACE);
  const bare = line.findIndex((byte) => byte === CR || byte === LF);
  if (bare >= 0 && (colon < 0 || bare < colon)) {
    const why = "a name can't contain the end of a line";
    const name = quoteLine(line.subarray(0, bare + 1));
    return new ProtocolError("BAD_HEADER_NAME", `bad header name: ${name}: ${why}`);
  }
  return colon < 0
    ? new ProtocolError("BAD_HEADER_LINE", `a header line without ": ": ${quoteLine(line)}`)
    : new ProtocolError(
      "BAD_HEADER_NAME",
      `bad header name: ${quoteLine(line.subarray(0, colon))}`,
    );
}

// ───────────────────────── formatting

/** Throws a `TypeError` unless the value is a dictionary of headers. */
export function checkHeaderDict(headers: HeaderDict, label = "headers"): void {
  if (headers !== null && headers !== undefined) {
    const prototype = Object.getPrototypeOf(headers);
    if (prototype === null || prototype === Object.prototype) return;
  }
  throw wrongTypeError(label, "a plain object", headers);
}

/** The label of one header in errors: `headers["content-type"]`. */
function itemLabel(label: string, name: string): string {
  return `${label}[${quote(name)}]`;
}

/**
 * Writes header lines, sorted by name, and returns the position after the last one. Bytes beyond
 * the end of the buffer are dropped: the caller checks the position against the limit.
 *
 * @param base Headers that override the caller's, which are not changed.
 * @param framing The framing of the body, or `undefined` to send the headers as they are.
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
    // V8 compares only the object's shape in such a loop. With Object.hasOwn() the formatting of
    // twelve headers takes an eighth longer.
    if (!Object.prototype.hasOwnProperty.call(headers, name)) continue;
    const value = headers[name];
    if (value === undefined) continue;
    names.push(name);
    values.push(value);
  }
  if (base !== null) {
    for (const name of Object.keys(base)) {
      if (base[name] === undefined) continue;
      const index = names.indexOf(name);
      values[index < 0 ? names.push(name) - 1 : index] = base[name];
    }
  }
  if (framing !== null && framing !== undefined) {
    const name = framing === "chunked" ? "transfer-encoding" : "content-length";
    if (!names.includes(name)) values[names.push(name) - 1] = framing;
  }
  const lines = linesFor(names, label);
  let present = 0;
  let isEmpty = false;
  for (let n = 0; n < lines.length; n++) {
    const { name, bytes, special, index } = lines[n]!;
    let value = values[index];
    if (special !== null) {
      present |= special.bit;
      if (value === 0) isEmpty = true;
      const item = () => itemLabel(label, name);
      const formatted = special.format(value, item);
      if (special.bit & FRAMING) checkFraming(value, framing, item);
      value = formatted;
    }
    at = writeValue(into, writeBytes(into, at, bytes), value);
    if (at < 0) throw invalidHeaderValueError(label, name, value);
  }
  if (present !== 0) {
    const error = checkTogether(present, isEmpty, context);
    if (error !== null) throw notAllowedError(label, error.message);
  }
  return at;
}

/** Refuses a framing header of the caller that doesn't match the body. */
function checkFraming(value: unknown, framing: Framing | undefined, item: () => string): void {
  if (framing === undefined || value === framing) return;
  const body = framing === "chunked" ? "is chunked" : `has ${framing} bytes`;
  const wanted = framing === null
    ? "be left out, because there is no body"
    : `match the body, which ${body}, or be left out`;
  throw notAllowedError(item(), `must ${wanted}; got ${quote(String(value))}`);
}

/**
 * Writes the value of a header and CR LF; returns the position after them, or -1 if the value can't
 * be sent. If the error were made here, formatting twelve headers would take an eighth longer.
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
function invalidHeaderValueError(label: string, name: string, value: unknown): Error {
  const item = itemLabel(label, name);
  if (typeof value !== "string") return wrongTypeError(item, "a string", value);
  if (value === "") return notAllowedError(item, `must have at least one character; got ""`);
  const bad = value.split("").find((character) => !allows(VALUE, character))!;
  return notAllowedError(
    item,
    `bad character ${quote(bad)} in ${quoteValue(name, value)}; must be letters and ` +
      "digits of ASCII, spaces and - + . : _ ~ % & = / ? \" ' ( ) * , ; < > [ ]: " +
      "encodeURIComponent() turns any text into these",
  );
}

// ───────────────────────── what is known from earlier messages

/** A name of a header, and its meaning. */
interface KnownName {
  /** The name in lower case. */
  readonly name: string;
  /** The bytes of the name, as received or to be sent, with the colon and the space. */
  readonly bytes: Uint8Array;
  readonly special: SpecialHeader | null;
}

// Names repeat from message to message: a name that was seen before is compared byte by byte with
// the name in its slot, and needs no new string. A miss overwrites the slot, so a peer that keeps
// sending new names costs time but no memory.
const KNOWN_NAME_SLOTS = 512;
const knownNames: KnownName[] = new Array(KNOWN_NAME_SLOTS)
  .fill({ name: "", bytes: EMPTY, special: null });

/** The slot of the name from `start` to `end`. Hardly two of the usual names share a slot. */
function slotOf(bytes: Uint8Array, start: number, end: number): number {
  const middle = (start + end) >> 1;
  const hash = bytes[start]! ^ bytes[end - 1]! << 2 ^ bytes[middle]! << 5 ^ (end - start);
  return hash & (KNOWN_NAME_SLOTS - 1);
}

/**
 * Reads a name of 1 to 32 letters, digits and "-", with its colon and space; `null` if there is
 * none.
 */
function readName(bytes: Uint8Array, start: number): KnownName | null {
  let i = start;
  while (NAME[bytes[i]!] === 1) i++;
  const length = i - start;
  if (length === 0 || length > MAX_HEADER_NAME_BYTES) return null;
  if (bytes[i] !== COLON || bytes[i + 1] !== SPACE) return null;
  const slot = slotOf(bytes, start, i);
  const known = knownNames[slot]!;
  if (known.bytes.length === length + 2 && startsWith(bytes, start, known.bytes)) return known;
  const name = decodeAscii(bytes.subarray(start, i)).toLowerCase();
  return knownNames[slot] = {
    name,
    bytes: bytes.slice(start, i + 2),
    special: SPECIAL.get(name) ?? null,
  };
}

/** A name to be sent. */
interface Line extends KnownName {
  /** The index in the order in which the names were given. */
  readonly index: number;
}

// An app sends the same few sets of names again and again. Twelve names that are compared with the
// previous set take 200 ns less than twelve that are checked and sorted.
const SET_SLOTS = 64;
const knownSets = new Array<{ names: readonly string[]; lines: readonly Line[] } | undefined>(
  SET_SLOTS,
).fill(undefined);

/** The lines for these names, sorted by name in byte order. */
function linesFor(names: readonly string[], label: string): readonly Line[] {
  const count = names.length;
  // Both ends of a connection may be in one program, with sets of as many names: the lengths of the
  // first and the last name usually give the sets different slots.
  const ends = count === 0 ? 0 : names[0]!.length ^ names[count - 1]!.length << 1;
  const slot = (count ^ ends << 3) & (SET_SLOTS - 1);
  const known = knownSets[slot];
  if (known !== undefined && known.names.length === count) {
    let i = 0;
    while (i < count && names[i] === known.names[i]) i++;
    if (i === count) return known.lines;
  }
  const lines = names.map((name, index) => makeLine(name, index, label))
    .sort((a, b) => a.name < b.name ? -1 : 1);
  if (count < SET_SLOTS) knownSets[slot] = { names, lines };
  return lines;
}

function makeLine(name: string, index: number, label: string): Line {
  if (name.length === 0 || name.length > MAX_HEADER_NAME_BYTES || !allows(NAME_LOWER, name)) {
    const lower = name.toLowerCase();
    const isLower = lower === name || !allows(NAME_LOWER, lower);
    throw notAllowedError(
      itemLabel(label, name),
      `the name must be 1 to ${MAX_HEADER_NAME_BYTES} of the ` +
        `characters a-z, 0-9 and -${isLower ? "" : `; write it in lower case: "${lower}"`}`,
    );
  }
  const bytes = Uint8Array.from(`${name}: `, (character) => character.charCodeAt(0));
  return { name, bytes, special: SPECIAL.get(name) ?? null, index };
}

// The native code of Object.setPrototypeOf has left the processor's caches by the time of the next
// message, and takes several times as long then. So objects are made many at a time, and each is
// used once.
const STOCK = 64;
const blanks: HeaderDict[] = [];

/**
 * A new object without a prototype, with fast properties: twelve headers in an object of
 * Object.create(null) take 100 ns longer.
 */
function newHeaderDict(): HeaderDict {
  if (blanks.length === 0) {
    while (blanks.length < STOCK) blanks.push(Object.setPrototypeOf({}, null));
  }
  return blanks.pop()!;
}
