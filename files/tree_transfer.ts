/**
 * The copying of trees, the same in both directions: compares both ends, copies what differs over several
 * connections, deletes what is superfluous, and reports all of it.
 *
 * What is so for one file fails alone; what is so for all of them rejects the whole: the peer is gone, a disk is full, the
 * signal is aborted, a callback throws.
 */

import type { Client, Connection } from "../client.ts";
import type { NameRecord } from "./bundle.ts";
import { Lanes } from "./lanes.ts";
import { checkTreeUri, type ListedTree } from "./list_tree.ts";
import { checkPath, type TransferResult, type TransferSettings } from "./options.ts";
import { Refusal } from "./refusal.ts";
import type { Route } from "./route.ts";
import { endsAll, hasChanged, isCut, TransferError, unexpectedResponse } from "./transfer_error.ts";
import type { TreeNode } from "./tree.ts";
import { TargetNames } from "./tree_names.ts";
import {
  checkTreeOptions,
  type TreeOptions,
  type TreeResult,
  type TreeSettings,
} from "./tree_options.ts";
import {
  type Blocked,
  type Copy,
  directoryMissing,
  existsAlready,
  type Judged,
  type Make,
  Plan,
  sameFile,
  type TimeSpan,
} from "./tree_plan.ts";
import { TreeReport } from "./tree_report.ts";
import { compareContents, head, isSmall, uriOf } from "./tree_requests.ts";

/**
 * The outcome of a small file: how many bytes it has; that something has its name, which the list
 * of the target did not have, and the file's SHA-256 if it is known; what may be better when it is
 * requested again, or alone; or an error.
 */
export type Outcome =
  | { readonly bytes: number; readonly sha256: string | null }
  | { readonly taken: true; readonly sha256: string | null }
  | { readonly again: unknown }
  | { readonly alone: true }
  | { readonly error: unknown };

/** The outcome of a directory: why it was not made, or `null`; and whether nothing had its name. */
export interface Made {
  readonly error: unknown;
  readonly isNew: boolean;
}

/** Called for each item with what became of it. */
export type Done<Item, What> = (item: Item, what: What) => void;

/** What differs between a download and an upload. */
export interface Direction {
  readSource(route: Route): Promise<ListedTree>;
  /** Lists the target; `null` if it does not exist. */
  readTarget(route: Route): Promise<ListedTree | null>;
  /**
   * Makes the target if no list of it was to be had.
   *
   * @returns Whether it is there nevertheless: then nobody knows what is in it.
   */
  begin(route: Route, isMissing: boolean): Promise<boolean>;
  /** Finds the names by which the target lists nodes of the source; `null` if it can't tell. */
  listedNames(route: Route, nodes: readonly TreeNode[]): Promise<readonly NameRecord[] | null>;
  /** The names in a directory of the target; `null` if it is gone. */
  names(route: Route, path: readonly string[]): Promise<ReadonlySet<string> | null>;
  /** The path of a file here. */
  pathOf(node: TreeNode): string;
  /** Copies small files; what has no outcome when it rejects may be requested again. */
  copySmall(route: Route, copies: readonly Copy[], done: Done<Copy, Outcome>): Promise<void>;
  /**
   * Copies a single file.
   *
   * @param size How many bytes the other end has said that it has.
   */
  copyAlone(
    route: Route,
    copy: Copy,
    settings: TransferSettings,
    size: number,
  ): Promise<TransferResult>;
  /** Makes directories, each after those that it is in. */
  makeDirectories(route: Route, makes: readonly Make[], done: Done<Make, Made>): Promise<void>;
  remove(route: Route, node: TreeNode): Promise<void>;
  /** Of a dry run: the error of a file that would not fit besides those before it, or `null`. */
  foreseeShortage?(node: TreeNode): Promise<Error | null>;
  /** Removes the part of a file here that can't get its name. */
  discard?(node: TreeNode): void;
  /** Syncs what was removed here. */
  finish?(): Promise<void>;
}

