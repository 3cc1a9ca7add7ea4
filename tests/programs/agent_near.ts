/**
 * Three machines in one network: two of them invite, then send, and the third one has to choose.
 * Prints what it shows, and what one of the others shows that looks for itself, and how they have
 * ended, as JSON.
 */

import { PAIR_SERVICE } from "@degu/internal/agent/mdns.ts";
import { agree, install, Machine, network } from "@degu/testing/agent_lab.ts";
import { RunningProcess } from "@degu/testing/processes.ts";
import { importMapFlags, programCommand } from "@degu/testing/programs.ts";

const [dir = ""] = Deno.args;
const [one, two, three] = await Promise.all(
  ["one", "two", "three"].map((name) => Machine.make(name, dir)),
) as [Machine, Machine, Machine];
await network([[one, "192.168.1.7/24"], [two, "192.168.1.8/24"], [three, "192.168.1.9/24"]]);
const type = await install(dir);
const both = [one, two];
const shown: [code: number, text: string][] = [];
const show = async (line: string, machine = three) => {
  await using agent = type(machine, line);
  const { code, stdout } = await agent.ended();
  shown.push([code, stdout]);
};

await show("degu join");
{
  await using stack = new AsyncDisposableStack();
  const inviting = both.map((machine) => stack.use(type(machine, "degu invite")));
  await Promise.all(inviting.map((each) => each.line("degu:")));
  await show("degu join");
  await show("degu join one", one);
  await agree(inviting[1]!, stack.use(type(three, "degu join two")));
}
await show("degu peers");
{
  await using stack = new AsyncDisposableStack();
  for (const { dir, name } of both) await Deno.writeTextFile(`${dir}/file`, name);
  // Whoever receives may come first.
  const receiving = stack.use(type(three, "degu receive --from one"));
  await receiving.line("until Ctrl-C");
  const sending = both.map((machine) => stack.use(type(machine, "degu send file")));
  await agree(sending[0]!, receiving);
}
{
  // Somebody announces another id for a device that invites.
  await using inviting = type(one, "degu invite");
  const [, port = ""] = /--address \S+:(\d+)/.exec(await inviting.line("--address")) ?? [];
  await using impostor = new RunningProcess(
    programCommand("mdns_impostor.ts", {
      flags: ["--allow-net", "--allow-sys=networkInterfaces", ...importMapFlags()],
      args: ["a".repeat(16), "192.168.1.7", port, PAIR_SERVICE],
      through: ["ip", "netns", "exec", "one"],
    }).spawn(),
  );
  await impostor.printed(/.*\n/);
  await show(`degu join ${"a".repeat(16)}`);
}
console.log(JSON.stringify({ shown, file: await Deno.readTextFile(`${three.dir}/file`) }));
