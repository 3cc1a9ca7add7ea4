import { BodyIter } from "../../base.ts";
import { notAllowedError } from "../../internal/checks.ts";
import { pause } from "../../internal/pause.ts";
import { withPath } from "../../internal/caught_errors.ts";
import type { Hash } from "node:crypto";
import { hashPrefix, hashText, makeHash, SHA256_BYTES } from "../wire/digest.ts";
import {
  FILE_PIECE_BYTES,
  fileVersionOf,
  isOverwritten,
  isSettled,
  isUnchanged,
  isWithoutSize,
  type OpenFileStats,
  readPieces,
  takeBuffer,
} from "../disk/file_pieces.ts";
import { permissionBitsOf } from "../wire/metadata.ts";
import type { ProgressMeter } from "../options.ts";
import { TransferError } from "../errors.ts";
import { changedWhileCopiedError, noSizeError } from "../transfer_error.ts";

const MAX_SNAPSHOT_ATTEMPTS = 3;
/**
 * The number of last bytes that are held back until the file was read again, or the stream has
 * ended. Sent one by one, they keep the server from timing out for seven hours.
 */
export const HELD_BACK_BYTES = 65536;
/** Shorter than the minimum time-out of a server, one second. */
export const HELD_BYTE_INTERVAL_MILLISECONDS = 400;

/**
 * A regular file that is sent only if all its bytes are of one version.
 *
 * The version is determined just before the first read, because a request to the server may take a
 * long time after the file was opened. If the metadata of the file have changed at the end, the
 * file is read again. If both passes read the same bytes, the file had these bytes between the
 * passes. So a file may grow while it is sent.
 *
 * Deno cuts ctime to seconds. If a file was just changed, its times don't show another change. So
 * bytes that were read in the same second as the last change are read again, and the file has no
 * version.
 */
export class SourceFile implements AsyncDisposable {
  readonly #path: string;
  readonly #file: Deno.FsFile;
  #snapshot: FileSnapshot;
  #version: string;
  /**
   * The first bytes, and a time before they were read, until a pass uses them; `null` before
   * {@linkcode takeSnapshot} and after the use.
   */
  #firstPiece: { readonly bytes: Uint8Array; readonly checkedAt: number } | null = null;
  #snapshotTaken: Promise<void> | null = null;
  #snapshotOffset = 0;
  #sha256: string | null = null;
  #comparedPrefix: { readonly length: number; readonly hash: Hash } | null = null;
  // Passes run one after the other, because an open file has only one position.
  #lastPassEnded: Promise<void> = Promise.resolve();

  private constructor(path: string, file: Deno.FsFile, snapshot: FileSnapshot) {
    this.#path = path;
    this.#file = file;
    this.#snapshot = snapshot;
    this.#version = hashText(fileVersionOf(snapshot.info));
  }

  static open(path: string): SourceFile {
    // Check and open without an `await`: opening a FIFO would wait for a writer.
    checkRegular(path, Deno.statSync(path));
    const file = Deno.openSync(path, { read: true });
    try {
      const checkedAt = Date.now();
      // Synchronous: the stat of an open file takes less time than a tick of the event loop.
      const info = file.statSync();
      checkRegular(path, info);
      return new SourceFile(path, file, { info, checkedAt });
    } catch (error) {
      file.close();
      throw withPath(error, "stat", path);
    }
  }

  get snapshot(): FileSnapshot {
    return this.#snapshot;
  }

  /** Bytes that are appended later are ignored. */
  get size(): number {
    return this.#snapshot.info.size;
  }

