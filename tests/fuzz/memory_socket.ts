/**
 * A connection whose other end is a list of pieces: what the peer sends, as it arrives.
 *
 * @module
 */

import type { Socket } from "@degu/internal/base/app/app.ts";
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
