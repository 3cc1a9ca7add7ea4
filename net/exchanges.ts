/**
 * The exchange of a request and its response, at the client's end.
 *
 * @module
 */

import { type Bodies, type BodyOut, cancelUnused, outgoingFraming } from "../base/body/bodies.ts";
import { BodyError, ConnectionClosedError, DeguError, EmptyPreambleError } from "../base/errors.ts";
import { type Framing, type HeaderDict, saysClose } from "../base/wire/headers.ts";
import { Interruption } from "../base/body/interruption.ts";
import { Response } from "../base/app/message.ts";
import {
  checkMethod,
  formatRequestPreamble,
  mayHaveBody,
  type Method,
  parseResponsePreamble,
  type ResponsePreamble,
} from "../base/wire/preamble.ts";
import { checkUri } from "../base/wire/uri.ts";
import { type BodyOwner, makeIncomingBody } from "./incoming_body.ts";
import { RequestAbort } from "./request_signal.ts";
import { checkPossible, excessBytes, isReset, unframedBody } from "./response_rules.ts";
import type { Transport } from "./transport.ts";

/**
 * After so long without bytes of the peer a request waits for a turn of the event loop. What has come
 * while the program computed is known only then, and must not be taken for the answer.
 */
const PAUSE_MILLISECONDS = 10;

const forgotten = new FinalizationRegistry<Transport>((transport) => transport.close());

/** Closes the socket of exchanges that are collected. No closure here may know them. */
function closeWhenForgotten(exchanges: WeakKey, transport: Transport): void {
  forgotten.register(exchanges, transport, transport);
  transport.onClose = () => forgotten.unregister(transport);
}

/**
 * The requests over one connection, one after the other. A request that waits for its response, and a
 * body that is in use, keep this alive; where nothing does, the transport closes.
 */
export class Exchanges {
  /** Whether the connection closes once the response's body is consumed. */
  closeAfterBody = false;
  readonly #transport: Transport;
  readonly #baseHeaders: HeaderDict | null;
  readonly #bodies: Bodies;
  readonly #owner: BodyOwner;
  #mayBeRefused: boolean;
  #inFlight = false;
  #bodyUnread = false;
  // Made for the first request that has a signal.
  #abort: RequestAbort | null = null;

