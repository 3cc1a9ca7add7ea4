/**
 * Earlier versions: with `keep`, files that a peer replaces or deletes get a second name in the
 * reserved directory `.degu-kept` of their disk, before they lose their own. A version is the file
 * itself, so nothing is copied, and a kill at any moment leaves the file, its version, or both.
 *
 * The path of a version is `.degu-kept/DAY/TIME_WRITER/PATH`: the local day, the time of the day,
 * who replaced or deleted the file, and the path of the file below the root of its disk. The time
 * is the hour. If that path is taken, by a version, or by a directory where the path has a file or
 * the reverse, the time is more precise. So a version is never replaced, and each file is found
 * after a few lookups.
 */

import { unlinkSync } from "node:fs";
import {
  ignoreNotFound,
  isFileAtPath,
  isMissingPathError,
  isSameFile,
  lstatOrNull,
  makeRandomSuffix,
  removeIfPresentSync,
  removeName,
} from "./disk/names.ts";
import { ignoreRefusal } from "./disk/files.ts";
import { dirname, realPath } from "./disk/paths.ts";
import { readDiskUse } from "./disk/space.ts";
import { fileErrorCodeOf, makeIntegerCheck } from "@degu/degu/internal";
import { hashText } from "./digest.ts";
import { type Naming, NamingLog } from "./naming_log.ts";
import { pathOf } from "./options.ts";
import { inUseRefusal, Refusal } from "./refusal.ts";
import { KEPT_DIRECTORY_NAME, PART_SUFFIX, withTrailingSlash } from "./reserved.ts";

export const HOUR_MILLISECONDS = 3_600_000;
const DAY_MILLISECONDS = 24 * HOUR_MILLISECONDS;
const MAX_DAYS = 36_500;
/** The codes of a disk that may have hard links. Disks without them have many other codes. */
const UNRELATED_LINK_CODES: ReadonlySet<unknown> = new Set(["ENOSPC", "EDQUOT", "EROFS"]);
/** The codes of a path that is taken. */
const TAKEN_PATH_CODES: ReadonlySet<unknown> = new Set(["EEXIST", "ENOTDIR", "EISDIR"]);
const DAY_PATTERN = /^\d{4}-\d{2}-\d{2}$/;
/** A day whose versions are being removed. */
const OLD_DAY_PATTERN = /^\d{4}-\d{2}-\d{2}\.old$/;
/** The maximum length of the name of a device. */
const MAX_WRITER_LENGTH = 63;
/** From this share of a disk on, a server warns. */
const FULL_SHARE = 0.8;

export const checkDays = makeIntegerCheck(1, MAX_DAYS);

/**
 * A version that was made before its file is replaced or deleted. Each call makes a version of its
 * own, because another process may discard the version that it has made.
 */
interface Version {
  /** The directory of the version, below the directory of all versions. */
  readonly directory: string;
  readonly changedDirectories: readonly string[];
  /**
   * Removes the file's own name.
   *
   * @throws {Refusal} if another process has replaced the file since it was kept.
   */
  removeFile(): void;
  /**
   * Removes the version if the file still has its own name. Another process may have removed this
   * name, or the disk, although it has reported an error.
   */
  discard(): void;
}

export interface VersionKeeper {
  /**
   * Keeps a file that is about to be replaced or deleted; returns `null` for a replaced file that
   * was created within the last hour, if a version of the path was also kept within this hour.
   *
   * @param root The root, or the mount point of another file system below it.
   * @param path The path of the file below this directory.
   */
  keep(root: string, path: string, info: Deno.FileInfo, isDeleted: boolean): Version | null;
  /**
   * Reports whether a peer could replace a file without a version, if the file got another path.
   *
   * @param path The new path.
   */
  isUnkeptAt(root: string, path: string, info: Deno.FileInfo): boolean;
  /** Logs a naming that is about to take place. */
  log(root: string, naming: Naming): LoggedNaming;
  /** Returns the directory of the versions; `null` if there are none. */
  findDirectory(root: string): string | null;
}

