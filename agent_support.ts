/**
 * What the program `degu`, the package `@degu/agent`, uses of this package and no other program
 * can: it is no interface, has no documentation, and may change in any version. `@degu/agent` names
 * the exact version of this package. Each name has its reason; the aim is that none is left.
 *
 * ```ts
 * import "@degu/degu/agent_support";
 * ```
 *
 * @module
 */

export {
  // Patterns of `--exclude` never match reserved names, however they are spelled.
  removeIgnoredCharacters,
} from "./files/reserved.ts";
export {
  // A file that can't be sent is refused before a receiver is found.
  hasSendableMetadata,
} from "./files/conditions.ts";
export {
  // Files that the user names are copied to a full disk by the same rule as files of a tree.
  FullDiskRetries,
} from "./files/full_disk_retries.ts";
export {
  // The program tries again when a transfer of its own would give up.
  setTransferHints,
} from "./files/transfer/client.ts";
export {
  // A peer may choose the name of a file in a directory: a link of this name is not followed.
  downloadEntry,
} from "./files/transfer/download.ts";
export {
  // A command or an option that deletes is refused before it has begun.
  findDeletionProblem,
} from "./disk/deleting.ts";
export {
  // A name of a peer, or of the command line, is judged before a path of this device is made of it.
  describeBadName,
  // Inboxes are made, moved and renamed so that a crash leaves no half of it.
  makePresenceCheck,
  renameNoReplace,
  syncIfPossible,
} from "./disk/names.ts";
