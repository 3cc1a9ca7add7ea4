/**
 * Restoring a directory as it stood at a time, from the versions that were kept, into a new
 * directory. The restored directory isn't changed.
 *
 * While the files are copied, the new directory has a marker with the directory and the time. A
 * further call continues if they are the same. Each file is complete and synced before it has its
 * name.
 */

import {
  checkBoolean,
  checkFunction,
  checkOptions,
  checkSignal,
  notAllowedError,
  wrongTypeError,
} from "@degu/degu/internal";
import { closeLocked, lockIfFree, setMode, setModified } from "../disk/files.ts";
import {
  isFileSystemError,
  isMissingPathError,
  isSameFile,
  lstatOrNull,
  makeRandomSuffix,
  removeIfPresentSync,
  syncAllIfPossible,
} from "../disk/names.ts";
import { basename, dirname, join, realPath, resolve } from "../disk/paths.ts";
import { keptDirectoryOf } from "../kept_versions.ts";
import { pathOf } from "../options.ts";
import { isReservedName } from "../reserved_name.ts";
import { PART_SUFFIX, withTrailingSlash } from "../reserved.ts";
import {
  type MissingReason,
  type PlannedFile,
  planRestore,
  type RestoreDoubt,
  type RestoreGap,
  type RestorePlan,
} from "./restore_plan.ts";

/** The time, the new directory and the callbacks of {@linkcode restoreTree}. */
export interface RestoreOptions {
  /**
   * The path, or a `file:` URL, of the new directory. The path must not exist, or must be an empty
   * directory, or the directory of an interrupted call for the same directory and time.
   */
  readonly target: string | URL;
  /** The time, which must not be in the future. */
  readonly at: Date;
  /** True if the call only plans. By default false. */
  readonly dryRun?: boolean;
  /** Called for each entry of the plan; a file that is copied has its event after the copy. */
  readonly onEvent?: (event: RestoreEvent) => void;
  /** Aborts the call between two files. */
  readonly signal?: AbortSignal;
}

/** An event of {@linkcode restoreTree}. Paths are names below the directory. */
export type RestoreEvent =
  /** A time about which the logs don't have all namings. Such events come first. */
  | { readonly type: "gap" } & RestoreGap
  /** A file was restored; with `dryRun`, the file would be restored. */
  | {
    readonly type: "restored";
    readonly path: readonly string[];
    /** The size in bytes. */
    readonly size: number;
    /**
     * The directory of the version below `.degu-kept`, as `2026-01-31/14_laptop`; `null` if the
     * present file stood there.
     */
    readonly version: string | null;
    /** The reason for which another file may have stood there; usually `null`. */
    readonly doubt: RestoreDoubt | null;
  }
  /** An earlier call has restored the file. */
  | { readonly type: "unchanged"; readonly path: readonly string[] }
  /** A present file did not stand there. If `isLogged` is false, only its own times tell so. */
  | { readonly type: "absent"; readonly path: readonly string[]; readonly isLogged: boolean }
  /** An entry isn't restored. */
  | { readonly type: "missing"; readonly path: readonly string[]; readonly reason: MissingReason }
  /** A file couldn't be restored. */
  | { readonly type: "failed"; readonly path: readonly string[]; readonly error: unknown };

/** The result of {@linkcode restoreTree}. */
export interface RestoreResult {
  /** The number of files that this call has restored, or would restore. */
  readonly files: number;
  /** The size of these files in bytes. */
  readonly bytes: number;
  /** The number of files that an earlier call has restored. */
  readonly unchanged: number;
  /** The number of entries that aren't restored: `missing` events. */
  readonly missing: number;
  /** The number of files that couldn't be restored: `failed` events. */
  readonly failed: number;
  /** The number of files with a `doubt`, and of `absent` files without a line. */
  readonly doubtful: number;
  /** The number of gaps in the logs. */
  readonly gaps: number;
}

const MARKER_NAME = `.restore${PART_SUFFIX}`;
const TEMPORARY_NAME_PATTERN = /^\.restore-\w+\.degu-part$/;
const MAX_COPIES = 8;

