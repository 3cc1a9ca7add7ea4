/**
 * The exchange of a request and its response, at the client's end.
 *
 * @module
 */

import { type Bodies, type BodyOut, cancelUnused, outgoingFraming } from "../base/body/bodies.ts";
import {
  BodyError,
  ConnectionClosedError,
  DeguError,
  EmptyPreambleError,
  TlsError,
} from "../base/errors.ts";
import { type Framing, type HeaderDict, saysClose } from "../base/wire/headers.ts";
import { Interruption } from "../base/body/byte_io.ts";
import { Response } from "../base/app/message.ts";
import {
  checkMethod,
  checkResponseStart,
  formatRequestPreamble,
  mayHaveBody,
  type Method,
  parseResponsePreamble,
  type ResponsePreamble,
} from "../base/wire/preamble.ts";
import { checkUri } from "../base/wire/uri.ts";
import { type BodyOwner, makeIncomingBody } from "./incoming_body.ts";
import { MessageWriter } from "./message_writer.ts";
import { PreambleReader } from "./preamble_reader.ts";
import { RequestAbort } from "./request_signal.ts";
import { checkPossible, excessBytes, isReset, unframedBody } from "./response_rules.ts";
import type { Transport } from "./transport.ts";

/**
 * After this long without bytes from the peer, a request first waits for a turn of the event loop. Only then
 * is it known what arrived while the program computed; that must not be taken for the response.
 */
const PAUSE_MILLISECONDS = 10;

const forgotten = new FinalizationRegistry<Transport>((transport) => transport.close());

/** Closes the socket of exchanges that were garbage collected. No closure here may refer to them. */
function closeWhenForgotten(exchanges: WeakKey, transport: Transport): void {
  forgotten.register(exchanges, transport, transport);
  transport.addCloseListener(() => forgotten.unregister(transport));
}

/**
 * What a connection is doing: nothing; a request, up to the preamble of its response; a response whose
 * preamble has been parsed; a response's body that has not been read to its end.
 */
type Phase = "idle" | "requesting" | "responding" | "body";

/**
 * The requests over one connection, one after the other. A request that waits for its response, and a
 * body that is in use, keep this alive; once nothing does, the transport closes.
 */
export class Exchanges implements BodyOwner {
  readonly #transport: Transport;
  readonly #preambles: PreambleReader;
  readonly #writer: MessageWriter;
  readonly #baseHeaders: HeaderDict | null;
  readonly #bodies: Bodies;
  #phase: Phase = "idle";
  #closeAfterBody = false;
  /** Over TLS a server may refuse a client after its handshake: until the first response. */
  #mayBeRefused: boolean;
  /** What to tell a client that was refused: why that may be, and what to do. */
  #refusalHint: string | null = null;
  /** The error of a write, if the server has refused the request's body. */
  #refusal: unknown = null;
  // Made for the first request that has a signal.
  #abort: RequestAbort | null = null;

  /**
   * Makes the exchanges over a transport.
   *
   * @param encrypted Whether this is a TLS connection.
   */
  constructor(
    transport: Transport,
    baseHeaders: HeaderDict | null,
    bodies: Bodies,
    encrypted: boolean,
  ) {
    this.#mayBeRefused = encrypted;
    this.#transport = transport;
    this.#preambles = new PreambleReader(transport, checkResponseStart);
    this.#writer = new MessageWriter(transport);
    this.#baseHeaders = baseHeaders;
    this.#bodies = bodies;
    closeWhenForgotten(this, transport);
  }

  /** Closes the connection once the response's body has been read. */
  closeAfterResponse(): void {
    this.#closeAfterBody = true;
  }

  /** Says why the server may refuse this client, and what to do then. */
  explainRefusal(hint: string): void {
    this.#refusalHint = hint;
  }

