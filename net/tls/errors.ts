/** Functions that convert errors of `node:net` and `node:tls`. */

import { type Address, formatCheckedAddress } from "../../base/address.ts";
import { ConnectionError, TlsError, type TlsErrorCode } from "../../base/errors.ts";
import { toConnectionError } from "../transport/connection_errors.ts";
import type { Authorities } from "./authority.ts";
import { formatClock } from "./certificate.ts";

const DENO_ERROR_CLASSES: Readonly<
  Record<string, new (message: string, options?: ErrorOptions) => Error>
> = {
  EACCES: Deno.errors.PermissionDenied,
  EADDRINUSE: Deno.errors.AddrInUse,
  EADDRNOTAVAIL: Deno.errors.AddrNotAvailable,
  ENOENT: Deno.errors.NotFound,
  EPERM: Deno.errors.PermissionDenied,
};

const MAX_REASON_LENGTH = 300;

/** Gives errors of listening and connecting that no later call avoids the classes of Deno. */
export function translateError(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const code = nodeCodeOf(error);
  const ErrorClass = DENO_ERROR_CLASSES[code ?? ""];
  if (ErrorClass === undefined) return error;
  return Object.assign(new ErrorClass(error.message, { cause: error }), { code });
}

type CertificateFault = readonly [code: TlsErrorCode, what: string];

const UNKNOWN_ISSUER: CertificateFault = [
  "UNTRUSTED",
  "its authority is not trusted, or an intermediate is missing",
];

/**
 * For some of its checks the library reports only a general code, and it doesn't expose the
 * certificate.
 */
const CERTIFICATE_FAULTS: Readonly<Record<string, CertificateFault>> = {
  CA_MD_TOO_WEAK: ["WEAK", "a signature is too weak"],
  CERT_HAS_EXPIRED: ["EXPIRED", "it has expired"],
  CERT_NOT_YET_VALID: ["NOT_YET_VALID", "it is not valid yet"],
  DEPTH_ZERO_SELF_SIGNED_CERT: [
    "UNTRUSTED",
    "it signed itself, or it is the certificate of an authority",
  ],
  EE_KEY_TOO_SMALL: ["WEAK", "its key is too weak"],
  INVALID_PURPOSE: ["WRONG_PURPOSE", "its extendedKeyUsage is for another purpose"],
  SELF_SIGNED_CERT_IN_CHAIN: ["UNTRUSTED", "its authority is not trusted"],
  UNABLE_TO_GET_ISSUER_CERT: UNKNOWN_ISSUER,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNKNOWN_ISSUER,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: [
    "UNTRUSTED",
    "possible reasons are an authority that is not trusted, a missing intermediate, a certificate that " +
    "has expired or is not valid yet, a version 1 certificate, a weak key or signature (RSA below 2048 " +
    "bits, SHA-1), an extendedKeyUsage for another purpose, and a form that the TLS library doesn't " +
    "support, which openssl may accept",
  ],
};

const OLD_VERSION_HINT = "the peer may support only TLS 1.1 or older";

/** The TLS library's messages for errors without a field or a code; any other is `POLICY`. */
const LIBRARY_FAULTS: readonly (readonly [pattern: RegExp, TlsErrorCode, hint?: string])[] = [
  // The peer has received damaged bytes.
  [
    /^received fatal alert: (?:BadRecordMac|DecodeError|RecordOverflow|UnexpectedMessage)$/,
    "CLOSED",
  ],
  [/^received fatal alert: ProtocolVersion$/, "REFUSED_BY_PEER", OLD_VERSION_HINT],
  [
    /^received fatal alert: CertificateExpired$/,
    "REFUSED_BY_PEER",
    "by the peer's clock, the local certificate has expired or is not valid yet",
  ],
  [
    /^received fatal alert: UnknownCA$/,
    "REFUSED_BY_PEER",
    "it doesn't trust the authority of the local certificate",
  ],
  [/^received fatal alert/, "REFUSED_BY_PEER"],
  [/^peer sent no certificates/, "NO_CERTIFICATE"],
  // Deno's text if it can't make a connection of the library with the certificate and the key.
  [/^unsupported protocol$/, "POLICY", "the TLS library can't use the local certificate or key"],
  [/incompatible signing key$/, "POLICY", "the peer doesn't support the kind of the local key"],
  [/SignatureAlgorithmsExtensionRequired$/, "POLICY", OLD_VERSION_HINT],
  [/^peer (?:closed|sent unexpected eof)|eof/i, "CLOSED"],
  // The first bytes are not a record of TLS.
  [/^received corrupt message of type (?:InvalidContentType|UnknownProtocolVersion)/, "NOT_TLS"],
  [/^received corrupt message|^cannot decrypt/, "CLOSED"],
];