/**
 * Copies the files that were in a directory at a time into a new directory. The directory, or one
 * above it, has kept versions: it was served by a `FilesApp` with `keep`, or is the target of a
 * `downloadTree` with `keep`. The directory isn't changed, and may be missing now. Directories
 * without files aren't restored.
 *
 * The logs of the kept versions tell each naming. So a file is the one that stood at the path at
 * this time. If the file was replaced more than once within an hour, it may be one that stood
 * there less than an hour before. Without logs, the times of the files decide: then a renamed file
 * may have its later path. Events report each doubt.
 *
 * Needs `--allow-read` of the directory that has `.degu-kept`, and `--allow-read` and
 * `--allow-write` of the target, and to create it, of the directory above it.
 *
 * @param dir The path, or a `file:` URL, of the directory.
 * @param options The new directory and the time.
 * @returns The numbers of files.
 * @throws {TypeError} if an argument has the wrong type.
 * @throws {RangeError} if `at` is in the future, or the target is in the directory.
 * @throws {Deno.errors.NotFound} if neither the directory nor one above it has kept versions.
 * @throws {Deno.errors.AlreadyExists} if the target exists, and is not empty or of another call.
 * @throws the error of the system if a directory can't be read or written.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { deleteEntry, FilesApp, restoreTree } from "@degu/files";
 * import { assertEquals } from "@std/assert";
 *
 * const dir = await Deno.makeTempDir();
 * const app = new FilesApp(dir, { write: true, keep: 30 });
 * await using server = await Server.start(["127.0.0.1", 0], app);
 * const client = new Client(server.address);
 * await client.request("PUT", "/note", {}, new TextEncoder().encode("text"));
 * const at = new Date();
 * await new Promise((resolve) => setTimeout(resolve, 10));
 * await deleteEntry(client, "/note");
 *
 * const target = await Deno.makeTempDir();
 * const { files } = await restoreTree(dir, { target, at });
 * assertEquals([files, await Deno.readTextFile(`${target}/note`)], [1, "text"]);
 * await Deno.remove(dir, { recursive: true });
 * await Deno.remove(target, { recursive: true });
 * ```
 */
export async function restoreTree(
  dir: string | URL,
  options: RestoreOptions,
): Promise<RestoreResult> {
  const { target, at, dryRun = false, onEvent = () => {}, signal } = checkOptions(
    options,
    {
      target: (_label: string, value: string | URL) => void pathOf("target", value),
      at: checkTime,
      dryRun: checkBoolean,
      onEvent: checkFunction,
      signal: checkSignal,
    },
  ) as RestoreOptions;
  const requestedTarget = resolve(pathOf("target", target));
  if (at === undefined) throw wrongTypeError("at", "a Date", at);
  const time = new Date(at);
  const path = await findRealPath(resolve(pathOf("dir", dir)));
  const targetPath = await findRealPath(requestedTarget);
  const { root, names } = findRoot(path);
  for (const outer of [path, keptDirectoryOf(root)]) {
    if (withTrailingSlash(targetPath).startsWith(withTrailingSlash(outer))) {
      throw notAllowedError("target", `must not be in ${outer}`);
    }
  }
  const marker = JSON.stringify({ dir: path, at: time.toISOString() });
  checkTarget(targetPath, marker);
  const plan = await planRestore(root, names, time);
  const run = new Run(targetPath, plan, onEvent, signal);
  if (dryRun) return run.describe();
  const isNew = createDirectory(targetPath);
  using _marker = openMarker(targetPath, marker);
  if (isNew) await syncAllIfPossible([dirname(targetPath)]);
  const result = await run.copy();
  if (result.failed === 0) removeIfPresentSync(`${targetPath}/${MARKER_NAME}`);
  await syncAllIfPossible([targetPath]);
  return result;
}

function checkTime(label: string, time: Date): void {
  if (!(time instanceof Date)) throw wrongTypeError(label, "a Date", time);
  if (Number.isNaN(time.getTime())) throw notAllowedError(label, "must be a valid date");
  if (time.getTime() > Date.now()) throw notAllowedError(label, "must not be in the future");
}

/** Returns the real path of a directory that may be missing. */
async function findRealPath(path: string): Promise<string> {
  try {
    return await realPath(path);
  } catch (error) {
    if (!isMissingPathError(error) || dirname(path) === path) throw error;
    return join(await findRealPath(dirname(path)), basename(path));
  }
}

/** Finds the innermost directory that has versions: the directory itself, or one above it. */
function findRoot(path: string): { readonly root: string; readonly names: readonly string[] } {
  const names: string[] = [];
  for (let root = path;; root = dirname(root)) {
    if (hasVersions(root, root === path)) return { root, names };
    const name = basename(root);
    if (dirname(root) === root || isReservedName(name)) {
      const problem = `no earlier versions are kept of ${path}: it was not served or copied with ` +
        "keep, or its versions were removed";
      throw new Deno.errors.NotFound(problem);
    }
    names.unshift(name);
  }
}

