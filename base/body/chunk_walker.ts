/**
 * The chunked coding in pieces of any size, checked and reported.
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

/** Receives the parts of the coding, in order. */
export interface ChunkVisitor {
  /** The line of a chunk has ended. */
  line(header: ChunkHeader): void;
  /** Some of the chunk's data, never empty; a view of the bytes that are checked. */
  data(piece: Uint8Array): void;
  /** The chunk has ended. */
  end(header: ChunkHeader): void;
}

/** Checks the coding, and reports its parts to a visitor. */
export class ChunkWalker {
  readonly #scanner = new ChunkScanner();
  // The beginning of a line or an end that is not complete yet.
  #rest: Uint8Array = EMPTY;

  /**
   * Checks the next piece. Returns the bytes that are known to be valid: the piece, without an
   * incomplete line at its end, and preceded by the incomplete line of the piece before.
   *
   * @throws {ProtocolError} if the grammar is broken.
   * @throws {BodyError} if anything follows the last chunk.
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

  /**
   * Checks that the last chunk has been seen.
   *
   * @throws {ProtocolError} if it has not.
   */
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
