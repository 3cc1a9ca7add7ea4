/** Requests that are refused, and their responses. */

import type { HeaderDict, ResponseTuple } from "../base.ts";
import { reasonOf } from "../base/wire/reason_phrases.ts";
import { printable } from "../internal/printable.ts";
import { fileErrorCodeOf, isFileSystemError } from "../internal/disk/names.ts";
import { BundleError } from "./bundle.ts";

/** The statuses of refused requests (RFC 9110 §15.5, §15.6.4; RFC 4918 §11.5 for 507). */
type RefusalStatus = 400 | 403 | 404 | 405 | 409 | 412 | 413 | 414 | 503 | 507;

/** The refusal of a request. The message is for the log; the peer only gets the status. */
export class Refusal extends Error {
  readonly status: RefusalStatus;
  readonly headers: HeaderDict;

  /** Creates a refusal; its cause is the underlying error, if it has one. */
  constructor(
    status: RefusalStatus,
    message: string,
    headers: HeaderDict = {},
    options?: ErrorOptions,
  ) {
    super(printable(message), options);
    this.status = status;
    this.headers = headers;
  }

  makeResponse(): ResponseTuple {
    return [this.status, reasonOf(this.status), this.headers, null];
  }
}

/** Creates the refusal of a request for a name that does not exist, or may not be seen. */
export function notFoundRefusal(): Refusal {
  return new Refusal(404, "nothing has this name");
}

/** Creates the refusal of a request that another request or process interferes with. */
export function inUseRefusal(problem: string): Refusal {
  // A 409 without this header says that something of another kind has the name.
  return new Refusal(409, problem, { "retry-after": "1" });
}

/** Creates the refusal of all requests while the served directory is missing. */
export function missingRootRefusal(path: string): Refusal {
  const problem = `${path}, which is served, is not there; is its disk mounted?`;
  // A proxy, or another app in front, answers 503, too.
  return new Refusal(503, problem, { "root-gone": "?1" });
}

/**
 * Creates the refusal of a request for an entry that exists and can't be read: a sector may be
 * damaged.
 *
 * @throws the error if the file system has not caused it.
 */
export function unreadableRefusal(error: unknown): Refusal {
  if (!isFileSystemError(error)) throw error;
  return new Refusal(403, `${error}`, {}, { cause: error });
}

/** Errors of an entry that this user may not read: a peer could fill the log by asking again. */
const FORBIDDEN_TO_READ_CODES: ReadonlySet<unknown> = new Set(["EACCES", "EPERM"]);

/**
 * Whether the refusal of a request that only reads belongs in the log: too many files are open, or
 * the disk is damaged.
 */
export function belongsInLog({ status, cause }: Refusal): boolean {
  return status === 503 || status === 403 && !FORBIDDEN_TO_READ_CODES.has(fileErrorCodeOf(cause));
}

/** The meaning of file system errors for a client that writes. */
const STATUS_OF_CODES: readonly (readonly [Refusal["status"], readonly string[]])[] = [
  // No space, a file larger than allowed, or a temporary file on another file system.
  [507, ["ENOSPC", "EDQUOT", "EFBIG", "EXDEV"]],
  // Also a link that has just replaced a directory, and a name that the file system refuses.
  [403, ["EROFS", "EACCES", "EPERM", "ELOOP", "EINVAL", "EILSEQ"]],
  [414, ["ENAMETOOLONG"]],
  // Another process has changed the directory at the same time.
  [409, ["ENOENT", "ENOTDIR", "EISDIR", "EEXIST", "ENOTEMPTY", "EBUSY", "ETXTBSY"]],
  // The process, or the system, has too many files open at the moment.
  [503, ["EMFILE", "ENFILE"]],
];

/** Converts a file system error during a write to a refusal; `null` for other errors. */
export function refusalOf(error: unknown): Refusal | null {
  if (error instanceof Refusal) return error;
  if (error instanceof BundleError) {
    return new Refusal(error.status, error.message, {}, { cause: error });
  }
  const code = `${fileErrorCodeOf(error)}`;
  const status = error instanceof Deno.errors.NotCapable
    ? 403
    : STATUS_OF_CODES.find(([, codes]) => codes.includes(code))?.[0];
  if (status === undefined) return null;
  // Without this header a 409 says that something of another kind has the name.
  const isTemporary = status === 503 || status === 409;
  const headers: HeaderDict = isTemporary ? { "retry-after": "1" } : {};
  return new Refusal(status, `${error}`, headers, { cause: error });
}
