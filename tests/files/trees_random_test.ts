/** downloadTree and uploadTree: random trees beside a model of what has to come of them, and beside rsync. */
import { assert } from "@std/assert";
import { treesCommand } from "../trees/command.ts";

Deno.test("trees come out as documented, as with rsync -rt --delete, on a disk that ignores case, and on disks that fail", async () => {
  const command = await treesCommand("--runs", "20", "--rsync", "4", "--insensitive", "12", ...[
    "--failing",
    "6",
  ]);
  const { success, stdout, stderr } = await command.output();
  const decoder = new TextDecoder();
  assert(success, decoder.decode(stderr));
  for (const line of decoder.decode(stdout).trim().split("\n")) {
    const { skipped } = JSON.parse(line);
    if (skipped !== undefined) console.log(skipped);
  }
});
