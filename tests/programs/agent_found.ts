/**
 * Three devices on a switch without a route to other networks. The first is searched for; the
 * second, which is not paired, announces the first one's name and takes its address. Prints the
 * output of the third as JSON.
 */

import { makeNetwork, pair, startImpostor } from "../../agent/tests/agent_lab.ts";

const [dir = ""] = Deno.args;
const addresses = { camera: "192.0.2.1/24", viewer: "192.0.2.2/24", stranger: "192.0.2.3/24" };
const { camera, viewer, stranger } = await makeNetwork(dir, addresses);
// The first device doesn't serve at the address that it had when they were paired.
await pair(camera, viewer);
const serving = camera.start(["serve", "--inbox", `${camera.dir}/inbox`, "--listen", "[::]:7555"]);
await serving.waitForMessage("announced in the local network as camera");
const ping = (...args: string[]) => viewer.run(["--json", "ping", ...args, "camera"]);
/** A busy machine can delay any response, so the search is repeated up to five times. */
const find = async () => {
  let result = await ping();
  for (let attempt = 0; attempt < 4 && result.code !== 0; attempt++) result = await ping();
  return result;
};
const storedOnly = await ping("--no-find");
const searchResult = await find();

const strangerAgent = stranger.start(["serve", "--inbox", `${stranger.dir}/inbox`]);
await strangerAgent.waitForLine("serving on");
const { stdout } = await camera.runToSuccess(["--json", "id"]);
const impostor = await startImpostor(stranger, JSON.parse(stdout).id, "192.0.2.3");
const despite = await find();

await camera.runIp("address", "delete", "192.0.2.1/24", "dev", "lan");
await camera.addAddress("192.0.2.9/24");
await stranger.addAddress("192.0.2.1/24");
await viewer.runIp("neighbor", "flush", "dev", "lan");
const atStranger = await ping("--no-find");
const withAddress = await ping("--address", "192.0.2.9:7555");
const afterMove = await find();
serving.kill("SIGTERM");
await serving.waitForEnd();
const withoutStranger = await ping();
impostor.kill();
await impostor.waitForEnd();
const offline = await ping();
console.log(
  JSON.stringify({
    known: storedOnly,
    found: searchResult,
    as: impostor.announced,
    despite,
    atStranger,
    given: withAddress,
    moved: afterMove,
    alone: withoutStranger,
    gone: offline,
  }),
);
Deno.exit();
