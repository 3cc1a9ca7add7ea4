import type { Socket } from "../../base/app/app.ts";
import { Response, setRequestLine } from "../../base/app/message.ts";
import { type Bodies, bodies as defaultBodies, checkBodies } from "../../base/body/body.ts";
import {
  type BodyOut,
  cancelUnusedBody,
  checkRangeOf,
  determineSentFraming,
  prepareBody,
  type PreparedBody,
  withContentType,
} from "../../base/body/sent_body.ts";
import { checkMethods, wrongTypeError } from "../../internal/checks.ts";
import { BodyError, ConnectionClosedError, DeguError } from "../../base/errors.ts";
import { messageOf } from "../../internal/caught_errors.ts";
import { HiddenProperty } from "../../internal/error_details.ts";
import {
  checkHeaders,
  checkNoExpect,
  type Framing,
  hasConnectionClose,
  type HeadersToSend,
} from "../../base/wire/headers.ts";
import { MAX_PREAMBLE_BYTES } from "../../base/wire/limits.ts";
import type { Method } from "../../base/wire/method.ts";
import {
  checkRequestLine,
  findPreambleEnd,
  formatRequestPreamble,
  parseResponsePreamble,
  type ResponsePreamble,
} from "../../base/wire/preamble.ts";
import { closedConnectionError, makeRequestError, noResponseError } from "./client_errors.ts";
import { isResetError } from "../transport/connection_errors.ts";
import { checkTimeout, keepTimerRunning, releaseAfterTick } from "../transport/deadline.ts";
import { type BodyEndListener, makeIncomingBody } from "../transport/incoming_body.ts";
import { parseRequestOptions, RequestAbort, type RequestOptions } from "./request_signal.ts";
import { ClientExchange } from "../protocol/client_exchange.ts";
import { type ClientProtocol, excessBytesError } from "../protocol/client_protocol.ts";
import { borrowPreambleBuffer } from "../protocol/message_buffer.ts";
import type { Transport } from "../transport/transport.ts";
import { ClientChannel } from "./client_channel.ts";

/** The default time-out of each wait, in seconds. */
export const DEFAULT_TIMEOUT = 90;

/** To await it costs no promise, unlike `null`. */
const SETTLED = Promise.resolve();

const REFUSED_BODY_PROBLEM = "the server refused the connection before the request was sent";

const scratchBuffer = new Uint8Array(MAX_PREAMBLE_BYTES);

/** Checks a request before a connection is made, which checks it again with its own headers. */
export function checkRequest(
  method: Method,
  uri: string,
  headers: HeadersToSend,
  body: BodyOut,
): void {
  checkRequestLine(method, uri, body);
  const sentHeaders = withContentType(headers, body);
  const framing = determineSentFraming(method, null, sentHeaders, prepareBody(body));
  formatRequestPreamble(scratchBuffer, method, uri, sentHeaders, null, framing);
  checkNoExpect(sentHeaders);
}

const transportRegistry = new FinalizationRegistry<Transport>((transport) => transport.close());

/**
 * The connection, a request in flight and a body in use each keep the core alive. The registry
 * keeps the transport and its listeners alive: if a listener referred to the core, the core would
 * never be collected.
 */
function closeWhenCollected(core: ConnectionCore, transport: Transport): void {
  transportRegistry.register(core, transport, transport);
  transport.addCloseListener(() => transportRegistry.unregister(transport));
}

const unframedNullConnections: HiddenProperty<ConnectionCore> = new HiddenProperty();

/**
 * Checks a response of a requester that can be a program's own. Closes the connection if the option
 * `unframedNull` treats a response without framing as a response without a body: if its body
 * arrives nevertheless, the bytes would be read as the next response.
 */
export function checkResponse(response: Response): void {
  if (!(response instanceof Response)) {
    throw wrongTypeError("response", "a Response of this package", response);
  }
  unframedNullConnections.get(response)?.closeAfterSend();
}

interface CoreOptions {
  readonly bodies?: Bodies | undefined;
  readonly timeout?: number | null | undefined;
  readonly unframedNull?: boolean | undefined;
  /** Headers of each request, unless the caller passes headers of the same name. */
  readonly defaultHeaders?: HeadersToSend | undefined;
  /** Signals that close the connection. */
  readonly signals?: readonly (AbortSignal | undefined)[];
}

