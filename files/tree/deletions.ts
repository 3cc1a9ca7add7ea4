/**
 * The last step of a call with `delete`: superfluous entries of the target are deleted. If an entry
 * of the source has the same name as a superfluous entry of another kind, the entry of the source
 * is in a deferred group.
 *
 * The files of a deferred group are received first. Then the entries of the target are deleted.
 * Then the received files are renamed to their targets. If the call is interrupted, the target has
 * the entries to delete, the received files, or both.
 */

import type { TreeResult } from "../errors.ts";
import { isConnectionLoss } from "../transfer_error.ts";
import type { TreeAttempt, TreeWorker } from "./attempt.ts";
import type { FileCopier, NameConflict, ReceivedFile } from "./file_copier.ts";
import type { NameConflicts } from "./name_conflicts.ts";
import {
  type CopyTask,
  type DeferredGroup,
  type DeletionScope,
  failuresOf,
  type Plan,
} from "./plan.ts";
import type { RenameCandidate, TreeRenames } from "./renames.ts";
import { findRespelledScopes, type RespelledNode, type RespelledScopes } from "./respelling.ts";
import { findDirectoryAbove, TreeNode } from "./tree.ts";
import {
  overLimitError,
  parentNotCreatedError,
  renamedByDiskError,
  unnameableError,
} from "./tree_errors.ts";

