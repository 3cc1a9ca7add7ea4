/**
 * Which clients are accepted: every decision about a client's certificate is made here.
 *
 * @module
 */

import type { TLSSocket } from "node:tls";
import { TlsError } from "../../base/errors.ts";
import type { PeerAuthority, PeerCertificate } from "../../base/app/session.ts";
import { describeCertificate } from "./certificate.ts";
import type { Chain } from "./chain.ts";
import type { ServerMaterial } from "./context.ts";
import type { KnownCertificate } from "./known_certificates.ts";
import { findVoucher, verifyPeer } from "./peer.ts";
import { checkNegotiated } from "./policy.ts";
import { verifiedClients } from "./verified_clients.ts";

/**
 * Makes the checks that the TLS library leaves to us, after a handshake, and describes the client's
 * certificate; `null` if none is requested.
 *
 * @param begun What the handshake began with, and the library has verified the certificate with.
 * @param inForce What is in force now, and decides.
 * @throws {TlsError} if the client is refused.
 */
export function checkClient(
  socket: TLSSocket,
  begun: ServerMaterial,
  inForce: ServerMaterial,
): PeerCertificate | null {
  checkNegotiated(socket);
  if (!inForce.options.requestCert) return null;
  if (!begun.options.requestCert) {
    throw new TlsError("NO_CERTIFICATE", "the client was not asked for a certificate");
  }
  const { chain, leaf } = verifyPeer("client", socket);
  const authority = socket.isSessionReused()
    ? recallAuthority(chain, leaf, inForce)
    : verifyAuthority(chain, leaf, begun, inForce);
  return describeCertificate(leaf.certificate, leaf, authority);
}

/** Whether a client that was accepted is trusted by what is in force. */
export function isStillTrusted(
  certificate: PeerCertificate | null | undefined,
  inForce: ServerMaterial,
): boolean {
  if (!inForce.options.requestCert) return true;
  const authority = certificate?.authority ?? null;
  return authority !== null && inForce.trusts(authority.publicKey256);
}

/** The authority that vouched for a certificate which the library has just verified. */
function verifyAuthority(
  chain: Chain,
  leaf: KnownCertificate,
  begun: ServerMaterial,
  inForce: ServerMaterial,
): PeerAuthority {
  const verified = findVoucher("client", begun.authorities, chain);
  verifiedClients.add(leaf.certificate256, verified.publicKey256);
  if (begun === inForce) return verified;
  const vouchers = new Set([verified.publicKey256]);
  const authority = inForce.authorities.findAgain(chain, vouchers, "clientAuth");
  if (authority === null) {
    throw new TlsError("UNTRUSTED", "the client's authority is not trusted any more");
  }
  return authority;
}

/**
 * The authority of a resumed session: the library has not verified its certificate, so it must have been
 * verified before, by an authority that is trusted now.
 */
function recallAuthority(
  chain: Chain,
  leaf: KnownCertificate,
  inForce: ServerMaterial,
): PeerAuthority {
  const vouchers = verifiedClients.vouchersOf(leaf.certificate256);
  if (vouchers.values().some((publicKey256) => inForce.trusts(publicKey256))) {
    const authority = inForce.authorities.findAgain(chain, vouchers, "clientAuth");
    if (authority !== null) return authority;
  }
  if (vouchers.size > 0) {
    throw new TlsError("UNTRUSTED", "the client resumed a session, whose authority is not trusted");
  }
  throw new TlsError(
    "POLICY",
    "the client resumed a session whose certificate was not verified by this process",
  );
}
