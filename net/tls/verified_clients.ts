/**
 * Which certificates of clients were verified in this process, for sessions that are resumed.
 *
 * The tickets of all TLS servers in a process are encrypted with one key, and a resumed session brings its
 * certificate along, which is not verified again. So a client that another server has accepted, with other
 * authorities or with none, would be accepted everywhere, and one that was accepted once, forever.
 *
 * @module
 */

import { forgetOldest } from "../../base/forget_oldest.ts";

/** How many are remembered; resuming a session with any other certificate is refused. */
const MAX_VERIFIED = 10_000;

/** Certificates, each with the keys of the authorities that vouched for it. */
class VerifiedCertificates {
  /** The SHA-256 of each key, by the SHA-256 of the certificate; the most recently used last. */
  readonly #vouchers = new Map<string, Set<string>>();

  /** Remembers that the authority with this key was found to have vouched for a certificate. */
  add(fingerprint256: string, publicKey256: string): void {
    const vouchers = this.vouchersOf(fingerprint256);
    this.#vouchers.set(fingerprint256, vouchers.add(publicKey256));
    forgetOldest(this.#vouchers, MAX_VERIFIED);
  }

  /** The keys of the authorities that vouched for a certificate; none if it was never verified. */
  vouchersOf(fingerprint256: string): Set<string> {
    const vouchers = this.#vouchers.get(fingerprint256);
    if (vouchers === undefined) return new Set();
    // Re-inserted as the most recently used.
    this.#vouchers.delete(fingerprint256);
    this.#vouchers.set(fingerprint256, vouchers);
    return vouchers;
  }
}

/** Shared by the process: what was verified outlives the context that it was verified with. */
export const verifiedClients: VerifiedCertificates = new VerifiedCertificates();
