import { api, type AppParts, type Socket } from "../../base/app/app.ts";
import {
  cancelAppResult,
  findAppErrorResponse,
  type OutgoingResponse,
  parseAppResult,
  unreadBodyError,
  unsentHeadBodyError,
} from "../../base/app/app_result.ts";
import { contentErrorOf, Request, RequestCore } from "../../base/app/message.ts";
import type { Session, SessionCallbacks, SessionCore } from "../../base/app/session.ts";
import {
  type BodyIn,
  cancelQuietly,
  isWritableBody,
  readerOf,
  whenBodyEnds,
} from "../../base/body/body.ts";
import { cancelUnusedBody, determineSentFraming } from "../../base/body/sent_body.ts";
import { describeConnectionError } from "../../base/connection_error_details.ts";
import type { BodyOutcome } from "../../base/body/body_reader.ts";
import {
  BodyError,
  ConnectionClosedError,
  EmptyPreambleError,
  ProtocolError,
  TlsError,
} from "../../base/errors.ts";
import { hasCause, messageOf, toReadableError } from "../../internal/caught_errors.ts";
import { quote } from "../../internal/quote.ts";
import {
  copyRepeatedLines,
  expectsContinue,
  forbiddenHeaderError,
  hasConnectionClose,
  type HeadersToSend,
} from "../../base/wire/headers.ts";
import { ChunkScanner } from "../../base/wire/chunk.ts";
import { parseHost } from "../../base/host.ts";
import { canBeRebound, isServedHost } from "../../base/wire/host_header.ts";
import { MAX_PREAMBLE_BYTES } from "../../base/wire/limits.ts";
import { mayHaveBody } from "../../base/wire/method.ts";
import {
  checkRequestPrefix,
  formatResponsePreamble,
  parseRequestPreamble,
  preambleTooLargeError,
  type RequestPreamble,
} from "../../base/wire/preamble.ts";
import { markSocketError } from "../transport/connection_errors.ts";
import {
  type ErrorStatus,
  findErrorStatus,
  formatErrorResponse,
  isBrokenFramingError,
  isUnavailableError,
} from "../../base/wire/error_responses.ts";
import { ExchangeRecorder, type ExchangeReporter } from "../../base/app/exchange_recorder.ts";
import { isBrokenBodyError, makeIncomingBody } from "../transport/incoming_body.ts";
import { addLingering, linger } from "./lingering.ts";
import type { ListenerOptions } from "../transport/listener.ts";
import { ServerExchange } from "./server_exchange.ts";
import { PeerProbe } from "./peer_probe.ts";
import { DISTRUSTED_AUTHORITY, DISTRUSTED_AUTHORITY_END, PeerTrust } from "./peer_trust.ts";
import {
  CLOSED_BY_CLIENT,
  CLOSED_BY_SERVER,
  CLOSED_IN_REQUEST,
  describeAppError,
  describeAppFailure,
  describeConnectionFailure,
  describeContentError,
  ENDED_WHILE_IDLE,
  makeEndAfter,
  makeHalfDuplexEnd,
  makeRefusalEnd,
  makeUnreadBodyEnd,
  type SessionEnd,
} from "./session_end.ts";
import type { SlotHolder } from "../transport/slots.ts";
import { Transport } from "../transport/transport.ts";
import { UnframedBody } from "./unframed_body.ts";

const YIELDED_END = makeEndAfter(
  "a response, because its peer had the most slots, and a connection of another peer waited",
);
/** The bytes of a body that count as progress. */
const PROGRESS_BYTES = 65536;
/** The maximum time between two calls of `measureStall` that counts. */
const MAX_GAP_MILLISECONDS = 250;
const CLOSE_HEADERS: HeadersToSend = { connection: "close" };

const CR = 0x0d;
/** The maximum length of a chunked body that gets a content-length for HTTP/1.0. */
const MAX_COLLECTED_BYTES = 65536;

export interface ServerContext extends AppParts, ListenerOptions {
  readonly sessions: Set<Session>;
  /** Connections that were refused, and wait only for their peers to read the response. */
  readonly lingeringConnections: Set<ServerConnection>;
  readonly reportExchange: ExchangeReporter | null;
  readonly unframedNull: boolean;
  /** The canonical names of the server; `null` for hosts that public DNS doesn't resolve. */
  readonly hosts: ReadonlySet<string> | "any" | null;
  isStopping: boolean;
}

