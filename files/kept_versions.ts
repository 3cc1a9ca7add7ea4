/**
 * Earlier versions: with `keep`, what a path has before a peer changes it is kept in the reserved
 * directory `.degu-kept` of its disk.
 *
 * The changes are in periods, which are numbered in the order in which they begin. A period is a
 * local hour, or a part of it. Of each path that changes, a period has what the path had at its
 * first change: the file itself, which gets the second name `HOUR_NUMBER/PATH`, or if there was no
 * file, a line of the list `NUMBER.new`. So the tree at the beginning of a period is the present
 * tree, with what this period and the later ones have, of which the first counts. No time of a file
 * and no clock decides. An entry also holds if its change fails, if the process is killed before
 * the change, and if two processes make the entry.
 *
 * A period has one version of a path. If a file must be kept and the version is of another file,
 * the next period begins: before a file is deleted, and before a peer replaces what another peer
 * has stored. After five minutes, the next period also begins before a file changes that was new in
 * this one, before a deletion after written files, and before the first change of a process: so the
 * state before it is complete.
 */

import { existsSync } from "node:fs";
import { evictOldest } from "../internal/collections.ts";
import {
  isFileAtPath,
  isSameFile,
  lstatOrNull,
  makeRandomSuffix,
  removeIfPresentSync,
  removeName,
} from "./disk/names.ts";
import { fileErrorCodeOf, ignoreNotFound } from "../internal/caught_errors.ts";
import { ignoreRefusal } from "./disk/files.ts";
import { dirname, realPathSync } from "../internal/paths.ts";
import { makeIntegerCheck } from "../internal/checks.ts";
import { inUseRefusal, Refusal } from "./refusal.ts";
import { KEPT_DIRECTORY_NAME, PART_SUFFIX, withTrailingSlash } from "./reserved.ts";

const MAX_DAYS = 36_500;
/** The codes of a disk that may have hard links. Disks without them have many other codes. */
const UNRELATED_LINK_CODES: ReadonlySet<unknown> = new Set(["ENOSPC", "EDQUOT", "EROFS"]);
/** The codes of a path that is taken. */
const TAKEN_PATH_CODES: ReadonlySet<unknown> = new Set(["EEXIST", "ENOTDIR", "EISDIR"]);
const PERIOD_NAME_PATTERN = /^\d{4}-\d{2}-\d{2}T\d{2}_(\d+)$/;
const LIST_NAME_PATTERN = /^([1-9]\d{0,14})\.new$/;
/**
 * A younger period gets changes for which the next one would begin: otherwise, a peer that often
 * replaces a large file would fill the disk.
 */
const MIN_PERIOD_MILLISECONDS = 300_000;
/** The maximum number of files that a map or set of this process knows. */
const MAX_KNOWN_FILES = 10_000;

export const checkDays = makeIntegerCheck(1, MAX_DAYS);

/** A time with changes. */
export interface Period {
  readonly number: number;
  /** The name of its directory: the local hour in which it began, and its number. */
  readonly name: string;
  /** In milliseconds since 1970; 0 if the disk doesn't tell. */
  readonly begunAt: number;
  /** The last paths that this process has written in it. */
  readonly writtenPaths: Set<string>;
}

/** What was kept before a path changes. */
interface Kept {
  readonly versionPath: string;
  /** The directories and files to sync. */
  readonly changedPaths: readonly string[];
}

/** What is about to happen to the file of a path. */
export type FileChange = "replace" | "delete";

/**
 * The peers that have stored files. Only this process knows them. So before a file of another
 * process, or of an earlier one, is replaced, it counts as stored by another peer.
 */
const peersByFile = new Map<string, string>();
/** The last periods in which this process has changed files, by reserved directory. */
const lastPeriods = new Map<string, Period>();

export class VersionStore {
  readonly #days: number;
  readonly #warn: (message: string) => void;
  #pendingRemoval: Promise<void> = Promise.resolve();

  constructor(days: number, warn: (message: string) => void) {
    this.#days = days;
    this.#warn = warn;
  }

  /**
   * Removes old versions, and checks that the disk has hard links.
   *
   * @throws {Deno.errors.NotSupported} if the disk has no hard links, or gives the names of a file
   * different inode numbers.
   */
  open(root: string): void {
    const linkProblem = probeLinkProblem(root);
    if (linkProblem !== null) throw linkProblem;
    this.#removeOld(keptDirectoryOf(root));
  }

