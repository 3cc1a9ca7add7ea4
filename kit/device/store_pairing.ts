/** The end of a pairing at either device: the other one is stored, and can connect at once. */

import type { DeviceServices } from "./device_services.ts";
import type { Pairing, Peer } from "./peer_store.ts";

/**
 * The longest wait for servers of other processes: they look at the peers more than twice in a
 * second, and one that is stopped must not hold up a pairing.
 */
const KNOWN_MILLISECONDS = 1500;

/**
 * Stores the other device; then waits, for a limited time, until the servers of all processes that
 * have this directory open know it. So the first request right after a pairing is not refused.
 */
export async function storePairing(
  { peers, serving, closing }: DeviceServices,
  pairing: Pairing,
): Promise<Peer> {
  const servers = await serving.watch();
  const peer = await peers.record(pairing);
  await servers(KNOWN_MILLISECONDS, closing);
  return peer;
}
