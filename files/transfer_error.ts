/** Errors of transfers. */

import { Facts } from "../internal/facts.ts";
import { quote } from "../internal/quote.ts";
import { parseDecimal } from "../base/wire/tables.ts";
import type { Method } from "../base/wire/preamble.ts";
import {
  DeguError,
  type DeguErrorOptions,
  isTransient,
  ProtocolError,
  type ReceivedHeaders,
  StatusError,
  TlsError,
} from "../client.ts";
import { isBusyStatus } from "../internal/statuses.ts";
import { makeStatusError } from "../net/expect_ok.ts";
import { asTransient } from "../net/retry.ts";
import type { TreeResult } from "./options.ts";

/**
 * Why a transfer has failed.
 *
 * - `"UNEXPECTED_RESPONSE"`: no `FilesApp` sends this response: no list, no length, no digest.
 * - `"BAD_LIST"`: the list is not valid, or has an entry with an invalid name, kind, size or time.
 * - `"CHANGED"`: the file changed during the transfer. Calling again starts over with the new
 *   version.
 * - `"DIGEST_MISMATCH"`: the content that arrived differs from the original.
 * - `"IN_USE"`: another download to the same target is in progress, in this process or another.
 * - `"DISK_FULL"`: there is too little space for a download on this device, or its quota is
 *   exceeded.
 * - `"CONFLICT"`: something else has the name at the target of a tree.
 * - `"UNREADABLE"`: an entry of a tree can't be read where it is.
 * - `"BAD_NAME"`: an entry of a tree has a name that can't be sent.
 * - `"INCOMPLETE"`: all else of a tree was copied, and an entry has failed, or deletions were
 *   skipped. The error has the result; it is transient exactly if each entry has failed by an error
 *   that is.
 */
export type TransferErrorCode =
  | "UNEXPECTED_RESPONSE"
  | "BAD_LIST"
  | "CHANGED"
  | "DIGEST_MISMATCH"
  | "IN_USE"
  | "DISK_FULL"
  | "CONFLICT"
  | "UNREADABLE"
  | "BAD_NAME"
  | "INCOMPLETE";

/** What an interrupted download leaves on the disk. */
export interface KeptPart {
  /** The path of the part, beside the target. */
  readonly path: string;
  /** The bytes that have arrived. */
  readonly bytes: number;
}

/**
 * A transfer failed for a reason other than the connection, an argument, or the status of a
 * response: for that it throws a {@linkcode StatusError}.
 *
 * @example
 * ```ts
 * import { Client, Response, Server } from "@degu/degu";
 * import { download, TransferError } from "@degu/degu/files";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const dir = await Deno.makeTempDir();
 * await using server = new Server(["127.0.0.1", 0], () => new Response(200, "OK", {}, null));
 * server.serveForever();
 * const client = new Client(server.address);
 * const downloading = () => download(client, "/none", `${dir}/copy`);
 * const error = await assertRejects(downloading, TransferError);
 * assertEquals(error.code, "UNEXPECTED_RESPONSE");
 * await Deno.remove(dir, { recursive: true });
 * ```
 */
export class TransferError extends DeguError {
  /** The name of the class. */
  override readonly name: string = "TransferError";
  /** The reason, in capitals: `"CHANGED"`. Stable, unlike the message. */
  override readonly code: TransferErrorCode;
  /**
   * Bytes that are left to move, if this device has too little space for them and none of them was
   * moved by this call; else `null`. Other files may still fit.
   */
  readonly needed: number | null;
  /** Bytes that are free on the disk of this device, if it has too little space; else `null`. */
  readonly free: number | null;
  /**
   * The part of a download that the full disk keeps, from which the next call resumes: its path and
   * its bytes; else `null`.
   */
  readonly kept: KeptPart | null;
  /** `maxDelete` of a call that would delete more entries than that; else `null`. */
  readonly limit: number | null;
  /** What a call has done that is `"INCOMPLETE"`; else `null`. */
  readonly result: TreeResult | null;

  /** @internal */
  constructor(
    code: TransferErrorCode,
    message: string,
    options?: DeguErrorOptions & {
      needed?: number;
      free?: number | null;
      kept?: KeptPart | null;
      limit?: number;
      result?: TreeResult;
    },
  ) {
    super(message, options);
    this.code = code;
    this.needed = options?.needed ?? null;
    this.free = options?.free ?? null;
    this.kept = options?.kept ?? null;
    this.limit = options?.limit ?? null;
    this.result = options?.result ?? null;
  }
}

