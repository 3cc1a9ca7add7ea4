/**
 * A model of the transfer of a tree, written from its documentation: the allowed outcomes of each
 * path, the deletions, and the resulting target. It shares only the rule for reserved names with
 * the library.
 */

import { hash } from "node:crypto";
import type { TreeEvent, TreeResult } from "@degu/degu/files";
import { isReservedName } from "@degu/internal/files/reserved.ts";
import { type Options, REUSED_FROM_BYTES, type Script } from "./cases.ts";
import {
  below,
  contentOf,
  differences,
  flatten,
  type Raw,
  type RawDirectory,
  type RawFile,
} from "./disk.ts";
import type { MadeChange } from "./fault_injector.ts";

/** An entry as listed by its end. */
interface View {
  readonly name: string;
  /** The path, joined by slashes. */
  readonly path: string;
  readonly kind: "file" | "directory" | "other";
  readonly reason: "link" | "special" | "unreadable" | null;
  readonly raw: Raw;
  readonly file: RawFile | null;
  readonly isHidden: boolean;
  /** False for a file that its owner can't read. */
  readonly isReadable: boolean;
  readonly below: ReadonlyMap<string, View>;
  /** The number of entries whose names are not UTF-8. */
  readonly unnamed: number;
  /** Reserved names in a directory. */
  readonly reserved: readonly string[];
}

/** The options of a run, and its reports. */
export interface Run {
  readonly download: boolean;
  readonly options: Options;
  readonly dryRun: boolean;
  /** Whether the server reuses bytes. */
  readonly reuse: boolean;
  /** Whether an earlier run may have left parts. */
  readonly isResumed: boolean;
  /** The permission bits of a new file that is created with all bits. */
  readonly newFileMode: number;
  /** The real path of the server's root. */
  readonly root: string;
  readonly source: RawDirectory;
  readonly sourceAfter: RawDirectory;
  readonly target: RawDirectory | null;
  readonly after: RawDirectory | null;
  readonly script: Script | undefined;
  /** The changes of other processes to files while they were copied. */
  readonly changes: readonly MadeChange[];
  readonly events: readonly TreeEvent[];
  readonly result: TreeResult;
  /** The requests that compare or copy bytes of the target, before the file is requested. */
  readonly reuseRequests: readonly (readonly [method: string, path: string])[];
}

/** Returns the differences between the counts of a result and its events. */
export function miscounts(events: readonly TreeEvent[], result: TreeResult): string[] {
  const counted = [
    ["files", "copied"],
    ...(["unchanged", "deleted", "moved", "pending", "skipped", "failed"] as const).map((type) =>
      [type, type] as const
    ),
  ] as const;
  const problems = counted.flatMap(([name, type]) => {
    const count = events.filter((event) => event.type === type).length;
    return result[name] === count ? [] : [`result.${name} is ${result[name]}, events: ${count}`];
  });
  const copied = events.filter((event) => event.type === "copied");
  for (const name of ["bytes", "reused"] as const) {
    const sum = copied.reduce((sum, event) => sum + event[name], 0);
    if (result[name] !== sum) problems.push(`result.${name} is ${result[name]}, events: ${sum}`);
  }
  const isMissing = (event: TreeEvent) =>
    event.type === "failed" || event.type === "pending" ||
    event.type === "skipped" && event.reason === "link";
  if (result.complete && (result.deletionsSkipped !== null || events.some(isMissing))) {
    problems.push("the result is complete, although an entry is missing");
  }
  for (const { path, bytes, resumedFrom, reused, total } of copied) {
    if (bytes + resumedFrom + reused === total) continue;
    problems.push(`${path}: ${bytes} bytes, from ${resumedFrom}, ${reused} reused, of ${total}`);
  }
  return problems;
}

type Outcome = Exclude<(TreeEvent & { path: unknown })["type"], "deleted" | "moved">;

/** Returns the outcomes of each path, without deletions and removals. */
export function outcomesOf(events: readonly TreeEvent[]): ReadonlyMap<string, readonly Outcome[]> {
  const outcomes = new Map<string, Outcome[]>();
  for (const event of events) {
    if (!("path" in event) || event.type === "deleted" || event.type === "moved") continue;
    const path = event.path.join("/");
    outcomes.set(path, [...outcomes.get(path) ?? [], event.type]);
  }
  return outcomes;
}

/** Whether a filter of the cases accepts an entry. */
export function accepts(
  { hidden }: Options,
  entry: { readonly name: string; readonly kind: string; readonly reason?: string | null },
): boolean {
  const { name, kind } = entry;
  if (hidden.names.includes(name) || hidden.names.includes(`${kind}:${name}`)) return false;
  // Some ends don't open files to list them, so the filter must not depend on readability.
  const isPlain = entry.kind !== "other" || entry.reason === "link" || entry.reason === "special";
  return hidden.kind !== entry.kind || !isPlain;
}

/** Whether two times are equal, as far as both ends can store them. */
export function isSameTime(a: number, b: number): boolean {
  if (Math.abs(a - b) < 1) return true;
  return [1000, 2000].some((unit) =>
    Math.floor(a / unit) * unit === b || Math.floor(b / unit) * unit === a
  );
}

const canRead = (mode: number) => (mode & 0o400) !== 0;
const canSearch = (mode: number) => (mode & 0o500) === 0o500;
const canWrite = (mode: number) => (mode & 0o300) === 0o300;

const show = (path: string) => JSON.stringify(path);

/** The expected state of a path of the target. */
interface Expected {
  /** Any entry is allowed. */
  readonly isOpen?: boolean;
  /** The entry may also be missing. */
  readonly mayBeGone?: boolean;
  /** The entry stays because it can't be removed, which is a failure. */
  readonly isStuck?: boolean;
  /** The entry is unchanged. */
  readonly kept?: Raw;
  /** The entry is a copy of this file. */
  readonly copy?: RawFile;
  /** The entry is a directory with these entries. */
  readonly entries?: Map<string, Expected>;
}

