/**
 * The copying of trees, the same in both directions: both ends are compared, files that differ are
 * copied over several connections, superfluous entries are deleted, and all of it is reported.
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
import { modeOfCopy } from "../modes.ts";
import { pathOf, type TreeResult } from "../options.ts";
import { traitsOf } from "../transfer/client.ts";
import { isOvertaken, unexpectedResponse } from "../transfer_error.ts";
import { rethrowIfFatal, TreeAttempt } from "./attempt.ts";
import { TreeCopies } from "./copies.ts";
import { TreeDeletions } from "./deletions.ts";
import type { TreeEnds } from "./ends.ts";
import { type ListedTree, treeUriOf } from "./read_tree.ts";
import { checkTreeOptions, type TreeSettings, type UploadTreeOptions } from "./options.ts";
import { MAX_SKEW_MILLISECONDS } from "./outbox.ts";
import { type CopyTask, findBasisFiles, Plan } from "./plan.ts";
import { TreeReport } from "./report.ts";
import { isSmall } from "./requests.ts";
import { type FirstStamps, NameConflicts } from "./name_conflicts.ts";
import { directoryAbove, isWithin, type TreeNode } from "./tree.ts";
import { differsAtTargetError, incompleteError, missingDirectoryError } from "./tree_errors.ts";

/** How often a list is read that a change of the tree overtakes. */
const MAX_LISTS = 4;

/**
 * Checks the arguments, and copies a tree.
 *
 * @param label The name of the client or connection in errors.
 */
