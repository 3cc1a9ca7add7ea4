/**
 * The copying of trees, the same in both directions: both ends are compared, files that differ are
 * copied over several connections, superfluous entries are deleted, and all of it is reported.
 *
 * An error of one file fails that file alone. An error that concerns all files rejects the whole:
 * the peer is gone, a disk is full, the signal is aborted, a callback throws.
 */

import type { Connector, Requester } from "../../../client.ts";
import type { TreeEntry } from "../entries.ts";
import { Lanes, throwIfForAll } from "./lanes.ts";
import { type ListedTree, treeUriOf } from "./list_tree.ts";
import { modeOfCopy } from "../modes.ts";
import { isTransient, retryIf, type RetryProgress } from "../../../net/retry.ts";
import { pathOf, type TransferResult, type TransferSettings } from "../options.ts";
import { Refusal } from "../refusal.ts";
import type { Route } from "../transfer/route.ts";
import {
  endsAll,
  hasChanged,
  hasStatus,
  isCut,
  isOvertaken,
  TransferError,
  unexpectedResponse,
} from "../transfer_error.ts";
import { directoryAbove, isSameTime, isWithin, TreeNode } from "./tree.ts";
import { TreeDeletions } from "./deletions.ts";
import type { Direction, Made, Outcomes } from "./direction.ts";
import { TargetNames } from "./names.ts";
import {
  checkTreeOptions,
  type TreeResult,
  type TreeSettings,
  type UploadTreeOptions,
} from "./options.ts";
import {
  changedMeanwhile,
  type Copy,
  directoryMissing,
  existsAlready,
  failuresOf,
  inTheWay,
  type Late,
  overLimit,
  Plan,
  sameName,
  unnameable,
} from "./plan.ts";
import { TreeReport } from "./report.ts";
import { compareContents, isSmall, uriOf } from "./requests.ts";

/** The most files and directories of a request. */
const BATCH_FILES = 512;
/** The same for files that are moved, each of which is open until it is removed. */
const MOVED_FILES = 32;
/** The most bytes of files in a request, by their sizes in the list. */
const BATCH_BYTES = 4_194_304;
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
  makeDirection: (settings: TreeSettings) => Direction,
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
  const attempt = async (moved: (progress?: RetryProgress) => void): Promise<TreeResult> => {
    const settings = { ...makeSettings(), filter };
    report.begin(settings, moved);
    using lanes = new Lanes(label, peer, settings);
    settings.signal.throwIfAborted();
    const direction = makeDirection(settings);
    try {
      return await new TreeTransfer(settings, lanes, direction, report).run();
    } finally {
      ({ isUsable } = lanes.first);
      await direction.close?.();
    }
  };
  const mayRetry = (error: unknown) =>
    isUsable && !report.hasThrown && (isTransient(error) || isOvertaken(error));
  try {
    return await retryIf(mayRetry, attempt, { retries, signal });
  } catch (error) {
    if (!report.hasThrown && signal?.aborted !== true) report.end();
    throw error;
  }
}

/** A file whose name is taken by something that the list of the target did not have. */
interface Taken {
  readonly copy: Copy;
  readonly sha256: string | null;
}

/** A file whose part is complete at the target. */
interface Received {
  readonly part: TransferResult;
  readonly meter: (bytes: number) => void;
}

class TreeTransfer {
  readonly #settings: TreeSettings;
  readonly #lanes: Lanes;
  readonly #direction: Direction;
  readonly #report: TreeReport;
  /** The directories of the source that are there at the target. */
  readonly #made = new Set<TreeNode>();
  readonly #taken: Taken[] = [];
  /** Files that were received, and get their names after deletions. */
  readonly #received = new Map<Copy, Received>();
  /** With `move`: the files that are at the target and not yet removed here. */
  readonly #arrived = new Map<TreeNode, TransferResult>();
  /** Whether the target is there, and can't be listed. */
  #isUnlisted = false;
  #target: TreeNode | null = null;
  readonly #names: TargetNames;
  readonly #deletions: TreeDeletions;

  constructor(
    settings: TreeSettings,
    lanes: Lanes,
    direction: Direction,
    report: TreeReport,
  ) {
    this.#settings = settings;
    this.#lanes = lanes;
    this.#direction = direction;
    this.#report = report;
    this.#names = new TargetNames((path) => direction.entries(lanes.first, path));
    this.#deletions = new TreeDeletions(settings, lanes, direction, this.#report);
  }

