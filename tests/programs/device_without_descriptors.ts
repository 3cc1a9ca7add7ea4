/**
 * Serves and invites with a device that has no free descriptor; run with a low limit. The argument
 * is the directory of the device. Prints the results meanwhile and afterward as JSON.
 */

import { reply } from "@degu/degu";
import { Device } from "@degu/degu/device";

const [dir = ""] = Deno.args;
await using device = await Device.open(dir, { name: "camera" });
const calls = {
  serve: async () => await (await device.serve(["127.0.0.1", 0], () => reply(204))).close(),
  invite: async () => await (await device.invite({ listen: [["127.0.0.1", 0]] })).close(),
};

async function callAll(): Promise<Record<string, string>> {
  const results: Record<string, string> = {};
  for (const [name, call] of Object.entries(calls)) {
    results[name] = await call().then(() => "done", ({ message }) => message);
  }
  return results;
}

const openFiles: Deno.FsFile[] = [];
try {
  for (;;) openFiles.push(Deno.openSync(`${dir}/lock`));
} catch {
  // No descriptor is free.
}
const meanwhile = await callAll();
for (const file of openFiles) file.close();
const afterward = await callAll();
console.log(JSON.stringify({ meanwhile, afterward }));