  /**
   * Keeps what a path has, before a peer changes it.
   *
   * @param root The root, or the mount point of another file system below it.
   * @param path The path below this directory.
   * @param info The file of the path; `null` if it has none.
   */
  keep(
    root: string,
    path: string,
    info: Deno.FileInfo | null,
    change: FileChange,
    peer: string,
  ): Kept {
    const directory = keptDirectoryOf(root);
    const filePath = withTrailingSlash(root) + path;
    let period = this.#readOrBegin(root, directory);
    if (change === "delete" && period.writtenPaths.size > 0 && !isYoung(period)) {
      period = this.#begin(root, directory, period.number + 1);
    }
    for (;; period = this.#begin(root, directory, period.number + 1)) {
      const versionPath = `${directory}/${period.name}/${path}`;
      const { writtenPaths } = period;
      const isNew = info !== null && writtenPaths.has(path) && lstatOrNull(versionPath) === null;
      // A version of a file that was new in this period would be in no state.
      if (isNew && !isYoung(period)) continue;
      if (change === "replace") {
        writtenPaths.add(path);
        evictOldest(writtenPaths, MAX_KNOWN_FILES);
      }
      if (info === null) {
        const isVersion = lstatOrNull(versionPath)?.isFile === true;
        // The disk takes the path of another version for this path, which is new after that one.
        if (isVersion && realPathSync(versionPath) !== versionPath) continue;
        return {
          versionPath,
          changedPaths: isVersion ? [] : [appendPath(directory, period, path)],
        };
      }
      const changedPaths = link(root, filePath, directory, versionPath);
      const version = lstatOrNull(versionPath);
      // Deno rounds inodes above 2⁵³, so an existing version may be of another file.
      const isIdentified = changedPaths !== null || Number.isSafeInteger(info.ino);
      const isOfFile = version !== null && isSameFile(version, info) && isIdentified;
      if (changedPaths !== null) {
        if (!isOfFile) {
          // The file is of a later change, perhaps of a later period, and no version of this one.
          Deno.renameSync(versionPath, makeFreePath(versionPath));
          throw makeLinkRefusal(root, filePath) ?? replacedRefusal(filePath);
        }
      }
      const isOtherSufficient = version?.isFile === true && change !== "delete" &&
        peersByFile.get(formatFile(info)) === peer;
      if (isOfFile || isOtherSufficient) {
        // The version may be of another process, which has replaced the file since then.
        if (changedPaths === null && !isFileAtPath(filePath, info)) throw replacedRefusal(filePath);
        return { versionPath, changedPaths: changedPaths ?? [] };
      }
    }
  }

  /** Records which peer has stored the file of a path. */
  recordPeer(path: string, peer: string): void {
    ignoreRefusal(() => peersByFile.set(formatFile(Deno.lstatSync(path)), peer));
    evictOldest(peersByFile, MAX_KNOWN_FILES);
  }

  /** Resolves when the old versions are removed. */
  get oldRemoved(): Promise<void> {
    return this.#pendingRemoval;
  }

  /**
   * Reads the present period, which another process may have begun, or begins it. The first change
   * of this process begins one, unless the present one is young.
   */
  #readOrBegin(root: string, directory: string): Period {
    const known = lastPeriods.get(directory);
    const number = findLastNumber(directory, known?.number ?? 0);
    const period = known?.number === number ? known : readPeriod(directory, number);
    const isFirst = known === undefined && period !== null && !isYoung(period);
    if (period === null || isFirst || hourOf(period) !== hourAt(new Date(Date.now()))) {
      return this.#begin(root, directory, number + 1);
    }
    lastPeriods.set(directory, period);
    return period;
  }

  /** Begins a period, unless another process has begun it. */
  #begin(root: string, directory: string, number: number): Period {
    const name = `${hourAt(new Date(Date.now()))}_${number}`;
    makeKeptDirectory(directory);
    const temporaryPath = `${directory}/.${makeRandomSuffix()}${PART_SUFFIX}`;
    let period: Period | null;
    try {
      using file = Deno.openSync(temporaryPath, { write: true, createNew: true, mode: 0o600 });
      appendBytes(file, new TextEncoder().encode(JSON.stringify(name)), temporaryPath);
      file.syncSync();
      const isOurs = addName(root, temporaryPath, listPathOf(directory, number));
      const begunAt = Date.now();
      period = isOurs
        ? { number, name, begunAt, writtenPaths: new Set() }
        : readPeriod(directory, number);
    } finally {
      removeIfPresentSync(temporaryPath);
    }
    // The list of another process is damaged.
    if (period === null) return this.#begin(root, directory, number + 1);
    Deno.mkdirSync(`${directory}/${period.name}`, { recursive: true });
    for (const path of [directory, root]) syncDirectory(path);
    const known = lastPeriods.get(directory);
    const last = known?.number === number - 1 ? known : readPeriod(directory, number - 1);
    lastPeriods.set(directory, period);
    if (last === null || dayOf(last) !== dayOf(period)) this.#removeOld(directory);
    return period;
  }

  #removeOld(directory: string): void {
    const removal = removeOldPeriods(directory, this.#days)
      .catch((error) => this.#warn(`old versions can't be removed: ${error}`));
    this.#pendingRemoval = this.#pendingRemoval.then(() => removal);
  }
}

