/**
 * Names that are taken at the target, by something that its list did not have.
 *
 * Its disk may ignore case, compose letters otherwise, or drop dots at the end: it shows that by
 * names that are taken, and were not listed. Or something came, or changed, since the list. Missing
 * directories are made here, too, since that shows which names are one directory there.
 */

import { StatusError } from "../../client.ts";
import { isSameTime } from "../conditions.ts";
import type { DirectoryEntry } from "../entries.ts";
import { rethrowIfFatal, type TreeAttempt } from "./attempt.ts";
import { BATCH_FILES, type TreeCopies } from "./copies.ts";
import type { DirectoryOutcome, Outcomes } from "./ends.ts";
import { type CopyTask, isNew } from "./plan.ts";
import { findTaken, requestStamp, uriOfNode } from "./requests.ts";
import { comparableName, directoryAbove, TreeNode } from "./tree.ts";
import {
  blockedByOtherKindError,
  changedMeanwhileError,
  differsAtTargetError,
  sameNameError,
} from "./tree_errors.ts";

/**
 * With `move`: by path, the size and time of the file that a call may replace at the target, as the
 * call has found it before it sent anything; `null` if there was none.
 */
export type FirstStamps = Map<string, Pick<TreeNode, "size" | "modified"> | null>;

export class NameConflicts {
  readonly #attempt: TreeAttempt;
  readonly #copies: TreeCopies;
  readonly #firstStamps: FirstStamps;
  /** Whether the target is there, and can't be listed: any name may be there. */
  isUnlisted = false;
  /** Directories of the source that the target lists by other names. */
  readonly #respelled = new Set<TreeNode>();

  /** @param firstStamps Shared by all attempts of a call. */
  constructor(attempt: TreeAttempt, copies: TreeCopies, firstStamps: FirstStamps) {
    this.#attempt = attempt;
    this.#copies = copies;
    this.#firstStamps = firstStamps;
  }

  /** Whether the target has had a file all along, and lists it by another name. */
  #isRespelled({ node, target }: CopyTask): boolean {
    const isOther = target !== null && target.name !== node.name;
    return isOther || directoryAbove(node, this.#respelled) !== null;
  }

