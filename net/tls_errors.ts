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

const MAX_REASON_LENGTH = 300;

/** The error that a socket of Deno would have given; any other passes through. */
export function translateError(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const Class = CLASSES[codeOf(error) ?? ""];
  return Class === undefined ? error : new Class(error.message, { cause: error });
}

/** What the TLS library's codes for certificates mean; one stands for several faults. */
const CERTIFICATE_FAULTS: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: "it has expired",
  CERT_NOT_YET_VALID: "it is not valid yet",
  DEPTH_ZERO_SELF_SIGNED_CERT: "it signed itself",
  INVALID_PURPOSE: "its extendedKeyUsage is for something else",
  SELF_SIGNED_CERT_IN_CHAIN: "it is of an authority that is not trusted",
  UNABLE_TO_GET_ISSUER_CERT: "it is of an authority that is not trusted",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "it is of an authority that is not trusted",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    "it is of an authority that is not trusted, an intermediate is " +
    "missing, it has expired or is not valid yet, or its key or usage is not allowed",
};

/** The error of a client's handshake that failed; a reset and a missing permission keep their classes. */
export function handshakeError(who: string, error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof Deno.errors.NotCapable) return error;
  const code = codeOf(error) ?? "";
  const reason = describeCertificateFault("server", code) ?? reasonOf(error);
  const Class = CLASSES[code] ?? DeguError;
  return new Class(`the TLS handshake with ${who} failed: ${reason}`, { cause: error });
}

/** Why a certificate was not accepted, given the library's code; `null` for any other code. */
export function describeCertificateFault(whose: "client" | "server", code: string): string | null {
  const fault = CERTIFICATE_FAULTS[code];
  return fault === undefined ? null : `the ${whose}'s certificate was refused (${code}): ${fault}`;
}

/** Why a handshake failed, in a line that no peer can forge. */
export function reasonOf(error: Error): string {
  if (codeOf(error) === "ECONNRESET") return "the peer closed the connection";
  return error.message.replaceAll(/[^\x20-\x7e]/g, "?").slice(0, MAX_REASON_LENGTH);
}

function codeOf(error: Error): string | undefined {
  return "code" in error && typeof error.code === "string" ? error.code : undefined;
}
