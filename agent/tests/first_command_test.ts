/** Right after a pairing: the first command of either device is served. */
import { AgentHomes } from "@degu/testing/agents.ts";
import { fill } from "@degu/testing/directories.ts";
import { testEachRow } from "@degu/testing/rows.ts";

Deno.test("a server that reads a pairing after a delay serves the first command", async (t) => {
  const rows: [string, string][] = [["ls", "one:"], ["ping", "one"], ["rm", "one:file"]];
  await testEachRow(t, rows, async (command, operand) => {
    await using homes = await AgentHomes.create("one", "two");
    await fill(homes.path, { "inbox/file": "x" });
    const { address } = await homes.serve("one", ["--inbox-for-all", homes.joinPath("inbox")]);
    // Write the files of the peers directly, without the delay of a pairing.
    await homes.pair("one", "two", address);
    await homes.runToSuccess("two", [command, "--no-find", operand]);
  });
});
