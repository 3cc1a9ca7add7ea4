import type { HeadersToSend } from "../../base.ts";
import { parseDecimal } from "../../internal/decimal.ts";
import {
  checkConditions,
  isStamp,
  isStampOf,
  makeValidators,
  parseTime,
} from "../wire/conditions.ts";
import { parseReprDigest, SHA256_BYTES } from "../wire/digest.ts";
import { parseMode } from "../wire/metadata.ts";
import { Refusal } from "../refusal.ts";
import { parseReuse, type ReusedPrefix } from "../wire/reuse.ts";
import type { Condition, Destination } from "../root.ts";
import type { FileRequest } from "./file_request.ts";

/** An upload in a single request that can't be resumed. */
export interface WholeUpload extends UploadHeaders {
  readonly kind: "whole";
  readonly size: number | null;
  /** True if the last bytes of the body are the SHA-256 of the file. */
  readonly isDigestLast: boolean;
}

/** An upload with a digest or a version, by which the server finds its part. */
export interface ResumableUpload extends UploadHeaders {
  readonly length: number;
}

/** If the request is interrupted, the part is kept. */
export interface ResumablePut extends ResumableUpload {
  readonly kind: "resumable";
  readonly offset: number;
}

type PutRequest =
  | { readonly kind: "directory" }
  | { readonly kind: "mode"; readonly length: number; readonly mode: number | null }
  | WholeUpload
  | ResumablePut;

export function readPutRequest(fileRequest: FileRequest): PutRequest {
  const { request: { body, headers }, target } = fileRequest;
  const bodyLength = body === null ? 0 : body.chunked ? null : body.contentLength;
  if (target.isDirectory && bodyLength === 0) return { kind: "directory" };
  const upload = readUpload(fileRequest);
  if (upload.isStream) return toStreamUpload(upload, bodyLength);
  const { digest, offset, length, version, mode } = upload;
  const hasIdentity = digest !== null || version !== null;

  const isComplete = offset !== null && offset === length && bodyLength === 0;
  if (isComplete && !hasIdentity && headers["file-mode"] !== undefined) {
    return { kind: "mode", length: offset, mode };
  }

  const isWhole = length === null || digest === null;
  if (offset === null && version === null && isWhole) {
    const isDigestLast = length !== null;
    if (isDigestLast) checkBodyLength(bodyLength, upload, length);
    return { ...upload, kind: "whole", size: length ?? bodyLength, isDigestLast };
  }

  const resumableUpload = toResumableUpload(upload);
  if (offset === null) throw new Refusal(400, "the request must have upload-offset");
  checkBodyLength(bodyLength, upload, resumableUpload.length);
  return { ...resumableUpload, kind: "resumable", offset };
}

/** A proxy may have sent a chunked body instead; its length is checked at its end. */
function checkBodyLength(
  bodyLength: number | null,
  { digest, offset, reusedPrefix }: UploadHeaders,
  length: number,
): void {
  const start = offset ?? reusedPrefix?.length ?? 0;
  const digestBytes = digest === null ? SHA256_BYTES : 0;
  if (bodyLength === null || bodyLength === length - start + digestBytes) return;
  const problem = "the body must be exactly the rest of the file, and without a repr-digest " +
    `the ${SHA256_BYTES} bytes of the SHA-256`;
  throw new Refusal(400, problem);
}

export function readOffsetRequest(fileRequest: FileRequest): ResumableUpload | WholeUpload {
  const upload = readUpload(fileRequest);
  return upload.isStream ? toStreamUpload(upload, null) : toResumableUpload(upload);
}

/** @param bodyLength The length of the body in bytes; `null` for a chunked body. */
function toStreamUpload(upload: UploadHeaders, bodyLength: number | null): WholeUpload {
  const { digest, offset, length, version } = upload;
  const hasIdentity = [digest, offset, length, version].some((value) => value !== null);
  const size = bodyLength === null ? null : bodyLength - SHA256_BYTES;
  if (!hasIdentity && (size === null || size >= 0)) {
    return { ...upload, kind: "whole", size, isDigestLast: true };
  }
  const problem = "with upload-complete: ?1 the body must end with the SHA-256, and its length, " +
    "offset, digest and version must not be announced";
  throw new Refusal(400, problem);
}

export interface UploadHeaders {
  readonly digest: string | null;
  readonly modified: Date | null;
  readonly mode: number | null;
  readonly offset: number | null;
  readonly length: number | null;
  /** The client's id of this version of the file, in place of a digest that is not computed yet. */
  readonly version: string | null;
  /** True if the length and the digest of the file are unknown until the end of the body. */
  readonly isStream: boolean;
  /** The prefix of the file that the server copies, and that the body doesn't have. */
  readonly reusedPrefix: ReusedPrefix | null;
}

