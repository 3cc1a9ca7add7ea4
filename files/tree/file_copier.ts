/**
 * The copying of the files of a tree: small ones many in a request, larger ones alone. With `move`,
 * files of the source are removed once they have arrived.
 */

import { StatusError } from "../../client.ts";
import { Refusal } from "../refusal.ts";
import type { TransferClient } from "../transfer/client.ts";
import type { TransferResult, TransferSettings } from "../options.ts";
import { isConnectionLoss, isFatal, isFileChangedError, TransferError } from "../transfer_error.ts";
import type { TreeAttempt, TreeWorker } from "./attempt.ts";
import { BATCH_FILES } from "./bundle_requests.ts";
import { type BasisFiles, type CopyTask, isSmall, UNSETTLED } from "./plan.ts";
import { ABSENT, type TreeSide } from "./sides.ts";
import { type TreeNode, uriOfPath } from "./tree.ts";

/** The most files of a request with `move`, since each is open until it is removed. */
const MOVED_FILES = 32;
/** The most bytes of files in a request, by their sizes in the list. */
const BATCH_BYTES = 4_194_304;

/** A file whose name something has that its condition excludes. */
export interface NameConflict {
  readonly task: CopyTask;
  /** `null` if it is not known yet. */
  readonly sha256: string | null;
}

/** Counts the bytes of a file, as the report has made it. */
type Meter = (bytes: number, reused?: number) => void;

/** A file of a group that is at the target, and has no name yet. */
export interface ReceivedFile {
  readonly result: TransferResult;
  readonly meter: Meter;
}

export class FileCopier {
  readonly #attempt: TreeAttempt;
  /** The files of the target that may have the first bytes of files. */
  basisFiles: BasisFiles = new Map();
  /** With `move`: files that are at the target, and not yet removed from the source. */
  readonly #arrived = new Map<TreeNode, TransferResult>();

  constructor(attempt: TreeAttempt) {
    this.#attempt = attempt;
  }