  async run(): Promise<TreeResult> {
    const { first } = this.#lanes;
    const [source, target] = await this.#lanes.together<ListedTree | null>([
      () => this.#readList(() => this.#direction.readSource(first)),
      () => this.#readList(() => this.#direction.readTarget(first)),
    ]);
    this.#target = target?.root ?? null;
    const unsettled = this.#unsettledIn(source!);
    const plan = new Plan(source!.root, this.#target, this.#settings, unsettled);
    const deleted = plan.deleted + this.#report.counts.deleted;
    const isOverLimit = deleted > this.#settings.maxDelete;
    if (isOverLimit || plan.isIncomplete) plan.keepAll();
    await this.#compareEach(plan.compares, (copy, isSame) => {
      if (isSame) plan.addUnchanged(copy);
      else if (this.#settings.replace) plan.copies.push(copy);
      else plan.fail(copy.node, existsAlready(copy.node));
    });
    const otherModes = this.#findOtherModes(plan);
    this.#announce(plan, otherModes);
    if (this.#settings.dryRun) this.#pretendCopies(plan.copies);
    else await this.#carryOut(plan);
    await this.#giveModes(otherModes);
    const deletionsKept = this.#settings.delete
      ? await this.#delete(plan, isOverLimit && !plan.isEmpty)
      : null;
    await this.#direction.finish?.();
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
        const isLast = lists === MAX_LISTS || !this.#lanes.first.isUsable;
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
      return (file) =>
        isRecent(file.modified) || move && isRecent(this.#direction.changedAt!(file));
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
   * @returns Why something was kept.
   */
  async #delete(plan: Plan, isOverLimit: boolean): Promise<TreeResult["deletionsKept"]> {
    const why = isOverLimit ? "limit" : this.#whyNotDelete(plan);
    if (why !== null) {
      for (const late of plan.lates) this.#failLate(late);
      const { maxDelete } = this.#settings;
      const root = TreeNode.root();
      if (isOverLimit) {
        this.#report.failed(
          root,
          overLimit(plan.deleted + this.#report.counts.deleted, maxDelete),
          "target",
        );
      }
      return why;
    }
    const respelled = await this.#deletions.findRespelled(plan);
    const [kept, lates] = [true, false].map((isKept) => {
      return plan.lates.filter(({ scope }) => respelled.has(scope) === isKept);
    }) as [Late[], Late[]];
    for (const late of kept) this.#failLate(late);
    if (!await this.#receive(lates)) return "failed";
    await this.#deletions.carryOut(plan, respelled);
    for (const node of plan.unnameable) this.#report.failed(node, unnameable(node), "target");
    for (const late of lates) await this.#place(late, plan);
    await this.#decideTaken();
    return [...respelled.values()].some((node) => node !== null) ? "spelling" : null;
  }

  /** Receives files that get their names after deletions; false if one of them has failed. */
  async #receive(lates: readonly Late[]): Promise<boolean> {
    const copies = lates.flatMap(({ copies }) => copies);
    if (this.#settings.dryRun) return true;
    const failed = new Set<TreeNode>();
    await this.#lanes.run([copies], async (route, copy) => {
      if (!await this.#copyAlone(route, copy)) failed.add(copy.node);
    });
    if (failed.size === 0) return true;
    for (const late of lates) this.#failLate(late, failed);
    return false;
  }

  /** Gives files their names, unless what had those is still there. */
  async #place(late: Late, { staying }: Plan): Promise<void> {
    const { obstacle, copies, makes } = late;
    if (staying.has(obstacle)) {
      // Where the obstacle itself could not be deleted, its path has failed already.
      const told = this.#deletions.undeleted.has(obstacle) ? [makes[0] ?? copies[0]!.node] : [];
      return this.#failLate(late, new Set(told));
    }
    if (this.#settings.dryRun) return this.#pretendCopies(copies);
    await this.#makeDirectories(makes);
    await this.#lanes.run([copies], (route, copy) => this.#placeOne(route, copy));
  }

  async #placeOne(route: Route, copy: Copy): Promise<void> {
    const { part, meter } = this.#received.get(copy)!;
    for (let attempt = 1;; attempt++) {
      try {
        if (await this.#direction.place(route, copy, part)) {
          this.#copied(copy.node, part, meter);
        } else {
          meter(0);
          await this.#copyAlone(route, { ...copy, late: null });
        }
        return;
      } catch (error) {
        if (attempt === 1 && route.canReconnect && isCut(error)) continue;
        throwIfForAll(error, route);
        meter(0);
        return this.#report.failed(copy.node, error);
      }
    }
  }

  /** Reports what can't get the name of something that stays, unless that was told already. */
  #failLate(late: Late, told: ReadonlySet<TreeNode> = new Set()): void {
    for (const copy of late.copies) {
      const received = this.#received.get(copy);
      if (received === undefined) continue;
      received.meter(0);
      this.#direction.discard?.(copy);
    }
    for (const [node, error] of failuresOf(late)) {
      if (!told.has(node)) this.#report.failed(node, error);
    }
  }

  /** Compares the contents of files at both ends. */
  async #compareEach(
    copies: readonly Copy[],
    compared: (copy: Copy, isSame: boolean) => void,
  ): Promise<void> {
    await this.#lanes.run(queuesOf(copies), async (route, batch) => {
      const same = await compareContents(route, this.#settings, batch, this.#direction);
      for (const [i, copy] of batch.entries()) compared(copy, same[i]!);
    });
  }

  /** Finds the unchanged files that are to get other permission bits. */
  #findOtherModes({ otherModes }: Plan): ReadonlyMap<TreeNode, Copy> {
    const isWanted = otherModes.length > 0 && !this.#settings.dryRun;
    const granted = isWanted ? this.#direction.findGranted() : null;
    if (granted === null) return new Map();
    const others = otherModes.filter(({ node, target }) => {
      return modeOfCopy(node.mode!, granted) !== target!.mode;
    });
    return new Map(others.map((copy) => [copy.node, copy]));
  }

  async #giveModes(others: ReadonlyMap<TreeNode, Copy>): Promise<void> {
    await this.#lanes.run([[...others.values()]], async (route, copy) => {
      const { node } = copy;
      try {
        await this.#direction.giveMode(route, copy);
      } catch (error) {
        throwIfForAll(error, route);
        return this.#report.failed(node, error);
      }
      this.#report.unchanged(node);
    });
  }

  #announce(plan: Plan, otherModes: ReadonlyMap<TreeNode, Copy>): void {
    const late = plan.lates.flatMap(({ copies }) => copies);
    this.#report.plan([...plan.copies, ...late].map(({ node }) => node));
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
      this.#copied(node, { bytes: size, total: size, resumedFrom: 0, sha256: null });
    }
  }

  async #carryOut(plan: Plan): Promise<void> {
    // An outbox that is empty asks for nothing.
    const isIdle = plan.copies.length + plan.makes.length === 0;
    if (isIdle && this.#settings.move) return;
    this.#isUnlisted = await this.#direction.begin(this.#lanes.first, this.#target === null);
    const failed = await this.#makeMissing(plan.makes);
    const copies: Copy[] = [];
    for (const copy of plan.copies) {
      const { node } = copy;
      const above = directoryAbove(node, failed);
      if (above !== null) this.#report.failed(node, directoryMissing(node, failed.get(above)));
      else if (this.#isUnlisted && !isSmall(copy)) copies.push({ ...copy, isNew: false });
      else if (this.#names.isRespelled(copy)) copies.push({ ...copy, isDoubtful: true });
      else copies.push(copy);
    }
    const most = this.#settings.move ? MOVED_FILES : BATCH_FILES;
    await this.#lanes.run(queuesOf(copies, most), (route, copies) => this.#copy(route, copies));
    await this.#decideTaken();
    await this.#makeDirectories(plan.makes);
  }

  async #copy(route: Route, copies: readonly Copy[]): Promise<void> {
    const [first] = copies;
    try {
      if (copies.length > 1 || isSmall(first!)) await this.#copySmall(route, copies);
      else await this.#copyAlone(route, first!);
    } catch (error) {
      // Files that have arrived before the error need not be sent again.
      await this.#removeArrived().catch(() => {});
      throw error;
    }
    await this.#removeArrived();
  }

  /** Copies small files in one request, and some of them in a second one. */
  async #copySmall(route: Route, copies: readonly Copy[]): Promise<void> {
    const left = new Map<Copy, unknown>(copies.map((copy) => [copy, null]));
    const alone: Copy[] = [];
    for (let attempt = 1; left.size > 0 && attempt <= 2; attempt++) {
      try {
        for await (const [copy, outcome] of this.#direction.copySmall(route, [...left.keys()])) {
          if (outcome.is === "again") {
            left.set(copy, outcome.error);
            continue;
          }
          left.delete(copy);
          if (outcome.is === "copied") {
            const { bytes, sha256 } = outcome;
            this.#copied(copy.node, { bytes, total: bytes, resumedFrom: 0, sha256 });
          } else if (outcome.is === "taken") {
            this.#taken.push({ copy, sha256: outcome.sha256 });
          } else if (outcome.is === "alone") alone.push(copy);
          else this.#report.failed(copy.node, outcome.error);
        }
      } catch (error) {
        // Files that were in place before the connection broke off stay; the rest is requested once
        // more.
        if (attempt === 2 || !route.canReconnect || !isCut(error)) throw error;
      }
    }
    for (const [{ node }, error] of left) this.#report.failed(node, error);
    for (const copy of alone) await this.#copyAlone(route, copy);
  }

  #copied(node: TreeNode, result: TransferResult, meter = this.#report.meter(node)): void {
    for (let { parent } = node; parent !== null && !this.#made.has(parent); { parent } = parent) {
      this.#made.add(parent);
    }
    meter(node.size);
    const { move, dryRun } = this.#settings;
    if (move && !dryRun) return void this.#arrived.set(node, result);
    this.#report.copied(node, result);
    if (move) this.#report.event({ type: "removed", path: node.path });
  }

  /** Removes the files of the source that have arrived, and reports them. */
  async #removeArrived(): Promise<void> {
    const arrived = new Map(this.#arrived);
    this.#arrived.clear();
    if (arrived.size === 0) return;
    const outcomes = this.#direction.removeSources!([...arrived.keys()]);
    for await (const [node, { error, isRemoved }] of outcomes) {
      if (error === null) this.#report.copied(node, arrived.get(node)!);
      else this.#report.failed(node, error);
      if (isRemoved) this.#report.event({ type: "removed", path: node.path });
    }
  }

  /** Copies a file; false if it has failed, alone. */
  async #copyAlone(route: Route, copy: Copy): Promise<boolean> {
    const meter = this.#report.meter(copy.node);
    let { size } = copy.node;
    let resumedFrom = 0;
    let furthest = 0;
    let vainAttempts = 0;
    const { replace, modes, signal } = this.#settings;
    const settings: TransferSettings = {
      resume: true,
      replace,
      modes,
      modified: new Date(copy.node.modified),
      onProgress(progress) {
        ({ resumedFrom } = progress);
        meter(resumedFrom + progress.bytes);
      },
      signal,
    };
    while (true) {
      try {
        const result = await this.#direction.copyAlone(route, copy, settings, size);
        if (copy.late !== null) this.#received.set(copy, { part: result, meter });
        else this.#copied(copy.node, result, meter);
        return true;
      } catch (error) {
        signal.throwIfAborted();
        if (endsAll(error) || !route.isUsable) throw error;
        if (copy.isNew && isTaken(error)) {
          meter(0);
          this.#taken.push({ copy, sha256: null });
          return false;
        }
        // How far a file has got with a connection that broke off, the next attempt shows.
        const hasGotFurther = isCut(error) && resumedFrom > furthest;
        furthest = Math.max(furthest, resumedFrom);
        vainAttempts = hasGotFurther ? 0 : vainAttempts + 1;
        if (isCut(error) || hasChanged(error)) {
          const sizeNow = await this.#sizeNow(route, copy.node, size);
          signal.throwIfAborted();
          // A peer that does not answer either is gone.
          if (sizeNow === null) throw error;
          size = sizeNow;
          if (vainAttempts < 2) continue;
        }
        meter(0);
        this.#report.failed(copy.node, error);
        return false;
      }
    }
  }

  /** The size of a file at the other end now, or else the known size; `null` without an answer. */
  async #sizeNow(route: Route, node: TreeNode, known: number): Promise<number | null> {
    try {
      const response = await route.request("HEAD", uriOf(this.#settings.uri, node), {});
      await route.discard(response);
      const { status, headers: { "content-length": length } } = response;
      return status === 200 && typeof length === "number" ? length : known;
    } catch {
      return null;
    }
  }

  /**
   * Decides about the files whose names are taken, or that were to replace a file that is another
   * one by now; each after the other.
   */
  async #decideTaken(): Promise<void> {
    while (this.#taken.length > 0) {
      const taken = this.#taken.splice(0);
      const named = new Map(taken.map(({ copy, sha256 }) => [copy, sha256]));
      const again: Copy[] = [];
      for (const copy of await this.#findChanged(await this.#findListed(named))) {
        again.push({ ...copy, isNew: false });
      }
      const most = this.#settings.move ? MOVED_FILES : BATCH_FILES;
      for (const copies of queuesOf(again, most).flat()) {
        await this.#copy(this.#lanes.first, copies);
      }
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
    if (this.#isUnlisted) return copies;
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
      this.#direction.discard?.(copy);
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
   * attempt whose answer was lost may have placed it, or another program. A file that is moved is
   * written again, since the equal file may be this very one; and it replaces no other file whose
   * name the target takes for the same, which may have been moved before. What has changed since
   * it was compared, or came since the target was listed, is not replaced.
   *
   * @param copies The files, with their SHA-256 if it is known.
   * @returns The files that are to be replaced.
   */
  async #findChanged(copies: ReadonlyMap<Copy, string | null>): Promise<Copy[]> {
    const changed: Copy[] = [];
    await this.#compareEach([...copies.keys()], (copy, isSame) => {
      const { node } = copy;
      const { move } = this.#settings;
      const isRespelled = this.#names.isRespelled(copy);
      const hasBeenThere = this.#isUnlisted || move !== isRespelled;
      const replace = this.#settings.replace && copy.isNew && hasBeenThere;
      const sha256 = copies.get(copy)!;
      const result = { bytes: 0, total: node.size, resumedFrom: node.size, sha256 };
      if (isSame && !move && isRespelled) this.#unchanged(node);
      else if (isSame && !move) this.#copied(node, result);
      else if (isSame || replace) changed.push({ ...copy, isSame: !replace });
      else {
        const isOther = this.#settings.replace && !(move && copy.isNew);
        const error = isOther ? changedMeanwhile(node) : existsAlready(node);
        this.#report.failed(node, error);
      }
    });
    return changed;
  }

  /**
   * Makes missing directories before anything is copied, to find two names that are one directory
   * at the target. A directory that can't be made yet is made, or reported, after the files.
   *
   * @returns The directories that are one with another directory, with the error that was reported.
   */
  async #makeMissing(missing: readonly TreeNode[]): Promise<ReadonlyMap<TreeNode, unknown>> {
    const { first } = this.#lanes;
    const there: TreeNode[] = [];
    const created: TreeNode[] = [];
    for await (const [node, made] of this.#make(missing)) {
      if (made.error !== null) continue;
      this.#made.add(node);
      (made.isNew ? created : there).push(node);
    }
    const failed = new Map<TreeNode, unknown>();
    // If the target could not be listed, its directories may have been there before.
    for (const [node, as] of this.#isUnlisted ? [] : await this.#names.listedAs(there)) {
      if (as !== null) {
        if (as.name !== node.name) this.#names.respelled.add(node);
        continue;
      }
      const error = sameName(node);
      failed.set(node, error);
      this.#report.failed(node, error);
    }
    // A directory that was made below a failed one lies in the rival of that one, where it has no
    // place.
    for (const node of created.reverse()) {
      if (directoryAbove(node, failed) === null) continue;
      await this.#direction.remove(first, node).catch((error) => throwIfForAll(error, first));
    }
    return failed;
  }

  /** Makes directories; throws an error that concerns all of them. */
  async *#make(nodes: readonly TreeNode[]): Outcomes<TreeNode, Made> {
    const { first } = this.#lanes;
    for (let start = 0; start < nodes.length; start += BATCH_FILES) {
      const batch = nodes.slice(start, start + BATCH_FILES);
      for await (const each of this.#direction.makeDirectories(first, batch)) {
        if (each[1].error !== null) throwIfForAll(each[1].error, first);
        yield each;
      }
    }
  }

  /** Makes the directories that could not be made before, unless they were made for a file. */
  async #makeDirectories(all: readonly TreeNode[]): Promise<void> {
    const failed = new Set<TreeNode>();
    for await (const [node, { error }] of this.#make(all.filter((node) => !this.#made.has(node)))) {
      if (error === null) continue;
      failed.add(node);
      // The directories in a failed directory have failed with it.
      if (!failed.has(node.parent!)) this.#report.failed(node, error);
    }
  }
}

/** Whether something has the name of a file that was to be new. */
function isTaken(error: unknown): boolean {
  if (!(error instanceof TransferError)) return hasStatus(error, 412);
  return error.cause instanceof Refusal && error.cause.status === 412;
}

/** Two queues: of small files in batches, and of the other files alone. */
function queuesOf(copies: readonly Copy[], most = BATCH_FILES): [Copy[][], Copy[][]] {
  const small: Copy[][] = [];
  const large: Copy[][] = [];
  let batch: Copy[] = [];
  // No batch has room for the first file.
  let bytes = Infinity;
  for (const copy of copies) {
    if (!isSmall(copy)) {
      large.push([copy]);
      continue;
    }
    if (batch.length === most || bytes > BATCH_BYTES) {
      small.push(batch = []);
      bytes = 0;
    }
    batch.push(copy);
    bytes += copy.node.size;
  }
  return [small, large];
}
