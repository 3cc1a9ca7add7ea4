/** The directories of a tree that the target lacks. */

import { type Attempt, throwIfForAll } from "./attempt.ts";
import { BATCH_FILES, type TreeCopies } from "./copies.ts";
import type { DirectoryOutcome, Outcomes } from "./ends.ts";
import type { TakenNames } from "./taken_names.ts";
import { directoryAbove, type TreeNode } from "./tree.ts";
import { sameName } from "./tree_errors.ts";

export class MissingDirectories {
  readonly #attempt: Attempt;
  readonly #copies: TreeCopies;
  readonly #names: TakenNames;

  constructor(attempt: Attempt, copies: TreeCopies, names: TakenNames) {
    this.#attempt = attempt;
    this.#copies = copies;
    this.#names = names;
  }

  /**
   * Makes missing directories before anything is copied, to find two names that are one directory
   * at the target. A directory that can't be made yet is made, or reported, after the files.
   *
   * @returns The directories that are one with another directory, with the error that was reported.
   */
  async make(missing: readonly TreeNode[]): Promise<ReadonlyMap<TreeNode, unknown>> {
    const { first, ends, report } = this.#attempt;
    const there: TreeNode[] = [];
    const created: TreeNode[] = [];
    for await (const [node, made] of this.#request(missing)) {
      if (made.error !== null) continue;
      this.#copies.made.add(node);
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
      report.failed(node, error);
    }
    // If the disk takes the names of two directories for one, the second fails, and what was made
    // in it lies in the first one: that is removed.
    for (const node of created.reverse()) {
      if (directoryAbove(node, failed) === null) continue;
      await ends.remove(first, node).catch((error) => throwIfForAll(error, first));
    }
    return failed;
  }

  /** Makes directories; throws an error that concerns all of them. */
  async *#request(nodes: readonly TreeNode[]): Outcomes<TreeNode, DirectoryOutcome> {
    const { first, ends } = this.#attempt;
    for (let start = 0; start < nodes.length; start += BATCH_FILES) {
      for await (
        const each of ends.makeDirectories(first, nodes.slice(start, start + BATCH_FILES))
      ) {
        if (each[1].error !== null) throwIfForAll(each[1].error, first);
        yield each;
      }
    }
  }

  /** Makes the directories that could not be made before, unless they were made for a file. */
  async makeRest(all: readonly TreeNode[]): Promise<void> {
    const failed = new Set<TreeNode>();
    const rest = all.filter((node) => !this.#copies.made.has(node));
    for await (const [node, { error }] of this.#request(rest)) {
      if (error === null) continue;
      failed.add(node);
      // The directories in a failed directory have failed with it.
      if (!failed.has(node.parent!)) this.#attempt.report.failed(node, error);
    }
  }
}
