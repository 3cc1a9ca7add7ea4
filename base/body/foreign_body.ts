/** Bodies of other copies of this package, such as another version that a dependency imports. */

import { BodyError } from "../errors.ts";
import { Body, ChunkedBody, stateOf } from "./body.ts";

/** A body of another copy: the part of its interface that all versions have. */
interface ForeignBody {
  readonly chunked: boolean;
  readonly contentLength?: number;
  readonly used?: boolean;
  writeTo(sink: WritableStream<Uint8Array>): Promise<number>;
  cancel(reason?: unknown): Promise<void>;
}

export function isForeignBody(value: unknown): value is ForeignBody {
  const { writeTo, cancel, chunked } = (value ?? {}) as Partial<ForeignBody>;
  return typeof writeTo === "function" && typeof cancel === "function" &&
    typeof chunked === "boolean" && stateOf(value) === null;
}

/** The body for each body of another copy, so that each can be sent or read only once. */
const adoptedBodies = new WeakMap<ForeignBody, Body | ChunkedBody>();

/**
 * Makes a body with the bytes of a body of another copy: the same body for each call. This copy
 * checks the length and the chunks.
 *
 * @throws {BodyError} if the body has been used before.
 */
export function adoptBody(foreignBody: ForeignBody, labelPrefix = ""): Body | ChunkedBody {
  return adoptedBodies.getOrInsertComputed(foreignBody, () => {
    if (foreignBody.used === true) {
      throw new BodyError(
        `${labelPrefix}body: has been used before; make a new one for each message`,
      );
    }
    const stream = makeEncodedStream(foreignBody);
    return foreignBody.chunked
      ? new ChunkedBody(stream)
      : new Body(stream, foreignBody.contentLength!);
  });
}

/** Makes a stream of the encoded body, which begins to send the body at the first read. */
function makeEncodedStream(foreignBody: ForeignBody): ReadableStream<Uint8Array> {
  let reader: ReadableStreamDefaultReader<Uint8Array> | null = null;
  const start = () => {
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    Promise.resolve(foreignBody.writeTo(writable))
      .then(() => writable.close(), (error) => writable.abort(error)).catch(() => {});
    return readable.getReader();
  };
  return new ReadableStream({
    async pull(controller) {
      reader ??= start();
      const { done, value } = await reader.read();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    cancel: (reason) => foreignBody.cancel(reason),
  }, { highWaterMark: 0 });
}
