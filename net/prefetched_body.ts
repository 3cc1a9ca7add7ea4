/** The small body of a response: read at once, and kept, so that its connection is free. */

import type { Socket } from "../base/app/app.ts";
import type { Response } from "../base/app/message.ts";
import { readerOf } from "../base/body/bodies.ts";
import { Body } from "../base/body/body.ts";
import type { BodyReader } from "../base/body/body_reader.ts";
import { type BodyOutcome, type BodySource, MemorySource } from "../base/body/body_source.ts";
import type { Interruption } from "../base/body/body_state.ts";
import { ReadBuffer } from "../base/body/byte_io.ts";
import { Deadline } from "./deadline.ts";

/** The most bytes of a body that is read before the program reads it. */
const MAX_BYTES = 65536;

/**
 * Reads the body of a response at once if it is of our class, has a length and is small: then its
 * connection closes, or can be used again, even if the program never reads the body. Any other
 * response is returned as it is.
 *
 * @param timeout Seconds that the body may take while the program doesn't wait for it, or `null`.
 * @param socket The socket of the connection.
 */
export function prefetchSmallBody(
  response: Response,
  signal: AbortSignal | undefined,
  timeout: number | null,
  socket: Pick<Socket, "ref" | "unref">,
): Response {
  const { body } = response;
  const isSmall = body !== null && body.constructor === Body && body.contentLength > 0 &&
    body.contentLength <= MAX_BYTES;
  if (!isSmall) return response;
  const reader = readerOf(body);
  const bufferedBytes = reader.takeBuffered();
  let prefetchedBody;
  if (bufferedBytes !== null) {
    prefetchedBody = new Body(new MemorySource(bufferedBytes, "response"), body.contentLength);
  } else {
    const source = new PrefetchedSource(reader, body.contentLength, timeout, socket);
    prefetchedBody = new Body(source, body.contentLength);
    source.prefetch(signal, readerOf(prefetchedBody).interruption);
  }
  // Nobody else has seen the response yet.
  return Object.assign(response, { body: prefetchedBody });
}

/**
 * The bytes of another body, which is read in the background. While the program doesn't wait for
 * them, reading keeps no process alive, and ends after the time-out, however slowly bytes arrive.
 */
class PrefetchedSource implements BodySource {
  readonly kind = "response";
  readonly buffer: ReadBuffer = new ReadBuffer(this);
  readonly #reader: BodyReader;
  readonly #bytes: Uint8Array;
  /** The bytes that have arrived, and those of them that were read. */
  #receivedBytes = 0;
  #readBytes = 0;
  readonly #socket: Pick<Socket, "ref" | "unref">;
  /** Ends the reading if the program has not waited for bytes for so long. */
  readonly #unreadDeadline: Deadline;
  #failure: { readonly error: unknown } | null = null;
  /** Continues a read that waits for bytes. */
  #onReceive = () => {};

  constructor(
    reader: BodyReader,
    length: number,
    timeout: number | null,
    socket: Pick<Socket, "ref" | "unref">,
  ) {
    this.#reader = reader;
    this.#bytes = new Uint8Array(length);
    this.#socket = socket;
    this.#unreadDeadline = new Deadline(timeout, () => {
      const problem = `the body took over ${timeout} s, and nothing waited for it`;
      reader.cancel(new Deno.errors.TimedOut(problem));
    });
  }

  /**
   * Reads the other body up to its end. Never rejects.
   *
   * @param signal The signal of the request, which has aborted the other body.
   * @param interruption What aborts the body that is made of this source.
   */
  async prefetch(signal: AbortSignal | undefined, interruption: Interruption): Promise<void> {
    this.#unreadDeadline.startWait();
    this.#keepAlive(false);
    try {
      for await (const piece of this.#reader.pieces()) {
        this.#bytes.set(piece, this.#receivedBytes);
        this.#receivedBytes += piece.length;
        this.#onReceive();
      }
    } catch (error) {
      // The error is that of a read, or of every operation if it is the reason of the signal.
      this.#failure = { error };
      if (signal?.aborted && error === signal.reason) interruption.abort(error);
      this.#onReceive();
    } finally {
      this.#unreadDeadline.close();
    }
  }

  async read(into: Uint8Array): Promise<number | null> {
    while (this.#receivedBytes === this.#readBytes) {
      if (this.#failure !== null) throw this.#failure.error;
      this.#unreadDeadline.stopWait();
      this.#keepAlive(true);
      await new Promise<void>((resolve) => this.#onReceive = resolve);
      this.#keepAlive(false);
      this.#unreadDeadline.startWait();
    }
    const bytes = this.#bytes.subarray(this.#readBytes, this.#receivedBytes).subarray(
      0,
      into.length,
    );
    into.set(bytes);
    this.#readBytes += bytes.length;
    return bytes.length;
  }

  /**
   * Chooses whether reading the other body keeps the process alive. Once that has ended, its
   * connection may serve another request, which has chosen by itself.
   */
  #keepAlive(isAwaited: boolean): void {
    if (this.#reader.isConsumed) return;
    if (isAwaited) this.#socket.ref?.();
    else this.#socket.unref?.();
  }

  async onEnd(outcome: BodyOutcome, error?: unknown): Promise<void> {
    if (outcome === "canceled") await this.#reader.cancel(error);
  }
}
