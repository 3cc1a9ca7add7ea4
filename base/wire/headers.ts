/**
 * The rules, in the order in which the parser applies them to a line (RFC 9112 §5):
 *
 * 1. The name is a token of 1 to 256 characters, in any case, and the colon follows it at once.
 * 2. The value has visible characters, spaces, tabs and bytes above 127, or is empty. Spaces and
 *    tabs around the value are removed (RFC 9110 §5.5). Lines are not folded.
 * 3. The values of one name are joined in their order (RFC 9110 §5.3). The values of `set-cookie`
 *    become a list. A second line of {@linkcode SINGLE_HEADERS} is refused. A response that is sent
 *    on has the lines that it had.
 */

import {
  decodeAscii,
  decodeBytes,
  EMPTY_BYTES,
  startsWith,
  writeBytes,
} from "../../internal/bytes.ts";
import {
  checkInteger,
  checkString,
  notAllowedError,
  wrongTypeError,
} from "../../internal/checks.ts";
import { HiddenProperty } from "../../internal/error_details.ts";
import { ProtocolError } from "../errors.ts";
import { quote } from "../../internal/quote.ts";
import { quoteLine, quoteValue } from "../../internal/printable.ts";
import { MAX_HEADER_LINES, MAX_HEADER_NAME_BYTES, MAX_LENGTH } from "./limits.ts";
import type { MethodTraits } from "./method.ts";
import {
  ContentRange,
  findContentRange,
  parseContentRange,
  parseLength,
  parseRange,
  Range,
  SuffixRange,
  UnsatisfiedRange,
} from "./range.ts";
import {
  allows,
  ASCII_TEXT_TABLE,
  LOWER_CASE_NAME_TABLE,
  TEXT_TABLE,
  TOKEN_TABLE,
  trimWhitespace,
} from "./character_tables.ts";

/**
 * The common headers of {@linkcode HeadersToSend}, by which a type check refuses a name with
 * capitals. The name of any other header is checked when it is sent.
 */
// deno-fmt-ignore
export type CommonHeaders<
  Name extends string =
    | "Accept" | "Accept-Encoding" | "Accept-Language" | "Accept-Ranges"
    | "Access-Control-Allow-Headers" | "Access-Control-Allow-Methods"
    | "Access-Control-Allow-Origin" | "Allow" | "Authorization" | "Cache-Control" | "Connection"
    | "Content-Disposition" | "Content-Encoding" | "Content-Language" | "Content-Security-Policy"
    | "Content-Type" | "Cookie" | "Date" | "ETag" | "Expires" | "Host" | "If-Match"
    | "If-Modified-Since" | "If-None-Match" | "If-Range" | "If-Unmodified-Since"
    | "Last-Modified" | "Link" | "Location" | "Origin" | "Referer" | "Retry-After" | "Server"
    | "Strict-Transport-Security" | "Transfer-Encoding" | "User-Agent" | "Vary"
    | "WWW-Authenticate" | "X-Content-Type-Options" | "X-Forwarded-For" | "X-Forwarded-Host"
    | "X-Forwarded-Proto" | "X-Frame-Options" | "X-Request-Id",
> =
  & { [N in Lowercase<Name>]?: string | readonly string[] | undefined }
  & {
    [N in Name | "Content-Length" | "Content-Range" | "Range" | "Set-Cookie"]?:
      | "error: write the name in lower case"
      | undefined;
  };

/**
 * Headers by lower-case name, to be sent: a plain object, such as {@linkcode ReceivedHeaders}.
 * Every header is a string, except `content-length`, `range` and `content-range`. In a response, a
 * list of strings is sent in a line for each, unless the header can occur only once. A header that
 * is `undefined` is left out. The characters U+0080 to U+00FF are sent as one byte
 * each, as `fetch` sends them.
 */
