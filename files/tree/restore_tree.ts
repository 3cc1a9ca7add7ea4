/**
 * Restoring a directory as it was at the beginning of a period (see `kept_versions.ts`): copies the
 * present files, with what this period and the later ones have, into a new directory. The restored
 * directory isn't changed.
 *
 * While the files are copied, the new directory has a marker, by whose name a further call knows
 * that an interrupted call has restored the same state.
 */

import { DeguError } from "../../base.ts";
import {
  checkBoolean,
  checkFunction,
  checkOptions,
  checkSignal,
  notAllowedError,
  wrongTypeError,
} from "../../internal/checks.ts";
import { closeLocked, isStoredTime, lockIfFree, setMode, setModified } from "../disk/files.ts";
import {
  isFileSystemError,
  isMissingPathError,
  isSameFile,
  lstatOrNull,
  makeRandomSuffix,
  removeIfPresentSync,
  syncAllIfPossible,
} from "../disk/names.ts";
import { ignoreNotFound } from "../../internal/caught_errors.ts";
import { basename, dirname, join, realPath, resolve } from "../../internal/paths.ts";
import { isDiskFullError } from "../disk/space.ts";
import { hashText } from "../wire/digest.ts";
import { areFileNames } from "../wire/file_name.ts";
import {
  hourAt,
  hourOf,
  keptDirectoryOf,
  listFiles,
  type Period,
  readAllPeriods,
  readNewPaths,
} from "../kept_versions.ts";
import { pathOf } from "../options.ts";
import { isReservedName, PART_SUFFIX, withTrailingSlash } from "../reserved.ts";
import { normalizeName } from "./tree.ts";

/** The time, the new directory and the callbacks of {@linkcode restoreTree}. */
export interface RestoreOptions {
  /**
   * The path, or a `file:` URL, of the new directory, which must not exist, or must be empty, or
   * of an interrupted call for the same directory and state. Without a target, only `dryRun` is
   * possible: the plan is that for a new directory.
   */
  readonly target?: string | URL | undefined;
  /**
   * The beginning of the local hour of this time; or the name of a directory in `.degu-kept`, for
   * the state before the changes of this directory.
   */
  readonly at: Date | string;
  /** True if the call only plans. By default false. */
  readonly dryRun?: boolean | undefined;
  /** Called for each entry of the plan; a file that is copied has its event after the copy. */
  readonly onEvent?: ((event: RestoreEvent) => void) | undefined;
  /** Aborts the call between two files. */
  readonly signal?: AbortSignal | undefined;
}

/** The reason for which an entry isn't restored. */
export type MissingReason =
  /** The directory has earlier versions of its own: restore it by itself. */
  | "own versions"
  /** The entry is a link, or neither a file nor a directory. */
  | "no file"
  /** The entry can't be read. */
  | "unreadable";

/** An event of {@linkcode restoreTree}. Paths are names below the directory. */
export type RestoreEvent =
  /** A file is restored: from a directory in `.degu-kept`, or with `null` the present file. */
  | {
    readonly type: "restored";
    readonly path: readonly string[];
    readonly size: number;
    readonly version: string | null;
  }
  /** An earlier call has restored the file. */
  | { readonly type: "unchanged"; readonly path: readonly string[] }
  /** A present file was not there. */
  | { readonly type: "absent"; readonly path: readonly string[] }
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
}

/** The reason of a {@linkcode RestoreError}. */
export type RestoreErrorCode =
  /** Neither the directory nor one above it has kept versions. */
  | "NO_VERSIONS"
  /** No directory in `.degu-kept` has this name, or the time is before the first one. */
  | "NO_STATE"
  /** The clock was wrong, so that the time doesn't tell which changes came before it. */
  | "CLOCK"
  /** A `.degu-kept` of a directory above it also has versions, and the order of all is unknown. */
  | "OTHER_VERSIONS";

/** A directory can't be restored as it was at a time. */
export class RestoreError extends DeguError {
  /** Always `"RestoreError"`. */
  override readonly name = "RestoreError";
  /** The reason. */
  override readonly code: RestoreErrorCode;
  /** The directories in `.degu-kept` that `at` can name instead, in their order. */
  readonly choices: readonly string[];

