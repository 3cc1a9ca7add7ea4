/** What is known about an exchange of a request and its response once it is over. */

import type { Session } from "../base/app/session.ts";
import { type BodyIn, progressOf } from "../base/body/bodies.ts";
import { concatenate, EMPTY } from "../base/bytes.ts";
import { ChunkScanner } from "../base/wire/chunk.ts";
import type { Framing } from "../base/wire/headers.ts";
import type { Method } from "../base/wire/preamble.ts";
import type { Logger } from "./logger.ts";
import { stackOf } from "./thrown.ts";

/** One exchange of a request and its response, as a server saw it. */
export interface Exchange {
  /** The session that it was part of. */
  readonly session: Session;
  /** The method of the request. */
  readonly method: Method;
  /** The request target, as it was sent. It may hold secrets in its query. */
  readonly uri: string;
  /** The status of the response; `null` if not one byte of it was sent. */
  readonly status: number | null;
  /** Bytes of data of the request's body that were read; the lines between chunks don't count. */
  readonly requestBytes: number;
  /**
   * Bytes of data of the response's body that the socket took, counted in the same way; the peer need not have
   * received all of them.
   */
  readonly responseBytes: number;
  /**
   * Milliseconds from the end of the request's preamble to when the socket took the first byte of the
   * response; `null` if it took none.
   */
  readonly firstByteMs: number | null;
  /** Milliseconds from the end of the request's preamble to the end of the exchange. */
  readonly totalMs: number;
  /** What broke the exchange, or closed its session before it was over; `null` if it is complete. */
  readonly error: unknown;
}

export type Report = (exchange: Exchange) => void;

/**
 * Makes what the exchanges of a server are reported to; `null` if there is no `onExchange`. What that throws
 * or rejects with is logged and doesn't reach the connection.
 */
export function makeReport(
  onExchange: ((exchange: Exchange) => unknown) | undefined,
  logger: Logger,
): Report | null {
  if (onExchange === undefined) return null;
  const fail = (error: unknown) => logger.error(`an error of onExchange: ${stackOf(error)}`);
  return (exchange) => {
    try {
      // For the types an async function is a `() => void`, and nothing else awaits it.
      const returned = onExchange(exchange);
      if (returned instanceof Promise) returned.catch(fail);
    } catch (error) {
      fail(error);
    }
  };
}

/**
 * Follows one exchange from now on. Of the response it counts the bytes of data as the socket takes them: neither the
 * preamble nor the lines between chunks. Those bytes have been checked before, so it never throws.
 */
export class ExchangeWatch {
  readonly #start = performance.now();
  readonly #report: Report;
  readonly #request: Pick<Exchange, "session" | "method" | "uri">;
  readonly #body: BodyIn;
  #ended = false;
  #status = 0;
  /** Bytes of the response's preamble that were not sent yet. */
  #preamble = 0;
  #scanner: ChunkScanner | null = null;
  // The beginning of a line or an end that the socket has not taken whole yet.
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

  /** The response begins, with so many bytes of preamble. */
  respond(status: number, preamble: number, framing: Framing | undefined): void {
    this.#status = status;
    this.#preamble = preamble;
    if (framing === "chunked") this.#scanner = new ChunkScanner();
  }

  /** The socket has taken the first `count` of these bytes. */
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
      // The preamble was sent before: `at` is 0.
      bytes = concatenate([this.#rest, bytes.subarray(0, end)]);
      end = bytes.length;
    }
    let next;
    while ((next = scanner.advance(bytes, at, end)) !== -1) at = next;
    this.#rest = at === end ? EMPTY : bytes.slice(at, end);
    this.#data = scanner.taken;
  }

  /** The exchange is over. Only the first call counts. */
  end(error: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    const start = this.#start;
    const first = this.#firstByteAt;
    const last = this.#lastByteAt;
    // A complete exchange ends with its last byte. Asking for the time costs more than all the rest here.
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
