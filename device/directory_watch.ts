/**
 * Seeing what other processes change in a directory.
 *
 * @module
 */

import { join } from "node:path";
import { type Interval, startInterval } from "../net/interval.ts";
import { randomSuffix } from "../pki/certificates.ts";
import { removeIfPossible } from "../pki/private_files.ts";

/** Twice in the second in which a change has to be seen. */
const POLL_MILLISECONDS = 400;

/** Calls a function when something in a directory may have changed, and for no reason at times. */
export class DirectoryWatch implements AsyncDisposable {
  readonly #dir: string;
  readonly #onChange: () => void;
  #watcher: Deno.FsWatcher | null = null;
  #polling: Interval | undefined;
  readonly #running: Promise<void>[] = [];

  /**
   * Begins to watch. Polls where the system has no watches left, and wherever they have yet to show that
   * they work: over some network file systems no event ever comes.
   *
   * @param dir The absolute path of a directory that may be written.
   */
  constructor(dir: string, onChange: () => void) {
    this.#dir = dir;
    this.#onChange = onChange;
    this.#poll();
    try {
      this.#watcher = Deno.watchFs(dir, { recursive: false });
    } catch {
      return;
    }
    this.#running.push(this.#follow(this.#watcher), this.#provoke());
  }

  #poll(): void {
    this.#polling ??= startInterval(this.#onChange, POLL_MILLISECONDS);
  }

  async #follow(watcher: Deno.FsWatcher): Promise<void> {
    try {
      for (;;) {
        const { done, value } = await nextInBackground(watcher);
        if (done) break;
        if (value.kind === "access") continue;
        // Of a directory that is gone, or has come back, no further event comes.
        if (value.paths.includes(this.#dir)) break;
        clearInterval(this.#polling);
        this.#polling = undefined;
        this.#onChange();
      }
    } catch {
      // Polling takes its place.
    }
    if (this.#watcher === null) return;
    this.#close();
    this.#poll();
    this.#onChange();
  }

  /** Makes an event. */
  async #provoke(): Promise<void> {
    const path = join(this.#dir, `.${randomSuffix()}`);
    try {
      await Deno.writeTextFile(path, "", { createNew: true, mode: 0o600 });
    } catch {
      return;
    }
    await removeIfPossible(path);
  }

  /** Ends it. */
  async [Symbol.asyncDispose](): Promise<void> {
    // Somebody waits for its end now.
    (this.#watcher as BackgroundWatcher | null)?.ref?.();
    this.#close();
    await Promise.all(this.#running);
  }

  #close(): void {
    const watcher = this.#watcher;
    this.#watcher = null;
    watcher?.close();
    clearInterval(this.#polling);
    this.#polling = undefined;
  }
}

/** What a watcher can do that the types don't say; both are about the wait that has begun last. */
interface BackgroundWatcher extends Deno.FsWatcher {
  ref?(): void;
  unref?(): void;
}

/** Waits for an event, which alone keeps no process alive. */
function nextInBackground(watcher: BackgroundWatcher): Promise<IteratorResult<Deno.FsEvent>> {
  const next = watcher[Symbol.asyncIterator]().next();
  watcher.unref?.();
  return next;
}
