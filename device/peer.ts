/**
 * A paired device.
 *
 * @module
 */

import type { Address } from "../base/address_rules.ts";

/** A device that this one is paired with, as it was last read. */
export interface Peer {
  /**
   * SHA-256 of the public key of its authority, in base32: 52 characters. It does not change as long as the device
   * keeps its identity, and no other device can have it.
   */
  readonly id: string;
  /** Its name on this device; unique among the peers, ignoring case. */
  readonly name: string;
  /** Where it can be reached, as far as that is known. */
  readonly addresses: readonly Address[];
  /** When the two were last paired. */
  readonly pairedAt: Date;
  /** Its authority's certificate, as PEM text. */
  readonly certificate: string;
}
