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
import { endsAll, hasChanged, isCut, unexpectedResponse } from "./transfer_error.ts";
import {
  type Blocked,
  type Copy,
  type Deletion,
  existsAlready,
  type Make,
  Plan,
  type PlanRules,
  sameFile,
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

/** What became of a small file: how many bytes it has; what may be better when it is requested again, or alone; or an error. */
export type Outcome =
  | { readonly bytes: number; readonly sha256: string | null }
  | { readonly again: unknown }
  | { readonly alone: true }
  | { readonly error: unknown };

/** Called for each item with what became of it. */
export type Done<Item, What = unknown> = (item: Item, what: What) => void;

/** What differs between a download and an upload. */
export interface Direction {
  readSource(route: Route): Promise<ListedTree>;
  /** Lists the target; `null` if it does not exist. */
  readTarget(route: Route): Promise<ListedTree | null>;
  /** Makes the target, or checks that it can be. */
  begin(route: Route, isMissing: boolean): Promise<void>;
  /** What has the path of a node of the source at the target, in whatever spelling. */
  readTargetNode(route: Route, node: TreeNode): Promise<TreeNode | null>;
  names(route: Route, path: readonly string[]): Promise<ReadonlySet<string>>;
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
  /** Makes directories, each after those that it is in; `done` gets the reason why one was not made, or `null`. */
  makeDirectories(route: Route, makes: readonly Make[], done: Done<Make>): Promise<void>;
  remove(route: Route, node: TreeNode): Promise<void>;
  /** Of a dry run: the error of a file that would not fit besides those before it, or `null`. */
  foreseeShortage?(node: TreeNode): Promise<Error | null>;
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
// mutant `4_194_304` → `4194305`: a byte more
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
      // mutant `i % 2 === 0` → `true`: all are done, in whatever order
      // mutant `i % 2 === 0` → `false`: all are done, in whatever order
      // mutant `===` → `!==`: all are done, in whatever order
      // mutant `%` → `*`: all are done, in whatever order
      // mutant `2` → `3`: all are done, in whatever order
      // mutant `0` → `1`: all are done, in whatever order
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

/** A file that may be the same at the target as one that comes before it. */
interface Serial {
  readonly copy: Copy;
  /** Files that some file system takes for one: one list for all of them. */
  readonly rivals: readonly TreeNode[];
  /** How many of them come before it. */
  readonly rank: number;
}

class TreeTransfer {
  readonly #settings: TreeSettings;
  readonly #lanes: Lanes;
  readonly #direction: Direction;
  readonly #report: Report;
  readonly #names = new Map<string, Promise<ReadonlySet<string>>>();
  /** Directories of the source that were made for a file. */
  readonly #made = new Set<TreeNode>();
  #target: TreeNode | null = null;

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
    const plan = new Plan(source!.root, this.#target, this.#settings, unsettled);
    const serial = await this.#settle(plan);
    await this.#compare(plan);
    this.#announce(plan, serial);
    if (this.#settings.dryRun) await this.#pretend(plan, serial);
    else await this.#carryOut(plan, serial);
    const deletionsKept = this.#settings.delete ? this.#whyNotDelete(plan) : null;
    if (this.#settings.delete && deletionsKept === null) await this.#delete(plan);
    if (!this.#settings.dryRun) await this.#direction.finish?.();
    this.#report.progress();
    const unnameable = plan.unnameable.map(({ path }) => path);
    const kept = unnameable.length === 0 ? {} : { unnameable };
    return { ...this.#report.counts, deletionsKept, ...kept };
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

  /** Finds out of what else, by another spelling, the target has already. */
  async #settle(plan: Plan): Promise<Serial[]> {
    const serial: Serial[] = [];
    for (const { files, alias } of plan.doubtful) {
      const absent: TreeNode[] = [];
      // The first one that the target has, and the first by another spelling only.
      let present: TreeNode | null = null;
      let aliased: TreeNode | null = null;
      for (const { source, target, blocked } of files) {
        const node = source!;
        const seen = await this.#direction.readTargetNode(this.#lanes.first, node);
        if (seen === null) {
          const copy = { node, target: null, obstacle: null };
          if (absent.length > 0) serial.push({ copy, rivals: absent, rank: absent.length });
          else (blocked ?? plan).copies.push(copy);
          absent.push(node);
          continue;
        }
        const same = target === null ? present : aliased;
        if (same === null) plan.decide(node, target ?? alias ?? seen);
        else plan.fail(node, sameFile(node, same));
        present ??= node;
        if (target === null) aliased ??= node;
      }
    }
    return serial;
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

  #announce(plan: Plan, serial: readonly Serial[]): void {
    const nodes = copiesOf(plan, serial).map(({ node }) => node);
    const bytes = this.#report.total = nodes.reduce((bytes, { size }) => bytes + size, 0);
    this.#report.event({ type: "plan", files: nodes.length, bytes });
    for (const { path } of plan.unchanged) this.#report.event({ type: "unchanged", path });
    for (const { node: { path }, reason } of plan.skipped) {
      this.#report.event({ type: "skipped", path, reason });
    }
    for (const { node, error } of plan.failed) this.#report.failed(node, error);
  }

  /** Reports as if it had been done. */
  async #pretend(plan: Plan, serial: readonly Serial[]): Promise<void> {
    for (const { obstacle } of [...plan.copies, ...plan.makes, ...plan.blocked]) {
      this.#report.deleted(obstacle?.nodes);
    }
    for (const { node } of copiesOf(plan, serial)) {
      const { size } = node;
      const shortage = await this.#direction.foreseeShortage?.(node) ?? null;
      if (shortage !== null) this.#report.failed(node, shortage);
      else this.#copied(node, { bytes: size, total: size, resumedFrom: 0, sha256: null });
    }
  }

  async #carryOut(plan: Plan, serial: readonly Serial[]): Promise<void> {
    await this.#direction.begin(this.#lanes.first, this.#target === null);
    await this.#lanes.run([plan.blocked], (route, blocked) => this.#unblock(route, blocked, plan));
    await this.#lanes.run(queuesOf(plan.copies), (route, copies) => this.#copy(route, copies));
    for (const each of serial) await this.#copySerially(each);
    await this.#makeDirectories(plan.makes);
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
          if ("alone" in outcome) alone.push(copy);
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

  /** Copies a file, unless it is one at the target that comes before it. */
  async #copySerially({ copy, rivals, rank }: Serial): Promise<void> {
    const { first } = this.#lanes;
    const { node } = copy;
    try {
      if (await this.#direction.readTargetNode(first, node) !== null) {
        this.#names.clear();
        for (const rival of rivals.slice(0, rank)) {
          if (await this.#areDistinct(node.path, rival.path)) continue;
          return this.#report.failed(node, sameFile(node, rival));
        }
      }
    } catch (error) {
      this.#throwIfForAll(error, first);
      return this.#report.failed(node, error);
    }
    await this.#copy(first, [copy]);
  }

  /** Whether two paths, which some file system takes for one, are two at the target. */
  async #areDistinct(path: readonly string[], other: readonly string[]): Promise<boolean> {
    for (let depth = 0; depth < Math.min(path.length, other.length); depth++) {
      const [name, otherName] = [path[depth]!, other[depth]!];
      if (name === otherName) continue;
      const directory = path.slice(0, depth);
      const key = directory.join("/");
      let listed = this.#names.get(key);
      if (listed === undefined) {
        listed = this.#direction.names(this.#lanes.first, directory);
        this.#names.set(key, listed);
      }
      const names = await listed;
      if (names.has(name) && names.has(otherName)) return true;
    }
    return false;
  }

  /** Throws an error that is so for all; what is so for one file is for the caller to report. */
  #throwIfForAll(error: unknown, route: Route): void {
    this.#settings.signal.throwIfAborted();
    if (endsAll(error) || isCut(error) || !route.isUsable) throw error;
  }

  /** Makes the directories that are missing, unless they were made for a file. */
  async #makeDirectories(all: readonly Make[]): Promise<void> {
    const { first } = this.#lanes;
    const makes = all.filter(({ node }) => !this.#made.has(node));
    const failed = new Set<TreeNode>();
    for (let start = 0; start < makes.length; start += BATCH_FILES) {
      const batch = makes.slice(start, start + BATCH_FILES);
      await this.#direction.makeDirectories(first, batch, ({ node, obstacle }, error) => {
        if (error === null) return this.#report.deleted(obstacle?.nodes);
        this.#throwIfForAll(error, first);
        failed.add(node);
        // What is in it has failed with it.
        if (!failed.has(node.parent!)) this.#report.failed(node, error);
      });
    }
  }

  async #delete(plan: Plan): Promise<void> {
    const { deletions, staying } = plan;
    this.#names.clear();
    const chosen: TreeNode[] = [];
    for (const deletion of deletions) {
      const { node } = deletion;
      if (staying.has(node)) continue;
      try {
        if (await this.#isSuperfluous(deletion)) chosen.push(node);
        else plan.keep(node);
      } catch (error) {
        this.#throwIfForAll(error, this.#lanes.first);
        plan.keep(node);
        this.#report.failed(node, error, "target");
      }
    }
    if (this.#settings.dryRun) return this.#report.deleted(chosen);
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
  }

  /** Whether something is at the target besides all that the source has by another spelling. */
  async #isSuperfluous({ node, doubts }: Deletion): Promise<boolean> {
    const { path } = node;
    for (const wanted of doubts) {
      const isDistinct = this.#settings.dryRun
        ? await this.#wouldBeDistinct(wanted)
        : await this.#areDistinct(path, wanted.path);
      if (!isDistinct) return false;
    }
    return true;
  }

  async #wouldBeDistinct(wanted: TreeNode): Promise<boolean> {
    let node = this.#target;
    for (const name of wanted.path) node = node?.get(name) ?? null;
    if (node !== null) return true;
    if (wanted.kind === "other") return false;
    return await this.#direction.readTargetNode(this.#lanes.first, wanted) === null;
  }
}

function copiesOf({ copies, blocked }: Plan, serial: readonly Serial[]): Copy[] {
  return [...copies, ...blocked.flatMap(({ copies }) => copies), ...serial.map(({ copy }) => copy)];
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
