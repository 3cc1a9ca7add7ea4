import { withPath } from "../../internal/caught_errors.ts";
import { pause } from "../../internal/pause.ts";
import { Buffer } from "node:buffer";
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { type FileIdentity, isMissingPathError, isSameFile, lstatOrNull } from "./names.ts";

/**
 * A time that `Date` can't hold is an invalid date. Deno truncates `mtime` to milliseconds, and
 * `ctime`, which can't be set, to seconds.
 */
export type FileStats = Pick<
  Deno.FileInfo,
  "dev" | "ino" | "nlink" | "size" | "blocks" | "mtime" | "ctime"
>;

export type OpenFileStats = FileStats & Pick<Deno.FileInfo, "isFile" | "mode">;

/**
 * Returns the metadata of an open file, without the option `bigint`: with this option, functions of
 * `node:fs` throw for a time that `Date` can't hold. Asynchronous functions throw in a callback,
 * which ends the process.
 */
export function statOpenFile(file: number): OpenFileStats {
  const stats = fstatSync(file);
  const { dev, ino, nlink, size, blocks, mode } = stats;
  // Make dates from the numbers, which are equal to Deno's times: the dates of `node:fs` are
  // rounded.
  const [mtime, ctime] = [new Date(stats.mtimeMs), new Date(stats.ctimeMs)];
  return { dev, ino, nlink, size, blocks, mode, mtime, ctime, isFile: stats.isFile() };
}

export interface OpenFile {
  readonly handle: FileHandle;
  readonly path: string;
  readonly size: number;
  readonly stats: FileStats;
  readonly mode: number | null;
  /** A time shortly before `stats` was read, or the same time, in milliseconds since 1970. */
  readonly checkedAt: number;
}

/**
 * The time since the last change after which the times of a file identify its version. Clocks of
 * file systems advance in steps of some milliseconds, and Deno truncates ctime to seconds. So after
 * two changes within this time, a file can have the same times.
 */
export const SETTLED_MILLISECONDS = 2000;

/** Reports whether a change after `checkedAt` would change the times of a file. */
export function isSettled({ ctime }: Pick<FileStats, "ctime">, checkedAt: number): boolean {
  return Number(ctime) + SETTLED_MILLISECONDS <= checkedAt;
}

export function fileVersionOf({ dev, ino, size, mtime, ctime }: FileStats): string {
  return [dev, ino ?? 0, size, Number(mtime), Number(ctime)]
    .map((part) => Number.isNaN(part) ? "" : part.toString(16))
    .join("-");
}

const ETAG_PATTERN = /^"([0-9a-f]+)-([0-9a-f]+)-[0-9a-f-]+"$/;

export function isOtherFile(etag: string, path: string): boolean {
  const [, dev, ino] = ETAG_PATTERN.exec(etag) ?? [];
  if (dev === undefined) return false;
  const info = Deno.lstatSync(path);
  return dev !== info.dev.toString(16) || ino !== (info.ino ?? 0).toString(16);
}

export function isUnchanged(firstStats: FileStats, lastStats: FileStats): boolean {
  return isSameVersion(firstStats, lastStats) && isEqualTime(firstStats.ctime, lastStats.ctime);
}

/** Ignores ctime, which also changes if a file gets other permission bits or another name. */
export function isSameVersion(firstStats: FileStats, lastStats: FileStats): boolean {
  return isSameFile(firstStats, lastStats) && firstStats.size === lastStats.size &&
    isEqualTime(firstStats.mtime, lastStats.mtime);
}

/** Reports whether two times are equal, or neither can be represented. */
export function isEqualTime(time: Date | null, otherTime: Date | null): boolean {
  return Object.is(Number(time), Number(otherTime));
}

/**
 * Logs grow all the time, so a file that has grown doesn't count as overwritten. Only a digest
 * shows whether it was also overwritten, or whether a file that got or lost a name was.
 *
 * @param path The path of the file.
 */
export function isOverwritten(firstStats: FileStats, lastStats: FileStats, path: string): boolean {
  if (lastStats.size > firstStats.size) return false;
  if (lastStats.size < firstStats.size || !isEqualTime(firstStats.mtime, lastStats.mtime)) {
    return true;
  }
  // Linking, renaming and removing a file, or renaming another over it, change ctime but no bytes.
  // Overwriting bytes and setting mtime back also changes ctime.
  if (isEqualTime(firstStats.ctime, lastStats.ctime)) return false;
  return (lastStats.nlink ?? 1) === (firstStats.nlink ?? 1) && isAtPath(path, lastStats);
}

