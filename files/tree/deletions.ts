/**
 * The last step of a call with `delete`: superfluous entries of the target are deleted. If an entry
 * of the source has the same name as a superfluous entry of another kind, the entry of the source
 * has failed, and the next call copies it.
 */

import type { TreeResult } from "../errors.ts";
import type { TreeAttempt, TreeWorker } from "./attempt.ts";
import type { FileCopier } from "./file_copier.ts";
import type { NameConflicts } from "./name_conflicts.ts";
import type { CopyTask, DeletionScope, Plan } from "./plan.ts";
import type { RenameCandidate, TreeRenames } from "./renames.ts";
import { findRespelledScopes, type RespelledNode, type RespelledScopes } from "./respelling.ts";
import { TreeNode } from "./tree.ts";
import { overLimitError, renamedByDiskError, unnameableError } from "./tree_errors.ts";

export class TreeDeletions {
  readonly #attempt: TreeAttempt;
  readonly #plan: Plan;
  readonly #copier: FileCopier;
  readonly #nameConflicts: NameConflicts;
  readonly #renamedNodes = new Set<TreeNode>();

  constructor(attempt: TreeAttempt, plan: Plan, copier: FileCopier, nameConflicts: NameConflicts) {
    this.#attempt = attempt;
    this.#plan = plan;
    this.#copier = copier;
    this.#nameConflicts = nameConflicts;
  }

  /**
   * @param excessiveCount The number of deletions of the whole call if it is above the limit; else
   * `null`.
   * @param renameTasks The tasks of `renames` whose directories exist.
   */
  async run(
    excessiveCount: number | null,
    renames: TreeRenames,
    renameTasks: readonly CopyTask[],
  ): Promise<TreeResult["deletionsSkipped"]> {
    const { report, settings: { maxDelete } } = this.#attempt;
    const skipReason = this.#findSkipReason(excessiveCount);
    if (skipReason !== null) {
      await this.#copy(renameTasks);
      if (excessiveCount !== null && skipReason === "limit") {
        const error = overLimitError(excessiveCount, maxDelete);
        report.reportFailed(TreeNode.makeRoot(), error, "target");
      }
      return skipReason;
    }
    const respelledScopes = await this.#findRespelledScopes(new Map(), renameTasks);
    const candidates = await renames.choose(renameTasks, respelledScopes);
    const chosenTasks = candidates.map(({ task }) => task);
    const otherTasks = new Set(renameTasks).difference(new Set(chosenTasks));
    // These files may reuse the files that are renamed below.
    if (!await this.#copy([...otherTasks])) {
      await this.#copy(chosenTasks);
      return "failed";
    }
    if (renameTasks.length > 0) {
      if (!await this.#rename(renames, candidates, respelledScopes)) return "failed";
      const newScopes = await this.#findRespelledScopes(respelledScopes);
      for (const [scope, node] of newScopes) respelledScopes.set(scope, node);
    }
    await this.#deleteAll(respelledScopes);
    for (const node of this.#plan.unnameableNodes) {
      report.reportFailed(node, unnameableError(node), "target");
    }
    return [...respelledScopes.values()].some((respelledNode) => respelledNode !== null)
      ? "spelling"
      : null;
  }

  /** @returns False if a file has failed. */
  async #copy(tasks: readonly CopyTask[]): Promise<boolean> {
    const { report } = this.#attempt;
    const { failureCount } = report;
    await this.#nameConflicts.resolve(await this.#copier.copyAll(tasks));
    return report.failureCount === failureCount;
  }

