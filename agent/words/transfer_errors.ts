import { StatusError, TransferError, type TransferErrorCode } from "@degu/degu/files/client";
import { ConnectionError, isTransient } from "@degu/degu/client";
import { explain, insertPeer, RUN_AGAIN } from "./explain.ts";
import { hasStatus } from "./error_codes.ts";
import { formatBytes } from "../terminal/output.ts";

const EXISTS_LOCALLY = "another file of this name exists on this device: replace it with --force";
export const EXISTS_AT_PEER = "another file of this name exists on PEER: replace it with --force";

const CHANGED_AT_PEER =
  `the file on PEER changed during the transfer, and was kept: look at it, and ${RUN_AGAIN}`;

const ONLY_NEW_PROBLEM =
  "PEER only accepts new files (degu serve --new-only): existing files stay as they are";

/** The reason of status 403. {@linkcode checkNotReserved} has refused reserved names before. */
const NOT_WRITABLE_BY_PEER =
  `PEER can't write to its inbox: see the output of "degu serve" on PEER`;

const NOT_READABLE_BY_PEER = "PEER can't read it";

const OPEN_AT_PEER =
  `another program has it open on PEER, or PEER may not use it: end that program, and ${RUN_AGAIN}`;

export type FileAction = "get" | "put" | "delete";

const STATUS_PROBLEMS: Readonly<Record<FileAction, Readonly<Record<number, string>>>> = {
  get: {
    403: NOT_READABLE_BY_PEER,
    404: "it does not exist any more",
  },
  put: {
    400: `it was refused: if it changed while it was sent, ${RUN_AGAIN}`,
    403: NOT_WRITABLE_BY_PEER,
    404: "PEER refuses the name, or accepts no files any more",
    405: "PEER accepts no files any more",
    // A file in the peer's list was reported before the upload.
    409:
      `another command is sending it, or another entry has just got its name: ${RUN_AGAIN} in a moment, which then reports the reason`,
    // Even with --force, a file that has changed since the list is not replaced.
    412: CHANGED_AT_PEER,
    413: "it is larger than PEER accepts",
    414: "its path is too long for PEER",
  },
  delete: {
    403: NOT_WRITABLE_BY_PEER,
    404: "it does not exist any more",
    409: "the directory is not empty",
    412: CHANGED_AT_PEER,
  },
};

const OTHER_VERSION_ADVICE = "does PEER run another version of degu?";

const COPY_PROBLEMS: Partial<Record<TransferErrorCode, string>> = {
  CHANGED: `it changed while it was copied: ${RUN_AGAIN}`,
  DIGEST_MISMATCH: `the received file differs from the sent file: ${RUN_AGAIN}`,
};

const CODE_PROBLEMS: Readonly<Record<FileAction, Partial<Record<TransferErrorCode, string>>>> = {
  get: {
    ...COPY_PROBLEMS,
    UNREADABLE: NOT_READABLE_BY_PEER,
  },
  put: {
    ...COPY_PROBLEMS,
    UNREADABLE: "it can't be read",
    OTHER_DISK:
      `PEER can't store it on the disk that is mounted there: see the output of "degu serve" on PEER`,
  },
  delete: {
    CHANGED: CHANGED_AT_PEER,
    IN_USE:
      `another command or program is changing it on PEER, or a disk is mounted there: ${RUN_AGAIN} in a moment`,
    NO_DELETIONS: "PEER deletes no files, because that was not tested on its system",
  },
};

function describeSpaceProblem(error: unknown, peer: string): string | null {
  if (!(error instanceof TransferError) || error.code !== "DISK_FULL") return null;
  const { needed: neededBytes, free: freeBytes, kept: partialFile } = error;
  const isLocal = error.at === "local";
  const location = isLocal
    ? "on this device"
    : error.isOtherDisk
    ? `on this disk of ${peer}`
    : `on ${peer}`;
  const freeText = freeBytes === null ? "less is" : `${formatBytes(freeBytes)} are`;
  const isFull = freeBytes === null || freeBytes === 0;
  const problem = neededBytes !== null
    ? `needs ${formatBytes(neededBytes)}, and ${freeText} free ${location}`
    : isFull
    ? `no space is left ${location}, or a quota is reached`
    : `only ${freeText} free ${location}, or a quota is reached`;
  // The peer sends its free space, but not the size of its partial uploads.
  const partialText = !isLocal
    ? `"degu serve" on ${peer} prints the size of partial uploads`
    : partialFile &&
      `${partialFile.path} keeps the ${formatBytes(partialFile.bytes)} that have arrived`;
  return partialText ? `${problem}; ${partialText}` : problem;
}

