/** The inboxes of a device's `degu serve`, recorded for its other commands. */

import { lockPathOf } from "@degu/degu/agent_support";
import { join } from "./paths.ts";
import { ifThere } from "./local_paths.ts";

/** A record that no process locks is removed only after this: a new one is locked in a moment. */
const UNLOCKED_MILLISECONDS = 60_000;

/**
 * The inboxes of the `degu serve` that run. Each process holds a lock on its record, which the
 * system releases when the process dies.
 */
export class ServingInboxes {
  readonly #dir: string;

  /** @param home The directory of the device. */
  constructor(home: string) {
    this.#dir = join(home, "inboxes");
  }

  /** Records an inbox until the result is disposed of. */
  async add(inbox: string): Promise<AsyncDisposable> {
    await Deno.mkdir(this.#dir, { recursive: true, mode: 0o700 });
    const path = join(this.#dir, crypto.randomUUID());
    const lockPath = lockPathOf(path);
    const file = await Deno.open(lockPath, { createNew: true, write: true, mode: 0o600 });
    await file.lock(true);
    const text = new TextEncoder().encode(inbox);
    if (lockPath === path) await file.write(text);
    else await Deno.writeFile(path, text, { createNew: true });
    return {
      [Symbol.asyncDispose]: async () => {
        file.close();
        // A later command removes what stays.
        for (const each of new Set([path, lockPath])) await Deno.remove(each).catch(() => {});
      },
    };
  }

  /** The recorded inboxes, each once. */
  async list(): Promise<string[]> {
    const names = await ifThere(Array.fromAsync(Deno.readDir(this.#dir), ({ name }) => name)) ?? [];
    const inboxes = new Set<string>();
    for (const name of names) {
      // A file that is locked for another one is no record.
      if (name.includes(".")) continue;
      const inbox = await ifThere(readRecord(join(this.#dir, name)));
      if (inbox !== null) inboxes.add(inbox);
    }
    return [...inboxes].sort();
  }
}

/** Reads a record; `null` for one that no process locks. */
async function readRecord(path: string): Promise<string | null> {
  const lockPath = lockPathOf(path);
  // Without the file beside it, no process can have locked it.
  using file = await ifThere(Deno.open(lockPath)) ?? await Deno.open(path);
  // The lock is shared: another command that looks at the same time is not `degu serve`.
  if (!await file.tryLock(false)) {
    return lockPath === path
      ? await new Response(file.readable).text()
      : await Deno.readTextFile(path);
  }
  const { mtime } = await file.stat();
  const isOld = mtime !== null && Math.abs(Date.now() - mtime.getTime()) > UNLOCKED_MILLISECONDS;
  if (isOld) { for (const each of new Set([path, lockPath])) await ifThere(Deno.remove(each)); }
  return null;
}
