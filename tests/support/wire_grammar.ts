/**
 * A second, independent statement of the grammar: sets of bytes, and regular expressions that are
 * built from them once, fast enough for millions of calls. Tests and fuzzers compare the parsers
 * with it. The grammar works on Latin-1 text (one UTF-16 unit per byte) and returns `null` for
 * invalid text.
 */

import { Buffer } from "node:buffer";
import { isIPv6 } from "node:net";

const LETTERS_AND_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

const TOKEN = LETTERS_AND_DIGITS + "!#$%&'*+-.^_`|~";
const VISIBLE = Array.from({ length: 0x7e - 0x20 }, (_, i) => String.fromCharCode(0x21 + i)).join(
  "",
);
/** The bytes of `obs-text` (RFC 9110 §5.5). */
const OBS_TEXT = Array.from({ length: 0x80 }, (_, i) => String.fromCharCode(0x80 + i)).join("");
const TEXT = "\t " + VISIBLE + OBS_TEXT;

/** The allowed bytes of each part of a message. */
export const allowedBytes = {
  headerName: TOKEN,
  headerValue: TEXT,
  uri: LETTERS_AND_DIGITS + "!\"$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
  query: LETTERS_AND_DIGITS + "!\"$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
  path: LETTERS_AND_DIGITS + "!$&'()*+,-.:;=@[]^_{|}~",
  /** The bytes of a path that are never escaped. */
  unescaped: LETTERS_AND_DIGITS + "-._",
  /** The bytes of a path that `buildUri` doesn't escape. */
  builtPath: LETTERS_AND_DIGITS + "-+.:_~",
  reason: TEXT,
  extensionKey: TOKEN,
  extensionValue: TOKEN,
} as const;

/** The limits of messages, in bytes unless the name says otherwise. */
export const limits = {
  preamble: 32768,
  /** The number of header lines of a message, and of lines of a trailer. */
  headerLines: 128,
  headerName: 256,
  number: 9007199254740991,
  chunkHeader: 4096,
  /** The data of a chunk that is sent, and of a chunk that a reader gets. */
  chunkData: 16777216,
  trailer: 32768,
  collected: 16777216,
  /** The number of interim responses before a response. */
  interimResponses: 32,
} as const;

export const methods = ["GET", "PUT", "POST", "PATCH", "HEAD", "DELETE", "OPTIONS"] as const;

/** The message that a block of header lines belongs to: a request of a method, or a response. */
type HeaderRules = typeof methods[number] | "response" | "partial response";

/** The rules of a response: in a 206, an invalid content-range is refused. */
export function rulesOfResponse(status: number): HeaderRules {
  return status === 206 ? "partial response" : "response";
}

/** A parsed dictionary in a shape that compares without knowing the library's classes. */
export type FlatHeaders = Record<string, string | number | readonly string[]>;

/** Encodes text as Latin-1: one byte per UTF-16 unit, which must be below 256. */
export function encodeLatin1(text: string): Uint8Array<ArrayBuffer> {
  const match = /[\u0100-\uffff]/.exec(text);
  if (match !== null) throw new RangeError(`not a Latin-1 character: ${match[0]}`);
  return new Uint8Array(Buffer.from(text, "latin1"));
}

/** Decodes bytes: the inverse of {@linkcode encodeLatin1}. */
export function decodeLatin1({ buffer, byteOffset, byteLength }: Uint8Array): string {
  return Buffer.from(buffer, byteOffset, byteLength).toString("latin1");
}

/** Encodes text as UTF-8, and returns the bytes as Latin-1 text. */
export function encodeUtf8(text: string): string {
  return decodeLatin1(new TextEncoder().encode(text));
}