/** Whether a directory of the source can be written at the target. */
type Way =
  | "free"
  /** A parent can't be created or entered, so all entries below fail. */
  | "blocked"
  /** The entry is unknown. */
  | "unknown";

export class Judge {
  readonly #run: Run;
  readonly #objections: string[] = [];
  readonly #source: View;
  readonly #target: View | null;
  readonly #outcomes: ReadonlyMap<string, readonly Outcome[]>;
  readonly #deleted: readonly string[];
  readonly #mustBeDeleted = new Set<string>();
  readonly #mayBeDeleted = new Set<string>();
  /** Paths that may have failed because they could not be deleted. */
  readonly #mayFail = new Set<string>();
  readonly #hidesUnnamed: boolean;
  /** Whether deletions at the end are made, or only assumed. */
  #deletes = false;

  constructor(run: Run) {
    this.#run = run;
    const { source, target, download, root, options, events } = run;
    // A server opens its files to list them. A local tree may be listed without that.
    const [sourceRoot, targetRoot] = download ? [root, null] : [null, root];
    this.#source = view("", source, null, sourceRoot, options);
    // The target of a move is not listed, so a dry run can't compare.
    const isSeen = target !== null && !(this.#isMove && run.dryRun);
    this.#target = isSeen ? view("", target, this.#source, targetRoot, options) : null;
    this.#hidesUnnamed = !accepts(options, { name: "not\ufffdutf", kind: "other", reason: "name" });
    this.#outcomes = outcomesOf(events);
    this.#deleted = events.flatMap((event) =>
      event.type === "deleted" ? [event.path.join("/")] : []
    );
  }

  /** Returns all deviations of the run from the documentation. */
  judge(): string[] {
    if (this.#run.result.deletionsSkipped === "over half") return this.#judgeRefusal();
    this.#checkEvents();
    this.#checkDirectory(this.#source, this.#target, "free", true);
    this.#checkKept();
    this.#checkRemoved();
    const { after, dryRun, target, options, result } = this.#run;
    this.#deletes = options.delete && result.deletionsSkipped === null;
    const expected = this.#expectDirectory(this.#source, this.#target, this.#deletes);
    this.#checkDeleted();
    this.#checkTargetOnlyOutcomes();
    if (dryRun) {
      const kept: Expected = target === null ? {} : { kept: target };
      this.#compare("", kept, after);
    } else if (after === null) {
      this.#object("the root of the target was not made");
    } else this.#compare("", expected, after);
    return this.#objections;
  }

  /** Judges a call that refuses to delete most files of the target. */
  #judgeRefusal(): string[] {
    const { after, events, options, target } = this.#run;
    if (!options.delete || options.deleteAll) this.#object("a refusal of allowed deletions");
    const { going, added, staying } = this.#countLoss();
    const isEmpty = this.#isEmpty(entriesOf(this.#source));
    const { must, may } = this.#countDeletions();
    if (isEmpty ? must + may === 0 : going <= 10 || going <= staying) {
      this.#object(`refused, although ${going} files, ${added} of them renamed, would go`);
    }
    const reported = events.filter(({ type }) => type !== "progress" && type !== "retry");
    if (reported.length !== 1 || this.#outcomes.get("")?.[0] !== "failed") {
      this.#object(`a refused call reports ${JSON.stringify(reported)}`);
    }
    if (target !== null && after !== null) this.#compare("", { kept: target }, after);
    return this.#objections;
  }

