/**
 * The server's end of a connection: one loop, and no answer to anything that is wrong.
 *
 * @module
 */

import {
  type Answer,
  answerFraming,
  cancelAnswer,
  readAnswer,
  unreadError,
} from "../base/app/answer.ts";
import type { Api, AppFunction, Socket } from "../base/app/app.ts";
import type { OnConnect } from "../base/app/app_parts.ts";
import { cancelQuietly } from "../base/body/bodies.ts";
import {
  BodyError,
  ConnectionClosedError,
  EmptyPreambleError,
  ProtocolError,
  quote,
} from "../base/errors.ts";
import { saysClose } from "../base/wire/headers.ts";
import { Request } from "../base/app/message.ts";
import {
  checkRequestStart,
  formatResponsePreamble,
  parseRequestPreamble,
} from "../base/wire/preamble.ts";
import {
  abortSession,
  countRequest,
  disposeStore,
  endSession,
  ownSession,
  type Session,
  type SessionOwner,
} from "../base/app/session.ts";
import { type BodyOwner, makeIncomingBody } from "./incoming_body.ts";
import { type Interval, startInterval } from "./interval.ts";
import { linger } from "./linger.ts";
import type { Place } from "./places.ts";
import { describe } from "./thrown.ts";
import { Transport } from "./transport.ts";

/** Where a server tells what happens; `console` fits. */
export interface Logger {
  /** Connections that were reset or have ended. */
  debug(message: string): void;
  /** What peers do wrong: bytes, time-outs, refused handshakes. */
  info(message: string): void;
  /** Security concerns. */
  warn(message: string): void;
  /** Exceptions of the application. */
  error(message: string): void;
}

/** What all connections of a server share. */
export interface ServerContext {
  /** The application. */
  readonly handle: AppFunction;
  /** The application's say when a peer connects. */
  readonly onConnect: OnConnect | null;
  /** The application's third argument. */
  readonly api: Api;
  /** Seconds, or `null`. */
  readonly timeout: number | null;
  /** Where to tell what happens. */
  readonly logger: Logger;
  /** Those that were let in and are not over. */
  readonly sessions: Set<Session>;
  /** True once no further request is to be answered. */
  stopping: boolean;
}

/** Statuses of errors after which the connection goes on: they are part of ordinary work. */
const HARMLESS_ERRORS: ReadonlySet<number> = new Set([404, 409, 412]);
/**
 * How often somebody who wants to know looks whether the peer is still there. What it had sent before is
 * found first, so its leaving is seen at the second look.
 */
const WATCH_MILLISECONDS = 300;

/** Serves one connection. */
export class ServerConnection implements BodyOwner, SessionOwner, Place {
  readonly #context: ServerContext;
  readonly #transport: Transport;
  readonly #socket: Socket;
  readonly #session: Session;
  readonly #isTrusted: () => boolean;
  #answering = false;
  #bodyUnread = false;
  #watching: Interval | undefined;
  #peerLeft = false;
  #over = false;
  #closedByApp = false;
  /** Resolves where the connection is closed by somebody who does not wait for the application. */
  readonly #cut = Promise.withResolvers<void>();
  /** The `expect` of the request whose body is unread, if it had one. */
  #expectation: unknown = undefined;

  /**
   * Takes over a socket that is ready to speak HTTP.
   *
   * @param isTrusted Whether the peer may be let in, as things are when it is asked.
   */
  constructor(
    context: ServerContext,
    socket: Socket,
    session: Session,
    isTrusted: () => boolean,
  ) {
    this.#context = context;
    this.#socket = socket;
    this.#session = session;
    this.#isTrusted = isTrusted;
    this.#transport = new Transport(socket, context.timeout, checkRequestStart);
    this.#transport.onClose = () => this.#end();
    ownSession(session, this);
  }

