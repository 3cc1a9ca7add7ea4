import { closeSync } from "node:fs";
import { BodyError, standardLogger } from "../../base.ts";
import { ignoreNotFound, isTooManyOpenFilesError } from "../../internal/caught_errors.ts";
import { makeSafeLogger } from "../../base/app/logger.ts";
import { quoteName } from "../../internal/quote.ts";
import { type ModeSupport, probeModes, TimeSlice } from "../disk/files.ts";
import {
  createDirectory,
  hasNoSymlink,
  isBadNameError,
  isMissingPathError,
  lstatOrNull,
  makeRandomSuffix,
  readNames,
  syncAllIfPossible,
} from "../disk/names.ts";
import { retryReplace } from "../../internal/retry_replace.ts";
import { findNameProblem, findSpecialCharacters } from "../disk/file_names.ts";
import { dirname, realPath } from "../../internal/paths.ts";
import { TemporaryFile } from "../disk/temporary.ts";
import { BUNDLED_BELOW_BYTES } from "../wire/bundle.ts";
import { formatStamp, sentTimeOf, stampOfStats } from "../wire/conditions.ts";
import { hashContent } from "../wire/digest.ts";
import type { DirectoryEntry } from "../wire/entries.ts";
import { type FileStats, NoSizeError, openSmallFile } from "../disk/file_pieces.ts";
import { VersionStore } from "../kept_versions.ts";
import { removeIfUnused } from "../leftovers.ts";
import { makeFileEntry, makeOtherEntry, readTree, timeOf } from "../listing.ts";
import {
  chooseFileMode,
  computeCopiedMode,
  computeDefaultMode,
  makeCreationModes,
  permissionBitsOf,
  setMetadata,
  type UnsetProperty,
} from "../wire/metadata.ts";
import type { TransferResult, TransferSettings } from "../options.ts";
import { Refusal } from "../refusal.ts";
import { findReason } from "../wire/refusal_reason.ts";
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
import { TransferError } from "../errors.ts";
import { changedWhileCopiedError, toBadNameOrInUseError } from "../transfer_error.ts";
import type { TreeSettings } from "./options.ts";
import { Outbox } from "./outbox.ts";
import { type CopyTask, hasOtherMode, listedFileOf, needsTime, targetPathOf } from "./plan.ts";
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
import { quotePath, TreeBuilder, type TreeNode } from "./tree.ts";

const logger = makeSafeLogger(standardLogger(), ["warn"]);

const SMALL_PREFIX = ".small-";
const SMALL_PART_PATTERN = /\/\.small-[0-9a-f]{16}-\d+[^/.]*\.degu-part$/;

interface VerifiedFile extends SmallFile {
  readonly task: CopyTask;
  readonly bytes: number;
  readonly mode: number | null;
  readonly sha256: string;
}

export class LocalTree implements TreeSource<LocalFile>, TreeTarget<RemoteFile> {
  readonly #settings: TreeSettings;
  readonly #isSource: boolean;
  readonly #timeSlice = new TimeSlice();
  /** The path is the real path of the directory; before it exists, the path from the options. */
  #root: Root;
  /** The object that removes copied files from the source; `null` without `move`. */
  outbox: Outbox | null = null;
  #versions: VersionStore | null = null;
  /** The parts of earlier calls, and the parts of large files of this call. */
  readonly #parts = new PartIndex();
  readonly #partPrefix = `${SMALL_PREFIX}${makeRandomSuffix()}-`;
  #partCount = 0;
  readonly #modeSupports = new Map<number, ModeSupport | null>();
  /** The device of the last directory: the files of a directory are copied in succession. */
  #lastDevice: { readonly directory: string; readonly dev: number } | null = null;
  /**
   * The directory of the last read or removed file. Confirmed after the event loop has run, because
   * another program may have replaced the directory.
   */
  #parent: Parent | null = null;
  readonly #changedDirectories = new Set<string>();

  constructor(settings: TreeSettings, isSource: boolean) {
    this.#settings = settings;
    this.#isSource = isSource;
    this.#root = new Root(settings.dir);
  }

