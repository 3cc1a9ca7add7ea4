/**
 * A session of two devices, on two machines in one network, that has really happened. Prints it as it looks on their terminals.
 */

import { installFlags } from "@degu/testing/agent_documentation.ts";
import { Machine, network, slowDown } from "@degu/testing/agent_lab.ts";
import { agentCommand } from "@degu/testing/agents.ts";
import { runOnTerminal, screenOf } from "@degu/testing/terminals.ts";

const COLUMNS = 96;
/** Large enough to be interrupted. */
const FILM_BYTES = 20_000_000;
/** A good network over the air. */
const RATE = "100mbit";

const [dir = ""] = Deno.args;
const laptop = await Machine.make("laptop", dir);
const desk = await Machine.make("desk", dir);
await network([[laptop, "192.168.1.7/24"], [desk, "192.168.1.8/24"]]);
await slowDown(laptop, RATE);
for (const path of ["laptop/Videos", "laptop/Inbox", "desk/Downloads"]) {
  await Deno.mkdir(`${dir}/${path}`);
}
await Deno.writeFile(`${dir}/laptop/Videos/holiday.mp4`, new Uint8Array(0));
await Deno.truncate(`${dir}/laptop/Videos/holiday.mp4`, FILM_BYTES);
await Deno.writeTextFile(`${dir}/desk/report.pdf`, "%PDF-".padEnd(120_000));

/** The text of a terminal, with the home of a machine as people see it. */
const texts: string[] = [];
const print = (machine: Machine, text: string) => {
  const home = text.replaceAll(machine.dir, "~").trimEnd();
  texts.push(...home.split("\n").map((line) => line.replace(/^(degu:.{40}).+$/, "$1…")));
};
const prompt = (machine: Machine, args: string[]) =>
  print(machine, `${machine.name}$ degu ${args.join(" ")}`);

async function run(machine: Machine, args: string[], stdin = ""): Promise<void> {
  prompt(machine, args);
  const { stdout, stderr } = await machine.run(args, stdin);
  print(machine, stdout + stderr);
}

/** Runs a command on a terminal, and presses Ctrl-C once a text is shown. */
async function runShown(machine: Machine, args: string[], until?: string): Promise<void> {
  prompt(machine, args);
  const { shown } = await runOnTerminal({
    command: [...machine.through.through, ...agentCommand(args, await installFlags())],
    columns: COLUMNS - 2, // room for ^C
    steps: until === undefined ? [] : [[until, "\x03"]],
    env: { ...machine.through.env, NO_COLOR: "1" },
  });
  print(machine, lastDrawings(shown));
}

/** Of a bar that is drawn again and again the last drawing that was seen, and all other lines. */
function lastDrawings(shown: string): string {
  const drawings = shown.split(/\r?\n|\r/).map((line) => line.replace("\x1b[K", "").trimEnd());
  const isBar = (line: string) => /\[[= ]{10,20}\]/.test(line);
  const bars = drawings.filter(isBar);
  const last = bars.find((line) => line.endsWith("^C")) ?? bars.at(-1) ?? "";
  return [last, ...drawings.filter((line) => line !== "" && !isBar(line))].join("\n");
}

/** A text in lines of so many columns at most, broken at spaces, as terminals would do it anywhere. */
function wrap(text: string): string {
  return text.replace(new RegExp(`(?=.{${COLUMNS + 1}})(.{1,${COLUMNS}}) `, "g"), "$1\n");
}

/** Types a command on both terminals, and yes at the question. */
async function pairBoth(): Promise<void> {
  const machines = [laptop, desk];
  const screens = await Promise.all(machines.map(async (machine) => {
    const { shown } = await runOnTerminal({
      command: [...machine.through.through, ...agentCommand(["pair"], await installFlags())],
      columns: COLUMNS,
      steps: [["Type y or yes", "yes\n"]],
      env: { ...machine.through.env, NO_COLOR: "1" },
    });
    return screenOf(shown).filter((line) => !line.startsWith("waiting for the other device:"));
  }));
  for (const [i, machine] of machines.entries()) {
    prompt(machine, ["pair"]);
    print(machine, screens[i]!.join("\n"));
    texts.push("");
  }
}

await run(laptop, ["init", "--name", "laptop"]);
await run(desk, ["init", "--name", "desk"]);
texts.push("");
await pairBoth();
const directories = ["--share", `${laptop.dir}/Videos`, "--inbox", `${laptop.dir}/Inbox`];
const serve = ["serve", ...directories];
prompt(laptop, [...serve, "&"]);
const serving = laptop.start(serve);
print(laptop, await serving.line("serving"));
print(laptop, await serving.message("announced"));
texts.push("");
await run(desk, ["ls", "laptop:"]);
const get = ["get", "laptop:holiday.mp4", `${desk.dir}/Downloads`];
await runShown(desk, get, "[=======");
await runShown(desk, get);
await run(desk, ["put", `${desk.dir}/report.pdf`, "laptop:"]);
console.log(wrap(texts.join("\n")));
Deno.exit();
