/**
 * Name conflicts: names that exist at the target, although its list did not have them.
 *
 * The disk of the target may ignore case, normalize Unicode differently, or drop dots at the end of
 * a name. Or another program has added or changed an entry since the list. This module also creates
 * missing directories, which shows the names that are one directory at the target.
 *
 * What happens to a file, by the condition of its task and the entry of its name at the time of the
 * writing:
 *
 * | condition | entry at the target             | without `move`       | with `move`          |
 * | --------- | ------------------------------- | -------------------- | -------------------- |
 * | `new`     | none                            | written              | written              |
 * | `new`     | the same content                | unchanged (1)        | again, as `same`     |
 * | `new`     | other content                   | `TARGET_CHANGED`     | `TARGET_CHANGED`     |
 * | `new`     | another spelling, same content  | unchanged            | again, as `same`     |
 * | `new`     | another spelling, other content | again, as `listed`   | `EXISTS`             |
 * | `new`     | another file of the source      | `SAME_NAME`          | `SAME_NAME`          |
 * | `new`     | other content, without lists    | again, as `any`      | `TARGET_CHANGED`     |
 * | `listed`  | the listed file                 | replaced             | replaced             |
 * | `listed`  | none                            | written (2)          | `TARGET_CHANGED`     |
 * | `listed`  | the same content                | unchanged (1)        | again, as `same`     |
 * | `listed`  | other content                   | `TARGET_CHANGED`     | `TARGET_CHANGED`     |
 * | `same`    | the same content                |                      | written              |
 * | `same`    | other content                   |                      | `TARGET_CHANGED`     |
 * | `any`     | any file                        | replaced             |                      |
 * | each      | an entry of another kind        | `IN_THE_WAY`         | `IN_THE_WAY`         |
 *
 * (1) Counts as copied if this call has sent it without an answer, or without lists, or in an
 * upload of a large file as `listed`. (2) At a server, `TARGET_CHANGED`.
 *
 * With `replace: false`, a file of other content is `EXISTS` in each row. In a second attempt, a
 * file that the first has written is one of the same content. With `move`, the target is not
 * listed: the files that the call has found there begin as `listed` or `same`, in each attempt.
 */

import { isSameTime } from "../wire/conditions.ts";
import type { DirectoryEntry } from "../wire/entries.ts";
import { isTransferOrStatusError } from "../transfer_error.ts";
import type { TreeAttempt } from "./attempt.ts";
import type { FileCopier, NameConflict } from "./file_copier.ts";
import type { CopyTask } from "./plan.ts";
import { ABSENT_DIGEST } from "./sides.ts";
import { findDirectoryAbove, normalizeName, TreeNode } from "./tree.ts";
import {
  blockedByOtherKindError,
  changedDuringCallError,
  differsAtTargetError,
  sameNameError,
} from "./tree_errors.ts";

/**
 * The files that a call with `move` may replace, by path. The value is the size and time of the
 * target's file before the call sent a file with this path; `null` if the target had no such file.
 */
export type ReplaceableFiles = Map<string, Pick<TreeNode, "size" | "modified"> | null>;

export class NameConflicts {
  readonly #attempt: TreeAttempt;
  readonly #copier: FileCopier;
  readonly #replaceableFiles: ReplaceableFiles;
  /** True if the target exists and can't be listed, so that any name may exist. */
  isUnlisted = false;
  /** The directories of the source that the target lists by other names. */
  readonly #respelledDirectories = new Set<TreeNode>();

  /** @param replaceableFiles Shared by all attempts of a call. */
  constructor(attempt: TreeAttempt, copier: FileCopier, replaceableFiles: ReplaceableFiles) {
    this.#attempt = attempt;
    this.#copier = copier;
    this.#replaceableFiles = replaceableFiles;
  }

  #isRespelled({ node, target }: CopyTask): boolean {
    const hasOtherName = target !== null && target.name !== node.name;
    return hasOtherName || findDirectoryAbove(node, this.#respelledDirectories) !== null;
  }

