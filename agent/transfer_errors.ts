/** Messages for failed transfers: the reason, and the advice. */

import { EmptyPreambleError, TlsError } from "@degu/degu/base";
import { isTransient, StatusError, TransferError, type TransferErrorCode } from "@degu/degu/files";
import { EXISTS_AT_PEER, EXISTS_LOCALLY, explain } from "./explain.ts";
import { formatBytes } from "./output.ts";

const RUN_AGAIN = "run the same command again";

/** The reason why a file is not put in the place of another file. */
const CHANGED_AT_PEER =
  `the file at the peer changed meanwhile, and stays: look at it, and ${RUN_AGAIN}`;

/** The reason of a peer that runs `degu serve --new-only`. */
export const ONLY_NEW_PROBLEM =
  'the peer only accepts new files ("degu serve --new-only"): existing files stay as they are';

/** The reason if every connection ends at one file, while the peer responds. */
export const CONNECTION_BREAKS_PROBLEM = "the connection breaks off again and again";

/** The reason can't be a reserved name, which {@linkcode checkNotReserved} refuses. */
const NOT_WRITABLE_BY_PEER = `the peer can't write to its inbox: see the output of "degu serve"`;

export type FileAction = "get" | "put" | "delete";

/** The meanings of the peer's statuses, by action. */
const STATUS_PROBLEMS: Readonly<Record<FileAction, Readonly<Record<number, string>>>> = {
  get: {
    403: "the peer may not read it, or its disk does not give it",
    404: "it does not exist any more",
  },
  put: {
    400: `it was refused: if it changed while it was sent, ${RUN_AGAIN}`,
    403: NOT_WRITABLE_BY_PEER,
    404: "the peer refuses the name, or takes no files any more",
    405: "the peer takes no files any more",
    // An older file was reported before, from the list of the peer.
    409:
      `another command is sending it, or another entry has just taken its name: ${RUN_AGAIN} in a moment, which then says what`,
    // Even with --force, a file is replaced only if it has not changed since the list.
    412: CHANGED_AT_PEER,
    413: "it is larger than the peer accepts",
    414: "its path is too long for the peer",
  },
  delete: {
    403: NOT_WRITABLE_BY_PEER,
    404: "it does not exist any more",
    409: "the directory is not empty: remove first what is in it",
    412: CHANGED_AT_PEER,
  },
};

const OTHER_VERSION_ADVICE = "does the peer run another version of degu?";

const COPY_PROBLEMS: Partial<Record<TransferErrorCode, string>> = {
  CHANGED: `it changed while it was copied: ${RUN_AGAIN}`,
  DIGEST_MISMATCH: `what arrived is not what was sent: ${RUN_AGAIN}`,
};

/** The meanings of the codes that need no finer reason, by action. */
const CODE_PROBLEMS: Readonly<Record<FileAction, Partial<Record<TransferErrorCode, string>>>> = {
  get: {
    ...COPY_PROBLEMS,
    UNREADABLE: "the peer can't read it: change its permissions on the peer, or check the disk",
  },
  put: {
    ...COPY_PROBLEMS,
    UNREADABLE: "it can't be read: change its permissions, or check the disk",
  },
  delete: { CHANGED: CHANGED_AT_PEER },
};

/** Describes the needed and the free space of a full disk; `null` for other errors. */
function describeSpaceProblem(error: unknown): string | null {
  if (!(error instanceof TransferError) || error.code !== "DISK_FULL") return null;
  const { needed, free, kept: partialFile } = error;
  const isLocal = error.at === "local";
  const location = isLocal ? "on this device" : "on the peer";
  const freeText = free === null ? "less is" : `${formatBytes(free)} are`;
  const isFull = free === null || free === 0;
  const problem = needed !== null
    ? `needs ${formatBytes(needed)}, and ${freeText} free ${location}`
    : isFull
    ? `no space is left ${location}, or a quota is reached`
    : `only ${freeText} free ${location}, or a quota is reached`;
  // The peer sends its free space, but logs the size of partial uploads only locally.
  const partialText = !isLocal ? '"degu serve" prints the size of partial uploads' : partialFile &&
    `${partialFile.path} keeps the ${formatBytes(partialFile.bytes)} that have arrived`;
  return `${problem}: free some space and ${RUN_AGAIN}${partialText ? `; ${partialText}` : ""}`;
}

/** Returns the reason why a file could not be copied or removed, with advice. */
export function explainTransfer(error: unknown, action: FileAction): string {
  return describeSpaceProblem(error) ??
    (error instanceof TransferError
      ? describeTransferProblem(error, action)
      : error instanceof StatusError
      ? describeStatusProblem(error, action)
      : explain(error));
}

function describeTransferProblem(error: TransferError, action: FileAction): string {
  const { code, cause, limit, problem } = error;
  if (code === "EXISTS") return action === "get" ? EXISTS_LOCALLY : EXISTS_AT_PEER;
  if (code === "ONLY_ADDS") return ONLY_NEW_PROBLEM;
  if (code === "ROOT_GONE") return explain(error);
  if (code === "OVER_LIMIT") {
    return `${problem}, more than --max-delete ${limit} allows; look at them with --dry-run, without ` +
      "--max-delete, then raise it";
  }
  const codeProblem = CODE_PROBLEMS[action][code];
  if (codeProblem !== undefined) return codeProblem;
  if (cause instanceof StatusError) return describeStatusProblem(cause, action);
  return `${problem}${adviceOf(error)}`;
}

function adviceOf(error: TransferError): string {
  switch (error.code) {
    case "TARGET_CHANGED":
      return `; look at it and ${RUN_AGAIN}`;
    case "BAD_LIST":
    case "UNEXPECTED_RESPONSE":
      return isTransient(error) ? `; ${RUN_AGAIN}` : `; ${OTHER_VERSION_ADVICE}`;
  }
  return "";
}

function describeStatusProblem({ status }: StatusError, action: FileAction): string {
  const problem = STATUS_PROBLEMS[action][status];
  if (problem !== undefined) return problem;
  if (status >= 500) {
    return `the peer has an internal problem (status ${status}): see the output of "degu serve"`;
  }
  return status >= 300 && status < 400
    ? `it is a directory by now: ${RUN_AGAIN}`
    : `the peer has answered with status ${status}; ${OTHER_VERSION_ADVICE}`;
}

/**
 * Whether the next file would fail with the same error, because the peer can't be reached or a disk
 * is full. A file that is larger than the free space fails alone.
 */
export function isFinalError(error: unknown): boolean {
  if (error instanceof TransferError && error.code === "DISK_FULL") return error.needed === null;
  return isTransient(error) || error instanceof TlsError || error instanceof EmptyPreambleError;
}