/** The values of `upload-version`, which the server only compares with earlier requests. */
const VERSION_PATTERN = /^[0-9a-f]{1,64}$/;

export function isUploadStateRequest(headers: HeadersToSend): boolean {
  return headers["upload-complete"] === "?1" || headers["upload-length"] !== undefined &&
      (headers["repr-digest"] !== undefined || headers["upload-version"] !== undefined);
}

export function readUploadHeaders(headers: HeadersToSend): UploadHeaders {
  return {
    mode: readHeader(headers, "file-mode", (value) => requireValid(parseMode(value))),
    digest: readHeader(headers, "repr-digest", parseReprDigest),
    // The form of `toISOString`; milliseconds may be omitted.
    modified: readHeader(headers, "upload-modified", (value) => {
      return parseTime(value) ?? requireValid(parseTime(value.replace(/Z$/, ".000Z")));
    }),
    offset: readHeader(headers, "upload-offset", parseCount),
    length: readHeader(headers, "upload-length", parseCount),
    version: readHeader(
      headers,
      "upload-version",
      (value) => requireValid(VERSION_PATTERN.test(value) ? value : null),
    ),
    isStream: readHeader(
      headers,
      "upload-complete",
      (value) => requireValid(value === "?1" || null),
    ) ?? false,
    reusedPrefix: null,
  };
}

function readUpload(
  { request: { headers }, shouldApplyModes, reuse: allowsReuse }: FileRequest,
): UploadHeaders {
  const upload = readUploadHeaders(headers);
  const { offset, length } = upload;
  const reusedPrefix = allowsReuse
    ? readHeader(headers, "reuse", (value) => requireValid(parseReuse(value)))
    : null;
  const isReuseValid = reusedPrefix === null ||
    length !== null && reusedPrefix.length <= length &&
      (offset ?? reusedPrefix.length) === reusedPrefix.length;
  if (!isReuseValid) {
    throw new Refusal(400, "the reused prefix contradicts upload-length or upload-offset");
  }
  return { ...upload, reusedPrefix, ...shouldApplyModes ? {} : { mode: null } };
}

function readHeader<T>(
  headers: HeadersToSend,
  name: string,
  parse: (value: string) => T,
): T | null {
  const value = headers[name];
  try {
    return value === undefined ? null : parse(`${value}`);
  } catch (error) {
    throw new Refusal(400, `a bad ${name}`, {}, { cause: error });
  }
}

function parseCount(value: string): number {
  const count = parseDecimal(value);
  return requireValid(count < 0 ? null : count);
}

function requireValid<T>(value: T | null): T {
  if (value === null) throw new RangeError("invalid");
  return value;
}

function toResumableUpload(upload: UploadHeaders): ResumableUpload {
  const { digest, version, length } = upload;
  if (length !== null && (digest === null) !== (version === null)) return { ...upload, length };
  throw new Refusal(
    400,
    "upload-length must come with a repr-digest with sha-256 or an upload-version",
  );
}

/** Called before the body is read. */
export function checkDestination(
  { root, target, maxBytes }: FileRequest,
  length: number,
): Destination {
  if (target.names.length > 0 && target.isDirectory) {
    throw new Refusal(409, "the path of a file has no trailing slash");
  }
  const destination = root.findFile(target.names);
  if (length > maxBytes) throw new Refusal(413, `${length} bytes, more than ${maxBytes}`);
  return destination;
}

export function makeCondition(
  { request: { headers }, target, write, allow }: FileRequest,
): Condition {
  const precondition = makePrecondition(headers);
  return (existing) => {
    // A file that has the name of a new directory is refused later, by every app.
    const isProtected = write === "add" && !target.isDirectory && existing?.isDirectory === false;
    if (!isProtected) return precondition(existing);
    const status = hasCondition(headers) ? 412 : 409;
    throw new Refusal(status, "the file exists, and this app only adds files", { allow });
  };
}

export function makePrecondition(headers: HeadersToSend): Condition {
  const stamp = readHeader(
    headers,
    "if-file-stamp",
    (value) => requireValid(isStamp(value) ? value : null),
  );
  return (existing) => {
    const validators = existing && makeValidators(existing, Date.now());
    const isStampDifferent = stamp !== null && !isStampOf(stamp, existing);
    if (!isStampDifferent && checkConditions(headers, validators, true) === null) return;
    throw new Refusal(412, "a precondition does not hold");
  };
}

function hasCondition(headers: HeadersToSend): boolean {
  return ["if-match", "if-none-match", "if-unmodified-since", "if-file-stamp"]
    .some((name) => headers[name] !== undefined);
}
