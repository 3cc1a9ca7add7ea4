import { type Address, parseAddress } from "../../base.ts";
import { formatCheckedAddress } from "../../base/address.ts";
import { pause } from "../../internal/pause.ts";
import { writeAndRename } from "../identity/private_files.ts";
import {
  listNames,
  makeRandomSuffix,
  type PrivateFile,
  removeIfPossible,
} from "../identity/disk.ts";
import { ignoreNotFound } from "../../internal/caught_errors.ts";
import { join } from "../../internal/paths.ts";
const MAX_RECORD_BYTES = 512;
const RECORD_NAME_PATTERN = /^[0-9a-f]{16}$/;
const POLL_MILLISECONDS = 20;

export interface ServingRecord {
  /** Shows other processes that the server has read the current peers. */
  touch(): void;
  remove(): Promise<void>;
}

/**
 * Each server locks its record. The system releases the lock when the process of the server dies.
 */
export class ServingRecords {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = join(dir, "serving");
  }

  async add(address: Address): Promise<ServingRecord> {
    const name = makeRandomSuffix();
    const temporaryPath = join(this.#dir, `.${name}`);
    const path = join(this.#dir, name);
    const lockPath = lockPathOf(path);
    const lockFile = lockPath === path ? null : await Deno.open(lockPath, NEW_FILE_OPTIONS);
    await lockFile?.lock(true);
    const lock = async ({ file }: PrivateFile) => {
      if (lockFile === null) await file.lock(true);
    };
    const text = formatCheckedAddress(address);
    const recordFile = await writeAndRename(
      path,
      text,
      temporaryPath,
      lock,
    );
    const remove = async () => {
      await removeIfPossible(path);
      recordFile[Symbol.dispose]();
      if (lockFile === null) return;
      lockFile.close();
      await removeIfPossible(lockPath);
    };
    // Write the address again: some disks refuse to set a time.
    const touch = () => {
      recordFile.file.seekSync(0, Deno.SeekMode.Start);
      recordFile.file.writeSync(new TextEncoder().encode(text));
    };
    return { touch, remove };
  }

  /**
   * @returns A function that waits, for a limited time, until each of these records was touched or
   * removed.
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

  async listAddresses(): Promise<Address[]> {
    const addressesByText = new Map<string, Address>();
    for (const name of await listNames(this.#dir)) {
      const text = await ignoreNotFound(this.#read(name)) ?? "";
      try {
        addressesByText.set(text, parseAddress(text));
      } catch {
        // Another program has made the file, or it has been removed.
      }
    }
    return [...addressesByText.keys()].sort().map((text) => addressesByText.get(text)!);
  }

  /** Removes a record that no process has locked, and returns `null`. */
  async #read(name: string): Promise<string | null> {
    const path = join(this.#dir, name);
    // Opening a FIFO would block.
    if (!RECORD_NAME_PATTERN.test(name) || !(await Deno.lstat(path)).isFile) return null;
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

async function isUnlocked(path: string, record: Deno.FsFile): Promise<boolean> {
  const lockPath = lockPathOf(path);
  // Try a shared lock: another process that checks at the same time must not look like the owner.
  if (lockPath === path) return await record.tryLock(false);
  const file = await ignoreNotFound(Deno.open(lockPath));
  try {
    return file === null || await file.tryLock(false);
  } finally {
    file?.close();
  }
}

const NEW_FILE_OPTIONS: Deno.OpenOptions = { createNew: true, write: true, mode: 0o600 };

/**
 * Returns the path of the file to lock for a file that other processes read: on Windows a file
 * beside it, because a lock on Windows keeps other processes from reading.
 */
function lockPathOf(path: string): string {
  return Deno.build.os === "windows" ? `${path}.lock` : path;
}