  /**
   * Makes an error.
   *
   * @param code The reason.
   * @param message The message.
   * @param choices The directories in `.degu-kept` that `at` can name instead, in their order.
   */
  constructor(code: RestoreErrorCode, message: string, choices: readonly string[] = []) {
    super(message);
    this.code = code;
    this.choices = choices;
  }
}

interface Source {
  readonly file: string;
  readonly info: Deno.FileInfo;
  /** The name of the period; `null` for the present file. */
  readonly version: string | null;
}

const MAX_COPIES = 8;
/** A device without a battery starts in 1970: before this hour, no clock was set. */
const FIRST_HOUR = "2020-01-01T00";
const MAX_CHOICES = 6;

/**
 * Copies the files that were in a directory at a time into a new directory. The directory, or one
 * above it, has kept versions: it was served by a `FilesApp` with `keep`, or is the target of a
 * `downloadTree` with `keep`. The directory isn't changed, and may be missing now. Directories
 * without files aren't restored.
 *
 * All changes with `keep` since then are undone. What another program, or a call without `keep`,
 * has changed stays changed.
 *
 * Needs `--allow-read` of the directory that has `.degu-kept`, and `--allow-read` and
 * `--allow-write` of the target.
 *
 * @param dir The path, or a `file:` URL, of the directory.
 * @param options The new directory and the time.
 * @returns The numbers of files.
 * @throws {TypeError} if an argument has the wrong type.
 * @throws {RangeError} if the target is in the directory.
 * @throws {RestoreError} if there are no versions of this time.
 * @throws {Deno.errors.AlreadyExists} if the target has other files.
 * @throws the error of the system if a directory can't be read or written, or the disk is full.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { deleteEntry, FilesApp, restoreTree } from "@degu/degu/files";
 * import { assertEquals } from "@std/assert";
 *
 * const dir = await Deno.makeTempDir();
 * await Deno.writeTextFile(`${dir}/note`, "text");
 * const app = new FilesApp(dir, { write: true, keep: 30 });
 * await using server = await Server.start(["127.0.0.1", 0], app);
 * await deleteEntry(new Client(server.address), "/note");
 *
 * const target = `${await Deno.makeTempDir()}/restored`;
 * const { files } = await restoreTree(dir, { target, at: new Date() });
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
  const requestedTarget = target === undefined && dryRun
    ? null
    : resolve(pathOf("target", target!));
  if (at === undefined) throw wrongTypeError("at", "a Date or a string", at);
  const path = await findRealPath(resolve(pathOf("dir", dir)));
  const targetPath = requestedTarget === null ? null : await findRealPath(requestedTarget);
  const { root, names } = findRoot(path);
  const keptDirectory = keptDirectoryOf(root);
  for (const outer of [path, keptDirectory]) {
    if (targetPath !== null && withTrailingSlash(targetPath).startsWith(withTrailingSlash(outer))) {
      throw notAllowedError("target", `must not be in ${outer}`);
    }
  }
  const periods = await readAllPeriods(keptDirectory);
  await checkOuterVersions(root, names);
  const firstNumber = findFirstNumber(periods, at);
  const id = hashText(JSON.stringify([path, firstNumber]));
  const marker = `.restore-${id}${PART_SUFFIX}`;
  if (targetPath !== null) checkTarget(targetPath, marker);
  const hasPeriods = periods.at(-1)!.number >= firstNumber;
  const state = { root, keptDirectory, prefix: names, firstNumber, hasPeriods };
  const run = new Run(state, targetPath, onEvent, signal);
  await run.plan();
  if (!run.hasFiles || dryRun || targetPath === null) return run.describe();
  const isNew = lstatOrNull(targetPath) === null;
  if (isNew) Deno.mkdirSync(targetPath, { mode: 0o700 });
  using _marker = openMarker(targetPath, marker);
  if (isNew) await syncAllIfPossible([dirname(targetPath)]);
  await run.copy();
  // After a failure, the marker stays for a call that continues.
  if (run.result.failed === 0) removeIfPresentSync(`${targetPath}/${marker}`);
  await syncAllIfPossible([targetPath]);
  return run.result;
}

const TEMPORARY_NAME_PATTERN = /^\.restore-copy-\w+\.degu-part$/;

/** The target is new, empty, or has the marker of an interrupted call for the same state. */
function checkTarget(target: string, marker: string): void {
  const info = lstatOrNull(target);
  if (info === null) return;
  const isFree = info.isDirectory && (lstatOrNull(`${target}/${marker}`) !== null ||
    Deno.readDirSync(target)[Symbol.iterator]().next().done === true);
  if (!isFree) throw new Deno.errors.AlreadyExists(`${target} exists, and is not empty`);
}

