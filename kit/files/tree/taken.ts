/**
 * The files whose names are taken at the target by something that its list did not have, or that
 * were to replace a file that is another one by now.
 */

import type { TreeCopies } from "./copies.ts";
import type { TreeEnds } from "./ends.ts";
import type { TargetNames } from "./names.ts";
import type { TreeSettings } from "./options.ts";
import { changedMeanwhile, type Copy, existsAlready, inTheWay, sameName } from "./plan.ts";
import type { TreeReport } from "./report.ts";
import { isSameTime, TreeNode } from "./tree.ts";

export class TakenNames {
  readonly #settings: TreeSettings;
  readonly #ends: TreeEnds;
  readonly #report: TreeReport;
  readonly #names: TargetNames;
  readonly #copies: TreeCopies;

  constructor(
    settings: TreeSettings,
    ends: TreeEnds,
    report: TreeReport,
    names: TargetNames,
    copies: TreeCopies,
  ) {
    this.#settings = settings;
    this.#ends = ends;
    this.#report = report;
    this.#names = names;
    this.#copies = copies;
  }

  /** Decides about these files, each after the other. */
  async decide(): Promise<void> {
    while (this.#copies.taken.length > 0) {
      const taken = this.#copies.taken.splice(0);
      const named = new Map(taken.map(({ copy, sha256 }) => [copy, sha256]));
      const again: Copy[] = [];
      for (const copy of await this.#findChanged(await this.#findListed(named))) {
        again.push({ ...copy, isNew: false });
      }
      await this.#copies.copyInTurn(again);
    }
  }

  /**
   * Finds out by which names the target lists files whose names are taken. A file fails if that is
   * the name of another file of the source. One that the target has had by another name all along
   * is compared as others were by the plan.
   *
   * @returns The files that have to be compared, with their SHA-256 if it is known.
   */
  async #findListed(
    copies: ReadonlyMap<Copy, string | null>,
  ): Promise<ReadonlyMap<Copy, string | null>> {
    // If the target could not be listed, its files may have been there before.
    if (this.#names.isUnlisted) return copies;
    const taken = [...copies.keys()].filter(({ isNew }) => isNew);
    const found = await this.#names.listedAs(taken.map(({ node }) => node));
    const listed = new Map<Copy, string | null>();
    for (const [copy, sha256] of copies) {
      const { node, isNew } = copy;
      if (!isNew) {
        listed.set(copy, sha256);
        continue;
      }
      const there = found.get(node);
      if (there?.kind === "file") {
        const { name, size, modified } = there;
        const as = new TreeNode(node.parent, name, "file", size, modified.getTime());
        const found = { ...copy, listed: as };
        const isSame = size === node.size && isSameTime(as.modified, node.modified);
        const { move, compare } = this.#settings;
        if (isSame && !move && compare === "time" && this.#names.isRespelled(found)) {
          this.#unchanged(node);
        } else listed.set(found, sha256);
        continue;
      }
      this.#ends.discard?.(copy);
      const error = there === undefined
        ? existsAlready(node)
        : there === null
        ? sameName(node)
        : inTheWay(node, there);
      this.#report.failed(node, error);
    }
    return listed;
  }

  #unchanged(node: TreeNode): void {
    this.#report.meter(node)(node.size);
    this.#report.event({ type: "unchanged", path: node.path });
  }

  /**
   * Compares files with those that have their names. An equal file counts as copied: an earlier
   * attempt whose answer was lost may have placed it, or another program. With `move`, the equal
   * file may be this very one, which is decided when its turn comes; and a file replaces no other
   * whose name the target takes for the same, which may have been moved before. What has changed
   * since it was compared, or came since the target was listed, is not replaced.
   *
   * @param copies The files, with their SHA-256 if it is known.
   * @returns The files that are to be written.
   */
  async #findChanged(copies: ReadonlyMap<Copy, string | null>): Promise<Copy[]> {
    const changed: Copy[] = [];
    await this.#copies.compareEach([...copies.keys()], (copy, isSame) => {
      const { node } = copy;
      const { move } = this.#settings;
      const isRespelled = this.#names.isRespelled(copy);
      const hasBeenThere = this.#names.isUnlisted || move !== isRespelled;
      const replace = this.#settings.replace && copy.isNew && hasBeenThere;
      const sha256 = copies.get(copy)!;
      const { size } = node;
      const result = { bytes: 0, total: size, resumedFrom: size, reused: 0, sha256 };
      if (isSame && !move) {
        this.#ends.discard?.(copy);
        if (isRespelled) this.#unchanged(node);
        else this.#copies.copied(node, result);
      } else if (isSame || replace) changed.push({ ...copy, isSame: isSame || !replace });
      else {
        const isOther = this.#settings.replace && !(move && copy.isNew);
        const error = isOther ? changedMeanwhile(node) : existsAlready(node);
        this.#report.failed(node, error);
      }
    });
    return changed;
  }
}
