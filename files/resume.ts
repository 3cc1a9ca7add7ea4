/**
 * Uploads that are resumed where they were interrupted.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { fstatSync, ftruncateSync } from "node:fs";
import { cancelQuietly } from "../base/body/bodies.ts";
import type { ResponseTuple } from "../base/app/message.ts";
import { findFile } from "./destination.ts";
import { formatReprDigest } from "./digest.ts";
import { digestFile, hashBytes, type KnownDigests } from "./file_digest.ts";
import { type FileState, isUnchanged } from "./file_state.ts";
import { receive } from "./file_writer.ts";
import { openBelow } from "./open_file.ts";
import {
  asUpload,
  endOlder,
  findRoom,
  makeRoom,
  namePart,
  type PartName,
  partSize,
} from "./parts.ts";
import {
  checkAdmission,
  checkBeforeBody,
  checkCondition,
  checkDestination,
  checkDigest,
  finish,
  type WriteRequest,
} from "./put.ts";
import { Refusal, refusalOf } from "./refusal.ts";
import { setModified, Unfinished } from "./unfinished.ts";
import type { UploadHeaders } from "./upload_headers.ts";

/** What a resumable upload needs besides what every request has. */
export interface ResumableWrite extends WriteRequest {
  /** Bytes that the parts of one authority may have. */
  readonly maxPartBytes: number;
  readonly digests: KnownDigests;
}

/** The headers of a request for a file that may have a part here. */
interface WantedFile extends UploadHeaders {
  readonly digest: string;
  readonly length: number;
}

function wantedFile(headers: UploadHeaders): WantedFile {
  const { digest, length } = headers;
  if (digest !== null && length !== null) return { ...headers, digest, length };
  throw new Refusal(400, "need upload-length and a repr-digest with sha-256");
}

/** Answers how much of a file is here. Creates nothing. */
export async function answerOffset(
  write: ResumableWrite,
  headers: UploadHeaders,
): Promise<ResponseTuple> {
  const wanted = wantedFile(headers);
  checkDestination(write, wanted.length);
  const part = nameOf(write, wanted);
  for (let older; (older = endOlder(part)) !== null;) await older;
  return [200, "OK", offsetHeader(await offsetOf(write, wanted, part)), null];
}

/** Writes the rest of a file that has a part here, or all of it. */
export async function putRest(
  write: ResumableWrite,
  headers: UploadHeaders,
): Promise<ResponseTuple> {
  const { request, root } = write;
  const { body } = request;
  const wanted = wantedFile(headers);
  const { offset, length } = wanted;
  if (offset === null) throw new Refusal(400, "need upload-offset");
  if (body?.chunked || (body?.contentLength ?? 0) !== length - offset) {
    throw new Refusal(400, "the body is not exactly the rest of the file");
  }
  checkBeforeBody(write, length);
  const part = nameOf(write, wanted);
  for (let older; (older = endOlder(part)) !== null;) await older;
  if (offset !== 0 && offset !== partSize(part)) {
    const state = await findHere(write, wanted);
    if (offset === length && state !== null) return await confirm(write, wanted, state);
    const right = state === null ? partOffset(part, length) : length;
    throw new Refusal(409, `the offset is ${right}, not ${offset}`, offsetHeader(right));
  }
  const cancel = () => body && cancelQuietly(body, new Refusal(409, "a newer request"));
  return await asUpload(part, cancel, async (upload) => {
    makeRoom(root, part);
    await using file = await Unfinished.openPart(part.path, root);
    try {
      await append(write, { ...wanted, offset }, file, upload);
    } catch (error) {
      // An interrupted upload is resumed later. What can't be written or kept is removed.
      if (upload.isEnded || refusalOf(error) === null) keep(write, part, file);
      throw upload.isEnded ? new Refusal(409, "a newer request for the same part") : error;
    }
    return await finish(write, wanted, file);
  });
}

function nameOf({ root, session, target }: WriteRequest, { length, digest }: WantedFile): PartName {
  return namePart(root, session, { names: target.names, length, digest });
}

function offsetHeader(offset: number): { "upload-offset": string } {
  return { "upload-offset": `${offset}` };
}

/** How much of a file is here: all, a part, or nothing. */
async function offsetOf(
  write: ResumableWrite,
  wanted: WantedFile,
  part: PartName,
): Promise<number> {
  const state = await findHere(write, wanted);
  return state === null ? partOffset(part, wanted.length) : wanted.length;
}

/** The length of a file's part. */
function partOffset(part: PartName, length: number): number {
  const size = partSize(part);
  return size <= length ? size : 0;
}

/** The state of the file that has the name now, if it is the wanted one by its length and digest. */
async function findHere(
  { root, target, digests, session }: ResumableWrite,
  { length, digest }: WantedFile,
): Promise<FileState | null> {
  const file = await openBelow(root, target.names);
  if (file === null || file === "directory") return null;
  try {
    if (file.size !== length) return null;
    let found = digests.find(file);
    if (found === null) {
      found = await digestFile(file, session?.signal);
      if (found !== null) digests.remember(file, found);
    }
    return found === digest ? file.state : null;
  } finally {
    await file.handle.close();
  }
}

/** Answers an upload of a file that is already here; it gets the time in the request. */
async function confirm(
  write: ResumableWrite,
  { digest, modified }: WantedFile,
  state: FileState,
): Promise<ResponseTuple> {
  const { request, root, session, target } = write;
  if (modified !== null) {
    await checkAdmission(session);
    const { path, existing } = findFile(root, target.names);
    checkCondition(request.headers, existing);
    if (existing === null || !isUnchanged(existing, state)) {
      throw new Refusal(409, `${path} changed meanwhile`, offsetHeader(0));
    }
    setModified(path, state, modified);
  }
  return [204, "No Content", { "repr-digest": formatReprDigest(digest) }, null];
}

/** Appends the body to the part, and checks the digest of the whole file. */
async function append(
  { request }: WriteRequest,
  { digest, offset, length }: WantedFile & { readonly offset: number },
  { handle, state }: Unfinished,
  upload: { readonly isEnded: boolean },
): Promise<void> {
  if (offset === 0) await handle.truncate(0);
  else if (Number(state.size) !== offset) {
    // Another process had it; the new part is empty.
    throw new Refusal(409, "the part has changed", offsetHeader(0));
  }
  const hash = createHash("sha256");
  await hashBytes(handle, offset, hash, () => {
    if (upload.isEnded) throw new Refusal(409, "a newer request for the same part");
  });
  await receive(request.body, { handle, start: offset, limit: length, hash });
  checkDigest(hash, digest);
}

/** Keeps the received part of a file, as far as there is room. */
function keep({ root, maxPartBytes }: ResumableWrite, part: PartName, file: Unfinished): void {
  const { fd } = file.handle;
  // All in one turn: parts that are cut at the same time must not get the same room.
  const { size } = fstatSync(fd);
  const room = findRoom(root, part, size, maxPartBytes);
  if (size > room) ftruncateSync(fd, room);
  file.isKept = room > 0;
}
