/** Uploads trees to another device. */

import { closeSync } from "node:fs";
import { type Chunk, ChunkedBodyIter, type HeaderDict } from "../../base.ts";
import { EMPTY } from "../../internal/bytes.ts";
import { pause } from "../../internal/pause.ts";
import { quote } from "../../internal/quote.ts";
import { Turns } from "../../internal/disk/files.ts";
import { realPath } from "../../internal/disk/paths.ts";
import { ifPresent, isOverload, isRealFile } from "../../internal/disk/names.ts";
import { type Connector, type Requester, StatusError } from "../../client.ts";
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
import {
  type ListedTree,
  type ListingServer,
  readLocalTree,
  readRemoteEntries,
  readRemoteTree,
} from "./read_tree.ts";
import type { TransferResult, TransferSettings, TreeResult } from "../options.ts";
import { Refusal } from "../refusal.ts";
import { type Parent, Root } from "../root.ts";
import type { TransferClient } from "../transfer/client.ts";
import { requestChange } from "../transfer/remote_changes.ts";
import { askDigest } from "../transfer/remote_digest.ts";
import {
  changedWhileMoved,
  deletesNothing,
  hasStatus,
  responseError,
  TransferError,
} from "../transfer_error.ts";
import type { TreeNode } from "./tree.ts";
import type { TreeSettings, UploadTreeOptions } from "./options.ts";
import { type CopyTask, isNew, replacedBy, targetPath } from "./plan.ts";
import { type HasPath, requestBundle, uriOfNode } from "./requests.ts";
import type { DeferredPart, DirectoryOutcome, FileOutcome, Outcomes, TreeEnds } from "./ends.ts";
import { Outbox } from "./outbox.ts";
import { transferTree } from "./transfer.ts";
import { differsAtTargetError } from "./tree_errors.ts";
import { type SeenFile, SourceFile } from "../transfer/source_file.ts";
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
 * A file fails alone, as an event, if it can't be read, changes all the time, is larger than the
 * free space there, or has something in its way. The call copies all others, and rejects then,
 * unless `partial` is true. Symbolic links, special files and parts of interrupted transfers are
 * skipped, which is no failure; `dir` itself may be a link.
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
 * @throws {TransferError} if its list is not valid or was cut; `"INCOMPLETE"`, with the result, if
 * something could not be copied, deleted or removed.
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
  readonly copy: CopyTask;
  readonly bytes: number;
  readonly sha256: string;
  readonly seen: SeenFile;
  /** Whether the record says which file it may replace, or that it may replace none. */
  readonly hasCondition: boolean;
}

class Upload implements TreeEnds {
  readonly #settings: TreeSettings;
  readonly #turns = new Turns();
  #root: Root;
  outbox: Outbox | null = null;
  /** What the server has said of itself, in the first list; `null` if it has none. */
  #server: ListingServer | null = null;
  /** Which permission bits a new file gets at the target; `null` if it takes none. */
  #granted: number | null = null;
  /** The directory of the small file that was read last, until the turn is over. */
  #entered: Parent | null = null;
  /** The refusal of the root, until something was accepted below it. */
  #refusal: StatusError | null = null;

  constructor(settings: TreeSettings) {
    this.#settings = settings;
    this.#root = new Root(settings.dir);
  }

