import {
  checkBoolean,
  checkFunction,
  checkObject,
  copyOptions,
  wrongArgumentError,
  wrongTypeError,
} from "../../internal/checks.ts";
import type { TreeEntry } from "../wire/entries.ts";

/**
 * The functions that choose the entries of a tree. A function is called once for each path of the
 * source's list, parents first; with `delete`, also for paths that only the target has. If a
 * function returns `false`, the entry is excluded, as if neither source nor target had the entry.
 * If a function returns anything but a boolean, for example a promise, the call fails before the
 * first file is copied.
 */
export interface TreeFilter {
  /**
   * Called for each entry that is not a directory, in directories that `directory` accepts.
   *
   * @default {accepts all entries}
   */
  file?: ((entry: TreeEntry) => boolean) | undefined;
  /**
   * Called for each directory, also for an unreadable one. A refused directory is excluded with all
   * entries below. If the kind of an entry is unknown, both functions are called, and the entry is
   * excluded if both refuse it: the reason is `"name"`, or `"unreadable"` without `isDirectory`.
   *
   * @default {accepts all directories}
   */
  directory?: ((entry: TreeEntry) => boolean) | undefined;
}

type FilterName = keyof TreeFilter;

/** Reports whether an entry is included. */
export type EntryFilter = (entry: TreeEntry) => boolean;

/** In the order in which the functions are called. */
const FILTER_NAMES: readonly FilterName[] = ["directory", "file"];

export function checkFilter(label: string, filter: TreeFilter): void {
  if (typeof filter === "function") {
    throw wrongArgumentError(
      label,
      "must be an object, { file, directory }; got a function, which would also be called for " +
        "directories, and exclude all files in a refused directory",
    );
  }
  checkObject(label, filter);
  if (Array.isArray(filter) || Object.getPrototypeOf(filter) === Object.prototype) {
    copyOptions(filter, FILTER_NAMES, label);
  } else if (filter.file === undefined && filter.directory === undefined) {
    throw wrongTypeError(label, "an object with the function `file` or `directory`", filter);
  }
  for (const name of FILTER_NAMES) {
    if (filter[name] !== undefined) checkFunction(`${label}.${name}`, filter[name]);
  }
}

/** The methods may be inherited. */
export function makeEntryFilter(filter: TreeFilter): EntryFilter {
  const functions = {
    file: filter.file?.bind(filter),
    directory: filter.directory?.bind(filter),
  };
  return (entry) =>
    kindsOf(entry).some((name) => {
      const call = functions[name];
      if (call === undefined) return true;
      const isIncluded: unknown = call(entry);
      // A promise would include all entries, and a missing `return` would exclude all entries.
      checkBoolean(`filter.${name}: what it returns`, isIncluded);
      return isIncluded;
    });
}

/** Returns both names if the list doesn't show whether the entry is a directory. */
function kindsOf({ kind, reason, isDirectory }: TreeEntry): readonly FilterName[] {
  const isKindUnknown = reason === "name" || reason === "unreadable" && isDirectory === undefined;
  if (isKindUnknown) return FILTER_NAMES;
  return [kind === "directory" || isDirectory === true ? "directory" : "file"];
}
