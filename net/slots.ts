/**
 * The slots of a server: how many connections it serves at a time.
 *
 * @module
 */

const WAIT_MILLISECONDS = 2000;

/** A connection that has a slot. */
export interface SlotHolder {
  /** Closes it, now. */
  close(): void;
  /** True while nothing is lost by closing it. */
  isIdle(): boolean;
}

/** The slots, and the connections that hold them. */
export class Slots {
  readonly #most: number;
  readonly #holders = new Map<SlotHolder, Promise<void>>();
  #endWait: (() => void) | null = null;

  /**
   * Makes slots, all of them free.
   *
   * @param most How many there are, which can be `Infinity`.
   */
  constructor(most: number) {
    this.#most = most;
  }

  /**
   * Waits for a free slot, for up to 2 seconds or until {@linkcode stopWaiting}; resolves to whether there
   * is one. Only one caller may wait at a time. It accepts nothing meanwhile; the system's queue holds new
   * connections.
   */
  async wait(): Promise<boolean> {
    if (!this.isFree) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#endWait = resolve;
      const timer = setTimeout(resolve, WAIT_MILLISECONDS);
      await promise;
      clearTimeout(timer);
      this.#endWait = null;
    }
    return this.isFree;
  }

  /** True if there is one now. */
  get isFree(): boolean {
    return this.#holders.size < this.#most;
  }

  /** Gives a connection a slot until the promise, which never rejects, is fulfilled. */
  hold(holder: SlotHolder, serving: Promise<void>): void {
    const ended = serving.then(() => {
      this.#holders.delete(holder);
      this.#endWait?.();
    });
    this.#holders.set(holder, ended);
  }

  /** Ends the wait for a slot, if there is one. */
  stopWaiting(): void {
    this.#endWait?.();
  }

  /** Closes all connections. */
  close(): void {
    for (const holder of this.#holders.keys()) holder.close();
  }

  /** Closes the idle connections. */
  closeIdle(): void {
    for (const holder of this.#holders.keys()) {
      if (holder.isIdle()) holder.close();
    }
  }

  /** Resolves when all connections have ended. */
  async ended(): Promise<void> {
    await Promise.all(this.#holders.values());
  }
}
