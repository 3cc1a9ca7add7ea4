/**
 * The two ways to frame a body as transform streams.
 *
 * @module
 */

import { checkContentLength } from "./body.ts";
import { Collector } from "./body_use.ts";
import {
  type Chunk,
  ChunkScanner,
  chunksIncomplete,
  encodeChunk,
  makeSendable,
  makeSendableOf,
  type SendableChunk,
} from "./chunk.ts";
import { BodyError, typeName } from "./errors.ts";

function checkBytes(value: unknown): asserts value is Uint8Array {
  if (!(value instanceof Uint8Array)) {
    throw new TypeError(`chunk: need a Uint8Array; got ${typeName(value)}`);
  }
}

/** Passes bytes on and errors at the first byte too many, or at the end where some are missing. */
class LengthStream extends TransformStream<Uint8Array, Uint8Array> {
  constructor(contentLength: number, keepLast: boolean) {
    checkContentLength(contentLength);
    let left = contentLength;
    let last: Uint8Array | null = null;
    super({
      transform(bytes, controller) {
        checkBytes(bytes);
        if (bytes.length > left) {
          throw new BodyError(`more than the content-length of ${contentLength} bytes`);
        }
        if (bytes.length === 0) return;
        left -= bytes.length;
        if (left === 0 && keepLast) last = bytes;
        else controller.enqueue(bytes);
      },
      flush(controller) {
        if (left > 0) throw new BodyError(`${left} bytes less than the content-length`);
        if (last !== null) controller.enqueue(last);
      },
    });
  }
}

/**
 * A transform stream of bytes to be sent that errors unless exactly `contentLength` bytes pass. What
 * completes them is passed on at the end, so that a wrong source never makes a complete message.
 *
 * @example
 * ```ts
 * import { LengthEncoderStream } from "@degu/degu/base";
 * import { assertEquals } from "@std/assert";
 *
 * const stream = new Blob(["hello"]).stream().pipeThrough(new LengthEncoderStream(5));
 * assertEquals(await new Response(stream as ReadableStream<Uint8Array<ArrayBuffer>>).text(), "hello");
 * ```
 */
export class LengthEncoderStream extends LengthStream {
  /** Makes the stream. */
  constructor(contentLength: number) {
    super(contentLength, true);
  }
}

/** A transform stream of bytes that arrive: errors unless exactly `contentLength` bytes pass. */
export class LengthDecoderStream extends LengthStream {
  /** Makes the stream. */
  constructor(contentLength: number) {
    super(contentLength, false);
  }
}

/**
 * A transform stream from bytes, or chunks with extensions, to the chunked coding. Empty byte
 * arrays are skipped; the last chunk is added at the end unless it was written.
 *
 * @example
 * ```ts
 * import { ChunkedEncoderStream } from "@degu/degu/base";
 * import { assertEquals } from "@std/assert";
 *
 * const stream = ReadableStream.from([new TextEncoder().encode("hello")])
 *   .pipeThrough(new ChunkedEncoderStream());
 * const text = await new Response(stream as ReadableStream<Uint8Array<ArrayBuffer>>).text();
 * assertEquals(text, "5\r\nhello\r\n0\r\n\r\n");
 * ```
 */
export class ChunkedEncoderStream extends TransformStream<Uint8Array | Chunk, Uint8Array> {
  /** Makes the stream. A chunk that can't be sent, or follows the last one, errors it. */
  constructor() {
    let last: SendableChunk | null = null;
    super({
      transform(item, controller) {
        if (item instanceof Uint8Array && item.length === 0) return;
        if (last !== null) throw new BodyError("a chunk after the last one");
        const chunk = makeSendableOf(item instanceof Uint8Array ? [null, item] : item);
        // Kept back to the end: what follows would make the message wrong after it was complete.
        if (chunk.data.length === 0) last = chunk;
        else controller.enqueue(encodeChunk(chunk));
      },
      flush(controller) {
        controller.enqueue(encodeChunk(last ?? makeSendable([null, new Uint8Array(0)])));
      },
    });
  }
}

/**
 * A transform stream from the chunked coding to chunks, the empty last one included. Bytes that
 * break the coding are a `ProtocolError`, bytes after the last chunk a `BodyError`.
 *
 * @example
 * ```ts
 * import { ChunkedDecoderStream } from "@degu/degu/base";
 * import { assertEquals } from "@std/assert";
 *
 * const encoded = new Blob(["5;key=value\r\nhello\r\n0\r\n\r\n"]).stream();
 * const extensions = [];
 * for await (const [extension] of encoded.pipeThrough(new ChunkedDecoderStream())) {
 *   extensions.push(extension);
 * }
 * assertEquals(extensions, [["key", "value"], null]);
 * ```
 */
export class ChunkedDecoderStream extends TransformStream<Uint8Array, Chunk> {
  /** Makes the stream. */
  constructor() {
    const decoder = new PushDecoder();
    super({
      transform(bytes, controller) {
        checkBytes(bytes);
        decoder.push(bytes, (chunk) => controller.enqueue(chunk));
      },
      flush() {
        decoder.end();
      },
    });
  }
}

/** Decodes what it is given, piece by piece. */
class PushDecoder {
  readonly #scanner = new ChunkScanner();
  // The start of a line or an end whose rest has not come yet.
  #rest: Uint8Array = new Uint8Array(0);
  #data: Collector | null = null;

  push(piece: Uint8Array, emit: (chunk: Chunk) => void): void {
    const bytes = this.#rest.length === 0 ? piece : concatenate(this.#rest, piece);
    let at = 0;
    for (;;) {
      const next = this.#step(bytes, at, emit);
      if (next < 0) break;
      at = next;
    }
    this.#rest = bytes.slice(at);
  }

  end(): void {
    if (this.#scanner.phase !== "done") throw chunksIncomplete();
  }

  /** Takes the next part of the coding; returns the position after it, or -1 for more bytes. */
  #step(bytes: Uint8Array, at: number, emit: (chunk: Chunk) => void): number {
    const scanner = this.#scanner;
    switch (scanner.phase) {
      case "line": {
        const next = scanner.scanLine(bytes, at, bytes.length);
        if (next >= 0) this.#data = new Collector(scanner.header.size);
        return next;
      }
      case "data": {
        if (at === bytes.length) return -1;
        const room = this.#data!.room();
        const count = Math.min(room.length, bytes.length - at);
        room.set(bytes.subarray(at, at + count));
        this.#data!.add(count);
        scanner.takeData(count);
        return at + count;
      }
      case "end": {
        const next = scanner.scanEnd(bytes, at, bytes.length);
        if (next >= 0) emit([scanner.header.extension, this.#data!.collected()]);
        return next;
      }
      case "done":
        if (at < bytes.length) throw new BodyError("bytes after the last chunk");
        return -1;
    }
  }
}

function concatenate(a: Uint8Array, b: Uint8Array): Uint8Array {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}
