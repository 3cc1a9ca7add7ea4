/**
 * Three devices on two cables, with only link-local addresses; the middle device serves. Prints the
 * output of the other two as JSON.
 */
import { connectMachines, Machine, pair, waitUntil } from "@degu/testing/agent_lab.ts";

/** Waits until the server of `trustingMachine` has detected that it is paired with `machine`. */
async function waitUntilTrusted(machine: Machine, trustingMachine: Machine): Promise<void> {
  const isTrusted = async () => (await machine.run(["ping", trustingMachine.name])).code === 0;
  await waitUntil(`${trustingMachine.name} trusts ${machine.name}`, isTrusted);
}

const [dir = ""] = Deno.args;
const [left, middle, right] = await Promise.all(
  ["left", "middle", "right"].map((name) => Machine.make(name, dir)),
) as [Machine, Machine, Machine];
await connectMachines([[left, "fe80::1/64"], [middle, "fe80::2/64"]], "one");
await connectMachines([[middle, "fe80::3/64"], [right, "fe80::4/64"]], "two");
const serving = middle.start(["serve", "--inbox", `${middle.dir}/inbox`]);
await serving.waitForLine("serving on");
await pair(middle, left);
await pair(middle, right);
for (const machine of [left, right]) await waitUntilTrusted(machine, middle);
const pings = [left, right].map((machine) => machine.run(["--json", "ping", "middle"]));
console.log(JSON.stringify(await Promise.all(pings)));
Deno.exit();
