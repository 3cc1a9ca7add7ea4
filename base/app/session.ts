/** Sessions: the knowledge of a server about a connection. */

import type { HostAddress, ScopedAddress } from "../address.ts";
import { ConnectionClosedError } from "../errors.ts";
import { checkInternal, type InternalArgument } from "../internal_argument.ts";
import { isTrustedBy, type PeerIdentity } from "./peer_identity.ts";

/** The trusted certificate that vouched for a peer. */
export interface PeerAuthority {
  /** The distinguished name, a line per attribute. A name is only as trustworthy as its issuer. */
  readonly subject: string;
  /** The SHA-256 of the whole certificate: `AB:CD:…`. */
  readonly fingerprint256: string;
  /** The SHA-256 of the SubjectPublicKeyInfo: `AB:CD:…`. */
  readonly publicKey256: string;
  /** The certificate itself, in DER. */
  readonly raw: Uint8Array<ArrayBuffer>;
}

/** A peer's verified certificate. */
export interface PeerCertificate {
  /** The distinguished name of the subject, a line per attribute: `CN=name`. */
  readonly subject: string;
  /** The distinguished name of the issuer. */
  readonly issuer: string;
  /** The names that the certificate is for: `DNS:example.com`, `IP Address:127.0.0.1`. */
  readonly subjectAltNames: string[];
  /** The SHA-256 of the whole certificate: `AB:CD:…`. Changes when the certificate is renewed. */
  readonly fingerprint256: string;
  /**
   * The SHA-256 of the SubjectPublicKeyInfo: `AB:CD:…`. A renewed certificate with the same key has
   * the same value.
   */
  readonly publicKey256: string;
  /**
   * The trusted certificate that vouched for this one: the end of the shortest valid path, and of
   * equally short paths the first in the given order. The path is found by signatures, never by
   * names. `null` only if Deno's default store is trusted.
   */
  readonly authority: PeerAuthority | null;
  /** The first moment at which the certificate is valid. */
  readonly validFrom: Date;
  /** The last moment at which the certificate is valid. */
  readonly validTo: Date;
  /** The certificate itself, in DER. */
  readonly raw: Uint8Array<ArrayBuffer>;
}

/** The owner of a session's connection, which is told how the app uses the session. */
export interface SessionOwner {
  /** Called whenever the app asks for the signal, which must be aborted when the peer leaves. */
  signalWanted(): void;
  /** Called when the app has closed the session, so that the connection must end now. */
  sessionClosed(reason: unknown): void;
  /** Called with a line for the log that the peer has caused, and its error, if there is one. */
  peerCaused(line: string, error?: unknown): void;
  /** Reports whether the server would still accept the peer's certificate. */
  isPeerTrusted(): boolean;
}

/** The name of the functions of sessions that only this package can call. */
const INTERNALS: unique symbol = Symbol("internals");

interface SessionInternals {
  /** Counts an answered request; returns the new count. For servers. */
  countRequest(session: Session): number;
  /** Records the reason why a session ended; only the first reason counts. For servers. */
  endSession(session: Session, message: string): void;
  /**
   * Aborts the signal of a session; only the first call counts. The reason is made once somebody
   * can see it. For servers.
   */
  abortSession(session: Session, makeReason: () => unknown): void;
  /** Sets the owner of the connection of a session. For servers. */
  ownSession(session: Session, owner: SessionOwner): void;
  /**
   * Gives a session the name of its peer. The session ends with the trust in the identity, and
   * {@linkcode Session.prototype.isTrusted} asks for it. For servers.
   */
  identifyPeer(session: Session, identity: PeerIdentity): void;
  /** Makes a session depend on the trust in one more identity of its peer, whatever its name. */
  addTrust(session: Session, identity: PeerIdentity): void;
  /** Lets the signals of a session's identities no longer end it. */
  releaseTrust(session: Session): void;
  /**
   * Writes a line that the peer has caused to the log of the session's server, if it has one. For
   * apps without a logger of their own.
   */
  tellServer(session: Session, line: string, error?: unknown): void;
}

/**
 * A connection to a server, as its app sees it. Every request of the connection has the same
 * session.
 */
