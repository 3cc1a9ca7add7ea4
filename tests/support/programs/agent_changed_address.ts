/**
 * Three devices at a switch. The address of one changes, and another one, with which nobody is paired, takes the old
 * one. Prints what the third one sees as JSON.
 *
 * @module
 */

import { acquaint, Machine, network } from "@degu/testing/agent_lab.ts";

const [dir = ""] = Deno.args;
const [camera, viewer, stranger] = await Promise.all(
  ["camera", "viewer", "stranger"].map((name) => Machine.make(name, dir)),
) as [Machine, Machine, Machine];
await network([[camera, "10.7.0.1/24"], [viewer, "10.7.0.2/24"], [stranger, "10.7.0.3/24"]]);
await using serving = camera.start(["serve", "--announce"]);
await serving.message("announced in the local network as camera");
await acquaint(camera, viewer, "10.7.0.1");
const ping = (...args: string[]) => viewer.run(["--json", "ping", ...args, "camera"]);
const first = await ping();

await using impostor = stranger.start(["serve", "--announce"]);
await impostor.line("serving on");
await camera.ip("address", "delete", "10.7.0.1/24", "dev", "lan");
await camera.ip("address", "add", "10.7.0.9/24", "dev", "lan");
await stranger.ip("address", "add", "10.7.0.1/24", "dev", "lan");
await viewer.ip("neighbor", "flush", "dev", "lan");
const atStranger = await ping();
const given = await ping("--address", "10.7.0.9");
const found = await ping("--find");
const peers = await stranger.run(["--json", "peers"]);
serving.kill("SIGTERM");
await serving.ended();
const gone = await ping("--find");
console.log(JSON.stringify({ first, atStranger, given, found, peers, gone }));
