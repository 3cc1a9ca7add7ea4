/** Names that peers choose, in messages. */
import { assert, assertEquals } from "@std/assert";
import { printable, printableError, printableJson } from "@degu/internal/base/printable.ts";
import { fileUri } from "@degu/internal/files/file_name.ts";
import { runProgram } from "@degu/testing/programs.ts";
import { AS_USER, canRun } from "@degu/testing/refused_writes.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";
import { serveForWriting } from "@degu/testing/written_directory.ts";

Deno.test("invisible characters, and those that break a line, are replaced by their code points", () => {
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

Deno.test("such characters become JSON escapes, which keep the same value", () => {
  const value = { "a b/Ö日😀": '\n\x1b\x85\u202e\u{e0001}\ud800"\\' };
  const text = printableJson(value);
  assertEquals(
    text,
    String.raw`{"a b/Ö日😀":"\n\u001b\u0085\u202e\udb40\udc01\ud800\"\\"}`,
  );
  assertEquals(JSON.parse(text), value);
});

Deno.test("an error with such characters is replaced by one without them", () => {
  const error = Object.assign(new Error("EIO: open '/a\n\x1b[2J'"), {
    name: "IoError",
    code: "EIO",
  });
  const shown = printableError(error);
  assert(shown instanceof Error && shown !== error);
  assertEquals(`${shown}`, "IoError: EIO: open '/a\\u{a}\\u{1b}[2J'");
  assertEquals((shown as { code?: unknown }).code, "EIO");
  assertEquals(shown.cause, undefined);
  for (const text of [`${shown.stack}`, Deno.inspect(shown)]) {
    assert(!text.includes("\x1b") && !text.includes("/a\n"), text);
  }
  for (const other of [new Error("plain"), "text\n", null]) {
    assertEquals(printableError(other), other);
  }
});

const canBeUser = await canRun(...AS_USER);

Deno.test({
  name:
    "with no file descriptors left the answer is 503, and no name forges a log line (needs unshare)",
  ignore: !canBeUser,
  async fn() {
    const dir = await Deno.makeTempDir();
    try {
      const printed = await runProgram("files_without_descriptors.ts", {
        flags: ["--allow-read", `--allow-write=${dir}`],
        args: [dir],
        through: ["unshare", "-r", "sh", "-c", 'ulimit -n 100; exec "$@"', "sh"],
        patience: 60,
      });
      const { statuses, warnings } = JSON.parse(printed);
      assertEquals(statuses, [201, 503, 503, 503]);
      assertEquals(warnings.length, 3);
      assertEquals(warnings.filter((line: string) => line !== printable(line)), []);
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  },
});

Deno.test("no name that a peer chooses forges a log line", async () => {
  await using files = await serveForWriting();
  const name = "a\nWARNING \u202eb\x1b[2J";
  assertEquals(await files.put(fileUri(name, "b"), latin1("x")), 201);
  assertEquals(await files.put(fileUri(name), latin1("x")), 409);
  const [warning = ""] = files.warnings;
  assert(warning.endsWith(`/a\\u{a}WARNING \\u{202e}b\\u{1b}[2J is a directory`), warning);
});
