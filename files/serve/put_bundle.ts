import { type Chunk, ChunkedBodyIter } from "../../base.ts";
import type { Request, ResponseTuple } from "../../server.ts";
import { pause } from "../../internal/pause.ts";
import {
  BUNDLE_END,
  BUNDLE_TYPE,
  BundleParser,
  formatBundle,
  formatRecord,
  MAX_PROGRESS_RECORDS,
  MAX_RECORDS,
  PROGRESS_RECORD,
  PUT_REQUEST,
  type PutRecord,
  type PutResponseRecord,
  type PutStatus,
} from "../wire/bundle.ts";
import { formatStamp, stampOfStats } from "../wire/conditions.ts";
import { hashContent } from "../wire/digest.ts";
import { areFileNames } from "../wire/file_name.ts";
import { copyBeside } from "./copy_beside.ts";
import { checkTrust, type FileRequest, MAX_SILENCE_MILLISECONDS } from "./file_request.ts";
import { makeCreationModes, parseMode } from "../wire/metadata.ts";
import { Refusal, refusalOf } from "../refusal.ts";
import { findReason } from "../wire/refusal_reason.ts";
import type { Condition } from "../root.ts";
import {
  type SmallFile,
  type SmallFileOutcome,
  SmallFiles,
  type SmallFilesTarget,
} from "../small_files.ts";
import type { UnfinishedUploads } from "./unfinished_uploads.ts";

const encoder = new TextEncoder();

/** On a slow disk, the response begins before the last file is written, or even received. */
export async function putBundle(fileRequest: FileRequest): Promise<ResponseTuple> {
  const writer = new BundleWriter(fileRequest);
  const written = writeBundle(fileRequest.request, writer);
  const headers = { "content-type": BUNDLE_TYPE };
  while (!await settlesWithin(written, MAX_SILENCE_MILLISECONDS)) {
    // While the client sends, the response can still refuse the bundle.
    if (!writer.isWaitingForDisk) continue;
    return [
      200,
      "OK",
      headers,
      new ChunkedBodyIter(makeStatusChunks(fileRequest, writer, written)),
    ];
  }
  await written;
  return [200, "OK", headers, formatBundle(writer.takeRecords())];
}

async function writeBundle(request: Request, writer: BundleWriter): Promise<void> {
  await using smallFiles = new SmallFiles(writer.target);
  const parser = new BundleParser(PUT_REQUEST);
  try {
    for await (const piece of piecesOf(request)) {
      for (const { record, content } of parser.push(piece)) {
        const file = writer.checkRecord(record, content);
        if (file === null) continue;
        writer.isWaitingForDisk = true;
        await smallFiles.add(file, content);
        writer.isWaitingForDisk = false;
        writer.recordOutcomes(smallFiles.takeOutcomes());
      }
    }
  } finally {
    writer.isWaitingForDisk = true;
    try {
      // Keep completely received files, so that the client can continue after them.
      await smallFiles.flush();
    } finally {
      writer.recordOutcomes(smallFiles.takeOutcomes());
    }
  }
  parser.checkEnd();
}

/** An error cuts the body. */
async function* makeStatusChunks(
  { reportCut }: FileRequest,
  writer: BundleWriter,
  written: Promise<void>,
): AsyncGenerator<Chunk, void, void> {
  try {
    let progressCount = 0;
    for (let isWritten = false; !isWritten;) {
      isWritten = await settlesWithin(written, MAX_SILENCE_MILLISECONDS);
      if (isWritten) await written;
      let text = writer.takeRecords().map(formatRecord).join("");
      if (text !== "") progressCount = 0;
      else if (!isWritten && progressCount < MAX_PROGRESS_RECORDS) {
        progressCount++;
        text = PROGRESS_RECORD;
      }
      if (isWritten) text += BUNDLE_END;
      if (text !== "") yield [null, encoder.encode(text)];
    }
    yield [null, new Uint8Array(0)];
  } catch (error) {
    throw reportCut(error);
  } finally {
    // If the client has disconnected, its received files are still written.
    await written.catch(() => {});
  }
}

async function settlesWithin(promise: Promise<unknown>, milliseconds: number): Promise<boolean> {
  const waitController = new AbortController();
  const timePassed = pause(milliseconds, waitController.signal).then(() => false);
  try {
    return await Promise.race([promise.then(() => true, () => true), timePassed]);
  } finally {
    waitController.abort();
  }
}

async function* piecesOf({ body }: Request): AsyncGenerator<Uint8Array, void, void> {
  if (body === null) return;
  if (!body.chunked) return yield* body;
  for await (const [, data] of body) yield data;
}

interface BundledUpload extends SmallFile {
  readonly index: number;
  readonly size: number;
  /** The permission bits of the source; `null` if they are not applied. */
  readonly mode: number | null;
  readonly hasCondition: boolean;
}

class BundleWriter {
  /** The records of the response, in the order of the request; `null` until they are known. */
  readonly #records: (PutResponseRecord | null)[] = [];
  #takenCount = 0;
  readonly target: SmallFilesTarget<BundledUpload>;
  /** Whether files are being written, and no bytes of the bundle are received. */
  isWaitingForDisk = false;
  readonly #fileRequest: FileRequest;

