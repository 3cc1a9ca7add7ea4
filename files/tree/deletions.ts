/**
 * The end of a call with `delete`, once everything else is at the target: entries that only the
 * target has are deleted, also those whose names something of another kind gets.
 *
 * The files of such a group are received first. Then the entries are deleted, by the same rules as
 * all others. Then the files get their names. If the call is interrupted, the target has either.
 */

import type { TreeResult } from "../options.ts";
import { isConnectionLoss } from "../transfer_error.ts";
import { rethrowIfFatal, type TreeAttempt, type TreeWorker } from "./attempt.ts";
import type { FileCopier, NameConflict, ReceivedFile } from "./file_copier.ts";
import type { NameConflicts } from "./name_conflicts.ts";
import {
  type CopyTask,
  type DeferredGroup,
  type DeletionScope,
  failuresOf,
  type Plan,
} from "./plan.ts";
import { directoryAbove, TreeNode } from "./tree.ts";
import {
  missingDirectoryError,
  overLimitError,
  renamedByDiskError,
  unnameableError,
} from "./tree_errors.ts";

/** The directories in which nothing may be deleted: see {@linkcode TreeDeletions}. */
type Respelled = ReadonlyMap<DeletionScope, TreeNode | null>;

export class TreeDeletions {
  readonly #attempt: TreeAttempt;
  readonly #plan: Plan;
  readonly #copier: FileCopier;
  readonly #names: NameConflicts;
  /** The files of groups that have arrived, and have no names yet. */
  readonly #received = new Map<CopyTask, ReceivedFile>();
  readonly #conflicts: NameConflict[] = [];
  /** The entries that could not be deleted, each of which was reported. */
  readonly #undeleted = new Set<TreeNode>();

  constructor(attempt: TreeAttempt, plan: Plan, copier: FileCopier, names: NameConflicts) {
    this.#attempt = attempt;
    this.#plan = plan;
    this.#copier = copier;
    this.#names = names;
  }

  /**
   * @param tooMany How many the whole call would delete, if that is above the limit; else `null`.
   * @returns Why something was kept.
   */
  async carryOut(tooMany: number | null): Promise<TreeResult["deletionsSkipped"]> {
    const { report, settings: { dryRun, maxDelete } } = this.#attempt;
    const plan = this.#plan;
    const why = this.#whyNot(tooMany);
    if (why !== null) {
      for (const group of plan.deferred) this.#fail(group);
      if (why === "limit") {
        report.failed(TreeNode.root(), overLimitError(tooMany!, maxDelete), "target");
      }
      return why;
    }
    const respelled = await this.#findRespelled();
    const [kept, deferred] = [true, false].map((isKept) => {
      return plan.deferred.filter(({ scope }) => respelled.has(scope) === isKept);
    }) as [DeferredGroup[], DeferredGroup[]];
    for (const group of kept) this.#fail(group);
    if (!dryRun && !await this.#receive(deferred)) return "failed";
    await this.#deleteAll(respelled);
    for (const node of plan.unnameable) report.failed(node, unnameableError(node), "target");
    for (const group of deferred) await this.#place(group);
    await this.#names.settle(this.#conflicts);
    return [...respelled.values()].some((node) => node !== null) ? "spelling" : null;
  }

  #whyNot(tooMany: number | null): TreeResult["deletionsSkipped"] {
    const { report, settings: { deleteAll } } = this.#attempt;
    const { isIncomplete, isEmpty, linked, deleted, unnameable } = this.#plan;
    if (isEmpty && !deleteAll && deleted + unnameable.length > 0) return "empty";
    if (tooMany !== null) return "limit";
    if (isIncomplete) return "incomplete";
    // A link at the target is in the way of its own path alone.
    return report.failures > linked ? "failed" : null;
  }

