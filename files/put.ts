/** PUT and DELETE: files that are written in a single request, or resumed where an earlier one was interrupted. */

import type { Hash } from "node:crypto";
import { type BigIntStats, fstatSync, ftruncateSync } from "node:fs";
import { isStillAdmitted, type Session } from "../base/app/session.ts";
import { makeEmptyResponse, type ResponseTuple } from "../base/app/message.ts";
import { cancelQuietly } from "../base/body/bodies.ts";
import type { HeaderDict } from "../base/wire/headers.ts";
import { parseDecimal } from "../base/wire/range.ts";
import { type FileIdentity, isSameFile, syncAllIfPossible } from "../disk/names.ts";
import { clearWay } from "./clear_way.ts";
import { checkConditions, makeValidators, wantsNew } from "./conditions.ts";
import { FINGERPRINT, formatReprDigest, hashStart, newHash, parseReprDigest } from "./digest.ts";
import { parseTime } from "./entries.ts";
import { type FileState, isUnchanged } from "./file_pieces.ts";
import type { FileRequest } from "./file_request.ts";
import { receive } from "./file_writer.ts";
import { wantsDigest } from "./get.ts";
import { Refusal, refusalOf } from "./refusal.ts";
import type { Condition, Replaceable } from "./root.ts";
import { partSize, type Unfinished } from "./unfinished.ts";

/** The headers that describe a file, of a PUT, and of a HEAD that requests the upload offset. */
interface UploadHeaders {
  /** The SHA-256 of the whole file, in hexadecimal digits. */
  readonly digest: string | null;
  /** When the file was last changed on the client. */
  readonly modified: Date | null;
  /** The position of the first byte of the body in the file. */
  readonly offset: number | null;
  /** Bytes of the whole file. */
  readonly length: number | null;
  /** What the client calls this version of the file, whose digest it does not know yet. */
  readonly version: string | null;
}

/** It is compared with that of an earlier request, and means nothing else here. */
const VERSION = /^[0-9a-f]{1,64}$/;

/**
 * Reads the headers.
 *
 * @throws {Refusal} if one is not valid.
 */
export function readUploadHeaders(headers: HeaderDict): UploadHeaders {
  const read = <T>(name: string, parse: (value: string) => T): T | null => {
    const value = headers[name];
    try {
      return value === undefined ? null : parse(`${value}`);
    } catch (error) {
      throw new Refusal(400, `a bad ${name}`, {}, { cause: error });
    }
  };
  const count = (value: string) => valid(parseDecimal(value), (count) => count >= 0);
  return {
    digest: read("repr-digest", parseReprDigest),
    // ISO 8601 in the form of `toISOString`; milliseconds may be omitted.
    modified: read("upload-modified", (value) => {
      return valid(parseTime(value) ?? parseTime(value.replace(/Z$/, ".000Z")));
    }),
    offset: read("upload-offset", count),
    length: read("upload-length", count),
    version: read("upload-version", (value) => valid(value, (value) => VERSION.test(value))),
  };
}

/** Returns a value, unless it is not valid. */
function valid<T>(value: T | null, isValid: (value: T) => boolean = () => true): T {
  if (value === null || !isValid(value)) throw new RangeError("invalid");
  return value;
}

/**
 * Reads the headers that say what may give way to the target of a PUT.
 *
 * @throws {Refusal} if one is not valid.
 */
export function readReplaceable(headers: HeaderDict): Replaceable {
  const directory = headers["replace-directory"] ?? null;
  const file = headers["replace-file"] ?? null;
  const link = headers["replace-link"] ?? null;
  if (directory !== null && (typeof directory !== "string" || !FINGERPRINT.test(directory))) {
    throw new Refusal(400, "a bad replace-directory");
  }
  if (link !== null && link !== "*") throw new Refusal(400, "a bad replace-link");
  const [, size = "", time] = /^(\d+),([^,]+)$/.exec(`${file}`) ?? [];
  const modified = parseTime(time);
  if (file !== null && (parseDecimal(size) < 0 || modified === null)) {
    throw new Refusal(400, "a bad replace-file");
  }
  return {
    directory,
    file: modified && { size: parseDecimal(size), modified },
    link: link !== null,
  };
}

