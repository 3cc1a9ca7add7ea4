/** What is printed, and how sizes, times and the width of the terminal are. */
import { assert, assertEquals } from "@std/assert";
import { columnsOf, formatBytes, formatDuration, Output } from "@degu/internal/agent/output.ts";
import { spawnScript } from "@degu/testing/processes.ts";
import { fromLatin1 } from "@degu/testing/wire_grammar.ts";
import fc from "fast-check";

/** What an output prints. */
function print(
  options: { json: boolean; quiet: boolean },
  calls: (output: Output) => void,
): [stdout: string, stderr: string] {
  const texts: [string, string] = ["", ""];
  const streamOf = (i: 0 | 1) => ({
    // A pipe may take less than it is given.
    writeSync: (bytes: Uint8Array) => {
      const taken = bytes.subarray(0, 7);
      texts[i] += fromLatin1(taken);
      return taken.length;
    },
    isTerminal: () => false,
  });
  const { stdin, noColor, consoleSize } = Deno;
  const streams = { stdin, stdout: streamOf(0), stderr: streamOf(1), noColor, consoleSize };
  calls(new Output({ ...options, streams }));
  return texts;
}

function printAll(output: Output): void {
  output.result("text", { a: 1 });
  output.result(["two", "lines"], { b: 2 });
  output.note("note");
  output.warn("warn");
  output.error("error");
}

Deno.test("results go to stdout and messages to stderr, without colors if there is no terminal", () => {
  assertEquals(print({ json: false, quiet: false }, printAll), [
    "text\ntwo\nlines\n",
    "note\ndegu: warning: warn\ndegu: error: error\n",
  ]);
});

Deno.test("with json a result is one object per line", () => {
  const [stdout] = print({ json: true, quiet: false }, printAll);
  assertEquals(stdout, '{"a":1}\n{"b":2}\n');
});

Deno.test("quiet omits only notes", () => {
  const [, stderr] = print({ json: false, quiet: true }, printAll);
  assertEquals(stderr, "degu: warning: warn\ndegu: error: error\n");
});

Deno.test("control and format characters are escaped, so that they don't affect a terminal", () => {
  const calls = (output: Output) => {
    output.result("a\x1b[31m\nb\u202ec", { name: "a\x1b\u202e\u{e0001}\u009b" });
    output.warn("a\rb\x07");
  };
  assertEquals(print({ json: false, quiet: false }, calls), [
    "a\\u{1b}[31m\\u{a}b\\u{202e}c\n",
    "degu: warning: a\\u{d}b\\u{7}\n",
  ]);
  const [stdout] = print({ json: true, quiet: false }, calls);
  assertEquals(stdout, '{"name":"a\\u001b\\u202e\\udb40\\udc01\\u009b"}\n');
  assertEquals(JSON.parse(stdout).name, "a\x1b\u202e\u{e0001}\u009b");
});

Deno.test("a closed output is distinguished from other errors", async () => {
  const script = `import { Output } from "./agent/output.ts";
const output = new Output({ json: false, quiet: false });
try {
  for (;;) output.result("x".repeat(4096), {});
} catch (error) {
  Deno.exit(error.name === "OutputClosed" ? 7 : 8);
}`;
  const child = await spawnScript(script, ["--no-check"]);
  const reader = child.stdout.getReader();
  await reader.read();
  await reader.cancel();
  await child.stderr.cancel();
  assertEquals((await child.status).code, 7);
});

Deno.test("a message that nobody reads is no reason to stop", async () => {
  const script = `import { Output } from "./agent/output.ts";
const output = new Output({ json: false, quiet: false });
for (let i = 0; i < 100; i++) output.note("x".repeat(4096));
output.result("done", {});`;
  const child = await spawnScript(script, ["--no-check"]);
  await child.stderr.cancel();
  assertEquals(await new Response(child.stdout).text(), "done\n");
  assertEquals((await child.status).code, 0);
});

Deno.test("bytes are shown with a decimal unit and up to three digits", () => {
  const cases: [number, string][] = [
    [0, "0 B"],
    [999, "999 B"],
    [1000, "1.00 kB"],
    [9994, "9.99 kB"],
    [9996, "10.0 kB"],
    [99_960, "100 kB"],
    [999_499, "999 kB"],
    [999_500, "1.00 MB"],
    [12_345_678, "12.3 MB"],
    [Number.MAX_SAFE_INTEGER, "9.01 PB"],
  ];
  for (const [bytes, text] of cases) assertEquals(formatBytes(bytes), text);
  fc.assert(fc.property(fc.maxSafeNat(), (bytes) => assert(formatBytes(bytes).length <= 7)));
});

Deno.test("durations have minutes and seconds, and hours if there are any", () => {
  const cases: [number, string][] = [[0, "0:00"], [59.6, "1:00"], [65, "1:05"], [3599, "59:59"], [
    3723,
    "1:02:03",
  ], [360_000, "100:00:00"]];
  for (const [seconds, text] of cases) assertEquals(formatDuration(seconds), text);
});

Deno.test("a terminal says how wide it is, or 80 is taken", () => {
  const rows = [[37, 37], [0, 80]] as const;
  for (const [columns, expected] of rows) {
    assertEquals(columnsOf({ consoleSize: () => ({ columns, rows: 24 }) }), expected);
  }
  const consoleSize = () => {
    throw new Error("no terminal");
  };
  assertEquals(columnsOf({ consoleSize }), 80);
  assertEquals(columnsOf(Deno) > 0, true);
});
