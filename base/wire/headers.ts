/**
 * The rules, in the order in which the parser applies them to a line (RFC 9112 §5):
 *
 * 1. The name has 1 to 64 letters, digits and `-`, in any case, and exactly `: ` after it.
 * 2. The value has at least one allowed byte, up to CR LF, and no space at its ends: one reader
 *    would trim the spaces, another would not (RFC 9110 §5.5). Lines are not folded.
 * 3. A name occurs once: of two lines, one reader may use the first and another the last (RFC 9110
 *    §5.3).
 */

import { decodeAscii, EMPTY_BYTES, startsWith, writeBytes } from "../../internal/bytes.ts";
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
import { ContentRange, parseContentRange, parseRange, Range } from "./range.ts";
import {
  allows,
  HEADER_NAME_TABLE,
  HEADER_VALUE_TABLE,
  LOWER_CASE_NAME_TABLE,
} from "./character_tables.ts";
import { parseDecimal } from "../../internal/decimal.ts";

/**
 * Headers by lower-case name, to be sent: a plain object, such as {@linkcode ReceivedHeaders}.
 * Every header is a string, except `content-length`, `range` and `content-range`. A header that is
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
 * Headers by lower-case name, as they were received: an object without a prototype. A program can
 * send them again, or a copy. `headers["content-type"]` is a string or `undefined`.
 * `headers["Content-Type"]` is always `undefined`, also in its type.
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
      // deno-fmt-ignore
      name in `${
        | "A" | "B" | "C" | "D" | "E" | "F" | "G" | "H" | "I" | "J" | "K" | "L" | "M"
        | "N" | "O" | "P" | "Q" | "R" | "S" | "T" | "U" | "V" | "W" | "X" | "Y" | "Z"
      }${string}`
    ]: undefined;
  }
  & { readonly [name: string]: string | undefined };

/** The kind of message that headers belong to; only PUT and POST requests may have a body. */
export type HeaderContext = "request" | "request without body" | "response" | "any";

/**
 * How the end of a body is determined (RFC 9112 §6.3): by its length in bytes, by chunks, or `null`
 * if the message has neither `content-length` nor `transfer-encoding`. The end of the connection
 * never ends a body.
 */
export type Framing = number | "chunked" | null;

// ───────────────────────── the four headers with a type

/** A header with a restricted value, because the header frames the body or names a range. */
interface TypedHeader {
  readonly bit: number;
  parse(value: string): HeadersToSend[string];
  format(value: unknown, makeLabel: () => string): string;
}

const CONTENT_LENGTH_BIT = 1, TRANSFER_ENCODING_BIT = 2, RANGE_BIT = 4, CONTENT_RANGE_BIT = 8;
const FRAMING_BITS = CONTENT_LENGTH_BIT | TRANSFER_ENCODING_BIT;

const TYPED_HEADERS: ReadonlyMap<string, TypedHeader> = new Map<string, TypedHeader>([
  // RFC 9110 §8.6: one number in one spelling, so that all readers see the same length.
  ["content-length", {
    bit: CONTENT_LENGTH_BIT,
    parse(value) {
      const length = parseDecimal(value);
      if (length >= 0) return length;
      throw new ProtocolError("BAD_CONTENT_LENGTH", `bad content-length: ${quote(value)}`);
    },
    format(value, makeLabel) {
      if (!Number.isSafeInteger(value) || value as number < 0) {
        checkInteger(makeLabel(), value, 0, MAX_LENGTH);
      }
      return String(value);
    },
  }],
  // RFC 9112 §6.1: `chunked`, and no other coding before it.
  ["transfer-encoding", {
    bit: TRANSFER_ENCODING_BIT,
    parse(value) {
      if (value === "chunked") return value;
      throw new ProtocolError("BAD_TRANSFER_ENCODING", `bad transfer-encoding: ${quote(value)}`);
    },
    format(value, makeLabel) {
      if (value === "chunked") return value;
      checkString(makeLabel(), value);
      throw notAllowedError(makeLabel(), `must be "chunked"; got ${quote(value)}`);
    },
  }],
  // RFC 9110 §14.2: one range of bytes, with its first position.
  ["range", {
    bit: RANGE_BIT,
    parse: parseRange,
    format: makeRangeFormatter(Range, "a Range", parseRange),
  }],
  // RFC 9110 §14.4: one range of bytes, with both ends, and the total.
  ["content-range", {
    bit: CONTENT_RANGE_BIT,
    parse: parseContentRange,
    format: makeRangeFormatter(ContentRange, "a ContentRange", parseContentRange),
  }],
]);

