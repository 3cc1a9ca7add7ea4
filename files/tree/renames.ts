/**
 * Files that the source has renamed or moved: with `delete`, the target renames its file in place
 * of copying it and deleting the old one.
 *
 * A file is renamed after all copies, before the first deletion, and only if it is unchanged since
 * the list and has the content of the source. No other name is created or replaced: a call that is
 * interrupted leaves the old or the new name. In all other cases the file is copied.
 */

import { isReuseTimeout } from "../transfer/remote_digest.ts";
import { isConnectionLoss } from "../transfer_error.ts";
import type { UnsetProperty } from "../unset.ts";
import type { TreeAttempt, TreeWorker } from "./attempt.ts";
import type { FileCopier } from "./file_copier.ts";
import { type CopyTask, type DeletionScope, hasOtherMode, type Plan } from "./plan.ts";
import { findRespelledScopes } from "./respelling.ts";
import type { Renaming } from "./sides.ts";
import { TreeNode } from "./tree.ts";

const MAX_BATCH_FILES = 256;
/** The target hashes the files of a batch before it responds. */
const MAX_BATCH_BYTES = 16_777_216;

interface Candidate extends Omit<Renaming, "sha256"> {
  readonly sha256: string | null;
}

export class TreeRenames {
  readonly #attempt: TreeAttempt;
  readonly #copier: FileCopier;
  readonly #scopes = new Map<TreeNode, DeletionScope>();
  /** The files that may be renamed, in place of being copied. */
  readonly tasks: readonly CopyTask[];

  /** @param mayDelete False if the call does not delete, so that no file is renamed. */
  constructor(attempt: TreeAttempt, plan: Plan, copier: FileCopier, mayDelete: boolean) {
    this.#attempt = attempt;
    this.#copier = copier;
    if (mayDelete) {
      for (const { node, scope } of plan.deletions) {
        if (!plan.keptDirectories.has(node)) this.#scopes.set(node, scope);
      }
    }
    this.tasks = plan.copies.filter(({ node, condition }) =>
      condition === "new" &&
      (copier.basisFiles.get(node)?.files.some((file) => this.#isRenamed(file, node)) ?? false)
    );
  }

  #isRenamed(file: TreeNode, node: TreeNode): boolean {
    return this.#scopes.has(file) && file.size === node.size && file.modified === node.modified;
  }

  /** Chooses at most one file of the target for each task, and each file once. */
  async choose(tasks: readonly CopyTask[]): Promise<readonly Candidate[]> {
    const candidates = new Map<TreeNode, Candidate>();
    const respelledScopes = await this.#findRespelledScopes(tasks);
    await this.#attempt.run([tasks], async (worker, task) => {
      try {
        const { node } = task;
        const basis = await this.#copier.basisFiles.get(node)!.choose(node, worker);
        if (basis === null || candidates.has(basis.file)) return;
        const { file: from, sha256 } = basis;
        if (!this.#isRenamed(from, node) || respelledScopes.has(this.#scopes.get(from)!)) return;
        candidates.set(from, { task, from, sha256 });
      } catch (error) {
        await this.#rethrowIfFatal(error, worker);
      }
    });
    return [...candidates.values()];
  }

  #findRespelledScopes(tasks: readonly CopyTask[]) {
    const newNodes = new Set(tasks.map(({ node }) => node));
    const files = tasks.flatMap(({ node }) => this.#copier.basisFiles.get(node)!.files);
    const scopes = new Set(files.flatMap((file) => this.#scopes.get(file) ?? []));
    return findRespelledScopes(this.#attempt, scopes, {
      isMissing: (node) => newNodes.has(node),
      // The deletions list the directory again, and report the error.
      onError: () => {},
    });
  }

  /** @returns The files that were renamed. */
  async run(candidates: readonly Candidate[]): Promise<ReadonlySet<CopyTask>> {
    const renamedTasks = new Set<CopyTask>();
    await this.#attempt.run([makeBatches(candidates)], async (worker, batch) => {
      try {
        const renames = await this.#findDigests(worker, batch);
        if (renames.length > 0) await this.#rename(worker, renames, renamedTasks);
      } catch (error) {
        await this.#rethrowIfFatal(error, worker);
      }
    });
    return renamedTasks;
  }

  /** After any other error, the files are copied. */
  async #rethrowIfFatal(error: unknown, { client }: TreeWorker): Promise<void> {
    this.#attempt.settings.signal.throwIfAborted();
    if (isReuseTimeout(client, error) || client.canReconnect && isConnectionLoss(error)) return;
    await this.#attempt.rethrowIfFatal(error, client);
  }

  async #findDigests(
    { source }: TreeWorker,
    batch: readonly Candidate[],
  ): Promise<readonly Renaming[]> {
    const renames: Renaming[] = [];
    for (const candidate of batch) {
      const sha256 = candidate.sha256 ?? await source.findDigest(candidate.task.node);
      if (sha256 !== null) renames.push({ ...candidate, sha256 });
    }
    return renames;
  }

  async #rename(
    worker: TreeWorker,
    renames: readonly Renaming[],
    renamedTasks: Set<CopyTask>,
  ): Promise<void> {
    const { client, target } = worker;
    for (const { from } of renames) this.#attempt.report.noteDeletion(from);
    for (let attempt = 1;; attempt++) {
      const remaining = renames.filter(({ task }) => !renamedTasks.has(task));
      try {
        for await (const [renaming, isRenamed] of target.renameFiles(remaining)) {
          if (!isRenamed) continue;
          renamedTasks.add(renaming.task);
          await this.#finish(worker, renaming);
        }
        return;
      } catch (error) {
        // The response may be lost: the second request finds which files have their new names.
        if (attempt === 2 || !client.canReconnect || !isConnectionLoss(error)) throw error;
      }
    }
  }

  /** Sets the permission bits of a renamed file, and reports the file. */
  async #finish({ client, target }: TreeWorker, renaming: Renaming): Promise<void> {
    const { task, from, sha256 } = renaming;
    const { node } = task;
    const { report, settings } = this.#attempt;
    report.reportDeleted(from);
    const { size, modified, mode } = from;
    const newNode = new TreeNode(node.parent, node.name, "file", size, modified, null, mode);
    const renamedTask: CopyTask = { ...task, condition: "listed", target: newNode, sha256 };
    let unset: readonly UnsetProperty[] = [];
    try {
      if (hasOtherMode(renamedTask, settings)) unset = await target.setMetadata(renamedTask);
    } catch (error) {
      await this.#attempt.rethrowIfFatal(error, client);
      return report.reportFailed(node, error);
    }
    const result = { bytes: 0, total: size, resumedFrom: 0, reused: size, sha256, unset };
    this.#copier.noteCopied(node, result);
  }
}

function makeBatches(candidates: readonly Candidate[]): Candidate[][] {
  const batches: Candidate[][] = [];
  let bytes = Infinity;
  for (const candidate of candidates) {
    if (bytes > MAX_BATCH_BYTES || batches.at(-1)!.length === MAX_BATCH_FILES) {
      batches.push([]);
      bytes = 0;
    }
    batches.at(-1)!.push(candidate);
    bytes += candidate.from.size;
  }
  return batches;
}
