/** What is known about an exchange of a request and its response once it is over. */

import type { Session } from "../base/app/session.ts";
import { type BodyIn, progressOf } from "../base/body/bodies.ts";
import { concatenate, EMPTY } from "../base/bytes.ts";
import { ChunkScanner } from "../base/wire/chunk.ts";
import type { Framing } from "../base/wire/headers.ts";
import type { Method } from "../base/wire/preamble.ts";
import type { Logger } from "./standard_logger.ts";
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

/** Follows one exchange. */
export interface ExchangeWatch {
  /** The response begins, with so many bytes of preamble; returns the counter of the bytes that are sent. */
  respond(status: number, preamble: number, framing: Framing | undefined): SentBytes;
  /** The exchange is over. Only the first call counts. */
  end(error: unknown): void;
}

/** Begins to follow an exchange, now. */
export type WatchExchange = (
  session: Session,
  method: Method,
  uri: string,
  body: BodyIn,
) => ExchangeWatch;

/**
 * Makes the watch over a server's exchanges; `null` if there is no `onExchange`. What `onExchange` throws
 * or rejects with is logged and doesn't reach the connection.
 */
export function makeExchangeWatch(
  onExchange: ((exchange: Exchange) => unknown) | undefined,
  logger: Logger,
): WatchExchange | null {
  if (onExchange === undefined) return null;
  const fail = (error: unknown) => logger.error(`an error of onExchange: ${stackOf(error)}`);
  const report = (exchange: Exchange) => {
    try {
      // For the types an async function is a `() => void`, and nothing else awaits it.
      const returned = onExchange(exchange);
      if (returned instanceof Promise) returned.catch(fail);
    } catch (error) {
      fail(error);
    }
  };
  return (session, method, uri, body) => {
    const start = performance.now();
    let responseStatus = 0;
    let sent: SentBytes | null = null;
    let ended = false;
    return {
      respond(status, preamble, framing) {
        responseStatus = status;
        return sent = new SentBytes(preamble, framing);
      },
      end(error) {
        if (ended) return;
        ended = true;
        const { firstByteAt = null, lastByteAt = null, data = 0 } = sent ?? {};
        // A complete exchange ends with its last byte. Asking for the time costs more than all the rest here.
        // mutant `error === null && lastByteAt !== null` → `false`: the time is asked for a moment later
        const endAt = error === null && lastByteAt !== null ? lastByteAt : performance.now();
        report({
          session,
          method,
          uri,
          status: firstByteAt === null ? null : responseStatus,
          requestBytes: body === null ? 0 : progressOf(body).bytes,
          responseBytes: data,
          firstByteMs: firstByteAt === null ? null : firstByteAt - start,
          totalMs: endAt - start,
          error,
        });
      },
    };
  };
}

/**
 * Counts the bytes of data of one message as the socket takes them: neither its preamble nor the lines
 * between chunks. The bytes have been checked before, so it never throws.
 */
export class SentBytes {
  /** Bytes of data that were sent. */
  data = 0;
  /** When the first byte was sent, by `performance.now()`; `null` before. */
  firstByteAt: number | null = null;
  /** When the last byte so far was sent, likewise. */
  lastByteAt: number | null = null;
  #preamble: number;
  readonly #scanner: ChunkScanner | null;
  // The beginning of a line or an end that the socket has not taken whole yet.
  #rest: Uint8Array = EMPTY;

  /** Counts one message with so many bytes of preamble. */
  constructor(preamble: number, framing: Framing | undefined) {
    this.#preamble = preamble;
    this.#scanner = framing === "chunked" ? new ChunkScanner() : null;
  }

  /** The socket has taken the first `count` of these bytes. */
  add(bytes: Uint8Array, count: number): void {
    if (count === 0) return;
    this.lastByteAt = performance.now();
    this.firstByteAt ??= this.lastByteAt;
    const start = Math.min(this.#preamble, count);
    this.#preamble -= start;
    if (this.#scanner === null) this.data += count - start;
    else this.#scan(this.#scanner, bytes, start, count);
  }

  #scan(scanner: ChunkScanner, bytes: Uint8Array, at: number, end: number): void {
    // mutant `>` → `>=`: a copy is counted as well, and costs more
    // mutant `this.#rest.length > 0` → `true`: a copy is counted as well, and costs more
    if (this.#rest.length > 0) {
      // The preamble was sent before: `at` is 0.
      bytes = concatenate([this.#rest, bytes.subarray(0, end)]);
      end = bytes.length;
    }
    let next;
    while ((next = scanner.advance(bytes, at, end)) !== -1) at = next;
    // mutant `at === end` → `false`: no bytes are a rest of no bytes, too
    this.#rest = at === end ? EMPTY : bytes.slice(at, end);
    this.data = scanner.taken;
  }
}
