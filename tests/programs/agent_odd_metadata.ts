/**
 * Runs commands on files whose times or sizes can't be represented, in a temporary directory on a
 * tmpfs, and prints the results as JSON.
 */
import { AgentFiles } from "@degu/testing/agent_files.ts";
import type { AgentResult } from "@degu/testing/agents.ts";

const ODD_NAMES = ["far", "size", "year"];

/** Creates three files with odd metadata, and two other files. */
async function fill(dir: string): Promise<void> {
  await Deno.mkdir(dir, { recursive: true });
  for (const name of [...ODD_NAMES, "good", "last"]) {
    await Deno.writeTextFile(`${dir}/${name}`, "old");
  }
  await Deno.utime(`${dir}/far`, 1, 8_640_000_000_001);
  await Deno.utime(`${dir}/year`, 1, 253_402_300_800);
  await Deno.utime(`${dir}/last`, 1, 253_402_300_799);
  await Deno.utime(`${dir}/good`, 8_640_000_000_001, 1);
  await Deno.truncate(`${dir}/size`, 2 ** 53);
}

const namesIn = (dir: string) => [...Deno.readDirSync(dir)].map(({ name }) => name).toSorted();
const textOf = (
  { code, stdout, stderr }: AgentResult,
) => [code, ...`${stdout}${stderr}`.split("\n").filter((line) => line !== "").toSorted()];

await using files = await AgentFiles.start();
const { share, inbox, local } = files;
await fill(`${share}/odd`);
await fill(`${inbox}/odd`);
await fill(`${local}/odd`);
const run = async (...args: string[]) => textOf(await files.run(...args));
const results: Record<string, unknown> = {};

results.ls = await run("ls", "-l", "camera:odd");
results.get = [
  await run("get", "-r", "camera:odd", `${local}/copy`),
  namesIn(`${local}/copy/odd`),
  await run("get", "camera:odd/far", `${local}/far`),
];
results.put = [
  await run("put", "-r", `${local}/odd`, "camera:put/"),
  namesIn(`${inbox}/put/odd`),
  await run("put", ...ODD_NAMES.map((name) => `${local}/odd/${name}`), "camera:"),
  await run("put", "--move", `${local}/odd/far`, "camera:"),
];
await Deno.writeTextFile(`${local}/new`, "new");
results.replace = [
  await run("put", `${local}/new`, "camera:odd/far"),
  await run("put", "--force", `${local}/new`, "camera:odd/far"),
  await Deno.readTextFile(`${inbox}/odd/far`),
  await run("get", "camera:odd/good", `${local}/odd/far`),
  await run("get", "--force", "camera:odd/good", `${local}/odd/far`),
];
results.sync = [
  await run("sync", "camera:odd", `${local}/odd`),
  await run("sync", "--delete", "--delete-all", `${local}/copy/odd`, "camera:odd"),
  namesIn(`${inbox}/odd`),
];
await fill(`${inbox}/odd`);
results.rm = [
  await run("rm", "camera:odd/far"),
  await run("rm", "-r", "camera:odd"),
  namesIn(inbox).includes("odd"),
];
results.send = await run("send", `${share}/odd/far`);
results.alive = await run("ls", "camera:");
console.log(JSON.stringify(results).replaceAll(local, "LOCAL").replaceAll(share, "SHARE"));