export class TreeDeletions {
  readonly #attempt: TreeAttempt;
  readonly #plan: Plan;
  readonly #copier: FileCopier;
  readonly #nameConflicts: NameConflicts;
  readonly #receivedFiles = new Map<CopyTask, ReceivedFile>();
  readonly #conflicts: NameConflict[] = [];
  readonly #undeletedNodes = new Set<TreeNode>();
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
    const { report, settings: { dryRun } } = this.#attempt;
    const { deferredGroups, unnameableNodes } = this.#plan;
    const skipReason = this.#findSkipReason(excessiveCount);
    if (skipReason !== null) {
      await this.#copy(renameTasks);
      return this.#skip(skipReason, excessiveCount);
    }
    const respelledScopes = await this.#findRespelledScopes(new Map(), renameTasks);
    const candidates = await renames.choose(renameTasks, respelledScopes);
    const chosenTasks = candidates.map(({ task }) => task);
    const otherTasks = new Set(renameTasks).difference(new Set(chosenTasks));
    // These files may reuse the files that are renamed below.
    if (!await this.#copy([...otherTasks])) {
      await this.#copy(chosenTasks);
      return this.#skip("failed");
    }
    let groups = this.#failRespelled(deferredGroups, respelledScopes);
    if (!dryRun && !await this.#receiveFiles(groups)) {
      await this.#copy(chosenTasks);
      return "failed";
    }
    if (renameTasks.length > 0) {
      if (!await this.#rename(renames, candidates, respelledScopes)) {
        return this.#skip("failed", null, groups);
      }
      const newScopes = await this.#findRespelledScopes(respelledScopes);
      for (const [scope, node] of newScopes) respelledScopes.set(scope, node);
      groups = this.#failRespelled(groups, newScopes);
    }
    await this.#deleteAll(respelledScopes);
    for (const node of unnameableNodes) {
      report.reportFailed(node, unnameableError(node), "target");
    }
    for (const group of groups) await this.#nameGroup(group);
    await this.#nameConflicts.resolve(this.#conflicts);
    return [...respelledScopes.values()].some((respelledNode) => respelledNode !== null)
      ? "spelling"
      : null;
  }

  #skip(
    reason: TreeResult["deletionsSkipped"],
    excessiveCount: number | null = null,
    groups: readonly DeferredGroup[] = this.#plan.deferredGroups,
  ): TreeResult["deletionsSkipped"] {
    const { report, settings: { maxDelete } } = this.#attempt;
    for (const group of groups) this.#failGroup(group);
    if (excessiveCount !== null && reason === "limit") {
      report.reportFailed(TreeNode.makeRoot(), overLimitError(excessiveCount, maxDelete), "target");
    }
    return reason;
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

  /** @returns The groups that are not in a directory whose names the disk has changed. */
  #failRespelled(
    groups: readonly DeferredGroup[],
    respelledScopes: RespelledScopes,
  ): readonly DeferredGroup[] {
    for (const group of groups) if (respelledScopes.has(group.scope)) this.#failGroup(group);
    return groups.filter(({ scope }) => !respelledScopes.has(scope));
  }

  #findSkipReason(excessiveCount: number | null): TreeResult["deletionsSkipped"] {
    const { report, settings: { deleteAll } } = this.#attempt;
    const {
      isIncomplete,
      isEmpty,
      linkFailureCount,
      deletionCount,
      unnameableNodes,
    } = this.#plan;
    if (isEmpty && !deleteAll && deletionCount + unnameableNodes.length > 0) return "empty";
    if (excessiveCount !== null) return "limit";
    if (isIncomplete) return "incomplete";
    // A link at the target blocks only its own path, and doesn't prevent deletions.
    return report.failureCount > linkFailureCount ? "failed" : null;
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
      // `#nameGroup` reports the deferred groups of this directory.
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
      this.#undeletedNodes.add(node);
      this.#keep(node);
      return report.reportFailed(node, error, "target");
    }
    report.reportDeleted(node);
  }

  #keep(node: TreeNode): void {
    this.#plan.keptDirectories.add(node);
    this.#plan.keepParents(node);
  }

  async #receiveFiles(deferredGroups: readonly DeferredGroup[]): Promise<boolean> {
    const copies = deferredGroups.flatMap(({ copies }) => copies);
    const failedNodes = new Set<TreeNode>();
    await this.#attempt.run([copies], async (worker, task) => {
      const receivedFile = await this.#copier.receiveFile(worker, task);
      if (receivedFile === null) failedNodes.add(task.node);
      else this.#receivedFiles.set(task, receivedFile);
    });
    if (failedNodes.size === 0) return true;
    for (const group of deferredGroups) this.#failGroup(group, failedNodes);
    return false;
  }

  async #nameGroup(group: DeferredGroup): Promise<void> {
    const { obstacle, copies, newDirectories } = group;
    if (this.#plan.keptDirectories.has(obstacle)) {
      // If the obstacle itself could not be deleted, its path was already reported as failed.
      const reportedNode = newDirectories[0] ?? copies[0]!.node;
      const reportedNodes = this.#undeletedNodes.has(obstacle) ? [reportedNode] : [];
      return this.#failGroup(group, new Set(reportedNodes));
    }
    if (this.#attempt.settings.dryRun) return this.#copier.reportDryRun(copies);
    const uncreatedDirectories = await this.#nameConflicts.makeDirectories(newDirectories);
    const namedTasks = copies.filter((task) => {
      const failedParent = findDirectoryAbove(task.node, uncreatedDirectories);
      if (failedParent === null) return true;
      this.#discardFile(task);
      this.#attempt.report.reportFailed(
        task.node,
        parentNotCreatedError(task.node, uncreatedDirectories.get(failedParent)),
      );
      return false;
    });
    await this.#attempt.run([namedTasks], (worker, task) => this.#nameFile(worker, task));
  }

  async #nameFile(worker: TreeWorker, task: CopyTask): Promise<void> {
    const { client, target } = worker;
    const { result, meter } = this.#receivedFiles.get(task)!;
    for (let attempt = 1;; attempt++) {
      try {
        const unset = await target.nameDeferredFile(task);
        if (unset !== null) {
          return this.#copier.noteCopied(task.node, { ...result, unset }, meter);
        }
        meter(0);
        this.#conflicts.push(...await this.#copier.copySingle(worker, { ...task, group: null }));
        return;
      } catch (error) {
        if (attempt === 1 && client.canReconnect && isConnectionLoss(error)) continue;
        await this.#attempt.rethrowIfFatal(error, client);
        meter(0);
        return this.#attempt.report.reportFailed(task.node, error);
      }
    }
  }

  #failGroup(group: DeferredGroup, reportedNodes: ReadonlySet<TreeNode> = new Set()): void {
    for (const task of group.copies) this.#discardFile(task);
    for (const [node, error] of failuresOf(group)) {
      if (!reportedNodes.has(node)) this.#attempt.report.reportFailed(node, error);
    }
  }

  #discardFile(task: CopyTask): void {
    const receivedFile = this.#receivedFiles.get(task);
    if (receivedFile === undefined) return;
    receivedFile.meter(0);
    this.#attempt.firstWorker.target.discardPart(task);
  }
}

function groupByDepth(nodes: readonly TreeNode[]): TreeNode[][] {
  const levels = Map.groupBy(nodes, ({ path }) => path.length);
  return [...levels].sort(([a], [b]) => b - a).map(([, level]) => level);
}
