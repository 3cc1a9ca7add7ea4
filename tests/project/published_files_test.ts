/** Parsing the output of `deno publish --dry-run`. */
import { assertEquals, assertThrows } from "@std/assert";
import { readOutput } from "@degu/internal/tools/package/published_files.ts";

const ROOT = new URL("file:///a/degu/");
const LISTED = `Checking for slow types in the public API...
Simulating publish of @degu/degu@0.1.0 with files:
   file:///a/degu/LICENSE (1.06KB)
   file:///a/degu/base/a%20b.ts (676B)
   file:///a/degu/docs/client.md (1.5MB)
Success Dry run complete
`;

Deno.test("the paths of all files are read", () => {
  assertEquals(readOutput(LISTED, true, ROOT), ["LICENSE", "base/a b.ts", "docs/client.md"]);
});

Deno.test("a failure, a warning, a file outside the package and an empty list are errors", () => {
  const warning = `warning[unanalyzable-dynamic-import]: unable to analyze\n${LISTED}`;
  const uncommitted = `Warning: there are uncommitted changes\n${LISTED}`;
  for (
    const [output, success, expected] of [
      [LISTED, false, "deno publish failed"],
      [warning, true, "deno publish warns"],
      [uncommitted, true, "deno publish warns"],
      [LISTED.replace("degu/LICENSE", "LICENSE"), true, "from elsewhere: file:///a/LICENSE"],
      ["Success Dry run complete\n", true, "lists no files"],
    ] as const
  ) {
    assertThrows(() => readOutput(output, success, ROOT), Error, expected);
  }
});
