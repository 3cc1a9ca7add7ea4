/** Sessions: the knowledge of a server about a connection. */

import type { HostAddress, ScopedAddress } from "../address.ts";
import { ConnectionClosedError } from "../errors.ts";

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

/** Counts an answered request; returns the new count. For servers. */
export let countRequest: (session: Session) => number;

/** Records the reason why a session ended; only the first reason counts. For servers. */
export let endSession: (session: Session, message: string) => void;

/**
 * Aborts the signal of a session; only the first call counts. The reason is made once somebody can
 * see it. For servers.
 */
export let abortSession: (session: Session, makeReason: () => unknown) => void;

/** The owner of a session's connection, which is told how the app uses the session. */
export interface SessionOwner {
  /** Called whenever the app asks for the signal, which must be aborted when the peer leaves. */
  signalWanted(): void;
  /** Called when the app has closed the session, so that the connection must end now. */
  sessionClosed(reason: unknown): void;
  /** Called with a line for the log that the peer has caused. */
  peerCaused(line: string): void;
}

/** Sets the function that returns the server's current name for its peer. For servers. */
export let nameUser: (session: Session, name: () => string) => void;

/** The server's name for the peer of a session; `null` for an unknown peer. */
export let userOf: (session: Session) => string | null;

/**
 * Writes a line that the peer has caused to the log of the session's server, if it has one. For
 * apps without a logger of their own.
 */
export let tellServer: (session: Session, line: string) => void;

/** Sets the owner of the connection of a session. For servers. */
export let ownSession: (session: Session, owner: SessionOwner) => void;

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
   * Values that an app keeps for the connection. When the connection has ended and the app has
   * returned, every value with `[Symbol.dispose]`, or else with `[Symbol.asyncDispose]`, is
   * disposed of, the last first.
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
  #user: (() => string) | null = null;

  /**
   * Makes a session. Servers do so; a test of an app may, too: `new Session("test", null, 10)`.
   *
   * @param name The name in logs.
   * @param address The address of the peer; `null` for Unix sockets and abstract names.
   * @param maxRequests The number of requests that the connection may make.
   * @param peerCertificate The verified certificate of the peer, or `null`.
   */
  constructor(
    name: string,
    address: HostAddress | ScopedAddress | null,
    maxRequests: number,
    peerCertificate: PeerCertificate | null = null,
  ) {
    this.#name = name;
    this.address = address;
    this.maxRequests = maxRequests;
    this.peerCertificate = peerCertificate;
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

  static {
    countRequest = (session) => ++session.#requests;
    endSession = (session, message) => session.#message ??= message;
    ownSession = (session, owner) => session.#owner = owner;
    nameUser = (session, name) => session.#user = name;
    // A test of an app may pass another object as the session.
    userOf = (session) => #user in session ? session.#user?.() ?? null : null;
    tellServer = (session, line) => {
      if (#owner in session) session.#owner?.peerCaused(line);
    };
    abortSession = (session, makeReason) => {
      if (session.#makeAbortReason !== null) return;
      session.#makeAbortReason = makeReason;
      session.#aborting?.abort(makeReason());
    };
  }
}

/**
 * Disposes of the values that an app stored for an ended session: connections, files, locks. Also
 * unties the session from the trust in its peer. For servers. A second call does nothing.
 *
 * @param report Called with each failure; later, if a dispose method returned a promise that
 * rejects.
 */
export function disposeStore(session: Session, report: (error: unknown) => void): void {
  ties.get(session)?.release();
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

/** The trust in the peer of a session. */
export interface SessionTrust {
  /** Aborted, with the reason, once the peer is not trusted any more. */
  readonly signal: AbortSignal;
  /**
   * Checks the current state, not a cached one. After a rejection the peer counts as not trusted.
   */
  confirm(): Promise<boolean>;
}

const ties = new WeakMap<Session, { readonly trust: SessionTrust; release(): void }>();

/**
 * Ties a session to the trust in its peer: the end of trust closes the session, even while
 * `onConnect` runs, and {@linkcode isStillAdmitted} asks for it. For servers whose trust can
 * change.
 */
export function tieToTrust(session: Session, trust: SessionTrust): void {
  const { signal } = trust;
  const close = () => session.close(signal.reason);
  signal.addEventListener("abort", close);
  ties.set(session, { trust, release: () => signal.removeEventListener("abort", close) });
  if (signal.aborted) close();
}

/** The trust that a session is tied to; `null` if its server trusts its peer for ever. */
export function trustOf(session: Session): SessionTrust | null {
  return ties.get(session)?.trust ?? null;
}

/**
 * Whether the peer of a session is still trusted. An app checks this right before a step that can't
 * be undone, such as the rename at the end of an upload. True for a session without ties to trust.
 * Never rejects.
 */
export async function isStillAdmitted(session: Session): Promise<boolean> {
  try {
    return await (ties.get(session)?.trust.confirm() ?? true) === true;
  } catch {
    return false;
  }
}
