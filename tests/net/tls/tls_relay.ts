/** A relay in front of a server, which stops handshakes midway. */

import { passOn, Relay } from "@degu/testing/cutting_relay.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";

/** A relay that stops each connection before the second part of the client's handshake. */
export class HandshakeRelay extends Relay {
  readonly #releaseResolvers = Promise.withResolvers<void>();
  #heldCount = 0;
  #countChanged = Promise.withResolvers<void>();

  /** Waits until the server has responded to `count` clients whose next bytes are held back. */
  async waitForHeld(count: number): Promise<void> {
    while (this.#heldCount < count) {
      await withTimeout(
        this.#countChanged.promise,
        `${count} handshakes are under way; ${this.#heldCount} are`,
      );
      this.#countChanged = Promise.withResolvers();
    }
  }

  /** Passes on the held bytes, and all later bytes. */
  release(): void {
    this.#releaseResolvers.resolve();
  }

  protected relay(client: Deno.Conn, server: Deno.Conn): Promise<void>[] {
    let hasResponded = false;
    return [
      this.#relayDirection(server, client, () => void (hasResponded = true)),
      this.#relayDirection(client, server, async () => {
        if (!hasResponded) return;
        this.#heldCount++;
        this.#countChanged.resolve();
        await this.#releaseResolvers.promise;
      }),
    ];
  }

  async #relayDirection(
    from: Deno.Conn,
    to: Deno.Conn,
    onPiece: () => Promise<void> | void,
  ): Promise<void> {
    try {
      await passOn(from, to, onPiece);
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
