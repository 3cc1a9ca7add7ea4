/**
 * Transfers during which a device gets another address: first the device that runs the command,
 * then the server; and a command whose peer is offline. Prints the output and the duration of each
 * command as JSON.
 */

import {
  limitRate,
  type Machine,
  makeGrowthCheck,
  makeNetwork,
  recordPairing,
  waitUntil,
} from "../../agent/tests/agent_lab.ts";
import type { RunningAgent } from "@degu/testing/agents.ts";
import { randomBytes } from "@degu/testing/transferring.ts";
import { Buffer } from "node:buffer";

const BYTES = 8_000_000;

const [dir = ""] = Deno.args;
const addresses = { camera: "192.0.2.1/24", viewer: "192.0.2.2/24" };
const { camera, viewer } = await makeNetwork(dir, addresses);
// No device uses the stored address.
await recordPairing(camera, viewer, "fd00::1");
const [share, inbox] = [`${camera.dir}/share`, `${camera.dir}/inbox`];
await Deno.mkdir(share);
const content = randomBytes(BYTES);
for (const path of [`${share}/a`, `${viewer.dir}/b`]) await Deno.writeFile(path, content);
const serving = camera.start(["serve", "--share", share, "--inbox", inbox]);
await serving.waitForMessage("announced in the local network as camera");
for (const machine of [camera, viewer]) await limitRate(machine, "20mbit");

async function move(machine: Machine, source: string, target: string): Promise<void> {
  await machine.runIp("address", "delete", `${source}/24`, "dev", "lan");
  await machine.addAddress(`${target}/24`);
}

async function waitForResult(running: RunningAgent) {
  const begin = performance.now();
  const { code, stdout, stderr } = await running.waitForEnd();
  const seconds = (performance.now() - begin) / 1000;
  return { code, stderr, seconds, objects: code === 0 ? JSON.parse(stdout) : null };
}

const isWhole = async (path: string) => Buffer.from(await Deno.readFile(path)).equals(content);

const putting = viewer.start(["--json", "put", `${viewer.dir}/b`, "camera:"]);
await waitUntil("a part of b", await makeGrowthCheck(inbox, BYTES / 4));
await move(viewer, "192.0.2.2", "192.0.2.22");
const client = { ...await waitForResult(putting), isWhole: await isWhole(`${inbox}/viewer/b`) };

const getting = viewer.start(["--json", "get", "camera:a", viewer.dir]);
await waitUntil("a part of a", await makeGrowthCheck(viewer.dir, BYTES / 4));
await move(camera, "192.0.2.1", "192.0.2.11");
const server = { ...await waitForResult(getting), isWhole: await isWhole(`${viewer.dir}/a`) };

const tree = `${viewer.dir}/tree`;
await Deno.mkdir(tree);
const syncing = viewer.start(["--json", "sync", "camera:", tree]);
await waitUntil("a part of the tree", await makeGrowthCheck(tree, BYTES / 4));
await move(camera, "192.0.2.11", "192.0.2.12");
const synced = { ...await waitForResult(syncing), isWhole: await isWhole(`${tree}/a`) };

await serving[Symbol.asyncDispose]();
// Packets to the first address are dropped.
await viewer.addAddress("fd00::2/64");
await viewer.runIp("neighbor", "add", "fd00::1", "lladdr", "02:00:00:00:00:01", "dev", "lan");
const off = await waitForResult(viewer.start(["get", "camera:a", viewer.dir]));
console.log(JSON.stringify({ client, server, synced, off }));
Deno.exit();
