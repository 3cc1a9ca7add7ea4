/** Listening to IPv4 and IPv6 at one port, on Windows. */

import type { Address } from "../base/address.ts";
import { parseHost } from "../base/host.ts";
import type { AcceptedConnection, Listener } from "./listener.ts";

/**
 * Whether an address is for IPv4 as well, and the system has a socket for each of the two. Other
 * systems accept both at the address `::`.
 */
export function needsBothFamilies(address: Address): boolean {
  return Deno.build.os === "windows" && Array.isArray(address) &&
    parseHost(`${address[0]}`)?.text === "::";
}

/** A listener at `::`, and one at the same port of `0.0.0.0`. */
export class BothFamilies implements Listener {
  readonly ready: Promise<void>;
  readonly #listen: (address: Address) => Listener;
  readonly #listeners: Listener[] = [];
  /** The connections that are waited for, one for each listener. */
  readonly #waiting = new Map<Listener, Promise<AcceptedConnection>>();
  /** The listeners of those that have come, or failed, in this order. */
  readonly #arrived: Listener[] = [];
  #onArrival: () => void = () => {};
  #isClosed = false;

  constructor(address: Address, listen: (address: Address) => Listener) {
    this.#listen = listen;
    const six = listen(address);
    this.#listeners.push(six);
    if (this.#port === 0) {
      this.ready = six.ready.then(() => this.#isClosed ? undefined : this.#addOther());
    } else {
      const other = this.#addOther();
      this.ready = Promise.all([six.ready, other]).then(() => {});
    }
  }

  get address(): Address {
    return this.#listeners[0]!.address;
  }

  get #port(): unknown {
    return this.address[1];
  }

  #addOther(): Promise<void> {
    try {
      const other = this.#listen(["0.0.0.0", this.#port as number]);
      this.#listeners.push(other);
      return other.ready;
    } catch (error) {
      this.close();
      throw error;
    }
  }

  async accept(): Promise<AcceptedConnection> {
    // `Promise.race` would add a reaction to the wait of the idle listener for each connection.
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#onArrival = resolve;
    for (const listener of this.#listeners) {
      if (this.#waiting.has(listener)) continue;
      const accepting = listener.accept();
      this.#waiting.set(listener, accepting);
      const arrived = () => {
        this.#arrived.push(listener);
        this.#onArrival();
      };
      accepting.then(arrived, arrived);
    }
    if (this.#arrived.length === 0) await promise;
    const listener = this.#arrived.shift()!;
    const accepting = this.#waiting.get(listener)!;
    this.#waiting.delete(listener);
    return await accepting;
  }

  close(): void {
    this.#isClosed = true;
    for (const listener of this.#listeners) listener.close();
    // A connection that was accepted, and that nobody takes any more.
    for (const waiting of this.#waiting.values()) {
      waiting.then(({ socket }) => socket.close(), () => {});
    }
  }

  async ended(): Promise<void> {
    await Promise.all(this.#listeners.map((listener) => listener.ended()));
  }
}
