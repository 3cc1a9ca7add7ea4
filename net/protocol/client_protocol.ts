import type { ReadBuffer } from "../../base/body/byte_io.ts";
import { type DeguError, EmptyPreambleError, ProtocolError } from "../../base/errors.ts";
import { type Framing, hasConnectionClose, readLineAt } from "../../base/wire/headers.ts";
import {
  determineReceivedFraming,
  isLastResponse,
  type ResponsePreamble,
} from "../../base/wire/preamble.ts";
import { quote } from "../../internal/quote.ts";
import type { ClientExchange } from "./client_exchange.ts";
import { ResponseReader } from "./response_reader.ts";

const MAX_QUOTED_BYTES = 200;

/** Why no other exchange follows on a client's connection. */
export type LastExchangeReason =
  | "request"
  | "response"
  | "last response"
  | "refused body"
  | "refused connection"
  | "single request"
  | "unframed response";

/**
 * What a client knows about its connection: the exchange in progress, and whether another one may
 * follow.
 */
export class ClientProtocol {
  readonly responses: ResponseReader;
  /** `null` between two exchanges. */
  exchange: ClientExchange | null = null;
  #lastExchangeReason: LastExchangeReason | null = null;
  responseCount = 0;
  /** The status of the last response; 0 before the first one. */
  lastStatus = 0;
  /** Whether no request was sent yet: bytes that arrive may be the refusal of the connection. */
  isFresh = true;
  #interimsWhileSending = 0;
  /** Whether a response without framing has no body, and a request without a body no framing. */
  readonly unframedNull: boolean;
  readonly #isEndAmbiguous: boolean;

  /** @param isEndAmbiguous Whether the end of the connection can't be told from a cut. */
  constructor(buffer: ReadBuffer, unframedNull: boolean, isEndAmbiguous: boolean) {
    this.responses = new ResponseReader(buffer);
    this.unframedNull = unframedNull;
    this.#isEndAmbiguous = isEndAmbiguous;
  }

  /** `null` while another exchange may follow. */
  get lastExchangeReason(): LastExchangeReason | null {
    return this.#lastExchangeReason;
  }

  /** From now on, no other exchange follows. The first reason counts, unless the server refuses. */
  endAfter(reason: LastExchangeReason): void {
    const isRefusal = reason === "refused body" || reason === "refused connection";
    if (this.#lastExchangeReason === null || isRefusal) this.#lastExchangeReason = reason;
  }

  /** Bytes that arrived before the first request; `null` if there are none. */
  get earlyBytes(): Uint8Array | null {
    const { bytes, start, end } = this.responses.buffer;
    return this.isFresh && end > start ? bytes.subarray(start, end) : null;
  }

  /**
   * The error of a read that has ended without a request, which is the end of the connection;
   * `null` if the connection stays open, because its bytes may be a refusal.
   */
  findIdleError(): DeguError | null {
    if (this.responses.buffer.bufferedBytes === 0) return new EmptyPreambleError();
    return this.isFresh ? null : this.unexpectedBytesError();
  }

  /** The error of the buffered bytes, which came before a request was sent. */
  unexpectedBytesError(): ProtocolError {
    const { bytes, start, end } = this.responses.buffer;
    const line = readLineAt(bytes, start, Math.min(end, start + MAX_QUOTED_BYTES));
    return excessBytesError(quote(line), true);
  }

  /** From this point on, the request can't be rolled back. */
  beginExchange(exchange: ClientExchange): void {
    this.isFresh = false;
    exchange.expect();
    if (exchange.isLastRequest) this.endAfter("request");
  }

  receivePreamble(exchange: ClientExchange, { status }: ResponsePreamble): void {
    exchange.receivePreamble();
    this.responseCount++;
    this.lastStatus = status;
  }

  /**
   * The name of the wait for the server, of each wait another one; `null` for none. A client waits
   *
   * - for the first byte of a response, once the request was sent;
   * - for the rest of its preamble, and then for everything up to the end of the last one, so that
   *   neither single bytes nor interim responses prolong the wait. While the request is still sent,
   *   the server may wait for the source of its body, so each preamble has its own wait;
   * - for more bytes of the request, if its source keeps the response waiting;
   * - for bytes of the response's body.
   */
  findWait(isReading: boolean, readCount: number, writeCount: number): string | null {
    const { exchange, responseCount } = this;
    if (exchange === null) return null;
    const { incoming, isSendEnded } = exchange;
    if (incoming === "body") return isReading ? `body ${readCount}` : null;
    if (exchange.isStalling) return `source ${writeCount}`;
    if (incoming !== "awaited") return null;
    const { isAtStart, interimCount } = this.responses;
    if (isAtStart && !isSendEnded) return null;
    if (isAtStart && interimCount === 0) return `response ${responseCount}`;
    const interims = isSendEnded ? this.#interimsWhileSending : interimCount;
    return `preamble ${responseCount} ${interims}`;
  }

  /** The request was sent, or no more of it will be sent. */
  endSend(exchange: ClientExchange): void {
    exchange.endOutgoing();
    this.#interimsWhileSending = this.responses.interimCount;
  }

  /** Determines the framing of the body, and whether another exchange may follow. */
  handOver(exchange: ClientExchange, preamble: ResponsePreamble): Framing | "unframed" {
    const { status, headers } = preamble;
    let framing = determineReceivedFraming(exchange.method, preamble);
    if (framing === "unframed" && this.unframedNull) {
      if (this.responses.buffer.bufferedBytes > 0) throw unframedNullError(status);
      exchange.isUnframedNull = true;
      framing = null;
    }
    const isUnframed = framing === "unframed";
    if (isUnframed && this.#isEndAmbiguous) throw unframedBodyError(status);
    const isLast = isLastResponse(preamble) || isUnframed;
    if (isLast || hasConnectionClose(headers)) {
      this.endAfter(isLast ? "last response" : "response");
      exchange.isLastResponse = true;
    }
    exchange.handOver();
    return framing;
  }

  /**
   * Whether the bytes after the previous response don't begin another response: some servers send
   * a body after the response to a HEAD.
   */
  hasExcessBytes({ incoming }: ClientExchange): boolean {
    return incoming === "awaited" && this.responseCount > 0 && this.responses.hasExcessBytes;
  }
}

/** @param reason The first line, or the problem of the response that the bytes were taken for. */
export function excessBytesError(reason: string, isTransient = false): ProtocolError {
  const problem = `the peer sent bytes without a request: ${reason}`;
  return new ProtocolError("EXCESS_BYTES", problem, { isTransient });
}

function unframedBodyError(status: number): ProtocolError {
  return new ProtocolError(
    "UNFRAMED_BODY",
    `the response (status ${status}) has neither content-length nor transfer-encoding: over TLS, ` +
      "the end of such a body can't be told from a connection that was cut",
  );
}

function unframedNullError(status: number): ProtocolError {
  return new ProtocolError(
    "UNFRAMED_BODY",
    `the response (status ${status}) has neither content-length nor transfer-encoding, but a body: ` +
      "the option unframedNull is only for servers with Python Degu",
  );
}
