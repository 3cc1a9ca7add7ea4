/**
 * PUT and DELETE: files that peers send, in a single request, or resumed where an earlier request
 * was interrupted; directories that they make; and what they remove.
 */

import type { HeaderDict, ResponseTuple } from "../../base.ts";
import { findDeletionProblem } from "../../internal/disk/deleting.ts";
import type { Hash } from "node:crypto";
import { type BigIntStats, fstatSync } from "node:fs";
import { cancelQuietly } from "../../base/body/bodies.ts";
import { setMode, setModified } from "../../internal/disk/files.ts";
import { isFileSystemError, retryReplace, syncAllIfPossible } from "../../internal/disk/names.ts";
import { dirname } from "../../internal/disk/paths.ts";
import { isDiskFullError } from "../../internal/disk/space.ts";
import type { TemporaryFile } from "../../internal/disk/temporary.ts";
import { openServedFile } from "./resolve_path.ts";
import { isNewFileRequired, MISSING_FILE_STAMP, versionedStampOf } from "../conditions.ts";
import { hashPrefix, isDigestRequested, makeDigestHeader, makeHash } from "../digest.ts";
import { type FileStats, isOverwritten, isUnchanged } from "../file_pieces.ts";
import { receiveBody } from "../file_writer.ts";
import { chooseFileMode, computeCopiedMode, makeModeHeader, permissionBitsOf } from "../modes.ts";
import { notFoundRefusal, Refusal, refusalOf, unreadableRefusal } from "../refusal.ts";
import { copyPrefix, makeRootPathHeader, type Reused } from "../reuse.ts";
import { checkTrust, type FileRequest, writtenAnswer } from "./file_request.ts";
import {
  checkDestination,
  conditionOf,
  preconditionOf,
  readOffsetRequest,
  readPut,
  type ResumableUpload,
  type UploadHeaders,
  type UploadRest,
  type WholeUpload,
} from "./put_request.ts";
import { abortWriter, partSize, withExclusiveWriter } from "./unfinished.ts";

/** Writes a file, or creates a directory, whose path has a trailing slash, with an empty body. */
export async function put(write: FileRequest): Promise<ResponseTuple> {
  const request = readPut(write);
  switch (request.kind) {
    case "directory":
      return await putDirectory(write);
    case "mode":
      return await putMode(write, request.length, request.mode);
    case "whole":
      return await receiveWhole(write, request);
    case "rest":
      return await receiveRest(write, request);
  }
}

async function putDirectory(write: FileRequest): Promise<ResponseTuple> {
  const { root, target } = write;
  await checkTrust(write.session);
  const { created, changed } = root.makeDirectory(target.names, conditionOf(write));
  await syncAllIfPossible(changed);
  return writtenAnswer(created, {});
}

/** Sets only the permission bits of an existing file. */
async function putMode(
  write: FileRequest,
  length: number,
  mode: number | null,
): Promise<ResponseTuple> {
  await checkTrust(write.session);
  const { path, existing } = write.root.findFile(write.target.names);
  preconditionOf(write.request.headers)(existing);
  if (existing === null) throw notFoundRefusal();
  if (Number(existing.size) !== length) throw new Refusal(412, `${path} has another length`);
  if (write.write !== "add") giveMode(write, path, mode);
  return writtenAnswer(false, {});
}

export async function remove(write: FileRequest): Promise<ResponseTuple> {
  const { root, target, report } = write;
  const problem = findDeletionProblem();
  if (problem !== null) throw new Refusal(403, `deleting: ${problem}`);
  await checkTrust(write.session);
  const { isDirectory, names } = target;
  const removing = root.remove(names, isDirectory, conditionOf(write));
  const { wasFile, changed } = await removing.catch((error) => {
    // An error of the disk, as of a damaged sector, refuses this name alone.
    throw refusalOf(error) ?? unreadableRefusal(error);
  });
  await syncAllIfPossible([changed]);
  if (wasFile) report("delete", names, 0, true, 204);
  return [204, "No Content", {}, null];
}

