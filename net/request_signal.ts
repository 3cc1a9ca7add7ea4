/**
 * The signal of one request.
 *
 * @module
 */

import { typeName } from "../base/errors.ts";
import type { Interruption } from "../base/body/interruption.ts";
import { copyOptions } from "../base/options.ts";
import type { Transport } from "./transport.ts";

/** What holds for one request. */
export interface RequestOptions {
  /**
   * Aborts the request, until the response's body is consumed or, where it has none, the response is
   * there; what waits for either, or reads the body later, rejects with its reason. Before the first
   * byte nothing is sent and the connection stays as it was; later it closes.
   */
  signal?: AbortSignal | undefined;
}

const OPTIONS = ["signal"];

/**
 * The signal of a request, if it has one.
 *
 * @throws {TypeError} for an unknown option, and for what is no signal.
 */
export function requestSignal(options: RequestOptions | undefined): AbortSignal | undefined {
  if (options === undefined) return undefined;
  const { signal } = copyOptions(options, OPTIONS);
  checkSignal(signal);
  return signal;
}

/** Throws a `TypeError` unless the value is a signal, or left out. */
export function checkSignal(signal: AbortSignal | undefined): void {
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw new TypeError(`signal: need an AbortSignal; got ${typeName(signal)}`);
  }
}

/**
 * What the signals of its requests do to a connection, one after the other. A signal may live for
 * ever, so this knows nothing that would keep the connection, or a body, from being collected.
 */
export class RequestAbort {
  readonly #transport: Transport;
  #signal: AbortSignal | null = null;
  #interruption: Interruption | null = null;
  #fired = false;

  /** Makes one for all requests of a connection. */
  constructor(transport: Transport) {
    this.#transport = transport;
    const { onClose } = transport;
    transport.onClose = () => {
      this.end();
      onClose?.();
    };
  }

  /** True where the signal was aborted while this listened: the request has failed with its reason. */
  get fired(): boolean {
    return this.#fired;
  }

  /** Begins to listen to the signal of a request that is to be sent; it is not aborted yet. */
  begin(signal: AbortSignal): void {
    this.#fired = false;
    this.#transport.begun = false;
    this.#signal = signal;
    signal.addEventListener("abort", this.#abort);
  }

  /** Has the body of the response learn of an abort. */
  interrupt(interruption: Interruption): void {
    this.#interruption = interruption;
  }

  /** Ends with the request: an abort is none of its business any more. */
  end(): void {
    this.#signal?.removeEventListener("abort", this.#abort);
    this.#signal = this.#interruption = null;
  }

  readonly #abort = (): void => {
    const { reason } = this.#signal!;
    const interruption = this.#interruption;
    this.end();
    this.#fired = true;
    if (this.#transport.begun) {
      this.#transport.close(reason);
      interruption?.abort(reason);
    } else {
      // A read is under way since, and whether it has found something only the event loop can tell.
      this.#transport.lastArrival = -Infinity;
      this.#transport.abandon(reason);
    }
  };
}
