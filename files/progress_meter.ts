/**
 * Reports the progress of a transfer at intervals.
 *
 * @module
 */

import type { TransferProgress, TransferResult } from "./options.ts";

/** The minimum time between two reports. */
const INTERVAL_MILLISECONDS = 100;

/** Counts the bytes of one transfer and reports them. */
export class ProgressMeter {
  /** Bytes of the whole file. */
  readonly total: number;
  /** Bytes that were already there. */
  readonly resumedFrom: number;
  readonly #report: ((progress: TransferProgress) => void) | undefined;
  #bytes = 0;
  #reportedAt: number;

  /** Creates a meter for a transfer that begins now. */
  constructor(
    report: ((progress: TransferProgress) => void) | undefined,
    total: number,
    resumedFrom: number,
  ) {
    this.#report = report;
    this.total = total;
    this.resumedFrom = resumedFrom;
    this.#reportedAt = performance.now();
  }

  /** Counts bytes that were transferred. */
  add(count: number): void {
    this.#bytes += count;
    if (this.#report === undefined || this.resumedFrom + this.#bytes >= this.total) return;
    const now = performance.now();
    if (now - this.#reportedAt < INTERVAL_MILLISECONDS) return;
    this.#reportedAt = now;
    this.#callBack();
  }

  /** Reports the end, with all bytes, and returns the result of the transfer. */
  finish(sha256: string | null): TransferResult {
    const { total, resumedFrom } = this;
    const bytes = this.#bytes = total - resumedFrom;
    this.#callBack();
    return { bytes, total, resumedFrom, sha256 };
  }

  #callBack(): void {
    const { total, resumedFrom } = this;
    this.#report?.({ bytes: this.#bytes, total, resumedFrom });
  }
}
