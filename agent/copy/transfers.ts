import { dirname } from "node:path";
import { ConnectionError, type ConnectionPool, isTransient } from "@degu/degu/client";
import {
  TransferError,
  type TransferOptions,
  type TransferResult,
  type TreeEntry,
} from "@degu/degu/files/client";
import { findReadableInfo, join } from "../machine/paths.ts";
import { type Context, RESERVED_DIRECTORY } from "../machine/context.ts";
import { codeOf, isFinalError, isTransferError } from "../words/error_codes.ts";
import { type ErrorCode, Failure } from "../failure.ts";
import { isIgnoreFile } from "./ignore_list.ts";
import { makeInboxFilter } from "../machine/inbox_marker.ts";
import type { DeviceDirectory } from "../machine/local_paths.ts";
import { explain, explainTransfer, reasonOf } from "../words/explain.ts";
import { type Output, OutputClosedError } from "../terminal/output.ts";
import type { OnProgress } from "../peer/peer_connections.ts";
import { TreeCopy, type TreeJob } from "./tree_copy.ts";
import { type TransferNames, TransferReport } from "./transfer_report.ts";
import type { RemoteFiles } from "../peer/remote_files.ts";

export interface FileJob extends TransferNames {
  readonly size: number | null;
  /** True if the job reads or writes a stream, which is possible only once. */
  readonly isStream?: boolean;
  /** Returns true if bytes were written to stdout, which the failure of the job doesn't remove. */
  hasWritten?(): boolean;
  copy(pool: ConnectionPool, options: TransferOptions): Promise<FileJobResult>;
}

interface FileJobResult extends TransferResult {
  /** True if the target already had the file. */
  readonly isUnchanged?: boolean;
}

const SKIPPED_DELETION_REASONS = {
  incomplete:
    "no file is deleted, because not every entry could be compared: an entry that seems to be missing may " +
    "exist; --exclude skips such entries",
  failed: "no more files are deleted, because some files could not be copied",
};

const RETRY_ADVICE =
  "run the same command again to continue; a file that is small, or was just changed, starts over";

const STREAM_RETRY_ADVICE = {
  get: "run the same command again: it starts over",
  put: "run the same command again, with its input from the start: a stream is not continued",
} as const;

/** Removes a part, unless another process continues it. */
async function removeUnlocked(path: string): Promise<void> {
  try {
    using file = await Deno.open(path, { write: true });
    if (await file.tryLock(true)) await Deno.remove(path);
  } catch {
    // The part is gone, or stays.
  }
}

/** A file that didn't fit on a disk while others were copied. */
interface UnfittingJob {
  readonly job: FileJob;
  /** The path of its part on this device. */
  readonly keptPath: string | null;
}

export class Transfers implements Disposable {
  readonly direction: "get" | "put";
  readonly report: TransferReport;
  readonly #output: Output;
  readonly #signal: AbortSignal;
  readonly #deviceDirectory: DeviceDirectory;
  readonly #isDryRun: boolean;
  #retryAdvice: string;
  readonly #sourcesByTarget = new Map<string, string>();
  /** One source below each target directory. */
  readonly #sourcesByDirectory = new Map<string, string>();

  constructor(
    context: Context,
    direction: "get" | "put",
    deviceDirectory: DeviceDirectory,
    { isDryRun = false, retryAdvice = RETRY_ADVICE }: {
      readonly isDryRun?: boolean;
      readonly retryAdvice?: string;
    } = {},
  ) {
    this.report = new TransferReport(context, isDryRun);
    this.#output = context.output;
    this.#signal = context.signal;
    this.#isDryRun = isDryRun;
    this.#retryAdvice = retryAdvice;
    this.direction = direction;
    this.#deviceDirectory = deviceDirectory;
  }

  /**
   * If one of several arguments fails, reports the failure and continues with the other arguments,
   * unless they would fail in the same way, or the command line is wrong.
   */
  async prepare<Argument, Prepared>(
    args: readonly Argument[],
    isSingleArgument: boolean,
    pathOf: (argument: Argument) => string,
    prepareOne: (argument: Argument) => Promise<Prepared>,
  ): Promise<Prepared[]> {
    const results: Prepared[] = [];
    for (const argument of args) {
      try {
        results.push(await prepareOne(argument));
      } catch (error) {
        const isArgumentFailure =
          error instanceof Failure && error.code !== "USAGE" && !isFinalError(error.cause) ||
          error instanceof Deno.errors.NotCapable;
        if (!isArgumentFailure || isSingleArgument) throw error;
        const path = pathOf(argument);
        this.report.fail(path, explain(error), codeOf(error), { path });
      }
    }
    return results;
  }

