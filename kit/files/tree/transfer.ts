/**
 * The copying of trees, the same in both directions: both ends are compared, files that differ are
 * copied over several connections, superfluous entries are deleted, and all of it is reported.
 *
 * An error of one file fails that file alone. An error that concerns all files rejects the whole:
 * the peer is gone, a disk is full, the signal is aborted, a callback throws.
 */

import type { Connector, Requester } from "../../../client.ts";
import { isTransient, type Retry, retryIf, type RetryProgress } from "../../../net/retry.ts";
import type { TreeEntry } from "../entries.ts";
import { modeOfCopy } from "../modes.ts";
import { pathOf } from "../options.ts";
import { treeRetryOf } from "../transfer/client.ts";
import { isOvertaken, unexpectedResponse } from "../transfer_error.ts";
import { TreeCopies } from "./copies.ts";
import { TreeDeletions } from "./deletions.ts";
import { MissingDirectories } from "./directories.ts";
import type { TreeEnds } from "./ends.ts";
import { throwIfForAll, TransferClients } from "./clients.ts";
import { LateFiles } from "./late.ts";
import { type ListedTree, treeUriOf } from "./list_tree.ts";
import { TargetNames } from "./names.ts";
import {
  checkTreeOptions,
  type TreeResult,
  type TreeSettings,
  type UploadTreeOptions,
} from "./options.ts";
import {
  type Copy,
  directoryMissing,
  existsAlready,
  type LateGroup,
  overLimit,
  Plan,
  unnameable,
} from "./plan.ts";
import { TreeReport } from "./report.ts";
import { isSmall } from "./requests.ts";
import { findBeginnings } from "./beginnings.ts";
import { TakenNames } from "./taken.ts";
import { directoryAbove, isWithin, TreeNode } from "./tree.ts";

/** How often a list is read that a change of the tree overtakes. */
const MAX_LISTS = 4;
/** How far the clock of a disk may be ahead: a file with a later time was not written just now. */
export const MAX_SKEW_MILLISECONDS = 300_000;

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
  const filter = call.filter && ((entry: TreeEntry) => report.guard(() => call.filter!(entry)));
  let isUsable = true;
  let restart = () => {};
  const onRetry = (retry: Retry) => treeRetryOf(peer)?.(retry, restart);
  const attempt = async (moved: (progress?: RetryProgress) => void): Promise<TreeResult> => {
    const settings = { ...makeSettings(), filter };
    restart = moved;
    report.begin(settings, moved);
    using clients = new TransferClients(label, peer, settings);
    settings.signal.throwIfAborted();
    const ends = makeEnds(settings);
    try {
      return await new TreeTransfer(settings, clients, ends, report).run();
    } finally {
      ({ isUsable } = clients.first);
      await ends.close?.();
    }
  };
  const mayRetry = (error: unknown) =>
    isUsable && !report.hasThrown && (isTransient(error) || isOvertaken(error));
  try {
    return await retryIf(mayRetry, attempt, { retries, signal, onRetry });
  } catch (error) {
    if (!report.hasThrown && signal?.aborted !== true) report.end();
    throw error;
  }
}

class TreeTransfer {
  readonly #settings: TreeSettings;
  readonly #clients: TransferClients;
  readonly #ends: TreeEnds;
  readonly #report: TreeReport;
  #target: TreeNode | null = null;
  readonly #names: TargetNames;
  readonly #copies: TreeCopies;
  readonly #directories: MissingDirectories;
  readonly #taken: TakenNames;
  readonly #late: LateFiles;
  readonly #deletions: TreeDeletions;

  constructor(
    settings: TreeSettings,
    clients: TransferClients,
    ends: TreeEnds,
    report: TreeReport,
  ) {
    this.#settings = settings;
    this.#clients = clients;
    this.#ends = ends;
    this.#report = report;
    const names = this.#names = new TargetNames((path) => ends.entries(clients.first, path));
    const copies = this.#copies = new TreeCopies(settings, clients, ends, report);
    this.#directories = new MissingDirectories(clients, ends, report, names, copies.made);
    this.#taken = new TakenNames(settings, ends, report, names, copies);
    this.#late = new LateFiles(clients, ends, report, copies, this.#directories);
    this.#deletions = new TreeDeletions(settings, clients, ends, report);
  }

