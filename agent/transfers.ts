/** The transfers of one command, of files and of trees, with one progress bar and one summary. */

import { dirname } from "node:path";
import { EmptyPreambleError, TlsError } from "@degu/degu/base";
import type { ConnectionPool } from "@degu/degu/client";
import {
  downloadTree,
  isTransient,
  TransferError,
  type TransferOptions,
  type TransferResult,
  type TreeEntry,
  type TreeEvent,
  type TreeResult,
  uploadTree,
  type UploadTreeOptions,
} from "@degu/degu/files";
import { join } from "./paths.ts";
import type { Context } from "./command.ts";
import { codeOf, type ErrorCode, FAILED, Failure, isAway, isCut, isOfTransfer } from "./failure.ts";
import { BREAKS_OFF, endsCommand, explainTransfer, type FileAction } from "./transfer_errors.ts";
import { isIgnoreFile } from "./ignore.ts";
import type { OwnDirectory } from "./local_paths.ts";
import { errorObject, explain } from "./explain.ts";
import { counted, formatBytes, formatDuration, type Output, OutputClosed } from "./output.ts";
import type { OnProgress } from "./peer_connections.ts";
import { type CommandProgress, showProgress } from "./progress_bar.ts";
import type { RemoteFiles } from "./remote_files.ts";

/** The names of a file or tree in messages, at the source and at the target. */
interface TransferNames {
  readonly from: string;
  readonly to: string;
}

export interface FileJob extends TransferNames {
  readonly size: number;
  /** Copies the file; resolves to `null` if the target already had it. */
  move(pool: ConnectionPool, options: TransferOptions): Promise<TransferResult | null>;
}

export interface TreeJob {
  /** The path on the other device. */
  readonly names: readonly string[];
  /** The path on this device. */
  readonly root: string;
  /** Whether `--json` also names files that are up to date. */
  readonly listsUnchanged: boolean;
  /** Called when both ends are listed, and nothing is changed yet. */
  readonly onPlan?: () => void;
  /** The names of the files in `root` that are copied, and nothing else; if left out, all. */
  readonly only?: ReadonlySet<string>;
  readonly options: Omit<UploadTreeOptions, "signal" | "onEvent">;
}

/** What is copied from or to one peer. */
export type PeerJobs = readonly [files: RemoteFiles, jobs: readonly (FileJob | TreeJob)[]];

type Failed = TreeEvent & { readonly type: "failed" };
/** A final event about a file or directory in a tree. */
type FinalEvent = TreeEvent & {
  readonly type: "copied" | "unchanged" | "deleted" | "removed" | "skipped";
};

/** The reasons to skip entries of a tree that are neither files nor directories. */
const OTHER_KINDS: Readonly<Record<string, string>> = {
  link: "a symbolic link, which is not followed",
  special: "neither a file nor a directory",
};

const IS_RESERVED = "its name is reserved for unfinished files";

/** The reason to skip a file that a person has named. */
const IS_UNSETTLED =
  "it was modified or renamed just now, and perhaps is still being written: run the same command " +
  "again later";

/** The reasons why `--delete` has deleted nothing in the end. */
const KEPT_REASONS = {
  incomplete:
    "nothing is deleted, because not everything could be listed: what seems to be missing may be there; " +
    "what can't be read can be left out with --exclude",
  failed: "nothing more is deleted, because not everything could be copied",
  empty:
    "it is empty, so nothing is deleted: is its disk mounted? To delete everything anyway, add " +
    "--delete-all",
};

/** What to do after an interruption. */
const RUN_AGAIN =
  "run the same command again to continue; a file that is small, or was just changed, starts over";

interface TransfersOptions {
  readonly isDryRun?: boolean;
  readonly again?: string;
}

