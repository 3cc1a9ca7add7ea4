/**
 * Aborts the body of a response when the signal of its request is aborted.
 *
 * @module
 */

/**
 * The link from a signal to a body. The signal may live forever, so the link refers to the body only
 * while the body waits for something: an unreachable body can be collected.
 */
export class Interruption {
  /** Rejects the promise that the body waits for. */
  waiting: ((reason: unknown) => void) | null = null;
  /** The reason, once the request was aborted. */
  aborted: { readonly reason: unknown } | null = null;

  /** Makes what the body waits for, and every later operation, reject with the reason. */
  abort(reason: unknown): void {
    this.aborted = { reason };
    this.waiting?.(reason);
    this.waiting = null;
  }

  /** Throws the reason itself, once there is one. */
  throwIfAborted(): void {
    if (this.aborted !== null) throw this.aborted.reason;
  }
}
