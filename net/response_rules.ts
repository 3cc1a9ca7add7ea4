/**
 * Which responses a client refuses, and which errors mean that the peer left.
 *
 * @module
 */

import { ProtocolError } from "../base/errors.ts";
import type { ResponsePreamble } from "../base/wire/preamble.ts";

/** Refuses a response that none of our requests can have (RFC 9110 §15.2, §15.3.5). */
export function checkPossible({ status, framing }: ResponsePreamble): void {
  if (status < 200) {
    const why = "interim responses are refused; a request has one response";
    throw new ProtocolError("UNEXPECTED_STATUS", `status ${status}: ${why}`);
  }
  if (status === 204 && framing !== null) {
    const why = "has no body; its content-length or transfer-encoding is refused";
    throw new ProtocolError("UNEXPECTED_STATUS", `status 204 ${why}`);
  }
}

/** The error for bytes after a response that has no body. */
export function unframedBody(): ProtocolError {
  return new ProtocolError(
    "UNFRAMED_BODY",
    "the response has a body, but neither content-length nor transfer-encoding",
  );
}

/** The error for bytes that came before the request was sent. */
export function excessBytes(): ProtocolError {
  return new ProtocolError("EXCESS_BYTES", "the peer sent bytes that no request has asked for");
}

/** True for the errors of a socket that its peer closed or reset. */
export function isReset(error: unknown): boolean {
  return error instanceof Deno.errors.ConnectionReset ||
    error instanceof Deno.errors.ConnectionAborted || error instanceof Deno.errors.BrokenPipe;
}
