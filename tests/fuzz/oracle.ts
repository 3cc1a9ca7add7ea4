/**
 * Parses whole messages and streams of messages by the grammar of `tests/support/wire_grammar.ts`:
 * independent of the parsers, which scan tables. Works on Latin-1 text; returns `null` for invalid
 * text.
 */

import { findErrorResponse, formatErrorResponse } from "../support/error_answers.ts";
import {
  type FlatHeaders,
  limits,
  parseReferenceChunkHeader,
  parseReferenceHeaders,
  parseReferenceRequestLine,
  parseReferenceStatusLine,
} from "../support/wire_grammar.ts";

export interface ReferenceRequest {
  readonly method: string;
  readonly uri: string;
  readonly headers: FlatHeaders;
}

interface ReferenceResponse {
  readonly status: number;
  readonly reason: string;
  readonly headers: FlatHeaders;
}

/** Splits a preamble without its final CR LF CR LF into its first line and its header block. */
function readPreamble(preamble: string): readonly [line: string, block: string] | null {
  if (preamble.length > limits.preamble - 4) return null;
  const end = preamble.indexOf("\r\n");
  if (end < 0) return [preamble, ""];
  // A header block of one empty line is refused.
  return end + 2 === preamble.length ? null : [preamble.slice(0, end), preamble.slice(end + 2)];
}

const EMPTY_CHUNKED_BODY = "0\r\n\r\n";

function hasBodyMethod({ method }: { readonly method: string }): boolean {
  return method === "PUT" || method === "POST";
}

/** Whether a request must have an empty chunked body, because its method has no body. */
function hasEmptyChunks(request: ReferenceRequest): boolean {
  return !hasBodyMethod(request) && "transfer-encoding" in request.headers;
}

/** Reads a request preamble without its final CR LF CR LF. */
export function readRequest(preamble: string): ReferenceRequest | null {
  const request = readFramedRequest(preamble);
  if (request !== null && hasEmptyChunks(request)) delete request.headers["transfer-encoding"];
  return request;
}

/** Reads a request preamble that can be sent without a body, without its final CR LF CR LF. */
export function readSentRequest(preamble: string): ReferenceRequest | null {
  const request = readFramedRequest(preamble);
  return request !== null && hasEmptyChunks(request) ? null : request;
}

/** Reads a request preamble, and keeps the framing of an empty chunked body. */
function readFramedRequest(preamble: string): ReferenceRequest | null {
  const [line, block] = readPreamble(preamble) ?? [];
  const start = line === undefined ? null : parseReferenceRequestLine(line);
  if (start === null) return null;
  const headers = parseReferenceHeaders(
    block!,
    hasBodyMethod(start) ? "request with body" : "request without body",
  );
  return headers === null ? null : { ...start, headers: removeZeroLength(headers) };
}

/** Reads a response preamble without its final CR LF CR LF, and keeps a content-length of 0. */
function readResponseUnchanged(preamble: string): ReferenceResponse | null {
  const [line, block] = readPreamble(preamble) ?? [];
  const start = line === undefined ? null : parseReferenceStatusLine(line);
  const headers = start === null ? null : parseReferenceHeaders(block!, "response");
  return start === null || headers === null ? null : { ...start, headers };
}

/** Reads the preamble of the response to a request, as the library does. */
export function readResponse(preamble: string, method = "GET"): ReferenceResponse | null {
  const response = readResponseUnchanged(preamble);
  if (response === null || isBodiless(method, response.status)) return response;
  return { ...response, headers: removeZeroLength(response.headers) };
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
): { chunks: ReferenceChunk[]; end: number } | null {
  const chunks: ReferenceChunk[] = [];
  let at = start;
  for (;;) {
    const lineEnd = text.indexOf("\r\n", at);
    if (lineEnd < 0) return null;
    const header = parseReferenceChunkHeader(text.slice(at, lineEnd));
    if (header === null) return null;
    const dataEnd = lineEnd + 2 + header.size;
    if (text.slice(dataEnd, dataEnd + 2) !== "\r\n") return null;
    chunks.push([header.extension, text.slice(lineEnd + 2, dataEnd)]);
    at = dataEnd + 2;
    if (header.size === 0) return { chunks, end: at };
  }
}

/** A body as Latin-1 text: `null`, its bytes, or its chunks. */
export type ModelBody = null | string | readonly ReferenceChunk[];

export interface ModelRequest extends ReferenceRequest {
  readonly body: ModelBody;
}

