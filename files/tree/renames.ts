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
import type { UnsetProperty } from "../wire/metadata.ts";
import type { TreeAttempt, TreeWorker } from "./attempt.ts";
import type { BasisCandidates } from "./basis_files.ts";
import type { FileCopier } from "./file_copier.ts";
import { type CopyTask, type DeletionScope, hasOtherMode, type Plan } from "./plan.ts";
import type { RespelledScopes } from "./respelling.ts";
import type { Renaming } from "./sides.ts";
import { TreeNode } from "./tree.ts";

const MAX_BATCH_FILES = 256;
/** The target hashes the files of a batch before it responds. */
const MAX_BATCH_BYTES = 16_777_216;

export interface RenameCandidate extends Omit<Renaming, "sha256"> {
  readonly sha256: string | null;
}

export class TreeRenames {
  readonly #attempt: TreeAttempt;
  readonly #copier: FileCopier;
  readonly #scopes = new Map<TreeNode, DeletionScope>();
  readonly #deletedFiles = new Map<BasisCandidates, readonly TreeNode[]>();
  readonly #filesByName = new Map<readonly TreeNode[], Map<string, TreeNode[]>>();
  readonly #wronglyGuessedTasks = new Set<CopyTask>();
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
    this.tasks = plan.copies.filter((task) => {
      const [file] = task.condition === "new" ? this.#findDeletedFiles(task) : [];
      return file !== undefined && this.#isRenamed(file, task.node);
    });
  }

  /** Finds the candidates of a file that will be deleted. Many files may have the same ones. */
  #findDeletedFiles({ node }: CopyTask): readonly TreeNode[] {
    const candidates = this.#copier.basisFiles.get(node);
    if (candidates === undefined) return [];
    return this.#deletedFiles.getOrInsertComputed(
      candidates,
      ({ files }) => files.filter((file) => this.#scopes.has(file)),
    );
  }

  #isRenamed(file: TreeNode, node: TreeNode): boolean {
    return this.#scopes.has(file) && file.size === node.size && file.modified === node.modified;
  }

  /**
   * Chooses at most one file of the target for each task, and each file once: the only file of this
   * size and time, or else the only one with the same name, or else one with the same digest.
   */
  async choose(
    tasks: readonly CopyTask[],
    respelledScopes: RespelledScopes,
  ): Promise<readonly RenameCandidate[]> {
    const candidates = new Map<TreeNode, RenameCandidate>();
    const add = (task: CopyTask, from: TreeNode | null, sha256: string | null = null) => {
      const isFree = from !== null && !candidates.has(from) && this.#isRenamed(from, task.node) &&
        !respelledScopes.has(this.#scopes.get(from)!);
      if (isFree) candidates.set(from, { task, from, sha256 });
      return isFree;
    };
    const otherTasks = tasks.filter((task) => !add(task, this.#guess(task)));
    await this.#attempt.run([otherTasks], async (worker, task) => {
      const { node } = task;
      const basisCandidates = this.#copier.basisFiles.get(node)!;
      if (basisCandidates.files.length === 1) return;
      try {
        const basis = await basisCandidates.choose(node, worker);
        if (basis !== null) add(task, basis.file, basis.sha256);
      } catch (error) {
        await this.#rethrowIfFatal(error, worker);
      }
    });
    return [...candidates.values()];
  }

  #guess(task: CopyTask): TreeNode | null {
    if (this.#wronglyGuessedTasks.has(task)) return null;
    const files = this.#findDeletedFiles(task);
    if (files.length === 1) return files[0]!;
    const filesByName = this.#filesByName.getOrInsertComputed(
      files,
      (files) => Map.groupBy(files, ({ name }) => name),
    );
    const namesakes = filesByName.get(task.node.name) ?? [];
    return namesakes.length === 1 ? namesakes[0]! : null;
  }

  /** @returns The files that were renamed. */
  async run(candidates: readonly RenameCandidate[]): Promise<ReadonlySet<CopyTask>> {
    const renamedTasks = new Set<CopyTask>();
    await this.#attempt.run([makeBatches(candidates)], async (worker, batch) => {
      try {
        const renames = await this.#findDigests(worker, batch);
        if (renames.length > 0) await this.#rename(worker, renames, renamedTasks);
      } catch (error) {
        await this.#rethrowIfFatal(error, worker);
      }
    });
    for (const { task } of candidates) {
      if (!renamedTasks.has(task)) this.#wronglyGuessedTasks.add(task);
    }
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
    batch: readonly RenameCandidate[],
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
      const renamed: Renaming[] = [];
      let failure: { readonly error: unknown } | null = null;
      try {
        for await (const [renaming, isRenamed] of target.renameFiles(remaining)) {
          if (isRenamed) renamed.push(renaming);
        }
      } catch (error) {
        failure = { error };
      }
      // The connection is busy until the response has ended.
      for (const renaming of renamed) {
        renamedTasks.add(renaming.task);
        await this.#finish(worker, renaming);
      }
      if (failure === null) return;
      const { error } = failure;
      // The response may be lost: the second request finds which files have their new names.
      if (attempt === 2 || !client.canReconnect || !isConnectionLoss(error)) throw error;
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

function makeBatches(candidates: readonly RenameCandidate[]): RenameCandidate[][] {
  const batches: RenameCandidate[][] = [];
  let bytes = 0;
  for (const candidate of candidates) {
    const { size } = candidate.from;
    const isFull = bytes + size > MAX_BATCH_BYTES || batches.at(-1)?.length === MAX_BATCH_FILES;
    if (batches.length === 0 || isFull) {
      batches.push([]);
      bytes = 0;
    }
    batches.at(-1)!.push(candidate);
    bytes += size;
  }
  return batches;
}
