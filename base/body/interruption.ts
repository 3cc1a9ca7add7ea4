/**
 * How a body learns that the request whose response it belongs to was aborted.
 *
 * @module
 */

/**
 * Stands between a signal and a body. The signal may live for ever, so this knows the body only while
 * that waits for something: a body that was forgotten can be collected.
 */
export class Interruption {
  /** Rejects what the body waits for. */
  waiting: ((reason: unknown) => void) | null = null;
  /** The reason, once there is one. */
  aborted: { readonly reason: unknown } | null = null;

  /** Rejects what the body waits for, and lets whatever is done with it later fail with the reason. */
  abort(reason: unknown): void {
    this.aborted = { reason };
    this.waiting?.(reason);
    this.waiting = null;
  }

  /** Throws the reason, itself, once there is one. */
  throwIfAborted(): void {
    if (this.aborted !== null) throw this.aborted.reason;
  }
}