/** Writes a file that can't be resumed if the request breaks off. */
async function receiveWhole(
  write: FileRequest,
  upload: WholeUpload,
): Promise<ResponseTuple> {
  const { request: { body }, unfinished } = write;
  const { digest, length, size, reuse, mode } = upload;
  conditionOf(write)(checkDestination(write, upload, size ?? 0));
  try {
    unfinished.checkSpace(size ?? 0, 0, 0);
    await using reused = reuse && await openReused(write, reuse);
    unfinished.makeDirectory();
    const modes = mode === null ? {} : chooseFileMode(mode, unfinished.findModeMask());
    using temporary = unfinished.create(modes);
    const start = reused?.length ?? 0;
    const copiedHash = reused && await reused.copyTo(temporary);
    const hash = copiedHash ?? (digest === null && length === null ? null : makeHash());
    const whole = { file: temporary, start, limit: write.maxBytes, length, hash };
    const lastChunkDigest = await receiveBody(body, whole);
    const sha256 = length === null ? digest : lastChunkDigest;
    if (hash !== null) checkDigest(hash, sha256);
    return await finish(write, upload, sha256, temporary);
  } catch (error) {
    throw unfinished.toDiskFullRefusal(error, size, null);
  }
}

/** Writes the rest of a file that has a part, or all of it. */
async function receiveRest(write: FileRequest, upload: UploadRest): Promise<ResponseTuple> {
  const { offset, length } = upload;
  const existing = checkDestination(write, upload, length);
  // An app that only adds files confirms an existing file.
  if (write.write === "add" && offset === length) preconditionOf(write.request.headers)(existing);
  else conditionOf(write)(existing);
  const part = partOf(write, upload);
  try {
    return await withExclusiveWriter(
      part,
      (superseded) => continuePart(write, upload, part, superseded),
    );
  } catch (error) {
    // The part has its final size only now that the file is closed.
    throw write.unfinished.toDiskFullRefusal(error, length, part);
  }
}

/** Writes to a part from the offset on, or confirms an existing file. */
async function continuePart(
  write: FileRequest,
  upload: UploadRest,
  part: string,
  superseded: AbortSignal,
): Promise<ResponseTuple> {
  const { request: { body }, unfinished } = write;
  const { offset, length, reuse } = upload;
  const isPart = offset === 0 || offset === partSize(part);
  await using reused = isPart ? null : reuse && await openReused(write, reuse, superseded);
  if (!isPart && reused === null) {
    const { offset: expected, existingFile } = await findUpload(write, upload, part, superseded);
    if (offset === length && existingFile !== null && existingFile.digest === upload.digest) {
      return await confirmUpload(write, existingFile, upload);
    }
    throw new Refusal(409, `the offset is ${expected}, not ${offset}`, offsetHeader(expected));
  }

  superseded.addEventListener("abort", () => body && cancelQuietly(body, superseded.reason));
  const begin = reused === null ? offset : 0;
  unfinished.checkSpace(length, begin, partSize(part));
  using temporary = await unfinished.openPart(part, upload.mode);
  // If this fails, the part is removed: the prefix can be copied again.
  const copiedHash = reused && await reused.copyTo(temporary);
  try {
    const makeChangedRefusal = () => new Refusal(409, "the part has changed", offsetHeader(0));
    // If another process had the part, the new one is empty, and so too short.
    const hash = copiedHash ??
      await hashPrefix(temporary.file, offset, makeChangedRefusal, superseded);
    if (copiedHash === null) await temporary.continueFrom(offset);
    const target = { file: temporary, start: offset, limit: length, length, hash };
    const lastChunkDigest = await receiveBody(body, target);
    const digest = checkDigest(hash, upload.digest ?? lastChunkDigest);
    return await finish(write, upload, digest, temporary);
  } catch (error) {
    const isFull = isDiskFullError(error);
    // An interrupted upload is resumed later, and a refused one is removed.
    const isInterrupted = superseded.aborted || isFull || refusalOf(error) === null;
    // A file that has its name already is not cut.
    if (isInterrupted && temporary.isInPlace) {
      if (isFull) await temporary.truncateToSynced();
      temporary.isKept = temporary.file.statSync().size > 0;
      unfinished.evictOldParts(part);
    }
    throw superseded.aborted ? superseded.reason : error;
  }
}