  /** Counts the target's files that would be deleted, and that stay, and the source's new files. */
  #countLoss(): { going: number; added: number; staying: number } {
    const filesOf = (root: View | null) =>
      (root === null ? [] : entriesOf(root))
        .filter(({ raw, isHidden }) => raw.kind === "file" && !isHidden)
        .map(({ path }) => path);
    const sourceFiles = new Set(filesOf(this.#source)),
      targetFiles = new Set(filesOf(this.#target));
    const staying = targetFiles.intersection(sourceFiles).size;
    return {
      going: targetFiles.size - staying,
      added: sourceFiles.size - staying,
      staying,
    };
  }

  #object(text: string): void {
    this.#objections.push(text);
  }

  /** Checks the rules for the events of all trees. */
  #checkEvents(): void {
    const { events, result, dryRun, options } = this.#run;
    let plan: { files: number; bytes: number } | null = null;
    let bytes = -1, total = -1;
    for (const event of events) {
      if (event.type === "plan") {
        if (plan !== null) this.#object("two plans");
        plan = event;
      } else if (event.type === "progress") {
        // A list that takes longer than a second is reported.
        if (plan === null) {
          if (event.done + event.total > 0) this.#object("progress before the plan");
          continue;
        }
        // The bytes of a failed file don't count.
        if (event.done < bytes && result.failed === 0) {
          this.#object(`progress went back to ${event.done} of ${bytes}`);
        }
        total = event.total;
        // Reusable bytes may also be sent.
        const isExact = !this.#run.reuse;
        if (isExact ? total !== plan.bytes : total < plan.bytes) {
          this.#object(`total ${total}, plan ${plan.bytes}`);
        }
        bytes = event.done;
      } else if (event.type === "copied" || event.type === "deleted") {
        if (plan === null) this.#object(`${event.type} ${event.path} before the plan`);
      } else if (["pending", "skipped", "failed"].includes(event.type)) {
        this.#checkReason(event as TreeEvent & { type: "pending" | "skipped" | "failed" });
      }
    }
    if (plan === null) return this.#object("no plan");
    this.#objections.push(...miscounts(events, result));
    const { failed } = result;
    const copied = events.filter(({ type }) => type === "copied").length;
    const changed = this.#run.changes.filter(({ side }) => side === "source").length;
    if (plan.files < copied || plan.files > copied + failed + changed) {
      this.#object(`planned ${plan.files} files; ${copied} copied, ${failed} failed`);
    }
    if (!dryRun && failed === 0 && bytes >= 0 && bytes !== total) {
      this.#object(`progress ended at ${bytes} of ${total}`);
    }
    if (!dryRun && failed === 0 && plan.bytes > 0 && bytes < 0) this.#object("no progress");
    if (failed === 0 && changed === 0) this.#checkBytes(plan.bytes, Math.max(bytes, 0));
    this.#checkReuseRequests();
    if (!options.delete && this.#deleted.length > 0) this.#object("deleted without `delete`");
    for (const [index, path] of this.#deleted.entries()) {
      for (const earlier of this.#deleted.slice(0, index)) {
        if (path === earlier) this.#object(`${show(path)} was deleted twice`);
        if (path.startsWith(`${earlier}/`)) {
          this.#object(`${show(path)} was deleted after a directory that it lay in`);
        }
      }
    }
  }

  /** Checks why an entry is pending, was skipped, or has failed. */
  #checkReason(event: TreeEvent & { type: "pending" | "skipped" | "failed" }): void {
    const path = event.path.join("/"), entry = find(this.#source, path);
    const { reason = null, error = null } = event as { reason?: string; error?: unknown };
    const code = (error as { code?: unknown } | null)?.code;
    if (code === "TARGET_CHANGED" && !`${error}`.includes("changed during the call")) {
      this.#object(`${show(path)}: ${error}`);
    }
    const obstacle = this.#inTheWay(path), target = this.#target && find(this.#target, path);
    let expected: unknown;
    const change = this.#findChange(path);
    if (change?.side === "source") {
      // A file with the same size and time may be the copy itself, if the server serves the source.
      expected = change.what === "replace" ? "SAME_NAME" : undefined;
    } else if (change?.side === "target") {
      expected = "TARGET_CHANGED";
    } else if (event.type === "pending") {
      expected = "a change of the source";
    } else if (event.type === "skipped") {
      expected = isReservedName(event.path.at(-1)!) ? "reserved" : entry?.reason;
    } else if (event.at === "target" || entry === null) return;
    else if (entry.reason === "unreadable") expected = "UNREADABLE";
    // The list of a server doesn't show the kind of an unreadable entry.
    else if (!entry.isReadable || obstacle?.reason === "unreadable") return;
    // The target of a move is not listed, so that the server refuses the file.
    else if (this.#isMove && (obstacle?.kind === "other" || this.#isBelowTwin(path))) return;
    else if (this.#isMove && !this.#isRemovable(path)) return;
    else if (obstacle !== null) expected = "IN_THE_WAY";
    else if (!this.#mayReplace && target?.kind === "file" && target.isReadable) {
      expected = this.#run.script?.write === "add" ? "ONLY_ADDS" : "EXISTS";
    } else return;
    if ((reason ?? code) === expected) return;
    this.#object(`${show(path)} is ${event.type}: ${reason ?? code}, not ${expected}`);
  }

  /** Checks that bytes are reused if the target has them with another time or at another path. */
  #checkBytes(planned: number, reported: number): void {
    const { events, result, dryRun, download, isResumed } = this.#run;
    let sizeAtTarget = 0, sum = 0, minPlanned = 0, maxPlanned = 0;
    for (const event of events) {
      if (event.type !== "copied") continue;
      const path = event.path.join("/");
      const { file } = find(this.#source, path) ?? {};
      const targetFile = this.#target && find(this.#target, path)?.file;
      const mayBeThere = !dryRun && (isResumed || file && targetFile?.key === file.key);
      if (file && mayBeThere) sizeAtTarget += file.size;
      const isCompared = !dryRun && !download && file && targetFile?.key === file.key;
      const isSentAgain = this.#isMove
        ? isCompared && !isOfFuture(targetFile)
        : isCompared && file.size >= REUSED_FROM_BYTES;
      if (isSentAgain && event.bytes > 0) {
        this.#object(`${show(path)} is sent, and only its time differs`);
      }
      sum += event.total;
      const digest = dryRun ? null : file && sha256Of(file.key);
      if (event.sha256 !== digest) this.#object(`${show(path)} has the digest ${event.sha256}`);
      const [minListed, maxListed] = this.#reusableByLists(path);
      maxPlanned += event.total - minListed;
      minPlanned += event.total - maxListed;
      const [minReused, maxReused] = dryRun ? [minListed, maxListed] : this.#reusable(path);
      if (event.reused > maxReused || event.reused < (mayBeThere ? 0 : minReused)) {
        this.#object(`${show(path)} reuses ${event.reused}, not ${[minReused, maxReused]}`);
      }
    }
    const { bytes, reused } = result;
    if (bytes + reused > sum || bytes + reused < sum - sizeAtTarget) {
      this.#object(`${bytes} and ${reused} bytes of ${sum}`);
    }
    if (reported < bytes || reported > bytes + sizeAtTarget) {
      this.#object(`progress ended at ${reported} of ${bytes} bytes`);
    }
    if (planned < minPlanned || planned > maxPlanned) {
      this.#object(`planned were ${planned} bytes, not ${[minPlanned, maxPlanned]}`);
    }
  }

  /** Checks that each file is compared and copied at most once, and only if the lists suggest it. */
  #checkReuseRequests(): void {
    const { dryRun, download, reuseRequests } = this.#run;
    const requests = new Set<string>();
    for (const [method, path] of reuseRequests) {
      const isVain = dryRun || this.#reusableByLists(path)[1] === 0 ||
        // A server compares a whole file while it copies the file.
        !download && method === "HEAD" &&
          this.#basisFiles(path)[0]!.file!.size === find(this.#source, path)!.file!.size;
      if (isVain) this.#object(`${method} ${show(path)} compares bytes in vain`);
      if (requests.has(`${method} ${path}`)) this.#object(`${show(path)} is compared again`);
      requests.add(`${method} ${path}`);
    }
  }

  /**
   * Returns the files of the target that may have the same prefix as a file: files of its size and
   * time, or else a shorter and older file of its path.
   */
  #basisFiles(path: string): View[] {
    const { file } = find(this.#source, path) ?? {};
    if (!this.#run.reuse || !file || file.size < REUSED_FROM_BYTES || this.#target === null) {
      return [];
    }
    const times = [1, 1000, 2000].map((unit) => Math.floor(file.modified / unit) * unit);
    const alikes = filesOf(this.#target).filter((it) =>
      it.file!.size === file.size && times.includes(it.file!.modified)
    );
    const target = find(this.#target, path);
    if (alikes.length > 0 || target?.kind !== "file") return alikes;
    const { size, modified } = target.file!;
    const isGrown = size >= REUSED_FROM_BYTES && size < file.size && modified < file.modified;
    return isGrown ? [target] : [];
  }

  /** Returns the minimal and maximal number of bytes that the lists suggest to reuse. */
  #reusableByLists(path: string): [number, number] {
    const obstacle = this.#inTheWay(path);
    if (obstacle !== null && obstacle.kind !== "other") return [0, 0];
    const basisFiles = this.#basisFiles(path);
    const size = basisFiles[0]?.file?.size ?? 0;
    // A file of the same path and size was compared before. Some lists lack unreadable files.
    const isCompared = find(this.#source, path)?.file?.size === size &&
      basisFiles.some((it) => it.path === path);
    const isCertain = !isCompared && obstacle === null &&
      basisFiles.every(({ isReadable }) => isReadable);
    return [isCertain ? size : 0, isCompared && basisFiles.length === 1 ? 0 : size];
  }

  /** Returns the minimal and maximal number of reused bytes of a file. */
  #reusable(path: string): [number, number] {
    const file = find(this.#source, path)?.file, basisFiles = this.#basisFiles(path);
    if (!file || basisFiles.length === 0) return [0, 0];
    const { size } = basisFiles[0]!.file!;
    const isSame = basisFiles.map((it) => parseInt(it.file!.key) === parseInt(file.key));
    // Unreadable files and files that are replaced during the copy need not be reused.
    const isCertain = !this.#inTheWay(path) &&
      basisFiles.every((it) =>
        it.isReadable &&
        (it.path === path ? size < file.size : this.#outcomes.get(it.path)?.[0] !== "copied")
      );
    return [isCertain && isSame.every(Boolean) ? size : 0, isSame.some(Boolean) ? size : 0];
  }

  /** Checks that the outcome of a path is one of those that are allowed. */
  #outcome(path: string, allowed: readonly (Outcome | null)[]): void {
    const outcomes = this.#outcomes.get(path) ?? [];
    // An obstacle that can't be deleted is reported in addition to the entry that is not copied.
    const isTwice = `${outcomes}` === "failed,failed" && this.#inTheWay(path)?.path === path;
    if (outcomes.length > 1 && !isTwice) this.#object(`${show(path)} has the outcomes ${outcomes}`);
    const outcome = outcomes[0] ?? null;
    if (!allowed.includes(outcome)) {
      this.#object(`${show(path)} is ${outcome ?? "without outcome"}; allowed: ${allowed}`);
    }
  }

  /** Whether a directory, or something in it, has this outcome. */
  #hasOutcome(outcome: Outcome, directory: View, kind: View["kind"] | null = null): boolean {
    return [directory, ...entriesOf(directory)].some((entry) =>
      (kind === null || entry.kind === kind) && this.#outcomes.get(entry.path)?.[0] === outcome
    );
  }

  /** Whether the entry of the target has another kind, and is superfluous. */
  #isSuperfluous(entry: View | null, targetEntry: View | null): boolean {
    const { options } = this.#run;
    if (entry === null || targetEntry === null || entry.kind === "other") return false;
    return options.delete && options.replace && entry.kind !== targetEntry.kind &&
      targetEntry.kind !== "other" && targetEntry.isReadable && !entry.isHidden &&
      !targetEntry.isHidden;
  }

  /**
   * Returns the obstacle at the target for a path of the source, at the path or one of its parents.
   */
  #inTheWay(path: string): View | null {
    for (const each of prefixes(path)) {
      const entry = find(this.#source, each),
        targetEntry = this.#target && find(this.#target, each);
      if (entry === null || entry.kind === "other" || !targetEntry) continue;
      if (targetEntry.raw.kind !== entry.kind) return targetEntry;
    }
    return null;
  }

  #checkDirectory(source: View, target: View | null, way: Way, isWritable: boolean): void {
    const writable = target?.raw.kind === "directory" ? canWrite(target.raw.mode) : isWritable;
    for (const entry of source.below.values()) {
      if (entry.isHidden) continue;
      const targetEntry = target?.below.get(entry.name) ?? null;
      if (entry.kind === "other") {
        this.#outcome(entry.path, [entry.reason === "unreadable" ? "failed" : "skipped"]);
      } else if (entry.kind === "file") this.#checkFile(entry, targetEntry, way, writable);
      else this.#checkEntryDirectory(entry, targetEntry, way, writable);
    }
    // A server omits reserved names from its list; a sender reports them.
    for (const name of source.reserved) {
      if (!accepts(this.#run.options, { name, kind: "other", reason: null })) continue;
      this.#outcome(below(source.path, name), this.#run.download ? [null] : ["skipped"]);
    }
  }

  get #isMove(): boolean {
    return this.#run.script?.move ?? false;
  }

  get #mayReplace(): boolean {
    return this.#run.options.replace && this.#run.script?.write !== "add";
  }

  #findChange(path: string): MadeChange | null {
    return this.#run.changes.find((change) => change.path === path) ?? null;
  }

