/**
 * A socket without a network: it records each write separately, and its reads return the bytes of
 * the test.
 */

import type { Socket } from "@degu/degu/base";
import { decodeLatin1, encodeLatin1 } from "@degu/testing/wire_grammar.ts";

/** The maximum number of bytes per write and per read. */
export interface Portions {
  readonly perWrite?: number;
  readonly perRead?: number;
}

/** A socket that records its operations. The test is the other side. */
export class RecordingSocket implements Socket {
  /** The written bytes as Latin-1, an item per write. */
  readonly writes: string[] = [];
  closeCount = 0;
  writeFailure: unknown = null;
  #buffer: Uint8Array = new Uint8Array(0);
  #hasEnded = false;
  #failure: unknown = null;
  #readable: PromiseWithResolvers<void> | null = null;
  #writeStarted: PromiseWithResolvers<void> | null = null;

  constructor(readonly portions: Portions = {}) {}

  receive(bytes: string): void {
    this.#buffer = encodeLatin1(decodeLatin1(this.#buffer) + bytes);
    this.#readable?.resolve();
  }

  end(): void {
    this.#hasEnded = true;
    this.#readable?.resolve();
  }

  fail(error: unknown): void {
    this.#failure = error;
    this.#readable?.resolve();
  }

  /** Resolves at the next write, or at the next attempt to write. */
  waitForWrite(): Promise<void> {
    this.#writeStarted = Promise.withResolvers();
    return this.#writeStarted.promise;
  }

  async read(into: Uint8Array): Promise<number | null> {
    while (this.#buffer.length === 0 && !this.#hasEnded && this.#failure === null) {
      this.#readable = Promise.withResolvers();
      await this.#readable.promise;
    }
    if (this.#failure !== null) throw this.#failure;
    if (this.#buffer.length === 0) return null;
    const { perRead = Infinity } = this.portions;
    const count = Math.min(this.#buffer.length, into.length, perRead);
    into.set(this.#buffer.subarray(0, count));
    this.#buffer = this.#buffer.slice(count);
    return count;
  }

  write(bytes: Uint8Array): Promise<number> {
    this.#writeStarted?.resolve();
    if (this.writeFailure !== null) return Promise.reject(this.writeFailure);
    const { perWrite = Infinity } = this.portions;
    const part = bytes.subarray(0, perWrite);
    this.writes.push(decodeLatin1(part));
    return Promise.resolve(part.length);
  }

  close(): void {
    this.closeCount++;
    this.fail(new Deno.errors.BadResource("closed"));
  }
}
