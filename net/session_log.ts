/**
 * Reports how sessions end.
 *
 * @module
 */

import type { Request } from "../base/app/message.ts";
import { endSession, type Session } from "../base/app/session.ts";
import { EmptyPreambleError, ProtocolError, quote } from "../base/errors.ts";
import type { Logger } from "./standard_logger.ts";
import { messageOf, stackOf } from "./thrown.ts";

/** How most connections end, which is no error of anybody. */
const PEER_ENDED = new EmptyPreambleError();

/** Ends one session and reports why. The first reason is the one that the session keeps. */
export class SessionLog {
  readonly #session: Session;
  readonly #logger: Logger;

  /** Makes a log of one session. */
  constructor(session: Session, logger: Logger) {
    this.#session = session;
    this.#logger = logger;
  }

  /** The session ended with its last response. */
  ended(why: string): void {
    endSession(this.#session, why);
    this.#logger.debug(`${this.#session}: ended after ${why}`);
  }

  /** The peer has closed the connection between two requests. */
  endedByPeer(): void {
    this.#end("debug", messageOf(PEER_ENDED), `ended: ${PEER_ENDED.message}`);
  }

  /** The peer had left when the response failed. */
  peerLeft(error: unknown): void {
    this.#end("debug", `the peer has left; the response ended with ${messageOf(error)}`);
  }

  /** The body of a request was longer than the app can collect, which any peer can cause. */
  tooLong(error: unknown): void {
    this.#end(
      "info",
      `the body of a request is too long for the app: ${messageOf(error)}; ` +
        'to answer with 413, see "A limit for bodies" in docs/cookbook.md',
    );
  }

  /** The peer was not accepted. */
  refused(why: string): void {
    this.#end("info", why);
  }

  /** This end closed it. */
  closed(why: string): void {
    this.#end("debug", why);
  }

  /** The app threw an error. */
  appFailed(error: unknown, where: string, request?: Request): void {
    endSession(this.#session, `an error of ${where}: ${messageOf(error)}`);
    const what = request === undefined ? "" : `\n    for ${request.method} ${quote(request.uri)}`;
    this.#logger.error(`${this.#session}: an error of ${where}: ${stackOf(error)}${what}`);
  }

  /**
   * The peer, the network or the deadline broke the connection.
   *
   * @param expectation The `expect` header of the request whose body was waited for.
   */
  broken(failure: unknown, expectation: unknown): void {
    const timedOut = failure instanceof Deno.errors.TimedOut;
    const hint = timedOut && expectation !== undefined ? explainExpectation(expectation) : "";
    const why = messageOf(failure) + hint;
    this.#end(timedOut || failure instanceof ProtocolError ? "info" : "debug", why);
  }

  #end(level: keyof Logger, why: string, line = why): void {
    endSession(this.#session, why);
    this.#logger[level](`${this.#session}: ${line}`);
  }
}

/** What a peer that has timed out may have been waiting for (RFC 9110 §10.1.1). */
function explainExpectation(expectation: unknown): string {
  return `; its request has expect: ${
    quote(String(expectation))
  }, but no interim response is ever ` +
    "sent: set the client not to wait for one";
}
