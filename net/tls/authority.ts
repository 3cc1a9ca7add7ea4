/**
 * Which of the trusted certificates has vouched for a peer. The TLS library verifies that one of them
 * has, but doesn't report which; this finds it by signatures, because two authorities can share a name.
 *
 * @module
 */

import type { PeerAuthority } from "../../base/app/session.ts";
import { forgetOldest } from "../../base/forget_oldest.ts";
import {
  ANY_PURPOSE,
  type Certificate,
  describeAuthority,
  PURPOSE,
  validityProblem,
} from "./certificate.ts";
import { type KnownCertificate, readCertificate } from "./known_certificates.ts";
import { type Verdict, verifySignature } from "./signature.ts";

/** More certificates than this are ignored; the TLS library follows far fewer. */
const MAX_CHAIN = 32;
/**
 * At most this many signatures are verified for one peer, plus two for each trusted certificate, so verifying
 * a forged chain can't take long.
 */
const MAX_SIGNATURES = 128;
/** How many certificates the cache of verified signers holds. */
const MAX_SIGNERS = 1000;

/**
 * Finds the trusted certificate that vouched for a chain: that at which the shortest valid path ends,
 * of equal ones the first. It is for chains that the TLS library has verified against the same trusted
 * certificates; the library ignores the limits that those have.
 *
 * @param chain What the peer sent, in DER, its own certificate first.
 * @param trusted The certificates that are trusted, in DER, in the order of the configuration.
 * @param purpose What the peer uses its certificate for; all authorities of the path must allow it.
 * @returns `null` if none of them is found to have vouched for it.
 * @throws {RangeError} if a trusted certificate, or the peer's own, can't be read.
 */
export function findAuthority(
  chain: readonly Uint8Array[],
  trusted: readonly Uint8Array[],
  purpose?: keyof typeof PURPOSE,
): PeerAuthority | null {
  return new Authorities(trusted).find(chain, purpose);
}

/** The certificates that one configuration trusts. */
export class Authorities {
  /** The certificates themselves, in DER, in the order of the configuration. */
  readonly certificates: readonly Uint8Array[];
  readonly #bySubject: IssuersBySubject;
  readonly #keys = new Set<string>();
  readonly #signers = new Signers();

  /**
   * Parses the certificates.
   *
   * @param certificates In DER, in the order of the configuration.
   * @throws {RangeError} if one can't be read.
   */
  constructor(certificates: readonly Uint8Array[]) {
    const issuers = certificates.map((der, index) => new Issuer(der, index));
    this.certificates = issuers.map(({ known }) => known.certificate.raw);
    this.#bySubject = Map.groupBy(issuers, ({ known }) => known.subject);
    for (const { known } of issuers) this.#keys.add(known.publicKey256);
  }

  /** Whether the key of one of them has this SHA-256, as in {@linkcode PeerAuthority}. */
  trusts(publicKey256: string): boolean {
    return this.#keys.has(publicKey256);
  }

  /** Finds the one that vouched for a chain, as {@linkcode findAuthority} does. */
  find(chain: readonly Uint8Array[], purpose?: keyof typeof PURPOSE): PeerAuthority | null {
    const search = this.#search(chain, purpose);
    return describe(search.run("yes")[0] ?? this.#onlyPossible(search));
  }

  /**
   * Finds the one that vouched for a chain which the TLS library verified against other certificates than
   * these: every signature must be certain, unless the path ends at a key that is known to have vouched for it.
   *
   * @param vouchers The keys that are known to have vouched for it.
   */
  findAgain(
    chain: readonly Uint8Array[],
    vouchers: ReadonlySet<string>,
    purpose?: keyof typeof PURPOSE,
  ): PeerAuthority | null {
    const search = this.#search(chain, purpose);
    return describe(
      search.run("yes")[0] ??
        search.run("maybe").find(({ known }) => vouchers.has(known.publicKey256)),
    );
  }

  #search(chain: readonly Uint8Array[], purpose?: keyof typeof PURPOSE): PathSearch {
    return new PathSearch(chain, this.#bySubject, this.#signers, purpose);
  }

  /**
   * The one that the TLS library's path must end at, which it found by rules that are not all known
   * here. With one trusted key it ends there; otherwise only if every certificate was examined that the
   * path may have gone over, and all ways lead to one key. None is guessed.
   */
  #onlyPossible(search: PathSearch): Issuer | undefined {
    const [possible, ...others] = search.run("maybe");
    const isAlone = this.#keys.size === 1 || (search.isComplete &&
      others.every(({ known }) => known.publicKey256 === possible?.known.publicKey256));
    return isAlone ? possible : undefined;
  }
}

