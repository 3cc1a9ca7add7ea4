/**
 * Runs the agent of device/docs/local_network.md, as the page says, in empty directories of two
 * machines of one network, beside two unpaired strangers with the same program and an impostor. The
 * machines find each other, pair by a number, and mirror a directory while the receiver moves
 * twice; each program is killed and started again after each step. The programs pair at terminals,
 * and then run without. At the end one of the strangers pairs with `degu pair`. Prints what happened
 * as JSON.
 */
import {
  install,
  limitRate,
  type Machine,
  makeGrowthCheck,
  makeNetwork,
  startImpostor,
  typeYes,
  waitUntil,
} from "../../agent/tests/agent_lab.ts";
import { type RunningAgent, watch } from "@degu/testing/agents.ts";
import { makeDenoCommand, startCommand } from "@degu/testing/commands.ts";
import { listNames } from "@degu/testing/directories.ts";
import { randomBytes } from "@degu/testing/transferring.ts";
import { readProjectFile, ROOT } from "@degu/testing/project_files.ts";
import { Buffer } from "node:buffer";
import { fromFileUrl } from "@std/path";

/** The question if several devices are found. */
const LIST = "which device do you mean?";
/** Sends SIGQUIT, for which the agent has no listener. */
const CTRL_BACKSLASH = "\x1c";
const CTRL_C = "\x03";
const FILE_COUNT = 12;
const FILE_BYTES = 1_000_000;

const [dir = ""] = Deno.args;
const addresses = {
  lamp: "192.168.1.7/24",
  camera: "192.168.1.8/24",
  one: "192.168.1.9/24",
  two: "192.168.1.10/24",
};
const { lamp, camera, one, two } = await makeNetwork(dir, addresses);
const page = await readProjectFile("device/docs/local_network.md");
const code = /^```ts\n(.*?)^```$/ms.exec(page)![1]!;
const checkout = fromFileUrl(ROOT).replace(/\/$/, "");
const flags = /^deno run (.*) agent\.ts lamp$/m.exec(page)![1]!
  .replace("--config degu/", `--config ${checkout}/`).split(" ");
for (const { dir } of [lamp, camera, one, two]) await Deno.writeTextFile(`${dir}/agent.ts`, code);
const type = await install(dir);

await using stack = new AsyncDisposableStack();

const makeCommand = (machine: Machine, ...args: string[]) =>
  makeDenoCommand(flags, "agent.ts", machine.name, ...args);

function startAtTerminal(machine: Machine, ...args: string[]): RunningAgent {
  return stack.use(type(machine, `exec ${makeCommand(machine, ...args).join(" ")}`));
}

/** Kills an agent at a terminal. To kill the terminal would only send SIGHUP to the agent. */
async function killAtTerminal(agent: RunningAgent) {
  agent.writeInput(CTRL_BACKSLASH);
  await agent.waitForEnd();
}

function start(machine: Machine, ...args: string[]): RunningAgent {
  const command = makeCommand(machine, ...args);
  const child = startCommand(["ip", "netns", "exec", machine.name, ...command], {
    cwd: machine.dir,
  });
  return stack.use(watch(child, null, machine.name));
}

async function restart(agent: RunningAgent, machine: Machine, ...args: string[]) {
  await agent[Symbol.asyncDispose]();
  return start(machine, ...args);
}

const files = new Map<string, Buffer>();
await Deno.mkdir(`${camera.dir}/photos`);
for (let i = 0; i < FILE_COUNT; i++) {
  const bytes = Buffer.from(randomBytes(FILE_BYTES));
  files.set(`${i}.jpg`, bytes);
  await Deno.writeFile(`${camera.dir}/photos/${i}.jpg`, bytes);
}

/** Waits until a machine is in the list of devices, and chooses it. */
async function choose(agent: RunningAgent, name: string): Promise<void> {
  await agent.waitForLine(LIST);
  // Each empty line prints the list again.
  const listTimer = setInterval(() => agent.writeInput("\n"), 500);
  await agent.waitForLine(`  ${name} `);
  clearInterval(listTimer);
  agent.writeInput(`${name}\n`);
}

const waitForNumber = (agent: RunningAgent) => agent.waitForLine("Type y or yes");

// Three devices look for each other, and are killed while the persons choose.
const strangers = [startAtTerminal(one), startAtTerminal(two)];
let [atLamp, atCamera] = [startAtTerminal(lamp), startAtTerminal(camera, "photos")];
await atCamera.waitForLine(LIST);
for (const agent of [atLamp, atCamera]) await killAtTerminal(agent);
[atLamp, atCamera] = [startAtTerminal(lamp), startAtTerminal(camera, "photos")];

