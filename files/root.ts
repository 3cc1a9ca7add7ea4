/**
 * Writing below a root: creating, replacing and removing files and directories.
 *
 * **Links.** Writing follows no link below the root, and refuses a path that is reserved. (Reading
 * is in `serve/resolve_path.ts`.)
 *
 * **Deep paths.** A request looks up each directory of its path once. Several files in one tick of
 * the event loop share these lookups: the lookup for a file begins at the directory that was found
 * for the last file. After other code has run, {@linkcode Root.confirmParent} looks up this
 * directory again.
 *
 * **Temporary files.** A file is written under a reserved name, which no peer can list, read, write
 * or delete: an uploaded file in the reserved directory of its file system, a downloaded file next
 * to its target. The writer keeps the file open or locked, and removes it unless it was renamed to
 * its target or can be resumed: {@linkcode UnfinishedUploads} for a PUT, {@linkcode PartFile} for a
 * download, {@linkcode SmallFiles} for many files at a time in both directions.
 *
 * **Replacing.** A file replaces only a file, and only if the request's condition holds.
 *
 * **Checks.** {@linkcode Root.moveIntoPlace} checks the path, the condition and the temporary file,
 * and renames the temporary file. Every check is synchronous with the action that depends on it: no
 * other request of the process runs in between. Another process that exchanges directories at the
 * same time is outside of the threat model (docs/security.md).
 */

import { existsSync, rmdirSync, unlinkSync } from "node:fs";
import { inheritedGroupOf, setGroup } from "./disk/files.ts";
import {
  type FileIdentity,
  findEntryNameProblem,
  isFileAtPath,
  isSameDirectory,
  lstatOrNull,
  renameNoReplace,
  replaceFile,
} from "./disk/names.ts";
import { fileErrorCodeOf } from "../internal/caught_errors.ts";
import { quoteName } from "../internal/quote.ts";
import { findNameProblem, type NameProblem } from "./disk/file_names.ts";
import { dirname, realPathSync } from "../internal/paths.ts";
import { type FileChange, removeKeptFile, type VersionStore } from "./kept_versions.ts";
import { removeDirectory } from "./leftovers.ts";
import { inUseRefusal, Refusal, refusalOf, unreadableRefusal } from "./refusal.ts";
import { describeNameReason, makeReasonHeader } from "./wire/refusal_reason.ts";
import {
  isReservedName,
  KEPT_DIRECTORY_NAME,
  reservedDirectoryOf,
  withTrailingSlash,
} from "./reserved.ts";
import { type CompleteFile, setFinalMode, type UnsetProperty } from "./wire/metadata.ts";

/**
 * Throws a {@linkcode Refusal} if the existing file or directory may not be replaced or deleted.
 * With `null`, throws if a new entry may not be created.
 */
export type Condition = (existing: Deno.FileInfo | null) => void;

/**
 * The parent directory of an entry, which exists or will be created. Valid until other code can
 * run, and after {@linkcode Root.confirmParent}.
 */
export interface Parent {
  readonly names: readonly string[];
  readonly path: string;
  /** The innermost existing directory of the path. */
  readonly existingDirectory: string;
  /** The directories to create in `existingDirectory`, outermost first. */
  readonly missingDirectories: readonly string[];
  /** The metadata of the existing directories from the root on. */
  readonly directoryInfos: readonly Deno.FileInfo[];
}

interface LookupOptions {
  /** The parent directory, if the caller has found it in the same tick of the event loop. */
  readonly parent?: Parent | undefined;
  /** True if the path itself is not looked up, because the rename shows whether it exists. */
  readonly isLookupSkipped?: boolean;
}

export interface Destination {
  readonly path: string;
  readonly parent: Parent;
  readonly existing: Deno.FileInfo | null;
}

interface NamingOutcome {
  readonly isCreated: boolean;
  readonly changedDirectories: readonly string[];
}

interface FileNamingOutcome extends NamingOutcome {
  readonly unset: readonly UnsetProperty[];
}

export class Root {
  readonly #versions: VersionStore | null;
  readonly #peer: string;

  /**
   * @param versions Keeps what paths have before they change; by default nothing is kept.
   * @param peer The peer that changes the files.
   */
  constructor(readonly path: string, versions: VersionStore | null = null, peer = "") {
    this.#versions = versions;
    this.#peer = peer;
  }

