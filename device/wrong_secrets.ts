/**
 * Telling of wrong secrets, of which there can be any number.
 *
 * @module
 */

import type { Logger } from "../net/server_connection.ts";

/** A stranger must not be able to fill a log. */
const LEAST_MILLISECONDS = 1000;

/** Counts wrong secrets, and warns of them once a second at most. */
export class WrongSecrets {
  readonly #logger: Logger;
  #count = 0;
  #told = 0;
  #last = "";
  #stopped = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Makes a count of 0. */
  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** Counts one more. */
  add(who: string): void {
    this.#count++;
    this.#last = who;
    if (this.#timer === undefined && !this.#stopped) this.#tell();
  }

  #tell(): void {
    this.#told = this.#count;
    this.#logger.warn(
      `invitation: a wrong secret from ${this.#last}; ${this.#count} wrong so far, and it goes on`,
    );
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (this.#count > this.#told) this.#tell();
    }, LEAST_MILLISECONDS);
  }

  /** Tells nothing more. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }
}
