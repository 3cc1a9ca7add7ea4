/**
 * How the body of a message is written.
 *
 * @module
 */

import { type WritableBody, writeTrusted } from "../base/body/bodies.ts";
import { type ByteSink, MAX_PIECE_BYTES } from "../base/body/byte_io.ts";
import { checkUnchanged, viewOf } from "../base/bytes.ts";
import { CodingCheck } from "../base/body/foreign_bodies.ts";
import { BodyError } from "../base/errors.ts";
import type { Framing } from "../base/wire/headers.ts";

/** Where a message is written to. */
export interface MessageOutput {
  /** The array that begins with the preamble. */
  readonly out: Uint8Array;
  /** Puts bytes behind so many bytes of preamble, to go out in one write; `null` if they are too many. */
  join(preamble: number, bytes: Uint8Array): Uint8Array | null;
  /** Writes all of the bytes. */
  write(bytes: Uint8Array): Promise<void>;
}

/** Writes a body after its preamble, and keeps it within the framing that the preamble announces. */
export class MessageSink implements ByteSink {
  /** Large writes are the fastest, even if reading that much at a time is slower. */
  readonly pieceBytes = MAX_PIECE_BYTES;
  readonly #writer: MessageOutput;
  readonly #body: WritableBody;
  readonly #framing: Framing | undefined;
  readonly #limit: number;
  readonly #onFailure: (error: unknown) => void;
  #check: CodingCheck | null = null;
  #written = 0;
  #preamble: number;
  #flushing: Promise<void> | null = null;
  #writing = false;
  #closed: unknown = null;

  /**
   * Makes a sink for one body.
   *
   * @param preamble Bytes of the preamble.
   * @param onFailure Called when the body breaks the framing; the body may not report it itself.
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
    this.#body = body;
    this.#framing = framing;
    this.#limit = typeof framing === "number" ? framing : Infinity;
    this.#onFailure = onFailure;
  }

  /**
   * Writes the whole body, and checks that it is complete. Runs synchronously up to the first write, so the
   * preamble and the beginning of the body go out together.
   *
   * @throws {BodyError} if the body breaks the framing.
   */
  async writeBody(): Promise<void> {
    try {
      await this.#begin();
      this.#end();
    } catch (error) {
      this.discard(error);
      throw error;
    }
  }

  #begin(): Promise<unknown> {
    const body = this.#body;
    if (this.#framing === "chunked") {
      const writing = writeTrusted(body, this);
      if (writing !== null) return writing;
      this.#check = new CodingCheck();
    }
    return body.writeTo(new BodySink(this));
  }

  /** Writes the preamble unless it has gone out with the body. */
  flush(): Promise<void> {
    const length = this.#preamble;
    if (length === 0) return Promise.resolve();
    this.#preamble = 0;
    return this.#flushing = this.#writer.write(this.#writer.out.subarray(0, length));
  }

  /** Writes some of the body. One write at a time: two would mix their bytes. */
  async write(bytes: Uint8Array): Promise<void> {
    try {
      this.#beginWrite();
      const checked = this.#checkNext(viewOf(bytes));
      const { length } = checked;
      if (length > 0) {
        const joined = this.#join(checked);
        if (joined === null && this.#flushing !== null) {
          await this.#flushing;
          this.#flushing = null;
          if (this.#closed !== null) throw this.#closed;
          // Here, in the turn of the write: the array may have changed in any turn before it.
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

  #beginWrite(): void {
    if (this.#closed !== null) throw this.#closed;
    if (this.#writing) {
      throw new BodyError("the body wrote again before its last write had ended; await each write");
    }
    this.#writing = true;
  }

  /** Checks the bytes to write; returns as many of them as are known to be valid. */
  #checkNext(bytes: Uint8Array): Uint8Array {
    if (bytes.length > this.#limit - this.#written) {
      throw new BodyError(`the body wrote more than its ${this.#limit} bytes`);
    }
    this.#written += bytes.length;
    return this.#check === null ? bytes : this.#check.check(bytes);
  }

  /** Copies bytes that fit behind the preamble, to go out with it; else begins to write that. */
  #join(bytes: Uint8Array): Uint8Array | null {
    const preamble = this.#preamble;
    if (preamble === 0) return null;
    const joined = this.#writer.join(preamble, bytes);
    if (joined === null) this.flush();
    else this.#preamble = 0;
    return joined;
  }

  /** Checks that the body is complete; nothing can be written any more. */
  #end(): void {
    if (this.#closed !== null) throw this.#closed;
    this.close(new BodyError("the body wrote after its end"));
    if (this.#writing) {
      throw new BodyError("the body ended before its last write had; await each write");
    }
    if (this.#limit !== Infinity && this.#written !== this.#limit) {
      throw new BodyError(`the body wrote ${this.#written} of ${this.#limit} bytes`);
    }
    this.#check?.end();
  }

  /** Makes every later write fail with the error. */
  close(error: unknown): void {
    this.#closed ??= error;
  }

  /** Like {@linkcode close}, but also drops the preamble if it was not written. */
  discard(error: unknown): void {
    this.#preamble = 0;
    this.close(error);
  }
}

/** The sink that a body writes to: it offers no way to end the message or to change how it is checked. */
class BodySink implements ByteSink {
  readonly pieceBytes = MAX_PIECE_BYTES;
  readonly #sink: MessageSink;

  constructor(sink: MessageSink) {
    this.#sink = sink;
  }

  write(bytes: Uint8Array): Promise<void> {
    return this.#sink.write(bytes);
  }
}
Object.freeze(BodySink.prototype);
