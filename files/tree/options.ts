/** The options, events and results of the copying of trees. */

import { deletingProblem } from "../../internal/disk/deleting.ts";
import {
  checkBoolean,
  checkFunction,
  checkInteger,
  checkNumber,
  checkSignal,
  copyOptions,
  notAllowedError,
} from "../../internal/checks.ts";
import type { TreeEntry } from "../entries.ts";
import type { RetryEvent } from "../../client.ts";
import type { TransferResult } from "../options.ts";

/** How a tree is copied. */
export interface TreeOptions {
  /**
   * How files are compared. A file that is the same at both ends is not copied:
   *
   * - `"time"`: by size and modification time, as precisely as the coarser disk stores times;
   * - `"digest"`: by size and SHA-256; a difference in time alone is left as it is.
   *
   * @default {"time"}
   */
  compare?: "time" | "digest" | undefined;
  /**
   * Whether to replace files of the target that differ. With `false`, each such file fails alone,
   * unless it has the same content.
   *
   * @default {true}
   */
  replace?: boolean | undefined;
  /**
   * Whether files get the permission bits of the source, less those that a new file does not get at
   * the target: a private file stays private, and a program executable. The owner can always read
   * and write them. A file of the target that differs in these bits alone gets them without being
   * sent, and counts as unchanged, unless `replace` is false. With `modes: false` at either
   * end, a new file gets the usual bits, and a replaced one keeps its own.
   *
   * @default {true}
   */
  modes?: boolean | undefined;
  /**
   * Whether to delete everything at the target that the source does not have, after all files have
   * been copied. Nothing is deleted unless the list of the source is complete and not empty, and no
   * file has failed; and nothing in a directory of the target unless the directory lists all
   * entries of the source by the same names. With `deleteAll` the list may be empty.
   *
   * @default {false}
   */
  delete?: boolean | undefined;
  /**
   * With `delete`: whether an empty source deletes everything that the target has. The last file of
   * a spool needs this. The directory of a disk that is not mounted looks empty, too: pass this
   * option only for a source that can't be such a directory.
   *
   * @default {false}
   */
  deleteAll?: boolean | undefined;
  /**
   * With `delete`: how many files and directories of the target may be deleted. If there are more,
   * none is deleted: `deletionsSkipped` is `"limit"`, and a file that needs the place of something
   * else fails.
   *
   * @default {any number}
   */
  maxDelete?: number | undefined;
  /**
   * Whether to report all changes, but make none. A dry run resolves, whatever would fail.
   *
   * @default {false}
   */
  dryRun?: boolean | undefined;
  /**
   * Whether to resolve although an entry has failed, or deletions were skipped: look at `failed`
   * and `deletionsSkipped` of the result then. With `false` the call rejects with a `TransferError`
   * `"INCOMPLETE"`, which has the result.
   *
   * @default {false}
   */
  partial?: boolean | undefined;
  /**
   * Called once for each path of a list, parents first, with the entry of the source, or else, with
   * `delete`, of the target. With `false`, the path is excluded with everything below, as if it
   * were at neither end. The function must return a boolean: with anything else, a promise too,
   * nothing is copied.
   */
  filter?: ((entry: TreeEntry) => boolean) | undefined;
  /**
   * How many connections of a client are used at a time, 1 to 64; each is opened when it is needed.
   * If a connection is passed in place of a client, no other is opened.
   *
   * @default {4}
   */
  connections?: number | undefined;
  /**
   * How many seconds ago a file must have been modified to be copied. A file that was modified
   * later may still be being written: a later call copies it, and the file of the target stays. The
   * clock of the source's device counts; a time that is in the future there counts as long ago.
   *
   * @default {0}
   */
  settled?: number | undefined;
  /**
   * How many times to go on after an error that `isTransient` knows, or after a list that a change
   * of the tree has overtaken, 0 or more, or `Infinity`. Each time both ends are listed anew, after
   * the waits of `retry`. A file whose transfer broke off is such an error once all others were
   * copied. A complete file starts the count again, and so do 64 KiB of a file with which a later
   * attempt goes on. The result and the events are those of the whole call: each file is reported
   * once, `"plan"` comes once, `maxDelete` counts for all of it, and what is skipped or has failed
   * is reported at the end.
   *
   * @default {0}
   */
  retries?: number | undefined;
  /** Aborts the call, which rejects with the reason of the signal. Complete files stay. */
  signal?: AbortSignal | undefined;
  /**
   * Called for each event. Without this function, a line of the log says of each failed entry why.
   */
  onEvent?: ((event: TreeEvent) => void) | undefined;
}

/** How a tree is uploaded. */
export interface UploadTreeOptions extends TreeOptions {
  /**
   * Whether to remove each file here once it is at the target. A file is removed only if this call
   * has written it there, or has found it there as another file with its content, and nothing has
   * changed it here since it was read. Any other file stays, for the next call. So does a file that
   * was changed or renamed less than two seconds before it was read: a copy of it may be there, and
   * it counts as skipped. Directories stay. From a directory that the
   * server itself serves nothing is moved.
   *
   * A file that the target had before the call sent anything is replaced, with `replace: false`
   * only by the same content. What comes later stays, and the file here fails.
   * `settled` is 3 by default, and counts from the renaming of a file, too.
   * `compare` and `delete` can't be combined with `move`. The target is not listed, so that a dry
   * run does not know what it has.
   *
   * @default {false}
   */
  move?: boolean | undefined;
}