export async function transferTree(
  label: "from" | "to",
  peer: Requester | Connector,
  dir: string | URL,
  uri: string | readonly string[],
  options: UploadTreeOptions,
  makeEnds: (settings: TreeSettings) => TreeEnds,
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
  const report = new TreeReport(makeSettings());
  const firstStamps: FirstStamps = new Map();
  const filter = call.filter && ((entry: TreeEntry) => report.guard(() => call.filter!(entry)));
  let isUsable = true;
  let restart = () => {};
  const onRetry = (event: RetryEvent) => {
    traitsOf(peer).onTreeRetry?.(event, restart);
    report.retry(event);
  };
  let deletionsSkipped: TreeResult["deletionsSkipped"] = null;
  const attemptOnce = async (
    advanced: (progress?: RetryProgress) => void,
    answered: () => void,
  ): Promise<void> => {
    const settings = { ...makeSettings(), filter };
    restart = advanced;
    report.begin(settings, advanced);
    using attempt = new TreeAttempt(label, peer, settings, makeEnds(settings), report);
    settings.signal.throwIfAborted();
    try {
      deletionsSkipped = await new TreeTransfer(attempt, firstStamps).run();
    } finally {
      ({ isUsable } = attempt.first);
      await attempt.ends.outbox?.[Symbol.asyncDispose]();
    }
    // Another attempt may bring the file. Without one, the file has failed alone.
    if (report.brokenOff === null) return;
    answered();
    throw report.brokenOff.error;
  };
  const mayRetry = (error: unknown) =>
    isUsable && !report.hasThrown && (isTransient(error) || isOvertaken(error));
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

class TreeTransfer {
  readonly #attempt: TreeAttempt;
  readonly #copies: TreeCopies;
  readonly #names: NameConflicts;

  constructor(attempt: TreeAttempt, firstStamps: FirstStamps) {
    this.#attempt = attempt;
    this.#copies = new TreeCopies(attempt);
    this.#names = new NameConflicts(attempt, this.#copies, firstStamps);
  }

  /** @returns Why superfluous entries of the target were not deleted. */
  async run(): Promise<TreeResult["deletionsSkipped"]> {
    const { first, ends, report, settings } = this.#attempt;
    const [source, target] = await this.#attempt.together<ListedTree | null>([
      () => this.#readList(() => ends.readSource(first)),
      () => this.#readList(() => ends.readTarget(first)),
    ]) as [ListedTree, ListedTree | null];
    report.listed(target?.root ?? null);
    // A server that only adds files replaces none, as with `replace: false`.
    const { onlyAdds } = ends;
    const replace = settings.replace && !onlyAdds;
    const rules = { ...settings, replace, onlyAdds };
    const plan = new Plan(source.root, target?.root ?? null, rules, this.#unsettledIn(source));
    const deleted = plan.deleted + report.counts.deleted;
    const isOverLimit = deleted > settings.maxDelete;
    if (isOverLimit || plan.isIncomplete) plan.cancelDeletions();
    await this.#copies.compareEach(plan.compares, (copy, isSame) => {
      if (isSame) plan.addUnchanged(copy);
      else if (replace) plan.copies.push(copy);
      else plan.fail(copy.node, differsAtTargetError(copy.node, ends));
    });
    const modeChanges = this.#findOtherModes(plan);
    const server = source.server ?? target?.server ?? null;
    if (target !== null && server !== null && server.place !== null) {
      this.#copies.basisFiles = findBasisFiles(plan.copies, source.root, target.root);
    }
    this.#announce(plan, modeChanges);
    if (settings.dryRun) this.#copies.reportDryRun(plan.copies);
    else await this.#carryOut(plan, target?.root ?? null);
    await this.#giveModes(modeChanges);
    let deletionsSkipped: TreeResult["deletionsSkipped"] = null;
    if (settings.delete) {
      const deletions = new TreeDeletions(this.#attempt, plan, this.#copies, this.#names);
      deletionsSkipped = await deletions.carryOut(isOverLimit ? deleted : null);
      await this.#names.decide();
    }
    await ends.finish();
    return deletionsSkipped;
  }

  /** Reads a list, and a new one if a change of the tree has overtaken it. */
  async #readList<T>(read: () => Promise<T>): Promise<T> {
    for (let lists = 1;; lists++) {
      try {
        return await read();
      } catch (error) {
        const { first, settings } = this.#attempt;
        settings.signal.throwIfAborted();
        const isLast = lists === MAX_LISTS || !first.isUsable;
        if (isLast || !isOvertaken(error)) throw error;
      }
    }
  }

  /** Makes a function that tells whether a file of the source may still be being written. */
  #unsettledIn({ listed }: ListedTree): (file: TreeNode) => boolean {
    const { ends, settings: { settled, uri, move } } = this.#attempt;
    if (settled === 0) return () => false;
    if (listed !== null) {
      const after = listed.began - settled * 1000;
      const until = move ? listed.ended + MAX_SKEW_MILLISECONDS : listed.ended;
      const isRecent = (time: number) => isWithin(time, after, until);
      return (file) => isRecent(file.modified) || move && isRecent(ends.outbox!.changedAt(file));
    }
    const problem =
      "the list has no date, which `settled` needs; is it a FilesApp of this version?";
    throw unexpectedResponse("GET", uri, problem);
  }

  /** Finds the unchanged files that are to get other permission bits. */
  #findOtherModes({ modeChanges }: Plan): ReadonlyMap<TreeNode, CopyTask> {
    const { ends, settings } = this.#attempt;
    const isWanted = modeChanges.length > 0 && !settings.dryRun;
    const granted = isWanted ? ends.findGranted() : null;
    if (granted === null) return new Map();
    const others = modeChanges.filter(({ node, target }) => {
      return modeOfCopy(node.mode!, granted) !== target!.mode;
    });
    return new Map(others.map((copy) => [copy.node, copy]));
  }

  async #giveModes(others: ReadonlyMap<TreeNode, CopyTask>): Promise<void> {
    const { ends, report } = this.#attempt;
    await this.#attempt.run([[...others.values()]], async (client, copy) => {
      const { node } = copy;
      try {
        await ends.giveMode(client, copy);
      } catch (error) {
        rethrowIfFatal(error, client);
        return report.failed(node, error);
      }
      report.unchanged(node);
    });
  }

  #announce(plan: Plan, modeChanges: ReadonlyMap<TreeNode, CopyTask>): void {
    const { report } = this.#attempt;
    const late = plan.deferred.flatMap(({ copies }) => copies);
    const planned = [...plan.copies, ...late].map(({ node }) => node);
    report.plan(planned, this.#copies.basisFiles);
    for (const node of plan.unchanged) if (!modeChanges.has(node)) report.unchanged(node);
    for (const { node: { path }, reason } of plan.skipped) {
      report.event({ type: "skipped", path, reason });
    }
    for (const { node, error } of plan.failed) report.failed(node, error);
  }

  async #carryOut(plan: Plan, target: TreeNode | null): Promise<void> {
    const { first, ends, report, settings } = this.#attempt;
    // An outbox that is empty asks for nothing.
    const isIdle = plan.copies.length + plan.newDirectories.length === 0;
    if (isIdle && settings.move) return;
    this.#names.isUnlisted = await ends.begin(first, target === null);
    const failed = await this.#names.makeDirectories(plan.newDirectories);
    const copies: CopyTask[] = [];
    for (const copy of plan.copies) {
      const { node } = copy;
      const above = directoryAbove(node, failed);
      if (above !== null) report.failed(node, missingDirectoryError(node, failed.get(above)));
      else if (this.#names.isUnlisted && !isSmall(copy)) {
        copies.push({ ...copy, replaces: "target" });
      } else copies.push(copy);
    }
    const isReplacing = settings.move && settings.replace;
    await this.#copies.copyAll(isReplacing ? await this.#names.findReplaced(copies) : copies);
    await this.#names.decide();
  }
}
