import { api, type AppParts, type Socket } from "../../base/app/app.ts";
import { findAppErrorResponse, unreadBodyError } from "../../base/app/app_result.ts";
import type { ExchangeReporter } from "../../base/app/exchange_recorder.ts";
import { findContentError, RequestContext } from "../../base/app/message.ts";
import { unknownTrustError } from "../../base/app/peer_identity.ts";
import { type Session, type SessionCallbacks, SessionCore } from "../../base/app/session.ts";
import { cancelQuietly } from "../../base/body/body.ts";
import {
  ConnectionClosedError,
  ConnectionError,
  EmptyPreambleError,
  TlsError,
} from "../../base/errors.ts";
import {
  type ErrorStatus,
  findErrorStatus,
  formatErrorResponse,
  isUnavailableError,
} from "../../base/wire/error_responses.ts";
import { messageOf, toReadableError } from "../../internal/caught_errors.ts";
import type { AcceptedConnection, ListenerOptions } from "../transport/listener.ts";
import { Deadline, startInterval, type Timer } from "../transport/deadline.ts";
import { SlotHolder } from "../transport/slots.ts";
import { RequestReader, type ServedHosts } from "../protocol/request_reader.ts";
import { type LastRequestReason, ServerProtocol } from "../protocol/server_protocol.ts";
import { MessageSender, type SendListener } from "../transport/message_sender.ts";
import { Transport, type TransportUser } from "../transport/transport.ts";
import { addLingering, linger } from "./lingering.ts";
import { ServerExchange } from "./server_exchange.ts";
import { writeUnchunked } from "./unchunked_body.ts";
import {
  CLOSED_BY_CLIENT,
  CLOSED_BY_SERVER,
  describeAppError,
  describeContentError,
  describeLastRequest,
  ENDED_WHILE_IDLE,
  makeRefusalEnd,
  type SessionEnd,
  SessionEndRecorder,
} from "./session_end.ts";

const DISTRUSTED_AUTHORITY = "the client's authority is not trusted any more";
const DISTRUSTED_AUTHORITY_END = makeRefusalEnd(`UNTRUSTED: ${DISTRUSTED_AUTHORITY}`);
/** The bytes of a body that count as progress. */
const PROGRESS_BYTES = 65536;
/**
 * Milliseconds between two checks for a close by the peer, once the app has read `session.signal`.
 * The first check may find bytes that the peer sent before its close; the second check finds the
 * close.
 */
const PROBE_MILLISECONDS = 300;
/**
 * The number of time-outs that a write may take. If the system's send buffer of up to 4 MB is full,
 * a write waits until a third is free: at 16 KB/s more than a minute.
 */
const WRITE_TIMEOUTS = 8;

export interface ServerState extends AppParts, Omit<ListenerOptions, "onConnection"> {
  readonly sessions: Set<Session>;
  /** Connections without a slot, which wait only for their peers to read the last response. */
  readonly lingeringConnections: Set<ServerConnection>;
  readonly reportExchange: ExchangeReporter | null;
  readonly unframedNull: boolean;
  readonly hosts: ServedHosts;
  readonly maxRequests: number;
  isStopping: boolean;
}

