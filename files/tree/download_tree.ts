/** Downloads trees from another device. */

import { grantedBits, setMode, Turns } from "../../internal/disk/files.ts";
import {
  ifPresent,
  infoOrNull,
  isAt,
  isMissing,
  isOverload,
  isReal,
  randomSuffix,
  readNames,
  syncAllIfPossible,
  whenReplaceable,
} from "../../internal/disk/names.ts";
import { nameProblem } from "../../internal/disk/file_names.ts";
import { dirname, realPath } from "../../internal/disk/paths.ts";
import { Temporary } from "../../internal/disk/temporary.ts";
import type { Connector, Requester } from "../../client.ts";
import { type AbsentStatus, type FoundRecord, GET_ANSWER } from "../bundle.ts";
import { stampOf, stampOfState } from "../conditions.ts";
import { hashOfText, sha256Of } from "../digest.ts";
import { downloadFile } from "../transfer/download.ts";
import type { DirectoryEntry } from "../entries.ts";
import { removeUnheld } from "../leftovers.ts";
import { type ListedTree, readLocalTree, readRemoteTree } from "./read_tree.ts";
import { modeOfCopy, modeOfWritten, parseMode, usualMode } from "../modes.ts";
import type { TransferResult, TransferSettings, TreeResult } from "../options.ts";
import { changedHere, explainFullDisk, FoundParts, removeParts } from "../transfer/part_file.ts";
import { Refusal } from "../refusal.ts";
import { PART_SUFFIX, prefixOf } from "../reserved.ts";
import { type Condition, type Parent, Root } from "../root.ts";
import type { TransferClient } from "../transfer/client.ts";
import {
  type PreparedDirectory,
  type SmallFile,
  type SmallFileOutcome,
  SmallFiles,
} from "../small_files.ts";
import { changedWhileMoved, responseError, TransferError } from "../transfer_error.ts";
import { quotePath, type TreeNode } from "./tree.ts";
import type { TreeOptions, TreeSettings } from "./options.ts";
import { type CopyTask, type DeferredGroup, isNew, replacedBy, targetPath } from "./plan.ts";
import { requestFiles, uriOfNode } from "./requests.ts";
import type { DeferredPart, DirectoryOutcome, FileOutcome, Outcomes, TreeEnds } from "./ends.ts";
import { transferTree } from "./transfer.ts";

/**
 * Makes a directory of this device like one that a `FilesApp` with `list: true` serves. After any
 * error or interruption, make the same call to continue: complete files are unchanged then. With
 * `retries` it goes on by itself after a temporary error.
 *
 * Both ends are listed and compared; files that differ are copied over several connections, small
 * ones many in a request. Each file is verified and synced to the disk before it gets its name, as
 * with {@linkcode download}, and gets the time and the permission bits of the source. With
 * `delete`, entries that the source does not have are deleted at the end, if the source's list is
 * complete and every file was copied.
 *
 * A file fails alone, as an event, if it can't be read, changes all the time, is larger than the
 * free space, or has something in its way. The call copies all others, and rejects then, unless
 * `partial` is true. Symbolic links and special files are skipped, which is no failure, and nothing
 * is written or deleted through a link; `dir` itself may be one.
 *
 * Needs `--allow-read` and `--allow-write` of the directory, and what the client needs; to look at
 * the free space `--allow-sys=statfs`, without which it works, too.
 *
 * @param from Where the files are.
 * @param uri The names of the directories on the way to it, and its own, `[]` for the root; or its
 * URI, which ends with `/`.
 * @param dir The path, or a `file:` URL, of the directory of this device, whose content is then
 * that of the other; a missing one is made.
 * @param options What to copy and delete, and what to call.
 * @returns What was done.
 * @throws {TypeError} if an argument or option has the wrong type, or an option is unknown.
 * @throws {RangeError} if a value is not allowed, or the URI does not end with `/`.
 * @throws {Deno.errors.NotCapable} if the program may not write the directory: files don't fail one
 * by one then.
 * @throws {StatusError} if there is no such directory.
 * @throws {TransferError} if the list is not valid or was cut, or the disk is full; `"INCOMPLETE"`,
 * with the result, if something could not be copied or deleted.
 * @throws the errors of `filter`, `onEvent`, `connect` and `request`; the reason of the signal.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { downloadTree, FilesApp } from "@degu/degu/files";
 * import { assertEquals } from "@std/assert";
 *
 * const there = await Deno.makeTempDir();
 * const here = await Deno.makeTempDir();
 * await Deno.mkdir(`${there}/sub`);
 * await Deno.writeTextFile(`${there}/sub/a b.txt`, "hello");
 * await using server = new Server(["127.0.0.1", 0], new FilesApp(there, { list: true }));
 * server.serveForever();
 * const client = new Client(server.address);
 *
 * const { files, bytes } = await downloadTree(client, [], `${here}/copy`);
 * assertEquals([files, bytes], [1, 5]);
 * assertEquals(await Deno.readTextFile(`${here}/copy/sub/a b.txt`), "hello");
 * assertEquals((await downloadTree(client, "/", `${here}/copy`)).unchanged, 1);
 * await Deno.remove(there, { recursive: true });
 * await Deno.remove(here, { recursive: true });
 * ```
 */