  /**
   * The entries that the target lists for nodes whose names are taken there: of their own names, or
   * else of the only name that is alike and that the source does not have; `null` if there is none,
   * or if the source has another name that is alike and not listed: then the disk there takes two
   * names for the same. The result lacks nodes whose directory can't be listed.
   */
  async #listedAs(
    nodes: readonly TreeNode[],
  ): Promise<ReadonlyMap<TreeNode, DirectoryEntry | null>> {
    const found = new Map<TreeNode, DirectoryEntry | null>();
    for (const [parent, some] of Map.groupBy(nodes, ({ parent }) => parent!)) {
      const entries = await this.#entriesOf(parent);
      if (entries === null) continue;
      const listed = new Map(entries.map((entry) => [entry.name, entry]));
      const others = entries.filter(({ name }) => parent.get(name) === null);
      const othersAlike = Map.groupBy(others, ({ name }) => comparableName(name));
      const unlisted = [...parent.children!.values()].filter(({ name }) => !listed.has(name));
      const unlistedAlike = Map.groupBy(unlisted, ({ name }) => comparableName(name));
      for (const node of some) {
        const key = comparableName(node.name);
        const rivals = unlistedAlike.get(key)?.filter((each) => each !== node) ?? [];
        const [only, another] = othersAlike.get(key) ?? [];
        const entry = listed.get(node.name) ?? (another === undefined ? only : undefined);
        found.set(node, rivals.length > 0 ? null : entry ?? null);
      }
    }
    return found;
  }

  /**
   * Makes missing directories before anything is copied, to find two names that are one directory
   * at the target.
   *
   * @returns The directories that can't be made, or are one with another directory, with the error
   * of each. Of several in one another the outermost is reported.
   */
  async makeDirectories(missing: readonly TreeNode[]): Promise<ReadonlyMap<TreeNode, unknown>> {
    const { first, ends } = this.#attempt;
    const there: TreeNode[] = [];
    const created: TreeNode[] = [];
    const failed = new Map<TreeNode, unknown>();
    for await (const [node, { error, isNew }] of this.#requestDirectories(missing)) {
      if (error !== null) this.#failDirectory(node, error, failed);
      else (isNew ? created : there).push(node);
    }
    // If the target could not be listed, its directories may have been there before.
    for (const [node, as] of this.isUnlisted ? [] : await this.#listedAs(there)) {
      if (as !== null) {
        if (as.name !== node.name) this.#respelled.add(node);
        continue;
      }
      this.#failDirectory(node, sameNameError(node), failed);
    }
    // If the disk takes the names of two directories for one, the second fails, and what was made
    // in it lies in the first one: that is removed.
    for (const node of created.reverse()) {
      if (directoryAbove(node, failed) === null) continue;
      await ends.remove(first, node).catch((error) => rethrowIfFatal(error, first));
    }
    return failed;
  }

  /** Makes directories; throws an error that concerns all of them. */
  async *#requestDirectories(nodes: readonly TreeNode[]): Outcomes<TreeNode, DirectoryOutcome> {
    const { first, ends } = this.#attempt;
    for (let start = 0; start < nodes.length; start += BATCH_FILES) {
      for await (
        const each of ends.makeDirectories(first, nodes.slice(start, start + BATCH_FILES))
      ) {
        if (each[1].error !== null) rethrowIfFatal(each[1].error, first);
        yield each;
      }
    }
  }

  #failDirectory(node: TreeNode, error: unknown, failed: Map<TreeNode, unknown>): void {
    if (!failed.has(node.parent!)) this.#attempt.report.failed(node, error);
    failed.set(node, error);
  }

  /**
   * Finds the files of the target that moved files may replace: those that had their names before
   * the call sent anything. A file that is the same already need not be sent.
   */
  async findReplaced(copies: readonly CopyTask[]): Promise<CopyTask[]> {
    await this.#findStamps(copies.filter(({ node }) => !this.#firstStamps.has(keyOf(node))));
    const found: CopyTask[] = [];
    const sameSizes: CopyTask[] = [];
    for (const copy of copies) {
      const { node } = copy;
      const stamp = this.#firstStamps.get(keyOf(node)) ?? null;
      if (stamp === null) {
        found.push(copy);
        continue;
      }
      const target = new TreeNode(node.parent, node.name, "file", stamp.size, stamp.modified);
      const replacing: CopyTask = { ...copy, target, replaces: "target" };
      if (stamp.size === node.size) sameSizes.push(replacing);
      else found.push(replacing);
    }
    await this.#copies.compareEach(sameSizes, (copy, isSame) => {
      found.push(isSame ? { ...copy, replaces: "same" } : copy);
    });
    return found;
  }

  /** Finds the sizes and times of the files of the target that have the names of moved files. */
  async #findStamps(copies: readonly CopyTask[]): Promise<void> {
    const { first, settings: { uri } } = this.#attempt;
    const taken: TreeNode[] = [];
    for (let start = 0; start < copies.length; start += BATCH_FILES) {
      const batch = copies.slice(start, start + BATCH_FILES);
      for (const { node } of await findTaken(first, uri, batch)) taken.push(node);
    }
    for (const { node } of copies) this.#firstStamps.set(keyOf(node), null);
    for (const [parent, nodes] of Map.groupBy(taken, ({ parent }) => parent!)) {
      const entries = await this.#entriesOf(parent);
      const listed = entries && new Map(entries.map((entry) => [entry.name, entry]));
      for (const node of nodes) {
        // Without a list, nothing tells whether the target has the file by another name.
        const stamp = listed === null
          ? await requestStamp(first, uriOfNode(uri, node))
          : this.#ownEntry(node, listed);
        if (stamp === null) continue;
        const { size, modified } = stamp;
        this.#firstStamps.set(keyOf(node), { size, modified: Number(modified) });
      }
    }
  }

  /** The file that the target lists by the very name of a node; `null` if it lists none. */
  #ownEntry(
    node: TreeNode,
    listed: ReadonlyMap<string, DirectoryEntry>,
  ): DirectoryEntry | null {
    const entry = listed.get(node.name);
    const isOwn = entry?.kind === "file" && directoryAbove(node, this.#respelled) === null;
    return isOwn ? entry : null;
  }

  /** Lists a directory of the target; `null` if it can't be listed. */
  async #entriesOf({ path }: TreeNode): Promise<readonly DirectoryEntry[] | null> {
    const { ends, first } = this.#attempt;
    try {
      return await ends.list(first, path);
    } catch (error) {
      // A server that has no list.
      if (error instanceof StatusError && error.status < 500) return null;
      throw error;
    }
  }

  /** Decides about the files whose names were taken, each after the other. */
  async decide(): Promise<void> {
    while (this.#copies.taken.length > 0) {
      const taken = this.#copies.taken.splice(0);
      const named = new Map(taken.map(({ copy, sha256 }) => [copy, sha256]));
      const changed = await this.#findChanged(await this.#findListed(named));
      await this.#copies.copyInTurn(changed);
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
    copies: ReadonlyMap<CopyTask, string | null>,
  ): Promise<ReadonlyMap<CopyTask, string | null>> {
    // If the target could not be listed, its files may have been there before.
    if (this.isUnlisted) return copies;
    const { ends, report, settings: { move, compare } } = this.#attempt;
    const taken = [...copies.keys()].filter(isNew);
    const found = await this.#listedAs(taken.map(({ node }) => node));
    const listed = new Map<CopyTask, string | null>();
    for (const [copy, sha256] of copies) {
      const { node } = copy;
      if (!isNew(copy)) {
        listed.set(copy, sha256);
        continue;
      }
      const there = found.get(node);
      // Without a list, only its content tells whether this call has written the file.
      if (move && there === undefined) listed.set(copy, sha256);
      else if (there?.kind === "file") {
        const { name, size, modified } = there;
        const as = new TreeNode(node.parent, name, "file", size, modified.getTime());
        const found = { ...copy, target: as };
        const isSame = size === node.size && isSameTime(as.modified, node.modified);
        if (isSame && !move && compare === "time" && this.#isRespelled(found)) {
          this.#unchanged(node);
        } else listed.set(found, sha256);
      } else {
        ends.discard?.(copy);
        const error = there === undefined
          ? differsAtTargetError(node, ends)
          : there === null
          ? sameNameError(node)
          : blockedByOtherKindError(node, there);
        report.failed(node, error);
      }
    }
    return listed;
  }

  #unchanged(node: TreeNode): void {
    const { report } = this.#attempt;
    report.meter(node)(node.size);
    report.event({ type: "unchanged", path: node.path });
  }

  /**
   * Compares files with those that have their names. An equal file counts as copied: an earlier
   * attempt whose answer was lost may have placed it, or another program. What has changed since it
   * was compared, or came since the target was listed, is not replaced.
   *
   * With `move`, the equal file may be this very one, which is decided when its turn comes. No
   * other file is replaced then: it came after this call had looked, or the target lists it by
   * another spelling, and this call may have moved it there, from another name here.
   *
   * @param copies The files, with their SHA-256 if it is known.
   * @returns The files that are to be written.
   */
  async #findChanged(copies: ReadonlyMap<CopyTask, string | null>): Promise<CopyTask[]> {
    const { ends, report, settings: { move, replace } } = this.#attempt;
    const changed: CopyTask[] = [];
    await this.#copies.compareEach([...copies.keys()], (copy, isSame) => {
      const { node } = copy;
      const isRespelled = this.#isRespelled(copy);
      const hasBeenThere = !move && (this.isUnlisted || isRespelled);
      const mayReplace = replace && isNew(copy) && hasBeenThere;
      const sha256 = copies.get(copy)!;
      const { size } = node;
      const result = { bytes: 0, total: size, resumedFrom: size, reused: 0, sha256 };
      if (isSame && !move) {
        ends.discard?.(copy);
        if (isRespelled) this.#unchanged(node);
        else this.#copies.copied(node, result);
      } else if (isSame || mayReplace) {
        changed.push({ ...copy, replaces: isSame ? "same" : "target" });
      } else {
        const isOther = replace && !(move && isRespelled);
        const error = isOther
          ? changedMeanwhileError(node, ends)
          : differsAtTargetError(node, ends);
        report.failed(node, error);
      }
    });
    return changed;
  }
}

function keyOf({ path }: TreeNode): string {
  return path.join("/");
}