/** Makes a function that formats a range and parses the text again: a subclass may change it. */
function makeRangeFormatter(
  RangeClass: typeof Range | typeof ContentRange,
  expected: string,
  parse: (text: string) => Range | ContentRange,
): TypedHeader["format"] {
  return (value, makeLabel) => {
    if (!(value instanceof RangeClass)) throw wrongTypeError(makeLabel(), expected, value);
    const text = String(value);
    try {
      return String(parse(text));
    } catch (error) {
      throw notAllowedError(makeLabel(), (error as Error).message);
    }
  };
}

export function isTypedHeader(name: string): boolean {
  return TYPED_HEADERS.has(name);
}

/**
 * @param mayBeEmpty Whether the framing announces no content, as a content-length of 0, which is
 * allowed in every request (RFC 9110 §8.6), or content that the caller refuses unless it is empty.
 */
function findHeaderConflict(
  presentBits: number,
  mayBeEmpty: boolean,
  context: HeaderContext,
): ProtocolError | null {
  // RFC 9112 §6.1: two readers that believe different headers see different bodies.
  if ((presentBits & FRAMING_BITS) === FRAMING_BITS) {
    return headerConflictError("content-length and transfer-encoding (RFC 9112 §6.1)");
  }
  const bits = mayBeEmpty ? presentBits & ~FRAMING_BITS : presentBits;
  // A request with a range asks for content, and must not have content of its own.
  if (bits & RANGE_BIT && bits & (FRAMING_BITS | CONTENT_RANGE_BIT)) {
    return headerConflictError("range and a header of a message with content");
  }
  if (context === "any") return null;
  if (context === "response") {
    return bits & RANGE_BIT ? forbiddenHeaderError("range", "a response") : null;
  }
  if (bits & CONTENT_RANGE_BIT) return forbiddenHeaderError("content-range", "a request");
  if (bits & FRAMING_BITS && context === "request without body") {
    const name = bits & CONTENT_LENGTH_BIT ? "content-length" : "transfer-encoding";
    return forbiddenHeaderError(name, "such a request");
  }
  return null;
}

const EMPTY_CHUNKED_BODY = new TextEncoder().encode("0\r\n\r\n");

/**
 * Finds the end of the empty chunked body of a request whose method allows no content. Some proxies
 * add such a body to every request.
 *
 * @returns -1 if more bytes are needed.
 */
export function findEmptyBodyEnd(bytes: Uint8Array, start: number, end: number): number {
  const prefix = EMPTY_CHUNKED_BODY.subarray(0, end - start);
  if (!startsWith(bytes, start, prefix)) {
    throw forbiddenHeaderError("transfer-encoding", "such a request");
  }
  return prefix.length < EMPTY_CHUNKED_BODY.length ? -1 : start + prefix.length;
}

function headerConflictError(names: string): ProtocolError {
  return new ProtocolError("CONFLICTING_HEADERS", `headers that exclude each other: ${names}`);
}

function forbiddenHeaderError(name: string, message: string): ProtocolError {
  return new ProtocolError("FORBIDDEN_HEADER", `the header ${name} is not allowed in ${message}`);
}

export function hasConnectionClose(headers: HeadersToSend): boolean {
  return parseConnectionOptions(headers).includes("close");
}

/** Returns the options of `connection`, in lower case (RFC 9110 §7.6.1). */
export function parseConnectionOptions({ connection }: HeadersToSend): readonly string[] {
  if (typeof connection !== "string") return NO_CONNECTION_OPTIONS;
  return connection.split(",").map((option) => option.trim().toLowerCase());
}

const NO_CONNECTION_OPTIONS: readonly string[] = [];

/**
 * Reports whether headers have `expect: 100-continue` (RFC 9110 §10.1.1). Any other value is
 * ignored, also a list: a proxy in front may not find the expectation in it, and would take a 100
 * for the response.
 */
export function expectsContinue({ expect }: HeadersToSend): boolean {
  return typeof expect === "string" && expect.toLowerCase() === "100-continue";
}

export function checkNoExpect({ expect }: HeadersToSend): void {
  if (expect === undefined) return;
  throw notAllowedError(
    makeItemLabel("headers", "expect"),
    "must be left out, because this client doesn't wait for 100 Continue; leave it out of headers " +
      "that you forward",
  );
}