export async function downloadTree(
  from: Requester | Connector,
  uri: string | readonly string[],
  dir: string | URL,
  options: TreeOptions = {},
): Promise<TreeResult> {
  return await transferTree("from", from, dir, uri, options, (settings) => new Download(settings));
}

/** The beginning of the names of all parts of small files. */
const SMALL_PREFIX = ".small-";
const SMALL_PART = /\/\.small-[0-9a-f]{16}-\d+\.degu-part$/;
/** Parts of files whose directories are made only after a deletion. */
const LATE_PART = /\/\.late-[0-9a-f]{64}\.[0-9a-f]+\.degu-part$/;

interface VerifiedFile extends SmallFile {
  readonly copy: CopyTask;
  readonly bytes: number;
  /** The permission bits of the source, if they are known. */
  readonly mode: number | null;
  /** The digest of the content. */
  readonly sha256: string;
}

class Download implements TreeEnds {
  readonly #settings: TreeSettings;
  readonly #turns = new Turns();
  /** The target; until it exists, by the path that was given. */
  #root: Root;
  /** The parts of earlier runs, and of files of this run that are copied alone. */
  readonly #parts = new FoundParts();
  /** The beginning of the names of this run's parts of small files. */
  readonly #partPrefix = `${SMALL_PREFIX}${randomSuffix()}-`;
  #partCount = 0;
  /** Which permission bits new files get; `undefined` until that is needed. */
  #granted: number | null | undefined;
  readonly outbox = null;
  readonly onlyAdds = false;
  /** The directory of the entry that was removed last, until the turn is over. */
  #entered: Parent | null = null;
  /** The directories from which something was removed. */
  readonly #changed = new Set<string>();

  constructor(settings: TreeSettings) {
    this.#settings = settings;
    this.#root = new Root(settings.dir);
  }

  async readSource(client: TransferClient): Promise<ListedTree> {
    const { uri, modes } = this.#settings;
    return await readRemoteTree(client, uri, true, modes);
  }

