/** The results of the benchmark, and what the documentation quotes from them. */

import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { replaceFigures } from "@degu/internal/bench/summary.ts";
import { read } from "@degu/testing/tree.ts";

Deno.test("docs/performance.md has the figures of bench/results.md", async () => {
  const [page, results] = [await read("docs/performance.md"), await read("bench/results.md")];
  assertEquals(page, replaceFigures(page, results));
  // Another result would be another figure.
  const changed = results.replace(/^(\| degu +\| +)\d/m, "$19");
  assertNotEquals(page, replaceFigures(page, changed));
});

Deno.test("the figures of a run name its circumstances, and leave out what was not measured", () => {
  const results = `# Results

## Row 1: POST

2026-01-02, commit 1a2b3c4, Deno 2.9.6, 2 cores; 7 rounds; load average at the start 0.01, 0.02, 0.03.

### 1-tcp: POST over TCP

In requests/s, higher is better; all programs on one core (1).

|           | median requests/s | spread | × raw |
| --------- | ----------------: | -----: | ----: |
| raw       |            10 000 |  ± 5 % |  1.00 |
| degu      |             5 000 | ± 10 % |  0.50 |
| node:http |                 — |      — |     — |

- node:http failed: no memory

### 7-8: GET under wrk

- Skipped: \`wrk --version\` does not work here.
`;
  const page = replaceFigures("# Page\n\n## Figures\n\nold\n\n## Next\n", results);
  assertMatch(
    page,
    /\nMeasured over loopback: 2026-01-02, commit 1a2b3c4, Deno 2\.9\.6, 2 cores; 7 rounds\. .* ± 10 %\.\n/,
  );
  const row = page.split("\n").find((line) => line.startsWith("| POST")) ?? "";
  assertEquals(row.split("|").slice(2, -1).map((cell) => cell.trim()), [
    ...["requests/s", "5,000", "–", "–", "10,000"],
  ]);
  assert(!page.includes("wrk") && !page.includes("old") && page.endsWith("\n\n## Next\n"));
});
