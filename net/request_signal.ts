/** The signal of one request. */

import { copyOptions, wrongType } from "../base/checks.ts";
import type { Interruption } from "../base/body/body_state.ts";
import type { Transport } from "./transport.ts";

/** Options of one request. */
export interface RequestOptions {
  /**
   * Aborts the request until the response's body is consumed or, if it has none, the response has arrived.
   * Pending operations and later reads of the body reject with its reason. Before the first byte was sent the
   * connection stays open and usable; later it closes.
   */
  signal?: AbortSignal | undefined;
}

const OPTIONS = ["signal"];

/** The signal of a request, if it has one. */
export function requestSignal(options: RequestOptions | undefined): AbortSignal | undefined {
  if (options === undefined) return undefined;
  const { signal } = copyOptions(options, OPTIONS);
  checkSignal(signal);
  return signal;
}

export function checkSignal(signal: AbortSignal | undefined): void {
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw wrongType("signal", "an AbortSignal", signal);
  }
}

/**
 * Links a connection's current request to its signal; one request at a time. A signal may
 * live forever, so this holds nothing that would keep the connection, or a body, from being collected.
 */
export class RequestAbort {
  readonly #transport: Transport;
  #signal: AbortSignal | null = null;
  #interruption: Interruption | null = null;
  #fired = false;

  constructor(transport: Transport) {
    this.#transport = transport;
    transport.addCloseListener(() => this.end());
  }

  /** True if the request's signal was aborted: the request has failed with its reason. */
  get fired(): boolean {
    return this.#fired;
  }

  /** Begins to listen to the signal of the next request; it must not be aborted yet. */
  begin(signal: AbortSignal): void {
    this.#fired = false;
    this.#signal = signal;
    signal.addEventListener("abort", this.#abort);
  }

  /** Also passes an abort on to the body of the response. */
  interrupt(interruption: Interruption): void {
    this.#interruption = interruption;
  }

  /** Ends with the request: a later abort has no effect. */
  end(): void {
    this.#signal?.removeEventListener("abort", this.#abort);
    this.#signal = this.#interruption = null;
  }

  readonly #abort = (): void => {
    const { reason } = this.#signal!;
    const interruption = this.#interruption;
    this.end();
    this.#fired = true;
    const transport = this.#transport;
    if (transport.sent !== "nothing") {
      transport.close(reason);
      interruption?.abort(reason);
    } else {
      // A read was issued ahead, and only the event loop knows whether it has found something.
      transport.lastArrival = -Infinity;
      transport.cancelBody(reason);
    }
  };
}
