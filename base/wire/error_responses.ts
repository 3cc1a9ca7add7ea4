import { ProtocolError, type ProtocolErrorCode } from "../errors.ts";
import { MAX_PREAMBLE_BYTES } from "./limits.ts";
import { isMethod } from "./method.ts";
import { startsWithMethod } from "./preamble.ts";
import { isTooManyOpenFilesError } from "../../internal/caught_errors.ts";
import { unknownTrustErrors } from "../../internal/error_details.ts";
import { findReasonPhrase } from "../../internal/statuses.ts";

export type ErrorStatus = 400 | 413 | 421 | 431 | 500 | 501 | 503 | 505;

const encoder = new TextEncoder();
const decoder = new TextDecoder("latin1");

/** The response has no body, so that it is valid for every method. */
export function formatErrorResponse(status: ErrorStatus): Uint8Array {
  const statusLine = `HTTP/1.1 ${status} ${findReasonPhrase(status)}`;
  return encoder.encode(`${statusLine}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`);
}

const REQUEST_LINE = /^([^ ]+) ([^ \r\n]+) HTTP\/([0-9]\.[0-9])\r\n/;

export function findErrorStatus(error: unknown, bytes: Uint8Array): ErrorStatus | null {
  if (!(error instanceof ProtocolError)) return null;
  if (!startsWithMethod(bytes)) return null;
  if (error.code === "PREAMBLE_TOO_LARGE") return 431;
  if (error.code === "UNKNOWN_TRANSFER_CODING") return 501;
  if (error.code === "MISDIRECTED") return 421;
  const text = decoder.decode(bytes.subarray(0, MAX_PREAMBLE_BYTES));
  const [, method, target, version] = REQUEST_LINE.exec(text) ?? [];
  if (version === undefined) return 400;
  if (version !== "1.1" && version !== "1.0") return 505;
  // A request for the whole server isn't supported (RFC 9110 §9.3.7).
  return isMethod(method) && !(method === "OPTIONS" && target === "*") ? 400 : 501;
}

const BROKEN_FRAMING_CODES: ReadonlySet<ProtocolErrorCode> = new Set<ProtocolErrorCode>([
  "BAD_CHUNK_LINE",
  "BAD_CHUNK_EXTENSION",
  "CHUNK_LINE_TOO_LONG",
  "CHUNK_TOO_LARGE",
  "BAD_CHUNK_END",
  "BAD_HEADER_LINE",
  "BAD_HEADER_NAME",
  "BAD_HEADER_VALUE",
  "TRAILER_TOO_LARGE",
]);

/** Codes of headers are those of a trailer. A close within a body isn't invalid framing. */
export function isBrokenFramingError(error: unknown): boolean {
  return error instanceof ProtocolError && BROKEN_FRAMING_CODES.has(error.code);
}

export function isUnavailableError(error: unknown): boolean {
  return isTooManyOpenFilesError(error) || unknownTrustErrors.get(error) === true;
}