/** Answers how many bytes of an upload the server has, without creating a file. */
export async function answerOffset(write: FileRequest): Promise<ResponseTuple> {
  const { unfinished } = write;
  const upload = readOffsetRequest(write);
  const existing = checkDestination(write, upload, upload.length);
  const part = partOf(write, upload);
  await abortWriter(part);
  const { offset, existingFile } = await findUpload(write, upload, part);
  // If a file of this length exists, it may be the same, and the client then sends no bytes. So the
  // space is checked only without one.
  if (existingFile === null) unfinished.checkSpace(upload.length, offset, offset);
  const existingDigest = upload.digest === null ? existingFile?.digest ?? null : null;
  const headers = {
    ...offsetHeader(offset),
    ...makeDigestHeader(existingDigest),
    ...versionHeaders(existing),
    ...write.reuse ? makeRootPathHeader(write.target.names, false) : {},
  };
  return [200, "OK", headers, null];
}

/** The headers from which a client makes the condition that it replaces only this file. */
function versionHeaders(existing: BigIntStats | null): HeaderDict {
  if (existing === null) return { "file-stamp": MISSING_FILE_STAMP };
  if (existing.isDirectory()) return {};
  return {
    "file-stamp": versionedStampOf(existing),
    ...makeModeHeader(permissionBitsOf(existing.mode)),
  };
}

/**
 * Opens the file of which an upload reuses a prefix.
 *
 * @throws {Refusal} of status 404 if this peer can't read the file.
 */
