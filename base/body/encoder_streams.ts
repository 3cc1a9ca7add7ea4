import { ContentLengthChecker } from "./body_iter.ts";
import { Collector } from "./byte_io.ts";
import {
  type Chunk,
  ChunkedValidator,
  encodeChunk,
  prepareChunk,
  type PreparedChunk,
  prepareSourceChunk,
} from "../wire/chunk.ts";
import { MAX_CHUNK_BYTES } from "../wire/limits.ts";
import { isOutOfBounds } from "../../internal/bytes.ts";
import { checkUint8Array } from "../../internal/checks.ts";
import { BodyError } from "../errors.ts";

function makeLengthTransformer(
  contentLength: number,
  retainsLast: boolean,
): Transformer<Uint8Array, Uint8Array> {
  const checker = new ContentLengthChecker(contentLength, retainsLast);
  return {
    transform(item, controller) {
      checkUint8Array("chunk", item);
      const bytes = checker.count(item);
      if (bytes !== null) controller.enqueue(bytes);
    },
    flush(controller) {
      const lastBytes = checker.finish();
      if (lastBytes !== null) controller.enqueue(lastBytes);
    },
  };
}

/**
 * A transform stream for bytes to send. The stream errors unless exactly `contentLength` bytes are
 * written to it. The last piece is forwarded when the source has ended, so a source with a wrong
 * length never makes a complete message.
 *
 * @example
 * ```ts
 * import { LengthEncoderStream } from "@degu/degu/base";
 * import { assertEquals } from "@std/assert";
 *
 * const stream = new Blob(["hello"]).stream().pipeThrough(new LengthEncoderStream(5));
 * const text = await new Response(stream).text();
 * assertEquals(text, "hello");
 * ```
 */
export class LengthEncoderStream extends TransformStream<Uint8Array, Uint8Array> {
  /**
   * Makes the stream.
   *
   * @param contentLength The number of bytes that must be written.
   * @throws {TypeError} if the length is not a number.
   * @throws {RangeError} if the length is not an integer from 0 to 2⁵³ − 1.
   */
  constructor(contentLength: number) {
    super(makeLengthTransformer(contentLength, true));
  }
}

/**
 * A transform stream for received bytes. The stream errors unless exactly `contentLength` bytes are
 * written to it. Unlike {@linkcode LengthEncoderStream}, it forwards the last piece at once.
 */
export class LengthDecoderStream extends TransformStream<Uint8Array, Uint8Array> {
  /**
   * Makes the stream.
   *
   * @param contentLength The number of bytes that must be written.
   * @throws {TypeError} if the length is not a number.
   * @throws {RangeError} if the length is not an integer from 0 to 2⁵³ − 1.
   */
  constructor(contentLength: number) {
    super(makeLengthTransformer(contentLength, false));
  }
}

/**
 * A transform stream from bytes, or chunks with extensions, to the chunked coding. Empty byte
 * arrays are skipped. The last chunk is added at the end unless it was written.
 *
 * @example
 * ```ts
 * import { ChunkedEncoderStream } from "@degu/degu/base";
 * import { assertEquals } from "@std/assert";
 *
 * const stream = ReadableStream.from([new TextEncoder().encode("hello")])
 *   .pipeThrough(new ChunkedEncoderStream());
 * const text = await new Response(stream).text();
 * assertEquals(text, "5\r\nhello\r\n0\r\n\r\n");
 * ```
 */
export class ChunkedEncoderStream
  extends TransformStream<Uint8Array | Chunk, Uint8Array<ArrayBuffer>> {
  /**
   * Makes the stream, which errors at a chunk that can't be sent or that follows the last chunk.
   */
  constructor() {
    let lastChunk: PreparedChunk | null = null;
    super({
      transform(item, controller) {
        if (item instanceof Uint8Array && item.length === 0 && !isOutOfBounds(item)) return;
        if (lastChunk !== null) throw new BodyError("a chunk after the last one");
        const chunk = prepareSourceChunk(item instanceof Uint8Array ? [null, item] : item);
        // Retain the last chunk until the end: it would complete a message that may still fail.
        if (chunk.size === 0) lastChunk = chunk;
        else controller.enqueue(encodeChunk(chunk));
      },
      flush(controller) {
        controller.enqueue(encodeChunk(lastChunk ?? prepareChunk([null, new Uint8Array(0)])));
      },
    });
  }
}

/**
 * A transform stream from the chunked coding to chunks, including the empty last chunk. A chunk of
 * more than 16777216 bytes becomes several, of which the first has the extension. Invalid bytes
 * cause a `ProtocolError`, bytes after the last chunk a `BodyError`.
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
export class ChunkedDecoderStream
  extends TransformStream<Uint8Array, Chunk<Uint8Array<ArrayBuffer>>> {
  /** Makes the stream. */
  constructor() {
    const validator = new ChunkedValidator();
    let data = new Collector(0);
    let extension: Chunk[0] = null;
    let remainingBytes = 0;
    const startChunk = (newExtension: Chunk[0], size: number) => {
      extension = newExtension;
      remainingBytes = size;
      data = new Collector(Math.min(size, MAX_CHUNK_BYTES));
    };
    super({
      transform(bytes, controller) {
        checkUint8Array("chunk", bytes);
        validator.validate(bytes, (part, header, piece) => {
          if (part === "header") {
            startChunk(header.extension, header.size);
          } else if (part === "data") {
            for (let start = 0; start < piece.length;) {
              if (data.missingBytes === 0) {
                controller.enqueue([extension, data.toBytes()]);
                startChunk(null, remainingBytes);
              }
              const part = piece.subarray(start, start + data.missingBytes);
              data.append(part);
              start += part.length;
              remainingBytes -= part.length;
            }
          } else if (part === "crlf" || validator.isComplete) {
            controller.enqueue([extension, data.toBytes()]);
          }
        });
      },
      flush() {
        validator.finish();
      },
    });
  }
}
