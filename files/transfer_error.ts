import type { Method, ReceivedHeaders } from "../base.ts";
import { TransferError, type TransferErrorCode } from "./errors.ts";
import { parseDecimal } from "../internal/decimal.ts";
import { quoteName } from "../internal/quote.ts";
import { setErrorFlag } from "../internal/error_details.ts";
import { isBusyStatus } from "../internal/statuses.ts";
import { isTransient, ProtocolError, StatusError, TlsError } from "../client.ts";
import { splitList } from "./wire/conditions.ts";
import { describeNameReason, findReason, findSystemReason } from "./wire/refusal_reason.ts";

type TransferTask = "put" | "make" | "delete" | "list" | "get";

/** The status of a response, or of a file in a bundle, which has no headers. */
interface ReceivedStatus {
  readonly status: number;
  readonly reason?: string;
  readonly headers?: ReceivedHeaders;
}

export function responseError(
  method: Method,
  uri: string,
  response: ReceivedStatus,
  task: TransferTask = method === "PUT" ? "put" : "get",
): StatusError | TransferError {
  const code = codeOf(response, task);
  const { status, reason = "", headers } = response;
  const hintReason = findReason(headers);
  let hint = (code && CODE_HINTS[code]) ?? hintOf(method, uri, status, task);
  if (code === "BAD_NAME") {
    const nameProblem = describeNameReason(hintReason);
    hint = `the disk of the server can't hold the name: it ${nameProblem}; choose another name`;
  } else if (code === "DISK_FULL" && hintReason === "file-limit") {
    hint = "no more files fit on the disk of the server; remove some there";
  } else if (hintReason === "link") {
    hint = "the path has a symbolic link, which is not followed; choose another path";
  } else if (status === 400 && /%5C/i.test(uri)) {
    hint = "a server on Windows accepts no backslash in a name; choose another name";
  }
  const text = `the server responded with ${`${status} ${reason}`.trimEnd()}: ${hint}`;
  return code === null
    ? statusError(method, uri, text, response)
    : codedError(code, method, uri, text, response);
}

/** Returns the code of a status that a `FilesApp` sends for a single reason; otherwise `null`. */
function codeOf({ status, headers }: ReceivedStatus, task: TransferTask): TransferErrorCode | null {
  if (status === 507) return "DISK_FULL";
  const reason = findReason(headers);
  if (status === 503 && reason === "root-gone") return "ROOT_GONE";
  if (status === 403 && reason === "open") return "IN_USE";
  if (task === "get" || task === "list") return null;
  if (status === 403) {
    return describeNameReason(reason) === null ? CODES_OF_REASONS.get(reason) ?? null : "BAD_NAME";
  }
  if ([405, 409, 412].includes(status) && isAddOnly(headers)) return "ONLY_ADDS";
  if (status === 412 && task === "put") return "EXISTS";
  if (status === 412) return "TARGET_CHANGED";
  if (status !== 409) return null;
  const isInUse = (headers?.["retry-after"] ?? headers?.["upload-offset"]) !== undefined;
  // The server responds with 409 to the deletion of a directory that is not empty.
  return isInUse ? "IN_USE" : task === "delete" ? null : "IN_THE_WAY";
}

const CODES_OF_REASONS: ReadonlyMap<string | undefined, TransferErrorCode> = new Map([
  ["link", "IN_THE_WAY"],
  ["other-disk", "OTHER_DISK"],
  ["no-deletions", "NO_DELETIONS"],
]);

export function isAddOnly(headers: ReceivedHeaders | undefined): boolean {
  const { allow } = headers ?? {};
  const methods = typeof allow === "string" ? splitList(allow) : [];
  return methods.includes("PUT") && !methods.includes("DELETE");
}

function freeBytesOf(headers: ReceivedHeaders | undefined): number | null {
  const { "disk-free": text } = headers ?? {};
  const bytes = typeof text === "string" ? parseDecimal(text) : -1;
  return bytes < 0 ? null : bytes;
}

