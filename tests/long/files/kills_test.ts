/** Processes that are killed at any moment while they move files and trees. */
import { KILLED } from "../../crash/kills.ts";

for (const { name, ofTest, run } of KILLED) {
  Deno.test(`${name} that are killed at any moment tear and lose nothing, and are continued`, () => {
    return run(ofTest);
  });
}
