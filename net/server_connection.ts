/** The server's end of a connection: one loop, and one place that answers what is invalid. */

import { api, type AppParts, type Socket } from "../base/app/app.ts";
import {
  bodyToHeadError,
  cancelAppResult,
  type OutgoingResponse,
  parseAppResult,
  Request,
  responseForAppError,
  responseFraming,
  unreadError,
} from "../base/app/message.ts";
import { parseConnectResult } from "../base/app/peer_identity.ts";
import {
  abortSession,
  countRequest,
  disposeStore,
  endSession,
  identifyPeer,
  type Session,
  type SessionCallbacks,
  setSessionCallbacks,
} from "../base/app/session.ts";
import {
  type BodyIn,
  cancelQuietly,
  cancelUnused,
  isTooLong,
  isWritable,
  readerOf,
} from "../base/body/bodies.ts";
import {
  BodyError,
  ConnectionClosedError,
  EmptyPreambleError,
  ProtocolError,
} from "../base/errors.ts";
import { INTERNAL } from "../base/internal_argument.ts";
import { quote } from "../internal/quote.ts";
import type { SwapRemoveEntry } from "../internal/collections.ts";
import { hasConnectionClose, type HeaderDict } from "../base/wire/headers.ts";
import {
  checkRequestPrefix,
  formatResponsePreamble,
  type Method,
  parseRequestPreamble,
  type RequestPreamble,
} from "../base/wire/preamble.ts";
import { type Interval, startInterval } from "./deadline.ts";
import {
  type ErrorStatus,
  formatErrorResponse,
  isBrokenFraming,
  statusOfPreamble,
} from "./error_responses.ts";
import { ExchangeRecorder, type ExchangeReporter } from "./exchange_recorder.ts";
import { hasBrokenBody, makeIncomingBody, type OnBodyEnd } from "./incoming_body.ts";
import { addLingering, linger } from "./lingering.ts";
import type { ListenerOptions } from "./listener.ts";
import type { LogDetails } from "./logger.ts";
import {
  invalidTransitionError,
  SERVER_TRANSITIONS,
  type ServerEvent,
  type ServerState,
} from "./connection_states.ts";
import { messageOf, stackOf } from "./error_text.ts";
import { Transport } from "./transport.ts";

/** The end of most connections: nobody's error. */
const PEER_ENDED = messageOf(new EmptyPreambleError());
const PEER_ENDED_LINE = `ended: ${new EmptyPreambleError().message}`;
const IDLE_SESSION_ENDED = "ended while idle, because another connection waited for a slot";
const TOO_LONG_HINT = "bytes(), text() and json() answer it with 413, and have maxBytes";
const CLOSE: HeaderDict = { connection: "close" };
/** Statuses of errors that are part of ordinary work, and leave the connection open. */
const KEEP_ALIVE_STATUSES: ReadonlySet<number> = new Set([404, 405, 409, 412]);

/** The kind of a line, of which `"app"` has the level `error` and others `info`; else its level. */
type LogCategory = "debug" | "warn" | "error" | LogDetails["kind"];

/** Why a response is the last one of its session. */
interface CloseReason {
  readonly category: LogCategory;
  readonly reason: string;
  readonly logLine?: string;
  /** The error of the peer that is told. */
  readonly error?: unknown;
}

/** A request, from the end of its preamble to the end of its response. */
interface ServerExchange {
  readonly request: Request;
  /** The method and the body of the request, which the app may change in its `Request`. */
  readonly method: Method;
  readonly body: BodyIn;
  /** Whether the request has asked for the end of the connection. */
  readonly isCloseRequested: boolean;
  /** What the app has returned. */
  appResult: unknown;
  /** Why the session ends, if the response has told the client that. */
  announcedClose: CloseReason | null;
  /** What is being sent: it was valid, so only the source of its body can fail. */
  response: OutgoingResponse | null;
}

/**
 * Milliseconds between two checks whether the peer is still there, once the app has asked for the
 * signal. The first check finds bytes that the peer had sent before; the second finds that the peer
 * has left.
 */
const PROBE_MILLISECONDS = 300;

