/** Crash runs of files: processes that download, upload or write are killed at random moments. */

import { killTreeDownloads, killTreeServers, killTreeUploads } from "@degu/testing/kills.ts";
import { killDownloads, killUploads, killWriters } from "@degu/testing/kills.ts";

/** Each run with its name, and how many processes it kills. */
export const runs: { readonly name: string; kills: number; run(kills: number): Promise<void> }[] = [
  { name: "downloads", kills: 100, run: killDownloads },
  { name: "uploads", kills: 100, run: killUploads },
  { name: "writers of one directory", kills: 100, run: killWriters },
  { name: "downloads of a tree", kills: 30, run: killTreeDownloads },
  { name: "uploads of a tree", kills: 30, run: killTreeUploads },
  { name: "servers of a tree", kills: 30, run: killTreeServers },
];
