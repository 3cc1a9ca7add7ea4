import { api } from "../../base/app/app.ts";
import {
  cancelAppResult,
  type OutgoingResponse,
  parseAppResult,
  unsentHeadBodyError,
} from "../../base/app/app_result.ts";
import { ExchangeRecorder, type ExchangeReporter } from "../../base/app/exchange_recorder.ts";
import { Request, type RequestContext } from "../../base/app/message.ts";
import type { Session } from "../../base/app/session.ts";
import {
  type BodyIn,
  cancelQuietly,
  discardBody,
  isDiscardable,
  isWritableBody,
  readerOf,
  whenBodyEnds,
  type WritableBody,
} from "../../base/body/body.ts";
import type { BodyOutcome } from "../../base/body/body_reader.ts";
import { cancelUnusedBody, determineSentFraming } from "../../base/body/sent_body.ts";
import { BodyError } from "../../base/errors.ts";
import { isBrokenFramingError } from "../../base/wire/error_responses.ts";
import {
  copyRepeatedLines,
  expectsContinue,
  type Framing,
  hasConnectionClose,
  type HeadersToSend,
} from "../../base/wire/headers.ts";
import { MAX_PREAMBLE_BYTES } from "../../base/wire/limits.ts";
import type { Method } from "../../base/wire/method.ts";
import { formatResponsePreamble, type RequestPreamble } from "../../base/wire/preamble.ts";
import { ExchangeProgress } from "../protocol/exchange.ts";
import { borrowPreambleBuffer } from "../protocol/message_buffer.ts";
import { refuseEvent } from "../protocol/phases.ts";
import { ANSWERS, type LastRequestReason } from "../protocol/server_protocol.ts";
import { makeIncomingBody } from "../transport/incoming_body.ts";
import type { MessageSender } from "../transport/message_sender.ts";
import type { Transport } from "../transport/transport.ts";

const CLOSE_HEADERS: HeadersToSend = { connection: "close" };

/**
 * One exchange at the server: a request, whose body may end later, and its response. A request that
 * is `"broken"` before a byte of the response was sent still gets a response, the last one.
 */
export class ServerExchange extends ExchangeProgress {
  readonly request: Request;
  /** The method and the body of the request, which the app may change in its `Request`. */
  readonly method: Method;
  readonly body: BodyIn;
  readonly recorder: ExchangeRecorder | null;
  readonly isContinueExpected: boolean;
  readonly #transport: Transport;
  readonly #isCloseRequested: boolean;
  #answer = ANSWERS.awaited;
  /** The error of a `"broken"` body. */
  bodyError: unknown = null;
  /** What the app returned, or threw as a response. */
  returned: unknown = undefined;
  #response: OutgoingResponse | null = null;
  /** Whether the rest of the request was short, and had arrived, when the response began. */
  #hasReceivedRest = false;
  /** Why the response has `connection: close`; `null` without this header. */
  announcedReason: LastRequestReason | null = null;
  /** A chunked body for a client of HTTP/1.0: the end of the connection is its end. */
  unchunkedBody: WritableBody | null = null;

  constructor(
    { method, target, headers, framing, isHttp10 }: RequestPreamble,
    transport: Transport,
    session: Session,
    context: RequestContext,
    reportExchange: ExchangeReporter | null,
  ) {
    super();
    this.#transport = transport;
    this.method = method;
    this.expect();
    this.receivePreamble();
    this.handOver();
    this.body = framing === null ? null : makeRequestBody(this, transport, framing);
    if (this.body === null) this.endIncoming();
    // Read the header before the app, which may change the headers.
    this.#isCloseRequested = isHttp10 || hasConnectionClose(headers);
    const { uri, path, query } = target;
    this.request = new Request(context, method, uri, headers, this.body, [], path, query);
    this.recorder = reportExchange && new ExchangeRecorder(reportExchange, session, this.request);
    this.isContinueExpected = this.body !== null && !isHttp10 && expectsContinue(headers);
  }

