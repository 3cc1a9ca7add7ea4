/** Wrong programs don't compile, or fail; right programs compile. */
import { createTempDir } from "@degu/testing/directories.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { BEGINNING, findTypeErrors, makeBlock } from "./programs.ts";
import { RIGHT } from "./right.rows.ts";
import { WRONG } from "./wrong.rows.ts";

Deno.test("invalid programs don't compile, and valid programs compile", async () => {
  const programs: Record<string, string> = { ...RIGHT };
  for (const [name, mistake, intended] of WRONG) {
    programs[name] = mistake;
    programs[`meant by ${name}`] = intended;
  }
  const names = new Set([...Object.keys(RIGHT), ...WRONG.map(([name]) => name)]);
  assertEquals(names.size, Object.keys(RIGHT).length + WRONG.length, "two rows have one name");
  const errors = await findTypeErrors(programs);
  const compiling: string[] = [];
  const otherErrors: Record<string, string> = {};
  for (const [name, , , expected] of WRONG) {
    if (typeof expected !== "string") continue;
    const error = errors[name];
    delete errors[name];
    if (error === undefined) compiling.push(name);
    else if (!error.includes(expected)) otherErrors[name] = error;
  }
  const expected = { compiling: [], otherErrors: {}, unexpected: {} };
  assertEquals({ compiling, otherErrors, unexpected: errors }, expected);
});

Deno.test("an invalid program that compiles fails with an error that names the mistake", async (t) => {
  await using dir = await createTempDir();
  const compiling = WRONG.flatMap(([name, mistake, , error]) =>
    typeof error === "string" ? [] : [[name, mistake, error]] as const
  );
  // Keep the event loop alive: otherwise Deno doesn't report a module that fails after an `await`.
  const alive = setInterval(() => {}, 1000);
  await testEachRow(t, compiling, async (_name, mistake, [error, message]) => {
    const path = await Deno.makeTempFile({ dir: dir.path, suffix: ".ts" });
    await Deno.writeTextFile(path, BEGINNING + makeBlock(mistake));
    const thrown = await assertRejects(() => import(`file://${path}`), Error);
    assertEquals(thrown.name, error);
    assertStringIncludes(thrown.message, message);
  });
  clearInterval(alive);
});