  /**
   * Makes what a connection does over a transport.
   *
   * @param encrypted Whether that is TLS, where a server may refuse a client after its handshake.
   */
  constructor(
    transport: Transport,
    baseHeaders: HeaderDict | null,
    bodies: Bodies,
    encrypted: boolean,
  ) {
    this.#mayBeRefused = encrypted;
    this.#transport = transport;
    this.#baseHeaders = baseHeaders;
    this.#bodies = bodies;
    this.#owner = {
      bodyConsumed: () => this.#finishBody(),
      bodyFailed: (error) => transport.close(error),
      bodyCancelled: () => transport.close(),
    };
    closeWhenForgotten(this, transport);
  }

  /** Makes a request; as `request` of a connection. */
  request(
    method: Method,
    uri: string,
    headers: HeaderDict,
    body: BodyOut,
    signal: AbortSignal | undefined,
  ): Promise<Response> {
    this.checkReady(method, uri, body);
    // Getters of the headers and the body run now, and may try to make another request.
    this.#inFlight = true;
    let framing, length;
    try {
      framing = outgoingFraming(body);
      const { out } = this.#transport;
      length = formatRequestPreamble(out, method, uri, headers, this.#baseHeaders, framing);
      if (signal !== undefined) {
        signal.throwIfAborted();
        this.#abort ??= new RequestAbort(this.#transport);
        this.#abort.begin(signal);
      }
    } catch (error) {
      this.#inFlight = false;
      throw error;
    }
    return this.#exchange(method, length, body, framing, signal);
  }

  /** Throws unless such a request can be made now. */
  checkReady(method: Method, uri: string, body: BodyOut): void {
    if (this.#transport.closed) throw new ConnectionClosedError();
    if (this.#inFlight) throw new DeguError("another request is in flight on this connection");
    checkMethod(method);
    checkUri(uri);
    if (body !== null && !mayHaveBody(method)) {
      throw new RangeError(`body: need null where the method is ${method}`);
    }
    if (this.#bodyUnread) {
      throw new BodyError("the body of the previous response has not been read to its end");
    }
  }

  async #exchange(
    method: Method,
    length: number,
    body: BodyOut,
    framing: Framing,
    signal: AbortSignal | undefined,
  ): Promise<Response> {
    const transport = this.#transport;
    const { reader } = transport;
    let refusal: unknown = null;
    let answered = false;
    try {
      if (reader.buffered > 0) throw excessBytes();
      // What is there before the request is sent can't be an answer to it, and must never be taken
      // for one. A read that finds something settles within two turns.
      transport.readAhead();
      await null;
      await null;
      // A clock that was set back has paused, too.
      if (Math.abs(Date.now() - transport.lastArrival) > PAUSE_MILLISECONDS) {
        await turnOfEventLoop();
      }
      // What was read ahead is there for the next request.
      if (signal !== undefined && signal.aborted) throw signal.reason;
      if (transport.aheadSettled) await this.#refuseEarlyBytes();
      try {
        const rest = transport.sent(await transport.send(length, body, framing));
        if (rest !== null) await rest;
      } catch (thrown) {
        const error = transport.explain(thrown);
        if (!transport.writeFailed || transport.closed || !isReset(error)) throw error;
        // A server that refuses an upload answers and closes, and its answer may be here.
        refusal = error;
        this.closeAfterBody = true;
      }
      let end;
      while ((end = transport.findPreamble()) < 0) transport.received(await transport.receive());
      transport.lastArrival = Date.now();
      const preamble = parseResponsePreamble(reader.bytes, reader.start, end);
      reader.start = end;
      if (refusal !== null && preamble.status < 400) throw refusal;
      answered = true;
      this.#mayBeRefused = false;
      if (this.#endsByClosing(method, preamble)) await this.#expectEnd(refusal !== null);
      return this.#makeResponse(method, preamble, signal !== undefined);
    } catch (thrown) {
      if (signal !== undefined && this.#abort!.fired) {
        // The connection is closed already, or nothing was sent and it stays as it was.
        cancelUnused(body, signal.reason);
        throw signal.reason;
      }
      const error = transport.explain(thrown);
      const reported = answered ? error : this.#explain(error, refusal);
      cancelUnused(body, reported);
      transport.close(reported);
      throw reported;
    } finally {
      this.#inFlight = false;
    }
  }

  async #refuseEarlyBytes(): Promise<never> {
    await this.#transport.takeAhead();
    if (this.#transport.reader.buffered > 0) throw excessBytes();
    throw new EmptyPreambleError("the peer had closed the connection before the request was sent");
  }

  /** The error to report: a reset before the first byte of a response is as good as an end. */
  #explain(error: unknown, refusal: unknown): unknown {
    const { closed, reader, failure } = this.#transport;
    if (closed || error === refusal || reader.buffered > 0) return error;
    const reset = isReset(error) && (refusal !== null || error === failure);
    if (this.#mayBeRefused && (reset || error instanceof EmptyPreambleError)) {
      return new EmptyPreambleError(REFUSED_MESSAGE);
    }
    if (reset) return new EmptyPreambleError("the peer reset the connection before it answered");
    return refusal === null || error instanceof EmptyPreambleError ? error : refusal;
  }

  /** Whether the response would have a body that ends with the connection (RFC 9112 §6.3, case 8). */
  #endsByClosing(method: Method, preamble: ResponsePreamble): boolean {
    checkPossible(preamble);
    const { status, headers, framing } = preamble;
    const closes = saysClose(headers);
    if (closes) this.closeAfterBody = true;
    if (framing !== null || method === "HEAD" || status === 204 || status === 304) return false;
    if (this.#transport.reader.buffered > 0) throw unframedBody();
    return closes;
  }

  /** Reads on to the end of the connection, before which nothing may come. */
  async #expectEnd(refused: boolean): Promise<void> {
    try {
      if (await this.#transport.reader.fill() > 0) throw unframedBody();
    } catch (error) {
      // Where the connection broke while the request was sent, this is how its end is told.
      if (!refused || !isReset(error)) throw error;
    }
  }

  #makeResponse(method: Method, preamble: ResponsePreamble, abortable: boolean): Response {
    const { status, reason, headers } = preamble;
    const bodiless = method === "HEAD" || status === 304;
    const framing = bodiless ? null : preamble.framing;
    this.#bodyUnread = framing !== null;
    const interruption = abortable && framing !== null ? new Interruption() : null;
    if (interruption !== null) this.#abort!.interrupt(interruption);
    const body = makeIncomingBody(
      this.#bodies,
      this.#transport,
      this.#owner,
      framing,
      interruption,
    );
    if (body === null) this.#finishBody();
    return new Response(status, reason, headers, body);
  }

  #finishBody(): void {
    this.#bodyUnread = false;
    this.#abort?.end();
    if (this.closeAfterBody) this.#transport.close();
  }
}

const REFUSED_MESSAGE =
  "the server closed the connection before it answered anything, which over TLS may be its way to " +
  "refuse this client's certificate: the server's log says why, at level info";

/**
 * Lets the runtime look at its sockets, which only a timer is sure to do, and report what it has found,
 * which on a busy machine it does after that timer.
 */
function turnOfEventLoop(): Promise<void> {
  return new Promise((resolve) => setTimeout(() => setTimeout(resolve)));
}
