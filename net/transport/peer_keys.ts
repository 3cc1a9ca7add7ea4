import type { HostAddress, ScopedAddress } from "../../base/address.ts";
import type { PeerCertificate } from "../../base/app/session.ts";

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
  const isMajority = ([, group]: [string, T[]]) => group.length * 2 > items.length;
  return Map.groupBy(items, keyOf).entries().find(isMajority)?.[0] ?? null;
}

/** Returns the items with the key that more than half of them have; otherwise all items. */
export function listMajority<T>(items: readonly T[], keyOf: (item: T) => string): readonly T[] {
  return Map.groupBy(items, keyOf).values().find(({ length }) => length * 2 > items.length) ??
    items;
}
