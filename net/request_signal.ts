/** The bounds of one request: its signal, and its deadline. */

import type { Response } from "../base/app/message.ts";
import { type BodyOut, cancelUnused, whenOver } from "../base/body/bodies.ts";
import type { Interruption } from "../base/body/body_state.ts";
import { copyOptions, wrongType } from "../base/checks.ts";
import { MAX_INTERVAL } from "./deadline.ts";
import type { Transport } from "./transport.ts";

/** The limits of one request, beside those of its client. */
export interface RequestOptions {
  /**
   * Aborts the request until the response's body is consumed, or the response has arrived without a
   * body. Pending operations and later reads of the body reject with the signal's reason. The
   * connection stays open and usable if no byte of the request was sent, and closes otherwise.
   */
  signal?: AbortSignal | undefined;
  /**
   * Seconds that the whole request may take, above 0: with connecting, waiting in a pool, and the
   * response's body. Then it is aborted with a `Deno.errors.TimedOut`, which `isTransient` knows.
   *
   * @default {no limit}
   */
  deadline?: number | undefined;
}

const OPTIONS = ["signal", "deadline"];

/** The bounds of one request; `end` stops the timer of its deadline. */
export interface RequestBounds {
  readonly signal: AbortSignal | undefined;
  readonly end: () => void;
}

/**
 * Checks the options of a request, and starts its deadline.
 *
 * @param hint What the error of the deadline says besides, when the time has passed.
 */
export function boundsOf(
  options: RequestOptions | undefined,
  hint: () => string = () => "",
): RequestBounds {
  if (options === undefined) return UNBOUNDED;
  const { signal, deadline } = copyOptions(options, OPTIONS);
  checkSignal(signal);
  if (deadline === undefined) return { signal, end: UNBOUNDED.end };
  if (typeof deadline !== "number") throw wrongType("deadline", "a number of seconds", deadline);
  if (!(deadline > 0 && deadline < Infinity)) {
    throw new RangeError(`deadline: must be a number of seconds above 0; got ${deadline}`);
  }
  const controller = new AbortController();
  const end = startTimer(deadline * 1000, () => {
    controller.abort(new Deno.errors.TimedOut(`the request took over ${deadline} s${hint()}`));
  });
  const own = controller.signal;
  return { signal: signal === undefined ? own : AbortSignal.any([signal, own]), end };
}

const UNBOUNDED: RequestBounds = { signal: undefined, end: () => {} };

/** Calls a function after a time, perhaps of months; returns a function that ends the wait. */
function startTimer(milliseconds: number, expire: () => void): () => void {
  const until = performance.now() + milliseconds;
  let timer: ReturnType<typeof setTimeout>;
  const wait = () => {
    const left = until - performance.now();
    if (left <= 0) return expire();
    timer = setTimeout(wait, Math.min(left, MAX_INTERVAL));
    // Where `node:` modules are loaded the types are those of Node, whose timers are objects.
    Deno.unrefTimer(timer as unknown as number);
  };
  wait();
  return () => clearTimeout(timer);
}

/** Makes a request that has a deadline, which ends with the body of the response. */
export async function withinDeadline(
  options: RequestOptions,
  body: BodyOut,
  request: (options: RequestOptions) => Promise<Response>,
): Promise<Response> {
  let bounds;
  try {
    bounds = boundsOf(options);
  } catch (error) {
    cancelUnused(body, error);
    throw error;
  }
  const { signal, end } = bounds;
  try {
    const response = await request({ signal });
    whenOver(response.body, end);
    return response;
  } catch (error) {
    end();
    throw error;
  }
}

/** The signal in the options of a request without a deadline, if there is one. */
export function requestSignal(
  options: RequestOptions | undefined,
): AbortSignal | undefined {
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
 * The link between a connection's current request and its signal. A signal may live forever, so the
 * link holds nothing that would keep the connection, or a body, from being collected.
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

  /** True if the request has failed because its signal was aborted. */
  get fired(): boolean {
    return this.#fired;
  }

  /** Begins to listen to the signal of the next request, which must not be aborted yet. */
  begin(signal: AbortSignal): void {
    this.#fired = false;
    this.#signal = signal;
    signal.addEventListener("abort", this.#abort);
  }

  /** From now on passes an abort on to the body of the response, too. */
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
      // Bytes may have arrived that only the event loop knows of: the next request gives it a turn
      // first.
      transport.lastArrival = -Infinity;
      transport.cancelBody(reason);
    }
  };
}
