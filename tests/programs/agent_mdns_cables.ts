/**
 * Three machines on two cables. The middle machine is announced and searched for from both ends,
 * and then searches for the offers of both ends. Prints the results of each machine as JSON.
 */

import { connectMachines, Machine } from "../../agent/tests/agent_lab.ts";
import { importMapFlags, makeProgramCommand, RunningProcess } from "@degu/testing/processes.ts";

const [dir = ""] = Deno.args;
const [left, middle, right] = await Promise.all(
  ["left", "middle", "right"].map((name) => Machine.make(name, dir)),
) as [Machine, Machine, Machine];
// The first address of each machine on a cable is in a network of its own.
await connectMachines([[left, "198.51.100.1/28"], [middle, "198.51.100.17/28"]], "one");
await connectMachines([[middle, "198.51.100.33/28"], [right, "198.51.100.49/28"]], "two");
await left.addAddress("192.0.2.1/25", "one");
await middle.addAddress("192.0.2.2/25", "one");
await middle.addAddress("192.0.2.130/25", "two");
await right.addAddress("192.0.2.129/25", "two");

const net = "0.0.0.0:5353,224.0.0.251:5353";
const start = ({ name }: Machine, ...args: string[]) =>
  new RunningProcess(
    makeProgramCommand("mdns_peer.ts", {
      flags: [`--allow-net=${net}`, "--allow-sys=networkInterfaces", ...importMapFlags()],
      args,
      through: ["ip", "netns", "exec", name],
    }).spawn(),
  );
const idOf = (letter: string) => letter.repeat(52);
/** A busy machine can delay any response, so the search is repeated up to five times. */
const look = async (machine: Machine, count: number, ...args: string[]) => {
  for (let attempt = 0;; attempt++) {
    await using process = start(machine, ...args);
    const results = JSON.parse(await process.waitForStdout(/.*\n/)) as unknown[];
    if (results.length >= count || attempt === 4) return results;
  }
};

await using announced = start(middle, "announce", idOf("a"));
await announced.waitForStdout(/camera-a{16}\n/);
const allResults = await Promise.all(
  [left, right].map((machine) => look(machine, 1, "find", idOf("a"))),
);
await using leftOffer = start(left, "offer", idOf("b"));
await using rightOffer = start(right, "offer", idOf("c"));
await Promise.all([leftOffer, rightOffer].map((each) => each.waitForStdout(/.*\n/)));
const offers = await look(middle, 2, "offers");
console.log(JSON.stringify({ found: allResults, offers }));
