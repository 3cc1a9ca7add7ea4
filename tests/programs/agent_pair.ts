/**
 * Runs `degu pair` at the terminals of three machines in one network. Prints the output of each
 * scene and the exit codes as JSON.
 */

import { confirmNumbers, install, type Machine, makeNetwork } from "../../agent/tests/agent_lab.ts";
import { pause } from "@degu/internal/agent/machine/pause.ts";
import type { RunningAgent } from "@degu/testing/agents.ts";

const [dir = ""] = Deno.args;
const addresses = { one: "192.168.1.7/24", two: "192.168.1.8/24", three: "192.168.1.9/24" };
const { one, two, three } = await makeNetwork(dir, addresses);
const type = await install(dir);

interface End {
  readonly code: number;
  readonly shown: string;
}

const scenes: Record<string, End[]> = {};
const waitForResult = async (agent: RunningAgent): Promise<End> => {
  const { code, stdout: shown } = await agent.waitForEnd();
  return { code, shown };
};

/** Runs a scene, and waits until all of its commands have ended. */
async function scene(
  name: string,
  lines: readonly (readonly [Machine, string])[],
  play: (...agents: RunningAgent[]) => Promise<unknown> = () => Promise.resolve(),
): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const agents = lines.map(([machine, line]) => stack.use(type(machine, line)));
  await play(...agents);
  scenes[name] = await Promise.all(agents.map(waitForResult));
}

const firstTwo = [[one, "degu pair"], [two, "degu pair"]] as const;

/** Waits until both other devices are listed; returns the number of the device with this name. */
const numberOf = async (agent: RunningAgent, name: string) => {
  const line = await agent.waitForLine(`  ${name} `);
  await agent.waitForLine("Type its number");
  return /(\d+) {2}\w+ [a-z2-7]{8}… at /.exec(line)![1]!;
};
await scene("several", [...firstTwo, [three, "degu pair"]], async (a, b, c) => {
  // Text that is typed before the list appears is ignored.
  await c!.waitForLine("this is");
  c!.writeInput("1\n");
  await numberOf(c!, "one");
  c!.writeInput("9\n");
  await c!.waitForLine("type a number from 1 to 2");
  const [atOne, atTwo] = [await numberOf(a!, "two"), await numberOf(b!, "one")];
  a!.writeInput(`${atOne}\n`);
  b!.writeInput(`${atTwo}\n`);
  await confirmNumbers(a!, b!);
  c!.writeInput("\x04");
});
await scene("left while a person chose", [...firstTwo, [three, "degu pair"]], async (a, b, c) => {
  const atOne = await numberOf(a!, "two");
  await numberOf(b!, "one");
  b!.writeInput("\x03");
  await b!.waitForEnd();
  await pause(4000); // until a device that stopped announcing itself is removed from the list
  a!.writeInput(`${atOne}\n`);
  await a!.waitForLine("two is not found any more");
  for (const each of [a!, c!]) each.writeInput("\x03");
});
// The program prints its address, because no other device announces itself.
await scene("an address", [[one, "degu pair"]], async (a) => {
  const [, address] = /--address (\S+)"/.exec(await a!.waitForLine("--address")) ?? [];
  await using b = type(two, `degu pair --address ${address}`);
  await confirmNumbers(a!, b);
});
await scene("stopped before the number", [[one, "degu pair"], [two, "degu pair"]], async (a, b) => {
  await Promise.all([a, b].map((each) => each!.waitForLine("this is")));
  b!.writeInput("\x03");
  await using secondAgent = type(two, "degu pair");
  await confirmNumbers(a!, secondAgent);
});
console.log(JSON.stringify(scenes));
