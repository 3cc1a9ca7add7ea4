/**
 * The file that an upload reads.
 *
 * @module
 */

import { createHash } from "node:crypto";
import type { BodyOut } from "../base/body/bodies.ts";
import { BodyIter } from "../base/body/body_iter.ts";
import { type FileState, isOverwritten } from "./file_state.ts";
import { hashPieces, readPieces } from "./file_pieces.ts";
import { changedWhileMoved } from "./transfer_error.ts";

/** A file of at most this many bytes is read once, and hashed and sent from memory. */
const SMALL_BYTES = 1048576;

/** A regular file, which must not change while it is open. */
export class SourceFile implements AsyncDisposable {
  /** In bytes, when it was opened; what is appended later is ignored. */
  readonly size: number;
  readonly #path: string;
  readonly #file: Deno.FsFile;
  readonly #state: FileState;
  #content: Uint8Array | null = null;
  // A file has one position: one pass over it at a time.
  #pass: Promise<void> = Promise.resolve();

  private constructor(path: string, file: Deno.FsFile, info: Deno.FileInfo) {
    this.#path = path;
    this.#file = file;
    this.#state = stateOf(info);
    this.size = info.size;
  }

  /**
   * Opens a file.
   *
   * @throws {Deno.errors.IsADirectory} if it is a directory.
   * @throws {RangeError} if it is not a regular file.
   */
  static async open(path: string): Promise<SourceFile> {
    // Before it is opened: opening a FIFO would block.
    checkRegular(path, await Deno.stat(path));
    const file = await Deno.open(path, { read: true });
    try {
      const info = await file.stat();
      checkRegular(path, info);
      return new SourceFile(path, file, info);
    } catch (error) {
      file.close();
      throw error;
    }
  }

  /** Hashes the whole file; resolves to its SHA-256 as lower-case hexadecimal digits. */
  async hash(signal: AbortSignal | undefined): Promise<string> {
    const hash = createHash("sha256");
    const content = await this.#readSmall();
    if (content !== null) hash.update(content);
    else await hashPieces(this.#pieces(0, () => {}), hash, signal);
    return hash.digest("hex");
  }

  /**
   * Returns a body of the bytes from `offset` on; sending it fails if the file has changed.
   *
   * @param sent Called after each piece with how many bytes it had.
   */
  async body(offset: number, sent: (count: number) => void): Promise<BodyOut> {
    const content = await this.#readSmall();
    if (content === null) return new BodyIter(this.#pieces(offset, sent), this.size - offset);
    return content.subarray(offset);
  }

  async #readSmall(): Promise<Uint8Array | null> {
    if (this.#content !== null || this.size > SMALL_BYTES) return this.#content;
    const content = new Uint8Array(this.size);
    let length = 0;
    for await (const piece of this.#pieces(0, () => {})) {
      content.set(piece, length);
      length += piece.length;
    }
    return this.#content = content;
  }

  async *#pieces(
    start: number,
    sent: (count: number) => void,
  ): AsyncGenerator<Uint8Array, void, void> {
    const earlier = this.#pass;
    const pass = Promise.withResolvers<void>();
    this.#pass = pass.promise;
    try {
      await earlier;
      const changed = () => changedWhileMoved(this.#path);
      for await (const piece of readPieces(this.#file, start, this.size, changed)) {
        const { length } = piece;
        yield piece;
        sent(length);
      }
      // Before the last piece is sent, for which a body waits until this has ended.
      if (isOverwritten(this.#state, stateOf(await this.#file.stat()))) throw changed();
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
