/**
 * The search for the trusted authority that has signed a peer's certificate. The TLS library
 * verifies that such an authority exists, but doesn't report the authority. The search uses
 * signatures, because two authorities can have the same name.
 *
 * The search must verify the whole path: a client of Deno 2.9.6 takes a forged path for verified if
 * the library can't read a certificate of the path, for example of version 1, whose issuer has the
 * name of a trusted authority.
 */

import type { PeerAuthority } from "../../base/app/session.ts";
import { quote } from "../../internal/quote.ts";
import { evictOldest } from "../../internal/collections.ts";
import {
  ANY_PURPOSE,
  type Certificate,
  describeAuthority,
  findValidityProblem,
  parseCertificate,
  PURPOSE,
} from "./certificate.ts";
import { publicKeyOf, verifySignature } from "./keys.ts";

/** The TLS library follows only much shorter paths. */
const MAX_CHAIN_LENGTH = 32;
/**
 * The maximum number of signatures that are verified for one peer, besides two for each trusted
 * certificate, so that a forged chain can't take long.
 */
const MAX_SIGNATURES = 128;
const MAX_CACHED_SIGNERS = 1000;
/** The maximum number of cached certificates, which need at most some megabytes. */
const MAX_CACHED_CERTIFICATES = 1000;
const MAX_CACHED_CERTIFICATE_BYTES = 2048;

type Purpose = keyof typeof PURPOSE;

type CertificatesBySubject = ReadonlyMap<string, readonly Certificate[]>;

export class Authorities {
  readonly #trustedCertificates: readonly Certificate[];
  readonly #trustedBySubject: CertificatesBySubject;
  readonly #trustedKeys: ReadonlySet<string>;
  /**
   * The SHA-256 of the key that has signed a certificate, by the SHA-256 of the certificate. A
   * verified signature stays valid, and without the cache the search would take long if many
   * authorities have the same name.
   */
  readonly #cachedSigners = new Map<string, string>();

  constructor(certificates: readonly Certificate[]) {
    this.#trustedCertificates = certificates;
    this.#trustedBySubject = groupBySubject(certificates);
    this.#trustedKeys = new Set(certificates.map(({ publicKey256 }) => publicKey256));
  }

  trustsKey(publicKey256: string): boolean {
    return this.#trustedKeys.has(publicKey256);
  }

  /** The TLS library ignores these dates. */
  findValidityProblem(now: number): string | null {
    for (const certificate of this.#trustedCertificates) {
      const problem = findValidityProblem(certificate, now);
      if (problem !== null) return `the trusted authority ${quote(certificate.subject)} ${problem}`;
    }
    return null;
  }

  /**
   * Finds the authority of a peer: the end of the shortest valid path. If several paths have this
   * length, the authority that comes first in the configuration counts. The TLS library ignores the
   * limits of the trusted certificate. Call this method only for chains that the library has
   * verified.
   *
   * @returns `null` without an authority, or if the search takes too many signatures.
   */
  findAuthority(
    leaf: Certificate,
    intermediates: readonly Uint8Array[],
    purpose: Purpose,
  ): PeerAuthority | null {
    const parsedIntermediates = intermediates.slice(0, MAX_CHAIN_LENGTH - 1).flatMap(readIfValid);
    const signers = groupBySubject(
      parsedIntermediates.filter((certificate) => maySignOthers(certificate, purpose)),
    );
    const budget = { signatures: MAX_SIGNATURES + 2 * this.#trustedCertificates.length };
    const visited = new Set<Certificate>();
    let level = [leaf];
    for (let depth = 0; level.length > 0; depth++) {
      const issuers = level.flatMap((child) =>
        this.#issuersOf(child, this.#trustedBySubject, budget)
      );
      if (budget.signatures < 0) return null;
      const authority = this.#trustedCertificates.find((certificate) =>
        issuers.includes(certificate) && allowsDepth(certificate, depth) &&
        isForPurpose(certificate, purpose)
      );
      if (authority !== undefined) return describeAuthority(authority);
      const nextLevelIssuers = level.flatMap((child) => this.#issuersOf(child, signers, budget))
        .filter((certificate) => !visited.has(certificate) && allowsDepth(certificate, depth));
      level = [...new Set(nextLevelIssuers)];
      for (const certificate of level) visited.add(certificate);
    }
    return null;
  }

  /** Returns the certificates whose key has signed `child`: all of them have the same key. */
  #issuersOf(
    child: Certificate,
    certificatesBySubject: CertificatesBySubject,
    budget: { signatures: number },
  ): readonly Certificate[] {
    const candidates = certificatesBySubject.get(child.issuerDer);
    if (candidates === undefined) return [];
    const cachedSigner = this.#cachedSigners.get(child.certificate256);
    const keyIdHint = child.authorityKeyId;
    const isLikely = ([key256, [firstIssuer]]: readonly [string, readonly Certificate[]]) =>
      key256 === cachedSigner || (keyIdHint !== null && firstIssuer!.subjectKeyId === keyIdHint);
    const candidatesByKey = [...Map.groupBy(candidates, ({ publicKey256 }) => publicKey256)];
    const orderedCandidates = [
      ...candidatesByKey.filter(isLikely),
      ...candidatesByKey.filter((entry) => !isLikely(entry)),
    ];
    for (const [key256, issuers] of orderedCandidates) {
      if (key256 === cachedSigner) return issuers;
      const key = publicKeyOf(issuers[0]!);
      if (key === null) continue;
      if (--budget.signatures < 0) return [];
      if (!verifySignature(child, key)) continue;
      this.#cachedSigners.set(child.certificate256, key256);
      evictOldest(this.#cachedSigners, MAX_CACHED_SIGNERS);
      return issuers;
    }
    return [];
  }
}

export function groupBySubject(certificates: Iterable<Certificate>): CertificatesBySubject {
  return Map.groupBy(certificates, ({ subjectDer }) => subjectDer);
}

function readIfValid(der: Uint8Array): Certificate[] {
  try {
    return [readCertificate(der)];
  } catch (error) {
    if (error instanceof RangeError) return [];
    throw error;
  }
}

function maySignOthers(certificate: Certificate, purpose: Purpose): boolean {
  const { version, isAuthority, maySignCertificates, uncheckedExtension } = certificate;
  return version === 3 && isAuthority && maySignCertificates && uncheckedExtension === null &&
    isForPurpose(certificate, purpose) &&
    findValidityProblem(certificate, Date.now()) === null;
}

/**
 * Reports whether an authority may have `depth` authorities below it in a path (RFC 5280 §4.2.1.9).
 */
function allowsDepth({ pathLength }: Certificate, depth: number): boolean {
  return pathLength === null || pathLength >= depth;
}

/** Reports whether an authority may issue certificates for a purpose (RFC 5280 §4.2.1.12). */
function isForPurpose({ purposes }: Certificate, purpose: Purpose): boolean {
  return purposes === null || purposes.includes(PURPOSE[purpose]) ||
    purposes.includes(ANY_PURPOSE);
}

const certificateCache = new Map<string, Certificate>();

/**
 * The result is shared and must not be changed. The caller checks whether it is valid and trusted.
 */
export function readCertificate(der: Uint8Array): Certificate {
  if (der.length > MAX_CACHED_CERTIFICATE_BYTES) return parseCertificate(der);
  const certificate = certificateCache.getOrInsertComputed(
    der.toHex(),
    () => parseCertificate(der),
  );
  evictOldest(certificateCache, MAX_CACHED_CERTIFICATES);
  return certificate;
}
