/**
 * A machine without a network, whose first network has IPv6 without IPv4; run it through `unshare -rn`. The argument is
 * a directory with the homes `camera` and `viewer`. Prints messages of the commands as JSON.
 */

import { createCable } from "@degu/testing/namespaces.ts";
import { spawnAgent } from "@degu/testing/agents.ts";

const [dir = ""] = Deno.args;

async function readError(home: string, ...args: string[]): Promise<string> {
  await using agent = spawnAgent(["--home", `${dir}/${home}`, ...args], { flags: ["--allow-all"] });
  return (await agent.waitForEnd()).stderr;
}

const alone = [
  await readError("viewer", "ls", "--no-find", "camera:"),
  await readError("viewer", "ping", "--address", "192.0.2.9", "camera"),
];
await createCable();

async function readMessage(home: string, ...args: string[]): Promise<string> {
  const flags = ["--allow-all"];
  await using agent = spawnAgent(["--home", `${dir}/${home}`, ...args], { flags });
  const message = await agent.waitForMessage("IPv4");
  agent.kill("SIGINT");
  await agent.waitForEnd();
  return message;
}

console.log(JSON.stringify({
  alone,
  serve: await readMessage("camera", "serve", "--inbox", `${dir}/inbox`),
  receive: await readMessage("viewer", "receive", dir),
}));
