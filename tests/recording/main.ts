/**
 * Prints a session of the program that happens now, for README.md.
 *
 * @module
 */

import { labObstacle, runInLab } from "@degu/testing/agent_lab.ts";

const why = await labObstacle();
if (why !== null) {
  console.error(`no network namespace can be made here: ${why}`);
  Deno.exit(1);
}
console.log(await runInLab("agent_session.ts"));