export class ServerConnection extends SlotHolder
  implements SessionCallbacks, TransportUser, SendListener {
  readonly #serverState: ServerState;
  readonly #transport: Transport;
  readonly #sender: MessageSender;
  readonly #protocol: ServerProtocol;
  readonly #endRecorder: SessionEndRecorder;
  readonly #socket: Socket;
  readonly session: Session;
  readonly #sessionCore: SessionCore;
  readonly #requestContext: RequestContext;
  /** Reports whether the peer is trusted at the time of the call. */
  readonly isPeerTrusted: () => boolean;
  readonly peerKey: string;
  /**
   * Resolves when the slot is free: at the end of the connection, or earlier if the session is
   * closed while the app still works, or if the peer only has to read the last response.
   */
  readonly #slotFreed = Promise.withResolvers<void>();
  /** The current exchange, or the last one; `null` until the next preamble was parsed. */
  #exchange: ServerExchange | null = null;
  #servePromise: Promise<void> | null = null;
  #lingerPromise: Promise<void> | null = null;
  /** Each rejects a wait for `isTrusted`; `null` before the first one. */
  #trustWaits: Set<(error: unknown) => void> | null = null;
  /** Between requests, and while a body is read, a pending read notices a close; else the probe. */
  #probeTimer: Timer | undefined;

  /** Takes ownership of the socket. */
  constructor(
    serverState: ServerState,
    { name, address, peerKey, socket, isPeerTrusted }: AcceptedConnection,
  ) {
    super();
    const { timeout, logger, hosts, maxRequests } = serverState;
    const certificate = socket.peerCertificate ?? null;
    const sessionCore = new SessionCore(name, address, maxRequests, certificate);
    const transport = new Transport(socket, timeout, this);
    this.#serverState = serverState;
    this.#socket = socket;
    this.#sessionCore = sessionCore;
    this.session = sessionCore.session;
    this.#requestContext = new RequestContext(this.session);
    this.isPeerTrusted = isPeerTrusted;
    this.peerKey = peerKey;
    this.#transport = transport;
    this.#sender = new MessageSender(transport, this);
    const isEncrypted = socket.protocol !== undefined;
    this.#protocol = new ServerProtocol(
      new RequestReader(transport.readBuffer, isEncrypted, this.session.address, hosts),
    );
    this.#endRecorder = new SessionEndRecorder(sessionCore, transport, this.#protocol, logger);
    transport.addCloseListener(() => {
      this.#protocol.close();
      this.#finishSession();
    });
    sessionCore.callbacks = this;
  }

  beforeRead(): Promise<void> | null {
    return this.#sender.sendAwaitedContinue();
  }

  onReadAhead(count: number): void {
    if (count > 0) this.#sender.endContinue();
  }

  /** The waits for a request, for the rest of its preamble, and for bytes of its body. */
  get wait(): string | null {
    const { isReceiving, readCount } = this.#transport;
    const exchange = this.#exchange;
    if (exchange !== null) return exchange.isBodyAwaited ? `body ${readCount}` : null;
    return isReceiving ? `request ${this.session.requests} ${this.#protocol.requests.step}` : null;
  }

  get writeTimeouts(): number {
    return WRITE_TIMEOUTS;
  }

  findStall(): null {
    return null;
  }

  onClose(failure: unknown): boolean {
    this.#sender.close(failure);
    return false;
  }

  onSent(count: number): void {
    this.#exchange?.recorder?.countSent(count);
  }

  /** The peer may still be receiving the last response. */
  #finishSession(): void {
    clearInterval(this.#probeTimer);
    this.#serverState.sessions.delete(this.session);
    const { isClosed, failure } = this.#transport;
    // Make the abort reason on demand: most apps don't read it, and an error costs more than a
    // request.
    let abortReason = failure ?? this.#exchange?.bodyError;
    const makeAbortReason = () =>
      abortReason ??= new ConnectionClosedError(`the session has ended: ${this.session.message}`);
    // The peer may still be trusted.
    for (const endWait of this.#trustWaits ?? []) {
      endWait(unknownTrustError("the session has ended during isTrusted()", makeAbortReason()));
    }
    const unchunkedBody = this.#exchange?.unchunkedBody ?? null;
    if (unchunkedBody !== null) cancelQuietly(unchunkedBody, makeAbortReason());
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
    if (this.#probeTimer !== undefined || this.#exchange?.recorder?.isReporting) return;
    // A late timer may run before the events of other sockets, such as a response for a client that
    // has closed only its writing side. So the probe must find the close twice during a request.
    let requestsAtClose: number | null = null;
    const onClose = () => {
      const { requests } = this.session;
      if (requestsAtClose !== requests) {
        requestsAtClose = requests;
        return;
      }
      const reason = new ConnectionClosedError("the peer has closed the connection");
      this.#sessionCore.abort(() => reason);
      this.#exchange?.cancelStream(reason);
    };
    // The timer continues after a close, because another body may begin later.
    const probe = () => this.#transport.probePeer(onClose);
    this.#probeTimer = startInterval(probe, PROBE_MILLISECONDS);
  }

  /**
   * Closes the connection after the app has closed the session. Has no effect after the last
   * response, which the peer may still be receiving.
   */
  onSessionClosed(reason: unknown): void {
    const message = `closed by the app: ${messageOf(reason)}`;
    this.#closeSession(reason, { level: "debug", message });
  }

  onTrustChanged(keepsResponse: boolean): void {
    if (this.isPeerTrusted()) return;
    const { phase } = this.#protocol;
    if (keepsResponse && (phase === "answering" || phase === "distrusted")) {
      return this.#protocol.distrust();
    }
    this.#closeSession(new TlsError("UNTRUSTED", DISTRUSTED_AUTHORITY), DISTRUSTED_AUTHORITY_END);
  }

  #closeSession(reason: unknown, sessionEnd: SessionEnd): void {
    const transport = this.#transport;
    if (!this.isClosing) {
      this.#protocol.dismiss();
      this.#endRecorder.record(sessionEnd);
      transport.close(reason);
    }
    if (transport.isClosed) this.#slotFreed.resolve();
  }

  onLogLine(logLine: string, error?: unknown): void {
    this.#serverState.logger.info(logLine, { kind: "app", who: `${this.session}`, error });
  }

  get isClosing(): boolean {
    return this.#protocol.isClosing;
  }

  /** Whether the connection can be closed without loss: before the first byte of a request. */
  get isIdle(): boolean {
    return this.#protocol.isIdle;
  }

  /**
   * The start of a request and of a response, the end of a request, and 64 KiB of a body are
   * progress. The time of the app doesn't count.
   */
  measureStall(now: number): number | null {
    const transport = this.#transport;
    const { phase, isClosing, idleSince } = this.#protocol;
    const isBetweenRequests = phase === "idle";
    const isResponding = this.#exchange?.hasValidResponse === true;
    const movedPieces = this.isYielding ? 0 : Math.floor(transport.movedBytes / PROGRESS_BYTES);
    const progress = isClosing
      ? -1
      : 3 * this.session.requests + (isBetweenRequests ? 0 : isResponding ? 2 : 1) + movedPieces;
    const isWaiting = isClosing || isBetweenRequests || transport.isWaiting;
    const stallMilliseconds = this.measureProgress(now, progress, isWaiting);
    if (!isWaiting) return null;
    return isBetweenRequests ? now - idleSince : stallMilliseconds;
  }

  /** The reads and writes of the app fail. */
  end(stallMilliseconds: number): void {
    if (this.isIdle) {
      this.#endRecorder.record(ENDED_WHILE_IDLE);
      return void this.#linger();
    }
    const seconds = (stallMilliseconds / 1000).toFixed(1);
    const problem = "ended for a connection that waited for a slot: the peer kept the server " +
      `waiting for ${seconds} s`;
    this.#transport.close(new ConnectionError(problem, { fault: "timed out" }));
  }

  close(): void {
    const { isClosed, failure } = this.#transport;
    const isBroken = isClosed && failure !== null;
    this.#sessionCore.end(isBroken ? messageOf(failure) : CLOSED_BY_SERVER.message);
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
        await this.#serveRequests();
        await this.#linger();
      }
    } catch (error) {
      const failure = this.#sender.failWith(toReadableError(error));
      this.#endRecorder.recordConnectionError(failure, this.#exchange);
    } finally {
      this.#transport.close();
      this.#protocol.end();
      this.#sessionCore.disposeStore((error) =>
        this.#endRecorder.record(describeAppError(error, "session.store"))
      );
      this.#slotFreed.resolve();
      this.#serverState.lingeringConnections.delete(this);
    }
  }

  #linger(): Promise<void> {
    if (this.#lingerPromise !== null) return this.#lingerPromise;
    this.#protocol.linger();
    this.#finishSession();
    if (!this.#transport.isClosed) addLingering(this.#serverState.lingeringConnections, this);
    this.#slotFreed.resolve();
    return this.#lingerPromise = linger(this.#transport, this.#socket);
  }

  async #acceptPeer(): Promise<boolean> {
    const { onConnect, sessions } = this.#serverState;
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
        this.#endRecorder.recordFailure(error, "onConnect", null);
        return false;
      }
      // A value with such a mark is an object.
      this.#sessionCore.failTrustChecks(error as object);
    }
    const { isClosed, failure } = this.#transport;
    if (isClosed) throw failure ?? new ConnectionClosedError();
    if (refusalReason !== null) {
      this.#endRecorder.record(makeRefusalEnd(refusalReason));
      return false;
    }
    if (!this.#checkTrust()) return false;
    sessions.add(this.session);
    this.#protocol.accept(performance.now());
    return true;
  }

  onDistrust(reason: string, error: unknown): void {
    if (this.isClosing) return;
    if (error !== undefined) this.#endRecorder.log(describeAppError(error, "isTrusted()"));
    switch (this.#protocol.phase) {
      case "accepting":
        return this.#closeSession(new ConnectionClosedError(reason), makeRefusalEnd(reason));
      case "answering":
        this.#protocol.distrust();
        return this.#endRecorder.log(
          makeRefusalEnd(`${reason}; the session ends after its response`),
        );
      case "idle":
      case "receiving":
        this.#endRecorder.record(makeRefusalEnd(reason));
        // The peer may still be receiving the previous response.
        void this.#linger();
    }
  }

  /**
   * Checks that the peer is still trusted: trust may have been withdrawn while the connection
   * waited for a slot or for `onConnect`.
   */
  #checkTrust(): boolean {
    if (this.isPeerTrusted()) return true;
    this.#endRecorder.record(DISTRUSTED_AUTHORITY_END);
    return false;
  }

  async limitTrustCheck<T>(check: Promise<T>): Promise<T> {
    const { promise, reject } = Promise.withResolvers<never>();
    const waits = this.#trustWaits ??= new Set();
    waits.add(reject);
    using deadline = new Deadline(this.#serverState.timeout, () => {
      reject(unknownTrustError("isTrusted() took longer than the timeout"));
    });
    deadline.startWait();
    try {
      return await Promise.race([check, promise]);
    } finally {
      waits.delete(reject);
    }
  }

  /** Not a part of its caller, where the closure would cost an allocation per request. */
  #handleIfTrusted({ request }: ServerExchange): Promise<unknown> {
    const { handle } = this.#serverState;
    return this.#sessionCore.ifTrusted(() => {
      // During the check, the session may have been closed.
      if (this.isClosing) throw new ConnectionClosedError();
      return handle(request, this.session, api);
    });
  }

  // Hot path: the awaits of an ordinary request are in this function, because each further async
  // function costs a promise per request.
  async #serveRequests(): Promise<void> {
    const transport = this.#transport;
    const sender = this.#sender;
    const protocol = this.#protocol;
    const sessionCore = this.#sessionCore;
    const { handle, reportExchange, unframedNull } = this.#serverState;
    for (;;) {
      let preamble;
      try {
        while ((preamble = protocol.readRequest()) === null) {
          const hasReceived = transport.endReceive(
            await transport.beginReceive(),
            protocol.requests,
          );
          // The server may have ended the idle session during the read.
          if (protocol.isClosing) return;
          if (hasReceived) continue;
          protocol.close();
          this.#endRecorder.record(CLOSED_BY_CLIENT);
          this.#sessionCore.abort(() => new EmptyPreambleError());
          transport.close();
          return;
        }
      } catch (error) {
        if (protocol.isDiscarding) return;
        return await this.#respondToInvalidPreamble(error);
      }
      let exchange: ServerExchange | null = this.#exchange = new ServerExchange(
        preamble,
        transport,
        this.session,
        this.#requestContext,
        reportExchange,
      );
      sender.begin(exchange, exchange.isContinueExpected);
      try {
        try {
          exchange.returned = sessionCore.canLoseTrust
            ? this.#handleIfTrusted(exchange)
            : handle(exchange.request, this.session, api);
          if (!Array.isArray(exchange.returned)) exchange.returned = await exchange.returned;
        } catch (thrownValue) {
          const error = toReadableError(thrownValue);
          exchange.returned = findAppErrorResponse(exchange.request, exchange.body, error);
          if (exchange.returned === null) throw error;
        }
        if (preamble.isHttp10) exchange.removeChunks();
        if (exchange.isBodyUnread && !this.isYielding && this.#findConnectionReason() === null) {
          await exchange.discardRequest();
        }
        const writePromise = exchange.beginResponse(
          sender,
          unframedNull,
          this.#findConnectionReason() ?? (this.isYielding ? "slot" : null),
        );
        if (exchange.isStreaming) this.onSignalRequested();
        const remainder = sender.endSend(await writePromise);
        if (remainder !== null) await remainder;
        if (exchange.unchunkedBody !== null) {
          await writeUnchunked(exchange.unchunkedBody, (bytes) => sender.write(bytes));
        }
        exchange.endResponse();
        if (!protocol.isClosing && exchange.isBodyUnread) await exchange.endRequest();
      } catch (error) {
        return await this.#failResponse(exchange, error);
      }
      if (this.#finishExchange(exchange)) return;
      // While it waits for the next request, this function keeps its variables alive.
      exchange = preamble = null;
    }
  }

  #respondToInvalidPreamble(error: unknown): Promise<void> {
    const transport = this.#transport;
    const { bytes, start, end } = transport.readBuffer;
    const failure = this.#sender.failWith(error);
    const status = findErrorStatus(failure, bytes.subarray(start, end));
    if (status === null) throw failure;
    this.#endRecorder.recordConnectionError(failure, null);
    return this.#sendErrorResponse(status);
  }

  /** Sends an error response instead, or closes the connection. */
  async #failResponse(exchange: ServerExchange, error: unknown): Promise<void> {
    exchange.cancelResponse(error);
    const failure = this.#sender.failWith(error);
    const status = this.#endRecorder.recordFailure(failure, "the app", exchange);
    if (status !== null) {
      await this.#sendErrorResponse(status);
      cancelQuietly(exchange.body, unreadBodyError(status));
    }
    this.#endExchange(failure);
    if (status === null) this.#transport.close();
  }

  /** Returns whether it was the last exchange of the session. */
  #finishExchange(exchange: ServerExchange): boolean {
    const { response } = exchange;
    const exchangeReason = exchange.findLastReason();
    if (
      response.status >= 400 && exchangeReason !== "unread request" && !this.#transport.isClosed
    ) {
      const contentError = findContentError(exchange.request, exchange.body, response.status);
      if (contentError !== null) this.#endRecorder.log(describeContentError(contentError));
    }
    // Check again: the app may have read the request body, a shutdown may have begun, or the logger
    // may have changed the trust.
    const lastReason = exchangeReason ?? this.#findConnectionReason() ?? exchange.announcedReason;
    this.#sessionCore.requests++;
    const { isClosed, failure } = this.#transport;
    // The reason was already logged if the connection was closed during the last bytes.
    if (isClosed) throw failure ?? new ConnectionClosedError();
    if (lastReason === null) {
      this.#protocol.finish(performance.now());
      this.#endExchange(null);
      // An idle connection must not keep its last request alive.
      this.#exchange = null;
      this.#sender.begin(null);
      return false;
    }
    const { maxRequests } = this.session;
    this.#endRecorder.record(describeLastRequest(lastReason, exchange, maxRequests));
    // Cancel the body: the bytes that follow are discarded, and must not be read as the body.
    if (exchange.isBodyUnread) {
      cancelQuietly(exchange.body, unreadBodyError(response.status));
    }
    return true;
  }

  /** Why no request follows the current one, whatever the exchange; `null` without a reason. */
  #findConnectionReason(): LastRequestReason | null {
    const { maxRequests, requests } = this.session;
    if (this.#protocol.phase === "distrusted") return "distrust";
    if (requests + 1 >= maxRequests) return "limit";
    return this.#serverState.isStopping ? "shutdown" : null;
  }

  async #sendErrorResponse(status: ErrorStatus): Promise<void> {
    const bytes = formatErrorResponse(status);
    this.#exchange?.recorder?.startResponse(status, bytes.length);
    await this.#sender.write(bytes);
  }
}
