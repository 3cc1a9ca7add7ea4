/**
 * PUT and DELETE: files that are written in a single request, or resumed where an earlier request
 * was interrupted.
 */

import type { Hash } from "node:crypto";
import { dirname } from "node:path";
import { type BigIntStats, fstatSync } from "node:fs";
import { isStillAdmitted, type Session } from "../../../base/app/session.ts";
import { makeEmptyResponse, type ResponseTuple } from "../../../base/app/message.ts";
import { cancelQuietly } from "../../../base/body/bodies.ts";
import type { HeaderDict } from "../../../base/wire/headers.ts";
import { parseDecimal } from "../../../base/wire/tables.ts";
import { EarlySync, setMode } from "../../disk/files.ts";
import {
  type FileIdentity,
  isFileSystemError,
  isSameFile,
  syncAllIfPossible,
} from "../../disk/names.ts";
import { isDiskFull } from "../../disk/space.ts";
import type { Temporary } from "../../disk/temporary.ts";
import {
  checkConditions,
  isStamp,
  makeValidators,
  NO_STAMP,
  stampOfState,
  wantsNew,
} from "../conditions.ts";
import { digestHeader, hashStart, newHash, parseReprDigest } from "../digest.ts";
import { parseTime } from "../entries.ts";
import { type FileState, isOverwritten, isUnchanged } from "../file_pieces.ts";
import type { FileRequest } from "./file_request.ts";
import { receiveBody } from "../file_writer.ts";
import { wantsDigest } from "./get.ts";
import { bitsOf, modeHeader, modeOfCopy, parseMode } from "../modes.ts";
import { openBelow } from "../below_root.ts";
import { notFound, Refusal, refusalOf, unreadable } from "../refusal.ts";
import { copyBeginning, parseReuse, placeHeader } from "../reuse.ts";
import type { Condition } from "../root.ts";
import { partSize } from "./unfinished.ts";

/** The headers about a file, in a PUT, and in a HEAD that requests the upload offset. */
interface UploadHeaders {
  /** The SHA-256 of the whole file, in hexadecimal digits. */
  readonly digest: string | null;
  /** When the file was last changed on the client. */
  readonly modified: Date | null;
  /** The permission bits of the file on the client. */
  readonly mode: number | null;
  /** The position of the first byte of the body in the file. */
  readonly offset: number | null;
  /** Bytes of the whole file. */
  readonly length: number | null;
  /** The client's name of this version of the file, whose digest is not known yet. */
  readonly version: string | null;
  /** Whether the file gets its name by a later request: until then its part is kept. */
  readonly isLater: boolean;
  /** What the file begins with, which is here already, and is not in the body. */
  readonly reuse: ReturnType<typeof parseReuse>;
}

/**
 * The form of such a version, which is only compared with that of an earlier request: a fingerprint
 * has 64 digits.
 */
const VERSION_FORM = /^[0-9a-f]{1,64}$/;

/** Whether a HEAD asks how much of an upload is here, rather than for the file. */
export function asksForOffset(headers: HeaderDict): boolean {
  return headers["upload-length"] !== undefined &&
    (headers["repr-digest"] !== undefined || headers["upload-version"] !== undefined);
}

/** @throws {Refusal} if a header is not valid. */
export function readUploadHeaders(headers: HeaderDict): UploadHeaders {
  return {
    mode: readHeader(headers, "file-mode", (value) => valid(parseMode(value))),
    digest: readHeader(headers, "repr-digest", parseReprDigest),
    // The form is that of `toISOString`; milliseconds may be omitted.
    modified: readHeader(headers, "upload-modified", (value) => {
      return parseTime(value) ?? valid(parseTime(value.replace(/Z$/, ".000Z")));
    }),
    offset: readHeader(headers, "upload-offset", parseCount),
    length: readHeader(headers, "upload-length", parseCount),
    version: readHeader(
      headers,
      "upload-version",
      (value) => valid(VERSION_FORM.test(value) ? value : null),
    ),
    isLater: readHeader(headers, "upload-complete", (value) => valid(value === "?0" || null)) ??
      false,
    reuse: null,
  };
}

