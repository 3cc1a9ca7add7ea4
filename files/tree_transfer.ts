/**
 * The copying of trees, the same in both directions: compares both ends, copies what differs over several
 * connections, deletes what is superfluous, and reports all of it.
 *
 * What is so for one file fails alone; what is so for all of them rejects the whole: the peer is gone, a disk is full, the
 * signal is aborted, a callback throws.
 */

import {
  checkBoolean,
  checkFunction,
  checkInteger,
  checkNumber,
  copyOptions,
} from "../base/checks.ts";
import type { Client, Connection } from "../client.ts";
import { checkSignal } from "../net/request_signal.ts";
import { checkTreeUri, type ListedTree } from "./list_tree.ts";
import { checkPath, Pace, type TransferResult, type TransferSettings } from "./options.ts";
import { Route } from "./route.ts";
import type { NameRecord } from "./bundle.ts";
import { Refusal } from "./refusal.ts";
import { endsAll, hasChanged, isCut, TransferError, unexpectedResponse } from "./transfer_error.ts";
import {
  type Blocked,
  byName,
  type Copy,
  directoryMissing,
  existsAlready,
  type Judged,
  type Make,
  PLAIN,
  Plan,
  type PlanRules,
  sameFile,
  type Spellings,
  type TimeSpan,
  type TreeEvent,
  type TreeNode,
  type TreeOptions,
  type TreeResult,
} from "./tree.ts";
import { compareContents, head, isSmall, uriOf } from "./tree_requests.ts";

/** The options of a transfer, checked and with their defaults. */
export interface TreeSettings extends PlanRules {
  /** The path of the directory here. */
  readonly dir: string;
  /** The URI of the one at the other end. */
  readonly uri: string;
  readonly dryRun: boolean;
  readonly verify: boolean;
  readonly connections: number;
  readonly settled: number;
  readonly onEvent: TreeOptions["onEvent"];
  /** Aborted by the caller, or by the first error that is so for all. */
  readonly signal: AbortSignal;
  readonly abort: (reason: unknown) => void;
}

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

/** The outcomes of items, yielded as soon as they are known, those before an error, too. */
export type Outcomes<Item, What> = AsyncGenerator<readonly [item: Item, what: What], void, void>;

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
  /** Copies small files; a file without an outcome may be requested again after an error. */
  copySmall(route: Route, copies: readonly Copy[]): Outcomes<Copy, Outcome>;
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
  makeDirectories(route: Route, makes: readonly Make[]): Outcomes<Make, Made>;
  remove(route: Route, node: TreeNode): Promise<void>;
  /** Of a dry run: the error of a file that would not fit besides those before it, or `null`. */
  foreseeShortage?(node: TreeNode): Promise<Error | null>;
  /** Removes the part of a file here that can't get its name. */
  discard?(node: TreeNode): void;
  /** Syncs what was removed here. */
  finish?(): Promise<void>;
}

const OPTIONS = [
  "compare",
  "replace",
  "delete",
  "dryRun",
  "filter",
  "connections",
  "settled",
  "verify",
  "signal",
  "onEvent",
];
const COMPARES: readonly unknown[] = ["time", "digest", "nothing"];
const MAX_CONNECTIONS = 64;

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
  const settings = { dir, uri, ...checkOptions(options) };
  using lanes = new Lanes(label, peer, settings);
  settings.signal.throwIfAborted();
  return await new TreeTransfer(settings, lanes, makeDirection(settings)).run();
}

function checkOptions(options: TreeOptions): Omit<TreeSettings, "dir" | "uri"> {
  const copy = copyOptions(options, OPTIONS);
  const { compare = "time", filter, onEvent, connections = 4, settled = 0, signal } = copy;
  const { replace = true, delete: deletes = false, dryRun = false, verify = true } = copy;
  if (!COMPARES.includes(compare)) {
    throw new RangeError(`compare: must be "time", "digest" or "nothing"; got ${String(compare)}`);
  }
  for (const [name, value] of Object.entries({ replace, delete: deletes, dryRun, verify })) {
    checkBoolean(name, value);
  }
  checkInteger("connections", connections, 1, MAX_CONNECTIONS);
  checkNumber("settled", settled);
  if (!(settled >= 0 && settled < Infinity)) {
    throw new RangeError(`settled: must be a number of seconds, 0 or more; got ${settled}`);
  }
  for (const [name, value] of Object.entries({ filter, onEvent })) {
    if (value !== undefined) checkFunction(name, value);
  }
  checkSignal(signal);
  const controller = new AbortController();
  return {
    compare,
    replace,
    delete: deletes,
    dryRun,
    verify,
    connections,
    settled,
    filter,
    onEvent,
    signal: AbortSignal.any([...signal === undefined ? [] : [signal], controller.signal]),
    abort: (reason) => controller.abort(reason),
  };
}