  /** @param info The file of the path; `null` if it has none. */
  #keep(
    parent: Parent,
    path: string,
    info: Deno.FileInfo | null,
    change: FileChange,
  ) {
    if (this.#versions === null) return null;
    const mountPath = this.mountPathOf(parent);
    const pathBelow = path.slice(withTrailingSlash(mountPath).length);
    return this.#versions.keep(mountPath, pathBelow, info, change, this.#peer);
  }

  /** Doesn't check for links. */
  pathOf(names: readonly string[]): string {
    this.#checkDiskNames(names);
    return names.length === 0 ? this.path : withTrailingSlash(this.path) + names.join("/");
  }

  findBadName(names: readonly string[]): { name: string; problem: NameProblem } | null {
    // Almost all names are valid, and need no path.
    if (names.every((name) => findNameProblem(name) === null)) return null;
    for (const [depth, name] of names.entries()) {
      const directory = [this.path, ...names.slice(0, depth)].join("/");
      const problem = findEntryNameProblem(directory, name);
      if (problem !== null) return { name, problem };
    }
    return null;
  }

  /** Refuses a path with a name that the disk can't store, before the name is looked up. */
  #checkDiskNames(names: readonly string[]): void {
    const badName = this.findBadName(names);
    if (badName === null) return;
    const { name, problem } = badName;
    throw new Refusal(
      403,
      `the disk can't hold the name ${quoteName(name)}: it ${describeNameReason(problem)}`,
      makeReasonHeader(problem),
    );
  }

  /**
   * @param knownParent A directory that the caller has found or confirmed in the same tick of the
   * event loop. Its path is not checked again.
   */
  findParent(names: readonly string[], knownParent: Parent | null = null): Parent {
    if (names.some(isReservedName)) throw reservedNameRefusal();
    this.#checkDiskNames(names);
    if (knownParent === null && realPathSync(this.path) !== this.path) {
      throw new Refusal(403, `${this.path} now leads somewhere else`);
    }
    const sharedDepth = knownParent === null ? 0 : countSharedDirectories(knownParent, names);
    const missingDirectories: string[] = [];
    let path = this.pathOf(names.slice(0, sharedDepth));
    let existingDirectory = path;
    const directoryInfos = knownParent?.directoryInfos.slice(0, sharedDepth + 1) ??
      [Deno.lstatSync(path)];
    for (const name of names.slice(sharedDepth)) {
      path = withTrailingSlash(path) + name;
      const info = missingDirectories.length > 0 ? null : lstatOrNull(path);
      if (info?.isDirectory) {
        existingDirectory = path;
        directoryInfos.push(info);
        continue;
      }
      if (info !== null) {
        if (info.isSymlink) throw linkRefusal(path);
        throw new Refusal(409, `${path} is not a directory`);
      }
      missingDirectories.push(path);
    }
    const depth = names.length - missingDirectories.length;
    const isReserved = depth > sharedDepth && isReservedPath(this.path, names.slice(0, depth));
    if (isReserved) throw reservedNameRefusal();
    return { names, path, existingDirectory, missingDirectories, directoryInfos };
  }

  /**
   * Looks up a directory again after other code has run, with one system call.
   *
   * @returns The directory if its path still leads to it, and not to another directory, for example
   * through a link; otherwise `null`.
   */
  confirmParent(parent: Parent | null): Parent | null {
    if (parent === null || parent.missingDirectories.length > 0) return null;
    const knownInfo = parent.directoryInfos.at(-1)!;
    try {
      const info = Deno.lstatSync(parent.path);
      const isUnchanged = isSameDirectory(info, knownInfo) &&
        inheritedGroupOf(info) === inheritedGroupOf(knownInfo);
      return isUnchanged ? parent : null;
    } catch {
      // The next lookup reports the error.
      return null;
    }
  }

  /**
   * Returns the outermost directory from which a file can be renamed to a path in the parent
   * directory: the root, or the mount point of another file system below the root.
   */
  mountPathOf({ names, directoryInfos }: Parent): string {
    const device = directoryInfos.at(-1)!.dev;
    const depth = directoryInfos.findLastIndex(({ dev }) => dev !== device) + 1;
    return this.pathOf(names.slice(0, depth));
  }

  #findDestination(
    names: readonly string[],
    { parent: knownParent, isLookupSkipped = false }: LookupOptions = {},
  ): Destination {
    const name = names.at(-1);
    if (name === undefined) throw new Refusal(403, "the root can't be replaced or deleted");
    const parent = knownParent ?? this.findParent(names.slice(0, -1));
    if (isReservedName(name)) throw reservedNameRefusal();
    this.#checkDiskNames(names);
    const path = withTrailingSlash(parent.path) + name;
    const existing = isLookupSkipped || parent.missingDirectories.length > 0 ? null : lookUp(path);
    if (existing !== null && isReservedEntry(parent.path, name, existing)) {
      throw reservedNameRefusal();
    }
    if (existing?.isSymlink) throw linkRefusal(path);
    return { path, parent, existing };
  }

  findFile(names: readonly string[], options: LookupOptions = {}): Destination {
    const destination = this.#findDestination(names, options);
    const { path, existing } = destination;
    if (existing?.isDirectory) throw new Refusal(409, `${path} is a directory`);
    if (existing !== null && !existing.isFile) throw new Refusal(403, `${path} is not a file`);
    return destination;
  }

  moveIntoPlace(
    names: readonly string[],
    file: CompleteFile,
    { condition, isNew, parent: knownParent }: {
      readonly condition?: Condition | undefined;
      /** If several processes create the path at the same time, one succeeds. */
      readonly isNew: boolean;
      readonly parent?: Parent | undefined;
    },
  ): FileNamingOutcome {
    // Many new files may be renamed in a row, and each lookup takes time. Creating the link shows
    // whether the name exists.
    const isLookupSkipped = isNew && knownParent !== undefined && this.#versions === null;
    const { path, parent, existing } = this.findFile(names, {
      parent: knownParent,
      isLookupSkipped,
    });
    condition?.(existing);
    checkIdentity(file.path, file.info);
    // A file of the reserved directory has not inherited the group of its final directory.
    const group = inheritedGroupOf(parent.directoryInfos.at(-1)!);
    if (group !== null) setGroup(file.path, group);
    const unset = setFinalMode(file, existing);
    const kept = retryIfMissing(() => this.#keep(parent, path, existing, "replace"));
    // A rename would replace, without a version, a file that another process has just created.
    const isReplaced = !isNew && (existing !== null || this.#versions === null);
    let isTaken = false;
    makeDirectories(parent.missingDirectories, () => {
      if (isReplaced) return replaceFile(file.path, path);
      if (renameNoReplace(file.path, path)) return;
      // If a directory or a link has the name, throw 409 or 403 instead of 412.
      const { existing: otherFile } = this.findFile(names, { parent: knownParent });
      if (isNew) throw new Refusal(412, `${path} already exists`);
      if (otherFile === null) throw inUseRefusal(`another process uses ${path}`);
      isTaken = true;
    });
    if (isTaken) return this.moveIntoPlace(names, file, { condition, isNew });
    this.#versions?.recordPeer(path, this.#peer);
    return {
      isCreated: existing === null,
      changedDirectories: [
        parent.existingDirectory,
        ...parent.missingDirectories,
        ...kept?.changedPaths ?? [],
      ],
      unset,
    };
  }

  makeDirectory(
    names: readonly string[],
    condition?: Condition,
    knownParent?: Parent,
  ): NamingOutcome {
    if (names.length === 0) {
      condition?.(lookUp(this.path));
      return { isCreated: false, changedDirectories: [] };
    }
    const { path, parent, existing } = this.#findDestination(names, { parent: knownParent });
    condition?.(existing);
    if (existing?.isDirectory) return { isCreated: false, changedDirectories: [] };
    if (existing !== null) throw new Refusal(409, `${path} is not a directory`);
    makeDirectories([...parent.missingDirectories, path]);
    return {
      isCreated: true,
      changedDirectories: [parent.existingDirectory, ...parent.missingDirectories, path],
    };
  }

  /** Deletes a file, or a directory that has only leftovers, which are also deleted. */
  async remove(
    names: readonly string[],
    isDirectory: boolean,
    condition: Condition,
    knownParent?: Parent,
  ): Promise<{ readonly wasFile: boolean; readonly changedDirectories: readonly string[] }> {
    const { path, parent, existing } = this.#findDestination(names, { parent: knownParent });
    if (existing === null) throw new Refusal(404, `${path} does not exist`);
    const wasFile = existing.isFile;
    if (!wasFile && !existing.isDirectory) {
      throw new Refusal(403, `${path} is neither a file nor a directory`);
    }
    if (wasFile && isDirectory) throw new Refusal(404, `${path} is not a directory`);
    condition(existing);
    if (!wasFile) {
      await removeDirectory(path, () => checkIdentity(path, existing));
      return { wasFile, changedDirectories: [dirname(path)] };
    }
    const kept = retryIfMissing(() => {
      const kept = this.#keep(parent, path, existing, "delete");
      if (kept === null) unlinkSync(path);
      else removeKeptFile(path, kept.versionPath);
      return kept;
    });
    return { wasFile, changedDirectories: [dirname(path), ...kept?.changedPaths ?? []] };
  }
}

/** Repeats a change twice, because a user may be removing all versions. */
function retryIfMissing<T>(change: () => T): T {
  for (let attempt = 1;; attempt++) {
    try {
      return change();
    } catch (error) {
      if (attempt === 3 || fileErrorCodeOf(error) !== "ENOENT") throw error;
    }
  }
}

function lookUp(path: string): Deno.FileInfo | null {
  try {
    return lstatOrNull(path);
  } catch (error) {
    throw refusalOf(error) ?? unreadableRefusal(error);
  }
}

function countSharedDirectories(knownParent: Parent, names: readonly string[]): number {
  const maxDepth = Math.min(
    knownParent.names.length - knownParent.missingDirectories.length,
    names.length,
  );
  let depth = 0;
  while (depth < maxDepth && knownParent.names[depth] === names[depth]) depth++;
  return depth;
}

function linkRefusal(path: string): Refusal {
  return new Refusal(403, `${path} is a link`, makeReasonHeader("link"));
}

function reservedNameRefusal(): Refusal {
  return new Refusal(403, "the name is reserved", makeReasonHeader("name-reserved"));
}

function checkIdentity(path: string, identity: FileIdentity | null): void {
  if (identity === null || isFileAtPath(path, identity)) return;
  throw inUseRefusal(`${path} was removed or replaced by another process at the same time`);
}

function makeDirectories(paths: readonly string[], action: () => void = () => {}): void {
  const createdPaths: string[] = [];
  try {
    for (const path of paths) {
      try {
        Deno.mkdirSync(path);
        createdPaths.push(path);
      } catch (error) {
        // Another process has created the directory.
        if (fileErrorCodeOf(error) !== "EEXIST" || !Deno.lstatSync(path).isDirectory) throw error;
      }
    }
    action();
  } catch (error) {
    try {
      for (const directory of createdPaths.toReversed()) rmdirSync(directory);
    } catch {
      // Another process has created an entry in a new directory; report the first error.
    }
    throw error;
  }
}

/** Only the last name is looked up, because a reserved directory has only files. */
export function isReservedPath(root: string, names: readonly string[]): boolean {
  const name = names.at(-1);
  if (name === undefined) return false;
  const parentNames = names.slice(0, -1);
  return isReservedEntry(
    parentNames.length === 0 ? root : withTrailingSlash(root) + parentNames.join("/"),
    name,
  );
}

/**
 * A file system with short and long names has several names for a directory, so the identity of the
 * directory is also compared.
 */
export function isReservedEntry(directory: string, name: string, info?: Deno.FileInfo): boolean {
  if (isReservedName(name)) return true;
  const isReserved = (reservedPath: string) => {
    // Most directories have no reserved directory, and a failing `lstat` takes ten times as long.
    if (!existsSync(reservedPath)) return false;
    const reservedInfo = lstatOrNull(reservedPath);
    const namedInfo = reservedInfo && (info ?? lstatOrNull(withTrailingSlash(directory) + name));
    return reservedInfo !== null && namedInfo !== null && isSameDirectory(reservedInfo, namedInfo);
  };
  if (isReserved(reservedDirectoryOf(directory))) return true;
  // Each short name of a directory with this name has the character.
  return name.includes("~") && isReserved(withTrailingSlash(directory) + KEPT_DIRECTORY_NAME);
}