async function openReused(
  write: FileRequest,
  { names, length }: Reused,
  superseded?: AbortSignal,
) {
  const { root } = write;
  const file = names && await openServedFile(root, names).catch((error) => {
    throw error instanceof Refusal && error.status === 403 ? notFoundRefusal() : error;
  });
  if (file === null || file === "directory") throw notFoundRefusal();
  const { handle, stats } = file;
  const opened = new AsyncDisposableStack();
  opened.defer(() => handle.close());
  const makeReadError = (error?: unknown) => {
    if (error !== undefined && !isFileSystemError(error)) throw error;
    const text = `${file.path} is not what was to be reused`;
    return new Refusal(409, text, offsetHeader(0), { cause: error });
  };
  return {
    length,
    /** Copies the prefix to an empty file; resolves to its hash. */
    async copyTo(temporary: TemporaryFile): Promise<Hash> {
      const hash = makeHash();
      const signal = endOf(write, superseded);
      try {
        await copyPrefix(handle, temporary, { length, hash, signal, makeReadError });
        if (isOverwritten(stats, fstatSync(handle.fd, { bigint: true }))) throw makeReadError();
        return hash;
      } finally {
        // Windows replaces no file that is open.
        await opened.disposeAsync();
      }
    },
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}

interface ExistingFile {
  readonly stats: FileStats;
  readonly digest: string;
}

/**
 * Finds how many bytes of an upload the server has, and the existing file of the same length, if
 * its digest is of interest.
 */
async function findUpload(
  write: FileRequest,
  { digest, length }: ResumableUpload,
  part: string,
  superseded?: AbortSignal,
): Promise<{ readonly offset: number; readonly existingFile: ExistingFile | null }> {
  const isOfInterest = digest !== null ||
    partSize(part) === 0 && isDigestRequested(write.request.headers);
  const existingFile = isOfInterest ? await findExistingFile(write, length, superseded) : null;
  const size = partSize(part);
  const partial = size <= length ? size : 0;
  const isSame = existingFile !== null && existingFile.digest === digest;
  return { offset: isSame ? length : partial, existingFile };
}

/** Finds the existing file, if it has this length. */
async function findExistingFile(
  write: FileRequest,
  length: number,
  superseded?: AbortSignal,
): Promise<ExistingFile | null> {
  const { root, target, digests } = write;
  const file = await openServedFile(root, target.names);
  if (file === null || file === "directory") return null;
  try {
    if (file.size !== length) return null;
    const digest = await digests.findOrCompute(file, endOf(write, superseded));
    return digest === null ? null : { stats: file.stats, digest };
  } finally {
    await file.handle.close();
  }
}

/**
 * Answers an upload of an existing file: the file gets the time and the permission bits in the
 * request. Its path may not be on the disk yet, if the server was killed before it had
 * answered an earlier request.
 */
async function confirmUpload(
  write: FileRequest,
  { digest, stats }: ExistingFile,
  { modified, mode }: UploadHeaders,
): Promise<ResponseTuple> {
  if ((modified !== null || mode !== null) && write.write !== "add") {
    await checkTrust(write.session);
    const { path, existing } = write.root.findFile(write.target.names);
    conditionOf(write)(existing);
    if (existing === null || !isUnchanged(existing, stats)) {
      throw new Refusal(409, `${path} changed meanwhile`, offsetHeader(0));
    }
    if (modified !== null) setModified(path, modified);
    giveMode(write, path, mode);
  }
  const { root, target: { names } } = write;
  await syncAllIfPossible(names.map((_name, depth) => root.pathOf(names.slice(0, depth))));
  return writtenAnswer(false, makeDigestHeader(digest));
}

function partOf(
  { unfinished, session, target: { names } }: FileRequest,
  { length, digest, version }: ResumableUpload,
): string {
  return unfinished.partOf(session?.peerCertificate, [names, length, digest, version]);
}

/** Aborts when the session ends, or a newer request asks for the same part. */
function endOf({ session }: FileRequest, superseded: AbortSignal | undefined): AbortSignal {
  const signals = [session?.signal, superseded].filter((signal) => signal !== undefined);
  return AbortSignal.any(signals);
}

function offsetHeader(offset: number): HeaderDict {
  return { "upload-offset": `${offset}` };
}

function checkDigest(hash: Hash, digest: string | null): string {
  if (digest === null) throw new Refusal(400, "the last chunk has no extension sha256");
  if (hash.digest("hex") === digest) return digest;
  throw new Refusal(400, "the file does not have the digest that was announced");
}

/**
 * Gives a complete file its name, or keeps it as a part if a later request does that.
 *
 * @param digest Its SHA-256; `null` if the request has none.
 */
async function finish(
  write: FileRequest,
  { modified, isNamedLater }: UploadHeaders,
  digest: string | null,
  temporary: TemporaryFile,
): Promise<ResponseTuple> {
  const { request, session, root, target: { names }, report, unfinished } = write;
  // A part has the time of its last write, by which old ones are found.
  if (modified !== null && !isNamedLater) await temporary.file.utime(new Date(), modified);
  await temporary.sync();
  await checkTrust(session);
  if (isNamedLater) {
    unfinished.checkQuota(temporary.path);
    temporary.isKept = true;
    // The client deletes the entry in the way after the answer, so the part must survive a power
    // failure.
    await syncAllIfPossible([root.path, dirname(temporary.path)]);
    return writtenAnswer(false, makeDigestHeader(digest));
  }
  const naming = { condition: conditionOf(write), isNew: isNewFileRequired(request.headers) };
  const { created, changed } = await retryReplace(() =>
    root.moveIntoPlace(names, temporary, naming)
  );
  await syncAllIfPossible(changed);
  report("put", names, temporary.file.statSync().size, true, created ? 201 : 204);
  return writtenAnswer(created, makeDigestHeader(digest));
}

/** Gives a file permission bits of its source, synchronously, as far as a new file gets them. */
function giveMode({ unfinished }: FileRequest, path: string, mode: number | null): void {
  const modeMask = mode === null ? null : unfinished.findModeMask();
  if (mode !== null && modeMask !== null) setMode(path, computeCopiedMode(mode, modeMask));
}
