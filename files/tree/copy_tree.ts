/**
 * The copying of a tree from a source to a target, which are a directory of this device and one of
 * a server, or the reverse.
 *
 * Both sides are listed, and a plan says for each path what the target has, and what it gets.
 * The target gets the files from the source, many small ones or a large one at a time, each on
 * a condition; a name that is taken nevertheless is looked up, and its file put once more, or it
 * fails. At the end the target removes what the source does not have, and files for which
 * something had to be removed get their names.
 *
 * An error of one file fails that file alone. An error that concerns all files rejects the whole:
 * the peer is gone, a disk is full, the signal is aborted, a callback throws.
 */

import {
  type Connector,
  isTransient,
  type Requester,
  type RetryEvent,
  type RetryProgress,
} from "../../client.ts";
import { retryIf } from "../../net/retry.ts";
import type { TreeEntry } from "../entries.ts";
import { pathOf, type TreeResult } from "../options.ts";
import { hintsOf } from "../transfer/client.ts";
import { isListChangedError, unexpectedResponseError } from "../transfer_error.ts";
import { rethrowIfFatal, TreeAttempt } from "./attempt.ts";
import { TreeDeletions } from "./deletions.ts";
import { FileCopier } from "./file_copier.ts";
import { checkTreeOptions, type TreeSettings, type UploadTreeOptions } from "./options.ts";
import { MAX_SKEW_MILLISECONDS } from "./outbox.ts";
import { NameConflicts, type ReplaceableFiles } from "./name_conflicts.ts";
import { type CopyTask, findBasisFiles, isSmall, Plan } from "./plan.ts";
import { treeUriOf } from "./remote_list.ts";
import { TreeReport } from "./report.ts";
import type { ListedTree } from "./sides.ts";
import { directoryAbove, isWithin, type TreeNode } from "./tree.ts";
import { differsAtTargetError, incompleteError, missingDirectoryError } from "./tree_errors.ts";

/** How often a list is read that a change of the tree interrupts. */
const MAX_LISTS = 4;

/**
 * Checks the arguments, and copies a tree.
 *
 * @param label Names the peer in errors, and says whether it is the source.
 */
export async function copyTree(
  label: "from" | "to",
  peer: Requester | Connector,
  dir: string | URL,
  uri: string | readonly string[],
  options: UploadTreeOptions,
): Promise<TreeResult> {
  const path = pathOf("dir", dir);
  const checkedUri = treeUriOf(uri);
  const call = checkTreeOptions(options, label === "to");
  const { retries, signal } = call;
  const makeSettings = (): TreeSettings => {
    const controller = new AbortController();
    return {
      ...call,
      dir: path,
      uri: checkedUri,
      signal: AbortSignal.any([...signal === undefined ? [] : [signal], controller.signal]),
      abort: (reason) => controller.abort(reason),
    };
  };
  const report = new TreeReport(makeSettings(), signal);
  const replaceableFiles: ReplaceableFiles = new Map();
  const filter = call.filter && ((entry: TreeEntry) => report.guard(() => call.filter!(entry)));
  let isUsable = true;
  let restart = () => {};
  const onRetry = (event: RetryEvent) => {
    hintsOf(peer).onTreeRetry?.(event, restart);
    report.retry(event);
  };
  let deletionsSkipped: TreeResult["deletionsSkipped"] = null;
  const attemptOnce = async (
    onProgress: (progress?: RetryProgress) => void,
    onAnswer: () => void,
  ): Promise<void> => {
    const settings = { ...makeSettings(), filter };
    restart = onProgress;
    report.begin(settings, onProgress);
    using attempt = new TreeAttempt(label, peer, settings, report);
    settings.signal.throwIfAborted();
    try {
      deletionsSkipped = await new TreeCopy(attempt, replaceableFiles).run();
    } finally {
      const { client, source } = attempt.first;
      ({ isUsable } = client);
      await source.outbox?.[Symbol.asyncDispose]();
    }
    // Another attempt may copy the file. Without one, the file has failed alone.
    if (report.brokenOff === null) return;
    onAnswer();
    throw report.brokenOff.error;
  };
  const mayRetry = (error: unknown) =>
    isUsable && !report.hasThrown && (isTransient(error) || isListChangedError(error));
  try {
    await retryIf(attemptOnce, { when: mayRetry, retries, signal, onRetry });
  } catch (error) {
    const isAborted = report.hasThrown || signal?.aborted === true;
    if (isAborted || report.brokenOff?.error !== error) {
      if (!isAborted) report.end();
      throw error;
    }
  }
  report.end();
  report.progress();
  const result = { ...report.counts, deletionsSkipped };
  const isComplete = result.failed === 0 && deletionsSkipped === null;
  if (isComplete || call.partial || call.dryRun) return result;
  throw incompleteError(result, report);
}

class TreeCopy {
  readonly #attempt: TreeAttempt;
  readonly #copier: FileCopier;
  readonly #names: NameConflicts;

  constructor(attempt: TreeAttempt, replaceableFiles: ReplaceableFiles) {
    this.#attempt = attempt;
    this.#copier = new FileCopier(attempt);
    this.#names = new NameConflicts(attempt, this.#copier, replaceableFiles);
  }

