/**
 * Crash runs of files: processes that download, upload or write are killed at random moments.
 *
 * @module
 */

import { killDownloads, killUploads, killWriters } from "@degu/testing/transfer_kills.ts";

/** Each run with its name; `run` takes how many processes it kills. */
export const runs: { readonly name: string; run(kills: number): Promise<void> }[] = [
  { name: "downloads", run: killDownloads },
  { name: "uploads", run: killUploads },
  { name: "writers of one directory", run: killWriters },
];
