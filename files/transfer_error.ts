/**
 * Errors of transfers.
 *
 * @module
 */

import { DeguError, quote } from "../base/errors.ts";
import type { Method } from "../base/wire/preamble.ts";

/**
 * Why a transfer has failed.
 *
 * - `"STATUS"`: the server responded with a status that is not a success; `status` has it.
 * - `"UNEXPECTED_RESPONSE"`: the response is not one of a `FilesApp`: no list, no length, no digest.
 * - `"BAD_LIST"`: the list is not valid, or has an entry with an invalid name, kind, size or time.
 * - `"CHANGED"`: the file changed during the transfer. Calling again starts over with the new one.
 * - `"DIGEST_MISMATCH"`: what arrived differs from the original.
 * - `"IN_USE"`: another download to the same target is in progress, in this process or another.
 * - `"DISK_FULL"`: there is no space left for a download on this device, or its quota is exceeded.
 * - `"CONFLICT"`: something else has the name at the target of a tree.
 * - `"UNREADABLE"`: an entry of a tree can't be read where it is.
 * - `"BAD_NAME"`: an entry of a tree has a name that can't be sent.
 */
export type TransferErrorCode =
  | "STATUS"
  | "UNEXPECTED_RESPONSE"
  | "BAD_LIST"
  | "CHANGED"
  | "DIGEST_MISMATCH"
  | "IN_USE"
  | "DISK_FULL"
  | "CONFLICT"
  | "UNREADABLE"
  | "BAD_NAME";

/**
 * A transfer has failed, and neither the connection nor an argument is the reason.
 *
 * @example
 * ```ts
 * import { Client, Server } from "@degu/degu";
 * import { FilesApp } from "@degu/degu/files";
 * import { download, TransferError } from "@degu/degu/files";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const dir = await Deno.makeTempDir();
 * await using server = new Server(["127.0.0.1", 0], new FilesApp(dir));
 * server.serveForever();
 * const client = new Client(server.address);
 * const downloading = () => download(client, "/none", `${dir}/copy`);
 * const error = await assertRejects(downloading, TransferError);
 * assertEquals([error.code, error.status], ["STATUS", 404]);
 * await Deno.remove(dir, { recursive: true });
 * ```
 */
export class TransferError extends DeguError {
  /** The name of the class. */
  override readonly name: string = "TransferError";
  /** The reason, in capitals: `"CHANGED"`. Stable, unlike the message. */
  readonly code: TransferErrorCode;
  /** The status of the response; `null` if there is none. */
  readonly status: number | null;

  /**
   * Creates an error with a stable code, and with the status of a response if there is one.
   *
   * @param code Names the reason.
   * @param message What happened.
   * @param options The underlying error, as `cause`, and the status of a response.
   */
  constructor(
    code: TransferErrorCode,
    message: string,
    options?: ErrorOptions & { status?: number },
  ) {
    super(message, options);
    this.code = code;
    this.status = options?.status ?? null;
  }
}

/** The operation that was requested. */
type TransferTask = "put" | "make" | "delete" | "list" | "get";

/** The meaning of status 409 for each change. */
const CONFLICTS: Partial<Record<TransferTask, string>> = {
  make: "a file has this name, or that of a directory that it would be in; choose another name",
  delete: "the directory is not empty; delete its content first",
};

/** Creates the error for a response with a status that is not a success. */
export function statusError(
  method: Method,
  uri: string,
  { status, reason }: { readonly status: number; readonly reason: string },
  task: TransferTask = method === "PUT" ? "put" : "get",
): TransferError {
  const hint = hintOf(status, task);
  const answer = `${status} ${reason}`.trimEnd();
  const message = `${method} ${quote(uri)}: the other end answered ${answer}: ${hint}`;
  return new TransferError("STATUS", message, { status });
}

/** Creates the error for a response that no `FilesApp` sends. */
export function unexpectedResponse(
  method: Method,
  uri: string,
  problem: string,
  options?: ErrorOptions & { status?: number },
): TransferError {
  return new TransferError("UNEXPECTED_RESPONSE", `${method} ${quote(uri)}: ${problem}`, options);
}

/** Creates the error for a file that changed, on either device. */
export function changedWhileMoved(name: string, options?: ErrorOptions): TransferError {
  return new TransferError(
    "CHANGED",
    `${name} changed while it was moved; call again once it is complete, and write to another file ` +
      "and rename that if it changes often",
    options,
  );
}

function hintOf(status: number, task: TransferTask): string {
  const writing = task !== "get" && task !== "list";
  switch (status) {
    case 301:
    case 302:
    case 303:
    case 307:
    case 308:
      return task === "list"
        ? "it is somewhere else"
        : "it is a directory, or is somewhere else; pass the URI of a file";
    case 400:
      return writing
        ? "it did not accept the file; the file may have changed while it was sent, then call again"
        : "it did not accept the request; is it a FilesApp of this version?";
    case 401:
    case 403:
      return writing
        ? "this client may not write there, or the file system is read-only"
        : "this client may not read that";
    case 404:
      if (task === "delete") {
        return "there is nothing of this name, or it is not for this client";
      }
      if (writing) {
        return "there is nothing that can be written; it needs a FilesApp with write: true, and a URI from fileUri()";
      }
      return task === "list"
        ? "there is no such directory, or it is not for this client; a list needs a FilesApp with list: true"
        : "there is no such file, or it is not for this client";
    case 405:
      return writing
        ? "it does not accept files; it needs a FilesApp with write: true"
        : "it is not a FilesApp, or not at this URI";
    case 409:
      return CONFLICTS[task] ??
        "it has another part of this file, or a directory is in the way; call again";
    case 412:
      return "the file already exists, or changed; call again to replace it";
    case 413:
      return "the file is larger than it accepts; raise maxBytes of its FilesApp";
    case 507:
      return "it has no space left, or its quota is exceeded, or the target is on another file system; free space there";
    default:
      return status >= 500
        ? "it has an internal problem; check its log and call again"
        : "that status is not a success; is it a FilesApp?";
  }
}
