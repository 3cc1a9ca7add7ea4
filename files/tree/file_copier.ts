/**
 * Copies the planned files of a tree. With the option `move`, the copied files are removed from the
 * source.
 */

import { StatusError } from "../../client.ts";
import { Refusal } from "../refusal.ts";
import { isReuseTimeout, waitForBoth } from "../transfer/remote_digest.ts";
import type { TransferResult, TransferSettings } from "../options.ts";
import { TransferError } from "../errors.ts";
import { hasStatus, isConnectionLoss, isServerError, isUnanswered } from "../transfer_error.ts";
import type { TreeAttempt, TreeWorker } from "./attempt.ts";
import { MAX_BATCH_FILES } from "./bundle_requests.ts";
import { type BasisFiles, groupByBasis } from "./basis_files.ts";
import { type CopyTask, isBundled } from "./plan.ts";
import { ABSENT_DIGEST } from "./sides.ts";
import type { TreeNode } from "./tree.ts";

/** Each file is open until it is removed. */
const MAX_MOVE_BATCH_FILES = 32;
const MAX_BATCH_BYTES = 4_194_304;

/** A file whose condition failed, because the target has another entry with its name. */
export interface NameConflict {
  readonly task: CopyTask;
  readonly sha256: string | null;
}

type FileMeter = (bytes: number, reused?: number) => void;

export class FileCopier {
  readonly #attempt: TreeAttempt;
  basisFiles: BasisFiles = new Map();
  /** With `move`, the results of copied files that were not yet removed from the source. */
  readonly #copiedResults = new Map<TreeNode, TransferResult>();
  /** Files that didn't fit while others were copied; `null` while they are copied alone. */
  #unfittingTasks: CopyTask[] | null = [];

  constructor(attempt: TreeAttempt) {
    this.#attempt = attempt;
  }