export interface HeadersToSend extends CommonHeaders {
  /** Any header. */
  [name: string]:
    | string
    | number
    | Range
    | SuffixRange
    | ContentRange
    | UnsatisfiedRange
    | readonly string[]
    | undefined;
  /** The number of bytes in the body; added for each body, if it is left out. */
  "content-length"?: number | undefined;
  /** The range of a GET or HEAD request; a text, if its unit isn't bytes. */
  range?: Range | SuffixRange | string | undefined;
  /**
   * The range of a response; a text, if its unit isn't bytes, or if another server has sent an
   * invalid value with another status than 206.
   */
  "content-range"?: ContentRange | UnsatisfiedRange | string | undefined;
  /** The cookies of a response: a line for each. */
  "set-cookie"?: string | readonly string[] | undefined;
}

/**
 * Headers by lower-case name, as they were received: an object without a prototype. A program can
 * send them again, or a copy. `headers["content-type"]` is a string or `undefined`.
 * `headers["Content-Type"]` is always `undefined`, also in its type. The values of several lines
 * are joined with `, `, those of `cookie` with `; `. A byte above 127 is the character of that
 * code, U+0080 to U+00FF.
 */
export type ReceivedHeaders =
  & {
    /** The number of bytes in the body, if it is announced. */
    readonly "content-length"?: number;
    /**
     * The range of a GET or HEAD request; a text, if its unit isn't bytes. Several ranges are left
     * out, as RFC 9110 §14.2 allows: the response then has the whole representation.
     */
    readonly range?: Range | SuffixRange | string;
    /**
     * The range of a response; a text, if its unit isn't bytes, or if the value is invalid and the
     * status isn't 206.
     */
    readonly "content-range"?: ContentRange | UnsatisfiedRange | string;
    /** The values of all lines, which can't be joined (RFC 6265 §3). */
    readonly "set-cookie"?: string[];
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

/**
 * The kind of message that headers belong to. A request is given by the traits of its method, and
 * `"partial response"` is a response with status 206.
 */
export type MessageKind = MethodTraits | "response" | "partial response" | "any";

function isResponse(kind: MessageKind): boolean {
  return kind === "response" || kind === "partial response";
}

function mayHaveBody(kind: MessageKind): boolean {
  return typeof kind === "string" || kind.mayHaveBody;
}

/**
 * How the end of a body is determined (RFC 9112 §6.3): by its length in bytes, by chunks, or `null`
 * if the message has neither `content-length` nor `transfer-encoding`.
 */
export type Framing = number | "chunked" | null;

// ───────────────────────── the headers with a type

/**
 * A header whose value isn't a text: the header frames the body, names a range, or has several
 * lines.
 */
interface TypedHeader {
  /** 0 for a header that no other header excludes. */
  readonly bit: number;
  /** Returns `null` for a value that is left out. */
  parse(value: string, kind: MessageKind): HeadersToSend[string] | null;
  format(
    value: unknown,
    name: string,
    label: string,
    kind: MessageKind,
  ): string | readonly string[];
}

const CONTENT_LENGTH_BIT = 1, TRANSFER_ENCODING_BIT = 2, RANGE_BIT = 4, CONTENT_RANGE_BIT = 8;
const FRAMING_BITS = CONTENT_LENGTH_BIT | TRANSFER_ENCODING_BIT;

const formatContentRange = makeRangeFormatter(
  [ContentRange, UnsatisfiedRange],
  "a ContentRange or an UnsatisfiedRange",
  parseContentRange,
);

const TYPED_HEADERS: ReadonlyMap<string, TypedHeader> = new Map<string, TypedHeader>([
  // RFC 9110 §8.6: digits.
  ["content-length", {
    bit: CONTENT_LENGTH_BIT,
    parse(value) {
      const length = parseLength(value);
      if (length >= 0) return length;
      throw new ProtocolError("BAD_CONTENT_LENGTH", `bad content-length: ${quote(value)}`);
    },
    format(value, name, label) {
      if (!Number.isSafeInteger(value) || value as number < 0) {
        checkInteger(makeItemLabel(label, name), value, 0, MAX_LENGTH);
      }
      return String(value);
    },
  }],
  // RFC 9112 §6.1: `chunked`, and no other coding before it.
  ["transfer-encoding", {
    bit: TRANSFER_ENCODING_BIT,
    parse(value) {
      if (value === "chunked" || value.toLowerCase() === "chunked") return "chunked";
      throw hasUnknownCoding(value)
        ? new ProtocolError(
          "UNKNOWN_TRANSFER_CODING",
          `transfer-encoding: ${quote(value)}: the only known coding is chunked`,
        )
        : new ProtocolError("BAD_TRANSFER_ENCODING", `bad transfer-encoding: ${quote(value)}`);
    },
    format(value, name, label) {
      if (value === "chunked") return value;
      checkString(makeItemLabel(label, name), value);
      throw notAllowedError(makeItemLabel(label, name), `must be "chunked"; got ${quote(value)}`);
    },
  }],
  // RFC 9110 §14.2
  ["range", {
    bit: RANGE_BIT,
    parse: parseRange,
    format: makeRangeFormatter([Range, SuffixRange], "a Range or a SuffixRange", parseRange),
  }],
  // RFC 9110 §14.4: in another response than a 206, an invalid value must not hide the status.
  ["content-range", {
    bit: CONTENT_RANGE_BIT,
    parse: (value, kind) => {
      return kind === "response" ? findContentRange(value) ?? value : parseContentRange(value);
    },
    format(value, name, label, kind) {
      const isInvalidText = kind === "response" && typeof value === "string" &&
        findContentRange(value) === null;
      return isInvalidText ? value : formatContentRange(value, name, label, kind);
    },
  }],
  // RFC 6265 §3: the lines can't be joined, because a date has a comma.
  ["set-cookie", {
    bit: 0,
    parse: (value) => [value],
    format: (value) => value as string | readonly string[],
  }],
]);

/** Reports whether other codings precede a last `chunked` (RFC 9112 §6.1, §7). */
function hasUnknownCoding(value: string): boolean {
  const codings = value.toLowerCase().split(",").map(trimWhitespace);
  return codings.pop() === "chunked" && codings.length > 0 && codings.every((coding) => {
    const name = trimWhitespace(coding.split(";", 1)[0]!);
    return name !== "" && name !== "chunked" && allows(TOKEN_TABLE, name);
  });
}

/**
 * The headers that can occur only once. They determine which message, part or version a header
 * section is about, or carry authority: of two lines, one reader would use the first and another
 * the last (RFC 9110 §5.3).
 */
const SINGLE_HEADERS: ReadonlySet<string> = new Set([
  "authorization",
  "content-length",
  "content-range",
  "content-type",
  "etag",
  "host",
  "if-modified-since",
  "if-range",
  "if-unmodified-since",
  "last-modified",
  "location",
  "proxy-authorization",
  "range",
  "transfer-encoding",
]);

function joinValues(
  name: string,
  previousValue: HeadersToSend[string],
  value: string,
): HeadersToSend[string] {
  if (SINGLE_HEADERS.has(name)) {
    throw new ProtocolError("DUPLICATE_HEADER", `duplicate header: ${name}`);
  }
  if (typeof previousValue === "string") return joinTexts(name, previousValue, value);
  (previousValue as string[]).push(value);
  return previousValue;
}

function joinTexts(name: string, previousText: string, text: string): string {
  // An empty element of a list means nothing (RFC 9110 §5.6.1.2), and would leave white space.
  if (previousText === "" || text === "") return previousText + text;
  return previousText + (name === "cookie" ? "; " : ", ") + text;
}

type LinesByName = Map<string, readonly string[]>;

/**
 * The lines of each repeated name of a received response. Some headers lose their meaning when
 * their lines are joined, because their own grammar has commas.
 */
const repeatedLines: HiddenProperty<LinesByName> = new HiddenProperty();

/** Passes the lines of a response on to headers in which a proxy or a bridge has changed others. */
export function copyRepeatedLines<T extends object>(source: object, target: T): T {
  const lines = repeatedLines.get(source);
  return lines === undefined ? target : repeatedLines.set(target, lines);
}

/**
 * Returns the values of the lines of a name; `null` for a single line.
 *
 * @param value The value to send: a program may have changed it since it was received.
 */
function findLines(
  name: string,
  value: unknown,
  linesByName: LinesByName | undefined,
  kind: MessageKind,
): readonly unknown[] | null {
  if (Array.isArray(value)) {
    return isResponse(kind) && !SINGLE_HEADERS.has(name) ? value : null;
  }
  // A proxy object has every property.
  const lines = linesByName instanceof Map ? linesByName.get(name) : undefined;
  if (lines === undefined) return null;
  const isUnchanged = lines.reduce((joined, line) => joinTexts(name, joined, line)) === value;
  return isUnchanged ? lines : null;
}

/** Makes a function that formats a range and parses the text again: a subclass may change it. */
function makeRangeFormatter(
  classes: readonly (abstract new (...args: never[]) => object)[],
  expected: string,
  parse: (text: string) => unknown,
): TypedHeader["format"] {
  return (value, name, label) => {
    const isRange = classes.some((RangeClass) => value instanceof RangeClass);
    // A text is a range of another unit.
    const isText = typeof value === "string" && !/^bytes(?![^ =])/i.test(value);
    if (!isRange && !isText) throw wrongTypeError(makeItemLabel(label, name), expected, value);
    const text = String(value);
    try {
      return String(parse(text));
    } catch (error) {
      throw notAllowedError(makeItemLabel(label, name), (error as Error).message);
    }
  };
}

/** Reports whether a header frames the body, or names a range. */
export function isFramingOrRangeHeader(name: string): boolean {
  return (TYPED_HEADERS.get(name)?.bit ?? 0) !== 0;
}

/**
 * @param mayBeEmpty Whether the framing announces no content, as a content-length of 0, which is
 * allowed in every request (RFC 9110 §8.6), or content that the caller refuses unless it is empty.
 */
function findHeaderConflict(
  presentBits: number,
  mayBeEmpty: boolean,
  kind: MessageKind,
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
  const error = findForbiddenRange(bits, kind);
  if (error !== null) return error;
  if (bits & FRAMING_BITS && !mayHaveBody(kind)) {
    const name = bits & CONTENT_LENGTH_BIT ? "content-length" : "transfer-encoding";
    return forbiddenHeaderError(name, "such a request");
  }
  return null;
}

function findForbiddenRange(presentBits: number, kind: MessageKind): ProtocolError | null {
  if (kind === "any") return null;
  if (isResponse(kind)) {
    return presentBits & RANGE_BIT ? forbiddenHeaderError("range", "a response") : null;
  }
  return presentBits & CONTENT_RANGE_BIT
    ? forbiddenHeaderError("content-range", "a request")
    : null;
}

function headerConflictError(names: string): ProtocolError {
  return new ProtocolError("CONFLICTING_HEADERS", `headers that exclude each other: ${names}`);
}

export function forbiddenHeaderError(name: string, message: string): ProtocolError {
  return new ProtocolError("FORBIDDEN_HEADER", `the header ${name} is not allowed in ${message}`);
}

export function hasConnectionClose({ connection }: HeadersToSend): boolean {
  // Fast path: most messages have no such header, and every message calls this function.
  if (connection === undefined || connection === "keep-alive") return false;
  return parseConnectionOptions({ connection }).includes("close");
}

/** Returns the options of `connection`, in lower case (RFC 9110 §7.6.1). */
export function parseConnectionOptions({ connection }: HeadersToSend): readonly string[] {
  if (typeof connection !== "string" && !Array.isArray(connection)) return NO_CONNECTION_OPTIONS;
  return String(connection).split(",").map((option) => trimWhitespace(option).toLowerCase());
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

const CR = 0x0d, LF = 0x0a, COLON = 0x3a, SPACE = 0x20, TAB = 0x09;

/**
 * Adds the header lines of a message to headers, and returns the framing that they announce.
 *
 * @param headers Empty, and made by {@linkcode makeHeaderObject}, since names are looked up in it.
 * @param text The preamble decoded: its first character is `bytes[textOffset]`. Only the part
 * before the first byte outside ASCII must be right.
 */
export function parseHeaderLines(
  headers: HeadersToSend,
  bytes: Uint8Array,
  start: number,
  end: number,
  text: string,
  textOffset: number,
  kind: MessageKind,
): Framing {
  let framing: Framing = null;
  let presentBits = 0;
  let omitsRange = false;
  let position = start;
  let isAscii = true;
  let linesByName: Map<string, string[]> | null = null;
  let lineCount = 0;
  while (bytes[position] !== CR) {
    if (++lineCount > MAX_HEADER_LINES) throw tooManyHeaderLinesError();
    const header = readHeaderName(bytes, position);
    if (header === null) throw invalidHeaderNameError(readLineAt(bytes, position, end));
    const { name, typedHeader } = header;

    let valueStart = position + header.bytes.length;
    while (bytes[valueStart] === SPACE || bytes[valueStart] === TAB) valueStart++;
    let lineEnd = valueStart;
    while (ASCII_TEXT_TABLE[bytes[lineEnd]!] === 1) lineEnd++;
    if (bytes[lineEnd] !== CR || bytes[lineEnd + 1] !== LF) {
      while (TEXT_TABLE[bytes[lineEnd]!] === 1) lineEnd++;
      if (bytes[lineEnd] !== CR || bytes[lineEnd + 1] !== LF) {
        throw invalidReceivedValueError(name, readLineAt(bytes, valueStart, end));
      }
      if (isAscii) text = decodeBytes(bytes.subarray(textOffset, end));
      isAscii = false;
    }
    let valueEnd = lineEnd;
    while (isWhitespace(bytes[valueEnd - 1]!) && valueEnd > valueStart) valueEnd--;
    const value = text.substring(valueStart - textOffset, valueEnd - textOffset);

    const previousValue = headers[name];
    if (previousValue !== undefined) {
      headers[name] = joinValues(name, previousValue, value);
      if (typeof previousValue === "string" && isResponse(kind)) {
        linesByName ??= new Map<string, string[]>();
        // Without a closure, which would cost an allocation for each line of each message.
        const lines = linesByName.get(name);
        if (lines === undefined) linesByName.set(name, [previousValue, value]);
        else lines.push(value);
      }
    } else if (typedHeader === null) {
      headers[name] = value;
    } else {
      // Before the value, which may also be invalid.
      const error = findForbiddenRange(typedHeader.bit, kind);
      if (error !== null) throw error;
      presentBits |= typedHeader.bit;
      const isIgnored = typedHeader.bit === RANGE_BIT && typeof kind === "object" &&
        !kind.definesRange;
      const parsedValue = isIgnored ? null : typedHeader.parse(value, kind);
      if (typedHeader.bit & FRAMING_BITS) framing = parsedValue as number | "chunked";
      if (parsedValue === null) omitsRange = true;
      // A text in place of a value that is left out: a second line is refused.
      headers[name] = parsedValue ?? value;
    }
    position = lineEnd + 2;
  }
  // The empty line must end the preamble.
  if (position !== end - 2 || bytes[position + 1] !== LF) {
    throw invalidHeaderNameError(readLineAt(bytes, position, end));
  }

  if (presentBits !== 0) {
    if (omitsRange) {
      delete headers["range"];
      presentBits &= ~RANGE_BIT;
    }
    const mayBeEmpty = framing === 0 || framing === "chunked" && !mayHaveBody(kind);
    const error = findHeaderConflict(presentBits, mayBeEmpty, kind);
    if (error !== null) throw error;
  }
  if (linesByName !== null) repeatedLines.set(headers, linesByName);
  return framing;
}

function tooManyHeaderLinesError(): ProtocolError {
  const problem = `a preamble of more than ${MAX_HEADER_LINES} header lines`;
  return new ProtocolError("PREAMBLE_TOO_LARGE", problem);
}

function isWhitespace(byte: number): boolean {
  return byte === SPACE || byte === TAB;
}

/**
 * Checks a header line that is dropped, such as the line of a trailer.
 *
 * @param end The position of the CR LF after the line.
 */
export function checkHeaderLine(bytes: Uint8Array, start: number, end: number): void {
  const header = readHeaderName(bytes, start);
  if (header === null) throw invalidHeaderNameError(bytes.subarray(start, end));
  let position = start + header.bytes.length;
  while (position < end && TEXT_TABLE[bytes[position]!] === 1) position++;
  if (position < end) {
    const value = bytes.subarray(start + header.bytes.length, end);
    throw invalidReceivedValueError(header.name, value);
  }
}

function invalidReceivedValueError(name: string, value: Uint8Array): ProtocolError {
  const problem = `bad value of the header ${name}: ${quoteValue(name, value)}`;
  return new ProtocolError("BAD_HEADER_VALUE", problem);
}

export function readLineAt(bytes: Uint8Array, start: number, end: number): Uint8Array {
  let lineEnd = start;
  while (lineEnd < end && !(bytes[lineEnd] === CR && bytes[lineEnd + 1] === LF)) lineEnd++;
  return bytes.subarray(start, lineEnd);
}

function invalidHeaderNameError(line: Uint8Array): ProtocolError {
  const colonIndex = line.indexOf(COLON);
  const bareLineEnd = line.findIndex((byte) => byte === CR || byte === LF);
  if (bareLineEnd >= 0 && (colonIndex < 0 || bareLineEnd < colonIndex)) {
    const problem = "a name can't contain the end of a line";
    const name = quoteLine(line.subarray(0, bareLineEnd + 1));
    return new ProtocolError("BAD_HEADER_NAME", `bad header name: ${name}: ${problem}`);
  }
  return colonIndex < 0
    ? new ProtocolError("BAD_HEADER_LINE", `a header line without a colon: ${quoteLine(line)}`)
    : new ProtocolError(
      "BAD_HEADER_NAME",
      `bad header name: ${quoteLine(line.subarray(0, colonIndex))}`,
    );
}

// ───────────────────────── formatting

/** Marks the errors of a preamble that has too many bytes or header lines to be sent. */
export const tooLongPreambleMark: HiddenProperty<true> = new HiddenProperty();

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
 * The arrays that each call of {@linkcode formatHeaderLines} fills, because new arrays would be a
 * fifth of the memory that a response needs. `null` during a call, because a getter of a header may
 * format other headers.
 */
let headerArrays: { readonly names: string[]; readonly values: unknown[] } | null = null;

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
  kind: MessageKind,
  label = "headers",
): number {
  const arrays = headerArrays ?? { names: [], values: [] };
  headerArrays = null;
  const { names, values } = arrays;
  let count = 0;
  for (const name in headers) {
    // V8 optimizes hasOwnProperty() in such a loop, but not Object.hasOwn().
    if (!Object.prototype.hasOwnProperty.call(headers, name)) continue;
    const value = headers[name];
    if (value === undefined) continue;
    names[count] = name;
    values[count++] = value;
  }
  if (overridingHeaders !== null) {
    for (const name in overridingHeaders) {
      if (!Object.prototype.hasOwnProperty.call(overridingHeaders, name)) continue;
      const value = overridingHeaders[name];
      if (value === undefined) continue;
      const index = indexOfName(names, count, name);
      names[index] = name;
      values[index] = value;
      if (index === count) count++;
    }
  }
  if (framing !== null && framing !== undefined) {
    const name = framing === "chunked" ? "transfer-encoding" : "content-length";
    if (indexOfName(names, count, name) === count) {
      names[count] = name;
      values[count++] = framing;
    }
  }
  const sortedNames = sortNames(names, count, label);
  const linesByName = isResponse(kind) ? repeatedLines.get(headers) : undefined;
  let presentBits = 0;
  let hasZeroLength = false;
  let lineCount = count;
  for (let i = 0; i < count; i++) {
    const { name, bytes, typedHeader, index } = sortedNames[i]!;
    let value = values[index];
    values[index] = undefined;
    if (typedHeader !== null) {
      presentBits |= typedHeader.bit;
      if (value === 0) hasZeroLength = true;
      const formattedValue = formatTypedHeader(name, typedHeader, value, framing, kind, label);
      if (Array.isArray(formattedValue)) {
        position = writeLines(into, position, name, bytes, formattedValue, label);
        lineCount += formattedValue.length - 1;
        continue;
      }
      value = formattedValue;
    } else if (typeof value !== "string" || linesByName !== undefined) {
      const lines = findLines(name, value, linesByName, kind);
      if (lines !== null) {
        position = writeLines(into, position, name, bytes, lines, label);
        lineCount += lines.length - 1;
        continue;
      }
    }
    position = writeValue(into, writeBytes(into, position, bytes), value);
    if (position < 0) throw invalidHeaderValueError(makeItemLabel(label, name), name, value);
  }
  if (presentBits !== 0) {
    const error = findHeaderConflict(presentBits, hasZeroLength, kind);
    if (error !== null) throw notAllowedError(label, error.message);
  }
  // A server may add `connection: close`, so a client could otherwise choose whether this fails.
  const maxLines = isResponse(kind) && overridingHeaders === null
    ? MAX_HEADER_LINES - 1
    : MAX_HEADER_LINES;
  if (lineCount > maxLines) {
    const problem = `must have at most ${maxLines} lines; got ${lineCount} lines`;
    throw tooLongPreambleMark.set(notAllowedError(label, problem), true);
  }
  if (count < HEADER_SET_CACHE_SIZE) headerArrays = arrays;
  return position;
}

/** Returns `count` if the name is not among the first `count` names. */
function indexOfName(names: readonly string[], count: number, name: string): number {
  let index = 0;
  while (index < count && names[index] !== name) index++;
  return index;
}

function formatTypedHeader(
  name: string,
  { bit, format }: TypedHeader,
  value: unknown,
  framing: Framing | undefined,
  kind: MessageKind,
  label: string,
): string | readonly string[] {
  const formattedValue = format(value, name, label, kind);
  if (bit & FRAMING_BITS) checkFraming(value, framing, name, label);
  return formattedValue;
}

function checkFraming(
  value: unknown,
  framing: Framing | undefined,
  name: string,
  label: string,
): void {
  if (framing === undefined || value === framing) return;
  const body = framing === "chunked" ? "is chunked" : `has ${framing} bytes`;
  const requirement = framing === null
    ? "be left out, because there is no body"
    : `match the body, which ${body}, or be left out`;
  throw notAllowedError(
    makeItemLabel(label, name),
    `must ${requirement}; got ${quote(String(value))}`,
  );
}

function writeLines(
  into: Uint8Array,
  position: number,
  name: string,
  nameBytes: Uint8Array,
  values: readonly unknown[],
  label: string,
): number {
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    position = writeValue(into, writeBytes(into, position, nameBytes), value);
    if (position < 0) {
      throw invalidHeaderValueError(`${makeItemLabel(label, name)}[${i}]`, name, value);
    }
  }
  return position;
}

