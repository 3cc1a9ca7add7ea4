import { type Timer, unrefTimer } from "../transport/deadline.ts";

const PERIOD_MILLISECONDS = 50;

/** A period in which connections became idle. */
export interface IdlePeriod {
  /** The end of the period; `Infinity` during the period. */
  end: number;
}

/**
 * Tells for how long connections have been idle: at least since the end of a short period. Reading
 * the time after each response would cost 6 % of the time of a small request.
 */
export class IdleClock implements Disposable {
  /** The number of times that a connection has become idle. */
  startCount = 0;
  #period: IdlePeriod | null = null;
  #timer: Timer | undefined;
  #isStopped = false;

  /** The current period. The timer runs only if a connection becomes idle. */
  get period(): IdlePeriod {
    return this.#period ??= this.#startPeriod();
  }

  #startPeriod(): IdlePeriod {
    const period = { end: Infinity };
    if (this.#isStopped) return period;
    this.#timer = unrefTimer(setTimeout(() => {
      period.end = performance.now();
      this.#period = null;
    }, PERIOD_MILLISECONDS));
    return period;
  }

  [Symbol.dispose](): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }
}