/**
 * The finer reason of an error: another file has the name, what has the name changed, something of
 * another kind has it and could be deleted; more would be deleted than may be; a list was cut; the
 * server has no suitable `FilesApp`, or one that only adds files, or its directory is gone.
 */
export type TransferReason =
  | "taken"
  | "changed"
  | "in the way"
  | "over limit"
  | "cut"
  | "no FilesApp"
  | "only adds"
  | "directory gone";

/** What an error of a transfer carries beside its code or status. */
interface TransferFacts {
  readonly is?: TransferReason | undefined;
  /** The path of the entry, if the event is about its directory. */
  readonly path?: readonly string[];
}

const facts: Facts<TransferFacts> = new Facts(Symbol.for("degu.transfer"));

export const transferFacts = {
  add: <E extends Error>(error: E, of: TransferFacts): E => facts.add(error, of),
  of: (error: unknown): TransferFacts => facts.of(error) ?? {},
};

type TransferTask = "put" | "make" | "delete" | "list" | "get";

export function statusError(
  method: Method,
  uri: string,
  { status, reason = "", headers }: {
    readonly status: number;
    readonly reason?: string;
    /** `undefined` for the status of a file in a bundle. */
    readonly headers?: ReceivedHeaders;
  },
  task: TransferTask = method === "PUT" ? "put" : "get",
): StatusError {
  const isGone = status === 503 && headers !== undefined && headers["retry-after"] === undefined;
  const hint = isGone
    ? ROOT_IS_GONE
    : status === 409 && task === "put"
    ? conflictHint(method, headers)
    : hintOf(status, task);
  const answer = `${status} ${reason}`.trimEnd();
  const problem = `the other end answered ${answer}: ${hint}`;
  const error = refused(method, uri, problem, { status, reason, headers, free: freeOf(headers) });
  return isGone ? transferFacts.add(error, { is: "directory gone" }) : error;
}

/** The number of free bytes in the headers of a 507; `null` if it is not said, or not valid. */
function freeOf(headers: ReceivedHeaders | undefined): number | null {
  const { "disk-free": text } = headers ?? {};
  const bytes = typeof text === "string" ? parseDecimal(text) : -1;
  return bytes < 0 ? null : bytes;
}

/** Creates the error for a status, with a problem of its own. */
export function refused(
  method: Method,
  requestUri: string,
  problem: string,
  fields: Pick<
    Parameters<typeof makeStatusError>[0],
    "status" | "reason" | "headers" | "needed" | "free"
  >,
): StatusError {
  // A query may hold secrets.
  const [uri = ""] = requestUri.split("?", 1);
  const message = `${method} ${quote(uri)}: ${problem}`;
  const error = makeStatusError({ ...fields, message, problem, method, uri });
  // A transfer may be repeated, whatever its method is.
  return isBusyStatus(error.status) ? asTransient(error) : error;
}

/** Creates the error for a file that the other end has refused unread, for lack of space. */
export function noSpaceThere(
  method: Method,
  uri: string,
  needed: number,
  headers: ReceivedHeaders,
): StatusError {
  const free = freeOf(headers);
  const problem =
    `the other end has too little space for the ${needed} bytes that are left to send` +
    `${free === null ? "" : `: ${free} are free`}; free some there and call again`;
  return refused(method, uri, problem, { status: 507, needed, free });
}

/** Creates the error for a file of the other end that is not the one to replace. */
export function changedThere(uri: string): StatusError {
  const problem =
    "the file there changed meanwhile, and stays; look at it and call again (if its " +
    "server only adds files, it always stays)";
  return transferFacts.add(refused("PUT", uri, problem, { status: 412 }), { is: "changed" });
}

/** Creates the error for a response that no `FilesApp` sends. */
export function unexpectedResponse(
  method: Method,
  uri: string,
  problem: string,
  options?: ErrorOptions,
): TransferError {
  return new TransferError("UNEXPECTED_RESPONSE", `${method} ${quote(uri)}: ${problem}`, options);
}

/** Adds what the server needs to the error for a response without it. */
export function withNeed({ code, message }: TransferError, need: string): TransferError {
  const error = new TransferError(code, `${message}; ${need}`, { problem: message });
  return transferFacts.add(error, { is: "no FilesApp" });
}

