import type { ConnectionPool } from "@degu/degu/client";
import {
  downloadTree,
  type DownloadTreeOptions,
  type TreeEntry,
  type TreeEvent,
  type TreeResult,
  uploadTree,
  type UploadTreeOptions,
} from "@degu/degu/files/client";
import { join } from "../machine/paths.ts";
import { ignoreNotFound } from "../machine/local_paths.ts";
import { codeOf, isConnectionLost } from "../words/error_codes.ts";
import { explainTransfer } from "../words/explain.ts";
import { OTHER_REASONS, type RemoteEntry, type RemoteFiles } from "../peer/remote_files.ts";
import type { PlannedState, TransferNames, TransferReport } from "./transfer_report.ts";

export interface TreeJob {
  readonly names: readonly string[];
  readonly root: string;
  readonly listsUnchanged: boolean;
  /** Called after both directories are listed, and before the first change. */
  readonly onPlan?: () => void;
  /** The filter of files and directories. */
  readonly isIncluded?: (entry: TreeEntry) => boolean;
  readonly options: Omit<UploadTreeOptions & DownloadTreeOptions, "signal" | "onEvent" | "filter">;
}

type FailedEvent = TreeEvent & { readonly type: "failed" };
type FinalEvent = TreeEvent & {
  readonly type: "copied" | "unchanged" | "deleted" | "moved" | "pending" | "skipped";
};

const RESERVED_NAME = "its name is reserved for unfinished files and earlier versions";

export function isDirectory({ kind, isDirectory = kind === "directory" }: TreeEntry): boolean {
  return isDirectory;
}

export class TreeCopy {
  readonly #report: TransferReport;
  readonly #direction: "get" | "put";
  readonly #files: RemoteFiles;
  readonly #job: TreeJob;
  readonly #plannedCopies: (TreeEvent & { readonly type: "copied" })[] = [];

  constructor(
    report: TransferReport,
    direction: "get" | "put",
    files: RemoteFiles,
    job: TreeJob,
  ) {
    this.#report = report;
    this.#direction = direction;
    this.#files = files;
    this.#job = job;
  }

  namesOf(path: readonly string[]): TransferNames {
    const { names, root } = this.#job;
    // `join` would convert a backslash in a name of a peer.
    const localPath = path.length === 0 ? join(root) : `${join(root, "/")}${path.join("/")}`;
    const remotePath = this.#files.formatName([...names, ...path]);
    const isGet = this.#direction === "get";
    return isGet ? { from: remotePath, to: localPath } : { from: localPath, to: remotePath };
  }

  copy(
    pool: ConnectionPool,
    retries: number,
    onProgress: () => void,
    signal: AbortSignal,
  ): Promise<TreeResult> {
    const { names, root, options, onPlan } = this.#job;
    const { progress } = this.#report;
    const initialProgress = { files: progress.files, bytes: progress.bytes };
    let unchangedCount = 0;
    let maxBytes = 0;
    const file = (entry: TreeEntry) => this.#job.isIncluded?.(entry) ?? true;
    // If the kind of an entry is unknown, the library also calls `file`.
    const directory = (entry: TreeEntry) => isDirectory(entry) && file(entry);
    const onEvent = (event: TreeEvent) => {
      if (event.type === "plan") {
        progress.totalFiles = initialProgress.files + event.files;
        progress.totalBytes = initialProgress.bytes + event.bytes;
        onPlan?.();
      } else if (event.type === "progress") {
        // After a lost connection, the library counts the bytes again, from the bytes at the
        // target.
        progress.transferredBytes += Math.max(0, event.done - maxBytes);
        maxBytes = Math.max(maxBytes, event.done);
        progress.bytes = initialProgress.bytes + event.done;
        // A file that could not be reused is transferred, so the total grows.
        progress.totalBytes = initialProgress.bytes + event.total;
      } else if (event.type === "failed") {
        const action = event.at === "source" ? this.#direction : "delete";
        const { peer } = this.#files.connections;
        this.#reportFailure(event, explainTransfer(event.error, action, peer));
      } else if (event.type === "retry") {
        this.#files.connections.onRetry(event);
        // The next attempt reports the unchanged files again.
        this.#report.uncountUnchanged(unchangedCount);
        unchangedCount = 0;
      } else {
        if (event.type === "unchanged") unchangedCount++;
        this.#reportEvent(event);
      }
      // A tree that is up to date may have a hundred thousand `unchanged` events.
      if (event.type !== "unchanged" && event.type !== "retry") onProgress();
    };
    const filter = { file, directory };
    const treeOptions = { ...options, filter, retries, signal, onEvent, partial: true };
    const uri = this.#files.makeUri([...names, ""]);
    return this.#direction === "get"
      ? downloadTree(pool, uri, root, treeOptions)
      : uploadTree(pool, root, uri, treeOptions);
  }