/** The caller makes the error, because making it in this function would slow the formatting. */
function writeValue(into: Uint8Array, position: number, value: unknown): number {
  if (typeof value !== "string") return -1;
  const length = value.length;
  if (
    length > 0 &&
    (isWhitespace(value.charCodeAt(0)) || isWhitespace(value.charCodeAt(length - 1)))
  ) return -1;
  for (let i = 0; i < length; i++) {
    const code = value.charCodeAt(i);
    if (TEXT_TABLE[code] !== 1) return -1;
    into[position + i] = code;
  }
  into[position + length] = CR;
  into[position + length + 1] = LF;
  return position + length + 2;
}

function invalidHeaderValueError(label: string, name: string, value: unknown): Error {
  if (typeof value !== "string") return wrongTypeError(label, "a string", value);
  const invalidCharacter = value.split("").find((character) => !allows(TEXT_TABLE, character));
  return notAllowedError(
    label,
    invalidCharacter === undefined
      ? `must not begin or end with a space or a tab; got ${quoteValue(name, value)}`
      : `bad character ${quote(invalidCharacter)} in ${quoteValue(name, value)}; must be visible ` +
        "characters up to U+00FF, spaces and tabs: encodeURIComponent() turns any text into these",
  );
}

// ───────────────────────── caches

