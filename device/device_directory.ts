/**
 * The directory of a device.
 *
 * @module
 */

import { isAbsolute, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { quote, typeName } from "../base/errors.ts";
import { ifPresent } from "../disk/present.ts";
import { PrivatePaths, USABLE_BY_OTHERS, WRITABLE_BY_OTHERS } from "../pki/private_paths.ts";
import { isDeviceName, nameKey } from "./device_name.ts";
import { StateDirectory } from "./state_directory.ts";

const NAME_FILE = "device.json";
const VERSION = 1;

/** Where the parts of a device's state are, in its directory. */
export interface DevicePaths {
  /** The directory itself. */
  readonly dir: string;
  /** The identity. */
  readonly identity: string;
  /** The peers, a file each. */
  readonly peers: string;
  /** Where its servers listen, a file each. */
  readonly serving: string;
}

/**
 * The path of a device's directory.
 *
 * @throws {TypeError} if it is neither text nor a URL.
 * @throws {RangeError} if it is relative, or no URL of a file.
 */
export function devicePaths(dir: string | URL): DevicePaths {
  const path = dir instanceof URL ? pathOf(dir) : dir;
  if (typeof path !== "string") {
    throw new TypeError(`dir: need a path or a file URL; got ${typeName(dir)}`);
  }
  if (!isAbsolute(path) || path.includes("\0")) {
    throw new RangeError(`dir: need an absolute path; got ${quote(path)}`);
  }
  const root = normalize(join(path, "."));
  return {
    dir: root,
    identity: join(root, "identity"),
    peers: join(root, "peers"),
    serving: join(root, "serving"),
  };
}

function pathOf(url: URL): string {
  if (url.protocol !== "file:") {
    throw new RangeError(`dir: need a file URL; got ${quote(url.href)}`);
  }
  return fileURLToPath(url);
}

/**
 * Makes what is missing of the directory of a device, and says what the device is called.
 *
 * @param name The name that was given.
 * @throws {RangeError} if there is no device yet and no name is given, or where its name is another.
 * @throws {Deno.errors.PermissionDenied} if another user owns the directory or could change it; where
 * it has other things in it and is not closed to others.
 * @throws {Deno.errors.InvalidData} if the file with its name can't be read.
 */
export async function prepareDirectory(
  paths: DevicePaths,
  name: string | undefined,
): Promise<string> {
  const { dir, peers, serving } = paths;
  const known = await readName(dir);
  checkName(dir, known, name);
  if (known === null && await hasEntries(dir)) await checkPrivate(dir);
  else await makePrivate(dir);
  const files = new StateDirectory(dir, join(dir, "lock"));
  const settled = await files.exclusively(async () => {
    const known = await readName(dir);
    const settled = checkName(dir, known, name);
    if (known === null) {
      const text = JSON.stringify({ version: VERSION, name: settled });
      await files.write(NAME_FILE, `${text}\n`);
    }
    return settled;
  });
  await makePrivate(peers);
  await makePrivate(serving);
  return settled;
}

/** The name that counts. */
function checkName(dir: string, known: string | null, name: string | undefined): string {
  if (known === null) {
    if (name !== undefined) return name;
    throw new RangeError(`name: there is no device in ${quote(dir)} yet, so it has to be given`);
  }
  if (name === undefined || nameKey(name) === nameKey(known)) return known;
  throw new RangeError(
    `name: the device in ${quote(dir)} is called ${quote(known)}, and stays so; got ${quote(name)}`,
  );
}

async function readName(dir: string): Promise<string | null> {
  const path = join(dir, NAME_FILE);
  const info = await ifPresent(Deno.lstat(path));
  if (info === null) return null;
  // A FIFO would be waited for.
  const text = info.isFile ? await ifPresent(Deno.readTextFile(path)) : "";
  if (text === null) return null;
  const name = parseName(text);
  if (name !== null) return name;
  throw new Deno.errors.InvalidData(
    `${path} can't be read: restore the directory from a backup, or remove it and pair the device again`,
  );
}

function parseName(text: string): string | null {
  try {
    const { version, name } = JSON.parse(text);
    return version === VERSION && typeof name === "string" && isDeviceName(name) ? name : null;
  } catch {
    return null;
  }
}

/** What lies in a directory beside a device may be meant for others, so it is not closed to them. */
async function checkPrivate(path: string): Promise<void> {
  await new PrivatePaths().check(path, USABLE_BY_OTHERS);
}

async function hasEntries(path: string): Promise<boolean> {
  try {
    for await (const _entry of Deno.readDir(path)) return true;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return false;
}

/** A directory that others can read is closed to them; one that they could have written is not used. */
async function makePrivate(path: string): Promise<void> {
  const paths = new PrivatePaths();
  await paths.checkWay(path);
  await Deno.mkdir(path, { recursive: true, mode: 0o700 });
  await paths.check(path, WRITABLE_BY_OTHERS);
  const { mode } = await Deno.stat(path);
  if (((mode ?? 0) & USABLE_BY_OTHERS) !== 0) await Deno.chmod(path, 0o700);
}