/** If the clock was set, a period isn't young. */
function isYoung({ begunAt }: Period): boolean {
  return Math.abs(Date.now() - begunAt) < MIN_PERIOD_MILLISECONDS;
}

/** Another file with the same inode, or a changed file, has another text. */
function formatFile({ dev, ino, size, mtime, birthtime }: Deno.FileInfo): string {
  return [dev, ino, size, Number(mtime), Number(birthtime)].join(" ");
}

export function keptDirectoryOf(root: string): string {
  return withTrailingSlash(root) + KEPT_DIRECTORY_NAME;
}

function listPathOf(directory: string, number: number): string {
  return `${directory}/${number}.new`;
}

function makeKeptDirectory(directory: string): void {
  if (hasKeptDirectory(directory)) return;
  try {
    Deno.mkdirSync(directory, { mode: 0o700 });
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
  }
}

function hasKeptDirectory(directory: string): boolean {
  const info = lstatOrNull(directory);
  if (info === null || info.isDirectory) return info !== null;
  throw new Refusal(403, `${directory} is needed for earlier versions, and is not a directory`);
}

function syncDirectory(path: string): void {
  ignoreRefusal(() => {
    using directory = Deno.openSync(path);
    directory.syncSync();
  });
}

/**
 * Finds out whether a disk has hard links. Makes files with reserved names, which no list has.
 * A full or read-only disk refuses each replacement, with its reason.
 */