/** Creates the marker of the target, and locks it. Another call may have used the target before. */
function openMarker(target: string, marker: string): Disposable {
  checkTarget(target, marker);
  const file = Deno.openSync(`${target}/${marker}`, { write: true, create: true, mode: 0o600 });
  try {
    if (!lockIfFree(file)) throw new Deno.errors.Busy(`another call restores to ${target}`);
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

function checkTime(label: string, time: Date | string): void {
  if (typeof time === "string") return;
  if (!(time instanceof Date)) throw wrongTypeError(label, "a Date or a string", time);
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
      throw new RestoreError("NO_VERSIONS", problem);
    }
    names.unshift(name);
  }
}

/**
 * Throws if a directory above the root also has versions of files below it. The periods of two
 * directories have no common order.
 */
async function checkOuterVersions(root: string, names: readonly string[]): Promise<void> {
  let below = names.join("/");
  for (let inner = root; dirname(inner) !== inner; inner = dirname(inner)) {
    const outer = dirname(inner);
    below = below === "" ? basename(inner) : `${basename(inner)}/${below}`;
    if (!hasVersions(outer, false)) continue;
    const directory = keptDirectoryOf(outer);
    for (const period of await readAllPeriods(directory)) {
      const isChanged = lstatOrNull(`${directory}/${period.name}/${below}`)?.isDirectory ||
        readNewPaths(directory, period).some((path) => path.startsWith(`${below}/`));
      if (!isChanged) continue;
      const problem = `${directory} and ${keptDirectoryOf(root)} both have versions of ${root}`;
      throw new RestoreError("OTHER_VERSIONS", problem);
    }
  }
}

function hasVersions(root: string, isRequired: boolean): boolean {
  const path = keptDirectoryOf(root);
  // The program may not read all directories above the restored directory, and Deno would prompt.
  const { state } = Deno.permissions.querySync({ name: "read", path });
  return (isRequired || state === "granted") && lstatOrNull(path)?.isDirectory === true;
}

/**
 * Finds the number of the first period that is undone. If none is undone, it is the number of the
 * next period.
 */
function findFirstNumber(periods: readonly Period[], at: Date | string): number {
  const fail = (code: RestoreErrorCode, problem: string, first: number) => {
    const start = Math.max(0, Math.min(first, periods.length) - MAX_CHOICES / 2);
    const choices = periods.slice(start, start + MAX_CHOICES).map(({ name }) => name);
    return new RestoreError(code, problem, choices);
  };
  if (periods.length === 0) throw new RestoreError("NO_VERSIONS", "no earlier versions are kept");
  if (typeof at === "string") {
    const period = periods.find(({ name }) => name === at);
    if (period !== undefined) return period.number;
    throw fail("NO_STATE", `no earlier versions are named ${at}`, periods.length);
  }
  const hour = hourAt(at);
  const index = periods.findIndex((period) => hourOf(period) >= hour);
  const first = index < 0 ? periods.length : index;
  const hours = periods.map(hourOf);
  const [hoursBefore, hoursSince] = [hours.slice(0, first), hours.slice(first)];
  const isInOrder = hoursBefore.every((each) => each <= hoursBefore.at(-1)!) &&
    [...hoursSince, hourAt(new Date(Date.now()))].every((each) => each >= (hoursSince[0] ?? ""));
  const areSet = [hoursBefore.at(-1), hoursSince[0]].every((each) => !(each! < FIRST_HOUR));
  if (!isInOrder || !areSet) {
    const near = periods.findLastIndex((period) => hourOf(period) < hour) + 1;
    const problem = areSet
      ? "the hours of the kept versions and of the clock are not in order"
      : "the clock was not set";
    throw fail("CLOCK", `${problem}: it is unknown what changed before ${hour}`, near);
  }
  if (first === 0 && hours[0] !== hour) {
    throw fail("NO_STATE", `there are no earlier versions of ${hour}`, first);
  }
  return periods[0]!.number + first;
}

interface State {
  readonly root: string;
  readonly keptDirectory: string;
  /** The names of the restored directory below the root. */
  readonly prefix: readonly string[];
  readonly firstNumber: number;
  readonly hasPeriods: boolean;
}

