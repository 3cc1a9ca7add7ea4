import type { HostAddress, ScopedAddress } from "../base/address.ts";
import type { PeerCertificate } from "../base/app/session.ts";

/**
 * Identifies a peer by its key, otherwise by its host. All peers of a Unix socket without a key
 * count as one.
 */
export function peerKeyOf(
  certificate: PeerCertificate | null,
  address: HostAddress | ScopedAddress | null,
): string {
  return certificate?.publicKey256 ?? address?.[0] ?? "";
}

/** Returns the key that more than half of the items have; `null` if there is none. */
export function findMajorityKey<T>(items: readonly T[], keyOf: (item: T) => string): string | null {
  // The algorithm of Boyer and Moore: each other key takes one from the count of the candidate.
  let candidateKey = "";
  let count = 0;
  for (const item of items) {
    const key = keyOf(item);
    if (count === 0) candidateKey = key;
    count += key === candidateKey ? 1 : -1;
  }
  const candidateCount = items.filter((item) => keyOf(item) === candidateKey).length;
  return candidateCount * 2 > items.length ? candidateKey : null;
}

/** Returns the items with the key that more than half of them have; otherwise all items. */
export function listMajority<T>(items: readonly T[], keyOf: (item: T) => string): readonly T[] {
  const majorityKey = findMajorityKey(items, keyOf);
  return majorityKey === null ? items : items.filter((item) => keyOf(item) === majorityKey);
}
