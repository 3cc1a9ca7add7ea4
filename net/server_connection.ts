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
  errorAnswer,
  type ErrorStatus,
  isBrokenFraming,
  statusOfPreamble,
} from "./error_responses.ts";
import { ExchangeWatch, type ReportExchange } from "./exchange_recorder.ts";
import { type BodyOver, hasBrokenBody, makeIncomingBody } from "./incoming_body.ts";
import { addLingering, linger } from "./lingering.ts";
import type { ListenerSide } from "./listener.ts";
import type { LogDetails } from "./logger.ts";
import {
  impossibleEvent,
  SERVER,
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
type LineCategory = "debug" | "warn" | "error" | LogDetails["kind"];

/** Why a response is the last one of its session. */
interface LastResponse {
  readonly at: LineCategory;
  readonly why: string;
  readonly line?: string;
  /** The error of the peer that is told. */
  readonly error?: unknown;
}

/** A request, from the end of its preamble to the end of its response. */
interface Answering {
  readonly request: Request;
  /** The method and the body of the request, which the app may change in its `Request`. */
  readonly method: Method;
  readonly body: BodyIn;
  /** Whether the request has asked for the end of the connection. */
  readonly isLast: boolean;
  /** What the app has returned. */
  returned: unknown;
  /** Why the session ends, if the response has told the client that. */
  told: LastResponse | null;
  /** What is being sent: it was valid, so only the source of its body can fail. */
  answer: OutgoingResponse | null;
}

/**
 * Milliseconds between two checks whether the peer is still there, once the app has asked for the
 * signal. The first check finds bytes that the peer had sent before; the second finds that the peer
 * has left.
 */
const WATCH_MILLISECONDS = 300;

/** The properties that all connections of a server share. */
export interface ServerContext extends AppParts, ListenerSide {
  /** The sessions that were accepted and have not ended. */
  readonly sessions: Set<Session>;
  /** The connections that have been refused, and only wait for their peers to read the answer. */
  readonly lingering: Set<ServerConnection>;
  /** Takes the figures of exchanges; `null` if nobody wants them. */
  readonly report: ReportExchange | null;
  /** Whether a body of `null` is sent without framing. */
  readonly unframedNull: boolean;
  /** True once no further request will be answered. */
  stopping: boolean;
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
  #figures: ExchangeWatch | null = null;
  #watching: Interval | undefined;
  /** Whether `onExchange` runs: if it asks for the signal, nobody has to watch the peer. */
  #isReporting = false;
  #peerLeft = false;
  /** The body of unknown length that is being sent, which ends with its client. */
  #streaming: unknown = null;
  /**
   * Resolves when the slot is free: at the end, or earlier once the session is closed while the app
   * still works, or once the peer only has to read why it was refused.
   */
  readonly #served = Promise.withResolvers<void>();
  #over: Promise<void> | null = null;
  /** The lingering after the session; `null` before. */
  #lingered: Promise<void> | null = null;
  /** The time at which the last wait for a request began; `Infinity` before the first one. */
  #waitStart = Infinity;
  /** The error with which the peer broke the body of a request that is still to be answered. */
  #broken: unknown = null;
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
    this.#transport.addCloseListener(() => this.#end());
    setSessionCallbacks(session, this);
  }

  /**
   * Enters the state that follows an event. If the table has none, this ends the connection and
   * throws.
   */
  #on(event: ServerEvent): void {
    const next = SERVER[this.#state][event];
    if (next === undefined) {
      const error = impossibleEvent(event, this.#state);
      this.#endSession("error", messageOf(error), stackOf(error), error);
      this.#transport.close(error);
      // The slot is free at once, even if the app never returns.
      this.#served.resolve();
      throw error;
    }
    this.#state = next;
  }

  /** Ends the session: the last response has been sent, or the connection has been closed. */
  #end(): void {
    this.#on("ends");
    clearInterval(this.#watching);
    const session = this.session;
    this.#context.sessions.delete(session);
    const { closed, failure } = this.#transport;
    // The reason is made on demand: most apps don't look at it, and an error costs more than a
    // request.
    let reason = failure ?? this.#broken;
    const makeReason = () =>
      reason ??= this.#state === "endedByPeer"
        ? new EmptyPreambleError()
        : new ConnectionClosedError(`the session has ended: ${session.message}`);
    if (this.#figures !== null) this.#endExchange(closed ? makeReason() : null);
    abortSession(session, makeReason);
  }

  #endExchange(error: unknown): void {
    this.#isReporting = true;
    this.#figures?.end(error);
    this.#isReporting = false;
  }

  /**
   * Checks from time to time whether the peer is still there while the app works. Between requests,
   * and while a body is read, a pending read notices the end of the peer.
   */
  onSignalRequested(): void {
    if (this.#watching !== undefined || this.#isReporting) return;
    const onEnd = () => {
      this.#peerLeft = true;
      const reason = new ConnectionClosedError("the peer has closed the connection");
      abortSession(this.session, () => reason);
      // The body's source may wait for ever, and would keep the slot. The watch goes on, for a body
      // that begins later.
      cancelQuietly(this.#streaming, reason);
    };
    this.#watching = startInterval(() => this.#transport.watch(onEnd), WATCH_MILLISECONDS);
  }

  /**
   * Ends the connection, since the app has closed the session. Once the last response has been
   * sent, closing has no effect: the peer may still be receiving that response.
   */
  onSessionClosed(reason: unknown): void {
    const transport = this.#transport;
    const before = this.#state;
    this.#on("appCloses");
    if (this.#state !== before) {
      this.#endSession("debug", `closed by the app: ${messageOf(reason)}`);
      transport.close(reason);
    }
    if (transport.closed) this.#served.resolve();
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
    this.#served.resolve();
  }

  /** Resolves when the session has ended or was closed; the app may never return. Never rejects. */
  get ended(): Promise<void> {
    return this.#served.promise;
  }

  /**
   * Answers requests until {@linkcode ended}. Resolves when nothing of the connection is left, the
   * app included. Never rejects. A further call returns the same promise.
   */
  serve(): Promise<void> {
    return this.#over ??= this.#serve();
  }

  async #serve(): Promise<void> {
    try {
      if (await this.#accept()) {
        const isRefused = await this.#serveRequests();
        await (this.#lingered ?? this.#linger({ keepsSlot: !isRefused }));
      }
    } catch (error) {
      this.#report(this.#transport.breakWith(error));
    } finally {
      this.#transport.close();
      disposeStore(this.session, (error) => this.#reportApp(error, "session.store"));
      this.#served.resolve();
      this.#context.lingering.delete(this);
    }
  }

  /** Ends the session, and waits until the peer could read the last response. */
  #linger({ keepsSlot }: { readonly keepsSlot: boolean }): Promise<void> {
    this.#end();
    if (!keepsSlot) {
      addLingering(this.#context.lingering, this);
      this.#served.resolve();
    }
    return this.#lingered = linger(this.#transport, this.#socket);
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
      this.#fail(error, "onConnect");
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
        while ((preamble = this.#takeRequest()) === null) {
          const hasReceived = transport.endReceive(await transport.beginReceive());
          // An idle session may have been ended meanwhile.
          if (this.#lingered !== null) return false;
          if (hasReceived) continue;
          this.#on("peerEnds");
          this.#endSession("debug", PEER_ENDED, PEER_ENDED_LINE);
          transport.close();
          return false;
        }
      } catch (error) {
        if (this.#lingered !== null) return false;
        return await this.#refuseRequest(error);
      }
      const answering = this.#beginExchange(preamble);
      const { request, body } = answering;
      try {
        try {
          answering.returned = handle(request, this.session, api);
          if (!Array.isArray(answering.returned)) answering.returned = await answering.returned;
        } catch (error) {
          answering.returned = responseForAppError(request, body, error);
          if (answering.returned === null) throw error;
        }
        const rest = transport.endSend(await this.#beginResponse(answering));
        if (rest !== null) await rest;
        this.#streaming = null;
      } catch (error) {
        return await this.#refuseToAnswer(answering, error);
      }
      if (this.#finishExchange(answering)) return false;
    }
  }

  /** Takes a request out of the bytes that have arrived; `null` if more must be received. */
  #takeRequest(): RequestPreamble | null {
    const { reader } = this.#transport;
    const end = this.#transport.searchPreamble();
    if (end < 0) return null;
    const preamble = parseRequestPreamble(reader.bytes, reader.start, end);
    reader.start = end;
    return preamble;
  }

  /** Answers bytes that are no request, if they are HTTP. */
  #refuseRequest(error: unknown): Promise<true> {
    const transport = this.#transport;
    const { bytes, start, end } = transport.reader;
    const failure = transport.breakWith(error);
    const status = statusOfPreamble(failure, bytes.subarray(start, end));
    if (status === null) throw failure;
    transport.beginAnswer(null);
    this.#report(failure);
    return this.#refuse(status);
  }

  /** Makes what the app gets. */
  #beginExchange({ method, uri, headers, framing, path, query }: RequestPreamble): Answering {
    const transport = this.#transport;
    const { report } = this.#context;
    if (framing === null) this.#on("request");
    else {
      this.#on("requestWithBody");
      this.#expectation = headers["expect"];
    }
    const body = makeIncomingBody(api, transport, this.#bodyOver, "request", framing);
    const request = new Request(INTERNAL, method, uri, headers, body, [], path, query);
    this.#figures = report === null ? null : new ExchangeWatch(report, this.session, request);
    transport.beginAnswer(this.#figures);
    return {
      request,
      method,
      body,
      // The headers are read before the app gets them, which may change them.
      isLast: hasConnectionClose(headers),
      returned: undefined,
      told: null,
      answer: null,
    };
  }

  /** Begins to send what the app has returned. */
  #beginResponse(answering: Answering): Promise<number | void> {
    const { method, body } = answering;
    const transport = this.#transport;
    const answer = parseAppResult(answering.returned);
    // Its body is canceled, too, if that is not sent.
    answering.returned = answer;
    if (transport.closed) throw transport.failure ?? new BodyError("too late");
    const { status, reason, headers } = answer;
    const { unframedNull } = this.#context;
    const framing = responseFraming(method, body, answer, unframedNull);
    // A body that writes itself, as in a proxy, may read the request's body while it is sent.
    const mayReadRequest = isWritable(answer.body) && body !== null && !readerOf(body).isStopped;
    answering.told = this.#whyLast(answering, answer, mayReadRequest);
    const added = answering.told === null ? null : makeCloseHeader(headers);
    const buffer = transport.beginMessage();
    const length = formatResponsePreamble(
      buffer,
      status,
      reason,
      headers,
      framing,
      "response.",
      added,
    );
    transport.endPreamble(buffer, length);
    this.#figures?.respond(status, length);
    const isHead = method === "HEAD";
    const sending = transport.beginSend(length, isHead ? null : answer.body, framing);
    answering.answer = answer;
    if (isHead) {
      cancelUnused(answer.body, bodyToHeadError());
    } else if (framing === "chunked") {
      this.#streaming = answer.body;
      this.onSignalRequested();
    }
    return sending;
  }

  /**
   * Ends an exchange whose response can't be sent, or not to its end; returns whether an error was
   * sent in its place.
   */
  async #refuseToAnswer(answering: Answering, error: unknown): Promise<boolean> {
    const { answer, returned, body, request } = answering;
    cancelAppResult(returned, body, error);
    const failure = this.#transport.breakWith(error);
    const status = this.#fail(failure, "the app", request, answer !== null);
    if (status !== null) {
      await this.#refuse(status);
      cancelQuietly(body, unreadError(status));
    }
    this.#endExchange(failure);
    if (status === null) this.#transport.close();
    return status !== null;
  }

  /** Ends an exchange whose response was sent; returns whether it was the last one. */
  #finishExchange(answering: Answering): boolean {
    const { closed, failure } = this.#transport;
    const answer = answering.answer!;
    // While the response was sent, a body may have been read, and the server begun to stop.
    const last = this.#whyLast(answering, answer) ?? answering.told;
    countRequest(this.session);
    // If the connection was closed during the last bytes, the reason has been reported already.
    if (closed) throw failure ?? new ConnectionClosedError();
    if (last === null) {
      this.#on("answered");
      this.#waitStart = performance.now();
      this.#endExchange(null);
      return false;
    }
    const { at, why, line = `ended after ${why}`, error } = last;
    this.#endSession(at, why, line, error);
    // The bytes that follow are dropped, and none of them may be read as the body.
    if (this.#state === "unread") cancelQuietly(answering.body, unreadError(answer.status));
    return true;
  }

  /**
   * Why the answer to a request is the last one; `null` if it is not.
   *
   * @param mayReadRequest Whether the response's own body may still read the request's body.
   */
  #whyLast(
    { isLast }: Answering,
    { status, headers }: OutgoingResponse,
    mayReadRequest = false,
  ): LastResponse | null {
    if (this.#state === "broken") {
      const why = messageOf(this.#broken);
      return { at: "protocol", why, line: why, error: this.#broken };
    }
    const last = (at: LineCategory, why: string): LastResponse => ({ at, why });
    // Any peer can send a body that its app does not want, so such a body is no error of the app.
    if (!mayReadRequest && this.#state === "unread") {
      return last("body", `the body of a request was left unread (status ${status})`);
    }
    const closes = hasConnectionClose(headers) ? "response" : isLast ? "request" : null;
    if (closes !== null) {
      return last("debug", `a ${closes} with connection: close (status ${status})`);
    }
    if (closesConnection(status)) return last("debug", `a response with status ${status}`);
    if (this.#isAtLimit) return last("debug", `the limit of ${this.session.maxRequests} requests`);
    return this.#context.stopping ? last("debug", "the server is shutting down") : null;
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
  #fail(error: unknown, where: string, request?: Request, isSending = false): ErrorStatus | null {
    const { closed, failure, sent } = this.#transport;
    if (closed || failure !== null) {
      this.#report(failure ?? error);
      return null;
    }
    // If the peer has left, two failures are no mistake of the app: an operation that rejected for
    // this reason, and a failure of the source of a body, whose rest nobody wants.
    if (this.#peerLeft && (isSending || error instanceof ConnectionClosedError)) {
      this.#endSession("debug", `the peer has left; the response ended with ${messageOf(error)}`);
      return null;
    }
    const isOfRequest = this.#state === "broken" && error === this.#broken;
    if (isOfRequest) {
      this.#report(error);
    } else if (request !== undefined && isTooLong(request.body, error)) {
      // Any peer can send such a body, so this is no error of the app.
      this.#endSession(
        "body",
        `the body of a request is too long for the app: ${messageOf(error)}; ${TOO_LONG_HINT}`,
      );
    } else if (isSending && hasBrokenBody(error)) {
      // This connection is open, so what broke is another one: that of a proxy to its upstream.
      const why = `the source of a response's body broke off: ${messageOf(error)}`;
      this.#endSession("warn", why, why, error);
    } else {
      this.#reportApp(error, where, request);
    }
    if (sent !== "nothing") return null;
    return isOfRequest ? 400 : 500;
  }

  /** Answers what can't be accepted, or sent. Nothing behind it is processed. */
  async #refuse(status: ErrorStatus): Promise<true> {
    const bytes = errorAnswer(status);
    this.#transport.exchange?.respond(status, bytes.length);
    await this.#transport.write(bytes);
    return true;
  }

  /** Reports a failure of the peer, the network or the deadline. */
  #report(error: unknown): void {
    if (this.#state === "closedByApp") return;
    const { closed, failure } = this.#transport;
    if (closed && failure === null) return this.#endSession("debug", "closed by the server");
    const broke = failure ?? error;
    const timedOut = broke instanceof Deno.errors.TimedOut;
    let hint = "";
    if (timedOut && this.#expectation !== undefined) {
      // A client may have waited for an interim response (RFC 9110 §10.1.1).
      hint = `; its request has expect: ${quote(String(this.#expectation))}, but no interim ` +
        "response is ever sent: set the client not to wait for one";
    }
    const at = timedOut ? "timeout" : broke instanceof ProtocolError ? "protocol" : "debug";
    const why = messageOf(broke) + hint;
    this.#endSession(at, why, why, broke);
  }

  #reportApp(error: unknown, where: string, request?: Request): void {
    const what = request === undefined ? "" : `\n    for ${request.method} ${quote(request.uri)}`;
    const why = `an error of ${where}: `;
    this.#endSession("app", why + messageOf(error), why + stackOf(error) + what, error);
  }

  /**
   * Ends the session and reports why. The session keeps the first reason.
   *
   * @param at The level of the line, or its kind at level `info`.
   * @param line The line of the log.
   * @param error The error of the peer, the network or the deadline that has ended it.
   */
  #endSession(at: LineCategory, why: string, line = why, error?: unknown): void {
    endSession(this.session, why);
    const { logger } = this.#context;
    const who = `${this.session}`;
    const text = `${who}: ${line}`;
    const isLevel = at === "debug" || at === "warn" || at === "error";
    const level = isLevel ? at : at === "app" ? "error" : "info";
    logger[level](text, { kind: isLevel ? "other" : at, who, error });
  }

  readonly #bodyOver: BodyOver = (end, error) => {
    const { closed, sent } = this.#transport;
    if (end === "consumed") {
      this.#on("bodyRead");
      this.#expectation = undefined;
    } else if (end === "canceled") {
      // Nobody waits for the rest any more; an error may still be the answer.
      this.#transport.deadline.stopWait();
    } else if (!closed && sent === "nothing" && isBrokenFraming(error)) {
      // An answer is still possible: the peer has only sent nonsense.
      this.#on("bodyBreaks");
      this.#broken = error;
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
