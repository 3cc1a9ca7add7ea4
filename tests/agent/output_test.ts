/** What the program prints. */
import { assertEquals } from "@std/assert";
import { spawnScript } from "@degu/testing/processes.ts";

/** What an output prints in a process of its own, without any permission. */
async function print(options: string, calls: string): Promise<[stdout: string, stderr: string]> {
  const script = `import { Output } from "./agent/output.ts";
const output = new Output(${options});
${calls}`;
  const child = await spawnScript(script, ["--no-check"]);
  const { stdout, stderr } = await child.output();
  return [new TextDecoder().decode(stdout), new TextDecoder().decode(stderr)];
}

const CALLS = String.raw`output.result("text", { a: 1 });
output.result(["two", "lines"], { b: 2 });
output.note("note");
output.warn("warn");
output.error("error");`;

Deno.test("results go to stdout and messages to stderr, without colors if there is no terminal", async () => {
  assertEquals(await print("{ json: false, quiet: false }", CALLS), [
    "text\ntwo\nlines\n",
    "note\ndegu: warning: warn\ndegu: error: error\n",
  ]);
});

Deno.test("with json a result is one object per line", async () => {
  const [stdout] = await print("{ json: true, quiet: false }", CALLS);
  assertEquals(stdout, '{"a":1}\n{"b":2}\n');
});

Deno.test("quiet omits only notes", async () => {
  const [, stderr] = await print("{ json: false, quiet: true }", CALLS);
  assertEquals(stderr, "degu: warning: warn\ndegu: error: error\n");
});

Deno.test("control and format characters are escaped, so that they don't affect a terminal", async () => {
  const calls = String
    .raw`output.result("a\x1b[31m\nb\u202ec", { name: "a\x1b\u202e\u{e0001}\u009b" });
output.warn("a\rb\x07");`;
  assertEquals(await print("{ json: false, quiet: false }", calls), [
    "a\\u{1b}[31m\\u{a}b\\u{202e}c\n",
    "degu: warning: a\\u{d}b\\u{7}\n",
  ]);
  const [stdout] = await print("{ json: true, quiet: false }", calls);
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
