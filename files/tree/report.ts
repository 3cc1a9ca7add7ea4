import { isTransient, type RetryEvent } from "../../client.ts";
import { standardLogger } from "../../base.ts";
import { makeSafeLogger } from "../../base/app/logger.ts";
import type { TreeResult } from "../errors.ts";
import { Throttle, type TransferResult } from "../options.ts";
import type { UnsetProperty } from "../wire/metadata.ts";
import type { BasisFiles } from "./basis_files.ts";
import { quotePath, type TreeNode } from "./tree.ts";
import type { TreeEvent, TreeSettings } from "./options.ts";
import type { FailedEntry } from "./tree_errors.ts";

const logger = makeSafeLogger(standardLogger(), ["warn"]);

/** The number of bytes that the target must receive to reset the count of retries. */
const MIN_PROGRESS_BYTES = 65536;

const DEFERRED_EVENTS: ReadonlySet<TreeEvent["type"]> = new Set(["pending", "skipped", "failed"]);

export class TreeReport {
  #settings: TreeSettings;
  readonly #callSignal: AbortSignal | undefined;
  #onProgress: (progress?: { readonly done: number }) => void = () => {};
  readonly counts = {
    files: 0,
    bytes: 0,
    reused: 0,
    unchanged: 0,
    deleted: 0,
    moved: 0,
    pending: 0,
    skipped: 0,
    failed: 0,
  };
  readonly #unset: Record<UnsetProperty, { files: number; first: readonly string[] | null }> = {
    time: { files: 0, first: null },
    mode: { files: 0, first: null },
    privacy: { files: 0, first: null },
  };
  #hasSkippedFile = false;
  failureCount = 0;
  firstError: FailedEntry | null = null;
  areErrorsTransient = true;
  /** The first transient error of this attempt that failed only a single file. */
  firstInterruption: { readonly error: unknown } | null = null;
  hasThrown = false;
  #isPlanned = false;
  #basisFiles: BasisFiles = new Map();
  #totalBytes = 0;
  #bytesAtTarget = 0;
  #completedBytes = 0;
  readonly #progressThrottle = new Throttle();
  readonly #dataThrottle = new Throttle(1000);
  /** The copied files, which a later attempt finds unchanged, by path. Empty without retries. */
  readonly #copiedPaths = new Set<string>();
  /** The files that were sent without an answer, by path: the target may have them. */
  readonly #unansweredPaths = new Set<string>();
  /** The entries whose deletion was requested without an answer, in the order of the requests. */
  readonly #unansweredDeletions = new Set<TreeNode>();
  /** The number of bytes from which each file was resumed, by path. */
  readonly #resumedFrom = new Map<string, number>();
  /** The {@linkcode DEFERRED_EVENTS} of this attempt, which are reported after the last attempt. */
  #deferredEvents: TreeEvent[] = [];

  constructor(settings: TreeSettings, callSignal: AbortSignal | undefined) {
    this.#settings = settings;
    this.#callSignal = callSignal;
  }

  beginAttempt(
    settings: TreeSettings,
    onProgress: (progress?: { readonly done: number }) => void,
  ): void {
    this.#settings = settings;
    this.#onProgress = onProgress;
    this.#deferredEvents = [];
    this.counts.unchanged = 0;
    this.failureCount = 0;
    this.firstInterruption = null;
    this.#bytesAtTarget = this.#completedBytes;
  }

  reportDeferred(): void {
    for (const event of this.#deferredEvents.splice(0)) this.#deliver(event);
  }

  makeResult(deletionsSkipped: TreeResult["deletionsSkipped"]): TreeResult {
    const { files, deleted, pending, failed } = this.counts;
    const isChangeMissing = this.#settings.dryRun && files + deleted > 0;
    const complete = failed + pending === 0 && !this.#hasSkippedFile && deletionsSkipped === null &&
      !isChangeMissing;
    return { complete, ...this.counts, unset: this.#unset, deletionsSkipped };
  }

  /** Throws this error if the callback throws it. */
  reportRetry(event: RetryEvent): void {
    this.#deliver({ type: "retry", ...event });
  }

  noteData(): void {
    const isEnded = this.hasThrown || this.#callSignal?.aborted === true;
    if (isEnded || !this.#dataThrottle.claimReport()) return;
    try {
      this.reportProgress();
    } catch {
      // The callback's error has aborted the call.
    }
  }

  reportEvent(event: TreeEvent): void {
    // Don't report events after the caller's abort or a callback's error. After other errors,
    // report completed actions, because a later attempt does not repeat them.
    if (this.hasThrown || this.#callSignal?.aborted) this.#settings.signal.throwIfAborted();
    const { type } = event;
    const isDeferred = this.#settings.retries > 0 && DEFERRED_EVENTS.has(type);
    if (isDeferred) this.#deferredEvents.push(event);
    else this.#deliver(event);
  }

  #deliver(event: TreeEvent): void {
    const { onEvent, abort } = this.#settings;
    const { type } = event;
    if (type === "failed") {
      this.firstError ??= event;
      this.areErrorsTransient &&= isTransient(event.error);
    }
    // Log a failed file if the caller has no listener, because the call may still resolve.
    if (type === "failed" && onEvent === undefined) {
      logger.warn(`${quotePath(event.path)}: ${event.error}`);
    }
    if (type === "skipped") {
      this.#hasSkippedFile ||= event.reason === "link";
    }
    if ("path" in event) this.counts[event.type === "copied" ? "files" : event.type]++;
    try {
      onEvent?.(event);
    } catch (error) {
      // The caller wants no further attempt.
      if (event.type === "retry" && error === event.error) throw error;
      this.hasThrown = true;
      abort(error);
      throw error;
    }
  }

  #countUnset({ path }: Pick<TreeNode, "path">, unset: readonly UnsetProperty[]): void {
    for (const property of unset) {
      const counts = this.#unset[property];
      counts.files++;
      // Files arrive in any order.
      if (counts.first === null || path.join("/") < counts.first.join("/")) counts.first = path;
    }
  }

  /** Calls a callback. Its error ends the copy without a retry. */
  callCallback<T>(call: () => T): T {
    try {
      return call();
    } catch (error) {
      this.hasThrown = true;
      throw error;
    }
  }

  /** Plans of later attempts only change the total bytes. */
  reportPlan(nodes: readonly TreeNode[], basisFiles: BasisFiles): void {
    this.#basisFiles = basisFiles;
    const bytes = nodes.reduce((bytes, node) => bytes + node.size - this.#expectedReuseOf(node), 0);
    this.#totalBytes = Math.max(this.#totalBytes, this.#completedBytes + bytes);
    if (this.#isPlanned) return;
    this.#isPlanned = true;
    this.reportEvent({ type: "plan", files: nodes.length, bytes });
  }

  #expectedReuseOf(node: TreeNode): number {
    return this.#basisFiles.get(node)?.size ?? 0;
  }

  noteStart({ path }: TreeNode, resumedFrom: number): void {
    const key = path.join("/");
    const earlierStart = this.#resumedFrom.get(key) ?? resumedFrom;
    if (resumedFrom - earlierStart >= MIN_PROGRESS_BYTES) this.#onProgress();
    else if (this.#resumedFrom.has(key)) return;
    this.#resumedFrom.set(key, resumedFrom);
  }

  noteUnanswered({ path }: TreeNode): void {
    this.#unansweredPaths.add(path.join("/"));
  }

  isUnanswered({ path }: TreeNode): boolean {
    return this.#unansweredPaths.has(path.join("/"));
  }

  reportCopied(node: TreeNode, { unset, ...result }: TransferResult): void {
    this.counts.bytes += result.bytes;
    this.counts.reused += result.reused;
    this.#completedBytes += node.size - result.reused;
    const key = node.path.join("/");
    // A second copy of the same file is no progress: a file may change before each attempt.
    if (!this.#copiedPaths.has(key)) this.#onProgress();
    if (this.#settings.retries > 0) this.#copiedPaths.add(key);
    this.#countUnset(node, unset);
    this.reportEvent({ type: "copied", path: node.path, ...result });
  }

  reportUnchanged(node: TreeNode, unset: readonly UnsetProperty[] = []): void {
    const { path } = node;
    if (this.#copiedPaths.size > 0 && this.#copiedPaths.has(path.join("/"))) return;
    if (this.#unansweredPaths.size > 0 && this.isUnanswered(node)) {
      return this.reportPresent(node, null, unset);
    }
    this.#countUnset(node, unset);
    this.reportEvent({ type: "unchanged", path });
  }

  /** Reports a file that the target has, and that this call has probably sent, as copied. */
  reportPresent(
    node: TreeNode,
    sha256: string | null,
    unset: readonly UnsetProperty[] = [],
  ): void {
    const { size } = node;
    this.makeMeter(node)(size, 0);
    this.reportCopied(node, { bytes: 0, total: size, resumedFrom: size, reused: 0, sha256, unset });
  }

  /** Reports a file of the plan that another call has written since the list. */
  reportWrittenByOthers(node: TreeNode): void {
    if (!this.isUnanswered(node)) {
      this.makeMeter(node)(node.size);
      this.#completedBytes += node.size;
    }
    this.reportUnchanged(node);
  }

  /** Reports all files of a directory, and keeps none of their nodes. */
  reportUnchangedFiles(directory: TreeNode): void {
    for (const file of directory.children!) {
      if (file.kind === "file") this.reportUnchanged(file);
    }
    directory.entries!.forgetFiles();
  }

  reportFailed(node: TreeNode, error: unknown, at: "source" | "target" = "source"): void {
    // Don't report failures after an abort.
    this.#settings.signal.throwIfAborted();
    this.failureCount++;
    // A missing permission of the program concerns all files.
    if (error instanceof Deno.errors.NotCapable) throw error;
    this.reportEvent({ type: "failed", path: node.path, error, at });
  }

  noteUnansweredDeletion(node: TreeNode): void {
    this.#unansweredDeletions.add(node);
  }

  /**
   * Reports the deletions without an answer whose entries the target no longer has.
   *
   * @param root The target's list; `null` if the target is missing.
   */
  reportAnsweredDeletions(root: TreeNode | null): void {
    for (const node of this.#unansweredDeletions) {
      const listedNode = node.path.reduce((parent, name) => parent?.get(name) ?? null, root);
      if (listedNode === null) this.reportDeleted(node);
    }
    this.#unansweredDeletions.clear();
  }

  reportDeleted(node: TreeNode): void {
    const kind = node.kind === "directory" ? "directory" : "file";
    this.reportEvent({ type: "deleted", path: node.path, kind });
    this.#onProgress();
  }

  /**
   * Makes a function that reports the progress of a file. Its arguments are the number of bytes at
   * the target, which is 0 after a failure, and the number of reused bytes if it is known.
   */
  makeMeter(node: TreeNode): (bytes: number, reused?: number) => void {
    let countedBytes = 0;
    let expectedReused = this.#expectedReuseOf(node);
    return (bytes, reused = expectedReused) => {
      this.#totalBytes += expectedReused - reused;
      expectedReused = reused;
      const bytesAtTarget = Math.min(bytes, node.size - reused);
      this.#bytesAtTarget += bytesAtTarget - countedBytes;
      countedBytes = bytesAtTarget;
      if (this.#progressThrottle.claimReport()) this.reportProgress();
    };
  }

  reportProgress(): void {
    const total = Math.max(this.#totalBytes, this.#bytesAtTarget);
    this.reportEvent({ type: "progress", done: this.#bytesAtTarget, total });
  }
}
