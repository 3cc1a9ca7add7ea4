/** Bodies of the web platform: `Blob`, `ArrayBuffer` and `URLSearchParams`. */

import { wrongArgumentError } from "../../internal/checks.ts";
import { Body } from "./body.ts";
import type { ByteSource } from "./byte_io.ts";
import { encodeText } from "../../internal/bytes.ts";

/** A body of the web platform, which can be sent repeatedly. */
type PlatformBody = Blob | ArrayBuffer | URLSearchParams;

/** Reports whether a value is a body of the web platform. */
export function isPlatformBody(value: unknown): value is PlatformBody {
  return value instanceof Blob || value instanceof ArrayBuffer || value instanceof URLSearchParams;
}

/**
 * Makes a `Body` of a `Blob`, and bytes of an `ArrayBuffer` or `URLSearchParams`.
 *
 * @throws {TypeError} if the memory of an `ArrayBuffer` was transferred.
 */
export function encodePlatformBody(body: PlatformBody, owner: string): Uint8Array | Body {
  if (body instanceof Blob) return new Body(new BlobSource(body), body.size);
  if (body instanceof URLSearchParams) return encodeText(`${owner}body`, body.toString());
  if (!body.detached) return new Uint8Array(body);
  throw wrongArgumentError(
    `${owner}body`,
    `must be an ArrayBuffer with its memory; got a transferred one`,
  );
}

/** The bytes of a `Blob`. Each read fills the whole array of the reader. */
class BlobSource implements ByteSource {
  readonly #blob: Blob;
  #position = 0;

  constructor(blob: Blob) {
    this.#blob = blob;
  }

  async read(into: Uint8Array): Promise<number | null> {
    const part = this.#blob.slice(this.#position, this.#position + into.length);
    const bytes = new Uint8Array(await part.arrayBuffer());
    into.set(bytes);
    this.#position += bytes.length;
    return bytes.length || null;
  }
}
