/**
 * Which errors may be over in a moment.
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
import { TransferError } from "./transfer_error.ts";

const NETWORK_ERRORS: readonly (abstract new (...args: never[]) => Error)[] = [
  Deno.errors.ConnectionRefused,
  Deno.errors.ConnectionReset,
  Deno.errors.ConnectionAborted,
  Deno.errors.BrokenPipe,
  Deno.errors.NotConnected,
  Deno.errors.TimedOut,
  Deno.errors.UnexpectedEof,
  Deno.errors.NetworkUnreachable,
  Deno.errors.AddrNotAvailable,
];

/** For these Deno has no class of its own. */
const NETWORK_CODES: ReadonlySet<unknown> = new Set([
  "EHOSTUNREACH",
  "EHOSTDOWN",
  "ENETDOWN",
  "ENETRESET",
]);

/** What a message is like that broke off. */
const CUT: ReadonlySet<ProtocolErrorCode> = new Set(["PREAMBLE_INCOMPLETE", "BODY_INCOMPLETE"]);

/** The other end, or a proxy before it, has too much to do at the moment (RFC 9110 §15.5, §15.6; RFC 6585 §4). */
const BUSY: ReadonlySet<number | null> = new Set([408, 429, 502, 503, 504]);

/**
 * Tells whether the same call may succeed a moment later: the connection broke off, was refused or timed out, or
 * the other end has too much to do. An answer that is final (404, 403, 412, 507 …), a peer that is not trusted, a
 * disk that is full and a wrong argument are not transient.
 *
 * @param error What a transfer, a request or `connect` has failed with.
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
  return NETWORK_ERRORS.some((each) => error instanceof each) ||
    NETWORK_CODES.has((error as { code?: unknown } | null)?.code);
}