class Lanes implements Disposable {
  readonly #abort: TreeSettings["abort"];
  readonly #routes: Route[];

  constructor(
    label: string,
    peer: Client | Connection,
    { connections, signal, abort }: TreeSettings,
  ) {
    const first = new Route(label, peer, signal);
    const others = first.canReconnect ? connections - 1 : 0;
    this.#routes = [
      first,
      ...Array.from({ length: others }, () => new Route(label, peer, signal)),
    ];
    this.#abort = abort;
  }

  get first(): Route {
    return this.#routes[0]!;
  }

  /**
   * Runs jobs, as many at a time as there are connections. The first error aborts all of them.
   *
   * @param queues Half of the connections begin with the first, the others with the last.
   */
  async run<Job>(
    queues: readonly (readonly Job[])[],
    run: (route: Route, job: Job) => Promise<void>,
  ): Promise<void> {
    const shared = queues.map((jobs) => jobs.values());
    await this.together(this.#routes.map((route, i) => async () => {
      for (const jobs of i % 2 === 0 ? shared : shared.toReversed()) {
        for (const job of jobs) await run(route, job);
      }
    }));
  }

  /** Runs functions at the same time; the first error aborts all of them, and is thrown when they have ended. */
  async together<T>(tasks: readonly (() => Promise<T>)[]): Promise<T[]> {
    const running = tasks.map((task) =>
      task().catch((error) => {
        this.#abort(error);
        throw error;
      })
    );
    const all = Promise.all(running);
    await Promise.allSettled([all, ...running]);
    return await all;
  }

  [Symbol.dispose](): void {
    for (const route of this.#routes) route[Symbol.dispose]();
  }
}

class Report {
  readonly #settings: TreeSettings;
  readonly counts = { files: 0, bytes: 0, unchanged: 0, deleted: 0, skipped: 0, failed: 0 };
  total = 0;
  #bytes = 0;
  readonly #pace = new Pace();

  constructor(settings: TreeSettings) {
    this.#settings = settings;
  }

  event(event: TreeEvent): void {
    const { onEvent, signal, abort } = this.#settings;
    // After an error nothing more is reported.
    signal.throwIfAborted();
    const { type } = event;
    if (type !== "plan" && type !== "progress") this.counts[type === "copied" ? "files" : type]++;
    try {
      onEvent?.(event);
    } catch (error) {
      abort(error);
      throw error;
    }
  }

  copied(node: TreeNode, result: TransferResult): void {
    this.counts.bytes += result.bytes;
    this.event({ type: "copied", path: node.path, ...result });
  }

  failed(node: TreeNode, error: unknown, at: "source" | "target" = "source"): void {
    // The program lacks a permission: that is no fault of this file, and so for others as well.
    if (error instanceof Deno.errors.NotCapable) throw error;
    this.event({ type: "failed", path: node.path, error, at });
  }

  deleted(nodes: readonly TreeNode[] = []): void {
    for (const node of nodes) {
      const kind = node.kind === "directory" ? "directory" : "file";
      this.event({ type: "deleted", path: node.path, kind });
    }
  }

