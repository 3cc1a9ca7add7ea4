import { startInterval, type Timer } from "../transport/deadline.ts";
import type { Transport } from "../transport/transport.ts";

/**
 * Milliseconds between two checks for a close by the peer, once the app has read `session.signal`.
 * The first check may find bytes that the peer sent before its close; the second check finds the
 * close.
 */
const PROBE_MILLISECONDS = 300;

/** Between requests, and while a body is read, a pending read notices a close; else the probe. */
export class PeerProbe {
  #timer: Timer | undefined;
  hasPeerClosed = false;

  /** The timer continues after a close, because another body may begin later. */
  start(transport: Transport, onClose: () => void): void {
    this.#timer ??= startInterval(() =>
      transport.probePeer(() => {
        this.hasPeerClosed = true;
        onClose();
      }), PROBE_MILLISECONDS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
