import type { Socket } from "../../base/app/app.ts";
import type { Response } from "../../base/app/message.ts";
import { Body, readerOf } from "../../base/body/body.ts";
import {
  type BodyOutcome,
  type BodyReader,
  type BodySource,
  type Interruption,
  MemorySource,
} from "../../base/body/body_reader.ts";
import { ReadBuffer } from "../../base/body/byte_io.ts";
import { ConnectionError } from "../../base/errors.ts";
import { Deadline } from "../transport/deadline.ts";

const MAX_PREFETCHED_BYTES = 65536;

/**
 * Reads the body of a response at once if the body is small and a `Body` of this package. Its
 * connection then closes, or can be reused, even if the program never reads the body.
 *
 * @param timeout Seconds that the body may take while the program doesn't read it, or `null`.
 */
export function prefetchSmallBody(
  response: Response,
  signal: AbortSignal | undefined,
  timeout: number | null,
  socket: Pick<Socket, "ref" | "unref">,
): Response {
  const { body } = response;
  const isSmall = body !== null && body.constructor === Body && body.contentLength > 0 &&
    body.contentLength <= MAX_PREFETCHED_BYTES;
  if (!isSmall) return response;
  const reader = readerOf(body);
  const bufferedBytes = reader.readIfBuffered();
  let prefetchedBody;
  if (bufferedBytes !== null) {
    prefetchedBody = new Body(new MemorySource(bufferedBytes, "response"), body.contentLength);
  } else {
    const source = new PrefetchedSource(reader, body.contentLength, timeout, socket);
    prefetchedBody = new Body(source, body.contentLength);
    source.prefetch(signal, readerOf(prefetchedBody).interruption);
  }
  // No caller has the response yet, so its body can be replaced.
  return Object.assign(response, { body: prefetchedBody });
}

/**
 * A source with the bytes of another body, which is read in the background. While the program
 * doesn't wait for bytes, the read doesn't keep the process alive, and ends after the time-out.
 */
class PrefetchedSource implements BodySource {
  readonly kind = "response";
  readonly buffer: ReadBuffer = new ReadBuffer();
  readonly #reader: BodyReader;
  readonly #bytes: Uint8Array;
  #receivedBytes = 0;
  #consumedBytes = 0;
  readonly #socket: Pick<Socket, "ref" | "unref">;
  readonly #unreadDeadline: Deadline;
  #failure: { readonly error: unknown } | null = null;
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
      const problem = `the body took over ${timeout} s, and the program didn't read it`;
      reader.cancel(new ConnectionError(problem, { fault: "timed out", isTransient: false }));
    });
  }

  /** Never rejects. */
  async prefetch(signal: AbortSignal | undefined, interruption: Interruption): Promise<void> {
    this.#unreadDeadline.startWait();
    this.#setKeepAlive(false);
    try {
      for await (const piece of this.#reader.iteratePieces()) {
        this.#bytes.set(piece, this.#receivedBytes);
        this.#receivedBytes += piece.length;
        this.#onReceive();
      }
    } catch (error) {
      // An error of the signal fails every operation of the body; any other error fails its reads.
      this.#failure = { error };
      if (signal?.aborted && error === signal.reason) interruption.abort(error);
      this.#onReceive();
    } finally {
      this.#unreadDeadline.close();
    }
  }

  async read(into: Uint8Array): Promise<number | null> {
    while (this.#receivedBytes === this.#consumedBytes) {
      if (this.#failure !== null) throw this.#failure.error;
      this.#unreadDeadline.stopWait();
      this.#setKeepAlive(true);
      await new Promise<void>((resolve) => this.#onReceive = resolve);
      this.#setKeepAlive(false);
      this.#unreadDeadline.startWait();
    }
    const end = Math.min(this.#receivedBytes, this.#consumedBytes + into.length);
    const bytes = this.#bytes.subarray(this.#consumedBytes, end);
    into.set(bytes);
    this.#consumedBytes += bytes.length;
    return bytes.length;
  }

  /** Has no effect after the other body was read: its connection may then serve another request. */
  #setKeepAlive(isAwaited: boolean): void {
    if (this.#reader.isConsumed) return;
    if (isAwaited) this.#socket.ref?.();
    else this.#socket.unref?.();
  }

  async onEnd(outcome: BodyOutcome, error?: unknown): Promise<void> {
    if (outcome === "canceled") await this.#reader.cancel(error);
  }
}