function isAtPath(path: string, identity: FileIdentity): boolean {
  try {
    return isSameFile(Deno.statSync(path), identity);
  } catch (error) {
    return !isMissingPathError(error);
  }
}

export const FILE_PIECE_BYTES = 2097152;
/**
 * The length of each of the two buffers for a served file. A server may read many files at the same
 * time.
 */
export const SERVED_PIECE_BYTES = 524288;

/**
 * Each piece is valid until the next piece is requested. The last piece stays valid unless
 * `isPooled` is set. While a piece is in use, the next piece is being read.
 */
export async function* readPieces(
  file: Deno.FsFile | FileHandle,
  start: number,
  stop: number,
  makeTooShortError: () => Error,
  { onPiece = () => {}, firstPiece = new Uint8Array(0), isPooled = false }: {
    /**
     * Called with each piece as soon as it has been read. The previous piece may still be in use.
     */
    readonly onPiece?: (piece: Uint8Array) => void;
    /** The bytes from `start` on, if the caller has read them. Their buffer is used again. */
    readonly firstPiece?: Uint8Array;
    /**
     * True if the caller uses each piece, also the last, only until it requests the next piece or
     * ends the reading. The buffers are then used again for other files.
     */
    readonly isPooled?: boolean;
  } = {},
): AsyncGenerator<Uint8Array, void, void> {
  let position = start + firstPiece.length;
  // A `Deno.FsFile` is read from its current position, a handle from any position.
  const isFsFile = file instanceof Deno.FsFile;
  const maxSize = isPooled ? POOLED_BYTES : isFsFile ? FILE_PIECE_BYTES : SERVED_PIECE_BYTES;
  const size = Math.min(maxSize, stop - position);
  const makeBuffer = () => isPooled ? takeBuffer(size) : new Uint8Array(size);
  let buffer: Uint8Array = makeBuffer();
  let otherBuffer: Uint8Array = new Uint8Array(0);
  const readPiece = async () => {
    const destination = buffer.subarray(0, (stop - position) % size || size);
    const count = isFsFile
      ? await file.read(destination) ?? 0
      : (await file.read(destination, 0, destination.length, position)).bytesRead;
    if (count === 0) throw makeTooShortError();
    onPiece(destination.subarray(0, count));
    return count;
  };
  // Synchronous, because a seek doesn't use the disk.
  if (isFsFile && position < stop) file.seekSync(position, Deno.SeekMode.Start);
  let pendingRead: Promise<number> | null = null;
  try {
    if (firstPiece.length > 0) {
      onPiece(firstPiece);
      pendingRead = position < stop ? readPiece() : null;
      // The error is handled where the promise is awaited.
      pendingRead?.catch(() => {});
      yield firstPiece;
      if (firstPiece.length >= size) otherBuffer = firstPiece.subarray(0, size);
    }
    while (position < stop) {
      const count = await (pendingRead ?? readPiece());
      const piece = buffer.subarray(0, count);
      position += count;
      if (otherBuffer.length === 0 && position < stop) otherBuffer = makeBuffer();
      [buffer, otherBuffer] = [otherBuffer, buffer];
      if (position < stop) {
        pendingRead = readPiece();
        pendingRead.catch(() => {});
      }
      yield piece;
    }
  } finally {
    // Wait, because a read in progress uses its buffer and the position of the file.
    await pendingRead?.catch(() => {});
    if (isPooled) {
      releaseBuffer(buffer);
      releaseBuffer(otherBuffer);
    }
  }
}

/**
 * Opening doesn't follow a link, and opening a FIFO, which may just have replaced a file, does not
 * wait for a writer.
 */
export const READ_FLAGS = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW;

/**
 * Reads a small file synchronously; returns `null` if the file was replaced, is larger than the
 * buffer, or is being written.
 */
export function readSmallFile(
  path: string,
  identity: FileIdentity,
  buffer: Uint8Array,
): OpenFileStats | null {
  const smallFile = openSmallFile(path, identity, buffer);
  if (smallFile === null) return null;
  closeSync(smallFile.file);
  return smallFile.stats;
}

