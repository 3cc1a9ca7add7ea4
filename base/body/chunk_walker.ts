/**
 * Walks over the chunked coding as it comes, in pieces of any size.
 *
 * @module
 */

import { type ChunkHeader, ChunkScanner, chunksIncomplete } from "../wire/chunk.ts";
import { concatenate, EMPTY } from "../bytes.ts";
import { BodyError } from "../errors.ts";

/** Told what is met on the way. */
export interface ChunkVisitor {
  /** A chunk's line has ended. */
  line(header: ChunkHeader): void;
  /** Some of a chunk's data, never empty; a view of what is walked over. */
  data(piece: Uint8Array): void;
  /** A chunk has ended. */
  end(header: ChunkHeader): void;
}

/** Checks the coding, and tells a visitor of it. */
export class ChunkWalker {
  readonly #scanner = new ChunkScanner();
  // The start of a line or of an end whose rest has not come yet.
  #rest: Uint8Array = EMPTY;

  /**
   * Walks over the next piece and returns what has been walked over to its end: that piece, less
   * the start of a line at its end, and with the one that was left over before.
   *
   * @throws {ProtocolError} where the grammar is broken.
   * @throws {BodyError} where something follows the last chunk.
   */
  walk(piece: Uint8Array, visitor: ChunkVisitor | null): Uint8Array {
    const bytes = this.#rest.length === 0 ? piece : concatenate([this.#rest, piece]);
    let at = 0;
    for (;;) {
      const next = this.#step(bytes, at, visitor);
      if (next < 0) break;
      at = next;
    }
    this.#rest = bytes.slice(at);
    return bytes.subarray(0, at);
  }

  /** Checks that the last chunk has been seen. */
  end(): void {
    if (this.#scanner.phase !== "done") throw chunksIncomplete();
  }

  /** Takes the next part of the coding; returns the position after it, or -1 for more bytes. */
  #step(bytes: Uint8Array, at: number, visitor: ChunkVisitor | null): number {
    const scanner = this.#scanner;
    switch (scanner.phase) {
      case "line": {
        const next = scanner.scanLine(bytes, at, bytes.length);
        if (next >= 0) visitor?.line(scanner.header);
        return next;
      }
      case "data": {
        const count = Math.min(scanner.remaining, bytes.length - at);
        if (count === 0) return -1;
        visitor?.data(bytes.subarray(at, at + count));
        scanner.takeData(count);
        return at + count;
      }
      case "end": {
        const next = scanner.scanEnd(bytes, at, bytes.length);
        if (next >= 0) visitor?.end(scanner.header);
        return next;
      }
      case "done":
        if (at < bytes.length) throw new BodyError("bytes after the last chunk");
        return -1;
    }
  }
}
