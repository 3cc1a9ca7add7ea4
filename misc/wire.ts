import { decodeBytes } from "../internal/bytes.ts";
import { makeReadableBody, Request, RequestCore } from "../base/app/message.ts";
import { Body, type BodyIn, ChunkedBody } from "../base/body/body.ts";
import {
  type BodyOut,
  determineBodyFraming,
  determineSentFraming,
  prepareBody,
  withContentType,
} from "../base/body/sent_body.ts";
import {
  type Chunk,
  chunkHeaderTooLongError,
  encodeChunk,
  parseChunkHeader as parseChunkHeaderBytes,
  prepareChunk,
} from "../base/wire/chunk.ts";
import {
  checkBoolean,
  checkInteger,
  checkString,
  checkUint8Array,
  notAllowedError,
} from "../internal/checks.ts";
import { typeNameOf } from "../internal/quote.ts";
import {
  checkHeaders,
  formatHeaderLines,
  type HeadersToSend,
  parseHeaderLines,
  type ReceivedHeaders,
} from "../base/wire/headers.ts";
import { MAX_CHUNK_HEADER_BYTES, MAX_PREAMBLE_BYTES } from "../base/wire/limits.ts";
import { checkMethod, mayHaveBody, type Method, METHODS } from "../base/wire/method.ts";
import {
  formatRequestPreamble,
  formatResponsePreamble,
  parseRequestPreamble,
  parseResponsePreamble,
  preambleTooLargeError,
} from "../base/wire/preamble.ts";
import {
  type ContentRange,
  parseContentRange as parseContentRangeValue,
  parseRange as parseRangeValue,
  type Range,
  type SuffixRange,
  type UnsatisfiedRange,
} from "../base/wire/range.ts";
import { checkUri, parseUri as parseUriText } from "../base/wire/uri.ts";
import { checkRequest } from "../net/client/client_connection.ts";
import { bodyOrNull, type RequestMessage } from "../net/client/requester.ts";

/** The buffer of all functions of this module, which can share it because they are synchronous. */
const scratchBuffer = new Uint8Array(MAX_PREAMBLE_BYTES);

function copyWithSuffix(preamble: Uint8Array, suffix: string): number {
  if (preamble.length + 4 > MAX_PREAMBLE_BYTES) throw preambleTooLargeError();
  scratchBuffer.set(preamble);
  for (let i = 0; i < suffix.length; i++) scratchBuffer[preamble.length + i] = suffix.charCodeAt(i);
  return preamble.length + suffix.length;
}

/**
 * Parses header lines that are separated by CR LF, without a CR LF at the start and at the end. For
 * an empty array, returns `{}`.
 *
 * @param block The bytes of the header lines.
 * @param isResponse Whether the rules of a response with status 206 apply, or those of a request
 * with a body.
 * @throws {ProtocolError} if the bytes are invalid.
 *
 * @example
 * ```ts
 * import { parseHeaders } from "@degu/degu/misc";
 * import { assertEquals } from "@std/assert";
 *
 * const block = new TextEncoder().encode("Hello: world\r\ncontent-length: 5");
 * assertEquals({ ...parseHeaders(block) }, { hello: "world", "content-length": 5 });
 * ```
 */
export function parseHeaders(block: Uint8Array, isResponse = false): ReceivedHeaders {
  checkUint8Array("block", block);
  checkBoolean("isResponse", isResponse);
  const end = copyWithSuffix(block, block.length === 0 ? "\r\n" : "\r\n\r\n");
  const text = decodeBytes(scratchBuffer.subarray(0, end));
  const context = isResponse ? "partial response" : METHODS.PUT;
  return parseHeaderLines(scratchBuffer, 0, end, text, 0, context).headers as ReceivedHeaders;
}

/**
 * Formats header lines, sorted by name, without a CR LF after the last line.
 *
 * @param headers The headers by lower-case name.
 * @throws {TypeError} if a value has a wrong type.
 * @throws {RangeError} if a name or a value is not allowed, or there are too many bytes.
 */
export function formatHeaders(headers: HeadersToSend): Uint8Array {
  checkHeaders(headers);
  const end = formatHeaderLines(scratchBuffer, 0, headers, null, undefined, "any");
  if (end + 2 > MAX_PREAMBLE_BYTES) {
    throw notAllowedError("headers", `must have at most ${MAX_PREAMBLE_BYTES} bytes`);
  }
  return scratchBuffer.slice(0, Math.max(0, end - 2));
}

