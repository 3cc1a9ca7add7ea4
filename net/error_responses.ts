/** The answers that a server gives by itself: to what can't be accepted, or for a failing app. */

import { ProtocolError, type ProtocolErrorCode } from "../base/errors.ts";
import { MAX_PREAMBLE_BYTES } from "../base/wire/limits.ts";
import { isMethod, startsWithMethod } from "../base/wire/preamble.ts";

const ERROR_REASONS = {
  400: "Bad Request",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  501: "Not Implemented",
  505: "HTTP Version Not Supported",
} as const;

export type ErrorStatus = keyof typeof ERROR_REASONS;

const encoder = new TextEncoder();
const decoder = new TextDecoder("latin1");
const answers = new Map(
  Object.entries(ERROR_REASONS).map(([status, reason]) => [
    Number(status),
    encoder.encode(
      `HTTP/1.1 ${status} ${reason}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`,
    ),
  ]),
);

/** The bytes of an answer: a preamble, and no body, so that it fits every method. */
export function formatErrorResponse(status: ErrorStatus): Uint8Array {
  return answers.get(status)!;
}

const START_LINE = /^([^ ]+) [^ \r\n]+ HTTP\/([0-9]\.[0-9])\r\n/;

/**
 * The status that answers a preamble that breaks the grammar; `null` for none, if the bytes don't
 * begin with a method, or the peer has not sent all of them.
 *
 * @param bytes The bytes that have arrived, from the beginning of the preamble.
 */
export function statusOfPreamble(error: unknown, bytes: Uint8Array): ErrorStatus | null {
  if (!(error instanceof ProtocolError) || error.code === "PREAMBLE_INCOMPLETE") return null;
  if (!startsWithMethod(bytes)) return null;
  if (error.code === "PREAMBLE_TOO_LARGE") return 431;
  const text = decoder.decode(bytes.subarray(0, MAX_PREAMBLE_BYTES));
  const [, method, version] = START_LINE.exec(text) ?? [];
  if (version === undefined) return 400;
  if (version !== "1.1") return 505;
  return isMethod(method) ? 400 : 501;
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
