/**
 * Runs commands of the program as a user who may not read, search or write some of the files;
 * prints each result as JSON.
 */

import { AgentFiles } from "../../agent/tests/agent_files.ts";
import { fill } from "@degu/testing/directories.ts";

await using files = await AgentFiles.start();
const { local, inbox, inboxes, share, homes } = files;
await fill(share, { a: "1", "closed/x": "2" });
await fill(local, { c: "3", secret: "4", "closed/x": "5", "fixed": null, "empty": null });
const empty = `${local}/empty`;
const viewer = homes.joinPath("viewer");
const results: { rule: string; code: number; said: string }[] = [];

/** Runs a command while a path has a mode. */
async function run(rule: string, path: string, mode: number, ...args: string[]): Promise<void> {
  const modeBefore = (await Deno.stat(path)).mode!;
  await Deno.chmod(path, mode);
  const { code, stderr } = await files.run(...args);
  await Deno.chmod(path, modeBefore);
  results.push({ rule, code, said: stderr.replaceAll(homes.path, "") });
}

await run("put: a file", `${local}/secret`, 0, "put", `${local}/secret`, "camera:");
await run("put: a directory", `${local}/closed`, 0, "put", `${local}/closed/x`, "camera:");
const others = [`${local}/c`, `${local}/closed/x`];
await run("put: the others", `${local}/closed`, 0, "put", ...others, "camera:");
await run("get: into it", `${local}/closed`, 0, "get", "camera:a", `${local}/closed/`);
await run("get: in it", `${local}/closed`, 0, "get", "camera:a", `${local}/closed/b`);
await run("get: to write", `${local}/fixed`, 0o500, "get", "camera:a", `${local}/fixed`);
await run("get: to make", `${local}/fixed`, 0o500, "get", "camera:a", `${local}/fixed/new/`);
await run("sync", `${local}/closed`, 0, "sync", `${local}/closed`, "camera:x");
await run("peers: the device", viewer, 0, "peers");
await run("peers: its peers", `${viewer}/peers`, 0, "peers");
const closedShare = ["serve", "--share", `${local}/closed`];
await run("serve: the share", `${local}/closed`, 0, ...closedShare);
await run("serve: its names alone", `${local}/closed`, 0o400, ...closedShare);
await run("serve: the inbox", `${local}/fixed`, 0o500, "serve", "--inbox", `${local}/fixed`);
await run("serve: a new inbox", `${local}/fixed`, 0o500, "serve", "--inbox", `${local}/fixed/new`);
await run("serve: an empty inbox", empty, 0o600, "serve", "--inbox", empty);
await run("serve: the records", `${inboxes}/.degu-files`, 0o400, "serve", "--inbox", inboxes);
await run("receive", `${local}/closed`, 0, "receive", `${local}/closed`);
await run("send", `${local}/closed`, 0, "send", `${local}/closed/x`);
await run("restore", `${local}/closed`, 0, "restore", `${local}/closed`);
await run("a served file", `${share}/a`, 0, "get", "camera:a", `${local}/new`);
await run("a served directory", `${share}/closed`, 0, "ls", "camera:closed");
await run("the served end", inbox, 0o500, "put", `${local}/c`, "camera:new");
results.push({ rule: "what serve says", code: 0, said: await served() });
console.log(JSON.stringify(results));

/** Returns the camera's log lines for the last command. */
async function served(): Promise<string> {
  return (await files.waitForMessage("permission denied")).replaceAll(homes.path, "");
}
