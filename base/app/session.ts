import type { HostAddress, ScopedAddress } from "../address.ts";
import { ConnectionClosedError } from "../errors.ts";
import { messageOf, plainMessageOf, toReadableError } from "../../internal/caught_errors.ts";
import { checkFunction, checkString, notConstructibleError } from "../../internal/checks.ts";
import { unknownTrustErrors } from "../../internal/error_details.ts";
import { printable } from "../../internal/printable.ts";
import { ResponseError } from "./app_result.ts";
import { callIsTrusted, isUnknownTrustError, type PeerIdentity } from "./peer_identity.ts";

/** The certificate of the trusted authority that has verified a peer's certificate. */
export interface PeerAuthority {
  /**
   * The distinguished name, a line per attribute. Trust the name only as far as you trust its
   * issuer.
   */
  readonly subject: string;
  /** The SHA-256 of the whole certificate: `AB:CD:…`. */
  readonly fingerprint256: string;
  /** The SHA-256 of the SubjectPublicKeyInfo: `AB:CD:…`. */
  readonly publicKey256: string;
  /** The certificate itself, in DER: a new copy for each access. */
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
   * The trusted authority at the end of the shortest valid path from this certificate. Of several
   * shortest paths, the path to the authority that is first in the configuration counts. The search
   * follows signatures, never names. `null` only if Deno's default store is trusted.
   */
  readonly authority: PeerAuthority | null;
  /** The first moment at which the certificate is valid. */
  readonly validFrom: Date;
  /** The last moment at which the certificate is valid. */
  readonly validTo: Date;
  /** The certificate itself, in DER: a new copy for each access. */
  readonly raw: Uint8Array<ArrayBuffer>;
}

export interface SessionCallbacks {
  /** Called when the app reads the signal, which must be aborted when the peer disconnects. */
  onSignalRequested(): void;
  /** Called when the app closes the session: the connection must end at once. */
  onSessionClosed(reason: unknown): void;
  onLogLine(logLine: string, error?: unknown): void;
  isPeerTrusted(): boolean;
  /**
   * Called when the trust of the server has changed: the session of a distrusted peer must end.
   *
   * @param keepsResponse Whether the response to the current request must be sent first.
   */
  onTrustChanged(keepsResponse: boolean): void;
  /** Limits the calls of `isTrusted` by the time-out, and ends this wait with the session. */
  limitTrustCheck<T>(check: Promise<T>): Promise<T>;
  /**
   * Called when the peer was found untrusted: the session must end after the current response, or
   * at once between two requests.
   *
   * @param error The error of the `isTrusted` of an identity; else `undefined`.
   */
  onDistrust(reason: string, error: unknown): void;
}

/** Why a peer isn't trusted. */
interface Distrust {
  readonly reason: string;
  /** The error of the `isTrusted` of an identity. */
  readonly error?: unknown;
}

let coreOf: (session: object) => SessionCore | null;

const UNTRUSTED_REASON = "the peer is not trusted any more";
const ANONYMOUS_REASON =
  "ifTrusted(): the peer is anonymous: it has neither a certificate nor an identity; serve over " +
  "TLS, or return an identity from onConnect";

/** No public module exports this class, so programs can't make a session. */
export class SessionCore {
  readonly session: Session;
  readonly name: string;
  readonly #store: Map<string, unknown>;
  /** The server connection of the session; `null` for a session without a server. */
  callbacks: SessionCallbacks | null = null;
  /** The number of requests that got their response. */
  requests = 0;
  message: string | null = null;
  // The controller is made on demand: few apps read the signal, and a controller costs more than
  // the rest of a session.
  #abortController: AbortController | null = null;
  #makeAbortReason: (() => unknown) | null = null;
  /** Settles with the response to the current request; `null` until an app waits for it. */
  #responseSent: PromiseWithResolvers<void> | null = null;
  /** What `onConnect` returned: without it and without a certificate, the peer is anonymous. */
  #identity: PeerIdentity | null = null;
  /** The identities that must all be trusted; `null` in most sessions, which have no identity. */
  #identities: Omit<PeerIdentity, "user">[] | null = null;
  #listenersController: AbortController | null = null;
  #isDisposed = false;
  /** Whether an identity has a condition that only a call of its `isTrusted` can find broken. */
  canLoseTrust = false;

  constructor(
    name: string,
    address: HostAddress | ScopedAddress | null,
    maxRequests: number,
    peerCertificate: PeerCertificate | null = null,
    store: Map<string, unknown> = new Map(),
  ) {
    this.name = name;
    this.#store = store;
    this.session = new Session(this, address, maxRequests, peerCertificate, store);
  }

  get user(): string | null {
    return this.#identity?.user ?? null;
  }

