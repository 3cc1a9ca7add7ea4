/** The addresses of a device's servers, recorded for its other processes. */

import { type Address, parseAddress } from "../base.ts";
import { formatCheckedAddress } from "../base/address.ts";
import { writeAndRename } from "./identity/private_files.ts";
import { lockPathOf } from "../internal/disk/files.ts";
import type { TemporaryFile } from "../internal/disk/temporary.ts";
import { pause } from "../internal/pause.ts";
import {
  ignoreNotFound,
  listNames,
  makeRandomSuffix,
  removeIfPossible,
} from "../internal/disk/names.ts";
import { join } from "../internal/disk/paths.ts";

const MAX_RECORD_BYTES = 512;
/** The names of records of an address. */
const ADDRESS_NAME = /^[0-9a-f]{16}$/;
const POLL_MILLISECONDS = 20;

/** The record of a server that runs in this process. */
export interface ServingRecord {
  /** Shows other processes that the server has read the current peers. */
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
    const name = makeRandomSuffix();
    const temporary = join(this.#dir, `.${name}`);
    const path = join(this.#dir, name);
    const lockPath = lockPathOf(path);
    const lockFile = lockPath === path ? null : await Deno.open(lockPath, NEW_FILE_OPTIONS);
    await lockFile?.lock(true);
    const lock = async ({ file }: TemporaryFile) => {
      if (lockFile === null) await file.lock(true);
    };
    const recordFile = await writeAndRename(path, formatCheckedAddress(address), temporary, lock);
    const remove = async () => {
      await removeIfPossible(path);
      recordFile[Symbol.dispose]();
      if (lockFile === null) return;
      lockFile.close();
      await removeIfPossible(lockPath);
    };
    return { touch: () => recordFile.file.utimeSync(new Date(), new Date()), remove };
  }

  /**
   * Begins to watch the records of processes that are alive.
   *
   * @returns A function that waits, for a limited time, until each record was touched or removed.
   */
  async watch(): Promise<(milliseconds: number, signal: AbortSignal) => Promise<void>> {
    const timesByPath = new Map<string, number>();
    for (const name of await listNames(this.#dir)) {
      const path = join(this.#dir, name);
      if (await ignoreNotFound(this.#read(name)) === null) continue;
      const info = await ignoreNotFound(Deno.lstat(path));
      if (info !== null) timesByPath.set(path, Number(info.mtime));
    }
    return async (milliseconds, signal) => {
      const deadline = performance.now() + milliseconds;
      while (performance.now() < deadline && !signal.aborted) {
        for (const [path, time] of timesByPath) {
          const info = await Deno.lstat(path).catch(() => null);
          if (Number(info?.mtime) !== time) timesByPath.delete(path);
        }
        if (timesByPath.size === 0) return;
        await pause(POLL_MILLISECONDS, signal);
      }
    };
  }

  /** Lists the recorded addresses of processes that are alive, each once. */
  async addresses(): Promise<Address[]> {
    const addressesByText = new Map<string, Address>();
    for (const name of await listNames(this.#dir)) {
      const text = await ignoreNotFound(this.#read(name)) ?? "";
      try {
        addressesByText.set(text, parseAddress(text));
      } catch {
        // The record is foreign or gone.
      }
    }
    return [...addressesByText.keys()].sort().map((text) => addressesByText.get(text)!);
  }

  /**
   * Reads the text of a record; `null` for another file. Removes a record that no process locks,
   * and returns `null`.
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

/** Whether no process has locked a record, or its lock file. */
async function isUnlocked(path: string, record: Deno.FsFile): Promise<boolean> {
  const lockPath = lockPathOf(path);
  // A shared lock: other processes that check at the same time must not be mistaken for the owner.
  if (lockPath === path) return await record.tryLock(false);
  const file = await ignoreNotFound(Deno.open(lockPath));
  try {
    return file === null || await file.tryLock(false);
  } finally {
    file?.close();
  }
}

const NEW_FILE_OPTIONS: Deno.OpenOptions = { createNew: true, write: true, mode: 0o600 };
