/** The transfers of one command, of files and of trees, with one progress bar and one end. */

import { join } from "node:path";
import type { Client, Connection } from "../client.ts";
import {
  downloadTree,
  isTransient,
  TransferError,
  type TransferOptions,
  type TransferResult,
  type TreeEntry,
  type TreeEvent,
  type TreeOptions,
  uploadTree,
} from "../files.ts";
import type { Context } from "./commands.ts";
import {
  endsCommand,
  exitCodeOf,
  explainTransfer,
  FAILED,
  Failure,
  type FileAction,
  REFUSED,
} from "./failure.ts";
import { type OwnDirectory, ownDirectory } from "./local_paths.ts";
import { counted, formatBytes, formatDuration } from "./output.ts";
import type { Moved, PeerConnections } from "./peer_connections.ts";
import { type Progress, showProgress } from "./progress_bar.ts";
import type { RemoteFiles } from "./remote_files.ts";

/** A larger file gets a connection of its own once what there is of it is hashed: a server does not wait for that. */
const LARGE_BYTES = 67_108_864;

/** A file to be copied. */
export interface Job {
  /** What it is called in messages, and what the copy is. */
  readonly from: string;
  readonly to: string;
  /** In bytes. */
  readonly size: number;
  /** Copies it; resolves to `null` if it was there already. */
  move(target: Client | Connection, options: TransferOptions): Promise<TransferResult | null>;
}

/** A tree to be copied. */
export interface TreeJob {
  /** Its path on the other device. */
  readonly names: readonly string[];
  /** Its path on this device. */
  readonly root: string;
  /** Whether `--json` names what is up to date. */
  readonly listsUnchanged: boolean;
  readonly options: Omit<TreeOptions, "signal" | "onEvent">;
}

/** What something in the source, and in the target, is called in messages. */
type NamesOf = (path: readonly string[]) => { readonly from: string; readonly to: string };

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