  /**
   * Fails if two sources have the same target, or if one target is inside the other: a source could
   * replace files of the other source.
   */
  claimTarget(path: string, source: string): void {
    // Windows ignores case.
    const target = Deno.build.os === "windows" ? path.toLowerCase() : path;
    const paths = [target];
    for (let dir = dirname(target); dir !== paths.at(-1); dir = dirname(dir)) paths.push(dir);
    const claimedPath = paths.find((candidatePath) => this.#sourcesByTarget.has(candidatePath));
    const otherSource = claimedPath === undefined
      ? this.#sourcesByDirectory.get(target)
      : this.#sourcesByTarget.get(claimedPath);
    if (otherSource !== undefined) {
      const quotedSource = JSON.stringify(otherSource);
      if (otherSource === source) throw new Failure(`${quotedSource} is named twice: name it once`);
      const problem = claimedPath === target ? "the same name" : "an overlapping target";
      const advice = `${this.direction} the two into different directories`;
      throw new Failure(`${quotedSource} has ${problem}: ${advice}`);
    }
    for (const directory of paths.slice(1)) this.#sourcesByDirectory.set(directory, source);
    this.#sourcesByTarget.set(target, source);
  }

  /**
   * Copies files, then trees. Continues after a failure, unless all other copies would also fail:
   * the peer is unreachable, or the command was interrupted. Then prints a summary, and rejects.
   */
  async copy(files: RemoteFiles, jobs: readonly (FileJob | TreeJob)[]): Promise<void> {
    try {
      await this.#copyAll(files, jobs);
    } catch (error) {
      if (!(error instanceof OutputClosedError)) this.report.summarize(true);
      throw error;
    }
  }

  async #copyAll(files: RemoteFiles, jobs: readonly (FileJob | TreeJob)[]): Promise<void> {
    const fileJobs = jobs.filter((job) => "copy" in job);
    const hasStream = fileJobs.some(({ isStream }) => isStream);
    if (hasStream) this.#retryAdvice = STREAM_RETRY_ADVICE[this.direction];
    this.report.progress.totalFiles += fileJobs.length;
    for (const { size } of fileJobs) this.report.progress.totalBytes += size ?? 0;
    const unfittingJobs: UnfittingJob[] = [];
    try {
      await files.connections.forEachConcurrently(
        fileJobs,
        (job, signal) => this.#copyFile(files, job, signal, hasStream ? null : unfittingJobs),
      );
      // Copied at the same time, several files can fill a disk with their parts that has space for
      // some of them.
      for (const { keptPath } of unfittingJobs.slice(1)) {
        if (keptPath !== null) await removeUnlocked(keptPath);
      }
      for (const { job } of unfittingJobs) await this.#copyFile(files, job, this.#signal, null);
    } finally {
      this.#checkInterrupted();
    }
    for (const job of jobs) {
      if ("root" in job) await this.#copyTree(files, job, jobs.length === 1);
    }
  }