function hasVersions(root: string, isRequired: boolean): boolean {
  try {
    return lstatOrNull(keptDirectoryOf(root))?.isDirectory === true;
  } catch (error) {
    // The program may not read all directories above the restored directory.
    if (error instanceof Deno.errors.NotCapable && !isRequired) return false;
    throw error;
  }
}

function checkTarget(target: string, marker: string): void {
  const info = lstatOrNull(target);
  if (info === null) return;
  if (!info.isDirectory) throw new Deno.errors.AlreadyExists(`${target} exists`);
  const existingMarker = readMarker(`${target}/${MARKER_NAME}`);
  if (existingMarker === marker) return;
  if (existingMarker !== "") {
    const { dir, at } = parseMarker(existingMarker);
    throw new Deno.errors.AlreadyExists(
      `${target} has an unfinished restore of ${dir} at ${at}`,
    );
  }
  const isEmpty = [...Deno.readDirSync(target)].every(({ name }) => name === MARKER_NAME);
  if (!isEmpty) throw new Deno.errors.AlreadyExists(`${target} exists, and is not empty`);
}

/** A killed process may have left an empty marker in an empty directory. */
function readMarker(path: string): string {
  return lstatOrNull(path) === null ? "" : Deno.readTextFileSync(path);
}

function parseMarker(text: string): { readonly dir: unknown; readonly at: unknown } {
  try {
    return JSON.parse(text);
  } catch {
    return { dir: "another directory", at: "another time" };
  }
}

/** Returns false if the directory exists. */
function createDirectory(path: string): boolean {
  if (lstatOrNull(path) !== null) return false;
  Deno.mkdirSync(path, { mode: 0o700 });
  return true;
}

/** Creates the marker of the target, and locks it. Another call may have used the target before. */
function openMarker(target: string, marker: string): Disposable {
  const path = `${target}/${MARKER_NAME}`;
  const file = Deno.openSync(path, { read: true, write: true, create: true, mode: 0o600 });
  try {
    if (!lockIfFree(file)) throw new Deno.errors.Busy(`another call restores to ${target}`);
    const isNew = file.statSync().size === 0;
    try {
      checkTarget(target, marker);
    } catch (error) {
      if (isNew) removeIfPresentSync(path);
      throw error;
    }
    if (isNew) {
      file.writeSync(new TextEncoder().encode(marker));
      file.syncSync();
    }
    // A killed process may have left a file.
    for (const { name } of Deno.readDirSync(target)) {
      if (TEMPORARY_NAME_PATTERN.test(name)) removeIfPresentSync(`${target}/${name}`);
    }
  } catch (error) {
    closeLocked(file);
    throw error;
  }
  return { [Symbol.dispose]: () => closeLocked(file) };
}

class Run {
  readonly #target: string;
  readonly #plan: RestorePlan;
  readonly #onEvent: (event: RestoreEvent) => void;
  readonly #signal: AbortSignal | undefined;
  readonly #changedDirectories = new Set<string>();
  /** The files of the target that this call has restored, or has found restored. */
  readonly #restoredFiles = new Set<string>();
  readonly #counts = { files: 0, bytes: 0, unchanged: 0, failed: 0, doubtful: 0 };

  constructor(
    target: string,
    plan: RestorePlan,
    onEvent: (event: RestoreEvent) => void,
    signal: AbortSignal | undefined,
  ) {
    this.#target = target;
    this.#plan = plan;
    this.#onEvent = onEvent;
    this.#signal = signal;
  }

  describe(): RestoreResult {
    this.#describeRest();
    for (const file of this.#plan.files) {
      if (this.#isRestored(file)) this.#reportUnchanged(file);
      else this.#reportRestored(file);
    }
    return this.#result();
  }

  async copy(): Promise<RestoreResult> {
    this.#describeRest();
    const remainingFiles = this.#plan.files.values();
    await Promise.all(Array.from({ length: MAX_COPIES }, async () => {
      for (const file of remainingFiles) {
        this.#signal?.throwIfAborted();
        await this.#copyFile(file);
      }
    }));
    await syncAllIfPossible(this.#changedDirectories);
    return this.#result();
  }

  #describeRest(): void {
    const { gaps, absent, missing } = this.#plan;
    for (const gap of gaps) this.#onEvent({ type: "gap", ...gap });
    for (const file of absent) {
      if (!file.isLogged) this.#counts.doubtful++;
      this.#onEvent({ type: "absent", ...file });
    }
    for (const file of missing) this.#onEvent({ type: "missing", ...file });
  }

  #result(): RestoreResult {
    const { missing, gaps } = this.#plan;
    return { ...this.#counts, missing: missing.length, gaps: gaps.length };
  }

  #pathOf(path: readonly string[]): string {
    return `${withTrailingSlash(this.#target)}${path.join("/")}`;
  }