// ───────────────────────── parsing

const CR = 0x0d, LF = 0x0a, COLON = 0x3a, SPACE = 0x20;

/** @param text The preamble decoded: its first character is `bytes[textOffset]`. */
export function parseHeaderLines(
  bytes: Uint8Array,
  start: number,
  end: number,
  text: string,
  textOffset: number,
  context: HeaderContext,
): { readonly headers: HeadersToSend; readonly framing: Framing } {
  const headers = makeHeaderObject();
  let framing: Framing = null;
  let presentBits = 0;
  let position = start;
  while (bytes[position] !== CR) {
    const header = readHeaderName(bytes, position);
    if (header === null) throw invalidHeaderNameError(readLineAt(bytes, position, end));
    const { name, typedHeader } = header;

    const valueStart = position + header.bytes.length;
    let valueEnd = valueStart;
    while (HEADER_VALUE_TABLE[bytes[valueEnd]!] === 1) valueEnd++;
    // Before an empty value, the last byte is the space after the colon.
    if (
      bytes[valueStart] === SPACE || bytes[valueEnd - 1] === SPACE ||
      bytes[valueEnd] !== CR || bytes[valueEnd + 1] !== LF
    ) {
      const quoted = quoteValue(name, readLineAt(bytes, valueStart, end));
      throw new ProtocolError("BAD_HEADER_VALUE", `bad value of a header: ${quoted}`);
    }
    const value = text.substring(valueStart - textOffset, valueEnd - textOffset);

    if (headers[name] !== undefined) {
      throw new ProtocolError("DUPLICATE_HEADER", `duplicate header: ${name}`);
    }

    if (typedHeader === null) {
      headers[name] = value;
    } else {
      presentBits |= typedHeader.bit;
      const parsedValue = headers[name] = typedHeader.parse(value);
      if (typedHeader.bit & FRAMING_BITS) framing = parsedValue as number | "chunked";
    }
    position = valueEnd + 2;
  }
  // The empty line must end the preamble.
  if (position !== end - 2 || bytes[position + 1] !== LF) {
    throw invalidHeaderNameError(readLineAt(bytes, position, end));
  }

  if (presentBits !== 0) {
    const mayBeEmpty = framing === 0 || framing === "chunked" && context === "request without body";
    const error = findHeaderConflict(presentBits, mayBeEmpty, context);
    if (error !== null) throw error;
  }
  return { headers, framing };
}

function readLineAt(bytes: Uint8Array, start: number, end: number): Uint8Array {
  let lineEnd = start;
  while (lineEnd < end && !(bytes[lineEnd] === CR && bytes[lineEnd + 1] === LF)) lineEnd++;
  return bytes.subarray(start, lineEnd);
}

function invalidHeaderNameError(line: Uint8Array): ProtocolError {
  const colonIndex = line.findIndex((byte, i) => byte === COLON && line[i + 1] === SPACE);
  const bareLineEnd = line.findIndex((byte) => byte === CR || byte === LF);
  if (bareLineEnd >= 0 && (colonIndex < 0 || bareLineEnd < colonIndex)) {
    const problem = "a name can't contain the end of a line";
    const name = quoteLine(line.subarray(0, bareLineEnd + 1));
    return new ProtocolError("BAD_HEADER_NAME", `bad header name: ${name}: ${problem}`);
  }
  return colonIndex < 0
    ? new ProtocolError("BAD_HEADER_LINE", `a header line without ": ": ${quoteLine(line)}`)
    : new ProtocolError(
      "BAD_HEADER_NAME",
      `bad header name: ${quoteLine(line.subarray(0, colonIndex))}`,
    );
}

// ───────────────────────── formatting

export function checkHeaders(headers: HeadersToSend, label = "headers"): void {
  if (headers !== null && headers !== undefined) {
    const prototype = Object.getPrototypeOf(headers);
    if (prototype === null || prototype === Object.prototype) return;
  }
  throw wrongTypeError(label, "a plain object", headers);
}

function makeItemLabel(label: string, name: string): string {
  return `${label}[${quote(name)}]`;
}

/**
 * Drops bytes beyond the end of the buffer: the caller must check the position against the limit.
 *
 * @param framing The framing of the body, or `undefined` to send the headers as they are.
 */