  constructor(fileRequest: FileRequest) {
    this.#fileRequest = fileRequest;
    const { root, session, uploadDisks } = fileRequest;
    let unfinishedUploads = uploadDisks.rootUploads;
    this.target = {
      root,
      prepareDirectory(directory, knownParent) {
        const parent = root.findParent(directory, knownParent);
        unfinishedUploads = uploadDisks.find(parent);
        unfinishedUploads.makeDirectory();
        return { changedDirectories: [], knownParent: parent };
      },
      createTemporaryFile: ({ mode }) =>
        unfinishedUploads.create(
          mode === null ? {} : makeCreationModes(mode, unfinishedUploads.probeModes()),
        ),
      copyBeside: (file, temporaryFile, error) =>
        copyBeside(fileRequest, error, { ...file, digest: null }, temporaryFile),
      // The peer may have been removed from the trusted devices since the request began.
      checkAllowed: () => checkTrust(session),
    };
  }

  checkRecord(record: PutRecord, content: Uint8Array): BundledUpload | null {
    if (this.#records.length === MAX_RECORDS) {
      throw new Refusal(413, `more than ${MAX_RECORDS} records`);
    }
    const index = this.#records.push(null) - 1;
    const names = [...this.#fileRequest.target.names, ...record.path];
    const isDirectory = "kind" in record;
    const isNewRequired = "if-none-match" in record;
    const isAddOnly = this.#fileRequest.write === "add";
    const condition = "seen" in record ? makeStampCondition(record.seen!, isAddOnly) : undefined;
    const hasCondition = isNewRequired || condition !== undefined;
    const isNew = isNewRequired || isAddOnly && !isDirectory;
    const modified = isDirectory ? null : record.modified;
    const { length: size } = content;
    const mode = isDirectory || !this.#fileRequest.shouldApplyModes ? null : parseMode(record.mode);
    const file = { index, names, modified, isNew, condition, size, mode, hasCondition };
    const { maxBytes } = this.#fileRequest;
    let error: Refusal | null = null;
    if (!areFileNames(names)) {
      error = new Refusal(404, "a name that no file can have");
    } else if (size > maxBytes) {
      error = new Refusal(413, `${size} bytes, more than ${maxBytes}`);
    } else if (!isDirectory && hashContent(content) !== record.sha256) {
      error = new Refusal(400, "the file does not have its digest");
    }
    if (error === null) return file;
    this.#recordError(file, error);
    return null;
  }

  takeRecords(): PutResponseRecord[] {
    const nextUnknownIndex = this.#records.indexOf(null, this.#takenCount);
    const records = this.#records.slice(
      this.#takenCount,
      nextUnknownIndex < 0 ? undefined : nextUnknownIndex,
    ) as PutResponseRecord[];
    this.#takenCount += records.length;
    return records;
  }

  /** Records the statuses of files, and reports each written file, even if others failed. */
  recordOutcomes(outcomes: readonly SmallFileOutcome<BundledUpload>[]): void {
    for (const outcome of outcomes) {
      if (outcome.error !== null) continue;
      const { file, isCreated, unset } = outcome;
      const status = isCreated ? 201 : 204;
      this.#records[file.index] = unset.length === 0 ? { status } : { status, unset };
      if (file.modified !== null) {
        const { names: path, size: bytes } = file;
        this.#fileRequest.report({ action: "put", path, bytes, complete: true, status });
      }
    }
    for (const { file, error } of outcomes) if (error !== null) this.#recordError(file, error);
  }

  #recordError({ index, names, size, hasCondition }: BundledUpload, error: unknown): void {
    const diskError = error instanceof Refusal ? error : this.#toDiskRefusal(error, names, size);
    const refusal = refusalOf(diskError);
    if (refusal === null) throw error;
    // Errors of writing small files have only statuses of `PutStatus`.
    const status = (refusal.status === 412 && !hasCondition ? 409 : refusal.status) as PutStatus;
    this.#records[index] = { status, reason: findReason(refusal.headers) };
    this.#fileRequest.warn(refusal, names.join("/"));
  }

  #toDiskRefusal(error: unknown, names: readonly string[], size: number): unknown {
    const { root, session, uploadDisks } = this.#fileRequest;
    let unfinishedUploads: UnfinishedUploads;
    try {
      unfinishedUploads = uploadDisks.find(root.findParent(names.slice(0, -1)));
    } catch {
      // The path of the file is refused.
      return error;
    }
    return unfinishedUploads.toDiskRefusal(error, size, session, null);
  }
}

function makeStampCondition(
  [size, modified]: readonly [size: number, modified: number],
  isAddOnly: boolean,
): Condition {
  const stamp = formatStamp(size, modified);
  return (existing) => {
    if (existing !== null && stampOfStats(existing) === stamp) return;
    const problem = isAddOnly
      ? "the client would replace a file, but this app only adds files"
      : "the file is not the version that the client has listed";
    throw new Refusal(412, problem);
  };
}