export function changedWhileMoved(name: string, options?: ErrorOptions): TransferError {
  return new TransferError(
    "CHANGED",
    `${name} changed while it was moved; call again once it is complete, and write to another file ` +
      "and rename that if it changes often",
    options,
  );
}

/** The meaning of 503, unless the response says when to try again. */
const ROOT_IS_GONE = "the directory that is served is not there; is its disk mounted?";

/**
 * The meaning of a status for one task, for all tasks that write, or for all others. A last digit
 * `x` stands for every digit.
 */
const HINTS: Readonly<Record<string, string>> = {
  "list 30x": "it is somewhere else",
  "30x": "it is a directory, or is somewhere else; pass the URI of a file",
  "write 400":
    "it did not accept the file; the file may have changed while it was sent, then call again",
  "400": "it did not accept the request; is it a FilesApp of this version?",
  "write 403": "this client may not write there, or the file system is read-only",
  "403": "this client may not read that, or the other end can't",
  "delete 404": "there is nothing of this name, or it is not for this client",
  "write 404":
    "there is nothing that can be written; it needs a FilesApp with write: true, and a URI from fileUri()",
  "list 404":
    "there is no such directory, or it is not for this client; a list needs a FilesApp with list: true",
  "404": "there is no such file, or it is not for this client",
  "write 405": "it does not accept files; it needs a FilesApp with write: true",
  "405": "it is not a FilesApp, or not at this URI",
  "make 409":
    "a file has this name, or that of a directory that it would be in; choose another name",
  "delete 409": "the directory is not empty; delete its content first",
  "412": "the file already exists, or changed; call again to replace it",
  "413": "the file is larger than it accepts; raise maxBytes of its FilesApp",
  "503": "it has too many files open at the moment; call again",
  "507":
    "it has no space left, or its quota is exceeded, or the target is on another file system; free space there",
};

const IN_THE_WAY =
  "a directory has this name, or a file that of a directory on the way; choose another name";

/** The meaning of 409 for a file that is sent. */
function conflictHint(method: Method, headers: ReceivedHeaders | undefined): string {
  if (headers?.["upload-offset"] !== undefined) {
    return "it has another part of this file; call again";
  }
  // A HEAD that asks where to begin is refused for nothing else.
  if (method === "HEAD") return IN_THE_WAY;
  return `another upload of this file is under way, then call again; or ${IN_THE_WAY}`;
}

function hintOf(status: number, task: TransferTask): string {
  const kind = task === "get" || task === "list" ? "read" : "write";
  const code = status === 401 ? "403" : `${status}`.replace(/^30.$/, "30x");
  const hint = HINTS[`${task} ${code}`] ?? HINTS[`${kind} ${code}`] ?? HINTS[code];
  if (hint !== undefined) return hint;
  return status >= 500
    ? "it has an internal problem; check its log and call again"
    : "that status is not a success; is it a FilesApp?";
}

/** Whether a transfer failed by itself: neither the connection nor an argument is the reason. */
export function isOfTransfer(error: unknown): error is TransferError | StatusError {
  return error instanceof TransferError || error instanceof StatusError;
}

/** Whether the other end answered with a status. */
export function hasStatus(error: unknown, status: number): boolean {
  return error instanceof StatusError && error.status === status;
}

/** Whether the connection broke off; a refusal by the other end is no such error. */
export function isCut(error: unknown): boolean {
  return !isOfTransfer(error) && isTransient(error);
}

/** Whether a list was cut, or ended here, since a directory was removed or replaced meanwhile. */
export function isOvertaken(error: unknown): boolean {
  if (!(error instanceof TransferError)) return false;
  return error.code === "BAD_LIST" ? isCut(error.cause) : error.code === "CHANGED";
}

/** Whether a file changed while it was copied. */
export function hasChanged(error: unknown): boolean {
  if (!(error instanceof TransferError)) return hasStatus(error, 400);
  return error.code === "CHANGED" || error.code === "DIGEST_MISMATCH";
}

/** The statuses below 500 after which no other file can be copied either. */
const FINAL_STATUSES: ReadonlySet<number> = new Set([401, 405]);

/** Whether an error would meet every other file, too. */
export function endsAll(error: unknown): boolean {
  if (!isOfTransfer(error)) {
    return (error instanceof ProtocolError || error instanceof TlsError) && !isTransient(error);
  }
  if (error.needed !== null) return false;
  if (error instanceof TransferError) return error.code === "DISK_FULL";
  return FINAL_STATUSES.has(error.status) || error.status >= 500;
}
