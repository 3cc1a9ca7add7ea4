/**
 * The errors of `node:net` and `node:tls`, in the classes that Deno's own sockets use.
 *
 * @module
 */

import { DeguError } from "../base/errors.ts";

const CLASSES: Readonly<Record<string, new (message: string, options?: ErrorOptions) => Error>> = {
  EACCES: Deno.errors.PermissionDenied,
  EADDRINUSE: Deno.errors.AddrInUse,
  EADDRNOTAVAIL: Deno.errors.AddrNotAvailable,
  ECONNABORTED: Deno.errors.ConnectionAborted,
  ECONNREFUSED: Deno.errors.ConnectionRefused,
  ECONNRESET: Deno.errors.ConnectionReset,
  ENETUNREACH: Deno.errors.NetworkUnreachable,
  ENOENT: Deno.errors.NotFound,
  ENOTCONN: Deno.errors.NotConnected,
  EPERM: Deno.errors.PermissionDenied,
  EPIPE: Deno.errors.BrokenPipe,
  ERR_STREAM_DESTROYED: Deno.errors.BrokenPipe,
  ERR_STREAM_WRITE_AFTER_END: Deno.errors.BrokenPipe,
  ETIMEDOUT: Deno.errors.TimedOut,
};

/** The error that a socket of Deno would have given; any other passes through. */
export function translateError(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const Class = CLASSES[codeOf(error) ?? ""];
  return Class === undefined ? error : new Class(error.message, { cause: error });
}

/** The error of a handshake that failed; a reset and a missing permission keep their classes. */
export function handshakeError(who: string, error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const message = `the TLS handshake with ${who} failed: ${reasonOf(error)}`;
  if (error instanceof Deno.errors.NotCapable) return error;
  const Class = CLASSES[codeOf(error) ?? ""] ?? DeguError;
  return Object.assign(new Class(message), { cause: error });
}

/** Why a handshake failed, in a line that no peer can forge. */
export function reasonOf(error: Error): string {
  const code = codeOf(error);
  const text = error.message.replaceAll(/[^\x20-\x7e]/g, "?").slice(0, 200);
  if (code === "ECONNRESET") return "the peer closed the connection";
  if (code === undefined || /^ERR_SSL_|^ERR_TLS_/.test(code)) return text;
  return `${text} (${code})`;
}

function codeOf(error: Error): string | undefined {
  return "code" in error && typeof error.code === "string" ? error.code : undefined;
}