/** @param text The problem and, after a semicolon, the advice. */
function statusError(
  method: Method,
  requestUri: string,
  text: string,
  response: ReceivedStatus,
): StatusError {
  // Omit the query, which may have secrets.
  const [uri = ""] = requestUri.split("?", 1);
  const message = `${method} ${quoteName(uri)}: ${text}`;
  const [problem] = text.split("; ", 1);
  const { status, reason, headers } = response;
  const error = new StatusError({ status, reason, headers, message, problem, method, uri });
  // A transfer may be repeated like a GET, also its PUT and DELETE requests.
  return setErrorFlag(error, "isTransient", isBusyStatus(status));
}

function codedError(
  code: TransferErrorCode,
  method: Method,
  uri: string,
  text: string,
  response: ReceivedStatus,
  needed: number | null = null,
): TransferError {
  const { headers } = response;
  const reason = findReason(headers);
  const cause = statusError(method, uri, text, response);
  const { problem } = cause;
  const options = {
    cause,
    problem,
    isTransient: cause.isTransient,
    nameProblem: code === "BAD_NAME" ? describeNameReason(reason) : null,
    ...code === "DISK_FULL"
      ? {
        at: "remote",
        needed: reason === "file-limit" ? 0 : needed,
        free: freeBytesOf(headers),
      } as const
      : {},
  };
  return new TransferError(code, cause.message, options);
}

export function remoteDiskFullError(
  method: Method,
  uri: string,
  needed: number,
  response: ReceivedStatus,
): TransferError {
  const free = freeBytesOf(response.headers);
  const text = `the server has too little space for the remaining ${needed} bytes` +
    (free === null ? "" : `: ${free} are free`);
  return codedError("DISK_FULL", method, uri, text, response, needed);
}

export function remoteChangedError(uri: string, response: ReceivedStatus): TransferError {
  const code = isAddOnly(response.headers) ? "ONLY_ADDS" : "TARGET_CHANGED";
  return codedError(code, "PUT", uri, CODE_HINTS[code]!, response);
}

export function toBadNameOrInUseError(
  error: unknown,
  file: string,
  reason: string | undefined = findSystemReason(error),
): unknown {
  const nameProblem = describeNameReason(reason);
  if (nameProblem !== null) {
    const problem = `the disk can't hold the name: it ${nameProblem}`;
    const options = { problem, nameProblem, cause: error };
    return new TransferError("BAD_NAME", `${file}: ${problem}`, options);
  }
  if (reason !== "open") return error;
  const problem = "another program has the file open, or this user may not write it";
  return new TransferError("IN_USE", `${file}: ${problem}`, { problem, cause: error });
}

export function unexpectedResponseError(
  method: Method,
  uri: string,
  problem: string,
  options?: ErrorOptions,
): TransferError {
  const message = `${method} ${quoteName(uri)}: ${problem}; the server needs a FilesApp`;
  return new TransferError("UNEXPECTED_RESPONSE", message, { ...options, problem });
}

export function invalidListError(problem: string, options?: ErrorOptions): TransferError {
  return new TransferError("BAD_LIST", `the directory listing is not valid: ${problem}`, options);
}

export function noSizeError(name: string): TransferError {
  const problem = "its size is 0, but it has content";
  const text = `${name}: ${problem}, as the files of /proc have; copy its content to another file`;
  return new TransferError("BAD_METADATA", text, { problem });
}

export function changedWhileCopiedError(name: string, options?: ErrorOptions): TransferError {
  const message =
    `${name} changed during the transfer; call again when the file is complete. If the file ` +
    "changes often, write a new file and rename it";
  return new TransferError("CHANGED", message, {
    ...options,
    problem: "it changed during the transfer",
  });
}

/** Makes an error final, because the stream can't be read or written again. */
export function toStreamError(error: unknown): unknown {
  return error instanceof Error && isTransient(error)
    ? setErrorFlag(error, "isTransient", false)
    : error;
}

const CODE_HINTS: Readonly<Partial<Record<TransferErrorCode, string>>> = {
  ROOT_GONE: "the directory that the server serves is missing; is its disk mounted?",
  ONLY_ADDS: "the server only adds files: it keeps another file with this name",
  TARGET_CHANGED:
    "the server's file changed during the call, or was deleted, so nothing was replaced",
  NO_DELETIONS: "deletions were not tested on the system of the server",
  EXISTS: "the server has another file with this name",
  IN_USE: "another upload or another program uses it, or a disk is mounted there; call again",
  OTHER_DISK:
    "the target is on another file system than the served directory, and the server can't store " +
    "an unfinished file there; let the server write to its mount point",
};

