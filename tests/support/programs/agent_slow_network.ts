/**
 * Two devices on a slow network. In the middle of transfers its cable is pulled out and put back in, the service dies and is
 * started again, and the peer is forgotten. Prints how they have ended as JSON.
 */

import {
  acquaint,
  bytesBelow,
  grows,
  ip,
  Machine,
  network,
  slowDown,
  until,
} from "@degu/testing/agent_lab.ts";
import type { AgentEnd, RunningAgent } from "@degu/testing/agents.ts";

const SIZE = 8 * 2 ** 20;

const [dir = ""] = Deno.args;
const [camera, viewer] = await Promise.all(
  ["camera", "viewer"].map((name) => Machine.make(name, dir)),
) as [Machine, Machine];
await network([[camera, "fd00::1/64"], [viewer, "fd00::2/64"]]);
const [share, inbox, files] = [`${camera.dir}/share`, `${camera.dir}/inbox`, `${viewer.dir}/files`];
for (const path of [share, inbox, files]) await Deno.mkdir(path);
const film = new Uint8Array(SIZE).map((_, i) => i * 2654435761 >>> 13);
for (const path of [`${share}/film`, `${viewer.dir}/clip`]) await Deno.writeFile(path, film);
await acquaint(camera, viewer, "fd00::1");
const SERVE = ["serve", "--share", share, "--inbox", inbox];
const serving = camera.spawn(SERVE);
await serving.line("serving on");
/** Makes the network so slow that a file takes most of a second, or seconds, in which another command starts. */
const slow = async (rate: "80mbit" | "12mbit") => {
  for (const machine of [camera, viewer]) await slowDown(machine, rate);
};
const plug = (state: "up" | "down") => ip("link", "set", "dev", "port-camera", state);

/** Starts a command, and does something when a part of a file has arrived. */
async function disturb(
  args: string[],
  below: string,
  disturbance: (running: RunningAgent) => Promise<AgentEnd | void>,
): Promise<AgentEnd> {
  const hasArrived = await grows(below, SIZE / 4);
  await using running = viewer.start(args);
  await until(`a part below ${below}`, hasArrived);
  return await disturbance(running) ?? await running.ended();
}

await slow("80mbit");
const get = ["--json", "get", "camera:film", `${files}/two`];
const got = await disturb(["get", "camera:film", `${files}/one`], files, async () => {
  await plug("down");
  const before = await bytesBelow(files);
  await new Promise((resolve) => setTimeout(resolve, 500));
  // What was received is written, but nothing comes any more.
  if (await bytesBelow(files) > before + 1e6) throw new Error("the cable is not out");
  await plug("up");
});
const interrupted = await disturb(get, files, async (running) => {
  await plug("down");
  running.kill("SIGINT");
  const ended = await running.ended();
  await plug("up");
  return ended;
});
const again = await viewer.run(get);
const put = await disturb(["put", `${viewer.dir}/clip`, "camera:"], inbox, async () => {
  await plug("down");
  await plug("up");
});

await slow("12mbit");
const restarted = await disturb(["get", "camera:film", `${files}/three`], files, async () => {
  serving.kill("SIGKILL");
  await serving[Symbol.asyncDispose]();
  await camera.start(SERVE).line("serving on");
});
const forgotten = await disturb(["put", `${viewer.dir}/clip`, "camera:new"], inbox, async () => {
  await camera.succeed(["forget", "viewer"]);
});
const names = [...Deno.readDirSync(inbox)].map(({ name }) => name);
const whole = [`${files}/one`, `${files}/two`, `${files}/three`, `${inbox}/clip`].map((path) => {
  const found = Deno.readFileSync(path);
  return found.length === SIZE && found.every((byte, i) => byte === film[i]);
});
console.log(JSON.stringify({ got, interrupted, again, put, restarted, forgotten, names, whole }));
Deno.exit();