/** Copies files and trees from a peer, or to it, and counts what has happened. */
export class Transfers implements Disposable {
  /** The directory of the device, which is left out. */
  readonly own: OwnDirectory;
  readonly #context: Context;
  readonly #direction: Exclude<FileAction, "delete">;
  readonly #startedAt = performance.now();
  readonly #progress: Progress = {
    ...{ name: "", files: 0, totalFiles: 0 },
    ...{ bytes: 0, totalBytes: 0, moved: 0 },
  };
  readonly #warned = new Set<string>();
  /** What is written by this command. */
  readonly #taken = new Map<string, string>();
  #bar: Disposable | null = null;
  #copied = 0;
  #moved = 0;
  #unchanged = 0;
  #skipped = 0;
  #deleted = 0;
  #failed = 0;
  #isDryRun = false;

  private constructor(context: Context, direction: "get" | "put", own: OwnDirectory) {
    this.#context = context;
    this.#direction = direction;
    this.own = own;
  }

  /** Begins with nothing to do. */
  static async begin(context: Context, direction: "get" | "put"): Promise<Transfers> {
    return new Transfers(context, direction, await ownDirectory(context.home));
  }

  /** Warns, once. */
  #warn(text: string): void {
    if (this.#warned.has(text)) return;
    this.#warned.add(text);
    this.#context.output.warn(text);
  }

  #skip(name: string, why: string): void {
    const text = `${name}: skipped: ${why}`;
    if (!this.#warned.has(text)) this.#skipped++;
    this.#warn(text);
  }

  /** Prints a result to stdout; only with `--json` when `--quiet` is given. */
  #result(text: string, object: Record<string, unknown>): void {
    const { output } = this.#context;
    if (!output.quiet || output.json) output.result(text, object);
  }

  /** Counts and reports something that could not be done. */
  #fail(name: string, problem: string, object: Readonly<Record<string, unknown>>): void {
    this.#failed++;
    const { output } = this.#context;
    output.error(`${name}: ${problem}`);
    if (output.json) output.result("", { ...object, error: problem });
  }

  /** Prepares one of the things that the command line names: if it can't be copied, the others still are. */
  async prepare(name: string, isOnly: boolean, step: () => Promise<void>): Promise<void> {
    try {
      await step();
    } catch (error) {
      if (!(error instanceof Failure) || isOnly) throw error;
      this.#fail(name, error.message, { path: name });
    }
  }

  /**
   * Notes where something goes.
   *
   * @throws {Failure} if something else goes there.
   */
  take(target: string, source: string): void {
    const other = this.#taken.get(target);
    if (other !== undefined) {
      const advice = `${this.#direction} the two into different directories`;
      throw new Failure(`${other} has the same name: ${advice}`);
    }
    this.#taken.set(target, source);
  }

  /**
   * Copies files. If one can't be copied, the others still are, unless they would fail as well.
   *
   * @throws an error that all would fail with: the peer can't be reached, a disk is full, the command was interrupted.
   */
  async files(connections: PeerConnections, jobs: readonly Job[]): Promise<void> {
    if (jobs.length === 0) return;
    this.#progress.totalFiles += jobs.length;
    for (const { size } of jobs) this.#progress.totalBytes += size;
    this.#showProgress();
    try {
      await connections.each(jobs, (job, signal) => this.#moveOne(connections, job, signal));
    } finally {
      this.#checkInterrupted();
    }
  }

  #showProgress(): void {
    const { output } = this.#context;
    if (!output.json) this.#bar ??= showProgress(output, this.#progress);
  }

  #checkInterrupted(): void {
    const { signal, output } = this.#context;
    if (!signal.aborted) return;
    output.note("what has been copied is kept: run the same command again to continue");
    signal.throwIfAborted();
  }

  async #moveOne(connections: PeerConnections, job: Job, signal: AbortSignal): Promise<void> {
    const { from, to, size } = job;
    const progress = this.#progress;
    progress.name = from;
    let there = 0;
    const attempt = (target: Client | Connection, moved: Moved) => {
      let before = 0;
      return job.move(target, {
        signal,
        onProgress: (now) => {
          const { bytes, resumedFrom } = now;
          moved(now);
          progress.bytes += resumedFrom + bytes - there;
          progress.moved += bytes - before;
          this.#moved += bytes - before;
          [there, before] = [resumedFrom + bytes, bytes];
        },
      });
    };
    let result: TransferResult | null;
    try {
      result = size >= LARGE_BYTES
        ? await connections.callAnew(attempt)
        : await connections.call(attempt);
    } catch (error) {
      signal.throwIfAborted();
      if (endsCommand(error)) throw this.#ending({ from, to }, error);
      return this.#fail(from, explainTransfer(error, this.#direction), { from, to });
    } finally {
      progress.bytes += size - there;
      progress.files++;
    }
    // A closed output is not a failure of this file.
    if (result === null) {
      this.#unchanged++;
      if (this.#context.output.json) this.#result("", { from, to, unchanged: true });
    } else {
      this.#copied++;
      this.#result(to, { from, to, ...result });
    }
  }

  /** The error that ends the command; what was copied stays. */
  #ending(names: ReturnType<NamesOf>, error: unknown): Failure {
    const problem = explainTransfer(error, this.#direction);
    const { output } = this.#context;
    if (output.json) output.result("", { ...names, error: problem });
    const hint = isTransient(error) ? "; run the same command again to continue" : "";
    const exitCode = exitCodeOf(error) === REFUSED ? REFUSED : FAILED;
    return new Failure(`${names.from}: ${problem}${hint}`, exitCode, { cause: error });
  }

  /**
   * Copies a tree, without the directory of the device. What can't be copied is reported, and the rest still is.
   *
   * @throws what all of it fails with.
   */
  async tree(files: RemoteFiles, { names, root, listsUnchanged, options }: TreeJob): Promise<void> {
    this.#isDryRun = options.dryRun === true;
    this.#showProgress();
    const progress = this.#progress;
    // What has failed before is not left to do.
    [progress.totalFiles, progress.totalBytes] = [progress.files, progress.bytes];
    const before = { ...progress };
    const { signal } = this.#context;
    const isGet = this.#direction === "get";
    const namesOf: NamesOf = (path) => {
      const [remote, local] = [files.name([...names, ...path]), join(root, ...path)];
      return isGet ? { from: remote, to: local } : { from: local, to: remote };
    };
    const isNotOwn = await this.own.filter(root, (path) => {
      this.#skip(join(root, ...path), "the directory of this device, with its keys");
    });
    // An attempt that breaks off has reported a part of it already; what has failed in it may succeed in the next one.
    const reported = new Set<string>();
    let failures: (TreeEvent & { readonly type: "failed" })[] = [];
    let [copiedFiles, copiedBytes] = [0, 0];
    let hasEntries = false;
    /** Files and bytes that there were to copy at first: progress is only what leaves fewer of them. */
    let first: number | null = null;
    const sizes = new Map<string, number>();
    const filter = (entry: TreeEntry) => {
      const isIncluded = (options.filter?.(entry) ?? true) && isNotOwn(entry);
      hasEntries ||= isIncluded;
      if (first !== null) sizes.set(entry.path.join("/"), entry.size);
      return isIncluded;
    };
    try {
      const { deletionsKept } = await files.connections.callAnew((client, moved) => {
        const [filesBefore, bytesBefore, isFirst] = [copiedFiles, copiedBytes, first === null];
        failures = [];
        const onEvent = (event: TreeEvent) => {
          if (event.type === "plan") {
            first ??= event.files + event.bytes;
            progress.totalFiles = before.files + filesBefore + event.files;
            progress.totalBytes = before.bytes + bytesBefore + event.bytes;
          } else if (event.type === "progress") {
            progress.bytes = before.bytes + bytesBefore + event.bytes;
            progress.moved = before.moved + bytesBefore + event.bytes;
          } else if (event.type === "failed") {
            failures.push(event);
          } else {
            const key = event.path.join("/");
            const isNew = event.type === "deleted" || !reported.has(key);
            reported.add(key);
            if (event.type === "copied") {
              progress.files = before.files + ++copiedFiles;
              copiedBytes += event.total;
            }
            if (isNew && event.type === "unchanged" && !isFirst) {
              // It was copied when the connection broke off, too late to be told.
              const bytes = sizes.get(key) ?? 0;
              const result = { bytes, total: bytes, resumedFrom: 0, sha256: null };
              this.#report(namesOf, listsUnchanged, { ...event, type: "copied", ...result });
            } else if (isNew) {
              this.#report(namesOf, listsUnchanged, event);
            }
            // Of a tree that is up to date there may be a hundred thousand of them.
            if (event.type === "unchanged") return;
          }
          const left = progress.totalFiles - progress.files + progress.totalBytes - progress.bytes;
          moved({ bytes: first === null ? 0 : first - left, resumedFrom: 0 });
        };
        const all = { ...options, filter, signal, onEvent };
        const uri = files.uri([...names, ""]);
        return isGet ? downloadTree(client, uri, root, all) : uploadTree(client, root, uri, all);
      });
      this.#reportFailures(namesOf, failures);
      if (deletionsKept === "empty") {
        const { from } = namesOf([]);
        if (hasEntries) this.#fail(from, KEPT.empty, { path: from });
      } else if (deletionsKept !== null) {
        this.#warn(KEPT[deletionsKept]);
      }
    } catch (error) {
      this.#reportFailures(namesOf, failures);
      this.#checkInterrupted();
      if (!endsCommand(error) && !(error instanceof TransferError)) throw error;
      throw this.#ending(namesOf([]), error);
    }
  }

  #reportFailures(
    namesOf: NamesOf,
    failures: readonly (TreeEvent & { readonly type: "failed" })[],
  ): void {
    for (const { path, error, at } of failures) {
      const { from, to } = namesOf(path);
      if (at === "source") this.#fail(from, explainTransfer(error, this.#direction), { from, to });
      else this.#fail(to, explainTransfer(error, "delete"), { action: "delete", path: to });
    }
  }

  /** Counts and prints something that has happened in a tree. */
  #report(namesOf: NamesOf, listsUnchanged: boolean, event: TreeOutcome): void {
    const { type, path } = event;
    if (type === "unchanged") this.#unchanged++;
    if (type === "unchanged" && !(listsUnchanged && this.#context.output.json)) return;
    const { from, to } = namesOf(path);
    this.#progress.name = from;
    const dryRun = this.#isDryRun ? { dryRun: true } : {};
    if (type === "unchanged") {
      this.#result("", { from, to, unchanged: true });
    } else if (type === "skipped") {
      this.#skip(from, SKIPPED[event.reason] ?? event.reason);
    } else if (type === "deleted") {
      this.#deleted++;
      const name = event.kind === "directory" ? `${to}/` : to;
      const text = this.#isDryRun ? `would delete ${name}` : `deleted ${name}`;
      this.#result(text, { action: "delete", path: name, ...dryRun });
    } else if (this.#isDryRun) {
      this.#copied++;
      const object = { action: "copy", from, to, size: event.total, ...dryRun };
      this.#result(`would copy ${from} to ${to}`, object);
    } else {
      this.#copied++;
      const { bytes, total, resumedFrom, sha256 } = event;
      this.#moved += bytes;
      this.#result(to, { from, to, bytes, total, resumedFrom, sha256 });
    }
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
    const would = this.#isDryRun ? "would be " : "";
    const size = this.#isDryRun ? "" : `, ${formatBytes(this.#moved)}${time}`;
    const isInVain = !this.#isDryRun && this.#copied === 0 && this.#failed > 0;
    const parts = [
      isInVain ? "" : `${counted(this.#copied, "file")} ${would}copied${size}`,
      this.#unchanged > 0 ? `${this.#unchanged} up to date` : "",
      this.#deleted > 0 ? `${this.#deleted} ${would}deleted` : "",
      this.#skipped > 0 ? `${this.#skipped} skipped` : "",
    ].filter((part) => part !== "");
    const { output } = this.#context;
    if (parts.length > 0) output.note(parts.join("; "));
    if (this.#failed === 0) return 0;
    // If there was only one thing to do, the line above says it all.
    if (this.#failed > 1 || parts.length > 0) {
      output.error(
        `${counted(this.#failed, "error")}: see above; what was copied stays, and running the ` +
          "same command again continues with the rest",
      );
    }
    return FAILED;
  }

  /** Removes the progress bar. */
  [Symbol.dispose](): void {
    this.#bar?.[Symbol.dispose]();
    this.#bar = null;
  }
}
