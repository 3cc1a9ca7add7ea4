/** The kinds of bodies, and how they frame a message. */

import { Body, ChunkedBody, stateOf } from "./body.ts";
import { BodyIter, ChunkedBodyIter } from "./body_iter.ts";
import { BodyReader, isTooLongFor, LengthReader } from "./body_reader.ts";
import type { BodyState } from "./body_state.ts";
import { chunkedBodyOf, isStreamed } from "./stream_body.ts";
import { encodePlatformBody, isPlatformBody } from "./platform_body.ts";
import type { ByteSink } from "./byte_io.ts";
import { encodeText, realLength } from "../../internal/bytes.ts";
import { notAllowedError, wrongArgumentError, wrongTypeError } from "../../internal/checks.ts";
import { BodyError } from "../errors.ts";
import { checkHeaderDict, type Framing, type HeaderDict } from "../wire/headers.ts";
import { mayHaveBody, type Method } from "../wire/preamble.ts";
import { MAX_READ_BYTES } from "../wire/limits.ts";
import { quote } from "../../internal/quote.ts";
import { allows, VALUE } from "../wire/character_tables.ts";

/** The body of a received message. */
export type BodyIn = null | Body | ChunkedBody;

/**
 * The body of a message to be sent. A string is sent as UTF-8. A `Blob` and `URLSearchParams` set
 * the `content-type`, unless the headers have one or the `Blob` has no type. What a stream or an
 * asynchronous generator yields is sent at once, in chunks.
 */
export type BodyOut =
  | null
  | string
  | Uint8Array
  | ArrayBuffer
  | Blob
  | URLSearchParams
  | Body
  | BodyIter
  | ChunkedBody
  | ChunkedBodyIter
  | ReadableStream<Uint8Array>
  | AsyncIterable<Uint8Array | string>;

/** The body that a request with this method may have: `null` unless the method is PUT or POST. */
export type RequestBody<M extends Method> = M extends "PUT" | "POST" ? BodyOut : null;

/** A body that needs no encoding any more. */
export type EncodedBody = null | Uint8Array | Body | BodyIter | ChunkedBody | ChunkedBodyIter;

/**
 * The four body classes; for the `bodies` option of a client, or classes that extend them.
 */
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

/** Checks the `bodies` option: no class may be missing, and each must extend that of its name. */
export function checkBodies(given: Bodies): void {
  for (const name of ["Body", "BodyIter", "ChunkedBody", "ChunkedBodyIter"] as const) {
    const ours = bodies[name];
    const used: unknown = given?.[name];
    if (used === ours) continue;
    if (typeof used === "function" && used.prototype instanceof ours) continue;
    throw wrongTypeError(
      "bodies",
      `an object with classes, and ${name} one that extends ours`,
      given,
    );
  }
}

/** A body that writes itself. */
export type WritableBody = Exclude<EncodedBody, null | Uint8Array>;

/**
 * Encodes a text and a body of the platform, and makes chunks of a stream or a generator; any other
 * body is returned as it is.
 *
 * @throws {RangeError} if the text has a lone surrogate.
 * @throws {TypeError} if other code has locked the stream, or an `ArrayBuffer` was transferred.
 */
export function encodeBody(body: BodyOut, owner = ""): EncodedBody {
  if (typeof body === "string") return encodeText(`${owner}body`, body);
  if (body === null || body instanceof Uint8Array) return body;
  if (isPlatformBody(body)) return encodePlatformBody(body, owner);
  return isStreamed(body) ? chunkedBodyOf(body, owner) : body;
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
  throw notAllowedError(
    `${owner}body`,
    `its type ${quote(type)} has a character that a header can't have; ` +
      `set headers["content-type"]`,
  );
}

/**
 * Whether a request with this body may be made again by itself. What a stream or a generator has
 * yielded is gone.
 */
export function isRepeatable(body: BodyOut): boolean {
  if (typeof body !== "object" || body === null || body instanceof Uint8Array) return true;
  return isPlatformBody(body) || isWritable(body) && !body.used;
}

/**
 * Checks a body that a caller or an app wants to send, and returns its framing. Headers of a
 * message with this body must announce no other framing.
 *
 * @throws {TypeError} if the value is not a body.
 * @throws {RangeError} if the body is an array of more than 16777216 bytes.
 * @throws {BodyError} if the body has been used before.
 */
export function outgoingFraming(body: EncodedBody, owner = ""): Framing {
  if (body === null) return null;
  if (body instanceof Uint8Array) {
    const length = realLength(body);
    if (length <= MAX_READ_BYTES) return length;
    throw notAllowedError(
      `${owner}body`,
      `must be a Blob, a Body or a BodyIter above ${MAX_READ_BYTES} bytes; got ${length} bytes`,
    );
  }
  const state = stateOf(body);
  if (state === null) {
    if (isForeignBody(body)) throw foreignBodyError(`${owner}body`, body);
    const wanted =
      "null, a string, Uint8Array, ArrayBuffer, Blob, URLSearchParams, Body, BodyIter, " +
      "ChunkedBody, ChunkedBodyIter, a stream or an asynchronous generator";
    throw wrongTypeError(`${owner}body`, wanted, body);
  }
  if (body.used === true) throw usedBodyError(state, owner);
  return state.framing;
}