export class Session {
  /** The address of the peer; `null` for Unix sockets and abstract names, which have none. */
  readonly address: HostAddress | ScopedAddress | null;
  /** The number of requests that the connection may make. */
  readonly maxRequests: number;
  /**
   * Values that an app keeps for the connection. Behind a proxy, many clients share a connection:
   * what belongs to a request, such as its user, is kept in `request.store`. When the connection
   * has ended and the app has returned, every value with `[Symbol.dispose]`, or else with
   * `[Symbol.asyncDispose]`, is disposed of, the last first.
   */
  readonly store: Map<string, unknown> = new Map();
  /** The verified certificate of the peer; `null` if it has none. */
  readonly peerCertificate: PeerCertificate | null;
  readonly #name: string;
  #requests = 0;
  #message: string | null = null;
  // The controller is made on demand: few apps use the signal, and it costs more than the session.
  #aborting: AbortController | null = null;
  #makeAbortReason: (() => unknown) | null = null;
  #owner: SessionOwner | null = null;
  /** The identity whose name is that of the peer. */
  #identity: PeerIdentity | null = null;
  /** The identities that must all be trusted; `null` for none, as in most sessions. */
  #identities: PeerIdentity[] | null = null;
  /** Removes the listeners of the signals of these identities. */
  #releaseController: AbortController | null = null;

  /** @internal */
  constructor(
    internal: InternalArgument<null>,
    name: string,
    address: HostAddress | ScopedAddress | null,
    maxRequests: number,
    peerCertificate: PeerCertificate | null = null,
  ) {
    checkInternal(internal, "Session", 'callApp() of "@degu/degu/misc", with its option session');
    this.#name = name;
    this.address = address;
    this.maxRequests = maxRequests;
    this.peerCertificate = peerCertificate;
  }

  /**
   * The name of the peer, which `onConnect` or a server of devices has given; `null` for none. An
   * access log shows it.
   */
  get user(): string | null {
    return this.#identity?.user ?? null;
  }

