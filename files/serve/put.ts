import type { HeadersToSend } from "../../base.ts";
import type { ResponseTuple } from "../../server.ts";
import type { Hash } from "node:crypto";
import {
  findDeletionProblem,
  isFileSystemError,
  isUnreadableError,
  lstatOrNull,
  syncAllIfPossible,
} from "../disk/names.ts";
import { retryReplace } from "../../internal/retry_replace.ts";
import { isDiskFullError } from "../disk/space.ts";
import type { TemporaryFile } from "../disk/temporary.ts";
import { isTooManyOpenFilesError } from "../../internal/caught_errors.ts";
import { joinSignals } from "../../internal/pause.ts";
import { openServedFile } from "./resolve_path.ts";
import { isNewFileRequired, MISSING_FILE_STAMP, versionedStampOf } from "../wire/conditions.ts";
import { isDigestRequested, makeDigestHeader, makeHash } from "../wire/digest.ts";
import { type FileStats, isOverwritten, isUnchanged, statOpenFile } from "../disk/file_pieces.ts";
import { receiveBody } from "../file_writer.ts";
import {
  chooseFileMode,
  computeCopiedMode,
  makeModeHeader,
  makeUnsetHeader,
  permissionBitsOf,
  setMetadata,
  type UnsetProperty,
} from "../wire/metadata.ts";
import {
  notFoundRefusal,
  Refusal,
  refusalOf,
  ReuseRefusal,
  unreadableRefusal,
} from "../refusal.ts";
import { makeReasonHeader } from "../wire/refusal_reason.ts";
import { copyPrefix, makeRootPathHeader, type ReusedPrefix } from "../wire/reuse.ts";
import type { Parent } from "../root.ts";
import { copyBeside } from "./copy_beside.ts";
import { checkTrust, type FileRequest, makeWriteResponse } from "./file_request.ts";
import {
  checkDestination,
  makeCondition,
  makePrecondition,
  readOffsetRequest,
  readPutRequest,
  type ResumablePut,
  type ResumableUpload,
  type UploadHeaders,
  type WholeUpload,
} from "./put_request.ts";
import {
  abortWriter,
  partSizeOf,
  type UnfinishedUploads,
  withExclusiveWriter,
} from "./unfinished_uploads.ts";

export async function put(fileRequest: FileRequest): Promise<ResponseTuple> {
  const putRequest = readPutRequest(fileRequest);
  switch (putRequest.kind) {
    case "directory":
      return await putDirectory(fileRequest);
    case "mode":
      return await putMode(fileRequest, putRequest.length, putRequest.mode);
    case "whole":
      return await receiveWhole(fileRequest, putRequest);
    case "resumable":
      return await receiveResumable(fileRequest, putRequest);
  }
}

async function putDirectory(fileRequest: FileRequest): Promise<ResponseTuple> {
  const { root, target } = fileRequest;
  await checkTrust(fileRequest.session);
  const { isCreated, changedDirectories } = root.makeDirectory(
    target.names,
    makeCondition(fileRequest),
  );
  await syncAllIfPossible(changedDirectories);
  return makeWriteResponse(isCreated, {});
}

async function putMode(
  fileRequest: FileRequest,
  length: number,
  mode: number | null,
): Promise<ResponseTuple> {
  await checkTrust(fileRequest.session);
  const { path, parent, existing } = fileRequest.root.findFile(fileRequest.target.names);
  makePrecondition(fileRequest.request.headers)(existing);
  if (existing === null) throw notFoundRefusal();
  if (existing.size !== length) throw new Refusal(412, `${path} has another length`);
  const unset = fileRequest.write === "add"
    ? []
    : setMetadata(path, null, probeCopiedMode(fileRequest, parent, mode));
  return makeWriteResponse(false, makeUnsetHeader(unset));
}

