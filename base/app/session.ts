/** Sessions: what a server knows about one connection. */

import type { HostAddress, ScopedAddress } from "../address.ts";
import { ConnectionClosedError } from "../errors.ts";

/** The trusted certificate that vouched for a peer. */
export interface PeerAuthority {
  /** Its distinguished name, a line per attribute. A name is only as trustworthy as its issuer. */
  readonly subject: string;
  /** The SHA-256 of the whole certificate: `AB:CD:…`. */
  readonly fingerprint256: string;
  /** The SHA-256 of its SubjectPublicKeyInfo: `AB:CD:…`. */
  readonly publicKey256: string;
  /** The certificate itself, in DER. */
  readonly raw: Uint8Array;
}

/** A peer's verified certificate. */
export interface PeerCertificate {
  /** The distinguished name of its subject, a line per attribute: `CN=name`. */
  readonly subject: string;
  /** The distinguished name of its issuer. */
  readonly issuer: string;
  /** The names it is for: `DNS:example.com`, `IP Address:127.0.0.1`. */
  readonly subjectAltNames: string[];
  /** The SHA-256 of the whole certificate: `AB:CD:…`. Changes when the certificate is renewed. */
  readonly fingerprint256: string;
  /**
   * The SHA-256 of its SubjectPublicKeyInfo: `AB:CD:…`. Stays the same if the certificate is renewed with its
   * key.
   */
  readonly publicKey256: string;
  /**
   * The trusted certificate that vouched for it: that at which the shortest valid path ends, of equal
   * ones the first of those that were given. It is found by signatures, never by names. `null` only
   * if Deno's default store is trusted.
   */
  readonly authority: PeerAuthority | null;
  /** The first moment at which it is valid. */
  readonly validFrom: Date;
  /** The last moment at which it is valid. */
  readonly validTo: Date;
  /** The certificate itself, in DER. */
  readonly raw: Uint8Array;
}

/** Counts a request that has been answered; returns how many there are now. For servers. */
export let countRequest: (session: Session) => number;

/** Records why a session ended; only the first reason counts. For servers. */
export let endSession: (session: Session, message: string) => void;

/**
 * Aborts the signal of a session; only the first call counts. The reason is made once somebody can see it. For
 * servers.
 */
export let abortSession: (session: Session, makeReason: () => unknown) => void;

/** Owns the connection of a session, and learns what the app does with the session. */
export interface SessionOwner {
  /** The signal was requested: from now on it must be aborted when the peer leaves. */
  signalWanted(): void;
  /** The app closed the session: the connection must end now. */
  sessionClosed(reason: unknown): void;
}

/** Sets what returns the name by which a server knows its peer now. For servers. */
export let nameUser: (session: Session, name: () => string) => void;

/** The name by which a server knows the peer of a session; `null` if it knows none. */
export let userOf: (session: Session) => string | null;

/** Sets the owner of the connection of a session. For servers. */
export let ownSession: (session: Session, owner: SessionOwner) => void;

/**
 * One connection to a server, as its app sees it. The same object comes with every request
 * of the connection.
 */
export class Session {
  /** The address of the peer; `null` for Unix sockets and abstract names, which have none. */
  readonly address: HostAddress | ScopedAddress | null;
  /** How many requests the connection may make. */
  readonly maxRequests: number;
  /**
   * Values that an app keeps for the connection. When the connection has ended and the app has returned,
   * every value with `[Symbol.dispose]` is disposed of, the last first.
   */
  readonly store: Map<string, unknown> = new Map();
  /** The verified certificate of the peer; `null` if it has none. */
  readonly peerCertificate: PeerCertificate | null;
  readonly #name: string;
  #requests = 0;
  #message: string | null = null;
  // Created on demand: most apps never use the signal, and it costs more than the session.
  #aborting: AbortController | null = null;
  #makeAbortReason: (() => unknown) | null = null;
  #owner: SessionOwner | null = null;
  #user: (() => string) | null = null;