interface HeaderName {
  readonly name: string;
  /** The bytes of the name in a message, with the colon. */
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
  while (TOKEN_TABLE[bytes[i]!] === 1) i++;
  const length = i - start;
  if (length === 0 || length > MAX_HEADER_NAME_BYTES || bytes[i] !== COLON) return null;
  const slot = slotOf(bytes, start, i);
  const cachedName = headerNameCache[slot]!;
  if (cachedName.bytes.length === length + 1 && startsWith(bytes, start, cachedName.bytes)) {
    return cachedName;
  }
  const name = decodeAscii(bytes.subarray(start, i)).toLowerCase();
  return headerNameCache[slot] = {
    name,
    bytes: bytes.slice(start, i + 1),
    typedHeader: TYPED_HEADERS.get(name) ?? null,
  };
}

interface OutgoingName extends HeaderName {
  /** The bytes of the name in a message, with the colon and a space. */
  readonly bytes: Uint8Array;
  /** The index in the unsorted names. */
  readonly index: number;
}

// An app sends the same few sets of names repeatedly, which are compared faster than sorted.
const HEADER_SET_CACHE_SIZE = 64;
const headerSetCache = new Array<
  { names: readonly string[]; sortedNames: readonly OutgoingName[] } | undefined
>(HEADER_SET_CACHE_SIZE).fill(undefined);

