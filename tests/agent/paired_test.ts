/** Right after a pairing: the first command of either device is served. */
import { reply } from "@degu/degu";
import { Device } from "@degu/degu/device";
import { FilesApp } from "@degu/degu/files";
import { agentCommand, AgentHomes, spawnAgent, watch } from "@degu/testing/agents.ts";
import { startCommand } from "@degu/testing/commands.ts";
import { fill } from "@degu/testing/directories.ts";
import { importMapFlags } from "@degu/testing/programs.ts";
import { eachRow } from "@degu/testing/rows.ts";
import { assertEquals } from "@std/assert";

/** What is typed first, behind --home. */
const FIRST = [["ls", "--no-find", "one:"], ["ping", "--no-find", "one"], [
  "rm",
  "--no-find",
  "one:file",
]];

Deno.test("a server that learns of a pairing a little later serves the first command all the same", async (t) => {
  await eachRow(t, FIRST.map((args) => [args[0]!, args] as const), async (_rule, args) => {
    await using homes = await AgentHomes.create("one", "two");
    await fill(homes.path, { "inbox/file": "x" });
    const { address } = await homes.serve("one", ["--inbox-for-all", homes.at("inbox")]);
    // The entries are written without the wait of a pairing.
    await homes.pair("one", "two", address);
    await homes.must("two", args);
  });
});

Deno.test("each of two devices is served at once after a pairing by a line, by the program in another process and by a program of the library", async () => {
  await using homes = await AgentHomes.create("one", "two");
  await fill(homes.path, { "one-inbox": null, "two-inbox": null });
  const flags = [...importMapFlags(), "--allow-all"];
  await using serving = spawnAgent([
    ...["--home", homes.at("one"), "serve", "--listen", "127.0.0.1:0", "--json"],
    ...["--inbox-for-all", homes.at("one-inbox"), "--no-announce"],
  ], { flags });
  await serving.line();
  await using device = await Device.open(homes.at("two"));
  const app = new FilesApp(homes.at("two-inbox"), { list: true, write: true });
  await using server = await device.serve(["127.0.0.1", 0], (request, session) => {
    return request.shiftPath() === "inbox" ? app.handle(request, session) : reply(404);
  });
  server.serveForever();
  for (let round = 0; round < 3; round++) {
    await fill(homes.path, { "one-inbox/file": "x", "two-inbox/file": "x" });
    const inviting = watch(
      startCommand(
        agentCommand(["--home", homes.at("one"), "invite", "--listen", "127.0.0.1:0"], flags),
        { cwd: new URL("../..", import.meta.url), env: { NO_COLOR: "1" } },
      ),
      "",
      "degu invite",
    );
    await using _inviting = inviting;
    await homes.must("two", ["join", await inviting.line("degu:")]);
    for (const args of FIRST) await homes.must("two", args);
    assertEquals((await inviting.ended()).code, 0);
    await homes.must("one", ["ls", "--no-find", "two:"]);
    await homes.must("one", ["rm", "--no-find", "two:file"]);
    for (const [name, peer] of [["one", "two"], ["two", "one"]] as const) {
      await homes.must(name, ["forget", peer]);
    }
  }
});
