/**
 * The file systems below a root, each with its own unfinished uploads, because a file can't be
 * renamed to another file system.
 */

import type { Parent, Root } from "../root.ts";
import { UnfinishedUploads } from "./unfinished_uploads.ts";

interface OtherDisk {
  readonly device: number;
  readonly uploads: UnfinishedUploads;
}

export class UploadDisks {
  readonly rootUploads: UnfinishedUploads;
  readonly #root: Root;
  readonly #onError: (message: string) => void;
  /** The unfinished uploads on other file systems, by the path of the mount point. */
  readonly #otherDisks = new Map<string, OtherDisk>();

  constructor(root: Root, onError: (message: string) => void) {
    this.#root = root;
    this.#onError = onError;
    this.rootUploads = new UnfinishedUploads(root.path, onError);
  }

  find(parent: Parent): UnfinishedUploads {
    const path = this.#root.mountPathOf(parent);
    if (path === this.#root.path) return this.rootUploads;
    const device = parent.devices.at(-1)!;
    let disk = this.#otherDisks.get(path);
    // Another disk may have been mounted, perhaps without permission bits.
    if (disk?.device !== device) {
      disk = { device, uploads: new UnfinishedUploads(path, this.#onError, true) };
      this.#otherDisks.set(path, disk);
    }
    return disk.uploads;
  }
}
