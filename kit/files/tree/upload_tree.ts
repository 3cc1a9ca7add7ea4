/** Uploads trees to another device. */

import { closeSync } from "node:fs";
import { dirname } from "node:path";
import { ChunkedBodyIter } from "../../../base/body/body_iter.ts";
import { EMPTY } from "../../../base/bytes.ts";
import { pause } from "../../../base/pause.ts";
import { quote } from "../../../base/quote.ts";
import type { HeaderDict } from "../../../base/wire/headers.ts";
import type { Chunk } from "../../../base/wire/chunk.ts";
import { checkRemovable, Turns } from "../../disk/files.ts";
import {
  ifPresent,
  isMissing,
  isOverload,
  isRealFile,
  syncAllIfPossible,
} from "../../disk/names.ts";
import { isDiskFull } from "../../disk/space.ts";
import type { Connector, Requester } from "../../../client.ts";
import { StatusError } from "../../../net/expect_ok.ts";
import {
  BundleBuffer,
  BUNDLED_BELOW_BYTES,
  formatBundle,
  PUT_ANSWER,
  type PutFile,
} from "../bundle.ts";
import { conditionFor, stampOf } from "../conditions.ts";
import { fileUri } from "../file_name.ts";
import type { Beginning } from "../reuse.ts";
import { sha256Of } from "../digest.ts";
import type { DirectoryEntry } from "../entries.ts";
import { isOtherFile, openSmall, SETTLED_MILLISECONDS } from "../file_pieces.ts";
import { bitsOf, formatMode, modeHeader, WANT_MASK } from "../modes.ts";
import { type ListedTree, readLocalTree, readRemoteEntries, readRemoteTree } from "./list_tree.ts";
import type { TransferResult, TransferSettings } from "../options.ts";
import { prefixOf, trialPath } from "../reserved.ts";
import { askDigest, requestChange, type TransferClient } from "../transfer/client.ts";
import {
  changedWhileMoved,
  hasStatus,
  refused,
  statusError,
  TransferError,
} from "../transfer_error.ts";
import { isWithin, type TreeNode } from "./tree.ts";
import type { TreeResult, TreeSettings, UploadTreeOptions } from "./options.ts";
import { type Copy, existsAlready, itsOwnTarget, replacedBy } from "./plan.ts";
import { type Located, requestBundle, uriOfNode } from "./requests.ts";
import type { DirectoryOutcome, FileOutcome, Outcomes, RemovalOutcome, TreeEnds } from "./ends.ts";
import { MAX_SKEW_MILLISECONDS, transferTree } from "./transfer.ts";
import { isAsSeen, type SeenFile, SourceFile } from "../transfer/source_file.ts";
import { FileUpload, nameFile } from "../transfer/upload.ts";

