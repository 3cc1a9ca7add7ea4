/**
 * Parses whole messages and streams of messages by the grammar of `tests/support/wire_grammar.ts`:
 * independent of the parsers, which scan tables. Works on Latin-1 text; returns `null` for invalid
 * text.
 */

import { findErrorResponses, formatErrorResponse } from "../net/server/error_answers.ts";
import {
  findTrailerEnd,
  type FlatHeaders,
  limits,
  parseReferenceChunkHeader,
  parseReferenceHeaders,
  parseReferenceRequestLine,
  parseReferenceStatusLine,
  rulesOfResponse,
} from "../support/wire_grammar.ts";

interface ReferenceRequest {
  readonly method: string;
  readonly uri: string;
  readonly headers: FlatHeaders;
}

interface ReferenceResponse {
  readonly status: number;
  readonly reason: string;
  readonly headers: FlatHeaders;
}

/** The version of a message, which the library doesn't pass on. */
interface Versioned {
  readonly isHttp10: boolean;
}

/** Splits a preamble without its final CR LF CR LF into its first line and its header block. */
function readPreamble(preamble: string): readonly [line: string, block: string] | null {
  if (preamble.length > limits.preamble - 4) return null;
  const end = preamble.indexOf("\r\n");
  if (end < 0) return [preamble, ""];
  if (preamble.split("\r\n").length - 1 > limits.headerLines) return null;
  // A header block of one empty line is refused.
  return end + 2 === preamble.length ? null : [preamble.slice(0, end), preamble.slice(end + 2)];
}

/** Whether a request must have an empty chunked body, because its method has no body. */
function hasEmptyChunks({ method, headers }: ReferenceRequest): boolean {
  return !/^(?:PUT|POST|PATCH)$/.test(method) && "transfer-encoding" in headers;
}

/** Reads a request preamble without its final CR LF CR LF, also from a connection over TLS. */
export function readRequest(preamble: string): ReferenceRequest | null {
  const read = readVersionedRequest(preamble, true);
  if (read === null) return null;
  if (hasEmptyChunks(read)) delete read.headers["transfer-encoding"];
  return { method: read.method, uri: read.uri, headers: read.headers };
}

/** Reads a request preamble that can be sent without a body, without its final CR LF CR LF. */
export function readSentRequest(preamble: string): ReferenceRequest | null {
  const read = readVersionedRequest(preamble, true);
  if (read === null || hasEmptyChunks(read)) return null;
  return { method: read.method, uri: read.uri, headers: read.headers };
}

/** Reads a request preamble, and keeps the framing of an empty chunked body. */
function readVersionedRequest(
  preamble: string,
  isTls: boolean,
): ReferenceRequest & Versioned | null {
  const [line, block] = readPreamble(preamble) ?? [];
  const start = line === undefined ? null : parseReferenceRequestLine(line, isTls);
  if (start === null) return null;
  const { host, ...request } = start;
  const headers = parseReferenceHeaders(block!, start.method);
  if (headers === null || hasChunksInHttp10(start, headers)) return null;
  // The authority of the target replaces the header (RFC 9112 §3.2.2).
  if (host !== null) headers["host"] = host;
  return { ...request, headers: removeZeroLength(headers) };
}

function hasChunksInHttp10({ isHttp10 }: Versioned, headers: FlatHeaders): boolean {
  return isHttp10 && "transfer-encoding" in headers;
}

/** Reads a response preamble without its final CR LF CR LF, and keeps a content-length of 0. */
function readResponseUnchanged(preamble: string): ReferenceResponse & Versioned | null {
  const [line, block] = readPreamble(preamble) ?? [];
  const start = line === undefined ? null : parseReferenceStatusLine(line);
  const headers = start === null
    ? null
    : parseReferenceHeaders(block!, rulesOfResponse(start.status));
  if (start === null || headers === null || hasChunksInHttp10(start, headers)) return null;
  return { ...start, headers };
}

