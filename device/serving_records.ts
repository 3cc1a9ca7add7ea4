/** The addresses of a device's servers, recorded for its other processes. */

import { type Address, parseAddress } from "../base.ts";
import { addressText } from "../base/address.ts";
import { writeAside } from "./identity/private_files.ts";
import { lockPathOf } from "../internal/disk/files.ts";
import type { Temporary } from "../internal/disk/temporary.ts";
import { pause } from "../internal/pause.ts";
import { ifPresent, namesIn, randomSuffix, removeIfPossible } from "../internal/disk/names.ts";
import { join } from "../internal/disk/paths.ts";

const MAX_RECORD_BYTES = 512;
/** The names of records of an address. */
const ADDRESS_NAME = /^[0-9a-f]{16}$/;
const POLL_MILLISECONDS = 20;

/** The record of a server that runs in this process. */
export interface ServingRecord {
  /** Lets other processes see that the server knows the peers as they are now. */
  touch(): void;
  remove(): Promise<void>;
}

/**
 * The addresses on which a device's servers listen. The process of each holds a lock on its record,
 * which the system releases when the process dies.
 */
export class ServingRecords {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = join(dir, "serving");
  }

  /** Records an address, until the record is removed. */
  async add(address: Address): Promise<ServingRecord> {
    const name = randomSuffix();
    const temporary = join(this.#dir, `.${name}`);
    const path = join(this.#dir, name);
    const lockPath = lockPathOf(path);
    const locked = lockPath === path ? null : await Deno.open(lockPath, NEW_FILE);
    await locked?.lock(true);
    const lock = async ({ file }: Temporary) => {
      if (locked === null) await file.lock(true);
    };
    const record = await writeAside(path, addressText(address), temporary, lock);
    const remove = async () => {
      await removeIfPossible(path);
      record[Symbol.dispose]();
      if (locked === null) return;
      locked.close();
      await removeIfPossible(lockPath);
    };
    return { touch: () => record.file.utimeSync(new Date(), new Date()), remove };
  }

  /**
   * Begins to watch the records of processes that are alive.
   *
   * @returns A function that waits until each of them was touched or is gone, but not for longer.
   */
  async watch(): Promise<(milliseconds: number, signal: AbortSignal) => Promise<void>> {
    const untouched = new Map<string, number>();
    for (const name of await namesIn(this.#dir)) {
      const path = join(this.#dir, name);
      if (await ifPresent(this.#read(name)) === null) continue;
      const info = await ifPresent(Deno.lstat(path));
      if (info !== null) untouched.set(path, Number(info.mtime));
    }
    return async (milliseconds, signal) => {
      const end = performance.now() + milliseconds;
      while (performance.now() < end && !signal.aborted) {
        for (const [path, time] of untouched) {
          const info = await Deno.lstat(path).catch(() => null);
          if (Number(info?.mtime) !== time) untouched.delete(path);
        }
        if (untouched.size === 0) return;
        await pause(POLL_MILLISECONDS, signal);
      }
    };
  }

  /** The recorded addresses of processes that are alive, each once. */
  async addresses(): Promise<Address[]> {
    const found = new Map<string, Address>();
    for (const name of await namesIn(this.#dir)) {
      const text = await ifPresent(this.#read(name)) ?? "";
      try {
        found.set(text, parseAddress(text));
      } catch {
        // The record was not written here, or is gone.
      }
    }
    return [...found.keys()].sort().map((text) => found.get(text)!);
  }

  /**
   * The text of a record with such a name; `null` for another file, and for a record that nobody
   * locks, which is removed.
   */
  async #read(name: string): Promise<string | null> {
    const path = join(this.#dir, name);
    // Opening a FIFO would block.
    if (!ADDRESS_NAME.test(name) || !(await Deno.lstat(path)).isFile) return null;
    using file = await Deno.open(path);
    if (await isUnlocked(path, file)) {
      await removeIfPossible(path);
      await removeIfPossible(lockPathOf(path));
      return null;
    }
    const bytes = new Uint8Array(MAX_RECORD_BYTES);
    const length = await file.read(bytes) ?? 0;
    return new TextDecoder().decode(bytes.subarray(0, length));
  }
}

/** Whether no process has locked a file, or the file that is locked for it. */
async function isUnlocked(path: string, opened: Deno.FsFile): Promise<boolean> {
  const lockPath = lockPathOf(path);
  // The lock is shared: others who check at the same time must not be mistaken for the owner.
  if (lockPath === path) return await opened.tryLock(false);
  const file = await ifPresent(Deno.open(lockPath));
  try {
    return file === null || await file.tryLock(false);
  } finally {
    file?.close();
  }
}

const NEW_FILE: Deno.OpenOptions = { createNew: true, write: true, mode: 0o600 };