  /** The list of a target omits reserved names. */
  async list(): Promise<ListedTree | null> {
    const { dir, move, signal } = this.#settings;
    const path = await ignoreNotFound(realPath(dir));
    if (path === null) {
      if (!this.#isSource) return null;
      const problem = `dir: there is no directory ${quoteName(dir)}; is its disk mounted?`;
      throw new Deno.errors.NotFound(problem);
    }
    this.#root = this.#makeRoot(path);
    if (move) this.outbox = new Outbox(this.#settings, this.#root);
    if (!Deno.statSync(path).isDirectory) {
      throw new Deno.errors.NotADirectory(`dir: ${path} is not a directory`);
    }
    const tree = new TreeBuilder(this.#isSource);
    const startTime = Date.now();
    const listOptions = {
      root: this.#root,
      timeSlice: new TimeSlice(),
      isLocal: true,
      hasModes: true,
    };
    try {
      for await (const { names, entries } of readTree(listOptions)) {
        signal.throwIfAborted();
        for (const entry of entries) {
          if (tree.add(names, entry, entry.mode)) continue;
          this.#parts.add(this.#root.pathOf([...names, entry.name]));
        }
      }
    } catch (error) {
      if (!(error instanceof BodyError)) throw error;
      throw new TransferError("CHANGED", `${error.message}; call again`, { cause: error });
    }
    return {
      root: tree.build(),
      listPeriod: { start: startTime, end: Math.max(startTime, Date.now()) },
      server: null,
    };
  }

  async findDigests(nodes: readonly TreeNode[]): Promise<(string | null)[]> {
    const digests: (string | null)[] = [];
    for (const node of nodes) {
      await this.#pause();
      digests.push(await this.#findDigest(node));
    }
    return digests;
  }

  async #findDigest(node: TreeNode): Promise<string | null> {
    const { signal } = this.#settings;
    try {
      const path = this.#pathOf(node);
      if (!isFileWithoutSymlink(path)) return null;
      if (Deno.lstatSync(path).size < BUNDLED_BELOW_BYTES) {
        return hashContent(Deno.readFileSync(path));
      }
      await using file = SourceFile.open(path);
      return await file.hash(signal);
    } catch {
      signal.throwIfAborted();
      return null;
    }
  }

  #pathOf({ path }: TreeNode): string {
    return this.#root.pathOf(path);
  }

  // Methods of a source.

  async *readSmallFiles(
    tasks: readonly CopyTask[],
  ): Outcomes<CopyTask, SmallContent | FileOutcome> {
    const buffer = new Uint8Array(BUNDLED_BELOW_BYTES - 1);
    this.#parent = null;
    for (const task of tasks) {
      await this.#pause();
      this.#settings.signal.throwIfAborted();
      if (this.outbox !== null) await this.outbox.close(task.node);
      yield [task, this.#readSmallFile(task.node, buffer)];
    }
  }

  #readSmallFile(node: TreeNode, buffer: Uint8Array): SmallContent | FileOutcome {
    const path = this.#pathOf(node);
    try {
      this.outbox?.checkRemovable(node);
      for (let attempt = 0; attempt < 2; attempt++) {
        const checkedAt = Date.now();
        const info = Deno.lstatSync(path);
        // Don't open special files: opening a device can have side effects.
        if (!info.isFile) return { kind: "failed", error: this.#replacedError(node) };
        if (info.size > buffer.length) return { kind: "retry-single" };
        const openedFile = openSmallFile(path, info, buffer);
        if (openedFile === null) continue;
        const { stats, file, isAtPath } = openedFile;
        if (this.outbox === null) {
          closeSync(file);
          if (this.#settings.settled > 0 && !isListed(node, stats)) break;
        } else {
          const smallFile = { snapshot: { info: stats, checkedAt } };
          this.outbox.keepOpen(node, smallFile, () => closeSync(file));
        }
        if (!this.#hasRegularParent(node) || !isAtPath && !Deno.lstatSync(path).isFile) {
          return { kind: "failed", error: this.#replacedError(node) };
        }
        const bytes = buffer.subarray(0, stats.size);
        const modified = sentTimeOf(stats.mtime);
        const mode = this.#settings.modes ? permissionBitsOf(stats.mode) : null;
        return { bytes, modified, mode, sha256: hashContent(bytes) };
      }
      return { kind: "retry", error: changedWhileCopiedError(path) };
    } catch (error) {
      if (error instanceof NoSizeError) return { kind: "retry-single" };
      return { kind: isTooManyOpenFilesError(error) ? "retry" : "failed", error };
    }
  }

  #hasRegularParent(node: TreeNode): boolean {
    try {
      this.#parent = this.#root.findParent(node.parent!.path, this.#parent);
      return this.#parent.missingDirectories.length === 0;
    } catch (error) {
      if (error instanceof Refusal) return false;
      throw error;
    }
  }

  #replacedError(node: TreeNode): TransferError {
    const text = "is no longer a file, or its path has a symbolic link";
    return new TransferError("CHANGED", `${this.#pathOf(node)} ${text}`);
  }

  async open<T>(node: TreeNode, useContent: (content: LocalFile) => Promise<T>): Promise<T> {
    const path = this.#pathOf(node);
    await this.outbox?.close(node);
    this.outbox?.checkRemovable(node);
    // Check and open without an `await`, so that no other code of this process changes the path.
    if (!isFileWithoutSymlink(path)) throw this.#replacedError(node);
    const file = SourceFile.open(path);
    if (this.outbox !== null) {
      this.outbox.keepOpen(node, file, () => file[Symbol.asyncDispose]());
      return await useContent({ path, file });
    }
    await using _file = file;
    // The option `settled` was compared with the time in the list, so the file must be unchanged
    // since. (With `move`, a file that has changed is copied, and kept.)
    if (this.#settings.settled > 0) {
      await file.takeSnapshot();
      if (!isListed(node, file.snapshot.info)) throw file.changedError();
    }
    return await useContent({ path, file });
  }

  // Methods of a target.

  async listDirectory(path: readonly string[]): Promise<readonly DirectoryEntry[] | null> {
    try {
      const directory = this.#root.pathOf(path);
      if (!hasNoSymlink(directory)) return null;
      return (await readNames(directory)).flatMap((name) =>
        this.#lookUpEntry([...path, name]) ?? []
      );
    } catch (error) {
      if (isMissingPathError(error) || error instanceof Refusal) return null;
      throw error;
    }
  }

  lookUpEntry({ path }: TreeNode): Promise<DirectoryEntry | null> {
    const canStoreNames = path.every((name) => findNameProblem(name) === null);
    return Promise.resolve(canStoreNames ? this.#lookUpEntry(path) : null);
  }

  #lookUpEntry(path: readonly string[]): DirectoryEntry | null {
    const name = path.at(-1)!;
    let info: Deno.FileInfo | null;
    try {
      info = lstatOrNull(this.#root.pathOf(path));
    } catch {
      return makeOtherEntry(name, "unreadable");
    }
    if (info === null) return null;
    if (info.isFile) return makeFileEntry(name, info);
    if (info.isDirectory) return { name, kind: "directory", size: 0, modified: timeOf(info) };
    return makeOtherEntry(name, info.isSymlink ? "link" : "special", info);
  }

  async prepareDirectory(isMissing: boolean): Promise<boolean> {
    this.#removeParts(SMALL_PART_PATTERN);
    if (isMissing) {
      createDirectory(this.#settings.dir);
      this.#root = this.#makeRoot(await realPath(this.#settings.dir));
    }
    return false;
  }

  #makeRoot(path: string): Root {
    const { dryRun, keep, serverName } = this.#settings;
    if (keep === null || dryRun || this.#isSource) return new Root(path);
    if (this.#versions === null) {
      this.#versions = new VersionStore(keep, (message) => logger.warn(message));
      this.#versions.open(path);
    }
    return new Root(path, this.#versions, serverName ?? "");
  }

  #removeParts(pattern: RegExp): void {
    for (const path of this.#parts) {
      if (!pattern.test(path)) continue;
      try {
        if (Deno.lstatSync(path).isFile) removeIfUnused(path);
      } catch {
        // The part is missing, or belongs to another program.
      }
    }
  }

  async *writeSmallFiles(
    tasks: readonly CopyTask[],
    source: TreeSource<RemoteFile>,
  ): Outcomes<CopyTask, FileOutcome> {
    await using files = new SmallFiles<VerifiedFile>({
      root: this.#root,
      prepareDirectory: (directory, knownParent) => this.#makeDirectory(directory, knownParent),
      createTemporaryFile: (file) => this.#createSmallPart(file),
      checkAllowed: () => Promise.resolve(this.#settings.signal.throwIfAborted()),
    });
    const freeTasks: CopyTask[] = [];
    for (const task of tasks) {
      // Don't request a file that can't be written: each call would request it again.
      try {
        if (this.#probeNameConflict(task)) yield [task, { kind: "conflict", sha256: null }];
        else freeTasks.push(task);
      } catch (error) {
        yield [task, this.#outcomeOfError(task, error)];
      }
    }
    if (freeTasks.length === 0) return;
    let failure: { readonly error: unknown } | null = null;
    try {
      for await (const [task, content] of source.readSmallFiles(freeTasks)) {
        if ("kind" in content) {
          yield [task, content];
          continue;
        }
        await files.add(makeVerifiedFile(task, content), content.bytes);
        for (const fileOutcome of files.takeOutcomes()) {
          yield [fileOutcome.file.task, this.#outcomeOf(fileOutcome)];
        }
      }
    } catch (error) {
      failure = { error };
    }
    // Rename the received files, even if the connection was lost.
    await files.flush();
    for (const fileOutcome of files.takeOutcomes()) {
      yield [fileOutcome.file.task, this.#outcomeOf(fileOutcome)];
    }
    if (failure !== null) throw failure.error;
  }

  /** May create a test file. */
  #probeNameConflict({ node, condition }: CopyTask): boolean {
    const path = this.#pathOf(node);
    if (condition !== "new") return false;
    if (lstatOrNull(path) !== null) return true;
    const characters = findSpecialCharacters(node.name);
    if (characters !== "") this.#checkCharacters(dirname(path), characters);
    return false;
  }

  /** FAT refuses some characters, but a lookup of such a name has no error, and finds no entry. */
  #checkCharacters(directory: string, characters: string): void {
    const path = this.#makeSmallPartPath(directory, characters);
    try {
      Deno.openSync(path, { write: true, createNew: true }).close();
      Deno.removeSync(path);
    } catch (error) {
      // After any other error, writing the file reports the reason.
      if (isBadNameError(error)) throw error;
    }
  }

  #outcomeOf(outcome: SmallFileOutcome<VerifiedFile>): FileOutcome {
    const { file: { task, bytes, sha256 }, error } = outcome;
    if (error === null) return { kind: "copied", bytes, sha256, unset: outcome.unset };
    if (error instanceof Refusal && error.status === 412) return { kind: "conflict", sha256 };
    return this.#outcomeOfError(task, error);
  }

  #outcomeOfError(task: CopyTask, error: unknown): FileOutcome {
    return {
      kind: isTooManyOpenFilesError(error) ? "retry" : "failed",
      error: this.#explainError(error, task.node),
    };
  }

  #makeDirectory(names: readonly string[], knownParent: Parent | null = null): PreparedDirectory {
    const parent = this.#root.findParent(names, knownParent);
    if (parent.missingDirectories.length === 0) {
      return { changedDirectories: [], knownParent: parent };
    }
    const { changedDirectories } = this.#root.makeDirectory(names);
    return { changedDirectories, knownParent: null };
  }

  #createSmallPart({ task: { node, condition }, mode }: VerifiedFile): TemporaryFile {
    const target = this.#pathOf(node);
    removeParts(target, this.#parts.findPaths(target));
    const directory = dirname(target);
    const path = this.#makeSmallPartPath(directory);
    if (mode !== null) {
      const modes = makeCreationModes(mode, this.#probeModes(directory));
      return TemporaryFile.create(path, { ...modes, isLocked: true });
    }
    // Keep the part of a replaced file private, because the old file may be private.
    const newMode = condition === "new" ? null : computeDefaultMode(this.#probeModeMask(directory));
    return TemporaryFile.create(path, { newMode, isLocked: true });
  }

  /** Makes the path of a part that the next call removes if this process is killed. */
  #makeSmallPartPath(directory: string, characters = ""): string {
    const name = `${this.#partPrefix}${this.#partCount++}${characters}${PART_SUFFIX}`;
    return withTrailingSlash(directory) + name;
  }

  #probeModes(directory: string): ModeSupport | null {
    if (this.#lastDevice?.directory !== directory) {
      this.#lastDevice = { directory, dev: Deno.lstatSync(directory).dev };
    }
    const { dev } = this.#lastDevice;
    const probe = () => probeModes(this.#makeSmallPartPath(directory));
    return this.#modeSupports.getOrInsertComputed(dev, probe);
  }

  #probeModeMask(directory: string): number | null {
    return this.#probeModes(directory)?.mask ?? null;
  }

  async setMetadata(task: CopyTask): Promise<readonly UnsetProperty[]> {
    await this.#pause();
    const { node } = task;
    const isTimeNeeded = needsTime(task, this.#settings);
    let mode: number | null;
    try {
      mode = this.#probeChangedMode(task);
    } catch {
      // No file can be created here. Each file copied here reports the error.
      return [];
    }
    if (mode === null && !isTimeNeeded) return [];
    try {
      const { path, existing } = this.#root.findFile(targetPathOf(task));
      if (existing === null) throw new Refusal(412, `${path} is gone`);
      makeCondition(task)?.(existing);
      return setMetadata(path, isTimeNeeded ? new Date(node.modified) : null, mode);
    } catch (error) {
      throw this.#explainError(error, node);
    }
  }

  #probeChangedMode(task: CopyTask): number | null {
    if (!hasOtherMode(task, this.#settings)) return null;
    const { node, target } = task;
    const modeMask = this.#probeModeMask(dirname(this.#pathOf(node)));
    const mode = computeCopiedMode(node.mode, modeMask);
    return mode === target!.mode ? null : mode;
  }

  #explainError(error: unknown, node: TreeNode, isRemoval = false): unknown {
    // After an abort, throw the reason of the caller unchanged.
    this.#settings.signal.throwIfAborted();
    if (error instanceof Refusal) {
      const nameError = toBadNameOrInUseError(
        error,
        quotePath(node.path),
        findReason(error.headers),
      );
      if (nameError !== error) return nameError;
      if (error.status === 412) return targetChangedError(this.#pathOf(node), { cause: error });
      const code = error.headers["retry-after"] !== undefined
        ? "IN_USE"
        // Another program has created an entry in the directory since the list.
        : isRemoval && error.status === 409
        ? "TARGET_CHANGED"
        : "IN_THE_WAY";
      return new TransferError(code, error.message, { cause: error });
    }
    const diskFullError = toDiskFullError(error, this.#pathOf(node), node.size);
    if (diskFullError !== error) return diskFullError;
    return toBadNameOrInUseError(error, this.#pathOf(node));
  }

  async writeFile(
    task: CopyTask,
    source: TreeSource<RemoteFile>,
    settings: TransferSettings,
    basis: TreeNode | null,
  ): Promise<TransferResult> {
    const { node } = task;
    const path = await this.#prepareSingle(task);
    const toLocalPrefix = (file: TreeNode) => ({ path: this.#pathOf(file), length: file.size });
    const treePlan = {
      size: node.size,
      parts: this.#parts,
      moveIntoPlace: (part: TemporaryFile, mode: number | null) =>
        this.#moveIntoPlace(task, part, mode),
      basis: basis && toLocalPrefix(basis),
    };
    return await source.open(node, ({ client, uri }) => {
      return downloadFile({ client, uri, file: path, settings, treePlan });
    });
  }

  async #prepareSingle(task: CopyTask): Promise<string> {
    const { node } = task;
    try {
      // First refuse a name that the disk can't store.
      const path = this.#pathOf(node);
      if (this.#probeNameConflict(task)) throw new Refusal(412, `${path} exists`);
      await syncAllIfPossible(this.#makeDirectory(node.parent!.path).changedDirectories);
      return path;
    } catch (error) {
      throw this.#explainError(error, node);
    }
  }

  async #moveIntoPlace(
    task: CopyTask,
    { path, isTimeUnset }: TemporaryFile,
    mode: number | null,
  ): Promise<readonly UnsetProperty[]> {
    const { node, condition } = task;
    const names = targetPathOf(task);
    const listedCondition = makeCondition(task);
    const modes = chooseFileMode(mode, this.#probeModeMask(dirname(path)));
    const file = { path, info: null, isTimeUnset, ...modes };
    // Check here that a name is new. With `isNew`, the part would be renamed by link() and
    // unlink(), and a process that is killed in between would leave the part.
    const checkTarget: Condition = (existing) => {
      if (condition === "new" && existing !== null) {
        throw new Refusal(412, `${this.#root.pathOf(names)} exists`);
      }
      listedCondition?.(existing);
    };
    const { replace, signal } = this.#settings;
    signal.throwIfAborted();
    try {
      const namingOptions = { condition: checkTarget, isNew: !replace };
      const { changedDirectories, unset } = await retryReplace(() =>
        this.#root.moveIntoPlace(names, file, namingOptions)
      );
      await syncAllIfPossible(changedDirectories);
      return unset;
    } catch (error) {
      throw this.#explainError(error, node);
    }
  }

  /** Removes the part of a large file that is not copied. A server removes its parts later. */
  discardPart({ node }: CopyTask): void {
    try {
      const path = this.#pathOf(node);
      removeParts(path, this.#parts.findPaths(path));
    } catch {
      // The disk can't store the name, or another call uses the part.
    }
  }

  async *mkdir(nodes: readonly TreeNode[]): Outcomes<TreeNode, DirectoryOutcome> {
    const changedDirectories = new Set<string>();
    const outcomes: [TreeNode, DirectoryOutcome][] = [];
    let knownParent: Parent | null = null;
    for (const node of nodes) {
      if (this.#timeSlice.isUsedUp) {
        yield* outcomes.splice(0);
        await this.#pause();
        knownParent = this.#root.confirmParent(knownParent);
      }
      let outcome: DirectoryOutcome;
      try {
        const { path } = node;
        knownParent = this.#root.findParent(path.slice(0, -1), knownParent);
        const createdDirectory = this.#root.makeDirectory(path, undefined, knownParent);
        for (const path of createdDirectory.changedDirectories) changedDirectories.add(path);
        outcome = { error: null, isNew: createdDirectory.isCreated };
      } catch (error) {
        outcome = { error: this.#explainError(error, node) };
      }
      outcomes.push([node, outcome]);
    }
    yield* outcomes;
    await syncAllIfPossible(changedDirectories);
  }

  async remove(node: TreeNode): Promise<void> {
    await this.#pause();
    const names = node.path;
    try {
      this.#parent = this.#root.findParent(names.slice(0, -1), this.#parent);
      const { changedDirectories } = await this.#root.remove(
        names,
        false,
        makeListedCondition(node),
        this.#parent,
      );
      for (const path of changedDirectories) this.#changedDirectories.add(path);
    } catch (error) {
      // Another program may have removed the entry.
      const isGone = isMissingPathError(error) || error instanceof Refusal && error.status === 404;
      if (!isGone) throw this.#explainError(error, node, true);
    }
    const path = this.#pathOf(node);
    this.#changedDirectories.delete(path);
    this.#changedDirectories.add(dirname(path));
  }

  /** Syncs the changes of the call. A server syncs each change before it responds. */
  async finish(): Promise<void> {
    await this.#versions?.oldRemoved;
    await this.outbox?.syncChangedDirectories();
    await syncAllIfPossible(this.#changedDirectories);
  }

  async #pause(): Promise<void> {
    if (!this.#timeSlice.isUsedUp) return;
    await this.#timeSlice.yield(this.#root.path);
    this.#parent = this.#root.confirmParent(this.#parent);
    this.#settings.signal.throwIfAborted();
  }
}

function isListed({ size, modified }: TreeNode, stats: FileStats): boolean {
  return stats.size === size && sentTimeOf(stats.mtime).getTime() === modified;
}

function makeVerifiedFile(
  task: CopyTask,
  { bytes: { length }, modified, mode, sha256 }: SmallContent,
): VerifiedFile {
  return {
    names: targetPathOf(task),
    isNew: task.condition === "new",
    condition: makeCondition(task),
    task,
    modified,
    bytes: length,
    mode,
    sha256,
  };
}

function makeCondition(task: CopyTask): Condition | undefined {
  const listedFile = listedFileOf(task);
  return listedFile === null ? undefined : makeListedCondition(listedFile);
}

function makeListedCondition({ path, kind, size, modified }: TreeNode): Condition {
  return (existing) => {
    const isSame = existing === null ||
      (existing.isDirectory
        ? kind === "directory"
        : kind === "file" && stampOfStats(existing) === formatStamp(size, modified));
    if (isSame) return;
    throw new Refusal(412, `${quotePath(path)} changed during the call`);
  };
}

function isFileWithoutSymlink(path: string): boolean {
  return Deno.lstatSync(path).isFile && hasNoSymlink(dirname(path));
}
