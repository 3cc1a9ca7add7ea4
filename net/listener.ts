/**
 * Listening on every kind of address.
 *
 * @module
 */

import type { Socket } from "../base/app.ts";
import type { Address, HostAddress, ScopedAddress } from "../base/session.ts";
import { boundAddress, endpointOf, peerAddress } from "./addresses.ts";

/** A connection that was accepted, before any handshake. */
export interface Accepted {
  /** Where it comes from; `null` for Unix sockets and abstract names. */
  readonly address: HostAddress | ScopedAddress | null;
  /** Does the handshake, if there is one, and resolves to the socket to speak HTTP over. */
  open(): Promise<Socket>;
  /** Closes it; what waits for it rejects. */
  close(): void;
}

/** What a server accepts connections from. */
export interface Listener {
  /** Resolves once bound. */
  readonly ready: Promise<void>;
  /** The address it is bound to; final once ready. */
  readonly address: Address;
  /** Waits for the next connection. Rejects when closed. */
  accept(): Promise<Accepted>;
  /** Frees the address. */
  close(): void;
}

/** Listens for plain connections. */
export class PlainListener implements Listener {
  readonly ready: Promise<void> = Promise.resolve();
  readonly address: Address;
  readonly #listener: Deno.TcpListener | Deno.UnixListener;

  /** Binds a checked address, or throws. */
  constructor(address: Address) {
    const endpoint = endpointOf(address);
    if (endpoint.transport === "tcp") this.#listener = Deno.listen(endpoint);
    else if (endpoint.path === "") this.#listener = listenOnFreeName();
    else this.#listener = Deno.listen(endpoint);
    this.address = boundAddress(address, this.#listener.addr);
  }

  async accept(): Promise<Accepted> {
    const conn = await this.#listener.accept();
    if ("setNoDelay" in conn) conn.setNoDelay(true);
    return {
      address: peerAddress(this.address, conn.remoteAddr),
      open: () => Promise.resolve(conn),
      close: () => conn.close(),
    };
  }

  close(): void {
    this.#listener.close();
  }
}

/**
 * Listens on an abstract name that is free, in the form of the kernel's own. The kernel would choose
 * one itself for an empty path, which Deno allows only together with all other permissions.
 */
function listenOnFreeName(): Deno.UnixListener {
  for (;;) {
    const number = crypto.getRandomValues(new Uint32Array(1))[0]! & 0xfffff;
    try {
      return Deno.listen({
        transport: "unix",
        path: `\0${number.toString(16).padStart(5, "0")}`,
      });
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }
}
