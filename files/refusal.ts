import { type HeadersToSend, printable } from "../base.ts";
import type { ResponseTuple } from "../server.ts";
import { fileErrorCodeOf } from "../internal/caught_errors.ts";
import { findReasonPhrase } from "../internal/statuses.ts";
import { isFileSystemError, UnsupportedDiskError } from "./disk/names.ts";
import { BundleError } from "./wire/bundle.ts";
import { findSystemReason, makeReasonHeader } from "./wire/refusal_reason.ts";

/** The statuses of refused requests (RFC 9110 §15.5, §15.6.4; RFC 4918 §11.5 for 507). */
type RefusalStatus = 400 | 403 | 404 | 405 | 409 | 412 | 413 | 414 | 503 | 507;

/** The message is for the log; the peer gets only the status. */
export class Refusal extends Error {
  constructor(
    readonly status: RefusalStatus,
    message: string,
    readonly headers: HeadersToSend = {},
    options?: ErrorOptions,
  ) {
    super(printable(message), options);
  }

  makeResponse(): ResponseTuple {
    return [this.status, findReasonPhrase(this.status)!, this.headers, null];
  }
}

/**
 * Refuses to reuse bytes of another file, which is not logged: the client only guesses that the
 * file has the same bytes, and then sends the whole file.
 */
export class ReuseRefusal extends Refusal {}

/** Also refuses a request for an entry that the peer may not see. */
export function notFoundRefusal(): Refusal {
  return new Refusal(404, "the file or directory does not exist");
}

export function noSizeRefusal(path: string): Refusal {
  return new Refusal(
    403,
    `${path} has content, although its size is 0; copy its content to another file`,
  );
}

export function inUseRefusal(problem: string): Refusal {
  // A 409 without this header means that an entry of another kind has the name.
  return new Refusal(409, problem, { "retry-after": "1" });
}

/**
 * Reports whether another request or process is changing the file, so that the client can try
 * again, at once or from another offset.
 */
export function isInUse({ status, headers }: Refusal): boolean {
  return status === 409 &&
    (headers["retry-after"] !== undefined || headers["upload-offset"] !== undefined);
}

export function missingRootRefusal(path: string): Refusal {
  const problem = `the served directory ${path} is missing; is its disk mounted?`;
  // The header distinguishes this response from a 503 of a proxy or another app.
  return new Refusal(503, problem, makeReasonHeader("root-gone"));
}

/** Also used if the unfinished file exists, and can't be renamed to the target. */
export function otherDiskRefusal(error: unknown): Refusal {
  const problem = "an unfinished file can't be stored on the file system of the target, which is " +
    `mounted below the served directory: ${error}`;
  return new Refusal(403, problem, makeReasonHeader("other-disk"), { cause: error });
}

/** @throws the error itself if the file system has not caused it. */
export function unreadableRefusal(error: unknown): Refusal {
  if (!isFileSystemError(error)) throw error;
  return new Refusal(403, `${error}`, makeReasonHeader(findSystemReason(error)), { cause: error });
}

/** Errors with these codes are not logged: a peer could fill the log with repeated requests. */
const FORBIDDEN_TO_READ_CODES: ReadonlySet<unknown> = new Set(["EACCES", "EPERM"]);

export function belongsInLog({ status, cause }: Refusal): boolean {
  return status === 503 || status === 403 && !FORBIDDEN_TO_READ_CODES.has(fileErrorCodeOf(cause));
}

const STATUS_OF_CODES: readonly (readonly [Refusal["status"], readonly string[]])[] = [
  [507, ["ENOSPC", "EDQUOT"]],
  [413, ["EFBIG"]],
  // Also if a link has just replaced a directory, or the file system refuses a name.
  [403, ["EROFS", "EACCES", "EPERM", "ELOOP", "EINVAL", "EILSEQ"]],
  [414, ["ENAMETOOLONG"]],
  // Another process has changed the directory at the same time.
  [409, ["ENOENT", "ENOTDIR", "EISDIR", "EEXIST", "ENOTEMPTY", "EBUSY", "ETXTBSY"]],
  [503, ["EMFILE", "ENFILE"]],
];

/**
 * Converts an error of a bundle, or of the file system during a write, to a refusal; returns `null`
 * for other errors.
 */
export function refusalOf(error: unknown): Refusal | null {
  if (error instanceof Refusal) return error;
  if (error instanceof BundleError) {
    return new Refusal(error.status, error.message, {}, { cause: error });
  }
  if (error instanceof UnsupportedDiskError) {
    const headers = makeReasonHeader(findSystemReason(error));
    return new Refusal(403, error.message, headers, { cause: error });
  }
  const code = `${fileErrorCodeOf(error)}`;
  // A rename between two mounts of one file system fails, although both have the same device.
  if (code === "EXDEV") return otherDiskRefusal(error);
  const status = error instanceof Deno.errors.NotCapable
    ? 403
    : STATUS_OF_CODES.find(([, codes]) => codes.includes(code))?.[0];
  if (status === undefined) return null;
  const isTemporary = status === 503 || status === 409;
  const headers: HeadersToSend = isTemporary
    ? { "retry-after": "1" }
    : makeReasonHeader(status === 403 ? findSystemReason(error) : undefined);
  return new Refusal(status, `${error}`, headers, { cause: error });
}
