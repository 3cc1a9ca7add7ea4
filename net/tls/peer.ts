/**
 * The certificates that a peer presented, and whether they are good: the same rules at both ends, after the TLS
 * library has verified them.
 */

import type { DetailedPeerCertificate, TLSSocket } from "node:tls";
import type { PeerAuthority } from "../../base/app/session.ts";
import { TlsError } from "../../base/errors.ts";
import { type Authorities, readCertificate } from "./authority.ts";
import { type Certificate, usageProblem, validityProblem } from "./certificate.ts";
import { publicKeyOf, signatureProblem, USABLE_KEYS } from "./keys.ts";

/** Certificates in DER, the peer's own first. */
export type Chain = readonly [Uint8Array, ...Uint8Array[]];

/** The verified certificates of a peer. */
export interface VerifiedPeer {
  readonly chain: Chain;
  /** The first certificate of the chain, the peer's own. */
  readonly leaf: Certificate;
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
  checkCertificate(whose, leaf);
  return { chain, leaf };
}

/**
 * Finds the authority that vouched for a peer which the TLS library verified against the same authorities.
 *
 * @throws {TlsError} if it is not known for certain.
 */
export function findIssuingAuthority(
  whose: "client" | "server",
  authorities: Authorities,
  chain: Chain,
): PeerAuthority {
  const authority = authorities.find(chain, `${whose}Auth`);
  if (authority !== null) return authority;
  const problem = signatureProblem(readCertificate(chain[0]));
  throw new TlsError(
    "UNTRUSTED",
    problem !== null
      ? `the ${whose}'s certificate ${problem}`
      : `none of the trusted authorities is known for certain to have vouched for the ${whose}, within the ` +
        "limits of its pathlen and extendedKeyUsage; an intermediate with nameConstraints, with an unknown critical " +
        "extension, or signed with P-521 and SHA-256, doesn't count",
  );
}

/**
 * Checks that a certificate can be used for one end of a connection, now.
 *
 * @throws {TlsError} if it can't.
 */
export function checkCertificate(whose: "client" | "server", certificate: Certificate): void {
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
  if (publicKeyOf(certificate) === null) {
    throw refuse("WEAK", `has a key of an unsupported kind; must be ${USABLE_KEYS}`);
  }
}

/**
 * The certificates in DER, the peer's own first, then the others as they were sent; the TLS library may
 * add one that it trusts, by name. So only signatures show which belong together.
 *
 * @returns `null` if the peer presented none.
 */
export function presentedChain(socket: TLSSocket): Chain | null {
  const chain: Uint8Array[] = [];
  const seen = new Set<DetailedPeerCertificate>();
  let shown: DetailedPeerCertificate | undefined = socket.getPeerCertificate(true);
  // Described by the library, the last one is its own issuer.
  while (shown?.raw !== undefined && !seen.has(shown)) {
    seen.add(shown);
    chain.push(shown.raw);
    shown = shown.issuerCertificate;
  }
  const [leaf, ...rest] = chain;
  return leaf === undefined ? null : [leaf, ...rest];
}

/** The part of a socket's handle that is used. */
interface Handle {
  getPeerCertificateChain?(): { readonly certificates: readonly Uint8Array[] } | null;
}

/** A certificate in DER, and what was sent as its issuer. */
interface Undescribed {
  readonly raw: Uint8Array;
  readonly issuerCertificate: Undescribed | undefined;
}

/**
 * Makes `getPeerCertificate()` of a socket return the certificates that the peer sent in DER, as `raw`, and
 * nothing else of them.
 *
 * The library describes them in the handshake, for its own check of the server's name, and with them every
 * certificate that is trusted: 30 µs for each. Everything that Degu needs it reads from the bytes.
 */
export function skipDescriptions(socket: TLSSocket): void {
  // The property is not part of the types. Without it the library does what it always does.
  const { _handle: handle } = socket as TLSSocket & { readonly _handle?: Handle | null };
  if (typeof handle?.getPeerCertificateChain !== "function") return;
  Object.defineProperty(socket, "getPeerCertificate", {
    value: () => nest(handle.getPeerCertificateChain!()?.certificates ?? []) ?? {},
  });
}

function nest(sent: readonly Uint8Array[]): Undescribed | undefined {
  return sent.reduceRight<Undescribed | undefined>(
    (issuerCertificate, raw) => ({ raw, issuerCertificate }),
    undefined,
  );
}
