/**
 * Walks over the chunked coding as it comes, in pieces of any size.
 *
 * @module
 */

import {
  type ChunkHeader,
  type ChunkPhase,
  ChunkScanner,
  chunksIncomplete,
} from "../wire/chunk.ts";
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
      const { phase } = this.#scanner;
      const next = this.#scanner.advance(bytes, at, bytes.length);
      if (next === -1) break;
      if (visitor !== null) this.#report(phase, bytes.subarray(at, next), visitor);
      at = next;
    }
    if (this.isComplete && at < bytes.length) throw new BodyError("bytes after the last chunk");
    this.#rest = bytes.slice(at);
    return bytes.subarray(0, at);
  }

  /** True once the last chunk has been seen. */
  get isComplete(): boolean {
    return this.#scanner.phase === "done";
  }

  /** Checks that the last chunk has been seen. */
  end(): void {
    if (!this.isComplete) throw chunksIncomplete();
  }

  #report(phase: ChunkPhase, part: Uint8Array, visitor: ChunkVisitor): void {
    const { header } = this.#scanner;
    if (phase === "line") visitor.line(header);
    else if (phase === "data") visitor.data(part);
    else visitor.end(header);
  }
}