/** The properties that all connections of a server share. */
export interface ServerContext extends AppParts, ListenerOptions {
  /** The sessions that were accepted and have not ended. */
  readonly sessions: Set<Session>;
  /** The connections that have been refused, and only wait for their peers to read the answer. */
  readonly lingeringConnections: Set<ServerConnection>;
  /** Takes the figures of exchanges; `null` if nobody wants them. */
  readonly reportExchange: ExchangeReporter | null;
  /** Whether a body of `null` is sent without framing. */
  readonly unframedNull: boolean;
  /** True once no further request will be answered. */
  isStopping: boolean;
}

export class ServerConnection implements SwapRemoveEntry, SessionCallbacks {
  index = -1;
  readonly #context: ServerContext;
  readonly #transport: Transport;
  readonly #socket: Socket;
  /** The connection as the app sees it. */
  readonly session: Session;
  readonly #isTrusted: () => boolean;
  #state: ServerState = "idle";
  /** Takes the figures of the exchange; `null` if nobody wants them. */
  #recorder: ExchangeRecorder | null = null;
  #probeTimer: Interval | undefined;
  /** Whether `onExchange` runs: if it asks for the signal, nobody has to watch the peer. */
  #isReporting = false;
  #hasPeerLeft = false;
  /** The body of unknown length that is being sent, which ends with its client. */
  #streamingBody: unknown = null;
  /**
   * Resolves when the slot is free: at the end, or earlier once the session is closed while the app
   * still works, or once the peer only has to read why it was refused.
   */
  readonly #slotFreed = Promise.withResolvers<void>();
  #serving: Promise<void> | null = null;
  /** The lingering after the session; `null` before. */
  #lingering: Promise<void> | null = null;
  /** The time at which the last wait for a request began; `Infinity` before the first one. */
  #waitStart = Infinity;
  /** The error with which the peer broke the body of a request that is still to be answered. */
  #bodyError: unknown = null;
  /** The `expect` of the request whose body is unread, if the request had one. */
  #expectation: unknown = undefined;

  /**
   * Owns a socket that is ready to speak HTTP.
   *
   * @param isTrusted Reports whether the peer may be accepted at the time of the call.
   */
  constructor(
    context: ServerContext,
    socket: Socket,
    session: Session,
    isTrusted: () => boolean,
  ) {
    this.#context = context;
    this.#socket = socket;
    this.session = session;
    this.#isTrusted = isTrusted;
    this.#transport = new Transport(socket, context.timeout, checkRequestPrefix);
    this.#transport.addCloseListener(() => this.#finishSession());
    setSessionCallbacks(session, this);
  }