function sortNames(
  names: readonly string[],
  count: number,
  label: string,
): readonly OutgoingName[] {
  // A client and a server in one program may send sets with the same number of names. The lengths
  // of the first and the last name usually give the sets different slots.
  const hash = count === 0 ? 0 : names[0]!.length ^ names[count - 1]!.length << 1;
  const slot = (count ^ hash << 3) & (HEADER_SET_CACHE_SIZE - 1);
  const cachedSet = headerSetCache[slot];
  if (cachedSet !== undefined && cachedSet.names.length === count) {
    let i = 0;
    while (i < count && names[i] === cachedSet.names[i]) i++;
    if (i === count) return cachedSet.sortedNames;
  }
  const newNames = names.slice(0, count);
  const sortedNames = makeSortedNames(newNames, label);
  if (count < HEADER_SET_CACHE_SIZE) headerSetCache[slot] = { names: newNames, sortedNames };
  return sortedNames;
}

/** Not a part of {@linkcode sortNames}, where the closure would cost an allocation per message. */
function makeSortedNames(names: readonly string[], label: string): readonly OutgoingName[] {
  return names.map((name, index) => makeOutgoingName(name, index, label))
    .sort((a, b) => a.name < b.name ? -1 : 1);
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
        `characters a-z, 0-9 and ! # $ % & ' * + - . ^ _ \` | ~${hint}`,
    );
  }
}

/**
 * Returns a new object without a prototype. V8 stores the properties of this object by shape, and
 * the properties of an `Object.create(null)` in a hash table.
 */
export function makeHeaderObject(): HeadersToSend {
  return Object.setPrototypeOf({}, null);
}
