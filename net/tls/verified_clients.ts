/**
 * Which certificates of clients were verified in this process, for sessions that are resumed.
 *
 * The tickets of all TLS servers in a process are sealed with one key, and a resumed session brings
 * along its certificate without it being verified again. So what another server has let in, with other
 * authorities or with none, would be let in everywhere, and what was let in once, for ever.
 *
 * @module
 */

import { forgetOldest } from "./forget_oldest.ts";

/** So many are remembered, the latest ones; resuming a session with any other is refused. */
const MAX_VERIFIED = 10_000;

/** Certificates, each with the keys of the authorities that have vouched for it. */
class VerifiedCertificates {
  /** By the SHA-256 of the certificate the SHA-256 of each key; the latest last. */
  readonly #vouchers = new Map<string, Set<string>>();

  /** Remembers that the authority with this key was found to have vouched for a certificate. */
  add(fingerprint256: string, publicKey256: string): void {
    const vouchers = this.vouchersOf(fingerprint256);
    this.#vouchers.set(fingerprint256, vouchers.add(publicKey256));
    forgetOldest(this.#vouchers, MAX_VERIFIED);
  }

  /** The keys of those who have vouched for a certificate; none where it was never verified. */
  vouchersOf(fingerprint256: string): Set<string> {
    const vouchers = this.#vouchers.get(fingerprint256);
    if (vouchers === undefined) return new Set();
    // It is among the latest again.
    this.#vouchers.delete(fingerprint256);
    this.#vouchers.set(fingerprint256, vouchers);
    return vouchers;
  }
}

/** Those of this process: what was verified outlives the context that it was verified with. */
export const verifiedClients: VerifiedCertificates = new VerifiedCertificates();