function readUpload(
  { request: { headers }, takesModes, reuse: isReused }: FileRequest,
): UploadHeaders {
  const upload = readUploadHeaders(headers);
  const { offset, length } = upload;
  const reuse = isReused ? readHeader(headers, "reuse", (value) => valid(parseReuse(value))) : null;
  const isPossible = reuse === null ||
    length !== null && reuse.length <= length && (offset ?? reuse.length) === reuse.length;
  if (!isPossible) throw new Refusal(400, "what is reused does not fit to the upload");
  return { ...upload, reuse, ...takesModes ? {} : { mode: null } };
}

/** Reads a header, if there is one; a header that can't be parsed refuses the request. */
function readHeader<T>(headers: HeaderDict, name: string, parse: (value: string) => T): T | null {
  const value = headers[name];
  try {
    return value === undefined ? null : parse(`${value}`);
  } catch (error) {
    throw new Refusal(400, `a bad ${name}`, {}, { cause: error });
  }
}

function parseCount(value: string): number {
  const count = parseDecimal(value);
  return valid(count < 0 ? null : count);
}

function valid<T>(value: T | null): T {
  if (value === null) throw new RangeError("invalid");
  return value;
}

/** Writes a file, or creates a directory, whose path has a trailing slash, with an empty body. */
export async function put(write: FileRequest): Promise<ResponseTuple> {
  const { request: { body, headers }, target } = write;
  const bodyLength = body === null ? 0 : body.chunked ? null : body.contentLength;
  if (target.isDirectory && bodyLength === 0) return await putDirectory(write);
  const upload = readUpload(write);
  const { digest, offset, length, version, isLater } = upload;
  const isComplete = offset !== null && offset === length && bodyLength === 0;
  if (isComplete && digest === null && version === null && headers["file-mode"] !== undefined) {
    return await putMode(write, offset, upload.mode);
  }
  const isWhole = offset === null && version === null && !isLater &&
    (length === null || (bodyLength === null && digest === null));
  if (!isWhole) return await putRest(write, upload, bodyLength);
  const known = length ?? bodyLength;
  conditionOf(write)(checkDestination(write, upload, known ?? 0));
  try {
    return await putWhole(write, upload, known ?? 0);
  } catch (error) {
    throw write.unfinished.explainFull(error, known, null);
  }
}

/** Writes a file of which nothing is kept if the request breaks off. */
async function putWhole(
  write: FileRequest,
  upload: UploadHeaders,
  expected: number,
): Promise<ResponseTuple> {
  const { request: { body }, unfinished } = write;
  const { digest, length, reuse } = upload;
  unfinished.checkSpace(expected, 0, 0);
  await using reused = reuse && await openReused(write, reuse);
  unfinished.makeDirectory();
  const { mode } = upload;
  const granted = mode === null ? null : unfinished.findGranted();
  const own = mode === null || granted === null ? null : modeOfCopy(mode, granted);
  using temporary = unfinished.create(own === null ? {} : { newMode: own, hasOwnMode: true });
  const { file, path } = temporary;
  const start = reused?.length ?? 0;
  const sync = new EarlySync(path, 0);
  const copied = reused && await reused.copyTo(temporary, sync);
  const hash = copied ?? (digest === null && length === null ? null : newHash());
  const whole = { file, sync, start, limit: write.maxBytes, length, hash };
  const lastChunkDigest = await receiveBody(body, whole);
  const sha256 = length === null ? digest : lastChunkDigest;
  if (hash !== null) checkDigest(hash, sha256);
  return await finishUpload(write, { ...upload, digest: sha256 }, temporary);
}

/** Gives a file that is here the permission bits in the request, and nothing else. */
async function putMode(
  write: FileRequest,
  length: number,
  mode: number | null,
): Promise<ResponseTuple> {
  await checkAdmission(write.session);
  const { path, existing } = write.root.findFile(write.target.names);
  preconditionOf(write.request.headers)(existing);
  if (existing === null) throw notFound();
  if (Number(existing.size) !== length) throw new Refusal(412, `${path} has another length`);
  if (!write.isAddOnly) giveMode(write, path, mode);
  return answerOf(false, {});
}