/** Reads the preamble of the response to a request, with what it announces. */
export function readSentResponse(preamble: string, method = "GET"): ReferenceResponse | null {
  const response = readResponseUnchanged(preamble);
  if (response === null) return null;
  const { status, reason, headers } = response;
  if (!isBodiless(method, status)) removeZeroLength(headers);
  return { status, reason, headers };
}

/** Reads the preamble of the response to a request, as the library does. */
export function readResponse(preamble: string, method = "GET"): ReferenceResponse | null {
  const response = readSentResponse(preamble, method);
  if (response?.status !== 204) return response;
  // A 204 may not have these headers (RFC 9112 §6.1, RFC 9110 §8.6).
  const { "content-length": _length, "transfer-encoding": _encoding, ...headers } =
    response.headers;
  return { ...response, headers };
}

/** Whether a response has no body, although it may have framing headers. */
function isBodiless(method: string, status: number): boolean {
  return method === "HEAD" || status === 204 || status === 304;
}

/** Removes a content-length of 0: zero bytes are a null body. */
function removeZeroLength(headers: FlatHeaders): FlatHeaders {
  if (headers["content-length"] === 0) delete headers["content-length"];
  return headers;
}

/** A chunk with its data as Latin-1 text. */
type ReferenceChunk = readonly [
  extension: readonly [key: string, value: string] | null,
  data: string,
];

/** Reads a chunked body that starts at a position; returns its chunks and its end. */
export function readChunks(
  text: string,
  start: number,
  isResponse = false,
): { chunks: ReferenceChunk[]; end: number } | null {
  const chunks: ReferenceChunk[] = [];
  let at = start;
  for (;;) {
    const lineEnd = text.indexOf("\r\n", at);
    if (lineEnd < 0) return null;
    const line = text.slice(at, lineEnd);
    // Spaces and tabs after the chunk header of a response are dropped.
    const isTooLong = line.length > limits.chunkHeader - 2;
    const unpaddedLine = isResponse && !isTooLong ? line.replace(/[ \t]+$/, "") : line;
    const header = parseReferenceChunkHeader(unpaddedLine);
    if (header === null) return null;
    if (header.size === 0) {
      chunks.push([header.extension, ""]);
      const end = findTrailerEnd(text, lineEnd + 2);
      return end < 0 ? null : { chunks, end };
    }
    const dataEnd = lineEnd + 2 + header.size;
    if (text.slice(dataEnd, dataEnd + 2) !== "\r\n") return null;
    const data = text.slice(lineEnd + 2, dataEnd);
    // A large chunk is read in pieces, of which the first one has the extension.
    for (let from = 0; from < data.length; from += limits.chunkData) {
      const extension = from === 0 ? header.extension : null;
      chunks.push([extension, data.slice(from, from + limits.chunkData)]);
    }
    at = dataEnd + 2;
  }
}

/** A body as Latin-1 text: `null`, its bytes, or its chunks. */
export type ModelBody = null | string | readonly ReferenceChunk[];

export interface ModelRequest extends ReferenceRequest {
  readonly body: ModelBody;
  readonly isHttp10: boolean;
  /** Whether the connection ends with the response. */
  readonly isLast: boolean;
}

/** The messages that a server must find in the bytes of a peer. */
interface RequestStream {
  /** The requests that are complete. */
  readonly requests: readonly ModelRequest[];
  /** The preamble of the next request, if its body is broken or cut. */
  readonly broken: ReferenceRequest & Versioned | null;
  /** Whether the bytes end with a complete message. */
  readonly clean: boolean;
  /** The texts that a server may send after the app's responses: an error response, or `""`. */
  readonly answers: readonly string[];
  /**
   * For each request, and then `broken`: the position of its body if its sender waits for 100
   * Continue, otherwise `null`.
   */
  readonly awaitedBodies: readonly (number | null)[];
  /** For each complete request: the positions of its body, and after it. */
  readonly bodyRanges: readonly (readonly [start: number, end: number])[];
}

