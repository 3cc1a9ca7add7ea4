/**
 * A directory of state: one writer at a time, and every file is replaced atomically.
 *
 * @module
 */

import { join } from "node:path";
import { replacePrivateFile } from "../disk/files.ts";
import { ifPresent, randomSuffix, removeIfPossible, syncDirectory } from "../disk/names.ts";

/** Nobody needs longer for a few small files; a stopped process must not block all others. */
const LOCK_SECONDS = 10;
const RETRY_MILLISECONDS = 10;
/** The names of files that are still incomplete. */
const TEMPORARY = /^\.[0-9a-f]{16}$/;

/** A directory of small files that several processes use. */
export class StateDirectory {
  /** Its path. */
  readonly path: string;
  readonly #lockFile: string;
  #last: Promise<unknown> = Promise.resolve();

  /**
   * Opens an existing directory.
   *
   * @param lockFile The path of the file that writers lock, outside of it.
   */
  constructor(path: string, lockFile: string) {
    this.path = path;
    this.#lockFile = lockFile;
  }

  /**
   * Runs a function while nobody else, in this process or another, changes the directory.
   *
   * @throws {Deno.errors.TimedOut} if another process doesn't finish its change.
   */
  exclusively<T>(change: () => Promise<T>): Promise<T> {
    const result = this.#last.then(() => this.#locked(change));
    this.#last = result.catch(() => {});
    return result;
  }

  async #locked<T>(change: () => Promise<T>): Promise<T> {
    using file = await Deno.open(this.#lockFile, { create: true, write: true, mode: 0o600 });
    const end = performance.now() + LOCK_SECONDS * 1000;
    while (!await file.tryLock(true)) {
      if (performance.now() > end) {
        throw new Deno.errors.TimedOut(
          `${this.#lockFile} has been locked for over ${LOCK_SECONDS} s: another process that uses ` +
            "this device is stopped or hangs; end it",
        );
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MILLISECONDS));
    }
    return await change();
  }

  /** The names of the files, without incomplete ones; none if the directory is gone. */
  async names(): Promise<string[]> {
    const names: string[] = [];
    try {
      for await (const { name } of Deno.readDir(this.path)) {
        if (!TEMPORARY.test(name)) names.push(name);
      }
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    return names.sort();
  }

  /** Replaces a file; it is on the disk when this resolves. Only inside {@linkcode exclusively}. */
  async write(name: string, text: string): Promise<void> {
    await this.#removeLeftBehind();
    const temporary = join(this.path, `.${randomSuffix()}`);
    await replacePrivateFile(join(this.path, name), text, temporary);
    await syncDirectory(this.path);
  }

  /** Removes a file durably; resolves to false if there is none. Only inside {@linkcode exclusively}. */
  async remove(name: string): Promise<boolean> {
    const removed = await ifPresent(Deno.remove(join(this.path, name)).then(() => true));
    if (removed !== null) await syncDirectory(this.path);
    return removed !== null;
  }

  /** Nobody else is writing now, so these are left from an interrupted writer. */
  async #removeLeftBehind(): Promise<void> {
    for await (const { name } of Deno.readDir(this.path)) {
      if (TEMPORARY.test(name)) await removeIfPossible(join(this.path, name));
    }
  }
}