/** The library's codes for certificates whose dates are, or may be, the reason. */
const DATE_CODES: ReadonlySet<string | undefined> = new Set([
  "CERT_HAS_EXPIRED",
  "CERT_NOT_YET_VALID",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
]);

/** The error of a missing permission keeps its class, and that of a time-out its fault. */
export function handshakeError(
  address: Address,
  error: unknown,
  authorities: Authorities | null,
): unknown {
  if (!(error instanceof Error) || error instanceof Deno.errors.NotCapable) return error;
  const { code, message, cause } = tlsError("server", error, authorities);
  const text = `the TLS handshake with ${formatCheckedAddress(address)} failed: ${message}`;
  if (cause instanceof ConnectionError && cause.fault === "timed out") {
    return new ConnectionError(text, { fault: "timed out", code: cause.code, address, cause });
  }
  return new TlsError(code, text, cause === undefined ? { address } : { address, cause });
}

/**
 * Makes the error of a failed handshake, with a message of one line that a peer can't forge.
 *
 * @param role The owner of the certificate, if a certificate is the cause.
 */
export function tlsError(
  role: "client" | "server",
  error: Error,
  authorities: Authorities | null = null,
  certificateCode = nodeCodeOf(error),
): TlsError {
  if (error instanceof TlsError) return error;
  const fault = CERTIFICATE_FAULTS[certificateCode ?? ""];
  const cause = toConnectionError(error);
  if (fault !== undefined) {
    const [code, problem] = fault;
    const text = `the ${role}'s certificate was refused (${certificateCode}): ${problem}` +
      (DATE_CODES.has(certificateCode) ? `; ${describeDates(authorities)}` : "");
    return new TlsError(code, text, { cause });
  }
  // The TLS library may accept a certificate that our parser rejects.
  if (error instanceof RangeError) {
    return new TlsError("UNTRUSTED", `the ${role}'s certificate can't be read`, { cause });
  }
  if (cause !== error) return new TlsError("CLOSED", "the peer closed the connection", { cause });
  const reason = replaceNonAscii(error.message);
  const [, code, hint] = LIBRARY_FAULTS.find(([pattern]) => pattern.test(reason)) ?? ["", "POLICY"];
  return new TlsError(code, hint === undefined ? reason : `${reason}; ${hint}`, { cause });
}

/** The library doesn't show the dates of the peer's certificate. */
function describeDates(authorities: Authorities | null): string {
  const now = Date.now();
  return authorities?.findValidityProblem(now) ?? formatClock(now);
}

/** With TLS 1.3, a server may refuse the client after the client has finished its handshake. */
export function makeSocketError(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  // The error of an alert has neither a class nor a code.
  if (error.message.startsWith("received fatal alert")) return tlsError("client", error);
  const connectionError = toConnectionError(error);
  // Only errors of the TLS library have neither a class of their own nor a known code.
  if (connectionError !== error || error.constructor !== Error) return connectionError;
  // The received bytes were damaged, by a fault or by an attacker.
  const text = `the received bytes are not valid TLS (${replaceNonAscii(error.message)})`;
  return new TlsError("CLOSED", text, { cause: error });
}

function replaceNonAscii(message: string): string {
  return message.replaceAll(/[^\x20-\x7e]/g, "?").slice(0, MAX_REASON_LENGTH);
}

function nodeCodeOf(error: Error): string | undefined {
  return "code" in error && typeof error.code === "string" ? error.code : undefined;
}
