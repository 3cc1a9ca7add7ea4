/**
 * Three devices on two cables, with only link-local addresses; the middle device serves. Prints the
 * output of the other two as JSON.
 */
import { connectMachines, Machine, pair, waitUntilTrusted } from "@degu/testing/agent_lab.ts";

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
