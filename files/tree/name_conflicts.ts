/**
 * Names that are taken at the target, although its list did not have them.
 *
 * The disk of the target may ignore case, compose letters otherwise, or drop dots at the end of
 * a name. Or another program has added or changed something since the list. Missing directories
 * are also made here: that shows which names are one directory at the target.
 */

import { StatusError } from "../../client.ts";
import { isSameTime } from "../conditions.ts";
import type { DirectoryEntry } from "../entries.ts";
import { TransferError } from "../transfer_error.ts";
import { rethrowIfFatal, type TreeAttempt } from "./attempt.ts";
import type { FileCopier, NameConflict } from "./file_copier.ts";
import type { CopyTask } from "./plan.ts";
import { ABSENT } from "./sides.ts";
import { comparableName, directoryAbove, TreeNode } from "./tree.ts";
import {
  blockedByOtherKindError,
  changedMeanwhileError,
  differsAtTargetError,
  sameNameError,
} from "./tree_errors.ts";

/**
 * The files that a call with `move` may replace, by path: the size and time of each file that the
 * target had before the call sent a file of that path; `null` if the target had none.
 */
export type ReplaceableFiles = Map<string, Pick<TreeNode, "size" | "modified"> | null>;

export class NameConflicts {
  readonly #attempt: TreeAttempt;
  readonly #copier: FileCopier;
  readonly #replaceableFiles: ReplaceableFiles;
  /** Whether the target exists, and can't be listed: it may have any name. */
  isUnlisted = false;
  /** Directories of the source that the target lists by other names. */
  readonly #respelled = new Set<TreeNode>();

  /** @param replaceableFiles Shared by all attempts of a call. */
  constructor(attempt: TreeAttempt, copier: FileCopier, replaceableFiles: ReplaceableFiles) {
    this.#attempt = attempt;
    this.#copier = copier;
    this.#replaceableFiles = replaceableFiles;
  }

  /** Whether the target lists a file, or a directory that it is in, by another name. */
  #isRespelled({ node, target }: CopyTask): boolean {
    const isOther = target !== null && target.name !== node.name;
    return isOther || directoryAbove(node, this.#respelled) !== null;
  }

