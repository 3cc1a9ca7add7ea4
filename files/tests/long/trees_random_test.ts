/** downloadTree and uploadTree: random trees, compared with a model and with rsync. */
import { assert } from "@std/assert";
import { treesCommand } from "../trees/command.ts";

Deno.test("random trees are copied as documented: like rsync -rtp --delete, from an outbox, with a second writer, on disks that change the spelling of names, and on failing disks", async () => {
  // Use the same trees in each run, so that the result depends only on the code. `deno task fuzz`
  // uses other trees.
  const counts = {
    ...{ runs: 20, rsync: 4, odd: 8, moves: 100, late: 100, adds: 20, reuse: 40 },
    ...{ writers: 40, mounts: 20, failing: 6, seed: 20261122 },
  };
  const args = Object.entries(counts).flatMap(([name, count]) => [`--${name}`, `${count}`]);
  const command = await treesCommand(...args);
  const { success, stdout, stderr } = await command.output();
  const decoder = new TextDecoder();
  assert(success, decoder.decode(stderr));
  for (const line of decoder.decode(stdout).trim().split("\n")) {
    const { skipped } = JSON.parse(line);
    if (skipped !== undefined) console.log(skipped);
  }
});
