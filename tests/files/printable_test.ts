/** Names that peers choose, in messages. */
import { assert, assertEquals } from "@std/assert";
import { printable } from "@degu/internal/files/printable.ts";
import { fileUri } from "@degu/internal/files/file_name.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";
import { serveForWriting } from "@degu/testing/written_directory.ts";

Deno.test("characters that are not seen, or change a line, become their code points", () => {
  const cases: Record<string, string> = {
    "a b/Ö日😀~": "a b/Ö日😀~",
    "\n\r\t\0\x1b\x7f\x85": "\\u{a}\\u{d}\\u{9}\\u{0}\\u{1b}\\u{7f}\\u{85}",
    "\u200b\u202e\ufeff": "\\u{200b}\\u{202e}\\u{feff}",
    "\u2028\u2029": "\\u{2028}\\u{2029}",
    "\ud800": "\\u{d800}",
    "\u{e0001}": "\\u{e0001}",
  };
  for (const [message, expected] of Object.entries(cases)) {
    assertEquals(printable(message), expected);
  }
});

Deno.test("no name that a peer chooses forges a line of the log", async () => {
  await using files = await serveForWriting();
  const name = "a\nWARNING \u202eb\x1b[2J";
  assertEquals(await files.put(fileUri(name, "b"), latin1("x")), 201);
  assertEquals(await files.put(fileUri(name), latin1("x")), 409);
  const [warning = ""] = files.warnings;
  assert(warning.endsWith(`/a\\u{a}WARNING \\u{202e}b\\u{1b}[2J is a directory`), warning);
});
