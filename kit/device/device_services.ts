import type { DeviceIdentity } from "../identity/device_identity.ts";
import type { Logger } from "../../net/logger.ts";
import type { PeerStore } from "./peer_store.ts";
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
  readonly logger: Logger;
  /** Aborted when the device is disposed of. */
  readonly closing: AbortSignal;
}