/** Reads a small file as {@linkcode readSmallFile} does, but doesn't close it. */
export function openSmallFile(
  path: string,
  identity: FileIdentity,
  buffer: Uint8Array,
): { readonly file: number; readonly stats: OpenFileStats; readonly isAtPath: boolean } | null {
  const file = openSync(path, READ_FLAGS);
  let isRead = false;
  try {
    const stats = statOpenFile(file);
    if (!isSameFile(stats, identity) || !readOpenSmallFile(file, stats, buffer)) return null;
    // `lstat` takes 2.8 µs of processor time, a second `fstat` would take 6.6 µs (Deno 2.9.6).
    const info = lstatOrNull(path);
    const isAtPath = info !== null && isSameFile(info, stats);
    isRead = isUnchanged(stats, isAtPath ? info : statOpenFile(file));
    return isRead ? { file, stats, isAtPath } : null;
  } catch (error) {
    throw withPath(error, "read", path);
  } finally {
    if (!isRead) closeSync(file);
  }
}

const SIZE_CHECKS = 3;
const SIZE_CHECK_MILLISECONDS = 10;

/**
 * Reports whether an open file has content, although its size is 0, as the files of `/proc` have.
 * Another program may truncate a file and write to it at any moment, so each of several checks
 * must find content without a size.
 */
export async function isWithoutSize(
  readSize: () => number,
  hasContent: () => Promise<boolean>,
): Promise<boolean> {
  for (let check = 1; readSize() === 0 && await hasContent() && readSize() === 0; check++) {
    if (check === SIZE_CHECKS) return true;
    await pause(SIZE_CHECK_MILLISECONDS);
  }
  return false;
}

/** The error of a small file that has content and the size 0: see {@linkcode isWithoutSize}. */
export class NoSizeError extends Error {}

/**
 * If the file has changed within the last two seconds, its times don't show another change: such a
 * file is read twice, and both reads must return the same bytes.
 */
function readOpenSmallFile(file: number, stats: OpenFileStats, buffer: Uint8Array): boolean {
  const { size } = stats;
  if (!stats.isFile || size > buffer.length) return false;
  if (size === 0 && readSync(file, buffer, 0, 1, 0) > 0) throw new NoSizeError();
  const bytes = buffer.subarray(0, size);
  const wasSettled = isSettled(stats, Date.now());
  if (!readFully(file, bytes)) return false;
  if (!wasSettled) {
    const secondBytes = new Uint8Array(size);
    if (!readFully(file, secondBytes) || Buffer.compare(bytes, secondBytes) !== 0) return false;
  }
  return true;
}

function readFully(file: number, buffer: Uint8Array): boolean {
  for (let length = 0; length < buffer.length;) {
    const count = readSync(file, buffer, length, buffer.length - length, length);
    if (count === 0) return false;
    length += count;
  }
  return true;
}

export const POOLED_BYTES = 524288;
/** The size below which making a buffer takes less time than reading and hashing its bytes. */
const MIN_POOLED_BYTES = 65536;
/** The maximum number of unused buffers, so that a server keeps at most 4 MiB. */
const MAX_UNUSED_BUFFERS = 8;

/**
 * A pool of buffers for the bytes of files: allocating a buffer can take as long as hashing its
 * bytes.
 *
 * Only bytes that are hashed or written to a file are read into these buffers. A body never gets
 * them, because an app or a socket may still have a view of the buffer after an error.
 */
const unusedBuffers: ArrayBufferLike[] = [];

/** @param size The minimum length, at most {@linkcode POOLED_BYTES}. The content is arbitrary. */
export function takeBuffer(size: number): Uint8Array {
  if (size < MIN_POOLED_BYTES) return new Uint8Array(size);
  return new Uint8Array(unusedBuffers.pop() ?? new ArrayBuffer(POOLED_BYTES));
}

/** The caller must not use any view of the buffer again. */
export function releaseBuffer({ buffer }: Uint8Array): void {
  if (buffer.byteLength === POOLED_BYTES && unusedBuffers.length < MAX_UNUSED_BUFFERS) {
    unusedBuffers.push(buffer);
  }
}