/**
 * The hints for statuses: for one task, for all tasks that write (`write`), or for the other tasks.
 * The digit `x` stands for any digit.
 */
const STATUS_HINTS: Readonly<Record<string, string>> = {
  "list 30x": "the directory has another URI",
  "30x": "the URI belongs to a directory, or the file has another URI; pass the URI of a file",
  "write 400":
    "the server did not accept the file; if the file changed while it was sent, call again",
  "400": "the server did not accept the request; is it a FilesApp of this version?",
  "write 403":
    "this client may not write to this URI, or the server can't write to its file system",
  "403": "this client may not read this URI, or the server can't read the file",
  "delete 404": "no entry has this name, or this client may not access the entry",
  "write 404":
    "the URI can't be written; use a FilesApp with write: true, and a URI from fileUri()",
  "list 404":
    "the directory does not exist, or this client may not access it; a list needs a FilesApp with list: true",
  "404": "the file does not exist, or this client may not access it",
  "write 405": "the server does not accept files; use a FilesApp with write: true",
  "405": "the server has no FilesApp at this URI",
  "make 409": "a file has this name, or the name of a parent directory; choose another name",
  "delete 409": "the directory is not empty",
  "write 409":
    "a directory has this name, or a file has the name of a parent directory; choose another name",
  "413": "the file is larger than the server accepts; raise maxBytes of the FilesApp",
  "503":
    "the server can't respond now: its disk doesn't answer, or it has too many open files; call again",
  "507": "the server has no space left, or its quota is exceeded",
};

function hintOf(method: Method, uri: string, status: number, task: TransferTask): string {
  // No file is sent with a HEAD or DELETE.
  if (status === 400 && method !== "PUT" && method !== "POST") return STATUS_HINTS["400"]!;
  // Only the URI of a directory ends with a slash.
  const isFile = task === "delete" && status === 409 && !uri.endsWith("/");
  if (isFile) return "a file has the name of a parent directory; check the URI";
  const kind = task === "get" || task === "list" ? "read" : "write";
  const code = status === 401 ? "403" : `${status}`.replace(/^30.$/, "30x");
  const hint = STATUS_HINTS[`${task} ${code}`] ?? STATUS_HINTS[`${kind} ${code}`] ??
    STATUS_HINTS[code];
  if (hint !== undefined) return hint;
  return status >= 500
    ? "the server has an internal problem; check its log and call again"
    : "this status is not a success; is the server a FilesApp?";
}

export function isTransferOrStatusError(error: unknown): error is TransferError | StatusError {
  return error instanceof TransferError || error instanceof StatusError;
}

export function hasStatus(error: unknown, status: number): boolean {
  return error instanceof StatusError && error.status === status;
}

/** A refusal by the server is another error. */
export function isConnectionLoss(error: unknown): boolean {
  return !isTransferOrStatusError(error) && isTransient(error);
}

/** The server may have done what was requested. A gateway sends 502 and 504 (RFC 9110 §15.6). */
export function isUnanswered(error: unknown): boolean {
  return isConnectionLoss(error) || hasStatus(error, 502) || hasStatus(error, 504);
}

/** The statuses below 500 that also prevent the transfer of all other files. */
const FINAL_STATUSES: ReadonlySet<number> = new Set([401, 405]);

/**
 * An error of the server, which {@linkcode isServerError} recognizes, may concern one file or all
 * files.
 */
export function isFatal(error: unknown): boolean {
  if (!isTransferOrStatusError(error)) {
    return (error instanceof ProtocolError || error instanceof TlsError) && !isTransient(error);
  }
  if (error instanceof StatusError) return FINAL_STATUSES.has(error.status);
  const { code, cause } = error;
  // The cause of a refused deletion is 401 or 405: the server refuses all deletions.
  return code === "ROOT_GONE" || cause instanceof StatusError && FINAL_STATUSES.has(cause.status);
}

/** Reports whether a server has failed, or is too busy, for a reason without a code. */
export function isServerError(error: unknown): error is StatusError {
  return error instanceof StatusError && error.status >= 500;
}
