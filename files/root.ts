/**
 * Writing below a root: creating, replacing and removing files and directories.
 *
 * **Links.** Writing follows no link below the root, and refuses a path that is reserved. (Reading
 * is in `serve/resolve_path.ts`.)
 *
 * **Deep paths.** A request looks at each directory on its way once. Several files of one turn
 * share these looks: the way to a file begins at the directory that was found for the file before.
 *
 * **Temporary files.** A file is written under a reserved name, which no peer can list, read,
 * write or delete: in a directory of its own if a peer sends the file, beside its target if this
 * device has asked for it. The writer holds or locks the file, and removes it unless it got its
 * name or can be resumed: {@linkcode UnfinishedFiles} for a PUT, {@linkcode PartFile} for a
 * download, {@linkcode SmallFiles} for many at a time in both directions.
 *
 * **Replacing.** A file gives way to a file, if the request's condition holds, and to no other
 * entry.
 *
 * **Checks.** {@linkcode Root.moveIntoPlace} checks the path, the condition and the temporary file,
 * and renames that. Every check is synchronous with the action that depends on it: no other request
 * of the process runs in between. Another process that exchanges directories in that moment is
 * outside of the threat model (docs/security.md).
 */

import { quote } from "../internal/quote.ts";
import { type BigIntStats, rmdirSync, unlinkSync } from "node:fs";
import { setMode } from "../internal/disk/files.ts";
import {
  fileErrorCodeOf,
  type FileIdentity,
  isFileAtPath,
  lstatExactOrNull,
  lstatOrNull,
  renameNoReplace,
  replaceFile,
} from "../internal/disk/names.ts";
import { findNameProblem } from "../internal/disk/file_names.ts";
import { dirname, realPathSync } from "../internal/disk/paths.ts";
import type { TemporaryFile } from "../internal/disk/temporary.ts";
import { removeDirectory } from "./leftovers.ts";
import { inUseRefusal, Refusal, refusalOf, unreadableRefusal } from "./refusal.ts";
import { isReservedEntry, isReservedName, isReservedPath, withTrailingSlash } from "./reserved.ts";

/**
 * Decides whether a file or directory may be replaced or deleted, or, given `null`, a new name
 * given; throws a {@linkcode Refusal}.
 */
export type Condition = (existing: BigIntStats | null) => void;

/**
 * A directory in which a name is given: it exists, or is to be made. Valid until something else can
 * run.
 */
export interface Parent {
  /** The names that lead to the directory from the root. */
  readonly names: readonly string[];
  readonly path: string;
  /** The innermost directory on the way that exists. */
  readonly base: string;
  /** The directories to create in `base`, outermost first. */
  readonly missing: readonly string[];
}

/** Options of a lookup of a directory. */
interface ExpectedParent {
  /** A directory that the caller has found in the same tick: its path is not checked again. */
  readonly known?: Parent | null;
  /** Whether the file is renamed later. If so, a parent directory may still be a file. */
  readonly isNamedLater?: boolean;
}

/** Options of a lookup of a path. */
interface Expected {
  /** The directory, if the caller has found it in the same tick. */
  readonly parent?: Parent | undefined;
  /** Whether the path itself is not looked up, because the rename shows whether it exists. */
  readonly isUnseen?: boolean;
  /**
   * Whether the file is renamed later. If so, the path may still be a directory, and a parent
   * directory may still be a file.
   */
  readonly isNamedLater?: boolean;
}

interface Destination {
  readonly path: string;
  readonly parent: Parent;
  /** The file, directory or link that has the name now. */
  readonly existing: BigIntStats | null;
}

/** A complete file that has a temporary name. */
export type CompleteFile = Pick<TemporaryFile, "path" | "info" | "newMode" | "hasOwnMode">;

export interface NamingOptions {
  readonly condition?: Condition | undefined;
  /**
   * Whether the path must not exist. Of several processes that create it at once, one succeeds.
   */
  readonly isNew: boolean;
  /** The directory in which the name is given, if the caller has found it in the same tick. */
  readonly parent?: Parent | undefined;
}

/** The outcome for a file or directory that was given its name. */
export interface NamingOutcome {
  /** Whether the path did not exist before. */
  readonly created: boolean;
  /** The directories that have new entries. */
  readonly changed: readonly string[];
}

/**
 * A directory in which names are given, replaced and removed. A path below it is an array of names.
 */
export class Root {
  readonly path: string;
  readonly #unfinished: string | null;

  /**
   * Creates the object without a look at the disk.
   *
   * @param unfinished The directory of unfinished files; `null` if each lies beside its target.
   */
  constructor(path: string, unfinished: string | null = null) {
    this.path = path;
    this.#unfinished = unfinished;
  }

