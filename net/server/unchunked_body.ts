import { cancelQuietly, type WritableBody, writeMessageBody } from "../../base/body/body.ts";
import { type ByteSink, Collector } from "../../base/body/byte_io.ts";
import { ChunkedValidator } from "../../base/wire/chunk.ts";
import { Turns } from "../transport/turns.ts";

const MAX_COLLECTING_MILLISECONDS = 1000;

type Write = (bytes: Uint8Array) => Promise<void>;

/** The data of a chunked body, for a client of HTTP/1.0, which reads no chunks (RFC 9112 §7.1). */
export class UnchunkedBody {
  readonly #body: WritableBody;
  readonly #validator = new ChunkedValidator();
  readonly #collector: Collector;
  readonly #turns = new Turns();
  readonly #collectingStopped = Promise.withResolvers<null>();
  readonly #sendingStarted = Promise.withResolvers<Write>();
  #isCollecting = true;
  #bodyEnd: Promise<unknown> = Promise.resolve();
  #cancellation: { readonly reason: unknown } | null = null;

  /** @param maxBytes The number of bytes that {@linkcode collect} returns at most. */
  constructor(body: WritableBody, maxBytes: number) {
    this.#body = body;
    this.#collector = Collector.upTo(maxBytes);
  }

  /** Returns the whole body; `null` if it has more bytes or takes more than a second. */
  async collect(): Promise<Uint8Array | null> {
    const timer = setTimeout(() => this.#stopCollecting(), MAX_COLLECTING_MILLISECONDS);
    const sink: ByteSink = { write: (bytes) => this.#writeEncoded(bytes) };
    this.#bodyEnd = writeMessageBody(this.#body, sink).catch((error) => {
      throw this.#cancellation === null ? error : this.#cancellation.reason;
    });
    try {
      const content = this.#bodyEnd.then(() => this.#collector.toBytes());
      return await Promise.race([content, this.#collectingStopped.promise]);
    } finally {
      clearTimeout(timer);
      this.#turns.end();
    }
  }

  /** Writes the collected bytes, and then the rest. */
  async send(write: Write): Promise<void> {
    if (this.#collector.length > 0) await write(this.#collector.toBytes());
    this.#sendingStarted.resolve(write);
    await this.#bodyEnd;
  }

  /** A pending operation rejects with the reason. */
  cancel(reason: unknown): void {
    this.#cancellation ??= { reason };
    cancelQuietly(this.#body, reason);
  }

  async #writeEncoded(bytes: Uint8Array): Promise<void> {
    const pieces: Uint8Array[] = [];
    this.#validator.validate(bytes, (part, _header, piece) => {
      if (part === "data") pieces.push(piece);
    });
    for (const piece of pieces) {
      // A source that doesn't wait lets no timer run.
      if (this.#isCollecting) await this.#turns.next();
      if (this.#isCollecting && piece.length <= this.#collector.missingBytes) {
        this.#collector.append(piece);
      } else {
        this.#stopCollecting();
        const write = await this.#sendingStarted.promise;
        await write(piece);
      }
    }
  }

  #stopCollecting(): void {
    this.#isCollecting = false;
    this.#collectingStopped.resolve(null);
  }
}
