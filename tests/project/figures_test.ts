/** The figures of the pages, which `deno task bench --save` copies from `bench/results.md`. */
import { replaceFigures, summaries } from "@degu/internal/bench/summary.ts";
import { readProjectFile } from "@degu/testing/project_files.ts";
import { assertEquals } from "@std/assert";

const joinLines = (text: string) => text.replaceAll(/\s+/g, " ");

Deno.test("the figures of a page are those of bench/results.md, however its lines are wrapped", async () => {
  const results = await readProjectFile("bench/results.md");
  const wrappedResults = results.replaceAll(/^\d{4}-.*$/gm, (line) => line.replaceAll(", ", ",\n"));
  for (const summary of summaries) {
    const page = await readProjectFile(summary.path);
    for (const text of [results, wrappedResults]) {
      assertEquals(joinLines(replaceFigures(page, text, summary)), joinLines(page));
    }
  }
});