  /** @returns Why superfluous entries of the target were not deleted. */
  async run(): Promise<TreeResult["deletionsSkipped"]> {
    const { first: { source, target }, report, settings } = this.#attempt;
    const [sourceTree, targetTree] = await this.#attempt.together([
      () => this.#readList(() => source.list()),
      () => this.#readList(() => target.list()),
    ]) as [ListedTree, ListedTree | null];
    report.noteList(targetTree?.root ?? null);
    // A server that only adds files replaces none, as with `replace: false`.
    const { onlyAdds } = target;
    const replace = settings.replace && !onlyAdds;
    const rules = { ...settings, replace, onlyAdds };
    const isUnsettled = this.#makeUnsettledCheck(sourceTree);
    const plan = new Plan(sourceTree.root, targetTree?.root ?? null, rules, isUnsettled);
    const deleted = plan.deleted + report.counts.deleted;
    const isOverLimit = deleted > settings.maxDelete;
    if (isOverLimit || plan.isIncomplete) plan.cancelDeletions();
    await this.#copier.compareEach(plan.compares, (task, isSame) => {
      if (isSame) plan.addUnchanged(task);
      else if (replace) plan.copies.push(task);
      else plan.fail(task.node, differsAtTargetError(task.node, target));
    });
    const server = sourceTree.server ?? targetTree?.server ?? null;
    if (targetTree !== null && server !== null && server.rootPath !== null) {
      this.#copier.basisFiles = findBasisFiles(plan.copies, sourceTree.root, targetTree.root);
    }
    this.#announce(plan);
    if (settings.dryRun) this.#copier.reportDryRun(plan.copies);
    else await this.#copyFiles(plan, targetTree === null);
    await this.#changeModes(plan.modeChanges);
    let deletionsSkipped: TreeResult["deletionsSkipped"] = null;
    if (settings.delete) {
      const deletions = new TreeDeletions(this.#attempt, plan, this.#copier, this.#names);
      deletionsSkipped = await deletions.carryOut(isOverLimit ? deleted : null);
    }
    await source.finish();
    await target.finish();
    return deletionsSkipped;
  }

  /** Reads a list, and once more if a change of the tree has interrupted it. */
  async #readList<T>(read: () => Promise<T>): Promise<T> {
    for (let lists = 1;; lists++) {
      try {
        return await read();
      } catch (error) {
        const { first: { client }, settings } = this.#attempt;
        settings.signal.throwIfAborted();
        const isLast = lists === MAX_LISTS || !client.isUsable;
        if (isLast || !isListChangedError(error)) throw error;
      }
    }
  }

  /** Makes a function that returns whether a file of the source may still be being written. */
  #makeUnsettledCheck({ listed }: ListedTree): (file: TreeNode) => boolean {
    const { first: { source: { outbox } }, settings: { settled, uri } } = this.#attempt;
    if (settled === 0) return () => false;
    if (listed !== null) {
      const after = listed.began - settled * 1000;
      const until = outbox === null ? listed.ended : listed.ended + MAX_SKEW_MILLISECONDS;
      const isRecent = (time: number) => isWithin(time, after, until);
      return (file) =>
        isRecent(file.modified) || outbox !== null && isRecent(outbox.changedAt(file));
    }
    const problem =
      "the list has no date, which `settled` needs; is it a FilesApp of this version?";
    throw unexpectedResponseError("GET", uri, problem);
  }

  #announce(plan: Plan): void {
    const { report, settings } = this.#attempt;
    const deferred = plan.deferred.flatMap(({ copies }) => copies);
    const planned = [...plan.copies, ...deferred].map(({ node }) => node);
    report.plan(planned, this.#copier.basisFiles);
    const modeChanges = new Set(settings.dryRun ? [] : plan.modeChanges.map(({ node }) => node));
    for (const node of plan.unchanged) if (!modeChanges.has(node)) report.unchanged(node);
    for (const { node: { path }, reason } of plan.skipped) {
      report.event({ type: "skipped", path, reason });
    }
    for (const { node, error } of plan.failed) report.failed(node, error);
  }

  async #copyFiles(plan: Plan, isMissing: boolean): Promise<void> {
    const { first: { target }, report, settings } = this.#attempt;
    // An outbox that is empty makes no request.
    const isIdle = plan.copies.length + plan.newDirectories.length === 0;
    if (isIdle && settings.move) return;
    this.#names.isUnlisted = await target.begin(isMissing);
    const failed = await this.#names.makeDirectories(plan.newDirectories);
    const tasks: CopyTask[] = [];
    for (const task of plan.copies) {
      const { node } = task;
      const above = directoryAbove(node, failed);
      if (above !== null) report.failed(node, missingDirectoryError(node, failed.get(above)));
      // The upload of a large file finds out itself what the target has, before it sends the file.
      else if (this.#names.isUnlisted && !isSmall(task)) tasks.push({ ...task, condition: "any" });
      else tasks.push(task);
    }
    const isReplacing = settings.move && settings.replace;
    const conflicts = await this.#copier.copyAll(
      isReplacing ? await this.#names.findReplaced(tasks) : tasks,
    );
    await this.#names.settle(conflicts);
  }

  /** Gives unchanged files the permission bits of the source. */
  async #changeModes(tasks: readonly CopyTask[]): Promise<void> {
    const { report, settings } = this.#attempt;
    if (settings.dryRun) return;
    await this.#attempt.run([tasks], async ({ client, target }, task) => {
      const { node } = task;
      try {
        await target.setMode(task);
      } catch (error) {
        rethrowIfFatal(error, client);
        return report.failed(node, error);
      }
      report.unchanged(node);
    });
  }
}
