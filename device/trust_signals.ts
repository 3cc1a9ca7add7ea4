/**
 * The trust in peers: this module alone answers whether a peer is trusted.
 *
 * The files of the peers are the trust. {@linkcode PeerStore} reads them whenever they may have
 * changed. Each peer has one signal here, which is aborted as soon as the peer's file is found
 * gone: by `forget` in this process at once, by another process within a second. Everything that
 * may only go on while the peer is trusted (a session, also while its `onConnect` runs, a
 * connection attempt, a connection) listens to the signal, and closes itself.
 *
 * A signal is late by the time that it takes to notice another process. Code that is about to let a
 * peer in, or to take a step that can't be undone, therefore asks {@linkcode Trusted.confirm},
 * which reads the file. A peer that is paired again has another signal: sessions that the old
 * signal has ended stay ended.
 */

import { DeviceError } from "./errors.ts";
import type { Peer, PeerStore } from "./peer_store.ts";

/** A peer that was trusted when it was last read. */
export interface Trusted {
  readonly peer: Peer;
  /** Aborted, with the reason, once the peer is not trusted any more. */
  readonly signal: AbortSignal;
  /** Checks the current state. After a rejection the peer counts as not trusted. */
  confirm(): Promise<boolean>;
}

/** The error of everything that needs a peer that is forgotten. */
export function forgottenPeerError(id: string): DeviceError {
  return new DeviceError(
    "FORGOTTEN",
    `the peer with the id ${id} was forgotten; pair the two again`,
  );
}

export class TrustSignals {
  readonly #peers: PeerStore;
  readonly #controllers = new Map<string, AbortController>();
  #isOver = false;

  constructor(peers: PeerStore) {
    this.#peers = peers;
    peers.onChange(() => this.#endForgotten());
  }

  /** The peer with this id, if it was trusted when the peers were last read; `null` otherwise. */
  find(id: string): Trusted | null {
    const peer = this.#peers.current.find((each) => each.id === id);
    if (peer === undefined || this.#isOver) return null;
    let controller = this.#controllers.get(peer.id);
    if (controller === undefined) {
      this.#controllers.set(peer.id, controller = new AbortController());
    }
    const { signal } = controller;
    return { peer, signal, confirm: () => this.#confirm(peer.id, signal) };
  }

  /** Reads the peer's own file. */
  async #confirm(id: string, signal: AbortSignal): Promise<boolean> {
    const isStored = await this.#peers.read(id) !== null;
    // Everything that depends on a forgotten peer is to end now, before the watch notices the
    // change.
    if (!isStored && !this.#isOver) await this.#peers.tryRefresh();
    return isStored && !signal.aborted;
  }

  #endForgotten(): void {
    const known = new Set(this.#peers.current.map(({ id }) => id));
    for (const [id, controller] of this.#controllers) {
      if (known.has(id)) continue;
      this.#controllers.delete(id);
      controller.abort(forgottenPeerError(id));
    }
  }

  /** Aborts all signals: from then on no peer is trusted. */
  end(reason: unknown): void {
    this.#isOver = true;
    for (const controller of this.#controllers.values()) controller.abort(reason);
  }
}
