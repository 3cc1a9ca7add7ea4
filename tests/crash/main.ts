/**
 * `deno task crash`: kills programs many times at random moments, and cuts a disk after each of
 * many system calls; then checks the files on the disk. `deno task test:long` does the same a few
 * times. The exit code is 1 after the first failed run.
 */

import { KILLED } from "./kills.ts";

for (const { name, kills, obstacle, run } of KILLED) {
  if (typeof obstacle === "string") {
    console.warn(`${name}: not cut (${obstacle})`);
    continue;
  }
  const start = performance.now();
  await run(kills);
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  console.log(`${name}: cut ${kills} times in ${seconds} s, nothing torn`);
}