  /**
   * Renames files, and copies those that could not be renamed.
   *
   * @returns False if a file has failed.
   */
  async #rename(
    renames: TreeRenames,
    candidates: readonly RenameCandidate[],
    respelledScopes: RespelledScopes,
  ): Promise<boolean> {
    const { report } = this.#attempt;
    const { failureCount } = report;
    let remaining = candidates;
    const otherTasks = new Set(candidates.map(({ task }) => task));
    // The second round is for files whose first candidate was a wrong guess.
    for (let round = 1; round <= 2 && remaining.length > 0; round++) {
      const renamedTasks = await renames.run(remaining);
      for (const { task, from } of remaining) {
        if (!renamedTasks.has(task)) continue;
        this.#renamedNodes.add(from);
        otherTasks.delete(task);
      }
      if (round === 1) remaining = await renames.choose([...otherTasks], respelledScopes);
    }
    const isCopied = await this.#copy([...otherTasks]);
    return isCopied && report.failureCount === failureCount;
  }

  #findSkipReason(excessiveCount: number | null): TreeResult["deletionsSkipped"] {
    const { report, settings: { deleteAll } } = this.#attempt;
    const {
      isIncomplete,
      isEmpty,
      toleratedFailureCount,
      deletionCount,
      unnameableNodes,
    } = this.#plan;
    if (isEmpty && !deleteAll && deletionCount + unnameableNodes.length > 0) return "empty";
    if (excessiveCount !== null) return "limit";
    if (isIncomplete) return "incomplete";
    return report.failureCount > toleratedFailureCount ? "failed" : null;
  }

  /**
   * @param knownScopes Scopes that are not examined again.
   * @param missingTasks The tasks of files that the target does not have yet.
   */
  async #findRespelledScopes(
    knownScopes: RespelledScopes,
    missingTasks: readonly CopyTask[] = [],
  ): Promise<Map<DeletionScope, RespelledNode | null>> {
    const { report, settings } = this.#attempt;
    // In a dry run no file was copied that could show changed names.
    if (settings.dryRun) return new Map();
    const { deletions, keptDirectories } = this.#plan;
    const missingNodes = new Set(missingTasks.map(({ node }) => node));
    const scopes = new Set<DeletionScope>();
    for (const { node, scope } of deletions) {
      if (!keptDirectories.has(node) && !knownScopes.has(scope)) scopes.add(scope);
    }
    return await findRespelledScopes(this.#attempt, scopes, {
      isMissing: (node) => missingNodes.has(node),
      onError: ({ directory }, error) => report.reportFailed(directory, error, "target"),
    });
  }

  async #deleteAll(respelledScopes: RespelledScopes): Promise<void> {
    const { report, settings } = this.#attempt;
    const { deletions, keptDirectories } = this.#plan;
    const deletedNodes: TreeNode[] = [];
    for (const { node, scope } of deletions) {
      if (respelledScopes.has(scope)) this.#keep(node);
      else if (!keptDirectories.has(node) && !this.#renamedNodes.has(node)) deletedNodes.push(node);
    }
    // Delete entries before their directory, and entries of equal depth at the same time.
    for (const nodes of groupByDepth(deletedNodes)) {
      if (settings.dryRun) nodes.forEach((node) => report.reportDeleted(node));
      else await this.#attempt.run([nodes], (worker, node) => this.#deleteNode(worker, node));
    }
    for (const [{ directory }, respelledNode] of respelledScopes) {
      if (respelledNode === null) continue;
      const { node, listedName } = respelledNode;
      report.reportFailed(directory, renamedByDiskError(node, listedName), "target");
    }
  }

  async #deleteNode({ client, target }: TreeWorker, node: TreeNode): Promise<void> {
    if (this.#plan.keptDirectories.has(node)) return;
    const { report } = this.#attempt;
    report.noteDeletion(node);
    try {
      await target.remove(node);
    } catch (error) {
      await this.#attempt.rethrowIfFatal(error, client);
      this.#keep(node);
      return report.reportFailed(node, error, "target");
    }
    report.reportDeleted(node);
  }

  #keep(node: TreeNode): void {
    this.#plan.keptDirectories.add(node);
    this.#plan.keepParents(node);
  }
}

function groupByDepth(nodes: readonly TreeNode[]): TreeNode[][] {
  const levels = Map.groupBy(nodes, ({ path }) => path.length);
  return [...levels].sort(([a], [b]) => b - a).map(([, level]) => level);
}
