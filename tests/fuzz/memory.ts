/**
 * Connections in memory: what the peer sends is a list of pieces, as they arrive; and a server of such connections.
 *
 * @module
 */

import type { App, Socket } from "@degu/internal/base/app/app.ts";
import type { Address } from "@degu/internal/base/address_rules.ts";
import type { Accepted, Listener } from "@degu/internal/net/listener.ts";
import { Server, type ServerOptions } from "@degu/degu/server";
import { textOf } from "./bytes.ts";

/** A socket that reads what it was given and keeps what is written. */
export class MemorySocket implements Socket {
  /** Resolves once the socket has been closed. */
  readonly closed: Promise<void>;
  readonly #resolveClosed: () => void;
  #pieces: readonly Uint8Array[];
  #next = 0;
  #taken = 0;
  #isClosed = false;
  #written = "";

  /** Makes a socket from which these pieces, none of them empty, and then an end can be read. */
  constructor(pieces: readonly Uint8Array[]) {
    this.#pieces = pieces;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.closed = promise;
    this.#resolveClosed = resolve;
  }

  /** What has been written, as Latin-1 text. */
  get written(): string {
    return this.#written;
  }

  /** True once it has been closed. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Lets further pieces arrive. */
  deliver(pieces: readonly Uint8Array[]): void {
    this.#pieces = [...this.#pieces.slice(this.#next), ...pieces];
    this.#next = 0;
  }

  /** True where nothing is left to be read. */
  get empty(): boolean {
    return this.#next === this.#pieces.length;
  }

  read(into: Uint8Array): Promise<number | null> {
    if (this.#isClosed) return Promise.reject(new Deno.errors.BadResource("closed"));
    const piece = this.#pieces[this.#next];
    if (piece === undefined) return Promise.resolve(null);
    const count = Math.min(into.length, piece.length - this.#taken);
    into.set(piece.subarray(this.#taken, this.#taken + count));
    this.#taken += count;
    if (this.#taken === piece.length) {
      this.#next++;
      this.#taken = 0;
    }
    return Promise.resolve(count);
  }

  write(bytes: Uint8Array): Promise<number> {
    if (this.#isClosed) return Promise.reject(new Deno.errors.BadResource("closed"));
    this.#written += textOf(bytes);
    return Promise.resolve(bytes.length);
  }

  close(): void {
    this.#isClosed = true;
    this.#resolveClosed();
  }
}

/** The whole at once. */
export function whole(bytes: Uint8Array): Uint8Array[] {
  return bytes.length === 0 ? [] : [bytes];
}

/** Every byte by itself. */
export function single(bytes: Uint8Array): Uint8Array[] {
  return Array.from(bytes, (_, i) => bytes.subarray(i, i + 1));
}

/**
 * The ways in which the bytes are cut: whole, byte by byte, and in two at every boundary, or, where there are more than `most` of
 * these, at as many that lie evenly.
 */
export function* splits(bytes: Uint8Array, most: number): Generator<Uint8Array[]> {
  yield whole(bytes);
  yield single(bytes);
  const step = Math.max(1, (bytes.length - 1) / most);
  for (let at = 1; at < bytes.length; at += step) {
    const position = Math.floor(at);
    yield [bytes.subarray(0, position), bytes.subarray(position)];
  }
}

/** A logger that says nothing. */
export const quiet = { debug() {}, info() {}, warn() {}, error() {} };

/** Accepts sockets that are handed to it. */
class MemoryListener implements Listener {
  readonly ready: Promise<void> = Promise.resolve();
  readonly address: Address = ["127.0.0.1", 1];
  readonly #waiting: MemorySocket[] = [];
  #accept: PromiseWithResolvers<Accepted> | null = null;

  offer(socket: MemorySocket): void {
    this.#waiting.push(socket);
    this.#match();
  }

  accept(): Promise<Accepted> {
    this.#accept = Promise.withResolvers();
    const { promise } = this.#accept;
    this.#match();
    return promise;
  }

  close(): void {
    this.#accept?.reject(new Deno.errors.BadResource("closed"));
  }

  ended(): Promise<void> {
    return this.ready;
  }

  #match(): void {
    const socket = this.#accept === null ? undefined : this.#waiting.shift();
    if (socket === undefined) return;
    this.#accept?.resolve({ name: "memory", address: null, socket, isTrusted: () => true });
    this.#accept = null;
  }
}

/** A server whose connections are in memory; all else is the real one. */
export class MemoryServer extends Server {
  readonly memory: MemoryListener;

  constructor(app: App, onExchange?: ServerOptions["onExchange"]) {
    const memory = new MemoryListener();
    const options = {
      timeout: null,
      logger: quiet,
      maxConnections: Infinity,
      maxRequests: Infinity,
      onExchange,
    };
    super(["127.0.0.1", 1], app, options, () => memory);
    this.memory = memory;
  }
}
