/**
 * A machine whose only network has IPv6 without IPv4; run it through `unshare -rn`. The argument is
 * a directory with the homes `camera` and `viewer`. Prints messages of the commands as JSON.
 */

import { createCable } from "@degu/testing/namespaces.ts";
import { spawnAgent } from "@degu/testing/agents.ts";

const [dir = ""] = Deno.args;
await createCable();

const start = (home: string, ...args: string[]) =>
  spawnAgent(["--home", `${dir}/${home}`, ...args], { flags: ["--allow-all"] });

async function readMessage(text: string, home: string, ...args: string[]): Promise<string> {
  await using agent = start(home, ...args);
  const message = await agent.waitForMessage(text);
  agent.kill("SIGINT");
  await agent.waitForEnd();
  return message;
}

console.log(JSON.stringify({
  serve: await readMessage("IPv4", "camera", "serve", "--inbox", `${dir}/inbox`),
  receive: await readMessage("IPv4", "viewer", "receive", dir),
}));
