/** The first minute of the help, of README.md and of docs/agent.md, as it is printed, on machines that have nothing yet. */
import { assert, assertEquals } from "@std/assert";
import { commandsIn, firstMinute } from "@degu/testing/agent_documentation.ts";
import { labTest } from "@degu/testing/agent_lab.ts";
import { read } from "@degu/testing/tree.ts";

Deno.test("the first minute is the same in the help, in README.md and in docs/agent.md", async () => {
  const commands = firstMinute();
  assert(commands.length > 5, "the help has no first minute");
  for (const page of ["README.md", "docs/agent.md"]) {
    const block = [...(await read(page)).matchAll(/^```text\n(one\$ [^]*?)```$/gm)];
    assertEquals(block.map(([, text = ""]) => commandsIn(text)), [commands], page);
  }
});

await labTest<{ mode: number; files: [string, string][] }>({
  name: "after the first minute a file has arrived in an inbox that only its owner can open",
  program: "agent_first_minute.ts",
  check: ({ mode, files }) => {
    assertEquals(files, [["hello.txt", "hello\n"]]);
    assertEquals(mode, 0o700);
  },
});