  /**
   * Finds the directories in which nothing may be deleted, because the disk of the target changed a
   * name in them: any extra entry could be the renamed one. Maps each to the first such node, or to
   * `null` if it can't be listed.
   */
  async #findRespelled(): Promise<Respelled> {
    const { report, settings } = this.#attempt;
    // Only copying shows by which names the disk of the target lists files.
    if (settings.dryRun) return new Map();
    const { deletions, keptDirectories } = this.#plan;
    const respelled = new Map<DeletionScope, TreeNode | null>();
    const scopes = new Set<DeletionScope>();
    for (const { node, scope } of deletions) if (!keptDirectories.has(node)) scopes.add(scope);
    await this.#attempt.run([[...scopes]], async ({ client, target }, scope) => {
      const { directory, wanted, maybePresent } = scope;
      try {
        const entries = await target.listDirectory(directory.path);
        const names = entries && new Set(entries.map(({ name }) => name));
        let renamed = names && wanted.find(({ name }) => !names.has(name));
        for (const skipped of maybePresent) {
          if (renamed === undefined && await target.stat(skipped) !== null) renamed = skipped;
        }
        if (renamed !== undefined) respelled.set(scope, renamed);
      } catch (error) {
        rethrowIfFatal(error, client);
        respelled.set(scope, null);
        // What is in the way in the directory is reported by itself.
        report.failed(directory, error, "target");
      }
    });
    return respelled;
  }

  /** Deletes the superfluous entries of the target, but those in directories that are kept. */
  async #deleteAll(respelled: Respelled): Promise<void> {
    const { report, settings } = this.#attempt;
    const { deletions, keptDirectories } = this.#plan;
    const chosen: TreeNode[] = [];
    for (const { node, scope } of deletions) {
      if (respelled.has(scope)) this.#keep(node);
      else if (!keptDirectories.has(node)) chosen.push(node);
    }
    // Directories after their entries; all of equal depth at the same time.
    for (const nodes of byDepth(chosen)) {
      if (settings.dryRun) nodes.forEach((node) => report.deleted(node));
      else await this.#attempt.run([nodes], (worker, node) => this.#deleteOne(worker, node));
    }
    for (const [{ directory }, node] of respelled) {
      if (node !== null) report.failed(directory, renamedByDiskError(node), "target");
    }
  }

  async #deleteOne({ client, target }: TreeWorker, node: TreeNode): Promise<void> {
    if (this.#plan.keptDirectories.has(node)) return;
    const { report } = this.#attempt;
    report.noteDeletion(node);
    try {
      await target.remove(node);
    } catch (error) {
      rethrowIfFatal(error, client);
      this.#undeleted.add(node);
      this.#keep(node);
      return report.failed(node, error, "target");
    }
    report.deleted(node);
  }

  #keep(node: TreeNode): void {
    this.#plan.keptDirectories.add(node);
    this.#plan.keep(node);
  }

  /** Receives the files of groups; false if one of them has failed. */
  async #receive(deferred: readonly DeferredGroup[]): Promise<boolean> {
    const copies = deferred.flatMap(({ copies }) => copies);
    const failed = new Set<TreeNode>();
    await this.#attempt.run([copies], async (worker, task) => {
      const received = await this.#copier.receive(worker, task);
      if (received === null) failed.add(task.node);
      else this.#received.set(task, received);
    });
    if (failed.size === 0) return true;
    for (const group of deferred) this.#fail(group, failed);
    return false;
  }

  /** Gives the files of a group their names, unless their obstacle could not be deleted. */
  async #place(group: DeferredGroup): Promise<void> {
    const { obstacle, copies, newDirectories } = group;
    if (this.#plan.keptDirectories.has(obstacle)) {
      // Where the obstacle itself could not be deleted, its path has failed already.
      const reported = newDirectories[0] ?? copies[0]!.node;
      return this.#fail(group, new Set(this.#undeleted.has(obstacle) ? [reported] : []));
    }
    if (this.#attempt.settings.dryRun) return this.#copier.reportDryRun(copies);
    const failed = await this.#names.makeDirectories(newDirectories);
    const placed = copies.filter((task) => {
      const above = directoryAbove(task.node, failed);
      if (above === null) return true;
      this.#giveUp(task);
      this.#attempt.report.failed(task.node, missingDirectoryError(task.node, failed.get(above)));
      return false;
    });
    await this.#attempt.run([placed], (worker, task) => this.#placeOne(worker, task));
  }

  async #placeOne(worker: TreeWorker, task: CopyTask): Promise<void> {
    const { client, target } = worker;
    const { result, meter } = this.#received.get(task)!;
    for (let attempt = 1;; attempt++) {
      try {
        if (await target.place(task)) return this.#copier.copied(task.node, result, meter);
        meter(0);
        this.#conflicts.push(...await this.#copier.copySingle(worker, { ...task, group: null }));
        return;
      } catch (error) {
        if (attempt === 1 && client.canReconnect && isConnectionLoss(error)) continue;
        rethrowIfFatal(error, client);
        meter(0);
        return this.#attempt.report.failed(task.node, error);
      }
    }
  }

  /** Reports what can't get the name of something that stays, unless that was done already. */
  #fail(group: DeferredGroup, reported: ReadonlySet<TreeNode> = new Set()): void {
    for (const task of group.copies) this.#giveUp(task);
    for (const [node, error] of failuresOf(group)) {
      if (!reported.has(node)) this.#attempt.report.failed(node, error);
    }
  }

  /** Removes the bytes of a file that does not get its name. */
  #giveUp(task: CopyTask): void {
    const received = this.#received.get(task);
    if (received === undefined) return;
    received.meter(0);
    this.#attempt.first.target.discard(task);
  }
}

/** Entries by the lengths of their paths, the longest first. */
function byDepth(nodes: readonly TreeNode[]): TreeNode[][] {
  const levels: TreeNode[][] = [];
  for (const node of nodes) (levels[node.path.length] ??= []).push(node);
  return levels.reverse().filter((level) => level !== undefined);
}
