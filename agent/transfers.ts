/**
 * The transfers of one command, of files and of trees, with one progress bar and one end.
 *
 * @module
 */

import type { Client, Connection } from "../client.ts";
import {
  isTransient,
  TransferError,
  type TransferOptions,
  type TransferResult,
  type TreeEntry,
  type TreeEvent,
  type TreeOptions,
  type TreeResult,
} from "../files.ts";
import type { Context } from "./context.ts";
import {
  type Direction,
  endsAll,
  exitCodeOf,
  explainTransfer,
  FAILED,
  Failure,
  REFUSED,
} from "./failure.ts";
import { counted, formatBytes, formatDuration } from "./output.ts";
import type { Moved, PeerConnections } from "./peer_connections.ts";
import type { ProgressBar } from "./progress_bar.ts";

/** A larger file gets a connection of its own once what there is of it is hashed: a server does not wait for that. */
const LARGE_BYTES = 67_108_864;

/** A file to be moved. */
export interface Job {
  /** What it is called in messages. */
  readonly name: string;
  /** In bytes. */
  readonly size: number;
  /** What is printed when it has been moved. */
  readonly result: string;
  /** What `--json` prints about it besides the result. */
  readonly object: Readonly<Record<string, unknown>>;
  /** Moves it; resolves to `null` if it was there already. */
  move(target: Client | Connection, options: TransferOptions): Promise<TransferResult | null>;
}

/** A tree to be copied. */
export interface TreeJob {
  /** What something in the source, or in the target, is called in messages; the roots have no names. */
  sourceName(path: readonly string[]): string;
  targetName(path: readonly string[]): string;
  /** Whether `--json` names what is up to date. */
  readonly listsUnchanged: boolean;
  readonly options: Omit<TreeOptions, "signal" | "onEvent">;
  /** Makes one attempt. */
  copy(client: Client, options: TreeOptions): Promise<TreeResult>;
}

/** What has become of something in a tree. */
type TreeOutcome = TreeEvent & { readonly type: "copied" | "unchanged" | "deleted" | "skipped" };

/** Why something in a tree is skipped. */
const SKIPPED: Readonly<Record<string, string>> = {
  link: "a symbolic link, which is not followed",
  special: "neither a file nor a directory",
  reserved: "its name is reserved for unfinished files",
};

/** Why `--delete` has deleted nothing at the end. */
const KEPT = {
  incomplete:
    "nothing is deleted, as not everything could be listed: what seems to be missing may be there",
  failed: "nothing more is deleted, as not everything could be copied",
  empty:
    "it is empty, so nothing is deleted: is its disk mounted? To delete everything anyway, put a " +
    "file into it first",
};

/** How far the files of one call are, for the progress bar. */
interface Stage {
  files: number;
  totalFiles: number;
  /** That are at the target. */
  bytes: number;
  totalBytes: number;
  /** That were transferred. */
  moved: number;
}

/** Moves files and trees, and counts what has happened. */
export class Transfers implements Disposable {
  readonly #context: Context;
  readonly #direction: Exclude<Direction, "delete">;
  readonly #startedAt = performance.now();
  readonly #stages: Stage[] = [];
  readonly #warned = new Set<string>();
  /** Where there is a bar to be shown. */
  #makeBar: (() => ProgressBar) | null = null;
  #bar: ProgressBar | null = null;
  #name = "";
  #copied = 0;
  #moved = 0;
  #unchanged = 0;
  #skipped = 0;
  #deleted = 0;
  #failed = 0;
  #isDryRun = false;

  /** Begins with nothing to do. */
  constructor(context: Context, direction: Exclude<Direction, "delete">) {
    this.#context = context;
    this.#direction = direction;
  }

  /** Prints a line to stderr. */
  note(text: string): void {
    this.#print(() => this.#context.output.note(text));
  }

