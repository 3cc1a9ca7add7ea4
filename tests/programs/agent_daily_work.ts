/**
 * Runs the commands for daily work of agent/docs/guide.md with three devices on a switch. During
 * each command the cable of the server is unplugged, and every other time the server is restarted.
 * Prints the output of the commands, and the resulting files, as JSON.
 */

import {
  countBytes,
  limitRate,
  type Machine,
  makeGrowthCheck,
  makeNetwork,
  recordPairing,
  waitUntil,
} from "../../agent/tests/agent_lab.ts";
import { fill, readTree } from "@degu/testing/directories.ts";
import { runIp } from "@degu/testing/namespaces.ts";

const FILES = 50;
const LARGE_BYTES = 2_000_000;

const [dir = ""] = Deno.args;
const addresses = { laptop: "fd00::1/64", phone: "fd00::2/64", desktop: "fd00::3/64" };
const { laptop, phone, desktop } = await makeNetwork(dir, addresses);
const [share, inboxes] = [`${laptop.dir}/share`, `${laptop.dir}/inbox`];
const inbox = `${inboxes}/phone`;
await Deno.mkdir(share);
const serve = async () => {
  const running = laptop.spawn(["serve", "--share", share, "--inbox", inboxes]);
  await running.waitForLine("serving on");
  return running;
};
await recordPairing(laptop, phone, "fd00::1");
await recordPairing(laptop, desktop, "fd00::1");
let serving = await serve();
for (const machine of [laptop, phone, desktop]) await limitRate(machine, "40mbit");

async function makeFiles(root: string, generation: string): Promise<void> {
  const texts: Record<string, string | null> = { "empty": null };
  for (let i = 0; i < FILES; i++) {
    texts[`${i % 7}/${i} ä`] = `${generation} ${i} `.repeat(1 + i * 4);
  }
  for (const i of [1, 2]) {
    texts[`large ${i}`] = `${generation} ${i} `.repeat(LARGE_BYTES).slice(0, LARGE_BYTES);
  }
  await fill(root, texts);
}

const results: unknown[] = [];
const comparisons: [string, boolean][] = [];

/**
 * Runs a command, unplugs the server's cable after an event, and restarts the server every other
 * time.
 */
async function runWithCut(
  machine: Machine,
  args: string[],
  isUnderWay: () => Promise<boolean>,
): Promise<void> {
  await using running = machine.start(["--json", ...args]);
  await waitUntil(args.join(" "), isUnderWay);
  await runIp("link", "set", "dev", "port-laptop", "down");
  if (results.length % 2 === 1) {
    await serving[Symbol.asyncDispose]();
    serving = await serve();
  }
  await runIp("link", "set", "dev", "port-laptop", "up");
  const { code, stdout, stderr } = await running.waitForEnd();
  const objects = stdout.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
  results.push({ args, code, stderr, objects });
}

async function compare(name: string, firstDir: string, secondDir: string): Promise<void> {
  const [first, second] = [await readTree(firstDir), await readTree(secondDir)];
  comparisons.push([name, JSON.stringify(first) === JSON.stringify(second)]);
}

const A_PART = 1_000_000;
const [photos, notes] = [`${phone.dir}/photos`, `${phone.dir}/notes`];
const [restored, mirror] = [`${phone.dir}/back`, `${desktop.dir}/mirror`];
await makeFiles(photos, "photo");
await runWithCut(phone, ["put", "-r", photos, "laptop:"], await makeGrowthCheck(inbox, A_PART));
await compare("put", photos, `${inbox}/photos`);

/** Runs a command of a device for another device's photos, which must fail. */
async function failsAt(machine: Machine, ...args: string[]): Promise<void> {
  await using running = machine.start(args);
  comparisons.push([`of another device: ${args[0]}`, (await running.waitForEnd()).code === 1]);
}
for (const command of ["ls", "rm"]) await failsAt(desktop, command, "laptop:photos");
await failsAt(desktop, "get", "--inbox", "-r", "laptop:photos", restored);

const get = ["get", "--inbox", "-r", "laptop:photos", restored];
await runWithCut(phone, get, await makeGrowthCheck(restored, A_PART));
await compare("get", photos, `${restored}/photos`);

await makeFiles(`${share}/docs`, "document");
await fill(mirror, { "old/document": "old", "1/1 ä": "another one" });
const syncDown = ["sync", "--delete", "laptop:docs", mirror];
await runWithCut(desktop, syncDown, await makeGrowthCheck(mirror, A_PART));
await compare("sync", `${share}/docs`, mirror);

await makeFiles(notes, "note");
await Deno.writeTextFile(`${notes}/.deguignore`, "/large 2\n");
await fill(`${inbox}/notes`, { "old/note": "old" });
const sync = ["sync", "--delete", "--checksum", notes, "laptop:notes"];
await runWithCut(phone, sync, await makeGrowthCheck(inbox, A_PART));
await Deno.remove(`${notes}/large 2`);
await compare("sync to the inbox", notes, `${inbox}/notes`);

const bytesBefore = await countBytes(`${inbox}/photos`);
const shrinks = async () => await countBytes(`${inbox}/photos`) < bytesBefore;
await runWithCut(phone, ["rm", "-r", "laptop:photos"], shrinks);
comparisons.push(["rm", !Object.hasOwn(await readTree(inbox), "photos")]);
await serving[Symbol.asyncDispose]();
console.log(JSON.stringify({ ended: results, same: comparisons, files: FILES }));
Deno.exit();