export async function remove(fileRequest: FileRequest): Promise<ResponseTuple> {
  const { root, target, report } = fileRequest;
  const problem = findDeletionProblem();
  if (problem !== null) {
    throw new Refusal(403, `deleting: ${problem}`, makeReasonHeader("no-deletions"));
  }
  await checkTrust(fileRequest.session);
  const { isDirectory, names } = target;
  const removal = root.remove(names, isDirectory, makeCondition(fileRequest));
  const { wasFile, changedDirectories } = await removal.catch((error) => {
    // An error of the disk, for example a damaged sector, refuses only this entry.
    throw refusalOf(error) ?? unreadableRefusal(error);
  });
  await syncAllIfPossible(changedDirectories).catch((error) => {
    // The client would repeat a deletion that was refused, and get 404.
    if (!isTooManyOpenFilesError(error)) throw error;
  });
  if (wasFile) report({ action: "delete", path: names, bytes: 0, complete: true, status: 204 });
  return [204, "No Content", {}, null];
}

async function receiveWhole(
  fileRequest: FileRequest,
  upload: WholeUpload,
): Promise<ResponseTuple> {
  const { request: { body }, session, uploadDisks } = fileRequest;
  const { digest, length, size, isDigestLast, reusedPrefix, mode } = upload;
  const { existing, parent } = checkDestination(fileRequest, size ?? 0);
  makeCondition(fileRequest)(existing);
  const unfinishedUploads = uploadDisks.find(parent);
  try {
    unfinishedUploads.checkSpace(session, null, size ?? 0, 0);
    await using basis = reusedPrefix && await openBasis(fileRequest, reusedPrefix);
    unfinishedUploads.makeDirectory();
    const modeOptions = mode === null
      ? {}
      : chooseFileMode(mode, unfinishedUploads.probeModeMask());
    // Without a lock, another process would take the file for a leftover of a killed process.
    using temporaryFile = unfinishedUploads.create({ ...modeOptions, isLocked: true });
    const start = basis?.length ?? 0;
    const prefixHash = basis && await basis.copyTo(temporaryFile);
    const hash = prefixHash ?? (digest === null && !isDigestLast ? null : makeHash());
    const limit = fileRequest.maxBytes;
    const bodyFile = { file: temporaryFile, start, limit, length, hash, isDigestLast };
    const sha256 = await receiveBody(body, bodyFile) ?? digest;
    if (hash !== null) checkDigest(hash, sha256!, reusedPrefix);
    return await finishUpload(fileRequest, upload, sha256, temporaryFile);
  } catch (error) {
    throw unfinishedUploads.toDiskRefusal(error, size, session, null);
  }
}

async function receiveResumable(
  fileRequest: FileRequest,
  upload: ResumablePut,
): Promise<ResponseTuple> {
  const { offset, length } = upload;
  const { existing, parent } = checkDestination(fileRequest, length);
  // If the client has sent all bytes, an app that only adds files may confirm an existing file.
  if (fileRequest.write === "add" && offset === length) {
    makePrecondition(fileRequest.request.headers)(existing);
  } else makeCondition(fileRequest)(existing);
  const unfinishedUploads = fileRequest.uploadDisks.find(parent);
  const partPath = partPathOf(fileRequest, unfinishedUploads, upload);
  try {
    return await withExclusiveWriter(
      partPath,
      (supersededSignal) =>
        continuePart(fileRequest, unfinishedUploads, upload, partPath, supersededSignal),
    );
  } catch (error) {
    // Convert the error only now: the part has its final size after the file is closed.
    throw unfinishedUploads.toDiskRefusal(error, length, fileRequest.session, partPath);
  }
}

