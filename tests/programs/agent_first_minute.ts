/**
 * The first minute of the help, on two machines that have nothing but what docs/agent.md installs. Prints the mode and
 * the files of the inbox at the end, as JSON.
 */

import { firstMinute, installFlags } from "@degu/testing/agent_documentation.ts";
import { Machine, network } from "@degu/testing/agent_lab.ts";
import { type RunningAgent, watch } from "@degu/testing/agents.ts";
import { denoRun, startCommand } from "@degu/testing/commands.ts";
import { assert } from "@std/assert";
import { fromFileUrl } from "@std/path";

const [dir = ""] = Deno.args;
const machines = new Map<string, Machine>();
for (const name of ["one", "two"]) machines.set(name, await Machine.make(name, dir));
const [one, two] = [...machines.values()];
await network([[one!, "192.168.1.7/24"], [two!, "192.168.1.8/24"]]);
await Deno.mkdir(`${dir}/bin`);
const agent = fromFileUrl(import.meta.resolve("../../agent.ts"));
const command = denoRun(await installFlags(), agent).join(" ");
await Deno.writeTextFile(`${dir}/bin/degu`, `#!/bin/sh\nexec ${command} "$@"\n`, { mode: 0o755 });
const cache = Deno.env.get("DENO_DIR") ??
  `${Deno.env.get("XDG_CACHE_HOME") ?? `${Deno.env.get("HOME")}/.cache`}/deno`;
const path = `${dir}/bin:${Deno.env.get("PATH")}`;

let line = "";
const running: RunningAgent[] = [];
for (const [name, text] of firstMinute()) {
  const machine = machines.get(name);
  assert(machine !== undefined, `${name} is none of the two machines`);
  const shell = ["sh", "-c", text.replace(/^degu/, "exec degu")];
  const child = startCommand(["ip", "netns", "exec", name, ...shell], {
    cwd: machine.dir,
    env: { HOME: machine.dir, PATH: path, DENO_DIR: cache, NO_COLOR: "1" },
    clearEnv: true,
  });
  const process = watch(child, text.includes("join") ? line : "", text);
  running.push(process);
  // Those go on in terminals of their own.
  if (text.includes("serve")) await process.line("serving on");
  else if (text.includes("invite")) line = await process.line("degu:");
  else {
    const { code, stderr } = await process.ended();
    assert(code === 0, `${name}$ ${text}: ${stderr}`);
  }
}
const inbox = `${one!.dir}/Inbox`;
const files = Array.from(Deno.readDirSync(inbox), ({ name }) => name)
  .filter((name) => !name.startsWith("."))
  .map((name) => [name, Deno.readTextFileSync(`${inbox}/${name}`)]);
console.log(JSON.stringify({ mode: (await Deno.stat(inbox)).mode! & 0o777, files }));
for (const process of running) await process[Symbol.asyncDispose]();
