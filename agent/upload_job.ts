/**
 * Files that are moved to a peer.
 *
 * @module
 */

import { upload } from "../files.ts";
import { pathBelow } from "./local_tree.ts";
import type { RemoteFiles } from "./remote_files.ts";
import { looksSame } from "./sync_plan.ts";
import type { Job } from "./transfers.ts";
import type { TreeEntry } from "./tree.ts";
import { alreadyThere, NotMoved } from "./failure.ts";

/** What is moved, and where. */
export interface UploadPlan {
  readonly files: RemoteFiles;
  /** The file, by its names from the directory of `root` on. */
  readonly source: TreeEntry;
  readonly root: string;
  /** The names at the peer. */
  readonly names: readonly string[];
  /** What it is called there: `camera:photos/1.jpg`. */
  readonly name: string;
  /** What has the name there when the command begins. */
  readonly there: Omit<TreeEntry, "names"> | null;
  /** Whether another file of the name is replaced. */
  readonly replace: boolean;
  /** Whether size and time are enough to know that the file is there already; otherwise the SHA-256 is compared. */
  readonly trustsTime: boolean;
}

/** Makes the job that puts a file, unless it is there already. */
export function uploadJob(plan: UploadPlan): Job {
  const { files, source, root, names, name, there, replace, trustsTime } = plan;
  const { size, modified } = source;
  const path = pathBelow(root, source.names);
  const isSame = trustsTime && there !== null && looksSame(source, { ...there, names });
  return {
    name: path,
    size,
    result: name,
    object: { from: path, to: name },
    move: async (target, options) => {
      if (isSame) return null;
      if (there?.kind === "directory") throw new NotMoved(`a directory is there: ${name}/`);
      if (there !== null && !replace && there.size !== size) throw alreadyThere();
      const uri = files.uri(names);
      const result = await upload(target, path, uri, { ...options, replace, modified });
      const wasThere = there !== null && (!replace || there.size === size && result.bytes === 0);
      return wasThere ? null : result;
    },
  };
}