export function explainTransfer(error: unknown, action: FileAction, peer: string): string {
  return describeSpaceProblem(error, peer) ??
    (error instanceof TransferError
      ? describeTransferProblem(error, action, peer)
      : error instanceof StatusError
      ? describeStatusProblem(error, action, peer)
      : explain(error, peer));
}

function describeTransferProblem(error: TransferError, action: FileAction, peer: string): string {
  const { code, cause, nameProblem, problem } = error;
  if (code === "EXISTS") {
    return action === "get" ? EXISTS_LOCALLY : insertPeer(EXISTS_AT_PEER, peer);
  }
  if (code === "ONLY_ADDS") {
    const advice = action === "put" ? "; give the new file another name" : "";
    return `${insertPeer(ONLY_NEW_PROBLEM, peer)}${advice}`;
  }
  if (code === "ROOT_GONE") return explain(error, peer);
  if (code === "OVER_HALF") {
    return `${problem}, so no file is copied or deleted without --delete-all: is the disk of the ` +
      "source mounted? --dry-run --delete-all lists them";
  }
  if (nameProblem !== null) {
    const [disk, advice] = action === "get"
      ? ["the disk", `rename it on ${peer}`]
      : [`the disk of ${peer}`, action === "put" ? "rename it" : "check the name"];
    return `${disk} can't hold the name: it ${nameProblem}: ${advice}`;
  }
  if (code === "IN_USE" && hasStatus(cause, 403)) return insertPeer(OPEN_AT_PEER, peer);
  const codeProblem = CODE_PROBLEMS[action][code];
  if (codeProblem !== undefined) return insertPeer(codeProblem, peer);
  if (cause instanceof StatusError) return describeStatusProblem(cause, action, peer);
  return `${problem}${insertPeer(adviceOf(error), peer)}`;
}

/** Returns the advice, in which PEER stands for the name of the peer. */
function adviceOf(error: TransferError): string {
  switch (error.code) {
    case "IN_USE":
      return error.cause === undefined ? "" : `; ${RUN_AGAIN} later`;
    case "TARGET_CHANGED":
      return `; look at it and ${RUN_AGAIN}`;
    case "BAD_LIST":
    case "UNEXPECTED_RESPONSE":
      return isTransient(error) ? `; ${RUN_AGAIN}` : `; ${OTHER_VERSION_ADVICE}`;
  }
  return "";
}

function describeStatusProblem(
  { status, uri }: StatusError,
  action: FileAction,
  peer: string,
): string {
  if (action === "delete" && status === 409 && uri?.endsWith("/") === false) {
    return "a file has the name of one of its directories";
  }
  const problem = STATUS_PROBLEMS[action][status];
  if (problem !== undefined) return insertPeer(problem, peer);
  if (status === 503) {
    return `${peer} is busy: its disk does not answer, or it has too many open files or requests`;
  }
  if (status >= 500) {
    return `${peer} has an internal problem (status ${status}): see the output of "degu serve" on ${peer}`;
  }
  return status >= 300 && status < 400
    ? `it has become a directory: ${RUN_AGAIN}`
    : `${peer} has answered with status ${status}; ${insertPeer(OTHER_VERSION_ADVICE, peer)}`;
}

/** Returns true if the next file would fail with the same error: the peer is unreachable. */
export function isFinalError(error: unknown): boolean {
  // The list of one directory was cut, perhaps because the directory was removed.
  if (error instanceof TransferError && error.code === "BAD_LIST") return false;
  return isTransient(error) || error instanceof ConnectionError;
}