class Run {
  readonly #state: State;
  /** `null` for a plan without a target. */
  readonly #target: string | null;
  readonly #onEvent: (event: RestoreEvent) => void;
  readonly #signal: AbortSignal | undefined;
  /** What each path has at the time, `null` for nothing. */
  readonly #sources = new Map<string, Source | null>();
  /** The directories with versions of their own. */
  readonly #ownVersions = new Set<string>();
  readonly #changedDirectories = new Set<string>();
  /** The files of the target that this call has restored, or has found restored. */
  readonly #restoredFiles = new Set<string>();
  readonly result = { files: 0, bytes: 0, unchanged: 0, missing: 0, failed: 0 };

  constructor(
    state: State,
    target: string | null,
    onEvent: (event: RestoreEvent) => void,
    signal: AbortSignal | undefined,
  ) {
    this.#state = state;
    this.#target = target;
    this.#onEvent = onEvent;
    this.#signal = signal;
  }

  get hasFiles(): boolean {
    return [...this.#sources.values()].some((source) => source !== null);
  }

  async plan(): Promise<void> {
    // First the present files: if a file changes meanwhile, the last period has its old content.
    const presentFiles = await this.#listPresent();
    const pathsByFile = new Map(
      Array.from(presentFiles, ([path, { info }]) => [formatIdentity(info), path]),
    );
    /** The paths that were new or changed before, by their normalized paths. */
    const earlierPaths = new Map<string, Set<string>>();
    const addEarlierPaths = (paths: Iterable<string>) => {
      for (const path of paths) {
        earlierPaths.getOrInsertComputed(normalizePath(path), () => new Set()).add(path);
      }
    };
    const findEarlierPath = (path: string, source: Source, listedPaths: ReadonlySet<string>) => {
      const similarPaths = earlierPaths.get(normalizePath(path));
      return similarPaths === undefined || similarPaths.has(path)
        ? undefined
        : findSpellingOfVersion(path, source, similarPaths, listedPaths);
    };
    const add = (changedPath: string, source: Source | null) => {
      const path = presentFiles.has(changedPath)
        ? changedPath
        : this.#findSpelling(changedPath, pathsByFile);
      const names = path.split("/");
      const isBelow = names.length > this.#state.prefix.length &&
        this.#state.prefix.every((name, index) => names[index] === name);
      if (!isBelow || names.some(isReservedName)) return;
      if (this.#isOfOwnVersions(names)) return;
      if (!this.#sources.has(path)) this.#sources.set(path, source);
    };
    for (const period of await this.#readPeriods()) {
      const newPaths = readNewPaths(this.#state.keptDirectory, period);
      for (const path of newPaths) if (areFileNames(path.split("/"))) add(path, null);
      addEarlierPaths(newPaths);
      const periodPath = `${this.#state.keptDirectory}/${period.name}`;
      const versions = listFiles(periodPath, this.#state.prefix.join("/"));
      const listedPaths = new Set(await Array.fromAsync(versions));
      const versionPaths: string[] = [];
      for (const listedPath of listedPaths) {
        const source = this.#findVersion(period, listedPath);
        if (source === null) continue;
        const path = findEarlierPath(listedPath, source, listedPaths) ?? listedPath;
        add(path, source);
        versionPaths.push(path);
      }
      addEarlierPaths(versionPaths);
    }
    // Old versions may have been removed since then.
    await this.#readPeriods();
    for (const [path, source] of presentFiles) {
      add(path, source);
      const isAbsent = this.#sources.get(path) === null;
      if (isAbsent) this.#onEvent({ type: "absent", path: this.#namesOf(path) });
    }
  }

  /** A disk may take two names for one, as with upper and lower case: returns the listed path. */
  #findSpelling(path: string, pathsByFile: ReadonlyMap<string, string>): string {
    const info = ignoreUnreadable(() =>
      lstatOrNull(`${withTrailingSlash(this.#state.root)}${path}`)
    );
    const listedPath = info === null ? undefined : pathsByFile.get(formatIdentity(info));
    return listedPath !== undefined && normalizePath(listedPath) === normalizePath(path)
      ? listedPath
      : path;
  }

  /** Reads the periods that are undone. */
  async #readPeriods(): Promise<readonly Period[]> {
    const periods = (await readAllPeriods(this.#state.keptDirectory))
      .filter(({ number }) => number >= this.#state.firstNumber);
    const isEmpty = periods.length === 0 && !this.#state.hasPeriods;
    if (isEmpty || periods[0]?.number === this.#state.firstNumber) return periods;
    throw new RestoreError("NO_STATE", "the earlier versions were removed at the same time");
  }

  #isOfOwnVersions(names: readonly string[]): boolean {
    return names.some((_name, depth) => this.#ownVersions.has(names.slice(0, depth).join("/")));
  }

  async #listPresent(): Promise<ReadonlyMap<string, Source>> {
    const files = new Map<string, Source>();
    const pending = [this.#state.prefix.join("/")];
    for (let directory; (directory = pending.pop()) !== undefined;) {
      const directoryPath = `${withTrailingSlash(this.#state.root)}${directory}`;
      if (!lstatOrNull(directoryPath)?.isDirectory) continue;
      for (const { name } of await this.#readDirectory(directoryPath, directory)) {
        if (isReservedName(name)) continue;
        const path = directory === "" ? name : `${directory}/${name}`;
        const file = `${withTrailingSlash(this.#state.root)}${path}`;
        const info = ignoreUnreadable(() => lstatOrNull(file));
        if (info?.isFile) files.set(path, { file, info, version: null });
        else if (!info?.isDirectory) this.#addMissing(path, info ? "no file" : "unreadable");
        else if (lstatOrNull(keptDirectoryOf(file)) === null) pending.push(path);
        else {
          this.#ownVersions.add(path);
          this.#addMissing(path, "own versions");
        }
      }
    }
    return files;
  }

  async #readDirectory(path: string, directory: string): Promise<Deno.DirEntry[]> {
    try {
      return await Array.fromAsync(Deno.readDir(path));
    } catch (error) {
      if (error instanceof Deno.errors.NotCapable) throw error;
      if (directory === this.#state.prefix.join("/")) throw error;
      this.#addMissing(directory, "unreadable");
      return [];
    }
  }

  #addMissing(path: string, reason: MissingReason): void {
    this.result.missing++;
    this.#onEvent({ type: "missing", path: this.#namesOf(path), reason });
  }

  #namesOf(path: string): readonly string[] {
    return path.split("/").slice(this.#state.prefix.length);
  }

  #findVersion({ name }: Period, path: string): Source | null {
    const file = `${this.#state.keptDirectory}/${name}/${path}`;
    const info = lstatOrNull(file);
    return info?.isFile ? { file, info, version: name } : null;
  }

  describe(): RestoreResult {
    for (const [path, source] of this.#sources) {
      if (source === null) continue;
      const isRestored = this.#target !== null && this.#isRestored(this.#targetOf(path), source);
      if (isRestored) this.#reportUnchanged(path);
      else this.#reportRestored(path, source);
    }
    return this.result;
  }

  async copy(): Promise<void> {
    const remainingSources = this.#sources.entries();
    const errors: unknown[] = [];
    await Promise.all(Array.from({ length: MAX_COPIES }, async () => {
      try {
        for (const [path, source] of remainingSources) {
          if (errors.length > 0) return;
          this.#signal?.throwIfAborted();
          if (source !== null) await this.#copyFile(path, source);
        }
      } catch (error) {
        errors.push(error);
      }
    }));
    // The other copies have ended, too.
    if (errors.length > 0) throw errors[0];
    await syncAllIfPossible(this.#changedDirectories);
  }

  #targetOf(path: string): string {
    return `${this.#target}/${this.#namesOf(path).join("/")}`;
  }

  /** Each file with its final name is complete. */
  #isRestored(targetPath: string, { info }: Source): boolean {
    const existing = lstatOrNull(targetPath);
    return existing !== null && existing.isFile && existing.size === info.size &&
      (info.mtime === null || isStoredTime(existing.mtime, info.mtime)) &&
      !this.#restoredFiles.has(formatIdentity(existing));
  }

  #reportUnchanged(path: string): void {
    this.result.unchanged++;
    this.#onEvent({ type: "unchanged", path: this.#namesOf(path) });
  }

  #reportRestored(path: string, { info: { size }, version }: Source): void {
    this.result.files++;
    this.result.bytes += size;
    this.#onEvent({ type: "restored", path: this.#namesOf(path), size, version });
  }

  async #copyFile(path: string, planned: Source): Promise<void> {
    const targetPath = this.#targetOf(path);
    const temporaryPath = `${this.#target}/.restore-copy-${makeRandomSuffix()}${PART_SUFFIX}`;
    let source = planned;
    try {
      if (this.#isRestored(targetPath, source)) {
        this.#addRestored(targetPath);
        return this.#reportUnchanged(path);
      }
      this.#checkFree(targetPath);
      this.#makeDirectory(dirname(targetPath));
      while (!await copyUnchanged(source, temporaryPath)) {
        // The present file has changed since then, or a version was removed.
        const versions = (await this.#readPeriods()).map((period) =>
          this.#findVersion(period, path)
        );
        const version = versions.find((each) => each !== null);
        if (source.version !== null || version === undefined) {
          throw Object.assign(new Error(`${source.file} changed during the copy`), {
            code: "EAGAIN",
          });
        }
        source = version;
      }
      this.#checkFree(targetPath);
      Deno.renameSync(temporaryPath, targetPath);
      this.#addRestored(targetPath);
    } catch (error) {
      const isOfFile = isFileSystemError(error) && !isDiskFullError(error) &&
        !(error instanceof Deno.errors.NotCapable);
      if (!isOfFile) throw error;
      this.result.failed++;
      return this.#onEvent({ type: "failed", path: this.#namesOf(path), error });
    } finally {
      removeIfPresentSync(temporaryPath);
    }
    this.#reportRestored(path, source);
  }

  #checkFree(targetPath: string): void {
    const info = lstatOrNull(targetPath);
    if (info === null) return;
    // The disk of the target may take two names for one, as with upper and lower case.
    const problem = this.#restoredFiles.has(formatIdentity(info))
      ? "is another restored file: the disk takes two names for one"
      : "exists, and is not the file of this time: it may be changed";
    throw Object.assign(new Error(`${targetPath} ${problem}`), { code: "EEXIST" });
  }

