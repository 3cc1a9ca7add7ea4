/**
 * Which errors are transient.
 *
 * @module
 */

import {
  ConnectionClosedError,
  EmptyPreambleError,
  ProtocolError,
  type ProtocolErrorCode,
  TlsError,
} from "../base/errors.ts";
import { isUnreachable, systemCode } from "../net/unreachable.ts";
import { TransferError } from "./transfer_error.ts";

/** How connections break, and what a host says whose server is about to start. */
const BROKEN: readonly (abstract new (...args: never[]) => Error)[] = [
  Deno.errors.ConnectionRefused,
  Deno.errors.ConnectionReset,
  Deno.errors.ConnectionAborted,
  Deno.errors.BrokenPipe,
  Deno.errors.NotConnected,
  Deno.errors.UnexpectedEof,
];

/** The codes of a message that broke off. */
const CUT: ReadonlySet<ProtocolErrorCode> = new Set(["PREAMBLE_INCOMPLETE", "BODY_INCOMPLETE"]);

/** The server, or a proxy in front of it, is overloaded (RFC 9110 §15.5, §15.6; RFC 6585 §4). */
const BUSY: ReadonlySet<number | null> = new Set([408, 429, 502, 503, 504]);

/**
 * Reports whether the same call may succeed a moment later: the connection broke off, was refused or timed out, or
 * the server is overloaded. A final response (404, 403, 412, 507 …), an untrusted peer, a
 * full disk and an invalid argument are not transient.
 *
 * @param error The error of a transfer, a request or `connect`.
 *
 * @example
 * ```ts
 * import { isTransient } from "@degu/degu/transfer";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(isTransient(new Deno.errors.ConnectionReset()), true);
 * assertEquals(isTransient(new Deno.errors.PermissionDenied()), false);
 * ```
 */
export function isTransient(error: unknown): boolean {
  if (error instanceof TransferError) return BUSY.has(error.status);
  if (error instanceof TlsError) return error.code === "CLOSED";
  if (error instanceof EmptyPreambleError || error instanceof ConnectionClosedError) return true;
  if (error instanceof ProtocolError) return CUT.has(error.code);
  return isUnreachable(error) || BROKEN.some((each) => error instanceof each) ||
    systemCode(error) === "ENETRESET";
}