export interface LoggedNaming {
  /** The directories and files to sync. */
  readonly changedDirectories: readonly string[];
  /** Logs that the naming has failed. */
  cancel(): void;
}

export class VersionStore {
  readonly #days: number;
  readonly #warn: (message: string) => void;
  /** The days on which old versions were removed, by reserved directory. */
  readonly #sweptDays = new Map<string, string>();
  readonly #warnedAt = new Map<string, number>();
  readonly #log: NamingLog;
  #pending: Promise<void> = Promise.resolve();

  constructor(days: number, warn: (message: string) => void) {
    this.#days = days;
    this.#warn = warn;
    this.#log = new NamingLog(warn);
  }

  /**
   * Removes old versions, and checks that the disk has hard links.
   *
   * @throws {Deno.errors.NotSupported} if the disk has no hard links, or gives the names of a file
   * different inode numbers.
   */
  open(root: string): void {
    const directory = keptDirectoryOf(root);
    const linkProblem = findLinkProblem(root);
    if (linkProblem !== null) throw linkProblem;
    this.#sweep(directory, dayOf(new Date(Date.now())));
  }

  /** @param writer Who replaces and deletes files. */
  by(writer: string): VersionKeeper {
    const name = toWriterName(writer);
    return {
      keep: (root, path, info, isDeleted) =>
        this.#keep(keptDirectoryOf(root), { root, path, info, isDeleted, writer: name }),
      isUnkeptAt: (root, path, info) => isUnkeptAt(keptDirectoryOf(root), path, info),
      log: (root, naming) => {
        const changedDirectories = this.#append(root, name, naming);
        const { path } = naming;
        return {
          changedDirectories,
          cancel: () => void this.#append(root, name, { what: "cancel", path }),
        };
      },
      findDirectory(root) {
        const directory = keptDirectoryOf(root);
        const hasVersions = sortDays(listDirectories(directory)).some((day) =>
          listDirectories(`${directory}/${day}`).length > 0
        );
        return hasVersions ? directory : null;
      },
    };
  }

