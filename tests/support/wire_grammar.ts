/**
 * A second, independent statement of the grammar: sets of bytes, and regular expressions that are
 * built from them once, fast enough for millions of calls. Tests and fuzzers compare the parsers
 * with it. The grammar works on Latin-1 text (one UTF-16 unit per byte) and returns `null` for
 * invalid text.
 */

import { Buffer } from "node:buffer";

const LETTERS_AND_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/** The allowed bytes of each part of a message. */
export const allowedBytes = {
  headerName: LETTERS_AND_DIGITS + "-",
  headerValue: LETTERS_AND_DIGITS + " !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
  uri: LETTERS_AND_DIGITS + "!\"$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
  query: LETTERS_AND_DIGITS + "!\"$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
  path: LETTERS_AND_DIGITS + "!$&'()*+,-.:;=@[]^_{|}~",
  /** The bytes of a path that are never escaped. */
  unescaped: LETTERS_AND_DIGITS + "-._",
  /** The bytes of a path that `buildUri` doesn't escape. */
  builtPath: LETTERS_AND_DIGITS + "-+.:_~",
  reason: LETTERS_AND_DIGITS + "- ",
  extensionKey: LETTERS_AND_DIGITS + "-",
  extensionValue: LETTERS_AND_DIGITS + "-+.:_~\"'()*,;<>[]",
} as const;

/** The limits of messages, in bytes unless the name says otherwise. */
export const limits = {
  preamble: 32768,
  headerName: 64,
  number: 9007199254740991,
  chunkHeader: 4096,
  chunkData: 16777216,
  collected: 16777216,
} as const;

export const methods = ["GET", "PUT", "POST", "HEAD", "DELETE"] as const;

/** The rules for a block of header lines. */
type HeaderRules = "request with body" | "request without body" | "response";

/** A parsed dictionary in a shape that compares without knowing the library's classes. */
export type FlatHeaders = Record<string, string | number>;

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

const target = `/${formatClass(allowedBytes.uri)}*`;
const URI = new RegExp(`^${target}$`);
const LITERAL = new RegExp(`^${formatClass(allowedBytes.path)}$`);
const UNESCAPED = new RegExp(`^${formatClass(allowedBytes.unescaped)}$`);
const BUILT = new RegExp(`^${formatClass(allowedBytes.builtPath)}$`);
const REQUEST_LINE = new RegExp(`^(GET|PUT|POST|HEAD|DELETE) (${target}) HTTP/1\\.1$`);
const STATUS_LINE = new RegExp(
  `^HTTP/1\\.1 ([1-5][0-9]{2}) (${formatClass(allowedBytes.reason)}{2,})$`,
);
const headerValue = `(?! )${formatClass(allowedBytes.headerValue)}+(?<! )`;
const HEADER_VALUE = new RegExp(`^${headerValue}$`);
const HEADER_LINE = new RegExp(
  `^(${formatClass(allowedBytes.headerName)}{1,${limits.headerName}}): (${headerValue})$`,
);
const CHUNK_HEADER = new RegExp(
  `^(0|[1-9A-Fa-f][0-9A-Fa-f]{0,6})(?:;(${formatClass(allowedBytes.extensionKey)}+)=` +
    `(${formatClass(allowedBytes.extensionValue)}+))?$`,
);
const NUMBER = /^(?:0|[1-9][0-9]{0,15})$/;
const RANGE = /^bytes=([0-9]{1,16})-([0-9]{1,16})?$/;
const CONTENT_RANGE = /^bytes ([0-9]{1,16})-([0-9]{1,16})\/([0-9]{1,16})$/;

/** Reports whether a text can be the value of a header that isn't typed. */
export function isReferenceValue(text: string): boolean {
  return HEADER_VALUE.test(text);
}

export function parseReferenceNumber(text: string): number | null {
  if (!NUMBER.test(text)) return null;
  // 16 digits are compared as text, because a number would be rounded near the limit.
  return text.length === 16 && text > String(limits.number) ? null : Number(text);
}

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
    const isDots = component === ".." || component.startsWith(".;") || component.startsWith("..;");
    return isDots ? null : component;
  } catch {
    return null;
  }
}

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

export function parseReferenceRequestLine(line: string): { method: string; uri: string } | null {
  const [, method = "", uri = ""] = REQUEST_LINE.exec(line) ?? [];
  return method === "" || parseReferenceUri(uri) === null ? null : { method, uri };
}

export function parseReferenceStatusLine(line: string): { status: number; reason: string } | null {
  const [, status = "", reason = ""] = STATUS_LINE.exec(line) ?? [];
  return status === "" ? null : { status: Number(status), reason };
}

/** Parses a range; `bytes=2-4` becomes 2 and 5, and `bytes=2-` 2 and the limit of numbers. */
export function parseReferenceRange(value: string): { start: number; stop: number } | null {
  const match = RANGE.exec(value);
  if (match === null) return null;
  const start = parseReferenceNumber(match[1]!);
  const end = parseReferenceNumber(match[2] ?? `${limits.number - 1}`);
  if (start === null || end === null || start > end || end >= limits.number) return null;
  return { start: start, stop: end + 1 };
}

export function parseReferenceContentRange(
  value: string,
): { start: number; stop: number; total: number } | null {
  const match = CONTENT_RANGE.exec(value);
  if (match === null) return null;
  const [start, end, total] = match.slice(1).map(parseReferenceNumber);
  if (start == null || end == null || total == null || start > end || end >= total) return null;
  return { start: start, stop: end + 1, total };
}

function parseReferenceValue(name: string, value: string): string | number | null {
  switch (name) {
    case "content-length":
      return parseReferenceNumber(value);
    case "transfer-encoding":
      return value === "chunked" ? value : null;
    case "range": {
      const range = parseReferenceRange(value);
      // An open-ended range is sent on with both ends.
      return range === null ? null : `bytes=${range.start}-${range.stop - 1}`;
    }
    case "content-range":
      return parseReferenceContentRange(value) === null ? null : value;
    default:
      return value;
  }
}

/** Parses a header block (lines joined by CR LF); ranges stay text. */
export function parseReferenceHeaders(block: string, rules: HeaderRules): FlatHeaders | null {
  const headers: FlatHeaders = Object.create(null);
  for (const line of block === "" ? [] : block.split("\r\n")) {
    const match = HEADER_LINE.exec(line);
    if (match === null) return null;
    const name = match[1]!.toLowerCase();
    const value = name in headers ? null : parseReferenceValue(name, match[2]!);
    if (value === null) return null;
    headers[name] = value;
  }
  const hasLength = "content-length" in headers, isChunked = "transfer-encoding" in headers;
  if (hasLength && isChunked) return null;
  if ((rules === "response" ? "range" : "content-range") in headers) return null;
  // A length of 0 announces no content, and the chunks of a request without a body must be empty.
  const hasContentLength = hasLength && headers["content-length"] !== 0;
  if (rules === "request without body" && hasContentLength) return null;
  const hasContent = isChunked || hasContentLength;
  if (rules === "request with body" && "range" in headers && hasContent) return null;
  return headers;
}

/** Parses a chunk header without its CR LF into size and extension. */
export function parseReferenceChunkHeader(
  line: string,
): { size: number; extension: [string, string] | null } | null {
  const match = line.length > limits.chunkHeader - 2 ? null : CHUNK_HEADER.exec(line);
  if (match === null) return null;
  const [, digits = "", key, value = ""] = match;
  const size = parseInt(digits, 16);
  if (size > limits.chunkData) return null;
  return { size, extension: key === undefined ? null : [key, value] };
}
