/** The directories of a tree that the target lacks. */

import { type Attempt, throwIfForAll } from "./attempt.ts";
import { BATCH_FILES } from "./copies.ts";
import type { DirectoryOutcome, Outcomes } from "./ends.ts";
import type { TakenNames } from "./taken_names.ts";
import { directoryAbove, type TreeNode } from "./tree.ts";
import { sameName } from "./tree_errors.ts";

export class MissingDirectories {
  readonly #attempt: Attempt;
  readonly #names: TakenNames;

  constructor(attempt: Attempt, names: TakenNames) {
    this.#attempt = attempt;
    this.#names = names;
  }

  /**
   * Makes missing directories before anything is copied, to find two names that are one directory
   * at the target.
   *
   * @returns The directories that can't be made, or are one with another directory, with the error
   * of each. Of several in one another the outermost is reported.
   */
  async make(missing: readonly TreeNode[]): Promise<ReadonlyMap<TreeNode, unknown>> {
    const { first, ends } = this.#attempt;
    const there: TreeNode[] = [];
    const created: TreeNode[] = [];
    const failed = new Map<TreeNode, unknown>();
    for await (const [node, { error, isNew }] of this.#request(missing)) {
      if (error !== null) this.#fail(node, error, failed);
      else (isNew ? created : there).push(node);
    }
    // If the target could not be listed, its directories may have been there before.
    for (const [node, as] of this.#names.isUnlisted ? [] : await this.#names.listedAs(there)) {
      if (as !== null) {
        if (as.name !== node.name) this.#names.respelled.add(node);
        continue;
      }
      this.#fail(node, sameName(node), failed);
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

  #fail(node: TreeNode, error: unknown, failed: Map<TreeNode, unknown>): void {
    if (!failed.has(node.parent!)) this.#attempt.report.failed(node, error);
    failed.set(node, error);
  }
}
