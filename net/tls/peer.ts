/**
 * Whether the certificate of a peer is good: the same rules at both ends, after the TLS library has
 * verified it.
 *
 * @module
 */

import type { KeyObject } from "node:crypto";
import type { TLSSocket } from "node:tls";
import type { PeerAuthority } from "../../base/app/session.ts";
import { TlsError } from "../../base/errors.ts";
import type { Authorities } from "./authority.ts";
import { type Certificate, usageProblem, validityProblem } from "./certificate.ts";
import { type Chain, presentedChain } from "./chain.ts";
import { type KnownCertificate, readCertificate } from "./known_certificates.ts";
import { USABLE_KEYS } from "./keys.ts";
import { publicKeyOf } from "./signature.ts";

/** The verified certificates of a peer. */
export interface VerifiedPeer {
  readonly chain: Chain;
  /** The first certificate of the chain, the peer's own. */
  readonly leaf: KnownCertificate;
}

/**
 * Checks the certificate of a peer, but not which authority vouched for it.
 *
 * @throws {TlsError} if the TLS library did not verify it, or it can't be used for this end now.
 * @throws {RangeError} if it can't be parsed.
 */
export function verifyPeer(whose: "client" | "server", socket: TLSSocket): VerifiedPeer {
  // A resumed session may come without a certificate, and the library accepts it.
  if (!socket.authorized) {
    throw new TlsError("UNTRUSTED", `the ${whose}'s certificate was not verified`);
  }
  const chain = presentedChain(socket);
  if (chain === null) throw new TlsError("NO_CERTIFICATE", `the ${whose} sent no certificate`);
  const leaf = readCertificate(chain[0]);
  checkCertificate(whose, leaf.certificate, leaf.key);
  return { chain, leaf };
}

/**
 * Finds the authority that vouched for a peer which the TLS library verified against the same authorities.
 *
 * @throws {TlsError} if it is not known for certain.
 */
export function findVoucher(
  whose: "client" | "server",
  authorities: Authorities,
  chain: Chain,
): PeerAuthority {
  const authority = authorities.find(chain, `${whose}Auth`);
  if (authority !== null) return authority;
  throw new TlsError(
    "UNTRUSTED",
    `none of the trusted authorities is known for certain to have vouched for the ${whose}, within the ` +
      "limits of its pathlen and extendedKeyUsage",
  );
}

/**
 * Checks that a certificate can be used for one end of a connection, now.
 *
 * @param key Its key; `null` if that can't be used.
 * @throws {TlsError} if it can't.
 */
export function checkCertificate(
  whose: "client" | "server",
  certificate: Certificate,
  key: KeyObject | null = publicKeyOf(certificate),
): void {
  const now = Date.now();
  const refuse = (code: TlsError["code"], problem: string) =>
    new TlsError(code, `the ${whose}'s certificate ${problem}`);
  if (certificate.version !== 3) {
    throw refuse("UNTRUSTED", `has version ${certificate.version} instead of 3`);
  }
  const usage = usageProblem(certificate, `${whose}Auth`);
  if (usage !== null) throw refuse("WRONG_PURPOSE", usage);
  const validity = validityProblem(certificate, now);
  if (validity !== null) {
    const isEarly = now < certificate.validFrom.getTime();
    throw refuse(isEarly ? "NOT_YET_VALID" : "EXPIRED", validity);
  }
  if (key === null) {
    throw refuse("WEAK", `has a key of an unsupported kind; must be ${USABLE_KEYS}`);
  }
}