export class ServerConnection implements SlotHolder, SessionCallbacks {
  index = -1;
  readonly #context: ServerContext;
  readonly #transport: Transport;
  readonly #socket: Socket;
  readonly session: Session;
  readonly #sessionCore: SessionCore;
  readonly isPeerTrusted: () => boolean;
  readonly #probe = new PeerProbe();
  readonly #peerTrust: PeerTrust;
  readonly peerKey: string;
  isYielding = false;
  /** What the peer had done at the last call of {@linkcode measureStall}, and when that was. */
  #progress = -2;
  #measureTime = 0;
  #stallMilliseconds = 0;
  /**
   * Resolves when the slot is free: at the end of the connection, or earlier if the session is
   * closed while the app still works, or if a refused peer only has to read the response.
   */
  readonly #slotFreed = Promise.withResolvers<void>();
  /** The current exchange, or the last one; `null` before the first byte of the next request. */
  #exchange: ServerExchange | null = null;
  /** How the session has ended. Its last response may still be received by the peer. */
  #ending:
    | "none"
    | "closed"
    | "closed by the client"
    | "closed by the app"
    | "closed within a request" = "none";
  #servePromise: Promise<void> | null = null;
  #lingerPromise: Promise<void> | null = null;
  #waitStart = Infinity;
  /**
   * A request whose method allows no content, until its empty chunked body has arrived. Some
   * proxies add such a body to every request.
   */
  #requestWithEmptyBody: {
    readonly preamble: RequestPreamble;
    readonly preambleBytes: number;
    readonly scanner: ChunkScanner;
  } | null = null;
  readonly #checksHost: boolean;
  /** The host of the last request that was checked; `null` before the first one. */
  #servedHost: string | undefined | null = null;

  /**
   * Makes a connection over a socket, and takes ownership of the socket.
   *
   * @param isPeerTrusted Reports whether the peer is trusted at the time of the call.
   */
  constructor(
    context: ServerContext,
    socket: Socket,
    session: SessionCore,
    isPeerTrusted: () => boolean,
    peerKey: string,
  ) {
    this.#context = context;
    this.#socket = socket;
    this.#sessionCore = session;
    this.session = session.session;
    this.isPeerTrusted = isPeerTrusted;
    this.peerKey = peerKey;
    // A web page of another name reaches neither a Unix socket nor, without a certificate of this
    // name, a server with TLS.
    const isPlain = this.session.address !== null && socket.protocol === undefined;
    this.#checksHost = context.hosts === null ? isPlain : context.hosts !== "any";
    this.#peerTrust = new PeerTrust(this.session, context.logger);
    this.#transport = new Transport(socket, context.timeout, checkRequestPrefix);
    this.#transport.addCloseListener(() => this.#finishSession());
    session.callbacks = this;
  }

  #finishSession(): void {
    if (this.#ending === "none") this.#ending = "closed";
    this.#probe.stop();
    const session = this.session;
    this.#context.sessions.delete(session);
    const { isClosed, failure } = this.#transport;
    // Make the abort reason on demand: most apps don't read it, and an error costs more than a
    // request.
    let abortReason = failure ?? this.#exchange?.bodyError;
    const makeAbortReason = () =>
      abortReason ??= this.#ending === "closed by the client"
        ? new EmptyPreambleError()
        : new ConnectionClosedError(`the session has ended: ${session.message}`);
    this.#exchange?.unframedBody?.cancel(makeAbortReason());
    if (this.#exchange !== null || this.#sessionCore.isResponseAwaited) {
      this.#endExchange(isClosed ? makeAbortReason() : null);
    }
    this.#sessionCore.abort(makeAbortReason);
  }

  #endExchange(error: unknown): void {
    this.#sessionCore.settleResponse(error);
    this.#exchange?.recorder?.end(error);
  }

  onSignalRequested(): void {
    // If `onExchange` reads `session.signal`, the peer isn't probed.
    if (this.#exchange?.recorder?.isReporting) return;
    this.#probe.start(this.#transport, () => {
      const reason = new ConnectionClosedError("the peer has closed the connection");
      this.#sessionCore.abort(() => reason);
      // The body's source may wait forever, and would keep the slot.
      const exchange = this.#exchange;
      if (!exchange?.isStreaming) return;
      cancelQuietly(exchange.response?.body, reason);
      exchange.unframedBody?.cancel(reason);
    });
  }

  /**
   * Closes the connection after the app has closed the session. Has no effect after the last
   * response, which the peer may still be receiving.
   */
  onSessionClosed(reason: unknown): void {
    const message = `closed by the app: ${messageOf(reason)}`;
    this.#closeSession(reason, { level: "debug", message });
  }

  onTrustChanged(): void {
    if (this.isPeerTrusted()) return;
    this.#closeSession(new TlsError("UNTRUSTED", DISTRUSTED_AUTHORITY), DISTRUSTED_AUTHORITY_END);
  }

  #closeSession(reason: unknown, sessionEnd: SessionEnd): void {
    const transport = this.#transport;
    if (this.#ending === "none") {
      this.#ending = "closed by the app";
      this.#recordEnd(sessionEnd);
      transport.close(reason);
    }
    if (transport.isClosed) this.#slotFreed.resolve();
  }

  onLogLine(logLine: string, error?: unknown): void {
    this.#context.logger.info(logLine, { kind: "app", who: `${this.session}`, error });
  }

  /** Whether the connection can be closed without loss: before the first byte of a request. */
  isIdle(): boolean {
    return this.#exchange === null && this.#ending === "none" &&
      this.#transport.readBuffer.bufferedBytes === 0;
  }

  get isClosing(): boolean {
    return this.#transport.isClosed || this.#lingerPromise !== null;
  }

  /**
   * The start of a request and of a response, the end of a request, and 64 KiB of a body are
   * progress. The time of the app doesn't count. Measuring each wait would make every request
   * slower, so only the time between two calls is added.
   */
  measureStall(now: number): number | null {
    const { isClosing } = this;
    const { deadline, movedBytes } = this.#transport;
    const isIdle = this.isIdle();
    const isResponding = this.#exchange !== null && this.#exchange.response !== null;
    const movedPieces = this.isYielding ? 0 : Math.floor(movedBytes / PROGRESS_BYTES);
    const progress = isClosing
      ? -1
      : 3 * this.session.requests + (isIdle ? 0 : isResponding ? 2 : 1) + movedPieces;
    const isWaiting = isClosing ||
      (isIdle ? this.#waitStart <= now : deadline.isWaiting || deadline.isWriting);
    if (progress !== this.#progress) this.#stallMilliseconds = 0;
    else if (isWaiting) {
      this.#stallMilliseconds += Math.min(now - this.#measureTime, MAX_GAP_MILLISECONDS);
    }
    this.#progress = progress;
    this.#measureTime = now;
    if (!isWaiting) return null;
    return isIdle ? now - this.#waitStart : this.#stallMilliseconds;
  }

  /** The reads and writes of the app fail. */
  end(stallMilliseconds: number): void {
    if (this.isIdle()) {
      this.#recordEnd(ENDED_WHILE_IDLE);
      return void this.#linger({ keepsSlot: false });
    }
    const seconds = (stallMilliseconds / 1000).toFixed(1);
    const problem = "ended for a connection that waited for a slot: the peer kept the server " +
      `waiting for ${seconds} s`;
    this.#transport.close(markSocketError(new Deno.errors.TimedOut(problem)));
  }

  close(): void {
    const { isClosed, failure } = this.#transport;
    const isBroken = isClosed && failure !== null;
    this.#sessionCore.end(isBroken ? messageOf(failure) : CLOSED_BY_SERVER.message);
    const isInRequest = this.#ending === "none" && this.#exchange?.bodyError === null;
    if (isInRequest) this.#ending = "closed within a request";
    this.#transport.close();
    this.#slotFreed.resolve();
  }

  get slotFreed(): Promise<void> {
    return this.#slotFreed.promise;
  }

  /** Resolves when the connection is closed and the app has returned. Never rejects. */
  serve(): Promise<void> {
    return this.#servePromise ??= this.#serve();
  }

  async #serve(): Promise<void> {
    try {
      if (await this.#acceptPeer()) {
        const freesSlot = await this.#serveRequests();
        await (this.#lingerPromise ?? this.#linger({ keepsSlot: !freesSlot }));
      }
    } catch (error) {
      this.#logConnectionError(this.#transport.failWith(toReadableError(error)));
    } finally {
      this.#transport.close();
      this.#sessionCore.disposeStore((error) =>
        this.#recordEnd(describeAppError(error, "session.store"))
      );
      this.#slotFreed.resolve();
      this.#context.lingeringConnections.delete(this);
    }
  }

  #linger({ keepsSlot }: { readonly keepsSlot: boolean }): Promise<void> {
    this.#finishSession();
    if (!keepsSlot) {
      addLingering(this.#context.lingeringConnections, this);
      this.#slotFreed.resolve();
    }
    return this.#lingerPromise = linger(this.#transport, this.#socket);
  }

  async #acceptPeer(): Promise<boolean> {
    const { onConnect, sessions } = this.#context;
    if (!this.#checkTrust()) return false;
    let refusalReason: string | null = null;
    try {
      if (onConnect !== null) {
        refusalReason = await this.#sessionCore.acceptPeer(
          await onConnect(this.session, this.#socket),
        );
      }
    } catch (error) {
      if (!isUnavailableError(error)) {
        this.#logFailure(error, "onConnect");
        return false;
      }
      this.#peerTrust.connectError = error;
    }
    const { isClosed, failure } = this.#transport;
    if (isClosed) throw failure ?? new ConnectionClosedError();
    if (refusalReason !== null) {
      this.#recordEnd(makeRefusalEnd(refusalReason));
      return false;
    }
    if (!this.#checkTrust()) return false;
    sessions.add(this.session);
    this.#waitStart = performance.now();
    return true;
  }

  onDistrust(trust: "untrusted" | "anonymous" | "unknown"): void {
    if (!this.#peerTrust.onDistrust(trust)) return;
    // During a request, and before the session is accepted, the loop of requests ends the session.
    const isIdle = this.#exchange === null && this.#ending === "none";
    if (!isIdle || !this.#context.sessions.has(this.session)) return;
    this.#sessionCore.end(this.#peerTrust.distrustReason!);
    void this.#linger({ keepsSlot: false });
  }

  /**
   * Checks that the peer is still trusted: trust may have been withdrawn while the connection
   * waited for a slot or for `onConnect`.
   */
  #checkTrust(): boolean {
    if (this.isPeerTrusted()) return true;
    this.#recordEnd(DISTRUSTED_AUTHORITY_END);
    return false;
  }

  /**
   * Returns whether the slot is free while the connection lingers: after a refused request, or if
   * another connection waits.
   */
  // Hot path: all awaits of a request are in this function, because each further async function
  // costs a promise per request.
  async #serveRequests(): Promise<boolean> {
    const transport = this.#transport;
    const { handle } = this.#context;
    for (;;) {
      const trustChecks = this.#sessionCore.takeTrustChecks();
      if (trustChecks !== null) {
        // Wait for `checkTrusted()` even if the app doesn't: an untrusted peer then gets at most
        // one response.
        await trustChecks;
        const reason = this.#peerTrust.distrustReason;
        if (reason !== null) this.#sessionCore.end(reason);
        if (reason !== null || transport.isClosed || this.#lingerPromise !== null) return false;
      }
      let preamble;
      try {
        while ((preamble = this.#parseRequest()) === null) {
          const hasReceived = transport.endReceive(await transport.beginReceive());
          // The server may have ended the idle session during the read.
          if (this.#lingerPromise !== null) return false;
          if (hasReceived) continue;
          this.#ending = "closed by the client";
          this.#recordEnd(CLOSED_BY_CLIENT);
          transport.close();
          return false;
        }
      } catch (error) {
        if (this.#lingerPromise !== null) return false;
        await this.#respondToInvalidPreamble(error);
        return true;
      }
      const exchange = preamble.framing === null
        ? this.#beginExchange(preamble, null)
        : this.#beginExchangeWithBody(preamble);
      const { request, body } = exchange;
      try {
        try {
          if (this.#peerTrust.connectError !== null) throw this.#peerTrust.connectError;
          exchange.appResult = handle(request, this.session, api);
          if (!Array.isArray(exchange.appResult)) exchange.appResult = await exchange.appResult;
        } catch (thrownValue) {
          const error = toReadableError(thrownValue);
          exchange.appResult = findAppErrorResponse(request, body, error);
          if (exchange.appResult === null) throw error;
        }
        if (exchange.isHttp10) await this.#removeChunks(exchange);
        const remainder = transport.endSend(await this.#beginResponse(exchange));
        if (remainder !== null) await remainder;
        if (exchange.unframedBody !== null) {
          await exchange.unframedBody.send((bytes) => transport.write(bytes));
        }
        exchange.isStreaming = false;
        if (
          exchange.isBodyUnread && this.#ending === "none" && isRelayed(body, exchange.response!)
        ) {
          await new Promise<void>((resolve) => whenBodyEnds(body, resolve));
        }
      } catch (error) {
        return await this.#failResponse(exchange, error);
      }
      if (this.#finishExchange(exchange)) return this.isYielding;
    }
  }

  #parseRequest(): RequestPreamble | null {
    if (this.#requestWithEmptyBody !== null) return this.#parseEmptyBody();
    const { readBuffer } = this.#transport;
    if (readBuffer.bytes[readBuffer.start] === CR) this.#transport.skipEmptyLine();
    const preambleEnd = this.#transport.searchPreamble();
    if (preambleEnd < 0) return null;
    const { bytes, start } = readBuffer;
    const preamble = parseRequestPreamble(bytes, start, preambleEnd);
    if (preamble.isHttps || this.#checksHost && preamble.headers["host"] !== this.#servedHost) {
      this.#checkDestination(preamble);
    }
    if (preamble.framing === "chunked" && !mayHaveBody(preamble.method)) {
      const scanner = new ChunkScanner();
      this.#requestWithEmptyBody = { preamble, preambleBytes: preambleEnd - start, scanner };
      return this.#parseEmptyBody();
    }
    readBuffer.start = preambleEnd;
    return preamble;
  }

  /** Until the body is complete, its bytes count as bytes of the preamble. */
  #parseEmptyBody(): RequestPreamble | null {
    const transport = this.#transport;
    const { preamble, preambleBytes, scanner } = this.#requestWithEmptyBody!;
    const { bytes, start, end } = transport.readBuffer;
    const maxEnd = Math.min(end, start + MAX_PREAMBLE_BYTES);
    let position = start + preambleBytes + scanner.consumedBytes;
    for (let next; (next = scanner.advance(bytes, position, maxEnd)) >= 0; position = next) {
      if (scanner.header.size > 0) {
        throw forbiddenHeaderError("transfer-encoding", "such a request");
      }
    }
    if (scanner.phase !== "done") {
      if (end - start >= MAX_PREAMBLE_BYTES) throw preambleTooLargeError();
      transport.continuePreamble();
      return null;
    }
    transport.endPreambleReceive();
    transport.readBuffer.start = position;
    this.#requestWithEmptyBody = null;
    return { ...preamble, framing: null };
  }

  /** RFC 9110 §7.4. */
  #checkDestination({ headers, isHttps }: RequestPreamble): void {
    if (isHttps && this.#socket.protocol === undefined) {
      throw new ProtocolError("MISDIRECTED", "a request for https on a connection without TLS");
    }
    // The parser has checked that it is one string.
    const host = headers["host"] as string | undefined;
    if (!this.#checksHost || this.#isHostServed(host)) {
      this.#servedHost = host;
      return;
    }
    const [text, advice] = host === undefined ? ["no host", ""] : [
      `the host ${quote(host)}`,
      "; if this is a name of this server, add it to the option hosts",
    ];
    const problem = `a request for ${text}, which the server doesn't serve${advice}`;
    throw new ProtocolError("MISDIRECTED", problem);
  }

  #isHostServed(host: string | undefined): boolean {
    const { hosts } = this.#context;
    if (hosts instanceof Set) return host !== undefined && isServedHost(host, hosts);
    const isLoopbackPeer = parseHost(this.session.address![0])?.reach === "loopback";
    return host === undefined || !canBeRebound(host, isLoopbackPeer);
  }

  #respondToInvalidPreamble(error: unknown): Promise<void> {
    const transport = this.#transport;
    const { bytes, start, end } = transport.readBuffer;
    const failure = transport.failWith(error);
    const status = findErrorStatus(failure, bytes.subarray(start, end));
    if (status === null) throw failure;
    transport.startResponse(null);
    this.#logConnectionError(failure);
    return this.#sendErrorResponse(status);
  }

  /** Not a part of `#beginExchange`, where the closure would cost an allocation without a body. */
  #beginExchangeWithBody(preamble: RequestPreamble): ServerExchange {
    const body = makeIncomingBody(
      api,
      this.#transport,
      (outcome, error) => this.#endBody(exchange, outcome, error),
      "request",
      preamble.framing,
    );
    const exchange = this.#beginExchange(preamble, body);
    return exchange;
  }

  #beginExchange(preamble: RequestPreamble, body: BodyIn): ServerExchange {
    const { method, uri, headers, path, query, isHttp10 } = preamble;
    const { reportExchange } = this.#context;
    const request = new Request(
      new RequestCore(this.session),
      method,
      uri,
      headers,
      body,
      [],
      path,
      query,
    );
    const recorder = reportExchange === null
      ? null
      : new ExchangeRecorder(reportExchange, this.session, request);
    // Read the header before the app, which may change the headers.
    const isCloseRequested = isHttp10 || hasConnectionClose(headers);
    const exchange = new ServerExchange(request, body, isCloseRequested, isHttp10, recorder);
    this.#exchange = exchange;
    this.#transport.startResponse(recorder, body !== null && !isHttp10 && expectsContinue(headers));
    return exchange;
  }

  #beginResponse(exchange: ServerExchange): Promise<number | void> {
    const { method, body } = exchange;
    const transport = this.#transport;
    const response = parseAppResult(exchange.appResult);
    // If the response can't be sent, `#failResponse` cancels the body of this value.
    exchange.appResult = response;
    const { status, reason, headers } = response;
    if (transport.isClosed) throw transport.failure ?? new BodyError("too late");
    const { unframedNull } = this.#context;
    const framing = exchange.unframedBody === null
      ? determineSentFraming(method, status, headers, response.body, unframedNull)
      : undefined;
    // A writable body, such as the body of a proxy's response, may read the request's body while
    // the response is sent.
    const mayReadRequest = body !== null &&
      (isRelayed(body, response) || isWritableBody(response.body) && !readerOf(body).isStopped);
    exchange.announcedEnd = this.#findSessionEnd(exchange, response, mayReadRequest) ??
      (this.isYielding ? YIELDED_END : null);
    if (body !== null && response.body === body) transport.sendAwaitedContinue();
    const closeHeader = exchange.announcedEnd === null ? null : makeCloseHeader(headers);
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
    exchange.recorder?.startResponse(status, length);
    const isHead = method === "HEAD";
    const writePromise = transport.beginSend(length, isHead ? null : response.body, framing);
    exchange.response = response;
    if (isHead) {
      cancelUnusedBody(response.body, unsentHeadBodyError());
    } else if (framing === "chunked") {
      exchange.isStreaming = true;
      this.onSignalRequested();
    }
    return writePromise;
  }

  /**
   * Removes the chunks of a response to HTTP/1.0: a body that ends soon gets a length, and a longer
   * one ends with the connection.
   */
  async #removeChunks(exchange: ServerExchange): Promise<void> {
    const response = exchange.appResult = parseAppResult(exchange.appResult);
    const { body } = response;
    const { "transfer-encoding": coding, ...otherHeaders } = response.headers;
    const headers = copyRepeatedLines(response.headers, otherHeaders);
    const isHead = exchange.method === "HEAD";
    const hasChunks = isWritableBody(body) && body.chunked;
    // The headers announce the body of a response to GET (RFC 9110 §9.3.2).
    const announcesChunks = body === null && coding !== undefined &&
      (isHead || response.status === 304);
    if (!hasChunks && !announcesChunks) return;
    this.#checkChunkedResponse(exchange, response);
    if (isHead || !hasChunks) {
      exchange.appResult = { ...response, headers, body: null };
      if (hasChunks) cancelUnusedBody(body, unsentHeadBodyError());
      return;
    }
    exchange.unframedBody = new UnframedBody(body, MAX_COLLECTED_BYTES);
    exchange.isStreaming = true;
    this.onSignalRequested();
    // Only the source of the body can fail now.
    exchange.response = response;
    const content = await exchange.unframedBody.collect();
    exchange.response = null;
    exchange.appResult = { ...response, headers, body: content };
    exchange.isStreaming = content === null;
    if (content !== null) exchange.unframedBody = null;
  }

  /** Refuses each response that couldn't be sent to a client of HTTP/1.1. */
  #checkChunkedResponse({ method }: ServerExchange, response: OutgoingResponse): void {
    const { status, reason, headers } = response;
    const framing = determineSentFraming(method, status, headers, response.body);
    const buffer = new Uint8Array(MAX_PREAMBLE_BYTES);
    formatResponsePreamble(buffer, status, reason, headers, framing, "response.", null);
  }

  /** Returns whether an error response was sent instead. */
  async #failResponse(exchange: ServerExchange, error: unknown): Promise<boolean> {
    const { response, appResult, body, request } = exchange;
    cancelAppResult(appResult, body, error);
    exchange.unframedBody?.cancel(error);
    const failure = this.#transport.failWith(error);
    const status = this.#logFailure(failure, "the app", request, response !== null);
    if (status !== null) {
      await this.#sendErrorResponse(status);
      cancelQuietly(body, unreadBodyError(status));
    }
    this.#endExchange(failure);
    if (status === null) this.#transport.close();
    return status !== null;
  }

  /** Returns whether it was the last exchange of the session. */
  #finishExchange(exchange: ServerExchange): boolean {
    const { isClosed, failure } = this.#transport;
    const response = exchange.response!;
    // Check again: the app may have read the request body, or a shutdown may have begun.
    const sessionEnd = this.#findSessionEnd(exchange, response) ?? exchange.announcedEnd;
    this.#sessionCore.requests++;
    // The reason was already logged if the connection was closed during the last bytes.
    if (isClosed) throw failure ?? new ConnectionClosedError();
    const contentError = response.status === 400 ? contentErrorOf(exchange.request) : null;
    if (contentError !== null) this.#log(describeContentError(contentError));
    if (sessionEnd === null) {
      this.#waitStart = performance.now();
      this.#endExchange(null);
      this.#exchange = null;
      return false;
    }
    this.#recordEnd(sessionEnd);
    // Cancel the body: the bytes that follow are discarded, and must not be read as the body.
    if (exchange.isBodyUnread) {
      cancelQuietly(exchange.body, unreadBodyError(response.status));
    }
    return true;
  }

  #findSessionEnd(
    { isCloseRequested, isBodyUnread, bodyError }: ServerExchange,
    { status, headers }: OutgoingResponse,
    mayReadRequest = false,
  ): SessionEnd | null {
    if (bodyError !== null) return describeConnectionFailure(bodyError);
    if (!mayReadRequest && isBodyUnread) return makeUnreadBodyEnd(status);
    // Clients stop sending at an error status (RFC 9112 §9.5).
    if (mayReadRequest && status >= 400) {
      return makeEndAfter(
        `a response with status ${status} to a request that was not yet received`,
      );
    }
    const closeHeaderOwner = hasConnectionClose(headers)
      ? "response"
      : isCloseRequested
      ? "request"
      : null;
    if (closeHeaderOwner !== null) {
      return makeEndAfter(`a ${closeHeaderOwner} with connection: close (status ${status})`);
    }
    const { distrustReason } = this.#peerTrust;
    if (distrustReason !== null) return makeEndAfter(distrustReason);
    const { maxRequests, requests } = this.session;
    if (requests + 1 >= maxRequests) return makeEndAfter(`the limit of ${maxRequests} requests`);
    return this.#context.isStopping ? makeEndAfter("the server is shutting down") : null;
  }

  /**
   * @param hasValidResponse Whether the response was valid, so that only its body source can have
   * failed.
   * @returns The status of the error response to send instead; `null` if none can be sent.
   */
  #logFailure(
    error: unknown,
    source: string,
    request?: Request,
    hasValidResponse = false,
  ): ErrorStatus | null {
    const { isClosed, failure, sendState } = this.#transport;
    if (isClosed || failure !== null) {
      this.#logConnectionError(failure ?? error);
      return null;
    }
    // After the peer has closed the connection, operations and body sources of the app fail: these
    // failures aren't errors of the app.
    const isClosedError = (cause: unknown) => cause instanceof ConnectionClosedError;
    if (this.#probe.hasPeerClosed && (hasValidResponse || hasCause(error, isClosedError))) {
      const message = `the peer has disconnected; the response ended with ${messageOf(error)}`;
      this.#recordEnd({ level: "debug", message });
      return null;
    }
    const bodyError = this.#exchange === null ? null : this.#exchange.bodyError;
    const isBodyError = bodyError !== null && hasCause(error, (cause) => cause === bodyError);
    if (isBodyError) this.#logConnectionError(bodyError);
    else this.#recordEnd(describeAppFailure(error, source, request, hasValidResponse));
    if (sendState !== "nothing") return null;
    if (isBodyError) return 400;
    // Another server has broken off the body, which was collected for HTTP/1.0.
    if (hasValidResponse && isBrokenBodyError(error)) return 502;
    return isUnavailableError(error) ? 503 : 500;
  }

  async #sendErrorResponse(status: ErrorStatus): Promise<void> {
    const bytes = formatErrorResponse(status);
    this.#transport.recorder?.startResponse(status, bytes.length);
    await this.#transport.write(bytes);
  }

  #logConnectionError(error: unknown): void {
    if (this.#ending === "closed by the app") return;
    const { isClosed, failure } = this.#transport;
    if (!isClosed || failure !== null) {
      const reason = failure ?? error;
      const isHalfDuplex = this.#isReadingRequest() &&
        typeof describeConnectionError(reason)?.unreadSeconds === "number";
      return this.#recordEnd(
        isHalfDuplex ? makeHalfDuplexEnd(reason) : describeConnectionFailure(reason),
      );
    }
    const isInRequest = this.#ending === "closed within a request";
    this.#recordEnd(isInRequest ? CLOSED_IN_REQUEST : CLOSED_BY_SERVER);
  }

  /** Whether the body of the response reads the body of the request. */
  #isReadingRequest(): boolean {
    if (this.#exchange === null) return false;
    const { body, isBodyUnread, response } = this.#exchange;
    return isBodyUnread && body!.used && response !== null && isWritableBody(response.body);
  }

  #recordEnd(sessionEnd: SessionEnd): void {
    this.#sessionCore.end(sessionEnd.message);
    this.#log(sessionEnd);
  }

  #log({ level, kind = "other", message, logLine = message, error }: SessionEnd): void {
    const who = `${this.session}`;
    this.#context.logger[level](`${who}: ${logLine}`, { kind, who, error });
  }

  #endBody(exchange: ServerExchange, outcome: BodyOutcome, error: unknown): void {
    const { isClosed, sendState } = this.#transport;
    if (outcome === "consumed") {
      exchange.isBodyUnread = false;
    } else if (outcome === "canceled") {
      // No read waits for the rest of the body. An error response may still be sent.
      this.#transport.deadline.stopWait();
    } else if (!isClosed && sendState === "nothing" && isBrokenFramingError(error)) {
      // The framing is broken, but the socket works: an error response can still be sent.
      exchange.isBodyUnread = false;
      exchange.bodyError = error;
    } else {
      this.#transport.close(error);
    }
  }
}

/**
 * Reports whether the app has responded while it still writes the body of the request, for example
 * to another server. The session then continues after this body. An error status refuses the body.
 */
function isRelayed(body: BodyIn, { status }: OutgoingResponse): boolean {
  return body !== null && status < 400 && readerOf(body).isBeingWritten;
}

function makeCloseHeader(headers: HeadersToSend): HeadersToSend | null {
  const { connection } = headers;
  if (connection === undefined) return CLOSE_HEADERS;
  const text = Array.isArray(connection) ? connection.join(", ") : connection;
  if (typeof text !== "string" || hasConnectionClose(headers)) return null;
  return { connection: `${text}, close` };
}
