/**
 * Uploads that are resumed where they were interrupted.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { fstatSync, ftruncateSync } from "node:fs";
import { type BodyIn, cancelQuietly } from "../base/body/bodies.ts";
import type { ResponseTuple } from "../base/app/message.ts";
import type { HeaderDict } from "../base/wire/headers.ts";
import { findFile } from "./destination.ts";
import { formatReprDigest } from "./digest.ts";
import { hashPieces, readPieces } from "./file_pieces.ts";
import type { FileRequest } from "./file_request.ts";
import { type FileState, isUnchanged } from "./file_state.ts";
import { receive } from "./file_writer.ts";
import { wantsDigest } from "./get.ts";
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
} from "./put.ts";
import { Refusal, refusalOf } from "./refusal.ts";
import { setModified, Unfinished } from "./unfinished.ts";
import type { UploadHeaders } from "./upload_headers.ts";

/** The headers of a request for a file that may have a part here: it has either a digest or a version. */
interface WantedFile extends UploadHeaders {
  readonly length: number;
}

function wantedFile(headers: UploadHeaders): WantedFile {
  const { digest, version, length } = headers;
  if (length !== null && (digest === null) !== (version === null)) return { ...headers, length };
  throw new Refusal(
    400,
    "upload-length must come with a repr-digest with sha-256 or an upload-version",
  );
}

/** Answers how much of a file is here. Creates nothing. */
export async function answerOffset(
  write: FileRequest,
  headers: UploadHeaders,
): Promise<ResponseTuple> {
  const wanted = wantedFile(headers);
  checkDestination(write, wanted.length);
  const part = namePart(write, wanted);
  let older = endOlder(part);
  while (older !== null) {
    await older;
    older = endOlder(part);
  }
  if (wanted.digest !== null) {
    return [200, "OK", offsetHeader(await offsetOf(write, wanted, part)), null];
  }
  const offset = partOffset(part, wanted.length);
  const here = offset === 0 && wantsDigest(write.request) ? await findHere(write, wanted) : null;
  const digest: HeaderDict = here === null ? {} : { "repr-digest": formatReprDigest(here.digest) };
  return [200, "OK", { ...offsetHeader(offset), ...digest }, null];
}

/** Writes the rest of a file that has a part here, or all of it. */
export async function putRest(
  write: FileRequest,
  headers: UploadHeaders,
): Promise<ResponseTuple> {
  const { request, root } = write;
  const { body } = request;
  const wanted = wantedFile(headers);
  const { offset, length } = wanted;
  if (offset === null) throw new Refusal(400, "the request must have upload-offset");
  if (wanted.version !== null ? !body?.chunked : !isRest(body, length - offset)) {
    throw new Refusal(
      400,
      "the body must be exactly the rest of the file, and with upload-version chunked",
    );
  }
  checkBeforeBody(write, length);
  const part = namePart(write, wanted);
  let older = endOlder(part);
  while (older !== null) {
    await older;
    older = endOlder(part);
  }
  if (offset !== 0 && offset !== partSize(part)) {
    const here = wanted.digest === null ? null : await findHere(write, wanted);
    const isHere = here !== null && here.digest === wanted.digest;
    if (offset === length && isHere) return await confirm(write, here, wanted.modified);
    const right = isHere ? length : partOffset(part, length);
    throw new Refusal(409, `the offset is ${right}, not ${offset}`, offsetHeader(right));
  }
  const cancel = () => body && cancelQuietly(body, new Refusal(409, "a newer request"));
  return await asUpload(part, cancel, async (upload) => {
    makeRoom(root, part);
    await using file = await Unfinished.openPart(part.path, root);
    let digest: string;
    try {
      digest = await append(write, { ...wanted, offset }, file, upload);
    } catch (error) {
      // An interrupted upload is resumed later. What can't be written or kept is removed.
      if (upload.isEnded || refusalOf(error) === null) keep(write, part, file);
      throw upload.isEnded ? new Refusal(409, "a newer request for the same part") : error;
    }
    return await finish(write, { ...wanted, digest }, file);
  });
}

function isRest(body: BodyIn, rest: number): boolean {
  return body === null ? rest === 0 : !body.chunked && body.contentLength === rest;
}

function offsetHeader(offset: number): { "upload-offset": string } {
  return { "upload-offset": `${offset}` };
}

/** How much of a file is here: all, a part, or nothing. */
async function offsetOf(
  write: FileRequest,
  wanted: WantedFile,
  part: PartName,
): Promise<number> {
  const here = await findHere(write, wanted);
  return here?.digest === wanted.digest ? wanted.length : partOffset(part, wanted.length);
}

/** The length of a file's part. */
function partOffset(part: PartName, length: number): number {
  const size = partSize(part);
  return size <= length ? size : 0;
}

/** A file that has the name now. */
interface FileHere {
  readonly state: FileState;
  readonly digest: string;
}

/** The file that has the name now, if it has the wanted length. */
async function findHere(
  { root, target, digests, session }: FileRequest,
  { length }: WantedFile,
): Promise<FileHere | null> {
  const file = await openBelow(root, target.names);
  if (file === null || file === "directory") return null;
  try {
    if (file.size !== length) return null;
    const digest = await digests.findOrCompute(file, session?.signal);
    return digest === null ? null : { state: file.state, digest };
  } finally {
    await file.handle.close();
  }
}

/** Answers an upload of a file that is already here; it gets the time in the request. */
async function confirm(
  write: FileRequest,
  { digest, state }: FileHere,
  modified: Date | null,
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

/** Appends the body to the part; returns the digest of the whole file, which is the one that was announced. */
async function append(
  { request }: FileRequest,
  { digest, offset, length }: WantedFile & { readonly offset: number },
  file: Unfinished,
  upload: { readonly isEnded: boolean },
): Promise<string> {
  const { handle, state } = file;
  const changed = () => new Refusal(409, "the part has changed", offsetHeader(0));
  if (offset === 0) await handle.truncate(0);
  else if (Number(state.size) !== offset) {
    // Another process had it; the new part is empty.
    throw changed();
  }
  const hash = createHash("sha256");
  await hashPieces(readPieces(handle, 0, offset, changed), hash, () => {
    if (upload.isEnded) throw new Refusal(409, "a newer request for the same part");
  });
  const destined = { file, start: offset, limit: length, length, hash };
  const lastChunkDigest = await receive(request.body, destined);
  const announced = digest ?? lastChunkDigest;
  checkDigest(hash, announced);
  return announced!;
}

/** Keeps the received part of a file, as far as there is room. */
function keep({ root, maxPartBytes }: FileRequest, part: PartName, file: Unfinished): void {
  const { fd } = file.handle;
  // All in one turn: parts that are cut at the same time must not get the same room.
  const { size } = fstatSync(fd);
  const room = findRoom(root, part, size, maxPartBytes);
  if (size > room) ftruncateSync(fd, room);
  file.isKept = room > 0;
}