/**
 * Reads the requests in the bytes of a peer without TLS, up to the first invalid request, or the
 * last request of the connection.
 */
export function readRequests(text: string): RequestStream {
  const requests: ModelRequest[] = [];
  const awaitedBodies: (number | null)[] = [];
  const bodyRanges: [number, number][] = [];
  for (let at = 0;;) {
    if (at === text.length) {
      return { requests, broken: null, clean: true, answers: [""], awaitedBodies, bodyRanges };
    }
    // One empty line before a request line is skipped (RFC 9112 §2.2).
    const start = text.startsWith("\r\n", at) ? at + 2 : at;
    const end = findPreambleEnd(text, start);
    const read = end < 0 ? null : readVersionedRequest(text.slice(start, end), false);
    if (read === null) {
      const answers = findErrorResponses(text.slice(start), (other) => {
        const otherEnd = findPreambleEnd(other, 0);
        return otherEnd >= 0 && readVersionedRequest(other.slice(0, otherEnd), false) !== null;
      });
      return { requests, broken: null, clean: false, answers, awaitedBodies, bodyRanges };
    }
    const { isHttp10, ...preamble } = read;
    let bodyStart = end + 4;
    if (hasEmptyChunks(preamble)) {
      const content = readChunks(text, bodyStart);
      if (content === null || content.chunks.length > 1) {
        const answers = [mayBecomeEmptyBody(text, bodyStart) ? "" : formatErrorResponse(400)];
        return { requests, broken: null, clean: false, answers, awaitedBodies, bodyRanges };
      }
      delete preamble.headers["transfer-encoding"];
      bodyStart = content.end;
    }
    const isFramed = "content-length" in preamble.headers ||
      "transfer-encoding" in preamble.headers;
    const isAwaited = isFramed && !isHttp10 && expectsContinue(preamble.headers);
    awaitedBodies.push(isAwaited ? bodyStart : null);
    const content = readBody(text, bodyStart, preamble.headers);
    if (content === null) {
      // A body with a length can only be incomplete. For a chunked body the response depends on how
      // far the server has read before the end.
      const chunked = "transfer-encoding" in preamble.headers;
      const answers = chunked ? ["", formatErrorResponse(400)] : [""];
      return { requests, broken: read, clean: false, answers, awaitedBodies, bodyRanges };
    }
    const isLast = isHttp10 || hasConnectionClose(preamble.headers);
    requests.push({ ...preamble, body: content.body, isHttp10, isLast });
    bodyRanges.push([bodyStart, content.end]);
    at = content.end;
    // Bytes after it are not a request (RFC 9112 §9.6).
    if (isLast) {
      return { requests, broken: null, clean: true, answers: [""], awaitedBodies, bodyRanges };
    }
  }
}

/** Whether a position has a part of an empty chunked body, which more bytes could complete. */
function mayBecomeEmptyBody(text: string, start: number): boolean {
  const lineEnd = text.indexOf("\r\n", start);
  const lines = text.slice(start).split("\r\n");
  const rest = lines.pop()!;
  // More bytes don't make a bare CR or LF valid; a CR at the end may be followed by LF.
  if (/\r(?!$)|\n/.test(rest)) return false;
  if (lineEnd < 0) return rest.length < limits.chunkHeader;
  if (parseReferenceChunkHeader(lines[0]!)?.size !== 0) return false;
  return findTrailerEnd(`${lines.join("\r\n")}\r\n\r\n`, lines[0]!.length + 2) >= 0;
}

/** Whether a message has the connection option close. */
export function hasConnectionClose({ connection }: FlatHeaders): boolean {
  return /(^|,)[ \t]*close[ \t]*(,|$)/i.test(String(connection));
}