/** No public module exports this class, so programs can't make an instance. */
export class ConnectionCore {
  readonly sock: Socket;
  readonly baseHeaders: HeadersToSend | null;
  readonly bodies: Bodies;
  readonly #defaultHeaders: HeadersToSend | undefined;
  /** The time for which the connection was idle before the request; `null` if unknown. */
  idleSeconds: number | null = null;
  readonly #channel: ClientChannel;
  readonly #transport: Transport;
  readonly #protocol: ClientProtocol;
  readonly #openedAt = performance.now();
  // Created for the first request that has a signal.
  #requestAbort: RequestAbort | null = null;

  constructor(
    sock: Socket,
    baseHeaders: HeadersToSend | null,
    {
      bodies = defaultBodies,
      timeout = DEFAULT_TIMEOUT,
      unframedNull = false,
      defaultHeaders,
      signals = [],
    }: CoreOptions,
  ) {
    checkMethods("sock", sock, ["read", "write", "close"]);
    if (baseHeaders !== null) checkHeaders(baseHeaders);
    checkBodies(bodies);
    checkTimeout("timeout", timeout);
    this.sock = sock;
    this.baseHeaders = baseHeaders;
    this.bodies = bodies;
    this.#channel = new ClientChannel(sock, timeout, unframedNull);
    this.#transport = this.#channel.transport;
    this.#protocol = this.#channel.protocol;
    this.#defaultHeaders = defaultHeaders;
    closeWhenCollected(this, this.#transport);
    for (const signal of signals) if (signal !== undefined) this.#transport.closeOnAbort(signal);
  }

  get isClosed(): boolean {
    return this.#transport.isClosed;
  }

  get isIdle(): boolean {
    return this.#protocol.exchange === null;
  }

  /** From now on, bytes that arrive before a request aren't its response. */
  endFresh(): void {
    const { earlyBytes } = this.#protocol;
    this.#protocol.isFresh = false;
    if (earlyBytes !== null) this.#channel.idleRead.refuseBytes();
  }

  get timeout(): number | null {
    return this.#transport.timeout;
  }

  get requestProgress(): number | null {
    const { isWaiting, writeCount } = this.#transport;
    return isWaiting ? null : writeCount;
  }

  closeAfterResponse(timeout: number | null): void {
    this.#protocol.endAfter("single request");
    const transport = this.#transport;
    if (transport.isClosed) return;
    // Keep the shared timer of deadlines running, because the same client often opens its next
    // connection at once.
    const runningTimer = keepTimerRunning(timeout);
    transport.addCloseListener(() => releaseAfterTick(runningTimer));
  }

  addCloseListener(listener: () => void): void {
    this.#transport.addCloseListener(listener);
  }

  /** Whether a part of the request is still to be sent, although its response has begun. */
  get isSending(): boolean {
    const { exchange } = this.#protocol;
    return exchange !== null && !exchange.isSendEnded && !this.isClosed;
  }

  /** Calls the function when the last request was sent, or will not be sent any more. */
  onRequestSent(listener: () => void): void {
    const { exchange } = this.#protocol;
    if (exchange === null || exchange.isSendEnded || this.isClosed) listener();
    else exchange.onSendEnd(listener);
  }

  closeAfterSend(): void {
    this.#protocol.endAfter("unframed response");
    if (!this.isSending) this.close();
  }

  close(): void {
    this.#transport.close();
  }

  request(
    method: Method,
    uri: string,
    headers: HeadersToSend,
    body: BodyOut,
    options?: RequestOptions,
  ): Promise<Response> {
    try {
      const { signal, duplex } = parseRequestOptions(options);
      signal?.throwIfAborted();
      const protocol = this.#protocol;
      const previousExchange = protocol.exchange;
      if (previousExchange?.incoming === "ended" && !this.isClosed) {
        checkRequestLine(method, uri, body);
        return this.#requestAfter(previousExchange, method, uri, headers, body, options, signal);
      }
      this.#checkReady(method, uri, body);
      // Begin first: getters of the headers and of the body could start another request.
      const exchange = new ClientExchange(method, uri, signal, duplex === "full");
      protocol.exchange = exchange;
      let encodedBody, framing, length;
      try {
        const requestHeaders = withDefaultHeaders(headers, this.#defaultHeaders);
        const sentHeaders = withContentType(requestHeaders, body);
        encodedBody = prepareBody(body);
        framing = determineSentFraming(
          method,
          null,
          sentHeaders,
          encodedBody,
          protocol.unframedNull,
        );
        const { sender } = this.#channel;
        sender.begin(exchange);
        const buffer = borrowPreambleBuffer();
        length = formatRequestPreamble(buffer, method, uri, sentHeaders, this.baseHeaders, framing);
        sender.buffer.take(buffer, length);
        checkNoExpect(sentHeaders);
        if (this.baseHeaders !== null) checkNoExpect(this.baseHeaders);
        exchange.isLastRequest = hasConnectionClose(sentHeaders) ||
          (this.baseHeaders !== null && hasConnectionClose(this.baseHeaders));
        if (signal !== undefined) {
          signal.throwIfAborted();
          this.#requestAbort ??= new RequestAbort(this.#channel);
          this.#requestAbort.begin(signal);
        }
      } catch (error) {
        protocol.exchange = null;
        exchange.notifySendEnd();
        throw error;
      }
      return this.#runExchange(exchange, length, encodedBody, framing);
    } catch (error) {
      cancelUnusedBody(body, error);
      return Promise.reject(error);
    }
  }

  /** Makes a request when the previous request, whose response has ended, was sent. */
  async #requestAfter(
    previousExchange: ClientExchange,
    method: Method,
    uri: string,
    headers: HeadersToSend,
    body: BodyOut,
    options: RequestOptions | undefined,
    signal: AbortSignal | undefined,
  ): Promise<Response> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const onAbort = () => reject(signal!.reason);
    signal?.addEventListener("abort", onAbort);
    previousExchange.onSendEnd(resolve);
    try {
      await promise;
    } catch (error) {
      cancelUnusedBody(body, error);
      throw error;
    } finally {
      signal?.removeEventListener("abort", onAbort);
      previousExchange.offSendEnd(resolve);
    }
    return await this.request(method, uri, headers, body, options);
  }