  async compareContents(
    tasks: readonly CopyTask[],
    onCompared: (task: CopyTask, isSame: boolean, sha256: string | null) => void,
  ): Promise<void> {
    await this.#attempt.run(makeQueues(tasks), async ({ client, source, target }, batch) => {
      const nodes = batch.map(({ node }) => node);
      const areBundled = isBundled(batch[0]!);
      let digests: (string | null)[] = [];
      let targetDigests: (string | null)[] = [];
      try {
        [digests, targetDigests] = await waitForBoth(
          client,
          source.findDigests(nodes, areBundled),
          target.findDigests(nodes, areBundled),
        );
      } catch (error) {
        const { replace, signal } = this.#attempt.settings;
        signal.throwIfAborted();
        // If hashing at the server times out, the file can still be copied.
        if (!(replace && isReuseTimeout(client, error))) {
          if (!isServerError(error)) throw error;
          await this.#attempt.rethrowIfFatal(error, client);
        }
        // Files that can't be compared count as different.
        digests = batch.map(() => null);
      }
      for (const [index, task] of batch.entries()) {
        const sha256 = digests[index]!;
        const isPresent = sha256 !== null && sha256 !== ABSENT_DIGEST;
        onCompared(task, isPresent && sha256 === targetDigests[index], sha256);
      }
    });
  }

  async copyAll(tasks: readonly CopyTask[]): Promise<NameConflict[]> {
    const conflicts: NameConflict[] = [];
    for (const group of groupByBasis(tasks, this.basisFiles)) {
      await this.#attempt.run(this.#makeQueues(group), async (worker, batch) => {
        conflicts.push(...await this.#copy(worker, batch));
      });
    }
    return [...conflicts, ...await this.#copyUnfitting()];
  }

  /**
   * Copied at the same time, several files can fill a disk with their parts that has space for some
   * of them. Keeps the first part, because a disk that others have filled may have space again.
   */
  async #copyUnfitting(): Promise<NameConflict[]> {
    const tasks = this.#unfittingTasks ?? [];
    this.#unfittingTasks = null;
    for (const task of tasks.slice(1)) this.#attempt.local.discardPart(task);
    const conflicts = await this.copySequentially(tasks);
    this.#unfittingTasks = [];
    return conflicts;
  }

  async copySequentially(tasks: readonly CopyTask[]): Promise<NameConflict[]> {
    const conflicts: NameConflict[] = [];
    for (const batch of this.#makeQueues(tasks).flat()) {
      conflicts.push(...await this.#copy(this.#attempt.firstWorker, batch));
    }
    return conflicts;
  }

  #makeQueues(tasks: readonly CopyTask[]): [CopyTask[][], CopyTask[][]] {
    return makeQueues(tasks, this.#attempt.settings.move ? MAX_MOVE_BATCH_FILES : MAX_BATCH_FILES);
  }

  async #copy(worker: TreeWorker, tasks: readonly CopyTask[]): Promise<NameConflict[]> {
    const [firstTask] = tasks;
    let conflicts: NameConflict[];
    try {
      conflicts = tasks.length > 1 || isBundled(firstTask!)
        ? await this.#copySmallFiles(worker, tasks)
        : await this.copySingle(worker, firstTask!);
    } catch (error) {
      // Remove the files that were copied before the error, so that no retry sends them again.
      await this.#removeCopied(tasks).catch(() => {});
      throw error;
    }
    await this.#removeCopied(tasks);
    return conflicts;
  }

  /** Files without a final outcome are sent in a second bundle. */
  async #copySmallFiles(worker: TreeWorker, tasks: readonly CopyTask[]): Promise<NameConflict[]> {
    const { client, source, target } = worker;
    const { report } = this.#attempt;
    const conflicts: NameConflict[] = [];
    const remainingTasks = new Map<CopyTask, unknown>(tasks.map((task) => [task, null]));
    const singleTasks: CopyTask[] = [];
    for (let attempt = 1; remainingTasks.size > 0 && attempt <= 2; attempt++) {
      try {
        for await (
          const [task, outcome] of target.writeSmallFiles([...remainingTasks.keys()], source)
        ) {
          if (outcome.kind === "retry") {
            remainingTasks.set(task, outcome.error);
            continue;
          }
          if (outcome.kind === "unanswered") {
            report.noteUnanswered(task.node);
            continue;
          }
          remainingTasks.delete(task);
          if (outcome.kind === "copied") {
            const { bytes, sha256, unset } = outcome;
            const result = { bytes, total: bytes, resumedFrom: 0, reused: 0, sha256, unset };
            this.noteCopied(task.node, result);
          } else if (outcome.kind === "conflict") {
            conflicts.push({ task, sha256: outcome.sha256 });
          } else if (outcome.kind === "retry-single") singleTasks.push(task);
          else report.reportFailed(task.node, outcome.error);
        }
      } catch (error) {
        if (isServerError(error)) {
          // The error may concern only one of the files.
          await this.#attempt.rethrowIfFatal(error, client);
          singleTasks.push(...remainingTasks.keys());
          remainingTasks.clear();
          break;
        }
        // The second bundle has only the files that were not copied before the error.
        if (attempt === 2 || !client.canReconnect || !isConnectionLoss(error)) throw error;
      }
    }
    for (const [{ node }, error] of remainingTasks) report.reportFailed(node, error);
    for (const task of singleTasks) conflicts.push(...await this.copySingle(worker, task));
    return conflicts;
  }

  /** With `move`, the file is reported after its removal from the source. */
  noteCopied(node: TreeNode, result: TransferResult, meter?: FileMeter): void {
    const { report, settings: { move, dryRun } } = this.#attempt;
    (meter ?? report.makeMeter(node))(node.size - result.reused, result.reused);
    if (move && !dryRun) return void this.#copiedResults.set(node, result);
    report.reportCopied(node, result);
    if (move) report.reportEvent({ type: "moved", path: node.path });
  }

  reportDryRun(tasks: readonly CopyTask[]): void {
    for (const { node } of tasks) {
      const { size } = node;
      const reused = this.basisFiles.get(node)?.size ?? 0;
      const sizes = { bytes: size - reused, total: size, resumedFrom: 0, reused };
      this.noteCopied(node, { ...sizes, sha256: null, unset: [] });
    }
  }

  async #removeCopied(tasks: readonly CopyTask[]): Promise<void> {
    const { local: { outbox }, report } = this.#attempt;
    if (outbox === null) return;
    const nodes = tasks.map(({ node }) => node);
    for await (
      const [node, removal] of outbox.remove(nodes.filter((node) => this.#copiedResults.has(node)))
    ) {
      const { path } = node;
      if (removal.kind === "failed") report.reportFailed(node, removal.error);
      // Another program may still be writing a kept file, so the target may have only a prefix.
      else if (removal.kind === "kept") {
        report.reportEvent({ type: "pending", path });
      } else report.reportCopied(node, this.#copiedResults.get(node)!);
      if (removal.kind === "removed") report.reportEvent({ type: "moved", path });
      this.#copiedResults.delete(node);
    }
    for (const node of nodes) await outbox.close(node);
  }

  async copySingle(worker: TreeWorker, task: CopyTask): Promise<NameConflict[]> {
    const meter = this.#attempt.report.makeMeter(task.node);
    const result = await this.#writeSingle(worker, task, meter);
    if (result === "conflict") return [{ task, sha256: null }];
    if (result !== null) this.noteCopied(task.node, result, meter);
    return [];
  }

  /**
   * If the connection is lost or the file changes, the method makes a second attempt, and further
   * attempts as long as each attempt resumes from a later byte.
   *
   * @returns `null` if only this file has failed, which was reported.
   */
  async #writeSingle(
    worker: TreeWorker,
    task: CopyTask,
    meter: FileMeter,
  ): Promise<TransferResult | "conflict" | null> {
    const { local, report, settings: { replace, modes, signal } } = this.#attempt;
    const { client, source, target } = worker;
    const { condition, node } = task;
    const basis = this.basisFiles.get(node) ?? null;
    let isSent = false;
    let resumedFrom = 0;
    let reused = 0;
    let maxResumedFrom = 0;
    let stalledAttemptCount = 0;
    const settings: TransferSettings = {
      resume: true,
      replace,
      modes,
      // The file may have changed since the list.
      modified: null,
      onProgress(progress) {
        ({ resumedFrom } = progress);
        meter(progress.done - reused, reused);
      },
      onBegin(offset, reusedBytes) {
        reused = reusedBytes;
        isSent = target !== local;
        report.noteStart(node, offset);
      },
      signal,
    };
    while (true) {
      try {
        return await target.writeFile(task, source, settings, basis);
      } catch (error) {
        if (isSent && (isUnanswered(error) || signal.aborted)) report.noteUnanswered(node);
        signal.throwIfAborted();
        if (!isConnectionLoss(error) || !client.isUsable) {
          await this.#attempt.rethrowIfFatal(error, client);
        }
        if (isConflict(error) && condition !== "same") {
          meter(0);
          return "conflict";
        }
        // The next attempt counts the bytes of this attempt, as its `resumedFrom`.
        const hasProgressed = isConnectionLoss(error) && resumedFrom > maxResumedFrom;
        maxResumedFrom = Math.max(maxResumedFrom, resumedFrom);
        stalledAttemptCount = hasProgressed ? 0 : stalledAttemptCount + 1;
        if (isConnectionLoss(error) || isFileChangedError(error)) {
          const status = await this.#attempt.probeServer(client);
          signal.throwIfAborted();
          if (status === Infinity) throw error;
          if (stalledAttemptCount < 2) continue;
        }
        meter(0);
        if (isDiskFull(error) && this.#unfittingTasks !== null) {
          this.#unfittingTasks.push(task);
          return null;
        }
        if (isConnectionLoss(error)) report.firstInterruption ??= { error };
        report.reportFailed(node, error);
        return null;
      }
    }
  }
}

