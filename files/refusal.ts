/**
 * Requests that are not carried out, and how they are answered.
 *
 * @module
 */

import { makeEmptyResponse } from "../base/app/empty_response.ts";
import type { HeaderDict } from "../base/wire/headers.ts";
import type { Request, ResponseTuple } from "../base/app/message.ts";
import { printable } from "./printable.ts";

/** The statuses of requests that are not carried out (RFC 9110 §15.5, §15.6.4; RFC 4918 §11.5 for 507). */
const REASONS = {
  400: "Bad Request",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  409: "Conflict",
  412: "Precondition Failed",
  413: "Content Too Large",
  414: "URI Too Long",
  503: "Service Unavailable",
  507: "Insufficient Storage",
} as const;

/** A request that is not carried out. The message is for the log; the peer learns the status alone. */
export class Refusal extends Error {
  /** The status of the response. */
  readonly status: keyof typeof REASONS;
  /** The headers of the response. */
  readonly headers: HeaderDict;

  /** Makes a refusal with the error behind it, if any, as its cause. */
  constructor(
    status: keyof typeof REASONS,
    message: string,
    headers: HeaderDict = {},
    options?: ErrorOptions,
  ) {
    super(printable(message), options);
    this.status = status;
    this.headers = headers;
  }

  /** The response to the request. */
  answer({ method }: Request): ResponseTuple {
    return makeEmptyResponse(method, this.status, REASONS[this.status], this.headers);
  }
}

/** Makes the refusal of a request for what is not there, or not for anybody to see. */
export function notFound(): Refusal {
  return new Refusal(404, "there is nothing of this name");
}

/** What errors of the file system mean to somebody who writes. */
const STATUSES: Readonly<Record<string, Refusal["status"]>> = {
  ENOSPC: 507,
  EDQUOT: 507,
  // Larger than the file system, or the limit of the process, allows.
  EFBIG: 507,
  // Another file system than that of the temporary file.
  EXDEV: 507,
  EROFS: 403,
  EACCES: 403,
  EPERM: 403,
  // A link where a directory was a moment ago.
  ELOOP: 403,
  // The file system does not take every name that Unix does.
  EINVAL: 403,
  EILSEQ: 403,
  ENAMETOOLONG: 414,
  // What somebody else did to the directory meanwhile.
  ENOENT: 409,
  ENOTDIR: 409,
  EISDIR: 409,
  EEXIST: 409,
  ENOTEMPTY: 409,
  EBUSY: 409,
  ETXTBSY: 409,
  // The process, or the system, has too many files open at the moment.
  EMFILE: 503,
  ENFILE: 503,
};

/** Makes a refusal of an error of the file system while something was written; `null` for others. */
export function refusalOf(error: unknown): Refusal | null {
  if (error instanceof Refusal) return error;
  const { code } = error as { code?: unknown };
  const status = error instanceof Deno.errors.NotCapable
    ? 403
    : typeof code === "string" && Object.hasOwn(STATUSES, code)
    ? STATUSES[code]
    : undefined;
  return status === undefined ? null : new Refusal(status, `${error}`, {}, { cause: error });
}

/** Makes a refusal of an error of the file system that has nothing to do with the request; `null` for others. */
export function overloadOf(error: unknown): Refusal | null {
  const refusal = refusalOf(error);
  return refusal?.status === 503 ? refusal : null;
}