async function continuePart(
  fileRequest: FileRequest,
  unfinishedUploads: UnfinishedUploads,
  upload: ResumablePut,
  partPath: string,
  supersededSignal: AbortSignal,
): Promise<ResponseTuple> {
  const { request: { body }, session } = fileRequest;
  const { offset, length, reusedPrefix } = upload;
  const partBytes = partSizeOf(partPath);
  const isPartOffset = offset === 0 || offset === partBytes;
  // An identical empty file is confirmed, as every other identical file.
  const mayConfirm = !isPartOffset || length === 0;
  await using basis = isPartOffset
    ? null
    : reusedPrefix && await openBasis(fileRequest, reusedPrefix, supersededSignal);
  if (mayConfirm && basis === null) {
    const { offset: expectedOffset, existingFile } = await findUploadState(
      fileRequest,
      upload,
      partPath,
      supersededSignal,
    );
    if (offset === length && existingFile !== null && existingFile.digest === upload.digest) {
      return await confirmUpload(fileRequest, existingFile, upload);
    }
    if (!isPartOffset) {
      throw new Refusal(
        409,
        `the offset is ${expectedOffset}, not ${offset}`,
        makeOffsetHeader(expectedOffset),
      );
    }
  }

  supersededSignal.addEventListener(
    "abort",
    () => body?.cancel(supersededSignal.reason).catch(() => {}),
  );
  const keptBytes = basis === null && offset > 0 ? partBytes : 0;
  unfinishedUploads.checkSpace(session, partPath, length, keptBytes);
  using temporaryFile = await unfinishedUploads.openPart(partPath, upload.mode);
  // If the copy fails, the part is removed, because the prefix can be copied again.
  const prefixHash = basis && await basis.copyTo(temporaryFile);
  try {
    const makeChangedRefusal = () => new Refusal(409, "the part has changed", makeOffsetHeader(0));
    // If another process had locked the part, the part was created again and is empty. Hashing then
    // throws this refusal.
    const partStats = lstatOrNull(temporaryFile.path);
    if (partStats === null) throw makeChangedRefusal();
    const { digestCache } = fileRequest;
    const { file } = temporaryFile;
    const hash = prefixHash ??
      await digestCache.hashPrefix(file, partStats, offset, makeChangedRefusal, supersededSignal);
    if (prefixHash === null) await temporaryFile.continueFrom(offset);
    const isDigestLast = upload.digest === null;
    const bodyFile = {
      file: temporaryFile,
      start: offset,
      limit: length,
      length,
      hash,
      isDigestLast,
    };
    const digest = await receiveBody(body, bodyFile) ?? upload.digest!;
    checkDigest(hash, digest, reusedPrefix);
    return await finishUpload(fileRequest, upload, digest, temporaryFile);
  } catch (error) {
    const isDiskFull = isDiskFullError(error);
    // An interrupted upload can be resumed later; the part of a refused upload is removed.
    const isInterrupted = supersededSignal.aborted || isDiskFull || refusalOf(error) === null;
    // Don't cut a file that was already renamed to its final name.
    if (isInterrupted && temporaryFile.isAtPath()) {
      if (isDiskFull) await temporaryFile.truncateToSynced();
      temporaryFile.isKept = temporaryFile.file.statSync().size > 0;
    }
    throw supersededSignal.aborted ? supersededSignal.reason : error;
  }
}

/**
 * Responds with the number of bytes of an upload that the server has, 0 for a stream. Leaves no new
 * file on the disk.
 */
export async function answerOffset(fileRequest: FileRequest): Promise<ResponseTuple> {
  const upload = readOffsetRequest(fileRequest);
  if ("kind" in upload) {
    const { existing, parent } = checkDestination(fileRequest, 0);
    makeCondition(fileRequest)(existing);
    const unfinishedUploads = fileRequest.uploadDisks.find(parent);
    try {
      unfinishedUploads.checkWritable();
    } catch (error) {
      throw unfinishedUploads.toDiskRefusal(error, null, fileRequest.session, null);
    }
    return [200, "OK", { ...makeOffsetHeader(0), ...makeVersionHeaders(existing) }, null];
  }
  const { existing, parent } = checkDestination(fileRequest, upload.length);
  const unfinishedUploads = fileRequest.uploadDisks.find(parent);
  const partPath = partPathOf(fileRequest, unfinishedUploads, upload);
  await abortWriter(partPath);
  const { offset, existingFile } = await findUploadState(fileRequest, upload, partPath);
  // If a file of this length exists, it may be identical, and the client then sends no bytes. So
  // check the space only if no such file exists.
  if (existingFile === null) {
    const partBytes = offset > 0 ? partSizeOf(partPath) : 0;
    unfinishedUploads.checkSpace(fileRequest.session, partPath, upload.length, partBytes);
  }
  const existingDigest = upload.digest === null ? existingFile?.digest ?? null : null;
  const headers = {
    ...makeOffsetHeader(offset),
    ...makeDigestHeader(existingDigest),
    ...makeVersionHeaders(existing),
    ...fileRequest.reuse ? makeRootPathHeader(fileRequest.target.names, false) : {},
  };
  return [200, "OK", headers, null];
}