/** The most files of a request. */
const BATCH_FILES = 512;
/** The most bytes of a request, as far as the list says. */
const BATCH_BYTES = 4_194_304;

/**
 * Checks the arguments, and copies a tree.
 *
 * @param label The name of the client or connection in errors.
 */
export async function transferTree(
  label: "from" | "to",
  peer: Client | Connection,
  dir: string,
  uri: string,
  options: TreeOptions,
  makeDirection: (settings: TreeSettings) => Direction,
): Promise<TreeResult> {
  checkTreeUri(uri);
  checkPath("dir", "the path of a directory", dir);
  const settings = { dir, uri, ...checkTreeOptions(options) };
  using lanes = new Lanes(label, peer, settings);
  settings.signal.throwIfAborted();
  return await new TreeTransfer(settings, lanes, makeDirection(settings)).run();
}

/**
 * A file whose name, or that of its part, something has that the list of the target did not have.
 */
interface Taken {
  readonly copy: Copy;
  readonly sha256: string | null;
  readonly isPart: boolean;
}

class TreeTransfer {
  readonly #settings: TreeSettings;
  readonly #lanes: Lanes;
  readonly #direction: Direction;
  readonly #report: TreeReport;
  /** Directories of the source that were made. */
  readonly #made = new Set<TreeNode>();
  readonly #taken: Taken[] = [];
  /** Whether files are copied one after the other: then nothing else of this call holds a part. */
  #isInTurn = false;
  /** Whether the target is there, and can't be listed. */
  #isUnlisted = false;
  #target: TreeNode | null = null;
  readonly #names: TargetNames;

  constructor(settings: TreeSettings, lanes: Lanes, direction: Direction) {
    this.#settings = settings;
    this.#lanes = lanes;
    this.#direction = direction;
    this.#report = new TreeReport(settings);
    this.#names = new TargetNames(direction, lanes);
  }