  /** Not private: a private method would cost 8 bytes per request. */
  onBodyEnd(outcome: BodyOutcome, error: unknown): void {
    // After a cancellation, an error response may still be sent.
    if (outcome === "canceled") return;
    if (outcome === "consumed") {
      this.endIncoming();
    } else if (
      !this.#transport.isClosed && this.outgoing === "unsent" &&
      (isBrokenFramingError(error) || this.#answer === ANSWERS.discarding)
    ) {
      // The framing is broken, or the client has closed its side, but the socket works: an error
      // response can still be sent, or the app's response, which didn't need the body.
      this.breakIncoming();
      this.bodyError = error;
    } else {
      this.#transport.close(error);
    }
  }

  get receives(): "request" {
    return "request";
  }

  get incompleteReason(): null {
    return null;
  }

  /** Whether the response is valid, so that only the source of its body can fail. */
  get hasValidResponse(): boolean {
    return this.#answer !== ANSWERS.awaited && this.#answer !== ANSWERS.discarding;
  }

  /** Whether the response has a body of unknown length that has not ended. */
  get isStreaming(): boolean {
    return this.#answer === ANSWERS.streaming;
  }

  get isBodyUnread(): boolean {
    return this.incoming === "body";
  }

  /**
   * Whether the app waits for bytes of the body; not once the body was canceled. The wait for an
   * ignored body has a limit of its own, after which the response is sent.
   */
  get isBodyAwaited(): boolean {
    return this.body !== null && this.#answer !== ANSWERS.discarding &&
      readerOf(this.body).isAwaitingSource;
  }

  /** What the app returned, as a response; for HTTP/1.0 perhaps without its chunks. */
  get response(): OutgoingResponse {
    // The connection asks once the app has returned.
    return this.#response!;
  }

  /** Whether the body of the response reads the body of the request. */
  get isReadingRequest(): boolean {
    return this.isBodyUnread && this.body!.used && this.hasValidResponse &&
      isWritableBody(this.response.body);
  }

  /**
   * Reports whether the app has responded while it still writes the body of the request, for
   * example to another server. The session then continues after this body. An error status refuses
   * the body.
   */
  isRelayed({ status }: OutgoingResponse): boolean {
    return this.isBodyUnread && status < 400 && readerOf(this.body!).isBeingWritten;
  }

  /**
   * Discards the rest of a short request that nobody reads, so that the session continues. Does so
   * before the response: a proxy that has overlooked the body would send another client's request
   * after an early response, and this request would be read as the body. If the body of the
   * response may read the request, {@linkcode endRequest} discards what had arrived before.
   */
  async discardRequest(): Promise<void> {
    // The client sends no body while it waits for a 100, and the read would send one.
    if (this.isContinueExpected || this.#isCloseRequested) return;
    const { body, headers } = this.#response ??= parseAppResult(this.returned);
    if (hasConnectionClose(headers)) return;
    // Parsing many small chunks costs more than another connection.
    if (this.body!.chunked || !isDiscardable(this.body!)) return;
    if (isWritableBody(body)) {
      this.#hasReceivedRest = readerOf(this.body!).isBuffered;
      return;
    }
    this.#answer = this.#answer.discard ?? refuseEvent("discard", this.#answer);
    await discardBody(this.body!, this.#transport.timeout);
    this.#answer = this.#answer.recheck ?? refuseEvent("recheck", this.#answer);
  }

  /** Removes the chunks of a response to HTTP/1.0, whose body then ends with the connection. */
  removeChunks(): void {
    const response = this.#response = parseAppResult(this.returned);
    const { status, reason, body } = response;
    const { "transfer-encoding": coding, ...otherHeaders } = response.headers;
    const headers = copyRepeatedLines(response.headers, otherHeaders);
    const isHead = this.method === "HEAD";
    const hasChunks = isWritableBody(body) && body.chunked;
    // The headers announce the body of a response to GET (RFC 9110 §9.3.2).
    const announcesChunks = body === null && coding !== undefined && (isHead || status === 304);
    if (!hasChunks && !announcesChunks) return;
    // Refuse each response that couldn't be sent to a client of HTTP/1.1.
    const framing = determineSentFraming(this.method, status, response.headers, body);
    const buffer = new Uint8Array(MAX_PREAMBLE_BYTES);
    formatResponsePreamble(buffer, status, reason, response.headers, framing, "response.", null);
    this.#response = { ...response, headers, body: null };
    if (!hasChunks) return;
    if (isHead) cancelUnusedBody(body, unsentHeadBodyError());
    else this.unchunkedBody = body;
  }

  /** @param connectionReason Why no request follows, unless this exchange has a reason. */
  beginResponse(
    sender: MessageSender,
    unframedNull: boolean,
    connectionReason: LastRequestReason | null,
  ): Promise<number | void> {
    const { method, body } = this;
    const transport = this.#transport;
    // If the response can't be sent, its body is canceled.
    const response = this.#response = parseAppResult(this.#response ?? this.returned);
    const { status, reason, headers } = response;
    if (transport.isClosed) throw transport.failure ?? new BodyError("too late");
    const isUnchunked = this.unchunkedBody !== null;
    const framing = isUnchunked
      ? undefined
      : determineSentFraming(method, status, headers, response.body, unframedNull);
    // A writable body, such as the body of a proxy's response, may read the request's body while
    // the response is sent.
    const mayReadRequest = body !== null && this.isBodyUnread &&
      (this.isRelayed(response) || isWritableBody(response.body) && !readerOf(body).isStopped);
    this.announcedReason = this.findLastReason(mayReadRequest) ?? connectionReason;
    // A write that follows rejects with the same error.
    if (body !== null && response.body === body) sender.sendAwaitedContinue()?.catch(() => {});
    const closeHeader = this.announcedReason === null ? null : makeCloseHeader(headers);
    sender.begin(this);
    const buffer = borrowPreambleBuffer();
    const length = formatResponsePreamble(
      buffer,
      status,
      reason,
      headers,
      framing,
      "response.",
      closeHeader,
    );
    sender.buffer.take(buffer, length);
    this.recorder?.startResponse(status, length);
    const isHead = method === "HEAD";
    const writePromise = sender.beginSend(length, isHead ? null : response.body, framing);
    if (isUnchunked || (!isHead && framing === "chunked")) {
      this.#answer = this.#answer.stream ?? refuseEvent("stream", this.#answer);
    } else {
      this.#answer = this.#answer.send ?? refuseEvent("send", this.#answer);
    }
    if (isHead) cancelUnusedBody(response.body, unsentHeadBodyError());
    return writePromise;
  }

  endResponse(): void {
    this.#answer = this.#answer.endSend ?? refuseEvent("endSend", this.#answer);
    this.endOutgoing();
  }

  /**
   * Waits until the app has written the body of the request elsewhere, or the body has ended.
   * Discards a body that nobody reads, if its last byte had arrived before the response.
   */
  async endRequest(): Promise<void> {
    if (this.isRelayed(this.response)) {
      this.#answer = this.#answer.relay ?? refuseEvent("relay", this.#answer);
      await new Promise<void>((resolve) => whenBodyEnds(this.body, resolve));
    } else if (this.#hasReceivedRest && readerOf(this.body!).isFree) {
      await discardBody(this.body!);
    }
  }

  /** @param mayReadRequest Whether the response, which begins now, may read the request's body. */
  findLastReason(mayReadRequest = false): LastRequestReason | null {
    const { status, headers } = this.response;
    if (this.bodyError !== null) return "broken request";
    if (!mayReadRequest && this.isBodyUnread) {
      return this.isReadingRequest ? "early response" : "unread request";
    }
    if (mayReadRequest && status >= 400 && !this.#hasReceivedRest) return "early error";
    if (hasConnectionClose(headers)) return "response";
    return this.#isCloseRequested ? "request" : null;
  }

  /** Cancels a body of unknown length, whose source may wait forever. */
  cancelStream(reason: unknown): void {
    if (!this.isStreaming) return;
    cancelQuietly(this.unchunkedBody ?? this.response.body, reason);
  }

  cancelResponse(reason: unknown): void {
    cancelAppResult(this.#response ?? this.returned, this.body, reason);
    cancelQuietly(this.unchunkedBody, reason);
  }
}

/** Not a part of the constructor, where the closure would cost an allocation without a body. */
function makeRequestBody(exchange: ServerExchange, transport: Transport, framing: Framing): BodyIn {
  const onBodyEnd = (outcome: BodyOutcome, error: unknown) => exchange.onBodyEnd(outcome, error);
  return makeIncomingBody(api, transport, onBodyEnd, exchange, framing);
}

function makeCloseHeader(headers: HeadersToSend): HeadersToSend | null {
  const { connection } = headers;
  if (connection === undefined) return CLOSE_HEADERS;
  const text = Array.isArray(connection) ? connection.join(", ") : connection;
  if (typeof text !== "string" || hasConnectionClose(headers)) return null;
  return { connection: `${text}, close` };
}