  /**
   * Makes a session. A server does this; a test of an app may, too: `new Session("test", null, 10)`.
   *
   * @param name The name in logs.
   * @param address The address of the peer; `null` for Unix sockets and abstract names.
   * @param maxRequests How many requests the connection may make.
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

  /** How many requests were answered. */
  get requests(): number {
    return this.#requests;
  }

  /** Why the connection ended; `null` while it is open. */
  get message(): string | null {
    return this.#message;
  }

  /**
   * Aborted when the session ends, and within a second after the peer closes or resets its connection, even
   * while the app processes a request or runs `onConnect`. Its reason is that of
   * {@linkcode Session.prototype.close}, or an error that says how it ended.
   *
   * A peer that closes its writing side counts as gone, because it looks the same; a response that the
   * app returns nevertheless is sent. A departure is detected only while at most 64 KiB of what the peer sent
   * are unread.
   *
   * A listener must not throw: nothing catches the error, and the process would end.
   */
  get signal(): AbortSignal {
    if (this.#aborting === null) {
      this.#aborting = new AbortController();
      if (this.#makeAbortReason !== null) this.#aborting.abort(this.#makeAbortReason());
      else this.#owner?.signalWanted();
    }
    return this.#aborting.signal;
  }

  /**
   * Ends the session now, whatever it is doing: what waits for its connection (the body of a request,
   * the response that is being sent) rejects with the reason, and nothing more is sent. Called in
   * `onConnect`, it refuses the peer, whatever `onConnect` returns. Once the session has ended it has no
   * effect; the last response that was sent still arrives.
   *
   * @param reason What {@linkcode Session.prototype.signal} is aborted with; by default a
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
    // It may be what a test of an app has in place of one.
    userOf = (session) => #user in session ? session.#user?.() ?? null : null;
    abortSession = (session, makeReason) => {
      if (session.#makeAbortReason !== null) return;
      session.#makeAbortReason = makeReason;
      session.#aborting?.abort(makeReason());
    };
  }
}

/**
 * Disposes of what an app stored for a session that has ended: connections, files, locks; and trust no longer ends it.
 * For servers. A second call does nothing.
 *
 * @param report Called with each failure; later, if a dispose method returned a promise that rejects.
 */
export function disposeStore(session: Session, report: (error: unknown) => void): void {
  ties.get(session)?.release();
  if (session.store.size === 0) return;
  const values = [...session.store.values()].reverse();
  session.store.clear();
  for (const value of values) {
    try {
      const returned = (value as Partial<Disposable> | null | undefined)?.[Symbol.dispose]?.();
      // The type allows async functions, and nothing else awaits them.
      Promise.resolve<unknown>(returned).catch(report);
    } catch (error) {
      report(error);
    }
  }
}

/** Whether the peer of a session is trusted. */
export interface SessionTrust {
  /** Aborted, with the reason, once it is not trusted any more. */
  readonly signal: AbortSignal;
  /** Checks the current state, not a cached one. If it rejects, the peer is not trusted. */
  confirm(): Promise<boolean>;
}

const ties = new WeakMap<Session, { readonly trust: SessionTrust; release(): void }>();

/**
 * Ties a session to the trust in its peer: it is closed when that ends, also while `onConnect` runs, and
 * {@linkcode isStillAdmitted} asks it. For servers whose trust can change.
 */
export function tieToTrust(session: Session, trust: SessionTrust): void {
  const { signal } = trust;
  const close = () => session.close(signal.reason);
  signal.addEventListener("abort", close);
  ties.set(session, { trust, release: () => signal.removeEventListener("abort", close) });
  if (signal.aborted) close();
}

/**
 * Whether the peer of a session may still do what it asked for. An app checks this right before a step that
 * can't be undone, such as the rename at the end of an upload. True if the session is not tied to trust. Never rejects.
 */
export async function isStillAdmitted(session: Session): Promise<boolean> {
  try {
    return await (ties.get(session)?.trust.confirm() ?? true) === true;
  } catch {
    return false;
  }
}
