import type { DeviceIdentity } from "../identity/device_identity.ts";
import type { Logger } from "../net/logger.ts";
import type { PeerStore } from "./peer_store.ts";
import type { ServingRecords } from "./serving_records.ts";
import type { TrustSignals } from "./trust_signals.ts";

/** What the servers, clients and pairings of a device share. */
export interface DeviceServices {
  readonly name: string;
  /** Its authority, and its certificate as it is now. */
  readonly identity: DeviceIdentity;
  readonly peers: PeerStore;
  /** Which of them are trusted now. */
  readonly trust: TrustSignals;
  /** Where its servers listen, in all processes. */
  readonly serving: ServingRecords;
  /** The logger; its methods never throw. */
  readonly logger: Logger;
  /** Aborted when the device is disposed of. */
  readonly closing: AbortSignal;
}
