/**
 * The certificates that a peer presented.
 *
 * @module
 */

import type { DetailedPeerCertificate, TLSSocket } from "node:tls";

/** Certificates in DER, the peer's own first. */
export type Chain = readonly [Uint8Array, ...Uint8Array[]];

/**
 * The certificates in DER, the peer's own first, then the others as they were sent; the TLS library may
 * add one that it trusts, by name. So only signatures show which belong together.
 *
 * @returns `null` if the peer presented none.
 */
export function presentedChain(socket: TLSSocket): Chain | null {
  const leaf = socket.getPeerX509Certificate();
  if (leaf === undefined) return null;
  const chain: [Uint8Array, ...Uint8Array[]] = [leaf.raw];
  // The one that was sent after it, whoever signed it. Most peers send none, and without `skipDescriptions`
  // asking for all of them takes longer than the other checks together.
  if (leaf.issuerCertificate === undefined) return chain;
  const seen = new Set<DetailedPeerCertificate>();
  let shown: DetailedPeerCertificate | undefined = socket.getPeerCertificate(true);
  // The last one is its own issuer.
  for (;;) {
    seen.add(shown);
    shown = shown.issuerCertificate;
    if (shown?.raw === undefined || seen.has(shown)) return chain;
    chain.push(shown.raw);
  }
}
