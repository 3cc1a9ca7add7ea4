/** Devices whose clocks are wrong: before a time server is reached, or with a damaged battery. */
import { AgentHomes, runAgent, spawnAgent } from "@degu/testing/agents.ts";
import { fill } from "@degu/testing/directories.ts";
import { ignoreIf } from "@degu/testing/terminals.ts";
import { findObstacle } from "@degu/testing/commands.ts";
import { assertEquals, assertStringIncludes } from "@std/assert";

/** Sets the clock of a command. The program `faketime` itself would leave its command running. */
const SCRIPT = 'fake() { faketime -m "$0" printenv "$1"; }; ' +
  "library=$(fake LD_PRELOAD); offset=$(fake FAKETIME); " +
  'exec env FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME="$offset" LD_PRELOAD="$library" "$@"';
const setClock = (time: string) => ["unshare", "-r", "sh", "-c", SCRIPT, time];
// Without this option, Deno refuses packages that are newer than the clock.
const flags = ["--allow-all", "--minimum-dependency-age=0"];

const obstacle = await findObstacle([...setClock("1971-01-01"), "true"]) === null
  ? null
  : "faketime is not installed";
for (const time of ["1970-01-01 00:00:01", "1971-01-01", "2100-01-01", "9000-01-01"]) {
  Deno.test(
    `a device whose clock says ${time} is created, serves and copies files, and its peer copies to it`,
    ignoreIf(obstacle),
    async () => {
      await using homes = await AgentHomes.create("right");
      const through = setClock(time);
      const run = async (name: string, ...args: string[]) => {
        const options = name === "wrong" ? { flags, through } : { flags };
        const all = ["--home", homes.joinPath(name), ...args];
        const { code, stdout, stderr } = await runAgent(all, options);
        assertEquals(code, 0, `${name}: ${args[0]}: ${stderr}`);
        return stdout;
      };
      assertStringIncludes(await run("wrong", "init", "--name", "wrong"), "wrong");
      await homes.pair("right", "wrong");
      await fill(homes.path, { "source/a": "1", "source/large": "x".repeat(200_000) });
      const source = homes.joinPath("source");
      for (const [server, client] of [["right", "wrong"], ["wrong", "right"]] as const) {
        const inbox = homes.joinPath(`inbox-of-${server}`);
        await Deno.mkdir(inbox);
        const serveArgs = ["serve", "--listen", "127.0.0.1:0", "--json", "--inbox", inbox];
        await using agent = spawnAgent(
          ["--home", homes.joinPath(server), ...serveArgs, "--share", source],
          server === "wrong" ? { flags, through } : { flags },
        );
        const { addresses: [address] } = JSON.parse(await agent.waitForLine());
        const to = ["--no-find", "--address", address];
        assertStringIncludes(await run(client, "ls", ...to, `${server}:`), "large");
        await run(client, "put", ...to, "-r", source, `${server}:`);
        await run(client, "get", ...to, "-r", `${server}:`, homes.joinPath(`from-${server}`));
        for (const path of [`from-${server}`, `inbox-of-${server}/${client}/source`]) {
          assertEquals(await Deno.readTextFile(homes.joinPath(path, "a")), "1");
        }
      }
    },
  );
}
