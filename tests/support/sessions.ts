/** The arguments with which a server calls an app, for calls without a server. */

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
import { ResponseError, type Session } from "@degu/degu/server";

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

/** Describes the trust in a peer at this moment by one word. */
export async function describeTrust(session: Session): Promise<string> {
  if (session.user === null && session.peerCertificate === null) return "anonymous";
  try {
    return await session.ifTrusted(() => "trusted");
  } catch (error) {
    if (error instanceof ResponseError && `${error.response}`.startsWith("403,")) {
      return "untrusted";
    }
    throw error;
  }
}
