/**
 * Notices changes by other processes in a directory.
 *
 * @module
 */

import { join } from "node:path";
import { randomSuffix, removeIfPossible } from "../disk/names.ts";
import { type Interval, startInterval } from "../net/deadline.ts";

/** Twice in the second within which a change must be noticed. */
const POLL_MILLISECONDS = 400;

/** The state of a directory. */
interface State {
  /** Identifies the directory: another one may have replaced it. */
  readonly identity: string;
  /** Differs after a change. */
  readonly times: string;
}

/** Calls a function when something in a directory may have changed, sometimes without a reason. */
export class DirectoryWatch implements AsyncDisposable {
  readonly #dir: string;
  readonly #onChange: () => Promise<boolean>;
  readonly #interval: Interval;
  /** The watch of the system, and whether it has shown that it works. */
  #watcher: BackgroundWatcher | null = null;
  #isProven = false;
  /** The next check calls the function in any case. */
  #isDue = true;
  #last = GONE;
  #polling: Promise<void> | null = null;
  #isOver = false;
  readonly #running = new Set<Promise<void>>();

  /**
   * Begins to watch. If the system has no watches left, and until the watch has shown that it
   * works, the function is called at every check: some network file systems never send an event. Later
   * the checks continue, because a watch stays with a directory that was moved away.
   *
   * @param dir The absolute path of a directory that may be written.
   * @param onChange Resolves to false if it must be called again, and never rejects.
   */
  constructor(dir: string, onChange: () => Promise<boolean>) {
    this.#dir = dir;
    this.#onChange = onChange;
    const poll = () => {
      this.#polling ??= this.#poll().finally(() => this.#polling = null);
    };
    this.#interval = startInterval(poll, POLL_MILLISECONDS);
    // A peer that is paired right after the start is not to wait for the first interval.
    poll();
  }

  #watch(): void {
    this.#isProven = false;
    try {
      this.#watcher = Deno.watchFs(this.#dir, { recursive: false });
    } catch {
      return;
    }
    for (const task of [this.#follow(this.#watcher), this.#provoke()]) {
      this.#running.add(task);
      task.then(() => this.#running.delete(task));
    }
  }

  async #poll(): Promise<void> {
    const { identity, times } = this.#last;
    const now = await stateOf(this.#dir);
    if (this.#isOver) return;
    this.#last = now;
    if (now.identity !== identity) {
      this.#closeWatcher();
      this.#watch();
    }
    const hasChanged = now.identity !== identity || now.times !== times;
    if (!hasChanged && !this.#isDue && this.#watcher !== null && this.#isProven) return;
    // Another change may happen before the clock of the file system advances.
    this.#isDue = hasChanged;
    await this.#report();
  }

  async #report(): Promise<void> {
    if (!await this.#onChange()) this.#isDue = true;
  }

  async #follow(watcher: BackgroundWatcher): Promise<void> {
    try {
      for (;;) {
        const { done, value } = await nextInBackground(watcher);
        if (done || this.#watcher !== watcher) break;
        if (value.kind === "access") continue;
        // A directory that is gone, or was restored, sends no further event.
        if (value.paths.includes(this.#dir)) break;
        this.#isProven = true;
        this.#report();
      }
    } catch {
      // The checks replace it.
    }
    if (this.#watcher !== watcher) return;
    this.#closeWatcher();
    this.#report();
  }

  /** Creates an event. */
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
    this.#isOver = true;
    clearInterval(this.#interval);
    // Its end is being awaited.
    this.#watcher?.ref?.();
    this.#closeWatcher();
    await Promise.all([this.#polling, ...this.#running]);
  }

  #closeWatcher(): void {
    const watcher = this.#watcher;
    this.#watcher = null;
    watcher?.close();
  }
}

const GONE: State = { identity: "", times: "" };

/** Restoring a directory can set `mtime`, but not `ctime`. */
async function stateOf(dir: string): Promise<State> {
  try {
    const { dev, ino, mtime, ctime } = await Deno.stat(dir);
    return { identity: `${dev}:${ino}`, times: `${mtime?.getTime()}:${ctime?.getTime()}` };
  } catch {
    return GONE;
  }
}

/** Methods of a watcher that the types don't have; both affect the most recent wait. */
interface BackgroundWatcher extends Deno.FsWatcher {
  ref?(): void;
  unref?(): void;
}

/** Waits for an event without keeping the process alive. */
function nextInBackground(watcher: BackgroundWatcher): Promise<IteratorResult<Deno.FsEvent>> {
  const next = watcher[Symbol.asyncIterator]().next();
  watcher.unref?.();
  return next;
}