  async readSource(): Promise<ListedTree> {
    const { dir, move, signal } = this.#settings;
    const path = await ifPresent(realPath(dir));
    if (path === null) {
      throw new Deno.errors.NotFound(
        `dir: there is no directory ${quote(dir)}; is its disk mounted?`,
      );
    }
    this.#root = new Root(path);
    if (move) this.outbox = new Outbox(this.#settings, this.#root);
    return await readLocalTree(path, signal);
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
    this.#server = listed.server;
    if (!deletes || !this.#isKept) return listed;
    throw deletesNothing(uri);
  }

  get onlyAdds(): boolean {
    return this.#settings.replace && this.#isKept;
  }

  /** Whether what the target has stays as it is. */
  get #isKept(): boolean {
    return this.#server?.isKept ?? false;
  }

  findGranted(): number | null {
    return this.#isKept ? null : this.#granted;
  }

  async giveMode(client: TransferClient, { node, target }: CopyTask): Promise<void> {
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
    if (!isMissing) return false;
    const { modes, uri } = this.#settings;
    let isThere = true;
    try {
      isThere = await requestChange(client, "PUT", uri, modes ? WANT_MASK : {}) !== 201;
    } catch (error) {
      // An app in front may let this client write files alone.
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

  async list(
    client: TransferClient,
    path: readonly string[],
  ): Promise<readonly DirectoryEntry[] | null> {
    try {
      const { entries, server } = await readRemoteEntries(client, this.#uriOf({ path }, true));
      this.#server ??= server;
      return entries;
    } catch (error) {
      if (hasStatus(error, 404)) return null;
      throw error;
    }
  }

  async has(client: TransferClient, node: TreeNode): Promise<boolean> {
    const response = await client.request("HEAD", this.#uriOf(node), {});
    await response.discard();
    return response.status !== 404;
  }

  #uriOf(node: HasPath, isDirectory = false): string {
    return uriOfNode(this.#settings.uri, node, isDirectory);
  }

  pathOf(node: HasPath): string {
    return this.#root.pathOf(node.path);
  }

  async *copySmall(
    client: TransferClient,
    copies: readonly CopyTask[],
  ): Outcomes<CopyTask, FileOutcome> {
    const sent: SentFile[] = [];
    const unsent: [CopyTask, FileOutcome][] = [];
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
    await this.outbox?.closeUnwritten(copies.map(({ node }) => node));
    if (failure !== null) throw failure.error;
  }

  async *#chunksOf(
    copies: readonly CopyTask[],
    sent: SentFile[],
    unsent: [CopyTask, FileOutcome][],
  ): AsyncGenerator<Chunk, void, void> {
    const buffer = new BundleBuffer();
    const content = new Uint8Array(BUNDLED_BELOW_BYTES - 1);
    for (const copy of copies) {
      if (this.#turns.isOver) await this.#pause();
      this.#settings.signal.throwIfAborted();
      if (this.outbox?.isOpen(copy.node)) {
        this.#entered = null;
        await this.outbox.close(copy.node);
      }
      const read = this.#read(copy.node, content);
      if ("is" in read) {
        unsent.push([copy, read]);
        continue;
      }
      const { size, modified, mode, seen } = read;
      const bytes = content.subarray(0, size);
      const sha256 = sha256Of(bytes);
      const condition = this.#conditionOf(copy);
      const path = targetPath(copy);
      const bits = this.#granted === null || mode === null ? {} : { mode: formatMode(mode) };
      buffer.add({ path, size, modified, sha256, ...condition, ...bits }, bytes);
      const hasCondition = Object.keys(condition).length > 0;
      sent.push({ copy, bytes: size, sha256, seen, hasCondition });
      if (!buffer.isFull) continue;
      this.#entered = null;
      yield [null, buffer.take(false)];
    }
    this.#entered = null;
    yield [null, buffer.take(true)];
    yield [null, EMPTY];
  }

  /** What the record of a file says about the file that it may replace. */
  #conditionOf(copy: CopyTask): Pick<PutFile, "if-none-match" | "seen"> {
    if (isNew(copy) || !this.#settings.replace) return { "if-none-match": "*" };
    const there = replacedBy(copy);
    return there === null ? {} : { seen: [there.size, there.modified] };
  }

  /** Reads a small file, twice if the file changes meanwhile. */
  #read(
    node: TreeNode,
    content: Uint8Array,
  ): { size: number; modified: Date; mode: number | null; seen: SeenFile } | FileOutcome {
    const path = this.pathOf(node);
    try {
      this.outbox?.checkRemovable(node);
      for (let attempt = 0; attempt < 2; attempt++) {
        // Opening a FIFO would wait, and a link is not followed.
        const lookedAt = Date.now();
        const info = Deno.lstatSync(path);
        if (!info.isFile) return { is: "failed", error: this.#replaced(node) };
        if (info.size > content.length) return { is: "alone" };
        const read = openSmall(path, info, content);
        if (read === null) continue;
        const { state, file } = read;
        if (this.outbox === null) closeSync(file);
        else this.outbox.hold(node, () => closeSync(file));
        if (!this.#isFile(node)) return { is: "failed", error: this.#replaced(node) };
        const modified = new Date(Number(state.mtimeMs));
        const mode = this.#settings.modes ? bitsOf(state.mode) : null;
        return { size: Number(state.size), modified, mode, seen: { info, lookedAt } };
      }
      return { is: "again", error: changedWhileMoved(path) };
    } catch (error) {
      return { is: isOverload(error) ? "again" : "failed", error };
    }
  }

  /** Whether a path leads to a file without a link on the way. */
  #isFile(node: TreeNode): boolean {
    try {
      const names = node.parent!.path;
      this.#entered = this.#root.findParent(names, { known: this.#entered });
      return this.#entered.missing.length === 0 && Deno.lstatSync(this.pathOf(node)).isFile;
    } catch (error) {
      if (error instanceof Refusal) return false;
      throw error;
    }
  }

  async #pause(): Promise<void> {
    this.#entered = null;
    await this.#turns.next(this.#root.path);
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
      this.outbox?.written(node, seen);
      return { is: "copied", bytes, sha256 };
    }
    // A 412 to a request without a condition is a fault of the peer, which is not asked again.
    if (status === 412 && hasCondition) return { is: "taken", sha256 };
    const error = responseError("PUT", this.#uriOf(node), { status });
    if (status === 507) throw error;
    if (status === 403 && this.#refusal !== null) throw this.#refusal;
    return { is: status === 400 || status === 503 ? "again" : "failed", error };
  }

  async copyPart(
    client: TransferClient,
    { node }: CopyTask,
    settings: TransferSettings,
  ): Promise<DeferredPart> {
    await using source = await this.#open(node);
    const uri = this.#uriOf(node);
    const result = await new FileUpload(client, uri, source, settings).sendPart();
    // The file may be another one by now than the list has.
    const mode = settings.modes ? source.mode : null;
    const modified = new Date(node.modified);
    return {
      result,
      place: (client) => nameFile(client, uri, result, modified, mode),
      discard() {},
    };
  }

  async #open(node: TreeNode): Promise<SourceFile> {
    const path = this.pathOf(node);
    this.outbox?.checkRemovable(node);
    // It is opened in the same turn.
    if (!isRealFile(path)) throw this.#replaced(node);
    return await SourceFile.open(path);
  }

  async copySingle(
    client: TransferClient,
    copy: CopyTask,
    settings: TransferSettings,
    there: TreeNode | null,
  ): Promise<TransferResult> {
    const { node, replaces } = copy;
    await using opened = new AsyncDisposableStack();
    const source = opened.use(await this.#open(node));
    const { move, signal } = this.#settings;
    const uri = this.#uriOf({ path: targetPath(copy) });
    const headers: HeaderDict = isNew(copy) ? { "if-none-match": "*" } : {};
    let isRewritten = move;
    if (replaces === "same") {
      const { etag, stamp, sha256 } = await this.#lookAgain(client, uri);
      // With `replace: false` any other content stays, even if its size and time are the same.
      const isKnown = etag !== null || stamp !== null && this.#settings.replace;
      if (!isKnown || sha256 !== await source.hash(signal)) throw differsAtTargetError(node, this);
      Object.assign(headers, stamp === null ? { "if-match": etag } : conditionFor(stamp));
      isRewritten &&= etag === null || !isOtherFile(etag, this.pathOf(node));
    }
    // The caller decides about a name that is taken.
    const replace = replaces !== "target" || settings.replace;
    // With `move`, an identical file at the target may be this very file, so it is written anew.
    const replaced = replacedBy(copy);
    const seen = replaced === null ? undefined : stampOf(replaced.size, replaced.modified);
    // The list of the target says what may be reused. With `move` there is none.
    const known = move ? {} : { beginning: there && this.#beginningOf(there) };
    const all = { ...settings, replace, isRewritten, seen, ...known };
    const result = await new FileUpload(client, uri, source, all, headers).run();
    if (this.outbox !== null) {
      await this.outbox.close(node);
      const kept = opened.move();
      this.outbox.hold(node, () => kept.disposeAsync());
      this.outbox.written(node, source.seen);
    }
    return result;
  }

  /**
   * Asks for the digest of a file that is there by now. With `move`, only a tag shows that the file
   * there is not the very one here. A file that was just written has no tag for some seconds, so
   * where nothing is replaced the app is asked again then.
   */
  async #lookAgain(client: TransferClient, uri: string): ReturnType<typeof askDigest> {
    const there = await askDigest(client, uri);
    const { move, replace } = this.#settings;
    if (there.etag !== null || !move || replace && !this.#isKept) return there;
    await pause(SETTLED_MILLISECONDS, this.#settings.signal);
    return await askDigest(client, uri);
  }

  #beginningOf(node: TreeNode): Beginning {
    const path = this.#server!.place! + fileUri(...node.path).slice(1);
    return { uri: this.#uriOf(node), path, length: node.size };
  }

  async finish(): Promise<void> {
    await this.outbox?.finish();
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
      yield [node, { error: responseError("PUT", uri, { status }, "make") }];
    }
  }

  async remove(client: TransferClient, node: TreeNode): Promise<void> {
    try {
      const isFile = node.kind === "file";
      const seen = isFile ? { "if-file-stamp": stampOf(node.size, node.modified) } : {};
      await requestChange(client, "DELETE", this.#uriOf(node, !isFile), seen);
    } catch (error) {
      // Another program may have removed the entry already.
      if (hasStatus(error, 404)) return;
      // Something came into a directory that was listed without it.
      if (!hasStatus(error, 409)) throw error;
      throw new TransferError("TARGET_CHANGED", (error as StatusError).message, { cause: error });
    }
  }
}
