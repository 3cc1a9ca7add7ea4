/**
 * What is known of a paired device.
 *
 * @module
 */

import type { Address } from "../base/session.ts";

/** A device that this one is paired with, as it was last read. */
export interface Peer {
  /**
   * SHA-256 of the public key of its authority, in base32: 52 characters. It stays as long as the device
   * keeps its identity, and nobody else can have it.
   */
  readonly id: string;
  /** What it is called here; unique among the peers of this device, without regard to case. */
  readonly name: string;
  /** Where it can be reached, as far as that is known. */
  readonly addresses: readonly Address[];
  /** When the two were paired, the last time. */
  readonly pairedAt: Date;
  /** Its authority's certificate, as PEM text. */
  readonly certificate: string;
}
