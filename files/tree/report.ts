/** The events and figures of the copying of a tree. */

import { processLogger } from "../../net/logger.ts";
import { isTransient, type RetryEvent, type RetryProgress } from "../../client.ts";
import { messageOf } from "../../net/error_text.ts";
import { Throttle, type TransferResult } from "../options.ts";
import type { BasisFiles } from "./plan.ts";
import { quotePath, type TreeNode } from "./tree.ts";
import type { TreeEvent, TreeSettings } from "./options.ts";

/** How many more resumed bytes reset the count of retries. */
const PROGRESS_BYTES = 65536;

/** A file that a call has begun to copy. */
interface BegunCopy {
  /** Bytes that were at the target before the call. */
  readonly resumedFrom: number;
  readonly reused: number;
  /** Bytes that were at the target when the last attempt began. */
  readonly furthest: number;
}

export class TreeReport {
  #settings: TreeSettings;
  readonly #callSignal: AbortSignal | undefined;
  /** Resets the count of retries. */
  #onProgress: (progress?: RetryProgress) => void = () => {};
  readonly counts = {
    files: 0,
    bytes: 0,
    reused: 0,
    unchanged: 0,
    deleted: 0,
    removed: 0,
    skipped: 0,
    failed: 0,
  };
  /** The number of failures of this attempt. */
  failures = 0;
  /** The first error that was reported; `null` before it. */
  firstError: { readonly error: unknown } | null = null;
  /** Whether all errors that were reported are transient. */
  isTransient = true;
  /** The first error of this attempt by which the transfer of a single file broke off. */
  brokenOff: { readonly error: unknown } | null = null;
  /** Whether a function of the caller has thrown: its error ends the call. */
  hasThrown = false;
  #isPlanned = false;
  /** The files of the target whose bytes are expected to be reused. */
  #basisFiles: BasisFiles = new Map();
  #total = 0;
  #bytes = 0;
  /** The bytes of the files that were copied. */
  #complete = 0;
  readonly #pace = new Throttle();
  /** The paths of files that were reported, or are to be copied; empty without retries. */
  readonly #reported = new Set<string>();
  readonly #planned = new Set<string>();
  /** By path: files that this call has begun to copy, and that have not arrived yet. */
  readonly #begun = new Map<string, BegunCopy>();
  /** The bytes that this call has resumed: unlike others, they are not sent again. */
  #resumed = 0;
  /** Entries of the target whose deletion was requested, and not confirmed yet. */
  readonly #pendingDeletions = new Set<TreeNode>();
  /** What this attempt has skipped, and what has failed: reported after the last attempt. */
  #deferredEvents: TreeEvent[] = [];

  /** @param callSignal The signal of the caller. */
  constructor(settings: TreeSettings, callSignal: AbortSignal | undefined) {
    this.#settings = settings;
    this.#callSignal = callSignal;
  }

  /** Begins an attempt. */
  begin(settings: TreeSettings, onProgress: (progress?: RetryProgress) => void): void {
    this.#settings = settings;
    this.#onProgress = onProgress;
    this.#deferredEvents = [];
    this.failures = 0;
    this.brokenOff = null;
    this.#bytes = this.#complete;
  }

