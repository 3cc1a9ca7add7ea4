/** The kinds of bodies, and how they frame a message. */

import { Body, bodyProgress, type Progress, whenBodyOver } from "./body.ts";
import { BodyIter, ChunkedBodyIter, writeTrustedIter } from "./body_iter.ts";
import type { BodyInput } from "./body_source.ts";
import type { ByteSink } from "./byte_io.ts";
import { encodeText, realLength } from "../bytes.ts";
import { wrongType } from "../checks.ts";
import {
  ChunkedBody,
  chunkedProgress,
  whenChunkedOver,
  writeTrustedChunks,
} from "./chunked_body.ts";
import { whenForeignOver } from "./foreign_bodies.ts";
import { BodyError } from "../errors.ts";
import type { Chunk } from "../wire/chunk.ts";
import type { Framing } from "../wire/headers.ts";
import { MAX_LENGTH, MAX_READ_BYTES } from "../wire/limits.ts";

/** The body of a received message. */
export type BodyIn = null | Body | ChunkedBody;

/** The body of a message to be sent; a string is sent as UTF-8. */
export type BodyOut = null | string | Uint8Array | Body | BodyIter | ChunkedBody | ChunkedBodyIter;

/** A body without a text that is still to be encoded. */
export type EncodedBody = Exclude<BodyOut, string>;

/** Classes with the members of the four body classes, for the `bodies` option of a client. */
export interface BodyClasses {
  /** A body of known length, from a source of bytes: the class of received bodies. */
  readonly Body: new (source: BodyInput, contentLength: number) => Pick<Body, keyof Body>;
  /** A body of known length, from an iterable. */
  readonly BodyIter: new (
    source: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
    contentLength: number,
  ) => Pick<BodyIter, keyof BodyIter>;
  /** A chunked body, from a source of encoded chunks: the class of received bodies. */
  readonly ChunkedBody: new (source: BodyInput) => Pick<ChunkedBody, keyof ChunkedBody>;
  /** A chunked body, from an iterable. */
  readonly ChunkedBodyIter: new (
    source: Iterable<Chunk> | AsyncIterable<Chunk>,
  ) => Pick<ChunkedBodyIter, keyof ChunkedBodyIter>;
}

/** The four body classes. */
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

/** Checks the `bodies` option: no class may be missing. */
export function checkBodies(bodies: BodyClasses): asserts bodies is Bodies {
  for (const name of ["Body", "BodyIter", "ChunkedBody", "ChunkedBodyIter"] as const) {
    if (typeof bodies?.[name] === "function") continue;
    throw wrongType("bodies", `an object with the class ${name}`, bodies);
  }
}

/** A body that writes itself: of this package, another copy of it, or another class. */
export type WritableBody = Exclude<EncodedBody, null | Uint8Array>;

/**
 * Encodes a body that is a text; any other body is returned as it is.
 *
 * @throws {RangeError} if the text has a lone surrogate.
 */
export function encodeBody(body: BodyOut, owner = ""): EncodedBody {
  return typeof body === "string" ? encodeText(`${owner}body`, body) : body;
}

/**
 * Checks a body that a caller or an app wants to send, by its members, and returns its framing.
 * Headers of a message with this body must announce no other framing.
 *
 * @throws {TypeError} if the value is not a body.
 * @throws {RangeError} if the body is a `Uint8Array` of more than 16777216 bytes.
 * @throws {BodyError} if the body has been used before.
 */
export function outgoingFraming(body: EncodedBody, owner = ""): Framing {
  if (body === null) return null;
  if (body instanceof Uint8Array) {
    const length = realLength(body);
    if (length <= MAX_READ_BYTES) return length;
    throw new RangeError(
      `${owner}body: must be a Body or a BodyIter above ${MAX_READ_BYTES} bytes; got a Uint8Array of ${length}`,
    );
  }
  const framing = framingOf(body);
  if (framing === null) {
    const wanted = "null, a string, Uint8Array, Body, BodyIter, ChunkedBody or ChunkedBodyIter";
    throw wrongType(`${owner}body`, wanted, body);
  }
  if (body.used === true) throw new BodyError(`${owner}body: has been used before`);
  return framing;
}

function framingOf(body: WritableBody): Framing {
  if (typeof body !== "object" || typeof body.writeTo !== "function") return null;
  if (body.chunked === true) return "chunked";
  const { chunked, contentLength } = body;
  const valid = chunked === false && Number.isSafeInteger(contentLength) &&
    contentLength >= 0 && contentLength <= MAX_LENGTH;
  return valid ? contentLength : null;
}

const kept = new WeakSet<object>();

/**
 * Makes {@linkcode cancelUnused} leave a body as it is until the returned function is called: a
 * request that fails before it has used the body can then be made again, with the same body.
 */
export function keepUnused(body: BodyOut): () => void {
  if (typeof body !== "object" || body === null) return () => {};
  kept.add(body);
  return () => kept.delete(body);
}

/**
 * Cancels a body that was handed over and will not be sent, unless its use has begun or
 * {@linkcode keepUnused} keeps it. Never throws.
 */
export function cancelUnused(body: unknown, reason: unknown): void {
  try {
    if (kept.has(body as object)) return;
    if ((body as Partial<WritableBody> | null | undefined)?.used === true) return;
  } catch {
    return; // A foreign body may have a getter that throws.
  }
  cancelQuietly(body, reason);
}

/** Cancels a body, whatever its class. Never throws. */
export function cancelQuietly(body: unknown, reason: unknown): void {
  try {
    const { writeTo, cancel } = (body ?? {}) as Partial<WritableBody>;
    if (typeof writeTo !== "function" || typeof cancel !== "function") return;
    Promise.resolve(cancel.call(body, reason)).catch(() => {});
  } catch {
    // A failure makes no difference: the body is not needed.
  }
}

/**
 * Writes a chunked body whose coding needs no second check. Returns `null`, and does nothing, if
 * the body must be checked.
 */
export function writeTrusted(body: WritableBody, sink: ByteSink): Promise<number> | null {
  return writeTrustedChunks(body, sink) ?? writeTrustedIter(body, sink);
}

/**
 * How far a received body has been read. A body that was canceled, has failed or was only read in
 * part is not consumed. A body of another class does not report its progress: once used, such a
 * body counts as consumed, and none of its bytes as read.
 */
export function progressOf(body: NonNullable<BodyIn>): Progress {
  return bodyProgress(body) ?? chunkedProgress(body) ??
    { bytes: 0, isConsumed: body.used === true || (!body.chunked && body.contentLength === 0) };
}

/**
 * Calls a function when a received body is over, which it may be already: consumed, canceled,
 * failed or aborted. Nobody knows when a body is over that was made elsewhere, of another class.
 */
export function whenOver(body: BodyIn, listener: () => void): void {
  if (body === null) listener();
  else {
    whenBodyOver(body, listener) || whenChunkedOver(body, listener) ||
      whenForeignOver(body, listener);
  }
}

/**
 * Checks that a received body can be forwarded, and returns it.
 *
 * @param body The body of a request or a response, or `null`.
 * @throws {TypeError} if the value is not a body.
 * @throws {BodyError} if the body has been used before.
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
