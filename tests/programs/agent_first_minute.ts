/**
 * Runs the first minute of the help at the terminals of two machines with only the installation of
 * agent/docs/guide.md. Prints the entries of the receiving machine, the mode of its inbox with the
 * files of the sender, and the remaining files of the sender, as JSON.
 */

import { readFirstMinute } from "../../agent/tests/agent_documentation.ts";
import { confirmNumbers, install, makeNetwork, typeYes } from "../../agent/tests/agent_lab.ts";
import type { RunningAgent } from "@degu/testing/agents.ts";
import { assert } from "@std/assert";

const [dir = ""] = Deno.args;
const machines = await makeNetwork(dir, { one: "192.168.1.7/24", two: "192.168.1.8/24" });
const { one, two } = machines;
const type = await install(dir);

const running: RunningAgent[] = [];
for (const [name, text] of await readFirstMinute()) {
  assert(name === "one" || name === "two", `${name} is none of the two machines`);
  const process = type(machines[name], text);
  const otherAgent = running.at(-1);
  running.push(process);
  const [, command = ""] = /^degu (\w+)/.exec(text) ?? [];
  if (command === "send") await process.waitForLine("degu receive");
  else if (command === "pair" && name === "one") await process.waitForLine("this is one");
  else if (command === "pair") {
    // One receives files, two doesn't.
    await typeYes(otherAgent!, process);
    for (const [agent, reply] of [[otherAgent!, "y\n"], [process, "\n"]] as const) {
      await agent.waitForLine("now? [y/N]");
      agent.writeInput(reply);
    }
    await otherAgent!.waitForLine("serving on");
    await process.waitForEnd();
  } else if (command === "receive") await confirmNumbers(otherAgent!, process);
  else {
    const { code, stdout } = await process.waitForEnd();
    assert(code === 0, `${name}$ ${text}: ${stdout}`);
  }
}
const filesIn = (dir: string) =>
  Array.from(Deno.readDirSync(dir)).filter(({ name }) => !name.startsWith("."))
    .map(({ name, isFile }) => [name, isFile ? Deno.readTextFileSync(`${dir}/${name}`) : "/"])
    .sort();
const inbox = `${one.dir}/Inbox`;
console.log(JSON.stringify({
  received: filesIn(one.dir),
  mode: (await Deno.stat(inbox)).mode! & 0o777,
  files: filesIn(`${inbox}/two`),
  left: filesIn(two.dir),
}));
for (const process of running) await process[Symbol.asyncDispose]();
