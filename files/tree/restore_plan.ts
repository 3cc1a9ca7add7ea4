/**
 * Finds the files of a directory that stood there at a time. Begins with the present files, and
 * undoes the namings after the time, the last one first.
 *
 * A version without a line in a log counts by its own times. It lost its path at its ctime, or at
 * the time of its directory if the two disagree, and got its path at its birth.
 */

import { lstatOrNull } from "../disk/names.ts";
import { areFileNames } from "../file_name.ts";
import {
  dayOf,
  HOUR_MILLISECONDS,
  keptDirectoryOf,
  readDays,
  readDirectories,
} from "../kept_versions.ts";
import { type NamingLine, readNamingLog } from "../naming_log.ts";
import { isReservedName } from "../reserved_name.ts";
import { withTrailingSlash } from "../reserved.ts";

/** The reason for which a restored file may differ from the file that stood there. */
export type RestoreDoubt =
  /** The file was replaced more than once in an hour: this version is up to an hour older. */
  | "hourly"
  /** No line tells when the file got or lost this path: its own times decide. */
  | "unlogged"
  /** The file has changed after the time, and no line tells how. */
  | "changed";

/** The reason for which a file isn't restored. */
export type MissingReason =
  /** The version that stood there was removed, or was never kept. */
  | "no-version"
  /** The same name is a file and a directory, because one of the two is in doubt. */
  | "conflict"
  /** The entry is a link, or neither a file nor a directory. */
  | "no-file"
  /** The entry can't be read. */
  | "unreadable";

/** A time about which the logs don't have all namings. */
export interface RestoreGap {
  /** `null` for the beginning. */
  readonly from: Date | null;
  /** `null` for the present. */
  readonly to: Date | null;
  /** The reason for which namings are unknown. */
  readonly reason: RestoreGapReason;
}

/** Why the logs of a time don't have all namings. */
export type RestoreGapReason =
  /** There is no log, or the versions of these days were removed. */
  | "no-log"
  /** Lines couldn't be written. */
  | "unwritten"
  /** The clock was set back, or a day is in the future. */
  | "clock";

interface StandingFile {
  /** The path of the file to copy. */
  readonly source: string;
  readonly info: Deno.FileInfo;
  /** The directory of the version below `.degu-kept`; `null` for the present file. */
  readonly version: string | null;
  readonly doubt: RestoreDoubt | null;
}

export interface PlannedFile extends StandingFile {
  readonly path: readonly string[];
}

interface MissingFile {
  readonly path: readonly string[];
  readonly reason: MissingReason;
}

/** A present file that did not stand there. */
interface AbsentFile {
  readonly path: readonly string[];
  /** False if only the times of the file tell so. */
  readonly isLogged: boolean;
}

export interface RestorePlan {
  readonly files: readonly PlannedFile[];
  readonly missing: readonly MissingFile[];
  readonly absent: readonly AbsentFile[];
  readonly gaps: readonly RestoreGap[];
}

/** What a path has at a time. */
type Standing = StandingFile | "absent" | {
  /** The time of a naming before which the path had a file that wasn't kept. */
  readonly lostAt: number;
  /** Whether the path may also have had no file. */
  readonly mayBeAbsent: boolean;
};

interface Version {
  readonly path: string;
  readonly directory: string;
  readonly source: string;
  readonly info: Deno.FileInfo;
  /** The time at which the version lost its path. */
  readonly removedAt: number;
}

type Event =
  & { readonly time: number }
  & (
    | { readonly line: Exclude<NamingLine, { what: "gap" | "cancel" }> }
    /** A version without a line lost its path. */
    | { readonly removed: Version }
    /** A version without a line was created. */
    | { readonly created: Version }
  );

type Resolved = StandingFile | "absent" | "unlogged-absent" | MissingReason;

/** The days are local, and the largest difference of two zones is that of UTC+14 and UTC-12. */
const MAX_ZONE_MILLISECONDS = 26 * HOUR_MILLISECONDS;

/** A ctime this long after the line of a naming is still a result of the naming. */
const NAMING_MILLISECONDS = 60_000;

/**
 * @param root The directory that has the versions.
 * @param prefix The names of the restored directory, below the root.
 */
export async function planRestore(
  root: string,
  prefix: readonly string[],
  at: Date,
): Promise<RestorePlan> {
  return await new Planner(root, prefix, at).plan();
}