  /** @param unfittingJobs Gets the job if its file doesn't fit; with `null`, the file fails. */
  async #copyFile(
    files: RemoteFiles,
    job: FileJob,
    signal: AbortSignal,
    unfittingJobs: UnfittingJob[] | null,
  ): Promise<void> {
    const { progress } = this.report;
    const { from, to, isStream = false } = job;
    const size = job.size ?? 0;
    progress.name = from;
    let bytesAtTarget = 0;
    // After a lost connection, the next attempt may send some bytes again.
    let countedBytes: number | null = null;
    const attempt = (pool: ConnectionPool, onProgress: OnProgress) =>
      job.copy(pool, {
        signal,
        onProgress: (progressEvent) => {
          const { done, transferred } = progressEvent;
          onProgress(progressEvent);
          progress.bytes += done - bytesAtTarget;
          bytesAtTarget = done;
          countedBytes ??= done - transferred;
          const newBytes = Math.max(0, done - countedBytes);
          countedBytes += newBytes;
          progress.transferredBytes += newBytes;
          this.report.addTransferredBytes(newBytes);
        },
      });
    let result: FileJobResult;
    try {
      result = await files.connections.call(attempt);
    } catch (error) {
      signal.throwIfAborted();
      // Don't count the bytes of a failed file.
      progress.bytes -= bytesAtTarget;
      if (isStream && !isTransient(error)) {
        return this.#failStream(files, job, error);
      }
      if (unfittingJobs !== null && error instanceof TransferError && error.code === "DISK_FULL") {
        return void unfittingJobs.push({ job, keptPath: error.kept?.path ?? null });
      }
      if (isFinalError(error)) throw this.#makeFinalFailure(files, from, error);
      const problem = explainTransfer(error, this.direction, files.connections.peer);
      return this.#failFile(job, problem, codeOf(error), error);
    }
    if (job.size === null) progress.totalBytes += bytesAtTarget;
    else progress.bytes += size - bytesAtTarget;
    progress.files++;
    // Outside of the `try`, because a closed output is not a failure of this file.
    for (const property of result.unset) this.report.noteUnset(property, to);
    if (result.isUnchanged) this.report.reportUnchanged({ from, to });
    else this.report.reportCopied({ from, to }, result, !(isStream && this.direction === "get"));
  }

  #failStream(
    { connections: { peer } }: RemoteFiles,
    job: FileJob,
    error: unknown,
  ): void {
    if (error instanceof OutputClosedError) throw error;
    const isLost = error instanceof ConnectionError;
    const problem = isLost
      ? `${reasonOf(error, peer)}; ${this.#retryAdvice}`
      : explainTransfer(error, this.direction, peer);
    const advice = job.hasWritten?.() ? "; stdout has a part of the file, not verified" : "";
    this.#failFile(job, `${problem}${advice}`, isLost ? "FAILED" : codeOf(error), error);
  }

  #failFile({ from, to, size }: FileJob, problem: string, code: ErrorCode, error: unknown): void {
    this.report.progress.totalBytes -= size ?? 0;
    // The file in the way is the target's, which may have another name.
    const name = error instanceof TransferError && error.code === "EXISTS" ? to : from;
    this.report.fail(name, problem, code, { from, to }, error);
  }

  async #copyTree(files: RemoteFiles, job: TreeJob, isOnlyJob: boolean): Promise<void> {
    const makeSkip = (reason: string) => (path: readonly string[]) =>
      this.report.skip(join(job.root, ...path), reason);
    const isNotDeviceDirectory = await this.#deviceDirectory.filter(
      job.root,
      makeSkip("the directory of this device"),
    );
    const isNotInbox = await makeInboxFilter(
      job.root,
      makeSkip(`an inbox, since it contains ${RESERVED_DIRECTORY}`),
    );
    const { progress } = this.report;
    const isIncluded = (entry: TreeEntry) =>
      (job.isIncluded?.(entry) ?? true) && isNotDeviceDirectory(entry) &&
      isNotInbox(entry) && !this.#skipIgnoreList(files, job, entry);
    const onPlan = () => {
      progress.waitsFor = null;
      job.onPlan?.();
    };
    const tree = new TreeCopy(this.report, this.direction, files, { ...job, isIncluded, onPlan });
    const { from, to } = tree.namesOf([]);
    progress.waitsFor = `comparing ${from} with ${to}`;
    // Don't count files that have failed as remaining work.
    [progress.totalFiles, progress.totalBytes] = [progress.files, progress.bytes];
    try {
      this.report.directories.add(to);
      const { deletionsSkipped, unset } = await files.connections.copyTree(
        (pool, retries, onProgress) => tree.copy(pool, retries, onProgress, this.#signal),
      );
      for (const property of ["time", "mode", "privacy"] as const) {
        const { files, first } = unset[property];
        if (first !== null) this.report.noteUnset(property, tree.namesOf(first).to, files);
      }
      if (this.#isDryRun) await tree.reportPlannedCopies();
      if (deletionsSkipped === "incomplete" || deletionsSkipped === "failed") {
        // For any other reason, a `failed` event names the path.
        this.#output.warn(SKIPPED_DELETION_REASONS[deletionsSkipped]);
      }
    } catch (error) {
      this.#checkInterrupted();
      if (!isFinalError(error) && !isTransferError(error)) throw error;
      if (isFinalError(error) || isOnlyJob) {
        throw this.#makeFinalFailure(files, from, error);
      }
      const problem = explainTransfer(error, this.direction, files.connections.peer);
      this.report.fail(from, problem, codeOf(error), { from, to }, error);
    } finally {
      progress.waitsFor = null;
    }
  }

  /**
   * Returns true if an entry is the ignore list at the top of the target of a download, which peers
   * must not write. Reports a different list of the peer.
   */
  #skipIgnoreList(files: RemoteFiles, { names, root }: TreeJob, entry: TreeEntry): boolean {
    const { path, size, modified } = entry;
    if (this.direction === "put" || path.length > 1 || !isIgnoreFile(path[0]!)) return false;
    const info = findReadableInfo(join(root, ...path));
    if (info?.size !== size || info.mtime?.getTime() !== modified.getTime()) {
      const name = files.formatName([...names, ...path]);
      this.report.skip(name, "an ignore list is not downloaded");
    }
    return true;
  }

  #checkInterrupted(): void {
    if (!this.#signal.aborted) return;
    if (!this.#isDryRun) this.#output.note(this.#retryAdvice);
    this.#signal.throwIfAborted();
  }

  #makeFinalFailure(files: RemoteFiles, from: string, error: unknown): Failure {
    // A peer with --new-only refuses a tree with --delete before the copy.
    const isDeletionRefused = error instanceof TransferError && error.code === "ONLY_ADDS";
    const action = isDeletionRefused ? "delete" : this.direction;
    const { peer } = files.connections;
    const problem = explainTransfer(error, action, peer);
    const canContinue = isTransient(error) && codeOf(error) !== "REFUSED" && !this.#isDryRun;
    const advice = canContinue ? `; ${this.#retryAdvice}` : "";
    const code = isDeletionRefused ? "NOT_PERMITTED" : null;
    const options = { cause: error, path: from, peer };
    return new Failure(`${from}: ${problem}${advice}`, code, options);
  }

  [Symbol.dispose](): void {
    this.report[Symbol.dispose]();
  }
}
