import {
  concatenate,
  decodeAscii,
  decodeBytes,
  startsWith,
  writeAscii,
  writeBytes,
} from "../../internal/bytes.ts";
import { checkInteger, checkString, notAllowedError } from "../../internal/checks.ts";
import { EmptyPreambleError, ProtocolError } from "../errors.ts";
import { quote, quoteHost } from "../../internal/quote.ts";
import {
  checkHeaders,
  formatHeaderLines,
  type Framing,
  type HeadersToSend,
  makeHeaderObject,
  type MessageKind,
  parseHeaderLines,
  readLineAt,
  tooLongPreambleMark,
} from "./headers.ts";
import { MAX_PREAMBLE_BYTES } from "./limits.ts";
import {
  bodyNotAllowedError,
  checkMethod,
  isMethod,
  type Method,
  METHOD_NAMES,
  METHODS,
} from "./method.ts";
import { allows, ASCII_TEXT_TABLE, TEXT_TABLE, TOKEN_TABLE } from "./character_tables.ts";
import { checkHost, isHostHeader } from "./host_header.ts";
import { findContentRangeProblem } from "./range.ts";
import { checkUri, type ParsedUri, parseUri } from "./uri.ts";

export interface RequestPreamble {
  readonly method: Method;
  readonly target: ParsedUri;
  /** The headers by lower-case name, without a prototype. */
  readonly headers: HeadersToSend;
  /** If the method has no body, the caller refuses a chunked body that is not empty. */
  readonly framing: Framing;
  /** Whether the version is HTTP/1.0, whose connections end with the response. */
  readonly isHttp10: boolean;
  /** Whether the target has the absolute form with the scheme `https`. */
  readonly isHttps: boolean;
}

export interface ResponsePreamble {
  readonly status: number;
  readonly reason: string;
  readonly headers: HeadersToSend;
  /**
   * The framing that the headers announce; {@linkcode determineReceivedFraming} decides whether
   * such a body follows.
   */
  readonly framing: Framing;
  /** Whether the version is HTTP/1.0, whose connections end with the response. */
  readonly isHttp10: boolean;
}

const CR = 0x0d, LF = 0x0a, SPACE = 0x20, SLASH = 0x2f;

/**
 * @param searchStart The first position to search: the start of the preamble, or three bytes before
 * new bytes.
 */
export function findPreambleEnd(bytes: Uint8Array, searchStart: number, end: number): number {
  // CR LF CR LF has four bytes, so a search of every fourth byte can't miss it.
  let i = searchStart + 3;
  while (i < end) {
    const byte = bytes[i]!;
    if (byte === LF) {
      if (bytes[i - 1] === CR && bytes[i - 2] === LF && bytes[i - 3] === CR) return i + 1;
      i += 2;
    } else if (byte === CR) {
      i += 1;
    } else {
      i += 4;
    }
  }
  return -1;
}

export function preambleTooLargeError(): ProtocolError {
  const message = `a preamble of more than ${MAX_PREAMBLE_BYTES} bytes`;
  return new ProtocolError("PREAMBLE_TOO_LARGE", message);
}

function checkNotEmpty(start: number, end: number): void {
  if (end - start === 4) throw new EmptyPreambleError("the preamble is empty");
}

const encoder = new TextEncoder();
const METHOD_BYTES = METHOD_NAMES.map((method) => encoder.encode(`${method} `));
/** The first byte of an alert and of a handshake of TLS (RFC 8446 §5.1). */
const TLS_STARTS: readonly number[] = [0x15, 0x16];
const REQUEST_LINE_END = encoder.encode(" HTTP/1.1\r\n");
const REQUEST_LINE_END_10 = encoder.encode(" HTTP/1.0\r\n");
const PROTOCOL_NAME = encoder.encode("HTTP/");
const STATUS_LINE_START = encoder.encode("HTTP/1.1 ");

const MAX_METHOD_BYTES = 64;

/** Refuses the prefix of an incomplete preamble that no further byte can make valid. */
export type CheckPrefix = (
  bytes: Uint8Array,
  start: number,
  searchStart: number,
  end: number,
) => void;

export const checkRequestPrefix: CheckPrefix = (bytes, start, searchStart, end) => {
  checkRequestStart(bytes, start, end);
  checkLineEnds(bytes, start, searchStart, end, parseRequestPreamble);
};

