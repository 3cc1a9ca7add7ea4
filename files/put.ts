/**
 * PUT and DELETE.
 *
 * @module
 */

import { type BigIntStats, fstatSync } from "node:fs";
import { createHash, type Hash } from "node:crypto";
import { isStillAdmitted, type Session } from "../base/app/session.ts";
import { makeEmptyResponse, type Request, type ResponseTuple } from "../base/app/message.ts";
import type { HeaderDict } from "../base/wire/headers.ts";
import { parseDecimal } from "../base/wire/range.ts";
import { syncAllIfPossible } from "../disk/names.ts";
import { checkConditions, makeValidators, wantsNew } from "./conditions.ts";
import {
  checkFileSystem,
  clearWay,
  deleteAt,
  findFile,
  makeDirectoryAt,
  moveTo,
  type Replaceable,
} from "./destination.ts";
import { formatReprDigest, SHA256_HEX } from "./digest.ts";
import { parseTime } from "./entries.ts";
import type { FileRequest } from "./file_request.ts";
import { receive } from "./file_writer.ts";
import { Refusal } from "./refusal.ts";
import { setModified, Unfinished } from "./unfinished.ts";
import type { UploadHeaders } from "./upload_headers.ts";

/**
 * Reads the headers that say what may give way to the target of a PUT.
 *
 * @throws {Refusal} if one is not valid.
 */
export function readReplaceable(headers: HeaderDict): Replaceable {
  const directory = headers["replace-directory"] ?? null;
  const file = headers["replace-file"] ?? null;
  const link = headers["replace-link"] ?? null;
  if (directory !== null && (typeof directory !== "string" || !SHA256_HEX.test(directory))) {
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

/** Reports whether a PUT is for a whole file, of which nothing is kept if it breaks off. */
export function isWhole(
  { body }: Request,
  { digest, offset, length, version }: UploadHeaders,
): boolean {
  if (offset !== null || version !== null) return false;
  return length === null || (body !== null && body.chunked && digest === null);
}

/** Writes a file in a single request. */
export async function put(write: FileRequest, headers: UploadHeaders): Promise<ResponseTuple> {
  const { request, root, maxBytes } = write;
  const { digest, length } = headers;
  checkBeforeBody(write, length ?? bodyLength(request));
  await using file = await Unfinished.create(root);
  const hash = digest === null && length === null ? null : createHash("sha256");
  const whole = { file, start: 0, limit: maxBytes, length, hash };
  const lastChunkDigest = await receive(request.body, whole);
  const sha256 = length === null ? digest : lastChunkDigest;
  checkDigest(hash, sha256);
  return await finish(write, { ...headers, digest: sha256 }, file);
}

/** Reports whether a PUT creates a directory: its path has a trailing slash, and its body is empty. */
export function isForDirectory({ request: { body }, target }: FileRequest): boolean {
  return target.isDirectory && (body === null || (!body.chunked && body.contentLength === 0));
}

/** Creates a directory, unless it exists. */
export async function putDirectory(write: FileRequest): Promise<ResponseTuple> {
  const { request, root, target, replaceable } = write;
  await checkAdmission(write.session);
  const condition = (existing: BigIntStats | null) => checkCondition(request.headers, existing);
  const { created, changed } = makeDirectoryAt(root, target.names, condition, replaceable);
  await syncAllIfPossible(changed);
  return answerOf(created, {});
}

/** The response: 201 for a new entry, else 204. */
function answerOf(created: boolean, headers: HeaderDict): ResponseTuple {
  return created
    ? makeEmptyResponse("PUT", 201, "Created", headers)
    : [204, "No Content", headers, null];
}

/** Bytes of the body; 0 if unknown. */
function bodyLength({ body }: Request): number {
  return body === null || body.chunked ? 0 : body.contentLength;
}

/** Refuses what can't be written, whatever the body. */
export function checkDestination(write: FileRequest, length: number): BigIntStats | null {
  const { root, target, maxBytes, replaceable } = write;
  if (target.names.length > 0 && target.isDirectory) {
    throw new Refusal(409, "the path of a file has no trailing slash");
  }
  const destination = findFile(root, target.names, replaceable);
  checkFileSystem(root, destination);
  if (length > maxBytes) throw new Refusal(413, `${length} bytes, more than ${maxBytes}`);
  return destination.existing;
}

/** Refuses an invalid request before its body is read. */
export function checkBeforeBody(write: FileRequest, length: number): void {
  checkCondition(write.request.headers, checkDestination(write, length));
}

/** Refuses a file that does not match its announced digest. */
export function checkDigest(hash: Hash | null, digest: string | null): void {
  if (hash === null) return;
  if (digest === null) throw new Refusal(400, "the last chunk has no extension sha256");
  if (hash.digest("hex") === digest) return;
  throw new Refusal(400, "the file does not have the digest that was announced");
}

/** Gives a complete file its name. */
export async function finish(
  write: FileRequest,
  { digest, modified }: UploadHeaders,
  file: Unfinished,
): Promise<ResponseTuple> {
  const { request, root, target, replaceable, report } = write;
  const { names } = target;
  if (modified !== null) setModified(file.path, file.state, modified);
  await file.handle.sync();
  const admit = () => checkAdmission(write.session);
  const condition = (existing: BigIntStats | null) => checkCondition(request.headers, existing);
  if (replaceable.directory !== null) {
    // Again: before the first unfinished file there was nothing to compare with.
    checkFileSystem(root, findFile(root, names, replaceable));
    const removed = await clearWay(root, names, replaceable, condition, admit);
    for (const path of removed ?? []) report("delete", path, 0, true, 204);
  }
  await admit();
  const isNew = wantsNew(request.headers);
  const { created, changed } = moveTo(root, names, file, { condition, isNew, replaceable });
  await syncAllIfPossible(changed);
  const headers: HeaderDict = digest === null ? {} : { "repr-digest": formatReprDigest(digest) };
  report("put", names, fstatSync(file.handle.fd).size, true, created ? 201 : 204);
  return answerOf(created, headers);
}

/** Deletes a file or an empty directory. */
export async function remove(write: FileRequest): Promise<ResponseTuple> {
  const { request, root, target, report } = write;
  const condition = (existing: BigIntStats | null) => checkCondition(request.headers, existing);
  await checkAdmission(write.session);
  const { wasFile, changed } = deleteAt(root, target.names, target.isDirectory, condition);
  await syncAllIfPossible([changed]);
  if (wasFile) report("delete", target.names, 0, true, 204);
  return [204, "No Content", {}, null];
}

/** Refuses a request whose preconditions fail. */
export function checkCondition(headers: HeaderDict, existing: BigIntStats | null): void {
  const validators = existing && makeValidators(existing, Date.now());
  if (checkConditions(headers, validators, true) !== null) {
    throw new Refusal(412, "a precondition does not hold");
  }
}

/** Checked right before what can't be undone: the peer may have been forgotten meanwhile. */
export async function checkAdmission(session: Session | undefined): Promise<void> {
  if (session === undefined || await isStillAdmitted(session)) return;
  throw new Refusal(403, "the peer is no longer trusted");
}