  /** The session is over, or its connection closed. */
  #end(): void {
    if (this.#over) return;
    this.#over = true;
    clearInterval(this.#watching);
    const session = this.#session;
    this.#context.sessions.delete(session);
    const { failure } = this.#transport;
    const message = `the session has ended: ${session.message}`;
    abortSession(session, failure ?? new ConnectionClosedError(message));
  }

  /**
   * Looks from time to time whether the peer is still there while an app works. Between requests, and
   * while a body is read, there is always a read that reports it.
   */
  signalWanted(): void {
    const onEnd = () => {
      this.#peerLeft = true;
      clearInterval(this.#watching);
      abortSession(this.#session, new ConnectionClosedError("the peer has closed the connection"));
    };
    this.#watching = startInterval(() => this.#transport.watch(onEnd), WATCH_MILLISECONDS);
  }

  /**
   * The application has closed the session. Once the last response has been sent, closing has no effect:
   * the peer may still be receiving it.
   */
  sessionClosed(reason: unknown): void {
    const transport = this.#transport;
    if (!this.#over) {
      this.#closedByApp = true;
      const message = `closed by the application: ${describe(reason).message}`;
      endSession(this.#session, message);
      this.#context.logger.debug(`${this.#session}: ${message}`);
      transport.close(reason);
    }
    if (transport.closed) this.#cut.resolve();
  }

  /** True while nothing is lost by closing: before the first byte of a request. */
  isIdle(): boolean {
    return !this.#answering && this.#transport.reader.buffered === 0;
  }

  /** Closes the connection. */
  close(): void {
    const { closed, failure } = this.#transport;
    const broken = closed && failure !== null;
    endSession(this.#session, broken ? describe(failure).message : "closed by the server");
    this.#transport.close();
    this.#cut.resolve();
  }

  /**
   * Answers requests until the session is over, or closed: the application may never return. Never
   * rejects.
   */
  serve(): Promise<void> {
    return Promise.race([this.#serve(), this.#cut.promise]);
  }

  async #serve(): Promise<void> {
    try {
      if (await this.#welcome()) {
        await this.#serveRequests();
        this.#end();
        await linger(this.#transport, this.#socket.protocol !== undefined);
      }
    } catch (error) {
      this.#report(this.#transport.explain(error));
    } finally {
      this.#transport.close();
      disposeStore(this.#session, (error) => this.#reportApp(error, "session.store"));
    }
  }

  async #welcome(): Promise<boolean> {
    const { onConnect, logger, sessions } = this.#context;
    const session = this.#session;
    if (!this.#checkTrust()) return false;
    let letIn = true;
    try {
      if (onConnect !== null) letIn = await onConnect(session, this.#socket) === true;
    } catch (error) {
      this.#giveUp(error, "onConnect");
      return false;
    }
    const { closed, failure } = this.#transport;
    if (closed) throw failure ?? new ConnectionClosedError();
    if (!letIn) {
      endSession(session, "refused by onConnect");
      logger.info(`${session}: refused by onConnect`);
      return false;
    }
    if (!this.#checkTrust()) return false;
    sessions.add(session);
    return true;
  }

  /** Trust may have been withdrawn while the peer waited for a place, or for `onConnect`. */
  #checkTrust(): boolean {
    if (this.#isTrusted()) return true;
    const message = "UNTRUSTED: the client's authority is not trusted any more";
    endSession(this.#session, message);
    this.#context.logger.info(`${this.#session}: ${message}`);
    return false;
  }

  /** Answers requests until the session is over. */
  async #serveRequests(): Promise<void> {
    const transport = this.#transport;
    const { handle, api } = this.#context;
    for (;;) {
      let end;
      while ((end = transport.findPreamble()) < 0) transport.received(await transport.receive());
      const request = this.#takeRequest(end);
      let answer: Answer | null = null;
      let returned: unknown;
      try {
        returned = handle(request, this.#session, api);
        if (!Array.isArray(returned)) returned = await returned;
        answer = readAnswer(returned);
        const rest = transport.sent(await this.#send(request, answer));
        if (rest !== null) await rest;
      } catch (error) {
        cancelAnswer(answer ?? returned, request.body, error);
        this.#giveUp(transport.explain(error), "the application", request);
        return;
      }
      if (this.#isOver(answer)) {
        // What follows is dropped, and nobody else is to get a part of it.
        if (this.#bodyUnread) cancelQuietly(request.body, unreadError(answer.status));
        return;
      }
      this.#answering = false;
    }
  }

  #takeRequest(end: number): Request {
    const { reader } = this.#transport;
    this.#answering = true;
    const preamble = parseRequestPreamble(reader.bytes, reader.start, end);
    reader.start = end;
    const { method, uri, headers, framing, path, query } = preamble;
    this.#bodyUnread = framing !== null;
    this.#expectation = this.#bodyUnread ? headers["expect"] : undefined;
    const body = makeIncomingBody(this.#context.api, this.#transport, this, framing);
    return new Request(method, uri, headers, body, [], path, query);
  }

  /** Begins to send an answer. */
  #send(request: Request, answer: Answer): Promise<number | void> {
    const transport = this.#transport;
    if (transport.closed) throw transport.failure ?? new BodyError("too late");
    const { status, reason, headers, body } = answer;
    const framing = answerFraming(request, this.#bodyUnread, answer);
    const length = formatResponsePreamble(transport.out, status, reason, headers, framing);
    return transport.send(length, body, framing);
  }

  /** Decides after a response whether it was the last one. */
  #isOver({ status, headers }: Answer): boolean {
    const session = this.#session;
    const requests = countRequest(session);
    // Whoever has closed it while the last bytes were sent has said why.
    if (this.#transport.closed) return false;
    if (saysClose(headers)) {
      endSession(session, `a response with connection: close (status ${status})`);
    } else if (this.#bodyUnread) {
      endSession(session, `the body of a request was left unread (status ${status})`);
    } else if (status >= 400 && !HARMLESS_ERRORS.has(status)) {
      endSession(session, `a response with status ${status}`);
    } else if (requests >= session.maxRequests) {
      endSession(session, `the limit of ${requests} requests`);
    } else if (this.#context.stopping) {
      endSession(session, "the server is shutting down");
    } else {
      return false;
    }
    this.#context.logger.debug(`${session}: ended after ${session.message}`);
    return true;
  }

  /** The connection ends at once: the peer is told nothing. */
  #giveUp(error: unknown, where: string, request?: Request): void {
    // What was closed because the peer has left fails with that, which is no mistake of the application.
    const broken = this.#transport.failure !== null || this.#transport.closed ||
      (this.#peerLeft && error instanceof ConnectionClosedError);
    if (broken) this.#report(this.#transport.failure ?? error);
    else this.#reportApp(error, where, request);
    this.#transport.close();
  }

  #reportApp(error: unknown, where: string, request?: Request): void {
    const { message, stack } = describe(error);
    endSession(this.#session, `an error of ${where}: ${message}`);
    const what = request === undefined ? "" : `\n    for ${request.method} ${quote(request.uri)}`;
    this.#context.logger.error(`${this.#session}: an error of ${where}: ${stack}${what}`);
  }

  /** Reports what the peer, the network or the clock did. */
  #report(error: unknown): void {
    if (this.#closedByApp) return;
    const { logger } = this.#context;
    const failure = this.#transport.failure ?? error;
    if (this.#transport.closed && this.#transport.failure === null) {
      endSession(this.#session, "closed by the server");
      logger.debug(`${this.#session}: closed by the server`);
      return;
    }
    const timedOut = failure instanceof Deno.errors.TimedOut;
    const message = describe(failure).message + (timedOut ? this.#describeExpectation() : "");
    endSession(this.#session, message);
    const serious = timedOut ||
      (failure instanceof ProtocolError && !(failure instanceof EmptyPreambleError));
    logger[serious ? "info" : "debug"](`${this.#session}: ${message}`);
  }

  /** What a peer that has timed out may have waited for itself (RFC 9110 §10.1.1). */
  #describeExpectation(): string {
    if (!this.#bodyUnread || this.#expectation === undefined) return "";
    const expectation = quote(String(this.#expectation));
    return `; its request has expect: ${expectation}, but no interim response is ever sent: ` +
      "set the client not to wait for one";
  }

  /** The request's body has been read. */
  bodyConsumed(): void {
    this.#bodyUnread = false;
  }

  /** The request's body is broken, and the connection with it. */
  bodyFailed(error: unknown): void {
    this.#transport.close(error);
  }

  /** The application does not want the rest: an error may still be the answer. */
  bodyCancelled(): void {
    this.#transport.abandonRead();
  }
}
