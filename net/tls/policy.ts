/**
 * The TLS policy of clients and servers. The policy follows RFC 9325, and is strict wherever the
 * standard leaves a choice.
 *
 * - TLS 1.2 or 1.3.
 * - For TLS 1.2, only suites with forward secrecy and authenticated encryption.
 * - The peer's certificate is always verified. No option and no environment variable disables this.
 * - A session is resumed only if its certificate was verified before, and its authority is still
 *   trusted.
 * - No compression and no renegotiation: the TLS library supports neither.
 */

import type { TLSSocket } from "node:tls";
import { checkString, notAllowedError } from "../../internal/checks.ts";
import { TlsError } from "../../base/errors.ts";
import { quote } from "../../internal/quote.ts";

export const MIN_VERSION = "TLSv1.2";
export const MAX_VERSION = "TLSv1.3";

export const CIPHERS: readonly string[] = Object.freeze([
  "TLS_AES_256_GCM_SHA384",
  "TLS_AES_128_GCM_SHA256",
  "TLS_CHACHA20_POLY1305_SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES128-GCM-SHA256",
  "ECDHE-RSA-CHACHA20-POLY1305",
]);

export const LIBRARY_OPTIONS = Object.freeze({
  minVersion: MIN_VERSION,
  maxVersion: MAX_VERSION,
  ciphers: CIPHERS.join(":"),
});

/**
 * Checks that the policy allows the negotiated version and cipher suite, and that both sides have
 * selected the same protocol by ALPN (RFC 7301): `node:tls` accepts a peer without ALPN.
 */
export function checkNegotiatedParameters(socket: TLSSocket, alpnProtocol: string | null): void {
  const selectedProtocol = socket.alpnProtocol;
  if (alpnProtocol !== null && selectedProtocol !== alpnProtocol) {
    const description = selectedProtocol ? quote(selectedProtocol) : "none";
    throw new TlsError(
      "POLICY",
      `the protocol by ALPN must be ${alpnProtocol}; got ${description}`,
    );
  }
  const version = socket.getProtocol();
  if (version !== MIN_VERSION && version !== MAX_VERSION) {
    throw new TlsError("POLICY", `the version is ${quote(String(version))}`);
  }
  const { name } = socket.getCipher();
  if (!CIPHERS.includes(name)) {
    throw new TlsError("POLICY", `the cipher suite is ${quote(String(name))}`);
  }
}

const PROTOCOL_NAME = /^[!-~]{1,255}$/;

export function checkProtocol(protocol: string | undefined): string | null {
  if (protocol === undefined) return null;
  checkString("protocol", protocol);
  if (PROTOCOL_NAME.test(protocol)) return protocol;
  throw notAllowedError(
    "protocol",
    `must be 1 to 255 visible ASCII characters; got ${quote(protocol)}`,
  );
}