  #append(root: string, by: string, naming: Naming): readonly string[] {
    const directory = keptDirectoryOf(root);
    const time = new Date(Date.now());
    let isNew = false;
    try {
      isNew = makeKeptDirectory(directory);
    } catch {
      // Appending the line reports the error.
    }
    const day = dayOf(time);
    this.#sweep(directory, day);
    const changedPaths = this.#log.append(directory, { day, time, by, naming });
    return isNew ? [...changedPaths, root] : changedPaths;
  }

  /** Resolves when the old versions are removed. */
  get swept(): Promise<void> {
    return this.#pending;
  }

  #keep(
    directory: string,
    { root, path: pathBelow, info, isDeleted, writer }: {
      readonly root: string;
      readonly path: string;
      readonly info: Deno.FileInfo;
      readonly isDeleted: boolean;
      readonly writer: string;
    },
  ): Version | null {
    const now = new Date(Date.now());
    const path = withTrailingSlash(root) + pathBelow;
    // A renamed file may be older than the versions of its new path.
    const isRecent = !isDeleted && isWithinHour(info.birthtime, now);
    const isKept = (hour: string) =>
      isKeptRecently(`${directory}/${hour}${writer}/${pathBelow}`, info, now);
    if (isRecent && recentHoursOf(now).some(isKept)) return null;
    const keptDirectory = { path: directory, isNew: makeKeptDirectory(directory) };
    this.#sweep(directory, dayOf(now));
    for (const key of timesOf(now)) {
      const versionPath = `${directory}/${key}${writer}/${pathBelow}`;
      const version = link(root, path, `${key}${writer}`, pathBelow, keptDirectory);
      if (version === null) continue;
      if (!isFileAtPath(versionPath, info)) {
        version.discard();
        throw makeLinkRefusal(root, path) ?? replacedRefusal(path);
      }
      this.#checkUse(root, directory);
      return version;
    }
    throw new Refusal(503, `${path} has too many versions`, { "retry-after": "1" });
  }

  #sweep(directory: string, day: string): void {
    if (this.#sweptDays.get(directory) === day) return;
    this.#sweptDays.set(directory, day);
    const removal = removeOldDays(directory, this.#days)
      .catch((error) => this.#warn(`old versions can't be removed: ${error}`));
    this.#pending = this.#pending.then(() => removal);
  }

  /** Warns at most once an hour. */
  #checkUse(root: string, directory: string): void {
    const now = performance.now();
    if (now - (this.#warnedAt.get(directory) ?? -Infinity) < HOUR_MILLISECONDS) return;
    this.#warnedAt.set(directory, now);
    if ((readDiskUse(root) ?? 0) < FULL_SHARE) return;
    findKeptVersions(root).then((kept) => this.#warn(describeFullDisk(kept)), () => {});
  }
}

function describeFullDisk(
  { path, versions, bytes, diskUse }: Awaited<ReturnType<typeof findKeptVersions>>,
): string {
  const percent = Math.floor(100 * (diskUse ?? FULL_SHARE));
  return `the disk is ${percent} % full; ${versions} earlier versions take ${bytes} bytes: to ` +
    `remove all of them, remove the directory ${path}`;
}

export function keptDirectoryOf(root: string): string {
  return withTrailingSlash(root) + KEPT_DIRECTORY_NAME;
}

/** @returns Whether the directory was missing. */
function makeKeptDirectory(directory: string): boolean {
  try {
    Deno.mkdirSync(directory, { mode: 0o700 });
    return true;
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    if (Deno.lstatSync(directory).isDirectory) return false;
    throw new Refusal(403, `${directory} is needed for earlier versions, and is not a directory`);
  }
}

/**
 * Finds out whether a disk has hard links. Makes files with reserved names, which no list has.
 * A full or read-only disk refuses each replacement, with its reason.
 */
function findLinkProblem(root: string): Deno.errors.NotSupported | null {
  const name = `.trial-${makeRandomSuffix()}`;
  const paths = ["", "-2"].map((suffix) =>
    `${withTrailingSlash(root)}${name}${suffix}${PART_SUFFIX}`
  );
  const makeProblem = (problem: string, cause?: unknown) =>
    new Deno.errors.NotSupported(
      `the disk of ${root} ${problem}, so no versions can be kept`,
      { cause },
    );
  try {
    Deno.openSync(paths[0]!, { write: true, create: true }).close();
  } catch {
    // A directory in which no file can be created refuses each replacement, with its reason.
    return null;
  }
  try {
    Deno.linkSync(paths[0]!, paths[1]!);
    return isFileAtPath(paths[1]!, Deno.lstatSync(paths[0]!))
      ? null
      : makeProblem("gives the second name of a file another inode number");
  } catch (error) {
    const code = fileErrorCodeOf(error);
    const isOfLinks = code !== undefined && !UNRELATED_LINK_CODES.has(code);
    return isOfLinks ? makeProblem("has no hard links", error) : null;
  } finally {
    for (const path of paths) ignoreRefusal(() => removeIfPresentSync(path));
  }
}

/** Returns `null` if the path is taken. */
function link(
  root: string,
  path: string,
  directory: string,
  pathBelow: string,
  { path: keptDirectory, isNew }: { readonly path: string; readonly isNew: boolean },
): Version | null {
  const versionPath = `${keptDirectory}/${directory}/${pathBelow}`;
  const parent = dirname(versionPath);
  const changedDirectories = [parent, ...isNew ? [dirname(keptDirectory)] : []];
  for (let each = parent; each !== keptDirectory && lstatOrNull(each) === null;) {
    changedDirectories.push(each = dirname(each));
  }
  try {
    Deno.mkdirSync(parent, { recursive: true });
    Deno.linkSync(path, versionPath);
  } catch (error) {
    const code = fileErrorCodeOf(error);
    if (TAKEN_PATH_CODES.has(code)) return null;
    if (UNRELATED_LINK_CODES.has(code)) throw error;
    throw makeLinkRefusal(root, path, error) ?? error;
  }
  return {
    directory,
    changedDirectories,
    removeFile: () => removeFile(path, versionPath),
    discard: () => discard(path, versionPath),
  };
}

/** Returns `null` if the disk has hard links, and another process may have changed the file. */
function makeLinkRefusal(root: string, path: string, error?: unknown): Refusal | null {
  const code = fileErrorCodeOf(error);
  const isOfFile = REFUSED_FILE_CODES.has(code);
  const reason = isOfFile ? error : findLinkProblem(root)?.message;
  if (reason === undefined) return null;
  const problem = `${path} can't be kept, because it can't get a second name: ${reason}`;
  return new Refusal(403, problem, {}, { cause: error });
}

/**
 * The codes of a file that this user may not link, that has too many names, or that a disk of
 * several disks holds on another one than the versions.
 */
const REFUSED_FILE_CODES: ReadonlySet<unknown> = new Set(["EPERM", "EMLINK", "EXDEV"]);

/** If another process takes the path again, its file stays among the versions. */
function removeFile(path: string, versionPath: string): void {
  const freePath = `${dirname(versionPath)}/.removed-${makeRandomSuffix()}`;
  const isRemoved = removeName(path, Deno.lstatSync(versionPath), freePath);
  if (!isRemoved) throw replacedRefusal(path);
}

function discard(path: string, versionPath: string): void {
  try {
    if (isFileAtPath(path, Deno.lstatSync(versionPath))) unlinkSync(versionPath);
  } catch {
    // The caller reports the error because of which the version is discarded.
  }
}

function replacedRefusal(path: string): Refusal {
  return inUseRefusal(`${path} was replaced by another process while it was kept`);
}

/** Any peer could replace the file, so the versions of all peers count. */
function isUnkeptAt(directory: string, path: string, file: Deno.FileInfo): boolean {
  const now = new Date(Date.now());
  if (!isWithinHour(file.birthtime, now)) return false;
  return recentHoursOf(now).some((hour) => {
    const [day, prefix] = hour.split("/") as [string, string];
    return listDirectories(`${directory}/${day}`).some((name) =>
      name.startsWith(prefix) && isKeptRecently(`${directory}/${day}/${name}/${path}`, file, now)
    );
  });
}

function isKeptRecently(versionPath: string, file: Deno.FileInfo, now: Date): boolean {
  const info = lstatOrNull(versionPath);
  // Another process may discard a version of the file itself.
  if (info === null || !info.isFile || isSameFile(info, file)) return false;
  // Linking a file, and removing its other name, sets its ctime.
  return isWithinHour(info.ctime, now);
}

/** Returns the beginnings of directories that may have a version of the last hour. */
function recentHoursOf(now: Date): readonly string[] {
  return [now, new Date(now.getTime() - HOUR_MILLISECONDS)].map((time) =>
    timesOf(time).next().value!
  );
}

/** Returns false for a time that the disk doesn't have: so more is kept. */
function isWithinHour(time: Date | null, now: Date): boolean {
  const age = time === null ? NaN : now.getTime() - time.getTime();
  return age >= 0 && age < HOUR_MILLISECONDS;
}

/** The number of milliseconds after `now` whose paths may also be taken. */
const MAX_MILLISECONDS = 1000;

/** Generates the beginnings of directories, the most precise times last. */
function* timesOf(now: Date): Generator<string, void, void> {
  const digits = (value: number, length = 2) => `${value}`.padStart(length, "0");
  const clock = (time: Date) =>
    [time.getHours(), time.getMinutes(), time.getSeconds()].map((value) => digits(value));
  const day = dayOf(now);
  for (let parts = 1; parts <= 3; parts++) yield `${day}/${clock(now).slice(0, parts).join("-")}_`;
  for (let index = 0; index < MAX_MILLISECONDS; index++) {
    const time = new Date(now.getTime() + index);
    yield `${dayOf(time)}/${clock(time).join("-")}.${digits(time.getMilliseconds(), 3)}_`;
  }
}

export function dayOf(time: Date): string {
  const [year, month, day] = [time.getFullYear(), time.getMonth() + 1, time.getDate()];
  return `${year}`.padStart(4, "0") +
    [month, day].map((n) => `-${`${n}`.padStart(2, "0")}`).join("");
}

/** The name of a device is unchanged. Other names that differ have different digests. */
function toWriterName(writer: string): string {
  const name = writer.replace(/[^\w-]+/g, "-").slice(0, MAX_WRITER_LENGTH);
  if (name === "") return "peer";
  return name === writer ? name : `${name}.${hashText(writer).slice(0, WRITER_DIGEST_LENGTH)}`;
}

const WRITER_DIGEST_LENGTH = 16;

export async function readDays(directory: string): Promise<string[]> {
  return sortDays(await readDirectories(directory));
}

export async function readDirectories(directory: string): Promise<string[]> {
  const entries = await ignoreNotFound(Array.fromAsync(Deno.readDir(directory))) ?? [];
  return namesOfDirectories(entries);
}

const sortDays = (names: readonly string[]): string[] =>
  names.filter((name) => DAY_PATTERN.test(name)).sort();

const namesOfDirectories = (entries: Iterable<Deno.DirEntry>): string[] =>
  [...entries].filter(({ isDirectory }) => isDirectory).map(({ name }) => name);

/** On a damaged disk, synchronous reading may miss a part. So fewer days are marked or removed. */
function listDirectories(directory: string): string[] {
  try {
    return namesOfDirectories(Deno.readDirSync(directory));
  } catch (error) {
    // No version was kept yet.
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

/**
 * Removes the versions of old days. The clock may have been wrong on a day, so its name doesn't
 * tell the age of its versions: the first call on a later day marks the day, and a call `days` days
 * later removes it. The present clock may also be wrong, so the last marked days stay.
 *
 * If a day is in the future, the clock is behind, or was ahead on this day. So no other day is
 * marked or removed until the day itself is removed, `days` days after a call has marked it.
 *
 * Marks the days before its first `await`, so that no version is added to an old day afterwards.
 */
async function removeOldDays(directory: string, days: number): Promise<void> {
  const errors: unknown[] = [];
  const now = new Date(Date.now());
  const today = dayOf(now);
  const markAndMeasure = (day: string): { day: string; age: number }[] => {
    try {
      const mark = markDay(`${directory}/${day}`, day, now);
      return mark === null ? [] : [{ day, age: now.getTime() - mark.getTime() }];
    } catch (error) {
      errors.push(error);
      return [];
    }
  };
  const allDays = sortDays(listDirectories(directory)).reverse();
  const isFuture = allDays.length > 0 && allDays[0]! > today;
  const oldDays = allDays.filter((day, index) => !isFuture || index === 0 || day === today)
    .flatMap(markAndMeasure)
    .sort((one, other) => one.age - other.age)
    .slice(isFuture ? 0 : days + PARTIAL_DAYS)
    .filter(({ age }) => age >= days * DAY_MILLISECONDS);
  const unrenamedDays = new Set<string>();
  for (const { day } of oldDays) {
    // A removal changes the time of the day's directory, so an interrupted one would mark the day.
    try {
      Deno.renameSync(`${directory}/${day}`, `${directory}/${day}.old`);
    } catch (error) {
      // Another process may remove the same days. Not every disk can rename a directory.
      if (!isMissingPathError(error)) unrenamedDays.add(day);
    }
  }
  for (const name of await readDirectories(directory)) {
    if (!OLD_DAY_PATTERN.test(name) && !unrenamedDays.has(name)) continue;
    await ignoreNotFound(Deno.remove(`${directory}/${name}`, { recursive: true }))
      .catch((error) => errors.push(error));
  }
  if (errors.length > 0) throw errors[0];
}

/**
 * The first and the last of the days that follow a mark, of which only minutes may have passed:
 * with them, the last marked days take as long as the versions are kept.
 */
const PARTIAL_DAYS = 2;

/**
 * Marks a day that has no mark, and returns the time of the mark, which is the mtime of the day's
 * directory. If this time is on the day itself, a version was added after the last mark. If it is
 * in the future, a wrong clock has set it. In both cases, and for the present day, sets it to now.
 * Returns `null` if another process has removed the day.
 */
function markDay(path: string, day: string, now: Date): Date | null {
  const info = lstatOrNull(path);
  if (info === null) return null;
  const time = info.mtime ?? now;
  if (time <= now && (dayOf(time) > day || day > dayOf(now))) return time;
  const isSet = ignoreRefusal(() => Deno.utimeSync(path, now, now));
  // Some disks refuse times, and set the time of a directory that changes.
  if (!isSet) ignoreRefusal(() => Deno.removeSync(Deno.makeTempDirSync({ dir: path })));
  return now;
}

/**
 * Counts the versions that a `FilesApp` or a `downloadTree` has kept, with `keep`. A mount point
 * below the directory has its own versions. Needs `--allow-read` of the directory.
 *
 * @param dir The path, or a `file:` URL, of the served directory, or of the target of downloads.
 * @returns The number and the size of the versions.
 * @throws {TypeError} if `dir` is neither a string nor a URL.
 * @throws the error of the system if a directory can't be read.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { FilesApp, findKeptVersions } from "@degu/files";
 * import { assertEquals } from "@std/assert";
 *
 * const dir = await Deno.makeTempDir();
 * await Deno.writeTextFile(`${dir}/note`, "first");
 * const app = new FilesApp(dir, { write: true, keep: 30 });
 * await using server = await Server.start(["127.0.0.1", 0], app);
 * await new Client(server.address).request("DELETE", "/note");
 * const { versions, bytes } = await findKeptVersions(dir);
 * assertEquals([versions, bytes], [1, 5]);
 * await Deno.remove(dir, { recursive: true });
 * ```
 */
export async function findKeptVersions(dir: string | URL): Promise<{
  /** The path of the reserved directory. */
  readonly path: string;
  /** The number of versions. */
  readonly versions: number;
  /** The size of all versions in bytes. */
  readonly bytes: number;
  /** The local day of the oldest version, as `2026-01-31`; `null` without a version. */
  readonly since: string | null;
  /**
   * The used share of the disk, 0 to 1; `null` if it is unknown, for example without
   * `--allow-sys=statfs`.
   */
  readonly diskUse: number | null;
}> {
  const root = await realPath(pathOf("dir", dir));
  const path = keptDirectoryOf(root);
  const days = await readDays(path);
  let versions = 0;
  let bytes = 0;
  let since: string | null = null;
  const pending = days.map((day) => `${path}/${day}`);
  for (let directory; (directory = pending.pop()) !== undefined;) {
    // Old versions may be removed at the same time.
    const entries = await ignoreNotFound(Array.fromAsync(Deno.readDir(directory))) ?? [];
    for (const { name, isDirectory } of entries) {
      const entryPath = `${directory}/${name}`;
      if (isDirectory) {
        pending.push(entryPath);
        continue;
      }
      const [day, , ...names] = entryPath.slice(path.length + 1).split("/");
      const info = lstatOrNull(entryPath);
      // A file in the directory of a day is the log of the day.
      if (info === null || names.length === 0) continue;
      if (since === null || day! < since) since = day!;
      versions++;
      bytes += info.size;
    }
  }
  return { path, versions, bytes, since, diskUse: readDiskUse(root) };
}

/**
 * Removes the versions of a day a number of days after the first call on a later day. The newest
 * `days` + 2 days stay, except days in the future. A `FilesApp` does this when it is made, and when
 * it keeps a version on another day. Needs `--allow-read` and `--allow-write` of the directory.
 *
 * @param dir The path, or a `file:` URL, of the served directory, or of the target of downloads.
 * @param days The number of days, 1 to 36,500.
 * @throws {TypeError} if an argument has the wrong type.
 * @throws {RangeError} if the number of days is not allowed.
 * @throws the error of the system if a version can't be removed.
 *
 * @example
 * ```ts
 * import { removeOldVersions } from "@degu/files";
 *
 * const dir = await Deno.makeTempDir();
 * await removeOldVersions(dir, 30);
 * await Deno.remove(dir);
 * ```
 */
export async function removeOldVersions(dir: string | URL, days: number): Promise<void> {
  checkDays("days", days);
  const root = await realPath(pathOf("dir", dir));
  await removeOldDays(keptDirectoryOf(root), days);
}
