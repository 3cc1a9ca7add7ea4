import { cancelQuietly, type WritableBody, writeMessageBody } from "../../base/body/body.ts";
import { type ByteSink, checkUnchanged, MAX_PIECE_BYTES } from "../../base/body/byte_io.ts";
import { makePlainView } from "../../internal/bytes.ts";
import { toReadableError } from "../../internal/caught_errors.ts";
import { BodyError } from "../../base/errors.ts";
import type { Framing } from "../../base/wire/headers.ts";

interface MessageOutput {
  appendToPreamble(preambleBytes: number, bytes: Uint8Array): Uint8Array | null;
  writePreamble(length: number): Promise<void>;
  write(bytes: Uint8Array): Promise<void>;
}

export class MessageSink implements ByteSink {
  /**
   * The preferred size of a write: large writes are fastest, although reading the body's source in
   * pieces of this size is slower.
   */
  readonly pieceBytes = MAX_PIECE_BYTES;
  readonly #output: MessageOutput;
  readonly #body: WritableBody;
  readonly #framing: Framing | undefined;
  /** The number of bytes of the unsent preamble; 0 once it was sent, or will not be sent. */
  #preambleBytes: number;
  readonly #failurePromise = Promise.withResolvers<never>();
  #writtenBytes = 0;
  #preambleWrite: Promise<void> | null = null;
  #failure: unknown = null;

  constructor(
    output: MessageOutput,
    preambleBytes: number,
    body: WritableBody,
    framing: Framing | undefined,
  ) {
    this.#output = output;
    this.#preambleBytes = preambleBytes;
    this.#body = body;
    this.#framing = framing;
    // Handle the rejection at once: a body that throws synchronously may close the connection
    // before this promise is awaited.
    this.#failurePromise.promise.catch(() => {});
  }

  /**
   * The preamble doesn't wait for the source of the body. The promise rejects as soon as the
   * connection closes.
   */
  send(): Promise<unknown> {
    return Promise.race([
      Promise.all([this.#writeBody(), this.#writePreamble()]),
      this.#failurePromise.promise,
    ]);
  }

  /** An unsent preamble will not be sent. */
  fail(error: unknown): void {
    this.#preambleBytes = 0;
    this.#fail(error);
  }

  /** Cancels the body at once: its owner may look at it in this tick. */
  abandon(reason: unknown): void {
    this.fail(reason);
    cancelQuietly(this.#body, reason);
  }

  #fail(error: unknown): void {
    this.#failure ??= error;
    this.#failurePromise.reject(error);
  }

  /**
   * Runs synchronously up to the first write, so that the preamble and the first bytes of the body
   * are sent together.
   */
  async #writeBody(): Promise<void> {
    const framing = this.#framing;
    try {
      await writeMessageBody(this.#body, this);
      if (this.#failure !== null) throw this.#failure;
      if (typeof framing === "number" && this.#writtenBytes !== framing) {
        throw new BodyError(`the body wrote ${this.#writtenBytes} of ${framing} bytes`);
      }
    } catch (thrownValue) {
      const error = toReadableError(thrownValue);
      this.fail(error);
      throw error;
    }
  }

  #writePreamble(): Promise<void> | null {
    const preambleBytes = this.#preambleBytes;
    if (preambleBytes === 0) return null;
    this.#preambleBytes = 0;
    return this.#preambleWrite = this.#output.writePreamble(preambleBytes);
  }

  async write(bytes: Uint8Array): Promise<void> {
    try {
      if (this.#failure !== null) throw this.#failure;
      const bytesView = makePlainView(bytes);
      const { length } = bytesView;
      this.#writtenBytes += length;
      if (typeof this.#framing === "number" && this.#writtenBytes > this.#framing) {
        throw new BodyError(`the body wrote more than its ${this.#framing} bytes`);
      }
      if (length === 0) return;
      const joinedMessage = this.#appendToPreamble(bytesView);
      if (joinedMessage === null && this.#preambleWrite !== null) {
        await this.#preambleWrite;
        this.#preambleWrite = null;
        if (this.#failure !== null) throw this.#failure;
        // Check in the tick of the write: the array may change in any earlier tick.
        checkUnchanged(bytesView, length);
      }
      await this.#output.write(joinedMessage ?? bytesView);
    } catch (error) {
      // The preamble is still sent, so that the peer sees a truncated message.
      this.#fail(error);
      throw error;
    }
  }

  #appendToPreamble(bytes: Uint8Array): Uint8Array | null {
    if (this.#preambleBytes === 0) return null;
    const joinedMessage = this.#output.appendToPreamble(this.#preambleBytes, bytes);
    if (joinedMessage === null) this.#writePreamble();
    else this.#preambleBytes = 0;
    return joinedMessage;
  }
}
