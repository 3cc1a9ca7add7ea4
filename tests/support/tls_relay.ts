/** A relay in front of a server, which stops handshakes midway. */

import { passOn, Relay } from "./cutting_relay.ts";
import { withTimeout } from "./raw_peer.ts";

/** A relay that stops each connection before the second part of the client's handshake. */
export class HandshakeRelay extends Relay {
  readonly #released = Promise.withResolvers<void>();
  #held = 0;
  #changed = Promise.withResolvers<void>();

  /**
   * Resolves once the server has answered so many clients, whose next bytes have come and are held
   * back.
   */
  async waitForHeld(count: number): Promise<void> {
    while (this.#held < count) {
      await withTimeout(
        this.#changed.promise,
        `${count} handshakes are under way; ${this.#held} are`,
      );
      this.#changed = Promise.withResolvers();
    }
  }

  /** Passes all bytes on from now on. */
  release(): void {
    this.#released.resolve();
  }

  protected relay(client: Deno.Conn, server: Deno.Conn): Promise<void>[] {
    let answered = false;
    return [
      this.#pump(server, client, () => void (answered = true)),
      this.#pump(client, server, async () => {
        if (!answered) return;
        this.#held++;
        this.#changed.resolve();
        await this.#released.promise;
      }),
    ];
  }

  async #pump(
    from: Deno.Conn,
    to: Deno.Conn,
    before: () => Promise<void> | void,
  ): Promise<void> {
    try {
      await passOn(from, to, before);
    } catch {
      this.close(from);
      this.close(to);
    }
  }

  override [Symbol.asyncDispose](): Promise<void> {
    this.release();
    return super[Symbol.asyncDispose]();
  }
}