/** The messages that a server must find in the bytes of a peer. */
interface RequestStream {
  /** The requests that are complete. */
  readonly requests: readonly ModelRequest[];
  /** The preamble of the next request, if its body is broken or cut. */
  readonly broken: ReferenceRequest | null;
  /** Whether the bytes end with a complete message. */
  readonly clean: boolean;
  /** The texts that a server may send after the app's responses: an error response, or `""`. */
  readonly answers: readonly string[];
  /**
   * For each request, and then `broken`: the position of its body if its sender waits for 100
   * Continue, otherwise `null`.
   */
  readonly awaitedBodies: readonly (number | null)[];
}

/**
 * Reads the requests in the bytes of a peer, up to the first invalid request, or a request with
 * `connection: close`.
 */
export function readRequests(text: string): RequestStream {
  const requests: ModelRequest[] = [];
  const awaitedBodies: (number | null)[] = [];
  for (let at = 0;;) {
    if (at === text.length) {
      return { requests, broken: null, clean: true, answers: [""], awaitedBodies };
    }
    const end = findPreambleEnd(text, at);
    const preamble = end < 0 ? null : readFramedRequest(text.slice(at, end));
    if (preamble === null) {
      const answers = [findErrorResponse(text.slice(at))];
      return { requests, broken: null, clean: false, answers, awaitedBodies };
    }
    let bodyStart = end + 4;
    if (hasEmptyChunks(preamble)) {
      const body = text.slice(bodyStart, bodyStart + EMPTY_CHUNKED_BODY.length);
      if (body !== EMPTY_CHUNKED_BODY) {
        const answers = [EMPTY_CHUNKED_BODY.startsWith(body) ? "" : formatErrorResponse(400)];
        return { requests, broken: null, clean: false, answers, awaitedBodies };
      }
      delete preamble.headers["transfer-encoding"];
      bodyStart += body.length;
    }
    const isFramed = "content-length" in preamble.headers ||
      "transfer-encoding" in preamble.headers;
    const isAwaited = isFramed && /^100-continue$/i.test(`${preamble.headers["expect"]}`);
    awaitedBodies.push(isAwaited ? bodyStart : null);
    const content = readBody(text, bodyStart, preamble.headers);
    if (content === null) {
      // A body with a length can only be incomplete. For a chunked body the response depends on how
      // far the server has read before the end.
      const chunked = "transfer-encoding" in preamble.headers;
      const answers = chunked ? ["", formatErrorResponse(400)] : [""];
      return { requests, broken: preamble, clean: false, answers, awaitedBodies };
    }
    requests.push({ ...preamble, body: content.body });
    at = content.end;
    // Bytes after it are not a request (RFC 9112 §9.6).
    if (hasConnectionClose(preamble.headers)) {
      return { requests, broken: null, clean: true, answers: [""], awaitedBodies };
    }
  }
}

/** Whether a message has the connection option close. */
export function hasConnectionClose({ connection }: FlatHeaders): boolean {
  return /(^|,) *close *(,|$)/i.test(String(connection));
}

/** The response that a client must find in the bytes after a request. */
interface ModelResponse extends ReferenceResponse {
  /** `undefined` if the body is broken or cut. */
  readonly body: ModelBody | undefined;
  readonly excess: number;
  /** Whether the message has no framing. */
  readonly unframed: boolean;
  /** Whether the connection ends with the response. */
  readonly closes: boolean;
}

/** Reads the response at the start of the bytes that a peer sends after a request. */
export function readOneResponse(method: string, text: string): ModelResponse | null {
  const end = findPreambleEnd(text, 0);
  const sentResponse = end < 0 ? null : readResponseUnchanged(text.slice(0, end));
  if (sentResponse === null) return null;
  const { status } = sentResponse;
  const framed = "content-length" in sentResponse.headers ||
    "transfer-encoding" in sentResponse.headers;
  if (status < 200 || (status === 204 && framed)) return null;
  const unframed = !framed && !isBodiless(method, status);
  const preamble = readResponse(text.slice(0, end), method)!;
  const { headers } = preamble;
  const closes = hasConnectionClose(headers);
  const ending = { unframed, closes };
  if (method === "HEAD" || status === 304) {
    return { ...preamble, ...ending, body: null, excess: text.length - end - 4 };
  }
  const content = readBody(text, end + 4, headers);
  if (content === null) return { ...preamble, ...ending, body: undefined, excess: 0 };
  return { ...preamble, ...ending, body: content.body, excess: text.length - content.end };
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

/** Formats a value as text that is equal for equal values. The order of keys doesn't matter. */
export function describe(value: unknown): string {
  return JSON.stringify(value, (_key, inner) => {
    const isDictionary = typeof inner === "object" && inner !== null && !Array.isArray(inner);
    return isDictionary ? Object.entries(inner).sort(([a], [b]) => a < b ? -1 : 1) : inner;
  });
}
