/**
 * Two machines that have nothing yet are paired, and a file is put from one to the other. Prints
 * what docs/agent.md shows of the two terminals, where a third is opened at the end.
 */

import { agree, install, Machine, network } from "@degu/testing/agent_lab.ts";
import { screenOf } from "@degu/testing/terminals.ts";

const COLUMNS = 100;

const [dir = ""] = Deno.args;
const laptop = await Machine.make("laptop", dir);
const desk = await Machine.make("desk", dir);
await network([[laptop, "192.168.1.7/24"], [desk, "192.168.1.8/24"]]);
const type = await install(dir);
const texts: string[] = [];

/** Adds a command and what it has shown, with the home of the machine as people see it. */
function print({ name, dir: home }: Machine, line: string, shown: string): void {
  const lines = screenOf(shown).filter((each) => !each.startsWith("waiting for the other device:"));
  const text = lines.join("\n").replaceAll(home, "~")
    .replaceAll(/\b([a-z2-7]{8})[a-z2-7]{44}\b/g, "$1…");
  texts.push(`${name}$ ${line}`, ...text.split("\n").filter((each) => each !== "").map(wrap));
}

/** Breaks a line at spaces, as terminals would do it anywhere. */
function wrap(text: string): string {
  return text.replace(new RegExp(`(?=.{${COLUMNS + 1}})(.{1,${COLUMNS}}) `, "g"), "$1\n");
}

async function run(machine: Machine, line: string): Promise<void> {
  await using agent = type(machine, line);
  print(machine, line, (await agent.ended()).stdout);
}

const pairing = [laptop, desk].map((machine) => type(machine, "degu pair"));
await agree(...pairing);
for (const [i, machine] of [laptop, desk].entries()) {
  print(machine, "degu pair", (await pairing[i]!.ended()).stdout);
  texts.push("");
}
const line = "degu serve --inbox ~/Inbox";
const serving = type(laptop, line);
const shown = ["created", "serving on", "announced"].map((text) => serving.line(text));
print(laptop, line, (await Promise.all(shown)).map((each) => each.trimEnd()).join("\r\n"));
texts.push("");
await run(desk, "echo hello > hello.txt");
await run(desk, "degu put hello.txt laptop:");
texts.push("");
await run(laptop, "ls ~/Inbox/desk");
console.log(texts.join("\n"));
Deno.exit();
