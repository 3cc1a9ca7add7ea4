/**
 * Bodies that are handed on, and can be handed on again as long as nobody has touched them.
 *
 * @module
 */

import { type BodyIn, type BodyOut, standFor } from "../base/body/bodies.ts";
import { Body } from "../base/body/body.ts";
import type { ByteSink, ByteSource } from "../base/body/byte_io.ts";
import { ChunkedBody } from "../base/body/chunked_body.ts";

/**
 * Wraps a body so that a connection that fails before it has used the body does not give it up.
 *
 * A connection cancels what it was given and could not send. Behind this, a body that is untouched
 * stays so, for the next connection.
 */
export function holdBody(body: BodyIn): BodyOut {
  if (body === null) return null;
  const held = body.chunked ? new HeldChunkedBody(body) : new HeldBody(body);
  standFor(held, body);
  return held;
}

/** Never read: each use of the body goes to the one that it stands for. */
const NOTHING: ByteSource = { read: () => Promise.resolve(null) };

class HeldBody extends Body {
  readonly #held: Body;

  constructor(held: Body) {
    super(NOTHING, held.contentLength);
    this.#held = held;
  }

  override get used(): boolean {
    return this.#held.used;
  }

  override writeTo(sink: WritableStream<Uint8Array> | ByteSink): Promise<number> {
    return this.#held.writeTo(sink);
  }

  override async cancel(reason?: unknown): Promise<void> {
    if (this.#held.used) await this.#held.cancel(reason);
  }
}

class HeldChunkedBody extends ChunkedBody {
  readonly #held: ChunkedBody;

  constructor(held: ChunkedBody) {
    super(NOTHING);
    this.#held = held;
  }

  override get used(): boolean {
    return this.#held.used;
  }

  override writeTo(sink: WritableStream<Uint8Array> | ByteSink): Promise<number> {
    return this.#held.writeTo(sink);
  }

  override async cancel(reason?: unknown): Promise<void> {
    if (this.#held.used) await this.#held.cancel(reason);
  }
}
