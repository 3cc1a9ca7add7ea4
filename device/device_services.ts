/**
 * What the parts of a device have in common.
 *
 * @module
 */

import type { Logger } from "../net/standard_logger.ts";
import type { Authority } from "../identity/authority.ts";
import type { PeerStore } from "./peer_store.ts";

/** What pairing needs from the device. */
export interface DeviceParts {
  /** The name that the user gave the device. */
  readonly name: string;
  /** The id of the device. */
  readonly id: string;
  /** The device's own authority. */
  readonly authority: Authority;
  /** The device's certificate and key, as PEM text, as they are now. */
  sslconfig(): { cert: string; key: string };
  /** The devices that it is paired with. */
  readonly peers: PeerStore;
  /** The logger; its methods never throw. */
  readonly logger: Logger;
  /** Aborted when the device is disposed of. */
  readonly closing: AbortSignal;
}
