/**
 * A second, independent statement of the grammar, with byte sets and regular expressions only. Tests
 * compare the parsers with it byte by byte. It works on Latin-1 text (one UTF-16 unit per byte) and returns
 * `null` for invalid text.
 *
 * @module
 */

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

/** Every limit of the wire, in bytes unless it says otherwise. */
export const limits = {
  preamble: 32768,
  headerName: 32,
  number: 9007199254740991,
  chunkLine: 4096,
  chunkData: 16777216,
  collected: 16777216,
} as const;

export const methods = ["GET", "PUT", "POST", "HEAD", "DELETE"] as const;

/** Which rules a block of header lines stands under. */
export type HeaderRules = "request with body" | "request without body" | "response";

/** A parsed dictionary in a shape that compares without knowing the library's classes. */
export type FlatHeaders = Record<string, string | number>;

/** Encodes text as Latin-1: one byte per UTF-16 unit, which has to be below 256. */
export function latin1(text: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < bytes.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit > 255) throw new RangeError(`not a Latin-1 character: ${text[i]}`);
    bytes[i] = unit;
  }
  return bytes;
}

/** Of one call; far fewer than any engine takes. */
const ARGUMENTS = 4096;

/** The inverse of {@linkcode latin1}. */
export function fromLatin1(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; i += ARGUMENTS) {
    text += String.fromCharCode(...bytes.subarray(i, i + ARGUMENTS));
  }
  return text;
}

/** True where the text has at least `least` units and all of them are in the set. */
export function consistsOf(text: string, set: string, least = 0): boolean {
  return text.length >= least && [...text].every((character) => set.includes(character));
}

/** A number as the wire writes it, or null. */
function referenceNumber(text: string): number | null {
  if (!/^(0|[1-9][0-9]{0,15})$/.test(text)) return null;
  return BigInt(text) <= BigInt(limits.number) ? Number(text) : null;
}

/** Path and query of a URI, or null. */
export function referenceUri(uri: string): { path: string[]; query: string | null } | null {
  const match = /^\/([^?]*)(?:\?([^?/]*))?$/.exec(uri);
  if (match === null || match[0].length !== uri.length) return null;
  const path = match[1] === undefined || match[1] === "" ? [] : match[1].split("/");
  const query = match[2] ?? null;
  if (!path.every((part) => consistsOf(part, allowedBytes.path) && part !== "..")) return null;
  if (path.slice(0, -1).includes("")) return null;
  if (query !== null && !consistsOf(query, allowedBytes.query)) return null;
  return { path, query };
}

/** Method and URI of a request line, or null. */
export function referenceRequestLine(line: string): { method: string; uri: string } | null {
  const match = /^(GET|PUT|POST|HEAD|DELETE) ([^ ]+) HTTP\/1\.1$/.exec(line);
  if (match === null || match[0].length !== line.length) return null;
  const [, method = "", uri = ""] = match;
  return referenceUri(uri) === null ? null : { method, uri };
}

/** Status and reason of a status line, or null. */
export function referenceStatusLine(line: string): { status: number; reason: string } | null {
  const match = /^HTTP\/1\.1 ([1-5][0-9][0-9]) ([^]*)$/.exec(line);
  if (match === null) return null;
  const [, status = "", reason = ""] = match;
  return consistsOf(reason, allowedBytes.reason, 2) ? { status: Number(status), reason } : null;
}

/** `"2-5"` for `bytes=2-4`, or null. */
export function referenceRange(value: string): { start: number; stop: number } | null {
  const match = /^bytes=([0-9]+)-([0-9]+)$/.exec(value);
  if (match === null) return null;
  const first = referenceNumber(match[1] ?? "");
  const last = referenceNumber(match[2] ?? "");
  if (first === null || last === null || first > last || last > limits.number - 1) return null;
  return { start: first, stop: last + 1 };
}

/** Start, stop and total of a content-range, or null. */
export function referenceContentRange(
  value: string,
): { start: number; stop: number; total: number } | null {
  const match = /^bytes ([0-9]+)-([0-9]+)\/([0-9]+)$/.exec(value);
  if (match === null) return null;
  const [first, last, total] = match.slice(1).map(referenceNumber);
  if (first == null || last == null || total == null || first > last || last >= total) return null;
  return { start: first, stop: last + 1, total };
}

function referenceValue(name: string, value: string): string | number | null {
  if (name === "content-length") return referenceNumber(value);
  if (name === "transfer-encoding") return value === "chunked" ? value : null;
  if (name === "range") return referenceRange(value) === null ? null : value;
  if (name === "content-range") return referenceContentRange(value) === null ? null : value;
  return consistsOf(value, allowedBytes.headerValue, 1) ? value : null;
}

/** The dictionary of a header block (lines joined by CR LF), ranges as their text, or null. */
export function referenceHeaders(block: string, rules: HeaderRules): FlatHeaders | null {
  const entries = new Map<string, string | number>();
  for (const line of block === "" ? [] : block.split("\r\n")) {
    const match = /^([-0-9A-Za-z]{1,32}): ([^]+)$/.exec(line);
    if (match === null) return null;
    const name = (match[1] ?? "").toLowerCase();
    const value = referenceValue(name, match[2] ?? "");
    if (value === null || entries.has(name)) return null;
    entries.set(name, value);
  }
  const length = entries.has("content-length");
  const chunked = entries.has("transfer-encoding");
  if (length && chunked) return null;
  if (rules === "response" ? entries.has("range") : entries.has("content-range")) return null;
  if (rules === "request without body" && (length || chunked)) return null;
  if (rules === "request with body" && entries.has("range") && (length || chunked)) return null;
  return Object.fromEntries(entries);
}

/** Size and extension of a chunk line (without its CR LF), or null. */
export function referenceChunkLine(
  line: string,
): { size: number; extension: [string, string] | null } | null {
  if (line.length > limits.chunkLine - 2) return null;
  const match = /^(0|[1-9A-Fa-f][0-9A-Fa-f]{0,6})(?:;([^=]*)=([^]*))?$/.exec(line);
  if (match === null || match[0].length !== line.length) return null;
  const [, digits = "", key, value] = match;
  const size = parseInt(digits, 16);
  if (size > limits.chunkData) return null;
  if (key === undefined || value === undefined) return { size, extension: null };
  if (!consistsOf(key, allowedBytes.extensionKey, 1)) return null;
  if (!consistsOf(value, allowedBytes.extensionValue, 1)) return null;
  return { size, extension: [key, value] };
}

/** Bytes that separate, end or begin something somewhere, and a few that never stand anywhere. */
const INSERTED = "\0\t\n\r #%&,-./0:;=?A[_\x7f\xff";

/**
 * The texts that differ from `text` at one position: with its byte replaced by each of the 255 others, with the byte removed, and with
 * a byte inserted that means something somewhere.
 */
export function* mutations(text: string): Generator<string> {
  for (let position = 0; position <= text.length; position++) {
    const before = text.slice(0, position);
    for (const character of INSERTED) yield before + character + text.slice(position);
    if (position === text.length) return;
    const after = text.slice(position + 1);
    yield before + after;
    for (let byte = 0; byte < 256; byte++) {
      const character = String.fromCharCode(byte);
      if (character !== text[position]) yield before + character + after;
    }
  }
}
