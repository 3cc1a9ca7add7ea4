/** Sessions with peers that are not recorded, for calls of apps without a server. */

import type { Peer } from "@degu/degu/device";
import { mkSession } from "@degu/degu/misc";
import type { Session } from "@degu/degu/server";
import { formatDeviceId } from "@degu/internal/device/identity/names.ts";
import { setPeerOf } from "@degu/internal/device/serve/per_peer.ts";
import { createHash } from "node:crypto";

/** Makes a session with a peer. Peers of the same name have the same id. */
export function makePeerSession(peer: Peer | string): Session {
  const storedPeer = typeof peer === "string" ? makePeer(peer) : peer;
  const session = mkSession({ user: storedPeer.name });
  setPeerOf(session, { findPeer: () => storedPeer });
  return session;
}

function makePeer(name: string): Peer {
  const id = formatDeviceId(createHash("sha256").update(name).digest());
  return { id, name, addresses: [], pairedAt: new Date(0), ca: "" };
}
