/**
 * The trust in peers. Only this module decides whether a peer is trusted.
 *
 * A peer is trusted as long as its file exists. {@linkcode PeerStore} reads the files whenever they
 * may have changed. Each peer has one signal, which is aborted when the store no longer finds the
 * peer's file: at once after `forget` in this process, within a second after a change by another
 * process. Sessions (also during `onConnect`), connections and attempts to connect require the
 * trust: they listen to the signal, and end when it is aborted.
 *
 * A signal is aborted only after the store has noticed the change of another process. So code that
 * accepts a peer, passes its request to an app, or takes a step that can't be undone, first calls
 * {@linkcode TrustedPeer.confirm}, which looks at the file. A peer that is paired again has a new
 * signal: sessions that the old signal has ended stay ended.
 */

import { DeviceError } from "../errors.ts";
import type { Peer } from "./peer_file.ts";
import type { PeerStore } from "./peer_store.ts";

/** A peer that was trusted when the store last read it. */
export interface TrustedPeer {
  readonly peer: Peer;
  readonly signal: AbortSignal;
  /** Looks at the file of the peer, and reads a changed one. Rejects if that fails. */
  confirm(): Promise<boolean>;
}

export function forgottenPeerError(id: string, problem: string | null): DeviceError {
  return new DeviceError(
    "FORGOTTEN",
    problem ?? `the peer with the id ${id} was forgotten; pair the two devices again`,
  );
}

export class TrustSignals {
  readonly #peers: PeerStore;
  readonly #controllers = new Map<string, AbortController>();
  #hasEnded = false;

  constructor(peers: PeerStore) {
    this.#peers = peers;
    peers.onChange(() => this.#endForgotten());
  }

  find(id: string): TrustedPeer | null {
    const peer = this.#peers.current.find((each) => each.id === id);
    if (peer === undefined || this.#hasEnded) return null;
    const { signal } = this.#controllers.getOrInsertComputed(id, () => new AbortController());
    return { peer, signal, confirm: () => this.#confirm(id, signal) };
  }

  async #confirm(id: string, signal: AbortSignal): Promise<boolean> {
    const isStored = this.#peers.isUnchanged(id) || await this.#peers.read(id) !== null;
    // Sessions and connections of the forgotten peer must end now, before the store notices the
    // change.
    if (!isStored && !this.#hasEnded) await this.#peers.tryRefresh();
    return isStored && !signal.aborted;
  }

  #endForgotten(): void {
    const ids = new Set(this.#peers.current.map(({ id }) => id));
    for (const [id, controller] of this.#controllers) {
      if (ids.has(id)) continue;
      this.#controllers.delete(id);
      controller.abort(forgottenPeerError(id, this.#peers.findProblem(id)));
    }
  }

  end(reason: unknown): void {
    this.#hasEnded = true;
    for (const controller of this.#controllers.values()) controller.abort(reason);
  }
}
