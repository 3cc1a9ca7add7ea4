/** A device for one command, in a private temporary directory that goes with it. */

import { basename, dirname, join } from "node:path";
import { Device } from "../device.ts";
import { type Context, defaultName, loggerOf } from "./commands.ts";
import { ifThere } from "./local_paths.ts";

/** A directory of this name has a lock, which the process that uses it holds. */
const PREFIX = "degu-once-";
/** A directory has this name until its lock is held. */
const NEW_PREFIX = "degu-new-";
const LOCK = "lock";
/** A directory is new for less time than this. */
const NEW_MILLISECONDS = 60_000;

export class TemporaryDevice implements AsyncDisposable {
  readonly device: Device;
  readonly #dir: string;
  readonly #lock: Deno.FsFile;

  private constructor(device: Device, dir: string, lock: Deno.FsFile) {
    this.device = device;
    this.#dir = dir;
    this.#lock = lock;
  }

  /** Makes the device with the name of this machine; removes what killed processes have left. */
  static async open(context: Context): Promise<TemporaryDevice> {
    const name = defaultName();
    const made = await Deno.makeTempDir({ prefix: NEW_PREFIX });
    const parent = dirname(made);
    const dir = join(parent, PREFIX + basename(made).slice(NEW_PREFIX.length));
    const options = { createNew: true, write: true, mode: 0o600 };
    const lock = await Deno.open(join(made, LOCK), options);
    try {
      await lock.lock(true);
      await Deno.rename(made, dir);
      await removeLeftovers(parent);
      const device = await Device.open(join(dir, "device"), { name, logger: loggerOf(context) });
      return new TemporaryDevice(device, dir, lock);
    } catch (error) {
      for (const each of [made, dir]) await ifThere(Deno.remove(each, { recursive: true }));
      lock.close();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.device[Symbol.asyncDispose]();
    await ifThere(Deno.remove(this.#dir, { recursive: true }));
    this.#lock.close();
  }
}

/** Removes directories of this user that no process uses. */
async function removeLeftovers(parent: string): Promise<void> {
  for await (const { name, isDirectory } of Deno.readDir(parent)) {
    const path = join(parent, name);
    const isOld = name.startsWith(PREFIX) ||
      name.startsWith(NEW_PREFIX) && await isUnfinished(path);
    if (!isOld || !isDirectory) continue;
    const info = await ifThere(Deno.lstat(path));
    if (info?.isDirectory !== true || info.uid !== Deno.uid()) continue;
    using lock = await ifThere(Deno.open(join(path, LOCK), { write: true }));
    // Without a lock it was being removed.
    if (lock !== null && !await lock.tryLock(true)) continue;
    await ifThere(Deno.remove(path, { recursive: true }));
  }
}

async function isUnfinished(path: string): Promise<boolean> {
  const { mtime } = await ifThere(Deno.lstat(path)) ?? {};
  return mtime instanceof Date && Date.now() - mtime.getTime() > NEW_MILLISECONDS;
}
