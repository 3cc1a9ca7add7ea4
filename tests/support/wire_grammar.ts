/**
 * A second, independent statement of the grammar: sets of bytes, and regular expressions that are
 * built from them once, fast enough for millions of calls. Tests and fuzzers compare the parsers
 * with it. The grammar works on Latin-1 text (one UTF-16 unit per byte) and returns `null` for
 * invalid text.
 */

import { Buffer } from "node:buffer";

const LETTERS_AND_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/** The bytes that each region of a message may hold, written out. */
export const allowedBytes = {
  headerName: LETTERS_AND_DIGITS + "-",
  headerValue: LETTERS_AND_DIGITS + " -+.:_~%&=/?\"'()*,;<>[]",
  uri: LETTERS_AND_DIGITS + "-+.:_~%&=/?",
  path: LETTERS_AND_DIGITS + "-+.:_~",
  query: LETTERS_AND_DIGITS + "-+.:_~%&=",
  reason: LETTERS_AND_DIGITS + "- ",
  extensionKey: LETTERS_AND_DIGITS + "-",
  extensionValue: LETTERS_AND_DIGITS + "-+.:_~\"'()*,;<>[]",
} as const;

/** Every limit of the wire, in bytes unless the name says otherwise. */
export const limits = {
  preamble: 32768,
  headerName: 32,
  number: 9007199254740991,
  chunkLine: 4096,
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

/** The inverse of {@linkcode encodeLatin1}. */
export function decodeLatin1({ buffer, byteOffset, byteLength }: Uint8Array): string {
  return Buffer.from(buffer, byteOffset, byteLength).toString("latin1");
}

/** True if the text has at least `least` units and all of them are in the set. */
export function consistsOf(text: string, set: string, least = 0): boolean {
  return text.length >= least && [...text].every((character) => set.includes(character));
}

function classOf(set: string): string {
  return `[${[...set].map((c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`).join("")}]`;
}

const pathBytes = classOf(allowedBytes.path);
const target = `/(?:${pathBytes}+(?:/${pathBytes}+)*/?)?(?:\\?${classOf(allowedBytes.query)}*)?`;
const URI = new RegExp(`^${target}$`);
const DOT_DOT = /^[^?]*\/\.\.(?:[/?]|$)/;
const REQUEST_LINE = new RegExp(`^(GET|PUT|POST|HEAD|DELETE) (${target}) HTTP/1\\.1$`);
const STATUS_LINE = new RegExp(
  `^HTTP/1\\.1 ([1-5][0-9]{2}) (${classOf(allowedBytes.reason)}{2,})$`,
);
const HEADER_LINE = new RegExp(
  `^(${classOf(allowedBytes.headerName)}{1,${limits.headerName}}): ` +
    `(${classOf(allowedBytes.headerValue)}+)$`,
);
const CHUNK_LINE = new RegExp(
  `^(0|[1-9A-Fa-f][0-9A-Fa-f]{0,6})(?:;(${classOf(allowedBytes.extensionKey)}+)=` +
    `(${classOf(allowedBytes.extensionValue)}+))?$`,
);
const NUMBER = /^(?:0|[1-9][0-9]{0,15})$/;
const RANGE = /^bytes=([0-9]{1,16})-([0-9]{1,16})$/;
const CONTENT_RANGE = /^bytes ([0-9]{1,16})-([0-9]{1,16})\/([0-9]{1,16})$/;

/** A number in the format of the wire, or null. */
export function parseReferenceNumber(text: string): number | null {
  if (!NUMBER.test(text)) return null;
  // 16 digits are compared as text: rounding could hide on which side of the limit they are.
  return text.length === 16 && text > String(limits.number) ? null : Number(text);
}

/** Path and query of a URI, or null. */
export function parseReferenceUri(uri: string): { path: string[]; query: string | null } | null {
  if (!URI.test(uri) || DOT_DOT.test(uri)) return null;
  const [path = "", query = null] = uri.slice(1).split("?");
  return { path: path === "" ? [] : path.split("/"), query };
}

/** Method and URI of a request line, or null. */
export function parseReferenceRequestLine(line: string): { method: string; uri: string } | null {
  const [, method = "", uri = ""] = REQUEST_LINE.exec(line) ?? [];
  return method === "" || DOT_DOT.test(uri) ? null : { method, uri };
}

/** Status and reason of a status line, or null. */
export function parseReferenceStatusLine(line: string): { status: number; reason: string } | null {
  const [, status = "", reason = ""] = STATUS_LINE.exec(line) ?? [];
  return status === "" ? null : { status: Number(status), reason };
}

/** `"2-5"` for `bytes=2-4`, or null. */
export function parseReferenceRange(value: string): { start: number; stop: number } | null {
  const match = RANGE.exec(value);
  if (match === null) return null;
  const first = parseReferenceNumber(match[1]!);
  const last = parseReferenceNumber(match[2]!);
  if (first === null || last === null || first > last || last >= limits.number) return null;
  return { start: first, stop: last + 1 };
}

/** Start, stop and total of a content-range, or null. */
export function parseReferenceContentRange(
  value: string,
): { start: number; stop: number; total: number } | null {
  const match = CONTENT_RANGE.exec(value);
  if (match === null) return null;
  const [first, last, total] = match.slice(1).map(parseReferenceNumber);
  if (first == null || last == null || total == null || first > last || last >= total) return null;
  return { start: first, stop: last + 1, total };
}

function referenceValue(name: string, value: string): string | number | null {
  switch (name) {
    case "content-length":
      return parseReferenceNumber(value);
    case "transfer-encoding":
      return value === "chunked" ? value : null;
    case "range":
      return parseReferenceRange(value) === null ? null : value;
    case "content-range":
      return parseReferenceContentRange(value) === null ? null : value;
    default:
      return value;
  }
}

/** The dictionary of a header block (lines joined by CR LF), ranges as their text, or null. */
export function parseReferenceHeaders(block: string, rules: HeaderRules): FlatHeaders | null {
  const headers: FlatHeaders = Object.create(null);
  for (const line of block === "" ? [] : block.split("\r\n")) {
    const match = HEADER_LINE.exec(line);
    if (match === null) return null;
    const name = match[1]!.toLowerCase();
    const value = name in headers ? null : referenceValue(name, match[2]!);
    if (value === null) return null;
    headers[name] = value;
  }
  const length = "content-length" in headers, chunked = "transfer-encoding" in headers;
  if (length && chunked) return null;
  if ((rules === "response" ? "range" : "content-range") in headers) return null;
  // A length of 0 announces no content.
  const content = chunked || length && headers["content-length"] !== 0;
  if (rules === "request without body" && content) return null;
  if (rules === "request with body" && "range" in headers && content) return null;
  return headers;
}

/** Size and extension of a chunk line (without its CR LF), or null. */
export function parseReferenceChunkLine(
  line: string,
): { size: number; extension: [string, string] | null } | null {
  const match = line.length > limits.chunkLine - 2 ? null : CHUNK_LINE.exec(line);
  if (match === null) return null;
  const [, digits = "", key, value = ""] = match;
  const size = parseInt(digits, 16);
  if (size > limits.chunkData) return null;
  return { size, extension: key === undefined ? null : [key, value] };
}

/** Bytes with a meaning somewhere, and a few that are allowed nowhere. */
const INSERTED = "\0\t\n\r #%&,-./0:;=?A[_\x7f\xff";

/**
 * The texts that differ from `text` at one position: with its byte replaced by each of the 255
 * others, with the byte removed, and with a meaningful byte inserted.
 */
export function* mutateText(text: string): Generator<string> {
  for (let position = 0; position <= text.length; position++) {
    const textBefore = text.slice(0, position);
    for (const character of INSERTED) yield textBefore + character + text.slice(position);
    if (position === text.length) return;
    const textAfter = text.slice(position + 1);
    yield textBefore + textAfter;
    for (let byte = 0; byte < 256; byte++) {
      const character = String.fromCharCode(byte);
      if (character !== text[position]) yield textBefore + character + textAfter;
    }
  }
}
