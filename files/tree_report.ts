/** The events and figures of the copying of a tree. */

import { Pace, type TransferResult } from "./options.ts";
import type { TreeNode } from "./tree.ts";
import type { TreeEvent, TreeSettings } from "./tree_options.ts";

export class TreeReport {
  readonly #settings: TreeSettings;
  readonly counts = { files: 0, bytes: 0, unchanged: 0, deleted: 0, skipped: 0, failed: 0 };
  total = 0;
  #bytes = 0;
  readonly #pace = new Pace();

  constructor(settings: TreeSettings) {
    this.#settings = settings;
  }

  event(event: TreeEvent): void {
    const { onEvent, signal, abort } = this.#settings;
    // After an error nothing more is reported.
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
    // The program lacks a permission: that is no fault of this file, and so for others as well.
    if (error instanceof Deno.errors.NotCapable) throw error;
    this.event({ type: "failed", path: node.path, error, at });
  }

  deleted(nodes: readonly TreeNode[] = []): void {
    for (const node of nodes) {
      const kind = node.kind === "directory" ? "directory" : "file";
      this.event({ type: "deleted", path: node.path, kind });
    }
  }

  /** Counts how much of a file is at the target; call it with more and more of it, and with 0 if it has failed. */
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
