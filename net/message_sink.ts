/**
 * Where the body of a message is written.
 *
 * @module
 */

import { isOurs, type WritableBody } from "../base/body/bodies.ts";
import { type ByteSink, MAX_PIECE_BYTES } from "../base/body/byte_io.ts";
import { checkUnchanged, viewOf } from "../base/bytes.ts";
import { ChunkWalker } from "../base/body/chunk_walker.ts";
import { BodyError } from "../base/errors.ts";
import type { Framing } from "../base/wire/headers.ts";

/** What a message goes out through. */
export interface MessageOutput {
  /** Where the preamble stands. */
  readonly out: Uint8Array;
  /** Writes all of the bytes. */
  write(bytes: Uint8Array): Promise<void>;
}

/** Writes a body behind its preamble, and lets none break the framing that the preamble promises. */
export class MessageSink implements ByteSink {
  /** Large writes are the fastest, also where reading so much at a time is slower. */
  readonly pieceBytes = MAX_PIECE_BYTES;
  readonly #writer: MessageOutput;
  readonly #limit: number;
  // Bodies of other makers are not trusted to write the chunked coding.
  readonly #walker: ChunkWalker | null;
  readonly #onFailure: (error: unknown) => void;
  #written = 0;
  #preamble: number;
  #flushing: Promise<void> | null = null;
  #writing = false;
  #closed: unknown = null;

  /**
   * Makes a sink for one body.
   *
   * @param preamble Bytes of the preamble.
   * @param onFailure Called when the body has broken the framing, which it may not care to report.
   */
  constructor(
    writer: MessageOutput,
    preamble: number,
    body: WritableBody,
    framing: Framing | undefined,
    onFailure: (error: unknown) => void,
  ) {
    this.#writer = writer;
    this.#preamble = preamble;
    this.#limit = typeof framing === "number" ? framing : Infinity;
    this.#walker = framing !== "chunked" || isOurs(body) ? null : new ChunkWalker();
    this.#onFailure = onFailure;
  }

  /** Writes the preamble unless the body has taken it along. */
  flush(): Promise<void> {
    const length = this.#preamble;
    if (length === 0) return Promise.resolve();
    this.#preamble = 0;
    return this.#flushing = this.#writer.write(this.#writer.out.subarray(0, length));
  }

  /** Writes some of the body. One write at a time: two would mix their bytes. */
  async write(bytes: Uint8Array): Promise<void> {
    try {
      this.#begin();
      const checked = this.#check(viewOf(bytes));
      const { length } = checked;
      if (length > 0) {
        const joined = this.#join(checked);
        if (joined === null && this.#flushing !== null) {
          await this.#flushing;
          this.#flushing = null;
          if (this.#closed !== null) throw this.#closed;
          // Here, in the turn of the write: an array may change in any turn before it.
          checkUnchanged(checked, length);
        }
        await this.#writer.write(joined ?? checked);
      }
      this.#writing = false;
    } catch (error) {
      this.close(error);
      this.#onFailure(error);
      throw error;
    }
  }

  #begin(): void {
    if (this.#closed !== null) throw this.#closed;
    if (this.#writing) {
      throw new BodyError("the body wrote again before its last write had ended; await each write");
    }
    this.#writing = true;
  }

  /** Puts bytes that fit behind the preamble, to go out with it; else begins to write that. */
  #join(bytes: Uint8Array): Uint8Array | null {
    const { out } = this.#writer;
    const preamble = this.#preamble;
    if (preamble === 0) return null;
    if (preamble + bytes.length > out.length) {
      this.flush();
      return null;
    }
    this.#preamble = 0;
    out.set(bytes, preamble);
    return out.subarray(0, preamble + bytes.length);
  }

  /** Checks what is to be written; returns as much of it as is known to be right. */
  #check(bytes: Uint8Array): Uint8Array {
    if (bytes.length > this.#limit - this.#written) {
      throw new BodyError(`the body wrote more than its ${this.#limit} bytes`);
    }
    this.#written += bytes.length;
    if (this.#walker === null) return bytes;
    // A copy, which nobody changes after it was checked.
    return checked(() => this.#walker!.walk(bytes.slice(), null));
  }

  /** Checks that the body is complete; nothing can be written any more. */
  end(): void {
    if (this.#closed !== null) throw this.#closed;
    this.close(new BodyError("the body wrote after its end"));
    if (this.#writing) {
      throw new BodyError("the body ended before its last write had; await each write");
    }
    if (this.#limit !== Infinity && this.#written !== this.#limit) {
      throw new BodyError(`the body wrote ${this.#written} of ${this.#limit} bytes`);
    }
    checked(() => this.#walker?.end());
  }

  /** Lets every later write fail with the error. */
  close(error: unknown): void {
    this.#closed ??= error;
  }

  /** The same, and the preamble is not written either if it has not been. */
  discard(error: unknown): void {
    this.#preamble = 0;
    this.close(error);
  }
}

function checked<T>(walk: () => T): T {
  try {
    return walk();
  } catch (error) {
    throw new BodyError(`the body wrote what is not chunked: ${(error as Error).message}`);
  }
}
