/** Kills processes at random moments while they copy files and trees. */
import { KILLED } from "../../../tests/crash/kills.ts";

for (const { name, ofTest, obstacle, run } of KILLED) {
  Deno.test({
    name: `${name} that are killed at any moment lose or mix no files, and can be continued`,
    ignore: typeof obstacle === "string",
    fn: () => run(ofTest),
  });
}
