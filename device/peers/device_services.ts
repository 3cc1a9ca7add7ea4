import type { makeSafeLogger } from "../../base/app/logger.ts";
import type { DeviceIdentity } from "../identity/device_identity.ts";
import type { Peer } from "./peer_file.ts";
import type { Pairing, PeerStore } from "./peer_store.ts";
import type { ServingRecords } from "./serving_records.ts";
import type { TrustSignals } from "./trust_signals.ts";

export interface DeviceServices {
  readonly name: string;
  readonly identity: DeviceIdentity;
  readonly peers: PeerStore;
  readonly trustSignals: TrustSignals;
  readonly servingRecords: ServingRecords;
  readonly logger: ReturnType<typeof makeSafeLogger>;
  readonly closeSignal: AbortSignal;
}

/**
 * The longest wait for servers of other processes. Servers read the peers more than twice a second,
 * and a stopped server must not delay a pairing for longer.
 */
const MAX_REFRESH_WAIT_MILLISECONDS = 1500;

/**
 * Waits, for a limited time, until the servers of this device in all processes have read the
 * peers, so that they don't refuse the first request of the new peer.
 */
export async function storePairing(
  { peers, servingRecords, closeSignal }: DeviceServices,
  pairing: Pairing,
): Promise<Peer> {
  const waitForServers = await servingRecords.watch();
  const peer = await peers.record(pairing);
  await waitForServers(MAX_REFRESH_WAIT_MILLISECONDS, closeSignal);
  return peer;
}
