/**
 * Warnings that a peer can cause, without flooding the log.
 *
 * @module
 */

import type { Logger } from "../net/standard_logger.ts";

/** Between two warnings: a peer must not be able to fill the log. */
const LEAST_MILLISECONDS = 1000;

/** Counts events of one kind, and logs a warning at most once a second. */
export class LimitedWarning {
  readonly #logger: Logger;
  readonly #format: (last: string, count: number) => string;
  #count = 0;
  #reported = 0;
  #last = "";
  #stopped = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /**
   * Starts at 0.
   *
   * @param format Returns the text of a warning, from what was last added and how often anything was.
   */
  constructor(logger: Logger, format: (last: string, count: number) => string) {
    this.#logger = logger;
    this.#format = format;
  }

  /** Counts an event. */
  add(last: string): void {
    this.#count++;
    this.#last = last;
    if (this.#timer === undefined && !this.#stopped) this.#report();
  }

  #report(): void {
    this.#reported = this.#count;
    this.#logger.warn(this.#format(this.#last, this.#count));
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (this.#count > this.#reported) this.#report();
    }, LEAST_MILLISECONDS);
  }

  /** Logs nothing more. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }
}
