/**
 * `deno task crash`: kills programs at random moments, many times, and checks what they have left on the
 * disk. The suite does the same a few times. Ends with status 1 after the first run that fails.
 */

import { killPeerWriters } from "./killed_peer_writers.ts";
import { KILLED } from "./kills.ts";

const peerWriters = { name: "writers of a device's peers", kills: 200, run: killPeerWriters };

for (const { name, kills, run } of [peerWriters, ...KILLED]) {
  const start = performance.now();
  await run(kills);
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  console.log(`${name}: cut ${kills} times in ${seconds} s, nothing torn`);
}
