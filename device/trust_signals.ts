/**
 * How long a peer is trusted, as a signal.
 *
 * @module
 */

import { ConnectionClosedError, quote } from "../base/errors.ts";
import type { PeerStore } from "./peer_store.ts";

/** Signals that are aborted when a peer is forgotten, for whatever depends on its trust. */
export class PeerLives {
  readonly #store: PeerStore;
  readonly #controllers = new Map<string, AbortController>();
  readonly #stop: () => void;

  /** Follows the peers of a store. */
  constructor(store: PeerStore) {
    this.#store = store;
    this.#stop = store.onChange(() => this.#look());
  }

  /** The signal of a peer, which must be one of those that the store has last read. */
  signalOf(id: string): AbortSignal {
    let controller = this.#controllers.get(id);
    if (controller === undefined) this.#controllers.set(id, controller = new AbortController());
    return controller.signal;
  }

  #look(): void {
    const known = new Set(this.#store.current.map(({ id }) => id));
    for (const [id, controller] of this.#controllers) {
      if (known.has(id)) continue;
      this.#controllers.delete(id);
      controller.abort(new ConnectionClosedError(`the peer ${quote(id)} was forgotten`));
    }
  }

  /** Aborts all signals, and stops following. */
  end(reason: unknown): void {
    this.#stop();
    for (const controller of this.#controllers.values()) controller.abort(reason);
    this.#controllers.clear();
  }
}