/**
 * Makes a directory that a `FilesApp` with `write: true` and `list: true` serves like one of this
 * device. After any error or interruption, make the same call to continue: complete files are
 * unchanged then. With `retries` it goes on by itself after a temporary error.
 *
 * Both ends are listed and compared; files that differ are copied over several connections, small
 * ones many in a request. Each file is verified and synced to the disk there before it gets its
 * name, as with {@linkcode upload}, and gets the time of the source. With `delete`, entries that
 * the source does not have are deleted at the end, if everything here could be read and every file
 * was copied.
 *
 * A file fails alone, as an event and in `failed` of the result, if it can't be read, changes all
 * the time, is larger than the free space there, or has something in its way. Symbolic links,
 * special files and parts of interrupted transfers are skipped; `dir` itself may be a link.
 *
 * With `move`, each file is removed here once it is there. Whatever interrupts the call, a file is
 * here, there or at both ends.
 *
 * Needs `--allow-read` of the directory, with `move` also `--allow-write`, and what the client
 * needs.
 *
 * @param to Where the files go.
 * @param dir The path, or a `file:` URL, of the directory of this device.
 * @param uri The names of the directories on the way to it, and its own, `[]` for the root; or its
 * URI, which ends with `/`. Its content is then that of the directory here; a missing one is made.
 * @param options What to copy and delete, and what to call.
 * @returns What was done.
 * @throws {TypeError} if an argument or option has the wrong type, or an option is unknown.
 * @throws {RangeError} if a value is not allowed, or the URI does not end with `/`.
 * @throws {StatusError} if the server accepts no files there, or its disk is full.
 * @throws {TransferError} if its list is not valid or was cut.
 * @throws {Deno.errors.NotFound} if there is no such directory here; `Deno.errors.NotADirectory` if
 * it is something else.
 * @throws the errors of `filter`, `onEvent`, `connect` and `request`; the reason of the signal.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { FilesApp, uploadTree } from "@degu/degu/files";
 * import { assertEquals } from "@std/assert";
 *
 * const there = await Deno.makeTempDir();
 * const here = await Deno.makeTempDir();
 * await Deno.mkdir(`${here}/sub`);
 * await Deno.writeTextFile(`${here}/sub/a b.txt`, "hello");
 * const app = new FilesApp(there, { list: true, write: true });
 * await using server = new Server(["127.0.0.1", 0], app);
 * server.serveForever();
 * const client = new Client(server.address);
 *
 * const { files, bytes } = await uploadTree(client, here, "/copy/");
 * assertEquals([files, bytes], [1, 5]);
 * assertEquals(await Deno.readTextFile(`${there}/copy/sub/a b.txt`), "hello");
 * assertEquals((await uploadTree(client, here, "/copy/")).unchanged, 1);
 * await Deno.remove(there, { recursive: true });
 * await Deno.remove(here, { recursive: true });
 * ```
 */
export async function uploadTree(
  to: Requester | Connector,
  dir: string | URL,
  uri: string | readonly string[],
  options: UploadTreeOptions = {},
): Promise<TreeResult> {
  return await transferTree("to", to, dir, uri, options, (settings) => new Upload(settings));
}

interface SentFile {
  readonly copy: Copy;
  readonly bytes: number;
  readonly sha256: string;
  readonly seen: SeenFile;
  /** Whether the record says which file it may replace, or that it may replace none. */
  readonly hasCondition: boolean;
}

const KEPT: RemovalOutcome = { is: "kept" };

class Upload implements TreeEnds {
  readonly #settings: TreeSettings;
  readonly #turns = new Turns();
  #root = "";
  /** Whether the server knows records that say which file they may replace. */
  #takesSeen = false;
  /** Which permission bits a new file gets at the target; `null` if it takes none. */
  #granted: number | null = null;
  /** Whether what the target has stays as it is. */
  #isKept = false;
  /** The path of the target below the root of its app; `null` if its files can't be reused. */
  #place: string | null = null;
  /** The refusal of the root, until something was accepted below it. */
  #refusal: StatusError | null = null;
  /** Files that this call has given their names at the target, as they were when they were read. */
  readonly #written = new Map<TreeNode, SeenFile>();
  /** The permission bits that files had when they were sent as parts. */
  readonly #lateModes = new Map<TreeNode, number | null>();
  /** With `move`: how the files are closed that were read, and may be removed. */
  readonly #open = new Map<TreeNode, () => void | Promise<void>>();
  /** With `move`: the directories of the source from which files can be removed. */
  readonly #removable = new Set<TreeNode>();
  /** The directories from which files were removed. */
  readonly #emptied = new Set<string>();

  constructor(settings: TreeSettings) {
    this.#settings = settings;
  }