  async run(): Promise<TreeResult> {
    const { first } = this.#lanes;
    const [source, target] = await this.#lanes.together<ListedTree | null>([
      () => this.#direction.readSource(first),
      () => this.#direction.readTarget(first),
    ]);
    this.#target = target?.root ?? null;
    const unsettled = this.#unsettledIn(source!);
    if (this.#target !== null) await this.#names.find(source!.root, this.#target);
    const { spellings } = this.#names;
    const plan = new Plan(source!.root, this.#target, this.#settings, unsettled, spellings);
    await this.#compare(plan);
    this.#announce(plan);
    if (this.#settings.dryRun) await this.#pretend(plan);
    else await this.#carryOut(plan);
    const deletionsKept = this.#settings.delete ? this.#whyNotDelete(plan) : null;
    const respelled = this.#settings.delete && deletionsKept === null
      ? await this.#delete(plan)
      : [];
    if (!this.#settings.dryRun) await this.#direction.finish?.();
    this.#report.progress();
    const unnameable = plan.unnameable.map(({ path }) => path);
    return {
      ...this.#report.counts,
      deletionsKept: respelled.length === 0 ? deletionsKept : "spelling",
      ...respelled.length === 0 ? {} : { respelled },
      ...unnameable.length === 0 ? {} : { unnameable },
    };
  }

  /** The span in which files of the source were modified that are skipped; `null` if none are. */
  #unsettledIn({ listed }: ListedTree): TimeSpan | null {
    const { settled, uri } = this.#settings;
    if (settled === 0) return null;
    if (listed !== null) return { after: listed.began - settled * 1000, until: listed.ended };
    const problem =
      "the list has no date, which `settled` needs; is it a FilesApp of this version?";
    throw unexpectedResponse("GET", uri, problem);
  }

  #whyNotDelete(plan: Plan): TreeResult["deletionsKept"] {
    if (plan.isIncomplete) return "incomplete";
    if (this.#report.counts.failed > 0) return "failed";
    return plan.isEmpty ? "empty" : null;
  }

  async #compare(plan: Plan): Promise<void> {
    await this.#lanes.run(queuesOf(plan.compares), async (route, copies) => {
      const same = await compareContents(route, this.#settings, copies, this.#direction);
      for (const [i, copy] of copies.entries()) {
        if (same[i]) plan.unchanged.push(copy.node);
        else if (this.#settings.replace) plan.copies.push(copy);
        else plan.fail(copy.node, existsAlready(copy.node));
      }
    });
  }

  #announce(plan: Plan): void {
    const nodes = copiesOf(plan).map(({ node }) => node);
    const bytes = this.#report.total = nodes.reduce((bytes, { size }) => bytes + size, 0);
    this.#report.event({ type: "plan", files: nodes.length, bytes });
    for (const { path } of plan.unchanged) this.#report.event({ type: "unchanged", path });
    for (const { node: { path }, reason } of plan.skipped) {
      this.#report.event({ type: "skipped", path, reason });
    }
    for (const { node, error } of plan.failed) this.#report.failed(node, error);
  }

  /** Reports as if it had been done. */
  async #pretend(plan: Plan): Promise<void> {
    for (const { obstacle } of [...plan.copies, ...plan.makes, ...plan.blocked]) {
      this.#report.deleted(obstacle?.nodes);
    }
    for (const { node } of copiesOf(plan)) {
      const { size } = node;
      const shortage = await this.#direction.foreseeShortage?.(node) ?? null;
      if (shortage !== null) this.#report.failed(node, shortage);
      else this.#copied(node, { bytes: size, total: size, resumedFrom: 0, sha256: null });
    }
  }

  async #carryOut(plan: Plan): Promise<void> {
    this.#isUnlisted = await this.#direction.begin(this.#lanes.first, this.#target === null);
    await this.#lanes.run([plan.blocked], (route, blocked) => this.#unblock(route, blocked, plan));
    const failed = await this.#makeMissing(plan.makes);
    const copies = plan.copies.filter((copy) => !this.#hasFailedAbove(copy.node, failed))
      .map((copy) => this.#isUnlisted ? { ...copy, isNew: false } : copy);
    await this.#lanes.run(queuesOf(copies), (route, copies) => this.#copy(route, copies));
    await this.#decideTaken();
    await this.#makeDirectories(plan.makes);
  }

  /** Whether a directory that a file is in has failed; reports the file then. */
  #hasFailedAbove(node: TreeNode, failed: ReadonlyMap<TreeNode, unknown>): boolean {
    const directory = directoryAbove(node, failed);
    if (directory === null) return false;
    this.#report.failed(node, directoryMissing(node, failed.get(directory)));
    return true;
  }

  /** Copies the first file of a directory that has a file in its way; what is left goes to the plan, unless all have failed. */
  async #unblock(route: Route, { copies, makes, obstacle }: Blocked, plan: Plan): Promise<void> {
    let next = 0;
    let isFree = copies.length === 0;
    while (!isFree && next < copies.length) {
      isFree = await this.#copyAlone(route, { ...copies[next++]!, obstacle });
    }
    if (!isFree) return;
    for (const copy of copies.slice(next)) plan.copies.push(copy);
    for (const make of makes) plan.makes.push(make);
  }

  async #copy(route: Route, copies: readonly Copy[]): Promise<void> {
    const [first] = copies;
    if (copies.length > 1 || isSmall(first!)) await this.#copySmall(route, copies);
    else await this.#copyAlone(route, first!);
  }

  /** Copies small files in one request, and some of them in a second one. */
  async #copySmall(route: Route, copies: readonly Copy[]): Promise<void> {
    const left = new Map<Copy, unknown>(copies.map((copy) => [copy, null]));
    const alone: Copy[] = [];
    for (let attempt = 1; left.size > 0 && attempt <= 2; attempt++) {
      const asked = new Set(left.keys());
      try {
        await this.#direction.copySmall(route, [...asked], (copy, outcome) => {
          asked.delete(copy);
          if ("again" in outcome) return void left.set(copy, outcome.again);
          left.delete(copy);
          if ("taken" in outcome) {
            this.#taken.push({ copy, sha256: outcome.sha256, isPart: false });
          } else if ("alone" in outcome) alone.push(copy);
          else if ("error" in outcome) this.#report.failed(copy.node, outcome.error);
          else {
            // What was there already is as large as it was listed.
            const total = outcome.bytes || copy.node.size;
            this.#copied(copy.node, { ...outcome, total, resumedFrom: total - outcome.bytes });
          }
        });
      } catch (error) {
        // What was in place before the connection broke off stays; the rest is requested once more.
        if (attempt === 2 || !route.canReconnect || !isCut(error)) throw error;
        this.#settings.signal.throwIfAborted();
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
    this.#report.copied(node, result);
  }

  /** Copies a file; false if it has failed, alone. */
  async #copyAlone(route: Route, copy: Copy): Promise<boolean> {
    const meter = this.#report.meter(copy.node);
    let { size } = copy.node;
    let resumedFrom = 0;
    let furthest = 0;
    let vainAttempts = 0;
    const { verify, replace, signal } = this.#settings;
    const settings: TransferSettings = {
      resume: true,
      verify,
      replace,
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
        this.#report.deleted(copy.obstacle?.nodes);
        this.#copied(copy.node, result, meter);
        return true;
      } catch (error) {
        signal.throwIfAborted();
        if (endsAll(error) || !route.isUsable) throw error;
        const isPart = !this.#isInTurn && isInUse(error);
        if (isPart || copy.isNew && isTaken(error)) {
          meter(0);
          this.#taken.push({ copy, sha256: null, isPart });
          return false;
        }
        // A file that is resumed gets further with every connection, whatever breaks them off; how far, the next one shows.
        const hasGotFurther = isCut(error) && resumedFrom > furthest;
        furthest = Math.max(furthest, resumedFrom);
        vainAttempts = hasGotFurther ? 0 : vainAttempts + 1;
        if (isCut(error) || hasChanged(error)) {
          const sizeNow = await this.#sizeNow(route, copy.node, size);
          signal.throwIfAborted();
          // No answer either: it was not the file.
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

  /** The size of a file that the other end names now, or the one that is known; `null` if it does not answer. */
  async #sizeNow(route: Route, node: TreeNode, known: number): Promise<number | null> {
    try {
      const { status, headers } = await head(route, uriOf(this.#settings.uri, node));
      const length = headers["content-length"];
      return status === 200 && typeof length === "number" ? length : known;
    } catch {
      return null;
    }
  }

  /**
   * Decides about the files whose names, or those of their parts, something had that the list of the
   * target did not have; one after the other.
   */
  async #decideTaken(): Promise<void> {
    this.#isInTurn = true;
    while (this.#taken.length > 0) {
      const taken = this.#taken.splice(0);
      const named = new Map<Copy, string | null>();
      const again: Copy[] = [];
      for (const { copy, sha256, isPart } of taken) {
        if (isPart) again.push(copy);
        else named.set(copy, sha256);
      }
      await this.#failRivals(named);
      for (const copy of await this.#findChanged(named)) again.push({ ...copy, isNew: false });
      for (const copies of queuesOf(again).flat()) await this.#copy(this.#lanes.first, copies);
    }
  }

  /** Fails those files that are one with another file at the target; only the others stay in the map. */
  async #failRivals(copies: Map<Copy, unknown>): Promise<void> {
    const rivals = await this.#rivalsOf([...copies.keys()].map(({ node }) => node));
    for (const copy of [...copies.keys()]) {
      const { node } = copy;
      const rival = rivals.get(node);
      if (rival === undefined) continue;
      copies.delete(copy);
      this.#direction.discard?.(node);
      this.#report.failed(node, sameFile(node, rival));
    }
  }

  /**
   * Compares files with those that have their names. An equal one counts as copied: an earlier attempt
   * may have placed it, whose answer was lost, or somebody else has.
   *
   * @param copies The files, with their SHA-256 if it is known.
   * @returns The files that are to be replaced.
   */
  async #findChanged(copies: ReadonlyMap<Copy, string | null>): Promise<Copy[]> {
    const changed: Copy[] = [];
    await this.#lanes.run(queuesOf([...copies.keys()]), async (route, batch) => {
      const same = await compareContents(route, this.#settings, batch, this.#direction);
      for (const [i, copy] of batch.entries()) {
        const { node } = copy;
        const sha256 = copies.get(copy)!;
        const result = { bytes: 0, total: node.size, resumedFrom: node.size, sha256 };
        if (same[i]) this.#copied(node, result);
        else if (this.#settings.replace) changed.push(copy);
        else this.#report.failed(node, existsAlready(node));
      }
    });
    return changed;
  }

  /** Finds those that are one at the target with another node of the source: {@linkcode TargetNames.rivalsOf}. */
  async #rivalsOf(suspects: readonly TreeNode[]): Promise<ReadonlyMap<TreeNode, TreeNode | null>> {
    // An entry that is there may have been there before.
    return this.#isUnlisted ? new Map() : await this.#names.rivalsOf(suspects, this.#target);
  }

  /** Throws an error that is so for all; what is so for one file is for the caller to report. */
  #throwIfForAll(error: unknown, route: Route): void {
    this.#settings.signal.throwIfAborted();
    if (endsAll(error) || isCut(error) || !route.isUsable) throw error;
  }

  /**
   * Makes the directories that are missing, before anything is copied: so that two names that are
   * one directory at the target are found. What can't be made may be later, or is reported then.
   *
   * @returns Those that are one with another directory, with the error that was reported.
   */
  async #makeMissing(makes: Make[]): Promise<ReadonlyMap<TreeNode, unknown>> {
    const { first } = this.#lanes;
    const there: TreeNode[] = [];
    const created: TreeNode[] = [];
    const missing = makes.filter(({ obstacle }) => obstacle === null);
    for (let start = 0; start < missing.length; start += BATCH_FILES) {
      const batch = missing.slice(start, start + BATCH_FILES);
      await this.#direction.makeDirectories(first, batch, ({ node }, { error, isNew }) => {
        if (error !== null) return this.#throwIfForAll(error, first);
        this.#made.add(node);
        (isNew ? created : there).push(node);
      });
    }
    const failed = new Map<TreeNode, unknown>();
    for (const [node, rival] of await this.#rivalsOf(there)) {
      const error = sameFile(node, rival);
      failed.set(node, error);
      this.#report.failed(node, error);
    }
    // A directory below one that has failed is in the other one.
    for (const node of created.reverse()) {
      if (directoryAbove(node, failed) === null) continue;
      await this.#direction.remove(first, node).catch((error) => this.#throwIfForAll(error, first));
    }
    return failed;
  }

  /** Makes the directories that could not be made before, unless they were made for a file. */
  async #makeDirectories(all: readonly Make[]): Promise<void> {
    const { first } = this.#lanes;
    const makes = all.filter(({ node }) => !this.#made.has(node));
    const failed = new Set<TreeNode>();
    for (let start = 0; start < makes.length; start += BATCH_FILES) {
      const batch = makes.slice(start, start + BATCH_FILES);
      await this.#direction.makeDirectories(first, batch, ({ node, obstacle }, { error }) => {
        if (error === null) return this.#report.deleted(obstacle?.nodes);
        this.#throwIfForAll(error, first);
        failed.add(node);
        // What is in it has failed with it.
        if (!failed.has(node.parent!)) this.#report.failed(node, error);
      });
    }
  }

  /**
   * Deletes what is superfluous.
   *
   * @returns Paths that the target lists by other names, because of which something was kept.
   */
  async #delete(plan: Plan): Promise<string[][]> {
    const { deletions, staying } = plan;
    const respelled = await this.#findRespelled(plan);
    const chosen: TreeNode[] = [];
    for (const { node, judged } of deletions) {
      if (respelled.has(judged)) plan.keep(node);
      else if (!staying.has(node)) chosen.push(node);
    }
    if (this.#settings.dryRun) this.#report.deleted(chosen);
    // Directories after what is in them; those of one depth at the same time.
    for (const nodes of this.#settings.dryRun ? [] : byDepth(chosen)) {
      await this.#lanes.run([nodes], (route, node) => this.#deleteOne(route, node, plan));
    }
    return [...respelled.values()].filter((node) => node !== null).map(({ path }) => path);
  }

  async #deleteOne(route: Route, node: TreeNode, plan: Plan): Promise<void> {
    if (plan.staying.has(node)) return;
    try {
      await this.#direction.remove(route, node);
    } catch (error) {
      this.#throwIfForAll(error, route);
      plan.keep(node);
      return this.#report.failed(node, error, "target");
    }
    this.#report.deleted([node]);
  }

  /**
   * Finds the directories in which nothing superfluous may be deleted, and in each the first node
   * that the target lists by another name, or not at all: any of what is superfluous there may be
   * that node. In a directory that can't be listed, whose deletions have failed, there is none.
   */
  async #findRespelled({ deletions, staying }: Plan): Promise<Map<Judged, TreeNode | null>> {
    const respelled = new Map<Judged, TreeNode | null>();
    const all = new Map<Judged, TreeNode>();
    for (const { node, judged } of deletions) {
      if (!staying.has(node) && !all.has(judged)) all.set(judged, node);
    }
    await this.#lanes.run([[...all]], async (route, [judged, node]) => {
      try {
        const other = await this.#firstRespelled(route, judged);
        if (other !== null) respelled.set(judged, other === "gone" ? null : other);
      } catch (error) {
        this.#throwIfForAll(error, route);
        respelled.set(judged, null);
        this.#report.failed(node, error, "target");
      }
    });
    return respelled;
  }

  /** The first node of a directory that the target lists by another name; `"gone"` without the directory. */
  async #firstRespelled(
    route: Route,
    { directory, wanted }: Judged,
  ): Promise<TreeNode | "gone" | null> {
    if (!this.#settings.dryRun) return await this.#names.firstUnlisted(route, directory, wanted);
    // What will be listed after a run that only pretends, nobody knows.
    return wanted.find((node) => this.#names.spellings.targets.has(node)) ?? null;
  }
}

/** The innermost of some directories that a node is in. */
function directoryAbove(node: TreeNode, some: ReadonlyMap<TreeNode, unknown>): TreeNode | null {
  if (some.size === 0) return null;
  let { parent } = node;
  while (parent !== null && !some.has(parent)) ({ parent } = parent);
  return parent;
}

/** Whether the part of a file may be that of another one, which is copied at the same time. */
function isInUse(error: unknown): boolean {
  return error instanceof TransferError && error.code === "IN_USE";
}

/** Whether something has the name of a file that was to be new. */
function isTaken(error: unknown): boolean {
  if (!(error instanceof TransferError)) return false;
  const { status, cause } = error;
  return status === 412 || cause instanceof Refusal && cause.status === 412;
}

function copiesOf({ copies, blocked }: Plan): Copy[] {
  return [...copies, ...blocked.flatMap(({ copies }) => copies)];
}

/** Small files in batches, and the others alone. */
function queuesOf(copies: readonly Copy[]): [Copy[][], Copy[][]] {
  const small: Copy[][] = [];
  const large: Copy[][] = [];
  let batch: Copy[] = [];
  let bytes = 0;
  for (const copy of copies) {
    if (!isSmall(copy)) {
      large.push([copy]);
      continue;
    }
    if (batch.length === 0 || batch.length === BATCH_FILES || bytes > BATCH_BYTES) {
      small.push(batch = []);
      bytes = 0;
    }
    batch.push(copy);
    bytes += copy.node.size;
  }
  return [small, large];
}

/** Files first, and then directories, the innermost first. */
function byDepth(nodes: readonly TreeNode[]): TreeNode[][] {
  const files: TreeNode[] = [];
  const directories: TreeNode[][] = [];
  for (const node of nodes) {
    if (node.kind !== "directory") files.push(node);
    else (directories[node.path.length] ??= []).push(node);
  }
  return [files, ...directories.reverse()].filter((level) => level !== undefined);
}
