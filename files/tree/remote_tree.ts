/** A directory of a server, over one connection, as the source or the target of a copied tree. */

import { pause } from "../../internal/pause.ts";
import { quoteName } from "../../internal/quote.ts";
import {
  type BodyOut,
  type Chunk,
  ChunkedBodyIter,
  type HeadersToSend,
  type Response,
} from "../../base.ts";
import { StatusError } from "../../client.ts";
import {
  BUNDLE_PIECE_BYTES,
  BundleBuffer,
  DIGEST_RESPONSE,
  formatBundle,
  GET_RESPONSE,
  PUT_RESPONSE,
  type PutFile,
  type PutResponseRecord,
  type RefusedFile,
} from "../wire/bundle.ts";
import { formatStamp, makeConditionHeader, parseStamp } from "../wire/conditions.ts";
import { formatReprDigest, hashContent } from "../wire/digest.ts";
import type { DirectoryEntry } from "../wire/entries.ts";
import { fileUri } from "../wire/file_name.ts";
import { isOtherFile, SETTLED_MILLISECONDS } from "../disk/file_pieces.ts";
import {
  computeCopiedMode,
  findUnsetModes,
  formatMode,
  makeModeHeader,
  parseMode,
  parseUnsetHeader,
  type UnsetProperty,
  WANT_MODE_MASK_HEADER,
} from "../wire/metadata.ts";
import type { TransferResult, TransferSettings } from "../options.ts";
import { makeReasonHeader } from "../wire/refusal_reason.ts";
import type { Basis } from "../wire/reuse.ts";
import type { TransferClient } from "../transfer/client.ts";
import { requestChange, requestDeletion } from "../transfer/remote_changes.ts";
import { requestDigest } from "../transfer/remote_digest.ts";
import { FileUpload } from "../transfer/upload.ts";
import { TransferError } from "../errors.ts";
import {
  changedWhileCopiedError,
  hasStatus,
  isFatal,
  isTransferOrStatusError,
  isUnanswered,
  remoteChangedError,
  responseError,
} from "../transfer_error.ts";
import { MAX_BATCH_FILES, requestBundle, requestFiles } from "./bundle_requests.ts";
import type { TreeSettings } from "./options.ts";
import { type CopyTask, hasOtherMode, listedFileOf, needsTime, targetPathOf } from "./plan.ts";
import { hasList, readRemoteDirectory, readRemoteTree } from "./remote_list.ts";
import {
  ABSENT_DIGEST,
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
import { formatUri, quotePath, type TreeNode } from "./tree.ts";
import { differsAtTargetError } from "./tree_errors.ts";

/** Reports whether the server lists a directory above the missing directory of this URI. */
async function isListedAbove(client: TransferClient, uri: string): Promise<boolean> {
  for (let above = uri; above !== "/";) {
    above = above.slice(0, above.lastIndexOf("/", above.length - 2) + 1);
    if (await hasList(client, above)) return true;
  }
  return false;
}

/** The state that all connections of an attempt share. */
export class RemoteState {
  /** The properties of the target's server from its first list; `null` without such a list. */
  server: ListingServer | null = null;
  /** The permission bits that a new file can get; `null` if the server accepts no bits. */
  modeMask: number | null = null;
  /** Whether the server's disk refuses every change of permission bits. */
  hasFixedModes = false;
  /**
   * The server's refusal to create the target directory; `null` without a refusal, and after the
   * server has accepted an entry below the directory.
   */
  directoryRefusal: StatusError | null = null;

  get isAddOnly(): boolean {
    return this.server?.isAddOnly ?? false;
  }
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
  #pieceBytes = MIN_PIECE_BYTES;

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
    // Don't list a target of moved files, which grows with each call. Look up each file instead.
    if (move) return null;
    try {
      return await this.#listTarget();
    } catch (error) {
      if (!hasStatus(error, 404)) throw error;
      // A server without lists responds in the same way, and can't list the copied entries later.
      if (this.#settings.delete && !await isListedAbove(this.#client, uri)) throw error;
      return null;
    } finally {
      this.#noteModes();
    }
  }

  #noteModes(): void {
    this.#state.modeMask = this.#client.serverModeMask;
    this.#state.hasFixedModes = this.#client.hasFixedModes;
  }

  async #listTarget(): Promise<ListedTree> {
    const { uri, delete: shouldDelete, modes, dryRun } = this.#settings;
    const extraHeaders = modes && !dryRun ? WANT_MODE_MASK_HEADER : {};
    const listedTree = await readRemoteTree(this.#client, uri, false, modes, extraHeaders);
    this.#state.server = listedTree.server;
    if (shouldDelete && this.#state.isAddOnly) throw deletionRefusedError(uri);
    return listedTree;
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

  async lookUpEntry({ name, path }: TreeNode): Promise<DirectoryEntry | null> {
    const response = await this.#client.request("HEAD", this.#uriOf(path), {});
    await response.discard();
    if (response.status === 404) return null;
    const stamp = parseStamp(response.headers["file-stamp"]);
    if (stamp === null) return { name, kind: "other", size: 0, modified: new Date(0) };
    return { name, kind: "file", size: stamp.size, modified: new Date(stamp.modified) };
  }

  #uriOf(path: readonly string[], isDirectory = false): string {
    return formatUri(this.#settings.uri, path, isDirectory);
  }

  async findDigests(nodes: readonly TreeNode[], isBundled: boolean): Promise<(string | null)[]> {
    if (!isBundled) return await Promise.all(nodes.map((node) => this.#findDigest(node)));
    const uri = `${this.#settings.uri}?bundle=digest`;
    const digests: (string | null)[] = [];
    for (const batch of makeBatches(nodes)) {
      const records = requestFiles(this.#client, uri, DIGEST_RESPONSE, batch, ({ path }) => path);
      for await (const { record } of records) {
        const isFound = record.status === 200;
        digests.push(isFound ? record.sha256 : record.status === 404 ? ABSENT_DIGEST : null);
      }
    }
    return digests;
  }

  async #findDigest({ path }: TreeNode): Promise<string | null> {
    try {
      return (await requestDigest(this.#client, this.#uriOf(path))).sha256;
    } catch (error) {
      if (!isTransferOrStatusError(error) || isFatal(error) || !this.#client.isUsable) throw error;
      return null;
    }
  }

  // Methods of a source.

  async *readSmallFiles(
    tasks: readonly CopyTask[],
  ): Outcomes<CopyTask, SmallContent | FileOutcome> {
    const uri = `${this.#settings.uri}?bundle=get`;
    // A server that supports permission bits has sent them in its list.
    const hasModes = tasks.some(({ node }) => node.mode !== null);
    const pathOf = ({ node }: CopyTask) => node.path;
    const records = requestFiles(this.#client, uri, GET_RESPONSE, tasks, pathOf, hasModes);
    for await (const { record, content, item: task } of records) {
      if (record.status !== 200) {
        yield [task, this.#makeGetOutcome(task, record)];
      } else if (hashContent(content) !== record.sha256) {
        const text = `${quotePath(targetPathOf(task))}: the received bytes have another SHA-256`;
        yield [task, { kind: "retry", error: new TransferError("DIGEST_MISMATCH", text) }];
      } else {
        const { modified, sha256 } = record;
        const mode = this.#settings.modes ? this.#client.maskMode(parseMode(record.mode)) : null;
        yield [task, { bytes: content, modified, mode, sha256 }];
      }
    }
  }

  #makeGetOutcome({ node: { path } }: CopyTask, record: RefusedFile): FileOutcome {
    const { status } = record;
    if (status === 413) return { kind: "retry-single" };
    if (status === 409) return { kind: "retry", error: changedWhileCopiedError(quotePath(path)) };
    const error = responseError("GET", this.#uriOf(path), statusOfRecord(record));
    return { kind: status === 503 ? "retry" : "failed", error };
  }

  async open<T>({ path }: TreeNode, useContent: (content: RemoteFile) => Promise<T>): Promise<T> {
    return await useContent({ client: this.#client, uri: this.#uriOf(path) });
  }

  // Methods of a target.

  async prepareDirectory(isMissing: boolean): Promise<boolean> {
    if (!isMissing) return false;
    const { delete: shouldDelete, modes, move, uri } = this.#settings;
    const headers = modes ? WANT_MODE_MASK_HEADER : {};
    let isPresent = true;
    try {
      const { status } = await requestChange(this.#client, "PUT", uri, headers, () => {});
      isPresent = status !== 201;
    } catch (error) {
      // Another app of the server may allow this client to write only files.
      if (!(error instanceof StatusError) || error.status !== 403) throw error;
      this.#state.directoryRefusal = error;
    }
    this.#noteModes();
    if (move || !isPresent && !shouldDelete) return false;
    try {
      // Another call may have created the target since the list. Its entries are not compared.
      await this.#listTarget();
      return false;
    } catch (error) {
      // With `delete`, a target that can't be listed is an error, because its superfluous entries
      // could not be deleted. A directory that was just created has no entries.
      if (!hasStatus(error, 404)) throw error;
      if (isPresent && shouldDelete) throw this.#state.directoryRefusal ?? error;
      return isPresent;
    }
  }

  async *writeSmallFiles(
    tasks: readonly CopyTask[],
    source: TreeSource<LocalFile>,
  ): Outcomes<CopyTask, FileOutcome> {
    const sentFiles: SentFile[] = [];
    const unsentOutcomes: [CopyTask, FileOutcome][] = [];
    const body = new ChunkedBodyIter(
      this.#makeChunks(source.readSmallFiles(tasks), sentFiles, unsentOutcomes),
      { sequential: true },
    );
    let failure: { readonly error: unknown } | null = null;
    let answers = 0;
    try {
      for await (const { record, item } of this.#putBundle(body, sentFiles)) {
        answers++;
        yield [item.task, this.#makePutOutcome(item, record)];
      }
    } catch (error) {
      failure = { error };
      const mayBeStored = isUnanswered(error) || this.#settings.signal.aborted;
      const unansweredFiles = mayBeStored ? sentFiles.slice(answers) : [];
      for (const { task } of unansweredFiles) yield [task, { kind: "unanswered" }];
    }
    yield* unsentOutcomes;
    if (failure !== null) throw failure.error;
  }

  async *#makeChunks(
    files: Outcomes<CopyTask, SmallContent | FileOutcome>,
    sentFiles: SentFile[],
    unsentOutcomes: [CopyTask, FileOutcome][],
  ): AsyncGenerator<Chunk, void, void> {
    const buffer = new BundleBuffer();
    let startedAt = performance.now();
    for await (const [task, content] of files) {
      if ("kind" in content) {
        unsentOutcomes.push([task, content]);
        continue;
      }
      const { bytes, modified, mode, sha256 } = content;
      const size = bytes.length;
      const path = targetPathOf(task);
      const modeField = this.#state.modeMask === null || mode === null
        ? {}
        : { mode: formatMode(mode) };
      buffer.add({ path, size, modified, sha256, ...makeCondition(task), ...modeField }, bytes);
      sentFiles.push({ task, bytes: size, sha256 });
      const isSlowToRead = performance.now() - startedAt > SLOW_PIECE_MILLISECONDS;
      if (buffer.length < this.#pieceBytes && !isSlowToRead) continue;
      startedAt = performance.now();
      yield [null, buffer.take(false)];
      this.#client.onData();
      const isSlowToSend = performance.now() - startedAt > SLOW_PIECE_MILLISECONDS;
      this.#pieceBytes = isSlowToSend
        ? MIN_PIECE_BYTES
        : Math.min(2 * this.#pieceBytes, BUNDLE_PIECE_BYTES);
      startedAt = performance.now();
    }
    yield [null, buffer.take(true)];
    yield [null, new Uint8Array(0)];
  }

  #putBundle<T>(
    body: BodyOut,
    items: readonly T[],
  ): ReturnType<typeof requestBundle<PutResponseRecord, T>> {
    const uri = `${this.#settings.uri}?bundle=put`;
    return requestBundle(this.#client, uri, body, PUT_RESPONSE, "put", items);
  }

  #makePutOutcome(
    { task: { node }, bytes, sha256 }: SentFile,
    record: PutResponseRecord,
  ): FileOutcome {
    const { status } = record;
    if (status === 201 || status === 204) {
      this.#state.directoryRefusal = null;
      return { kind: "copied", bytes, sha256, unset: record.unset ?? [] };
    }
    if (status === 412) return { kind: "conflict", sha256 };
    const error = responseError("PUT", this.#uriOf(node.path), statusOfRecord(record));
    if (status === 403 && this.#state.directoryRefusal !== null) throw this.#state.directoryRefusal;
    return { kind: status === 400 || status === 503 ? "retry" : "failed", error };
  }

  async writeFile(
    task: CopyTask,
    source: TreeSource<LocalFile>,
    settings: TransferSettings,
    basis: TreeNode | null,
  ): Promise<TransferResult> {
    return await source.open(
      task.node,
      (content) => this.#upload(task, content, settings, basis),
    );
  }

  async #upload(
    task: CopyTask,
    { path, file }: LocalFile,
    settings: TransferSettings,
    basis: TreeNode | null,
  ): Promise<TransferResult> {
    const { node, condition } = task;
    const { move, replace, signal } = this.#settings;
    const uri = this.#uriOf(targetPathOf(task));
    const headers: HeadersToSend = condition === "new" ? { "if-none-match": "*" } : {};
    // With `move`, an identical file at the target may be the source file itself: write it again.
    let isRewritten = move;
    if (condition === "same") {
      const { etag, stamp, sha256 } = await this.#requestTaggedDigest(uri);
      // With `replace: false`, a stamp alone is not enough: it can't show that the content has
      // changed.
      const isKnown = etag !== null || stamp !== null && replace;
      if (!isKnown || sha256 !== await file.hash(signal)) {
        throw differsAtTargetError(node, this.#state.isAddOnly);
      }
      Object.assign(headers, stamp === null ? { "if-match": etag } : makeConditionHeader(stamp));
      isRewritten &&= etag === null || !isOtherFile(etag, path);
    }
    const listedFile = listedFileOf(task);
    const replaceableStamp = listedFile === null
      ? undefined
      : formatStamp(listedFile.size, listedFile.modified);
    // The list of the target shows the file to reuse. Without a list, the upload requests it.
    const basisOption = move ? {} : { basis: basis && this.#makeBasis(basis) };
    // The server checks the other conditions, so the upload may replace the file.
    const mayReplace = condition === "any" ? replace : true;
    const uploadSettings = {
      ...settings,
      replace: mayReplace,
      isRewritten,
      replaceableStamp,
      ...basisOption,
    };
    try {
      return await new FileUpload(this.#client, uri, file, uploadSettings, headers).run();
    } catch (error) {
      // Without a list, only this response shows that the server only adds files.
      if (error instanceof TransferError && error.code === "ONLY_ADDS") {
        this.#state.server = { rootPath: null, ...this.#state.server, isAddOnly: true };
      }
      throw error;
    }
  }

  /**
   * With `move`, only the tag shows that the file is not the source file itself. A file that was
   * just written has no tag for some seconds, so a call that replaces no files repeats the request
   * after this time.
   */
  async #requestTaggedDigest(uri: string): ReturnType<typeof requestDigest> {
    const version = await requestDigest(this.#client, uri);
    const { move, replace, signal } = this.#settings;
    if (version.etag !== null || !move || replace && !this.#state.isAddOnly) return version;
    await pause(SETTLED_MILLISECONDS, signal);
    return await requestDigest(this.#client, uri);
  }

  #makeBasis({ path, size }: TreeNode): Basis {
    const rootPath = this.#state.server!.rootPath! + fileUri(...path).slice(1);
    return { uri: this.#uriOf(path), path: rootPath, length: size };
  }

  async setMetadata(task: CopyTask): Promise<readonly UnsetProperty[]> {
    const { node, target } = task;
    const { modeMask, hasFixedModes } = this.#state;
    const copiedMode = hasOtherMode(task, this.#settings)
      ? computeCopiedMode(node.mode, modeMask)
      : null;
    const isModeNeeded = copiedMode !== null && copiedMode !== target!.mode;
    const isTimeNeeded = needsTime(task, this.#settings);
    // Don't send a request for each file of a disk that has no permission bits.
    if (!isTimeNeeded && (!isModeNeeded || hasFixedModes)) {
      return isModeNeeded ? findUnsetModes(target!.mode!, copiedMode) : [];
    }
    const { size, modified } = target!;
    const uri = this.#uriOf(targetPathOf(task));
    try {
      const headers = {
        ...makeModeHeader(isModeNeeded ? node.mode : null),
        ...(isTimeNeeded ? await this.#makeTimeHeaders(uri, task) : {}),
        "upload-length": `${size}`,
        "upload-offset": `${size}`,
      };
      const response = await this.#changeMetadata(uri, headers, [
        formatStamp(size, modified),
        formatStamp(size, isTimeNeeded ? node.modified : modified),
      ]);
      return parseUnsetHeader(response.headers);
    } catch (error) {
      // The file was removed since the list.
      throw hasStatus(error, 404) ? remoteChangedError(uri, { status: 404 }) : error;
    }
  }

  /**
   * If a response is lost, the file may have its stamp from before or after the change.
   *
   * @param stamps The stamp before the change, and after it.
   */
  async #changeMetadata(
    uri: string,
    headers: HeadersToSend,
    [stamp, changedStamp]: readonly [string, string],
  ): Promise<Response> {
    let isRepeated = false;
    const request = (stamp: string) => {
      const requestHeaders = { ...headers, "if-file-stamp": stamp };
      const onRepeat = () => void (isRepeated = true);
      return requestChange(this.#client, "PUT", uri, requestHeaders, onRepeat);
    };
    try {
      return await request(stamp);
    } catch (error) {
      const isChanged = error instanceof TransferError && error.code === "TARGET_CHANGED";
      if (!isRepeated || !isChanged) throw error;
      return await request(changedStamp);
    }
  }

  async #makeTimeHeaders(uri: string, { node, sha256 }: CopyTask): Promise<HeadersToSend> {
    const digest = sha256 ?? (await requestDigest(this.#client, uri)).sha256;
    const time = new Date(node.modified).toISOString();
    return { "repr-digest": formatReprDigest(digest), "upload-modified": time };
  }

  async *mkdir(nodes: readonly TreeNode[]): Outcomes<TreeNode, DirectoryOutcome> {
    for (const batch of makeBatches(nodes)) {
      // Use bytes as the body, so that the client can resend it if an idle connection was closed.
      const body = formatBundle(batch.map(({ path }) => ({ path, kind: "directory" })));
      for await (const { record, item: node } of this.#putBundle(body, batch)) {
        const { status } = record;
        if (status === 201 || status === 204) {
          this.#state.directoryRefusal = null;
          yield [node, { error: null, isNew: status === 201 }];
          continue;
        }
        const uri = this.#uriOf(node.path, true);
        yield [node, { error: responseError("PUT", uri, statusOfRecord(record), "make") }];
      }
    }
  }

  async remove(node: TreeNode): Promise<void> {
    const isFile = node.kind === "file";
    const uri = this.#uriOf(node.path, !isFile);
    const headers = isFile ? { "if-file-stamp": formatStamp(node.size, node.modified) } : {};
    try {
      await requestDeletion(this.#client, uri, headers);
    } catch (error) {
      // Another program may have removed the entry already.
      if (hasStatus(error, 404)) return;
      // With 409, another program has created an entry in the directory since the list.
      if (!hasStatus(error, 409)) throw error;
      throw new TransferError("TARGET_CHANGED", (error as StatusError).message, { cause: error });
    }
  }
}

function statusOfRecord({ status, reason }: PutResponseRecord) {
  return { status, headers: makeReasonHeader(reason) };
}

/** The number of bytes of a bundle's first piece, and of each piece after a slow piece. */
const MIN_PIECE_BYTES = 16384;
/** If sending a piece takes longer, the next piece is small, so that progress is reported soon. */
const SLOW_PIECE_MILLISECONDS = 500;

function* makeBatches(nodes: readonly TreeNode[]): Generator<TreeNode[], void, void> {
  for (let start = 0; start < nodes.length; start += MAX_BATCH_FILES) {
    yield nodes.slice(start, start + MAX_BATCH_FILES);
  }
}

function makeCondition(task: CopyTask): Pick<PutFile, "if-none-match" | "seen"> {
  const listedFile = listedFileOf(task);
  return listedFile === null
    ? { "if-none-match": "*" }
    : { seen: [listedFile.size, listedFile.modified] };
}

function deletionRefusedError(uri: string): TransferError {
  const problem = "the server only adds files";
  const message = `DELETE ${quoteName(uri)}: ${problem}; call without \`delete\``;
  return new TransferError("ONLY_ADDS", message, { problem });
}