  /**
   * Finds the entries that the target lists for nodes whose names are taken: that of the same name,
   * or else of the only similar name that the source does not have. The entry is `null` if there is
   * none, or if the source has another similar name that is not listed: then the disk takes two
   * names for the same. The result lacks nodes whose directory can't be listed.
   */
  async #findEntries(
    nodes: readonly TreeNode[],
  ): Promise<ReadonlyMap<TreeNode, DirectoryEntry | null>> {
    const entriesByNode = new Map<TreeNode, DirectoryEntry | null>();
    for (const [parent, siblings] of Map.groupBy(nodes, ({ parent }) => parent!)) {
      const entries = await this.#entriesOf(parent);
      if (entries === null) continue;
      const listed = new Map(entries.map((entry) => [entry.name, entry]));
      const extra = entries.filter(({ name }) => parent.get(name) === null);
      const extraByName = Map.groupBy(extra, ({ name }) => comparableName(name));
      const unlisted = [...parent.children!.values()].filter(({ name }) => !listed.has(name));
      const unlistedByName = Map.groupBy(unlisted, ({ name }) => comparableName(name));
      for (const node of siblings) {
        const key = comparableName(node.name);
        const rivals = unlistedByName.get(key)?.filter((rival) => rival !== node) ?? [];
        const similar = extraByName.get(key) ?? [];
        const entry = listed.get(node.name) ?? (similar.length === 1 ? similar[0] : undefined);
        entriesByNode.set(node, rivals.length > 0 ? null : entry ?? null);
      }
    }
    return entriesByNode;
  }

  /**
   * Makes missing directories before anything is copied, to find two names that are one directory
   * at the target.
   *
   * @returns The directories that can't be made, or are one with another directory, with the error
   * of each. Of several in one another the outermost is reported.
   */
  async makeDirectories(missing: readonly TreeNode[]): Promise<ReadonlyMap<TreeNode, unknown>> {
    const { client, target } = this.#attempt.first;
    const existing: TreeNode[] = [];
    const created: TreeNode[] = [];
    const failed = new Map<TreeNode, unknown>();
    for await (const [node, { error, isNew }] of target.mkdir(missing)) {
      if (error === null) (isNew ? created : existing).push(node);
      else {
        rethrowIfFatal(error, client);
        this.#failDirectory(node, error, failed);
      }
    }
    // If the target could not be listed, it may have had its directories before.
    for (const [node, entry] of this.isUnlisted ? [] : await this.#findEntries(existing)) {
      if (entry === null) this.#failDirectory(node, sameNameError(node), failed);
      else if (entry.name !== node.name) this.#respelled.add(node);
    }
    // If the disk takes the names of two directories for one, the second fails, and what was made
    // in it lies in the first one: that is removed.
    for (const node of created.reverse()) {
      if (directoryAbove(node, failed) === null) continue;
      await target.remove(node).catch((error) => rethrowIfFatal(error, client));
    }
    return failed;
  }

  #failDirectory(node: TreeNode, error: unknown, failed: Map<TreeNode, unknown>): void {
    if (!failed.has(node.parent!)) this.#attempt.report.failed(node, error);
    failed.set(node, error);
  }

  /**
   * Finds the target's file for each task of a call with `move`, as it was before the call sent a
   * file. The task may replace only this file, and isn't sent if this file has the same content.
   */
  async findReplaced(tasks: readonly CopyTask[]): Promise<CopyTask[]> {
    await this.#findReplaceableFiles(
      tasks.map(({ node }) => node).filter((node) => !this.#replaceableFiles.has(keyOf(node))),
    );
    const replacing: CopyTask[] = [];
    const sameSizes: CopyTask[] = [];
    for (const task of tasks) {
      const { node } = task;
      const stamp = this.#replaceableFiles.get(keyOf(node)) ?? null;
      if (stamp === null) {
        replacing.push(task);
        continue;
      }
      const target = new TreeNode(node.parent, node.name, "file", stamp.size, stamp.modified);
      const isSameSize = stamp.size === node.size;
      (isSameSize ? sameSizes : replacing).push({ ...task, target, condition: "listed" });
    }
    await this.#copier.compareEach(sameSizes, (task, isSame) => {
      replacing.push(isSame ? { ...task, condition: "same" } : task);
    });
    return replacing;
  }

  /** Records the sizes and times of the target's files that have the names of moved files. */
  async #findReplaceableFiles(nodes: readonly TreeNode[]): Promise<void> {
    const { target } = this.#attempt.first;
    const digests = await target.digests(nodes);
    const taken = nodes.filter((_, i) => digests[i] !== ABSENT);
    for (const node of nodes) this.#replaceableFiles.set(keyOf(node), null);
    for (const [parent, nodes] of Map.groupBy(taken, ({ parent }) => parent!)) {
      const entries = await this.#entriesOf(parent);
      const listed = entries && new Map(entries.map((entry) => [entry.name, entry]));
      for (const node of nodes) {
        // Without a list, nothing shows whether the target has the file by another name.
        const entry = listed === null ? await target.stat(node) : this.#ownEntry(node, listed);
        if (entry?.kind !== "file") continue;
        const { size, modified } = entry;
        this.#replaceableFiles.set(keyOf(node), { size, modified: modified.getTime() });
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
    try {
      return await this.#attempt.first.target.listDirectory(path);
    } catch (error) {
      // A server that has no list may send the directory's index.html.
      const isPage = error instanceof TransferError && error.code === "UNEXPECTED_RESPONSE";
      if (isPage || error instanceof StatusError && error.status < 500) return null;
      throw error;
    }
  }

  /** Decides about the files whose names are taken, and writes those that may be written. */
  async settle(conflicts: readonly NameConflict[]): Promise<void> {
    for (let open = conflicts; open.length > 0;) {
      const tasks = await this.#findChanged(await this.#findListed(open));
      open = await this.#copier.copyInTurn(tasks);
    }
  }

  /**
   * Finds out by which names the target lists files whose names are taken. A file fails if that is
   * the name of another file of the source. A file that the target lists by another spelling is
   * compared as the plan has compared others.
   *
   * @returns The files that have to be compared.
   */
  async #findListed(conflicts: readonly NameConflict[]): Promise<readonly NameConflict[]> {
    // If the target could not be listed, it may have had its files before.
    if (this.isUnlisted) return conflicts;
    const { first: { target }, report, settings: { move, compare } } = this.#attempt;
    const isNew = ({ condition }: CopyTask) => condition === "new";
    const newTasks = conflicts.map(({ task }) => task).filter(isNew);
    const entries = await this.#findEntries(newTasks.map(({ node }) => node));
    const listed: NameConflict[] = [];
    for (const conflict of conflicts) {
      const { task } = conflict;
      const { node } = task;
      const entry = entries.get(node);
      // Without a list, only its content shows whether this call has written the file.
      if (!isNew(task) || move && entry === undefined) listed.push(conflict);
      else if (entry?.kind === "file") {
        const { name, size, modified } = entry;
        const file = new TreeNode(node.parent, name, "file", size, modified.getTime());
        const listedTask = { ...task, target: file };
        const isSame = size === node.size && isSameTime(file.modified, node.modified);
        if (isSame && !move && compare === "time" && this.#isRespelled(listedTask)) {
          this.#unchanged(node);
        } else listed.push({ ...conflict, task: listedTask });
      } else {
        target.discard(task);
        const error = entry === undefined
          ? differsAtTargetError(node, target)
          : entry === null
          ? sameNameError(node)
          : blockedByOtherKindError(node, entry);
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
   * attempt whose answer was lost may have written it, or another program. A file that came or
   * changed since the target was listed is not replaced.
   *
   * With `move`, an equal file may be the source file itself, so it is checked again before it is
   * written. No other file is replaced then: it came after this call had looked, or the target
   * lists it by another spelling, and this call may have moved it there, from another name.
   *
   * @returns The files that are to be written.
   */
  async #findChanged(conflicts: readonly NameConflict[]): Promise<CopyTask[]> {
    const { first: { target }, report, settings: { move, replace } } = this.#attempt;
    const changed: CopyTask[] = [];
    const digests = new Map(conflicts.map(({ task, sha256 }) => [task, sha256]));
    await this.#copier.compareEach([...digests.keys()], (task, isSame) => {
      const { node } = task;
      const isRespelled = this.#isRespelled(task);
      const mayBeOlder = !move && (this.isUnlisted || isRespelled);
      const mayReplace = replace && task.condition === "new" && mayBeOlder;
      if (isSame && !move) {
        target.discard(task);
        if (isRespelled) return this.#unchanged(node);
        const { size } = node;
        const sha256 = digests.get(task)!;
        this.#copier.copied(node, { bytes: 0, total: size, resumedFrom: size, reused: 0, sha256 });
      } else if (isSame) {
        changed.push({ ...task, condition: "same" });
      } else if (mayReplace) {
        changed.push({ ...task, condition: task.target === null ? "any" : "listed" });
      } else {
        const isOther = replace && !(move && isRespelled);
        const toError = isOther ? changedMeanwhileError : differsAtTargetError;
        report.failed(node, toError(node, target));
      }
    });
    return changed;
  }
}

function keyOf({ path }: TreeNode): string {
  return path.join("/");
}
