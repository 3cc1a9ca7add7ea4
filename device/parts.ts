/**
 * What the parts of a device share.
 *
 * @module
 */

import type { Logger } from "../net/server_connection.ts";
import type { Authority } from "./authority.ts";
import type { PeerStore } from "./peer_store.ts";

/** What pairing has to know of the device. */
export interface DeviceParts {
  /** The name that a person gave to the device. */
  readonly name: string;
  /** The id of the device. */
  readonly id: string;
  /** The device's own authority. */
  readonly authority: Authority;
  /** The device's certificate and key, as PEM text, as they are now. */
  sslconfig(): { cert: string; key: string };
  /** Those that the device is paired with. */
  readonly peers: PeerStore;
  /** Where to tell what happens; its methods never throw. */
  readonly logger: Logger;
  /** Is aborted when the device is disposed of. */
  readonly closing: AbortSignal;
}
