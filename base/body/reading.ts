/** Reading a body of either framing: piece by piece, as a stream, and no more than is wanted. */

import { EMPTY } from "../../internal/bytes.ts";
import { checkInteger, copyOptions } from "../../internal/checks.ts";
import { BodyError } from "../errors.ts";
import { MAX_READ_BYTES } from "../wire/limits.ts";
import { type BodySource, SOURCE_KINDS } from "./body_source.ts";
import type { BodyState } from "./body_state.ts";
import type { ByteSink, OpenSink } from "./byte_io.ts";

/** The reader of a framing, which knows where the body ends. An error ends the use of a reader. */
export interface BodyReader {
  /** True once the last byte has been read, and the source ends there if it must. */
  readonly done: boolean;
  /**
   * Reads at least one byte into the array, unless none is left or the array is empty; returns the
   * number of bytes. A promise is returned only if the read has to wait, since each wait takes a
   * turn.
   */
  read(into: Uint8Array): number | Promise<number>;
}

/** What a sink does with pieces of a body, and the best number of bytes for one. */
export type PieceUse = Pick<OpenSink, "keepsBytes" | "pieceBytes">;

/** The reader of a body that can be passed on. */
export interface PieceReader extends BodyReader {
  /** The number of bytes that were read, as they were sent. */
  readonly bytes: number;
  /** The number of bytes that are left; `Infinity` if nobody knows. */
  readonly remaining: number;
  /**
   * Reads the next piece for a sink, as the body was sent. The piece is valid until the next call;
   * if the sink keeps bytes, for as long as it likes.
   */
  nextPiece(use: PieceUse): Uint8Array | Promise<Uint8Array>;
}

/** What all classes of bodies that are read consist of, beside their source. */
export interface BodyParts {
  readonly state: BodyState;
  readonly reader: PieceReader;
}

/** Writes a whole body, or its rest, to a sink; resolves to the number of bytes. */
export function writeThrough(
  { state, reader }: BodyParts,
  sink: WritableStream<Uint8Array> | ByteSink,
  isRest?: boolean,
): Promise<number> {
  return state.write(sink, async (out) => {
    let written = 0;
    while (!reader.done) {
      state.checkAlive();
      let piece = state.fromSource(reader.nextPiece(out));
      // The first piece is written in this turn if it is there, together with a preamble.
      if (piece instanceof Promise) piece = await piece;
      written += piece.length;
      if (piece.length > 0) await out.write(piece);
    }
    state.end(true);
    return written;
  }, isRest);
}

/**
 * Checks, before the last byte of a body is passed on, that the source has ended with it; `null` if
 * other bytes may follow.
 */
export function expectEnd(source: BodySource): Promise<void> | null {
  return SOURCE_KINDS[source.kind].behind === "nothing" ? readEnd(source) : null;
}

async function readEnd(source: BodySource): Promise<void> {
  if (source.buffer.buffered > 0 || await source.read(new Uint8Array(1)) !== null) {
    throw new BodyError("the source has more bytes than the body");
  }
}

/**
 * The largest piece of an iterated or streamed body, and the first piece of a body that is passed
 * on.
 */
export const PIECE_BYTES = 65536;

/** The size of the piece after a full one of `bytes`: a source gets more memory as it fills it. */
export function largerPiece(bytes: number, most: number): number {
  return Math.min(bytes * 4, most);
}

/** Reads at least one byte, unless none is left. */
export function readInto(
  state: BodyState,
  reader: BodyReader,
  into: Uint8Array,
): number | Promise<number> {
  state.checkAlive();
  return state.fromSource(reader.read(into));
}

/** Reads a piece for an operation on the whole body, and ends that with the last byte. */
export async function readPiece(
  state: BodyState,
  reader: BodyReader,
  into: Uint8Array,
): Promise<number> {
  let count = readInto(state, reader, into);
  // Only bytes that are still to come are awaited: an await takes a turn, in which the exchange of
  // an empty body may end, and the end of an exchange stops a body that is in use.
  if (count instanceof Promise) count = await count;
  if (reader.done) state.end(true);
  return count;
}

/**
 * Makes a byte stream of a whole body.
 *
 * @param size Bytes of a piece, unless the stream's reader has its own buffer; 0 if the body is
 * empty.
 */
export function streamBody(
  state: BodyState,
  reader: BodyReader,
  size: number,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  state.beginWhole("stream");
  return new ReadableStream({
    type: "bytes",
    autoAllocateChunkSize: Math.max(1, size),
    start: async (controller) => {
      if (size > 0) return;
      await readPiece(state, reader, EMPTY);
      closeByteStream(controller);
    },
    pull: async (controller) => {
      const request = controller.byobRequest!;
      const { buffer, byteOffset, byteLength } = request.view!;
      const count = await readPiece(state, reader, new Uint8Array(buffer, byteOffset, byteLength));
      if (count > 0) request.respond(count);
      if (reader.done) closeByteStream(controller);
    },
    cancel: (reason) => state.cancel(reason),
  });
}

/** Closes a byte stream; a pending read with its own buffer gets the buffer back empty. */
function closeByteStream(controller: ReadableByteStreamController): void {
  controller.close();
  controller.byobRequest?.respond(0);
}

// ───────────────────────── no more than is wanted

/** How much of a body is read at once. */
export interface BodyReadOptions {
  /**
   * The most bytes, 0 to 16777216. A longer body is a {@linkcode BodyError} with the code
   * `"TOO_LONG"`; if it is that of a response, it is then canceled.
   *
   * @default {16777216}
   */
  maxBytes?: number | undefined;
}

/** The most bytes that the options of a read allow. */
export function limitOf(options: BodyReadOptions | undefined): number {
  if (options === undefined) return MAX_READ_BYTES;
  const { maxBytes = MAX_READ_BYTES } = copyOptions(options, ["maxBytes"]);
  checkInteger("maxBytes", maxBytes, 0, MAX_READ_BYTES);
  return maxBytes;
}

/** The bodies that had more bytes than were wanted, by the error that said so. */
const tooLongBodies = new WeakMap<Error, object>();

/**
 * The error for a body with more bytes than are wanted.
 *
 * @param limit The limit of the caller; `null` for the limit of `read()`.
 * @param left The number of bytes that are left, as far as it is known.
 */
export function tooLongError(
  body: object,
  limit: number | null,
  left: string,
): RangeError | BodyError {
  const error = limit === null
    ? new RangeError(
      `one read returns at most ${MAX_READ_BYTES} bytes; ${left} are left: give a size, iterate, ` +
        "or use writeTo",
    )
    : new BodyError(
      `the body has ${left} bytes, and at most ${limit} are wanted: raise maxBytes, iterate, or use ` +
        "writeTo",
      { code: "TOO_LONG" },
    );
  tooLongBodies.set(error, body);
  return error;
}

/** Whether an error says that this body has more bytes than were wanted. */
export function isTooLong(body: object | null, error: unknown): boolean {
  return body !== null && error instanceof Error && tooLongBodies.get(error) === body;
}
