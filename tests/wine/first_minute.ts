/**
 * The first minute of two devices, each of Windows or of Linux, in networks of their own: they pair
 * by a line and by the number, and one serves while the other puts, gets and syncs, and tries what
 * Windows refuses; then one sends a directory, which the other receives, by the number and by a
 * line. Prints each step.
 *
 * Arguments: the script that runs Deno for Windows, the system of the device that serves, and that
 * of the other.
 */

import { readInstallFlags } from "../../agent/tests/agent_documentation.ts";
import { type AgentResult, type RunningAgent, watch } from "../support/agents.ts";
import { confirmNumbers, connectMachines, Machine } from "../../agent/tests/agent_lab.ts";
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

const isOnWindows = (machine: Machine) => systems[machines.indexOf(machine)] === "windows";

/** Starts the program of a device in the device's own directory. */
function start(machine: Machine, args: readonly string[], hasTerminal = false): RunningAgent {
  const isWindows = isOnWindows(machine);
  const deno = ["run", "--no-prompt", "--quiet", "--no-check", ...flags];
  const preload = ["--preload", "Z:/w/degu/tests/wine/keep_open.ts"];
  const config = ["--config", "Z:/w/degu/agent/deno.json"];
  const program = isWindows
    ? ["sh", script, ...deno, ...preload, ...config, "Z:/w/degu/agent/main.ts"]
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
async function run(machine: Machine, ...args: string[]): Promise<AgentResult> {
  const result = await start(machine, args).waitForEnd();
  const line = `${machine.name}$ degu ${args.join(" ")}`;
  assert(result.code === 0, `${line}: ${result.stdout}${result.stderr}`);
  console.log(line);
  return result;
}

/** Runs a command that must fail with these messages. */
async function fail(
  machine: Machine,
  code: number,
  messages: readonly string[],
  ...args: string[]
) {
  const { code: exitCode, stdout, stderr } = await start(machine, args).waitForEnd();
  const output = `${machine.name}$ degu ${args.join(" ")}: ${stdout}${stderr}`;
  assert(exitCode === code, output);
  for (const message of messages) assert(stderr.includes(message), `${message}: ${output}`);
  console.log(`${machine.name}$ degu ${args.join(" ")} # ${code}`);
}

/** The names that Windows refuses, with the reasons. */
const REFUSED_NAMES: Readonly<Record<string, string>> = {
  "con": "is reserved by Windows",
  "aux.txt": "is reserved by Windows",
  "a:b": "has a colon",
  "a?b": "has one of the characters",
  "sp ": "ends with a dot or a space",
  "AB~1.X": "has the form of a short name",
};

/** The Linux device sends files that the serving Windows device refuses. */
async function tryRefusals() {
  const odd = Object.fromEntries(Object.keys(REFUSED_NAMES).map((name) => [`odd/${name}`, "1"]));
  await fill(two.dir, { ...odd, "odd/ok": "2", "odd/d:/x": "3" });
  const reasons = Object.entries({ ...REFUSED_NAMES, "d:": "has a colon" }).map(([name, reason]) =>
    `odd/${name}: the disk of one can't hold the name: it ${reason}`
  );
  await fail(two, 1, reasons, "put", "-r", "odd", "one:");
  await fail(two, 1, reasons, "sync", "odd", "one:odd");
  assertEquals(await readTree(`${one.dir}/Inbox/two/odd`), { ok: "2" });
  for (const [name, reason] of Object.entries(REFUSED_NAMES)) {
    await fail(two, 1, [reason], "put", "hello.txt", `one:${name}`);
    await fail(two, 1, [reason], "put", "-r", "tree", `one:${name}/`);
  }
  const noDeletions = "one deletes no files";
  await fail(two, 1, [noDeletions], "rm", "one:hello.txt");
  const messages = [noDeletions, `hello.txt: ${noDeletions}`];
  await fail(two, 1, messages, "sync", "--delete", "tree", "one:");
  // The serving program keeps this file open itself.
  await fill(two.dir, { "open/kept-open.txt": "first", "large/kept-open.txt": LARGE });
  await run(two, "sync", "open", "one:open");
  await run(two, "sync", "large", "one:large");
  await fill(two.dir, { "open/kept-open.txt": "second", "large/kept-open.txt": `${LARGE}2` });
  const isOpen = "kept-open.txt: another program has it open on one";
  for (const dir of ["open", "large"]) await fail(two, 1, [isOpen], "sync", dir, `one:${dir}`);
  await fail(two, 1, [isOpen], "put", "--force", "open/kept-open.txt", "one:open/");
  assertEquals((await readTree(`${one.dir}/Inbox/two/open`))["kept-open.txt"], "first");
}

const LARGE = "l".repeat(70_000);

/** The Windows device gets files that it refuses, and uses paths as its users type them. */
async function tryTypedPaths() {
  const reasons = Object.entries(REFUSED_NAMES).map(([name, reason]) =>
    `one:odd/${name}: the disk can't hold the name: it ${reason}`
  );
  await fail(two, 1, reasons, "sync", "one:odd", "odd");
  await fail(two, 1, reasons.slice(0, 1), "sync", "one:odd", "odd", "--json");
  assertEquals(await readTree(`${two.dir}/odd`), { ok: "2" });
  await fail(two, 1, ["is reserved by Windows"], "get", "one:odd/con", ".");
  await run(two, "get", "one:a b.txt", "new\\");
  await run(two, "get", "one:a b.txt", "new\\other name.txt");
  assertEquals(await readTree(`${two.dir}/new`), { "a b.txt": "1", "other name.txt": "1" });
  await run(two, "get", "one:a b.txt", "C:");
  await run(two, "get", "one:a b.txt", "~");
  for (const [target, reason] of Object.entries({ "con": "is reserved", "x:y": "x: is a drive" })) {
    await fail(two, 2, [reason], "get", "one:a b.txt", target);
    await fail(two, 2, [reason], "serve", "--share", target);
  }
  await fail(two, 2, ["as in one:a/b.txt"], "put", "hello.txt", "one:a\\b.txt");
  await fail(two, 2, ["separate names by slashes"], "sync", "--exclude", "sub\\y", "tree", "one:t");
  await fill(two.dir, { "short/report~1.txt": "short", "short/sub~1/x": "1" });
  await run(two, "put", "-r", "short", "one:");
  await run(two, "sync", "short\\", "one:short");
  assertEquals(await readTree(`${one.dir}/Inbox/two/short`), {
    "report~1.txt": "short",
    "sub~1": null,
    "sub~1/x": "1",
  });
  await fill(two.dir, { "kept/kept-open.txt": "1" });
  const isOpen = "kept-open.txt: another program has the file open";
  await fail(two, 1, [isOpen], "sync", "one:kept", "kept");
  assertEquals(await readTree(`${two.dir}/kept`), { "kept-open.txt": "1" });
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

  await fill(one.dir, { "share/a b.txt": "1", "share/deep/er/file": "2", "received": null });
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
    if (isOnWindows(one) && !isOnWindows(two)) await tryRefusals();
    if (!isOnWindows(one) && isOnWindows(two)) {
      const names = Object.keys(REFUSED_NAMES);
      const odd = Object.fromEntries(names.map((name) => [`share/odd/${name}`, "1"]));
      await fill(one.dir, { ...odd, "share/odd/ok": "2", "share/kept/kept-open.txt": "other" });
      await tryTypedPaths();
      for (const name of ["odd", "kept"]) {
        await Deno.remove(`${one.dir}/share/${name}`, { recursive: true });
      }
    }
  }
  await compare(["send", "share"], ["receive", "received"], "degu receive");
  assertEquals((await readTree(`${two.dir}/received`))["share/deep/er/file"], "2");
  if (!isOnWindows(one) && isOnWindows(two)) {
    // The receiver refuses names, and the sender reports how many files it has.
    const names = [...Object.keys(REFUSED_NAMES), "ok"];
    await fill(one.dir, Object.fromEntries(names.map((name) => [`offered/${name}`, "1"])));
    await using sending = start(one, ["send", "offered"]);
    const line = (await sending.waitForLine("degu:")).trim();
    await fail(two, 1, ["is reserved by Windows"], "receive", line, "received");
    const { code, stderr } = await sending.waitForEnd();
    assert(code === 1 && stderr.includes("has 1 file, and could not store 6"), stderr);
    assert(!stderr.includes("again"), stderr);
  }
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
