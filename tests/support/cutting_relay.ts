/** Relays in front of a server, for connections that break off or stall. */

import type { Address } from "@degu/degu/base";
import { dial } from "./raw_peer.ts";

/** Passes on all bytes, up to the end, each piece after a call of `before`. */
export async function passOn(
  from: Pick<Deno.Conn, "read">,
  to: Deno.Conn,
  before: (bytes: Uint8Array) => Promise<void> | void,
): Promise<void> {
  const buffer = new Uint8Array(65536);
  for (;;) {
    const count = await from.read(buffer);
    if (count === null) break;
    await before(buffer.subarray(0, count));
    for (let at = 0; at < count;) at += await to.write(buffer.subarray(at, count));
  }
  await to.closeWrite();
}

/** Relays to a server until disposed of. */
export abstract class Relay implements AsyncDisposable {
  readonly #listener: Deno.TcpListener;
  readonly #conns = new Set<Deno.Conn>();
  readonly #accepting: Promise<void>;
  readonly #running: Promise<void>[] = [];

  /** @param port The port to listen at, such as that of an earlier relay; a free one if left out. */
  constructor(server: Address, port = 0) {
    this.#listener = Deno.listen({ hostname: "127.0.0.1", port });
    this.#accepting = this.#accept(server);
  }

  /** The address for clients. */
  get address(): Address {
    return ["127.0.0.1", this.#listener.addr.port];
  }

  /** Relays a connection, each direction by itself. */
  protected abstract relay(client: Deno.Conn, server: Deno.Conn): Promise<void>[];

  protected close(conn: Deno.Conn): void {
    if (this.#conns.delete(conn)) conn.close();
  }

  protected closeAll(): void {
    for (const conn of this.#conns) this.close(conn);
  }

  /** Resolves once all connections that were accepted have ended. */
  protected async waitForClose(): Promise<void> {
    await Promise.all(this.#running.splice(0));
  }

  async #accept(server: Address): Promise<void> {
    for (;;) {
      const client = await this.#listener.accept().catch(() => null);
      if (client === null) return;
      this.#running.push(this.#connect(client, server));
    }
  }

  async #connect(client: Deno.Conn, server: Address): Promise<void> {
    this.#conns.add(client);
    const upstream = await dial(server).catch(() => null);
    if (upstream === null) return this.close(client);
    this.#conns.add(upstream);
    await Promise.all(this.relay(client, upstream));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    this.closeAll();
    await this.#accepting;
    await this.waitForClose();
  }
}

/** A relay that breaks connections off, or stalls them, after a number of bytes. */
export class CuttingRelay extends Relay {
  readonly #stalled = Promise.withResolvers<void>();
  #left = Infinity;
  #each = Infinity;
  #stalls = false;

  /** Breaks all connections off after so many more bytes, in both directions together. */
  cutAfter(bytes: number): void {
    this.#left = bytes;
    this.#stalls = false;
  }

  /** Breaks each new connection off after so many bytes. */
  cutEachAfter(bytes: number): void {
    this.#each = bytes;
  }

  /**
   * Stalls the connection on which so many more bytes have passed: the connection stays open, and
   * later ones are not affected.
   */
  stallAfter(bytes: number): void {
    this.#left = bytes;
    this.#stalls = true;
  }

  /** Resolves once a connection has stalled. */
  get stalled(): Promise<void> {
    return this.#stalled.promise;
  }

  protected relay(client: Deno.Conn, server: Deno.Conn): Promise<void>[] {
    const state = { left: this.#each, stalls: false };
    return [this.#pump(client, server, state), this.#pump(server, client, state)];
  }

  async #pump(
    from: Deno.Conn,
    to: Deno.Conn,
    own: { left: number; stalls: boolean },
  ): Promise<void> {
    const buffer = new Uint8Array(65536);
    try {
      for (;;) {
        const count = await from.read(buffer);
        if (count === null) break;
        if (own.stalls) continue;
        const passed = Math.min(count, this.#left, own.left);
        this.#left -= passed;
        own.left -= passed;
        // At once: another connection may come between.
        if (this.#left === 0 && this.#stalls) {
          [this.#left, own.stalls] = [Infinity, true];
          this.#stalled.resolve();
        }
        for (let at = 0; at < passed;) at += await to.write(buffer.subarray(at, passed));
        if (this.#left === 0) this.closeAll();
        if (own.left === 0) break;
      }
      // The passed bytes must arrive, and a reset of the other side could discard them.
      if (own.left === 0) this.close(from);
      await to.closeWrite();
    } catch {
      this.close(from);
      this.close(to);
    }
  }
}