  async readSource(): Promise<ListedTree> {
    const root = await ifPresent(Deno.realPath(this.#settings.dir));
    if (root === null) {
      throw new Deno.errors.NotFound(
        `dir: there is no directory ${quote(this.#settings.dir)}; is its disk mounted?`,
      );
    }
    this.#root = root;
    return await readLocalTree(root, this.#settings.signal);
  }

  async readTarget(client: TransferClient): Promise<ListedTree | null> {
    // The list of a target of moved files would grow without end. What the target has shows when
    // each file is sent.
    if (this.#settings.move) return null;
    try {
      return await this.#list(client);
    } catch (error) {
      if (!hasStatus(error, 404)) throw error;
      return null;
    } finally {
      this.#granted = client.granted;
    }
  }

  /** Lists the target; throws if it would delete nothing, and it has to. */
  async #list(client: TransferClient): Promise<ListedTree> {
    const { uri, delete: deletes, modes, dryRun } = this.#settings;
    const more = modes && !dryRun ? WANT_MASK : {};
    const listed = await readRemoteTree(client, uri, false, modes, more);
    this.#takesSeen = listed.takesSeen === true;
    this.#isKept = listed.isKept === true;
    this.#place = listed.place ?? null;
    if (!deletes || listed.isKept !== true) return listed;
    const problem = "the other end only adds files; call without `delete`";
    throw refused("DELETE", uri, problem, { status: 405 });
  }

  get canReuse(): boolean {
    return this.#place !== null;
  }

  findGranted(): number | null {
    return this.#isKept ? null : this.#granted;
  }

  async giveMode(client: TransferClient, { node, target }: Copy): Promise<void> {
    const { size, modified } = target!;
    const headers = {
      ...modeHeader(node.mode),
      "upload-length": `${size}`,
      "upload-offset": `${size}`,
      "if-file-stamp": stampOf(size, modified),
    };
    await requestChange(client, "PUT", this.#uriOf(node), headers);
  }

  async begin(client: TransferClient, isMissing: boolean): Promise<boolean> {
    // With `move` the call repeats for long, and many a server refuses to make its root, which is
    // there anyway.
    const { move, modes, uri } = this.#settings;
    if (!isMissing) return false;
    const asked = modes ? WANT_MASK : {};
    if (move && uri === "/") {
      if (modes) await (await client.request("HEAD", uri, asked)).discard();
      this.#granted = client.granted;
      return false;
    }
    let isThere = true;
    try {
      isThere = await requestChange(client, "PUT", uri, asked) !== 201;
    } catch (error) {
      // The root of an app that does not list is there, and can't be made.
      if (!(error instanceof StatusError) || error.status !== 403) throw error;
      this.#refusal = error;
    }
    this.#granted = client.granted;
    // With `delete`, a target that can't be listed is an error: its entries would stay in silence.
    // Another call may have made the target.
    try {
      if (this.#settings.delete) await this.#list(client);
    } catch (error) {
      // In a directory that was just made, there is nothing to delete.
      if (isThere || !hasStatus(error, 404)) throw error;
    }
    return isThere && !this.#settings.move;
  }

  async entries(
    client: TransferClient,
    path: readonly string[],
  ): Promise<readonly DirectoryEntry[] | null> {
    try {
      const uri = this.#uriOf({ path }, true);
      const { entries, takesSeen, isKept } = await readRemoteEntries(client, uri);
      this.#takesSeen ||= takesSeen === true;
      this.#isKept ||= isKept === true;
      return entries;
    } catch (error) {
      // A server that has no list.
      if (error instanceof StatusError && error.status < 500) {
        return null;
      }
      throw error;
    }
  }

  async has(client: TransferClient, node: TreeNode): Promise<boolean> {
    const response = await client.request("HEAD", this.#uriOf(node), {});
    await response.discard();
    return response.status !== 404;
  }

  async names(
    client: TransferClient,
    path: readonly string[],
  ): Promise<ReadonlySet<string> | null> {
    try {
      const { entries } = await readRemoteEntries(client, this.#uriOf({ path }, true));
      return new Set(entries.map(({ name }) => name));
    } catch (error) {
      if (hasStatus(error, 404)) return null;
      throw error;
    }
  }

  #uriOf(node: Located, isDirectory = false): string {
    return uriOfNode(this.#settings.uri, node, isDirectory);
  }

  pathOf(node: Located): string {
    return prefixOf(this.#root) + node.path.join("/");
  }

  async *copySmall(client: TransferClient, copies: readonly Copy[]): Outcomes<Copy, FileOutcome> {
    const sent: SentFile[] = [];
    const unsent: [Copy, FileOutcome][] = [];
    const body = new ChunkedBodyIter(this.#chunksOf(copies, sent, unsent));
    const uri = `${this.#settings.uri}?bundle=put`;
    let failure: { readonly error: unknown } | null = null;
    try {
      const records = requestBundle(client, uri, body, PUT_ANSWER, "put", sent);
      for await (const { record: { status }, item } of records) {
        yield [item.copy, this.#outcomeOf(item, status)];
      }
    } catch (error) {
      failure = { error };
    }
    yield* unsent;
    for (const { node } of copies) if (!this.#written.has(node)) await this.#close(node);
    if (failure !== null) throw failure.error;
  }

  async *#chunksOf(
    copies: readonly Copy[],
    sent: SentFile[],
    unsent: [Copy, FileOutcome][],
  ): AsyncGenerator<Chunk, void, void> {
    const buffer = new BundleBuffer();
    const content = new Uint8Array(BUNDLED_BELOW_BYTES - 1);
    for (const copy of copies) {
      if (this.#turns.isOver) await this.#turns.next(this.#root);
      this.#settings.signal.throwIfAborted();
      await this.#close(copy.node);
      const read = this.#read(copy.node, content);
      if ("is" in read) {
        unsent.push([copy, read]);
        continue;
      }
      const { size, modified, mode, seen } = read;
      const bytes = content.subarray(0, size);
      const sha256 = sha256Of(bytes);
      const condition = this.#conditionOf(copy);
      const { path } = copy.listed ?? copy.node;
      const bits = this.#granted === null || mode === null ? {} : { mode: formatMode(mode) };
      buffer.add({ path, size, modified, sha256, ...condition, ...bits }, bytes);
      const hasCondition = Object.keys(condition).length > 0;
      sent.push({ copy, bytes: size, sha256, seen, hasCondition });
      if (buffer.isFull) yield [null, buffer.take(false)];
    }
    yield [null, buffer.take(true)];
    yield [null, EMPTY];
  }

  /** What the record of a file says about the file that it may replace. */
  #conditionOf(copy: Copy): Pick<PutFile, "if-none-match" | "seen"> {
    if (copy.isNew || !this.#settings.replace) return { "if-none-match": "*" };
    const there = this.#takesSeen ? replacedBy(copy) : null;
    return there === null ? {} : { seen: [there.size, there.modified] };
  }

  /** Reads a small file, twice if the file changes meanwhile. */
  #read(
    node: TreeNode,
    content: Uint8Array,
  ): { size: number; modified: Date; mode: number | null; seen: SeenFile } | FileOutcome {
    const path = this.pathOf(node);
    try {
      this.#checkRemovable(node);
      for (let attempt = 0; attempt < 2; attempt++) {
        // Opening a FIFO would wait, and a link is not followed.
        const lookedAt = Date.now();
        const info = Deno.lstatSync(path);
        if (!info.isFile) return { is: "failed", error: this.#replaced(node) };
        if (info.size > content.length) return { is: "alone" };
        const read = openSmall(path, info, content);
        if (read === null) continue;
        const { state, file } = read;
        if (this.#settings.move) this.#open.set(node, () => closeSync(file));
        else closeSync(file);
        if (!isRealFile(path)) return { is: "failed", error: this.#replaced(node) };
        const modified = new Date(Number(state.mtimeMs));
        const mode = this.#settings.modes ? bitsOf(state.mode) : null;
        return { size: Number(state.size), modified, mode, seen: { info, lookedAt } };
      }
      return { is: "again", error: changedWhileMoved(path) };
    } catch (error) {
      return { is: isOverload(error) ? "again" : "failed", error };
    }
  }

  #replaced(node: TreeNode): TransferError {
    const text = "was replaced by something that is not a file, or is reached by a link now";
    return new TransferError("CHANGED", `${this.pathOf(node)} ${text}`);
  }

  #outcomeOf(
    { copy: { node }, bytes, sha256, seen, hasCondition }: SentFile,
    status: number,
  ): FileOutcome {
    if (status === 201 || status === 204) {
      this.#refusal = null;
      if (this.#settings.move) this.#written.set(node, seen);
      return { is: "copied", bytes, sha256 };
    }
    // A 412 to a request without a condition is a fault of the peer, which is not asked again.
    if (status === 412 && hasCondition) return { is: "taken", sha256 };
    const error = statusError("PUT", this.#uriOf(node), { status });
    if (status === 507) throw error;
    if (status === 403 && this.#refusal !== null) throw this.#refusal;
    return { is: status === 400 || status === 503 ? "again" : "failed", error };
  }

  async copyAlone(
    client: TransferClient,
    copy: Copy,
    settings: TransferSettings,
    _size: number,
    there: TreeNode | null,
  ): Promise<TransferResult> {
    const { node, late, isNew, isSame = false, listed = node } = copy;
    const path = this.pathOf(node);
    const check = () => {
      if (!isRealFile(path)) throw this.#replaced(node);
    };
    this.#checkRemovable(node);
    check();
    await using opened = new AsyncDisposableStack();
    const source = opened.use(await SourceFile.open(path));
    check();
    const { move, signal } = this.#settings;
    const uri = this.#uriOf(listed);
    if (late !== null) {
      // The file may be another one by now than the list has.
      this.#lateModes.set(node, source.mode);
      return await new FileUpload(client, uri, source, settings).sendPart();
    }
    const headers: HeaderDict = isNew ? { "if-none-match": "*" } : {};
    let isRewritten = move;
    if (isSame) {
      const { etag, stamp, sha256 } = await this.#lookAgain(client, uri);
      // With `replace: false` any other content stays, even if its size and time are the same.
      const isKnown = etag !== null || stamp !== null && this.#settings.replace;
      if (!isKnown || sha256 !== await source.hash(signal)) throw existsAlready(node);
      Object.assign(headers, stamp === null ? { "if-match": etag } : conditionFor(stamp, etag));
      isRewritten &&= etag === null || !isOtherFile(etag, path);
    }
    // The caller decides about a name that is taken.
    const replace = isNew || isSame || settings.replace;
    // With `move`, an identical file at the target may be this very file, so it is written anew.
    const replaced = replacedBy(copy);
    const seen = replaced === null ? undefined : stampOf(replaced.size, replaced.modified);
    // The list of the target says what may be reused. With `move` there is none.
    const known = move ? {} : { beginning: there && this.#beginningOf(there) };
    const all = { ...settings, replace, isRewritten, seen, ...known };
    const result = await new FileUpload(client, uri, source, all, headers).run();
    if (move) {
      await this.#close(node);
      const kept = opened.move();
      this.#open.set(node, () => kept.disposeAsync());
      this.#written.set(node, source.seen);
    }
    return result;
  }

  /**
   * Asks for the digest of a file that is there by now. With `move`, only a tag shows that the file
   * there is not the very one here. A file that was just written has no tag for some seconds, so an
   * app that replaces nothing is asked again then.
   */
  async #lookAgain(client: TransferClient, uri: string): ReturnType<typeof askDigest> {
    const there = await askDigest(client, uri);
    if (there.etag !== null || !this.#isKept || !this.#settings.move) return there;
    await pause(SETTLED_MILLISECONDS, this.#settings.signal);
    return await askDigest(client, uri);
  }

  #beginningOf(node: TreeNode): Beginning {
    const path = this.#place! + fileUri(...node.path).slice(1);
    return { uri: this.#uriOf(node), path, length: node.size };
  }

  place(client: TransferClient, { node }: Copy, part: TransferResult): Promise<boolean> {
    const mode = this.#settings.modes ? this.#lateModes.get(node) ?? null : null;
    return nameFile(client, this.#uriOf(node), part, new Date(node.modified), mode);
  }

  changedAt(node: TreeNode): number {
    try {
      return Deno.lstatSync(this.pathOf(node)).ctime?.getTime() ?? NaN;
    } catch {
      // Copying the file will show what is wrong with it.
      return NaN;
    }
  }

  async *removeSources(nodes: readonly TreeNode[]): Outcomes<TreeNode, RemovalOutcome> {
    for (const node of nodes) {
      if (this.#turns.isOver) await this.#turns.next(this.#root);
      this.#settings.signal.throwIfAborted();
      const seen = this.#written.get(node);
      const removed = seen === undefined ? KEPT : this.#removeSource(node, seen);
      await this.#close(node);
      yield [node, removed];
    }
  }

  /**
   * Removes a file that this call has copied. The file is still open, so that no other one can have
   * its inode.
   */
  #removeSource(node: TreeNode, seen: SeenFile): RemovalOutcome {
    const path = this.pathOf(node);
    try {
      if (this.#isRecent(seen)) return KEPT;
      const now = Deno.lstatSync(path);
      // The server gives each copy its name by a rename, which here looks like another file.
      const isCopy = now.ino !== seen.info.ino && isLike(now, seen.info);
      if (isCopy) return { is: "failed", error: itsOwnTarget(path) };
      if (!isAsSeen(now, seen)) return KEPT;
      Deno.removeSync(path);
      this.#emptied.add(dirname(path));
      return { is: "removed" };
    } catch (error) {
      return isMissing(error) ? { is: "gone" } : { is: "failed", error };
    }
  }

  /** Closes a file that was kept open until it was removed. */
  async #close(node: TreeNode): Promise<void> {
    const close = this.#open.get(node);
    this.#open.delete(node);
    this.#written.delete(node);
    await close?.();
  }

  async close(): Promise<void> {
    for (const node of [...this.#open.keys()]) await this.#close(node);
  }

  async finish(): Promise<void> {
    // After a power failure, a file that was removed would replace its successor at the target.
    await syncAllIfPossible(this.#emptied);
  }

  /** Checks that a file can be removed, so that it is not sent in vain by each call. */
  #checkRemovable(node: TreeNode): void {
    if (!this.#settings.move) return;
    const { parent } = node;
    if (this.#removable.has(parent!)) return;
    try {
      checkRemovable(trialPath(this.pathOf(parent!)));
    } catch (error) {
      // On a full disk, only a removal makes room again.
      if (!isDiskFull(error)) throw error;
    }
    this.#removable.add(parent!);
  }

  /** Whether a file may have been being written when it was read, however long after the list. */
  #isRecent({ info, lookedAt }: SeenFile): boolean {
    const { settled } = this.#settings;
    const after = lookedAt - settled * 1000;
    return settled > 0 && [info.mtime, info.ctime].some((time) => {
      return isWithin(Number(time ?? 0), after, lookedAt + MAX_SKEW_MILLISECONDS);
    });
  }

  async *makeDirectories(
    client: TransferClient,
    nodes: readonly TreeNode[],
  ): Outcomes<TreeNode, DirectoryOutcome> {
    // A body of bytes can be sent again if the server has closed the connection meanwhile.
    const body = formatBundle(nodes.map(({ path }) => ({ path, kind: "directory" })));
    const uri = `${this.#settings.uri}?bundle=put`;
    const records = requestBundle(client, uri, body, PUT_ANSWER, "put", nodes);
    for await (const { record: { status }, item: node } of records) {
      if (status === 201 || status === 204) {
        this.#refusal = null;
        yield [node, { error: null, isNew: status === 201 }];
        continue;
      }
      const uri = this.#uriOf(node, true);
      yield [node, { error: statusError("PUT", uri, { status }, "make") }];
    }
  }

  async remove(client: TransferClient, node: TreeNode): Promise<void> {
    try {
      const isFile = node.kind === "file";
      const seen = isFile ? { "if-file-stamp": stampOf(node.size, node.modified) } : {};
      await requestChange(client, "DELETE", this.#uriOf(node, !isFile), seen);
    } catch (error) {
      // Another program may have removed the entry already.
      if (!hasStatus(error, 404)) throw error;
    }
  }
}

/** Whether a file has the size and the time of another one. */
function isLike(one: Deno.FileInfo, other: Deno.FileInfo): boolean {
  return one.size === other.size && Number(one.mtime) === Number(other.mtime);
}