  /**
   * Lists the directories of nodes again, and finds the target's entry for each node: the entry of
   * the same name, or else the only entry with a similar name that the source does not have.
   *
   * The value is `null` if there is no such entry. The value is also `null` if the source has
   * another node with a similar name that the target does not list: the disk treats the two names
   * as one. Nodes whose directory can't be listed are omitted.
   */
  async #findListedEntries(
    nodes: readonly TreeNode[],
  ): Promise<ReadonlyMap<TreeNode, DirectoryEntry | null>> {
    const entriesByNode = new Map<TreeNode, DirectoryEntry | null>();
    for (const [parent, siblings] of Map.groupBy(nodes, ({ parent }) => parent!)) {
      const entries = await this.#listEntries(parent);
      if (entries === null) continue;
      const entriesByName = new Map(entries.map((entry) => [entry.name, entry]));
      const extraEntries = entries.filter(({ name }) => parent.get(name) === null);
      const extraByName = Map.groupBy(extraEntries, ({ name }) => normalizeName(name));
      const unlistedNodes = parent.children!.filter(({ name }) => !entriesByName.has(name));
      const unlistedByName = Map.groupBy(unlistedNodes, ({ name }) => normalizeName(name));
      for (const node of siblings) {
        const key = normalizeName(node.name);
        const rivalNodes = unlistedByName.get(key)?.filter((rival) =>
          rival !== node && rival.kind === node.kind
        ) ?? [];
        const similarEntries = extraByName.get(key) ?? [];
        const entry = entriesByName.get(node.name) ??
          (similarEntries.length === 1 ? similarEntries[0] : undefined);
        entriesByNode.set(node, rivalNodes.length > 0 ? null : entry ?? null);
      }
    }
    return entriesByNode;
  }

  /**
   * Creates missing directories before the files are copied, to find names that the target's disk
   * treats as one.
   */
  async makeDirectories(
    missingDirectories: readonly TreeNode[],
  ): Promise<ReadonlyMap<TreeNode, unknown>> {
    const { client, target } = this.#attempt.firstWorker;
    const existingNodes: TreeNode[] = [];
    const createdNodes: TreeNode[] = [];
    const failedDirectories = new Map<TreeNode, unknown>();
    for await (const [node, { error, isNew }] of target.mkdir(missingDirectories)) {
      if (error === null) (isNew ? createdNodes : existingNodes).push(node);
      else {
        await this.#attempt.rethrowIfFatal(error, client);
        this.#reportFailedDirectory(node, error, failedDirectories);
      }
    }
    // If the target could not be listed, the directories may have existed before.
    for (
      const [node, entry] of this.isUnlisted ? [] : await this.#findListedEntries(existingNodes)
    ) {
      if (entry === null) this.#reportFailedDirectory(node, sameNameError(node), failedDirectories);
      else if (entry.name !== node.name) this.#respelledDirectories.add(node);
    }
    // If two names are one directory, the second name fails. Its new subdirectories were created in
    // the first directory: remove them.
    for (const node of createdNodes.reverse()) {
      if (findDirectoryAbove(node, failedDirectories) === null) continue;
      await target.remove(node).catch((error) => this.#attempt.rethrowIfFatal(error, client));
    }
    return failedDirectories;
  }

  #reportFailedDirectory(
    node: TreeNode,
    error: unknown,
    failedDirectories: Map<TreeNode, unknown>,
  ): void {
    if (!failedDirectories.has(node.parent!)) this.#attempt.report.reportFailed(node, error);
    failedDirectories.set(node, error);
  }

  /**
   * Determines which file of the target each task of a call with `move` may replace: the file that
   * existed before this call sent a file with the same path. If its content is the same, the task
   * gets the condition `"same"`.
   */
  async determineReplacements(tasks: readonly CopyTask[]): Promise<CopyTask[]> {
    await this.#recordReplaceableFiles(
      tasks.map(({ node }) => node).filter((node) => !this.#replaceableFiles.has(formatKey(node))),
    );
    const resultTasks: CopyTask[] = [];
    const sameSizeTasks: CopyTask[] = [];
    for (const task of tasks) {
      const { node } = task;
      const stamp = this.#replaceableFiles.get(formatKey(node)) ?? null;
      if (stamp === null) {
        resultTasks.push(task);
        continue;
      }
      const target = new TreeNode(node.parent, node.name, "file", stamp.size, stamp.modified);
      const isSameSize = stamp.size === node.size;
      (isSameSize ? sameSizeTasks : resultTasks).push({ ...task, target, condition: "listed" });
    }
    await this.#copier.compareContents(sameSizeTasks, (task, isSame) => {
      resultTasks.push(isSame ? { ...task, condition: "same" } : task);
    });
    return resultTasks;
  }

  async #recordReplaceableFiles(nodes: readonly TreeNode[]): Promise<void> {
    const { target } = this.#attempt.firstWorker;
    const digests = await target.findDigests(nodes, true);
    const presentNodes = nodes.filter((_node, index) => digests[index] !== ABSENT_DIGEST);
    for (const node of nodes) this.#replaceableFiles.set(formatKey(node), null);
    for (const [parent, nodes] of Map.groupBy(presentNodes, ({ parent }) => parent!)) {
      const entries = await this.#listEntries(parent);
      const entriesByName = entries && new Map(entries.map((entry) => [entry.name, entry]));
      for (const node of nodes) {
        // Without a list, a file of another name that the disk treats as the same name can't be
        // detected.
        const entry = entriesByName === null
          ? await target.lookUpEntry(node)
          : this.#findOwnEntry(node, entriesByName);
        if (entry?.kind !== "file") continue;
        const { size, modified } = entry;
        this.#replaceableFiles.set(formatKey(node), { size, modified: modified.getTime() });
      }
    }
  }

  #findOwnEntry(
    node: TreeNode,
    entriesByName: ReadonlyMap<string, DirectoryEntry>,
  ): DirectoryEntry | null {
    const entry = entriesByName.get(node.name);
    const hasOwnEntry = entry?.kind === "file" &&
      findDirectoryAbove(node, this.#respelledDirectories) === null;
    return hasOwnEntry ? entry : null;
  }

  async #listEntries({ path }: TreeNode): Promise<readonly DirectoryEntry[] | null> {
    const { client, target } = this.#attempt.firstWorker;
    try {
      return await target.listDirectory(path);
    } catch (error) {
      // A server without lists may refuse the request, or send the index.html of the directory.
      if (!isTransferOrStatusError(error)) throw error;
      await this.#attempt.rethrowIfFatal(error, client);
      return null;
    }
  }

  async resolve(conflicts: readonly NameConflict[]): Promise<void> {
    for (let openConflicts = conflicts; openConflicts.length > 0;) {
      const tasks = await this.#compareConflicts(await this.#resolveListed(openConflicts));
      openConflicts = await this.#copier.copySequentially(tasks);
    }
  }

  /** Lists the target again, to find files of one name and files with other spellings. */
  async #resolveListed(conflicts: readonly NameConflict[]): Promise<readonly NameConflict[]> {
    // If the target could not be listed, the files may have existed before.
    if (this.isUnlisted) return conflicts;
    const { local, report, settings: { move, compare } } = this.#attempt;
    const isNew = ({ condition }: CopyTask) => condition === "new";
    const newTasks = conflicts.map(({ task }) => task).filter(isNew);
    const entries = await this.#findListedEntries(newTasks.map(({ node }) => node));
    const listedConflicts: NameConflict[] = [];
    for (const conflict of conflicts) {
      const { task } = conflict;
      const { node } = task;
      const entry = entries.get(node);
      // Without a list, only the content shows whether this call has written the file.
      if (!isNew(task) || move && entry === undefined) listedConflicts.push(conflict);
      else if (entry?.kind === "file") {
        const { name, size, modified } = entry;
        const file = new TreeNode(node.parent, name, "file", size, modified.getTime());
        const taskWithTarget = { ...task, target: file };
        const isSame = size === node.size && isSameTime(file.modified, node.modified);
        if (isSame && !move && compare === "time" && this.#isRespelled(taskWithTarget)) {
          report.reportWrittenByOthers(node);
        } else listedConflicts.push({ ...conflict, task: taskWithTarget });
      } else {
        local.discardPart(task);
        const error = entry === undefined
          ? differsAtTargetError(node, this.#attempt.refusesReplacement)
          : entry === null
          ? sameNameError(node)
          : blockedByOtherKindError(node, entry);
        report.reportFailed(node, error);
      }
    }
    return listedConflicts;
  }

  /**
   * With `move`, an equal file of the target may be the source file itself, so the file is checked
   * again and written.
   */
  async #compareConflicts(conflicts: readonly NameConflict[]): Promise<CopyTask[]> {
    const { local, report, settings: { move, replace } } = this.#attempt;
    const changedTasks: CopyTask[] = [];
    const digests = new Map(conflicts.map(({ task, sha256 }) => [task, sha256]));
    await this.#copier.compareContents([...digests.keys()], (task, isSame) => {
      const { node } = task;
      const isRespelled = this.#isRespelled(task);
      const mayPredateCall = !move && (this.isUnlisted || isRespelled);
      const mayReplace = replace && task.condition === "new" && mayPredateCall;
      if (isSame && !move) {
        local.discardPart(task);
        // Another call has written the file since the list.
        const isOfOthers = !this.isUnlisted && !report.isUnanswered(node);
        if (isRespelled || isOfOthers) return report.reportWrittenByOthers(node);
        report.reportPresent(node, digests.get(task)!);
      } else if (isSame) {
        changedTasks.push({ ...task, condition: "same" });
      } else if (mayReplace) {
        changedTasks.push({ ...task, condition: task.target === null ? "any" : "listed" });
      } else {
        const wasChangedByOthers = replace && !(move && isRespelled);
        const makeError = wasChangedByOthers ? changedDuringCallError : differsAtTargetError;
        report.reportFailed(node, makeError(node, this.#attempt.refusesReplacement));
      }
    });
    return changedTasks;
  }
}

function formatKey({ path }: TreeNode): string {
  return path.join("/");
}
