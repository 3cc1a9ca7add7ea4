/** A directory of a server, over one connection, as the source or the target of a tree. */

import { type Chunk, ChunkedBodyIter, type HeaderDict } from "../../base.ts";
import { EMPTY_BYTES } from "../../internal/bytes.ts";
import { pause } from "../../internal/pause.ts";
import { StatusError } from "../../client.ts";
import {
  BundleBuffer,
  DIGEST_ANSWER,
  formatBundle,
  GET_ANSWER,
  type GetStatus,
  PUT_ANSWER,
  type PutFile,
} from "../bundle.ts";
import { formatStamp, makeConditionHeader, parseStamp } from "../conditions.ts";
import { hashContent } from "../digest.ts";
import type { DirectoryEntry } from "../entries.ts";
import { fileUri } from "../file_name.ts";
import { isOtherFile, SETTLED_MILLISECONDS } from "../file_pieces.ts";
import {
  computeCopiedMode,
  formatMode,
  makeModeHeader,
  parseMode,
  WANT_MODE_MASK_HEADER,
} from "../modes.ts";
import type { TransferResult, TransferSettings } from "../options.ts";
import type { Basis } from "../reuse.ts";
import type { TransferClient } from "../transfer/client.ts";
import { requestChange } from "../transfer/remote_changes.ts";
import { requestDigest } from "../transfer/remote_digest.ts";
import { completeUpload, FileUpload } from "../transfer/upload.ts";
import {
  changedWhileCopiedError,
  deletionRefusedError,
  hasStatus,
  isFatal,
  isTransferOrStatusError,
  responseError,
  TransferError,
} from "../transfer_error.ts";
import { BATCH_FILES, requestBundle, requestFiles } from "./bundle_requests.ts";
import type { TreeSettings } from "./options.ts";
import { type CopyTask, listedFileOf, targetPath } from "./plan.ts";
import { readRemoteDirectory, readRemoteTree } from "./remote_list.ts";
import {
  ABSENT,
  type DirectoryOutcome,
  type FileOutcome,
  type ListedTree,
  type ListingServer,
  type LocalFile,
  type Outcomes,
  type RemoteFile,
  type SmallContent,
  type TreeSource,
  type TreeTarget,
} from "./sides.ts";
import { quotePath, type TreeNode, uriOfPath } from "./tree.ts";
import { differsAtTargetError } from "./tree_errors.ts";

/** What the connections to one server share. */
export class RemoteState {
  /** What the first list says of the server; `null` if it has no lists. */
  server: ListingServer | null = null;
  /** Which permission bits a new file gets at the target; `null` if it takes none. */
  modeMask: number | null = null;
  /** The refusal of the directory itself, until something was accepted below it. */
  refusal: StatusError | null = null;
  /** Complete files that get their names after a deletion, with their permission bits. */
  readonly deferred = new Map<CopyTask, { result: TransferResult; mode: number | null }>();
}

interface SentFile {
  readonly task: CopyTask;
  readonly bytes: number;
  readonly sha256: string;
}

export class RemoteTree implements TreeSource<RemoteFile>, TreeTarget<LocalFile> {
  readonly #client: TransferClient;
  readonly #settings: TreeSettings;
  readonly #isSource: boolean;
  readonly #state: RemoteState;
  readonly outbox = null;

  constructor(
    client: TransferClient,
    settings: TreeSettings,
    isSource: boolean,
    state: RemoteState,
  ) {
    this.#client = client;
    this.#settings = settings;
    this.#isSource = isSource;
    this.#state = state;
  }

