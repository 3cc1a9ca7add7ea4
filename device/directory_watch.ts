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

/** Follows a change; resolves to false where it has to be called again, and never rejects. */
export type OnChange = () => Promise<boolean>;

/** What a directory looks like from outside. */
interface Look {
  /** Which directory it is: another one may have taken its path. */
  readonly identity: string;
  /** Differs after a change. */
  readonly state: string;
}

/** Calls a function when something in a directory may have changed, and for no reason at times. */
export class DirectoryWatch implements AsyncDisposable {
  readonly #dir: string;
  readonly #onChange: OnChange;
  readonly #polling: Interval;
  #watcher: Deno.FsWatcher | null = null;
  /** Whether the watch has shown that it works. */
  #isProven = false;
  /** The next look calls the function whatever it sees. */
  #isDue = true;
  #last: Look;
  #looking: Promise<void> | null = null;
  #isOver = false;
  readonly #running = new Set<Promise<void>>();

  /**
   * Begins to watch. Where the system has no watches left, and wherever they have yet to show that they
   * work, the function is called at every look: over some network file systems no event ever comes. Later
   * the looks go on, because a watch stays with a directory that was moved away.
   *
   * @param dir The absolute path of a directory that may be written.
   */
  constructor(dir: string, onChange: OnChange) {
    this.#dir = dir;
    this.#onChange = onChange;
    this.#polling = startInterval(() => this.#poll(), POLL_MILLISECONDS);
    this.#last = lookAtSync(dir);
    this.#watch();
  }

  #watch(): void {
    let watcher;
    try {
      watcher = Deno.watchFs(this.#dir, { recursive: false });
    } catch {
      return;
    }
    this.#watcher = watcher;
    this.#run(this.#follow(watcher));
    this.#run(this.#provoke());
  }

  #run(task: Promise<void>): void {
    this.#running.add(task);
    task.then(() => this.#running.delete(task));
  }

  #poll(): void {
    this.#looking ??= this.#look().finally(() => this.#looking = null);
  }

  async #look(): Promise<void> {
    const { identity, state } = this.#last;
    const now = await lookAt(this.#dir);
    if (this.#isOver) return;
    this.#last = now;
    if (now.identity !== identity) {
      this.#closeWatcher();
      this.#watch();
    }
    const hasChanged = now.identity !== identity || now.state !== state;
    if (!hasChanged && !this.#isDue && this.#isProven) return;
    // Another change may come before the clock of the file system goes on.
    this.#isDue = hasChanged;
    await this.#report();
  }

  async #report(): Promise<void> {
    if (!await this.#onChange()) this.#isDue = true;
  }

  async #follow(watcher: Deno.FsWatcher): Promise<void> {
    try {
      for (;;) {
        const { done, value } = await nextInBackground(watcher);
        if (done) break;
        if (value.kind === "access") continue;
        // Of a directory that is gone, or has come back, no further event comes.
        if (value.paths.includes(this.#dir)) break;
        if (this.#watcher === watcher) this.#isProven = true;
        this.#report();
      }
    } catch {
      // The looks take its place.
    }
    if (this.#watcher !== watcher) return;
    this.#closeWatcher();
    this.#report();
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
    this.#isOver = true;
    clearInterval(this.#polling);
    // Somebody waits for its end now.
    (this.#watcher as BackgroundWatcher | null)?.ref?.();
    this.#closeWatcher();
    await Promise.all([this.#looking, ...this.#running]);
  }

  #closeWatcher(): void {
    const watcher = this.#watcher;
    this.#watcher = null;
    this.#isProven = false;
    watcher?.close();
  }
}

const GONE: Look = { identity: "", state: "" };

async function lookAt(dir: string): Promise<Look> {
  try {
    return lookOf(await Deno.stat(dir));
  } catch {
    return GONE;
  }
}

function lookAtSync(dir: string): Look {
  try {
    return lookOf(Deno.statSync(dir));
  } catch {
    return GONE;
  }
}

/** Whoever restores a directory can set `mtime`, and not `ctime`. */
function lookOf({ dev, ino, mtime, ctime }: Deno.FileInfo): Look {
  return { identity: `${dev}:${ino}`, state: `${mtime?.getTime()}:${ctime?.getTime()}` };
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