/** The error of a body that can't be sent; what has ended it is the cause. */
function usedBodyError({ interruption: { failure } }: BodyState, owner: string): BodyError {
  const problem = `${owner}body: has been used before`;
  const options = failure === null ? { problem } : { problem, cause: failure.error };
  return new BodyError(`${problem}; make a new one for each message`, options);
}

/** Returns the framing that a request announces. */
export function requestFraming(
  method: Method,
  body: EncodedBody,
  headers: HeaderDict,
  unframedNull: boolean,
): Framing {
  const isNull = body === null && mayHaveBody(method);
  return isNull ? nullFraming(headers, unframedNull) : outgoingFraming(body);
}

/**
 * Returns the framing of `null` in a message that may have a body: 0, or `null` for no framing with
 * `unframedNull`, unless the headers have a `content-length`.
 */
export function nullFraming(headers: HeaderDict, unframedNull: boolean): 0 | null {
  return unframedNull && headers["content-length"] === undefined ? null : 0;
}

/** Whether a value is a body of one of the four classes, or of a class that extends one. */
export function isWritable(value: unknown): value is WritableBody {
  return stateOf(value) !== null;
}

/** Reports whether a value looks like a body of another copy of this package. */
function isForeignBody(value: unknown): value is object {
  const { writeTo, chunked } = (value ?? {}) as Partial<WritableBody>;
  return typeof writeTo === "function" && typeof chunked === "boolean";
}

function foreignBodyError(label: string, body: object): TypeError {
  const { name } = body.constructor ?? {};
  return wrongArgumentError(
    label,
    `must be a body of this package; got ${name ?? "an object"} of another copy of it: ` +
      "import the class from the same version and URL as the client or server",
  );
}

const keptBodies = new WeakSet<object>();

/**
 * Makes {@linkcode cancelUnused} leave a body as it is until the returned function is called: a
 * request that fails before it has used the body can then be made again, with the same body.
 */
export function keepUnused(body: BodyOut): () => void {
  if (typeof body !== "object" || body === null) return () => {};
  keptBodies.add(body);
  return () => keptBodies.delete(body);
}

/**
 * Cancels a body that was handed over and will not be sent, unless its use has begun or
 * {@linkcode keepUnused} keeps it. Never throws.
 */
export function cancelUnused(body: unknown, reason: unknown): void {
  try {
    const given = isStreamed(body) ? chunkedBodyOf(body) : body;
    if (isWritable(given) && !keptBodies.has(body as object) && !given.used) {
      cancelQuietly(given, reason);
    }
  } catch {
    // Other code has locked the stream, and reads it.
  }
}

/** Cancels a body, if the value is one. Never throws. */
export function cancelQuietly(body: unknown, reason: unknown): void {
  if (isWritable(body)) body.cancel(reason).catch(() => {});
}

/**
 * Writes a body to the sink of a message, in the way of our class: a class that extends ours can't
 * change the framing.
 *
 * @param isRest Whether a received body of which a part was read may be sent: then the rest is.
 */
export function writeMessageBody(
  body: WritableBody,
  sink: ByteSink,
  isRest = false,
): Promise<number> {
  return stateOf(body)!.writeTo(sink, isRest);
}

/** The most bytes of an unwanted body that are read to keep its connection. */
const MAX_DISCARDED_BYTES = 65536;
const DISCARD_MILLISECONDS = 1000;

/**
 * Reads the rest of a received body and drops it, so that its connection can be used again; cancels
 * a body whose rest is long or late, or that another part of the program uses. Never rejects.
 */
export async function discardBody(body: Body | ChunkedBody): Promise<void> {
  const reader = readerOf(body);
  if (reader.isConsumed) return;
  const isLong = reader instanceof LengthReader && reader.remaining > MAX_DISCARDED_BYTES;
  if (isLong) return await body.cancel();
  const timer = setTimeout(() => body.cancel(), DISCARD_MILLISECONDS);
  let bytesLeft = MAX_DISCARDED_BYTES;
  const write = (bytes: Uint8Array) => {
    bytesLeft -= bytes.length;
    return bytesLeft < 0 ? Promise.reject(new BodyError("too long")) : Promise.resolve();
  };
  try {
    await reader.writeTo({ write }, true);
  } catch {
    await body.cancel();
  } finally {
    clearTimeout(timer);
  }
}

/**
 * The reader of a body, whatever a class that extends the body's does.
 *
 * @throws {TypeError} if the body was made by another copy of this package, or elsewhere.
 */
export function readerOf(body: NonNullable<BodyIn>): BodyReader {
  const state = stateOf(body);
  if (state instanceof BodyReader) return state;
  throw foreignBodyError("response.body", body);
}

/** Whether an error says that this body has more bytes than were wanted. */
export function isTooLong(body: BodyIn, error: unknown): boolean {
  return isTooLongFor(stateOf(body), error);
}

/**
 * Calls a function when a received body is over, which it may be already: consumed, canceled,
 * failed or aborted.
 *
 * @throws {TypeError} if the body was made by another copy of this package, or elsewhere.
 */
export function whenOver(body: BodyIn, listener: () => void): void {
  if (body === null) listener();
  else readerOf(body).whenOver(listener);
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