  /**
   * Returns the path of names, if no link is on the way.
   *
   * @throws {Refusal} if the disk can't hold one of the names.
   */
  pathOf(names: readonly string[]): string {
    names.forEach(checkOnDisk);
    return names.length === 0 ? this.path : withTrailingSlash(this.path) + names.join("/");
  }

  /**
   * Finds a directory in which a name is given, and the missing ones on the way.
   *
   * @throws {Refusal} if the path is reserved, leads through a link or a file, or has a name that
   * the disk can't hold.
   */
  findParent(
    names: readonly string[],
    { known = null, isNamedLater = false }: ExpectedParent = {},
  ): Parent {
    names.forEach(checkName);
    if (known === null && realPathSync(this.path) !== this.path) {
      throw new Refusal(403, `${this.path} now leads somewhere else`);
    }
    const shared = known === null ? 0 : sharedDepth(known, names);
    const missing: string[] = [];
    let path = this.pathOf(names.slice(0, shared));
    let base = path;
    for (const name of names.slice(shared)) {
      path = withTrailingSlash(path) + name;
      const info = missing.length > 0 ? null : lstatOrNull(path);
      if (info?.isDirectory) {
        base = path;
        continue;
      }
      if (info !== null) {
        if (info.isSymlink) throw new Refusal(403, `${path} is a link`);
        if (!isNamedLater || !info.isFile) throw new Refusal(409, `${path} is not a directory`);
      }
      missing.push(path);
    }
    const depth = names.length - missing.length;
    if (isReservedPath(this.path, names.slice(0, depth))) throw reservedNameRefusal();
    return { names, path, base, missing };
  }

  /**
   * Finds the path at which a name is given, replaced or removed.
   */
  #find(
    names: readonly string[],
    { parent: found, isUnseen = false, isNamedLater = false }: Expected = {},
  ): Destination {
    const name = names.at(-1);
    if (name === undefined) throw new Refusal(403, "the root can't be replaced or deleted");
    const parent = found ?? this.findParent(names.slice(0, -1), { isNamedLater });
    checkName(name);
    const path = withTrailingSlash(parent.path) + name;
    const existing = isUnseen || parent.missing.length > 0 ? null : lookAt(path);
    if (existing !== null && isReservedEntry(parent.path, name, existing)) {
      throw reservedNameRefusal();
    }
    return { path, parent, existing };
  }

  /**
   * Finds the path at which a file gets its name.
   *
   * @throws {Refusal} also if a directory, a link or a special file has the name; if the path is on
   * another file system than the unfinished files.
   */
  findFile(names: readonly string[], expected: Expected = {}): Destination {
    const destination = this.#findFile(names, expected);
    this.#checkFileSystem(destination);
    return destination;
  }

  /** Does the same as {@linkcode findFile}, without the check of the file system. */
  #findFile(names: readonly string[], expected: Expected): Destination {
    const destination = this.#find(names, expected);
    const { path, existing } = destination;
    if (existing?.isDirectory()) {
      if (!expected.isNamedLater) throw new Refusal(409, `${path} is a directory`);
    } else if (existing !== null && !existing.isFile()) {
      throw new Refusal(403, `${path} is not a file`);
    }
    return destination;
  }

  /** Refuses a path on another file system, to which no unfinished file can be renamed. */
  #checkFileSystem({ path, parent }: Destination): void {
    if (this.#unfinished === null) return;
    // The directory of unfinished files is made when it is needed.
    const unfinished = lstatExactOrNull(this.#unfinished) ?? lstatExactOrNull(this.path);
    const directory = lstatExactOrNull(parent.base);
    // Where a directory has vanished, the rename fails.
    if (unfinished === null || directory === null || unfinished.dev === directory.dev) return;
    throw new Refusal(507, `${path} is on another file system than ${this.path}`);
  }

  /**
   * Renames a complete file to its final name, replacing a file.
   *
   * @throws {Refusal} as {@linkcode findFile} does, or if the condition does.
   */
  moveIntoPlace(
    names: readonly string[],
    file: CompleteFile,
    { condition, isNew, parent: known }: NamingOptions,
  ): NamingOutcome {
    // Many new files may get their names in a row, and each look costs time: making the link shows
    // whether the name exists.
    const isUnseen = isNew && known !== undefined;
    // The rename itself fails on another file system.
    const { path, parent, existing } = this.#findFile(names, {
      parent: known,
      isUnseen,
    });
    condition?.(existing);
    checkIsAt(file.path, file.info);
    const isOwn = existing === null || file.hasOwnMode;
    const mode = isOwn ? file.newMode : Number(existing.mode);
    if (mode !== null) setMode(file.path, mode);
    makeDirectories(parent.missing, () => {
      if (!isNew) return replaceFile(file.path, path);
      if (renameNoReplace(file.path, path)) return;
      // If a directory or a link has the name, throw 409 or 403 instead of 412.
      this.#findFile(names, { parent: known });
      throw new Refusal(412, `${path} already exists`);
    });
    return { created: existing === null, changed: [parent.base, ...parent.missing] };
  }

  /**
   * Creates a directory and its missing parents.
   *
   * @param known The directory in which the name is given, if the caller has found it in the same
   * turn.
   * @throws {Refusal} if a file or link has the name, or if the condition throws one.
   */
  makeDirectory(
    names: readonly string[],
    condition?: Condition,
    known?: Parent,
  ): NamingOutcome {
    if (names.length === 0) {
      condition?.(lookAt(this.path));
      return { created: false, changed: [] };
    }
    const destination = this.#find(names, { parent: known });
    const { path, parent, existing } = destination;
    condition?.(existing);
    if (existing?.isDirectory()) return { created: false, changed: [] };
    if (existing !== null) throw new Refusal(409, `${path} is not a directory`);
    this.#checkFileSystem(destination);
    makeDirectories([...parent.missing, path]);
    return { created: true, changed: [parent.base, ...parent.missing, path] };
  }

  /**
   * Deletes a file, or a directory that is empty but for left-over parts, which go with it.
   *
   * @param isDirectory Whether only a directory is meant.
   * @param known The directory that has the name, if the caller has found it in the same tick.
   * @throws {Refusal} if the path does not exist, or if the condition throws one.
   */
  async remove(
    names: readonly string[],
    isDirectory: boolean,
    condition: Condition,
    known?: Parent,
  ): Promise<{ readonly wasFile: boolean; readonly changed: string }> {
    const { path, existing } = this.#find(names, { parent: known });
    if (existing === null) throw new Refusal(404, `${path} does not exist`);
    const wasFile = existing.isFile();
    if (!wasFile && !existing.isDirectory()) {
      throw new Refusal(403, `${path} is neither a file nor a directory`);
    }
    if (wasFile && isDirectory) throw new Refusal(404, `${path} is not a directory`);
    condition(existing);
    if (wasFile) unlinkSync(path);
    else await removeDirectory(path, () => checkIsAt(path, existing));
    return { wasFile, changed: dirname(path) };
  }
}

