/** The deletion of entries that only the target of a tree has. */

import { type Lanes, throwIfForAll } from "./lanes.ts";
import type { Route } from "./route.ts";
import type { TreeNode } from "./tree.ts";
import type { TargetNames } from "./tree_names.ts";
import type { TreeSettings } from "./tree_options.ts";
import type { DeletionScope, Plan } from "./tree_plan.ts";
import type { TreeReport } from "./tree_report.ts";

/** A target whose entries can be removed. */
export interface ShrinkingTarget {
  remove(route: Route, node: TreeNode): Promise<void>;
}

/**
 * The directories in which nothing may be deleted, each with a node of the source that the target
 * lists by another name; `null` if it can't be listed.
 */
export type Respelled = ReadonlyMap<DeletionScope, TreeNode | null>;

export class TreeDeletions {
  readonly #settings: TreeSettings;
  readonly #lanes: Lanes;
  readonly #target: ShrinkingTarget;
  readonly #report: TreeReport;
  readonly #names: TargetNames;
  /** What could not be deleted, which was told. */
  readonly undeleted = new Set<TreeNode>();

  constructor(
    settings: TreeSettings,
    lanes: Lanes,
    target: ShrinkingTarget,
    report: TreeReport,
    names: TargetNames,
  ) {
    this.#settings = settings;
    this.#lanes = lanes;
    this.#target = target;
    this.#report = report;
    this.#names = names;
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
      else await this.#lanes.run([nodes], (route, node) => this.#deleteOne(route, node, plan));
    }
  }

  async #deleteOne(route: Route, node: TreeNode, plan: Plan): Promise<void> {
    if (plan.staying.has(node)) return;
    try {
      await this.#target.remove(route, node);
    } catch (error) {
      throwIfForAll(error, route);
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
    const respelled = new Map<DeletionScope, TreeNode | null>();
    const all = new Map<DeletionScope, TreeNode>();
    for (const { node, scope } of deletions) {
      if (!staying.has(node) && !all.has(scope)) all.set(scope, node);
    }
    await this.#lanes.run([[...all]], async (route, [scope, node]) => {
      try {
        const other = await this.#firstRespelled(route, scope);
        if (other !== null) respelled.set(scope, other === "gone" ? null : other);
      } catch (error) {
        throwIfForAll(error, route);
        respelled.set(scope, null);
        this.#report.failed(node, error, "target");
      }
    });
    return respelled;
  }

  /**
   * The first node of a directory that is listed by another name; `"gone"` without the directory.
   */
  async #firstRespelled(
    route: Route,
    { directory, wanted }: DeletionScope,
  ): Promise<TreeNode | "gone" | null> {
    if (!this.#settings.dryRun) return await this.#names.firstUnlisted(route, directory, wanted);
    // Without a change at the target, only the names that were asked for before are known.
    return wanted.find((node) => this.#names.spellings.targets.has(node)) ?? null;
  }
}

/** Entries by the lengths of their paths, the longest first. */
function byDepth(nodes: readonly TreeNode[]): TreeNode[][] {
  const levels: TreeNode[][] = [];
  for (const node of nodes) (levels[node.path.length] ??= []).push(node);
  return levels.reverse().filter((level) => level !== undefined);
}
