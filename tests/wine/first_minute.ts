/**
 * The first minute of two devices, each of Windows or of Linux, in networks of their own: they pair
 * by a line and by the number, and one serves while the other puts, gets and syncs; then one sends a
 * directory, which the other receives, by the number and by a line. Prints each step.
 *
 * Arguments: the script that runs Deno for Windows, the system of the device that serves, and that
 * of the other.
 */

import { readInstallFlags } from "../support/agent_documentation.ts";
import { type AgentEnd, type RunningAgent, watch } from "../support/agents.ts";
import { confirmNumbers, connectMachines, Machine } from "../support/agent_lab.ts";
import { startCommand } from "../support/commands.ts";
import { fill, readTree } from "../support/directories.ts";
import { dirname } from "node:path";
import { THROUGH_TERMINAL } from "../support/terminals.ts";
import { assert, assertEquals } from "@std/assert";

const [script = "", ...systems] = Deno.args;
const cache = `${dirname(script)}/cache`;
const flags = await readInstallFlags();
const dir = await Deno.makeTempDir({ prefix: "degu-minute-" });
const machines: Machine[] = [];
for (const name of ["one", "two"]) machines.push(await Machine.make(name, dir));
const [one, two] = machines as [Machine, Machine];
await connectMachines([[one, "192.168.1.7/24"], [two, "192.168.1.8/24"]]);
// Wine joins multicast groups over the default route.
for (const machine of machines) await machine.runIp("route", "add", "default", "dev", "lan");

/** Starts the program of a device in the device's own directory. */
function start(machine: Machine, args: readonly string[], hasTerminal = false): RunningAgent {
  const isWindows = systems[machines.indexOf(machine)] === "windows";
  const deno = ["run", "--no-prompt", "--quiet", "--no-check", ...flags];
  const program = isWindows
    ? ["sh", script, ...deno, "--config", "Z:/w/degu/agent/deno.json", "Z:/w/degu/agent/main.ts"]
    : [Deno.execPath(), ...deno, new URL("../../agent/main.ts", import.meta.url).pathname];
  const terminal = hasTerminal ? [...THROUGH_TERMINAL, machine.name] : [];
  const command = ["ip", "netns", "exec", machine.name, ...terminal, ...program, ...args];
  const child = startCommand(command, {
    cwd: machine.dir,
    env: { HOME: machine.dir, WINE_HOME: machine.dir, DENO_DIR: cache, NO_COLOR: "1" },
  });
  return watch(child, hasTerminal ? null : "", `${machine.name}$ degu ${args.join(" ")}`);
}

/** Runs a command that must succeed. */
async function run(machine: Machine, ...args: string[]): Promise<AgentEnd> {
  const result = await start(machine, args).waitForEnd();
  assert(
    result.code === 0,
    `${machine.name}$ degu ${args.join(" ")}: ${result.stdout}${result.stderr}`,
  );
  console.log(`${machine.name}$ degu ${args.join(" ")}`);
  return result;
}

/** Runs two commands on terminals, which must show the same number. */
async function compare(first: readonly string[], second: readonly string[], ready: string) {
  await using one_ = start(one, first, true);
  await one_.waitForLine(ready);
  await using two_ = start(two, second, true);
  await confirmNumbers(one_, two_);
  console.log(`one$ degu ${first.join(" ")} and two$ degu ${second.join(" ")}, by the number`);
}

try {
  // By line, with devices that no other step uses.
  {
    await using inviting = start(one, ["--home", "lines", "invite"]);
    const line = (await inviting.waitForLine("degu:")).trim();
    await run(two, "--home", "lines", "join", line);
    const { code, stderr } = await inviting.waitForEnd();
    assert(code === 0, stderr);
    console.log("one$ degu invite");
  }
  for (const machine of machines) await run(machine, "init", "--name", machine.name);
  await compare(["pair"], ["pair"], "this is one");

  await fill(one.dir, { "share/a b.txt": "1", "share/deep/er/file": "2" });
  await fill(two.dir, { "hello.txt": "hello", "tree/x": "3", "tree/sub/y": "4", "received": null });
  const tree = { "x": "3", "sub": null, "sub/y": "4" };
  {
    await using serving = start(one, ["serve", "--share", "share", "--inbox", "Inbox"]);
    console.log((await serving.waitForLine("serving on")).trim());
    await run(two, "ping", "one");
    await run(two, "put", "hello.txt", "one:");
    await run(two, "put", "-r", "tree", "one:");
    await run(two, "sync", "tree", "one:again");
    const inboxTree = await readTree(`${one.dir}/Inbox/two`);
    const expectedPaths = ["tree", "again"].flatMap((name) =>
      [["", null], ...Object.entries(tree)].map(([path, text]) => {
        return [`${name}${path === "" ? "" : `/${path}`}`, text];
      })
    );
    assertEquals(inboxTree, { "hello.txt": "hello", ...Object.fromEntries(expectedPaths) });
    const { stdout } = await run(two, "ls", "one:");
    assert(stdout.includes("a b.txt"), stdout);
    await run(two, "get", "one:a b.txt", ".");
    await run(two, "sync", "one:", "mirror");
    assertEquals(await Deno.readTextFile(`${two.dir}/a b.txt`), "1");
    assertEquals((await readTree(`${two.dir}/mirror`))["deep/er/file"], "2");
    // A second run finds all files unchanged.
    const { stdout: secondOutput } = await run(two, "sync", "one:", "mirror", "--json");
    assert(!secondOutput.includes('"from"'), secondOutput);
  }
  await compare(["send", "share"], ["receive", "received"], "degu receive");
  assertEquals((await readTree(`${two.dir}/received`))["share/deep/er/file"], "2");
  {
    await using sending = start(two, ["send", "tree"]);
    const line = (await sending.waitForLine("degu:")).trim();
    await run(one, "receive", line, "received");
    assertEquals((await readTree(`${one.dir}/received/tree`))["sub/y"], "4");
    const { code, stderr } = await sending.waitForEnd();
    assert(code === 0, stderr);
    console.log("two$ degu send tree");
  }
  console.log("ok");
} finally {
  await Deno.remove(dir, { recursive: true });
}
