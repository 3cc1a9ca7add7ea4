/** The events and figures of the copying of a tree. */

import { standardLogger } from "../net/logger.ts";
import { messageOf } from "../net/thrown.ts";
import { Pace, type TransferResult } from "./options.ts";
import { show, type TreeNode } from "./tree.ts";
import type { TreeEvent, TreeSettings } from "./tree_options.ts";

export class TreeReport {
  readonly #settings: TreeSettings;
  readonly counts = {
    files: 0,
    bytes: 0,
    unchanged: 0,
    deleted: 0,
    removed: 0,
    skipped: 0,
    failed: 0,
  };
  total = 0;
  #bytes = 0;
  readonly #pace = new Pace();

  constructor(settings: TreeSettings) {
    this.#settings = settings;
  }

  event(event: TreeEvent): void {
    const { onEvent, signal, abort } = this.#settings;
    // No event follows an error.
    signal.throwIfAborted();
    const { type } = event;
    if (type !== "plan" && type !== "progress") this.counts[type === "copied" ? "files" : type]++;
    try {
      onEvent?.(event);
    } catch (error) {
      abort(error);
      throw error;
    }
  }

  copied(node: TreeNode, result: TransferResult): void {
    this.counts.bytes += result.bytes;
    this.event({ type: "copied", path: node.path, ...result });
  }

  failed(node: TreeNode, error: unknown, at: "source" | "target" = "source"): void {
    // What has failed since the call was aborted is not told.
    this.#settings.signal.throwIfAborted();
    // A missing permission of the program is no fault of this file, and concerns others as well.
    if (error instanceof Deno.errors.NotCapable) throw error;
    // Without anybody who hears of it, a file would be left behind in silence.
    if (this.#settings.onEvent === undefined) {
      standardLogger.warn(`${show(node.path)}: ${messageOf(error)}`);
    }
    this.event({ type: "failed", path: node.path, error, at });
  }

  deleted(node: TreeNode): void {
    const kind = node.kind === "directory" ? "directory" : "file";
    this.event({ type: "deleted", path: node.path, kind });
  }

  /**
   * Makes a function that counts the bytes of a file at the target. The function is called with the
   * number of bytes whenever that changes, and with 0 if the file has failed.
   */
  meter({ size }: TreeNode): (bytes: number) => void {
    let counted = 0;
    return (bytes) => {
      const now = Math.min(bytes, size);
      this.#bytes += now - counted;
      counted = now;
      if (this.#pace.isDue()) this.progress();
    };
  }

  progress(): void {
    this.event({ type: "progress", bytes: this.#bytes, total: this.total });
  }
}
