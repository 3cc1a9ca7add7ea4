/**
 * A night of a backup: a timer runs `degu sync --wait 60` while the other device is on, off, starts
 * again, gets another address, and stays off. Prints each run and the copied files as JSON.
 */

import { makeNetwork, recordPairing, waitUntil } from "@degu/testing/agent_lab.ts";
import type { RunningAgent } from "@degu/testing/agents.ts";
import { runOrThrow } from "@degu/testing/commands.ts";

const [dir = ""] = Deno.args;
const addresses = { camera: "192.0.2.1/24", viewer: "192.0.2.2/24" };
const { camera, viewer } = await makeNetwork(dir, addresses);
await camera.addAddress("fd00::1/64");
await viewer.addAddress("fd00::2/64");
await recordPairing(camera, viewer, "fd00::1");
const [source, inbox] = [`${viewer.dir}/source`, `${camera.dir}/inbox`];
await Deno.mkdir(source);

/** Starts the server, and waits until it listens. */
async function start(): Promise<RunningAgent> {
  const server = camera.spawn(["serve", "--inbox", inbox]);
  await server.waitForLine("serving on");
  return server;
}

/** Ends the server as a power failure does. */
const stop = (server: RunningAgent) => server[Symbol.asyncDispose]();

/** Counts the connections that the viewer has tried to make. */
async function countAttempts(): Promise<number> {
  const text = await runOrThrow(["ip", "netns", "exec", "viewer", "cat", "/proc/net/snmp"]);
  const [names = "", values = ""] = text.split("\n").filter((line) => line.startsWith("Tcp:"));
  return Number(values.split(" ")[names.split(" ").indexOf("ActiveOpens")]);
}

const runs: { name: string; code: number; stdout: string; stderr: string }[] = [];

/** Runs the timer's command with a new file; `duringWait` is called after three attempts. */
async function runTimer(
  name: string,
  duringWait: (() => Promise<unknown>) | null,
  wait = "60",
): Promise<void> {
  await Deno.writeTextFile(`${source}/${name}`, name);
  const attemptCount = await countAttempts();
  const running = viewer.start(["sync", "--wait", wait, source, "camera:backup"]);
  if (duringWait !== null) {
    const hasTried = async () => await countAttempts() >= attemptCount + 3;
    await waitUntil(`three attempts: ${name}`, hasTried);
    await duringWait();
  }
  runs.push({ name, ...await running.waitForEnd() });
}

let server = await start();
await runTimer("on", null);
await stop(server);
await runTimer("reboots", async () => server = await start());
await stop(server);
await camera.runIp("link", "set", "dev", "lan", "down");
await runTimer("moved", async () => {
  await camera.runIp("address", "flush", "dev", "lan");
  await camera.addAddress("192.0.2.11/24");
  await camera.runIp("link", "set", "dev", "lan", "up");
  server = await start();
});
await runTimer("on at the new address", null);
await stop(server);
await runTimer("stays off", null, "3");
server = await start();
await runTimer("morning", null);
await stop(server);
const copied = await Array.fromAsync(Deno.readDir(`${inbox}/viewer/backup`), ({ name }) => name);
console.log(JSON.stringify({ runs, copied: copied.toSorted() }));
Deno.exit();
