/** Unreferenced objects are closed, and objects in use are not. */
import { assert, assertEquals } from "@std/assert";
import { runProgram } from "@degu/testing/programs.ts";

Deno.test("unreferenced objects close themselves, and objects in use keep what they need", async (t) => {
  const output = await runProgram("garbage_collection.ts", {
    patience: 180,
    flags: ["--v8-flags=--expose-gc", "--allow-net", "--allow-read"],
  });
  const findings: [string, unknown][] = JSON.parse(output);
  assert(findings.length > 10);
  for (const [what, found] of findings) await t.step(what, () => assertEquals(found, true));
});