// The first number: one of the two devices is killed. The other one reports no pairing.
await Promise.all([choose(atLamp, "camera"), choose(atCamera, "lamp")]);
await Promise.all([waitForNumber(atLamp), waitForNumber(atCamera)]);
await killAtTerminal(atLamp);
const unpaired = await atCamera.waitForEnd();

// The second number, after text that was typed before the question.
[atLamp, atCamera] = [startAtTerminal(lamp), startAtTerminal(camera, "photos")];
for (const agent of [atLamp, atCamera]) agent.writeInput("yes\n");
await Promise.all([choose(atLamp, "camera"), choose(atCamera, "lamp")]);
await typeYes(atLamp, atCamera);
await Promise.all([
  atLamp.waitForLine("paired with camera"),
  atCamera.waitForLine("paired with lamp"),
]);

// Both are killed, and start again as a pair, beside an impostor that claims to be the lamp.
for (const agent of [atLamp, atCamera]) await killAtTerminal(agent);
const readId = async (machine: Machine, peer: string) => {
  for await (const { name } of Deno.readDir(`${machine.dir}/agent/device/peers`)) {
    const path = `${machine.dir}/agent/device/peers/${name}`;
    if (JSON.parse(await Deno.readTextFile(path)).name === peer) return name.replace(".json", "");
  }
  throw new Error(`${machine.name} has no peer ${peer}`);
};
const lampId = await readId(camera, "lamp");
stack.use(await startImpostor(one, lampId.slice(0, 16), "192.168.1.9"));
await limitRate(camera, "20mbit");
atLamp = start(lamp);
atCamera = start(camera, "photos");
const nearby = await atCamera.waitForLine("nearby: ");

// The receiver moves twice, and both programs are killed in the middle of the transfer.
const inbox = `${lamp.dir}/agent/inbox/camera`;
const waitForGrowth = async (bytes: number) =>
  await waitUntil(`${bytes} bytes`, await makeGrowthCheck(inbox, bytes));
async function move(machine: Machine, source: string, target: string): Promise<void> {
  await machine.runIp("address", "delete", `${source}/24`, "dev", "lan");
  await machine.addAddress(`${target}/24`);
}
await waitForGrowth(2_000_000);
await move(lamp, "192.168.1.7", "192.168.1.77");
await waitForGrowth(1_000_000);
atCamera = await restart(atCamera, camera, "photos");
await waitForGrowth(1_000_000);
await move(lamp, "192.168.1.77", "192.168.1.78");
await waitForGrowth(1_000_000);
atLamp = await restart(atLamp, lamp);
const mirrored = await atCamera.waitForLine("mirrored ", 120);
await atLamp.waitForLine("lamp serves its peers at port 7443");
await atLamp.waitForLine('camera put [ "');
const isEqual = async ([name, bytes]: [string, Buffer]) =>
  bytes.equals(await Deno.readFile(`${inbox}/${name}`));
const copied = {
  // Parts of the killed programs are hidden.
  names: (await listNames(inbox)).filter((name) => !name.startsWith(".")),
  areEqual: await Promise.all(Array.from(files, isEqual)),
};

// Both programs end by themselves after a signal.
for (const agent of [atLamp, atCamera]) agent.kill("SIGTERM");
const ends = await Promise.all([atLamp, atCamera].map((agent) => agent.waitForEnd()));
for (const stranger of strangers) stranger.writeInput(CTRL_C);
const strangerEnds = await Promise.all(strangers.map((stranger) => stranger.waitForEnd()));
const hasPeers = async (machine: Machine) => {
  for await (const _ of Deno.readDir(`${machine.dir}/agent/device/peers`)) return true;
  return false;
};
const strangersHavePeers = await Promise.all([one, two].map(hasPeers));

// The program pairs with an agent.
const atTwo = stack.use(type(two, "degu pair"));
const atOne = startAtTerminal(one);
await typeYes(atTwo, atOne);
await atOne.waitForLine("paired with two");
await atTwo.waitForLine("now? [y/N]");
atTwo.writeInput("\n");
const { code: programCode } = await atTwo.waitForEnd();
console.log(JSON.stringify({
  programCode,
  unpaired,
  nearby,
  mirrored,
  copied,
  codes: ends.map(({ code }) => code),
  strangerCodes: strangerEnds.map(({ code }) => code),
  strangersHavePeers,
}));
Deno.exit();