export const checkResponsePrefix: CheckPrefix = (bytes, start, searchStart, end) => {
  checkResponseStart(bytes, start, end);
  // A bare CR or LF is invalid with any method, so the method of the request isn't needed.
  checkLineEnds(bytes, start, searchStart, end, parseResponsePreamble.bind(null, "GET"));
};

/**
 * Refuses a CR or LF that is not part of CR LF (RFC 9112 §2.2), with the error of the parser. A CR
 * at the end may be followed by LF.
 */
function checkLineEnds(
  bytes: Uint8Array,
  start: number,
  searchStart: number,
  end: number,
  parse: (bytes: Uint8Array, start: number, end: number) => unknown,
): void {
  // The bytes of the previous call may end with CR.
  let position = searchStart > start && bytes[searchStart - 1] === CR
    ? searchStart - 1
    : searchStart;
  for (; position < end; position++) {
    const byte = bytes[position];
    if (byte === LF || byte === CR && position + 1 < end && bytes[position + 1] !== LF) {
      const prefix = bytes.subarray(start, position + 1);
      const preamble = concatenate([prefix, encoder.encode("\r\n\r\n")]);
      // No preamble with such a byte is valid, so this call throws.
      parse(preamble, 0, preamble.length);
    }
    if (byte === CR) position++;
  }
}

export function startsWithMethod(bytes: Uint8Array): boolean {
  const length = measureToken(bytes, 0, bytes.length);
  return length > 0 && length <= MAX_METHOD_BYTES && bytes[length] === SPACE;
}

function measureToken(bytes: Uint8Array, start: number, end: number): number {
  let position = start;
  while (position < end && TOKEN_TABLE[bytes[position]!] === 1) position++;
  return position - start;
}

function checkRequestStart(bytes: Uint8Array, start: number, end: number): void {
  const length = measureToken(bytes, start, end);
  const position = start + length;
  // A line feed may follow, and make an empty line.
  if (bytes[start] === CR && start + 1 === end) return;
  if (
    length <= MAX_METHOD_BYTES && (position === end || (length > 0 && bytes[position] === SPACE))
  ) return;
  const hint = "the client seems to speak TLS, which takes an SSLServer";
  const quoted = length === 0
    ? describeFirstByte(bytes[start]!, hint)
    : quote(bytes.slice(start, Math.min(position + 1, end)));
  throw new ProtocolError("BAD_METHOD", `no request begins with ${quoted}`);
}

/** Returns false if no response begins with these bytes, of which there is at least one. */
export function mayBeginResponse(bytes: Uint8Array, start: number, end: number): boolean {
  return startsWith(bytes, start, PROTOCOL_NAME.subarray(0, end - start));
}

function checkResponseStart(bytes: Uint8Array, start: number, end: number): void {
  const firstByte = bytes[start]!;
  // CR may start an empty preamble, which has its own error.
  if (firstByte === CR || mayBeginResponse(bytes, start, end)) return;
  const hint = "the server seems to speak TLS, which takes an SSLClient";
  const quoted = firstByte === PROTOCOL_NAME[0]
    ? quote(bytes.slice(start, Math.min(start + PROTOCOL_NAME.length, end)))
    : describeFirstByte(firstByte, hint);
  throw new ProtocolError("BAD_STATUS_LINE", `no response begins with ${quoted}`);
}

function describeFirstByte(firstByte: number, tlsHint: string): string {
  const byte = quote(Uint8Array.of(firstByte));
  return TLS_STARTS.includes(firstByte) ? `${byte}: ${tlsHint}` : byte;
}

