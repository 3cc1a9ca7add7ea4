import { fileURLToPath } from "node:url";
import { notAllowedError, wrongTypeError } from "../../internal/checks.ts";
import { pause } from "../../internal/pause.ts";
import { quoteName } from "../../internal/quote.ts";
import { listNames, makeRandomSuffix, removeIfPossible, syncDirectory } from "./disk.ts";
import { ignoreNotFound } from "../../internal/caught_errors.ts";
import { isAbsolute, join } from "../../internal/paths.ts";
import { DEVICE_IDENTITY_NAME, isDeviceName, makeNameKey } from "./names.ts";
import {
  checkPrivate,
  replacePrivateFile,
  USABLE_BY_OTHERS,
  WRITABLE_BY_OTHERS,
} from "./private_files.ts";

const NAME_FILE = "device.json";
const VERSION = 1;

export function parseDevicePath(dir: string | URL): string {
  const path = dir instanceof URL && dir.protocol === "file:" ? fileURLToPath(dir) : dir;
  if (typeof path !== "string") throw wrongTypeError("dir", "a path or a file URL", dir);
  if (!isAbsolute(path) || path.includes("\0")) {
    throw notAllowedError("dir", `must be an absolute path; got ${quoteName(path)}`);
  }
  return join(path, ".");
}

/**
 * Creates the directory of a new device. In the directory of an existing device, creates what is
 * missing, and removes permissions of other users.
 *
 * @param name The required name; `undefined` to accept the name of an existing device.
 * @param allowsOtherName True if an existing device may have another name.
 * @returns The stored name.
 */
export async function prepareDirectory(
  dir: string,
  name: string | undefined,
  allowsOtherName: boolean,
): Promise<string> {
  const files = new StateDirectory(dir, join(dir, "lock"));
  const storedName = await readDeviceName(dir);
  const resolveName = (storedName: string | null) =>
    allowsOtherName && storedName !== null ? storedName : resolveDeviceName(dir, storedName, name);
  const deviceName = resolveName(storedName);
  await checkHasKeys(dir);
  // Other users may need a directory that already has files, so don't change its mode.
  if (storedName === null && (await files.listNames()).length > 0) {
    await checkPrivate(dir, USABLE_BY_OTHERS);
  } else await makePrivate(dir);
  for (const child of ["peers", "serving"]) await makePrivate(join(dir, child));
  if (storedName !== null) return deviceName;
  return await files.withLock(async () => {
    const storedName = await readDeviceName(dir);
    const deviceName = resolveName(storedName);
    if (storedName === null) await writeDeviceName(dir, deviceName);
    return deviceName;
  });
}

/** The peers of a damaged device trust its lost keys, not new ones. */
async function checkHasKeys(dir: string): Promise<void> {
  const keysDirectory = join(dir, "identity", DEVICE_IDENTITY_NAME);
  if (await ignoreNotFound(Deno.lstat(keysDirectory)) !== null) return;
  if ((await listNames(join(dir, "peers"))).length === 0) return;
  throw new Deno.errors.InvalidData(
    `the device in ${quoteName(dir)} has peers, but no directory "identity/device" with its keys`,
  );
}

export async function checkDirectory(dir: string, name: string | undefined): Promise<string> {
  const storedName = await readDeviceName(dir);
  if (storedName === null) {
    throw new Deno.errors.NotFound(
      `There is no device in ${quoteName(dir)}, and create: false doesn't create one: omit ` +
        "create and pass a name, or check the path of the directory",
    );
  }
  await checkPrivate(dir, WRITABLE_BY_OTHERS);
  return resolveDeviceName(dir, storedName, name);
}

function resolveDeviceName(
  dir: string,
  storedName: string | null,
  name: string | undefined,
): string {
  if (storedName === null) {
    if (name !== undefined) return name;
    throw notAllowedError("name", `there is no device in ${quoteName(dir)}, so a name is required`);
  }
  if (name === undefined || makeNameKey(name) === makeNameKey(storedName)) return storedName;
  throw notAllowedError(
    "name",
    `the device in ${quoteName(dir)} is named ${quoteName(storedName)}; got ` +
      `${quoteName(name)}: pass the stored name, or omit it; rename: true renames the device`,
  );
}

export function isUnsupportedVersion(version: unknown, supported: number): version is number {
  return Number.isSafeInteger(version) && version !== supported;
}

/** The caller holds the lock of the directory. */
export async function writeDeviceName(dir: string, name: string): Promise<void> {
  const text = JSON.stringify({ version: VERSION, name });
  await new StateDirectory(dir, join(dir, "lock")).write(NAME_FILE, `${text}\n`);
}

