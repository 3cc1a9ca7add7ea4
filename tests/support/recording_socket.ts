/**
 * A socket without a network: it records each write separately, and its reads return the bytes of
 * the test.
 */

import type { Socket } from "@degu/degu/client";
import { decodeLatin1, encodeLatin1 } from "./wire_grammar.ts";

/** The number of bytes that a socket takes and gives at a time. */
export interface Portions {
  readonly perWrite?: number;
  readonly perRead?: number;
}

/** A socket that records its operations. The test is the other side. */
export class RecordingSocket implements Socket {
  /** The written bytes as Latin-1, an item per write. */
  readonly writes: string[] = [];
  closings = 0;
  writeFailure: unknown = null;
  #given: Uint8Array = new Uint8Array(0);
  #ended = false;
  #failure: unknown = null;
  #waiting: PromiseWithResolvers<void> | null = null;
  #writing: PromiseWithResolvers<void> | null = null;

  constructor(readonly portions: Portions = {}) {}

  receive(bytes: string): void {
    this.#given = encodeLatin1(decodeLatin1(this.#given) + bytes);
    this.#waiting?.resolve();
  }

  end(): void {
    this.#ended = true;
    this.#waiting?.resolve();
  }

  fail(error: unknown): void {
    this.#failure = error;
    this.#waiting?.resolve();
  }

  /** Resolves once a write, or an attempt to write, has followed the call. */
  waitForWrite(): Promise<void> {
    this.#writing = Promise.withResolvers();
    return this.#writing.promise;
  }

  async read(into: Uint8Array): Promise<number | null> {
    while (this.#given.length === 0 && !this.#ended && this.#failure === null) {
      this.#waiting = Promise.withResolvers();
      await this.#waiting.promise;
    }
    if (this.#failure !== null) throw this.#failure;
    if (this.#given.length === 0) return null;
    const { perRead = Infinity } = this.portions;
    const count = Math.min(this.#given.length, into.length, perRead);
    into.set(this.#given.subarray(0, count));
    this.#given = this.#given.slice(count);
    return count;
  }

  write(bytes: Uint8Array): Promise<number> {
    this.#writing?.resolve();
    if (this.writeFailure !== null) return Promise.reject(this.writeFailure);
    const { perWrite = Infinity } = this.portions;
    const part = bytes.subarray(0, perWrite);
    this.writes.push(decodeLatin1(part));
    return Promise.resolve(part.length);
  }

  close(): void {
    this.closings++;
    this.fail(new Deno.errors.BadResource("closed"));
  }
}