  #reportEvent(event: FinalEvent): void {
    const { type, path } = event;
    const report = this.#report;
    const isListed = type !== "unchanged" || this.#job.listsUnchanged;
    if (!isListed) return report.reportUnchanged(null);
    const { from, to } = this.namesOf(path);
    if (type === "deleted") {
      // A file or directory that replaces the deleted entry is also reported, by the same name.
      return report.reportDeleted(event.kind === "directory" ? `${to}/` : to);
    }
    if (type === "moved") return report.reportRemoved(from);
    const { progress } = report;
    progress.name = from;
    if (type === "unchanged") report.reportUnchanged({ from, to });
    else if (type === "pending") report.skipUnsettled(from);
    else if (type === "skipped") {
      const { reason } = event;
      if (reason === "reserved") report.skip(from, RESERVED_NAME);
      else report.skipOther(from, OTHER_REASONS[reason]);
    } else if (this.#job.options.dryRun) {
      this.#plannedCopies.push(event);
    } else {
      progress.files++;
      progress.totalFiles = Math.max(progress.totalFiles, progress.files);
      report.addTransferredBytes(event.bytes);
      report.reportCopied({ from, to }, event, false);
    }
  }

  /** Reports the copies of a dry run, which the library reports as if all files were new. */
  async reportPlannedCopies(): Promise<void> {
    const copies = this.#plannedCopies.map((event) => [event, this.namesOf(event.path)] as const);
    copies.sort(([, a], [, b]) => a.to < b.to ? -1 : 1);
    for (const [{ path, total }, names] of copies) {
      const state = this.#direction === "get"
        ? await ignoreNotFound(Deno.lstat(names.to)) === null ? "new" : "changed"
        : await this.#findStateAtPeer(path, names.from);
      this.#report.reportPlannedCopy(names, total, state);
    }
  }

  /** Doesn't list directories that are missing at the peer. */
  async #findStateAtPeer(path: readonly string[], localPath: string): Promise<PlannedState> {
    const names = [...this.#job.names, ...path];
    let entry: RemoteEntry | null = null;
    for (let depth = 1; depth <= names.length; depth++) {
      entry = await this.#files.find(names.slice(0, depth));
      if (entry === null) return "new";
    }
    // With --move, the files that the peer has are also planned.
    const info = await ignoreNotFound(Deno.lstat(localPath));
    const milliseconds = Math.abs(Number(info?.mtime) - Number(entry?.modified));
    return info?.size === entry?.size && milliseconds < 1000 ? "there already" : "changed";
  }

  #reportFailure({ path, error, at }: FailedEvent, problem: string): void {
    const report = this.#report;
    const { from, to } = this.namesOf(path);
    const code = isConnectionLost(error) ? "FAILED" : codeOf(error);
    if (at === "source") {
      report.fail(from, problem, code, { from, to }, error);
    } else {
      report.fail(to, problem, code, { action: "delete", path: to });
    }
  }
}
