/**
 * Reporting wrong secrets without flooding the log.
 *
 * @module
 */

import type { Logger } from "../net/server_connection.ts";

/** Between two warnings: a stranger must not be able to fill the log. */
const LEAST_MILLISECONDS = 1000;

/** Counts wrong secrets, and logs a warning at most once a second. */
export class WrongSecrets {
  readonly #logger: Logger;
  #count = 0;
  #reported = 0;
  #last = "";
  #stopped = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Starts at 0. */
  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** Counts one more. */
  add(who: string): void {
    this.#count++;
    this.#last = who;
    if (this.#timer === undefined && !this.#stopped) this.#report();
  }

  #report(): void {
    this.#reported = this.#count;
    this.#logger.warn(
      `invitation: wrong secret from ${this.#last}; ${this.#count} wrong so far; it stays open`,
    );
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
