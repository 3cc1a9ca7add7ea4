import { basename, dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { describeNameProblem, type TreeEntry } from "@degu/degu/files/client";
import {
  checkTypedPath,
  findHomeDirectory,
  findReadableInfo,
  join,
  mayRead,
  mayReadVariable,
  realPath,
  relative,
  replaceBackslashes,
  resolve,
} from "./paths.ts";
import { KEPT_DIRECTORY } from "./context.ts";
import { explain } from "../words/explain.ts";
import { Failure } from "../failure.ts";
import { MAIN_MODULE } from "../version.ts";

/**
 * Checks a path of the command line. On Windows this function expands `~`, replaces backslashes,
 * and refuses paths that Windows would interpret in another way.
 */
export function toLocalPath(text: string): string {
  if (text === "") throw new Failure("a path is empty", "USAGE");
  if (Deno.build.os !== "windows") {
    checkTypedPath(text);
    return text;
  }
  const fail = (problem: string) => new Failure(`${JSON.stringify(text)}: ${problem}`, "USAGE");
  const slashedText = replaceBackslashes(text);
  if (/^~(?:\/|$)/.test(slashedText)) {
    const home = findHomeDirectory();
    if (home === null) throw fail("USERPROFILE is not set: name the directory of the user");
    return replaceBackslashes(home) + slashedText.slice(1);
  }
  const [, drive = "", rest = ""] = /^([a-z]:)?(.*)$/is.exec(slashedText)!;
  // Node's modules would read the current directory of the drive from the environment.
  if (drive !== "" && rest === "") return `${drive}/`;
  if (drive !== "" && !rest.startsWith("/")) {
    throw fail(
      `${drive} is a drive: write ${drive}/${rest} for a file in its root, and the id of a peer whose name is one letter`,
    );
  }
  for (const name of rest.split("/").filter((name) => !["", ".", ".."].includes(name))) {
    const problem = describeNameProblem(name);
    if (problem !== null) throw fail(`the name ${JSON.stringify(name)} ${problem}`);
  }
  return slashedText;
}

/** The device's directory. Its keys must never leave this machine, and no peer may change them. */
export type DeviceDirectory = Awaited<ReturnType<typeof findDeviceDirectory>>;

/**
 * Compares devices and inodes of files and directories, to recognize every path: another spelling,
 * a hard link, or another mount of the directory or of a part of it.
 */
export async function findDeviceDirectory(home: string) {
  const devicePath = await findExistingPath(home);
  const isMissing = await ignoreNotFound(Deno.lstat(devicePath)) === null;
  const { keys, fileSizes } = isMissing
    ? { keys: new Set<string>(), fileSizes: new Set<number>() }
    : listInodes(devicePath);
  const contains = (path: string) =>
    isInside(path, devicePath) || listAncestors(path).some((each) => isInodeIn(each, keys));
  const overlaps = (path: string) => contains(path) || arePathsNested(path, devicePath);
  return {
    filter: async (root: string, onSkipped: (path: readonly string[]) => void) => {
      const realRoot = await resolveRealPath(root);
      const names = isInside(devicePath, realRoot) ? relative(realRoot, devicePath).split("/") : [];
      return ({ path, kind, size }: TreeEntry) => {
        // Don't look up a name that can't be on this disk.
        if (path.some((name) => describeNameProblem(name) !== null)) return true;
        // A file of this name on the peer would replace the directory. Looking up each file would
        // take longer than listing it, so look up only files with the size of a file of the device.
        const isCandidate = kind === "directory" || path.length === names.length ||
          fileSizes.has(size);
        if (!isCandidate || !isInodeIn(join(realRoot, ...path), keys)) return true;
        onSkipped(path);
        return false;
      };
    },
    check: async (path: string) => {
      if (contains(await resolveRealPath(path))) throw makeDeviceDirectoryFailure(path);
    },
    overlaps,
    /** Refuses what is served as a whole, without the filter. */
    checkServed: (path: string, shownPath: string) => {
      if (!overlaps(path)) return;
      const device = `the directory of the device, ${JSON.stringify(devicePath)}`;
      const problem = `contains ${device}, or is in it: its keys must not leave it`;
      throw new Failure(`${shownPath} ${problem}`, "USAGE");
    },
  };
}

function listInodes(dir: string) {
  const keys = new Set<string>();
  const fileSizes = new Set<number>();
  const visit = (path: string) => {
    const info = Deno.lstatSync(path);
    const key = makeInodeKey(info);
    if (key !== null) keys.add(key);
    if (info.isFile) fileSizes.add(info.size);
    if (!info.isDirectory) return;
    for (const { name } of Deno.readDirSync(path)) visit(join(path, name));
  };
  visit(dir);
  return { keys, fileSizes };
}

/** Returns `null` on a disk without inodes. */
function makeInodeKey({ dev, ino }: Deno.FileInfo): string | null {
  return ino === null || ino === 0 ? null : `${dev}:${ino}`;
}

function findInodeKey(path: string): string | null {
  const info = findReadableInfo(path);
  return info === null ? null : makeInodeKey(info);
}

function isInodeIn(path: string, keys: ReadonlySet<string>): boolean {
  const key = findInodeKey(path);
  return key !== null && keys.has(key);
}

/** Returns the real path of a file or directory that may not exist yet. */
async function findExistingPath(path: string): Promise<string> {
  for (let each = path; mayRead(each); each = dirname(each)) {
    const existingPath = await ignoreNotFound(realPath(each));
    if (existingPath !== null) return join(existingPath, relative(each, path));
  }
  return path;
}

function listAncestors(path: string): string[] {
  const paths: string[] = [];
  for (let each = path;; each = dirname(each)) {
    if (mayRead(each)) paths.push(each);
    if (dirname(each) === each) return paths;
  }
}

/** Returns the path of the program's main module; `null` if it is compiled or from JSR. */
export function findLocalModule(): string | null {
  const { href, protocol } = MAIN_MODULE;
  return !Deno.build.standalone && protocol === "file:" ? fileURLToPath(href) : null;
}

/**
 * Refuses a directory that nobody mirrors: `/`, and each directory that contains the home
 * directory, the directory of the device, or this program.
 */
export async function checkMirrorTarget(path: string, deviceHome: string): Promise<void> {
  const target = await resolveRealPath(path);
  const variable = Deno.build.os === "windows" ? "USERPROFILE" : "HOME";
  const home = mayReadVariable(variable) ? findHomeDirectory() : null;
  const contents: readonly (readonly [path: string | null, name: string])[] = [
    [home, "your home directory"],
    [deviceHome, "the directory of the device"],
    [findLocalModule() ?? Deno.execPath(), "the program degu"],
  ];
  for (const [content, name] of contents) {
    if (content === null) continue;
    const realContent = await findExistingPath(content);
    if (!isNestedIn(realContent, target)) continue;
    const problem = realContent === target ? `is ${name}` : `contains ${name}`;
    throw new Failure(
      `--delete: ${JSON.stringify(path)} ${problem}, and everything in it that the peer doesn't ` +
        "have would be deleted: name a directory for this copy alone",
      "USAGE",
    );
  }
}

function makeDeviceDirectoryFailure(path: string): Failure {
  const problem = "is the directory of the device, or in it";
  const reason = "for its keys, nothing is copied into it or from it";
  return new Failure(`${JSON.stringify(path)} ${problem}: ${reason}`);
}

/** The path may be missing. */
export async function resolveRealPath(path: string): Promise<string> {
  const existingPath = await ignoreNotFound(realPath(path));
  if (existingPath !== null) return existingPath;
  const absolutePath = resolve(path);
  const parent = dirname(absolutePath);
  return parent === absolutePath || !mayRead(parent)
    ? absolutePath
    : join(await resolveRealPath(parent), basename(absolutePath));
}

/** Finds the directory with the earlier versions of another one, which may be missing. */
export async function findKeepingDirectory(path: string): Promise<string> {
  for (let dir = resolve(path); dirname(dir) !== dir; dir = dirname(dir)) {
    const keptDirectory = join(dir, KEPT_DIRECTORY);
    if (!mayRead(keptDirectory)) break;
    if (await ignoreNotFound(Deno.stat(keptDirectory)) !== null) return dir;
  }
  return path;
}

export async function makeMissingSourceFailure(path: string): Promise<Failure> {
  // Deno replaces bytes that are not UTF-8.
  const bytesProblem = path.includes("\ufffd") ? ", or its name is not UTF-8" : "";
  const problem = await describeDirectoryObstacle(path) ??
    `${JSON.stringify(path)} does not exist on this device${bytesProblem}`;
  return new Failure(problem, "NOT_FOUND", { path });
}

/**
 * Describes why a missing directory can't be created: the path leads through a link to a missing
 * directory, or through a file. Returns `null` otherwise.
 */
export async function describeDirectoryObstacle(path: string): Promise<string | null> {
  let existingPath = path;
  let info: Deno.FileInfo | null = null;
  while (mayRead(existingPath)) {
    info = await ignoreNotFound(Deno.lstat(existingPath));
    if (info !== null || dirname(existingPath) === existingPath) break;
    existingPath = dirname(existingPath);
  }
  if (info === null) return null;
  const realInfo = await ignoreNotFound(Deno.stat(existingPath));
  if (realInfo?.isDirectory) return null;
  const quotedPath = JSON.stringify(existingPath);
  if (realInfo !== null) return `${quotedPath} is not a directory`;
  const target = JSON.stringify(await Deno.readLink(existingPath));
  return `${quotedPath} is a symbolic link to ${target}, which does not exist`;
}

/**
 * @param mayBeMountPoint True for a command that doesn't create the directory, because its files
 * would fill the disk of the mount point.
 */
export async function describeMissingDirectory(
  path: string,
  mayBeMountPoint = false,
): Promise<string> {
  const hint = mayBeMountPoint ? ": is its disk mounted?" : "";
  return await describeDirectoryObstacle(path) ??
    `there is no directory ${JSON.stringify(path)} on this device${hint}`;
}

/**
 * Returns true if one of two real paths is inside the other, or if they are the same: by their
 * names, or by device and inode, because a directory may have several mounts.
 */
export function arePathsNested(firstPath: string, secondPath: string): boolean {
  return isNestedIn(firstPath, secondPath) || isNestedIn(secondPath, firstPath);
}

function isNestedIn(path: string, dir: string): boolean {
  if (isInside(path, dir)) return true;
  const key = findInodeKey(dir);
  return key !== null && listAncestors(path).some((each) => findInodeKey(each) === key);
}

function isInside(path: string, dir: string): boolean {
  const prefix = dir.endsWith("/") ? dir : `${dir}/`;
  return path === dir || path.startsWith(prefix);
}

export function isNotFound(error: unknown): boolean {
  const { code } = error as { readonly code?: unknown };
  return code === "ENOENT" || code === "ENOTDIR";
}

export async function ignoreNotFound<T>(result: Promise<T>): Promise<T | null> {
  try {
    return await result;
  } catch (error) {
    if (isNotFound(error)) return null;
    throw toExplainedFailure(error);
  }
}

/** Returns the same error for a missing permission of Deno, which ends the whole command. */
export function toExplainedFailure(error: unknown, prefix = ""): unknown {
  if (error instanceof Deno.errors.NotCapable) return error;
  return new Failure(`${prefix}${explain(error)}`, null, { cause: error });
}

export async function checkWritable(dir: string): Promise<void> {
  const path = join(dir, `.${crypto.randomUUID()}.degu-part`);
  // Unlike open, lstat names the path if this user may not enter the directory.
  await ignoreNotFound(Deno.lstat(path));
  (await Deno.open(path, { write: true, createNew: true })).close();
  await Deno.remove(path);
}
