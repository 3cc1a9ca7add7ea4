/** downloadTree and uploadTree: random trees beside a model of what has to come of them, and beside rsync. */
import { assert } from "@std/assert";
import { treesCommand } from "../trees/command.ts";

async function run(...args: string[]): Promise<void> {
  const { success, stdout, stderr } = await (await treesCommand(...args)).output();
  const decoder = new TextDecoder();
  assert(success, decoder.decode(stderr));
  const { skipped } = JSON.parse(decoder.decode(stdout));
  if (skipped !== undefined) console.log(skipped);
}

Deno.test("trees come out as documented, whatever is in them and happens to them", async () => {
  await run("--runs", "60");
});

Deno.test("trees come out as with rsync -rt --delete, but for differences that have a name", async () => {
  await run("--rsync", "10");
});

Deno.test("trees on a disk that ignores case lose nothing by another spelling", async () => {
  await run("--insensitive", "25");
});