  async list(): Promise<ListedTree | null> {
    const { uri, modes, move } = this.#settings;
    if (this.#isSource) return await readRemoteTree(this.#client, uri, true, modes);
    // The list of a target of moved files would grow without end. What the target has is found out
    // for each file.
    if (move) return null;
    try {
      return await this.#listTarget();
    } catch (error) {
      if (!hasStatus(error, 404)) throw error;
      return null;
    } finally {
      this.#state.modeMask = this.#client.modeMask;
    }
  }

  /** Lists the target; throws if its server deletes nothing, and `delete` is set. */
  async #listTarget(): Promise<ListedTree> {
    const { uri, delete: deletes, modes, dryRun } = this.#settings;
    const more = modes && !dryRun ? WANT_MODE_MASK_HEADER : {};
    const listed = await readRemoteTree(this.#client, uri, false, modes, more);
    this.#state.server = listed.server;
    if (deletes && this.#refusesDelete) throw deletionRefusedError(uri);
    return listed;
  }

  get onlyAdds(): boolean {
    return this.#settings.replace && this.#refusesDelete;
  }

  get #refusesDelete(): boolean {
    return this.#state.server?.refusesDelete ?? false;
  }

  async listDirectory(path: readonly string[]): Promise<readonly DirectoryEntry[] | null> {
    try {
      const { entries, server } = await readRemoteDirectory(this.#client, this.#uriOf(path, true));
      this.#state.server ??= server;
      return entries;
    } catch (error) {
      if (hasStatus(error, 404)) return null;
      throw error;
    }
  }

  async stat({ name, path }: TreeNode): Promise<DirectoryEntry | null> {
    const response = await this.#client.request("HEAD", this.#uriOf(path), {});
    await response.discard();
    if (response.status === 404) return null;
    const stamp = parseStamp(response.headers["file-stamp"]);
    if (stamp === null) return { name, kind: "other", size: 0, modified: new Date(0) };
    return { name, kind: "file", size: stamp.size, modified: new Date(stamp.modified) };
  }

  /** The URI of a path in the tree, with a final `/` only for a directory. */
  #uriOf(path: readonly string[], isDirectory = false): string {
    return uriOfPath(this.#settings.uri, path, isDirectory);
  }

  async digests(nodes: readonly TreeNode[]): Promise<(string | null)[]> {
    const uri = `${this.#settings.uri}?bundle=digest`;
    const digests: (string | null)[] = [];
    for (const batch of batchesOf(nodes)) {
      const records = requestFiles(this.#client, uri, DIGEST_ANSWER, batch, ({ path }) => path);
      for await (const { record } of records) {
        const isFound = record.status === 200;
        digests.push(isFound ? record.sha256 : record.status === 404 ? ABSENT : null);
      }
    }
    return digests;
  }

  async digest({ path }: TreeNode): Promise<string | null> {
    try {
      return (await requestDigest(this.#client, this.#uriOf(path))).sha256;
    } catch (error) {
      if (!isTransferOrStatusError(error) || isFatal(error) || !this.#client.isUsable) throw error;
      return null;
    }
  }

  finish(): Promise<void> {
    // A server syncs each change before it answers.
    return Promise.resolve();
  }

  // As a source.

  async *get(tasks: readonly CopyTask[]): Outcomes<CopyTask, SmallContent | FileOutcome> {
    const uri = `${this.#settings.uri}?bundle=get`;
    // Only a list of a server that knows of permission bits has them.
    const hasModes = tasks.some(({ node }) => node.mode !== null);
    const pathOf = ({ node }: CopyTask) => node.path;
    const records = requestFiles(this.#client, uri, GET_ANSWER, tasks, pathOf, hasModes);
    for await (const { record, content, item: task } of records) {
      if (record.status !== 200) {
        yield [task, this.#outcomeOfGet(task, record.status)];
      } else if (hashContent(content) !== record.sha256) {
        const text = `${quotePath(targetPath(task))}: the received bytes have another SHA-256`;
        yield [task, { kind: "retry", error: new TransferError("DIGEST_MISMATCH", text) }];
      } else {
        const { modified, sha256 } = record;
        const mode = this.#settings.modes ? this.#client.maskMode(parseMode(record.mode)) : null;
        yield [task, { bytes: content, modified, mode, sha256 }];
      }
    }
  }

  #outcomeOfGet({ node: { path } }: CopyTask, status: GetStatus): FileOutcome {
    if (status === 413) return { kind: "retry-single" };
    if (status === 409) return { kind: "retry", error: changedWhileCopiedError(quotePath(path)) };
    const error = responseError("GET", this.#uriOf(path), { status });
    return { kind: status === 503 ? "retry" : "failed", error };
  }

  async open<T>({ path }: TreeNode, use: (content: RemoteFile) => Promise<T>): Promise<T> {
    return await use({ client: this.#client, uri: this.#uriOf(path) });
  }

  // As a target.

  async begin(isMissing: boolean): Promise<boolean> {
    if (!isMissing) return false;
    const { delete: deletes, modes, move, uri } = this.#settings;
    let exists = true;
    try {
      exists =
        await requestChange(this.#client, "PUT", uri, modes ? WANT_MODE_MASK_HEADER : {}) !== 201;
    } catch (error) {
      // An app in front may let this client write files alone.
      if (!(error instanceof StatusError) || error.status !== 403) throw error;
      this.#state.refusal = error;
    }
    this.#state.modeMask = this.#client.modeMask;
    if (move || !exists && !deletes) return false;
    try {
      // Another call may have made the target since the list: all in it is new.
      await this.#listTarget();
      return false;
    } catch (error) {
      // With `delete`, a target that can't be listed is an error: its entries would stay unnoticed.
      // A directory that was just made has nothing to delete.
      if (!hasStatus(error, 404) || exists && deletes) throw error;
      return exists;
    }
  }

  async *put(
    tasks: readonly CopyTask[],
    source: TreeSource<LocalFile>,
  ): Outcomes<CopyTask, FileOutcome> {
    const sent: SentFile[] = [];
    const unsent: [CopyTask, FileOutcome][] = [];
    const body = new ChunkedBodyIter(this.#chunksOf(source.get(tasks), sent, unsent));
    const uri = `${this.#settings.uri}?bundle=put`;
    let failure: { readonly error: unknown } | null = null;
    try {
      const records = requestBundle(this.#client, uri, body, PUT_ANSWER, "put", sent);
      for await (const { record: { status }, item } of records) {
        yield [item.task, this.#outcomeOfPut(item, status)];
      }
    } catch (error) {
      failure = { error };
    }
    yield* unsent;
    if (failure !== null) throw failure.error;
  }

  async *#chunksOf(
    files: Outcomes<CopyTask, SmallContent | FileOutcome>,
    sent: SentFile[],
    unsent: [CopyTask, FileOutcome][],
  ): AsyncGenerator<Chunk, void, void> {
    const buffer = new BundleBuffer();
    for await (const [task, content] of files) {
      if ("kind" in content) {
        unsent.push([task, content]);
        continue;
      }
      const { bytes, modified, mode, sha256 } = content;
      const size = bytes.length;
      const path = targetPath(task);
      const bits = this.#state.modeMask === null || mode === null ? {} : { mode: formatMode(mode) };
      buffer.add({ path, size, modified, sha256, ...conditionOf(task), ...bits }, bytes);
      sent.push({ task, bytes: size, sha256 });
      if (buffer.isFull) yield [null, buffer.take(false)];
    }
    yield [null, buffer.take(true)];
    yield [null, EMPTY_BYTES];
  }

  #outcomeOfPut({ task: { node }, bytes, sha256 }: SentFile, status: number): FileOutcome {
    if (status === 201 || status === 204) {
      this.#state.refusal = null;
      return { kind: "copied", bytes, sha256 };
    }
    if (status === 412) return { kind: "conflict", sha256 };
    const error = responseError("PUT", this.#uriOf(node.path), { status });
    if (status === 507) throw error;
    if (status === 403 && this.#state.refusal !== null) throw this.#state.refusal;
    return { kind: status === 400 || status === 503 ? "retry" : "failed", error };
  }

  async putSingle(
    task: CopyTask,
    source: TreeSource<LocalFile>,
    settings: TransferSettings,
    basis: TreeNode | null,
  ): Promise<TransferResult> {
    return await source.open(task.node, async (content) => {
      if (task.group === null) return await this.#upload(task, content, settings, basis);
      const { file } = content;
      const upload = new FileUpload(this.#client, this.#uriOf(task.node.path), file, settings);
      const result = await upload.sendPart();
      // The file may have changed since the list.
      this.#state.deferred.set(task, { result, mode: settings.modes ? file.mode : null });
      return result;
    });
  }

  async #upload(
    task: CopyTask,
    { path, file }: LocalFile,
    settings: TransferSettings,
    basis: TreeNode | null,
  ): Promise<TransferResult> {
    const { node, condition } = task;
    const { move, replace, signal } = this.#settings;
    const uri = this.#uriOf(targetPath(task));
    const headers: HeaderDict = condition === "new" ? { "if-none-match": "*" } : {};
    // With `move`, an identical file at the target may be the source itself: write it once more.
    let isRewritten = move;
    if (condition === "same") {
      const { etag, stamp, sha256 } = await this.#requestDigestAgain(uri);
      // With `replace: false` any other content stays, even if its size and time are the same.
      const isKnown = etag !== null || stamp !== null && replace;
      if (!isKnown || sha256 !== await file.hash(signal)) throw differsAtTargetError(node, this);
      Object.assign(headers, stamp === null ? { "if-match": etag } : makeConditionHeader(stamp));
      isRewritten &&= etag === null || !isOtherFile(etag, path);
    }
    const listed = listedFileOf(task);
    const seen = listed === null ? undefined : formatStamp(listed.size, listed.modified);
    // The list of the target shows what may be reused; without it, the server is asked.
    const basisOption = move ? {} : { basis: basis && this.#basisOf(basis) };
    // The caller decides about a name that is taken, unless the upload itself looks it up.
    const mayReplace = condition !== "any" || replace;
    const all = { ...settings, replace: mayReplace, isRewritten, seen, ...basisOption };
    try {
      return await new FileUpload(this.#client, uri, file, all, headers).run();
    } catch (error) {
      // Without a list, only this response says that the server only adds files.
      if (error instanceof TransferError && error.code === "ONLY_ADDS") {
        this.#state.server = { rootPath: null, ...this.#state.server, refusesDelete: true };
      }
      throw error;
    }
  }

  /**
   * Requests the digest of a file of the target. With `move`, only its entity tag shows that it is
   * not the source itself. A file that was just written has no tag for some seconds, so the request
   * is made again then, if nothing is replaced.
   */
  async #requestDigestAgain(uri: string): ReturnType<typeof requestDigest> {
    const version = await requestDigest(this.#client, uri);
    const { move, replace, signal } = this.#settings;
    if (version.etag !== null || !move || replace && !this.#refusesDelete) return version;
    await pause(SETTLED_MILLISECONDS, signal);
    return await requestDigest(this.#client, uri);
  }

  #basisOf({ path, size }: TreeNode): Basis {
    const rootPath = this.#state.server!.rootPath! + fileUri(...path).slice(1);
    return { uri: this.#uriOf(path), path: rootPath, length: size };
  }

  async place(task: CopyTask): Promise<boolean> {
    const { path, modified } = task.node;
    const { result, mode } = this.#state.deferred.get(task)!;
    return await completeUpload(this.#client, this.#uriOf(path), result, new Date(modified), mode);
  }

  discard(): void {
    // The server removes old parts.
  }

  async setMode({ node, target }: CopyTask): Promise<void> {
    const { modeMask } = this.#state;
    if (modeMask === null || computeCopiedMode(node.mode!, modeMask) === target!.mode) return;
    const { size, modified } = target!;
    const headers = {
      ...makeModeHeader(node.mode),
      "upload-length": `${size}`,
      "upload-offset": `${size}`,
      "if-file-stamp": formatStamp(size, modified),
    };
    await requestChange(this.#client, "PUT", this.#uriOf(node.path), headers);
  }

  async *mkdir(nodes: readonly TreeNode[]): Outcomes<TreeNode, DirectoryOutcome> {
    const uri = `${this.#settings.uri}?bundle=put`;
    for (const batch of batchesOf(nodes)) {
      // A body of bytes can be sent again if the server closes an idle connection.
      const body = formatBundle(batch.map(({ path }) => ({ path, kind: "directory" })));
      const records = requestBundle(this.#client, uri, body, PUT_ANSWER, "put", batch);
      for await (const { record: { status }, item: node } of records) {
        if (status === 201 || status === 204) {
          this.#state.refusal = null;
          yield [node, { error: null, isNew: status === 201 }];
          continue;
        }
        const uri = this.#uriOf(node.path, true);
        yield [node, { error: responseError("PUT", uri, { status }, "make") }];
      }
    }
  }

  async remove(node: TreeNode): Promise<void> {
    const isFile = node.kind === "file";
    const listed = isFile ? { "if-file-stamp": formatStamp(node.size, node.modified) } : {};
    try {
      await requestChange(this.#client, "DELETE", this.#uriOf(node.path, !isFile), listed);
    } catch (error) {
      // Another program may have removed the entry already.
      if (hasStatus(error, 404)) return;
      // Something came into a directory that was listed without it.
      if (!hasStatus(error, 409)) throw error;
      throw new TransferError("TARGET_CHANGED", (error as StatusError).message, { cause: error });
    }
  }
}

/** Divides nodes for requests. */
function* batchesOf(nodes: readonly TreeNode[]): Generator<TreeNode[], void, void> {
  for (let start = 0; start < nodes.length; start += BATCH_FILES) {
    yield nodes.slice(start, start + BATCH_FILES);
  }
}

/** What the record of a small file says about the file that it may replace. */
function conditionOf(task: CopyTask): Pick<PutFile, "if-none-match" | "seen"> {
  const listed = listedFileOf(task);
  return listed === null ? { "if-none-match": "*" } : { seen: [listed.size, listed.modified] };
}
