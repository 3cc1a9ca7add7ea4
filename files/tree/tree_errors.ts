import type { DirectoryEntry } from "../wire/entries.ts";
import { describeInvalidName, MAX_DEPTH } from "../wire/file_name.ts";
import { TransferError, type TreeResult } from "../errors.ts";
import { describeNameProblem, REPLACEMENT_CHARACTER } from "../disk/names.ts";
import { plainMessageOf } from "../../internal/caught_errors.ts";
import { isTransferOrStatusError } from "../transfer_error.ts";
import type { TreeEvent } from "./options.ts";
import { quotePath, type SkipReason, type TreeNode } from "./tree.ts";

export type FailedEntry = Pick<Extract<TreeEvent, { type: "failed" }>, "path" | "error">;

function copyError(
  code: TransferError["code"],
  { path }: TreeNode,
  problem: string,
  options?: ErrorOptions,
): TransferError {
  return new TransferError(code, `${quotePath(path)}: ${problem}`, { ...options, problem });
}

export function differsAtTargetError(
  node: TreeNode,
  refusesReplacement: boolean,
): TransferError {
  if (refusesReplacement) return onlyAddsError(node);
  return copyError("EXISTS", node, "another file has this name at the target");
}

function onlyAddsError(node: TreeNode): TransferError {
  const problem =
    "another file has this name at the target, and was kept: the server only adds files";
  return copyError("ONLY_ADDS", node, problem);
}

export function changedDuringCallError(
  node: TreeNode,
  refusesReplacement: boolean,
): TransferError {
  if (refusesReplacement) return onlyAddsError(node);
  const problem =
    "the target's file changed during the call, or was deleted, so nothing was replaced";
  return copyError("TARGET_CHANGED", node, problem);
}

export function sameNameError(node: TreeNode): TransferError {
  const problem = "the target's disk treats two names as one";
  return copyError("SAME_NAME", node, problem);
}

export function renamedByDiskError(node: TreeNode, listedName: string | null): TransferError {
  const name = JSON.stringify(node.name);
  const problem =
    `the target's disk does not list ${name} by this name; deletions in its directory were skipped`;
  const listedText = listedName === null ? "" : `; it lists ${JSON.stringify(listedName)}`;
  return copyError("SAME_NAME", node, problem + listedText);
}

function describeUnsendableName({ name, path }: TreeNode): string {
  const problem = describeNameProblem(name);
  if (problem !== null) return `it ${problem}`;
  if (name.includes(REPLACEMENT_CHARACTER)) return "it is not UTF-8";
  if (path.length > MAX_DEPTH) return `it is in more than ${MAX_DEPTH} directories`;
  return `it ${describeInvalidName(name) ?? "is too long"}`;
}

export function badNameError(node: TreeNode): TransferError {
  const problem = `its name can't be sent: ${describeUnsendableName(node)}`;
  return copyError("BAD_NAME", node, problem);
}

export function unreadableEntryError({ path }: TreeNode): TransferError {
  return new TransferError("UNREADABLE", `${quotePath(path)} can't be read at the source`);
}

export function unnameableError(node: TreeNode): TransferError {
  const problem = `can't be deleted: its name can't be sent: ${describeUnsendableName(node)}`;
  return copyError("BAD_NAME", node, problem);
}

export function overHalfError(problem: string): TransferError {
  const message = `${problem}, so no file is copied or deleted`;
  return new TransferError("OVER_HALF", message, { problem });
}

export function incompleteError(
  result: TreeResult,
  { firstError, areErrorsTransient }: {
    readonly firstError: FailedEntry | null;
    readonly areErrorsTransient: boolean;
  },
): TransferError {
  const { failed, deletionsSkipped } = result;
  const cause = firstError?.error;
  const problem =
    `${failed === 1 ? "1 entry" : `${failed} entries`} could not be copied or deleted` +
    `${failed === 1 ? "" : "; the first"}: ${describeFailure(firstError!)}`;
  const skippedText = deletionsSkipped === null ? "" : ` (deletionsSkipped: "${deletionsSkipped}")`;
  const options = { cause, result, isTransient: areErrorsTransient };
  return new TransferError("INCOMPLETE", `${problem}${skippedText}`, options);
}

/** The error of a disk may name a part, and not the entry. */
function describeFailure({ path, error }: FailedEntry): string {
  const text = plainMessageOf(error);
  return isTransferOrStatusError(error) ? text : `${quotePath(path)}: ${text}`;
}

export function parentNotCreatedError(node: TreeNode, cause: unknown): TransferError {
  const problem = "a parent directory could not be created at the target";
  const code = cause instanceof TransferError ? cause.code : "IN_THE_WAY";
  return copyError(code, node, problem, { cause });
}

export function blockedByOtherKindError(
  node: TreeNode,
  { kind, reason }: Pick<DirectoryEntry, "kind"> & { readonly reason?: SkipReason | null },
  isDeletable = false,
): TransferError {
  if (isDeletable) {
    const problem =
      `a ${kind} has this name at the target; if this run deletes the ${kind}, the next run ` +
      `copies the ${node.kind}`;
    return copyError("IN_THE_WAY", node, problem);
  }
  if (kind !== "other") {
    const problem = `a ${kind} has this name at the target`;
    return copyError("IN_THE_WAY", node, problem);
  }
  const obstacleText = reason === "link"
    ? "a symbolic link, which is not followed,"
    : reason === "special"
    ? "a pipe, a socket or a device"
    : "an entry that can't be read";
  return copyError(
    "IN_THE_WAY",
    node,
    `${obstacleText} has this name at the target`,
  );
}
