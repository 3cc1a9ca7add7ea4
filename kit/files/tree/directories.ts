/** The directories of a tree that the target lacks. */

import type { DirectoryOutcome, Outcomes, TreeEnds } from "./ends.ts";
import { throwIfForAll, type TransferClients } from "./clients.ts";
import { BATCH_FILES } from "./copies.ts";
import type { TargetNames } from "./names.ts";
import { sameName } from "./plan.ts";
import type { TreeReport } from "./report.ts";
import { directoryAbove, type TreeNode } from "./tree.ts";

export class MissingDirectories {
  readonly #clients: TransferClients;
  readonly #ends: TreeEnds;
  readonly #report: TreeReport;
  readonly #names: TargetNames;
  /** The directories that are at the target by now, also because a file was copied to one. */
  readonly #made: Set<TreeNode>;

  constructor(
    clients: TransferClients,
    ends: TreeEnds,
    report: TreeReport,
    names: TargetNames,
    made: Set<TreeNode>,
  ) {
    this.#clients = clients;
    this.#ends = ends;
    this.#report = report;
    this.#names = names;
    this.#made = made;
  }

  /**
   * Makes missing directories before anything is copied, to find two names that are one directory
   * at the target. A directory that can't be made yet is made, or reported, after the files.
   *
   * @returns The directories that are one with another directory, with the error that was reported.
   */
  async make(missing: readonly TreeNode[]): Promise<ReadonlyMap<TreeNode, unknown>> {
    const { first } = this.#clients;
    const there: TreeNode[] = [];
    const created: TreeNode[] = [];
    for await (const [node, made] of this.#request(missing)) {
      if (made.error !== null) continue;
      this.#made.add(node);
      (made.isNew ? created : there).push(node);
    }
    const failed = new Map<TreeNode, unknown>();
    // If the target could not be listed, its directories may have been there before.
    for (const [node, as] of this.#names.isUnlisted ? [] : await this.#names.listedAs(there)) {
      if (as !== null) {
        if (as.name !== node.name) this.#names.respelled.add(node);
        continue;
      }
      const error = sameName(node);
      failed.set(node, error);
      this.#report.failed(node, error);
    }
    // If the disk takes the names of two directories for one, the second fails, and what was made
    // in it lies in the first one: that is removed.
    for (const node of created.reverse()) {
      if (directoryAbove(node, failed) === null) continue;
      await this.#ends.remove(first, node).catch((error) => throwIfForAll(error, first));
    }
    return failed;
  }

  /** Makes directories; throws an error that concerns all of them. */
  async *#request(nodes: readonly TreeNode[]): Outcomes<TreeNode, DirectoryOutcome> {
    const { first } = this.#clients;
    for (let start = 0; start < nodes.length; start += BATCH_FILES) {
      const batch = nodes.slice(start, start + BATCH_FILES);
      for await (const each of this.#ends.makeDirectories(first, batch)) {
        if (each[1].error !== null) throwIfForAll(each[1].error, first);
        yield each;
      }
    }
  }

  /** Makes the directories that could not be made before, unless they were made for a file. */
  async makeRest(all: readonly TreeNode[]): Promise<void> {
    const failed = new Set<TreeNode>();
    for await (
      const [node, { error }] of this.#request(all.filter((node) => !this.#made.has(node)))
    ) {
      if (error === null) continue;
      failed.add(node);
      // The directories in a failed directory have failed with it.
      if (!failed.has(node.parent!)) this.#report.failed(node, error);
    }
  }
}