function describe(issuer: Issuer | undefined): PeerAuthority | null {
  return issuer === undefined ? null : describeAuthority(issuer.known.certificate, issuer.known);
}

/**
 * Whose key has signed a certificate, once that was verified: it stays true, and finding it takes long if
 * many authorities share a name.
 */
class Signers {
  readonly #keys = new Map<string, string>();

  get(certificate256: string): string | undefined {
    return this.#keys.get(certificate256);
  }

  add(certificate256: string, publicKey256: string): void {
    this.#keys.set(certificate256, publicKey256);
    forgetOldest(this.#keys, MAX_SIGNERS);
  }
}

/** A certificate that may have signed others. */
class Issuer {
  readonly known: KnownCertificate;
  /** Its position among those that it came with. */
  readonly order: number;

  constructor(der: Uint8Array, order: number) {
    this.known = readCertificate(der);
    this.order = order;
  }
}

type IssuersBySubject = ReadonlyMap<string, readonly Issuer[]>;

/** Looks for paths from the certificate of a peer to a trusted one, the shortest first. */
class PathSearch {
  /** False if a path may go over a certificate that was ignored, or end at one whose limits exclude it. */
  isComplete: boolean;
  readonly #leaf: Issuer | null;
  readonly #between: IssuersBySubject;
  readonly #trusted: IssuersBySubject;
  readonly #signers: Signers;
  readonly #purpose: keyof typeof PURPOSE | undefined;
  /** The results so far, by certificate and key. */
  readonly #verdicts = new Map<Issuer, Map<string, Verdict>>();
  #signatures = MAX_SIGNATURES;

  constructor(
    chain: readonly Uint8Array[],
    trusted: IssuersBySubject,
    signers: Signers,
    purpose: keyof typeof PURPOSE | undefined,
  ) {
    const [leaf, ...rest] = chain.slice(0, MAX_CHAIN);
    const between = rest.flatMap((der, index) => readIssuer(der, index) ?? [])
      .filter(({ known }) => maySignOthers(known.certificate, purpose));
    this.isComplete = between.length === chain.length - 1;
    this.#leaf = leaf === undefined ? null : new Issuer(leaf, 0);
    this.#between = Map.groupBy(between, ({ known }) => known.subject);
    this.#trusted = trusted;
    this.#signers = signers;
    this.#purpose = purpose;
    for (const { length } of trusted.values()) this.#signatures += 2 * length;
  }

