import type { Request } from "./message.ts";
import type { Session } from "./session.ts";
import { readerOf } from "../body/body.ts";
import type { Method } from "../wire/method.ts";
import type { SafeLogger } from "./logger.ts";
import { stackOf } from "../../internal/caught_errors.ts";

/** An exchange of a request and its response, as its server saw it. */
export interface Exchange {
  /** The session that the exchange was part of. */
  readonly session: Session;
  /** The method of the request. */
  readonly method: Method;
  /** The request target, as it was sent. The query may hold secrets. */
  readonly uri: string;
  /** The request, with its headers and the values that apps have put in its `store`. */
  readonly request: Request;
  /** The status of the response; `null` if the socket took no byte of the response. */
  readonly status: number | null;
  /** Bytes of the request's body that were read or dropped, with chunk headers. */
  readonly requestBytes: number;
  /**
   * Bytes of the response's body that the socket took, with chunk headers. The peer need not
   * have received all of them.
   */
  readonly responseBytes: number;
  /**
   * Seconds from the end of the request's preamble to when the socket took the first byte of the
   * response; `null` if the socket took none.
   */
  readonly firstByteSeconds: number | null;
  /** Seconds from the end of the request's preamble to the end of the exchange. */
  readonly totalSeconds: number;
  /**
   * The error that broke the exchange, or with which its session was closed; `null` for a complete
   * exchange.
   */
  readonly error: unknown;
}

export type ExchangeReporter = (exchange: Exchange) => void;

/** Errors of `onExchange` are logged, and don't reach the connection. */
export function makeExchangeReporter(
  onExchange: ((exchange: Exchange) => unknown) | undefined,
  logger: SafeLogger,
): ExchangeReporter | null {
  if (onExchange === undefined) return null;
  const logCallbackError = (error: unknown) =>
    logger.error(`an error of onExchange: ${stackOf(error)}`, { kind: "app", error });
  return (exchange) => {
    try {
      // The types also allow an async function, whose promise is not awaited.
      const result = onExchange(exchange);
      if (result instanceof Promise) result.catch(logCallbackError);
    } catch (error) {
      logCallbackError(error);
    }
  };
}

export class ExchangeRecorder {
  readonly #startedAt = performance.now();
  readonly #report: ExchangeReporter;
  readonly #session: Session;
  readonly #request: Request;
  #phase: "open" | "reporting" | "ended" = "open";
  #status = 0;
  #unsentPreambleBytes = 0;
  #sentBodyBytes = 0;
  #firstByteAt: number | null = null;
  #lastByteAt: number | null = null;

  constructor(report: ExchangeReporter, session: Session, request: Request) {
    this.#report = report;
    this.#session = session;
    this.#request = request;
  }

  startResponse(status: number, preambleBytes: number): void {
    this.#status = status;
    this.#unsentPreambleBytes = preambleBytes;
  }

  countSent(count: number): void {
    this.#lastByteAt = performance.now();
    this.#firstByteAt ??= this.#lastByteAt;
    const preambleBytes = Math.min(this.#unsentPreambleBytes, count);
    this.#unsentPreambleBytes -= preambleBytes;
    this.#sentBodyBytes += count - preambleBytes;
  }

  end(error: unknown): void {
    if (this.#phase !== "open") return;
    this.#phase = "reporting";
    const startedAt = this.#startedAt;
    const firstByteAt = this.#firstByteAt;
    const lastByteAt = this.#lastByteAt;
    // A complete exchange ends with its last byte, so the time of that byte is used: reading the
    // clock again would cost more than the rest of this method.
    const endedAt = error === null && lastByteAt !== null ? lastByteAt : performance.now();
    const request = this.#request;
    const { method, uri, body } = request;
    this.#report({
      session: this.#session,
      method,
      uri,
      request,
      status: firstByteAt === null ? null : this.#status,
      requestBytes: body === null ? 0 : readerOf(body).bytesRead,
      responseBytes: this.#sentBodyBytes,
      firstByteSeconds: firstByteAt === null ? null : (firstByteAt - startedAt) / 1000,
      totalSeconds: (endedAt - startedAt) / 1000,
      error,
    });
    this.#phase = "ended";
  }

  get isReporting(): boolean {
    return this.#phase === "reporting";
  }
}
