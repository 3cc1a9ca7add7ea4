/** The files of this device that are sent, and the detection of changes of such files. */

import { BodyIter, type Chunk, ChunkedBodyIter } from "../../base.ts";
import { notAllowedError } from "../../internal/checks.ts";
import type { Hash } from "node:crypto";
import { EMPTY_BYTES } from "../../internal/bytes.ts";
import { pause } from "../../internal/pause.ts";
import { DIGEST_KEY, hashOfText, hashPrefix, newHash } from "../digest.ts";
import { type FileStats, fileVersion, isSettled, isUnchanged, readPieces } from "../file_pieces.ts";
import { bitsOf } from "../modes.ts";
import type { ProgressMeter } from "../options.ts";
import { changedWhileCopiedError, type TransferError } from "../transfer_error.ts";

/** The number of bytes at the end of a file that are held back while the file is read again. */
const HELD_BYTES = 65536;
/** A server waits at least a second for the next byte. */
const HELD_BYTE_MILLISECONDS = 400;

/**
 * A regular file that is sent only if all its bytes are of one version.
 *
 * If the metadata of the file has changed at the end, the file is read again. If both readings have
 * the same bytes, the file had these bytes between the readings. So a file may grow while it is
 * sent.
 *
 * Deno cuts ctime to seconds, so that the times of a file that was changed just before don't show
 * another change. Bytes that were read in that time are read again, and the file has no version.
 */
export class SourceFile implements AsyncDisposable {
  /** Bytes that the file had when it was opened; bytes that are appended later are ignored. */
  readonly size: number;
  /** The permission bits of the file when it was opened. */
  readonly mode: number | null;
  /**
   * The name of this version of the file, 64 hexadecimal digits. If {@linkcode isSettled}, no other
   * version of any file on this device has the same name.
   */
  readonly version: string;
  readonly #path: string;
  readonly #file: Deno.FsFile;
  readonly #stats: FileStats;
  /** The metadata of the file when it was opened. */
  readonly seen: FileSnapshot;
  /**
   * Whether the last change was so long before the file was opened that another change would show.
   */
  readonly isSettled: boolean;
  #sha256: string | null = null;
  /** The hash of the prefix that was compared. */
  #prefix: { readonly length: number; readonly hash: Hash } | null = null;
  // A file has one position: one pass over it at a time.
  #pass: Promise<void> = Promise.resolve();