/** Writes a file, or creates a directory: the path of one has a trailing slash, and its body is empty. */
export async function put(write: FileRequest): Promise<ResponseTuple> {
  const { request: { body, headers }, target } = write;
  const bodyLength = body === null ? 0 : body.chunked ? null : body.contentLength;
  if (target.isDirectory && bodyLength === 0) return await putDirectory(write);
  const announced = readUploadHeaders(headers);
  const { digest, offset, length, version } = announced;
  // Of what can't be resumed nothing is kept if the request breaks off.
  const isWhole = offset === null && version === null &&
    (length === null || (bodyLength === null && digest === null));
  if (!isWhole) return await putRest(write, announced, bodyLength);
  return await putWhole(write, announced, length ?? bodyLength ?? 0);
}

async function putWhole(
  write: FileRequest,
  headers: UploadHeaders,
  knownLength: number,
): Promise<ResponseTuple> {
  const { request, root, maxBytes } = write;
  const { digest, length } = headers;
  conditionOf(write)(checkDestination(write, knownLength));
  await using file = await root.unfinished.create();
  const hash = digest === null && length === null ? null : newHash();
  const whole = { path: file.path, file, start: 0, limit: maxBytes, length, hash };
  const lastChunkDigest = await receive(request.body, whole);
  const sha256 = length === null ? digest : lastChunkDigest;
  if (hash !== null) checkDigest(hash, sha256);
  return await finish(write, { ...headers, digest: sha256 }, file);
}

async function putDirectory(write: FileRequest): Promise<ResponseTuple> {
  const { root, target, replaceable } = write;
  await checkAdmission(write.session);
  const condition = conditionOf(write);
  const { created, changed } = root.makeDirectory(target.names, condition, replaceable);
  await syncAllIfPossible(changed);
  return answerOf(created, {});
}

/** The response: 201 for a new entry, else 204. */
function answerOf(created: boolean, headers: HeaderDict): ResponseTuple {
  return created
    ? makeEmptyResponse("PUT", 201, "Created", headers)
    : [204, "No Content", headers, null];
}

/** Refuses what can't be written, whatever the body, and before it is read; returns what has the name. */
function checkDestination(write: FileRequest, length: number): BigIntStats | null {
  const { root, target, maxBytes, replaceable } = write;
  if (target.names.length > 0 && target.isDirectory) {
    throw new Refusal(409, "the path of a file has no trailing slash");
  }
  const destination = root.findFile(target.names, replaceable);
  root.checkFileSystem(destination);
  if (length > maxBytes) throw new Refusal(413, `${length} bytes, more than ${maxBytes}`);
  return destination.existing;
}

/** Returns the digest, unless the file does not match it. */
function checkDigest(hash: Hash, digest: string | null): string {
  if (digest === null) throw new Refusal(400, "the last chunk has no extension sha256");
  if (hash.digest("hex") === digest) return digest;
  throw new Refusal(400, "the file does not have the digest that was announced");
}

/** Gives a complete file its name. */
async function finish(
  write: FileRequest,
  { digest, modified }: UploadHeaders,
  file: Unfinished,
): Promise<ResponseTuple> {
  const { request, root, target, replaceable, report } = write;
  const { names } = target;
  if (modified !== null) setModified(file.path, file.state, modified);
  await file.handle.sync();
  const admit = () => checkAdmission(write.session);
  const condition = conditionOf(write);
  if (replaceable.directory !== null) {
    // Again: before the first unfinished file there was nothing to compare with.
    root.checkFileSystem(root.findFile(names, replaceable));
    const removed = await clearWay(root, names, replaceable, condition, admit);
    for (const path of removed ?? []) report("delete", path, 0, true, 204);
  }
  await admit();
  const isNew = wantsNew(request.headers);
  const { created, changed } = root.place(names, file, { condition, isNew, replaceable });
  await syncAllIfPossible(changed);
  report("put", names, fstatSync(file.handle.fd).size, true, created ? 201 : 204);
  return answerOf(created, digest === null ? {} : digestHeader(digest));
}