class Planner {
  readonly #root: string;
  readonly #prefix: readonly string[];
  readonly #at: number;
  readonly #keptDirectory: string;
  readonly #gaps: RestoreGap[] = [];
  readonly #missing: MissingFile[] = [];
  readonly #standing = new Map<string, Standing>();
  /** The times of the lines of each path. */
  readonly #lineTimes = new Map<string, number[]>();
  /** The events of each path, the last one first. */
  readonly #pathEvents = new Map<string, Event[]>();
  readonly #areDirectories = new Map<string, boolean>();
  readonly #present: string[] = [];
  /** The time of the first line. */
  #logStart = Infinity;
  /** Whether the births of files are those of their uploads: a copied disk has later ones. */
  #hasBirths = true;

  constructor(root: string, prefix: readonly string[], at: Date) {
    this.#root = root;
    this.#prefix = prefix;
    this.#at = at.getTime();
    this.#keptDirectory = keptDirectoryOf(root);
  }

  async plan(): Promise<RestorePlan> {
    // First the files: a line tells of a file that is deleted meanwhile.
    const mounts = await this.#listPresent(this.#prefix);
    const events = await this.#listEvents();
    for (const event of events) {
      const path = pathOf(event);
      const pathEvents = this.#pathEvents.get(path);
      if (pathEvents === undefined) this.#pathEvents.set(path, [event]);
      else pathEvents.push(event);
    }
    const changedPaths = new Set<string>();
    for (const event of events) {
      if (event.time <= this.#at) break;
      this.#undo(event, changedPaths);
    }
    const paths = new Set([
      ...this.#present,
      ...this.#lineTimes.keys(),
      ...this.#pathEvents.keys(),
    ]);
    const files: PlannedFile[] = [];
    const absent: AbsentFile[] = [];
    const presentPaths = new Set(this.#present);
    for (const path of [...paths].sort()) {
      const names = this.#namesBelow(path);
      if (names === null) continue;
      const standing = this.#resolve(path, changedPaths);
      if (standing === "absent" || standing === "unlogged-absent") {
        const isLogged = standing === "absent";
        if (presentPaths.has(path)) absent.push({ path: names, isLogged });
      } else if (typeof standing === "string") {
        this.#missing.push({ path: names, reason: standing });
      } else {
        files.push({ path: names, ...standing });
      }
    }
    let plan: RestorePlan = {
      files: this.#removeConflicts(files),
      missing: this.#missing,
      absent,
      gaps: this.#gaps,
    };
    for (const names of mounts) {
      const mountPlan = await planRestore(this.#pathOf(names.join("/")), [], new Date(this.#at));
      plan = joinPlans(plan, mountPlan, names.slice(this.#prefix.length));
    }
    return plan;
  }

  #pathOf(path: string): string {
    return path === "" ? this.#root : withTrailingSlash(this.#root) + path;
  }

  /** Returns the names below the restored directory; `null` for a path that isn't below it. */
  #namesBelow(path: string): readonly string[] | null {
    const names = path.split("/");
    const isBelow = names.length > this.#prefix.length &&
      this.#prefix.every((name, index) => names[index] === name);
    if (!isBelow || !areFileNames(names) || names.some(isReservedName)) return null;
    return names.slice(this.#prefix.length);
  }

  /** Lists the present files. Returns the mount points below that have versions of their own. */
  async #listPresent(names: readonly string[]): Promise<(readonly string[])[]> {
    const mounts: (readonly string[])[] = [];
    const { dev } = Deno.lstatSync(this.#root);
    const pending = [names];
    for (let directory; (directory = pending.pop()) !== undefined;) {
      const directoryPath = this.#pathOf(directory.join("/"));
      if (!lstatOrNull(directoryPath)?.isDirectory) continue;
      for (const { name } of await this.#readDirectory(directoryPath, directory)) {
        if (isReservedName(name)) continue;
        const entryNames = [...directory, name];
        const path = entryNames.join("/");
        const below = entryNames.slice(this.#prefix.length);
        const info = this.#findInfo(path, below);
        if (info === null) continue;
        if (info.isDirectory) {
          const hasVersions = info.dev !== dev &&
            lstatOrNull(keptDirectoryOf(this.#pathOf(path)))?.isDirectory;
          if (hasVersions) mounts.push(entryNames);
          else pending.push(entryNames);
        } else if (info.isFile) {
          this.#present.push(path);
          this.#standing.set(path, toPresent(this.#pathOf(path), info));
        } else {
          this.#missing.push({ path: below, reason: "no-file" });
        }
      }
    }
    return mounts;
  }

  async #readDirectory(path: string, names: readonly string[]): Promise<Deno.DirEntry[]> {
    try {
      return await Array.fromAsync(Deno.readDir(path));
    } catch (error) {
      if (error instanceof Deno.errors.NotCapable) throw error;
      const below = names.slice(this.#prefix.length);
      if (below.length === 0) throw error;
      this.#missing.push({ path: below, reason: "unreadable" });
      return [];
    }
  }

  #findInfo(path: string, below: readonly string[]): Deno.FileInfo | null {
    let info: Deno.FileInfo | null = null;
    try {
      info = lstatOrNull(this.#pathOf(path));
    } catch (error) {
      if (error instanceof Deno.errors.NotCapable) throw error;
    }
    // Deno can't name a file whose name isn't UTF-8.
    if (info === null) this.#missing.push({ path: below, reason: "unreadable" });
    return info;
  }

  #get(path: string): Standing {
    const standing = this.#standing.get(path);
    if (standing !== undefined) return standing;
    const info = this.#isInDirectory(path) ? lstatOrNull(this.#pathOf(path)) : null;
    return info?.isFile ? toPresent(this.#pathOf(path), info) : "absent";
  }

  /** Returns false if a link is above the path: the file is then that of another path. */
  #isInDirectory(path: string): boolean {
    const end = path.lastIndexOf("/");
    if (end < 0) return true;
    const parent = path.slice(0, end);
    let isDirectory = this.#areDirectories.get(parent);
    if (isDirectory === undefined) {
      isDirectory = this.#isInDirectory(parent) &&
        lstatOrNull(this.#pathOf(parent))?.isDirectory === true;
      this.#areDirectories.set(parent, isDirectory);
    }
    return isDirectory;
  }

  /** Returns the events, the last one first. */
  async #listEvents(): Promise<Event[]> {
    const firstDay = dayOf(new Date(this.#at - HOUR_MILLISECONDS - MAX_ZONE_MILLISECONDS));
    const days = await readDays(this.#keptDirectory);
    const events: Event[] = [];
    const loggedVersions = new Set<string>();
    for (const day of days) {
      const directory = `${this.#keptDirectory}/${day}`;
      // The first log tells since when there are lines.
      if (day < firstDay && this.#logStart < Infinity) continue;
      const { lines, exists } = readNamingLog(directory);
      if (exists && this.#logStart === Infinity) {
        if (lines.length > 0) this.#logStart = Date.parse(lines[0]!.time);
        this.#checkBirths(directory);
      }
      if (day < firstDay) continue;
      // A day can have more lines than a call can have arguments.
      for (const event of this.#readLines(lines, loggedVersions)) events.push(event);
      if (day > dayOf(new Date(Date.now()))) {
        this.#gaps.push({ from: null, to: null, reason: "clock" });
      }
    }
    if (this.#logStart > this.#at) {
      const to = this.#logStart === Infinity ? null : new Date(this.#logStart);
      this.#gaps.push({ from: null, to, reason: "no-log" });
    }
    for await (const version of this.#listVersions(days.filter((day) => day >= firstDay))) {
      if (loggedVersions.has(`${version.directory}/${version.path}`)) continue;
      events.push({ time: version.removedAt, removed: version });
      const { birthtime } = version.info;
      if (birthtime !== null && this.#hasBirths) {
        events.push({ time: birthtime.getTime(), created: version });
      }
    }
    // A stable sort: namings of one time are undone in the reverse of their order.
    return events.reverse().sort((one, other) => other.time - one.time);
  }

  /** On a copied disk, the log is younger than its first line. */
  #checkBirths(directory: string): void {
    const birth = lstatOrNull(directory)?.birthtime?.getTime();
    this.#hasBirths = birth !== undefined && birth <= this.#logStart + NAMING_MILLISECONDS;
  }

  #readLines(lines: readonly NamingLine[], loggedVersions: Set<string>): Event[] {
    const events: Extract<Event, { line: unknown }>[] = [];
    let time = -Infinity;
    for (const line of lines) {
      const lineTime = Date.parse(line.time);
      if (lineTime < time - NAMING_MILLISECONDS) {
        this.#gaps.push({ from: new Date(lineTime), to: new Date(time), reason: "clock" });
      }
      // The order of the lines is that of the namings, also if the clock was set back.
      time = Math.max(time, lineTime);
      if (line.what === "gap") {
        const since = Date.parse(line.since);
        if (time > this.#at) {
          this.#gaps.push({ from: new Date(since), to: new Date(time), reason: "unwritten" });
        }
      } else if (line.what === "cancel") {
        const index = events.findLastIndex((event) => event.line.path === line.path);
        if (index >= 0) events.splice(index, 1);
      } else {
        events.push({ time, line });
      }
    }
    for (const { time, line } of events) {
      for (const path of line.what === "rename" ? [line.path, line.from] : [line.path]) {
        const times = this.#lineTimes.get(path) ?? [];
        times.push(time);
        this.#lineTimes.set(path, times);
      }
      if ("version" in line && line.version !== null) {
        loggedVersions.add(`${line.version}/${line.path}`);
      }
    }
    return events;
  }

  async *#listVersions(days: readonly string[]): AsyncGenerator<Version, void, void> {
    for (const day of days) {
      for (const name of await readDirectories(`${this.#keptDirectory}/${day}`)) {
        const hour = parseVersionTime(day, name);
        if (hour === null) continue;
        const directory = `${day}/${name}`;
        const root = `${this.#keptDirectory}/${directory}`;
        const pending = [this.#prefix.join("/")];
        for (let parent; (parent = pending.pop()) !== undefined;) {
          const parentPath = parent === "" ? root : `${root}/${parent}`;
          if (!lstatOrNull(parentPath)?.isDirectory) continue;
          for await (const entry of Deno.readDir(parentPath)) {
            const path = parent === "" ? entry.name : `${parent}/${entry.name}`;
            if (entry.isDirectory) pending.push(path);
            const source = `${root}/${path}`;
            const info = entry.isFile ? lstatOrNull(source) : null;
            if (info === null) continue;
            yield { path, directory, source, info, removedAt: findRemoval(hour, info) };
          }
        }
      }
    }
  }

  #undo(event: Event, changedPaths: Set<string>): void {
    if ("removed" in event) {
      changedPaths.add(event.removed.path);
      this.#standing.set(event.removed.path, toStanding(event.removed, "unlogged"));
      return;
    }
    if ("created" in event) {
      const { path, source } = event.created;
      const standing = this.#get(path);
      // A line, or a later version, may have changed the path since then.
      if (standing === "absent" || "lostAt" in standing || standing.source !== source) return;
      this.#standing.set(path, { lostAt: event.time, mayBeAbsent: true });
      return;
    }
    const { time, line } = event;
    changedPaths.add(line.path);
    switch (line.what) {
      case "create":
        this.#standing.set(line.path, "absent");
        break;
      case "rename": {
        changedPaths.add(line.from);
        const standing = this.#get(line.path);
        // The process was killed before the naming.
        if (standing === "absent" && this.#get(line.from) !== "absent") break;
        this.#standing.set(
          line.from,
          standing === "absent" ? { lostAt: time, mayBeAbsent: false } : standing,
        );
        this.#standing.set(line.path, "absent");
        break;
      }
      case "replace":
      case "delete": {
        const version = line.version === null ? null : this.#findVersion(line.version, line.path);
        this.#standing.set(line.path, version ?? { lostAt: time, mayBeAbsent: false });
      }
    }
  }

  #findVersion(directory: string, path: string): StandingFile | null {
    if (!areFileNames([...directory.split("/"), ...path.split("/")])) return null;
    const source = `${this.#keptDirectory}/${directory}/${path}`;
    const info = lstatOrNull(source);
    return info?.isFile ? { source, info, version: directory, doubt: null } : null;
  }

  #resolve(path: string, changedPaths: ReadonlySet<string>): Resolved {
    const standing = this.#get(path);
    if (standing === "absent") return "absent";
    if ("lostAt" in standing) {
      return this.#findHourly(path) ??
        (standing.mayBeAbsent ? "unlogged-absent" : "no-version");
    }
    const birth = this.#hasBirths ? standing.info.birthtime?.getTime() ?? 0 : 0;
    // Before the first line, a file that a line has replaced was created at its birth.
    if (birth > this.#at && this.#at < this.#logStart) {
      return this.#findHourly(path) ?? "unlogged-absent";
    }
    if (standing.version !== null || changedPaths.has(path)) return standing;
    return this.#checkPresent(path, standing);
  }

  /** Finds the version that was kept in the last hour before the time. */
  #findHourly(path: string): StandingFile | null {
    for (const event of this.#pathEvents.get(path) ?? []) {
      if (event.time > this.#at) continue;
      if (event.time < this.#at - HOUR_MILLISECONDS) return null;
      if ("removed" in event) return toStanding(event.removed, "hourly");
      if (!("line" in event)) continue;
      const { line } = event;
      const directory = "version" in line ? line.version : null;
      const version = directory === null ? null : this.#findVersion(directory, path);
      if (version !== null) return { ...version, doubt: "hourly" };
    }
    return null;
  }

  /** Checks a present file whose path has no event after the time. */
  #checkPresent(path: string, standing: StandingFile): Resolved {
    const { birthtime, ctime } = standing.info;
    const times = this.#lineTimes.get(path) ?? [];
    const isNewer = (birthtime?.getTime() ?? 0) > this.#at;
    if (isNewer && times.length === 0 && this.#hasBirths) {
      return this.#findHourly(path) ?? "unlogged-absent";
    }
    const changedAt = ctime?.getTime() ?? 0;
    const isLogged = times.some((time) =>
      changedAt >= time - NAMING_MILLISECONDS && changedAt <= time + NAMING_MILLISECONDS
    );
    return changedAt > this.#at && !isLogged ? { ...standing, doubt: "changed" } : standing;
  }

  /** A name can be a file and a directory only if one of them is in doubt. */
  #removeConflicts(files: readonly PlannedFile[]): PlannedFile[] {
    const directories = new Set(
      files.flatMap(({ path }) =>
        path.slice(1).map((_, depth) => path.slice(0, depth + 1).join("/"))
      ),
    );
    return files.filter(({ path }) => {
      const isConflict = directories.has(path.join("/"));
      if (isConflict) this.#missing.push({ path, reason: "conflict" });
      return !isConflict;
    });
  }
}

function pathOf(event: Event): string {
  if ("line" in event) return event.line.path;
  return "removed" in event ? event.removed.path : event.created.path;
}

function toPresent(source: string, info: Deno.FileInfo): StandingFile {
  return { source, info, version: null, doubt: null };
}

function toStanding({ source, info, directory }: Version, doubt: RestoreDoubt): StandingFile {
  return { source, info, version: directory, doubt };
}

function joinPlans(
  whole: RestorePlan,
  part: RestorePlan,
  names: readonly string[],
): RestorePlan {
  const below = <T extends { readonly path: readonly string[] }>(entries: readonly T[]): T[] =>
    entries.map((entry) => ({ ...entry, path: [...names, ...entry.path] }));
  return {
    files: [...whole.files, ...below(part.files)],
    missing: [...whole.missing, ...below(part.missing)],
    absent: [...whole.absent, ...below(part.absent)],
    gaps: [...whole.gaps, ...part.gaps],
  };
}

/** Returns the first and the last millisecond that the name of a directory of versions means. */
function parseVersionTime(day: string, name: string): readonly [number, number] | null {
  const [, hour, minute, second, millisecond] =
    /^(\d\d)(?:-(\d\d)(?:-(\d\d)(?:\.(\d{3}))?)?)?_/.exec(name) ?? [];
  if (hour === undefined) return null;
  const [year, month, date] = day.split("-").map(Number) as [number, number, number];
  const start = new Date(0);
  start.setFullYear(year, month - 1, date);
  start.setHours(+hour, +(minute ?? 0), +(second ?? 0), +(millisecond ?? 0));
  const length = minute === undefined
    ? HOUR_MILLISECONDS
    : second === undefined
    ? 60_000
    : millisecond === undefined
    ? 1000
    : 1;
  return [start.getTime(), start.getTime() + length - 1];
}

/** Linking a file, and removing its other name, sets its ctime, unless the disk was copied. */
function findRemoval([start, end]: readonly [number, number], info: Deno.FileInfo): number {
  const changedAt = info.ctime?.getTime() ?? NaN;
  // Deno cuts the ctime to seconds.
  return changedAt >= start - 1000 && changedAt <= end ? Math.max(changedAt, start) : end;
}
