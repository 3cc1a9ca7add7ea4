/**
 * Parts of files as bodies that close their file.
 *
 * @module
 */

import { createHash, type Hash } from "node:crypto";
import { fstatSync } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { BodyIter } from "../base/body/body_iter.ts";
import { BodyError } from "../base/errors.ts";
import { isStill } from "./file_digest.ts";
import { isOverwritten } from "./file_state.ts";
import type { OpenFile } from "./open_file.ts";
import { printable } from "../base/printable.ts";

/** Up to this many bytes are read at once, and sent in one write with the preamble. */
const SMALL_BYTES = 32768;
/** Bytes of each of the two buffers for a larger part. */
const PIECE_BYTES = 524288;

const forgotten = new FinalizationRegistry<FileHandle>((handle) => {
  handle.close().catch(() => {});
});

/** Called with the SHA-256 of a file, in hexadecimal digits, after all of it was read unchanged. */
export type Digested = (sha256: string) => void;

/** Who wants to know about a body. */
export interface Watcher {
  /** Called if all bytes of the file are sent; `null` if the digest is not wanted. */
  readonly digested?: Digested | null;
  /** Called once, with how many bytes were handed over to be sent. */
  readonly sent?: (bytes: number) => void;
}

/**
 * Makes a body of the bytes of a file from `start` up to, not including, `stop`; the file is
 * closed: at once if they are few, else after the body was sent, canceled, or garbage-collected.
 *
 * A file that was overwritten is never sent to its end, so that no peer mistakes bytes of two versions
 * for a whole file.
 *
 * @throws {BodyError} if the file was overwritten before a few bytes of it were read; of more
 * bytes sending the body does.
 */
export async function makeFileBody(
  file: OpenFile,
  start: number,
  stop: number,
  { digested = null, sent = () => {} }: Watcher = {},
): Promise<Uint8Array | BodyIter> {
  const { handle } = file;
  const hashing = digested !== null && start === 0 && stop === file.size
    ? { hash: createHash("sha256"), digested }
    : null;
  if (stop - start > SMALL_BYTES) {
    try {
      return new BodyIter(new FilePieces(file, start, stop, hashing, sent), stop - start);
    } catch (error) {
      // A sparse file can be longer than any content-length.
      await handle.close();
      throw error;
    }
  }
  try {
    const bytes = new Uint8Array(stop - start);
    let length = 0;
    while (length < bytes.length) {
      const { bytesRead } = await handle.read(bytes, length, bytes.length - length, start + length);
      if (bytesRead === 0) throw overwritten(file);
      length += bytesRead;
    }
    checkUnchanged(file);
    hashing?.hash.update(bytes);
    reportDigest(file, hashing);
    sent(bytes.length);
    return bytes;
  } finally {
    await handle.close();
  }
}

/**
 * Checks, once the last byte has been read, that all bytes are of the version that was opened.
 * Synchronous: it takes far less time than a turn, since what was read just now is in the cache.
 */
function checkUnchanged(file: OpenFile): void {
  const now = fstatSync(file.handle.fd, { bigint: true });
  if (isOverwritten(file.state, now)) throw overwritten(file);
}

/** The digest of the file that is sent. */
interface Hashing {
  readonly hash: Hash;
  readonly digested: Digested;
}

/** Reports the digest of a file that was read to its end, unless anything of it has changed. */
function reportDigest(file: OpenFile, hashing: Hashing | null): void {
  if (hashing !== null && isStill(file)) hashing.digested(hashing.hash.digest("hex"));
}

function overwritten({ path }: OpenFile): BodyError {
  return new BodyError(
    `${printable(path)} was overwritten while it was sent; write to another file and rename that`,
  );
}

/**
 * The bytes in pieces, each valid until the next is requested. While one is being sent the next is
 * being read. Of a file that was overwritten the last piece is an error instead.
 *
 * An object instead of a generator, which could not close a file before it was started.
 */
class FilePieces implements AsyncIterableIterator<Uint8Array> {
  readonly #file: OpenFile;
  readonly #stop: number;
  readonly #size: number;
  readonly #hashing: Hashing | null;
  readonly #sent: (bytes: number) => void;
  /** Bytes of the pieces that were requested after another one, and so have been sent. */
  #count = 0;
  #piece = 0;
  #position: number;
  #next: Promise<Uint8Array> | null = null;
  #buffer: Uint8Array | null = null;
  #otherBuffer: Uint8Array | null = null;
  #closed = false;

  constructor(
    file: OpenFile,
    start: number,
    stop: number,
    hashing: Hashing | null,
    sent: (bytes: number) => void,
  ) {
    this.#file = file;
    this.#sent = sent;
    this.#hashing = hashing;
    this.#position = start;
    this.#stop = stop;
    this.#size = Math.min(PIECE_BYTES, stop - start);
    forgotten.register(this, file.handle, this);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<Uint8Array, undefined>> {
    if (this.#closed) return { done: true, value: undefined };
    this.#count += this.#piece;
    this.#piece = 0;
    try {
      const piece = await (this.#next ??= this.#read());
      this.#next = null;
      if (piece.length > 0) {
        // It may have been closed meanwhile.
        if (this.#position < this.#stop && !this.#closed) this.#readAhead();
        this.#piece = piece.length;
        return { done: false, value: piece };
      }
    } catch (error) {
      await this.#close();
      throw error;
    }
    await this.#close();
    return { done: true, value: undefined };
  }

  async return(): Promise<IteratorResult<Uint8Array, undefined>> {
    await this.#close();
    return { done: true, value: undefined };
  }

  #readAhead(): void {
    this.#next = this.#read();
    // The request for the next piece gets the error, if there is one.
    this.#next.catch(() => {});
  }

  /** Reads into the buffer that is not being sent; nothing at the end. */
  async #read(): Promise<Uint8Array> {
    const buffer = this.#otherBuffer ?? new Uint8Array(this.#size);
    this.#otherBuffer = this.#buffer;
    this.#buffer = buffer;
    const length = Math.min(buffer.length, this.#stop - this.#position);
    if (length === 0) return buffer.subarray(0, 0);
    const { bytesRead } = await this.#file.handle.read(buffer, 0, length, this.#position);
    this.#position += bytesRead;
    if (bytesRead === 0) throw overwritten(this.#file);
    const piece = buffer.subarray(0, bytesRead);
    this.#hashing?.hash.update(piece);
    if (this.#position === this.#stop) {
      checkUnchanged(this.#file);
      reportDigest(this.#file, this.#hashing);
    }
    return piece;
  }

  async #close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    forgotten.unregister(this);
    // Its buffer is in use until then.
    await this.#next?.catch(() => {});
    await this.#file.handle.close();
    this.#sent(this.#count);
  }
}