export function formatHeaderLines(
  into: Uint8Array,
  position: number,
  headers: HeadersToSend,
  overridingHeaders: HeadersToSend | null,
  framing: Framing | undefined,
  context: HeaderContext,
  label = "headers",
): number {
  const names: string[] = [];
  const values: unknown[] = [];
  for (const name in headers) {
    // V8 optimizes hasOwnProperty() in such a loop. With Object.hasOwn(), formatting twelve headers
    // takes an eighth longer.
    if (!Object.prototype.hasOwnProperty.call(headers, name)) continue;
    const value = headers[name];
    if (value === undefined) continue;
    names.push(name);
    values.push(value);
  }
  if (overridingHeaders !== null) {
    for (const name of Object.keys(overridingHeaders)) {
      if (overridingHeaders[name] === undefined) continue;
      const index = names.indexOf(name);
      values[index < 0 ? names.push(name) - 1 : index] = overridingHeaders[name];
    }
  }
  if (framing !== null && framing !== undefined) {
    const name = framing === "chunked" ? "transfer-encoding" : "content-length";
    if (!names.includes(name)) values[names.push(name) - 1] = framing;
  }
  const sortedNames = sortNames(names, label);
  let presentBits = 0;
  let hasZeroLength = false;
  for (let i = 0; i < sortedNames.length; i++) {
    const { name, bytes, typedHeader, index } = sortedNames[i]!;
    let value = values[index];
    if (typedHeader !== null) {
      presentBits |= typedHeader.bit;
      if (value === 0) hasZeroLength = true;
      const makeLabel = () => makeItemLabel(label, name);
      const formattedValue = typedHeader.format(value, makeLabel);
      if (typedHeader.bit & FRAMING_BITS) checkFraming(value, framing, makeLabel);
      value = formattedValue;
    }
    position = writeValue(into, writeBytes(into, position, bytes), value);
    if (position < 0) throw invalidHeaderValueError(label, name, value);
  }
  if (presentBits !== 0) {
    const error = findHeaderConflict(presentBits, hasZeroLength, context);
    if (error !== null) throw notAllowedError(label, error.message);
  }
  return position;
}

function checkFraming(value: unknown, framing: Framing | undefined, makeLabel: () => string): void {
  if (framing === undefined || value === framing) return;
  const body = framing === "chunked" ? "is chunked" : `has ${framing} bytes`;
  const requirement = framing === null
    ? "be left out, because there is no body"
    : `match the body, which ${body}, or be left out`;
  throw notAllowedError(makeLabel(), `must ${requirement}; got ${quote(String(value))}`);
}

/**
 * The caller makes the error, because making it in this function would slow the formatting of
 * twelve headers by an eighth.
 */
function writeValue(into: Uint8Array, position: number, value: unknown): number {
  if (typeof value !== "string") return -1;
  const length = value.length;
  if (
    length === 0 || value.charCodeAt(0) === SPACE || value.charCodeAt(length - 1) === SPACE
  ) return -1;
  for (let i = 0; i < length; i++) {
    const code = value.charCodeAt(i);
    if (HEADER_VALUE_TABLE[code] !== 1) return -1;
    into[position + i] = code;
  }
  into[position + length] = CR;
  into[position + length + 1] = LF;
  return position + length + 2;
}

function invalidHeaderValueError(label: string, name: string, value: unknown): Error {
  const itemLabel = makeItemLabel(label, name);
  if (typeof value !== "string") return wrongTypeError(itemLabel, "a string", value);
  if (value === "") return notAllowedError(itemLabel, `must have at least one character; got ""`);
  const invalidCharacter = value.split("").find((character) =>
    !allows(HEADER_VALUE_TABLE, character)
  );
  return notAllowedError(
    itemLabel,
    invalidCharacter === undefined
      ? `must not begin or end with a space; got ${quoteValue(name, value)}`
      : `bad character ${quote(invalidCharacter)} in ${quoteValue(name, value)}; must be visible ` +
        "characters of ASCII and spaces: encodeURIComponent() turns any text into these",
  );
}

// ───────────────────────── caches

interface HeaderName {
  readonly name: string;
  /** The bytes of the name in a message, with the colon and the space. */
  readonly bytes: Uint8Array;
  readonly typedHeader: TypedHeader | null;
}

// Names repeat from message to message. If the bytes of a name are those of the cached name in its
// slot, no new string is needed. A miss overwrites the slot, so a peer that always sends new names
// costs time, but no memory.
const NAME_SLOT_COUNT = 512;
const headerNameCache: HeaderName[] = new Array(NAME_SLOT_COUNT)
  .fill({ name: "", bytes: EMPTY_BYTES, typedHeader: null });

