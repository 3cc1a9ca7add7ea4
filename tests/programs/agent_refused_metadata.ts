/**
 * Runs commands whose files, and whose devices, are on a disk that refuses times and permission
 * bits: the temporary directory. Prints the results as JSON.
 */
import { AgentFiles } from "../../agent/tests/agent_files.ts";
import type { AgentResult } from "@degu/testing/agents.ts";
import { readTree } from "@degu/testing/directories.ts";

const LARGE = "large".repeat(20_000);

const textOf = ({ code, stdout, stderr }: AgentResult) => ({
  code,
  lines: `${stdout}${stderr}`.split("\n").filter((line) => line !== ""),
});

await using files = await AgentFiles.start();
const { share, inbox, local } = files;
for (const dir of [`${share}/d`, `${local}/d`]) {
  await Deno.mkdir(dir);
  await Deno.writeTextFile(`${dir}/small`, "small");
  await Deno.writeTextFile(`${dir}/large`, LARGE);
}
// A file is moved only if it was not just changed.
await Deno.mkdir(`${local}/outbox`);
await Deno.writeTextFile(`${local}/outbox/moved`, LARGE);

// `Deno.writeTextFile` with a mode would call chmod.
Deno.openSync(`${local}/key`, { write: true, createNew: true, mode: 0o600 }).close();

const results: Record<string, unknown> = {};
async function run(name: string, ...args: string[]): Promise<void> {
  results[name] = textOf(await files.run(...args));
}
for (const round of ["", " again"]) {
  await run(`put${round}`, "put", `${local}/d/small`, `${local}/d/large`, "camera:one/");
  await run(`put -r${round}`, "put", "-r", `${local}/d`, "camera:tree/");
  await run(`get${round}`, "get", "camera:d/small", "camera:d/large", `${local}/one/`);
  await run(`get -r${round}`, "get", "-r", "camera:d", `${local}/tree/`);
  await run(`sync to${round}`, "sync", "--delete", `${local}/d`, "camera:mirror");
  await run(`sync from${round}`, "sync", "--delete", "camera:d", `${local}/mirror`);
}
await run("json", "sync", "--json", `${local}/d`, "camera:json");
await run("json again", "sync", "--json", `${local}/d`, "camera:json");
await run("put private", "put", `${local}/key`, "camera:");
await run("put --force", "put", "--force", `${local}/d/large`, "camera:one/small");
{
  const received = `${local}/received`;
  await Deno.mkdir(received);
  const sendArgs = ["send", "--listen", "127.0.0.1:0", `${share}/d`];
  const sender = files.homes.start("sender", sendArgs);
  const line = await sender.waitForLine("degu-send:");
  results.receive = textOf(await files.homes.run("receiver", ["receive", line, received]));
  results.send = textOf(await sender.waitForEnd());
}
const move = ["sync", "--move", "--settled", "0"];
await run("sync --move", ...move, `${local}/outbox`, "camera:outbox");
results.left = Object.keys(await readTree(`${local}/outbox`));
await run("rm", "rm", "camera:one/large");

const isSame = async (dir: string) => {
  const { small, large } = await readTree(dir);
  return small === "small" && large === LARGE;
};
const copies = ["tree/d", "mirror", "json"].map((path) => `${inbox}/${path}`);
copies.push(...["one", "tree/d", "mirror", "received/d"].map((path) => `${local}/${path}`));
results.same = await Promise.all(copies.map(isSame));
results.serve = textOf(await files.stop());
console.log(JSON.stringify(results).replaceAll(local, "LOCAL").replaceAll(share, "SHARE"));