  /** Reports the deferred events, at the end of the last attempt. */
  end(): void {
    for (const event of this.#deferredEvents.splice(0)) this.#emit(event);
  }

  /** Reports that another attempt follows an error. */
  retry({ number, error, seconds }: RetryEvent): void {
    this.#emit({ type: "retry", number, error, seconds });
  }

  event(event: TreeEvent): void {
    // No event follows an abort or an error of the caller. What was done before another error of
    // the attempt is reported: no later attempt finds it to be done.
    if (this.hasThrown || this.#callSignal?.aborted) this.#settings.signal.throwIfAborted();
    const { type } = event;
    const isDeferred = this.#settings.retries > 0 && (type === "skipped" || type === "failed");
    if (isDeferred) this.#deferredEvents.push(event);
    else this.#emit(event);
  }

  #emit(event: TreeEvent): void {
    const { onEvent, abort } = this.#settings;
    const { type } = event;
    if (type === "failed") {
      this.firstError ??= { error: event.error };
      this.isTransient &&= isTransient(event.error);
    }
    // Without a listener and a line in the log, a file would be left out unnoticed.
    if (type === "failed" && onEvent === undefined) {
      processLogger.warn(`${quotePath(event.path)}: ${messageOf(event.error)}`);
    }
    if ("path" in event) this.counts[event.type === "copied" ? "files" : event.type]++;
    try {
      this.guard(() => onEvent?.(event));
    } catch (error) {
      abort(error);
      throw error;
    }
  }

  /** Calls a function of the caller, whose error no attempt follows. */
  guard<T>(call: () => T): T {
    try {
      return call();
    } catch (error) {
      this.hasThrown = true;
      throw error;
    }
  }

  /** Reports what is to be copied, once; later attempts only change the sum. */
  plan(nodes: readonly TreeNode[], basisFiles: BasisFiles): void {
    this.#basisFiles = basisFiles;
    const bytes = nodes.reduce((bytes, node) => bytes + node.size - this.#reusedFor(node), 0);
    this.#total = Math.max(this.#total, this.#complete + bytes);
    if (this.#settings.retries > 0) {
      for (const { path } of nodes) this.#planned.add(path.join("/"));
    }
    if (this.#isPlanned) return;
    this.#isPlanned = true;
    this.event({ type: "plan", files: nodes.length, bytes });
  }

  /** How many bytes of a file are expected not to travel. */
  #reusedFor(node: TreeNode): number {
    return this.#basisFiles.get(node)?.size ?? 0;
  }

  /**
   * Notes that a file is about to be copied, of which so many bytes are at the target; returns how
   * many of these this call has reused.
   */
  noteBegin({ path }: TreeNode, resumedFrom: number, reused: number): number {
    const key = path.join("/");
    const earlier = this.#begun.get(key);
    const furthest = Math.max(earlier?.furthest ?? 0, resumedFrom);
    this.#resumed += furthest - (earlier?.furthest ?? 0);
    this.#onProgress({ bytes: Math.floor(this.#resumed / PROGRESS_BYTES), resumedFrom: 0 });
    const isResumed = earlier !== undefined && earlier.resumedFrom < resumedFrom;
    const begun = isResumed ? { ...earlier, furthest } : { resumedFrom, reused, furthest };
    this.#begun.set(key, begun);
    return begun.reused;
  }

  /** Forgets that a file was begun, which the target refused before any byte arrived. */
  forgetBegin({ path }: TreeNode): void {
    this.#begun.delete(path.join("/"));
  }

  /** The result of the whole call for a file, which several attempts may have copied. */
  resultOf({ path }: TreeNode, last: TransferResult): TransferResult {
    if (this.#begun.size === 0) return last;
    const key = path.join("/");
    const begun = this.#begun.get(key);
    this.#begun.delete(key);
    if (begun === undefined || begun.resumedFrom >= last.resumedFrom) return last;
    const { resumedFrom, reused } = begun;
    return { ...last, resumedFrom, reused, bytes: last.total - resumedFrom - reused };
  }

  copied(node: TreeNode, result: TransferResult): void {
    this.counts.bytes += result.bytes;
    this.counts.reused += result.reused;
    this.#complete += node.size - result.reused;
    // A moved file is gone at the source: a file of the same name is another one.
    const wasReported = !this.#markReported(node) && !this.#settings.move;
    // Each attempt copies a file that changes all the time, which is no progress.
    if (wasReported) return;
    this.#onProgress();
    this.event({ type: "copied", path: node.path, ...result });
  }

  unchanged(node: TreeNode): void {
    const { path, size } = node;
    const key = path.join("/");
    if (this.#planned.has(key) && !this.#reported.has(key)) {
      // An earlier attempt has copied the file, and its answer was lost.
      const identical = { bytes: 0, total: size, resumedFrom: size, reused: 0, sha256: null };
      const result = this.resultOf(node, identical);
      this.meter(node)(size - result.reused, result.reused);
      return this.copied(node, result);
    }
    if (this.#markReported(node)) this.event({ type: "unchanged", path });
  }

  /** Notes that a file is reported; returns false if an earlier attempt has reported it. */
  #markReported({ path }: TreeNode): boolean {
    if (this.#settings.retries === 0) return true;
    const key = path.join("/");
    const isFirst = !this.#reported.has(key);
    this.#reported.add(key);
    return isFirst;
  }

  failed(node: TreeNode, error: unknown, at: "source" | "target" = "source"): void {
    // What has failed since the call was aborted is not reported.
    this.#settings.signal.throwIfAborted();
    this.#pendingDeletions.delete(node);
    this.failures++;
    // A missing permission of the program is no fault of this file, and concerns others as well.
    if (error instanceof Deno.errors.NotCapable) throw error;
    this.event({ type: "failed", path: node.path, error, at });
  }

  /** Notes that an entry of the target is about to be deleted. */
  noteDeletion(node: TreeNode): void {
    this.#pendingDeletions.add(node);
  }

  /** Reports the deletions of which only the answers were lost, by a new list of the target. */
  noteList(target: TreeNode | null): void {
    for (const node of this.#pendingDeletions) {
      const entry = node.path.reduce<TreeNode | null>((at, name) => at && at.get(name), target);
      if (entry === null) this.deleted(node);
    }
    this.#pendingDeletions.clear();
  }

  deleted(node: TreeNode): void {
    this.#pendingDeletions.delete(node);
    const kind = node.kind === "directory" ? "directory" : "file";
    this.event({ type: "deleted", path: node.path, kind });
    this.#onProgress();
  }

  /**
   * Makes a function that reports the progress of one file: the bytes at the target so far, 0 after
   * a failure, and, once known, the reused bytes.
   */
  meter(node: TreeNode): (bytes: number, reused?: number) => void {
    let counted = 0;
    let expectedReused = this.#reusedFor(node);
    return (bytes, reused = expectedReused) => {
      this.#total += expectedReused - reused;
      expectedReused = reused;
      const bytesAtTarget = Math.min(bytes, node.size - reused);
      this.#bytes += bytesAtTarget - counted;
      counted = bytesAtTarget;
      if (this.#pace.isDue()) this.progress();
    };
  }

  progress(): void {
    const total = Math.max(this.#total, this.#bytes);
    this.event({ type: "progress", bytes: this.#bytes, total });
  }
}