  async run(): Promise<TreeResult> {
    const { first } = this.#clients;
    const [source, target] = await this.#clients.together<ListedTree | null>([
      () => this.#readList(() => this.#ends.readSource(first)),
      () => this.#readList(() => this.#ends.readTarget(first)),
    ]);
    this.#target = target?.root ?? null;
    this.#report.listed(this.#target);
    const unsettled = this.#unsettledIn(source!);
    const plan = new Plan(source!.root, this.#target, this.#settings, unsettled);
    const deleted = plan.deleted + this.#report.counts.deleted;
    const isOverLimit = deleted > this.#settings.maxDelete;
    if (isOverLimit || plan.isIncomplete) plan.keepAll();
    await this.#copies.compareEach(plan.compares, (copy, isSame) => {
      if (isSame) plan.addUnchanged(copy);
      else if (this.#settings.replace) plan.copies.push(copy);
      else plan.fail(copy.node, existsAlready(copy.node));
    });
    const otherModes = this.#findOtherModes(plan);
    if (target && this.#ends.canReuse) {
      this.#copies.beginnings = findBeginnings(plan.copies, source!.root, target.root);
    }
    this.#announce(plan, otherModes);
    if (this.#settings.dryRun) this.#pretendCopies(plan.copies);
    else await this.#carryOut(plan);
    await this.#giveModes(otherModes);
    const deletionsKept = this.#settings.delete
      ? await this.#delete(plan, isOverLimit && !plan.isEmpty ? deleted : null)
      : null;
    await this.#ends.finish?.();
    this.#report.end();
    this.#report.progress();
    return { ...this.#report.counts, deletionsKept };
  }

  /** Reads a list, and a new one if a change of the tree has overtaken it. */
  async #readList<T>(read: () => Promise<T>): Promise<T> {
    for (let lists = 1;; lists++) {
      try {
        return await read();
      } catch (error) {
        this.#settings.signal.throwIfAborted();
        const isLast = lists === MAX_LISTS || !this.#clients.first.isUsable;
        if (isLast || !isOvertaken(error)) throw error;
      }
    }
  }

  /** Makes a function that tells whether a file of the source may still be being written. */
  #unsettledIn({ listed }: ListedTree): (file: TreeNode) => boolean {
    const { settled, uri, move } = this.#settings;
    if (settled === 0) return () => false;
    if (listed !== null) {
      const after = listed.began - settled * 1000;
      const until = move ? listed.ended + MAX_SKEW_MILLISECONDS : listed.ended;
      const isRecent = (time: number) => isWithin(time, after, until);
      return (file) => isRecent(file.modified) || move && isRecent(this.#ends.changedAt!(file));
    }
    const problem =
      "the list has no date, which `settled` needs; is it a FilesApp of this version?";
    throw unexpectedResponse("GET", uri, problem);
  }

  #whyNotDelete(plan: Plan): TreeResult["deletionsKept"] {
    if (plan.isIncomplete) return "incomplete";
    // A link at the target is in the way of its own path alone.
    if (this.#report.failures > plan.linked) return "failed";
    return plan.isEmpty ? "empty" : null;
  }

  /**
   * Deletes what only the target has, and what has the place of something of another kind, which
   * gets its name then. All of that has arrived before anything is deleted.
   *
   * @param tooMany How many the whole call would delete, if that is above the limit.
   * @returns Why something was kept.
   */
  async #delete(plan: Plan, tooMany: number | null): Promise<TreeResult["deletionsKept"]> {
    const why = tooMany !== null ? "limit" : this.#whyNotDelete(plan);
    if (why !== null) {
      for (const late of plan.lates) this.#late.fail(late);
      if (tooMany !== null) {
        const error = overLimit(tooMany, this.#settings.maxDelete);
        this.#report.failed(TreeNode.root(), error, "target");
      }
      return why;
    }
    const respelled = await this.#deletions.findRespelled(plan);
    const [kept, lates] = [true, false].map((isKept) => {
      return plan.lates.filter(({ scope }) => respelled.has(scope) === isKept);
    }) as [LateGroup[], LateGroup[]];
    for (const late of kept) this.#late.fail(late);
    if (!this.#settings.dryRun && !await this.#late.receive(lates)) return "failed";
    await this.#deletions.carryOut(plan, respelled);
    for (const node of plan.unnameable) this.#report.failed(node, unnameable(node), "target");
    for (const late of lates) await this.#place(late, plan);
    await this.#taken.decide();
    return [...respelled.values()].some((node) => node !== null) ? "spelling" : null;
  }

  async #place(late: LateGroup, { staying }: Plan): Promise<void> {
    const { obstacle, copies, newDirectories } = late;
    if (staying.has(obstacle)) {
      // Where the obstacle itself could not be deleted, its path has failed already.
      const told = this.#deletions.undeleted.has(obstacle)
        ? [newDirectories[0] ?? copies[0]!.node]
        : [];
      this.#late.fail(late, new Set(told));
    } else if (this.#settings.dryRun) this.#pretendCopies(copies);
    else await this.#late.place(late);
  }

  /** Finds the unchanged files that are to get other permission bits. */
  #findOtherModes({ otherModes }: Plan): ReadonlyMap<TreeNode, Copy> {
    const isWanted = otherModes.length > 0 && !this.#settings.dryRun;
    const granted = isWanted ? this.#ends.findGranted() : null;
    if (granted === null) return new Map();
    const others = otherModes.filter(({ node, target }) => {
      return modeOfCopy(node.mode!, granted) !== target!.mode;
    });
    return new Map(others.map((copy) => [copy.node, copy]));
  }

  async #giveModes(others: ReadonlyMap<TreeNode, Copy>): Promise<void> {
    await this.#clients.run([[...others.values()]], async (client, copy) => {
      const { node } = copy;
      try {
        await this.#ends.giveMode(client, copy);
      } catch (error) {
        throwIfForAll(error, client);
        return this.#report.failed(node, error);
      }
      this.#report.unchanged(node);
    });
  }

  #announce(plan: Plan, otherModes: ReadonlyMap<TreeNode, Copy>): void {
    const late = plan.lates.flatMap(({ copies }) => copies);
    const planned = [...plan.copies, ...late].map(({ node }) => node);
    this.#report.plan(planned, this.#copies.beginnings);
    for (const node of plan.unchanged) if (!otherModes.has(node)) this.#report.unchanged(node);
    for (const { node: { path }, reason } of plan.skipped) {
      this.#report.event({ type: "skipped", path, reason });
    }
    for (const { node, error } of plan.failed) this.#report.failed(node, error);
  }

  /** Reports files as if they had been copied. */
  #pretendCopies(copies: readonly Copy[]): void {
    for (const { node } of copies) {
      const { size } = node;
      const reused = this.#copies.beginnings.get(node)?.size ?? 0;
      const bytes = size - reused;
      this.#copies.copied(node, { bytes, total: size, resumedFrom: 0, reused, sha256: null });
    }
  }

  async #carryOut(plan: Plan): Promise<void> {
    // An outbox that is empty asks for nothing.
    const isIdle = plan.copies.length + plan.newDirectories.length === 0;
    if (isIdle && this.#settings.move) return;
    this.#names.isUnlisted = await this.#ends.begin(this.#clients.first, this.#target === null);
    const failed = await this.#directories.make(plan.newDirectories);
    const copies: Copy[] = [];
    for (const copy of plan.copies) {
      const { node } = copy;
      const above = directoryAbove(node, failed);
      if (above !== null) this.#report.failed(node, directoryMissing(node, failed.get(above)));
      else if (this.#names.isUnlisted && !isSmall(copy)) copies.push({ ...copy, isNew: false });
      else if (this.#names.isRespelled(copy)) copies.push({ ...copy, isDoubtful: true });
      else copies.push(copy);
    }
    await this.#copies.copyAll(copies);
    await this.#taken.decide();
    await this.#directories.makeRest(plan.newDirectories);
  }
}