/** Gives a file permission bits of its source, synchronously, as far as a new file gets them. */
function giveMode({ unfinished }: FileRequest, path: string, mode: number | null): void {
  const granted = mode === null ? null : unfinished.findGranted();
  if (mode !== null && granted !== null) setMode(path, modeOfCopy(mode, granted));
}

async function putDirectory(write: FileRequest): Promise<ResponseTuple> {
  const { root, target } = write;
  await checkAdmission(write.session);
  const move = { condition: conditionOf(write) };
  const { created, changed } = root.makeDirectory(target.names, move);
  await syncAllIfPossible(changed);
  return answerOf(created, {});
}

function answerOf(created: boolean, headers: HeaderDict): ResponseTuple {
  return created
    ? makeEmptyResponse("PUT", 201, "Created", headers)
    : [204, "No Content", headers, null];
}

/**
 * Refuses a target that can't be written, whatever the body, before the body is read.
 *
 * @returns The state of the file that has the name.
 */
function checkDestination(
  { root, target, maxBytes }: FileRequest,
  { isLater }: UploadHeaders,
  length: number,
): BigIntStats | null {
  if (target.names.length > 0 && target.isDirectory) {
    throw new Refusal(409, "the path of a file has no trailing slash");
  }
  const { existing } = root.findFile(target.names, isLater);
  if (length > maxBytes) throw new Refusal(413, `${length} bytes, more than ${maxBytes}`);
  return existing;
}

function checkDigest(hash: Hash, digest: string | null): string {
  if (digest === null) throw new Refusal(400, "the last chunk has no extension sha256");
  if (hash.digest("hex") === digest) return digest;
  throw new Refusal(400, "the file does not have the digest that was announced");
}

async function finishUpload(
  write: FileRequest,
  { digest, modified, isLater }: UploadHeaders,
  temporary: Temporary,
): Promise<ResponseTuple> {
  const { request, session, root, target: { names }, report, unfinished } = write;
  // A part has the time of its last write, by which old ones are found.
  if (modified !== null && !isLater) await temporary.file.utime(new Date(), modified);
  await temporary.sync();
  await checkAdmission(session);
  if (isLater) {
    unfinished.checkShare(temporary.path);
    temporary.isKept = true;
    // What is in the way is deleted after the answer, so the part must survive a power failure.
    await syncAllIfPossible([root.path, dirname(temporary.path)]);
    return answerOf(false, digestHeader(digest));
  }
  const move = { condition: conditionOf(write), isNew: wantsNew(request.headers) };
  const { created, changed } = root.place(names, temporary, move);
  await syncAllIfPossible(changed);
  report("put", names, temporary.file.statSync().size, true, created ? 201 : 204);
  return answerOf(created, digestHeader(digest));
}

export async function remove(write: FileRequest): Promise<ResponseTuple> {
  const { root, target, report } = write;
  await checkAdmission(write.session);
  const { isDirectory, names } = target;
  const removing = root.remove(names, isDirectory, conditionOf(write));
  const { wasFile, changed } = await removing.catch((error) => {
    // An error of the disk, as of a damaged sector, refuses this name alone.
    throw refusalOf(error) ?? unreadable(error);
  });
  await syncAllIfPossible([changed]);
  if (wasFile) report("delete", names, 0, true, 204);
  return [204, "No Content", {}, null];
}

/** The condition of a request that writes or deletes, and that of an app that only adds files. */
function conditionOf({ request: { headers }, isAddOnly }: FileRequest): Condition {
  const precondition = preconditionOf(headers);
  return (existing) => {
    precondition(existing);
    if (!isAddOnly || existing === null || existing.isDirectory()) return;
    throw new Refusal(
      hasCondition(headers) ? 412 : 409,
      "a file is there, and files are only added",
    );
  };
}