  /**
   * Enters the state that follows an event. If the table has none, this ends the connection and
   * throws.
   */
  #transition(event: ServerEvent): void {
    const next = SERVER_TRANSITIONS[this.#state][event];
    if (next === undefined) {
      const error = invalidTransitionError(event, this.#state);
      this.#endSession("error", messageOf(error), stackOf(error), error);
      this.#transport.close(error);
      // The slot is free at once, even if the app never returns.
      this.#slotFreed.resolve();
      throw error;
    }
    this.#state = next;
  }

  /** Ends the session: the last response has been sent, or the connection has been closed. */
  #finishSession(): void {
    this.#transition("ends");
    clearInterval(this.#probeTimer);
    const session = this.session;
    this.#context.sessions.delete(session);
    const { closed, failure } = this.#transport;
    // The reason is made on demand: most apps don't look at it, and an error costs more than a
    // request.
    let reason = failure ?? this.#bodyError;
    const makeReason = () =>
      reason ??= this.#state === "endedByPeer"
        ? new EmptyPreambleError()
        : new ConnectionClosedError(`the session has ended: ${session.message}`);
    if (this.#recorder !== null) this.#endExchange(closed ? makeReason() : null);
    abortSession(session, makeReason);
  }

  #endExchange(error: unknown): void {
    this.#isReporting = true;
    this.#recorder?.end(error);
    this.#isReporting = false;
  }

  /**
   * Checks from time to time whether the peer is still there while the app works. Between requests,
   * and while a body is read, a pending read notices the end of the peer.
   */
  onSignalRequested(): void {
    if (this.#probeTimer !== undefined || this.#isReporting) return;
    const onEnd = () => {
      this.#hasPeerLeft = true;
      const reason = new ConnectionClosedError("the peer has closed the connection");
      abortSession(this.session, () => reason);
      // The body's source may wait for ever, and would keep the slot. The watch goes on, for a body
      // that begins later.
      cancelQuietly(this.#streamingBody, reason);
    };
    this.#probeTimer = startInterval(() => this.#transport.probePeer(onEnd), PROBE_MILLISECONDS);
  }

  /**
   * Ends the connection, since the app has closed the session. Once the last response has been
   * sent, closing has no effect: the peer may still be receiving that response.
   */
  onSessionClosed(reason: unknown): void {
    const transport = this.#transport;
    const previousState = this.#state;
    this.#transition("appCloses");
    if (this.#state !== previousState) {
      this.#endSession("debug", `closed by the app: ${messageOf(reason)}`);
      transport.close(reason);
    }
    if (transport.closed) this.#slotFreed.resolve();
  }

  onLogLine(logLine: string, error?: unknown): void {
    this.#context.logger.info(logLine, { kind: "app", who: `${this.session}`, error });
  }

  /** True while closing loses nothing: before the first byte of a request. */
  isIdle(): boolean {
    return this.#state === "idle" && this.#transport.reader.buffered === 0;
  }

  /** The time at which the session became idle; `Infinity` while it is not idle. */
  get idleSince(): number {
    return this.isIdle() ? this.#waitStart : Infinity;
  }

  /** Ends an idle session: closes the writing side, and discards what arrives. */
  endIdle(): void {
    this.#endSession("debug", IDLE_SESSION_ENDED);
    void this.#linger({ keepsSlot: false });
  }

  close(): void {
    const { closed, failure } = this.#transport;
    const broken = closed && failure !== null;
    endSession(this.session, broken ? messageOf(failure) : "closed by the server");
    this.#transport.close();
    this.#slotFreed.resolve();
  }

  /** Resolves when the session has ended or was closed; the app may never return. Never rejects. */
  get ended(): Promise<void> {
    return this.#slotFreed.promise;
  }

  /**
   * Answers requests until {@linkcode ended}. Resolves when nothing of the connection is left, the
   * app included. Never rejects. A further call returns the same promise.
   */
  serve(): Promise<void> {
    return this.#serving ??= this.#serve();
  }

  async #serve(): Promise<void> {
    try {
      if (await this.#accept()) {
        const isRefused = await this.#serveRequests();
        await (this.#lingering ?? this.#linger({ keepsSlot: !isRefused }));
      }
    } catch (error) {
      this.#logConnectionError(this.#transport.failWith(error));
    } finally {
      this.#transport.close();
      disposeStore(this.session, (error) => this.#logAppError(error, "session.store"));
      this.#slotFreed.resolve();
      this.#context.lingeringConnections.delete(this);
    }
  }

  /** Ends the session, and waits until the peer could read the last response. */
  #linger({ keepsSlot }: { readonly keepsSlot: boolean }): Promise<void> {
    this.#finishSession();
    if (!keepsSlot) {
      addLingering(this.#context.lingeringConnections, this);
      this.#slotFreed.resolve();
    }
    return this.#lingering = linger(this.#transport, this.#socket);
  }

  async #accept(): Promise<boolean> {
    const { onConnect, sessions } = this.#context;
    if (!this.#checkTrust()) return false;
    let refusal: string | null = null;
    try {
      if (onConnect !== null) {
        refusal = await this.#applyDecision(await onConnect(this.session, this.#socket));
      }
    } catch (error) {
      this.#logFailure(error, "onConnect");
      return false;
    }
    const { closed, failure } = this.#transport;
    if (closed) throw failure ?? new ConnectionClosedError();
    if (refusal !== null) {
      this.#endSession("refusal", refusal);
      return false;
    }
    if (!this.#checkTrust()) return false;
    sessions.add(this.session);
    this.#waitStart = performance.now();
    return true;
  }

  /** Identifies the peer that `onConnect` accepts; returns why it is refused, or `null`. */
  async #applyDecision(returned: unknown): Promise<string | null> {
    const decision = parseConnectResult(returned);
    if (typeof decision === "boolean") return decision ? null : "refused by onConnect";
    identifyPeer(this.session, decision);
    // An error is one of the app, which the log has with its stack.
    const isTrusted = decision.isTrusted === undefined || await decision.isTrusted() === true;
    return isTrusted ? null : "refused: the identity that onConnect returned is not trusted";
  }

  isPeerTrusted(): boolean {
    return this.#isTrusted();
  }

  /** Trust may have been withdrawn while the peer waited for a slot, or for `onConnect`. */
  #checkTrust(): boolean {
    if (this.#isTrusted()) return true;
    this.#endSession("refusal", "UNTRUSTED: the client's authority is not trusted any more");
    return false;
  }

  /** Answers requests until one of them is the last; returns whether that one was refused. */
  // Hot path: every await is here, because each async function costs one promise per request.
  async #serveRequests(): Promise<boolean> {
    const transport = this.#transport;
    const { handle } = this.#context;
    for (;;) {
      let preamble;
      try {
        while ((preamble = this.#parseRequest()) === null) {
          const hasReceived = transport.endReceive(await transport.beginReceive());
          // An idle session may have been ended meanwhile.
          if (this.#lingering !== null) return false;
          if (hasReceived) continue;
          this.#transition("peerEnds");
          this.#endSession("debug", PEER_ENDED, PEER_ENDED_LINE);
          transport.close();
          return false;
        }
      } catch (error) {
        if (this.#lingering !== null) return false;
        return await this.#respondToInvalidPreamble(error);
      }
      const exchange = this.#beginExchange(preamble);
      const { request, body } = exchange;
      try {
        try {
          exchange.appResult = handle(request, this.session, api);
          if (!Array.isArray(exchange.appResult)) exchange.appResult = await exchange.appResult;
        } catch (error) {
          exchange.appResult = responseForAppError(request, body, error);
          if (exchange.appResult === null) throw error;
        }
        const remainder = transport.endSend(await this.#beginResponse(exchange));
        if (remainder !== null) await remainder;
        this.#streamingBody = null;
      } catch (error) {
        return await this.#failResponse(exchange, error);
      }
      if (this.#finishExchange(exchange)) return false;
    }
  }

  /** Takes a request out of the bytes that have arrived; `null` if more must be received. */
  #parseRequest(): RequestPreamble | null {
    const { reader } = this.#transport;
    const preambleEnd = this.#transport.searchPreamble();
    if (preambleEnd < 0) return null;
    const preamble = parseRequestPreamble(reader.bytes, reader.start, preambleEnd);
    reader.start = preambleEnd;
    return preamble;
  }

  /** Answers bytes that are no request, if they are HTTP. */
  #respondToInvalidPreamble(error: unknown): Promise<true> {
    const transport = this.#transport;
    const { bytes, start, end } = transport.reader;
    const failure = transport.failWith(error);
    const status = statusOfPreamble(failure, bytes.subarray(start, end));
    if (status === null) throw failure;
    transport.startResponse(null);
    this.#logConnectionError(failure);
    return this.#sendErrorResponse(status);
  }

  /** Makes what the app gets. */
  #beginExchange({ method, uri, headers, framing, path, query }: RequestPreamble): ServerExchange {
    const transport = this.#transport;
    const { reportExchange: report } = this.#context;
    if (framing === null) this.#transition("request");
    else {
      this.#transition("requestWithBody");
      this.#expectation = headers["expect"];
    }
    const body = makeIncomingBody(api, transport, this.#onBodyEnd, "request", framing);
    const request = new Request(INTERNAL, method, uri, headers, body, [], path, query);
    this.#recorder = report === null ? null : new ExchangeRecorder(report, this.session, request);
    transport.startResponse(this.#recorder);
    return {
      request,
      method,
      body,
      // The headers are read before the app gets them, which may change them.
      isCloseRequested: hasConnectionClose(headers),
      appResult: undefined,
      announcedClose: null,
      response: null,
    };
  }

  /** Begins to send what the app has returned. */
  #beginResponse(exchange: ServerExchange): Promise<number | void> {
    const { method, body } = exchange;
    const transport = this.#transport;
    const response = parseAppResult(exchange.appResult);
    // Its body is canceled, too, if that is not sent.
    exchange.appResult = response;
    if (transport.closed) throw transport.failure ?? new BodyError("too late");
    const { status, reason, headers } = response;
    const { unframedNull } = this.#context;
    const framing = responseFraming(method, body, response, unframedNull);
    // A body that writes itself, as in a proxy, may read the request's body while it is sent.
    const mayReadRequest = isWritable(response.body) && body !== null && !readerOf(body).isStopped;
    exchange.announcedClose = this.#findCloseReason(exchange, response, mayReadRequest);
    const closeHeader = exchange.announcedClose === null ? null : makeCloseHeader(headers);
    const buffer = transport.beginMessage();
    const length = formatResponsePreamble(
      buffer,
      status,
      reason,
      headers,
      framing,
      "response.",
      closeHeader,
    );
    transport.endPreamble(buffer, length);
    this.#recorder?.startResponse(status, length);
    const isHead = method === "HEAD";
    const write = transport.beginSend(length, isHead ? null : response.body, framing);
    exchange.response = response;
    if (isHead) {
      cancelUnused(response.body, bodyToHeadError());
    } else if (framing === "chunked") {
      this.#streamingBody = response.body;
      this.onSignalRequested();
    }
    return write;
  }

  /**
   * Ends an exchange whose response can't be sent, or not to its end; returns whether an error was
   * sent in its place.
   */
  async #failResponse(exchange: ServerExchange, error: unknown): Promise<boolean> {
    const { response, appResult, body, request } = exchange;
    cancelAppResult(appResult, body, error);
    const failure = this.#transport.failWith(error);
    const status = this.#logFailure(failure, "the app", request, response !== null);
    if (status !== null) {
      await this.#sendErrorResponse(status);
      cancelQuietly(body, unreadError(status));
    }
    this.#endExchange(failure);
    if (status === null) this.#transport.close();
    return status !== null;
  }

  /** Ends an exchange whose response was sent; returns whether it was the last one. */
  #finishExchange(exchange: ServerExchange): boolean {
    const { closed, failure } = this.#transport;
    const response = exchange.response!;
    // While the response was sent, a body may have been read, and the server begun to stop.
    const closeReason = this.#findCloseReason(exchange, response) ?? exchange.announcedClose;
    countRequest(this.session);
    // If the connection was closed during the last bytes, the reason has been reported already.
    if (closed) throw failure ?? new ConnectionClosedError();
    if (closeReason === null) {
      this.#transition("answered");
      this.#waitStart = performance.now();
      this.#endExchange(null);
      return false;
    }
    const { category, reason, logLine = `ended after ${reason}`, error } = closeReason;
    this.#endSession(category, reason, logLine, error);
    // The bytes that follow are dropped, and none of them may be read as the body.
    if (this.#state === "unread") cancelQuietly(exchange.body, unreadError(response.status));
    return true;
  }

  /**
   * Why the answer to a request is the last one; `null` if it is not.
   *
   * @param mayReadRequest Whether the response's own body may still read the request's body.
   */
  #findCloseReason(
    { isCloseRequested: isLast }: ServerExchange,
    { status, headers }: OutgoingResponse,
    mayReadRequest = false,
  ): CloseReason | null {
    if (this.#state === "broken") {
      const reason = messageOf(this.#bodyError);
      return { category: "protocol", reason, logLine: reason, error: this.#bodyError };
    }
    const closeReason = (at: LogCategory, why: string): CloseReason => ({
      category: at,
      reason: why,
    });
    // Any peer can send a body that its app does not want, so such a body is no error of the app.
    if (!mayReadRequest && this.#state === "unread") {
      return closeReason("body", `the body of a request was left unread (status ${status})`);
    }
    const closingMessage = hasConnectionClose(headers) ? "response" : isLast ? "request" : null;
    if (closingMessage !== null) {
      return closeReason("debug", `a ${closingMessage} with connection: close (status ${status})`);
    }
    if (closesConnection(status)) return closeReason("debug", `a response with status ${status}`);
    if (this.#isAtLimit) {
      return closeReason("debug", `the limit of ${this.session.maxRequests} requests`);
    }
    return this.#context.isStopping ? closeReason("debug", "the server is shutting down") : null;
  }

  /** Whether the request that is answered is the last one that is allowed. */
  get #isAtLimit(): boolean {
    const { maxRequests, requests } = this.session;
    return requests + 1 >= maxRequests;
  }

  /**
   * Reports why a connection or its response fails.
   *
   * @param isSending True if the answer was valid: only the source of its body can have failed.
   * @returns The status that can be sent in place of the response, or `null` for none.
   */
  #logFailure(
    error: unknown,
    source: string,
    request?: Request,
    isSending = false,
  ): ErrorStatus | null {
    const { closed, failure, sendState: sent } = this.#transport;
    if (closed || failure !== null) {
      this.#logConnectionError(failure ?? error);
      return null;
    }
    // If the peer has left, two failures are no mistake of the app: an operation that rejected for
    // this reason, and a failure of the source of a body, whose rest nobody wants.
    if (this.#hasPeerLeft && (isSending || error instanceof ConnectionClosedError)) {
      this.#endSession("debug", `the peer has left; the response ended with ${messageOf(error)}`);
      return null;
    }
    const isBodyError = this.#state === "broken" && error === this.#bodyError;
    if (isBodyError) {
      this.#logConnectionError(error);
    } else if (request !== undefined && isTooLong(request.body, error)) {
      // Any peer can send such a body, so this is no error of the app.
      this.#endSession(
        "body",
        `the body of a request is too long for the app: ${messageOf(error)}; ${TOO_LONG_HINT}`,
      );
    } else if (isSending && hasBrokenBody(error)) {
      // This connection is open, so what broke is another one: that of a proxy to its upstream.
      const reason = `the source of a response's body broke off: ${messageOf(error)}`;
      this.#endSession("warn", reason, reason, error);
    } else {
      this.#logAppError(error, source, request);
    }
    if (sent !== "nothing") return null;
    return isBodyError ? 400 : 500;
  }

  /** Answers what can't be accepted, or sent. Nothing behind it is processed. */
  async #sendErrorResponse(status: ErrorStatus): Promise<true> {
    const bytes = formatErrorResponse(status);
    this.#transport.recorder?.startResponse(status, bytes.length);
    await this.#transport.write(bytes);
    return true;
  }

  /** Reports a failure of the peer, the network or the deadline. */
  #logConnectionError(error: unknown): void {
    if (this.#state === "closedByApp") return;
    const { closed, failure } = this.#transport;
    if (closed && failure === null) return this.#endSession("debug", "closed by the server");
    const cause = failure ?? error;
    const isTimeout = cause instanceof Deno.errors.TimedOut;
    let hint = "";
    if (isTimeout && this.#expectation !== undefined) {
      // A client may have waited for an interim response (RFC 9110 §10.1.1).
      hint = `; its request has expect: ${quote(String(this.#expectation))}, but no interim ` +
        "response is ever sent: set the client not to wait for one";
    }
    const category = isTimeout ? "timeout" : cause instanceof ProtocolError ? "protocol" : "debug";
    const reason = messageOf(cause) + hint;
    this.#endSession(category, reason, reason, cause);
  }

  #logAppError(error: unknown, source: string, request?: Request): void {
    const requestLine = request === undefined
      ? ""
      : `\n    for ${request.method} ${quote(request.uri)}`;
    const prefix = `an error of ${source}: `;
    this.#endSession(
      "app",
      prefix + messageOf(error),
      prefix + stackOf(error) + requestLine,
      error,
    );
  }

