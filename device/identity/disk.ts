/** Names and private files of a device. Paths have slashes, also on Windows. */

import { ignoreNotFound, withPath } from "../../internal/caught_errors.ts";
import { chmodSync, constants, lstatSync, unlinkSync } from "node:fs";
import { open } from "node:fs/promises";

export async function listNames(path: string): Promise<string[]> {
  return await ignoreNotFound(Array.fromAsync(Deno.readDir(path), ({ name }) => name)) ?? [];
}

/** Ignores a failure: the caller has a more important result, and what remains is removed later. */
export async function removeIfPossible(path: string, options?: Deno.RemoveOptions): Promise<void> {
  await ignoreNotFound(Deno.remove(path, options)).catch(() => {});
}

export function makeRandomSuffix(): string {
  return crypto.getRandomValues(new Uint8Array(8)).toHex();
}

/** The permission bits that node:fs reports for a file of Windows that is not read-only. */
const WRITABLE_MODE = 0o222;

/** First makes the replaced file writable, because Windows doesn't replace a read-only file. */
export function replaceFile(oldPath: string, newPath: string): void {
  if (Deno.build.os === "windows") {
    const mode = lstatSync(newPath, { throwIfNoEntry: false })?.mode ?? WRITABLE_MODE;
    if ((mode & WRITABLE_MODE) === 0) chmodSync(newPath, WRITABLE_MODE);
  }
  Deno.renameSync(oldPath, newPath);
}

/** Has no effect on Windows, which can't open directories. */
export async function syncDirectory(path: string): Promise<void> {
  if (Deno.build.os === "windows") return;
  // Without O_DIRECTORY, opening a FIFO in place of the directory would wait for a writer.
  const directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** A private file, which disposal removes unless it is marked as kept. */
export class PrivateFile implements Disposable {
  readonly path: string;
  readonly file: Deno.FsFile;
  isKept = false;

  constructor(path: string) {
    this.path = path;
    this.file = Deno.openSync(path, { write: true, createNew: true, mode: 0o600 });
  }

  sync(): Promise<void> {
    return this.file.sync().catch((error) => {
      throw withPath(error, "fsync", this.path);
    });
  }

  [Symbol.dispose](): void {
    // Not every file system removes an open file.
    this.file.close();
    if (this.isKept) return;
    try {
      unlinkSync(this.path);
    } catch {
      // The caller reports the error because of which the file is removed.
    }
  }
}
