/** The errors of single files and directories of a tree, which fail alone, and of the whole. */

import type { DirectoryEntry } from "../entries.ts";
import { TransferError } from "../transfer_error.ts";
import type { TreeResult } from "../options.ts";
import { markTransient } from "../../net/retry.ts";
import { quotePath, type Reason, type TreeNode } from "./tree.ts";

function copyError(
  code: TransferError["code"],
  { path }: TreeNode,
  problem: string,
  options: Advice = {},
): TransferError {
  const text = `${quotePath(path)}: ${problem}${options.advice ?? ""}`;
  return new TransferError(code, text, { ...options, problem });
}

/** What to do, in the words of the library. */
interface Advice extends ErrorOptions {
  readonly advice?: string;
}

/** The error of a file that differs from one of the target, which is not to be replaced. */
export function differsAtTargetError(node: TreeNode, target: Target): TransferError {
  if (target.onlyAdds) return onlyAddsError(node);
  const advice = "; with replace: true it is replaced";
  return copyError("EXISTS", node, "another file has this name at the target", { advice });
}

/** The target of a tree. */
interface Target {
  /** Whether its server is known to only add files. */
  readonly onlyAdds?: boolean;
}

function onlyAddsError(node: TreeNode): TransferError {
  const problem = "another file has this name at the target, and stays: its server only adds files";
  return copyError("ONLY_ADDS", node, problem);
}

/** The error of a file whose name something has that came, or changed, since the list. */
export function changedMeanwhileError(node: TreeNode, target: Target): TransferError {
  if (target.onlyAdds) return onlyAddsError(node);
  const problem = "what has this name at the target changed meanwhile, and stays";
  const advice = "; look at it and call again (if its server only adds files, it always stays)";
  return copyError("TARGET_CHANGED", node, problem, { advice });
}

/** The error of a name that the disk of the target takes for another one of the source. */
export function sameNameError(node: TreeNode): TransferError {
  const problem = "the target's disk takes two names for the same; rename one";
  return copyError("SAME_NAME", node, problem);
}

/** The error of a name because of which nothing in a directory of the target is deleted. */
export function renamedByDiskError(node: TreeNode): TransferError {
  const name = JSON.stringify(node.name);
  const problem =
    `the target's disk does not list ${name} by this name; beside it nothing is deleted`;
  return copyError("SAME_NAME", node, problem);
}

/** The error of an entry of the source whose name no request can have. */
export function badNameError(node: TreeNode): TransferError {
  const problem = "its name can't be sent: it is not UTF-8, too long or reserved; rename it";
  return copyError("BAD_NAME", node, problem);
}

/** The error of an entry of the source that the disk, or its owner, doesn't give. */
export function unreadableEntryError({ path }: TreeNode): TransferError {
  const text = "can't be read where it is; change its permissions, or leave it out by a filter";
  return new TransferError("UNREADABLE", `${quotePath(path)} ${text}`);
}

/** The error of a superfluous entry of the target that stays. */
export function unnameableError(node: TreeNode): TransferError {
  const problem = "is not deleted: its name is not UTF-8, too long or reserved";
  return copyError("BAD_NAME", node, problem);
}

/** The error of a call that would delete more than it may. */
export function overLimitError(count: number, limit: number): TransferError {
  const problem = `nothing is deleted: it would be ${count} deletion${count === 1 ? "" : "s"}`;
  const message = `${problem}, more than maxDelete ${limit} allows`;
  return new TransferError("OVER_LIMIT", message, { limit, problem });
}

/** The error of a call that has not copied or deleted all that it should have. */
export function incompleteError(
  result: TreeResult,
  { firstError, isTransient }: {
    readonly firstError: { readonly error: unknown } | null;
    readonly isTransient: boolean;
  },
): TransferError {
  const { failed, deletionsSkipped } = result;
  const { error: cause } = firstError ?? {};
  const problem = failed === 0
    ? "nothing is deleted at the target, since the source is empty; is its disk mounted? With " +
      "deleteAll: true all is deleted"
    : `${failed === 1 ? "1 entry" : `${failed} entries`} could not be copied or deleted` +
      `${failed === 1 ? "" : "; the first"}: ${cause instanceof Error ? cause.message : cause}`;
  const skipped = failed === 0 || deletionsSkipped === null
    ? ""
    : ` (deletionsSkipped: "${deletionsSkipped}")`;
  const error = new TransferError("INCOMPLETE", `${problem}${skipped}`, { cause, result });
  return failed > 0 && isTransient ? markTransient(error) : error;
}

/** The error of a file or directory whose own directory is not there. */
export function missingDirectoryError(node: TreeNode, cause: unknown): TransferError {
  const problem = "a directory that it is in could not be made at the target";
  const code = cause instanceof TransferError ? cause.code : "IN_THE_WAY";
  return copyError(code, node, problem, { cause });
}

/** The error of an entry whose name is blocked by one that was not deleted. */
export function blockedByKeptEntryError(node: TreeNode, { kind }: TreeNode): TransferError {
  const problem =
    `a ${kind} has this name at the target, and stays, as this call deletes nothing ` +
    "there (deletionsSkipped); remove or rename one of the two";
  return copyError("IN_THE_WAY", node, problem);
}

/** The error of an entry whose name an entry of another kind has. */
export function blockedByOtherKindError(
  node: TreeNode,
  { kind, reason }: Pick<DirectoryEntry, "kind"> & { readonly reason?: Reason | null },
): TransferError {
  const rename = "; remove or rename one of the two";
  if (kind !== "other") {
    const advice =
      ", or call with delete: true, which deletes it unless something in it has to stay";
    const problem = `a ${kind} has this name at the target${rename}`;
    return copyError("IN_THE_WAY", node, problem, { advice });
  }
  const what = reason === "link"
    ? "a symbolic link, which is not followed,"
    : reason === "special"
    ? "a pipe, a socket or a device"
    : "something that can't be read";
  return copyError("IN_THE_WAY", node, `${what} has this name at the target${rename}`);
}
