/**
 * The time without a turn of the event loop after which a sender waits for one. Shorter times made
 * large uploads slower.
 */
const MAX_SENDING_MILLISECONDS = 10;

/**
 * Lets the event loop read what has arrived while a message is sent: the writes of a fast source
 * settle without a turn as long as the socket takes all bytes. The turn is that of a timer, because
 * Deno looks at the sockets only at every 61st turn of `setImmediate`.
 */
export class Turns {
  #turn: PromiseWithResolvers<void> | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #startTime = 0;

  /** Returns a promise of the next turn, if the last turn was too long ago; else `null`. */
  next(): Promise<void> | null {
    if (this.#turn !== null) {
      return performance.now() - this.#startTime >= MAX_SENDING_MILLISECONDS
        ? this.#turn.promise
        : null;
    }
    this.#turn = Promise.withResolvers();
    this.#startTime = performance.now();
    this.#timer = setTimeout(() => this.end(), MAX_SENDING_MILLISECONDS);
    return null;
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#turn?.resolve();
    this.#turn = null;
  }
}

/** Deno's runtime reads the sockets in every 61st turn of an event loop that has other work. */
const TURNS_OF_SOCKETS = 72;

/** Waits until the event loop has read the sockets, 0.2 ms. */
export async function waitForSockets(): Promise<void> {
  for (let turn = 0; turn < TURNS_OF_SOCKETS; turn++) {
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}
