import { rmdirSync } from "node:fs";
import { TimeSlice } from "../disk/files.ts";
import { isMissingPathError, syncAllIfPossible } from "../disk/names.ts";
import { dirname } from "../../internal/paths.ts";
import { isDiskFullError } from "../disk/space.ts";
import { deletionTestPathOf } from "../reserved.ts";
import type { Root } from "../root.ts";
import { type FileStats, isEqualTime } from "../disk/file_pieces.ts";
import { type FileSnapshot, isUnchangedSince, type SourceFile } from "../transfer/source_file.ts";
import { TransferError } from "../errors.ts";
import type { TreeSettings } from "./options.ts";
import { isWithin, type TreeNode } from "./tree.ts";

/** How far the clock of a disk may be ahead. A file with a later time was not just written. */
export const MAX_SKEW_MILLISECONDS = 300_000;

type Removal =
  | { readonly kind: "removed" }
  /** Another program has removed the file. */
  | { readonly kind: "gone" }
  /** The file may have changed since it was read. */
  | { readonly kind: "kept" }
  | { readonly kind: "failed"; readonly error: unknown };

const KEPT: Removal = { kind: "kept" };

interface OpenFile {
  /** The snapshot of a `SourceFile` may change until the file was read. */
  readonly file: Pick<SourceFile, "snapshot">;
  readonly close: () => void | Promise<void>;
}

/** Each file is open from its reading to its removal, so that another file can't get its inode. */
export class Outbox implements AsyncDisposable {
  readonly #settings: TreeSettings;
  readonly #root: Root;
  readonly #timeSlice = new TimeSlice();
  readonly #openFiles = new Map<TreeNode, OpenFile>();
  readonly #removableDirectories = new Set<TreeNode>();
  readonly #changedDirectories = new Set<string>();

  constructor(settings: TreeSettings, root: Root) {
    this.#settings = settings;
    this.#root = root;
  }

  /** Checks that a file can be removed: else each call would send the file again, and keep it. */
  checkRemovable({ parent }: TreeNode): void {
    if (this.#removableDirectories.has(parent!)) return;
    try {
      checkCanDelete(deletionTestPathOf(this.#root.pathOf(parent!.path)));
    } catch (error) {
      // Ignore a full disk: removing the file frees space.
      if (!isDiskFullError(error)) throw error;
    }
    this.#removableDirectories.add(parent!);
  }

  /** Finds the time of a file's last change or renaming, in milliseconds since 1970. */
  findChangeTime({ path }: TreeNode): number {
    try {
      return Deno.lstatSync(this.#root.pathOf(path)).ctime?.getTime() ?? NaN;
    } catch {
      // Copying the file will report the error.
      return NaN;
    }
  }

  keepOpen(node: TreeNode, file: OpenFile["file"], close: OpenFile["close"]): void {
    this.#openFiles.set(node, { file, close });
  }

  async close(node: TreeNode): Promise<void> {
    const openFile = this.#openFiles.get(node);
    this.#openFiles.delete(node);
    await openFile?.close();
  }

  async *remove(
    nodes: readonly TreeNode[],
  ): AsyncGenerator<readonly [TreeNode, Removal], void, void> {
    for (const node of nodes) {
      if (this.#timeSlice.isUsedUp) await this.#timeSlice.yield(this.#root.path);
      this.#settings.signal.throwIfAborted();
      const { file } = this.#openFiles.get(node) ?? {};
      const removal = file === undefined ? KEPT : this.#removeFile(node, file.snapshot);
      await this.close(node);
      yield [node, removal];
    }
  }

  #removeFile(node: TreeNode, snapshot: FileSnapshot): Removal {
    const path = this.#root.pathOf(node.path);
    try {
      if (this.#isRecent(snapshot)) return KEPT;
      const currentInfo = Deno.lstatSync(path);
      // If the server serves this directory, it has replaced the file with the copy.
      const isReplacedByCopy = currentInfo.ino !== snapshot.info.ino &&
        hasSameSizeAndTime(currentInfo, snapshot.info);
      if (isReplacedByCopy) return { kind: "failed", error: sameDirectoryError(path) };
      if (!isUnchangedSince(currentInfo, snapshot)) return KEPT;
      Deno.removeSync(path);
      this.#changedDirectories.add(dirname(path));
      return { kind: "removed" };
    } catch (error) {
      return isMissingPathError(error) ? { kind: "gone" } : { kind: "failed", error };
    }
  }

  /** Reports whether another program may have been writing the file when it was read. */
  #isRecent({ info, checkedAt }: FileSnapshot): boolean {
    const { settled } = this.#settings;
    const periodStart = checkedAt - settled * 1000;
    return settled > 0 && [info.mtime, info.ctime].some((time) => {
      return isWithin(Number(time ?? 0), periodStart, checkedAt + MAX_SKEW_MILLISECONDS);
    });
  }

  /** A file that reappears after a power failure would be moved again. */
  async syncChangedDirectories(): Promise<void> {
    await syncAllIfPossible(this.#changedDirectories);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const node of [...this.#openFiles.keys()]) await this.close(node);
  }
}

function hasSameSizeAndTime(firstStats: FileStats, secondStats: FileStats): boolean {
  return firstStats.size === secondStats.size && isEqualTime(firstStats.mtime, secondStats.mtime);
}

function sameDirectoryError(path: string): TransferError {
  const problem =
    "can't be moved: the server probably serves this directory, because another file with the " +
    "same size and time has replaced the sent file";
  return new TransferError("SAME_NAME", `${path} ${problem}`);
}

/**
 * The path should be the same for each call, so that a call removes the directory of a killed
 * process.
 */
function checkCanDelete(probePath: string): void {
  try {
    Deno.mkdirSync(probePath);
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
  }
  try {
    rmdirSync(probePath);
  } catch (error) {
    // Another call has removed the directory.
    if (!isMissingPathError(error)) throw error;
  }
}