function isConflict(error: unknown): boolean {
  if (!(error instanceof TransferError)) return false;
  const { cause } = error;
  return (cause instanceof Refusal || cause instanceof StatusError) && cause.status === 412;
}

function makeQueues(
  tasks: readonly CopyTask[],
  maxBatchFiles = MAX_BATCH_FILES,
): [CopyTask[][], CopyTask[][]] {
  const smallBatches: CopyTask[][] = [];
  const singleBatches: CopyTask[][] = [];
  let batch: CopyTask[] = [];
  // The first file begins a batch.
  let bytes = Infinity;
  for (const task of tasks) {
    if (!isBundled(task)) {
      singleBatches.push([task]);
      continue;
    }
    if (batch.length === maxBatchFiles || bytes > MAX_BATCH_BYTES) {
      smallBatches.push(batch = []);
      bytes = 0;
    }
    batch.push(task);
    bytes += task.node.size;
  }
  return [smallBatches, singleBatches];
}

function isDiskFull(error: unknown): boolean {
  return error instanceof TransferError && error.code === "DISK_FULL";
}

function isFileChangedError(error: unknown): boolean {
  if (!(error instanceof TransferError)) return hasStatus(error, 400);
  return error.code === "CHANGED" || error.code === "DIGEST_MISMATCH";
}
