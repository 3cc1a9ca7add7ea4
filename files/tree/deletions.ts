/**
 * The end of a call with `delete`, once everything else is at the target: what only the target has
 * is deleted, and so is what has the place of something of another kind, which gets its name then.
 *
 * Such a late file is received first, as a part; then what is in its way is deleted with all the
 * rest, under the same rules; then the part gets its name. Whatever stops the call, one of the two
 * is there.
 */

import type { TreeResult } from "../options.ts";
import type { TransferClient } from "../transfer/client.ts";
import { isCut } from "../transfer_error.ts";
import { rethrowIfFatal, type TreeAttempt } from "./attempt.ts";
import type { ReceivedPart, TreeCopies } from "./copies.ts";
import {
  type CopyTask,
  type DeferredGroup,
  type DeletionScope,
  failuresOf,
  type Plan,
} from "./plan.ts";
import type { NameConflicts } from "./name_conflicts.ts";
import { directoryAbove, TreeNode } from "./tree.ts";
import {
  missingDirectoryError,
  overLimitError,
  renamedByDiskError,
  unnameableError,
} from "./tree_errors.ts";

/**
 * The directories in which nothing may be deleted, each with a node of the source that the target
 * lists by another name; `null` if it can't be listed.
 */
type Respelled = ReadonlyMap<DeletionScope, TreeNode | null>;

export class TreeDeletions {
  readonly #attempt: TreeAttempt;
  readonly #plan: Plan;
  readonly #copies: TreeCopies;
  readonly #names: NameConflicts;
  /** The late files that have arrived, and have no names yet. */
  readonly #received = new Map<CopyTask, ReceivedPart>();
  /** The entries that could not be deleted, each of which was reported. */
  readonly #undeleted = new Set<TreeNode>();

  constructor(attempt: TreeAttempt, plan: Plan, copies: TreeCopies, names: NameConflicts) {
    this.#attempt = attempt;
    this.#plan = plan;
    this.#copies = copies;
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
      for (const late of plan.deferred) this.#fail(late);
      if (why === "limit") {
        report.failed(TreeNode.root(), overLimitError(tooMany!, maxDelete), "target");
      }
      return why;
    }
    const respelled = await this.#findRespelled();
    const [kept, deferred] = [true, false].map((isKept) => {
      return plan.deferred.filter(({ scope }) => respelled.has(scope) === isKept);
    }) as [DeferredGroup[], DeferredGroup[]];
    for (const late of kept) this.#fail(late);
    if (!dryRun && !await this.#receive(deferred)) return "failed";
    await this.#deleteAll(respelled);
    for (const node of plan.unnameable) report.failed(node, unnameableError(node), "target");
    for (const late of deferred) await this.#place(late);
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
   * Finds the directories in which nothing may be deleted, since the target lists a wanted node by
   * another name, or not at all: any superfluous entry may be that node. The first such node comes
   * with each directory; `null` with a directory that can't be listed.
   */
  async #findRespelled(): Promise<Respelled> {
    const { ends, report, settings } = this.#attempt;
    // Only copying shows by which names the disk of the target lists files.
    if (settings.dryRun) return new Map();
    const { deletions, keptDirectories } = this.#plan;
    const respelled = new Map<DeletionScope, TreeNode | null>();
    const scopes = new Set<DeletionScope>();
    for (const { node, scope } of deletions) if (!keptDirectories.has(node)) scopes.add(scope);
    await this.#attempt.run([[...scopes]], async (client, scope) => {
      const { directory, wanted, maybePresent } = scope;
      try {
        const entries = await ends.list(client, directory.path);
        const names = entries && new Set(entries.map(({ name }) => name));
        let other = names && wanted.find(({ name }) => !names.has(name));
        for (const skipped of maybePresent) {
          if (other === undefined && await ends.has(client, skipped)) other = skipped;
        }
        if (other !== undefined) respelled.set(scope, other);
      } catch (error) {
        rethrowIfFatal(error, client);
        respelled.set(scope, null);
        // What is in the way in the directory is told by itself.
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
      else await this.#attempt.run([nodes], (client, node) => this.#deleteOne(client, node));
    }
    for (const [{ directory }, node] of respelled) {
      if (node !== null) report.failed(directory, renamedByDiskError(node), "target");
    }
  }

  async #deleteOne(client: TransferClient, node: TreeNode): Promise<void> {
    if (this.#plan.keptDirectories.has(node)) return;
    const { ends, report } = this.#attempt;
    report.deleting(node);
    try {
      await ends.remove(client, node);
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

  /** Receives late files; false if one of them has failed. */
  async #receive(deferred: readonly DeferredGroup[]): Promise<boolean> {
    const copies = deferred.flatMap(({ copies }) => copies);
    const failed = new Set<TreeNode>();
    await this.#attempt.run([copies], async (client, copy) => {
      const received = await this.#copies.copyPart(client, copy);
      if (received === null) failed.add(copy.node);
      else this.#received.set(copy, received);
    });
    if (failed.size === 0) return true;
    for (const late of deferred) this.#fail(late, failed);
    return false;
  }

  /** Gives late files their names, unless what is in their way could not be deleted. */
  async #place(late: DeferredGroup): Promise<void> {
    const { obstacle, copies, newDirectories } = late;
    if (this.#plan.keptDirectories.has(obstacle)) {
      // Where the obstacle itself could not be deleted, its path has failed already.
      const told = newDirectories[0] ?? copies[0]!.node;
      return this.#fail(late, new Set(this.#undeleted.has(obstacle) ? [told] : []));
    }
    if (this.#attempt.settings.dryRun) return this.#copies.reportDryRun(copies);
    const failed = await this.#names.makeDirectories(newDirectories);
    const placed = copies.filter((copy) => {
      const above = directoryAbove(copy.node, failed);
      if (above === null) return true;
      this.#giveUp(copy);
      this.#attempt.report.failed(copy.node, missingDirectoryError(copy.node, failed.get(above)));
      return false;
    });
    await this.#attempt.run([placed], (client, copy) => this.#placeOne(client, copy));
  }

  async #placeOne(client: TransferClient, copy: CopyTask): Promise<void> {
    const { part, meter } = this.#received.get(copy)!;
    for (let attempt = 1;; attempt++) {
      try {
        if (await part.place(client)) this.#copies.copied(copy.node, part.result, meter);
        else {
          meter(0);
          await this.#copies.copySingle(client, { ...copy, late: null });
        }
        return;
      } catch (error) {
        if (attempt === 1 && client.canReconnect && isCut(error)) continue;
        rethrowIfFatal(error, client);
        meter(0);
        return this.#attempt.report.failed(copy.node, error);
      }
    }
  }

  /** Reports what can't get the name of something that stays, unless that was told already. */
  #fail(late: DeferredGroup, told: ReadonlySet<TreeNode> = new Set()): void {
    for (const copy of late.copies) this.#giveUp(copy);
    for (const [node, error] of failuresOf(late)) {
      if (!told.has(node)) this.#attempt.report.failed(node, error);
    }
  }

  /** Removes the part of a file that does not get its name. */
  #giveUp(copy: CopyTask): void {
    const received = this.#received.get(copy);
    received?.meter(0);
    received?.part.discard();
  }
}

/** Entries by the lengths of their paths, the longest first. */
function byDepth(nodes: readonly TreeNode[]): TreeNode[][] {
  const levels: TreeNode[][] = [];
  for (const node of nodes) (levels[node.path.length] ??= []).push(node);
  return levels.reverse().filter((level) => level !== undefined);
}