function preconditionOf(headers: HeaderDict): Condition {
  const stamp = readHeader(
    headers,
    "if-file-stamp",
    (value) => valid(isStamp(value) ? value : null),
  );
  return (existing) => {
    const validators = existing && makeValidators(existing, Date.now());
    const isOther = stamp !== null && stamp !== stampHere(existing);
    if (!isOther && checkConditions(headers, validators, true) === null) return;
    throw new Refusal(412, "a precondition does not hold");
  };
}

/** Whether a request says what it may replace. */
function hasCondition(headers: HeaderDict): boolean {
  return ["if-match", "if-none-match", "if-unmodified-since", "if-file-stamp"]
    .some((name) => headers[name] !== undefined);
}

function stampHere(existing: BigIntStats | null): string {
  return existing === null ? NO_STAMP : stampOfState(existing);
}

/**
 * Checks, right before a change that can't be undone, that the peer was not forgotten meanwhile.
 */
export async function checkAdmission(session: Session | undefined): Promise<void> {
  if (session === undefined || await isStillAdmitted(session)) return;
  throw new Refusal(403, "the peer is no longer trusted");
}

/** An upload, with a digest or a version, of which a part may be here. */
interface Resumable extends UploadHeaders {
  readonly length: number;
}

function asResumable(upload: UploadHeaders): Resumable {
  const { digest, version, length, isLater } = upload;
  if (isLater && digest === null) throw new Refusal(400, "upload-complete needs a repr-digest");
  if (length !== null && (digest === null) !== (version === null)) return { ...upload, length };
  throw new Refusal(
    400,
    "upload-length must come with a repr-digest with sha-256 or an upload-version",
  );
}

/** Answers how much of a file is here, and creates nothing. */
export async function answerOffset(write: FileRequest): Promise<ResponseTuple> {
  const { unfinished } = write;
  const upload = asResumable(readUpload(write));
  const existing = checkDestination(write, upload, upload.length);
  const part = partOf(write, upload);
  await endWriting(part);
  const { offset, here } = await findUpload(write, upload, part);
  // If a file of this length is here, it may be the same, and the client then sends nothing: the
  // space is checked only without one.
  if (here === null) unfinished.checkSpace(upload.length, offset, offset);
  const digestHere = upload.digest === null ? here?.digest ?? null : null;
  const told = {
    ...offsetHeader(offset),
    ...digestHeader(digestHere),
    ...versionHeaders(existing),
    ...write.reuse ? placeHeader(write.target.names, false) : {},
  };
  return [200, "OK", told, null];
}

/** What a client needs to say that it replaces this file, or none. */
function versionHeaders(existing: BigIntStats | null): HeaderDict {
  if (existing?.isDirectory()) return {};
  const etag = existing && makeValidators(existing, Date.now()).etag;
  const mode = modeHeader(existing && bitsOf(existing.mode));
  return { "file-stamp": stampHere(existing), ...mode, ...(etag === null ? {} : { etag }) };
}

/** The requests of this process that write to parts, by the path of the part. */
const partWriters = new Map<string, {
  /** Aborts once a newer request has asked for the same part. */
  readonly superseded: AbortController;
  /** Resolves when the request has ended. */
  readonly done: Promise<void>;
}>();

/**
 * Ends the request that writes to a part; resolves when nobody does. Another one may have begun in
 * the turn after that.
 */
async function endWriting(part: string): Promise<void> {
  for (let older; (older = partWriters.get(part)) !== undefined;) {
    older.superseded.abort(new Refusal(409, "a newer request for the same part"));
    await older.done;
  }
}

/**
 * Writes to a part alone: another request that writes to the part is ended first.
 *
 * @param work Writes; the argument aborts when a newer request asks for the part.
 */
async function writeAlone<T>(
  part: string,
  work: (superseded: AbortSignal) => Promise<T>,
): Promise<T> {
  while (partWriters.has(part)) await endWriting(part);
  const superseded = new AbortController();
  const { promise: done, resolve } = Promise.withResolvers<void>();
  partWriters.set(part, { superseded, done });
  try {
    return await work(superseded.signal);
  } finally {
    partWriters.delete(part);
    resolve();
  }
}