function slotOf(bytes: Uint8Array, start: number, end: number): number {
  const middle = (start + end) >> 1;
  const hash = bytes[start]! ^ bytes[end - 1]! << 2 ^ bytes[middle]! << 5 ^ (end - start);
  return hash & (NAME_SLOT_COUNT - 1);
}

function readHeaderName(bytes: Uint8Array, start: number): HeaderName | null {
  let i = start;
  while (HEADER_NAME_TABLE[bytes[i]!] === 1) i++;
  const length = i - start;
  if (length === 0 || length > MAX_HEADER_NAME_BYTES) return null;
  if (bytes[i] !== COLON || bytes[i + 1] !== SPACE) return null;
  const slot = slotOf(bytes, start, i);
  const cachedName = headerNameCache[slot]!;
  if (cachedName.bytes.length === length + 2 && startsWith(bytes, start, cachedName.bytes)) {
    return cachedName;
  }
  const name = decodeAscii(bytes.subarray(start, i)).toLowerCase();
  return headerNameCache[slot] = {
    name,
    bytes: bytes.slice(start, i + 2),
    typedHeader: TYPED_HEADERS.get(name) ?? null,
  };
}

interface OutgoingName extends HeaderName {
  /** The index in the unsorted names. */
  readonly index: number;
}

// An app sends the same few sets of names repeatedly. To compare twelve names with the cached set
// takes 200 ns less than to check and sort them.
const SET_SLOT_COUNT = 64;
const headerSetCache = new Array<
  { names: readonly string[]; sortedNames: readonly OutgoingName[] } | undefined
>(SET_SLOT_COUNT).fill(undefined);

function sortNames(names: readonly string[], label: string): readonly OutgoingName[] {
  const count = names.length;
  // A client and a server in one program may send sets with the same number of names. The lengths
  // of the first and the last name usually give the sets different slots.
  const hash = count === 0 ? 0 : names[0]!.length ^ names[count - 1]!.length << 1;
  const slot = (count ^ hash << 3) & (SET_SLOT_COUNT - 1);
  const cachedSet = headerSetCache[slot];
  if (cachedSet !== undefined && cachedSet.names.length === count) {
    let i = 0;
    while (i < count && names[i] === cachedSet.names[i]) i++;
    if (i === count) return cachedSet.sortedNames;
  }
  const sortedNames = names.map((name, index) => makeOutgoingName(name, index, label))
    .sort((a, b) => a.name < b.name ? -1 : 1);
  if (count < SET_SLOT_COUNT) headerSetCache[slot] = { names, sortedNames };
  return sortedNames;
}

function makeOutgoingName(name: string, index: number, label: string): OutgoingName {
  checkHeaderName(name, label);
  const bytes = Uint8Array.from(`${name}: `, (character) => character.charCodeAt(0));
  return { name, bytes, typedHeader: TYPED_HEADERS.get(name) ?? null, index };
}

export function checkHeaderName(name: string, label = "headers"): void {
  if (
    name.length === 0 || name.length > MAX_HEADER_NAME_BYTES || !allows(LOWER_CASE_NAME_TABLE, name)
  ) {
    const lowerCaseName = name.toLowerCase();
    const hint = lowerCaseName !== name && allows(LOWER_CASE_NAME_TABLE, lowerCaseName)
      ? `; write it in lower case: "${lowerCaseName}"`
      : "";
    throw notAllowedError(
      makeItemLabel(label, name),
      `the name must be 1 to ${MAX_HEADER_NAME_BYTES} of the ` +
        `characters a-z, 0-9 and -${hint}`,
    );
  }
}

// Between two messages, the native code of Object.setPrototypeOf leaves the processor's caches, and
// then takes several times as long. So the pool makes many objects at a time; each is used once.
const POOL_SIZE = 64;
const headerObjectPool: HeadersToSend[] = [];

/**
 * Returns a new object without a prototype. V8 stores the properties of this object by shape, and
 * the properties of an `Object.create(null)` in a hash table. With a shape, setting twelve headers
 * takes 100 ns less.
 */
function makeHeaderObject(): HeadersToSend {
  if (headerObjectPool.length === 0) {
    while (headerObjectPool.length < POOL_SIZE) {
      headerObjectPool.push(Object.setPrototypeOf({}, null));
    }
  }
  return headerObjectPool.pop()!;
}
