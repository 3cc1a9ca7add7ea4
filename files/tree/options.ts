import { findDeletionProblem } from "../disk/names.ts";
import {
  checkBoolean,
  checkFunction,
  checkOptions,
  checkSignal,
  makeChoiceCheck,
  makeIntegerCheck,
  notAllowedError,
  type OptionChecks,
  wrongTypeError,
} from "../../internal/checks.ts";
import type { RetryEvent } from "../../client.ts";
import { DOWNLOAD_RULE_CHECKS, type DownloadRules, type TransferResult } from "../options.ts";
import { checkDays } from "../kept_versions.ts";
import { checkFilter, type EntryFilter, makeEntryFilter, type TreeFilter } from "./filter.ts";

/** How directories are compared and copied, superfluous entries deleted, and errors retried. */
export interface DownloadTreeOptions {
  /**
   * The comparison of files. A file that is the same in source and target is not copied:
   *
   * - `"time"`: Compares size and modification time, as precisely as the coarser disk stores times.
   *   If only the times differ, compares the SHA-256, and sets the time of an identical file.
   * - `"digest"`: Compares size and SHA-256. A file that differs only in its time keeps the time.
   *
   * @default {"time"}
   */
  compare?: "time" | "digest" | undefined;
  /**
   * Whether to replace files of the target that differ. With `false`, a file with different content
   * fails, and the other files are copied.
   *
   * @default {true}
   */
  replace?: boolean | undefined;
  /**
   * Whether files get the permission bits of the source, as in {@linkcode TransferOptions}. If a
   * file of the target differs only in these bits, only the bits are set, and the file counts as
   * unchanged, unless `replace` is false.
   *
   * @default {true}
   */
  modes?: boolean | undefined;
  /**
   * Whether to delete all entries of the target that the source does not have, after all files have
   * been copied. Entries are only deleted if the list of the source is complete and not empty, and
   * no file has failed. If an entry is a file at one side and a directory at the other, the entry
   * of the target is deleted, and the next call copies the entry of the source.
   *
   * @default {false}
   */
  delete?: boolean | undefined;
  /**
   * With `delete`: whether to delete although more than ten files of the target would be deleted
   * and fewer stay, or the source has no files. A wrong source, and the directory of a disk that is
   * not mounted, look like this: pass this option only for a source that can't be one.
   *
   * @default {false}
   */
  deleteAll?: boolean | undefined;
  /**
   * Whether to report all changes without making them. A dry run also resolves if entries would
   * fail.
   *
   * @default {false}
   */
  dryRun?: boolean | undefined;
  /**
   * Whether to resolve although an entry has failed, or deletions were skipped. If you set this
   * option, check `complete` of the result. With `false` the call rejects with a `TransferError`
   * `"INCOMPLETE"`, which has the result.
   *
   * @default {false}
   */
  partial?: boolean | undefined;
  /**
   * The functions that choose files and directories.
   *
   * @default {all entries}
   */
  filter?: TreeFilter | undefined;
  /**
   * The maximum number of connections of a client at a time, 1 to 64. Each connection is opened
   * when it is needed. If you pass a connection in place of a client, only this connection is used.
   *
   * @default {4}
   */
  connections?: number | undefined;
  /**
   * The minimum age in seconds, 0 to 900, of the modification time of a copied file. A younger
   * file may be incomplete, because a program may still be writing it: the file is pending, and a
   * later call copies it. The age is measured by the clock of the source's device. A time in the
   * future counts as long ago.
   *
   * @default {0}
   */
  settled?: number | undefined;
  /**
   * The number of further attempts after a transient error, or after the tree changed while it was
   * listed: 0 or more, or `Infinity`. Each attempt lists source and target again, after the waits
   * of `retry`. If the transfer of a file was interrupted, another attempt follows after all other
   * files were copied. Each complete file resets the count, and so do 64 KiB of a file that a later
   * attempt resumes. `"plan"` comes once, and pending, skipped and failed entries are reported at
   * the end. Unchanged files are reported by each attempt, and the result has the number of the
   * last one.
   *
   * @default {0}
   */
  retries?: number | undefined;
  /**
   * A name for the server, in place of its key or address, as in {@linkcode DownloadOptions}.
   *
   * @default {the key of the server's authority, or its address}
   */
  serverName?: string | undefined;
  /**
   * The permission bits that files can get from their sources, as in {@linkcode DownloadOptions}.
   *
   * @default {0o777}
   */
  modeMask?: number | undefined;
  /**
   * The number of days, 1 to 36,500, for which each local file that is replaced or deleted is kept,
   * as with the same option of a `FilesApp`.
   *
   * @default {no file is kept}
   */
  keep?: number | undefined;
  /** Aborts the call, which rejects with the reason of the signal. Complete files stay. */
  signal?: AbortSignal | undefined;
  /**
   * Called for each event. Without this function, the reason of each failed entry is logged.
   */
  onEvent?: ((event: TreeEvent) => void) | undefined;
}

