/** The addresses of a device's servers, recorded for its other processes. */

import { join } from "node:path";
import { type Address, addressText, parseAddress } from "../base/address.ts";
import { writeAside } from "../disk/private_files.ts";
import type { Temporary } from "../disk/temporary.ts";
import { ifPresent, randomSuffix, removeIfPossible } from "../disk/names.ts";

const MAX_RECORD_BYTES = 1024;
/** A new record is locked a moment after its file was created. */
const SETTLED_MILLISECONDS = 60_000;
const NAME = /^[0-9a-f]{16}$/;

/**
 * The addresses on which a device's servers listen. The process of each holds a lock on its record,
 * which the system releases when the process dies.
 */
export class ServingRecords {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = join(dir, "serving");
  }

  /** Records an address; resolves to a function that removes the record. */
  async add(address: Address): Promise<() => Promise<void>> {
    const name = randomSuffix();
    const temporary = join(this.#dir, `.${name}`);
    const path = join(this.#dir, name);
    const lock = ({ file }: Temporary) => file.lock(true);
    const record = await writeAside(path, addressText(address), temporary, lock);
    return async () => {
      await removeIfPossible(path);
      record[Symbol.dispose]();
    };
  }

  /** The recorded addresses of processes that are alive, each once. */
  async addresses(): Promise<Address[]> {
    const found = new Map<string, Address>();
    for await (const { name } of Deno.readDir(this.#dir)) {
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
   * The text of a record; `null` for another file, and for a record that nobody locks, which is
   * removed.
   */
  async #read(name: string): Promise<string | null> {
    const path = join(this.#dir, name);
    // Opening a FIFO would block.
    if (!(await Deno.lstat(path)).isFile) return null;
    using file = await Deno.open(path);
    if (!NAME.test(name) && !isOld(await file.stat())) return null;
    // The lock is shared: others who check at the same time must not be mistaken for the owner.
    if (await file.tryLock(false)) {
      await removeIfPossible(path);
      return null;
    }
    if (!NAME.test(name)) return null;
    const bytes = new Uint8Array(MAX_RECORD_BYTES);
    const length = await file.read(bytes) ?? 0;
    return new TextDecoder().decode(bytes.subarray(0, length));
  }
}

function isOld({ mtime }: Deno.FileInfo): boolean {
  return mtime !== null && Math.abs(Date.now() - mtime.getTime()) > SETTLED_MILLISECONDS;
}