function formatClass(set: string): string {
  return `[${[...set].map((c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`).join("")}]`;
}

const URI = new RegExp(`^/${formatClass(allowedBytes.uri)}*$`);
const LITERAL = new RegExp(`^${formatClass(allowedBytes.path)}$`);
const UNESCAPED = new RegExp(`^${formatClass(allowedBytes.unescaped)}$`);
const BUILT = new RegExp(`^${formatClass(allowedBytes.builtPath)}$`);
const REQUEST_LINE = /^(GET|PUT|POST|PATCH|HEAD|DELETE|OPTIONS) ([^ ]+) HTTP\/1\.([01])$/;
const STATUS_LINE = new RegExp(
  `^HTTP/1\\.([01]) ([1-5][0-9]{2}) (${formatClass(allowedBytes.reason)}*)$`,
);
const HEADER_NAME = new RegExp(
  `^${formatClass(allowedBytes.headerName)}{1,${limits.headerName}}$`,
);
const HEADER_VALUE = new RegExp(`^${formatClass(allowedBytes.headerValue)}*$`);
const NUMBER = /^0*([0-9]{1,16})$/;

/** Removes spaces and tabs around a text: the optional white space of RFC 9110 §5.6.3. */
function trimSpaces(text: string): string {
  let start = 0, end = text.length;
  while (start < end && " \t".includes(text[start]!)) start++;
  while (end > start && " \t".includes(text[end - 1]!)) end--;
  return text.slice(start, end);
}

/** Reports whether a text can be sent as the value of a header that isn't typed. */
export function isReferenceValue(text: string): boolean {
  return HEADER_VALUE.test(text) && trimSpaces(text) === text;
}

/** Parses digits, of which the first ones may be zeros, up to the limit of numbers. */
export function parseReferenceNumber(text: string): number | null {
  const [, digits] = NUMBER.exec(text) ?? [];
  if (digits === undefined) return null;
  // 16 digits are compared as text, because a number would be rounded near the limit.
  return digits.length === 16 && digits > String(limits.number) ? null : Number(digits);
}

// Targets and hosts.

/** An escape or a character of a path. */
const UNITS = /%[0-9A-Fa-f]{2}|[^]/g;
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function decodeReferenceComponent(text: string): string | null {
  const bytes: number[] = [];
  for (const unit of text.match(UNITS) ?? []) {
    const byte = unit.length === 1 ? unit.charCodeAt(0) : parseInt(unit.slice(1), 16);
    const character = String.fromCharCode(byte);
    const isInvalid = unit.length === 1
      ? !LITERAL.test(character)
      : UNESCAPED.test(character) || byte === 0 || character === "/";
    if (isInvalid) return null;
    bytes.push(byte);
  }
  try {
    const component = utf8.decode(Uint8Array.from(bytes));
    const isDots = /^\.\.?(?:;|$)/.test(component);
    return isDots ? null : component;
  } catch {
    return null;
  }
}

/** Parses a URI without a component `.`, as it is sent, and as an app gets it. */
export function parseReferenceUri(uri: string): { path: string[]; query: string | null } | null {
  if (!URI.test(uri)) return null;
  const [text = "", ...queryParts] = uri.slice(1).split("?");
  const query = queryParts.length === 0 ? null : queryParts.join("?");
  if (text === "") return { path: [], query };
  const components = text.split("/");
  if (components.slice(0, -1).includes("")) return null;
  const path = components.map(decodeReferenceComponent);
  return path.every((component) => component !== null) ? { path, query } : null;
}

/** Removes the components `.` of a path that begins with a slash (RFC 3986 §5.2.4). */
function removeDotComponents(path: string): string {
  const components = path.slice(1).split("/");
  const kept = components.filter((component) => component !== ".");
  if (components.at(-1) === ".") kept.push("");
  return `/${kept.join("/")}`;
}

/** Returns the URI of a received target in origin form: without the components `.`. */
export function readReferenceUri(target: string): string | null {
  if (!target.startsWith("/")) return null;
  const [path = ""] = target.split("?", 1);
  const uri = removeDotComponents(path) + target.slice(path.length);
  return parseReferenceUri(uri) === null ? null : uri;
}

const ABSOLUTE_FORM = /^(https?):\/\/([^/?]+)([^]*)$/i;

/**
 * Reads the target of a request, in origin form or absolute form (RFC 9112 §3.2). `host` is the
 * authority of the absolute form, or `null`. The scheme `https` is allowed only over TLS.
 */
function readReferenceTarget(
  target: string,
  isTls: boolean,
): { uri: string; host: string | null } | null {
  const [, scheme = "", authority = null, remainder = ""] = ABSOLUTE_FORM.exec(target) ?? [];
  if (scheme.length === "https".length && !isTls) return null;
  if (authority !== null && !isReferenceHost(authority)) return null;
  const origin = authority === null
    ? target
    : `${/^[?]|^$/.test(remainder) ? "/" : ""}${remainder}`;
  const uri = readReferenceUri(origin);
  return uri === null ? null : { uri, host: authority };
}

/** A name or an IPv4 address (RFC 3986 §3.2.2), and possibly a port. */
const NAMED_HOST = /^(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+(?::[0-9]*)?$/;
const IPV6_HOST = /^\[([0-9A-Fa-f:.]+)\](?::[0-9]*)?$/;
/** A link-local address with its zone: as in RFC 6874, and without brackets as some clients send it. */
const ZONED_HOSTS = [
  new RegExp(
    `^\\[(fe[89ab][0-9a-f]:[0-9a-f:.]+)%(?:[a-z0-9\\-._~]|%[0-9a-f]{2})+\\](?::[0-9]*)?$`,
    "i",
  ),
  new RegExp(`^(fe[89ab][0-9a-f]:[0-9a-f:.]+)%(?:25)?[a-z0-9\\-._~]+(?::[0-9]*)?$`, "i"),
];

/** Reports whether a text is a host and possibly a port. */
function isReferenceHost(text: string): boolean {
  if (NAMED_HOST.test(text)) return true;
  const matches = [IPV6_HOST, ...ZONED_HOSTS].map((pattern) => pattern.exec(text));
  return matches.some((match) => match !== null && isIPv6(match[1]!));
}

/** Returns a valid path in the spelling of `buildUri`. */
export function respellReferencePath(path: string): string {
  return path.replaceAll(UNITS, (unit) => {
    const byte = unit.length === 1 ? unit.charCodeAt(0) : parseInt(unit.slice(1), 16);
    const character = String.fromCharCode(byte);
    if (unit === "/" || BUILT.test(character)) return character;
    return `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  });
}

