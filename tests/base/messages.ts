/** Parses and formats parts of messages without a connection. */

import { decodeBytes } from "@degu/internal/internal/bytes.ts";
import {
  type BodyOut,
  determineSentFraming,
  prepareBody,
  withContentType,
} from "@degu/internal/base/body/sent_body.ts";
import {
  type Chunk,
  chunkHeaderTooLongError,
  encodeChunk,
  parseChunkHeader as parseChunkHeaderBytes,
  prepareChunk,
} from "@degu/internal/base/wire/chunk.ts";
import {
  checkBoolean,
  checkString,
  checkUint8Array,
  notAllowedError,
} from "@degu/internal/internal/checks.ts";
import { typeNameOf } from "@degu/internal/internal/quote.ts";
import {
  checkHeaders,
  formatHeaderLines,
  type HeadersToSend,
  makeHeaderObject,
  parseHeaderLines,
  type ReceivedHeaders,
} from "@degu/internal/base/wire/headers.ts";
import { MAX_CHUNK_HEADER_BYTES, MAX_PREAMBLE_BYTES } from "@degu/internal/base/wire/limits.ts";
import { checkMethod, mayHaveBody, type Method, METHODS } from "@degu/internal/base/wire/method.ts";
import {
  formatRequestPreamble,
  formatResponsePreamble,
  parseRequestPreamble,
  parseResponsePreamble,
  preambleTooLargeError,
} from "@degu/internal/base/wire/preamble.ts";
import {
  type ContentRange,
  parseContentRange as parseContentRangeValue,
  parseRange as parseRangeValue,
  type Range,
  type SuffixRange,
  type UnsatisfiedRange,
} from "@degu/internal/base/wire/range.ts";
import { checkUri, parseUri as parseUriText } from "@degu/internal/base/wire/uri.ts";

/** The buffer of all functions of this module, which can share it because they are synchronous. */
const scratchBuffer = new Uint8Array(MAX_PREAMBLE_BYTES);

function copyWithSuffix(preamble: Uint8Array, suffix: string): number {
  if (preamble.length + 4 > MAX_PREAMBLE_BYTES) throw preambleTooLargeError();
  scratchBuffer.set(preamble);
  for (let i = 0; i < suffix.length; i++) scratchBuffer[preamble.length + i] = suffix.charCodeAt(i);
  return preamble.length + suffix.length;
}

export function parseHeaders(block: Uint8Array, isResponse = false): ReceivedHeaders {
  checkUint8Array("block", block);
  checkBoolean("isResponse", isResponse);
  const end = copyWithSuffix(block, block.length === 0 ? "\r\n" : "\r\n\r\n");
  const text = decodeBytes(scratchBuffer.subarray(0, end));
  const context = isResponse ? "partial response" : METHODS.PUT;
  const headers = makeHeaderObject();
  parseHeaderLines(headers, scratchBuffer, 0, end, text, 0, context);
  return headers as ReceivedHeaders;
}

export function formatHeaders(headers: HeadersToSend): Uint8Array {
  checkHeaders(headers);
  const end = formatHeaderLines(scratchBuffer, 0, headers, null, undefined, "any");
  if (end + 2 > MAX_PREAMBLE_BYTES) {
    throw notAllowedError("headers", `must have at most ${MAX_PREAMBLE_BYTES} bytes`);
  }
  return scratchBuffer.slice(0, Math.max(0, end - 2));
}

export function parseRequest(
  preamble: Uint8Array,
): { method: Method; uri: string; headers: ReceivedHeaders; path: string[]; query: string | null } {
  checkUint8Array("preamble", preamble);
  const end = copyWithSuffix(preamble, "\r\n\r\n");
  const { method, target, headers } = parseRequestPreamble(scratchBuffer, 0, end);
  return { method, ...target, headers: headers as ReceivedHeaders };
}

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

export function parseUri(uri: string): { path: string[]; query: string | null } {
  checkString("uri", uri);
  const { path, query } = parseUriText(uri);
  return { path, query };
}

export function parseRange(value: string): Range | SuffixRange | string | null {
  checkString("value", value);
  return parseRangeValue(value);
}

export function parseContentRange(value: string): ContentRange | UnsatisfiedRange | string {
  checkString("value", value);
  return parseContentRangeValue(value);
}

export function parseChunkHeader(
  line: Uint8Array,
): { size: number; extension: [key: string, value: string] | null } {
  checkUint8Array("line", line);
  if (line.length > MAX_CHUNK_HEADER_BYTES - 2) throw chunkHeaderTooLongError();
  const { size, extension } = parseChunkHeaderBytes(line, 0, line.length);
  return { size, extension };
}

export function formatChunk(chunk: Chunk): Uint8Array {
  return encodeChunk(prepareChunk(chunk));
}
