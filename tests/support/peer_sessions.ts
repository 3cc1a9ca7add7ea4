/** Sessions with peers that are not recorded, for calls of apps without a server. */

import type { Peer } from "@degu/degu/device";
import { mkSession } from "@degu/degu/misc";
import type { Session } from "@degu/degu/server";
import type { PeerCertificate } from "@degu/degu/base";
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

/** Makes a session of a client with a key, issued by an authority. */
export function makeKeySession(
  key: string,
  authority: string | null,
  isTrusted?: () => Promise<boolean>,
): Session {
  const certificate = {
    ...{ subject: "", fingerprint256: crypto.randomUUID(), raw: new Uint8Array() },
    ...{ issuer: "", subjectAltNames: [], validFrom: new Date(0), validTo: new Date(0) },
  };
  const peerCertificate: PeerCertificate = {
    ...certificate,
    publicKey256: key,
    authority: authority === null ? null : { ...certificate, publicKey256: authority },
  };
  return mkSession({
    logName: "peer",
    peerCertificate,
    ...isTrusted && { user: "peer", isTrusted },
  });
}

function makePeer(name: string): Peer {
  const id = formatDeviceId(createHash("sha256").update(name).digest());
  return { id, name, addresses: [], pairedAt: new Date(0), ca: "" };
}