/** Whether the sender of a request waits for 100 Continue (RFC 9110 §10.1.1). */
function expectsContinue({ expect }: FlatHeaders): boolean {
  return /(^|,)[ \t]*100-continue[ \t]*(,|$)/i.test(String(expect));
}

/** The response that a client must find in the bytes after a request. */
interface ModelResponse extends ReferenceResponse {
  /** `undefined` if the body is broken or cut. */
  readonly body: ModelBody | undefined;
  readonly excess: number;
  /** Whether the body ends with the connection, so that only the order of its bytes is known. */
  readonly endsWithConnection: boolean;
  /** Whether the connection ends with the response. */
  readonly closes: boolean;
}

/**
 * Reads the response at the start of the bytes that a peer sends after a request, before it ends
 * the connection, which has no TLS.
 */
export function readOneResponse(method: string, text: string): ModelResponse | null {
  let start = 0;
  for (let interims = 0; interims <= limits.interimResponses; interims++) {
    const end = findPreambleEnd(text, start);
    const preamble = end < 0 ? null : text.slice(start, end);
    const sent = preamble === null ? null : readResponseUnchanged(preamble);
    if (preamble === null || sent === null) return null;
    if (sent.status >= 200) return readFinalResponse(method, text, preamble, end + 4);
    const announcesContent = "transfer-encoding" in sent.headers ||
      (sent.headers["content-length"] ?? 0) !== 0;
    if (sent.status === 101 || announcesContent) return null;
    start = end + 4;
  }
  return null;
}

function readFinalResponse(
  method: string,
  text: string,
  preamble: string,
  start: number,
): ModelResponse {
  const { status, headers: sentHeaders, isHttp10 } = readResponseUnchanged(preamble)!;
  const response = readResponse(preamble, method)!;
  const isFramed = "content-length" in sentHeaders || "transfer-encoding" in sentHeaders;
  const announcesContent = isFramed && sentHeaders["content-length"] !== 0;
  const endsWithConnection = !isFramed && !isBodiless(method, status) && status !== 205;
  const closes = isHttp10 || endsWithConnection || hasConnectionClose(sentHeaders) ||
    // What a 204 announces, and what may follow a 205, isn't read as another response.
    (status === 204 && announcesContent) || (status === 205 && !isFramed);
  const ending = { endsWithConnection, closes };
  if (endsWithConnection) return { ...response, ...ending, body: text.slice(start), excess: 0 };
  if (isBodiless(method, status)) {
    return { ...response, ...ending, body: null, excess: text.length - start };
  }
  const content = readBody(text, start, response.headers, true);
  if (content === null) return { ...response, ...ending, body: undefined, excess: 0 };
  return { ...response, ...ending, body: content.body, excess: text.length - content.end };
}

/**
 * Returns the position of the CR LF CR LF of a preamble, or -1 if it is missing or beyond the
 * limit.
 */
function findPreambleEnd(text: string, start: number): number {
  const end = text.indexOf("\r\n\r\n", start);
  return end < 0 || end + 4 - start > limits.preamble ? -1 : end;
}

function readBody(
  text: string,
  start: number,
  headers: FlatHeaders,
  isResponse = false,
): { body: ModelBody; end: number } | null {
  if ("transfer-encoding" in headers) {
    const read = readChunks(text, start, isResponse);
    return read === null ? null : { body: read.chunks, end: read.end };
  }
  const length = headers["content-length"];
  if (typeof length !== "number") return { body: null, end: start };
  if (length > text.length - start) return null;
  return { body: text.slice(start, start + length), end: start + length };
}

/** Formats a value as text that is equal for equal values. The order of keys doesn't matter. */
export function describe(value: unknown): string {
  return JSON.stringify(value, (_key, inner) => {
    const isDictionary = typeof inner === "object" && inner !== null && !Array.isArray(inner);
    return isDictionary ? Object.entries(inner).sort(([a], [b]) => a < b ? -1 : 1) : inner;
  });
}
