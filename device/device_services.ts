/**
 * What the servers, clients and pairings of a device share, and the end of each way of pairing: the
 * other device is stored, and can connect at once.
 */

import type { SafeLogger } from "../net/logger.ts";
import type { DeviceIdentity } from "./identity/device_identity.ts";
import type { Pairing, Peer, PeerStore } from "./peer_store.ts";
import type { ServingRecords } from "./serving_records.ts";
import type { TrustSignals } from "./trust_signals.ts";

/** The services that the servers, clients and pairings of a device share. */
export interface DeviceServices {
  readonly name: string;
  /** The authority of the device, and its present certificate. */
  readonly identity: DeviceIdentity;
  readonly peers: PeerStore;
  /** The peers that are trusted now. */
  readonly trust: TrustSignals;
  /** Where its servers listen, in all processes. */
  readonly serving: ServingRecords;
  /** The logger; its methods never throw. */
  readonly logger: SafeLogger;
  /** Aborted when the device is disposed of. */
  readonly closing: AbortSignal;
}

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
