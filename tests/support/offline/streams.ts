/**
 * Stands in for `@std/streams` where JSR is out of reach: the names that bodies are combined with.
 *
 * @module
 */

/** All bytes of a stream in one buffer. */
export function toArrayBuffer(stream: ReadableStream<Uint8Array>): Promise<ArrayBuffer> {
  return new Response(stream).arrayBuffer();
}

/** All bytes of a stream as a `Blob`. */
export function toBlob(stream: ReadableStream<Uint8Array>): Promise<Blob> {
  return new Response(stream).blob();
}

/** A stream of UTF-8 bytes, or of strings, as one string. */
export async function toText(
  stream: ReadableStream<string> | ReadableStream<Uint8Array>,
): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const piece of stream) {
    text += typeof piece === "string" ? piece : decoder.decode(piece, { stream: true });
  }
  return text + decoder.decode();
}

/** A stream of UTF-8 bytes, or of strings, parsed as JSON. */
export async function toJson(
  stream: ReadableStream<string> | ReadableStream<Uint8Array>,
): Promise<unknown> {
  return JSON.parse(await toText(stream));
}

/** The streams one after the other, as one. */
export function concatReadableStreams<T>(...streams: ReadableStream<T>[]): ReadableStream<T> {
  return ReadableStream.from((async function* () {
    for (const stream of streams) yield* stream;
  })());
}

/** Passes pieces on while their total is at most `size` bytes; then ends, or fails. */
export class LimitedBytesTransformStream extends TransformStream<Uint8Array, Uint8Array> {
  constructor(size: number, options: { error?: boolean } = {}) {
    let total = 0;
    super({
      transform(piece, controller) {
        if (total + piece.byteLength <= size) {
          total += piece.byteLength;
          controller.enqueue(piece);
        } else if (options.error) {
          throw new RangeError(`Exceeded byte size limit of '${size}'`);
        } else {
          controller.terminate();
        }
      },
    });
  }
}

/** Strings in any split to lines, without their LF or CR LF. */
export class TextLineStream extends TransformStream<string, string> {
  constructor() {
    let rest = "";
    super({
      transform(piece, controller) {
        const lines = (rest + piece).split(/\r?\n/);
        rest = lines.pop() ?? "";
        for (const line of lines) controller.enqueue(line);
      },
      flush(controller) {
        if (rest !== "") controller.enqueue(rest);
      },
    });
  }
}
