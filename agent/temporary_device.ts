/** A device for one command, in a private temporary directory that goes with it. */

import { dirname, join } from "node:path";
import { Device } from "../device.ts";
import { type Context, defaultName, loggerOf } from "./commands.ts";
import { DEVICE_FILES, ifThere } from "./local_paths.ts";

const PREFIX = "degu-once-";
/** The names that `Deno.makeTempDir` makes: a random number, without its leading zeros. */
const NAME = /^degu-once-[0-9a-f]{1,16}$/;
/** The file that the process holds which uses the directory. It is made last, and removed last. */
const LOCK = "lock";
/** The content of that file, which no other program writes. */
const MARK = "degu: a device for one command, removed with everything in this directory\n";
const DEVICE = "device";
/** A file of a device that was being written. */
const UNFINISHED = /^\.[0-9a-f]{16}$/;

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
    const dir = await Deno.makeTempDir({ prefix: PREFIX });
    const unlocked = join(dir, "new");
    const lock = await Deno.open(unlocked, { createNew: true, write: true, mode: 0o600 });
    try {
      await lock.lock(true);
      await lock.write(new TextEncoder().encode(MARK));
      await Deno.rename(unlocked, join(dir, LOCK));
      // Leftovers of other commands must not fail this one.
      await removeLeftovers(dirname(dir)).catch(() => {});
      const options = { name, logger: loggerOf(context) };
      return new TemporaryDevice(await Device.open(join(dir, DEVICE), options), dir, lock);
    } catch (error) {
      await Deno.remove(unlocked).catch(() => {});
      await removeDevice(dir);
      lock.close();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.device[Symbol.asyncDispose]();
    await removeDevice(this.#dir);
    this.#lock.close();
  }
}

/** Removes a device for one command, and its directory if nothing else is in that. */
async function removeDevice(dir: string): Promise<void> {
  await ifThere(Deno.remove(join(dir, DEVICE), { recursive: true }));
  // The rest has no key in it: the next command removes it, or it is somebody else's.
  for (const path of [join(dir, LOCK), dir]) await Deno.remove(path).catch(() => {});
}

/**
 * Removes the directories of killed processes of this user, and nothing that anybody else has made.
 */
async function removeLeftovers(parent: string): Promise<void> {
  for await (const { name } of Deno.readDir(parent)) {
    // Another command may be removing the same directory, and some can't be looked at.
    if (NAME.test(name)) await removeLeftover(join(parent, name)).catch(() => {});
  }
}

async function removeLeftover(dir: string): Promise<void> {
  const { isDirectory, uid } = await Deno.lstat(dir);
  if (!isDirectory || uid !== Deno.uid()) return;
  const path = join(dir, LOCK);
  // Opening a FIFO would wait for its other end.
  if (!(await Deno.lstat(path)).isFile) return;
  using lock = await Deno.open(path, { read: true, write: true });
  if (!await lock.tryLock(true)) return;
  if (await Deno.readTextFile(path) === MARK && await hasOnlyOwn(dir)) await removeDevice(dir);
}

/** Whether a directory holds nothing but a device for one command, or what is left of one. */
async function hasOnlyOwn(dir: string): Promise<boolean> {
  for await (const { name, isDirectory } of Deno.readDir(dir)) {
    if (name !== LOCK && !(name === DEVICE && isDirectory)) return false;
  }
  const device = join(dir, DEVICE);
  if (await ifThere(Deno.lstat(device)) === null) return true;
  for await (const { name } of Deno.readDir(device)) {
    if (!DEVICE_FILES.has(name) && !UNFINISHED.test(name)) return false;
  }
  return true;
}
