/**
 * The session of a request that came from fetch, which knows no connections.
 *
 * @module
 */

import type { Socket } from "../base/app.ts";
import { disposeStore, endSession, Session } from "../base/session.ts";
import type { Logger } from "../net/server_connection.ts";

/** What a server of fetch-style handlers tells beside the request; `Deno.serve` does. */
export interface PeerInfo {
  /** The address of the peer. */
  readonly remoteAddr?: Deno.Addr | undefined;
}

/** Where is told what fails after there is a response; a server's logger fits, and so does `console`. */
export type ErrorLogger = Pick<Logger, "error">;

/** Makes the session of one request. */
export function makeSession(remoteAddr: Deno.Addr | undefined): Session {
  if (remoteAddr === undefined || !("hostname" in remoteAddr)) {
    return new Session("fetch", null, 1);
  }
  const { hostname, port } = remoteAddr;
  const host = hostname.includes(":") ? `[${hostname}]` : hostname;
  return new Session(`${host}:${port}`, [hostname, port], 1);
}

/** What is known of the connection. There is none that could be read or written. */
export function makeSocket({ remoteAddr }: PeerInfo): Socket {
  const refuse = () =>
    Promise.reject(new TypeError("a handler of fetch requests has no socket to read or write"));
  return { read: refuse, write: refuse, close() {}, remoteAddr };
}

/**
 * Ends a session, and gives up what the application has kept for it, as our own server does. Never
 * throws: a response that is finished is not lost.
 */
export function finishSession(session: Session, logger: ErrorLogger): void {
  endSession(session, "a session has one request where it comes from fetch");
  disposeStore(session, (error) => {
    const text = error instanceof Error ? error.stack ?? String(error) : Deno.inspect(error);
    logger.error(`${session}: an error of session.store: ${text}`);
  });
}