/** Returns a valid URI as a proxy forwards it. */
export function respellReferenceUri(uri: string): string {
  const [path = ""] = uri.split("?", 1);
  return respellReferencePath(path) + uri.slice(path.length);
}

// First lines.

/** A request line; `host` is the authority of a target in absolute form. */
export function parseReferenceRequestLine(
  line: string,
  isTls: boolean,
): { method: typeof methods[number]; uri: string; host: string | null; isHttp10: boolean } | null {
  const [, method, target = "", minor] = REQUEST_LINE.exec(line) ?? [];
  const read = method === undefined ? null : readReferenceTarget(target, isTls);
  const known = methods.find((name) => name === method);
  return read === null || known === undefined
    ? null
    : { method: known, ...read, isHttp10: minor === "0" };
}

export function parseReferenceStatusLine(
  line: string,
): { status: number; reason: string; isHttp10: boolean } | null {
  const [, minor, status, reason = ""] = STATUS_LINE.exec(line) ?? [];
  return status === undefined ? null : { status: Number(status), reason, isHttp10: minor === "0" };
}

// Ranges (RFC 9110 §14).

/** One range of bytes from `start` to before `stop`, or the last `length` bytes. */
type ReferenceRange = { start: number; stop: number } | { length: number };

/** A value of `range`: one range, several ranges, or a range of another unit. */
type ReferenceRanges = ReferenceRange | typeof SEVERAL | string;

/** The value that stands for several ranges of bytes, which a server leaves out. */
export const SEVERAL = "several ranges";

const RANGES = new RegExp(
  `^(${formatClass(TOKEN)}+)=([\\x21-\\x7e \\t]+)$`,
);
const BYTE_RANGE = /^([0-9]*)-([0-9]*)$/;

/** Converts an integer of any size to the nearest number up to the limit of numbers. */
function clampInteger(integer: bigint): number {
  return integer > BigInt(limits.number) ? limits.number : Number(integer);
}

/** Parses one range of bytes; `2-4` becomes 2 and 5, and `2-` 2 and infinity. */
function parseByteRange(text: string): ReferenceRange | null {
  const [, first, last = ""] = BYTE_RANGE.exec(text) ?? [];
  if (first === undefined || first === "" && last === "") return null;
  const end = BigInt(last);
  if (first === "") return { length: clampInteger(end) };
  if (last !== "" && BigInt(first) > end) return null;
  const isOpen = last === "" || end >= limits.number;
  return { start: clampInteger(BigInt(first)), stop: isOpen ? Infinity : Number(end) + 1 };
}