  /**
   * Asks whether the peer is trusted at this moment: its authority by the server, and its identity
   * by the `onConnect` that gave it. An app asks right before a step that can't be undone, such as
   * the rename at the end of an upload. True if neither can change. Never rejects.
   *
   * @example Accept a key as long as it is on a list
   * ```ts
   * import { type App, Client, reply, Server } from "@degu/degu";
   * import { assertEquals } from "@std/assert";
   *
   * const users = new Map([["127.0.0.1", "anna"]]);
   * const app: App = {
   *   onConnect({ address }) {
   *     const user = users.get(`${address?.[0]}`);
   *     if (user === undefined) return false;
   *     return { user, isTrusted: () => users.get(`${address?.[0]}`) === user };
   *   },
   *   handle: async (_request, session) => {
   *     return await session.isTrusted() ? reply(200, `hello, ${session.user}`) : reply(403);
   *   },
   * };
   * await using server = await Server.start(["127.0.0.1", 0], app);
   * using conn = await new Client(server.address).connect();
   * assertEquals(await (await conn.get("/")).text(), "hello, anna");
   * users.clear();
   * assertEquals((await conn.get("/")).status, 403);
   * ```
   */
  async isTrusted(): Promise<boolean> {
    if (this.#owner?.isPeerTrusted() === false) return false;
    for (const identity of this.#identities ?? []) {
      if (!await isTrustedBy(identity)) return false;
    }
    return true;
  }

  /** The number of answered requests. */
  get requests(): number {
    return this.#requests;
  }

  /** The reason why the connection ended; `null` while the connection is open. */
  get message(): string | null {
    return this.#message;
  }

  /**
   * Aborted when the session ends, and within a second after the peer closes or resets its
   * connection, even while the app processes a request or runs `onConnect`. The abort reason is the
   * reason given to {@linkcode Session.prototype.close}, or an error that describes the end.
   *
   * A peer that closes only its writing side counts as gone, because both look the same; a response
   * that the app returns nevertheless is sent. A body of unknown length that is being sent is
   * canceled. A departure is detected only while at most 64 KiB of the peer's bytes are unread.
   *
   * A listener must not throw: nothing catches the error, and the process would end.
   */
  get signal(): AbortSignal {
    if (this.#aborting === null) {
      this.#aborting = new AbortController();
      if (this.#makeAbortReason !== null) this.#aborting.abort(this.#makeAbortReason());
    }
    if (this.#makeAbortReason === null) this.#owner?.signalWanted();
    return this.#aborting.signal;
  }

  /**
   * Ends the session now, even in the middle of a message: operations that wait for its connection
   * (the body of a request, the response that is being sent) reject with the reason, and nothing
   * more is sent. A call in `onConnect` refuses the peer, whatever `onConnect` returns. A call
   * after the end of the session has no effect; the last response that was sent still arrives.
   *
   * @param reason The abort reason of {@linkcode Session.prototype.signal}; by default a
   * `ConnectionClosedError`.
   *
   * @example End the sessions of one peer
   * ```ts
   * import { Client, EmptyPreambleError, Server } from "@degu/degu";
   * import { assertEquals, assertRejects } from "@std/assert";
   *
   * await using server = new Server(["127.0.0.1", 0], () => [204, "No Content", {}, null]);
   * server.serveForever();
   * using conn = await new Client(server.address).connect();
   * await conn.get("/");
   *
   * for (const session of server.sessions) {
   *   if (session.address?.[0] === "127.0.0.1") session.close(new Error("no longer wanted"));
   * }
   * assertEquals(server.sessions.size, 0);
   * await assertRejects(() => conn.get("/"), EmptyPreambleError);
   * ```
   */
  close(reason?: unknown): void {
    const given = reason ?? new ConnectionClosedError("the session was closed by its app");
    if (this.#owner !== null) return this.#owner.sessionClosed(given);
    endSession(this, "closed by the app");
    abortSession(this, () => given);
  }

  /** The name of the session in logs: the peer's address, or for Unix `<path or name>#<count>`. */
  toString(): string {
    return this.#name;
  }

  /** @internal */
  static readonly [INTERNALS]: SessionInternals = {
    countRequest: (session) => ++session.#requests,
    endSession: (session, message) => {
      session.#message ??= message;
    },
    abortSession: (session, makeReason) => {
      if (session.#makeAbortReason !== null) return;
      session.#makeAbortReason = makeReason;
      session.#aborting?.abort(makeReason());
    },
    ownSession: (session, owner) => {
      session.#owner = owner;
    },
    identifyPeer: (session, identity) => {
      session.#identity = identity;
      addTrust(session, identity);
    },
    addTrust: (session, identity) => {
      session.#identities ??= [];
      if (session.#identities.includes(identity)) return;
      session.#identities.push(identity);
      const { signal } = identity;
      if (signal === undefined) return;
      const close = () => session.close(signal.reason);
      session.#releaseController ??= new AbortController();
      signal.addEventListener("abort", close, { signal: session.#releaseController.signal });
      if (signal.aborted) close();
    },
    releaseTrust: (session) => session.#releaseController?.abort(),
    tellServer: (session, line, error) => {
      if (#owner in session) session.#owner?.peerCaused(line, error);
    },
  };
}

export const {
  countRequest,
  endSession,
  abortSession,
  ownSession,
  identifyPeer,
  addTrust,
  releaseTrust,
  tellServer,
} = Session[INTERNALS];

/**
 * Disposes of the values that an app stored for an ended session: connections, files, locks. Also
 * frees the session from the trust in its peer. For servers. A second call does nothing.
 *
 * @param report Called with each failure; later, if a dispose method returned a promise that
 * rejects.
 */
export function disposeStore(session: Session, report: (error: unknown) => void): void {
  releaseTrust(session);
  if (session.store.size === 0) return;
  const values = [...session.store.values()].reverse();
  session.store.clear();
  for (const value of values) {
    try {
      const given = value as Partial<Disposable & AsyncDisposable> | null | undefined;
      const isSync = typeof given?.[Symbol.dispose] === "function";
      const returned = isSync ? given[Symbol.dispose]!() : given?.[Symbol.asyncDispose]?.();
      // The type of a dispose method allows async functions, and nothing else awaits their
      // promises.
      Promise.resolve<unknown>(returned).catch(report);
    } catch (error) {
      report(error);
    }
  }
}