/**
 * Makes the headers from which a client makes the condition to replace only this version of the
 * file.
 */
function makeVersionHeaders(existing: Deno.FileInfo | null): HeadersToSend {
  if (existing === null) return { "file-stamp": MISSING_FILE_STAMP };
  if (existing.isDirectory) return {};
  return {
    "file-stamp": versionedStampOf(existing),
    ...makeModeHeader(permissionBitsOf(existing.mode)),
  };
}

async function openBasis(
  fileRequest: FileRequest,
  { names, length }: ReusedPrefix,
  supersededSignal?: AbortSignal,
) {
  const { root } = fileRequest;
  const makeMissingRefusal = () => new ReuseRefusal(404, "the file to reuse does not exist");
  const file = names && await openServedFile(root, names).catch((error) => {
    throw error instanceof Refusal && error.status === 403 ? makeMissingRefusal() : error;
  });
  if (file === null || file === "directory") throw makeMissingRefusal();
  const { handle, stats } = file;
  const readError = (error?: unknown) => {
    if (error !== undefined && !isFileSystemError(error)) throw error;
    const problem = `${file.path} has changed or can't be read, so its prefix is not reused`;
    return new ReuseRefusal(409, problem, makeOffsetHeader(0), { cause: error });
  };
  return {
    length,
    async copyTo(temporaryFile: TemporaryFile): Promise<Hash> {
      const hash = makeHash();
      const signal = joinSignals(fileRequest.session?.signal, supersededSignal);
      try {
        await copyPrefix(handle, temporaryFile, { length, hash, signal, readError });
        if (isOverwritten(stats, statOpenFile(handle.fd), file.path)) throw readError();
        return hash;
      } finally {
        // Windows can't replace an open file.
        await handle.close();
      }
    },
    [Symbol.asyncDispose]: () => handle.close(),
  };
}

interface ExistingFile {
  readonly stats: FileStats;
  readonly digest: string;
}

async function findUploadState(
  fileRequest: FileRequest,
  { digest, length }: ResumableUpload,
  partPath: string,
  supersededSignal?: AbortSignal,
): Promise<{ readonly offset: number; readonly existingFile: ExistingFile | null }> {
  const isDigestNeeded = digest !== null ||
    partSizeOf(partPath) === 0 && isDigestRequested(fileRequest.request.headers);
  const existingFile = isDigestNeeded
    ? await findExistingFile(fileRequest, length, supersededSignal)
    : null;
  const size = partSizeOf(partPath);
  const partOffset = size <= length ? size : 0;
  const isIdentical = existingFile !== null && existingFile.digest === digest;
  return { offset: isIdentical ? length : partOffset, existingFile };
}

async function findExistingFile(
  fileRequest: FileRequest,
  length: number,
  supersededSignal?: AbortSignal,
): Promise<ExistingFile | null> {
  const { root, target, digestCache } = fileRequest;
  const signal = joinSignals(fileRequest.session?.signal, supersededSignal);
  try {
    const file = await openServedFile(root, target.names);
    if (file === null || file === "directory") return null;
    await using _handle = file.handle;
    if (file.size !== length) return null;
    const digest = await digestCache.findOrCompute(file, signal);
    return digest === null ? null : { stats: file.stats, digest };
  } catch (error) {
    signal?.throwIfAborted();
    // A file that can't be read is replaced, as one with other content.
    if (isUnreadableError(error) || error instanceof Refusal && error.status === 403) return null;
    throw error;
  }
}