/** Parses a value of `range`; `null` if it isn't one. */
export function parseReferenceRanges(value: string): ReferenceRanges | null {
  const [, unit = "", set = ""] = RANGES.exec(value) ?? [];
  if (set === "") return null;
  // White space is allowed only beside a comma.
  if (/^[ \t]+[^ \t,]/.test(set) || /[ \t]$/.test(set)) return null;
  const texts = set.split(",").map(trimSpaces).filter((text) => text !== "");
  if (texts.length === 0 || texts.some((text) => /[ \t]/.test(text))) return null;
  if (unit.toLowerCase() !== "bytes") return value;
  const ranges = texts.map(parseByteRange);
  const [range = null] = ranges;
  if (ranges.includes(null)) return null;
  return ranges.length > 1 ? SEVERAL : range;
}

/** A part of a whole, whose size may be unknown; or the size of a whole without such a part. */
type ReferenceContentRange =
  | { start: number; stop: number; total: number | null }
  | { total: number };

const CONTENT_RANGE = /^bytes (?:([0-9]+)-([0-9]+)|\*)\/([0-9]+|\*)$/i;
const OTHER_CONTENT_RANGE = new RegExp(
  `^(?!bytes )${formatClass(TOKEN)}+ (?:[0-9]+-[0-9]+\\/(?:[0-9]+|\\*)|\\*\\/[0-9]+)$`,
  "i",
);

/** Parses a value of `content-range`; of another unit than bytes, it stays text. */
export function parseReferenceContentRange(value: string): ReferenceContentRange | string | null {
  if (OTHER_CONTENT_RANGE.test(value)) return value;
  const match = CONTENT_RANGE.exec(value);
  if (match === null) return null;
  const [, first, last, size = ""] = match;
  const total = size === "*" ? null : parseReferenceNumber(size);
  if (size !== "*" && total === null) return null;
  if (first === undefined || last === undefined) return total === null ? null : { total };
  const [start, end] = [parseReferenceNumber(first), parseReferenceNumber(last)];
  if (start === null || end === null || start > end || end >= (total ?? limits.number)) return null;
  return { start, stop: end + 1, total };
}

function formatRange(range: ReferenceRange): string {
  if ("length" in range) return `bytes=-${range.length}`;
  return `bytes=${range.start}-${range.stop === Infinity ? "" : range.stop - 1}`;
}

function formatContentRange(range: ReferenceContentRange): string {
  const part = "start" in range ? `${range.start}-${range.stop - 1}` : "*";
  return `bytes ${part}/${range.total ?? "*"}`;
}

// Header lines.

/** The headers that are refused if they are repeated. */
const singleHeaders: readonly string[] = [
  ...["host", "content-length", "transfer-encoding", "content-type", "content-range", "range"],
  ...["authorization", "proxy-authorization", "location", "etag", "last-modified", "if-range"],
  ...["if-modified-since", "if-unmodified-since"],
];

/** Splits a header line at its first colon; `null` if it isn't one. */
function parseHeaderLine(line: string): readonly [name: string, value: string] | null {
  const colon = line.indexOf(":");
  if (colon < 0) return null;
  const name = line.slice(0, colon), value = trimSpaces(line.slice(colon + 1));
  return HEADER_NAME.test(name) && HEADER_VALUE.test(value) ? [name.toLowerCase(), value] : null;
}

/** Whether a value of transfer-encoding is a list of unknown codings, and then `chunked`. */
export function isUnknownCoding(value: string): boolean {
  const codings = value.split(",").map((coding) => trimSpaces(coding).toLowerCase());
  const isToken = (text: string) => HEADER_NAME.test(text);
  return codings.length > 1 && codings.every(isToken) &&
    codings.indexOf("chunked") === codings.length - 1;
}

/** Returns the value of a header, `null` if it is invalid, and `undefined` if it is left out. */
function parseReferenceValue(
  name: string,
  value: string,
  rules: HeaderRules,
): FlatHeaders[string] | null | undefined {
  switch (name) {
    case "content-length":
      return parseReferenceNumber(value);
    case "transfer-encoding":
      return value.toLowerCase() === "chunked" ? "chunked" : null;
    case "host":
      return rules.endsWith("response") || value === "" || isReferenceHost(value) ? value : null;
    case "range": {
      if (rules !== "GET" && rules !== "HEAD") return undefined;
      const range = parseReferenceRanges(value);
      if (range === SEVERAL) return undefined;
      return range === null || typeof range === "string" ? range : formatRange(range);
    }
    case "content-range": {
      const range = parseReferenceContentRange(value);
      if (range === null) return rules === "response" ? value : null;
      return typeof range === "string" ? range : formatContentRange(range);
    }
    default:
      return value;
  }
}

