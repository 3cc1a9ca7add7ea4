/** A directory whose files are removed here once they are at the target: uploads with `move`. */

import { checkRemovable, Turns } from "../../internal/disk/files.ts";
import { isMissing, syncAllIfPossible } from "../../internal/disk/names.ts";
import { dirname } from "../../internal/disk/paths.ts";
import { isDiskFull } from "../../internal/disk/space.ts";
import { trialPath } from "../reserved.ts";
import type { Root } from "../root.ts";
import { isAsSeen, type SeenFile } from "../transfer/source_file.ts";
import { TransferError } from "../transfer_error.ts";
import type { TreeSettings } from "./options.ts";
import { isWithin, type TreeNode } from "./tree.ts";

/** How far the clock of a disk may be ahead: a file with a later time was not written just now. */
export const MAX_SKEW_MILLISECONDS = 300_000;

/**
 * The outcome of a file that is at the target: it was removed here, or was gone already; it stays,
 * since it may have changed meanwhile; or it can't be removed.
 */
type Removal =
  | { readonly is: "removed" | "gone" | "kept" }
  | { readonly is: "failed"; readonly error: unknown };

/**
 * The source of files that are moved. Each stays open from its reading to its removal, so that no
 * other file can have its inode.
 */
export class Outbox implements AsyncDisposable {
  readonly #settings: TreeSettings;
  readonly #root: Root;
  readonly #turns = new Turns();
  /** How the files are closed that were read, and may be removed. */
  readonly #open = new Map<TreeNode, () => void | Promise<void>>();
  /** Files that this call has given their names at the target, as they were when they were read. */
  readonly #written = new Map<TreeNode, SeenFile>();
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
      checkRemovable(trialPath(this.#root.pathOf(parent!.path)));
    } catch (error) {
      // On a full disk, only a removal makes room again.
      if (!isDiskFull(error)) throw error;
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

  /** Keeps a file open that was read. */
  hold(node: TreeNode, close: () => void | Promise<void>): void {
    this.#open.set(node, close);
  }

  isOpen(node: TreeNode): boolean {
    return this.#open.has(node);
  }

  /** Notes that a file has its name at the target. */
  written(node: TreeNode, seen: SeenFile): void {
    this.#written.set(node, seen);
  }

  /** Closes the files that do not have their names at the target. */
  async closeUnwritten(nodes: Iterable<TreeNode>): Promise<void> {
    for (const node of nodes) if (!this.#written.has(node)) await this.close(node);
  }

  /** Closes a file, which is not removed any more. */
  async close(node: TreeNode): Promise<void> {
    const close = this.#open.get(node);
    this.#open.delete(node);
    this.#written.delete(node);
    await close?.();
  }

  /** Removes the files that certainly are what was copied, and closes all of them. */
  async *remove(
    nodes: readonly TreeNode[],
  ): AsyncGenerator<readonly [TreeNode, Removal], void, void> {
    for (const node of nodes) {
      if (this.#turns.isOver) await this.#turns.next(this.#root.path);
      this.#settings.signal.throwIfAborted();
      const seen = this.#written.get(node);
      const removal: Removal = seen === undefined ? { is: "kept" } : this.#removeOne(node, seen);
      await this.close(node);
      yield [node, removal];
    }
  }

  #removeOne(node: TreeNode, seen: SeenFile): Removal {
    const path = this.#root.pathOf(node.path);
    try {
      if (this.#isRecent(seen)) return { is: "kept" };
      const now = Deno.lstatSync(path);
      // The server gives each copy its name by a rename, which here looks like another file.
      const isCopy = now.ino !== seen.info.ino && isLike(now, seen.info);
      if (isCopy) return { is: "failed", error: ownTargetError(path) };
      if (!isAsSeen(now, seen)) return { is: "kept" };
      Deno.removeSync(path);
      this.#emptied.add(dirname(path));
      return { is: "removed" };
    } catch (error) {
      return isMissing(error) ? { is: "gone" } : { is: "failed", error };
    }
  }

  /** Whether a file may have been being written when it was read, however long after the list. */
  #isRecent({ info, lookedAt }: SeenFile): boolean {
    const { settled } = this.#settings;
    const after = lookedAt - settled * 1000;
    return settled > 0 && [info.mtime, info.ctime].some((time) => {
      return isWithin(Number(time ?? 0), after, lookedAt + MAX_SKEW_MILLISECONDS);
    });
  }

  /** Syncs the removals: after a power failure, a file would replace its successor there. */
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
    "is served by the other end itself, so it can't be moved there: another file with " +
    "the size and time of the one that was sent is here by now";
  return new TransferError("SAME_NAME", `${path} ${problem}`);
}
