/**
 * How much of a part a power failure would leave.
 *
 * @module
 */

import type { PartFile } from "./part_file.ts";
import type { PartRecord } from "./part_record.ts";

/** About how many bytes are written between two syncs. */
const SYNC_BYTES = 268435456;

/** Syncs what is written to a part at intervals, in the background, and updates its record. */
export class SyncedCount {
  readonly #part: PartFile;
  readonly #record: PartRecord;
  #position: number;
  #noted: number;
  #noting: Promise<void> | null = null;

  /** Begins to count at a position. */
  constructor(part: PartFile, record: PartRecord, position: number) {
    this.#part = part;
    this.#record = record;
    this.#position = this.#noted = position;
  }

  /** Counts bytes that were written. */
  add(count: number): void {
    this.#position += count;
    if (this.#noting !== null || this.#position - this.#noted < SYNC_BYTES) return;
    this.#noting = this.#note().finally(() => this.#noting = null);
    // A failing disk is detected when the whole file is synced.
    this.#noting.catch(() => {});
  }

  /** Waits for the pending sync in the background. */
  async settle(): Promise<void> {
    await this.#noting?.catch(() => {});
  }

  /** Syncs and records all of it. */
  async noteAll(): Promise<void> {
    await this.settle();
    if (this.#position > this.#noted) await this.#note();
  }

  async #note(): Promise<void> {
    const synced = this.#position;
    await this.#part.noteSynced({ ...this.#record, synced });
    this.#noted = synced;
  }
}
