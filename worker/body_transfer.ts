import { type WritableBody, writeMessageBody } from "../base/body/body.ts";
import type { BodyOutcome, BodySource } from "../base/body/body_reader.ts";
import { ReadBuffer } from "../base/body/byte_io.ts";
import { BodyError } from "../base/errors.ts";
import type { BodyMessage } from "./messages.ts";
import { fromPostedError, toPostedError } from "./worker_port.ts";

/** The size of the buffers that travel between the threads, and of the largest piece. */
const BUFFER_BYTES = 524288;
/** The maximum number of bytes that the sender is ahead of the receiver. */
const WINDOW_BYTES = 2097152;
/** Smaller pieces have a buffer of their own size, which doesn't go back to the sender. */
const MIN_POOLED_BYTES = 131072;
/** The memory that a message with a piece takes at least. */
const MIN_PIECE_BYTES = 512;
const MAX_POOLED_BUFFERS = 8;
/** The number of used bytes after which the receiver reports them. */
const REPORTED_BYTES = 262144;

export type Post = (message: BodyMessage, transfer?: Transferable[]) => void;

/** The buffers of a thread that have come back from the other thread. */
const pooledBuffers: ArrayBuffer[] = [];

function makePiece(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  if (bytes.length < MIN_POOLED_BYTES) return new Uint8Array(bytes);
  const piece = new Uint8Array(pooledBuffers.pop() ?? new ArrayBuffer(BUFFER_BYTES));
  piece.set(bytes);
  return piece.subarray(0, bytes.length);
}

/** Sends a body to the other thread, which reads it with a {@linkcode BodyReceiver}. */
export class BodySender {
  readonly #id: number;
  readonly #body: WritableBody;
  readonly #post: Post;
  readonly #done = Promise.withResolvers<void>();
  /** Resolves when the body was sent, has failed or was canceled. Never rejects. */
  readonly done: Promise<void> = this.#done.promise;
  #unusedBytes = 0;
  #resolveWindow: (() => void) | null = null;
  #isCanceled = false;
  isStarted = false;
  /** The error with which the body has failed; `null` before that. */
  error: unknown = null;

  constructor(id: number, body: WritableBody, post: Post) {
    this.#id = id;
    this.#body = body;
    this.#post = post;
  }

  /** @param onDone Called before the last message of the body is posted. */
  async send(onDone: () => void = () => {}): Promise<void> {
    if (this.isStarted || this.#isCanceled) return;
    this.isStarted = true;
    const id = this.#id;
    try {
      await writeMessageBody(this.#body, {
        pieceBytes: BUFFER_BYTES,
        write: (bytes) => this.#write(bytes),
      });
      onDone();
      this.#post({ type: "end", id });
    } catch (error) {
      this.error = error;
      onDone();
      this.#post({ type: "fail", id, error: toPostedError(error) });
    }
    this.#done.resolve();
  }

  async #write(bytes: Uint8Array): Promise<number> {
    while (this.#unusedBytes >= WINDOW_BYTES) {
      await new Promise<void>((resolve) => this.#resolveWindow = resolve);
    }
    if (this.#isCanceled) return bytes.length;
    const piece = makePiece(bytes.subarray(0, BUFFER_BYTES));
    const { length, buffer } = piece;
    this.#unusedBytes += Math.max(buffer.byteLength, MIN_PIECE_BYTES);
    this.#post({ type: "piece", id: this.#id, bytes: piece }, [buffer]);
    return length;
  }

  onUsed(byteCount: number, buffer: ArrayBuffer | null): void {
    this.#unusedBytes -= byteCount;
    if (buffer !== null && pooledBuffers.length < MAX_POOLED_BUFFERS) pooledBuffers.push(buffer);
    this.#resolveWindow?.();
  }

  cancel(reason: unknown): void {
    this.#isCanceled = true;
    this.#resolveWindow?.();
    this.#body.cancel(reason).catch(() => {});
    if (!this.isStarted) this.#done.resolve();
  }
}

/** The source of a body that the other thread sends. */
export class BodyReceiver implements BodySource {
  readonly kind: "request" | "response";
  readonly buffer: ReadBuffer = new ReadBuffer();
  readonly #id: number;
  readonly #post: Post;
  readonly #onDone: (outcome: BodyOutcome) => void;
  readonly #pieces: Uint8Array<ArrayBuffer>[] = [];
  #pieceOffset = 0;
  #unreportedBytes = 0;
  #isPulled: boolean;
  /** Whether the sender has sent its last message. */
  #hasEnded = false;
  /** The error of the body in the other thread; `null` without one. */
  error: Error | null = null;
  #resolveRead: (() => void) | null = null;