  /** Counts how much of a file is at the target; call it with more and more of it, and with 0 if it has failed. */
  meter({ size }: TreeNode): (bytes: number) => void {
    let counted = 0;
    return (bytes) => {
      const now = Math.min(bytes, size);
      this.#bytes += now - counted;
      counted = now;
      if (this.#pace.isDue()) this.progress();
    };
  }

  progress(): void {
    this.event({ type: "progress", bytes: this.#bytes, total: this.total });
  }
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
  readonly #report: Report;
  /** Directories of the source that were made. */
  readonly #made = new Set<TreeNode>();
  readonly #taken: Taken[] = [];
  /** Whether the only files still copied, one after the other, are those whose names were taken. */
  #isDeciding = false;
  /** Whether the target is there, and can't be listed. */
  #isUnlisted = false;
  #target: TreeNode | null = null;
  #spellings: Spellings = PLAIN;

  constructor(settings: TreeSettings, lanes: Lanes, direction: Direction) {
    this.#settings = settings;
    this.#lanes = lanes;
    this.#direction = direction;
    this.#report = new Report(settings);
  }

  async run(): Promise<TreeResult> {
    const { first } = this.#lanes;
    const [source, target] = await this.#lanes.together<ListedTree | null>([
      () => this.#direction.readSource(first),
      () => this.#direction.readTarget(first),
    ]);
    this.#target = target?.root ?? null;
    const unsettled = this.#unsettledIn(source!);
    if (this.#target !== null) {
      this.#spellings = await this.#findSpellings(source!.root, this.#target);
    }
    const plan = new Plan(source!.root, this.#target, this.#settings, unsettled, this.#spellings);
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

  /**
   * Finds out what the target lists by other names than the source: of what it does not list by the
   * same name, where it also lists something that the source does not have, or has as another kind,
   * which may have to give way.
   */
  async #findSpellings(source: TreeNode, target: TreeNode): Promise<Spellings> {
    const targets = new Map<TreeNode, TreeNode>();
    const rivals = new Map<TreeNode, TreeNode | null>();
    const contested = new Set<TreeNode>();
    for (let pairs: [TreeNode, TreeNode][] = [[source, target]]; pairs.length > 0;) {
      const asked: {
        readonly nodes: TreeNode[];
        readonly inWay: readonly TreeNode[];
        readonly target: TreeNode;
      }[] = [];
      // The list grows by the directories in them.
      for (const [source, target] of pairs) {
        const nodes: TreeNode[] = [];
        let common = 0;
        const inWay: TreeNode[] = [];
        for (const child of source.children?.values() ?? []) {
          if (child.reason === "name" || child.reason === "reserved") continue;
          const there = target.get(child.name);
          if (there === null) {
            nodes.push(child);
            continue;
          }
          common++;
          if (child.kind !== there.kind) inWay.push(child);
          else if (child.kind === "directory") pairs.push([child, there]);
        }
        const hasOthers = (target.children?.size ?? 0) > common;
        if (nodes.length === 0 || !hasOthers && inWay.length === 0) continue;
        asked.push({ nodes: nodes.sort(byName), inWay, target });
      }
      pairs = [];
      const names = await this.#listedNames(asked.flatMap(({ nodes }) => nodes));
      for (const { nodes, inWay, target } of asked) {
        for (const node of names === null ? inWay : []) contested.add(node);
        const claims = new Map<TreeNode, TreeNode>();
        for (const node of nodes) {
          const record = names?.get(node);
          if (record === undefined) continue;
          const there = record.status === 200 ? target.get(record.name) : null;
          // An entry that is new since the target was listed shows when the node is copied.
          if (record.status === 200 && (there === null || record.name === node.name)) continue;
          const rival = there && (node.parent!.get(there.name) ?? claims.get(there) ?? null);
          if (there === null || rival !== null) {
            rivals.set(node, rival);
            if (rival !== null) contested.add(rival);
            // The node may be any of what the target has there.
            else for (const each of inWay) contested.add(each);
            continue;
          }
          claims.set(there, node);
          targets.set(node, there);
          if (node.kind === "directory" && there.kind === "directory") pairs.push([node, there]);
        }
      }
    }
    return { targets, rivals, contested };
  }

  /** Asks for these names in batches; the result has no node that the target does not have. */
  async #listedNames(
    nodes: readonly TreeNode[],
  ): Promise<ReadonlyMap<TreeNode, NameRecord> | null> {
    const found = new Map<TreeNode, NameRecord>();
    let canTell = true;
    const batches: TreeNode[][] = [];
    for (let start = 0; start < nodes.length; start += BATCH_FILES) {
      batches.push(nodes.slice(start, start + BATCH_FILES));
    }
    await this.#lanes.run([batches], async (route, batch) => {
      const records = canTell ? await this.#direction.listedNames(route, batch) : null;
      if (records === null) canTell = false;
      for (const [i, record] of records?.entries() ?? []) {
        if (record.status !== 404) found.set(batch[i]!, record);
      }
    });
    return canTell ? found : null;
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
      try {
        for await (const [copy, outcome] of this.#direction.copySmall(route, [...left.keys()])) {
          if ("again" in outcome) {
            left.set(copy, outcome.again);
            continue;
          }
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
        }
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
        const isPart = !this.#isDeciding && isInUse(error);
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
   * Decides about the files whose names something else has got, or had by another spelling; one
   * after the other.
   */
  async #decideTaken(): Promise<void> {
    const { first } = this.#lanes;
    this.#isDeciding = true;
    while (this.#taken.length > 0) {
      const taken = this.#taken.splice(0);
      const again = taken.flatMap(({ copy, isPart }) => isPart ? copy : []);
      const digests = new Map<Copy, string | null>();
      for (const { copy, sha256, isPart } of taken) if (!isPart) digests.set(copy, sha256);
      const rivals = await this.#rivalsOf([...digests.keys()].map(({ node }) => node));
      for (const [copy] of digests) {
        const { node } = copy;
        const rival = rivals.get(node);
        if (rival === undefined) continue;
        digests.delete(copy);
        this.#direction.discard?.(node);
        this.#report.failed(node, sameFile(node, rival));
      }
      await this.#lanes.run(queuesOf([...digests.keys()]), async (route, copies) => {
        // An earlier attempt may have placed it, whose answer was lost; or somebody else has.
        const same = await compareContents(route, this.#settings, copies, this.#direction);
        for (const [i, copy] of copies.entries()) {
          const { node } = copy;
          const sha256 = digests.get(copy)!;
          const result = { bytes: 0, total: node.size, resumedFrom: node.size, sha256 };
          if (same[i]) this.#copied(node, result);
          else if (this.#settings.replace) again.push({ ...copy, isNew: false });
          else this.#report.failed(node, existsAlready(node));
        }
      });
      for (const copies of queuesOf(again).flat()) await this.#copy(first, copies);
    }
  }

