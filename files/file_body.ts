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
import { readPieces } from "./file_pieces.ts";
import { isOverwritten } from "./file_state.ts";
import type { OpenFile } from "./open_file.ts";
import { printable } from "../base/printable.ts";

/** Up to this many bytes are read at once, and sent in one write with the preamble. */
const SMALL_BYTES = 32768;

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
 * The bytes in pieces, each valid until the next is requested. Of a file that was overwritten the last piece is an error
 * instead.
 *
 * An object instead of a generator, which could not close a file before it was started.
 */
class FilePieces implements AsyncIterableIterator<Uint8Array> {
  readonly #handle: FileHandle;
  readonly #pieces: AsyncGenerator<Uint8Array, void, void>;
  readonly #sent: (bytes: number) => void;
  /** Bytes of the pieces that were requested after another one, and so have been sent. */
  #count = 0;
  #piece = 0;
  #closed = false;

  constructor(
    file: OpenFile,
    start: number,
    stop: number,
    hashing: Hashing | null,
    sent: (bytes: number) => void,
  ) {
    this.#handle = file.handle;
    this.#sent = sent;
    let position = start;
    this.#pieces = readPieces(file.handle, start, stop, () => overwritten(file), (piece) => {
      hashing?.hash.update(piece);
      position += piece.length;
      if (position < stop) return;
      checkUnchanged(file);
      reportDigest(file, hashing);
    });
    forgotten.register(this, file.handle, this);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<Uint8Array, undefined>> {
    this.#count += this.#piece;
    this.#piece = 0;
    try {
      const { done, value } = await this.#pieces.next();
      if (!done) {
        this.#piece = value.length;
        return { done: false, value };
      }
    } catch (error) {
      await this.return();
      throw error;
    }
    return await this.return();
  }

  async return(): Promise<IteratorResult<Uint8Array, undefined>> {
    if (!this.#closed) {
      this.#closed = true;
      forgotten.unregister(this);
      await this.#pieces.return();
      await this.#handle.close();
      this.#sent(this.#count);
    }
    return { done: true, value: undefined };
  }
}
