/** A directory of this device as the source or the target of a tree. */

import { closeSync } from "node:fs";
import { BodyError } from "../../base.ts";
import { quote } from "../../internal/quote.ts";
import { probeModeMask, setMode, TimeSlice } from "../../internal/disk/files.ts";
import {
  hasNoSymlink,
  ignoreNotFound,
  isFileAtPath,
  isFileWithoutSymlink,
  isMissingPathError,
  isTooManyOpenFilesError,
  lstatOrNull,
  makeRandomSuffix,
  readNames,
  retryReplace,
  syncAllIfPossible,
} from "../../internal/disk/names.ts";
import { findNameProblem } from "../../internal/disk/file_names.ts";
import { dirname, realPath } from "../../internal/disk/paths.ts";
import { TemporaryFile } from "../../internal/disk/temporary.ts";
import { BUNDLED_BELOW_BYTES } from "../bundle.ts";
import { formatStamp, stampOfStats } from "../conditions.ts";
import { hashContent, hashText } from "../digest.ts";
import type { DirectoryEntry } from "../entries.ts";
import { openSmall } from "../file_pieces.ts";
import { removeIfUnused } from "../leftovers.ts";
import { readTree } from "../listing.ts";
import {
  chooseFileMode,
  computeCopiedMode,
  computeDefaultMode,
  permissionBitsOf,
} from "../modes.ts";
import type { TransferResult, TransferSettings } from "../options.ts";
import { Refusal } from "../refusal.ts";
import { PART_SUFFIX, withTrailingSlash } from "../reserved.ts";
import { type Condition, type Parent, Root } from "../root.ts";
import {
  type PreparedDirectory,
  type SmallFile,
  type SmallFileOutcome,
  SmallFiles,
} from "../small_files.ts";
import { downloadFile } from "../transfer/download.ts";
import {
  PartIndex,
  removeParts,
  targetChangedError,
  toDiskFullError,
} from "../transfer/part_file.ts";
import { SourceFile } from "../transfer/source_file.ts";
import { changedWhileCopiedError, TransferError } from "../transfer_error.ts";
import type { TreeSettings } from "./options.ts";
import { Outbox } from "./outbox.ts";
import { type CopyTask, type DeferredGroup, listedFileOf, targetPath } from "./plan.ts";
import type {
  DirectoryOutcome,
  FileOutcome,
  ListedTree,
  LocalFile,
  Outcomes,
  RemoteFile,
  SmallContent,
  TreeSource,
  TreeTarget,
} from "./sides.ts";
import { addEntry, quotePath, TreeNode } from "./tree.ts";

/** The prefix of the names of all parts of small files. */
const SMALL_PREFIX = ".small-";
const SMALL_PART = /\/\.small-[0-9a-f]{16}-\d+\.degu-part$/;
/** Parts of files whose directories are made only after a deletion. */
const LATE_PART = /\/\.late-[0-9a-f]{64}\.[0-9a-f]+\.degu-part$/;

interface VerifiedFile extends SmallFile {
  readonly task: CopyTask;
  readonly bytes: number;
  readonly mode: number | null;
  readonly sha256: string;
}

/** A complete part of a file that gets its name after a deletion. */
interface DeferredPart {
  readonly path: string;
  readonly mode: number | null;
  readonly info: Deno.FileInfo;
}

export class LocalTree implements TreeSource<LocalFile>, TreeTarget<RemoteFile> {
  readonly #settings: TreeSettings;
  readonly #isSource: boolean;
  readonly #timeSlice = new TimeSlice();
  /** By its real path; until the directory exists, by the path that was given. */
  #root: Root;
  outbox: Outbox | null = null;
  readonly onlyAdds = false;
  /** The parts of earlier calls, and of files of this call that are copied alone. */
  readonly #parts = new PartIndex();
  /** The prefix of the names of this call's parts of small files. */
  readonly #partPrefix = `${SMALL_PREFIX}${makeRandomSuffix()}-`;
  #partCount = 0;
  readonly #deferredParts = new Map<CopyTask, DeferredPart>();
  /** Which permission bits new files get; `undefined` until that is needed. */
  #modeMask: number | null | undefined;
  /** The directory of the file that was read or removed last, until the turn is over. */
  #parent: Parent | null = null;
  /** The directories from which something was removed. */
  readonly #changed = new Set<string>();