  /**
   * Finds the trusted certificates at which paths end: the nearest ones first, and those in their order.
   *
   * @param least The least certainty that every link of a path must have.
   */
  run(least: "yes" | "maybe"): Issuer[] {
    const found = new Set<Issuer>();
    const seen = new Set<Issuer>();
    let level = this.#leaf === null ? [] : [this.#leaf];
    for (let depth = 0; level.length > 0; depth++) {
      const ends = level.flatMap((child) => this.#issuersOf(child, this.#trusted, least));
      for (const end of ends.sort((a, b) => a.order - b.order)) {
        const { certificate } = end.known;
        if (mayFollow(certificate, depth) && isForPurpose(certificate, this.#purpose)) {
          found.add(end);
        } else {
          this.isComplete = false;
        }
      }
      const next = new Set<Issuer>();
      for (const issuer of level.flatMap((child) => this.#issuersOf(child, this.#between, least))) {
        if (!seen.has(issuer) && mayFollow(issuer.known.certificate, depth)) next.add(issuer);
      }
      for (const issuer of next) seen.add(issuer);
      level = [...next];
    }
    return this.#signatures < 0 ? [] : [...found];
  }

  /** Which of these signed a certificate: all those with one key, or several if none is certain. */
  #issuersOf(child: Issuer, among: IssuersBySubject, least: "yes" | "maybe"): Issuer[] {
    const candidates = among.get(child.known.issuer);
    if (candidates === undefined) return [];
    const possible: Issuer[] = [];
    for (const [key256, issuers] of this.#byLikelihood(child, candidates)) {
      const verdict = this.#verify(child, issuers[0]!, key256);
      if (verdict === "no") continue;
      // Other rules are left to the TLS library, which may have refused this path for one of them.
      const fit = least === "maybe"
        ? issuers
        : issuers.filter(({ known }) => !known.certificate.links.hasMoreRules);
      // No other key can have made the same signature.
      if (verdict === "yes") return fit;
      if (least === "maybe") possible.push(...fit);
    }
    return possible;
  }

  /** By key, those first that have been found or that the certificate hints at. */
  #byLikelihood(child: Issuer, candidates: readonly Issuer[]): [string, Issuer[]][] {
    const signer = this.#signers.get(child.known.certificate256);
    const hint = child.known.certificate.links.authorityKeyId?.toHex();
    const isLikely = ([key256, [first]]: [string, Issuer[]]) =>
      key256 === signer ||
      (hint !== undefined && first!.known.certificate.links.subjectKeyId?.toHex() === hint);
    const keys = [...Map.groupBy(candidates, ({ known }) => known.publicKey256)];
    return [...keys.filter(isLikely), ...keys.filter((each) => !isLikely(each))];
  }

  #verify(child: Issuer, issuer: Issuer, key256: string): Verdict {
    if (this.#signers.get(child.known.certificate256) === key256) return "yes";
    let verdicts = this.#verdicts.get(child);
    if (verdicts === undefined) this.#verdicts.set(child, verdicts = new Map());
    const known = verdicts.get(key256);
    if (known !== undefined) return known;
    const { key } = issuer.known;
    if (key !== null && --this.#signatures < 0) return "no";
    const verdict = key === null ? "no" : verifySignature(child.known.certificate, key);
    if (verdict === "yes") this.#signers.add(child.known.certificate256, key256);
    verdicts.set(key256, verdict);
    return verdict;
  }
}

/** `null` for what the peer has sent and can't be parsed. */
function readIssuer(der: Uint8Array, order: number): Issuer | null {
  try {
    return new Issuer(der, order);
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}

/** Whether a certificate that a peer sent can be an intermediate one. */
function maySignOthers(certificate: Certificate, purpose?: keyof typeof PURPOSE): boolean {
  const { version, isAuthority, links } = certificate;
  return version === 3 && isAuthority && links.maySignCertificates &&
    isForPurpose(certificate, purpose) && validityProblem(certificate, Date.now()) === null;
}

/** Whether an authority may have so many authorities below it in a path (RFC 5280 §4.2.1.9). */
function mayFollow({ links: { pathLength } }: Certificate, below: number): boolean {
  return pathLength === null || pathLength >= below;
}

/** Whether an authority may vouch for peers that use their certificate so (RFC 5280 §4.2.1.12). */
function isForPurpose({ purposes }: Certificate, purpose?: keyof typeof PURPOSE): boolean {
  return purposes === null || purpose === undefined ||
    purposes.includes(PURPOSE[purpose]) || purposes.includes(ANY_PURPOSE);
}
