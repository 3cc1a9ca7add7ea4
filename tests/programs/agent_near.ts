/**
 * Three machines in one network: two of them send, and the third one must choose. Prints the output
 * and the exit code of the third as JSON.
 */

import {
  confirmNumbers,
  install,
  makeNetwork,
  startImpostor,
} from "../../agent/tests/agent_lab.ts";

const SEND_SERVICE = "_degu-send._tcp.local";

const [dir = ""] = Deno.args;
const addresses = { one: "192.168.1.7/24", two: "192.168.1.8/24", three: "192.168.1.9/24" };
const { one, two, three } = await makeNetwork(dir, addresses);
const type = await install(dir);
const senders = [one, two];
const outputs: [code: number, text: string][] = [];
const show = async (line: string) => {
  await using agent = type(three, line);
  const { code, stdout } = await agent.waitForEnd();
  outputs.push([code, stdout]);
};

{
  await using stack = new AsyncDisposableStack();
  for (const { dir, name } of senders) await Deno.writeTextFile(`${dir}/file`, name);
  const sending = senders.map((machine) => stack.use(type(machine, "degu send file")));
  await Promise.all(sending.map((each) => each.waitForLine("--address")));
  await show("degu receive");
  // A pipe can't confirm the number.
  await show("echo yes | degu receive --from one");
  const [, id] = /^one ([a-z2-7]{8}…)/m.exec(outputs[0]![1]) ?? [];
  await confirmNumbers(sending[0]!, stack.use(type(three, `degu receive --from ${id}`)));
}
{
  // An impostor announces another id for a sending device.
  await using sending = type(one, "degu send file");
  const [, port = ""] = /--address \S+:(\d+)/.exec(await sending.waitForLine("--address")) ?? [];
  const args = ["a".repeat(16), "192.168.1.7", port, SEND_SERVICE];
  await using _impostor = await startImpostor(one, ...args);
  await show(`degu receive --from ${"a".repeat(16)}`);
}
console.log(JSON.stringify({ shown: outputs, file: await Deno.readTextFile(`${three.dir}/file`) }));
