/**
 * A connection that only so much is read from.
 *
 * @module
 */

import type { Socket } from "../base/app.ts";
import { DeguError } from "../base/errors.ts";
import type { PeerCertificate } from "../base/session.ts";
import type { Listener } from "../net/listener.ts";

/** A listener whose connections end when their peer has sent more than so many bytes. */
export function limitReading(listener: Listener, most: number): Listener {
  return {
    ready: listener.ready,
    get address() {
      return listener.address;
    },
    async accept() {
      const accepted = await listener.accept();
      return { ...accepted, socket: new BoundedSocket(accepted.socket, most) };
    },
    close: () => listener.close(),
    ended: () => listener.ended(),
  };
}

/** Reads no more than so many bytes; everything else is as with the socket in it. */
class BoundedSocket implements Socket {
  readonly #socket: Socket;
  readonly #most: number;
  #left: number;

  constructor(socket: Socket, most: number) {
    this.#socket = socket;
    this.#most = most;
    this.#left = most;
  }

  async read(into: Uint8Array): Promise<number | null> {
    // One byte more than are allowed tells a peer that sends too much from one that has sent it all.
    const count = await this.#socket.read(into.subarray(0, this.#left + 1));
    this.#left -= count ?? 0;
    if (this.#left >= 0) return count;
    throw new DeguError(`the peer has sent more than ${this.#most} bytes`);
  }

  write(bytes: Uint8Array): Promise<number> {
    return this.#socket.write(bytes);
  }

  close(): void {
    this.#socket.close();
  }

  async closeWrite(): Promise<void> {
    await this.#socket.closeWrite?.();
  }

  get peerCertificate(): PeerCertificate | null {
    return this.#socket.peerCertificate ?? null;
  }

  get protocol(): string {
    return this.#socket.protocol ?? "";
  }

  get cipher(): string {
    return this.#socket.cipher ?? "";
  }

  get localAddr(): unknown {
    return this.#socket.localAddr;
  }

  get remoteAddr(): unknown {
    return this.#socket.remoteAddr;
  }
}
