/**
 * Connections with a limit on what is read.
 *
 * @module
 */

import type { Socket } from "../base/app/app.ts";
import { DeguError } from "../base/errors.ts";
import type { PeerCertificate } from "../base/app/session.ts";
import type { Listener } from "../net/listener.ts";

/** Wraps a listener: a connection fails once its peer has sent more than `most` bytes. */
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

/** Fails to read more than `most` bytes; everything else is passed on. */
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
    // One byte above the limit, to distinguish a peer that exceeds it from one that reaches it.
    const count = await this.#socket.read(into.subarray(0, this.#left + 1));
    this.#left -= count ?? 0;
    if (this.#left >= 0) return count;
    throw new DeguError(`the peer sent more than ${this.#most} bytes`);
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
