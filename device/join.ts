/**
 * Joining a device that has invited this one.
 *
 * @module
 */

import { DeguError } from "../base/errors.ts";
import type { Address } from "../base/session.ts";
import type { DeviceParts } from "./parts.ts";
import type { Peer } from "./peer.ts";

/** Options of joining. */
export interface JoinOptions {
  peerName?: string | undefined;
  serving?: Address[] | undefined;
  signal?: AbortSignal | undefined;
}

/** Pairs with the device that a line is from. */
export function joinDevice(
  _parts: DeviceParts,
  _line: string,
  _options: JoinOptions,
): Promise<Peer> {
  return Promise.reject(new DeguError("Not built yet"));
}