/** Writes the rest of a file that has a part here, or all of it. */
async function putRest(
  write: FileRequest,
  announced: UploadHeaders,
  bodyLength: number | null,
): Promise<ResponseTuple> {
  const { request: { body }, unfinished } = write;
  const upload = asResumable(announced);
  const { offset, length, version, reuse } = upload;
  if (offset === null) throw new Refusal(400, "the request must have upload-offset");
  if (bodyLength !== (version === null ? length - offset : null)) {
    throw new Refusal(
      400,
      "the body must be exactly the rest of the file, and with upload-version chunked",
    );
  }
  const existing = checkDestination(write, upload, length);
  // An app that only adds files confirms one that is there already.
  if (write.isAddOnly && offset === length) preconditionOf(write.request.headers)(existing);
  else conditionOf(write)(existing);
  const part = partOf(write, upload);
  const writing = writeAlone(part, async (superseded) => {
    const isPart = offset === 0 || offset === partSize(part);
    await using reused = isPart ? null : reuse && await openReused(write, reuse, superseded);
    if (!isPart && reused === null) {
      const { offset: right, here } = await findUpload(write, upload, part, superseded);
      if (offset === length && here !== null && here.digest === upload.digest) {
        return await confirmUpload(write, here, upload);
      }
      throw new Refusal(409, `the offset is ${right}, not ${offset}`, offsetHeader(right));
    }
    superseded.addEventListener("abort", () => body && cancelQuietly(body, superseded.reason));
    const begin = reused === null ? offset : 0;
    unfinished.checkSpace(length, begin, partSize(part));
    using temporary = await unfinished.openPart(part, upload.mode);
    const sync = new EarlySync(part, begin);
    // If this fails, nothing is kept: what was copied can be copied again.
    const copied = reused && await reused.copyTo(temporary, sync);
    try {
      const { file } = temporary;
      const changed = () => new Refusal(409, "the part has changed", offsetHeader(0));
      // If another process had the part, the new one is empty, and so too short.
      const hash = copied ?? await hashStart(file, offset, changed, superseded);
      if (copied === null) await temporary.continueFrom(offset);
      const destined = { file, sync, start: offset, limit: length, length, hash };
      const lastChunkDigest = await receiveBody(body, destined);
      const digest = checkDigest(hash, upload.digest ?? lastChunkDigest);
      return await finishUpload(write, { ...upload, digest }, temporary);
    } catch (error) {
      const isFull = isDiskFull(error);
      // An interrupted upload is resumed later, and a refused one is removed.
      const isInterrupted = superseded.aborted || isFull || refusalOf(error) === null;
      // A file that has its name already is not cut.
      if (isInterrupted && temporary.isThere) {
        if (isFull) await temporary.keepSynced(sync.synced);
        temporary.isKept = temporary.file.statSync().size > 0;
        unfinished.makeRoom(part);
      }
      throw superseded.aborted ? superseded.reason : error;
    }
  });
  // The part has its final size only once the file is closed.
  return await writing.catch((error) => {
    throw unfinished.explainFull(error, length, part);
  });
}

/**
 * Opens the file of which an upload reuses the beginning.
 *
 * @throws {Refusal} of status 404 if this peer can't read the file.
 */
async function openReused(
  { root, session }: FileRequest,
  { names, length }: NonNullable<UploadHeaders["reuse"]>,
  superseded?: AbortSignal,
) {
  const found = names && await openBelow(root, names).catch((error) => {
    throw error instanceof Refusal && error.status === 403 ? notFound() : error;
  });
  if (found === null || found === "directory") throw notFound();
  const { handle, state } = found;
  const other = (error?: unknown) => {
    if (error !== undefined && !isFileSystemError(error)) throw error;
    const text = `${found.path} is not what was to be reused`;
    return new Refusal(409, text, offsetHeader(0), { cause: error });
  };
  return {
    length,
    /** Copies the beginning to an empty file; resolves to its hash. */
    async copyTo(temporary: Temporary, sync: EarlySync): Promise<Hash> {
      await temporary.continueFrom(0);
      const { file } = temporary;
      const hash = newHash();
      const signals = [session?.signal, superseded].filter((signal) => signal !== undefined);
      const signal = AbortSignal.any(signals);
      await copyBeginning(handle, file, { length, hash, sync, signal, unreadable: other });
      if (isOverwritten(state, fstatSync(handle.fd, { bigint: true }))) throw other();
      return hash;
    },
    [Symbol.asyncDispose]: () => handle.close(),
  };
}

