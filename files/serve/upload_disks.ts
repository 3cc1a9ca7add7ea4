/**
 * The file systems below a root, each with its own unfinished uploads, because a file can't be
 * renamed to another file system.
 */

import type { Parent, Root } from "../root.ts";
import { UnfinishedUploads } from "./unfinished_uploads.ts";

export class UploadDisks {
  /** The unfinished uploads on the file system of the root. */
  readonly rootUploads: UnfinishedUploads;
  readonly #root: Root;
  readonly #onError: (message: string) => void;
  /** The unfinished uploads on other file systems, by the path of the mount point. */
  readonly #otherUploads = new Map<string, UnfinishedUploads>();

  /** @param onError Called if an old file can't be removed. */
  constructor(root: Root, onError: (message: string) => void) {
    this.#root = root;
    this.#onError = onError;
    this.rootUploads = new UnfinishedUploads(root.path, onError);
  }

  /** Finds the unfinished uploads from which a file can be renamed to a path in a directory. */
  find(parent: Parent): UnfinishedUploads {
    const path = this.#root.mountPathOf(parent);
    if (path === this.#root.path) return this.rootUploads;
    let uploads = this.#otherUploads.get(path);
    if (uploads === undefined) {
      uploads = new UnfinishedUploads(path, this.#onError, true);
      this.#otherUploads.set(path, uploads);
    }
    return uploads;
  }
}
