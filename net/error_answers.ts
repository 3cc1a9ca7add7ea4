/**
 * The answers that a server gives by itself: to what can't be accepted, or for a failing app; and
 * which answers end a session.
 */

import { ProtocolError, type ProtocolErrorCode } from "../base/errors.ts";
import { isRequestStart } from "../base/wire/preamble.ts";

const ERROR_REASONS = {
  400: "Bad Request",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  501: "Not Implemented",
  505: "HTTP Version Not Supported",
} as const;

export type ErrorStatus = keyof typeof ERROR_REASONS;

const encoder = new TextEncoder();
const answers = new Map(
  Object.entries(ERROR_REASONS).map(([status, reason]) => [
    Number(status),
    encoder.encode(
      `HTTP/1.1 ${status} ${reason}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`,
    ),
  ]),
);

/** The bytes of an answer: a preamble, and no body, so that it fits every method. */
export function errorAnswer(status: ErrorStatus): Uint8Array {
  return answers.get(status)!;
}

/** The statuses of preambles that break the grammar; of all others 400. */
const STATUSES: Partial<Record<ProtocolErrorCode, ErrorStatus>> = {
  BAD_METHOD: 501,
  BAD_PROTOCOL: 505,
  PREAMBLE_TOO_LARGE: 431,
};

/**
 * The status that answers a preamble that breaks the grammar; `null` for none, if the bytes are not
 * HTTP, or the peer has not sent all of them.
 *
 * @param bytes The bytes that have arrived; the preamble begins at `start`.
 */
export function statusOfPreamble(
  error: unknown,
  bytes: Uint8Array,
  start: number,
  end: number,
): ErrorStatus | null {
  if (!(error instanceof ProtocolError) || error.code === "PREAMBLE_INCOMPLETE") return null;
  return isRequestStart(bytes, start, end) ? STATUSES[error.code] ?? 400 : null;
}

const BROKEN_FRAMING: ReadonlySet<ProtocolErrorCode> = new Set<ProtocolErrorCode>([
  "BAD_CHUNK_LINE",
  "BAD_CHUNK_EXTENSION",
  "CHUNK_LINE_TOO_LONG",
  "CHUNK_TOO_LARGE",
  "BAD_CHUNK_END",
]);

/** Whether the peer broke the framing of a body, rather than leave in the middle of the body. */
export function isBrokenFraming(error: unknown): boolean {
  return error instanceof ProtocolError && BROKEN_FRAMING.has(error.code);
}

/** Statuses of errors that are part of ordinary work: the connection goes on. */
const HARMLESS_ERRORS: ReadonlySet<number> = new Set([404, 405, 409, 412]);

/** Whether a server of ours ends its session after a response with this status. */
export function endsSession(status: number): boolean {
  return status >= 400 && !HARMLESS_ERRORS.has(status);
}