/**
 * Parses a request preamble without its final CR LF CR LF.
 *
 * @param preamble The bytes of the preamble.
 * @throws {ProtocolError} if the bytes are invalid.
 */
export function parseRequest(
  preamble: Uint8Array,
): { method: Method; uri: string; headers: ReceivedHeaders; path: string[]; query: string | null } {
  checkUint8Array("preamble", preamble);
  const end = copyWithSuffix(preamble, "\r\n\r\n");
  const { method, uri, headers, path, query } = parseRequestPreamble(scratchBuffer, 0, end);
  return { method, uri, headers: headers as ReceivedHeaders, path, query };
}

/**
 * Parses a response preamble without its final CR LF CR LF.
 *
 * @param method The method of the request.
 * @param preamble The bytes of the preamble.
 * @throws {ProtocolError} if the bytes are invalid.
 */
export function parseResponse(
  method: Method,
  preamble: Uint8Array,
): { status: number; reason: string; headers: ReceivedHeaders } {
  checkMethod(method);
  checkUint8Array("preamble", preamble);
  const end = copyWithSuffix(preamble, "\r\n\r\n");
  const { status, reason, headers } = parseResponsePreamble(method, scratchBuffer, 0, end);
  return { status, reason, headers: headers as ReceivedHeaders };
}

/**
 * Formats a request preamble with its CR LF CR LF.
 *
 * @param method The method, such as `GET`: see {@linkcode Method}.
 * @param uri The path, which starts with `/`, and the query.
 * @param headers The headers by lower-case name.
 * @param body The body, whose framing header is added or checked. Without this argument, the
 * headers are formatted unchanged.
 * @throws {TypeError} if a value has a wrong type.
 * @throws {RangeError} if a value is not allowed.
 *
 * @example
 * ```ts
 * import { formatRequest } from "@degu/degu/misc";
 * import { assertEquals } from "@std/assert";
 *
 * const preamble = formatRequest("POST", "/", { accept: "text/plain" }, new Uint8Array(5));
 * assertEquals(
 *   new TextDecoder().decode(preamble),
 *   "POST / HTTP/1.1\r\naccept: text/plain\r\ncontent-length: 5\r\n\r\n",
 * );
 * ```
 */
export function formatRequest(
  method: Method,
  uri: string,
  headers: HeadersToSend,
  body?: BodyOut,
): Uint8Array {
  checkMethod(method);
  checkUri(uri);
  if (body && !mayHaveBody(method)) {
    throw notAllowedError("body", `must be null in a ${method} request; got ${typeNameOf(body)}`);
  }
  const headersWithType = withContentType(headers, body);
  const framing = body === undefined
    ? undefined
    : determineSentFraming(method, null, headersWithType, prepareBody(body));
  const end = formatRequestPreamble(scratchBuffer, method, uri, headersWithType, null, framing);
  return scratchBuffer.slice(0, end);
}

/**
 * Formats a response preamble with its CR LF CR LF, as {@linkcode formatRequest} does.
 *
 * @param status The status, 100 to 599.
 * @param reason The reason phrase.
 * @param headers The headers by lower-case name.
 * @param body The body, whose framing header is added or checked. Without this argument, the
 * headers are formatted unchanged.
 * @throws {TypeError} if a value has a wrong type.
 * @throws {RangeError} if a value is not allowed.
 */
export function formatResponse(
  status: number,
  reason: string,
  headers: HeadersToSend,
  body?: BodyOut,
): Uint8Array {
  const headersWithType = withContentType(headers, body);
  const framing = body === undefined
    ? undefined
    : determineSentFraming("GET", status, headersWithType, prepareBody(body), false, "");
  const end = formatResponsePreamble(scratchBuffer, status, reason, headersWithType, framing);
  return scratchBuffer.slice(0, end);
}

/**
 * Splits a URI into the decoded components of its path and its query.
 *
 * @param uri The target of a request.
 * @throws {ProtocolError} if the URI is invalid.
 */
export function parseUri(uri: string): { path: string[]; query: string | null } {
  checkString("uri", uri);
  const { path, query } = parseUriText(uri);
  return { path, query };
}