/** Deletes a file or an empty directory. */
export async function remove(write: FileRequest): Promise<ResponseTuple> {
  const { root, target, report } = write;
  await checkAdmission(write.session);
  const { isDirectory, names } = target;
  const { wasFile, changed } = root.remove(names, isDirectory, conditionOf(write));
  await syncAllIfPossible([changed]);
  if (wasFile) report("delete", names, 0, true, 204);
  return [204, "No Content", {}, null];
}

/** The preconditions of a request. */
function conditionOf({ request: { headers } }: FileRequest): Condition {
  return (existing) => {
    const validators = existing && makeValidators(existing, Date.now());
    if (checkConditions(headers, validators, true) === null) return;
    throw new Refusal(412, "a precondition does not hold");
  };
}

/** Checked right before what can't be undone: the peer may have been forgotten meanwhile. */
export async function checkAdmission(session: Session | undefined): Promise<void> {
  if (session === undefined || await isStillAdmitted(session)) return;
  throw new Refusal(403, "the peer is no longer trusted");
}

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
export async function answerOffset(write: FileRequest): Promise<ResponseTuple> {
  const wanted = wantedFile(readUploadHeaders(write.request.headers));
  checkDestination(write, wanted.length);
  const part = namePart(write, wanted);
  await endUploads(part);
  const { offset, here } = await find(write, wanted, part);
  const isNews = here !== null && wanted.digest === null;
  return [200, "OK", { ...offsetHeader(offset), ...isNews ? digestHeader(here.digest) : {} }, null];
}

/** An upload in progress. */
interface Upload {
  /** Aborts once a newer request has asked for the same part. */
  readonly newer: AbortController;
  /** Resolves when it has ended. */
  readonly done: Promise<void>;
}

/** The uploads of this process, by the path of their part. */
const uploads = new Map<string, Upload>();

/** Ends the uploads to a part; resolves when none is in progress. Another one may have begun in the turn after that. */
async function endUploads(part: string): Promise<void> {
  for (let upload; (upload = uploads.get(part)) !== undefined;) {
    upload.newer.abort(new Refusal(409, "a newer request for the same part"));
    await upload.done;
  }
}

/**
 * Runs an upload alone: those in progress to the same part are ended before.
 *
 * @param work Gets a signal that aborts when a newer request asks for the part.
 */
async function asUpload<T>(
  part: string,
  work: (newer: AbortSignal) => Promise<T>,
): Promise<T> {
  while (uploads.has(part)) await endUploads(part);
  const newer = new AbortController();
  const { promise: done, resolve } = Promise.withResolvers<void>();
  uploads.set(part, { newer, done });
  try {
    return await work(newer.signal);
  } finally {
    uploads.delete(part);
    resolve();
  }
}

/** Writes the rest of a file that has a part here, or all of it. */
async function putRest(
  write: FileRequest,
  headers: UploadHeaders,
  bodyLength: number | null,
): Promise<ResponseTuple> {
  const { request: { body }, root } = write;
  const wanted = wantedFile(headers);
  const { offset, length, version } = wanted;
  if (offset === null) throw new Refusal(400, "the request must have upload-offset");
  if (bodyLength !== (version === null ? length - offset : null)) {
    throw new Refusal(
      400,
      "the body must be exactly the rest of the file, and with upload-version chunked",
    );
  }
  conditionOf(write)(checkDestination(write, length));
  const part = namePart(write, wanted);
  return await asUpload(part, async (newer) => {
    if (offset !== 0 && offset !== partSize(part)) {
      const { offset: right, here } = await find(write, wanted, part, newer);
      if (offset === length && here !== null && here.digest === wanted.digest) {
        return await confirm(write, here, wanted.modified);
      }
      throw new Refusal(409, `the offset is ${right}, not ${offset}`, offsetHeader(right));
    }
    newer.addEventListener("abort", () => body && cancelQuietly(body, newer.reason));
    root.unfinished.makeRoom(part);
    await using file = await root.unfinished.openPart(part);
    let digest: string;
    try {
      digest = await append(write, { ...wanted, offset }, file, newer);
    } catch (error) {
      // An interrupted upload is resumed later. What can't be written or kept is removed.
      if (newer.aborted || refusalOf(error) === null) keep(write, part, file);
      throw newer.aborted ? newer.reason : error;
    }
    return await finish(write, { ...wanted, digest }, file);
  });
}

