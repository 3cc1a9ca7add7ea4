import { assertEquals } from "@std/assert";
import { importMapFlags, runProgram } from "@degu/testing/programs.ts";

/** Data from a peer that doesn't fit into a heap of 64 MiB. */
const ROWS = [
  ["paths in chunks of one byte", "HTTP/1.1 400 Bad Request"],
  ["names for messages", "2500"],
  ["long paths", "22015"],
] as const;

for (const [sent, expected] of ROWS) {
  Deno.test(`a process with little memory survives a peer that sends ${sent}`, async () => {
    const flags = [...importMapFlags(), "-A", "--no-check", "--v8-flags=--max-old-space-size=64"];
    const printed = await runProgram("little_memory.ts", { flags, args: [sent] });
    assertEquals(printed.trim(), expected);
  });
}