function partOf(
  { unfinished, session, target: { names } }: FileRequest,
  { length, digest, version }: Resumable,
): string {
  return unfinished.partOf(session?.peerCertificate, [names, length, digest, version]);
}

function offsetHeader(offset: number): HeaderDict {
  return { "upload-offset": `${offset}` };
}

interface FileHere {
  readonly state: FileState;
  readonly digest: string;
}

/**
 * Finds how much of a file is here: all, a part, or nothing; and the file of the same length that
 * has the name, if that is of interest.
 */
async function findUpload(
  write: FileRequest,
  { digest, length }: Resumable,
  part: string,
  superseded?: AbortSignal,
): Promise<{ readonly offset: number; readonly here: FileHere | null }> {
  const isOfInterest = digest !== null || partSize(part) === 0 && wantsDigest(write.request);
  const here = isOfInterest ? await findHere(write, length, superseded) : null;
  const size = partSize(part);
  const partial = size <= length ? size : 0;
  return { offset: here !== null && here.digest === digest ? length : partial, here };
}

/** The file that has the name now, if it has this length. */
async function findHere(
  { root, target, digests, session }: FileRequest,
  length: number,
  superseded?: AbortSignal,
): Promise<FileHere | null> {
  const file = await openBelow(root, target.names);
  if (file === null || file === "directory") return null;
  try {
    if (file.size !== length) return null;
    const signals = [session?.signal, superseded].filter((signal) => signal !== undefined);
    const digest = await digests.findOrCompute(file, AbortSignal.any(signals));
    return digest === null ? null : { state: file.state, digest };
  } finally {
    await file.handle.close();
  }
}

/**
 * Answers an upload of a file that is already here: the file gets the time and the permission bits
 * in the request. Its path may not be on the disk yet, if the server was killed before it had
 * answered an earlier request.
 */
async function confirmUpload(
  write: FileRequest,
  { digest, state }: FileHere,
  { modified, mode }: UploadHeaders,
): Promise<ResponseTuple> {
  if ((modified !== null || mode !== null) && !write.isAddOnly) {
    await checkAdmission(write.session);
    const { path, existing } = write.root.findFile(write.target.names);
    conditionOf(write)(existing);
    if (existing === null || !isUnchanged(existing, state)) {
      throw new Refusal(409, `${path} changed meanwhile`, offsetHeader(0));
    }
    if (modified !== null) setModified(path, state, modified);
    giveMode(write, path, mode);
  }
  const { root, target: { names } } = write;
  await syncAllIfPossible(names.map((_name, depth) => root.pathOf(names.slice(0, depth))));
  return answerOf(false, digestHeader(digest));
}

/**
 * Sets the modification time of a file, synchronously: no other request of the process runs between
 * a check of the file and this.
 *
 * @param seen The metadata of the file.
 * @throws {Refusal} if another file has the path now, or the program may not write to the file.
 */
export function setModified(path: string, seen: FileIdentity, modified: Date): void {
  // Deno needs no permission to set the times of an open file.
  const { state } = Deno.permissions.querySync({ name: "write", path });
  if (state !== "granted") throw new Refusal(403, `no permission to write to ${path}`);
  // The times of node:fs are seconds as floating-point numbers, off by a millisecond.
  using file = Deno.openSync(path, { read: true });
  if (!isSameFile(file.statSync(), seen)) throw new Refusal(409, `${path} was replaced meanwhile`);
  file.utimeSync(new Date(), modified);
}
