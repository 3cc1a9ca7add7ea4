/** A file of this device that is sent, and whether it is still the one that was seen. */

import type { Hash } from "node:crypto";
import { BodyIter, ChunkedBodyIter } from "../../../base/body/body_iter.ts";
import { EMPTY } from "../../../base/bytes.ts";
import type { Chunk } from "../../../base/wire/chunk.ts";
import { DIGEST_KEY, hashOfText, hashStart, newHash } from "../digest.ts";
import {
  type FileState,
  fileVersion,
  isOverwritten,
  isSettled,
  isUnchanged,
  readPieces,
} from "../file_pieces.ts";
import { bitsOf } from "../modes.ts";
import type { ProgressMeter } from "../options.ts";
import { changedWhileMoved } from "../transfer_error.ts";

/**
 * A regular file, which must not change while it is open.
 *
 * Deno cuts ctime to seconds, so that the times of a file that was changed just before don't show
 * another change. A file that is hashed is read twice as far as it was read in that time, and it
 * has no version.
 */
export class SourceFile implements AsyncDisposable {
  /** Bytes that the file had when it was opened; bytes that are appended later are ignored. */
  readonly size: number;
  /** The permission bits that the file had then. */
  readonly mode: number | null;
  /**
   * The name of this version of the file, 64 hexadecimal digits. If {@linkcode isSettled}, no other
   * version of any file on this device has the same name.
   */
  readonly version: string;
  readonly #path: string;
  readonly #file: Deno.FsFile;
  readonly #state: FileState;
  /** The file as it was when it was opened. */
  readonly seen: SeenFile;
  /**
   * Whether the last change was so long ago, when the file was opened, that another one would show.
   */
  readonly isSettled: boolean;
  #sha256: string | null = null;
  /** The hash of the beginning that was compared. */
  #beginning: { readonly length: number; readonly hash: Hash } | null = null;
  // A file has one position: one pass over it at a time.
  #pass: Promise<void> = Promise.resolve();

  private constructor(path: string, file: Deno.FsFile, info: Deno.FileInfo, lookedAt: number) {
    this.#path = path;
    this.#file = file;
    this.#state = stateOf(info);
    this.seen = { info, lookedAt };
    this.isSettled = isSettled(this.#state, lookedAt);
    this.size = info.size;
    this.mode = bitsOf(info.mode);
    this.version = hashOfText(fileVersion(this.#state));
  }

  static async open(path: string): Promise<SourceFile> {
    // The check and opening are in one turn: opening a FIFO would wait for a writer.
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

  /**
   * The SHA-256 of the whole file as lower-case hexadecimal digits; `null` until the file was read.
   */
  get sha256(): string | null {
    return this.#sha256;
  }

  /** Hashes the whole file; resolves to its SHA-256 as lower-case hexadecimal digits. */
  async hash(signal: AbortSignal | undefined): Promise<string> {
    if (this.#sha256 !== null) return this.#sha256;
    for await (const _ of this.#pieces(0, newHash())) signal?.throwIfAborted();
    return this.#sha256!;
  }

  /** Returns a body of the missing bytes; sending it fails if the file has changed. */
  async body(meter: ProgressMeter, signal: AbortSignal | undefined): Promise<BodyIter> {
    const { start } = meter;
    const hash = await this.#hashTo(start, signal);
    return new BodyIter(this.#sending(start, hash, meter), this.size - start);
  }

  /**
   * Returns the bytes from `offset` on as a chunked body. The bytes before `offset` are hashed
   * first, the others while they are sent. The last chunk has the SHA-256 of the whole file as its
   * extension `sha256`.
   */
  async hashedBody(
    offset: number,
    meter: ProgressMeter,
    signal: AbortSignal | undefined,
  ): Promise<ChunkedBodyIter> {
    await this.#pass;
    const known = this.#beginning?.length === offset ? this.#beginning.hash.copy() : null;
    const hash = known ?? await this.#hashTo(offset, signal);
    return new ChunkedBodyIter(this.#chunks(this.#sending(offset, hash, meter)));
  }

  /** Hashes the beginning of the file; resolves to its SHA-256 as hexadecimal digits. */
  async hashBeginning(length: number, signal: AbortSignal | undefined): Promise<string> {
    await this.#pass;
    const hash = await this.#hashTo(length, signal);
    this.#beginning = { length, hash };
    return hash.copy().digest("hex");
  }

  /** Begins the hash of the whole file with the bytes before an offset. */
  async #hashTo(offset: number, signal?: AbortSignal): Promise<Hash> {
    const changed = () => changedWhileMoved(this.#path);
    return await hashStart(this.#file, offset, changed, signal);
  }

  async *#sending(
    offset: number,
    hash: Hash,
    meter: ProgressMeter,
  ): AsyncGenerator<Uint8Array, void, void> {
    for await (const piece of this.#pieces(offset, hash)) {
      yield piece;
      meter.add(piece.length);
    }
  }

  async *#chunks(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Chunk, void, void> {
    for await (const piece of pieces) yield [null, piece];
    yield [[DIGEST_KEY, this.#sha256!], EMPTY];
  }

  /**
   * Yields the bytes from `start` on; throws at the end if they are of more than one version.
   *
   * @param hash The hash of the bytes before `start`, which the others are added to.
   */
  async *#pieces(start: number, hash: Hash): AsyncGenerator<Uint8Array, void, void> {
    const earlier = this.#pass;
    const pass = Promise.withResolvers<void>();
    this.#pass = pass.promise;
    try {
      await earlier;
      const changed = () => changedWhileMoved(this.#path);
      // The bytes that were read while a change would not have shown, and their hash.
      let unsettled = this.isSettled
        ? { bytes: 0, hash: newHash() }
        : { bytes: start, hash: hash.copy() };
      let position = start;
      let lookedAt = Date.now();
      const arrived = (piece: Uint8Array) => {
        hash.update(piece);
        position += piece.length;
        // The read began when the piece before had arrived, or later.
        if (!isSettled(this.#state, lookedAt)) {
          unsettled = { bytes: position, hash: hash.copy() };
        }
        lookedAt = Date.now();
      };
      yield* readPieces(this.#file, start, this.size, changed, arrived);
      // A body sends the last piece only after this generator has ended without an error.
      const again = await this.#hashTo(unsettled.bytes);
      if (again.digest("hex") !== unsettled.hash.digest("hex")) throw changed();
      if (isOverwritten(this.#state, stateOf(await this.#file.stat()))) throw changed();
      this.#sha256 = hash.digest("hex");
    } finally {
      pass.resolve();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pass;
    this.#file.close();
  }
}

/** A file of this device as it was before it was read. */
export interface SeenFile {
  readonly info: Deno.FileInfo;
  /** When `info` was read, or just before, in milliseconds since 1970. */
  readonly lookedAt: number;
}

/**
 * Whether a file certainly is the one that was seen, unchanged: any change, even one that is made
 * in the same second as the last one, would show.
 */
export function isAsSeen(now: Deno.FileInfo, { info, lookedAt }: SeenFile): boolean {
  const state = stateOf(info);
  // A time in the future comes from a clock that was wrong: a change since then would show.
  const wouldShow = isSettled(state, lookedAt) || Date.now() < Number(info.ctime);
  return wouldShow && isUnchanged(state, stateOf(now));
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
