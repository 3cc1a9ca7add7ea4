/** A source whose files are removed once they are at the target: uploads with `move`. */

import { checkRemovable, TimeSlice } from "../../internal/disk/files.ts";
import { isMissingPathError, syncAllIfPossible } from "../../internal/disk/names.ts";
import { dirname } from "../../internal/disk/paths.ts";
import { isDiskFullError } from "../../internal/disk/space.ts";
import { deletionTestPathOf } from "../reserved.ts";
import type { Root } from "../root.ts";
import { type FileSnapshot, isUnchangedSince } from "../transfer/source_file.ts";
import { TransferError } from "../transfer_error.ts";
import type { TreeSettings } from "./options.ts";
import { isWithin, type TreeNode } from "./tree.ts";

/** How far the clock of a disk may be ahead: a file with a later time was not written just now. */
export const MAX_SKEW_MILLISECONDS = 300_000;

/** The outcome of a file that is at the target. */
type Removal =
  | { readonly kind: "removed" }
  /** Another program has removed it. */
  | { readonly kind: "gone" }
  /** It may have changed since it was read. */
  | { readonly kind: "kept" }
  | { readonly kind: "failed"; readonly error: unknown };

const KEPT: Removal = { kind: "kept" };

interface OpenFile {
  readonly seen: FileSnapshot;
  readonly close: () => void | Promise<void>;
}

/**
 * The source of files that are moved. Each stays open from its reading to its removal, so that no
 * other file can have its inode.
 */
export class Outbox implements AsyncDisposable {
  readonly #settings: TreeSettings;
  readonly #root: Root;
  readonly #timeSlice = new TimeSlice();
  /** The files that were read, as they were before that. */
  readonly #open = new Map<TreeNode, OpenFile>();
  /** The directories from which files can be removed. */
  readonly #removable = new Set<TreeNode>();
  /** The directories from which files were removed. */
  readonly #emptied = new Set<string>();

  constructor(settings: TreeSettings, root: Root) {
    this.#settings = settings;
    this.#root = root;
  }

  /** Checks that a file can be removed, so that it is not sent in vain by each call. */
  checkRemovable({ parent }: TreeNode): void {
    if (this.#removable.has(parent!)) return;
    try {
      checkRemovable(deletionTestPathOf(this.#root.pathOf(parent!.path)));
    } catch (error) {
      // On a full disk, only a removal makes room again.
      if (!isDiskFullError(error)) throw error;
    }
    this.#removable.add(parent!);
  }

  /** When a file was last changed or renamed, in milliseconds since 1970. */
  changedAt({ path }: TreeNode): number {
    try {
      return Deno.lstatSync(this.#root.pathOf(path)).ctime?.getTime() ?? NaN;
    } catch {
      // Copying the file will show what is wrong with it.
      return NaN;
    }
  }

  /** Keeps a file open that is read. */
  hold(node: TreeNode, seen: FileSnapshot, close: () => void | Promise<void>): void {
    this.#open.set(node, { seen, close });
  }

  /** Closes a file, which is not removed any more. */
  async close(node: TreeNode): Promise<void> {
    const file = this.#open.get(node);
    this.#open.delete(node);
    await file?.close();
  }

  /** Removes files that are at the target, if they certainly are what was copied. */
  async *remove(
    nodes: readonly TreeNode[],
  ): AsyncGenerator<readonly [TreeNode, Removal], void, void> {
    for (const node of nodes) {
      if (this.#timeSlice.isUsedUp) await this.#timeSlice.yield(this.#root.path);
      this.#settings.signal.throwIfAborted();
      const file = this.#open.get(node);
      const removal = file === undefined ? KEPT : this.#removeOne(node, file.seen);
      await this.close(node);
      yield [node, removal];
    }
  }

  #removeOne(node: TreeNode, seen: FileSnapshot): Removal {
    const path = this.#root.pathOf(node.path);
    try {
      if (this.#isRecent(seen)) return KEPT;
      const now = Deno.lstatSync(path);
      // If the server serves this directory, its rename of the copy has put another file here.
      const isCopy = now.ino !== seen.info.ino && isLike(now, seen.info);
      if (isCopy) return { kind: "failed", error: ownTargetError(path) };
      if (!isUnchangedSince(now, seen)) return KEPT;
      Deno.removeSync(path);
      this.#emptied.add(dirname(path));
      return { kind: "removed" };
    } catch (error) {
      return isMissingPathError(error) ? { kind: "gone" } : { kind: "failed", error };
    }
  }

  /** Whether a file may have been being written when it was read, however long after the list. */
  #isRecent({ info, checkedAt }: FileSnapshot): boolean {
    const { settled } = this.#settings;
    const after = checkedAt - settled * 1000;
    return settled > 0 && [info.mtime, info.ctime].some((time) => {
      return isWithin(Number(time ?? 0), after, checkedAt + MAX_SKEW_MILLISECONDS);
    });
  }

  /** Syncs the removals: a file that comes back after a power failure would be moved again. */
  async finish(): Promise<void> {
    await syncAllIfPossible(this.#emptied);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const node of [...this.#open.keys()]) await this.close(node);
  }
}

/** Whether a file has the size and the time of another one. */
function isLike(one: Deno.FileInfo, other: Deno.FileInfo): boolean {
  return one.size === other.size && Number(one.mtime) === Number(other.mtime);
}

function ownTargetError(path: string): TransferError {
  const problem =
    "can't be moved: the server probably serves this directory, because another file with the " +
    "same size and time has replaced the sent file";
  return new TransferError("SAME_NAME", `${path} ${problem}`);
}
