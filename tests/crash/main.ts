/**
 * `deno task crash`: kills programs at random moments, many times, and cuts a disk after each of many
 * system calls; checks what is left on the disk. `deno task test:long` does the same a few times. Ends with status 1 after the first run that fails.
 */

import { KILLED } from "./kills.ts";

for (const { name, kills, run } of KILLED) {
  const start = performance.now();
  await run(kills);
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  console.log(`${name}: cut ${kills} times in ${seconds} s, nothing torn`);
}
