/** The errors of single files and directories of a tree, which fail alone. */

import type { DirectoryEntry } from "../entries.ts";
import { TransferError } from "../transfer_error.ts";
import { quotePath, type Reason, type TreeNode } from "./tree.ts";

function copyError(
  code: TransferError["code"],
  node: TreeNode,
  text: string,
  options?: ErrorOptions,
): TransferError {
  return new TransferError(code, `${quotePath(node.path)}${text}`, options);
}

/** The error of a file that differs from one of the target, which is not to be replaced. */
export function existsAlready(node: TreeNode): TransferError {
  const text = ": another file has this name at the target; with replace: true it is replaced " +
    "(if its server only adds files, it always stays)";
  return copyError("CONFLICT", node, text);
}

/** The error of a file whose name something has that came, or changed, since the list. */
export function changedMeanwhile(node: TreeNode): TransferError {
  const text = ": what has this name at the target changed meanwhile, and stays; look at it and " +
    "call again (if its server only adds files, it always stays)";
  return copyError("CONFLICT", node, text);
}

/** The error of a name that the disk of the target takes for another one of the source. */
export function sameName(node: TreeNode): TransferError {
  const text = ": the target's disk takes two names for the same; rename one";
  return copyError("CONFLICT", node, text);
}

/** The error of a name because of which nothing in a directory of the target is deleted. */
export function respelledThere(node: TreeNode): TransferError {
  const text = ": the target's disk does not list it by this name; beside it nothing is deleted";
  return copyError("CONFLICT", node, text);
}

/** The error of an entry of the source whose name no request can have. */
export function badName(node: TreeNode): TransferError {
  const text = ": its name can't be sent: it is not UTF-8, too long or reserved; rename it";
  return copyError("BAD_NAME", node, text);
}

/** The error of an entry of the source that the disk, or its owner, doesn't give. */
export function unreadableThere(node: TreeNode): TransferError {
  const text = " can't be read where it is; change its permissions, or leave it out by a filter";
  return copyError("UNREADABLE", node, text);
}

/** The error of a superfluous entry of the target that stays. */
export function unnameable(node: TreeNode): TransferError {
  const text = ": is not deleted: its name is not UTF-8, too long or reserved";
  return copyError("BAD_NAME", node, text);
}

/** The error of a call that would delete more than it may. */
export function overLimit(count: number, limit: number): TransferError {
  const text = `nothing is deleted: it would be ${count} deletion${count === 1 ? "" : "s"}, more ` +
    `than maxDelete ${limit} allows`;
  return new TransferError("CONFLICT", text);
}

/** The error of a file or directory whose own directory is not there. */
export function directoryMissing(node: TreeNode, cause: unknown): TransferError {
  const text = ": a directory that it is in could not be made at the target";
  return copyError("CONFLICT", node, text, { cause });
}

/** The error of what can't get the name of something that is not deleted. */
export function staysInTheWay(node: TreeNode, { kind }: TreeNode): TransferError {
  const text = `: a ${kind} has this name at the target, and stays, as this call deletes nothing ` +
    "there (deletionsKept); remove or rename one of the two";
  return copyError("CONFLICT", node, text);
}

/** The error of what can't get the name of an entry of another kind. */
export function inTheWay(
  node: TreeNode,
  { kind, reason }: Pick<DirectoryEntry, "kind"> & { readonly reason?: Reason | null },
): TransferError {
  const what = kind !== "other"
    ? `a ${kind}`
    : reason === "link"
    ? "a symbolic link, which is not followed,"
    : reason === "special"
    ? "a pipe, a socket or a device"
    : "something that can't be read";
  const advice = kind !== "other"
    ? "; with delete: true it is deleted, unless something in it has to stay"
    : "";
  const text = `: ${what} has this name at the target${advice}; remove or rename one of the two`;
  return copyError("CONFLICT", node, text);
}
