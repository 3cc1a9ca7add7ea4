/**
 * The grammar once more, as regular expressions that are built once from the sets of allowed bytes: independent of the parsers, which
 * scan tables, and fast enough to be asked millions of times. Works on Latin-1 text; answers `null` where the wire's rules refuse.
 *
 * @module
 */

import { allowedBytes, type FlatHeaders, limits } from "../support/wire_grammar.ts";

/** What a request preamble says. */
export interface ReferenceRequest {
  readonly method: string;
  readonly uri: string;
  readonly headers: FlatHeaders;
}

/** What a response preamble says. */
export interface ReferenceResponse {
  readonly status: number;
  readonly reason: string;
  readonly headers: FlatHeaders;
}

function classOf(set: string): string {
  return `[${[...set].map((c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`).join("")}]`;
}

const path = classOf(allowedBytes.path);
const target = `/(?:${path}+(?:/${path}+)*/?)?(?:\\?${classOf(allowedBytes.query)}*)?`;
const URI = new RegExp(`^${target}$`);
const DOT_DOT = /^[^?]*\/\.\.(?:[/?]|$)/;
const REQUEST_LINE = new RegExp(`^(GET|PUT|POST|HEAD|DELETE) (${target}) HTTP/1\\.1$`);
const STATUS_LINE = new RegExp(
  `^HTTP/1\\.1 ([1-5][0-9]{2}) (${classOf(allowedBytes.reason)}{2,})$`,
);
const HEADER_LINE = new RegExp(
  `^(${classOf(allowedBytes.headerName)}{1,${limits.headerName}}): (${
    classOf(allowedBytes.headerValue)
  }+)$`,
);
const CHUNK_LINE = new RegExp(
  `^(0|[1-9A-Fa-f][0-9A-Fa-f]{0,6})(?:;(${classOf(allowedBytes.extensionKey)}+)=(${
    classOf(allowedBytes.extensionValue)
  }+))?$`,
);
const NUMBER = /^(?:0|[1-9][0-9]{0,15})$/;
const RANGE = /^bytes=([0-9]{1,16})-([0-9]{1,16})$/;
const CONTENT_RANGE = /^bytes ([0-9]{1,16})-([0-9]{1,16})\/([0-9]{1,16})$/;

/** A number as the wire writes it. */
export function readNumber(text: string): number | null {
  if (!NUMBER.test(text)) return null;
  // 16 digits are compared as text: no rounding can hide which side of the limit they are on.
  return text.length === 16 && text > String(limits.number) ? null : Number(text);
}

/** Whether a text is a URI. */
export function isUri(text: string): boolean {
  return URI.test(text) && !DOT_DOT.test(text);
}

/** First and last position of a `range`, or `null`. */
export function readRange(text: string): readonly [start: number, stop: number] | null {
  const match = RANGE.exec(text);
  if (match === null) return null;
  const first = readNumber(match[1]!);
  const last = readNumber(match[2]!);
  if (first === null || last === null || first > last || last >= limits.number) return null;
  return [first, last + 1];
}

/** Start, stop and total of a `content-range`, or `null`. */
export function readContentRange(
  text: string,
): readonly [start: number, stop: number, total: number] | null {
  const match = CONTENT_RANGE.exec(text);
  if (match === null) return null;
  const first = readNumber(match[1]!);
  const last = readNumber(match[2]!);
  const total = readNumber(match[3]!);
  if (first === null || last === null || total === null || first > last || last >= total) {
    return null;
  }
  return [first, last + 1, total];
}

function readValue(name: string, value: string): string | number | null {
  switch (name) {
    case "content-length":
      return readNumber(value);
    case "transfer-encoding":
      return value === "chunked" ? value : null;
    case "range":
      return readRange(value) === null ? null : value;
    case "content-range":
      return readContentRange(value) === null ? null : value;
    default:
      return value;
  }
}

function readHeaders(lines: readonly string[]): FlatHeaders | null {
  const headers: FlatHeaders = Object.create(null);
  for (let i = 1; i < lines.length; i++) {
    const match = HEADER_LINE.exec(lines[i]!);
    if (match === null) return null;
    const name = match[1]!.toLowerCase();
    if (name in headers) return null;
    const value = readValue(name, match[2]!);
    if (value === null) return null;
    headers[name] = value;
  }
  return "content-length" in headers && "transfer-encoding" in headers ? null : headers;
}

/** Reads a request preamble without its final CR LF CR LF. */
export function readRequest(preamble: string): ReferenceRequest | null {
  if (preamble.length > limits.preamble - 4) return null;
  const lines = preamble.split("\r\n");
  const match = REQUEST_LINE.exec(lines[0]!);
  if (match === null || DOT_DOT.test(match[2]!)) return null;
  const headers = readHeaders(lines);
  if (headers === null || "content-range" in headers) return null;
  if ("content-length" in headers || "transfer-encoding" in headers) {
    if ("range" in headers || (match[1] !== "PUT" && match[1] !== "POST")) return null;
  }
  return { method: match[1]!, uri: match[2]!, headers };
}

/** Reads a response preamble without its final CR LF CR LF. */
export function readResponse(preamble: string): ReferenceResponse | null {
  if (preamble.length > limits.preamble - 4) return null;
  const lines = preamble.split("\r\n");
  const match = STATUS_LINE.exec(lines[0]!);
  if (match === null) return null;
  const headers = readHeaders(lines);
  if (headers === null || "range" in headers) return null;
  return { status: Number(match[1]), reason: match[2]!, headers };
}

/** Reads the line before a chunk's data, without its CR LF. */
export function readChunkLine(
  line: string,
): { size: number; extension: readonly [key: string, value: string] | null } | null {
  if (line.length > limits.chunkLine - 2) return null;
  const match = CHUNK_LINE.exec(line);
  if (match === null) return null;
  const size = parseInt(match[1]!, 16);
  if (size > limits.chunkData) return null;
  return { size, extension: match[2] === undefined ? null : [match[2], match[3]!] };
}

/** A chunk with its data as Latin-1 text. */
export type ReferenceChunk = readonly [
  extension: readonly [key: string, value: string] | null,
  data: string,
];

/** Reads a chunked body that starts at a position; gives its chunks and the position after it. */
export function readChunks(
  text: string,
  start: number,
): { chunks: ReferenceChunk[]; end: number } | null {
  const chunks: ReferenceChunk[] = [];
  let at = start;
  for (;;) {
    const lineEnd = text.indexOf("\r\n", at);
    if (lineEnd < 0) return null;
    const header = readChunkLine(text.slice(at, lineEnd));
    if (header === null) return null;
    const dataEnd = lineEnd + 2 + header.size;
    if (text.slice(dataEnd, dataEnd + 2) !== "\r\n") return null;
    chunks.push([header.extension, text.slice(lineEnd + 2, dataEnd)]);
    at = dataEnd + 2;
    if (header.size === 0) return { chunks, end: at };
  }
}

/** A body: none, its bytes, or its chunks; as Latin-1 text. */
export type ModelBody = null | string | readonly ReferenceChunk[];

/** A request with its body. */
export interface ModelRequest {
  readonly method: string;
  readonly uri: string;
  readonly headers: FlatHeaders;
  readonly body: ModelBody;
}

/** What a server has to make of all that a peer sends. */
export interface RequestStream {
  /** The requests that are complete. */
  readonly requests: readonly ModelRequest[];
  /** The preamble of one more, whose body is broken or cut. */
  readonly broken: Omit<ModelRequest, "body"> | null;
  /** True where the bytes end where a message does. */
  readonly clean: boolean;
}

/** Reads the requests in what a peer sends, up to the first that is wrong. */
export function readRequests(text: string): RequestStream {
  const requests: ModelRequest[] = [];
  for (let at = 0;;) {
    if (at === text.length) return { requests, broken: null, clean: true };
    const end = preambleEnd(text, at);
    const preamble = end < 0 ? null : readRequest(text.slice(at, end));
    if (preamble === null) return { requests, broken: null, clean: false };
    const content = readBody(text, end + 4, preamble.headers);
    if (content === null) return { requests, broken: preamble, clean: false };
    requests.push({ ...preamble, body: content.body });
    at = content.end;
  }
}

/** What a client has to make of the answer to one request: a response, or nothing. */
export interface ModelResponse {
  readonly status: number;
  readonly reason: string;
  readonly headers: FlatHeaders;
  /** `undefined` where it is broken or cut. */
  readonly body: ModelBody | undefined;
  /** Characters that follow the response. */
  readonly excess: number;
  /** True where nothing says how long a body would be. */
  readonly unframed: boolean;
  /** True where the connection ends with it. */
  readonly closes: boolean;
}

/** Reads the response at the start of what a peer sends in answer to a request. */
export function readOneResponse(method: string, text: string): ModelResponse | null {
  const end = preambleEnd(text, 0);
  const preamble = end < 0 ? null : readResponse(text.slice(0, end));
  if (preamble === null) return null;
  const { status, headers } = preamble;
  const framed = "content-length" in headers || "transfer-encoding" in headers;
  if (status < 200 || (status === 204 && framed)) return null;
  const closes = /(^|,) *close *(,|$)/i.test(String(headers["connection"]));
  const unframed = !framed && method !== "HEAD" && status !== 204 && status !== 304;
  const ending = { unframed, closes };
  if (method === "HEAD" || status === 304) {
    return { ...preamble, ...ending, body: null, excess: text.length - end - 4 };
  }
  const content = readBody(text, end + 4, headers);
  if (content === null) return { ...preamble, ...ending, body: undefined, excess: 0 };
  return { ...preamble, ...ending, body: content.body, excess: text.length - content.end };
}

/** Where the CR LF CR LF of a preamble is, or -1 where it is not in time. */
function preambleEnd(text: string, start: number): number {
  const end = text.indexOf("\r\n\r\n", start);
  return end < 0 || end + 4 - start > limits.preamble ? -1 : end;
}

function readBody(
  text: string,
  start: number,
  headers: FlatHeaders,
): { body: ModelBody; end: number } | null {
  if ("transfer-encoding" in headers) {
    const read = readChunks(text, start);
    return read === null ? null : { body: read.chunks, end: read.end };
  }
  const length = headers["content-length"];
  if (typeof length !== "number") return { body: null, end: start };
  if (length > text.length - start) return null;
  return { body: text.slice(start, start + length), end: start + length };
}

/** A message as text that is equal where the messages are; the order of headers does not count. */
export function describeMessage(message: object): string {
  const { headers, ...rest } = message as { headers: FlatHeaders };
  return JSON.stringify([Object.entries(headers).sort(([a], [b]) => a < b ? -1 : 1), rest]);
}