  /**
   * @param isPulled Whether the other thread sends before the first read.
   * @param onDone Called when the body has ended, before the sender gets a cancellation.
   */
  constructor(
    kind: "request" | "response",
    id: number,
    isPulled: boolean,
    post: Post,
    onDone: (outcome: BodyOutcome) => void,
  ) {
    this.kind = kind;
    this.#id = id;
    this.#isPulled = isPulled;
    this.#post = post;
    this.#onDone = onDone;
  }

  async read(into: Uint8Array): Promise<number | null> {
    if (!this.#isPulled) this.#post({ type: "pull", id: this.#id });
    this.#isPulled = true;
    while (this.#pieces.length === 0) {
      if (this.error !== null) throw this.error;
      if (this.#hasEnded) return null;
      await new Promise<void>((resolve) => this.#resolveRead = resolve);
    }
    const piece = this.#pieces[0]!;
    const part = piece.subarray(this.#pieceOffset, this.#pieceOffset + into.length);
    const { length } = part;
    into.set(part);
    this.#pieceOffset += length;
    if (this.#pieceOffset === piece.length) {
      this.#pieces.shift();
      this.#pieceOffset = 0;
      this.#reportUsed(piece);
    }
    return length;
  }

  #reportUsed({ buffer }: Uint8Array<ArrayBuffer>): void {
    this.#unreportedBytes += Math.max(buffer.byteLength, MIN_PIECE_BYTES);
    const isPooled = buffer.byteLength === BUFFER_BYTES;
    if (!isPooled && this.#unreportedBytes < REPORTED_BYTES) return;
    const byteCount = this.#unreportedBytes;
    this.#unreportedBytes = 0;
    const message = { type: "used", id: this.#id, byteCount } as const;
    if (isPooled) this.#post({ ...message, buffer }, [buffer]);
    else this.#post({ ...message, buffer: null });
  }

  add(bytes: Uint8Array<ArrayBuffer>): void {
    this.#pieces.push(bytes);
    this.#resolveRead?.();
  }

  end(): void {
    this.#hasEnded = true;
    this.#resolveRead?.();
  }

  /** Fails the next read, even if bytes were received: the body can't be completed. */
  fail(error: Error): void {
    this.error ??= error;
    this.#pieces.length = 0;
    this.end();
  }

  onEnd(outcome: BodyOutcome, error?: unknown): void {
    this.#pieces.length = 0;
    this.#onDone(outcome);
    if (outcome === "consumed" || this.#hasEnded) return;
    this.#post({ type: "cancel", id: this.#id, error: toPostedError(error) });
  }
}

/** Applies a message to the bodies of an exchange. Ignores late messages. */
export function transferBody(
  message: Exclude<BodyMessage, { type: "pull" }>,
  sender: BodySender | null,
  receiver: BodyReceiver | null,
): void {
  switch (message.type) {
    case "piece":
      return receiver?.add(message.bytes);
    case "used":
      return sender?.onUsed(message.byteCount, message.buffer);
    case "end":
      return receiver?.end();
    case "fail":
      return receiver?.fail(fromPostedError(message.error));
    case "cancel":
      return sender?.cancel(
        new BodyError("the other thread has canceled the body", {
          cause: fromPostedError(message.error),
        }),
      );
  }
}
