import type { Address } from "../base/address.ts";
import { parseHost } from "../base/host.ts";
import type { AcceptedConnection, Listener } from "./listener.ts";

/**
 * Only Windows needs two sockets: on other systems, one socket at the address `::` accepts both.
 */
export function needsDualStackListener(address: Address): boolean {
  return Deno.build.os === "windows" && Array.isArray(address) &&
    parseHost(`${address[0]}`)?.text === "::";
}

export class DualStackListener implements Listener {
  readonly ready: Promise<void>;
  readonly #listen: (address: Address) => Listener;
  readonly #listeners: Listener[] = [];
  readonly #pendingAccepts = new Map<Listener, Promise<AcceptedConnection>>();
  readonly #settledListeners: Listener[] = [];
  #onSettled: () => void = () => {};
  #isClosed = false;

  constructor(address: Address, listen: (address: Address) => Listener) {
    this.#listen = listen;
    const ipv6Listener = listen(address);
    this.#listeners.push(ipv6Listener);
    if (this.#port === 0) {
      this.ready = ipv6Listener.ready.then(() => this.#isClosed ? undefined : this.#listenOnIpv4());
    } else {
      const ipv4Ready = this.#listenOnIpv4();
      this.ready = Promise.all([ipv6Listener.ready, ipv4Ready]).then(() => {});
    }
  }

  get address(): Address {
    return this.#listeners[0]!.address;
  }

  get #port(): unknown {
    return this.address[1];
  }

  #listenOnIpv4(): Promise<void> {
    try {
      const ipv4Listener = this.#listen(["0.0.0.0", this.#port as number]);
      this.#listeners.push(ipv4Listener);
      return ipv4Listener.ready;
    } catch (error) {
      this.close();
      throw error;
    }
  }

  async accept(): Promise<AcceptedConnection> {
    // `Promise.race` would leak memory: for each connection, it would add a reaction to the pending
    // promise of the idle listener.
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#onSettled = resolve;
    for (const listener of this.#listeners) {
      if (this.#pendingAccepts.has(listener)) continue;
      const pendingAccept = listener.accept();
      this.#pendingAccepts.set(listener, pendingAccept);
      const recordSettled = () => {
        this.#settledListeners.push(listener);
        this.#onSettled();
      };
      pendingAccept.then(recordSettled, recordSettled);
    }
    if (this.#settledListeners.length === 0) await promise;
    const listener = this.#settledListeners.shift()!;
    const pendingAccept = this.#pendingAccepts.get(listener)!;
    this.#pendingAccepts.delete(listener);
    return await pendingAccept;
  }

  close(): void {
    this.#isClosed = true;
    for (const listener of this.#listeners) listener.close();
    // Close connections that the pending calls of accept() still return.
    for (const pendingAccept of this.#pendingAccepts.values()) {
      pendingAccept.then(({ socket }) => socket.close(), () => {});
    }
  }

  async waitUntilEnded(): Promise<void> {
    await Promise.all(this.#listeners.map((listener) => listener.waitUntilEnded()));
  }
}