  /** Prints a warning to stderr, once. */
  warn(text: string): void {
    if (this.#warned.has(text)) return;
    this.#warned.add(text);
    this.#print(() => this.#context.output.warn(text));
  }

  /** Counts and reports something that is left out, once. */
  skip(name: string, why: string): void {
    const text = `${name}: skipped: ${why}`;
    if (!this.#warned.has(text)) this.#skipped++;
    this.warn(text);
  }

  /** Prints a result to stdout; only with `--json` when `--quiet` is given. */
  #result(text: string, object: Record<string, unknown>): void {
    const { output } = this.#context;
    if (output.quiet && !output.json) return;
    this.#print(() => output.result(text, object));
  }

  /** Counts and reports something that could not be done. */
  fail(
    name: string,
    problem: string,
    object: Readonly<Record<string, unknown>> = { path: name },
  ): void {
    this.#failed++;
    const { output } = this.#context;
    this.#print(() => {
      output.error(`${name}: ${problem}`);
      if (output.json) output.result("", { ...object, error: problem });
    });
  }

  /**
   * Moves files. If one can't be moved, the others still are, unless they would fail as well.
   *
   * @throws an error that all would fail with: the peer can't be reached, a disk is full, the command was interrupted.
   */
  async files(connections: PeerConnections, jobs: readonly Job[]): Promise<void> {
    if (jobs.length === 0) return;
    const totalBytes = jobs.reduce((bytes, { size }) => bytes + size, 0);
    const stage = { files: 0, totalFiles: jobs.length, bytes: 0, totalBytes, moved: 0 };
    await this.#begin(stage);
    try {
      await connections.each(jobs, (job, signal) => this.#moveOne(connections, job, signal, stage));
    } finally {
      this.#checkInterrupted();
    }
  }

  #checkInterrupted(): void {
    const { signal } = this.#context;
    if (!signal.aborted) return;
    this.note("what has been copied is kept: run the same command again to continue");
    signal.throwIfAborted();
  }

  async #moveOne(
    connections: PeerConnections,
    job: Job,
    signal: AbortSignal,
    stage: Stage,
  ): Promise<void> {
    this.#name = job.name;
    let there = 0;
    const attempt = (target: Client | Connection, moved: Moved) => {
      let before = 0;
      return job.move(target, {
        signal,
        onProgress: (progress) => {
          const { bytes, resumedFrom } = progress;
          moved(progress);
          stage.bytes += resumedFrom + bytes - there;
          stage.moved += bytes - before;
          this.#moved += bytes - before;
          [there, before] = [resumedFrom + bytes, bytes];
          this.#show();
        },
      });
    };
    let result: TransferResult | null;
    try {
      result = job.size >= LARGE_BYTES
        ? await connections.callAnew(attempt)
        : await connections.call(attempt);
    } catch (error) {
      signal.throwIfAborted();
      const { name, object } = job;
      if (endsAll(error)) throw this.#ending(name, object, error);
      return this.fail(name, explainTransfer(error, this.#direction), object);
    } finally {
      stage.bytes += job.size - there;
      stage.files++;
      this.#show();
    }
    // A closed output is not a failure of this file.
    if (result === null) {
      this.#unchanged++;
      if (this.#context.output.json) this.#result("", { ...job.object, unchanged: true });
    } else {
      this.#copied++;
      this.#result(job.result, { ...job.object, ...result });
    }
  }

  /** The error that ends the command; what was copied stays. */
  #ending(name: string, object: Readonly<Record<string, unknown>>, error: unknown): Failure {
    const problem = explainTransfer(error, this.#direction);
    const { output } = this.#context;
    if (output.json) output.result("", { ...object, error: problem });
    const hint = isTransient(error) ? "; run the same command again to continue" : "";
    const exitCode = exitCodeOf(error) === REFUSED ? REFUSED : FAILED;
    return new Failure(exitCode, `${name}: ${problem}${hint}`, { cause: error });
  }

  /**
   * Copies a tree. What can't be copied is reported, and the rest still is.
   *
   * @throws what all of it fails with.
   */
  async tree(connections: PeerConnections, job: TreeJob): Promise<void> {
    const { options } = job;
    this.#isDryRun = options.dryRun === true;
    const stage = { files: 0, totalFiles: 0, bytes: 0, totalBytes: 0, moved: 0 };
    await this.#begin(stage);
    const { signal } = this.#context;
    // An attempt that breaks off has reported a part of it already; what has failed in it may succeed in the next one.
    const reported = new Set<string>();
    let failures: (TreeEvent & { readonly type: "failed" })[] = [];
    let copiedBytes = 0;
    let hasEntries = false;
    /** Files and bytes that there were to copy at first: progress is only what leaves fewer of them. */
    let first: number | null = null;
    const sizes = new Map<string, number>();
    const filter = (entry: TreeEntry) => {
      const isIncluded = options.filter?.(entry) ?? true;
      hasEntries ||= isIncluded;
      if (first !== null) sizes.set(entry.path.join("/"), entry.size);
      return isIncluded;
    };
    try {
      const { deletionsKept } = await connections.callAnew((client, moved) => {
        const [filesBefore, bytesBefore, isFirst] = [stage.files, copiedBytes, first === null];
        failures = [];
        const onEvent = (event: TreeEvent) => {
          if (event.type === "plan") {
            first ??= event.files + event.bytes;
            stage.totalFiles = filesBefore + event.files;
            stage.totalBytes = bytesBefore + event.bytes;
          } else if (event.type === "progress") {
            stage.bytes = stage.moved = bytesBefore + event.bytes;
          } else if (event.type === "failed") {
            failures.push(event);
          } else {
            const key = event.path.join("/");
            const isNew = event.type === "deleted" || !reported.has(key);
            reported.add(key);
            if (event.type === "copied") {
              stage.files++;
              copiedBytes += event.total;
            }
            if (isNew && event.type === "unchanged" && !isFirst) {
              // It was copied when the connection broke off, too late to be told.
              const bytes = sizes.get(key) ?? 0;
              const result = { bytes, total: bytes, resumedFrom: 0, sha256: null };
              this.#report(job, { type: "copied", path: event.path, ...result });
            } else if (isNew) {
              this.#report(job, event);
            }
            // Of a tree that is up to date there may be a hundred thousand of them.
            if (event.type === "unchanged") return;
          }
          const left = stage.totalFiles - stage.files + stage.totalBytes - stage.bytes;
          moved({ bytes: first === null ? 0 : first - left, resumedFrom: 0 });
          this.#show();
        };
        return job.copy(client, { ...options, filter, signal, onEvent });
      });
      for (const failure of failures) this.#reportFailure(job, failure);
      if (deletionsKept === "empty") {
        if (hasEntries) this.fail(job.sourceName([]), KEPT.empty);
      } else if (deletionsKept !== null) {
        this.warn(KEPT[deletionsKept]);
      }
    } catch (error) {
      for (const failure of failures) this.#reportFailure(job, failure);
      this.#checkInterrupted();
      if (!endsAll(error) && !(error instanceof TransferError)) throw error;
      const [from, to] = [job.sourceName([]), job.targetName([])];
      throw this.#ending(this.#direction === "get" ? from : to, { from, to }, error);
    }
  }

  #reportFailure(job: TreeJob, { path, error, at }: TreeEvent & { readonly type: "failed" }): void {
    const [from, to] = [job.sourceName(path), job.targetName(path)];
    if (at === "source") this.fail(from, explainTransfer(error, this.#direction), { from, to });
    else this.fail(to, explainTransfer(error, "delete"), { action: "delete", path: to });
  }

  /** Counts and prints something that has happened in a tree. */
  #report(job: TreeJob, event: TreeOutcome): void {
    const { type, path } = event;
    const isUnlisted = !job.listsUnchanged || !this.#context.output.json;
    if (type === "unchanged") this.#unchanged++;
    if (type === "unchanged" && isUnlisted) return;
    const [from, to] = [job.sourceName(path), job.targetName(path)];
    this.#name = from;
    if (type === "unchanged") {
      this.#result("", { from, to, unchanged: true });
    } else if (type === "skipped") {
      this.skip(from, SKIPPED[event.reason] ?? event.reason);
    } else if (type === "deleted") {
      this.#deleted++;
      const name = event.kind === "directory" ? `${to}/` : to;
      const text = this.#isDryRun ? `would delete ${name}` : `deleted ${name}`;
      this.#result(text, { action: "delete", path: name, ...this.#dryRun });
    } else if (this.#isDryRun) {
      this.#copied++;
      const object = { action: "copy", from, to, size: event.total, ...this.#dryRun };
      this.#result(`would copy ${from} to ${to}`, object);
    } else {
      this.#copied++;
      const { bytes, total, resumedFrom, sha256 } = event;
      this.#moved += bytes;
      this.#result(to, { from, to, bytes, total, resumedFrom, sha256 });
    }
  }

  get #dryRun(): { readonly dryRun?: true } {
    return this.#isDryRun ? { dryRun: true } : {};
  }

  /** Begins to show a stage. */
  async #begin(stage: Stage): Promise<void> {
    this.#stages.push(stage);
    const { json, draws, streams } = this.#context.output;
    if (this.#makeBar !== null || json || !draws) return;
    // What it is made with takes long to load; most commands need none.
    const { ProgressBar } = await import("./progress_bar.ts");
    this.#makeBar = () => new ProgressBar(this.#progress(), streams);
    this.#show();
  }

  #show(): void {
    // Before trees have been compared nobody knows of how much.
    if (this.#makeBar !== null && this.#sum("totalFiles") > 0) this.#bar ??= this.#makeBar();
    this.#bar?.show(this.#progress(), this.#sum("moved"));
  }

  #progress() {
    return {
      name: this.#name,
      files: this.#sum("files"),
      totalFiles: this.#sum("totalFiles"),
      bytes: this.#sum("bytes"),
      totalBytes: this.#sum("totalBytes"),
    };
  }

  #sum(what: keyof Stage): number {
    return this.#stages.reduce((sum, stage) => sum + stage[what], 0);
  }

  #print(print: () => void): void {
    this.#bar?.clear();
    print();
  }

  /**
   * Says what was done.
   *
   * @returns The exit code: 0, or 1 if something could not be done.
   */
  finish(): number {
    this[Symbol.dispose]();
    const seconds = (performance.now() - this.#startedAt) / 1000;
    const time = this.#moved > 0 ? ` in ${formatDuration(seconds)}` : "";
    const files = counted(this.#copied, "file");
    const isInVain = this.#copied === 0 && this.#failed > 0;
    const would = this.#isDryRun ? "would be " : "";
    const parts = [
      ...(this.#isDryRun
        ? [`${files} would be copied`]
        : isInVain
        ? []
        : [`${files} copied, ${formatBytes(this.#moved)}${time}`]),
      ...(this.#unchanged > 0 ? [`${this.#unchanged} up to date`] : []),
      ...(this.#deleted > 0 ? [`${this.#deleted} ${would}deleted`] : []),
      ...(this.#skipped > 0 ? [`${this.#skipped} skipped`] : []),
    ];
    const { output } = this.#context;
    if (parts.length > 0) output.note(parts.join("; "));
    if (this.#failed === 0) return 0;
    // If there was only one thing to do, the line above says it all.
    if (this.#failed > 1 || parts.length > 0) {
      output.error(
        `${
          counted(this.#failed, "error")
        }: see above; what was copied stays, and running the same ` +
          "command again continues with the rest",
      );
    }
    return FAILED;
  }

  /** Removes the progress bar. */
  [Symbol.dispose](): void {
    this.#bar?.[Symbol.dispose]();
    this.#bar = this.#makeBar = null;
  }
}
