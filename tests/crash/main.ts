/**
 * `deno task crash`: kills programs at random moments, many times, and checks what they have left on the
 * disk. The suite does the same a few times. Ends with status 1 after the first run that fails.
 */

import { killPeerWriters } from "@degu/testing/killed_peer_writers.ts";
import { runs as transfers } from "./transfers.ts";

/** A kind of program to kill. */
interface CrashRun {
  /** What is killed. */
  readonly name: string;
  /** How often. */
  readonly kills: number;
  /** Kills it so often; rejects if what is left on the disk is wrong. */
  readonly run: (kills: number) => Promise<void>;
}

const RUNS: readonly CrashRun[] = [
  { name: "writers of a device's peers", kills: 200, run: killPeerWriters },
  ...transfers,
];

for (const { name, kills, run } of RUNS) {
  const start = performance.now();
  await run(kills);
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  console.log(`${name}: killed ${kills} times in ${seconds} s, nothing torn`);
}
