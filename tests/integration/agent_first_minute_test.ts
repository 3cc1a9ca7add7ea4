/**
 * The first minute of the help, of README.md and of docs/agent.md, as it is printed, at terminals of
 * machines that have nothing yet.
 */
import { commandsIn, firstMinute } from "@degu/testing/agent_documentation.ts";
import { labTest } from "@degu/testing/agent_lab.ts";
import { read } from "@degu/testing/tree.ts";
import { assert, assertEquals } from "@std/assert";

Deno.test("the first minute is the same in the help, in README.md and in docs/agent.md", async () => {
  const commands = firstMinute();
  assert(commands.length > 5, "the help has no first minute");
  for (const page of ["README.md", "docs/agent.md"]) {
    const block = [...(await read(page)).matchAll(/^```text\n(one\$ [^]*?)```$/gm)];
    assertEquals(block.flatMap(([, text = ""]) => commandsIn(text)), commands, page);
  }
});

type Files = [name: string, text: string][];

await labTest<{ received: Files; mode: number; files: Files; left: Files }>(
  "in the first minute a file is sent once, then put into an inbox that only its owner can open",
  "agent_first_minute.ts",
  [],
  ({ received, mode, files, left }) => {
    const hello: Files = [["hello.txt", "hello\n"]];
    assertEquals([received, files], [hello, hello]);
    assertEquals(mode, 0o700);
    // The temporary directories are gone.
    assertEquals(left, [["Inbox", "/"], ...hello]);
  },
);
