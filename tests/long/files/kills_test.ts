/** Kills processes at random moments while they copy files and trees. */
import { KILLED } from "../../crash/kills.ts";

for (const { name, ofTest, run } of KILLED) {
  Deno.test(`${name} that are killed at any moment lose or mix no files, and can be continued`, () => {
    return run(ofTest);
  });
}