/** How a directory is uploaded, or its files are moved. */
export interface UploadTreeOptions
  extends Omit<DownloadTreeOptions, "serverName" | "modeMask" | "keep"> {
  /**
   * Whether to remove each local file after the target has it, if it has not changed since it was
   * read. All other files and the directories stay. A file that was changed or renamed less than
   * two seconds before it was read also stays, and is pending; the target may have a copy. Files of
   * a directory that the server itself serves are not moved.
   *
   * A file that the target had when the call began is replaced; with `replace: false` only if its
   * content is the same. `settled` is 3 by default, and also counts from the renaming of a file.
   * `compare` and `delete` can't be combined with `move`. The target is not listed, so a dry run
   * can't compare.
   *
   * @default {false}
   */
  move?: boolean | undefined;
}

/**
 * An event of the copying of a tree.
 *
 * - `"plan"`: Comes once, after both trees have been compared. It has the numbers of files and
 *   bytes to copy.
 * - `"progress"`: Comes at most 10 times a second while files are copied, each second while lists
 *   and small files are received, and at the end. `total` is the number of bytes to copy, and
 *   `done` the number of these bytes that the target has; before the plan, both numbers are 0.
 * - `"copied"`, `"unchanged"`, `"pending"`, `"skipped"`, `"failed"`: The outcome of a file, or of
 *   an entry that is neither a file nor a directory. A directory has an outcome only if it has
 *   failed. A copied file has the result of its transfer, in a dry run as if the file were new, but
 *   not `unset`, which is counted in the result of the call. `at` of a failed entry is `"source"`,
 *   or `"target"` if the entry could not be deleted. A pending file is still being written: it is
 *   younger than `settled`, or, with `move`, may have changed since it was read.
 * - `"deleted"`: A file or directory of the target was deleted. The entries of a directory come
 *   before the directory.
 * - `"moved"`: A file of the source was removed after it was copied, with `move`.
 * - `"retry"`: Comes with `retries`, before the wait for another attempt. It has the properties of
 *   a `RetryEvent` of `@degu/degu`. If `onEvent` throws the error of the event, no attempt follows.
 *
 * The reason of a skipped entry is `"link"`, `"special"` (a pipe, socket or device), or
 * `"reserved"` (the name of a part of a transfer).
 */
export type TreeEvent =
  | { readonly type: "plan"; readonly files: number; readonly bytes: number }
  | { readonly type: "progress"; readonly done: number; readonly total: number }
  | { readonly type: "retry" } & RetryEvent
  | { readonly type: "copied"; readonly path: readonly string[] } & Omit<TransferResult, "unset">
  | { readonly type: "unchanged"; readonly path: readonly string[] }
  | { readonly type: "moved"; readonly path: readonly string[] }
  | {
    readonly type: "deleted";
    readonly path: readonly string[];
    readonly kind: "file" | "directory";
  }
  | { readonly type: "pending"; readonly path: readonly string[] }
  | {
    readonly type: "skipped";
    readonly path: readonly string[];
    readonly reason: "link" | "special" | "reserved";
  }
  | {
    readonly type: "failed";
    readonly path: readonly string[];
    readonly error: unknown;
    readonly at: "source" | "target";
  };