/**
 * Completes an upload of an identical existing file: sets the time and the permission bits of the
 * request, and syncs the path to the disk. If the server was killed during an earlier request, the
 * path may not be synced yet.
 */
async function confirmUpload(
  fileRequest: FileRequest,
  { digest, stats }: ExistingFile,
  { modified, mode }: UploadHeaders,
): Promise<ResponseTuple> {
  let unset: readonly UnsetProperty[] = [];
  if ((modified !== null || mode !== null) && fileRequest.write !== "add") {
    await checkTrust(fileRequest.session);
    const { path, parent, existing } = fileRequest.root.findFile(fileRequest.target.names);
    makeCondition(fileRequest)(existing);
    if (existing === null || !isUnchanged(existing, stats)) {
      throw new Refusal(409, `${path} changed during the request`, makeOffsetHeader(0));
    }
    const copiedMode = probeCopiedMode(fileRequest, parent, mode);
    unset = setMetadata(path, modified, copiedMode);
  }
  const { root, target: { names } } = fileRequest;
  await syncAllIfPossible(names.map((_name, depth) => root.pathOf(names.slice(0, depth))));
  return makeWriteResponse(false, { ...makeDigestHeader(digest), ...makeUnsetHeader(unset) });
}

function partPathOf(
  { session, target: { names } }: FileRequest,
  unfinishedUploads: UnfinishedUploads,
  { length, digest, version }: ResumableUpload,
): string {
  return unfinishedUploads.partPathOf(session, [names, length, digest, version]);
}

function makeOffsetHeader(offset: number): HeadersToSend {
  return { "upload-offset": `${offset}` };
}

function checkDigest(hash: Hash, digest: string, reusedPrefix: ReusedPrefix | null): void {
  if (hash.digest("hex") === digest) return;
  const problem = "the file does not have the digest that was announced";
  throw reusedPrefix === null ? new Refusal(400, problem) : new ReuseRefusal(400, problem);
}

async function finishUpload(
  fileRequest: FileRequest,
  { modified }: UploadHeaders,
  digest: string | null,
  temporaryFile: TemporaryFile,
): Promise<ResponseTuple> {
  const { request, session, root, target: { names }, report } = fileRequest;
  if (modified !== null) await temporaryFile.setModified(modified);
  await temporaryFile.sync();
  await checkTrust(session);
  const moveOptions = {
    condition: makeCondition(fileRequest),
    isNew: isNewFileRequired(request.headers),
  };
  // Some file systems can't look at an open file any more after its rename.
  const { size: bytes } = temporaryFile.file.statSync();
  const move = async (file: TemporaryFile) => {
    const outcome = await retryReplace(() => root.moveIntoPlace(names, file, moveOptions));
    file.isKept = true;
    return outcome;
  };
  const { isCreated, changedDirectories, unset } = await move(temporaryFile).catch(
    async (error) => {
      const copy = await copyBeside(
        fileRequest,
        error,
        { names, modified, digest },
        temporaryFile,
      );
      using copiedFile = copy.temporaryFile;
      const outcome = await move(copiedFile);
      temporaryFile.isKept = false;
      const changedDirectories = [...copy.changedDirectories, ...outcome.changedDirectories];
      return { ...outcome, changedDirectories };
    },
  );
  await syncAllIfPossible(changedDirectories);
  const status = isCreated ? 201 : 204;
  report({ action: "put", path: names, bytes, complete: true, status });
  return makeWriteResponse(isCreated, { ...makeDigestHeader(digest), ...makeUnsetHeader(unset) });
}

/** Creates a file to find the mask, so a mode that is `null` needs no mask. */
function probeCopiedMode(
  { uploadDisks }: FileRequest,
  parent: Parent,
  mode: number | null,
): number | null {
  return mode === null ? null : computeCopiedMode(mode, uploadDisks.find(parent).probeModeMask());
}