/** Joins the values of lines of one name. Empty elements of a list mean nothing (RFC 9110 §5.6.1). */
function joinValues(name: string, values: readonly string[]): string {
  return values.filter((value) => value !== "").join(name === "cookie" ? "; " : ", ");
}

/** Parses a header block (lines joined by CR LF); ranges stay text. */
export function parseReferenceHeaders(block: string, rules: HeaderRules): FlatHeaders | null {
  const values = new Map<string, string[]>();
  for (const line of block === "" ? [] : block.split("\r\n")) {
    const [name = "", value = ""] = parseHeaderLine(line) ?? [];
    if (name === "") return null;
    const list = values.get(name);
    if (list === undefined) values.set(name, [value]);
    else if (singleHeaders.includes(name)) return null;
    else list.push(value);
  }
  if (values.has(rules.endsWith("response") ? "range" : "content-range")) return null;
  const headers: FlatHeaders = Object.create(null);
  for (const [name, list] of values) {
    const value = name === "set-cookie"
      ? list
      : parseReferenceValue(name, joinValues(name, list), rules);
    if (value === null) return null;
    if (value !== undefined) headers[name] = value;
  }
  const hasLength = "content-length" in headers, isChunked = "transfer-encoding" in headers;
  if (hasLength && isChunked) return null;
  // A length of 0 announces no content, and the chunks of a request without a body must be empty.
  const hasContentLength = hasLength && headers["content-length"] !== 0;
  const mayHaveContent = rules.endsWith("response") || /^(?:PUT|POST|PATCH)$/.test(rules);
  return hasContentLength && !mayHaveContent ? null : headers;
}

// Chunks (RFC 9112 §7.1).

const CHUNK_SIZE = /^0*([0-9A-Fa-f]{1,14})/;
const WHITE_SPACE = "[ \\t]*";
const token = `${formatClass(TOKEN)}+`;
const quotedText = formatClass([...TEXT].filter((c) => c !== '"' && c !== "\\").join(""));
const quotedString = `"(?:${quotedText}|\\\\${formatClass(TEXT)})*"`;
/** One extension, at the position of `lastIndex`. */
const EXTENSION = new RegExp(
  `${WHITE_SPACE};${WHITE_SPACE}(${token})(?:${WHITE_SPACE}=${WHITE_SPACE}(${token}|${quotedString}))?`,
  "y",
);

/**
 * Parses a chunk header without its CR LF into size and extension. An extension is kept if it is
 * the only one, and its value is a token.
 */
export function parseReferenceChunkHeader(
  line: string,
): { size: number; extension: [string, string] | null } | null {
  const match = line.length > limits.chunkHeader - 2 ? null : CHUNK_SIZE.exec(line);
  if (match === null) return null;
  const size = parseInt(match[1]!, 16);
  if (size > limits.number) return null;
  const extensions: [key: string, value: string | undefined][] = [];
  for (let at = match[0].length; at < line.length; at = EXTENSION.lastIndex) {
    EXTENSION.lastIndex = at;
    const [, key, value] = EXTENSION.exec(line) ?? [];
    if (key === undefined) return null;
    extensions.push([key, value]);
  }
  const [[key, value] = ["", undefined]] = extensions;
  const isKept = extensions.length === 1 && value !== undefined && !value.startsWith('"');
  return { size, extension: isKept ? [key, value] : null };
}

/**
 * Returns the position behind the trailers and the empty line after them, which begin at a
 * position; -1 if they are invalid or cut (RFC 9112 §7.1.2).
 */
export function findTrailerEnd(text: string, start: number): number {
  for (let at = start, lines = 0;; lines++) {
    const lineEnd = text.indexOf("\r\n", at);
    if (lineEnd < 0 || lineEnd + 2 - start > limits.trailer) return -1;
    if (lineEnd === at) return at + 2;
    if (lines === limits.headerLines || parseHeaderLine(text.slice(at, lineEnd)) === null) {
      return -1;
    }
    at = lineEnd + 2;
  }
}
