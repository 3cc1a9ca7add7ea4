/** Calls of apps without a server, with the arguments of a server. */

import {
  bodies,
  Body,
  ChunkedBody,
  ContentRange,
  type PeerCertificate,
  Range,
} from "@degu/degu/base";
import { mkreq, mkSession } from "@degu/degu/misc";
import type { Api, Socket } from "@degu/degu";
import type { Request, Session } from "@degu/degu/server";
import { streamOf } from "./streams.ts";
import { encodeLatin1 } from "./wire_grammar.ts";

/** The third argument of an app. */
export const api: Api = { ...bodies, Range, ContentRange };

/** Makes a session, by default of a client on this machine. */
export function makeSession(
  { name = "127.0.0.1:12345", address = ["127.0.0.1", 12345], peerCertificate = null }: {
    readonly name?: string;
    readonly address?: Session["address"];
    readonly peerCertificate?: PeerCertificate | null;
  } = {},
): Session {
  return mkSession({ name, address, peerCertificate });
}

/** A socket without a peer. */
export const deadSocket: Socket = {
  read: () => Promise.resolve(null),
  write: (bytes) => Promise.resolve(bytes.length),
  close: () => {},
};

/** Functions that make a request with a body of two pieces, of known length or in two chunks. */
export const uploads: Record<string, () => Request> = {
  length: () =>
    mkreq(
      "PUT",
      "/",
      { "content-length": 5 },
      new Body(streamOf(encodeLatin1("hel"), encodeLatin1("lo")), 5),
    ),
  chunked: () =>
    mkreq(
      "POST",
      "/",
      { "transfer-encoding": "chunked" },
      new ChunkedBody(streamOf(encodeLatin1("3\r\nhel\r\n"), encodeLatin1("2\r\nlo\r\n0\r\n\r\n"))),
    ),
};
