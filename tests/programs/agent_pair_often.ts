/**
 * Runs `degu pair` on two machines at the same moment, three times, each followed immediately by
 * commands. Prints the seconds until the numbers, and the results of the commands, as JSON.
 */

import { confirmNumbers, install, makeNetwork } from "@degu/testing/agent_lab.ts";

const [dir = ""] = Deno.args;
const { one, two } = await makeNetwork(dir, { one: "192.168.1.7/24", two: "192.168.1.8/24" });
const type = await install(dir);
const seconds: number[] = [];
const codes: number[] = [];
await using serving = type(one, "degu serve --inbox Inbox");
await serving.waitForLine("serving on");
for (let time = 0; time < 3; time++) {
  const startTime = performance.now();
  await using stack = new AsyncDisposableStack();
  const agents = [one, two].map((machine) => stack.use(type(machine, "degu pair")));
  await Promise.all(agents.map((each) => each.waitForLine("it shows this number")));
  seconds.push((performance.now() - startTime) / 1000);
  await confirmNumbers(...agents);
  for (const line of ["degu ls one:", "degu ping one"]) {
    await using agent = type(two, line);
    codes.push((await agent.waitForEnd()).code);
  }
  for (const [machine, name] of [[one, "two"], [two, "one"]] as const) {
    await using forgetting = type(machine, `degu forget ${name}`);
    await forgetting.waitForEnd();
  }
}
console.log(JSON.stringify({ seconds, codes }));
