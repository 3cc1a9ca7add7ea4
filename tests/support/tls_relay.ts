/** A relay in front of a server, which stops handshakes midway. */

import type { Address } from "@degu/degu/base";
import { dial, within } from "./raw_peer.ts";

/** Connections through it stop where the client is to send the second part of its handshake. */
export class HandshakeRelay implements AsyncDisposable {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #server: Address;
  readonly #released = Promise.withResolvers<void>();
  readonly #conns: Deno.Conn[] = [];
  readonly #running: Promise<void>[] = [];
  #held = 0;
  #changed = Promise.withResolvers<void>();

  /** Relays to a server until it is disposed of. */
  constructor(server: Address) {
    this.#server = server;
    this.#running.push(this.#accept());
  }

  /** What a client connects to. */
  get address(): Address {
    return ["127.0.0.1", this.#listener.addr.port];
  }

  /** Resolves once the server has answered so many clients, whose next bytes have come and are kept back. */
  async waitForHeld(count: number): Promise<void> {
    while (this.#held < count) {
      await within(this.#changed.promise, `${count} handshakes are under way; ${this.#held} are`);
      this.#changed = Promise.withResolvers();
    }
  }

  /** Lets everything through from now on. */
  release(): void {
    this.#released.resolve();
  }

  async #accept(): Promise<void> {
    for (;;) {
      const client = await this.#listener.accept().catch(() => null);
      if (client === null) return;
      const server = await dial(this.#server);
      this.#conns.push(client, server);
      let answered = false;
      this.#running.push(
        pump(server, client, () => void (answered = true)),
        pump(client, server, async () => {
          if (!answered) return;
          this.#held++;
          this.#changed.resolve();
          await this.#released.promise;
        }),
      );
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.release();
    this.#listener.close();
    for (const conn of this.#conns) closeQuietly(conn);
    await Promise.all(this.#running);
  }
}

/** Moves bytes until either end is gone. */
async function pump(
  from: Deno.Conn,
  to: Deno.Conn,
  before: () => Promise<void> | void,
): Promise<void> {
  const buffer = new Uint8Array(65536);
  try {
    for (;;) {
      const count = await from.read(buffer);
      if (count === null) break;
      await before();
      for (let at = 0; at < count;) at += await to.write(buffer.subarray(at, count));
    }
    await to.closeWrite();
  } catch {
    closeQuietly(from);
    closeQuietly(to);
  }
}

function closeQuietly(conn: Deno.Conn): void {
  try {
    conn.close();
  } catch {
    // The other direction has closed it.
  }
}