export function parseRequestPreamble(
  bytes: Uint8Array,
  start: number,
  end: number,
): RequestPreamble {
  checkNotEmpty(start, end);
  const text = decodeAscii(bytes.subarray(start, end));
  let lineEnd = start;
  while (bytes[lineEnd] !== CR) lineEnd++;
  const headersStart = lineEnd + 2;
  const method = readMethod(bytes, start);
  const uriEnd = headersStart - REQUEST_LINE_END.length;
  let isHttp10 = false;
  if (
    method === null || uriEnd - start <= method.length ||
    !(startsWith(bytes, uriEnd, REQUEST_LINE_END) ||
      (isHttp10 = startsWith(bytes, uriEnd, REQUEST_LINE_END_10)))
  ) {
    throw invalidRequestLineError(readLineAt(bytes, start, end));
  }
  const targetStart = start + method.length + 1;
  const absoluteForm = bytes[targetStart] === SLASH
    ? null
    : parseAbsoluteForm(bytes.subarray(targetStart, uriEnd));
  const uri = absoluteForm?.uri ?? text.substring(method.length + 1, uriEnd - start);
  const target = parseReceivedUri(uri, bytes, targetStart, uriEnd);
  const traits = METHODS[method];
  const headers = makeHeaderObject();
  const framing = parseHeaderLines(headers, bytes, headersStart, end, text, start, traits);
  if (isHttp10 && framing === "chunked") {
    const problem = "transfer-encoding in a request of HTTP/1.0 (RFC 9112 §6.1)";
    throw new ProtocolError("BAD_TRANSFER_ENCODING", problem);
  }
  const host = headers["host"] as string | undefined;
  if (host !== undefined && !isHostHeader(host)) {
    throw new ProtocolError("BAD_HOST", `bad value of the header host: ${quoteHost(host)}`);
  }
  // RFC 9112 §3.2.2
  if (absoluteForm !== null) headers["host"] = absoluteForm.host;
  const isHttps = absoluteForm !== null && absoluteForm.isHttps;
  const receivedFraming = framing === 0 ? null : framing;
  if (framing === 0) delete headers["content-length"];
  if (framing === "chunked" && !METHODS[method].mayHaveBody) delete headers["transfer-encoding"];
  return { method, target, headers, framing: receivedFraming, isHttp10, isHttps };
}

/** The text of a target outside ASCII isn't that of its bytes: the error quotes the bytes. */
function parseReceivedUri(text: string, bytes: Uint8Array, start: number, end: number): ParsedUri {
  try {
    return parseUri(text);
  } catch (error) {
    const target = bytes.subarray(start, end);
    if (target.some((byte) => byte > 0x7f)) parseUri(decodeBytes(target));
    throw error;
  }
}

