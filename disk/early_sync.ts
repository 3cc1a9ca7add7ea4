/**
 * Syncs a large file while it is being written.
 *
 * @module
 */

/** About how many bytes are written between two syncs. */
const SYNC_BYTES = 67_108_864;

/**
 * Syncs what was written to a file at intervals, in the background: at the end the disk has little left to do. The last
 * sync is the writer's own, and reports whatever has failed.
 */
export class EarlySync {
  readonly #path: string;
  #bytes = 0;
  #syncing: Promise<void> | null = null;

  /** Does nothing before enough has been written. */
  constructor(path: string) {
    this.#path = path;
  }

  /** Counts bytes that were written. */
  add(count: number): void {
    this.#bytes += count;
    if (this.#bytes < SYNC_BYTES || this.#syncing !== null) return;
    this.#bytes = 0;
    this.#syncing = this.#sync().catch(() => {}).finally(() => this.#syncing = null);
  }

  async #sync(): Promise<void> {
    // Opened again: through one open file, a sync and a write wait for each other.
    using file = await Deno.open(this.#path, { read: true });
    await file.syncData();
  }

  /** Resolves when nothing is going on in the background. */
  async settle(): Promise<void> {
    await this.#syncing;
  }
}