  /** Each file with its final name is complete. */
  #isRestored({ path, info }: PlannedFile): boolean {
    const existing = lstatOrNull(this.#pathOf(path));
    return existing !== null && existing.isFile && existing.size === info.size &&
      existing.mtime?.getTime() === info.mtime?.getTime();
  }

  #reportUnchanged({ path, doubt }: PlannedFile): void {
    this.#counts.unchanged++;
    if (doubt !== null) this.#counts.doubtful++;
    this.#onEvent({ type: "unchanged", path });
  }

  #reportRestored({ path, info: { size }, version, doubt }: PlannedFile): void {
    this.#counts.files++;
    this.#counts.bytes += size;
    if (doubt !== null) this.#counts.doubtful++;
    this.#onEvent({ type: "restored", path, size, version, doubt });
  }

  async #copyFile(file: PlannedFile): Promise<void> {
    const { path } = file;
    try {
      const targetPath = this.#pathOf(path);
      this.#checkNotRestored(targetPath);
      if (this.#isRestored(file)) {
        this.#addRestored(targetPath);
        return this.#reportUnchanged(file);
      }
      this.#makeDirectories(path.slice(0, -1));
      const temporaryPath = `${this.#target}/.restore-${makeRandomSuffix()}${PART_SUFFIX}`;
      try {
        await copyUnchanged(file, temporaryPath);
        this.#checkNotRestored(targetPath);
        Deno.renameSync(temporaryPath, targetPath);
        this.#addRestored(targetPath);
      } finally {
        removeIfPresentSync(temporaryPath);
      }
      this.#changedDirectories.add(dirname(targetPath));
    } catch (error) {
      if (!isFileSystemError(error) || error instanceof Deno.errors.NotCapable) throw error;
      this.#counts.failed++;
      return this.#onEvent({ type: "failed", path, error });
    }
    this.#reportRestored(file);
  }

  /** The disk of the target may take two names for one, as with upper and lower case. */
  #checkNotRestored(targetPath: string): void {
    const info = lstatOrNull(targetPath);
    if (info === null || !this.#restoredFiles.has(formatIdentity(info))) return;
    const problem = `${targetPath} is another restored file: the disk takes two names for one`;
    throw Object.assign(new Error(problem), { code: "EEXIST" });
  }

  #addRestored(targetPath: string): void {
    const info = lstatOrNull(targetPath);
    // Deno rounds larger numbers, so that two files have the same.
    if (info === null || !Number.isSafeInteger(info.ino)) return;
    this.#restoredFiles.add(formatIdentity(info));
  }

  #makeDirectories(names: readonly string[]): void {
    for (let depth = 1; depth <= names.length; depth++) {
      const directory = this.#pathOf(names.slice(0, depth));
      if (lstatOrNull(directory)?.isDirectory) continue;
      Deno.mkdirSync(directory);
      this.#changedDirectories.add(directory).add(dirname(directory));
    }
  }
}

function formatIdentity({ dev, ino }: Deno.FileInfo): string {
  return `${dev} ${ino}`;
}

/** A hard link would pass later changes of the restored file on to the version. */
async function copyUnchanged({ source, info }: PlannedFile, targetPath: string): Promise<void> {
  await Deno.copyFile(source, targetPath);
  const sourceInfo = lstatOrNull(source);
  const isUnchanged = sourceInfo !== null && isSameFile(sourceInfo, info) &&
    sourceInfo.size === info.size && sourceInfo.mtime?.getTime() === info.mtime?.getTime() &&
    Deno.lstatSync(targetPath).size === info.size;
  if (!isUnchanged) {
    throw Object.assign(new Error(`${source} changed during the copy`), { code: "EAGAIN" });
  }
  if (info.mode !== null) setMode(targetPath, info.mode);
  if (info.mtime !== null) setModified(targetPath, info.mtime);
  using file = await Deno.open(targetPath, { read: true, write: Deno.build.os === "windows" });
  await file.sync();
}