type CheckedTreeOptions =
  & DownloadRules
  & { readonly keep: number | null }
  & {
    readonly [Name in Exclude<keyof typeof DEFAULTS, keyof DownloadRules | "keep">]: Exclude<
      UploadTreeOptions[Name],
      undefined
    >;
  }
  & Readonly<Pick<UploadTreeOptions, "onEvent" | "signal">>
  & { readonly filter: EntryFilter | undefined };

export interface PlanRules
  extends Pick<CheckedTreeOptions, "compare" | "replace" | "modes" | "delete" | "filter"> {
  /** True if files are kept because the server of the target only adds files. */
  readonly refusesReplacement: boolean;
}

export interface TreeSettings extends Omit<CheckedTreeOptions, "signal"> {
  readonly dir: string;
  readonly uri: string;
  /** Aborted by the caller, or by the first error that concerns all files of an attempt. */
  readonly signal: AbortSignal;
  readonly abort: (reason: unknown) => void;
}

const DEFAULTS = {
  compare: "time",
  replace: true,
  modes: true,
  delete: false,
  deleteAll: false,
  dryRun: false,
  partial: false,
  connections: 4,
  settled: 0,
  retries: 0,
  move: false,
  serverName: null,
  modeMask: 0o777,
  keep: null,
} as const;
const MAX_CONNECTIONS = 64;
/** A larger number was probably meant as milliseconds. */
const MAX_SETTLED_SECONDS = 900;
const SHARED_CHECKS: OptionChecks<Omit<UploadTreeOptions, "move">> = {
  compare: makeChoiceCheck("time", "digest"),
  replace: checkBoolean,
  modes: checkBoolean,
  delete: checkBoolean,
  deleteAll: checkBoolean,
  dryRun: checkBoolean,
  partial: checkBoolean,
  filter: checkFilter,
  connections: makeIntegerCheck(1, MAX_CONNECTIONS),
  settled: checkSettled,
  retries: makeIntegerCheck(0, Infinity),
  signal: checkSignal,
  onEvent: checkFunction,
};

export function checkTreeOptions(
  options: UploadTreeOptions | DownloadTreeOptions,
  isUpload: boolean,
): CheckedTreeOptions {
  const givenOptions = isUpload
    ? checkOptions<UploadTreeOptions>(options, { ...SHARED_CHECKS, move: checkBoolean })
    : checkOptions<DownloadTreeOptions>(options, {
      ...SHARED_CHECKS,
      ...DOWNLOAD_RULE_CHECKS,
      keep: checkDays,
    });
  const hasMove = "move" in givenOptions && givenOptions.move;
  const checkedOptions: CheckedTreeOptions = {
    ...DEFAULTS,
    ...hasMove ? { settled: 3 } : {},
    ...givenOptions,
    filter: givenOptions.filter && makeEntryFilter(givenOptions.filter),
  };
  const problem = findDeletionProblem();
  for (const name of ["delete", "deleteAll", "move"] as const) {
    if (problem !== null && checkedOptions[name]) {
      throw notAllowedError(name, `${problem}; omit it`);
    }
  }
  if (checkedOptions.move && (checkedOptions.delete || givenOptions.compare !== undefined)) {
    const name = checkedOptions.delete ? "delete" : "compare";
    throw notAllowedError(name, `with move: true it can't be set`);
  }
  if (checkedOptions.deleteAll && !checkedOptions.delete) {
    throw notAllowedError("deleteAll", "needs delete: true");
  }
  return checkedOptions;
}

function checkSettled(label: string, settled: number): void {
  if (typeof settled !== "number") throw wrongTypeError(label, "a number", settled);
  if (settled >= 0 && settled <= MAX_SETTLED_SECONDS) return;
  throw notAllowedError(
    label,
    `must be a number of seconds from 0 to ${MAX_SETTLED_SECONDS}; got ${settled}`,
  );
}