/** Copies files and trees from or to a peer: counts, prints and draws the events. */
export class Transfers implements Disposable {
  readonly direction: "get" | "put";
  /** The numbers of the bar. Every transfer updates them. */
  readonly progress: CommandProgress = {
    ...{ name: "", files: 0, totalFiles: 0 },
    ...{ bytes: 0, totalBytes: 0, moved: 0 },
  };
  readonly #output: Output;
  readonly #signal: AbortSignal;
  readonly #own: OwnDirectory;
  readonly #isDryRun: boolean;
  readonly #again: string;
  readonly #isVerbose: boolean;
  readonly #startedAt = performance.now();
  readonly #skipped = new Set<string>();
  readonly #unsettled = new Set<string>();
  /** The skipped links and special files, with the kind of each. */
  readonly #others = new Map<string, string>();
  /** The source of each target that this command writes. */
  readonly #taken = new Map<string, string>();
  /** A source that goes into each directory. */
  readonly #holding = new Map<string, string>();
  /** The files for which there is too little space; all but the first are one line, at the end. */
  #full = 0;
  readonly #counts = { copied: 0, moved: 0, removed: 0, unchanged: 0, deleted: 0, failed: 0 };
  #bar: Disposable | null;

  constructor(
    { output, signal, options: { verbose = false } }: Context,
    direction: "get" | "put",
    own: OwnDirectory,
    { isDryRun = false, again = RUN_AGAIN }: TransfersOptions = {},
  ) {
    this.#isVerbose = verbose;
    this.#output = output;
    this.#signal = signal;
    this.#isDryRun = isDryRun;
    this.#again = again;
    this.direction = direction;
    this.#own = own;
    this.#bar = output.json ? null : showProgress(output, this.progress);
  }

  /**
   * Prepares the arguments of the command line. A failure with one of several arguments is
   * reported, and the others continue, unless they would fail in the same way.
   */
  async prepare<From, To>(
    given: readonly From[],
    isOnly: boolean,
    nameOf: (from: From) => string,
    step: (from: From) => Promise<To>,
  ): Promise<To[]> {
    const prepared: To[] = [];
    for (const each of given) {
      try {
        prepared.push(await step(each));
      } catch (error) {
        const isOfOne = error instanceof Failure && !endsCommand(error.cause) ||
          error instanceof Deno.errors.NotCapable;
        if (!isOfOne || isOnly) throw error;
        const path = nameOf(each);
        this.fail(path, explain(error), codeOf(error), { path });
      }
    }
    return prepared;
  }

