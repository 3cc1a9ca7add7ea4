import { assertEquals } from "@std/assert";
import { columnsOfTerminal } from "@degu/internal/agent/terminal_columns.ts";
import { screenOf } from "@degu/testing/screen.ts";
import { hasTerminals, runOnTerminal } from "@degu/testing/terminals.ts";

const SCRIPT = `
  import { columnsOfTerminal } from "./agent/terminal_columns.ts";
  console.log(\`columns \${columnsOfTerminal()}\`);
`;
const isThere = await hasTerminals();

Deno.test({
  name: isThere
    ? "a terminal says how wide it is, or 80 is taken"
    : "the width of a terminal: left out, as python3 is not installed",
  ignore: !isThere,
  fn: async () => {
    for (const [columns, expected] of [[37, 37], [0, 80]] as const) {
      const command = [Deno.execPath(), "eval", "--no-check", SCRIPT];
      const { shown } = await runOnTerminal({ command, columns });
      assertEquals(screenOf(shown), [`columns ${expected}`]);
    }
  },
});

Deno.test("without a terminal it is a number all the same", () => {
  assertEquals(columnsOfTerminal() > 0, true);
});