  #checkReady(method: Method, uri: string, body: BodyOut): void {
    const { isClosed, failure } = this.#transport;
    const { exchange } = this.#protocol;
    if (isClosed) {
      // During an exchange, the program has closed the connection.
      const reason = exchange === null ? this.#protocol.lastExchangeReason : null;
      throw this.#requestError(
        closedConnectionError(failure, reason, this.#protocol.responseCount),
        method,
        null,
      );
    }
    const isUnread = exchange?.incoming === "body";
    if (exchange !== null && !isUnread) {
      throw new DeguError("another request is in flight on this connection");
    }
    checkRequestLine(method, uri, body);
    if (isUnread) {
      throw new BodyError(
        "the body of the previous response has not been read to its end: read it, or call discard() " +
          "of the response",
      );
    }
  }

  // Hot path: all awaits of a request are in this function, because each further async function
  // costs a promise per request.
  async #runExchange(
    exchange: ClientExchange,
    length: number,
    body: PreparedBody,
    framing: Framing | undefined,
  ): Promise<Response> {
    const { transport, sender, protocol } = this.#channel;
    const { responses } = protocol;
    const { method, signal } = exchange;
    try {
      // Read before sending: bytes that the runtime has already received can't belong to this
      // request's response. Such a read settles within two microtasks.
      this.#channel.idleRead.probe();
      await SETTLED;
      await SETTLED;
      if (signal !== undefined && signal.aborted) throw signal.reason;
      const isRefused = protocol.earlyBytes !== null &&
        await this.#checkRefusal(exchange);
      if (transport.isClosed) throw new ConnectionClosedError();
      this.#channel.idleRead.endIdle();
      protocol.beginExchange(exchange);
      let rest: Promise<number | void> | null;
      try {
        rest = isRefused ? null : sender.beginSend(length, body, framing);
        // Without a byte sent, only an error can follow.
        if (rest !== null && (sender.isSmallSend || exchange.outgoing === "unsent")) {
          rest = sender.endSend(await rest);
        }
      } catch (thrownError) {
        const error = sender.failWith(thrownError);
        if (!this.#noteRefusal(exchange, error)) throw error;
        rest = null;
      }
      if (isRefused) cancelUnusedBody(body, new BodyError(REFUSED_BODY_PROBLEM));
      // Everything but a small request is sent while the response is received.
      if (rest === null) this.#endSend(exchange);
      else this.#sendMeanwhile(exchange, rest);
      let preamble;
      while ((preamble = responses.read(method)) === null || preamble.status < 200) {
        if (preamble !== null) continue;
        const count = await transport.beginReceive();
        if (!transport.endReceive(count, responses)) throw noResponseError();
      }
      protocol.receivePreamble(exchange, preamble);
      if (!exchange.isSendEnded) {
        const { status } = preamble;
        if (status >= 400) await this.#abandonRefused(exchange, status);
        else if (!exchange.isFullDuplex) await this.#waitForSend(exchange);
      }
      return this.#handOver(exchange, preamble);
    } catch (error) {
      const failure = this.#failExchange(exchange, error);
      cancelUnusedBody(body, failure);
      throw failure;
    }
  }

  /** Not a part of its caller, where each variable would cost memory during the request. */
  #handOver(exchange: ClientExchange, preamble: ResponsePreamble): Response {
    const { transport, protocol } = this.#channel;
    const { method, uri, signal } = exchange;
    const { status, reason, headers } = preamble;
    const framing = protocol.handOver(exchange, preamble);
    const body = makeIncomingBody(this.bodies, transport, this.#onBodyEnd, exchange, framing);
    if (status === 206) checkRangeOf(body, headers);
    if (body === null) this.#onBodyEnd("consumed");
    else if (signal !== undefined) this.#requestAbort!.attachBody(body);
    const response = new Response(status, reason, headers, body);
    if (exchange.isUnframedNull) unframedNullConnections.set(response, this);
    // A `StatusError` for this response names the method and the path.
    if (!response.ok) setRequestLine(response, method, uri);
    return response;
  }

  /**
   * A server without a free slot may send an error response as soon as it has accepted a
   * connection, and close. Such bytes are the response to the first request, which is then not
   * sent, if they have an error status and the connection ends behind them. No other bytes could be
   * told from an attempt to answer a request that the server has not seen.
   */
  async #checkRefusal({ method, signal }: ClientExchange): Promise<boolean> {
    const idleRead = this.#channel.idleRead;
    const preamble = findPreamble(method, this.#protocol.earlyBytes!);
    if (preamble !== null && preamble.status >= 400) {
      const hasEnded = hasConnectionClose(preamble.headers) || await idleRead.waitForEnd(signal);
      if (signal !== undefined && signal.aborted) throw signal.reason;
      if (hasEnded && !this.isClosed) {
        this.#protocol.endAfter("refused connection");
        return true;
      }
    }
    if (!this.isClosed) idleRead.refuseBytes();
    return false;
  }

  /** The rest of the request is sent while the response is received. */
  #sendMeanwhile(exchange: ClientExchange, rest: Promise<number | void>): void {
    const { sender, transport } = this.#channel;
    const end = () => {
      if (exchange.isSendEnded) return;
      sender.endSending();
      this.#endSend(exchange);
    };
    sender.startSending(rest).then(end, (error) => {
      if (exchange.isSendEnded) return;
      // The error of the source, or of the socket, ends the response.
      if (!this.isClosed && !this.#noteRefusal(exchange, error)) transport.close(error);
      exchange.refuseWrites();
      end();
    });
  }

  /** The request was sent, or no more of it will be sent. */
  #endSend(exchange: ClientExchange): void {
    this.#protocol.endSend(exchange);
    if (exchange.isComplete) this.#finishExchange();
    exchange.notifySendEnd();
  }

  /** Cancels the rest of the request. */
  #abandonSend(exchange: ClientExchange, problem: string): void {
    if (this.isClosed || exchange.isSendEnded) return;
    this.#protocol.endAfter("refused body");
    this.#channel.sender.abandonSending(new BodyError(problem));
    this.#endSend(exchange);
  }

  /**
   * Returns whether a server has refused a body by responding and closing, and records this: the
   * response is then still received.
   */
  #noteRefusal(exchange: ClientExchange, error: unknown): boolean {
    if (!exchange.isRefused) return false;
    exchange.writeError = error;
    if (!isResetError(error)) return false;
    this.#protocol.endAfter("refused body");
    return true;
  }

  /** RFC 9112 §9.5: after an early error, the rest of the body isn't sent. */
  async #abandonRefused(exchange: ClientExchange, status: number): Promise<void> {
    // The request may have been sent in this tick.
    await new Promise<void>((resolve) => setImmediate(resolve));
    if (this.isClosed) throw new ConnectionClosedError();
    const problem = `the server responded with status ${status} before the body was sent`;
    this.#abandonSend(exchange, problem);
  }

  /** Waits until the request was sent, or the server has closed the connection. */
  async #waitForSend(exchange: ClientExchange): Promise<void> {
    const transport = this.#transport;
    const { promise, resolve } = Promise.withResolvers<void>();
    exchange.onSendEnd(resolve);
    exchange.waitForSend();
    let isWaiting = true;
    const watchPeer = (): void => {
      const onRead = (count: number | null) => {
        if (!isWaiting) return;
        if (count !== null) return watchPeer();
        this.#abandonSend(exchange, "the server closed the connection before the body was sent");
      };
      transport.readBuffer.readAhead(this.sock, false)?.then(onRead, () => onRead(null));
    };
    watchPeer();
    await promise;
    isWaiting = false;
    if (transport.isClosed) throw new ConnectionClosedError();
  }

  readonly #onBodyEnd: BodyEndListener = (outcome, error) => {
    const { exchange } = this.#protocol;
    const transport = this.#transport;
    if (outcome !== "consumed") return transport.close(outcome === "broken" ? error : undefined);
    // The end is late if the response's class of bodies has thrown an error.
    if (exchange === null || exchange.incoming === "broken") return;
    exchange.endIncoming();
    if (!this.isSending) return this.#finishExchange();
    // Without a pending read, a close by the server would be noticed only by the next write.
    this.#channel.idleRead.start();
    if (!exchange.isLastResponse) return;
    const problem = "the server ended the connection before the body was sent";
    // The request may have been sent in this tick. A closure would cost each body an allocation.
    setImmediate(this.#abandonSend.bind(this, exchange, problem));
  };

  #finishExchange(): void {
    // An idle connection must not keep its last request alive.
    this.#protocol.exchange = null;
    this.#channel.sender.begin(null);
    this.#requestAbort?.end();
    if (this.#protocol.lastExchangeReason !== null) this.#transport.close();
    else this.#channel.idleRead.start();
  }

  #failExchange(exchange: ClientExchange, thrownError: unknown): unknown {
    const { transport, sender, protocol, idleRead } = this.#channel;
    const { method, signal } = exchange;
    let error;
    if (signal !== undefined && this.#requestAbort!.hasFired) {
      // The abort has closed the connection if a byte was sent. Otherwise the connection stays
      // usable.
      error = signal.reason;
    } else {
      const failure = protocol.hasExcessBytes(exchange)
        ? excessBytesError(messageOf(thrownError))
        : thrownError;
      error = this.#requestError(sender.failWith(failure), method, exchange);
      transport.close(error);
    }
    if (transport.isClosed) {
      exchange.breakIncoming();
    } else {
      protocol.exchange = null;
      idleRead.start();
    }
    exchange.notifySendEnd();
    return error;
  }

  #requestError(error: unknown, method: Method, exchange: ClientExchange | null): unknown {
    const transport = this.#transport;
    const idleError = this.#channel.idleRead.takeError();
    const writeError = exchange === null ? null : exchange.writeError;
    const isWaiting = exchange !== null && transport.readBuffer.bufferedBytes === 0 &&
      (exchange.incoming === "none" || exchange.incoming === "awaited");
    return makeRequestError(idleError ?? error, {
      phase: idleError !== null ? "idle" : isWaiting ? "sent" : "responding",
      method,
      isClosedByPeer: idleError !== null || writeError !== null ||
        !transport.isClosed && transport.failure !== null,
      writeError,
      lastStatus: this.#protocol.lastStatus,
      isEncrypted: isEncrypted(this.sock),
      openMilliseconds: (transport.closedAt ?? performance.now()) - this.#openedAt,
      idleSeconds: this.idleSeconds,
    });
  }
}