  /** Makes a request, like `request` of a connection. */
  request(
    method: Method,
    uri: string,
    headers: HeaderDict,
    body: BodyOut,
    signal: AbortSignal | undefined,
  ): Promise<Response> {
    this.checkReady(method, uri, body);
    // Getters of the headers and the body run now, and may try to make another request.
    this.#phase = "requesting";
    let framing, length;
    try {
      framing = outgoingFraming(body);
      const buffer = this.#writer.beginMessage();
      length = formatRequestPreamble(buffer, method, uri, headers, this.#baseHeaders, framing);
      this.#writer.endPreamble(buffer, length);
      if (signal !== undefined) {
        signal.throwIfAborted();
        this.#abort ??= new RequestAbort(this.#transport, this.#writer);
        this.#abort.begin(signal);
      }
    } catch (error) {
      this.#phase = "idle";
      throw error;
    }
    return this.#exchange(method, length, body, framing, signal);
  }

  /**
   * Checks whether a request can be made now.
   *
   * @throws the same errors as `request` of a connection.
   */
  checkReady(method: Method, uri: string, body: BodyOut): void {
    if (this.#transport.closed) throw new ConnectionClosedError();
    if (this.#phase === "requesting" || this.#phase === "responding") {
      throw new DeguError("another request is in flight on this connection");
    }
    checkMethod(method);
    checkUri(uri);
    if (body !== null && !mayHaveBody(method)) {
      throw new RangeError(`body: must be null if the method is ${method}`);
    }
    if (this.#phase === "body") {
      throw new BodyError("the body of the previous response has not been read to its end");
    }
  }

  // Hot path: every await is here, because each async function costs one promise per request.
  async #exchange(
    method: Method,
    length: number,
    body: BodyOut,
    framing: Framing,
    signal: AbortSignal | undefined,
  ): Promise<Response> {
    const preambles = this.#preambles;
    const writer = this.#writer;
    try {
      this.#readEarlyBytes();
      // A read that finds bytes settles within two turns.
      await null;
      await null;
      if (this.#hasPaused()) await turnOfEventLoop();
      // What was read ahead is kept for the next request.
      if (signal !== undefined && signal.aborted) throw signal.reason;
      if (preambles.aheadSettled) await this.#refuseEarlyBytes();
      try {
        const rest = writer.endSend(await writer.beginSend(length, body, framing));
        if (rest !== null) await rest;
      } catch (error) {
        this.#noteRefusal(error);
      }
      let end;
      while ((end = preambles.find()) < 0) {
        const goesOn = preambles.endReceive(await preambles.beginReceive());
        if (!goesOn) throw new EmptyPreambleError(END_MESSAGE);
      }
      const preamble = this.#parsePreamble(end);
      if (this.#endsByClosing(method, preamble)) await this.#expectEnd();
      return this.#makeResponse(method, preamble, signal !== undefined);
    } catch (error) {
      throw this.#fail(error, body, signal);
    }
  }

  /**
   * Issues a read before the request is sent: what arrived before can't be its response, and must never be
   * taken for it.
   */
  #readEarlyBytes(): void {
    if (this.#transport.reader.buffered > 0) throw excessBytes();
    this.#preambles.readAhead();
  }

  #hasPaused(): boolean {
    // A clock that was set back counts as a pause.
    return Math.abs(this.#transport.sinceArrival) > PAUSE_MILLISECONDS;
  }

  async #refuseEarlyBytes(): Promise<never> {
    await this.#preambles.settleAhead();
    if (this.#transport.reader.buffered > 0) throw excessBytes();
    throw new EmptyPreambleError("the peer had closed the connection before the request was sent");
  }

  /** Continues if a write was refused: a server that refuses a body responds and closes. */
  #noteRefusal(thrown: unknown): void {
    const error = this.#writer.failureOf(thrown);
    if (!this.#writer.failed || !isReset(error)) throw error;
    this.#refusal = error;
    this.#closeAfterBody = true;
  }

  #parsePreamble(end: number): ResponsePreamble {
    const { reader } = this.#transport;
    const preamble = parseResponsePreamble(reader.bytes, reader.start, end);
    reader.start = end;
    if (this.#refusal !== null && preamble.status < 400) throw this.#refusal;
    this.#phase = "responding";
    this.#mayBeRefused = false;
    return preamble;
  }

  /** Whether the body of the response would end with the connection (RFC 9112 §6.3, case 8). */
  #endsByClosing(method: Method, preamble: ResponsePreamble): boolean {
    checkPossible(preamble);
    const { status, headers, framing } = preamble;
    const closes = saysClose(headers);
    if (closes) this.#closeAfterBody = true;
    if (framing !== null || method === "HEAD" || status === 204 || status === 304) return false;
    if (this.#transport.reader.buffered > 0) throw unframedBody();
    return closes;
  }

  /** Reads to the end of the connection; no byte may come before it. */
  async #expectEnd(): Promise<void> {
    try {
      if (await this.#transport.reader.fill() > 0) throw unframedBody();
    } catch (error) {
      // A connection that broke while the request was sent ends with a reset.
      if (this.#refusal === null || !isReset(error)) throw error;
    }
  }

  #makeResponse(method: Method, preamble: ResponsePreamble, abortable: boolean): Response {
    const { status, reason, headers } = preamble;
    const bodiless = method === "HEAD" || status === 304;
    const framing = bodiless ? null : preamble.framing;
    this.#phase = "body";
    const interruption = abortable && framing !== null ? new Interruption() : null;
    if (interruption !== null) this.#abort!.interrupt(interruption);
    const body = makeIncomingBody(
      this.#bodies,
      this.#transport,
      this,
      framing,
      interruption,
    );
    if (body === null) this.bodyConsumed();
    return new Response(status, reason, headers, body);
  }

  /** The response has been read to its end. */
  bodyConsumed(): void {
    this.#phase = "idle";
    this.#abort?.end();
    if (this.#closeAfterBody) this.#transport.close();
  }

  /** The response's body is broken, and the connection with it. */
  bodyFailed(error: unknown): void {
    this.#transport.close(error);
  }

  /** The rest of the response's body is not wanted. */
  bodyCanceled(): void {
    this.#transport.close();
  }

  /** Ends an exchange that has failed; returns the error to report. */
  #fail(thrown: unknown, body: BodyOut, signal: AbortSignal | undefined): unknown {
    if (signal !== undefined && this.#abort!.fired) {
      // The connection is closed already, or nothing was sent and it stays as it was.
      cancelUnused(body, signal.reason);
      this.#phase = "idle";
      return signal.reason;
    }
    const failure = this.#preambles.failureOf(thrown);
    const error = this.#phase === "requesting" ? this.#asRefusal(failure) : failure;
    cancelUnused(body, error);
    this.#transport.close(error);
    this.#phase = "idle";
    return error;
  }

  /** The error to report instead for one that came before the first byte of a response. */
  #asRefusal(error: unknown): unknown {
    const hint = this.#refusalHint;
    if (hint !== null && error instanceof TlsError && error.code === "REFUSED_BY_PEER") {
      const { code, message, cause } = error;
      return new TlsError(code, `${message}; ${hint}`, { cause });
    }
    return this.#asEmptyPreamble(error);
  }

  /** A reset counts as an end. */
  #asEmptyPreamble(error: unknown): unknown {
    const { closed, reader, failure } = this.#transport;
    const refusal = this.#refusal;
    if (closed || error === refusal || reader.buffered > 0) return error;
    const reset = isReset(error) && (refusal !== null || error === failure);
    if (this.#mayBeRefused && (reset || error instanceof EmptyPreambleError)) {
      return new EmptyPreambleError(`${REFUSED_MESSAGE}: ${this.#refusalHint ?? LOG_HINT}`);
    }
    if (reset) return new EmptyPreambleError("the peer reset the connection before it answered");
    return refusal === null || error instanceof EmptyPreambleError ? error : refusal;
  }
}

const LOG_HINT = "the server's log says why, at level info";
const END_MESSAGE = `the server closed the connection before it answered anything; ${LOG_HINT}`;
const REFUSED_MESSAGE =
  "the server closed the connection before it answered anything, which over TLS may be its way to " +
  "refuse this client's certificate";

/**
 * Waits until the runtime has polled its sockets, which only a timer is sure to make it do, and has
 * reported what it found, which on a busy machine happens after that timer.
 */
function turnOfEventLoop(): Promise<void> {
  return new Promise((resolve) => setTimeout(() => setTimeout(resolve)));
}
