/** The figures of an exchange of a request and its response, for `onExchange`. */

import type { Session } from "../base/app/session.ts";
import { type BodyIn, progressOf } from "../base/body/bodies.ts";
import { concatenate, EMPTY } from "../base/bytes.ts";
import { ChunkScanner } from "../base/wire/chunk.ts";
import type { Framing } from "../base/wire/headers.ts";
import type { Method } from "../base/wire/preamble.ts";
import type { Logger } from "./logger.ts";
import { stackOf } from "./thrown.ts";

/** An exchange of a request and its response, as its server saw it. */
export interface Exchange {
  /** The session that the exchange was part of. */
  readonly session: Session;
  /** The method of the request. */
  readonly method: Method;
  /** The request target, as it was sent. The query may hold secrets. */
  readonly uri: string;
  /** The status of the response; `null` if the socket took no byte of the response. */
  readonly status: number | null;
  /** Bytes of data of the request's body that were read; the lines between chunks don't count. */
  readonly requestBytes: number;
  /**
   * Bytes of data of the response's body that the socket took; the lines between chunks don't
   * count. The peer need not have received all of them.
   */
  readonly responseBytes: number;
  /**
   * Milliseconds from the end of the request's preamble to when the socket took the first byte of
   * the response; `null` if the socket took none.
   */
  readonly firstByteMs: number | null;
  /** Milliseconds from the end of the request's preamble to the end of the exchange. */
  readonly totalMs: number;
  /**
   * The error that broke the exchange, or with which its session was closed; `null` for a complete
   * exchange.
   */
  readonly error: unknown;
}

export type Report = (exchange: Exchange) => void;

/**
 * Makes the function that gets the figures of a server's exchanges; `null` if there is no
 * `onExchange`. An error of `onExchange` is logged, and doesn't reach the connection.
 */
export function makeReport(
  onExchange: ((exchange: Exchange) => unknown) | undefined,
  logger: Logger,
): Report | null {
  if (onExchange === undefined) return null;
  const fail = (error: unknown) => logger.error(`an error of onExchange: ${stackOf(error)}`);
  return (exchange) => {
    try {
      // The types also allow an async function, whose promise nothing else awaits.
      const returned = onExchange(exchange);
      if (returned instanceof Promise) returned.catch(fail);
    } catch (error) {
      fail(error);
    }
  };
}

/**
 * Follows one exchange from now on, and counts the bytes of data of the response that the socket
 * takes, without the preamble and the lines between chunks. The sender has checked these bytes, so
 * counting them never throws.
 */
export class ExchangeWatch {
  readonly #start = performance.now();
  readonly #report: Report;
  readonly #request: Pick<Exchange, "session" | "method" | "uri">;
  readonly #body: BodyIn;
  #ended = false;
  #status = 0;
  /** Bytes of the response's preamble that the socket has not taken yet. */
  #preamble = 0;
  #scanner: ChunkScanner | null = null;
  // The beginning of a line between chunks whose rest the socket has not taken yet.
  #rest: Uint8Array = EMPTY;
  #data = 0;
  #firstByteAt: number | null = null;
  #lastByteAt: number | null = null;

  constructor(
    report: Report,
    request: Pick<Exchange, "session" | "method" | "uri">,
    body: BodyIn,
  ) {
    this.#report = report;
    this.#request = request;
    this.#body = body;
  }

  /** Begins the response, whose preamble has so many bytes. */
  respond(status: number, preamble: number, framing: Framing | undefined): void {
    this.#status = status;
    this.#preamble = preamble;
    this.#scanner = framing === "chunked" ? new ChunkScanner() : null;
  }

  /** Counts the first `count` of these bytes, which the socket has taken. */
  add(bytes: Uint8Array, count: number): void {
    this.#lastByteAt = performance.now();
    this.#firstByteAt ??= this.#lastByteAt;
    const start = Math.min(this.#preamble, count);
    this.#preamble -= start;
    if (this.#scanner === null) this.#data += count - start;
    else this.#scan(this.#scanner, bytes, start, count);
  }

  #scan(scanner: ChunkScanner, bytes: Uint8Array, at: number, end: number): void {
    if (this.#rest.length > 0) {
      // A rest comes after the preamble: `at` is 0.
      bytes = concatenate([this.#rest, bytes.subarray(0, end)]);
      end = bytes.length;
    }
    let next;
    while ((next = scanner.advance(bytes, at, end)) !== -1) at = next;
    this.#rest = at === end ? EMPTY : bytes.slice(at, end);
    this.#data = scanner.taken;
  }

  /** Ends the exchange. Only the first call counts. */
  end(error: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    const start = this.#start;
    const first = this.#firstByteAt;
    const last = this.#lastByteAt;
    // A complete exchange ends with its last byte. Asking for the time costs more than all the rest
    // of this method.
    const end = error === null && last !== null ? last : performance.now();
    this.#report({
      ...this.#request,
      status: first === null ? null : this.#status,
      requestBytes: this.#body === null ? 0 : progressOf(this.#body).bytes,
      responseBytes: this.#data,
      firstByteMs: first === null ? null : first - start,
      totalMs: end - start,
      error,
    });
  }
}
