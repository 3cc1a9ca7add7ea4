/** Relays in front of a server, for connections that break off or stall. */

import type { Address } from "@degu/degu/base";
import { dial } from "./raw_peer.ts";

/** Passes on all bytes to the end, and calls `onPiece` before each piece. */
export async function passOn(
  from: Pick<Deno.Conn, "read">,
  to: Pick<Deno.Conn, "write" | "closeWrite">,
  onPiece: (bytes: Uint8Array) => Promise<void> | void,
): Promise<void> {
  const buffer = new Uint8Array(65536);
  for (;;) {
    const count = await from.read(buffer);
    if (count === null) break;
    await onPiece(buffer.subarray(0, count));
    await writeAll(to, buffer.subarray(0, count));
  }
  await to.closeWrite();
}

export async function writeAll(conn: Pick<Deno.Conn, "write">, bytes: Uint8Array): Promise<void> {
  for (let position = 0; position < bytes.length;) {
    position += await conn.write(bytes.subarray(position));
  }
}

/** Relays to a server until disposed of. */
export abstract class Relay implements AsyncDisposable {
  readonly #listener: Deno.TcpListener;
  readonly #conns = new Set<Deno.Conn>();
  readonly #acceptLoop: Promise<void>;
  readonly #relays: Promise<void>[] = [];

  /** @param port The port to listen at, such as that of an earlier relay; by default a free port. */
  constructor(server: Address, port = 0) {
    this.#listener = Deno.listen({ hostname: "127.0.0.1", port });
    this.#acceptLoop = this.#accept(server);
  }

  /** The address for clients. */
  get address(): Address {
    return ["127.0.0.1", this.#listener.addr.port];
  }

  /** Relays both directions of a connection; returns a promise for the end of each direction. */
  protected abstract relay(client: Deno.Conn, server: Deno.Conn): Promise<void>[];

  protected close(conn: Deno.Conn): void {
    if (this.#conns.delete(conn)) conn.close();
  }

  closeAll(): void {
    for (const conn of this.#conns) this.close(conn);
  }

  /** Resolves once all connections that were accepted have ended. */
  protected async waitForClose(): Promise<void> {
    await Promise.all(this.#relays.splice(0));
  }

  async #accept(server: Address): Promise<void> {
    for (;;) {
      const client = await this.#listener.accept().catch(() => null);
      if (client === null) return;
      this.#relays.push(this.#connect(client, server));
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
    await this.#acceptLoop;
    await this.waitForClose();
  }
}

/** A relay that breaks connections off, or stalls them, after a number of bytes. */
export class CuttingRelay extends Relay {
  readonly #stallResolvers = Promise.withResolvers<void>();
  #remainingBytes = Infinity;
  #bytesPerConnection = Infinity;
  #shouldStall = false;
  /** The pause before each piece, as on a slow network. */
  pauseMilliseconds = 0;

  /** Breaks all connections off after this many more bytes of both directions together. */
  cutAfter(bytes: number): void {
    this.#remainingBytes = bytes;
    this.#shouldStall = false;
  }

  /** Breaks each new connection off after this many bytes. */
  cutEachAfter(bytes: number): void {
    this.#bytesPerConnection = bytes;
  }

  /**
   * Stalls the connection that passes this many more bytes. The connection stays open, and later
   * connections are not affected.
   */
  stallAfter(bytes: number): void {
    this.#remainingBytes = bytes;
    this.#shouldStall = true;
  }

  get stalled(): Promise<void> {
    return this.#stallResolvers.promise;
  }

  protected relay(client: Deno.Conn, server: Deno.Conn): Promise<void>[] {
    const connectionState = { remainingBytes: this.#bytesPerConnection, isStalled: false };
    return [
      this.#relayDirection(client, server, connectionState),
      this.#relayDirection(server, client, connectionState),
    ];
  }

  async #relayDirection(
    from: Deno.Conn,
    to: Deno.Conn,
    connectionState: { remainingBytes: number; isStalled: boolean },
  ): Promise<void> {
    const buffer = new Uint8Array(65536);
    try {
      for (;;) {
        const count = await from.read(buffer);
        if (count === null) break;
        if (connectionState.isStalled) continue;
        if (this.pauseMilliseconds > 0) {
          await new Promise((resolve) => setTimeout(resolve, this.pauseMilliseconds));
        }
        const passedCount = Math.min(count, this.#remainingBytes, connectionState.remainingBytes);
        this.#remainingBytes -= passedCount;
        connectionState.remainingBytes -= passedCount;
        // There is no await before this line, so no other connection has changed the state.
        if (this.#remainingBytes === 0 && this.#shouldStall) {
          [this.#remainingBytes, connectionState.isStalled] = [Infinity, true];
          this.#stallResolvers.resolve();
        }
        await writeAll(to, buffer.subarray(0, passedCount));
        if (this.#remainingBytes === 0) this.closeAll();
        if (connectionState.remainingBytes === 0) break;
      }
      // Close only the sending side: a reset of the other side could discard passed bytes.
      if (connectionState.remainingBytes === 0) this.close(from);
      await to.closeWrite();
    } catch {
      this.close(from);
      this.close(to);
    }
  }
}
