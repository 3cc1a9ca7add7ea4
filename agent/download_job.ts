/**
 * Files that are moved here.
 *
 * @module
 */

import { download, remoteDigest } from "../files.ts";
import { localDigest } from "./local_digest.ts";
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
  /** Whether size and time are enough to know that the file is there already; otherwise the SHA-256 is compared, too. */
  readonly trustsTime: boolean;
}

/** Makes the job that gets a file, unless it is there already. */
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
      const uri = files.uri(source.names);
      if (await seemsThere(path, source)) {
        if (plan.trustsTime) return null;
        const { signal } = options;
        const theirs = await remoteDigest(target, uri, { signal });
        if (theirs === await localDigest(path, signal)) return null;
      }
      return await download(target, uri, path, { ...options, modified });
    },
  };
}

/** Whether a file of the same size and time is here. */
async function seemsThere(path: string, source: TreeEntry): Promise<boolean> {
  const info = await lookAt(path);
  if (!info?.isFile) return false;
  return looksSame(source, { ...source, size: info.size, modified: info.mtime ?? new Date(0) });
}