/** The part of an upload of the session's client. */
function namePart(
  { root, session, target: { names } }: FileRequest,
  { length, digest, version }: WantedFile,
): string {
  return root.unfinished.partOf(session?.peerCertificate, [names, length, digest, version]);
}

function offsetHeader(offset: number): HeaderDict {
  return { "upload-offset": `${offset}` };
}

function digestHeader(digest: string): HeaderDict {
  return { "repr-digest": formatReprDigest(digest) };
}

/** A file that has the name now. */
interface FileHere {
  readonly state: FileState;
  readonly digest: string;
}

/**
 * Finds how much of a file is here: all, a part, or nothing; and which file of the same length has the name, if that is
 * of interest.
 */
async function find(
  write: FileRequest,
  wanted: WantedFile,
  part: string,
  newer?: AbortSignal,
): Promise<{ readonly offset: number; readonly here: FileHere | null }> {
  const { digest, length } = wanted;
  const isOfInterest = digest !== null || partSize(part) === 0 && wantsDigest(write.request);
  const here = isOfInterest ? await findHere(write, length, newer) : null;
  const size = partSize(part);
  const partial = size <= length ? size : 0;
  return { offset: here !== null && here.digest === digest ? length : partial, here };
}

/** The file that has the name now, if it has this length. */
async function findHere(
  { root, target, digests, session }: FileRequest,
  length: number,
  newer?: AbortSignal,
): Promise<FileHere | null> {
  const file = await root.open(target.names);
  if (file === null || file === "directory") return null;
  try {
    if (file.size !== length) return null;
    const signals = [session?.signal, newer].filter((signal) => signal !== undefined);
    const digest = await digests.findOrCompute(file, AbortSignal.any(signals));
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
  if (modified !== null) {
    await checkAdmission(write.session);
    const { path, existing } = write.root.findFile(write.target.names);
    conditionOf(write)(existing);
    if (existing === null || !isUnchanged(existing, state)) {
      throw new Refusal(409, `${path} changed meanwhile`, offsetHeader(0));
    }
    setModified(path, state, modified);
  }
  return answerOf(false, digestHeader(digest));
}

/**
 * Sets the modification time of a file. Synchronous, so that no other request of the process runs
 * between a check of the file and this.
 *
 * @param seen The metadata of the file.
 * @throws {Refusal} if another file has the path now, or the program may not write to it.
 */
export function setModified(path: string, seen: FileIdentity, modified: Date): void {
  // Deno needs no permission to set the times of an open file.
  const { state } = Deno.permissions.querySync({ name: "write", path });
  if (state !== "granted") throw new Refusal(403, `no permission to write to ${path}`);
  // Not with node:fs: it has times in seconds as floating-point numbers, and is off by a millisecond.
  using file = Deno.openSync(path, { read: true });
  if (!isSameFile(file.statSync(), seen)) throw new Refusal(409, `${path} was replaced meanwhile`);
  file.utimeSync(new Date(), modified);
}

/** Appends the body to the part; returns the digest of the whole file, which is the one that was announced. */
async function append(
  { request }: FileRequest,
  { digest, offset, length }: WantedFile & { readonly offset: number },
  file: Unfinished,
  newer: AbortSignal,
): Promise<string> {
  const changed = () => new Refusal(409, "the part has changed", offsetHeader(0));
  if (offset === 0) await file.handle.truncate(0);
  // Another process had it; the new part is empty.
  else if (file.state.size !== offset) throw changed();
  const hash = await hashStart(file.handle, offset, changed, () => newer.throwIfAborted());
  file.position = offset;
  const destined = { path: file.path, file, start: offset, limit: length, length, hash };
  const lastChunkDigest = await receive(request.body, destined);
  return checkDigest(hash, digest ?? lastChunkDigest);
}

/** Keeps the received part of a file, as far as there is room. */
function keep({ root, maxPartBytes }: FileRequest, part: string, file: Unfinished): void {
  // All in one turn: parts that are cut at the same time must not get the same room.
  const { fd } = file.handle;
  const { size } = fstatSync(fd);
  const room = root.unfinished.findRoom(part, size, maxPartBytes);
  if (size > room) ftruncateSync(fd, room);
  file.isKept = room > 0;
}