/**
 * Parses the value of a `range` header: a `Range`, a `SuffixRange`, the text itself for another
 * unit than bytes, and `null` for several ranges of bytes, which a server leaves out.
 *
 * @param value The value, such as `bytes=2-4`, `bytes=2-` or `bytes=-3`.
 * @throws {ProtocolError} if the value is invalid.
 */
export function parseRange(value: string): Range | SuffixRange | string | null {
  checkString("value", value);
  return parseRangeValue(value);
}

/**
 * Parses the value of a `content-range` header: a `ContentRange`, an `UnsatisfiedRange`, or the
 * text itself for another unit than bytes.
 *
 * @param value The value, such as `bytes 2-4/10`.
 * @throws {ProtocolError} if the value is invalid.
 */
export function parseContentRange(value: string): ContentRange | UnsatisfiedRange | string {
  checkString("value", value);
  return parseContentRangeValue(value);
}

/**
 * Parses the line before a chunk's data, without its CR LF.
 *
 * @param line The bytes of the line.
 * @throws {ProtocolError} if the bytes are invalid.
 */
export function parseChunkHeader(
  line: Uint8Array,
): { size: number; extension: [key: string, value: string] | null } {
  checkUint8Array("line", line);
  if (line.length > MAX_CHUNK_HEADER_BYTES - 2) throw chunkHeaderTooLongError();
  const { size, extension } = parseChunkHeaderBytes(line, 0, line.length);
  return { size, extension };
}

/**
 * Formats a whole chunk: line, data and CR LF.
 *
 * @param chunk The extension, or `null`, and the data.
 * @throws {TypeError} if the argument is not a chunk.
 * @throws {RangeError} if a part has a value that is not allowed.
 */
export function formatChunk(chunk: Chunk): Uint8Array {
  return encodeChunk(prepareChunk(chunk));
}

/**
 * Makes a request like those that an app gets.
 *
 * @param method The method, such as `GET`: see {@linkcode Method}.
 * @param uri The path, which starts with `/`, and the query.
 * @param message The headers by lower-case name, and the body, as for `client.request`; then
 * perhaps the number of path components to move to `mount`. A text, bytes, a `Blob`,
 * `URLSearchParams` and a `BodyIter` become a `Body`, a `ChunkedBodyIter` becomes a `ChunkedBody`,
 * and the request has the headers of the body that a client would send. If the body is empty, it is
 * `null`.
 * @throws {TypeError} if a value has a wrong type.
 * @throws {RangeError} if a value is not allowed. A client refuses the same headers and bodies.
 *
 * @example
 * ```ts
 * import { mkreq } from "@degu/degu/misc";
 * import { assertEquals } from "@std/assert";
 *
 * const request = mkreq("PUT", "/lamp/kitchen", {}, '{"on": true}');
 * assertEquals(request.headers["content-length"], 12);
 * assertEquals(await request.body?.json(), { on: true });
 * ```
 */
export function mkreq<M extends Method>(
  method: M,
  uri: string,
  ...message: RequestMessage<M, number>
): Request {
  const [givenHeaders, givenBody, shift = 0] = message;
  const headers = givenHeaders === undefined ? {} : givenHeaders;
  const body = bodyOrNull(method, givenHeaders, givenBody);
  checkRequest(method, uri, headers, body);
  const { path, query } = checkUri(uri, "uri", true);
  const encodedBody = prepareBody(body);
  const framing = determineBodyFraming(encodedBody);
  checkInteger("shift", shift, 0, path.length);
  let requestBody: BodyIn;
  let headersWithType: HeadersToSend = withContentType(headers, body);
  if (body === null || body instanceof Body || body instanceof ChunkedBody) requestBody = body;
  else if (framing === 0) requestBody = null;
  else {
    requestBody = makeReadableBody(encodedBody);
    const framingHeaders: HeadersToSend = framing === "chunked"
      ? { "transfer-encoding": framing }
      : { "content-length": framing as number };
    headersWithType = { ...framingHeaders, ...headersWithType };
  }
  const core = new RequestCore();
  const request = new Request(core, method, uri, headersWithType, requestBody, [], path, query);
  for (let i = 0; i < shift; i++) request.shiftPath();
  return request;
}