  constructor(settings: TreeSettings, isSource: boolean) {
    this.#settings = settings;
    this.#isSource = isSource;
    this.#root = new Root(settings.dir);
  }

  /**
   * Lists the tree. Links are not followed. A target lists no reserved names.
   *
   * @throws {Deno.errors.NotFound} if the directory of a source does not exist.
   * @throws {Deno.errors.NotADirectory} if something else has the path.
   * @throws {TransferError} if a directory is replaced while it is listed.
   */
  async list(): Promise<ListedTree | null> {
    const { dir, move, signal } = this.#settings;
    const path = await ignoreNotFound(realPath(dir));
    if (path === null) {
      if (!this.#isSource) return null;
      const problem = `dir: there is no directory ${quote(dir)}; is its disk mounted?`;
      throw new Deno.errors.NotFound(problem);
    }
    this.#root = new Root(path);
    if (move) this.outbox = new Outbox(this.#settings, this.#root);
    if (!Deno.statSync(path).isDirectory) {
      throw new Deno.errors.NotADirectory(`dir: ${path} is not a directory`);
    }
    const root = TreeNode.root();
    const began = Date.now();
    const listOptions = {
      root: this.#root,
      path,
      timeSlice: new TimeSlice(),
      isLocal: true,
      hasModes: true,
    };
    try {
      for await (const entries of readTree(listOptions)) {
        signal.throwIfAborted();
        for (const entry of entries) {
          if (addEntry(root, entry, this.#isSource, entry.mode ?? null)) continue;
          this.#parts.add(this.#root.pathOf(entry.path));
        }
      }
    } catch (error) {
      if (!(error instanceof BodyError)) throw error;
      throw new TransferError("CHANGED", `${error.message}; call again`, { cause: error });
    }
    return { root, listed: { began, ended: Math.max(began, Date.now()) }, server: null };
  }

  async digests(nodes: readonly TreeNode[]): Promise<(string | null)[]> {
    const digests: (string | null)[] = [];
    for (const node of nodes) {
      await this.#pause();
      digests.push(await this.digest(node));
    }
    return digests;
  }

  async digest(node: TreeNode): Promise<string | null> {
    const { signal } = this.#settings;
    try {
      const path = this.#pathOf(node);
      if (!isFileWithoutSymlink(path)) return null;
      if (Deno.lstatSync(path).size < BUNDLED_BELOW_BYTES) {
        return hashContent(Deno.readFileSync(path));
      }
      await using file = await SourceFile.open(path);
      return await file.hash(signal);
    } catch {
      signal.throwIfAborted();
      return null;
    }
  }

  #pathOf({ path }: TreeNode): string {
    return this.#root.pathOf(path);
  }

  // As a source.

  async *get(tasks: readonly CopyTask[]): Outcomes<CopyTask, SmallContent | FileOutcome> {
    const buffer = new Uint8Array(BUNDLED_BELOW_BYTES - 1);
    this.#parent = null;
    for (const task of tasks) {
      await this.#pause();
      this.#settings.signal.throwIfAborted();
      if (this.outbox !== null) await this.outbox.close(task.node);
      yield [task, this.#read(task.node, buffer)];
    }
  }

  /** Reads a small file, and once more if it changes while it is read. */
  #read(node: TreeNode, buffer: Uint8Array): SmallContent | FileOutcome {
    const path = this.#pathOf(node);
    try {
      this.outbox?.checkRemovable(node);
      for (let attempt = 0; attempt < 2; attempt++) {
        // Opening a FIFO would wait, and a link is not followed.
        const checkedAt = Date.now();
        const info = Deno.lstatSync(path);
        if (!info.isFile) return { kind: "failed", error: this.#replacedError(node) };
        if (info.size > buffer.length) return { kind: "retry-single" };
        const read = openSmall(path, info, buffer);
        if (read === null) continue;
        const { stats, file } = read;
        if (this.outbox === null) closeSync(file);
        else this.outbox.hold(node, { info, checkedAt }, () => closeSync(file));
        if (!this.#isFile(node)) return { kind: "failed", error: this.#replacedError(node) };
        const bytes = buffer.subarray(0, Number(stats.size));
        const modified = new Date(Number(stats.mtimeMs));
        const mode = this.#settings.modes ? permissionBitsOf(stats.mode) : null;
        return { bytes, modified, mode, sha256: hashContent(bytes) };
      }
      return { kind: "retry", error: changedWhileCopiedError(path) };
    } catch (error) {
      return { kind: isTooManyOpenFilesError(error) ? "retry" : "failed", error };
    }
  }

  /** Whether a path leads to a file without a link on the way. */
  #isFile(node: TreeNode): boolean {
    try {
      this.#parent = this.#root.findParent(node.parent!.path, { known: this.#parent });
      return this.#parent.missing.length === 0 && Deno.lstatSync(this.#pathOf(node)).isFile;
    } catch (error) {
      if (error instanceof Refusal) return false;
      throw error;
    }
  }

  #replacedError(node: TreeNode): TransferError {
    const text = "is no longer a file, or its path has a symbolic link";
    return new TransferError("CHANGED", `${this.#pathOf(node)} ${text}`);
  }

  async open<T>(node: TreeNode, use: (content: LocalFile) => Promise<T>): Promise<T> {
    const path = this.#pathOf(node);
    await this.outbox?.close(node);
    this.outbox?.checkRemovable(node);
    // The file is opened in the same turn.
    if (!isFileWithoutSymlink(path)) throw this.#replacedError(node);
    const file = await SourceFile.open(path);
    if (this.outbox !== null) {
      this.outbox.hold(node, file.snapshot, () => file[Symbol.asyncDispose]());
      return await use({ path, file });
    }
    await using _file = file;
    return await use({ path, file });
  }

  // As a target.

  async listDirectory(path: readonly string[]): Promise<readonly DirectoryEntry[] | null> {
    try {
      const directory = this.#root.pathOf(path);
      if (!hasNoSymlink(directory)) return null;
      return (await readNames(directory)).flatMap((name) => this.#entryOf([...path, name]) ?? []);
    } catch (error) {
      if (isMissingPathError(error) || error instanceof Refusal) return null;
      throw error;
    }
  }

  stat(node: TreeNode): Promise<DirectoryEntry | null> {
    return Promise.resolve(canHold(node) ? this.#entryOf(node.path) : null);
  }

  /** The entry of a name; `null` if nothing has it. */
  #entryOf(path: readonly string[]): DirectoryEntry | null {
    const name = path.at(-1)!;
    let info: Deno.FileInfo | null;
    try {
      info = lstatOrNull(this.#root.pathOf(path));
    } catch {
      return { name, kind: "other", size: 0, modified: new Date(0), reason: "unreadable" };
    }
    if (info === null) return null;
    const { size, mtime, isFile, isDirectory } = info;
    const entry = { name, size, modified: mtime ?? new Date(0) };
    if (isFile || isDirectory) return { ...entry, kind: isFile ? "file" : "directory" };
    return { ...entry, kind: "other", reason: info.isSymlink ? "link" : "special" };
  }

  /** Makes a missing directory, and removes the parts of small files of a killed call. */
  async begin(isMissing: boolean): Promise<boolean> {
    this.#removeParts(SMALL_PART);
    if (isMissing) {
      await Deno.mkdir(this.#settings.dir, { recursive: true });
      this.#root = new Root(await realPath(this.#settings.dir));
    }
    return false;
  }

  #removeParts(pattern: RegExp): void {
    for (const path of this.#parts) {
      if (!pattern.test(path)) continue;
      try {
        if (Deno.lstatSync(path).isFile) removeIfUnused(path);
      } catch {
        // The part is gone, or another program's.
      }
    }
  }

  async *put(
    tasks: readonly CopyTask[],
    source: TreeSource<RemoteFile>,
  ): Outcomes<CopyTask, FileOutcome> {
    await using files = new SmallFiles<VerifiedFile>({
      root: this.#root,
      prepare: (directory, known) => this.#makeDirectory(directory, known),
      make: (file) => this.#createSmallPart(file),
      admit: () => Promise.resolve(this.#settings.signal.throwIfAborted()),
    });
    const free: CopyTask[] = [];
    for (const task of tasks) {
      if (this.#isTaken(task)) yield [task, { kind: "conflict", sha256: null }];
      else free.push(task);
    }
    if (free.length === 0) return;
    let failure: { readonly error: unknown } | null = null;
    try {
      for await (const [task, content] of source.get(free)) {
        if ("kind" in content) {
          yield [task, content];
          continue;
        }
        await files.add(smallFileOf(task, content), content.bytes);
        for (const each of files.takeOutcomes()) yield [each.file.task, this.#outcomeOf(each)];
      }
    } catch (error) {
      failure = { error };
    }
    // Files that have arrived are placed, even if the connection has broken off.
    await files.flush();
    for (const each of files.takeOutcomes()) yield [each.file.task, this.#outcomeOf(each)];
    if (failure !== null) throw failure.error;
  }

  /** Whether something has the name of a new file, by another spelling or since the list. */
  #isTaken({ node, condition }: CopyTask): boolean {
    try {
      return condition === "new" && lstatOrNull(this.#pathOf(node)) !== null;
    } catch {
      // Naming the file will fail, and say why.
      return false;
    }
  }

  #outcomeOf(
    { file: { task, bytes, sha256 }, error }: SmallFileOutcome<VerifiedFile>,
  ): FileOutcome {
    if (error === null) return { kind: "copied", bytes, sha256 };
    if (error instanceof Refusal && error.status === 412) return { kind: "conflict", sha256 };
    return {
      kind: isTooManyOpenFilesError(error) ? "retry" : "failed",
      error: this.#explain(error, task.node),
    };
  }

  /** Makes a directory, with those above it; none of them may be a link. */
  #makeDirectory(names: readonly string[], known: Parent | null = null): PreparedDirectory {
    const parent = this.#root.findParent(names, { known });
    if (parent.missing.length === 0) return { changed: [], parent };
    return { changed: this.#root.makeDirectory(names).changed, parent: null };
  }

  #createSmallPart({ task: { node, condition }, mode }: VerifiedFile): TemporaryFile {
    const target = this.#pathOf(node);
    removeParts(target, this.#parts.findPaths(target));
    const directory = dirname(target);
    const path = this.#newPath(directory);
    if (mode !== null) return TemporaryFile.create(path, { mode: mode | 0o600, isLocked: true });
    // The part of a file that is replaced stays private, as the old file may have been.
    const newMode = condition === "new" ? null : computeDefaultMode(this.#findModeMask(directory));
    return TemporaryFile.create(path, { newMode, isLocked: true });
  }

  /** The path of a part that the next call removes if this process is killed. */
  #newPath(directory: string): string {
    return `${withTrailingSlash(directory)}${this.#partPrefix}${this.#partCount++}${PART_SUFFIX}`;
  }

  /**
   * Finds out which permission bits new files get, in a directory where one is about to be named.
   */
  #findModeMask(directory: string): number | null {
    if (this.#modeMask === undefined) this.#modeMask = probeModeMask(this.#newPath(directory));
    return this.#modeMask;
  }

  async setMode(task: CopyTask): Promise<void> {
    await this.#pause();
    const { node, target } = task;
    let mask: number | null;
    try {
      mask = this.#findModeMask(this.#root.path);
    } catch {
      // Nothing can be written: each file reports that when it is copied.
      return;
    }
    if (mask === null || computeCopiedMode(node.mode!, mask) === target!.mode) return;
    try {
      const { path, existing } = this.#root.findFile(node.path);
      if (existing === null) throw new Refusal(412, `${path} is gone`);
      conditionOf(task)?.(existing);
      setMode(path, computeCopiedMode(node.mode!, mask));
    } catch (error) {
      throw this.#explain(error, node);
    }
  }

  /** Explains an error of the disk for one file; an error that is so for all of them is thrown. */
  #explain(error: unknown, node: TreeNode, isRemoval = false): unknown {
    // The reason of an abort is the caller's, and stays as it is.
    this.#settings.signal.throwIfAborted();
    if (error instanceof Refusal) {
      if (error.status === 412) return targetChangedError(this.#pathOf(node), { cause: error });
      const code = error.headers["retry-after"] !== undefined
        ? "IN_USE"
        // What came into a directory that was listed without it.
        : isRemoval && error.status === 409
        ? "TARGET_CHANGED"
        : "IN_THE_WAY";
      return new TransferError(code, error.message, { cause: error });
    }
    const full = toDiskFullError(error, this.#pathOf(node));
    if (full !== error) throw full;
    if (error instanceof Error && !error.message.includes(node.name)) {
      error.message = `${quotePath(node.path)}: ${error.message}`;
    }
    return error;
  }

  async putSingle(
    task: CopyTask,
    source: TreeSource<RemoteFile>,
    settings: TransferSettings,
    basis: TreeNode | null,
  ): Promise<TransferResult> {
    const { node, group } = task;
    const path = await this.#prepareSingle(task);
    const moveIntoPlace = async (part: string, mode: number | null) => {
      if (group !== null) {
        this.#deferredParts.set(task, { path: part, mode, info: Deno.lstatSync(part) });
        // The part must survive a power failure after the deletion of what is in the way.
        await syncAllIfPossible([dirname(part)]);
        return false;
      }
      await this.#place(task, part, mode);
      return true;
    };
    const localBasis = basis && { path: this.#pathOf(basis), length: basis.size };
    const treeContext = {
      size: node.size,
      parts: this.#parts,
      moveIntoPlace,
      basis: localBasis,
    };
    return await source.open(node, ({ client, uri }) => {
      return downloadFile(client, uri, path, settings, treeContext);
    });
  }

  /** Makes the directory of a part; returns the path that the part lies beside. */
  async #prepareSingle(task: CopyTask): Promise<string> {
    const { node, group } = task;
    try {
      // A name that the disk can't hold is refused first.
      const path = this.#pathOf(node);
      if (group === null && this.#isTaken(task)) throw new Refusal(412, `${path} exists`);
      const parent = group === null ? node.parent! : group.obstacle.parent!;
      await syncAllIfPossible(this.#makeDirectory(parent.path).changed);
      return group === null ? path : this.#pathBesidePart(node, group);
    } catch (error) {
      throw this.#explain(error, node);
    }
  }

  /** The path beside which a file is received that gets its name after a deletion. */
  #pathBesidePart(node: TreeNode, { obstacle }: DeferredGroup): string {
    const path = this.#pathOf(node);
    if (obstacle.path.length === node.path.length) return path;
    // The directory of the file does not exist before the obstacle was deleted.
    return `${dirname(this.#pathOf(obstacle))}/late-${hashText(path)}`;
  }

  async place(task: CopyTask): Promise<boolean> {
    const { path, mode, info } = this.#deferredParts.get(task)!;
    // Another call may have taken the part.
    if (!isFileAtPath(path, info)) return false;
    await this.#place(task, path, mode, info);
    return true;
  }

  /** Gives a complete part the name of its file. The name is on the disk then. */
  async #place(
    task: CopyTask,
    part: string,
    sourceMode: number | null,
    info: Deno.FileInfo | null = null,
  ): Promise<void> {
    const { node, condition } = task;
    const names = targetPath(task);
    const isListed = conditionOf(task);
    const file = {
      path: part,
      info,
      ...chooseFileMode(sourceMode, this.#findModeMask(dirname(part))),
    };
    // A new name that is a link would leave the part behind if the process is killed then.
    const check: Condition = (existing) => {
      if (condition === "new" && existing !== null) {
        throw new Refusal(412, `${this.#root.pathOf(names)} exists`);
      }
      isListed?.(existing);
    };
    const { replace, signal } = this.#settings;
    signal.throwIfAborted();
    try {
      const naming = { condition: check, isNew: !replace };
      const { changed } = await retryReplace(() => this.#root.moveIntoPlace(names, file, naming));
      await syncAllIfPossible(changed);
    } catch (error) {
      throw this.#explain(error, node);
    }
  }

  discard({ node, group }: CopyTask): void {
    try {
      const path = group === null ? this.#pathOf(node) : this.#pathBesidePart(node, group);
      removeParts(path, this.#parts.findPaths(path));
    } catch {
      // The disk can't have the name, or another call has taken the part.
    }
  }

  async *mkdir(nodes: readonly TreeNode[]): Outcomes<TreeNode, DirectoryOutcome> {
    const changed = new Set<string>();
    const outcomes: [TreeNode, DirectoryOutcome][] = [];
    let known: Parent | null = null;
    for (const node of nodes) {
      if (this.#timeSlice.isUsedUp) {
        yield* outcomes.splice(0);
        await this.#pause();
        known = null;
      }
      let outcome: DirectoryOutcome;
      try {
        const { path } = node;
        known = this.#root.findParent(path.slice(0, -1), { known });
        const made = this.#root.makeDirectory(path, undefined, known);
        for (const path of made.changed) changed.add(path);
        outcome = { error: null, isNew: made.created };
      } catch (error) {
        outcome = { error: this.#explain(error, node) };
      }
      outcomes.push([node, outcome]);
    }
    yield* outcomes;
    await syncAllIfPossible(changed);
  }

  async remove(node: TreeNode): Promise<void> {
    await this.#pause();
    const names = node.path;
    try {
      this.#parent = this.#root.findParent(names.slice(0, -1), { known: this.#parent });
      await this.#root.remove(names, false, makeListedCondition(node), this.#parent);
    } catch (error) {
      // The entry may be gone by itself.
      const isGone = isMissingPathError(error) || error instanceof Refusal && error.status === 404;
      if (!isGone) throw this.#explain(error, node, true);
    }
    const path = this.#pathOf(node);
    this.#changed.delete(path);
    this.#changed.add(dirname(path));
  }

  async finish(): Promise<void> {
    // By now each of them has its name, or was left by a call that was killed.
    if (!this.#settings.dryRun) this.#removeParts(LATE_PART);
    await this.outbox?.finish();
    await syncAllIfPossible(this.#changed);
  }

  async #pause(): Promise<void> {
    if (!this.#timeSlice.isUsedUp) return;
    await this.#timeSlice.yield(this.#root.path);
    this.#parent = null;
    this.#settings.signal.throwIfAborted();
  }
}

/** Whether the disk can have the name of a node. */
function canHold({ path }: TreeNode): boolean {
  return path.every((name) => findNameProblem(name) === null);
}

function smallFileOf(
  task: CopyTask,
  { bytes: { length }, modified, mode, sha256 }: SmallContent,
): VerifiedFile {
  const isNew = task.condition === "new";
  const condition = conditionOf(task);
  return { names: targetPath(task), isNew, condition, task, modified, bytes: length, mode, sha256 };
}

/** Refuses to replace another file than the one that the plan has compared. */
function conditionOf(task: CopyTask): Condition | undefined {
  const listed = listedFileOf(task);
  return listed === null ? undefined : makeListedCondition(listed);
}

/** Refuses to replace or delete what is no longer as it was listed. */
function makeListedCondition({ path, kind, size, modified }: TreeNode): Condition {
  return (existing) => {
    const isSame = existing === null ||
      (existing.isDirectory()
        ? kind === "directory"
        : kind === "file" && stampOfStats(existing) === formatStamp(size, modified));
    if (isSame) return;
    throw new Refusal(412, `${quotePath(path)} changed during the call`);
  };
}