  #addRestored(targetPath: string): void {
    const info = lstatOrNull(targetPath);
    // Deno rounds larger numbers, so that two files have the same.
    if (info === null || !Number.isSafeInteger(info.ino)) return;
    this.#restoredFiles.add(formatIdentity(info));
  }

  #makeDirectory(path: string): void {
    this.#changedDirectories.add(path);
    if (lstatOrNull(path)?.isDirectory) return;
    this.#makeDirectory(dirname(path));
    Deno.mkdirSync(path);
  }
}

const normalizePath = (path: string) => path.split("/").map(normalizeName).join("/");

/**
 * Finds the path of an earlier change that the disk takes for the path of a version, as with upper
 * and lower case.
 *
 * @param listedPaths The paths of the versions of the same period.
 */
function findSpellingOfVersion(
  path: string,
  { file, info }: Source,
  earlierPaths: ReadonlySet<string>,
  listedPaths: ReadonlySet<string>,
): string | undefined {
  const periodPath = file.slice(0, -path.length);
  return [...earlierPaths].find((earlierPath) => {
    if (listedPaths.has(earlierPath)) return false;
    const earlierInfo = lstatOrNull(`${periodPath}${earlierPath}`);
    return earlierInfo !== null && formatIdentity(earlierInfo) === formatIdentity(info);
  });
}

/** Deno can't name a file whose name isn't UTF-8. */
function ignoreUnreadable<T>(read: () => T): T | null {
  try {
    return read();
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    return null;
  }
}

function formatIdentity({ dev, ino }: Deno.FileInfo): string {
  return `${dev} ${ino}`;
}

/**
 * Returns false if the file has changed. A hard link would pass later changes of the restored file
 * on to the version.
 */
async function copyUnchanged({ file, info }: Source, targetPath: string): Promise<boolean> {
  if (await ignoreNotFound(Deno.copyFile(file, targetPath).then(() => true)) === null) return false;
  const fileInfo = lstatOrNull(file);
  const isUnchanged = fileInfo !== null && isSameFile(fileInfo, info) &&
    fileInfo.size === info.size && fileInfo.mtime?.getTime() === info.mtime?.getTime() &&
    Deno.lstatSync(targetPath).size === info.size;
  if (!isUnchanged) return false;
  if (info.mode !== null) setMode(targetPath, info.mode);
  if (info.mtime !== null) setModified(targetPath, info.mtime);
  using copy = await Deno.open(targetPath, { read: true, write: Deno.build.os === "windows" });
  await copy.sync();
  return true;
}