export async function readDeviceName(dir: string): Promise<string | null> {
  const path = join(dir, NAME_FILE);
  const info = await ignoreNotFound(Deno.lstat(path));
  if (info === null) return null;
  // Opening a FIFO would block.
  const text = info.isFile ? await Deno.readTextFile(path) : "";
  let fields: Record<string, unknown> | null = null;
  try {
    fields = JSON.parse(text);
  } catch {
    // The file is damaged.
  }
  const { version, name } = fields ?? {};
  if (isUnsupportedVersion(version, VERSION)) {
    throw new Deno.errors.NotSupported(
      `the device in ${quoteName(dir)} has version ${version}, and this version of Degu opens ` +
        `version ${VERSION}`,
    );
  }
  if (version === VERSION && typeof name === "string" && isDeviceName(name)) return name;
  throw new Deno.errors.InvalidData(
    `${path} is truncated, or not of the form that this version writes`,
  );
}

async function makePrivate(path: string): Promise<void> {
  await Deno.mkdir(path, { recursive: true, mode: 0o700 });
  await checkPrivate(path, WRITABLE_BY_OTHERS);
  const mode = (await Deno.stat(path)).mode ?? 0;
  if ((mode & USABLE_BY_OTHERS) === 0) return;
  try {
    await Deno.chmod(path, 0o700);
  } catch (error) {
    // A mode that can't be changed is no problem: the files of the keys have their own modes.
    if (error instanceof Deno.errors.NotCapable) throw error;
  }
}

/**
 * The longest wait for the lock. On a busy machine, several processes need ten seconds for a few
 * small files, and a stopped process must not block all other processes.
 */
const MAX_LOCK_WAIT_SECONDS = 60;
const RETRY_MILLISECONDS = 10;
const TEMPORARY_NAME_PATTERN = /^\.[0-9a-f]{16}$/;

export class StateDirectory {
  readonly path: string;
  readonly #lockFile: string;
  #lastChangeEnded: Promise<unknown> = Promise.resolve();

  /** @param lockFile The path of the file that writers lock, outside the directory. */
  constructor(path: string, lockFile: string) {
    this.path = path;
    this.#lockFile = lockFile;
  }

  withLock<T>(change: () => Promise<T>): Promise<T> {
    const result = this.#lastChangeEnded.then(async () => {
      using file = await this.#openLockFile();
      const deadline = performance.now() + MAX_LOCK_WAIT_SECONDS * 1000;
      while (!await file.tryLock(true)) {
        if (performance.now() > deadline) {
          throw new Deno.errors.TimedOut(
            `${this.#lockFile} has been locked for over ${MAX_LOCK_WAIT_SECONDS} s`,
          );
        }
        await pause(RETRY_MILLISECONDS);
      }
      try {
        return await change();
      } finally {
        // A process that is starting may still share the lock after the close.
        file.unlockSync();
      }
    });
    this.#lastChangeEnded = result.catch(() => {});
    return result;
  }

  async #openLockFile(): Promise<Deno.FsFile> {
    try {
      return await Deno.open(this.#lockFile, { create: true, write: true, mode: 0o600 });
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      throw new Deno.errors.NotFound(
        `the directory of the device is missing (${this.#lockFile}): await each call, such as ` +
          "forget(), before you remove the directory or close TempDevices",
        { cause: error },
      );
    }
  }

  async listNames(): Promise<string[]> {
    const names = await listNames(this.path);
    return names.filter((name) => !TEMPORARY_NAME_PATTERN.test(name)).sort();
  }

  /** The caller holds the lock of {@linkcode withLock}. */
  async write(name: string, text: string): Promise<void> {
    // Under the lock, every temporary file is left over from an interrupted writer.
    for (const name of await listNames(this.path)) {
      if (TEMPORARY_NAME_PATTERN.test(name)) await removeIfPossible(join(this.path, name));
    }
    const temporaryPath = join(this.path, `.${makeRandomSuffix()}`);
    await replacePrivateFile(join(this.path, name), text, temporaryPath);
    await syncDirectory(this.path);
  }

  /** The caller holds the lock of {@linkcode withLock}. */
  async remove(name: string): Promise<boolean> {
    const isRemoved = await ignoreNotFound(Deno.remove(join(this.path, name)).then(() => true)) ??
      false;
    if (isRemoved) await syncDirectory(this.path);
    return isRemoved;
  }
}
