/** Calls of apps without a server, with the arguments of a server. */

import {
  bodies,
  ContentRange,
  type PeerCertificate,
  Range,
  SuffixRange,
  UnsatisfiedRange,
} from "@degu/degu/base";
import { mkSession } from "@degu/degu/misc";
import type { Api } from "@degu/degu";
import type { Session } from "@degu/degu/server";

/** The third argument of an app. */
export const api: Api = { ...bodies, Range, SuffixRange, ContentRange, UnsatisfiedRange };

/** Makes a session, by default of a client on this machine. */
export function makeSession(
  { name = "127.0.0.1:12345", address = ["127.0.0.1", 12345], peerCertificate = null }: {
    readonly name?: string;
    readonly address?: Session["address"];
    readonly peerCertificate?: PeerCertificate | null;
  } = {},
): Session {
  return mkSession({ logName: name, address, peerCertificate });
}
