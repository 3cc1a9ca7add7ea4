/**
 * A relay in front of a server, which stops in the middle.
 *
 * @module
 */

import type { Address } from "@degu/degu/base";
import { dial } from "./raw_peer.ts";

/** Relays so many bytes in both directions together; then nothing more, and the connections stay open. */
export class StallingRelay implements AsyncDisposable {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #server: Address;
  readonly #conns = new Set<Deno.Conn>();
  readonly #running: Promise<void>[] = [];
  #left: number;

  /** Relays to a server until it is disposed of. */
  constructor(server: Address, bytes: number) {
    this.#server = server;
    this.#left = bytes;
    this.#running.push(this.#accept());
  }

  /** What a client connects to. */
  get address(): Address {
    return ["127.0.0.1", this.#listener.addr.port];
  }

  async #accept(): Promise<void> {
    for (;;) {
      const client = await this.#listener.accept().catch(() => null);
      if (client === null) return;
      const server = await dial(this.#server);
      this.#conns.add(client).add(server);
      this.#running.push(this.#pump(client, server), this.#pump(server, client));
    }
  }

  async #pump(from: Deno.Conn, to: Deno.Conn): Promise<void> {
    const buffer = new Uint8Array(65536);
    try {
      for (let count; (count = await from.read(buffer)) !== null;) {
        if (this.#left <= 0) continue;
        this.#left -= count;
        for (let at = 0; at < count;) at += await to.write(buffer.subarray(at, count));
      }
      await to.closeWrite();
    } catch {
      this.#close(from);
      this.#close(to);
    }
  }

  #close(conn: Deno.Conn): void {
    if (this.#conns.delete(conn)) conn.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const conn of this.#conns) this.#close(conn);
    await Promise.all(this.#running);
  }
}
