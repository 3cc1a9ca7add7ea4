/**
 * The errors of `node:net` and `node:tls`, in the classes that Deno's own sockets use.
 *
 * @module
 */

import { TlsError, type TlsErrorCode } from "../base/errors.ts";

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

/** What is wrong with a certificate, or with its peer. */
type Fault = readonly [code: TlsErrorCode, what: string];

const UNTRUSTED = "it is of an authority that is not trusted";
const MISSING = "an intermediate certificate is missing";

/**
 * What the TLS library's codes for certificates mean. It has checked more than it tells, and there is no
 * certificate to look at.
 */
const CERTIFICATE_FAULTS: Readonly<Record<string, Fault>> = {
  CERT_HAS_EXPIRED: ["EXPIRED", "it has expired"],
  CERT_NOT_YET_VALID: ["NOT_YET_VALID", "it is not valid yet"],
  CA_MD_TOO_WEAK: ["WEAK", "a signature is too weak"],
  EE_KEY_TOO_SMALL: ["WEAK", "its key is too weak"],
  INVALID_PURPOSE: ["WRONG_PURPOSE", "its extendedKeyUsage is for something else"],
  DEPTH_ZERO_SELF_SIGNED_CERT: [
    "UNTRUSTED",
    "it signed itself, or is the certificate of an authority",
  ],
  SELF_SIGNED_CERT_IN_CHAIN: ["UNTRUSTED", UNTRUSTED],
  UNABLE_TO_GET_ISSUER_CERT: ["UNTRUSTED", `${UNTRUSTED}, or ${MISSING}`],
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: ["UNTRUSTED", `${UNTRUSTED}, or ${MISSING}`],
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: [
    "UNTRUSTED",
    `${UNTRUSTED}, ${MISSING}, it has expired or is not valid yet, it is a version 1 certificate, ` +
    "a key or a signature is weak, or it is not for this purpose",
  ],
};

/** What the messages of the TLS library begin with, where its codes say less. */
const LIBRARY_FAULTS: readonly (readonly [begin: RegExp, TlsErrorCode])[] = [
  [/^received fatal alert/, "REFUSED_BY_PEER"],
  [/^peer sent no certificates/, "NO_CERTIFICATE"],
  [/^peer is incompatible/, "POLICY"],
  [/^peer (?:closed|sent unexpected eof)|eof/i, "CLOSED"],
];

/** The error of a client's handshake that failed; a time-out and a missing permission keep their classes. */
export function handshakeError(who: string, error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof Deno.errors.NotCapable) return error;
  const { code, message, cause } = tlsErrorOf("server", error);
  const said = `the TLS handshake with ${who} failed: ${message}`;
  if (cause instanceof Deno.errors.TimedOut) return new Deno.errors.TimedOut(said, { cause });
  return new TlsError(code, said, cause === undefined ? undefined : { cause });
}

/**
 * Why a handshake failed, in a line that no peer can forge.
 *
 * @param whose Whose certificate was not accepted, if that is why.
 * @param certificateCode The library's code for certificates, where the error has another one.
 */
export function tlsErrorOf(
  whose: "client" | "server",
  error: Error,
  certificateCode = codeOf(error),
): TlsError {
  if (error instanceof TlsError) return error;
  const fault = CERTIFICATE_FAULTS[certificateCode ?? ""];
  const cause = translateError(error);
  if (fault !== undefined) {
    const [code, what] = fault;
    const refused = `the ${whose}'s certificate was refused (${certificateCode}): ${what}`;
    return new TlsError(code, refused, { cause });
  }
  if (cause !== error) return new TlsError("CLOSED", "the peer closed the connection", { cause });
  const [, code = "NOT_TLS"] = LIBRARY_FAULTS.find(([begin]) => begin.test(error.message)) ?? [];
  return new TlsError(code, printable(error.message), { cause });
}

/** The error of a connection whose handshake this end has done: with TLS 1.3 the peer judges later. */
export function connectionError(error: unknown): unknown {
  return error instanceof Error && error.message.startsWith("received fatal alert")
    ? tlsErrorOf("client", error)
    : translateError(error);
}

function printable(message: string): string {
  return message.replaceAll(/[^\x20-\x7e]/g, "?").slice(0, MAX_REASON_LENGTH);
}

function codeOf(error: Error): string | undefined {
  return "code" in error && typeof error.code === "string" ? error.code : undefined;
}
