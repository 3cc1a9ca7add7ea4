/**
 * One coarse timer per connection: a wait costs neither a timer nor a look at the clock.
 *
 * @module
 */

import { typeName } from "../base/errors.ts";

/** The timer ticks this often in the time that a wait may take. */
const TICKS = 8;
const MAX_INTERVAL = 2 ** 31 - 1;

/** Checks a time-out: seconds above zero, or `null` for none. */
export function checkTimeout(timeout: number | null): void {
  if (timeout === null) return;
  if (typeof timeout !== "number") {
    throw new TypeError(`timeout: need a number of seconds or null; got ${typeName(timeout)}`);
  }
  if (!(timeout > 0 && timeout < Infinity)) {
    throw new RangeError(`timeout: need seconds above 0, or null for none; got ${timeout}`);
  }
}

/** Bounds waits, one at a time. It fires between 1.0 and 1.25 times the time-out. */
export class Deadline {
  #tick = 0;
  #since = -1;
  readonly #timer: ReturnType<typeof setInterval> | undefined;

  /**
   * Starts the timer, which does not keep the process alive: a wait does.
   *
   * @param timeout Seconds, or `null` for no bound.
   * @param onExpire Called when a wait has taken too long.
   */
  constructor(timeout: number | null, onExpire: () => void) {
    if (timeout === null) return;
    const interval = Math.min(timeout * 1000 / TICKS, MAX_INTERVAL);
    const timer = setInterval(() => {
      this.#tick++;
      // The wait began somewhere between two ticks, hence one more than fit in the time.
      if (this.#since >= 0 && this.#tick - this.#since > TICKS) {
        this.#since = -1;
        onExpire();
      }
    }, interval);
    Deno.unrefTimer(timer as unknown as number);
    this.#timer = timer;
  }

  /** Begins a wait, or begins it again. */
  start(): void {
    this.#since = this.#tick;
  }

  /** Ends the wait. */
  stop(): void {
    this.#since = -1;
  }

  /** Stops the timer for good. */
  close(): void {
    this.#since = -1;
    clearInterval(this.#timer);
  }
}