/** Parses the whole preamble at the start of the bytes; `null` if there is no valid one. */
function findPreamble(method: Method, bytes: Uint8Array): ResponsePreamble | null {
  const preambleEnd = findPreambleEnd(bytes, 0, bytes.length);
  if (preambleEnd < 0 || preambleEnd > MAX_PREAMBLE_BYTES) return null;
  try {
    return parseResponsePreamble(method, bytes, 0, preambleEnd);
  } catch {
    return null;
  }
}

/** A `Deno.TlsConn` has no `protocol`. */
export function isEncrypted(sock: Socket): boolean {
  return sock.protocol !== undefined || "handshake" in sock;
}

/**
 * The key of those headers of a request that replace default headers, although default headers
 * replace all others. A copy `{ ...headers }` also has the property.
 */
export const OVERRIDING_HEADERS = Symbol("overriding headers");

export function withDefaultHeaders(
  headers: HeadersToSend,
  defaultHeaders: HeadersToSend | undefined,
): HeadersToSend {
  if (defaultHeaders === undefined) return headers;
  checkHeaders(headers);
  const { [OVERRIDING_HEADERS]: overridingHeaders } = headers as {
    readonly [OVERRIDING_HEADERS]?: HeadersToSend;
  };
  return overridingHeaders === undefined
    ? { ...defaultHeaders, ...headers }
    : { ...headers, ...defaultHeaders, ...overridingHeaders };
}
