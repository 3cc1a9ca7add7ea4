/**
 * Which bodies there are, and what of a message a body decides.
 *
 * @module
 */

import { Body, isBodyConsumed } from "./body.ts";
import { BodyIter, ChunkedBodyIter } from "./body_iter.ts";
import { realLength } from "../bytes.ts";
import { ChunkedBody, isChunkedBodyConsumed } from "./chunked_body.ts";
import { wrongType } from "../checks.ts";
import { BodyError, typeName } from "../errors.ts";
import type { Framing } from "../wire/headers.ts";
import { MAX_LENGTH, MAX_READ_BYTES } from "../wire/limits.ts";

/** What is received as a body. */
export type BodyIn = null | Body | ChunkedBody;

/** What may be sent as a body. */
export type BodyOut = null | Uint8Array | Body | BodyIter | ChunkedBody | ChunkedBodyIter;

/** The four body classes; the `bodies` option of a client takes others of the same kind. */
export interface Bodies {
  /** A body of known length, from a stream, a file or another source of bytes. */
  readonly Body: typeof Body;
  /** A body of known length, from an iterable. */
  readonly BodyIter: typeof BodyIter;
  /** A chunked body, from a source of encoded chunks. */
  readonly ChunkedBody: typeof ChunkedBody;
  /** A chunked body, from an iterable. */
  readonly ChunkedBodyIter: typeof ChunkedBodyIter;
}

/** The four body classes of this package. */
export const bodies: Bodies = Object.freeze({ Body, BodyIter, ChunkedBody, ChunkedBodyIter });

/** Throws a `TypeError` unless the value has the four classes. */
export function checkBodies(bodies: Bodies): void {
  for (const name of ["Body", "BodyIter", "ChunkedBody", "ChunkedBodyIter"] as const) {
    if (typeof bodies?.[name] !== "function") {
      throw new TypeError(`bodies: need an object with the class ${name}; got ${typeName(bodies)}`);
    }
  }
}

const OUR_CLASSES = [Body, BodyIter, ChunkedBody, ChunkedBodyIter];
const stoodFor = new WeakMap<WritableBody, WritableBody>();

/** Notes that a body does nothing but write another one. */
export function standFor(body: WritableBody, other: WritableBody): void {
  stoodFor.set(body, other);
}

/** True if a body is written by this package, which keeps to the framing; false if by somebody else. */
export function isOurs(body: WritableBody): boolean {
  const { writeTo } = stoodFor.get(body) ?? body;
  return OUR_CLASSES.some((Class) => writeTo === Class.prototype.writeTo);
}

/** A body that writes itself: one of ours, or of another copy of this package. */
export type WritableBody = Exclude<BodyOut, null | Uint8Array>;

/**
 * Checks a body that a caller wants to send, by its shape, and says how its end will be known.
 *
 * @throws {TypeError} where it is none.
 * @throws {RangeError} where it is a `Uint8Array` of more than 16777216 bytes.
 * @throws {BodyError} where it has been used before.
 */
export function outgoingFraming(body: BodyOut, label = "body"): Framing {
  if (body === null) return null;
  if (body instanceof Uint8Array) {
    const length = realLength(body);
    if (length <= MAX_READ_BYTES) return length;
    throw new RangeError(
      `${label}: must be a Body or a BodyIter above ${MAX_READ_BYTES} bytes; got a Uint8Array of ${length}`,
    );
  }
  const framing = shapeOf(body);
  if (framing === null) {
    const wanted = "null, a Uint8Array, Body, BodyIter, ChunkedBody or ChunkedBodyIter";
    throw wrongType(label, wanted, body);
  }
  if (body.used === true) throw new BodyError(`${label}: has been used before`);
  return framing;
}

function shapeOf(body: WritableBody): Framing {
  if (typeof body !== "object" || typeof body.writeTo !== "function") return null;
  if (body.chunked === true) return "chunked";
  const { chunked, contentLength } = body;
  const valid = chunked === false && Number.isSafeInteger(contentLength) &&
    contentLength >= 0 && contentLength <= MAX_LENGTH;
  return valid ? contentLength : null;
}

/**
 * Gives up a body that was handed over and will not be sent; one that somebody has begun to use is
 * theirs. Never throws.
 */
export function cancelUnused(body: unknown, reason: unknown): void {
  try {
    if ((body as Partial<WritableBody> | null | undefined)?.used === true) return;
  } catch {
    return; // It was not a body of ours.
  }
  cancelQuietly(body, reason);
}

/** Gives up a body, whoever has made it. Never throws. */
export function cancelQuietly(body: unknown, reason: unknown): void {
  try {
    const { writeTo, cancel } = (body ?? {}) as Partial<WritableBody>;
    if (typeof writeTo !== "function" || typeof cancel !== "function") return;
    Promise.resolve(cancel.call(body, reason)).catch(() => {});
  } catch {
    // It has failed in another way, which changes nothing.
  }
}

/**
 * Whether a received body has been read to its end. A body that was cancelled, has failed or was only
 * read in part has not. A body of another class does not report that: once used, it counts as
 * consumed.
 */
export function isConsumed(body: NonNullable<BodyIn>): boolean {
  return isBodyConsumed(body) ?? isChunkedBodyConsumed(body) ??
    (body.used === true || (!body.chunked && body.contentLength === 0));
}

/**
 * Turns the body of a received message into one that can be sent on: the same object, checked.
 *
 * @throws {TypeError} where it is none.
 * @throws {BodyError} where it has been used before.
 *
 * @example
 * ```ts
 * import { makeOutputFromInput } from "@degu/degu/base";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(makeOutputFromInput(null), null);
 * ```
 */
export function makeOutputFromInput(body: BodyIn): BodyOut {
  outgoingFraming(body);
  return body;
}
