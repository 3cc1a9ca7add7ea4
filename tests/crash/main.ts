/**
 * `deno task crash`: kills programs at random moments, many times, and checks what they have left on the
 * disk. The suite does the same a few times. Ends with status 1 after the first run that fails.
 *
 * @module
 */

import { killPeerWriters } from "@degu/testing/killed_peer_writers.ts";
import { killDownloads, killUploads, killWriters } from "@degu/testing/transfer_kills.ts";
import { killTreeDownloads, killTreeServers, killTreeUploads } from "@degu/testing/tree_kills.ts";

/** What is killed, how often, and how: it rejects if what is left on the disk is wrong. */
const RUNS: readonly [name: string, kills: number, run: (kills: number) => Promise<void>][] = [
  ["writers of a device's peers", 200, killPeerWriters],
  ["downloads", 100, killDownloads],
  ["uploads", 100, killUploads],
  ["writers of one directory", 100, killWriters],
  ["downloads of a tree", 30, killTreeDownloads],
  ["uploads of a tree", 30, killTreeUploads],
  ["servers of a tree", 30, killTreeServers],
];

for (const [name, kills, run] of RUNS) {
  const start = performance.now();
  await run(kills);
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  console.log(`${name}: killed ${kills} times in ${seconds} s, nothing torn`);
}
