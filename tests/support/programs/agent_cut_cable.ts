/**
 * A cable that is pulled out in the middle of a transfer and put back in. Prints how the transfers have ended as JSON.
 *
 * @module
 */

import { bytesBelow, partArrives, SlowCable } from "@degu/testing/agent_lab.ts";
import type { AgentEnd, RunningAgent } from "@degu/testing/agents.ts";

const [dir = ""] = Deno.args;
const slow = await SlowCable.make(dir);
const { camera, viewer } = slow;
await using _serving = await slow.serve();
await slow.pair();
const plug = (state: "up" | "down") => camera.ip("link", "set", "dev", "to-viewer", state);

/** Pulls the cable out in the middle of a command and puts it back in; what happens in between is up to `meanwhile`. */
async function cut(
  args: string[],
  below: string,
  meanwhile: (running: RunningAgent) => Promise<AgentEnd | void>,
): Promise<AgentEnd> {
  await using running = viewer.start(args);
  await partArrives(below);
  await plug("down");
  const ended = await meanwhile(running);
  await plug("up");
  // It has lost its address.
  await camera.ip("address", "replace", "fd00::1/64", "dev", "to-viewer", "nodad");
  return ended ?? await running.ended();
}

const files = `${viewer.dir}/files`;
const got = await cut(["--json", "get", "camera:film", `${files}/one`], files, async () => {
  const before = await bytesBelow(files);
  await new Promise((resolve) => setTimeout(resolve, 500));
  // What was received is written, but nothing comes any more.
  if (await bytesBelow(files) > before + 1e6) throw new Error("the cable is not out");
});
const get = ["--json", "get", "camera:film", `${files}/two`];
const interrupted = await cut(get, files, (running) => {
  running.kill("SIGINT");
  return running.ended();
});
const again = await viewer.run(get);
const clip = ["--json", "put", `${viewer.dir}/clip`, "camera:"];
const put = await cut(clip, `${camera.dir}/inbox`, () => Promise.resolve());
const moved = [`${files}/one`, `${files}/two`, `${camera.dir}/inbox/clip`];
const whole = await Promise.all(moved.map((path) => slow.isWhole(path)));
console.log(JSON.stringify({ got, interrupted, again, put, whole }));