  async readTarget(): Promise<ListedTree | null> {
    const path = await ifPresent(realPath(this.#settings.dir));
    if (path === null) return null;
    this.#root = new Root(path);
    return await readLocalTree(path, this.#settings.signal, (path) => {
      this.#parts.add(path);
    });
  }

  /** Makes a missing target, and removes the parts of small files that a killed run has left. */
  async begin(_client: TransferClient, isMissing: boolean): Promise<boolean> {
    this.#removeParts(SMALL_PART);
    if (!isMissing) return false;
    await Deno.mkdir(this.#settings.dir, { recursive: true });
    this.#root = new Root(await realPath(this.#settings.dir));
    return false;
  }

  #removeParts(pattern: RegExp): void {
    for (const path of this.#parts) {
      if (!pattern.test(path)) continue;
      try {
        if (Deno.lstatSync(path).isFile) removeUnheld(path);
      } catch {
        // The part is gone, or somebody else's.
      }
    }
  }

  async list(
    _client: TransferClient,
    path: readonly string[],
  ): Promise<readonly DirectoryEntry[] | null> {
    try {
      const at = this.#root.pathOf(path);
      if (!isReal(at)) return null;
      return (await readNames(at)).flatMap((name) => this.#entryOf([...path, name]));
    } catch (error) {
      if (isMissing(error) || error instanceof Refusal) return null;
      throw error;
    }
  }

  /** The entry of a name that was listed; none if that is gone by now. */
  #entryOf(path: readonly string[]): DirectoryEntry[] {
    const name = path.at(-1)!;
    let info: Deno.FileInfo | null;
    try {
      info = infoOrNull(this.#root.pathOf(path));
    } catch {
      return [{ name, kind: "other", size: 0, modified: new Date(0), reason: "unreadable" }];
    }
    if (info === null) return [];
    const { size, mtime, isFile, isDirectory } = info;
    const about = { name, size, modified: mtime ?? new Date(0) };
    if (isFile || isDirectory) return [{ ...about, kind: isFile ? "file" : "directory" }];
    return [{ ...about, kind: "other", reason: info.isSymlink ? "link" : "special" }];
  }

  has(_client: TransferClient, node: TreeNode): Promise<boolean> {
    return Promise.resolve(this.#isThere(node));
  }

  pathOf({ path }: TreeNode): string {
    return this.#root.pathOf(path);
  }

  async *copySmall(
    client: TransferClient,
    copies: readonly CopyTask[],
  ): Outcomes<CopyTask, FileOutcome> {
    await using files = new SmallFiles<VerifiedFile>({
      root: this.#root,
      prepare: (directory, known) => this.#makeDirectory(directory, known),
      make: ({ copy, mode }) => this.#newPart(copy, mode),
      admit: () => Promise.resolve(this.#settings.signal.throwIfAborted()),
    });
    let failure: { readonly error: unknown } | null = null;
    const wanted: CopyTask[] = [];
    for (const copy of copies) {
      if (this.#isTaken(copy)) yield [copy, { is: "taken", sha256: null }];
      else wanted.push(copy);
    }
    if (wanted.length === 0) return;
    try {
      const uri = `${this.#settings.uri}?bundle=get`;
      // Only a list of a server that knows of permission bits has them.
      const hasModes = wanted.some(({ node }) => node.mode !== null);
      const pathOf = ({ node }: CopyTask) => node.path;
      const records = requestFiles(client, uri, GET_ANSWER, wanted, pathOf, hasModes);
      for await (const { record, content, item: copy } of records) {
        const file = this.#check(client, copy, record, content);
        if ("is" in file) {
          yield [copy, file];
          continue;
        }
        await files.add(file, content);
        for (const each of files.takeOutcomes()) yield [each.file.copy, this.#outcomeOf(each)];
      }
    } catch (error) {
      failure = { error };
    }
    // Files that have arrived are placed, even if the connection has broken off.
    await files.flush();
    for (const each of files.takeOutcomes()) yield [each.file.copy, this.#outcomeOf(each)];
    if (failure !== null) throw failure.error;
  }

  /** Whether something has the name of a new file, by another spelling or since the list. */
  #isTaken(copy: CopyTask): boolean {
    return isNew(copy) && this.#isThere(copy.node);
  }

  #isThere(node: TreeNode): boolean {
    try {
      return infoOrNull(this.pathOf(node)) !== null;
    } catch {
      // Placing the file will show what is wrong there.
      return false;
    }
  }

  /** Checks a record and the content of its file. */
  #check(
    client: TransferClient,
    copy: CopyTask,
    record: FoundRecord,
    content: Uint8Array,
  ): VerifiedFile | FileOutcome {
    if (record.status !== 200) return this.#refused(copy, record.status);
    const { replace } = this.#settings;
    const names = targetPath(copy);
    if (sha256Of(content) !== record.sha256) {
      const text = `${quotePath(names)}: what arrived has another SHA-256`;
      return { is: "again", error: new TransferError("DIGEST_MISMATCH", text) };
    }
    const { modified, size: bytes, sha256 } = record;
    const condition = conditionOfCopy(copy);
    const mode = this.#settings.modes ? client.bitsFor(parseMode(record.mode)) : null;
    const isOnlyNew = isNew(copy) || !replace;
    return { names, isNew: isOnlyNew, condition, copy, modified, bytes, mode, sha256 };
  }

  #outcomeOf(
    { file: { copy, bytes, sha256 }, error }: SmallFileOutcome<VerifiedFile>,
  ): FileOutcome {
    if (error === null) return { is: "copied", bytes, sha256 };
    if (error instanceof Refusal && error.status === 412) return { is: "taken", sha256 };
    return { is: isOverload(error) ? "again" : "failed", error: this.#explain(error, copy.node) };
  }

  /** Makes a directory, with those above it; none of them may be a link. */
  #makeDirectory(names: readonly string[], known: Parent | null = null): PreparedDirectory {
    const parent = this.#root.findParent(names, { known });
    if (parent.missing.length === 0) return { changed: [], parent };
    return { changed: this.#root.makeDirectory(names).changed, parent: null };
  }

  #newPart({ node, target }: CopyTask, mode: number | null): Temporary {
    const place = this.pathOf(node);
    removeParts(place, this.#parts.of(place));
    const directory = dirname(place);
    const path = this.#newPath(directory);
    if (mode !== null) return Temporary.create(path, { mode: mode | 0o600, isLocked: true });
    // The part of a file that is replaced stays private, as the old file may have been.
    const newMode = target === null ? null : usualMode(this.#grantedIn(directory));
    return Temporary.create(path, { newMode, isLocked: true });
  }

  /** The path of a part that the next run removes if this one is killed. */
  #newPath(directory: string): string {
    return `${prefixOf(directory)}${this.#partPrefix}${this.#partCount++}${PART_SUFFIX}`;
  }

  /**
   * Finds out which permission bits new files get, in a directory where one is about to be named.
   */
  #grantedIn(directory: string): number | null {
    if (this.#granted === undefined) this.#granted = grantedBits(this.#newPath(directory));
    return this.#granted;
  }

  findGranted(): number | null {
    try {
      return this.#grantedIn(this.#root.path);
    } catch {
      // Nothing can be written there: each file will report that when it is copied.
      return null;
    }
  }

  async giveMode(_client: TransferClient, copy: CopyTask): Promise<void> {
    await this.#pause();
    const { node } = copy;
    try {
      const { path, existing } = this.#root.findFile(node.path);
      if (existing === null) throw new Refusal(412, `${path} is gone`);
      conditionOfCopy(copy)?.(existing);
      setMode(path, modeOfCopy(node.mode!, this.#granted!));
    } catch (error) {
      throw this.#explain(error, node);
    }
  }

  /** Explains an error of the disk for one file; an error that is so for all of them is thrown. */
  #explain(error: unknown, node: TreeNode, isRemoval = false): unknown {
    // The reason of an abort is the caller's, and stays as it is.
    this.#settings.signal.throwIfAborted();
    if (error instanceof Refusal) {
      if (error.status === 412) return changedHere(this.pathOf(node), { cause: error });
      const code = error.headers["retry-after"] !== undefined
        ? "IN_USE"
        // What came into a directory that was listed without it.
        : isRemoval && error.status === 409
        ? "TARGET_CHANGED"
        : "IN_THE_WAY";
      return new TransferError(code, error.message, { cause: error });
    }
    const full = explainFullDisk(error, this.pathOf(node));
    if (full !== error) throw full;
    if (error instanceof Error && !error.message.includes(node.name)) {
      error.message = `${quotePath(node.path)}: ${error.message}`;
    }
    return error;
  }

  #refused({ node }: CopyTask, status: AbsentStatus): FileOutcome {
    if (status === 413) return { is: "alone" };
    if (status === 409) return { is: "again", error: changedWhileMoved(quotePath(node.path)) };
    const error = responseError("GET", uriOfNode(this.#settings.uri, node), { status });
    return { is: status === 503 ? "again" : "failed", error };
  }

  async copySingle(
    client: TransferClient,
    copy: CopyTask,
    settings: TransferSettings,
    there: TreeNode | null,
  ): Promise<TransferResult> {
    const { node } = copy;
    this.#checkNames(node);
    if (this.#isTaken(copy)) {
      throw this.#explain(new Refusal(412, `${this.pathOf(node)} exists`), node);
    }
    await this.#makeParent(node, node.parent!);
    const place = async (part: string, mode: number | null) => {
      await this.#place(copy, part, mode);
      return true;
    };
    const beginning = there && { path: this.pathOf(there), length: there.size };
    const inTree = { size: node.size, parts: this.#parts, place, beginning };
    const uri = uriOfNode(this.#settings.uri, node);
    return await downloadFile(client, uri, this.pathOf(node), settings, inTree);
  }

  async copyPart(
    client: TransferClient,
    copy: CopyTask,
    settings: TransferSettings,
  ): Promise<DeferredPart> {
    const { node, late } = copy;
    this.#checkNames(node);
    await this.#makeParent(node, late!.obstacle.parent!);
    let part: { path: string; mode: number | null; state: Deno.FileInfo };
    const keep = async (path: string, mode: number | null) => {
      part = { path, mode, state: Deno.lstatSync(path) };
      // The part must survive a power failure after the deletion of what is in the way.
      await syncAllIfPossible([dirname(path)]);
      return false;
    };
    const inTree = { size: node.size, parts: this.#parts, place: keep, beginning: null };
    const uri = uriOfNode(this.#settings.uri, node);
    const beside = this.#besidePart(node, late!);
    const result = await downloadFile(client, uri, beside, settings, inTree);
    return {
      result,
      place: async () => {
        const { path, mode, state } = part;
        // Another call may have taken the part.
        if (!isAt(path, state)) return false;
        await this.#place(copy, path, mode, state);
        return true;
      },
      discard: () => this.#removePartsOf(beside),
    };
  }

  /** Fails for a file that has a name which the disk can't hold. */
  #checkNames(node: TreeNode): void {
    try {
      this.pathOf(node);
    } catch (error) {
      throw this.#explain(error, node);
    }
  }

  /** The path beside which a file is received that gets its name after a deletion. */
  #besidePart(node: TreeNode, { obstacle }: DeferredGroup): string {
    const path = this.pathOf(node);
    if (obstacle.path.length === node.path.length) return path;
    // The directory of the file is not there before the obstacle has gone.
    return `${dirname(this.pathOf(obstacle))}/late-${hashOfText(path)}`;
  }

  /** Makes the directory in which a file is received. */
  async #makeParent(node: TreeNode, { path }: TreeNode): Promise<void> {
    try {
      await syncAllIfPossible(this.#makeDirectory(path).changed);
    } catch (error) {
      throw this.#explain(error, node);
    }
  }

  /**
   * Gives a complete part the name of its file. The name is on the disk then.
   */
  async #place(
    copy: CopyTask,
    part: string,
    source: number | null,
    state: Deno.FileInfo | null = null,
  ): Promise<void> {
    const { node } = copy;
    const root = this.#root;
    const names = targetPath(copy);
    const isAsSeen = conditionOfCopy(copy);
    const modes = modeOfWritten(source, this.#grantedIn(dirname(part)));
    const file = { path: part, state, ...modes };
    // A new name that is a link would leave the part behind if the process is killed then.
    const condition: Condition = (existing) => {
      if (isNew(copy) && existing !== null) throw new Refusal(412, `${root.pathOf(names)} exists`);
      isAsSeen?.(existing);
    };
    const { replace, signal } = this.#settings;
    signal.throwIfAborted();
    try {
      const naming = { condition, isNew: !replace };
      const { changed } = await whenReplaceable(() => root.place(names, file, naming));
      await syncAllIfPossible(changed);
    } catch (error) {
      throw this.#explain(error, node);
    }
  }

  async *makeDirectories(
    _client: TransferClient,
    nodes: readonly TreeNode[],
  ): Outcomes<TreeNode, DirectoryOutcome> {
    const changed = new Set<string>();
    const outcomes: [TreeNode, DirectoryOutcome][] = [];
    let known: Parent | null = null;
    for (const node of nodes) {
      if (this.#turns.isOver) {
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

  async remove(_client: TransferClient, node: TreeNode): Promise<void> {
    await this.#pause();
    const names = node.path;
    try {
      this.#entered = this.#root.findParent(names.slice(0, -1), { known: this.#entered });
      await this.#root.remove(names, false, conditionOn(node), this.#entered);
    } catch (error) {
      // The entry may be gone by itself.
      const isGone = isMissing(error) || error instanceof Refusal && error.status === 404;
      if (!isGone) throw this.#explain(error, node, true);
    }
    const path = this.pathOf(node);
    this.#changed.delete(path);
    this.#changed.add(dirname(path));
  }

  discard({ node }: CopyTask): void {
    // A file whose name the disk can't hold has no part.
    if (node.path.every((name) => nameProblem(name) === null)) {
      this.#removePartsOf(this.pathOf(node));
    }
  }

  #removePartsOf(file: string): void {
    try {
      removeParts(file, this.#parts.of(file));
    } catch {
      // Another run has taken the part.
    }
  }

  finish(): Promise<void> {
    // By now each of them has its name, or was left by a call that was killed.
    if (!this.#settings.dryRun) this.#removeParts(LATE_PART);
    return syncAllIfPossible(this.#changed);
  }

  async #pause(): Promise<void> {
    if (!this.#turns.isOver) return;
    await this.#turns.next(this.#root.path);
    this.#entered = null;
    this.#settings.signal.throwIfAborted();
  }
}

/** Refuses to replace another file than the one that the plan has compared. */
function conditionOfCopy(copy: CopyTask): Condition | undefined {
  const seen = replacedBy(copy);
  return seen === null ? undefined : conditionOn(seen);
}

/** Refuses to replace or delete what is no longer as it was listed. */
function conditionOn({ path, kind, size, modified }: TreeNode): Condition {
  return (existing) => {
    const isSame = existing === null ||
      (existing.isDirectory()
        ? kind === "directory"
        : kind === "file" && stampOfState(existing) === stampOf(size, modified));
    if (isSame) return;
    throw new Refusal(412, `${quotePath(path)} changed meanwhile`);
  };
}
