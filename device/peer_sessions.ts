/**
 * Which peer a session belongs to.
 *
 * @module
 */

import { typeName } from "../base/errors.ts";
import { nameUser, Session } from "../base/app/session.ts";
import { deviceId } from "./device_id.ts";
import type { Peer } from "./peer.ts";
import type { PeerStore } from "./peer_store.ts";

interface Known {
  readonly store: PeerStore;
  /** The peer as it was when it connected. */
  readonly peer: Peer;
}

const sessions = new WeakMap<Session, Known>();

/** Records which peer a session belongs to. For servers. */
export function rememberPeer(session: Session, store: PeerStore, peer: Peer): void {
  sessions.set(session, { store, peer });
  nameUser(session, () => peerOf(session).name);
}

/** The id of the device whose authority has vouched for the peer of a session; `null` without one. */
export function idOfSession({ peerCertificate }: Session): string | null {
  const authority = peerCertificate?.authority ?? null;
  if (authority === null) return null;
  return deviceId(Uint8Array.fromHex(authority.publicKey256.replaceAll(":", "")));
}

/**
 * Returns the peer of a session of a {@linkcode DeviceServer}: identified by the authority that has signed its
 * certificate, never by a name in it. It is as it was last read, even after it was forgotten.
 *
 * @param session A session of a device's server.
 * @throws {TypeError} if the session belongs to another server.
 *
 * @example An app that knows who asks
 * ```ts
 * import { type App, peerOf } from "@degu/degu/device";
 *
 * const app: App = (_request, session) => [200, "OK", { "x-peer": peerOf(session).name }, null];
 * ```
 */
export function peerOf(session: Session): Peer {
  if (!(session instanceof Session)) {
    throw new TypeError(`session: need a session; got ${typeName(session)}`);
  }
  const known = sessions.get(session);
  if (known === undefined) {
    throw new TypeError("session: need one of a DeviceServer; this one is of another server");
  }
  return known.store.current.find(({ id }) => id === known.peer.id) ?? known.peer;
}
