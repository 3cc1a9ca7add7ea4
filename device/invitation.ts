/**
 * Invitations.
 *
 * @module
 */

import { DeguError } from "../base/errors.ts";
import type { Address } from "../base/session.ts";
import type { DeviceParts } from "./parts.ts";
import type { Peer } from "./peer.ts";

/** Options of an invitation. */
export interface InviteOptions {
  listen?: Address[] | undefined;
  serving?: Address[] | undefined;
  seconds?: number | undefined;
  peerName?: string | undefined;
}

/** An invitation that is open. */
export interface Invitation extends AsyncDisposable {
  readonly line: string;
  readonly expires: Date;
  readonly paired: Promise<Peer>;
  close(): Promise<void>;
}

/** Opens an invitation. */
export function openInvitation(_parts: DeviceParts, _options: InviteOptions): Promise<Invitation> {
  return Promise.reject(new DeguError("Not built yet"));
}
