/**
 * The file or directory that a request refers to.
 *
 * @module
 */

import type { Request } from "../base/app/message.ts";
import { namesOf } from "./file_name.ts";

/** The file or directory that a request refers to, by its names from the root. */
export interface Target {
  readonly names: readonly string[];
  /** True for a path that ends with a slash. */
  readonly isDirectory: boolean;
  /** The last component of the path, as it was sent. */
  readonly last: string;
}

/** Reads the path of a request; `null` if a component of it is not the name of a file. */
export function readTarget({ mount, path }: Request): Target | null {
  // Mounted at /foo, a request for /foo has an empty path here.
  const last = path.at(-1) ?? mount.at(-1) ?? "";
  const names = namesOf(path.at(-1) === "" ? path.slice(0, -1) : path);
  return names && { names, isDirectory: last === "", last };
}
