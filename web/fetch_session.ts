/**
 * The session of a request from a fetch-style server, which exposes no connections.
 *
 * @module
 */

import type { Socket } from "../base/app/app.ts";
import { ConnectionClosedError } from "../base/errors.ts";
import {
  abortSession,
  disposeStore,
  endSession,
  ownSession,
  Session,
  type SessionOwner,
} from "../base/app/session.ts";
import type { Logger } from "../net/standard_logger.ts";
import { messageOf, stackOf } from "../net/thrown.ts";

/** The second argument of a fetch-style handler, as `Deno.serve` passes it. */
export interface PeerInfo {
  /** The address of the peer. */
  readonly remoteAddr?: Deno.Addr | undefined;
}

/**
 * The session of one request. Its signal follows that of the request, but listens only once it is
 * requested.
 */
export class FetchSession implements SessionOwner {
  /** The session as an app sees it. */
  readonly session: Session;
  readonly #request: Request;
  readonly #logger: Pick<Logger, "error">;
  readonly #closing = Promise.withResolvers<never>();
  #unfollow: () => void = () => {};

  /** Makes the session of a request. */
  constructor(request: Request, { remoteAddr }: PeerInfo, logger: Pick<Logger, "error">) {
    this.session = makeSession(remoteAddr);
    this.#request = request;
    this.#logger = logger;
    ownSession(this.session, this);
    // It may be closed while nothing waits for it.
    this.closed.catch(() => {});
  }

  /** Rejects with the reason when the app closes the session. */
  get closed(): Promise<never> {
    return this.#closing.promise;
  }

  /** Throws the reason if the app has closed the session. */
  throwIfClosed(): void {
    if (this.session.message !== null) this.session.signal.throwIfAborted();
  }

  /** Makes the signal of the session follow that of the request. */
  signalWanted(): void {
    const { signal } = this.#request;
    const abort = () => abortSession(this.session, () => signal.reason);
    if (signal.aborted) return abort();
    signal.addEventListener("abort", abort);
    this.#unfollow = () => signal.removeEventListener("abort", abort);
  }

  /** The app closed the session. */
  sessionClosed(reason: unknown): void {
    if (this.session.message !== null) return;
    this.#end(`closed by the app: ${messageOf(reason)}`, () => reason);
    this.#closing.reject(reason);
  }

  #end(message: string, makeReason: () => unknown): void {
    this.#unfollow();
    endSession(this.session, message);
    abortSession(this.session, makeReason);
  }

  /**
   * Ends the session, and disposes of what the app stored for it, like our own server. Never throws: a
   * finished response must not be lost.
   */
  finish(): void {
    const { session } = this;
    const message = "a session has one request where it comes from fetch";
    this.#end(message, () => new ConnectionClosedError(`the session has ended: ${message}`));
    disposeStore(session, (error) => {
      this.#logger.error(`${session}: an error of session.store: ${stackOf(error)}`);
    });
  }
}

function makeSession(remoteAddr: Deno.Addr | undefined): Session {
  if (remoteAddr === undefined || !("hostname" in remoteAddr)) {
    return new Session("fetch", null, 1);
  }
  const { hostname, port } = remoteAddr;
  const host = hostname.includes(":") ? `[${hostname}]` : hostname;
  return new Session(`${host}:${port}`, [hostname, port], 1);
}

/** What is known about the connection, which can't be read or written. */
export function makeSocket({ remoteAddr }: PeerInfo): Socket {
  const refuse = () =>
    Promise.reject(new TypeError("a handler of fetch requests has no socket to read or write"));
  return { read: refuse, write: refuse, close() {}, remoteAddr };
}