  private constructor(path: string, file: Deno.FsFile, info: Deno.FileInfo, checkedAt: number) {
    this.#path = path;
    this.#file = file;
    this.#stats = statsOf(info);
    this.seen = { info, checkedAt };
    this.isSettled = isSettled(this.#stats, checkedAt);
    this.size = info.size;
    this.mode = bitsOf(info.mode);
    this.version = hashOfText(fileVersion(this.#stats));
  }

  static async open(path: string): Promise<SourceFile> {
    // The check and opening are in one turn: opening a FIFO would wait for a writer.
    checkRegular(path, Deno.statSync(path));
    const file = Deno.openSync(path, { read: true });
    try {
      const checkedAt = Date.now();
      const info = await file.stat();
      checkRegular(path, info);
      return new SourceFile(path, file, info, checkedAt);
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

  /** Returns a body of the missing bytes; sending the body fails if the file has changed. */
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
    const prefixHash = this.#prefix?.length === offset ? this.#prefix.hash.copy() : null;
    const hash = prefixHash ?? await this.#hashTo(offset, signal);
    return new ChunkedBodyIter(this.#chunks(this.#sending(offset, hash, meter)));
  }

  /** Hashes a prefix of the file; resolves to its SHA-256 as hexadecimal digits. */
  async hashPrefix(length: number, signal: AbortSignal | undefined): Promise<string> {
    await this.#pass;
    const hash = await this.#hashTo(length, signal);
    this.#prefix = { length, hash };
    return hash.copy().digest("hex");
  }

  /** Begins the hash of the whole file with the bytes before an offset. */
  async #hashTo(offset: number, signal?: AbortSignal): Promise<Hash> {
    return await hashPrefix(this.#file, offset, () => this.changedError(), signal);
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
    yield [[DIGEST_KEY, this.#sha256!], EMPTY_BYTES];
  }

  /**
   * Yields the bytes from `start` on; throws before the last bytes if the bytes are of more than
   * one version.
   *
   * @param hash The hash of the bytes before `start`; the yielded bytes are added.
   */
  async *#pieces(start: number, hash: Hash): AsyncGenerator<Uint8Array, void, void> {
    const earlier = this.#pass;
    const pass = Promise.withResolvers<void>();
    this.#pass = pass.promise;
    try {
      await earlier;
      // The bytes that were read while a change would not have shown, and their hash.
      let unsettled = this.isSettled
        ? { bytes: 0, hash: newHash() }
        : { bytes: start, hash: hash.copy() };
      let position = start;
      let checkedAt = Date.now();
      const onPiece = (piece: Uint8Array) => {
        hash.update(piece);
        position += piece.length;
        // The read began when the piece before had arrived, or later.
        if (!isSettled(this.#stats, checkedAt)) {
          unsettled = { bytes: position, hash: hash.copy() };
        }
        checkedAt = Date.now();
      };
      let remaining = this.size - start;
      let lastPiece: Uint8Array = EMPTY_BYTES;
      const tooShort = () => this.changedError();
      for await (const piece of readPieces(this.#file, start, this.size, tooShort, onPiece)) {
        remaining -= piece.length;
        if (remaining > 0) yield piece;
        else lastPiece = piece;
      }
      yield* yieldAfter((signal) => this.#check(hash, unsettled, signal), lastPiece);
    } finally {
      pass.resolve();
    }
  }

  /**
   * Checks that all bytes are of one version, and keeps their hash.
   *
   * @param hash The hash of all bytes of the file.
   * @param unsettled The bytes that may have changed without a change of the metadata.
   */
  async #check(
    hash: Hash,
    unsettled: { readonly bytes: number; readonly hash: Hash },
    signal: AbortSignal,
  ): Promise<void> {
    const sha256 = hash.copy().digest("hex");
    if (this.#sha256 === null) {
      const { bytes, hash: firstHash } = this.hasChanged ? { bytes: this.size, hash } : unsettled;
      const secondHash = await this.#hashTo(bytes, signal);
      this.#sha256 = secondHash.digest("hex") === firstHash.digest("hex") ? sha256 : null;
    }
    if (this.#sha256 !== sha256) throw this.changedError();
  }

  /** Whether the metadata of the file has changed since the file was opened. */
  get hasChanged(): boolean {
    // Synchronously: the stat of an open file takes far less time than a tick of the event loop.
    return !isUnchanged(this.#stats, statsOf(this.#file.statSync()));
  }

  changedError(): TransferError {
    return changedWhileCopiedError(this.#path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pass;
    this.#file.close();
  }
}

/**
 * Yields the last bytes of a file after a check has passed. During a long check, some of these
 * bytes are yielded one by one, so that the server continues to wait for the remaining bytes.
 */
async function* yieldAfter(
  check: (signal: AbortSignal) => Promise<void>,
  bytes: Uint8Array,
): AsyncGenerator<Uint8Array, void, void> {
  const abortController = new AbortController();
  const { signal } = abortController;
  const checkPassed = check(signal).then(() => true);
  try {
    let remainder = bytes;
    const isChecked = () =>
      Promise.race([checkPassed, pause(HELD_BYTE_MILLISECONDS, signal).then(() => false)]);
    while (!await isChecked()) {
      const count = Math.max(1, remainder.length - HELD_BYTES);
      if (remainder.length > 0) yield remainder.subarray(0, count);
      remainder = remainder.subarray(count);
    }
    if (remainder.length > 0) yield remainder;
  } finally {
    abortController.abort();
    // The file must not be closed or read from another position before the check has ended.
    await checkPassed.catch(() => {});
  }
}

/** The metadata of a local file before the file was read. */
export interface FileSnapshot {
  readonly info: Deno.FileInfo;
  /** The time when `info` was read, or just before, in milliseconds since 1970. */
  readonly checkedAt: number;
}

/**
 * Reports whether a file is certainly unchanged since a snapshot. A change would show even if it
 * was made in the same second as the change before.
 */
export function isUnchangedSince(
  currentInfo: Deno.FileInfo,
  { info, checkedAt }: FileSnapshot,
): boolean {
  const stats = statsOf(info);
  // A time in the future comes from a clock that was wrong: a change since then would show.
  const wouldShow = isSettled(stats, checkedAt) || Date.now() < Number(info.ctime);
  return wouldShow && isUnchanged(stats, statsOf(currentInfo));
}

function checkRegular(path: string, { isFile, isDirectory }: Deno.FileInfo): void {
  if (isDirectory) {
    throw new Deno.errors.IsADirectory(
      `file: ${path} is a directory; upload its files one by one`,
    );
  }
  if (!isFile) throw notAllowedError("file", `${path} must be a regular file`);
}

function statsOf({ dev, ino, nlink, size, mtime, ctime }: Deno.FileInfo): FileStats {
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