  /**
   * Reserves the absolute path of a target for a source; fails if another source goes there, or
   * into a directory there: its files could be replaced.
   */
  take(path: string, source: string): void {
    // Windows ignores case.
    const target = Deno.build.os === "windows" ? path.toLowerCase() : path;
    const places = [target];
    for (let dir = dirname(target); dir !== places.at(-1); dir = dirname(dir)) places.push(dir);
    const taken = places.find((each) => this.#taken.has(each));
    const other = taken === undefined ? this.#holding.get(target) : this.#taken.get(taken);
    if (other !== undefined) {
      const problem = `${other} has the same ${taken === target ? "name" : "place"}`;
      throw new Failure(`${problem}: ${this.direction} the two into different directories`);
    }
    for (const each of places.slice(1)) this.#holding.set(each, source);
    this.#taken.set(target, source);
  }

  /**
   * Copies files, then trees, of one peer after the other. After a failure the rest is still
   * copied, unless it would fail as well: the only peer can't be reached, a disk is full, the
   * command was interrupted. Then a summary of what was copied is printed before this rejects.
   */
  async copy(jobs: readonly PeerJobs[], isOnlyPeer = true): Promise<void> {
    try {
      for (const [files, ofPeer] of jobs) {
        await this.forPeer(files.peer, isOnlyPeer, () => this.#copyAll(files, ofPeer));
      }
    } catch (error) {
      if (!(error instanceof OutputClosed)) this.#summarize(true);
      throw error;
    }
  }

  /** Does the work for one peer. If it is lost, that is reported, and other peers continue. */
  async forPeer(peer: string, isOnly: boolean, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#signal.throwIfAborted();
      const code = codeOf(error);
      const isOfPeer = error instanceof Failure ? code !== "FULL" : LOST_PEER.has(code);
      if (isOnly || !isOfPeer) throw error;
      this.#counts.failed++;
      const isNamed = error instanceof Failure && error.path !== undefined;
      this.#output.error(isNamed ? explain(error) : `${peer}: ${explain(error)}`);
      if (this.#output.json) this.#output.result("", { error: errorObject(error, peer) });
    }
  }

  async #copyAll(files: RemoteFiles, jobs: readonly (FileJob | TreeJob)[]): Promise<void> {
    const { connections } = files;
    const fileJobs = jobs.filter((job) => "move" in job);
    this.progress.totalFiles += fileJobs.length;
    for (const { size } of fileJobs) this.progress.totalBytes += size;
    try {
      await connections.each(fileJobs, (job, signal) => this.#moveOne(files, job, signal));
    } finally {
      this.#checkInterrupted();
    }
    for (const job of jobs) if ("root" in job) await this.#copyTree(files, job);
  }

  async #moveOne(files: RemoteFiles, job: FileJob, signal: AbortSignal): Promise<void> {
    const { progress } = this;
    const { from, to, size } = job;
    progress.name = from;
    let there = 0;
    const attempt = (pool: ConnectionPool, moved: OnProgress) => {
      let before = 0;
      return job.move(pool, {
        signal,
        onProgress: (now) => {
          const { bytes, resumedFrom, reused } = now;
          moved(now);
          progress.bytes += resumedFrom + reused + bytes - there;
          progress.moved += bytes - before;
          this.moved(bytes - before);
          [there, before] = [resumedFrom + reused + bytes, bytes];
        },
      });
    };
    let result: TransferResult | null;
    try {
      result = await files.connections.call(attempt);
    } catch (error) {
      // What a failed file has at the target counts for nothing.
      progress.bytes -= there;
      progress.totalBytes -= size;
      signal.throwIfAborted();
      const breaksOff = endsCommand(error) && await isAnswering(files, error);
      if (endsCommand(error) && !breaksOff) throw await this.#ending(files, { from, to }, error);
      const problem = breaksOff
        ? `${BREAKS_OFF}; ${this.#again}`
        : explainTransfer(error, this.direction);
      const isInTheWay = error instanceof TransferError && error.code === "IN_THE_WAY";
      const code = breaksOff || isInTheWay ? "FAILED" : codeOf(error);
      return this.fail(from, problem, code, { from, to });
    }
    progress.bytes += size - there;
    progress.files++;
    // Outside of the `try`, because a closed output is no failure of this file.
    if (result === null) this.unchanged({ from, to });
    else this.copied({ from, to }, result, true);
  }

  /** Copies a tree, without this device's directory. */
  async #copyTree(files: RemoteFiles, job: TreeJob): Promise<void> {
    const isNotOwn = await this.#own.filter(job.root, (path) => {
      this.skip(join(job.root, ...path), "the directory of this device");
    });
    const { progress } = this;
    const { options } = job;
    const isWanted = (path: readonly string[]) => job.only?.has(path[0]!) ?? true;
    const filter = (entry: TreeEntry) =>
      isWanted(entry.path) && (options.filter?.(entry) ?? true) && isNotOwn(entry) &&
      !this.#isList(files, job, entry);
    const tree = new TreeCopy(this, files, { ...job, options: { ...options, filter } });
    // Files that have failed earlier no longer count as work to do.
    [progress.totalFiles, progress.totalBytes] = [progress.files, progress.bytes];
    try {
      const result = await files.connections.copyTree((pool, retries, moved) =>
        tree.copy(pool, retries, moved, this.#signal)
      );
      tree.reportMissing();
      const { deletionsSkipped } = result;
      if (deletionsSkipped === "empty") {
        const { from } = tree.namesOf([]);
        if (tree.hasEntries) this.fail(from, KEPT_REASONS.empty, "FAILED", { path: from });
      } else if (deletionsSkipped === "incomplete" || deletionsSkipped === "failed") {
        // What else has kept deletions is a failed event, which names its path.
        this.#output.warn(KEPT_REASONS[deletionsSkipped]);
      }
    } catch (error) {
      this.#checkInterrupted();
      if (!endsCommand(error) && !isOfTransfer(error)) throw error;
      throw await this.#ending(files, tree.namesOf([]), error);
    }
  }

  /**
   * Whether an entry is the list of what to leave out at the top of the target of a download: what
   * counts there is not for peers to write. A peer's list that differs is reported.
   */
  #isList(files: RemoteFiles, { names, root }: TreeJob, entry: TreeEntry): boolean {
    const { path, size, modified } = entry;
    if (this.direction === "put" || path.length > 1 || !isIgnoreFile(path[0]!)) return false;
    const info = infoOf(join(root, ...path));
    if (info?.size !== size || info.mtime?.getTime() !== modified.getTime()) {
      this.skip(
        files.name([...names, ...path]),
        "a list of what to leave out is not copied to here",
      );
    }
    return true;
  }

  #checkInterrupted(): void {
    if (!this.#signal.aborted) return;
    if (!this.#isDryRun) this.#output.note(this.#again);
    this.#signal.throwIfAborted();
  }

  /** Counts and reports an entry that is not copied, once. */
  skip(name: string, why: string): void {
    if (this.#skipped.has(name)) return;
    this.#skipped.add(name);
    this.#output.warn(`${name}: skipped: ${why}`);
  }

  /** Counts a link or a special file; all of them are one line, at the end. */
  skipOther(name: string, kind: string): void {
    this.#skipped.add(name);
    if (this.#isVerbose) this.#output.hint(`${name}: skipped: ${kind}`);
    else this.#others.set(name, kind);
  }

  /** Counts a file that is still being written; all of them are one line, at the end. */
  skipUnsettled(name: string): void {
    this.#skipped.add(name);
    this.#unsettled.add(name);
  }

  fail(
    name: string,
    message: string,
    code: ErrorCode,
    object: Readonly<Record<string, unknown>>,
  ): void {
    this.#counts.failed++;
    // On a full disk thousands of files may fail: the first is named, the others are counted.
    if (code !== "FULL" || this.#full++ === 0) this.#output.error(`${name}: ${message}`);
    if (this.#output.json) this.#output.result("", { ...object, error: { code, message } });
  }

  /** Counts a file that is the same at both ends; with names, also reports it. */
  unchanged(names: TransferNames | null): void {
    this.#counts.unchanged++;
    if (names !== null && this.#output.json) this.#result("", { ...names, unchanged: true });
  }

  /**
   * Counts and reports a copied file; in a dry run, a file that would be copied.
   *
   * @param isNamed Whether a person has named the file, and not only its directory.
   */
  copied({ from, to }: TransferNames, result: TransferResult, isNamed: boolean): void {
    this.#counts.copied++;
    const { bytes, total, resumedFrom, reused, sha256 } = result;
    if (this.#isDryRun) {
      const object = { action: "copy", from, to, size: total, dryRun: true };
      return this.#result(`would copy ${from} to ${to}`, object);
    }
    if (!isNamed && !this.#isVerbose && !this.#output.json) return;
    this.#result(to, { from, to, bytes, total, resumedFrom, reused, sha256 });
  }

  /** Counts a file that was removed from this device, because it is at the target. */
  removed(name: string): void {
    this.#counts.removed++;
    if (this.#output.json) this.#result("", { removed: name });
  }

  moved(bytes: number): void {
    this.#counts.moved += bytes;
  }

  deleted(name: string): void {
    this.#counts.deleted++;
    const [text, dryRun] = this.#isDryRun ? ["would delete", { dryRun: true }] : ["deleted", {}];
    this.#result(`${text} ${name}`, { action: "delete", path: name, ...dryRun });
  }

  /** Prints a result to stdout; with `--quiet`, only if `--json` is given, too. */
  #result(text: string, object: Record<string, unknown>): void {
    if (!this.#output.quiet || this.#output.json) this.#output.result(text, object);
  }

  /** Makes the error that ends the command. */
  async #ending(
    files: RemoteFiles,
    { from, to }: TransferNames,
    error: unknown,
  ): Promise<Failure> {
    // A connection that ends without an answer looks like a refusal, also if the network ends it.
    const breaksOff = error instanceof EmptyPreambleError && await files.ask() !== null;
    const said = breaksOff ? BREAKS_OFF : explainTransfer(error, this.direction);
    // A peer that only takes new files refuses a tree with this option before it is copied.
    const isUndeletable = error instanceof TransferError && error.code === "ONLY_ADDS";
    const problem = isUndeletable ? `${said}; leave out --delete` : said;
    const remote = this.direction === "get" ? from : to;
    const hint = isTransient(error) && !this.#isDryRun ? `; ${this.#again}` : "";
    const code = isUndeletable ? "NOT_PERMITTED" : breaksOff ? "FAILED" : null;
    const options = {
      cause: breaksOff ? undefined : error,
      path: from,
      peer: remote.split(":")[0]!,
    };
    return new Failure(`${from}: ${problem}${hint}`, code, options);
  }

  /** Prints the summary; returns the exit code. */
  finish(): number {
    this.#summarize(false);
    return this.#counts.failed === 0 ? 0 : FAILED;
  }

  /** @param isEnded Whether an error has ended the command early. */
  #summarize(isEnded: boolean): void {
    this[Symbol.dispose]();
    const [other, ...otherOthers] = this.#others;
    if (other !== undefined) {
      const [name, kind] = other;
      const count = otherOthers.length;
      const more = count === 1 ? "another such entry" : `${count} other such entries`;
      this.#output.hint(
        count === 0
          ? `${name}: skipped: ${kind}`
          : `${name}, and ${more}: skipped: links and special files are not copied`,
      );
    }
    const [first, ...others] = this.#unsettled;
    if (first !== undefined) {
      const more = others.length === 0 ? "" : `, and ${counted(others.length, "other file")}`;
      this.#output.warn(
        `${first}${more}: skipped: still being written, or modified just now; a later run copies it`,
      );
    }
    const { copied, moved, removed, unchanged, deleted, failed } = this.#counts;
    const seconds = (performance.now() - this.#startedAt) / 1000;
    const time = moved > 0 ? ` in ${formatDuration(seconds)}` : "";
    const [would, size] = this.#isDryRun
      ? ["would be ", ""]
      : ["", `, ${formatBytes(moved)}${time}`];
    const isInVain = !this.#isDryRun && copied === 0 && (failed > 0 || isEnded);
    const isNothing = !isEnded && copied + unchanged + deleted + failed + this.#skipped.size === 0;
    const parts = [
      isNothing
        ? "no file to copy"
        : isInVain
        ? ""
        : `${counted(copied, "file")} ${would}copied${size}`,
      removed > 0 ? `${removed} removed here` : "",
      unchanged > 0 ? `${unchanged} up to date` : "",
      deleted > 0 ? `${deleted} ${would}deleted` : "",
      this.#skipped.size > 0 ? `${this.#skipped.size} skipped` : "",
    ].filter((part) => part !== "");
    // A single failure without any other result was printed already.
    const failures = failed > 1 || failed === 1 && parts.length > 0
      ? `${counted(failed, "error")}: see above`
      : "";
    this.#output.summary(parts.join("; "), failures, copied + deleted > 0);
  }

  [Symbol.dispose](): void {
    this.#bar?.[Symbol.dispose]();
    this.#bar = null;
    if (this.#full > 1) {
      this.#output.error(`${counted(this.#full - 1, "other file")}: too little space is free, too`);
    }
    this.#full = 0;
  }
}

/** The codes of errors after which a peer is lost. */
const LOST_PEER: ReadonlySet<ErrorCode> = new Set(["NO_ADDRESS", "NOT_PAIRED", "REFUSED"]);

/**
 * Whether a peer still answers, so that an error which looks like its loss is about one file: a
 * connection may break off at certain contents.
 */
async function isAnswering(files: RemoteFiles, error: unknown): Promise<boolean> {
  const isLost = isAway(error) || error instanceof TlsError || codeOf(error) === "FULL";
  return !isLost && (await files.ask())?.ok === true;
}

function infoOf(path: string): Deno.FileInfo | null {
  try {
    return Deno.lstatSync(path);
  } catch {
    return null;
  }
}

/** A tree that is copied: what the events of the call say. */
class TreeCopy {
  /** Whether the source or the target has any entry. */
  hasEntries = false;
  readonly #transfers: Transfers;
  readonly #files: RemoteFiles;
  readonly #job: TreeJob;
  /** Files that a person has named, of which nothing was reported yet. */
  readonly #unreported: Set<string>;

  constructor(transfers: Transfers, files: RemoteFiles, job: TreeJob) {
    this.#transfers = transfers;
    this.#files = files;
    this.#job = job;
    this.#unreported = new Set(job.only);
  }

  namesOf(path: readonly string[]): TransferNames {
    const { names, root } = this.#job;
    // A name of a peer is shown as it is, also where a disk would take a backslash for a slash.
    const local = path.length === 0 ? join(root) : `${join(root, "/")}${path.join("/")}`;
    const remote = this.#files.name([...names, ...path]);
    const isGet = this.#transfers.direction === "get";
    return isGet ? { from: remote, to: local } : { from: local, to: remote };
  }

  /**
   * Copies the tree.
   *
   * @param moved Called after each progress.
   */
  copy(
    pool: ConnectionPool,
    retries: number,
    moved: () => void,
    signal: AbortSignal,
  ): Promise<TreeResult> {
    const { names, root, options, onPlan } = this.#job;
    const { direction, progress } = this.#transfers;
    const before = { files: progress.files, bytes: progress.bytes };
    let furthest = 0;
    const filter = (entry: TreeEntry) => {
      const isIncluded = options.filter?.(entry) ?? true;
      // Entries with reserved names have the reason `name`, too: no entry with this reason is
      // copied.
      this.hasEntries ||= isIncluded && entry.reason !== "name";
      return isIncluded;
    };
    const onEvent = (event: TreeEvent) => {
      if ("path" in event) this.#noteReport(event.path);
      if (event.type === "plan") {
        progress.totalFiles = before.files + event.files;
        progress.totalBytes = before.bytes + event.bytes;
        onPlan?.();
      } else if (event.type === "progress") {
        // After a connection was lost, what is at the target is counted anew.
        progress.moved += Math.max(0, event.bytes - furthest);
        furthest = Math.max(furthest, event.bytes);
        progress.bytes = before.bytes + event.bytes;
        // What could not be reused travels after all.
        progress.totalBytes = before.bytes + event.total;
      } else if (event.type === "failed") {
        if (isCut(event.error)) {
          this.#reportFailure(event, `${BREAKS_OFF}: run the same command again`);
        } else this.#reportFailure(event, explainTransfer(event.error, this.#actionOf(event)));
      } else if (event.type !== "retry") {
        this.#report(event);
      }
      // A tree that is up to date may have a hundred thousand of these events.
      if (event.type !== "unchanged" && event.type !== "retry") moved();
    };
    const all = { ...options, filter, retries, signal, onEvent, partial: true };
    const uri = this.#files.uri([...names, ""]);
    return direction === "get"
      ? downloadTree(pool, uri, root, all)
      : uploadTree(pool, root, uri, all);
  }

  #report(event: FinalEvent): void {
    const { type, path } = event;
    const transfers = this.#transfers;
    if (type === "unchanged" && !this.#job.listsUnchanged) return transfers.unchanged(null);
    const { from, to } = this.namesOf(path);
    if (type === "deleted") {
      // The file or directory that replaces it has the same name, and is reported, too.
      return transfers.deleted(event.kind === "directory" ? `${to}/` : to);
    }
    if (type === "removed") return transfers.removed(from);
    const { progress } = transfers;
    progress.name = from;
    const isNamed = this.#job.only !== undefined;
    if (type === "unchanged") transfers.unchanged({ from, to });
    else if (type === "skipped") {
      const { reason } = event;
      const kind = OTHER_KINDS[reason];
      const isUnsettled = reason === "still being written";
      if (isNamed) {
        const problem = isUnsettled ? IS_UNSETTLED : `it is ${kind ?? reason} by now`;
        transfers.fail(from, problem, "CHANGED", { from, to });
      } else if (isUnsettled) transfers.skipUnsettled(from);
      else if (kind !== undefined) transfers.skipOther(from, kind);
      else transfers.skip(from, reason === "reserved" ? IS_RESERVED : reason);
    } else {
      progress.files++;
      progress.totalFiles = Math.max(progress.totalFiles, progress.files);
      transfers.moved(event.bytes);
      transfers.copied({ from, to }, event, isNamed);
    }
  }

  #noteReport([name]: readonly string[]): void {
    if (name === undefined) this.#unreported.clear();
    else this.#unreported.delete(name);
  }

  /** Reports the files that a person has named, and that were gone meanwhile. */
  reportMissing(): void {
    for (const name of this.#unreported) {
      const { from, to } = this.namesOf([name]);
      this.#transfers.fail(from, "it is not there any more", "NOT_THERE", { from, to });
    }
  }

  #actionOf({ at }: Failed): FileAction {
    return at === "source" ? this.#transfers.direction : "delete";
  }

  #reportFailure({ path, error, at }: Failed, problem: string): void {
    const transfers = this.#transfers;
    const { from, to } = this.namesOf(path);
    const code = path.length === 0 || isCut(error) ? "FAILED" : codeOf(error);
    if (at === "source") {
      transfers.fail(from, problem, code, { from, to });
    } else {
      transfers.fail(to, problem, code, { action: "delete", path: to });
    }
  }
}