  /** Checks that a move removes the copied files, and no other file or change. */
  #checkRemoved(): void {
    const { events, dryRun, source, sourceAfter, changes } = this.#run;
    const copied = new Set<string>(), removed = new Set<string>();
    for (const event of events) {
      if (event.type !== "copied" && event.type !== "moved") continue;
      const path = event.path.join("/");
      if (event.type === "copied") copied.add(path);
      else if (copied.has(path)) removed.add(path);
      else this.#object(`${show(path)} was removed before it was copied`);
    }
    for (const path of copied) {
      // A file that another process has removed counts as copied.
      const isExpected = this.#isMove && this.#findChange(path)?.side !== "source";
      if (removed.has(path) !== isExpected) {
        this.#object(`${show(path)} was ${isExpected ? "not " : ""}removed`);
      }
    }
    if (!this.#isMove) return;
    const expected = flatten(source);
    for (const { side, path, left } of changes) {
      if (side === "target") continue;
      expected.delete(path);
      flatten(left, {}, path, expected);
    }
    for (const path of dryRun ? [] : removed) expected.delete(path);
    for (const text of differences(expected, flatten(sourceAfter))) {
      this.#object(`the source: ${text}`);
    }
  }

  /** Returns the outcome of a file that another process has changed while it was copied. */
  #outcomeOfChange({ file }: View, { side, what, left }: MadeChange): Outcome {
    if (side === "target") {
      return left?.kind === "file" && left.key === file!.key ? "copied" : "failed";
    }
    if (what === "remove") return "copied";
    return what === "replace" ? "failed" : "pending";
  }

  #checkFile(entry: View, targetEntry: View | null, way: Way, isWritable: boolean): void {
    const { path } = entry;
    const { dryRun, options } = this.#run;
    const change = this.#findChange(path);
    if (change !== null) return this.#outcome(path, [this.#outcomeOfChange(entry, change)]);
    const { refused } = this.#run.script ?? {};
    if (refused?.paths?.includes(path)) return this.#outcome(path, ["failed"]);
    let allowed: Outcome[];
    if (way === "blocked") allowed = ["failed"];
    else if (way === "unknown") allowed = ["failed", "copied", "unchanged"];
    else allowed = this.#allowed(entry, targetEntry);
    // A file that could not be removed is not sent.
    if (this.#isMove && !this.#isRemovable(path) && !dryRun) allowed = ["failed"];
    const mayBeChanging = !this.#mayReplace && isOfFuture(targetEntry?.file);
    if (this.#isMove && targetEntry !== null && mayBeChanging) allowed.push("failed");
    const copies = allowed.includes("copied");
    if (copies && !isWritable) {
      allowed = allowed.filter((outcome) => outcome !== "copied" || dryRun);
      allowed.push("failed");
    }
    if (!entry.isReadable) {
      // Listing may not have opened the entry.
      const isEqual = allowed.includes("unchanged");
      allowed = ["failed", "skipped"];
      if (isEqual && options.compare === "time") allowed.push("unchanged");
      if (dryRun && copies) allowed.push("copied");
    }
    this.#outcome(path, allowed);
  }

  #allowed(entry: View, targetEntry: View | null): Outcome[] {
    const { dryRun, options: { compare } } = this.#run;
    const replace = this.#mayReplace;
    if (targetEntry === null) return ["copied"];
    const sourceFile = entry.file!;
    if (targetEntry.kind === "directory") return ["failed"];
    const targetFile = targetEntry.file;
    // The list alone doesn't show whether the entry is a file.
    if (targetEntry.raw.kind === "directory" && dryRun && replace) return ["failed", "copied"];
    // A link is not followed, and special files are never deleted.
    if (targetFile === null) return ["failed"];
    const changedOutcomes: Outcome[] = [replace ? "copied" : "failed"];
    if (!targetEntry.isReadable || targetEntry.kind === "other") {
      return [...new Set<Outcome>([...changedOutcomes, "failed", "unchanged"])];
    }
    if (this.#isMove && targetFile.key === sourceFile.key) return ["copied"];
    // A file of the same size and another time is compared by its content.
    // A file of the same size and another time is compared by its content.
    const isEqual = targetFile.key === sourceFile.key ||
      compare === "time" && targetFile.size === sourceFile.size &&
        isSameTime(targetFile.modified, sourceFile.modified);
    return isEqual && !this.#isMove ? ["unchanged"] : changedOutcomes;
  }

  #checkEntryDirectory(entry: View, targetEntry: View | null, way: Way, isWritable: boolean): void {
    let entryWay = way;
    let mayFail = way !== "free";
    if (way === "free" && targetEntry !== null && targetEntry.kind !== "directory") {
      mayFail = true;
      entryWay = this.#wayThrough(targetEntry);
    }
    if (targetEntry === null && !isWritable) mayFail = true;
    const writable = isWritable || targetEntry?.kind === "directory";
    if (mayFail || !writable) {
      const isObstructed = way === "free" && entryWay === "blocked";
      this.#outcome(entry.path, isObstructed ? ["failed"] : ["failed", null]);
    } else this.#outcome(entry.path, [null]);
    const directory = targetEntry?.kind === "directory" ? targetEntry : null;
    if (this.#outcomes.get(entry.path)?.[0] === "failed" && entryWay === "free") {
      entryWay = "blocked";
    }
    this.#checkDirectory(entry, directory, entryWay, writable);
  }

  /** Whether the name of another entry of the source differs only by case or normalization. */
  #hasTwin({ path, name }: View): boolean {
    const fold = (text: string) => text.normalize("NFD").toUpperCase().toLowerCase();
    const siblings = find(this.#source, dirname(path))!.below;
    return [...siblings.keys()].some((other) => other !== name && fold(other) === fold(name));
  }

  /** Whether the directory of a file of the source can be written to. */
  #isRemovable(path: string): boolean {
    return isWritableDirectory(find(this.#source, dirname(path)));
  }

  #isBelowTwin(path: string): boolean {
    return prefixes(path).some((each) => this.#hasTwin(find(this.#source, each)!));
  }

  /** Whether a directory can replace this entry. */
  #wayThrough({ raw }: View): Way {
    return raw.kind === "directory" ? "unknown" : "blocked";
  }

  #checkKept(): void {
    const { options, result } = this.#run;
    if (!options.delete) {
      if (result.deletionsSkipped !== null) {
        this.#object(`deletionsSkipped is ${result.deletionsSkipped} without \`delete\``);
      }
      return;
    }
    const entries = entriesOf(this.#source);
    const { must: certain, may: possible } = this.#countDeletions();
    const { going, added, staying } = this.#countLoss();
    const isMajor = certain >= going && going - added > Math.max(10, staying) ||
      this.#isEmpty(entries) && certain > 0;
    if (isMajor && result.deletionsSkipped === null && !options.deleteAll) {
      this.#object(`${going} files may go, and ${staying} stay`);
    }
    const isIncomplete = entries.some(({ reason }) => reason === "unreadable") ||
      this.#showsUnnamed;
    const mayBeIncomplete = entries.some(({ isReadable }) => !isReadable);
    const allowed: (TreeResult["deletionsSkipped"])[] = [];
    // Entries that could not be deleted at the end don't count.
    const failed = this.#run.events.flatMap((event) =>
      event.type === "failed" && event.at === "source" ? [event.path.join("/")] : []
    );
    // A link only obstructs its own path, and an obstacle is superfluous.
    const hasFailed = failed.some((path) => {
      const obstacle = this.#inTheWay(path);
      return obstacle === null ||
        obstacle.raw.kind !== "link" &&
          !this.#isSuperfluous(find(this.#source, obstacle.path), obstacle);
    });
    const orFailed = hasFailed ? "failed" : null;
    if (isIncomplete) allowed.push("incomplete");
    else {
      if (mayBeIncomplete) allowed.push("incomplete");
      if (
        !mayBeIncomplete || orFailed === "failed" ||
        !this.#hasOutcome("skipped", this.#source, "file")
      ) {
        allowed.push(orFailed);
      }
    }
    // If no entry would be deleted, there may be no reason.
    if (allowed[0] !== null && certain + possible === 0) allowed.push(null);
    if (!allowed.includes(result.deletionsSkipped)) {
      this.#object(`deletionsSkipped is ${result.deletionsSkipped}; allowed: ${allowed}`);
    }
  }

  #isEmpty(entries: readonly View[]): boolean {
    return entries.every(({ kind }) => kind === "directory") && !this.#showsUnnamed;
  }

  /**
   * Returns how many entries would be deleted without restrictions: certainly, and possibly in
   * addition.
   */
  #countDeletions(): { must: number; may: number } {
    // The limit applies before undeletable entries are detected, as in a dry run.
    const dryRunJudge = new Judge({ ...this.#run, dryRun: true });
    dryRunJudge.#deletes = true;
    dryRunJudge.#expectDirectory(dryRunJudge.#source, dryRunJudge.#target, true);
    const must = dryRunJudge.#mustBeDeleted, may = new Set(dryRunJudge.#mayBeDeleted);
    for (const { path } of this.#target === null ? [] : entriesOf(this.#target)) {
      if (this.#inTheWay(path) !== null) may.add(path);
    }
    return { must: must.size, may: may.difference(must).size };
  }

  /** Whether the source has names that are not UTF-8, and the filter accepts them. */
  get #showsUnnamed(): boolean {
    return !this.#hidesUnnamed && directoriesOf(this.#source).some(({ unnamed }) => unnamed > 0);
  }

  /**
   * Returns the entries that a directory of the source must have, and records the entries that must
   * have been deleted in it.
   */
  #expectDirectory(source: View, target: View | null, isDeleting: boolean): Expected {
    const entries = new Map<string, Expected>();
    const names = new Set([...source.below.keys(), ...target?.below.keys() ?? []]);
    for (const name of names) {
      const entry = source.below.get(name) ?? null, targetEntry = target?.below.get(name) ?? null;
      const expected = entry === null || this.#isSuperfluous(entry, targetEntry)
        ? this.#expectTargetOnly(targetEntry!, isDeleting && isWritableDirectory(target))
        : this.#expectEntry(entry, targetEntry, isDeleting);
      if (expected !== null) entries.set(name, expected);
    }
    return { entries };
  }

  #expectEntry(entry: View, targetEntry: View | null, isDeleting: boolean): Expected | null {
    const kept = targetEntry === null ? null : { kept: targetEntry.raw };
    if (entry.isHidden || entry.kind === "other") return kept;
    if (entry.kind === "file") {
      const [outcome] = this.#outcomes.get(entry.path) ?? [];
      const change = this.#findChange(entry.path);
      if (change?.side === "target") return { kept: change.left! };
      if (outcome !== "copied" && change === null) {
        const { dryRun, options: { compare } } = this.#run;
        const isUpdated = !dryRun && this.#mayReplace;
        if (outcome === "unchanged" && targetEntry?.raw.kind === "file" && isUpdated) {
          const { raw } = targetEntry;
          const file = entry.file!;
          const mode = raw.mode === file.mode ? file.mode : this.#modeOfCopy(file, targetEntry);
          const keepsTime = compare !== "time" || isSameTime(raw.modified, file.modified);
          return { kept: { ...raw, mode, modified: keepsTime ? raw.modified : file.modified } };
        }
        return kept;
      }
      // An add-only server keeps a file with the same content.
      if (targetEntry !== null && this.#run.script?.write === "add") return kept;
      if (targetEntry?.raw.kind === "directory") {
        const isKnown = targetEntry.kind === "directory";
        this.#noteAll(targetEntry, isKnown ? this.#mustBeDeleted : this.#mayBeDeleted);
      }
      return { copy: { ...entry.file!, mode: this.#modeOfCopy(entry.file!, targetEntry) } };
    }
    if (targetEntry === null) {
      const expected = this.#expectDirectory(entry, null, isDeleting);
      const isMade = this.#hasOutcome("copied", entry, "file") ||
        !this.#hasOutcome("failed", entry);
      return isMade ? expected : { ...expected, mayBeGone: true };
    }
    if (targetEntry.kind === "directory") {
      const hasFailed = this.#outcomes.get(entry.path)?.[0] === "failed";
      if (this.#isMove && hasFailed) return kept;
      return this.#expectDirectory(entry, targetEntry, isDeleting);
    }
    if (targetEntry.raw.kind === "directory") return { isOpen: true };
    return kept;
  }

  /**
   * Returns the mode of a copy: the bits of the source that a new file gets, and the access that its
   * owner needs; without `modes`, those of the replaced file, or of a new file.
   */
  #modeOfCopy(file: RawFile, targetEntry: View | null): number {
    const { newFileMode, options } = this.#run;
    if (options.modes) return file.mode & newFileMode | 0o600;
    return targetEntry?.file ? targetEntry.file.mode & 0o777 : newFileMode & 0o666;
  }

  /** Returns the expected state of an entry that the source doesn't have. */
  #expectTargetOnly(targetEntry: View, isDeleting: boolean): Expected | null {
    const kept = { kept: targetEntry.raw };
    const { path } = targetEntry;
    if (
      !this.#deletes || targetEntry.isHidden || targetEntry.kind === "other" ||
      !targetEntry.isReadable
    ) {
      return kept;
    }
    if (!isDeleting && targetEntry.kind === "file") {
      // In a read-only directory this is a failure; a dry run doesn't try.
      this.#mayFail.add(path);
      if (!this.#run.dryRun) return { ...kept, isStuck: true };
      this.#mayBeDeleted.add(path);
      return { ...kept, mayBeGone: true };
    }
    if (targetEntry.kind === "file") {
      this.#mustBeDeleted.add(path);
      return null;
    }
    const entries = new Map<string, Expected>();
    const isWritable = isWritableDirectory(targetEntry);
    for (const [name, entry] of targetEntry.below) {
      const expected = this.#expectTargetOnly(entry, isWritable);
      if (expected !== null) entries.set(name, expected);
    }
    const isStaying = targetEntry.unnamed > 0 || [...entries.values()].some((it) => !it.mayBeGone);
    if (!isDeleting) {
      this.#mayFail.add(path);
      if (!this.#run.dryRun) return { entries, isStuck: true };
      this.#mayBeDeleted.add(path);
      return { entries, mayBeGone: true };
    }
    const isStuck = !isWritable || [...entries.values()].some((it) => it.isStuck);
    if (isStaying) {
      // Entries that must stay keep their directory, which isn't a failure.
      if (isStuck) this.#mayFail.add(path);
      return { entries, isStuck };
    }
    // Reserved entries stay in a read-only directory.
    if (entries.size > 0 || !isWritable && targetEntry.reserved.length > 0) {
      this.#mayBeDeleted.add(path);
      this.#mayFail.add(path);
      return { entries, mayBeGone: true, isStuck: true };
    }
    this.#mustBeDeleted.add(path);
    return null;
  }

  #noteAll(view: View, paths: Set<string>): void {
    paths.add(view.path);
    for (const entry of view.below.values()) this.#noteAll(entry, paths);
  }

  #checkDeleted(): void {
    const deleted = new Set(this.#deleted);
    for (const path of this.#mustBeDeleted) {
      if (!deleted.has(path)) this.#object(`${show(path)} was not deleted`);
    }
    for (const path of deleted) {
      if (!this.#mustBeDeleted.has(path) && !this.#mayBeDeleted.has(path)) {
        this.#object(`${show(path)} was deleted`);
      }
    }
  }

  /**
   * Checks the outcomes of paths that the source doesn't have: only entries that could not be
   * deleted have one.
   */
  #checkTargetOnlyOutcomes(): void {
    const unnamed = new Set<View>();
    for (const [path, outcomes] of this.#outcomes) {
      const entry = find(this.#source, path);
      if (entry !== null && !entry.isHidden) continue;
      const parent = find(this.#source, dirname(path));
      const name = path.slice(path.lastIndexOf("/") + 1);
      if (name.includes("\ufffd") && parent !== null && parent.unnamed > 0) {
        unnamed.add(parent);
        if (outcomes.length > parent.unnamed) this.#object(`${show(path)}: ${outcomes}`);
        continue;
      }
      if (parent?.reserved.includes(name)) continue;
      // Entries of the target whose name is not UTF-8 stay, and are reported.
      const isUnnamed = name.includes("\ufffd") &&
        outcomes.every((outcome) => outcome === "failed");
      if (isUnnamed && this.#run.options.delete) continue;
      if (outcomes.length === 1 && outcomes[0] === "failed" && this.#mayFail.has(path)) continue;
      this.#object(`${show(path)}, which is not in the source, is ${outcomes}`);
    }
    if (this.#hidesUnnamed) return;
    for (const directory of directoriesOf(this.#source)) {
      if (directory.unnamed > 0 && !unnamed.has(directory)) {
        this.#object(`${show(directory.path)}: no word of its bad name`);
      }
    }
  }

  #compare(path: string, expected: Expected, after: Raw | null): void {
    if (expected.isOpen) return;
    if (after === null) {
      const isAbsent = expected.mayBeGone ||
        expected.kept === undefined && expected.copy === undefined &&
          expected.entries === undefined;
      if (!isAbsent) this.#object(`${show(path)} is missing`);
      return;
    }
    const { kept, copy } = expected;
    if (kept !== undefined) {
      this.#objections.push(...differences(flatten(kept, {}, path), flatten(after, {}, path)));
    } else if (copy !== undefined) {
      if (after.kind !== "file") return this.#object(`${show(path)} is a ${after.kind}`);
      if (after.key !== copy.key) this.#object(`${show(path)} has ${after.key}, not ${copy.key}`);
      if (Math.abs(after.modified - copy.modified) > 1) {
        this.#object(`${show(path)} has the time ${after.modified}, not ${copy.modified}`);
      }
      if (after.mode !== copy.mode) {
        const [mode, expectedMode] = [after, copy].map(({ mode }) => mode.toString(8));
        this.#object(`${show(path)} has mode ${mode}, not ${expectedMode}`);
      }
    } else if (expected.entries !== undefined) {
      if (after.kind !== "directory") return this.#object(`${show(path)} is a ${after.kind}`);
      const names = [...after.entries.keys()].filter((name) => !isReservedName(name));
      for (const name of new Set([...expected.entries.keys(), ...names])) {
        const entry = expected.entries.get(name), actualEntry = after.entries.get(name) ?? null;
        this.#compare(below(path, name), entry ?? {}, actualEntry);
      }
    } else this.#object(`${show(path)} is there`);
  }
}

/**
 * Makes the view of a source or a target.
 *
 * @param filteredView The view of the source at the same path, for which the filter was called; `null`
 * without one.
 * @param root The real path of the server's root; `null` for a local tree.
 */
function view(
  path: string,
  raw: Raw,
  filteredView: View | null,
  root: string | null,
  options: Options,
  isInHidden = false,
): View {
  const name = path.slice(path.lastIndexOf("/") + 1);
  const seenKind = kindOf(raw, root);
  const { kind, reason, file } = seenKind;
  // An obstacle is hidden with its entry, or by itself.
  const isFilterCalled = filteredView === null ||
    filteredView.kind !== kind && filteredView.kind !== "other";
  const isHidden = isInHidden || filteredView?.isHidden ||
    path !== "" && isFilterCalled && !accepts(options, { name, kind, reason });
  const entries = new Map<string, View>();
  const reserved: string[] = [];
  const listedDirectory = kind === "directory" && raw.kind === "directory" ? raw : null;
  for (const [child, entry] of listedDirectory?.entries ?? []) {
    if (isReservedName(child)) reserved.push(child);
    else {
      const source = filteredView?.below.get(child) ?? null;
      entries.set(child, view(below(path, child), entry, source, root, options, isHidden));
    }
  }
  return {
    ...seenKind,
    name,
    path,
    raw,
    isHidden,
    isReadable: file === null || canRead(file.mode),
    below: entries,
    unnamed: listedDirectory?.unnamed ?? 0,
    reserved,
  };
}

function kindOf(raw: Raw, root: string | null): Pick<View, "kind" | "reason" | "file"> {
  switch (raw.kind) {
    case "special":
      return { kind: "other", reason: "special", file: null };
    case "directory":
      return canSearch(raw.mode)
        ? { kind: "directory", reason: null, file: null }
        : { kind: "other", reason: "unreadable", file: null };
    case "file":
      // A local tree may be listed without opening its files.
      return canRead(raw.mode) || root === null
        ? { kind: "file", reason: null, file: raw }
        : { kind: "other", reason: "unreadable", file: raw };
    case "link":
      return { kind: "other", reason: "link", file: null };
  }
}

/** Returns the SHA-256 of the content with a key. */
function sha256Of(key: string): string {
  const [id, size] = key.split("/").map(Number);
  return hash("sha256", key === "empty" ? "" : contentOf(id!, size!));
}

/** Returns the files in the list of a tree. */
function filesOf(root: View): View[] {
  return [...root.below.values()].flatMap((it) => {
    return it.kind === "directory" ? filesOf(it) : it.kind === "file" ? [it] : [];
  });
}

/**
 * Whether the time of a file is in the future, so that another program may be changing the file.
 */
function isOfFuture(file: RawFile | null | undefined): boolean {
  return file !== null && file !== undefined && file.modified > Date.now();
}

function isWritableDirectory(view: View | null): boolean {
  return view?.raw.kind === "directory" && canWrite(view.raw.mode);
}

/** Returns a directory and the visible directories below it. */
function directoriesOf(root: View): View[] {
  return [root, ...entriesOf(root).filter(({ kind }) => kind === "directory")];
}

/** Returns the visible entries of a tree. */
function entriesOf(root: View): View[] {
  return [...root.below.values()].flatMap((entry) =>
    entry.isHidden ? [] : [entry, ...entriesOf(entry)]
  );
}

/** Returns a path and its parent directories, the outermost first. */
export function prefixes(path: string): string[] {
  const names = path.split("/");
  return names.map((_, index) => names.slice(0, index + 1).join("/"));
}

/** Returns the path of a directory, which is empty for the root. */
function dirname(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf("/")));
}

function find(root: View, path: string): View | null {
  let current: View | undefined = root;
  for (const name of path === "" ? [] : path.split("/")) current = current?.below.get(name);
  return current ?? null;
}