  /**
   * Ends the session and reports why. The session keeps the first reason.
   *
   * @param at The level of the line, or its kind at level `info`.
   * @param line The line of the log.
   * @param error The error of the peer, the network or the deadline that has ended it.
   */
  #endSession(at: LogCategory, why: string, line = why, error?: unknown): void {
    endSession(this.session, why);
    const { logger } = this.#context;
    const who = `${this.session}`;
    const text = `${who}: ${line}`;
    const isLevel = at === "debug" || at === "warn" || at === "error";
    const level = isLevel ? at : at === "app" ? "error" : "info";
    logger[level](text, { kind: isLevel ? "other" : at, who, error });
  }

  readonly #onBodyEnd: OnBodyEnd = (outcome, error) => {
    const { closed, sendState: sent } = this.#transport;
    if (outcome === "consumed") {
      this.#transition("bodyRead");
      this.#expectation = undefined;
    } else if (outcome === "canceled") {
      // Nobody waits for the rest any more; an error may still be the answer.
      this.#transport.deadline.stopWait();
    } else if (!closed && sent === "nothing" && isBrokenFraming(error)) {
      // An answer is still possible: the peer has only sent nonsense.
      this.#transition("bodyBreaks");
      this.#bodyError = error;
    } else {
      this.#transport.close(error);
    }
  };
}

/** Whether the server closes the connection after a response with this status. */
function closesConnection(status: number): boolean {
  return status >= 400 && !KEEP_ALIVE_STATUSES.has(status);
}

/** The header that a last response adds (RFC 9112 §9.6); `null` if the app has set it. */
function makeCloseHeader(headers: HeaderDict): HeaderDict | null {
  const { connection } = headers;
  if (connection === undefined) return CLOSE;
  if (typeof connection !== "string" || hasConnectionClose(headers)) return null;
  return { connection: `${connection}, close` };
}
