/**
 * What a server knows about one connection.
 *
 * @module
 */

import { ConnectionClosedError } from "../errors.ts";
import type { HostAddress, ScopedAddress } from "../address_rules.ts";

/** The trusted certificate that vouched for a peer. */
export interface PeerAuthority {
  /** Its distinguished name, a line per attribute. A name is only as good as who gave it. */
  readonly subject: string;
  /** The SHA-256 of the whole certificate: `AB:CD:…`. */
  readonly fingerprint256: string;
  /** The SHA-256 of its SubjectPublicKeyInfo: `AB:CD:…`. */
  readonly publicKey256: string;
  /** The certificate itself, in DER. */
  readonly raw: Uint8Array;
}

/** What is known of a peer's certificate, once it has been verified. */
export interface PeerCertificate {
  /** The distinguished name of whom it is for, a line per attribute: `CN=name`. */
  readonly subject: string;
  /** The distinguished name of who signed it. */
  readonly issuer: string;
  /** The names it is for: `DNS:example.com`, `IP Address:127.0.0.1`. */
  readonly subjectAltNames: string[];
  /** The SHA-256 of the whole certificate: `AB:CD:…`. Another one when it is renewed. */
  readonly fingerprint256: string;
  /** The SHA-256 of its SubjectPublicKeyInfo: `AB:CD:…`. Stays when it is renewed with its key. */
  readonly publicKey256: string;
  /**
   * The trusted certificate that vouched for it: that at which the shortest valid path ends, of equal
   * ones the first of those that were given. It is found by signatures, never by names. `null` only
   * if the system's store is trusted.
   */
  readonly authority: PeerAuthority | null;
  /** The first moment at which it is valid. */
  readonly validFrom: Date;
  /** The last one. */
  readonly validTo: Date;
  /** The certificate itself, in DER. */
  readonly raw: Uint8Array;
}

/** Counts a request that has been answered; returns how many there are now. For servers. */
export let countRequest: (session: Session) => number;

/** Records why a session has ended; only the first reason counts. For servers. */
export let endSession: (session: Session, message: string) => void;

/** Aborts the signal of a session; only the first reason counts. For servers. */
export let abortSession: (session: Session, reason: unknown) => void;

/** Owns the connection of a session, and is notified of what the app does with the session. */
export interface SessionOwner {
  /** The signal was requested: from now on it must be aborted when the peer leaves. */
  signalWanted(): void;
  /** The app has closed the session: the connection has to end now. */
  sessionClosed(reason: unknown): void;
}

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
   * Where an app keeps what belongs to the connection. When that has ended, and the
   * app has returned, every value that has `[Symbol.dispose]` is disposed of, the last first.
   */
  readonly store: Map<string, unknown> = new Map();
  /** The verified certificate of the peer; `null` if it has none. */
  readonly peerCertificate: PeerCertificate | null;
  readonly #name: string;
  #requests = 0;
  #message: string | null = null;
  // Most apps never ask for the signal, and it costs more than the session.
  #aborting: AbortController | null = null;
  #abortReason: { readonly reason: unknown } | null = null;
  #owner: SessionOwner | null = null;

  /** Made by the server. */
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

  /** How many requests have been answered. */
  get requests(): number {
    return this.#requests;
  }

  /** Why the connection has ended; `null` while it has not. */
  get message(): string | null {
    return this.#message;
  }

  /**
   * Aborted when the session ends, and within a second of when the peer closes or resets its
   * connection, also while the app processes a request or decides in `onConnect`: nobody waits for the
   * response then. Its reason is that of {@linkcode close}, or an error that says how it ended.
   *
   * A peer that closes its writing side counts as gone, because it looks the same; a response that the
   * app returns nevertheless is sent. That the peer is gone is detected while at most 64 KiB of what it
   * has sent are unread.
   *
   * A listener must not throw: nothing would catch it, and the process would end.
   */
  get signal(): AbortSignal {
    if (this.#aborting === null) {
      this.#aborting = new AbortController();
      if (this.#abortReason !== null) this.#aborting.abort(this.#abortReason.reason);
      else this.#owner?.signalWanted();
    }
    return this.#aborting.signal;
  }

  /**
   * Ends the session now, whatever it is doing: what waits for its connection (the body of a request,
   * the response that is being sent) rejects with the reason, and nothing more is sent. Called in
   * `onConnect`, it refuses the peer, whatever that returns. Once the session has ended it has no effect;
   * the last response that was sent still arrives.
   *
   * @param reason What {@linkcode signal} is aborted with; a `ConnectionClosedError` where it is left
   * out.
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
    abortSession(this, given);
  }

  /** The name of the session in logs: the peer's address, or for Unix `<path or name>#<count>`. */
  toString(): string {
    return this.#name;
  }

  static {
    countRequest = (session) => ++session.#requests;
    endSession = (session, message) => session.#message ??= message;
    ownSession = (session, owner) => session.#owner = owner;
    abortSession = (session, reason) => {
      if (session.#abortReason !== null) return;
      session.#abortReason = { reason };
      session.#aborting?.abort(reason);
    };
  }
}

/**
 * Disposes of what an app has stored for a session that has ended: connections, files, locks. For
 * servers. A second call does nothing.
 *
 * @param report Called with each failure; later, if a dispose has returned a promise that rejects.
 */
export function disposeStore(session: Session, report: (error: unknown) => void): void {
  const values = [...session.store.values()].reverse();
  session.store.clear();
  for (const value of values) {
    try {
      const returned = (value as Partial<Disposable> | null | undefined)?.[Symbol.dispose]?.();
      // To the types an async function is a `() => void`, and nobody else awaits it.
      Promise.resolve<unknown>(returned).catch(report);
    } catch (error) {
      report(error);
    }
  }
}
