/**
 * The services that the servers, clients and pairings of a device share, and the last step of each
 * pairing.
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
  /** The addresses of its servers, in all processes. */
  readonly serving: ServingRecords;
  /** The logger; its methods never throw. */
  readonly logger: SafeLogger;
  /** Aborted when the device is disposed of. */
  readonly closing: AbortSignal;
}

/**
 * The longest wait for servers of other processes. They read the peers more than twice a second,
 * and one that is stopped must not delay a pairing for longer.
 */
const MAX_REFRESH_WAIT_MILLISECONDS = 1500;

/**
 * Stores the other device. Then waits, for a limited time, until the servers of all processes with
 * this directory have read the peers, so that they don't refuse the first request of the new peer.
 */
export async function storePairing(
  { peers, serving, closing }: DeviceServices,
  pairing: Pairing,
): Promise<Peer> {
  const waitForServers = await serving.watch();
  const peer = await peers.record(pairing);
  await waitForServers(MAX_REFRESH_WAIT_MILLISECONDS, closing);
  return peer;
}