function probeLinkProblem(root: string): Deno.errors.NotSupported | null {
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

/** Returns the changed directories; `null` if the path of the version is taken. */
function link(
  root: string,
  path: string,
  keptDirectory: string,
  versionPath: string,
): readonly string[] | null {
  const parent = dirname(versionPath);
  const changedPaths = [parent];
  const parentInfo = lstatOrNull(parent);
  if (parentInfo === null) {
    for (let each = parent; each !== keptDirectory && lstatOrNull(each) === null;) {
      changedPaths.push(each = dirname(each));
    }
    try {
      Deno.mkdirSync(parent, { recursive: true });
    } catch (error) {
      if (TAKEN_PATH_CODES.has(fileErrorCodeOf(error))) return null;
      throw error;
    }
  } else if (!parentInfo.isDirectory) return null;
  return addName(root, path, versionPath) ? changedPaths : null;
}

/** Returns false if the name is taken. */
function addName(root: string, path: string, newPath: string): boolean {
  try {
    Deno.linkSync(path, newPath);
    return true;
  } catch (error) {
    const code = fileErrorCodeOf(error);
    if (code === "EEXIST") return false;
    if (UNRELATED_LINK_CODES.has(code)) throw error;
    throw makeLinkRefusal(root, path, error) ?? error;
  }
}

/** Returns `null` if the disk has hard links, and another process may have changed the file. */
function makeLinkRefusal(root: string, path: string, error?: unknown): Refusal | null {
  const code = fileErrorCodeOf(error);
  const isOfFile = REFUSED_FILE_CODES.has(code);
  const reason = isOfFile ? error : probeLinkProblem(root)?.message;
  if (reason === undefined) return null;
  const problem = `${path} can't be kept, because it can't get a second name: ${reason}`;
  return new Refusal(403, problem, {}, { cause: error });
}

/**
 * The codes of a file that this user may not link, that has too many names, or that a disk of
 * several disks holds on another one than the versions.
 */
const REFUSED_FILE_CODES: ReadonlySet<unknown> = new Set(["EPERM", "EMLINK", "EXDEV"]);

/** Makes the path of a file that is no version, in the directory of a version. */
function makeFreePath(versionPath: string): string {
  return `${dirname(versionPath)}/.${makeRandomSuffix()}${PART_SUFFIX}`;
}

/**
 * Removes the own name of a kept file. If another process takes the path again, its file stays
 * beside the version.
 *
 * @throws {Refusal} if another process has replaced the file since it was kept.
 */
export function removeKeptFile(path: string, versionPath: string): void {
  const isRemoved = removeName(path, Deno.lstatSync(versionPath), makeFreePath(versionPath));
  if (!isRemoved) throw replacedRefusal(path);
}

function replacedRefusal(path: string): Refusal {
  return inUseRefusal(`${path} was replaced or deleted by another process while it was kept`);
}

/** Appends a path to the list of a period. A line that a killed process has begun stays alone. */
function appendPath(directory: string, { number }: Period, path: string): string {
  const listPath = listPathOf(directory, number);
  const bytes = new TextEncoder().encode(`\n${JSON.stringify(path)}`);
  using file = Deno.openSync(listPath, { append: true });
  appendBytes(file, bytes, listPath);
  return listPath;
}

function appendBytes(file: Deno.FsFile, bytes: Uint8Array, path: string): void {
  if (file.writeSync(bytes) === bytes.length) return;
  throw Object.assign(new Error(`${path}: a line was written in part`), { code: "ENOSPC" });
}

/** The local hour of a time, as `2026-01-31T14`. */
export function hourAt(time: Date): string {
  const digits = (value: number, length = 2) => `${value}`.padStart(length, "0");
  return `${digits(time.getFullYear(), 4)}-${digits(time.getMonth() + 1)}-` +
    `${digits(time.getDate())}T${digits(time.getHours())}`;
}

export function hourOf({ name }: Period): string {
  return name.slice(0, name.indexOf("_"));
}

function dayOf({ name }: Period): string {
  return name.slice(0, name.indexOf("T"));
}

/** A line that isn't JSON is `null`: a killed process has begun it. */
function parseLines(text: string): unknown[] {
  return text.split("\n").map((line) => {
    try {
      return JSON.parse(line);
    } catch {
      return null;
    }
  });
}

const MAX_NAME_BYTES = 64;

/** Returns `null` if the period was removed, or its list is damaged. */
function readPeriod(directory: string, number: number): Period | null {
  try {
    using file = Deno.openSync(listPathOf(directory, number));
    const bytes = new Uint8Array(MAX_NAME_BYTES);
    const length = file.readSync(bytes) ?? 0;
    const [name] = parseLines(new TextDecoder().decode(bytes.subarray(0, length)));
    const isName = PERIOD_NAME_PATTERN.exec(`${name}`)?.[1] === `${number}`;
    const begunAt = Number(file.statSync().birthtime);
    return isName ? { number, name: `${name}`, begunAt, writtenPaths: new Set() } : null;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

function listNumbers(directory: string): number[] {
  return hasKeptDirectory(directory) ? numbersOf(Deno.readDirSync(directory)) : [];
}

function numbersOf(entries: Iterable<Deno.DirEntry>): number[] {
  return Array.from(entries, ({ name }) => Number(LIST_NAME_PATTERN.exec(name)?.[1]))
    .filter((number) => number > 0).sort((one, other) => one - other);
}

/**
 * Finds the number of the last list; 0 if there is none.
 *
 * @param known A number from which to look: listing the directory takes longer.
 */
function findLastNumber(directory: string, known: number): number {
  let number = existsSync(listPathOf(directory, known))
    ? known
    : listNumbers(directory).at(-1) ?? 0;
  while (existsSync(listPathOf(directory, number + 1))) number++;
  return number;
}

/** On a damaged disk, synchronous reading may miss a part. */
async function readEntries(directory: string): Promise<Deno.DirEntry[]> {
  return await ignoreNotFound(Array.fromAsync(Deno.readDir(directory))) ?? [];
}

/** Lists the paths of the files in a directory of a period, which may be removed meanwhile. */
export async function* listFiles(
  root: string,
  prefix = "",
): AsyncGenerator<string, void, void> {
  const pending = [prefix];
  for (let directory; (directory = pending.pop()) !== undefined;) {
    const path = directory === "" ? root : `${root}/${directory}`;
    if (!lstatOrNull(path)?.isDirectory) continue;
    for (const { name, isDirectory } of await readEntries(path)) {
      const entryPath = directory === "" ? name : `${directory}/${name}`;
      if (isDirectory) pending.push(entryPath);
      else yield entryPath;
    }
  }
}

/** Reads the periods in the order in which they began, without damaged ones. */
async function readPeriods(directory: string): Promise<Period[]> {
  return numbersOf(await readEntries(directory)).map((number) => readPeriod(directory, number))
    .filter((period) => period !== null);
}

/**
 * Reads the periods in the order in which they began.
 *
 * @throws {Deno.errors.InvalidData} if a list is damaged, or is missing between others.
 */
export async function readAllPeriods(directory: string): Promise<Period[]> {
  const numbers = numbersOf(await readEntries(directory));
  return numbers.flatMap((number, index) => {
    const period = readPeriod(directory, number);
    const expectedNumber = numbers[0]! + index;
    const path = listPathOf(directory, expectedNumber);
    if (number === expectedNumber && period !== null) return [period];
    // The oldest periods may be removed at the same time.
    if (number === expectedNumber && lstatOrNull(path) === null) return [];
    throw new Deno.errors.InvalidData(`${path} is missing or damaged`);
  });
}

/** Reads the paths that had no file when they first changed in a period. */
export function readNewPaths(directory: string, { number }: Period): readonly string[] {
  const [, ...paths] = parseLines(Deno.readTextFileSync(listPathOf(directory, number)));
  return paths.filter((path) => typeof path === "string");
}

/**
 * Finds the number of the first period that stays; 0 if all stay. A period is removed after `days`
 * later days had changes, when the next day has. A day has its name by the clock of this day. It
 * counts if it is later than each day before it: a clock that was behind removes nothing.
 */
function findFirstToKeep(periods: readonly Period[], days: number): number {
  let latestDay = "";
  let count = 0;
  const counts = periods.map((period) => {
    if (dayOf(period) > latestDay) {
      latestDay = dayOf(period);
      count++;
    }
    return count;
  });
  const index = counts.findIndex((each) => count - each <= days);
  return index > 0 ? periods[index]!.number : 0;
}

/** A synchronous look, so that a call without old versions leaves nothing pending. */
function hasOldPeriods(directory: string, days: number): boolean {
  const entries = lstatOrNull(directory) === null ? [] : [...Deno.readDirSync(directory)];
  const numbers = numbersOf(entries);
  const periods = numbers.map((number) => readPeriod(directory, number))
    .filter((period) => period !== null);
  const oldestNumber = Math.max(findFirstToKeep(periods, days), numbers[0] ?? 0);
  return [LIST_NAME_PATTERN, PERIOD_NAME_PATTERN].some((pattern) =>
    entries.some(({ name }) => Number(pattern.exec(name)?.[1]) < oldestNumber)
  );
}

async function removeOldPeriods(directory: string, days: number): Promise<void> {
  if (!hasOldPeriods(directory, days)) return;
  const errors: unknown[] = [];
  const firstToKeep = findFirstToKeep(await readPeriods(directory), days);
  const entries = await readEntries(directory);
  // The oldest list first: without its list, a period isn't restored.
  for (const number of numbersOf(entries)) {
    if (number >= firstToKeep) break;
    try {
      removeIfPresentSync(listPathOf(directory, number));
    } catch (error) {
      errors.push(error);
      break;
    }
  }
  // Not synchronously: without the oldest list, its period would count as old.
  const [oldestNumber = 0] = numbersOf(await readEntries(directory));
  for (const { name, isDirectory } of entries) {
    const isOld = Number(PERIOD_NAME_PATTERN.exec(name)?.[1]) < oldestNumber;
    if (!isDirectory || !isOld) continue;
    await ignoreNotFound(Deno.remove(`${directory}/${name}`, { recursive: true }))
      .catch((error) => errors.push(error));
  }
  if (errors.length > 0) throw errors[0];
}
