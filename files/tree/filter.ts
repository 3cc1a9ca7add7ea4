import {
  checkBoolean,
  checkFunction,
  checkObject,
  copyOptions,
  wrongArgumentError,
  wrongTypeError,
} from "../../internal/checks.ts";
import type { TreeEntry } from "../entries.ts";
import type { TreeOptions } from "./options.ts";

type Filter = NonNullable<TreeOptions["filter"]>;
type FilterName = keyof Filter;

/** Reports whether an entry is included. */
export type EntryFilter = (entry: TreeEntry) => boolean;

/** In the order in which the functions are called. */
const FILTER_NAMES: readonly FilterName[] = ["directory", "file"];

export function checkFilter(label: string, filter: Filter): void {
  if (typeof filter === "function") {
    throw wrongArgumentError(
      label,
      "must be an object, { file, directory }; got a function, which would also be asked about " +
        "the directories, and hide all files in a refused directory",
    );
  }
  checkObject(label, filter);
  copyOptions(filter, FILTER_NAMES, label);
  const isEmpty = filter.file === undefined && filter.directory === undefined;
  if (isEmpty && Object.getPrototypeOf(filter) !== Object.prototype) {
    throw wrongTypeError(label, "an object with the function `file` or `directory`", filter);
  }
  for (const name of FILTER_NAMES) {
    if (filter[name] !== undefined) checkFunction(`${label}.${name}`, filter[name]);
  }
}

/** The methods may be inherited. */
export function makeEntryFilter(filter: Filter): EntryFilter {
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