  /**
   * Finds those that are one at the target with another node of the source, which comes first: by
   * name, after those that are not suspected. Where that can't be told the other one is `null`.
   *
   * @param suspects What has a name that the target did not list, and that something has
   * nevertheless.
   */
  async #rivalsOf(
    suspects: readonly TreeNode[],
  ): Promise<ReadonlyMap<TreeNode, TreeNode | null>> {
    const rivals = new Map<TreeNode, TreeNode | null>();
    // An entry that is there may have been there before.
    if (this.#isUnlisted) return rivals;
    for (const [parent, nodes] of Map.groupBy(suspects, ({ parent }) => parent!)) {
      const isSuspect = new Set(nodes);
      const target = this.#targetOf(parent);
      const claims = new Map<string, TreeNode>();
      const asked: TreeNode[] = [];
      for (const node of [...parent.children!.values()].sort(byName)) {
        if (node.kind === "other") continue;
        const there = target?.get(node.name) ?? this.#spellings.targets.get(node);
        if (there !== undefined) claims.set(there.name, node);
        else asked.push(node);
      }
      const names = await this.#listedNames(asked);
      asked.sort((one, other) => Number(isSuspect.has(one)) - Number(isSuspect.has(other)));
      for (const node of asked) {
        const record = names?.get(node);
        const name = record?.status === 200 ? record.name : null;
        const rival = name === null ? null : claims.get(name) ?? null;
        // A node that has gone meanwhile is in nobody's way.
        const isUntold = names === null || record?.status === 409;
        if (isSuspect.has(node) && (rival !== null || isUntold)) rivals.set(node, rival);
        else if (name !== null && rival === null) claims.set(name, node);
      }
    }
    return rivals;
  }

  /** The node of the target for a directory of the source. */
  #targetOf(node: TreeNode): TreeNode | null {
    if (node.parent === null) return this.#target;
    const there = this.#targetOf(node.parent)?.get(node.name);
    return there ?? this.#spellings.targets.get(node) ?? null;
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
      for await (const [{ node }, made] of this.#direction.makeDirectories(first, batch)) {
        if (made.error !== null) {
          this.#throwIfForAll(made.error, first);
          continue;
        }
        this.#made.add(node);
        (made.isNew ? created : there).push(node);
      }
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
      for await (const [make, { error }] of this.#direction.makeDirectories(first, batch)) {
        const { node, obstacle } = make;
        if (error === null) {
          this.#report.deleted(obstacle?.nodes);
          continue;
        }
        this.#throwIfForAll(error, first);
        failed.add(node);
        // What is in it has failed with it.
        if (!failed.has(node.parent!)) this.#report.failed(node, error);
      }
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
    const paths = [...respelled.values()].filter((node) => node !== null).map(({ path }) => path);
    if (this.#settings.dryRun) {
      this.#report.deleted(chosen);
      return paths;
    }
    // Directories after what is in them; those of one depth at the same time.
    for (const nodes of byDepth(chosen)) {
      await this.#lanes.run([nodes], async (route, node) => {
        if (staying.has(node)) return;
        try {
          await this.#direction.remove(route, node);
        } catch (error) {
          this.#throwIfForAll(error, route);
          plan.keep(node);
          return this.#report.failed(node, error, "target");
        }
        this.#report.deleted([node]);
      });
    }
    return paths;
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
      const { directory, wanted } = judged;
      if (this.#settings.dryRun) {
        // Nobody knows yet what will be listed.
        const other = wanted.find((each) => this.#spellings.targets.has(each));
        if (other !== undefined) respelled.set(judged, other);
        return;
      }
      try {
        const names = await this.#direction.names(route, directory.path);
        const other = names && wanted.find(({ name }) => !names.has(name));
        if (names === null) respelled.set(judged, null);
        else if (other !== undefined) respelled.set(judged, other);
      } catch (error) {
        this.#throwIfForAll(error, route);
        respelled.set(judged, null);
        this.#report.failed(node, error, "target");
      }
    });
    return respelled;
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