/**
 * An event of the copying of a tree.
 *
 * - `"plan"`: once, when both trees have been compared. It has the number of files that are to be
 *   copied, and of their bytes.
 * - `"progress"`: at most 10 times a second, and at the end. It has the number of these bytes that
 *   are at the target.
 * - `"copied"`, `"unchanged"`, `"skipped"`, `"failed"`: the outcome of a file, or of an entry that
 *   is neither a file nor a directory; of a directory only if it has failed. A copied file comes
 *   with the result of its transfer, in a dry run as if the file were new. A failed entry is one of
 *   the source, or, if it could not be deleted, `at` the target.
 * - `"deleted"`: a file or directory of the target; the entries of a directory come before it.
 * - `"removed"`: a file of the source, after it was copied, with `move`.
 * - `"retry"`: with `retries`, before the wait for another attempt: its number, the error, and the
 *   seconds until the attempt.
 *
 * The reason of a skipped entry is `"link"`, `"special"` (a pipe, socket or device), `"reserved"`
 * (the name is that of a part of a transfer), or `"still being written"` (a file, by `settled` of
 * {@linkcode TreeOptions}; with `move` one that has changed since it was read, or may have).
 */
export type TreeEvent =
  | { readonly type: "plan"; readonly files: number; readonly bytes: number }
  | { readonly type: "progress"; readonly bytes: number; readonly total: number }
  | { readonly type: "retry" } & RetryEvent
  | { readonly type: "copied"; readonly path: readonly string[] } & TransferResult
  | { readonly type: "unchanged"; readonly path: readonly string[] }
  | { readonly type: "removed"; readonly path: readonly string[] }
  | {
    readonly type: "deleted";
    readonly path: readonly string[];
    readonly kind: "file" | "directory";
  }
  | { readonly type: "skipped"; readonly path: readonly string[]; readonly reason: string }
  | {
    readonly type: "failed";
    readonly path: readonly string[];
    readonly error: unknown;
    readonly at: "source" | "target";
  };

/** Options that have no defaults. */
type WithoutDefault = "filter" | "onEvent" | "signal";

/** The options of a call, checked and with their defaults. */
export type TreeCall =
  & {
    readonly [Name in Exclude<keyof UploadTreeOptions, WithoutDefault>]-?: Exclude<
      UploadTreeOptions[Name],
      undefined
    >;
  }
  & { readonly [Name in WithoutDefault]: UploadTreeOptions[Name] };

/** The options that decide about the plan of a copy. */
export interface PlanRules
  extends Pick<TreeCall, "compare" | "replace" | "modes" | "delete" | "filter"> {
  /** Whether nothing is replaced because the server of the target only adds files. */
  readonly onlyAdds?: boolean;
}

/** The options of an attempt, and what it is about. */
export interface TreeSettings extends Omit<TreeCall, "signal"> {
  /** The path of the directory here. */
  readonly dir: string;
  /** The URI of the directory at the other end. */
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
  maxDelete: Number.MAX_SAFE_INTEGER,
  dryRun: false,
  partial: false,
  filter: undefined,
  connections: 4,
  settled: 0,
  retries: 0,
  signal: undefined,
  onEvent: undefined,
  move: false,
} as const satisfies TreeCall;
const COMPARES: readonly unknown[] = ["time", "digest"];
const BOOLEANS = ["replace", "modes", "delete", "deleteAll", "move", "dryRun", "partial"] as const;
const MAX_CONNECTIONS = 64;

/**
 * Checks the options of a tree, and gives them their defaults.
 *
 * @param mayMove Whether `move` is an option.
 */
export function checkTreeOptions(options: UploadTreeOptions, mayMove: boolean): TreeCall {
  const names = Object.keys(DEFAULTS).filter((name) => mayMove || name !== "move");
  const given = Object.entries(copyOptions(options, names));
  const set = Object.fromEntries(given.filter(([, value]) => value !== undefined));
  const call: TreeCall = { ...DEFAULTS, ...set.move === true ? { settled: 3 } : {}, ...set };
  const { compare, maxDelete, connections, settled, retries } = call;
  if (!COMPARES.includes(compare)) {
    throw notAllowedError("compare", `must be "time" or "digest"; got ${String(compare)}`);
  }
  for (const name of BOOLEANS) {
    checkBoolean(name, call[name]);
  }
  const problem = deletingProblem();
  for (const name of ["delete", "deleteAll", "move"] as const) {
    if (problem !== null && call[name]) throw notAllowedError(name, `${problem}; omit it`);
  }
  if (call.move && (call.delete || set.compare !== undefined)) {
    const name = call.delete ? "delete" : "compare";
    throw notAllowedError(name, `with move: true it can't be set`);
  }
  if (call.deleteAll && !call.delete) throw notAllowedError("deleteAll", "needs delete: true");
  checkInteger("connections", connections, 1, MAX_CONNECTIONS);
  checkInteger("maxDelete", maxDelete, 0, Number.MAX_SAFE_INTEGER);
  checkInteger("retries", retries, 0, Infinity);
  checkNumber("settled", settled);
  if (!(settled >= 0 && settled < Infinity)) {
    throw notAllowedError("settled", `must be a number of seconds, 0 or more; got ${settled}`);
  }
  for (const name of ["filter", "onEvent"] as const) {
    if (call[name] !== undefined) checkFunction(name, call[name]);
  }
  checkSignal(call.signal);
  return call;
}