/**
 * Returns the metadata of a path; `null` if it does not exist. Makes errors of the disk refusals.
 */
function lookAt(path: string): BigIntStats | null {
  try {
    return lstatExactOrNull(path);
  } catch (error) {
    throw refusalOf(error) ?? unreadableRefusal(error);
  }
}

/** How many directories of a path that exist were found on the way to a known one. */
function sharedDepth(known: Parent, names: readonly string[]): number {
  const most = Math.min(known.names.length - known.missing.length, names.length);
  let depth = 0;
  while (depth < most && known.names[depth] === names[depth]) depth++;
  return depth;
}

/** Refuses a name that no file may get. */
function checkName(name: string): void {
  if (isReservedName(name)) throw reservedNameRefusal();
  checkOnDisk(name);
}

/** Refuses a name that the disk can't store, before the name is looked up. */
function checkOnDisk(name: string): void {
  const problem = findNameProblem(name);
  if (problem !== null) {
    throw new Refusal(403, `the disk can't hold the name ${quote(name)}: it ${problem}`);
  }
}

function reservedNameRefusal(): Refusal {
  return new Refusal(403, "the name is reserved");
}

/** Checks that a path still leads to the same file or directory, unless `identity` is null. */
function checkIsAt(path: string, identity: FileIdentity | null): void {
  if (identity === null || isFileAtPath(path, identity)) return;
  throw inUseRefusal(`${path} was removed or replaced by another process at the same time`);
}

/** Creates directories, and runs a function; if that throws, all is as before. */
function makeDirectories(paths: readonly string[], then: () => void = () => {}): void {
  const made: string[] = [];
  try {
    for (const path of paths) {
      try {
        Deno.mkdirSync(path);
        made.push(path);
      } catch (error) {
        // Another process was faster.
        if (fileErrorCodeOf(error) !== "EEXIST" || !Deno.lstatSync(path).isDirectory) throw error;
      }
    }
    then();
  } catch (error) {
    try {
      for (const directory of made.toReversed()) rmdirSync(directory);
    } catch {
      // Another process has created an entry in a new directory; report the first error.
    }
    throw error;
  }
}