  get signal(): AbortSignal {
    if (this.#abortController === null) {
      this.#abortController = new AbortController();
      if (this.#makeAbortReason !== null) this.#abortController.abort(this.#makeAbortReason());
    }
    if (this.#makeAbortReason === null) this.callbacks?.onSignalRequested();
    return this.#abortController.signal;
  }

  close(reason?: unknown): void {
    const error = toReadableError(
      reason ?? new ConnectionClosedError("the session was closed by its app"),
    );
    if (this.callbacks !== null) return this.callbacks.onSessionClosed(error);
    this.end("closed by the app");
    this.abort(() => error);
  }

  end(message: string): void {
    this.message ??= message;
  }

  get isAborted(): boolean {
    return this.#makeAbortReason !== null;
  }

  abort(makeReason: () => unknown): void {
    if (this.#makeAbortReason !== null) return;
    this.#makeAbortReason = makeReason;
    this.#abortController?.abort(makeReason());
  }

  identifyPeer(identity: PeerIdentity): void {
    this.#identity = identity;
    this.addIdentity(identity);
  }

  addIdentity(identity: PeerIdentity): void {
    this.#identities ??= [];
    if (this.#identities.includes(identity)) return;
    this.#identities.push(identity);
    this.canLoseTrust ||= identity.isTrusted !== undefined;
    const { signal } = identity;
    if (signal === undefined || this.#isDisposed) return;
    const close = () => this.close(signal.reason);
    this.#listenersController ??= new AbortController();
    signal.addEventListener("abort", close, { signal: this.#listenersController.signal });
    if (signal.aborted) close();
  }

  /**
   * Applies the result of `onConnect`. Returns the reason why the peer is refused; `null` if it is
   * accepted.
   *
   * @throws the error of the `isTrusted` of an identity.
   */
  async acceptPeer(decision: PeerIdentity | boolean): Promise<string | null> {
    if (decision === false) return "refused by onConnect";
    if (decision !== true) this.identifyPeer(decision);
    const identity = await this.#askIdentities();
    if (identity === null) return null;
    return identity === decision
      ? "refused: the identity that onConnect returned is not trusted"
      : "refused: an identity of the session is not trusted";
  }

  /**
   * Lets each check of the trust fail with the error with which `onConnect` failed to decide
   * whether to accept the peer.
   */
  failTrustChecks(error: object): void {
    this.#identities = [{ isTrusted: () => Promise.reject(unknownTrustErrors.set(error, true)) }];
    this.canLoseTrust = true;
  }

  /**
   * Calls a function if the peer is trusted now. Between the last check and the call, no other code
   * runs.
   *
   * @param refusesAnonymous Whether a peer without a certificate and an identity isn't trusted.
   * @throws {ResponseError} of 403, or of 503 if the trust can't be determined.
   */
  ifTrusted<T>(step: () => T | PromiseLike<T>, refusesAnonymous = false): Promise<T> {
    const check = this.#findDistrust(refusesAnonymous);
    const result = check.then((distrust) => {
      let refusal = distrust;
      // The trust may have ended during a call.
      if (refusal === null && this.#hasLostTrust) refusal = { reason: UNTRUSTED_REASON };
      if (refusal === null) return step();
      ignoreRejection(result);
      this.callbacks?.onDistrust(refusal.reason, refusal.error);
      throw new ResponseError([403, "Forbidden", {}, null]);
    });
    check.catch(() => ignoreRejection(result));
    return result;
  }

  /** @throws {ResponseError} if the trust can't be determined. */
  async #findDistrust(refusesAnonymous: boolean): Promise<Distrust | null> {
    const isAnonymous = this.session.peerCertificate === null && this.#identity === null;
    if (refusesAnonymous && isAnonymous) return { reason: ANONYMOUS_REASON };
    try {
      const isTrusted = await this.#askIdentities() === null;
      return isTrusted ? null : { reason: UNTRUSTED_REASON };
    } catch (error) {
      if (!isUnknownTrustError(error)) return { reason: UNTRUSTED_REASON, error };
      // The end of the trust may have ended the session, and so the check.
      if (!this.#hasLostTrust) throw error;
      return { reason: UNTRUSTED_REASON };
    }
  }

  /** Returns the first identity that doesn't trust the peer. */
  #askIdentities(): Promise<Omit<PeerIdentity, "user"> | null> {
    const ask = async () => {
      for (const identity of this.#identities ?? []) {
        if (!await callIsTrusted(identity)) return identity;
      }
      return null;
    };
    return this.callbacks?.limitTrustCheck(ask()) ?? ask();
  }

  get #hasLostTrust(): boolean {
    return this.callbacks?.isPeerTrusted() === false ||
      this.#identities?.some(({ signal }) => signal?.aborted === true) === true;
  }

  get isResponseAwaited(): boolean {
    return this.#responseSent !== null;
  }

  /**
   * Returns a promise that settles with the response to the current request: resolves when the
   * response was sent, and rejects with the error that prevented it. A rejection that no code
   * handles has no effect.
   */
  waitForResponse(): Promise<void> {
    if (this.message !== null) return rejectResponse("the session has ended");
    if (this.#responseSent === null) {
      this.#responseSent = Promise.withResolvers();
      this.#responseSent.promise.catch(() => {});
    }
    return this.#responseSent.promise;
  }

  settleResponse(error: unknown): void {
    const responseSent = this.#responseSent;
    if (responseSent === null) return;
    this.#responseSent = null;
    if (error === null) responseSent.resolve();
    else responseSent.reject(error);
  }

  disposeStore(onError: (error: unknown) => void): void {
    this.#isDisposed = true;
    this.#listenersController?.abort();
    if (this.#store.size === 0) return;
    const values = [...this.#store.values()].reverse();
    this.#store.clear();
    for (const value of values) {
      try {
        const resource = value as Partial<Disposable & AsyncDisposable> | null | undefined;
        const isSync = typeof resource?.[Symbol.dispose] === "function";
        const result = isSync ? resource[Symbol.dispose]!() : resource?.[Symbol.asyncDispose]?.();
        // The type of [Symbol.dispose] also allows async functions, whose promises may reject.
        Promise.resolve<unknown>(result).catch((error) => onError(toReadableError(error)));
      } catch (error) {
        onError(toReadableError(error));
      }
    }
  }
}

/**
 * A connection to a server, as its app sees it. Every request of the connection has the same
 * session.
 */
export class Session {
  /** The address of the peer; `null` for Unix sockets and abstract names. */
  readonly address: HostAddress | ScopedAddress | null;
  /** The number of requests that the connection may make. */
  readonly maxRequests: number;
  /**
   * Values that an app keeps for the connection. Behind a proxy, many clients share a connection:
   * keep the values of a request, such as its user, in `request.store`. When the connection has
   * ended and the app has returned, every value with `[Symbol.dispose]` or `[Symbol.asyncDispose]`
   * is disposed of, in reverse order.
   */
  readonly store: Map<string, unknown>;
  /** The verified certificate of the peer; `null` without one. */
  readonly peerCertificate: PeerCertificate | null;
  readonly #core: SessionCore;

  /** @internal */
  constructor(
    core: SessionCore,
    address: HostAddress | ScopedAddress | null,
    maxRequests: number,
    peerCertificate: PeerCertificate | null,
    store: Map<string, unknown>,
  ) {
    if (!(core instanceof SessionCore)) {
      throw notConstructibleError(
        "Session",
        'callApp() of "@degu/degu/misc", with its option session',
      );
    }
    this.#core = core;
    this.address = address;
    this.maxRequests = maxRequests;
    this.store = store;
    this.peerCertificate = peerCertificate;
  }

  static {
    coreOf = (session) => #core in session ? session.#core : null;
  }

  /**
   * The name of the peer, which `onConnect` or a `DeviceServer` sets; `null` without one. An access
   * log shows the name.
   */
  get user(): string | null {
    return this.#core.user;
  }

  /**
   * Calls a function if the peer is trusted at this moment: for a step that can't be undone, late
   * in a long request, such as the rename at the end of an upload. The server asks the same before
   * it calls the app for each request, so no other code has to ask.
   *
   * The step isn't made for a peer that isn't trusted, even if the app forgets the `await`.
   *
   * @param step The step. The promise resolves to its result.
   * @throws {ResponseError} if the peer isn't trusted any more, or has neither a certificate nor an
   * identity: the server answers with 403, and ends the session. If the trust can't be determined
   * now, the server answers with 503.
   * @throws the error of the step.
   *
   * @example Accept a key as long as it is on a list
   * ```ts
   * import { type App, Client, reply, Server } from "@degu/degu";
   * import { assertEquals } from "@std/assert";
   *
   * const users = new Set(["anna"]);
   * let door = "closed";
   * const app: App = {
   *   onConnect: () => ({ user: "anna", isTrusted: () => users.has("anna") }),
   *   async handle(request, session) {
   *     const key = await request.text(); // may take long
   *     await session.ifTrusted(() => door = `opened with ${key}`);
   *     return reply(204);
   *   },
   * };
   * await using server = await Server.start(["127.0.0.1", 0], app);
   * const sendSlowly = async function* () {
   *   yield "the ";
   *   users.clear();
   *   yield "key";
   * };
   * assertEquals((await new Client(server.address).put("/", {}, sendSlowly())).status, 403);
   * assertEquals(door, "closed");
   * ```
   */
  ifTrusted<T>(step: () => T | PromiseLike<T>): Promise<T> {
    checkFunction("step", step);
    return this.#core.ifTrusted(step, true);
  }

  /**
   * Logs a line that the peer has caused, such as a refusal, to the logger of the server. A peer
   * can cause any number of lines, so the line has the level `info`, at which
   * {@linkcode standardLogger} limits their number. The line is escaped, so it may quote bytes of
   * the peer. Without a server, as in `callApp`, the call has no effect.
   *
   * @param text The line. It doesn't name the session, so begin it with `${session}`.
   * @param error The error that is the reason. Its name and message follow the text, after a colon,
   * unless the text contains the message. `record` of a logger gets the error itself.
   * @throws {TypeError} if the text isn't a string.
   *
   * @example
   * ```ts
   * import { type App, Client, reply, Server, standardLogger } from "@degu/degu";
   * import { assertEquals } from "@std/assert";
   *
   * const app: App = ({ path }, session) => {
   *   if (path[0] === "lamp") return reply(204);
   *   session.warn(`${session.address?.[0]}: no lamp has the name ${path[0]}`);
   *   return reply(404);
   * };
   * const lines: string[] = [];
   * const logger = standardLogger({ print: (line) => void lines.push(line) });
   * await using server = await Server.start(["127.0.0.1", 0], app, { logger });
   * await new Client(server.address).get("/heater");
   * logger[Symbol.dispose]();
   * assertEquals(lines, ["127.0.0.1: no lamp has the name heater"]);
   * ```
   */
  warn(text: string, error?: unknown): void {
    checkString("text", text);
    // A middleware may pass a wrapper of the session, which has no core.
    const hasReason = error === undefined || text.includes(plainMessageOf(error));
    const logLine = hasReason ? text : `${text}: ${messageOf(error)}`;
    coreOf(this)?.callbacks?.onLogLine(printable(logLine), error);
  }

  /** The number of requests that got their response. */
  get requests(): number {
    return this.#core.requests;
  }

  /** The reason why the connection ended; `null` while the connection is open. */
  get message(): string | null {
    return this.#core.message;
  }

  /**
   * Aborted when the session ends, and within a second after the peer closes or resets its
   * connection, even while the app processes a request or runs `onConnect`. The abort reason is the
   * reason given to {@linkcode Session.prototype.close}, or an error that describes the end.
   *
   * A peer that closes only its writing side counts as disconnected, because the server can't
   * distinguish this peer from a peer that closes its connection. A response that the app returns
   * nevertheless is sent. A body of unknown length that is being sent is canceled. While more than
   * 64 KiB of the peer's bytes are unread, the server doesn't detect that the peer has
   * disconnected.
   *
   * A listener must not throw: its error would be uncaught, and end the process.
   */
  get signal(): AbortSignal {
    return this.#core.signal;
  }

  /**
   * Ends the session now, even in the middle of a message: operations that wait for its connection
   * (the body of a request, the response that is being sent) reject with the reason, and no further
   * bytes are sent. A call in `onConnect` refuses the peer, regardless of the return value. A call
   * after the end of the session has no effect: the last response that was sent still arrives.
   *
   * @param reason The abort reason of {@linkcode Session.prototype.signal}; by default a
   * `ConnectionClosedError`.
   *
   * @example End the sessions of one peer
   * ```ts
   * import { Client, EmptyPreambleError, Server } from "@degu/degu";
   * import { assertEquals, assertRejects } from "@std/assert";
   *
   * await using server = await Server.start(["127.0.0.1", 0], () => [204, "No Content", {}, null]);
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
    this.#core.close(reason);
  }

  /**
   * The name of the session in logs: the peer's address, or for Unix `<path or name>#<count>`. If
   * the session has a user, the name begins with the user: `anna (127.0.0.1:51056)`.
   */
  toString(): string {
    const { name } = this.#core;
    const user = findUser(this);
    return user === null ? name : `${printable(`${user}`)} (${name})`;
  }
}

/** Returns the core of a session; `null` for a wrapper of a session. */
export function sessionCoreOf(session: object): SessionCore | null {
  return coreOf(session);
}

export function waitForResponse(session: object): Promise<void> {
  return sessionCoreOf(session)?.waitForResponse() ??
    rejectResponse("the session is not one that a server has made");
}

function rejectResponse(problem: string): Promise<never> {
  const rejection = Promise.reject(
    new ConnectionClosedError(`the response can't be followed: ${problem}`),
  );
  rejection.catch(() => {});
  return rejection;
}

/** A refusal must not end the process if the app doesn't await the result. */
function ignoreRejection(result: Promise<unknown>): void {
  result.catch(() => {});
}

function findUser(session: Session): string | null {
  try {
    return session.user;
  } catch {
    // The app's identity has a getter that throws.
    return null;
  }
}
