/** The deletion of entries that only the target of a tree has. */

import { throwIfForAll, type TransferClients } from "./clients.ts";
import type { TransferClient } from "../transfer/client.ts";
import type { TreeNode } from "./tree.ts";
import type { TreeSettings } from "./options.ts";
import { type DeletionScope, type Plan, respelledThere } from "./plan.ts";
import type { TreeReport } from "./report.ts";

/** A target whose entries can be removed. */
export interface ShrinkingTarget {
  remove(client: TransferClient, node: TreeNode): Promise<void>;
  /** Whether the target finds anything by the name of a node, which it does not list. */
  has(client: TransferClient, node: TreeNode): Promise<boolean>;
  /** The names in a directory of the target; `null` if it is gone. */
  names(client: TransferClient, path: readonly string[]): Promise<ReadonlySet<string> | null>;
}

/**
 * The directories in which nothing may be deleted, each with a node of the source that the target
 * lists by another name; `null` if it can't be listed.
 */
export type Respelled = ReadonlyMap<DeletionScope, TreeNode | null>;

export class TreeDeletions {
  readonly #settings: TreeSettings;
  readonly #clients: TransferClients;
  readonly #target: ShrinkingTarget;
  readonly #report: TreeReport;
  /** The entries that could not be deleted, each of which was reported. */
  readonly undeleted = new Set<TreeNode>();

  constructor(
    settings: TreeSettings,
    clients: TransferClients,
    target: ShrinkingTarget,
    report: TreeReport,
  ) {
    this.#settings = settings;
    this.#clients = clients;
    this.#target = target;
    this.#report = report;
  }

  /** Deletes the superfluous entries of the target, but those in directories that are kept. */
  async carryOut(plan: Plan, respelled: Respelled): Promise<void> {
    const { deletions, staying } = plan;
    const chosen: TreeNode[] = [];
    for (const { node, scope } of deletions) {
      if (respelled.has(scope)) {
        staying.add(node);
        plan.keep(node);
      } else if (!staying.has(node)) chosen.push(node);
    }
    // Directories after their entries; all of equal depth at the same time.
    for (const nodes of byDepth(chosen)) {
      if (this.#settings.dryRun) nodes.forEach((node) => this.#report.deleted(node));
      else await this.#clients.run([nodes], (client, node) => this.#deleteOne(client, node, plan));
    }
    for (const [{ directory }, node] of respelled) {
      if (node !== null) this.#report.failed(directory, respelledThere(node), "target");
    }
  }

  async #deleteOne(client: TransferClient, node: TreeNode, plan: Plan): Promise<void> {
    if (plan.staying.has(node)) return;
    this.#report.deleting(node);
    try {
      await this.#target.remove(client, node);
    } catch (error) {
      throwIfForAll(error, client);
      this.undeleted.add(node);
      plan.staying.add(node);
      plan.keep(node);
      return this.#report.failed(node, error, "target");
    }
    this.#report.deleted(node);
  }

  /**
   * Finds the directories in which nothing may be deleted, since the target lists a wanted node by
   * another name, or not at all: any superfluous entry may be that node. The first such node comes
   * with each directory; `null` with a directory that can't be listed.
   */
  async findRespelled({ deletions, staying }: Plan): Promise<Respelled> {
    // Only copying shows by which names the disk of the target lists files.
    if (this.#settings.dryRun) return new Map();
    const respelled = new Map<DeletionScope, TreeNode | null>();
    const scopes = new Set<DeletionScope>();
    for (const { node, scope } of deletions) if (!staying.has(node)) scopes.add(scope);
    await this.#clients.run([[...scopes]], async (client, scope) => {
      try {
        const names = await this.#target.names(client, scope.directory.path);
        let other = names && scope.wanted.find(({ name }) => !names.has(name));
        for (const skipped of scope.perhaps) {
          if (other === undefined && await this.#target.has(client, skipped)) other = skipped;
        }
        if (other !== undefined) respelled.set(scope, other);
      } catch (error) {
        throwIfForAll(error, client);
        respelled.set(scope, null);
        // What is in the way in the directory is told by itself.
        this.#report.failed(scope.directory, error, "target");
      }
    });
    return respelled;
  }
}

/** Entries by the lengths of their paths, the longest first. */
function byDepth(nodes: readonly TreeNode[]): TreeNode[][] {
  const levels: TreeNode[][] = [];
  for (const node of nodes) (levels[node.path.length] ??= []).push(node);
  return levels.reverse().filter((level) => level !== undefined);
}
