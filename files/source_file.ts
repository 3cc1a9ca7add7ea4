/**
 * The file that an upload reads.
 *
 * @module
 */

import { createHash, type Hash } from "node:crypto";
import { BodyIter, ChunkedBodyIter } from "../base/body/body_iter.ts";
import { EMPTY } from "../base/bytes.ts";
import type { Chunk } from "../base/wire/chunk.ts";
import { type FileState, isOverwritten, SETTLED_MILLISECONDS, versionOf } from "./file_state.ts";
import { hashPieces, readPieces } from "./file_pieces.ts";
import { changedWhileMoved } from "./transfer_error.ts";

/**
 * A regular file, which must not change while it is open.
 *
 * Its times show a change only if they are older than it: Deno cuts ctime to seconds. So what is read of a file that
 * was changed just before is read again in the end, if it is hashed, and such a file has no version.
 */
export class SourceFile implements AsyncDisposable {
  /** In bytes, when it was opened; what is appended later is ignored. */
  readonly size: number;
  /**
   * Names this version of the file, 64 hexadecimal digits: no other version of any file on this device has the same
   * one if {@linkcode isSettled}.
   */
  readonly version: string;
  readonly #path: string;
  readonly #file: Deno.FsFile;
  readonly #state: FileState;
  /** When a further change would show, in milliseconds since 1970. */
  readonly #settledAt: number;
  /** Whether the file had been unchanged for so long when it was opened that a further change would show. */
  readonly isSettled: boolean;
  #sha256: string | null = null;
  // A file has one position: one pass over it at a time.
  #pass: Promise<void> = Promise.resolve();

  private constructor(path: string, file: Deno.FsFile, info: Deno.FileInfo, lookedAt: number) {
    this.#path = path;
    this.#file = file;
    this.#state = stateOf(info);
    this.#settledAt = Number(this.#state.ctimeNs / 1_000_000n) + SETTLED_MILLISECONDS;
    this.isSettled = lookedAt >= this.#settledAt;
    this.size = info.size;
    this.version = createHash("sha256").update(versionOf(this.#state)).digest("hex");
  }

  /**
   * Opens a file.
   *
   * @throws {Deno.errors.IsADirectory} if it is a directory.
   * @throws {RangeError} if it is not a regular file.
   */
  static async open(path: string): Promise<SourceFile> {
    // Before it is opened, and in the same turn: opening a FIFO that has just replaced it would block.
    checkRegular(path, Deno.statSync(path));
    const file = Deno.openSync(path, { read: true });
    try {
      const lookedAt = Date.now();
      const info = await file.stat();
      checkRegular(path, info);
      return new SourceFile(path, file, info, lookedAt);
    } catch (error) {
      file.close();
      throw error;
    }
  }

  /** The SHA-256 of the whole file as lower-case hexadecimal digits; `null` as long as it was not read. */
  get sha256(): string | null {
    return this.#sha256;
  }

  /** Hashes the whole file; resolves to its SHA-256 as lower-case hexadecimal digits. */
  async hash(signal: AbortSignal | undefined): Promise<string> {
    if (this.#sha256 !== null) return this.#sha256;
    for await (const _ of this.#pieces(0, createHash("sha256"))) signal?.throwIfAborted();
    return this.#sha256!;
  }

  /**
   * Returns a body of the bytes; sending it fails if the file has changed.
   *
   * @param sent Called after each piece with how many bytes it had.
   */
  body(sent: (count: number) => void): BodyIter {
    return new BodyIter(this.#sending(this.#pieces(0, null), sent), this.size);
  }

  /**
   * Returns the bytes from `offset` on as a chunked body. They are hashed while they are sent; the last chunk has the SHA-256
   * of the whole file as its extension `sha256`.
   *
   * @param prefix The hash of what is before the offset.
   */
  hashedBody(offset: number, prefix: Hash, sent: (count: number) => void): ChunkedBodyIter {
    return new ChunkedBodyIter(this.#chunks(this.#sending(this.#pieces(offset, prefix), sent)));
  }

  /** Hashes what is before an offset, as the beginning of the whole. */
  async hashTo(offset: number, signal: AbortSignal | undefined): Promise<Hash> {
    await this.#pass;
    return await this.#hashTo(offset, signal);
  }

  async #hashTo(offset: number, signal?: AbortSignal): Promise<Hash> {
    const hash = createHash("sha256");
    if (offset === 0) return hash;
    const changed = () => changedWhileMoved(this.#path);
    const check = () => signal?.throwIfAborted();
    await hashPieces(readPieces(this.#file, 0, offset, changed), hash, check);
    return hash;
  }

  async *#sending(
    pieces: AsyncIterable<Uint8Array>,
    sent: (count: number) => void,
  ): AsyncGenerator<Uint8Array, void, void> {
    for await (const piece of pieces) {
      yield piece;
      sent(piece.length);
    }
  }

  async *#chunks(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Chunk, void, void> {
    for await (const piece of pieces) yield [null, piece];
    yield [["sha256", this.#sha256!], EMPTY];
  }

  /**
   * Yields the bytes from `start` on, which are of one version: else the end is an error.
   *
   * @param hash Hashes them, with what is before `start`.
   */
  async *#pieces(start: number, hash: Hash | null): AsyncGenerator<Uint8Array, void, void> {
    const earlier = this.#pass;
    const pass = Promise.withResolvers<void>();
    this.#pass = pass.promise;
    try {
      await earlier;
      const changed = () => changedWhileMoved(this.#path);
      // What was read while another version could have had the same times, and its hash.
      let unsettled = { bytes: 0, hash };
      let position = start;
      let lookedAt = Date.now();
      const arrived = (piece: Uint8Array) => {
        hash?.update(piece);
        position += piece.length;
        // It was asked for when the piece before had arrived, or later.
        if (hash !== null && lookedAt < this.#settledAt) {
          unsettled = { bytes: position, hash: hash.copy() };
        }
        lookedAt = Date.now();
      };
      yield* readPieces(this.#file, start, this.size, changed, arrived);
      // Before the last piece is sent, for which a body waits until this has ended.
      if (unsettled.bytes > 0) {
        const again = await this.#hashTo(unsettled.bytes);
        if (again.digest("hex") !== unsettled.hash?.digest("hex")) throw changed();
      }
      if (isOverwritten(this.#state, stateOf(await this.#file.stat()))) throw changed();
      if (hash !== null) this.#sha256 = hash.digest("hex");
    } finally {
      pass.resolve();
    }
  }

  /** Closes the file. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pass;
    this.#file.close();
  }
}

function checkRegular(path: string, { isFile, isDirectory }: Deno.FileInfo): void {
  if (isDirectory) {
    throw new Deno.errors.IsADirectory(
      `file: ${path} is a directory; upload its files one by one`,
    );
  }
  if (!isFile) throw new RangeError(`file: ${path} must be a regular file`);
}

function stateOf({ dev, ino, nlink, size, mtime, ctime }: Deno.FileInfo): FileState {
  return {
    dev: BigInt(dev),
    ino: BigInt(ino ?? 0),
    nlink: BigInt(nlink ?? 1),
    size: BigInt(size),
    mtimeNs: nanoseconds(mtime),
    ctimeNs: nanoseconds(ctime),
  };
}

function nanoseconds(date: Date | null): bigint {
  return BigInt(date?.getTime() ?? 0) * 1_000_000n;
}