const ABSOLUTE_FORM = /^http(s?):\/\/([^/?#]*)/i;

function parseAbsoluteForm(
  target: Uint8Array,
): { readonly uri: string; readonly host: string; readonly isHttps: boolean } {
  const text = decodeBytes(target);
  const [origin = "", isHttps, host = ""] = ABSOLUTE_FORM.exec(text) ?? [];
  if (host === "" || !isHostHeader(host)) {
    const problem = 'it must begin with "/", or with "http://" and a host without a user name';
    throw new ProtocolError("BAD_URI", `bad URI ${quote(target)}: ${problem}`);
  }
  const uri = text.slice(origin.length);
  return { uri: uri.startsWith("/") ? uri : `/${uri}`, host, isHttps: isHttps !== "" };
}

function readMethod(bytes: Uint8Array, start: number): Method | null {
  for (let i = 0; i < METHOD_NAMES.length; i++) {
    if (startsWith(bytes, start, METHOD_BYTES[i]!)) return METHOD_NAMES[i]!;
  }
  return null;
}

function invalidRequestLineError(bytes: Uint8Array): ProtocolError {
  const line = decodeBytes(bytes);
  const firstSpace = line.indexOf(" ");
  const lastSpace = line.lastIndexOf(" ");
  if (firstSpace === lastSpace) {
    return new ProtocolError(
      "BAD_REQUEST_LINE",
      `a request line must have two spaces: ${quote(line)}`,
    );
  }
  const protocol = line.substring(lastSpace + 1);
  if (!protocol.startsWith("HTTP/")) {
    // Quote the whole line: quote() recognizes a secret only by the header's name before the
    // secret.
    return new ProtocolError(
      "BAD_PROTOCOL",
      `a request line must end with HTTP/1.1: ${quote(line)}`,
    );
  }
  if (protocol !== "HTTP/1.1" && protocol !== "HTTP/1.0") {
    return new ProtocolError("BAD_PROTOCOL", `unknown protocol: ${quote(protocol)}`);
  }
  const method = line.substring(0, firstSpace);
  if (!isMethod(method)) {
    return new ProtocolError("BAD_METHOD", `unknown method: ${quote(method)}`);
  }
  return new ProtocolError(
    "BAD_URI",
    `bad URI: ${quote(line.substring(firstSpace + 1, lastSpace))}`,
  );
}

export function parseResponsePreamble(
  method: Method,
  bytes: Uint8Array,
  start: number,
  end: number,
): ResponsePreamble {
  checkNotEmpty(start, end);
  let text = decodeAscii(bytes.subarray(start, end));
  const isHttp10 = !text.startsWith("HTTP/1.1 ");
  // HTTP/1.1 SP three digits SP reason: the positions are fixed.
  if (isHttp10 && !text.startsWith("HTTP/1.0 ") || text.charCodeAt(12) !== 0x20) {
    throw invalidStatusLineError(readLineAt(bytes, start, end));
  }
  const status = parseStatus(text);
  const reasonStart = start + 13;
  let lineEnd = reasonStart;
  while (ASCII_TEXT_TABLE[bytes[lineEnd]!] === 1) lineEnd++;
  if (bytes[lineEnd] !== CR) {
    while (TEXT_TABLE[bytes[lineEnd]!] === 1) lineEnd++;
    text = decodeBytes(bytes.subarray(start, end));
  }
  if (bytes[lineEnd] !== CR || bytes[lineEnd + 1] !== LF) {
    const reason = quote(readLineAt(bytes, reasonStart, end));
    throw new ProtocolError("BAD_REASON", `bad reason of a response (status ${status}): ${reason}`);
  }
  const reason = text.substring(13, lineEnd - start);
  const kind = messageKindOf(status);
  const headers = makeHeaderObject();
  let framing;
  try {
    framing = parseHeaderLines(headers, bytes, lineEnd + 2, end, text, start, kind);
  } catch (error) {
    throw withStatus(error as ProtocolError, status);
  }
  if (isHttp10 && framing === "chunked") {
    const problem = "transfer-encoding in a response of HTTP/1.0 (RFC 9112 §6.1)";
    throw withStatus(new ProtocolError("BAD_TRANSFER_ENCODING", problem), status);
  }
  if (framing === 0 && !isBodiless(method, status)) delete headers["content-length"];
  // RFC 9110 §8.6: a 204 has no content-length; what it announces says nothing of the resource.
  if (status === 204 && framing !== null) {
    delete headers["content-length"];
    delete headers["transfer-encoding"];
  }
  return { status, reason, headers, framing, isHttp10 };
}

function messageKindOf(status: number): MessageKind {
  return status === 206 ? "partial response" : "response";
}

/** Names the status, because it may tell why the rest of the response is invalid. */
function withStatus({ code, message }: ProtocolError, status: number): ProtocolError {
  return new ProtocolError(code, `in a response with status ${status}: ${message}`);
}

function invalidStatusLineError(line: Uint8Array): ProtocolError {
  const isProtocol = startsWith(line, 0, PROTOCOL_NAME);
  const advice = isProtocol
    ? "; it must begin with HTTP/1.1 or HTTP/1.0, three digits and a space"
    : "; the server must use HTTP/1.1 or HTTP/1.0, and no other code may read from the connection";
  return new ProtocolError("BAD_STATUS_LINE", `bad status line: ${quote(line)}${advice}`);
}

function parseStatus(text: string): number {
  const hundreds = text.charCodeAt(9) - 0x30;
  const tens = text.charCodeAt(10) - 0x30;
  const ones = text.charCodeAt(11) - 0x30;
  if (hundreds < 1 || hundreds > 5 || tens < 0 || tens > 9 || ones < 0 || ones > 9) {
    throw new ProtocolError("BAD_STATUS", `bad status: ${quote(text.substring(9, 12))}`);
  }
  return hundreds * 100 + tens * 10 + ones;
}

/** Reports whether a response has no body, regardless of its headers (RFC 9112 §6.3, case 1). */
export function isBodiless(method: Method, status: number): boolean {
  return method === "HEAD" || status === 204 || status === 304;
}

/** Refuses a switch of protocols, and an interim response with content (RFC 9110 §15.2). */
export function checkInterimResponse({ status, framing }: ResponsePreamble): void {
  if (status === 101) {
    const problem = "the request had no upgrade header, so no protocol was switched";
    throw new ProtocolError("UNEXPECTED_STATUS", `status 101: ${problem}`);
  }
  if (framing === null || framing === 0) return;
  const name = framing === "chunked" ? "transfer-encoding" : `content-length: ${framing}`;
  const problem = `an interim response has no content, but this one has ${name}`;
  throw new ProtocolError("UNEXPECTED_STATUS", `status ${status}: ${problem}`);
}

/**
 * Returns `"unframed"` if only the end of the connection ends the body (RFC 9112 §6.3, case 8).
 * Refuses a body with 206 of another length than its range (RFC 9110 §15.3.7).
 */
export function determineReceivedFraming(
  method: Method,
  { status, headers, framing }: ResponsePreamble,
): Framing | "unframed" {
  if (status === 206) {
    const problem = findContentRangeProblem(headers["content-range"], framing);
    if (problem !== null) {
      throw new ProtocolError(
        "CONFLICTING_HEADERS",
        `content-range and content-length: ${problem}`,
      );
    }
  }
  if (isBodiless(method, status) || framing === 0) return null;
  // RFC 9110 §15.3.6: a 205 has no content, so nothing is to be framed.
  return framing ?? (status === 205 ? null : "unframed");
}

/**
 * Returns whether no other response can follow on the connection. A 204 that announces content may
 * be followed by this content, which RFC 9112 §6.3 forbids. A 205 without framing has no content by
 * RFC 9110 §15.3.6, but by RFC 9112 §6.3 its content would end with the connection.
 */
export function isLastResponse({ status, framing, isHttp10 }: ResponsePreamble): boolean {
  if (status === 205 && framing === null) return true;
  const announcesContent = status === 204 && framing !== null && framing !== 0;
  return isHttp10 || announcesContent;
}

// ───────────────────────── formatting

export function checkRequestLine(method: Method, uri: string, body: unknown): void {
  checkMethod(method);
  checkUri(uri);
  if (body !== null && !METHODS[method].mayHaveBody) throw bodyNotAllowedError(method);
}

export function checkStatus(status: number, min: number, labelPrefix: string): void {
  if (Number.isInteger(status) && status >= min && status <= 599) return;
  checkInteger(`${labelPrefix}status`, status, min, 599);
}

function checkReason(reason: string, labelPrefix: string): void {
  if (typeof reason === "string" && allows(TEXT_TABLE, reason)) return;
  checkString(`${labelPrefix}reason`, reason);
  throw notAllowedError(
    `${labelPrefix}reason`,
    `must be visible characters up to U+00FF, spaces and tabs; got ${quote(reason)}`,
  );
}

/**
 * Writes a request preamble at the start of a buffer of at least 32768 bytes, and returns its
 * length in bytes. The function checks the headers, but not the method and the URI.
 */
export function formatRequestPreamble(
  into: Uint8Array,
  method: Method,
  uri: string,
  headers: HeadersToSend,
  overridingHeaders: HeadersToSend | null,
  framing: Framing | undefined,
): number {
  checkHeaders(headers);
  const host = overridingHeaders?.["host"] ?? headers["host"];
  if (typeof host === "string") checkHost('headers["host"]', host);
  let position = writeAscii(into, 0, method);
  into[position++] = SPACE;
  position = writeAscii(into, position, uri);
  position = writeBytes(into, position, REQUEST_LINE_END);
  const traits = METHODS[method];
  return finishPreamble(
    into,
    formatHeaderLines(into, position, headers, overridingHeaders, framing, traits, "headers"),
    "headers",
  );
}

export function formatResponsePreamble(
  into: Uint8Array,
  status: number,
  reason: string,
  headers: HeadersToSend,
  framing: Framing | undefined,
  labelPrefix: "" | "response." = "",
  overridingHeaders: HeadersToSend | null = null,
): number {
  // Joining the label would cost an allocation for each response.
  const label = labelPrefix === "" ? "headers" : "response.headers";
  checkStatus(status, 100, labelPrefix);
  checkReason(reason, labelPrefix);
  checkHeaders(headers, label);
  let position = writeBytes(into, 0, STATUS_LINE_START);
  into[position++] = 0x30 + Math.floor(status / 100);
  into[position++] = 0x30 + Math.floor(status / 10) % 10;
  into[position++] = 0x30 + status % 10;
  into[position++] = SPACE;
  position = writeAscii(into, position, reason);
  into[position++] = CR;
  into[position++] = LF;
  return finishPreamble(
    into,
    formatHeaderLines(
      into,
      position,
      headers,
      overridingHeaders,
      framing,
      messageKindOf(status),
      label,
    ),
    label,
  );
}

export function isPreambleTooLongError(error: unknown): boolean {
  return tooLongPreambleMark.get(error) === true;
}

function finishPreamble(into: Uint8Array, position: number, label: string): number {
  if (position + 2 > MAX_PREAMBLE_BYTES) {
    const error = notAllowedError(
      label,
      `must fit in a preamble of ${MAX_PREAMBLE_BYTES} bytes; got ${position + 2} bytes`,
    );
    throw tooLongPreambleMark.set(error, true);
  }
  into[position] = CR;
  into[position + 1] = LF;
  return position + 2;
}