  get mode(): number | null {
    return permissionBitsOf(this.#snapshot.info.mode);
  }

  /**
   * If {@linkcode isSettled} is true, no other version of any file on this device has the same id.
   */
  get version(): string {
    return this.#version;
  }

  get isSettled(): boolean {
    return isSettled(this.#snapshot.info, this.#snapshot.checkedAt);
  }

  get sha256(): string | null {
    return this.#sha256;
  }

  /**
   * Call this method before the headers of a request are made. A further call has an effect only
   * with another offset.
   *
   * @param offset The position of the first byte to send. If it is not 0, no byte is read. By
   * default the offset of the last call, or 0.
   * @param isHashedOnly True if the first bytes are probably hashed, and not sent.
   */
  takeSnapshot(offset?: number, isHashedOnly = false): Promise<void> {
    if (this.#snapshotTaken === null || offset !== undefined && offset !== this.#snapshotOffset) {
      this.#snapshotOffset = offset ?? 0;
      this.#snapshotTaken = this.#tryTakeSnapshot(this.#snapshotOffset, isHashedOnly).catch(
        (error) => {
          throw withPath(error, "read", this.#path);
        },
      );
    }
    return this.#snapshotTaken;
  }

  async #tryTakeSnapshot(offset: number, isHashedOnly: boolean): Promise<void> {
    for (let attempt = 1; attempt <= MAX_SNAPSHOT_ATTEMPTS; attempt++) {
      const checkedAt = Date.now();
      const info = this.#file.statSync();
      checkRegular(this.#path, info);
      this.#setVersion({ info, checkedAt });
      if (offset > 0) return;
      // Read a byte of an empty file: the files of some file systems have content, but no size.
      const size = Math.max(info.size, 1);
      const buffer = isHashedOnly
        ? takeBuffer(size).subarray(0, size)
        : new Uint8Array(Math.min(FILE_PIECE_BYTES, size));
      this.#file.seekSync(0, Deno.SeekMode.Start);
      const count = await this.#file.read(buffer) ?? 0;
      const currentInfo = this.#file.statSync();
      if (count > 0 && info.size === 0 && await this.#isWithoutSize()) {
        throw noSizeError(this.#path);
      }
      if (count > 0 !== info.size > 0) continue;
      const isGrowing = attempt === MAX_SNAPSHOT_ATTEMPTS &&
        !isOverwritten(info, currentInfo, this.#path);
      if (!isGrowing && !isUnchanged(info, currentInfo)) continue;
      // If the file grows all the time, take its later time: the bytes may be newer than `info`,
      // and new content with an old time would count as unchanged.
      this.#setVersion({ info: { ...currentInfo, size: info.size }, checkedAt });
      this.#firstPiece = { bytes: buffer.subarray(0, count), checkedAt };
      return;
    }
    throw this.changedError();
  }

  #isWithoutSize(): Promise<boolean> {
    return isWithoutSize(() => this.#file.statSync().size, async () => {
      this.#file.seekSync(0, Deno.SeekMode.Start);
      return await this.#file.read(new Uint8Array(1)) !== null;
    });
  }

  #setVersion(snapshot: FileSnapshot): void {
    if (isUnchanged(this.#snapshot.info, snapshot.info)) return;
    this.#snapshot = snapshot;
    this.#version = hashText(fileVersionOf(snapshot.info));
    this.#sha256 = null;
    this.#comparedPrefix = null;
  }

  async hash(signal: AbortSignal | undefined): Promise<string> {
    if (this.#sha256 !== null) return this.#sha256;
    await this.takeSnapshot(undefined, true);
    for await (const _ of this.#readPieces(0, makeHash(), true, signal)) signal?.throwIfAborted();
    signal?.throwIfAborted();
    return this.#sha256!;
  }

  /**
   * Makes a body of the remaining bytes, after {@linkcode takeSnapshot}, and the SHA-256 of the
   * whole file. Sending the body fails if the file has changed.
   */
  async makeBody(meter: ProgressMeter, signal: AbortSignal | undefined): Promise<BodyIter> {
    const { start } = meter;
    await this.#lastPassEnded;
    const hash = await this.#findOrHashPrefix(start, signal);
    const length = this.size - start + SHA256_BYTES;
    return new BodyIter(this.#readMetered(hash, meter), length);
  }

  async hashPrefix(length: number, signal: AbortSignal | undefined): Promise<string> {
    await this.takeSnapshot(length);
    await this.#lastPassEnded;
    const hash = await this.#hashUpTo(length, signal);
    const { info, checkedAt } = this.#snapshot;
    const currentInfo = this.#file.statSync();
    if (isOverwritten(info, currentInfo, this.#path)) throw this.changedError();
    // If the file has grown, its prefix may be newer than `info`.
    this.#setVersion({ info: { ...currentInfo, size: info.size }, checkedAt });
    this.#comparedPrefix = { length, hash };
    return hash.copy().digest("hex");
  }

  async #findOrHashPrefix(length: number, signal: AbortSignal | undefined): Promise<Hash> {
    return this.#comparedPrefix?.length === length
      ? this.#comparedPrefix.hash.copy()
      : await this.#hashUpTo(length, signal);
  }

  async #hashUpTo(offset: number, signal?: AbortSignal): Promise<Hash> {
    try {
      return await hashPrefix(this.#file, offset, () => this.changedError(), signal);
    } catch (error) {
      // The error may be the reason of the caller.
      signal?.throwIfAborted();
      throw withPath(error, "read", this.#path);
    }
  }

  async *#readMetered(hash: Hash, meter: ProgressMeter): AsyncGenerator<Uint8Array, void, void> {
    for await (const piece of this.#readPieces(meter.start, hash)) {
      yield piece;
      meter.add(piece.length);
    }
    yield Uint8Array.fromHex(this.#sha256!);
  }

  /**
   * Yields the bytes from `start` on; throws before the last bytes if the bytes are of more than
   * one version.
   *
   * @param hash The hash of the bytes before `start`; the yielded bytes are added.
   * @param isHashedOnly True if the pieces are not used, so that the last piece is not yielded, and
   * the buffers are used again.
   * @param signal Stops the check of the bytes if they are only hashed.
   */
  async *#readPieces(
    start: number,
    hash: Hash,
    isHashedOnly = false,
    signal?: AbortSignal,
  ): AsyncGenerator<Uint8Array, void, void> {
    const previousPass = this.#lastPassEnded;
    const ownPass = Promise.withResolvers<void>();
    this.#lastPassEnded = ownPass.promise;
    try {
      await previousPass;
      // The bytes that were read while the times of the file would not have shown a change.
      let unsettledPrefix = this.isSettled
        ? { bytes: 0, hash: makeHash() }
        : { bytes: start, hash: hash.copy() };
      let position = start;
      const firstPiece = start === 0 ? this.#firstPiece : null;
      this.#firstPiece = null;
      const { info } = this.#snapshot;
      let checkedAt = firstPiece?.checkedAt ?? Date.now();
      const onPiece = (piece: Uint8Array) => {
        hash.update(piece);
        position += piece.length;
        // `checkedAt` is a time before this piece was read.
        if (!isSettled(info, checkedAt)) {
          unsettledPrefix = { bytes: position, hash: hash.copy() };
        }
        checkedAt = Date.now();
      };
      let remainingBytes = this.size - start;
      let lastPiece: Uint8Array = new Uint8Array(0);
      const makeTooShortError = () => this.changedError();
      const pieces = readPieces(this.#file, start, this.size, makeTooShortError, {
        onPiece,
        firstPiece: firstPiece?.bytes ?? new Uint8Array(0),
        isPooled: isHashedOnly,
      });
      for await (const piece of pieces) {
        remainingBytes -= piece.length;
        if (remainingBytes > 0) yield piece;
        else lastPiece = piece;
      }
      if (isHashedOnly) return await this.#checkVersion(hash, unsettledPrefix, signal);
      yield* yieldAfterCheck(
        (signal) => this.#checkVersion(hash, unsettledPrefix, signal),
        lastPiece,
      );
    } catch (error) {
      signal?.throwIfAborted();
      throw withPath(error, "read", this.#path);
    } finally {
      ownPass.resolve();
    }
  }

  /**
   * @param unsettledPrefix The bytes that may have changed although the times of the file are the
   * same.
   */
  async #checkVersion(
    hash: Hash,
    unsettledPrefix: { readonly bytes: number; readonly hash: Hash },
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const sha256 = hash.copy().digest("hex");
    if (this.#sha256 === null) {
      const { bytes, hash: firstHash } = this.hasChanged()
        ? { bytes: this.size, hash }
        : unsettledPrefix;
      const secondHash = await this.#hashUpTo(bytes, signal);
      this.#sha256 = secondHash.digest("hex") === firstHash.digest("hex") ? sha256 : null;
    }
    if (this.#sha256 !== sha256) throw this.changedError();
  }

  hasChanged(): boolean {
    return !isUnchanged(this.#snapshot.info, this.#file.statSync());
  }

  changedError(): TransferError {
    return changedWhileCopiedError(this.#path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#snapshotTaken?.catch(() => {});
    await this.#lastPassEnded;
    this.#file.close();
  }
}

/** During a long check, some bytes are yielded one by one, so that the server doesn't time out. */
async function* yieldAfterCheck(
  check: (signal: AbortSignal) => Promise<void>,
  bytes: Uint8Array,
): AsyncGenerator<Uint8Array, void, void> {
  const abortController = new AbortController();
  const { signal } = abortController;
  const checkPassed = check(signal).then(() => true);
  try {
    let remainder = bytes;
    const waitForCheck = () =>
      Promise.race([checkPassed, pause(HELD_BYTE_INTERVAL_MILLISECONDS, signal).then(() => false)]);
    while (!await waitForCheck()) {
      const count = Math.max(1, remainder.length - HELD_BACK_BYTES);
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

export interface FileSnapshot {
  readonly info: OpenFileStats;
  /** The time just before `info` was read, in milliseconds since 1970. */
  readonly checkedAt: number;
}

/** The result is false if another change could have the same times as the last change. */
export function isUnchangedSince(
  currentInfo: Deno.FileInfo,
  { info, checkedAt }: FileSnapshot,
): boolean {
  // A ctime in the future was set by a wrong clock. A later change would get another ctime.
  const isChangeVisible = isSettled(info, checkedAt) || Date.now() < Number(info.ctime);
  return isChangeVisible && isUnchanged(info, currentInfo);
}

function checkRegular(path: string, info: Deno.FileInfo): void {
  if (info.isDirectory) {
    throw new Deno.errors.IsADirectory(
      `file: ${path} is a directory; upload it with uploadTree()`,
    );
  }
  if (!info.isFile) throw notAllowedError("file", `${path} must be a regular file`);
  if (!Number.isSafeInteger(info.size)) {
    const problem = "it has more than 2⁵³ − 1 bytes";
    throw new TransferError("BAD_METADATA", `${path}: ${problem}`, { problem });
  }
}
