/**
 * GET and HEAD.
 *
 * @module
 */

import mime from "npm:mime@^4.1.2";
import { makeEmptyResponse, type Request, type ResponseTuple } from "../base/app/message.ts";
import type { HeaderDict } from "../base/wire/headers.ts";
import { isRange, type Range } from "../base/wire/range.ts";
import {
  checkConditions,
  formatDate,
  isRangeWanted,
  makeValidators,
  type Validators,
} from "./conditions.ts";
import { formatReprDigest, parseWantReprDigest } from "./digest.ts";
import { type Digested, makeFileBody } from "./file_body.ts";
import type { FileRequest } from "./file_request.ts";
import { listBelow } from "./listing.ts";
import { openBelow, type OpenFile } from "./open_file.ts";
import { notFound, unreadable } from "./refusal.ts";

const INDEX = "index.html";
/** The type of RFC 9110 §8.3 for unknown content; without it a browser would guess. */
const UNKNOWN_TYPE = "application/octet-stream";

/** Answers with a file, with the content of a directory, or with a redirect to it. */
export async function get(read: FileRequest): Promise<ResponseTuple> {
  const { request, root, target, list } = read;
  const { names, last, isDirectory } = target;
  if (isDirectory && list) return await answerList(request, root, names);
  const found = await openBelow(root, isDirectory ? [...names, INDEX] : names);
  if (found === "directory" && !isDirectory) return redirect(request, last);
  if (found === null || found === "directory") throw notFound();
  return await answer(read, found, isDirectory ? INDEX : names.at(-1)!);
}

async function answerList(
  { method, query }: Request,
  root: string,
  names: readonly string[],
): Promise<ResponseTuple> {
  const body = await listBelow(root, names, query === "tree");
  if (body === null) throw notFound();
  return [200, "OK", { "content-type": "application/json" }, method === "HEAD" ? null : body];
}

/** The same path with a trailing slash, relative, so that it is also right behind a proxy. */
function redirect({ method, query }: Request, last: string): ResponseTuple {
  const location = `./${last}/${query === null ? "" : `?${query}`}`;
  return makeEmptyResponse(method, 301, "Moved Permanently", { location });
}

async function answer(read: FileRequest, file: OpenFile, name: string): Promise<ResponseTuple> {
  let handedOver = false;
  try {
    const { method, headers } = read.request;
    const validators = makeValidators(file.state, file.lookedAt);
    const condition = checkConditions(headers, validators);
    if (condition === 412) return makeEmptyResponse(method, 412, "Precondition Failed");
    if (condition === 304) return [304, "Not Modified", validatorHeaders(validators), null];
    const range = wantedRange(read.request, validators);
    if (range !== null && range.start >= file.size) {
      return makeEmptyResponse(method, 416, "Range Not Satisfiable");
    }
    const answerHeaders = { "content-type": typeOf(name), ...validatorHeaders(validators) };
    if (method === "HEAD") {
      const digest = await digestHeader(read, file, true);
      return [200, "OK", { ...answerHeaders, ...digest, "content-length": file.size }, null];
    }
    handedOver = true;
    const { start, stop } = range?.contentRange(file.size) ?? { start: 0, stop: file.size };
    const body = await makeFileBody(file, start, stop, {
      digested: whenDigested(read, file),
      sent: (bytes) => {
        const { names, isDirectory } = read.target;
        const path = isDirectory ? [...names, INDEX] : names;
        read.report("get", path, bytes, bytes === stop - start, range === null ? 200 : 206);
      },
    });
    const digest = await digestHeader(read, file, false);
    if (range === null) return [200, "OK", { ...answerHeaders, ...digest }, body];
    const part = { "content-range": range.contentRange(file.size) };
    return [206, "Partial Content", { ...answerHeaders, ...digest, ...part }, body];
  } finally {
    if (!handedOver) await file.handle.close();
  }
}

/** Reports whether the peer requests the SHA-256 of the whole file; an invalid header is ignored. */
export function wantsDigest({ headers }: Request): boolean {
  const value = headers["want-repr-digest"];
  try {
    return typeof value === "string" && parseWantReprDigest(value) > 0;
  } catch {
    return false;
  }
}

/** Keeps the digest of a file that is sent in full for the next request, most often by the same peer. */
function whenDigested({ request, digests }: FileRequest, file: OpenFile): Digested | null {
  if (!wantsDigest(request) || digests.find(file) !== null) return null;
  return (digest) => digests.remember(file, digest);
}

/** The digest, if it is requested, and known or computable. */
async function digestHeader(
  { request, session, target, digests, warn }: FileRequest,
  file: OpenFile,
  compute: boolean,
): Promise<HeaderDict> {
  if (!wantsDigest(request)) return {};
  let digest: string | null = null;
  try {
    digest = compute ? await digests.findOrCompute(file, session?.signal) : digests.find(file);
  } catch (error) {
    session?.signal.throwIfAborted();
    warn(unreadable(error), target.names.join("/"));
  }
  return digest === null ? {} : { "repr-digest": formatReprDigest(digest) };
}

/** The range that applies; none for methods other than GET (RFC 9110 §14.2). */
function wantedRange({ method, headers }: Request, validators: Validators): Range | null {
  const { range } = headers;
  return method === "GET" && isRange(range) && isRangeWanted(headers, validators) ? range : null;
}

function validatorHeaders({ etag, lastModified }: Validators): HeaderDict {
  return {
    ...(etag === null ? {} : { etag }),
    ...(lastModified === null ? {} : { "last-modified": formatDate(lastModified) }),
  };
}

function typeOf(name: string): string {
  // With a slash, so that a file named "html" is not mistaken for an extension.
  return mime.getType(`/${name}`) ?? UNKNOWN_TYPE;
}
