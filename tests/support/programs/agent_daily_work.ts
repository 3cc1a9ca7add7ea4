/**
 * What docs/agent.md has for daily work, over three devices on a switch: in the middle of each command the cable of the one that
 * serves goes out, and half of the times it is started anew meanwhile. Prints what the commands have said, and what is where, as JSON.
 *
 * @module
 */

import { acquaint, ip, Machine, network, slowDown } from "@degu/testing/agent_lab.ts";
import { makeTreeAt, treeOf } from "@degu/testing/agent_files.ts";
import { bytesBelow } from "@degu/testing/agent_lab.ts";

const FILES = 100;
const LARGE_BYTES = 3_000_000;
const PATIENCE_MILLISECONDS = 30_000;

const [dir = ""] = Deno.args;
const [laptop, phone, desktop] = await Promise.all(
  ["laptop", "phone", "desktop"].map((name) => Machine.make(name, dir)),
) as [Machine, Machine, Machine];
await network([[laptop, "fd00::1/64"], [phone, "fd00::2/64"], [desktop, "fd00::3/64"]]);
const [share, inbox] = [`${laptop.dir}/share`, `${laptop.dir}/inbox`];
await Deno.mkdir(share);
const serve = async () => {
  const running = laptop.start(["serve", "--share", share, "--inbox", inbox]);
  await running.line("serving on");
  return running;
};
let serving = await serve();
await acquaint(laptop, phone, "fd00::1");
await acquaint(laptop, desktop, "fd00::1");
for (const machine of [laptop, phone, desktop]) await slowDown(machine, "lan", "40mbit");

/** Makes small files in several directories, and large ones. */
async function makeFiles(root: string, generation: string): Promise<void> {
  const texts: Record<string, string | null> = { "empty": null };
  for (let i = 0; i < FILES; i++) {
    texts[`${i % 7}/${i} ä`] = `${generation} ${i} `.repeat(1 + i * 4);
  }
  for (const i of [1, 2]) {
    texts[`large ${i}`] = `${generation} ${i} `.repeat(LARGE_BYTES).slice(0, LARGE_BYTES);
  }
  await makeTreeAt(root, texts);
}

/** Runs a command whose cable goes out once `isUnderWay` says that something has happened. */
async function cut(
  machine: Machine,
  args: string[],
  isUnderWay: () => Promise<boolean>,
  restarts: boolean,
) {
  await using running = machine.start(["--json", ...args]);
  const deadline = performance.now() + PATIENCE_MILLISECONDS;
  while (!await isUnderWay()) {
    if (performance.now() > deadline) throw new Error(`${args.join(" ")}: nothing has happened`);
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
  await ip("link", "set", "dev", "port-laptop", "down");
  if (restarts) {
    await serving[Symbol.asyncDispose]();
    serving = await serve();
  }
  await ip("link", "set", "dev", "port-laptop", "up");
  const { code, stdout, stderr } = await running.ended();
  const objects = stdout.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
  return { args, code, stderr, objects };
}

/** Whether so many bytes are below a directory, more than there were. */
async function grows(below: string, bytes: number): Promise<() => Promise<boolean>> {
  const before = await bytesBelow(below);
  return async () => await bytesBelow(below) > before + bytes;
}

const ended = [];
const same: [string, boolean][] = [];
const compare = async (name: string, one: string, other: string) => {
  const [a, b] = [await treeOf(one), await treeOf(other)];
  same.push([name, JSON.stringify(a) === JSON.stringify(b)]);
};

for (const restarts of [false, true]) {
  const name = restarts ? "second" : "first";
  const photos = `${phone.dir}/${name}`;
  await makeFiles(photos, `photo ${name}`);
  const under = 1_000_000;
  let underWay = await grows(inbox, under);
  ended.push(await cut(phone, ["put", "-r", photos, "laptop:"], underWay, restarts));
  await compare(`put ${name}`, photos, `${inbox}/${name}`);

  const back = `${desktop.dir}/back`;
  underWay = await grows(back, under);
  const get = ["get", "--inbox", "-r", `laptop:${name}`, back];
  ended.push(await cut(desktop, get, underWay, restarts));
  await compare(`get ${name}`, photos, `${back}/${name}`);

  const mirror = `${desktop.dir}/mirror`;
  await makeFiles(`${share}/docs`, `document ${name}`);
  await makeTreeAt(`${share}/docs`, { [`${name}.txt`]: "new" });
  underWay = await grows(mirror, under);
  const sync = ["sync", "--delete", "laptop:docs", mirror];
  ended.push(await cut(desktop, sync, underWay, restarts));
  await compare(`sync ${name}`, `${share}/docs`, mirror);

  await makeFiles(`${phone.dir}/notes`, `note ${name}`);
  await Deno.writeTextFile(`${phone.dir}/notes/.deguignore`, "/large 2\n");
  underWay = await grows(inbox, under);
  const back2 = ["sync", "--delete", "--checksum", `${phone.dir}/notes`, "laptop:notes"];
  ended.push(await cut(phone, back2, underWay, restarts));
  await Deno.remove(`${phone.dir}/notes/large 2`);
  await compare(`sync to inbox ${name}`, `${phone.dir}/notes`, `${inbox}/notes`);

  const before = await bytesBelow(`${inbox}/${name}`);
  const shrinks = async () => await bytesBelow(`${inbox}/${name}`) < before;
  ended.push(await cut(desktop, ["rm", "-r", `laptop:${name}`], shrinks, restarts));
  same.push([`rm ${name}`, !Object.hasOwn(await treeOf(inbox), name)]);
}
await serving[Symbol.asyncDispose]();
console.log(JSON.stringify({ ended, same, files: FILES }));