  /** Compares the contents of files at both ends. */
  async compareEach(
    tasks: readonly CopyTask[],
    onCompared: (task: CopyTask, isSame: boolean) => void,
  ): Promise<void> {
    await this.#attempt.run(queuesOf(tasks), async ({ source, target }, batch) => {
      const digests = await findDigests(source, batch);
      const targetDigests = await findDigests(target, batch);
      for (const [i, task] of batch.entries()) {
        const sha256 = digests[i]!;
        onCompared(task, sha256 !== null && sha256 !== ABSENT && sha256 === targetDigests[i]);
      }
    });
  }

  /**
   * Copies files over all connections.
   *
   * @returns The files whose names are taken.
   */
  async copyAll(tasks: readonly CopyTask[]): Promise<NameConflict[]> {
    const conflicts: NameConflict[] = [];
    // A file whose bytes another one reuses is replaced later.
    const isFirst = ({ node, target }: CopyTask) =>
      (this.basisFiles.get(node) ?? target) !== target;
    const others = tasks.filter((task) => !isFirst(task));
    for (const some of [tasks.filter(isFirst), others]) {
      await this.#attempt.run(this.#queuesOf(some), async (worker, batch) => {
        conflicts.push(...await this.#copy(worker, batch));
      });
    }
    return conflicts;
  }

  /** Copies files as {@linkcode copyAll} does, one request after the other. */
  async copyInTurn(tasks: readonly CopyTask[]): Promise<NameConflict[]> {
    const conflicts: NameConflict[] = [];
    for (const batch of this.#queuesOf(tasks).flat()) {
      conflicts.push(...await this.#copy(this.#attempt.first, batch));
    }
    return conflicts;
  }

  #queuesOf(tasks: readonly CopyTask[]): [CopyTask[][], CopyTask[][]] {
    return queuesOf(tasks, this.#attempt.settings.move ? MOVED_FILES : BATCH_FILES);
  }

  async #copy(worker: TreeWorker, tasks: readonly CopyTask[]): Promise<NameConflict[]> {
    const [first] = tasks;
    let conflicts: NameConflict[];
    try {
      conflicts = tasks.length > 1 || isSmall(first!)
        ? await this.#copySmall(worker, tasks)
        : await this.copySingle(worker, first!);
    } catch (error) {
      // Files that have arrived before the error need not be sent again.
      await this.#removeArrived(worker, tasks).catch(() => {});
      throw error;
    }
    await this.#removeArrived(worker, tasks);
    return conflicts;
  }

  /** Copies small files in one request, and some of them in a second one. */
  async #copySmall(worker: TreeWorker, tasks: readonly CopyTask[]): Promise<NameConflict[]> {
    const { client, source, target } = worker;
    const { report } = this.#attempt;
    const conflicts: NameConflict[] = [];
    const remaining = new Map<CopyTask, unknown>(tasks.map((task) => [task, null]));
    const single: CopyTask[] = [];
    for (let attempt = 1; remaining.size > 0 && attempt <= 2; attempt++) {
      try {
        for await (const [task, outcome] of target.put([...remaining.keys()], source)) {
          if (outcome.kind === "retry") {
            remaining.set(task, outcome.error);
            continue;
          }
          remaining.delete(task);
          if (outcome.kind === "copied") {
            const { bytes, sha256 } = outcome;
            this.copied(task.node, { bytes, total: bytes, resumedFrom: 0, reused: 0, sha256 });
          } else if (outcome.kind === "conflict") {
            conflicts.push({ task, sha256: outcome.sha256 });
          } else if (outcome.kind === "retry-single") single.push(task);
          else report.failed(task.node, outcome.error);
        }
      } catch (error) {
        for (const { node } of remaining.keys()) report.noteBegin(node, 0, 0);
        // Files that had their names before the connection broke off stay; the others are requested
        // once more.
        if (attempt === 2 || !client.canReconnect || !isConnectionLoss(error)) throw error;
      }
    }
    for (const [{ node }, error] of remaining) report.failed(node, error);
    for (const task of single) conflicts.push(...await this.copySingle(worker, task));
    return conflicts;
  }

  /** Notes a file that is at the target. With `move`, it is reported once it was removed. */
  copied(node: TreeNode, last: TransferResult, meter?: Meter): void {
    const { report, settings: { move, dryRun } } = this.#attempt;
    const result = report.resultOf(node, last);
    (meter ?? report.meter(node))(node.size - result.reused, result.reused);
    if (move && !dryRun) return void this.#arrived.set(node, result);
    report.copied(node, result);
    if (move) report.event({ type: "removed", path: node.path });
  }

  /** Reports files as if they had been copied. */
  reportDryRun(tasks: readonly CopyTask[]): void {
    for (const { node } of tasks) {
      const { size } = node;
      const reused = this.basisFiles.get(node)?.size ?? 0;
      const bytes = size - reused;
      this.copied(node, { bytes, total: size, resumedFrom: 0, reused, sha256: null });
    }
  }

  /** Removes the files of the source that have arrived, and reports them; closes the others. */
  async #removeArrived(
    { source: { outbox } }: TreeWorker,
    tasks: readonly CopyTask[],
  ): Promise<void> {
    if (outbox === null) return;
    const { report } = this.#attempt;
    const nodes = tasks.map(({ node }) => node);
    for await (
      const [node, removal] of outbox.remove(nodes.filter((node) => this.#arrived.has(node)))
    ) {
      const { path } = node;
      if (removal.kind === "failed") report.failed(node, removal.error);
      // A file that stays may still be being written: perhaps only its first bytes were copied.
      else if (removal.kind === "kept") report.event({ type: "skipped", path, reason: UNSETTLED });
      else report.copied(node, this.#arrived.get(node)!);
      if (removal.kind === "removed") report.event({ type: "removed", path });
      this.#arrived.delete(node);
    }
    for (const node of nodes) await outbox.close(node);
  }

  /**
   * Copies a file by itself, or reports why it could not be copied.
   *
   * @returns The file, if its name is taken.
   */
  async copySingle(worker: TreeWorker, task: CopyTask): Promise<NameConflict[]> {
    const meter = this.#attempt.report.meter(task.node);
    const result = await this.#putSingle(worker, task, meter);
    if (result === "conflict") return [{ task, sha256: null }];
    if (result !== null) this.copied(task.node, result, meter);
    return [];
  }

  /** Copies a file of a group; resolves to `null` if that has failed, which was reported. */
  async receive(worker: TreeWorker, task: CopyTask): Promise<ReceivedFile | null> {
    const meter = this.#attempt.report.meter(task.node);
    const result = await this.#putSingle(worker, task, meter);
    return result === null || result === "conflict" ? null : { result, meter };
  }

  /**
   * Puts a file, and once more if the connection broke off or the file changed, and as long as each
   * attempt gets further.
   *
   * @returns `null` if the file has failed, alone.
   */
  async #putSingle(
    { client, source, target }: TreeWorker,
    task: CopyTask,
    meter: Meter,
  ): Promise<TransferResult | "conflict" | null> {
    const { report, settings: { replace, modes, signal } } = this.#attempt;
    const { condition, group, node } = task;
    const basis = group === null ? this.basisFiles.get(node) ?? null : null;
    let resumedFrom = 0;
    let reused = 0;
    let furthest = 0;
    let vainAttempts = 0;
    const settings: TransferSettings = {
      resume: true,
      replace,
      modes,
      modified: new Date(node.modified),
      onProgress(progress) {
        ({ resumedFrom } = progress);
        meter(resumedFrom + progress.reused + progress.bytes - reused, reused);
      },
      onBegin: (from, now) => reused = report.noteBegin(node, from, now),
      signal,
    };
    while (true) {
      try {
        return await target.putSingle(task, source, settings, basis);
      } catch (error) {
        signal.throwIfAborted();
        if (isFatal(error) || !client.isUsable) throw error;
        if (isConflict(error) && group === null && condition !== "same") {
          meter(0);
          // The first attempt has sent no byte: nothing of the file has arrived.
          if (vainAttempts === 0 && furthest === 0) report.forgetBegin(node);
          return "conflict";
        }
        // How far a file has got with a connection that broke off, the next attempt shows.
        const hasGotFurther = isConnectionLoss(error) && resumedFrom > furthest;
        furthest = Math.max(furthest, resumedFrom);
        vainAttempts = hasGotFurther ? 0 : vainAttempts + 1;
        if (isConnectionLoss(error) || isFileChangedError(error)) {
          const isOnline = await this.#isPeerOnline(client, node);
          signal.throwIfAborted();
          if (!isOnline) throw error;
          if (vainAttempts < 2) continue;
        }
        meter(0);
        if (isConnectionLoss(error)) report.brokenOff ??= { error };
        report.failed(node, error);
        return null;
      }
    }
  }

  /** Whether the peer still answers: otherwise the error is not about this file alone. */
  async #isPeerOnline(client: TransferClient, { path }: TreeNode): Promise<boolean> {
    const uri = uriOfPath(this.#attempt.settings.uri, path);
    try {
      await (await client.request("HEAD", uri, {})).discard();
      return true;
    } catch {
      return false;
    }
  }
}

/** Finds the digests of small files, or of a single file. */
async function findDigests(side: TreeSide, tasks: readonly CopyTask[]): Promise<(string | null)[]> {
  const nodes = tasks.map(({ node }) => node);
  return isSmall(tasks[0]!) ? await side.digests(nodes) : [await side.digest(nodes[0]!)];
}

/** Whether something that the condition of a file excludes has its name. */
function isConflict(error: unknown): boolean {
  if (!(error instanceof TransferError)) return false;
  const { cause } = error;
  return (cause instanceof Refusal || cause instanceof StatusError) && cause.status === 412;
}

/** Two queues: of small files in batches, and of the other files alone. */
function queuesOf(tasks: readonly CopyTask[], most = BATCH_FILES): [CopyTask[][], CopyTask[][]] {
  const small: CopyTask[][] = [];
  const large: CopyTask[][] = [];
  let batch: CopyTask[] = [];
  // No batch has room for the first file.
  let bytes = Infinity;
  for (const task of tasks) {
    if (!isSmall(task)) {
      large.push([task]);
      continue;
    }
    if (batch.length === most || bytes > BATCH_BYTES) {
      small.push(batch = []);
      bytes = 0;
    }
    batch.push(task);
    bytes += task.node.size;
  }
  return [small, large];
}
