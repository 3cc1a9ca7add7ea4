/** What a caller says about the copying of a tree, and what it is told. */

import {
  checkBoolean,
  checkFunction,
  checkInteger,
  checkNumber,
  copyOptions,
} from "../base/checks.ts";
import { checkSignal } from "../net/request_signal.ts";
import type { TreeEntry } from "./entries.ts";
import type { TransferResult } from "./options.ts";

/** What is at both ends of a transfer, and how it is made the same. */
export interface TreeOptions {
  /**
   * What makes a file unchanged, so that it is not copied:
   *
   * - `"time"`: size and modification time; a difference that one of the file systems can't store is none.
   * - `"digest"`: size and SHA-256; a difference in time alone is left as it is.
   * - `"nothing"`: every file is copied.
   *
   * @default {"time"}
   */
  compare?: "time" | "digest" | "nothing" | undefined;
  /**
   * Whether to replace files of the target that differ. With `false` they fail, each alone, but for those with the same content.
   *
   * @default {true}
   */
  replace?: boolean | undefined;
  /**
   * Whether to delete at the target what the source does not have, after everything has been copied. It is deleted only if the
   * source's list is complete and not empty, and no file has failed; and in a directory of the
   * target only if that lists what the source has by the same names.
   *
   * @default {false}
   */
  delete?: boolean | undefined;
  /**
   * Whether to only report what would be done.
   *
   * @default {false}
   */
  dryRun?: boolean | undefined;
  /**
   * Called once for each path, parents first, with the source's entry if there is one; `false` excludes it with everything below
   * it, as if it were at neither end. It must return a boolean: with anything else, a promise too, nothing is copied.
   */
  filter?: ((entry: TreeEntry) => boolean) | undefined;
  /**
   * How many connections of a client are used at a time, 1 to 64; each is opened when it is needed. A connection is
   * used alone.
   *
   * @default {4}
   */
  connections?: number | undefined;
  /**
   * How many seconds ago a file must have been modified to be copied. A file that was modified
   * later may still be being written: a later call copies it, and what the target has of it stays.
   * The clock of the source's device counts; a time that is later than now there is long ago.
   *
   * @default {0}
   */
  settled?: number | undefined;
  /**
   * Whether to compare the SHA-256 of each file with that of the other end before the file gets its name.
   *
   * @default {true}
   */
  verify?: boolean | undefined;
  /** Aborts everything, which rejects with its reason. What is complete stays. */
  signal?: AbortSignal | undefined;
  /** Called for each event. */
  onEvent?: ((event: TreeEvent) => void) | undefined;
}

/**
 * What happens while a tree is copied.
 *
 * - `"plan"`: once, when both trees have been compared: how many files, and bytes of files, will be copied unless they fail.
 * - `"progress"`: at most 10 times a second, and at the end: how many of these bytes are at the target.
 * - `"copied"`, `"unchanged"`, `"skipped"`, `"failed"`: the outcome of a file, or of what is neither a file nor a directory;
 *   a directory is named only if it has failed. A copied one has the result of its transfer, with `dryRun` as if it were new; a failed
 *   one is the source's, or `at` the target if it could not be deleted.
 * - `"deleted"`: a file or directory of the target; what was in a directory comes before it.
 *
 * The reason of what was skipped is `"link"`, `"special"` (a pipe, socket or device), `"reserved"`
 * (the name is that of a part of a transfer), or `"still being written"` (a file, by `settled` of
 * {@linkcode TreeOptions}).
 */
export type TreeEvent =
  | { readonly type: "plan"; readonly files: number; readonly bytes: number }
  | { readonly type: "progress"; readonly bytes: number; readonly total: number }
  | { readonly type: "copied"; readonly path: readonly string[] } & TransferResult
  | { readonly type: "unchanged"; readonly path: readonly string[] }
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

/** What was done to a tree. */
export interface TreeResult {
  /** Files that were copied. */
  readonly files: number;
  /** Bytes that this call has transferred for them; with `dryRun` the sum of their sizes. */
  readonly bytes: number;
  /** Files that were the same at both ends. */
  readonly unchanged: number;
  /** Files and directories of the target that were deleted. */
  readonly deleted: number;
  /**
   * Entries that are neither file nor directory, have a reserved name, or are still being written.
   */
  readonly skipped: number;
  /** What could not be copied or deleted. */
  readonly failed: number;
  /**
   * Why what the source does not have was not deleted at the end, with `delete`:
   *
   * - `"incomplete"`: the source has something that can't be read, or has a name that can't be sent.
   * - `"failed"`: something could not be copied.
   * - `"empty"`: the source has nothing, or only what has a reserved name, as the directory of a
   *   disk that is not mounted.
   * - `"spelling"`: the target lists something that is wanted by another name, or not at all. All
   *   that is superfluous in that directory is kept, with what is below it, as it may be what is
   *   wanted; in other directories it was deleted.
   */
  readonly deletionsKept: "incomplete" | "failed" | "empty" | "spelling" | null;
  /**
   * With `"spelling"`: paths of the source that the target lists by other names; one for each
   * directory where something was kept.
   */
  readonly respelled?: readonly (readonly string[])[];
  /**
   * With `delete`: paths of the target that the source does not have, and that stay since their
   * names are not UTF-8, or too long to be sent. They are for messages only. Left out if there is
   * none.
   */
  readonly unnameable?: readonly (readonly string[])[];
}

/** What decides about a plan. */
export interface PlanRules {
  readonly compare: "time" | "digest" | "nothing";
  readonly replace: boolean;
  readonly delete: boolean;
  readonly filter: ((entry: TreeEntry) => boolean) | undefined;
}

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

/** Checks the options of a tree, and gives them their defaults. */
export function checkTreeOptions(options: TreeOptions): Omit<TreeSettings, "dir" | "uri"> {
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
