/** Bodies of the platform, to be sent: a `Blob`, an `ArrayBuffer` and `URLSearchParams`. */

import { notAllowed, wrongArgument } from "../../internal/checks.ts";
import { Body } from "./body.ts";
import type { ByteSource } from "./byte_io.ts";
import { encodeText } from "../../internal/bytes.ts";
import { quote } from "../../internal/quote.ts";
import { checkHeaderDict, type HeaderDict } from "../wire/headers.ts";
import { allows, VALUE } from "../wire/tables.ts";

/** A body of the platform, which can be sent any number of times. */
type PlatformBody = Blob | ArrayBuffer | URLSearchParams;

/** Whether a value is a body of the platform. */
export function isPlatformBody(value: unknown): value is PlatformBody {
  return value instanceof Blob || value instanceof ArrayBuffer || value instanceof URLSearchParams;
}

/**
 * Makes a `Body` of a `Blob`, and bytes of anything else.
 *
 * @throws {TypeError} if the memory of an `ArrayBuffer` was transferred.
 */
export function encodePlatformBody(body: PlatformBody, owner: string): Uint8Array | Body {
  if (body instanceof Blob) return new Body(new BlobSource(body), body.size);
  if (body instanceof URLSearchParams) return encodeText(`${owner}body`, body.toString());
  if (!body.detached) return new Uint8Array(body);
  throw wrongArgument(
    `${owner}body`,
    `must be an ArrayBuffer with its memory; got a transferred one`,
  );
}

/** The bytes of a `Blob`, which arrive in as large pieces as the reader wants. */
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

const FORM = "application/x-www-form-urlencoded;charset=UTF-8";

/**
 * Adds the content-type of a `Blob` that has one, and of `URLSearchParams`. Headers that have a
 * content-type, which may be `undefined`, are returned as they are.
 *
 * @throws {RangeError} if the type of a `Blob` can't be the value of a header.
 */
export function withContentType(headers: HeaderDict, body: unknown, owner = ""): HeaderDict {
  // Most bodies have no type, and these lines are passed for each message.
  if (typeof body !== "object" || body === null || body instanceof Uint8Array) return headers;
  const type = body instanceof Blob ? body.type : body instanceof URLSearchParams ? FORM : "";
  if (type === "") return headers;
  checkHeaderDict(headers, `${owner}headers`);
  if (Object.hasOwn(headers, "content-type")) return headers;
  if (allows(VALUE, type)) return { ...headers, "content-type": type };
  throw notAllowed(
    `${owner}body`,
    `its type ${quote(type)} has a character that a header can't have; ` +
      `set headers["content-type"]`,
  );
}
