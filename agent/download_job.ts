/**
 * Files that are moved here.
 *
 * @module
 */

import { download } from "../transfer.ts";
import type { LocalDirectories } from "./local_target.ts";
import { lookAt, pathBelow } from "./local_tree.ts";
import type { RemoteFiles } from "./remote_files.ts";
import { looksSame } from "./sync_plan.ts";
import type { Job } from "./transfers.ts";
import type { TreeEntry } from "./tree.ts";

/** What is moved, and where. */
export interface DownloadPlan {
  readonly files: RemoteFiles;
  /** The file, by its names from the root of what is shared. */
  readonly source: TreeEntry;
  /** What it is called in messages: `camera:photos/1.jpg`. */
  readonly name: string;
  /** The directory that everything goes below. */
  readonly root: string;
  readonly directories: LocalDirectories;
  /** The names from there. */
  readonly names: readonly string[];
}

/** Makes the job that gets a file, unless it is there with the same size and time. */
export function downloadJob(plan: DownloadPlan): Job {
  const { files, source, name, root, directories, names } = plan;
  const { size, modified } = source;
  const path = pathBelow(root, names);
  return {
    name,
    size,
    result: path,
    object: { from: name, to: path },
    move: async (target, options) => {
      await directories.make(names.slice(0, -1));
      const info = await lookAt(path);
      const isThere = info?.isFile &&
        looksSame(source, { ...source, size: info.size, modified: info.mtime ?? new Date(0) });
      if (isThere) return null;
      return await download(target, files.uri(source.names), path, { ...options, modified });
    },
  };
}
