/**
 * Changes random files of a directory by an app that keeps versions, until it is killed. Each
 * change takes minutes by the clock of this process. Prints a line of JSON before each change, and
 * one after.
 *
 * Arguments: the directory, and the milliseconds by which the clock is ahead at the start.
 */
import { Client, Server } from "@degu/degu";
import { FilesApp } from "@degu/degu/files";
import { listFiles } from "@degu/testing/random_days.ts";
import { createHash } from "node:crypto";

const [dir = "", start = "0"] = Deno.args;
const { now } = Date;
let ahead = Number(start);
Date.now = () => now() + ahead;
const random = (count: number) => Math.floor(Math.random() * count);
const app = new FilesApp(dir, { write: true, keep: 3000 });

const server = await Server.start(["127.0.0.1", 0], app);
const client = new Client(server.address);

async function request(method: "PUT" | "DELETE" | "POST", uri: string, bytes?: Uint8Array) {
  const response = await client.request(method, uri, {}, bytes ?? null);
  await response.bytes();
}

function makeRenames(renames: readonly (readonly [from: string, to: string])[]): Uint8Array {
  const lines = renames.map(([from, to]) => {
    const bytes = Deno.readFileSync(`${dir}/${from}`);
    const { size, mtime } = Deno.statSync(`${dir}/${from}`);
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    return JSON.stringify({
      path: to.split("/"),
      from: from.split("/"),
      sha256,
      seen: [size, mtime!.getTime()],
    });
  });
  return new TextEncoder().encode(`${lines.join("\n")}\n{"end":true}\n`);
}

const paths = listFiles(dir);
for (let change = 0;; change++) {
  ahead += (1 + random(40)) * 60_000;
  console.log(JSON.stringify({ time: Date.now(), change }));
  const path = paths[random(paths.length)]!;
  const newPath = `d${random(30)}/new-${Date.now()}`;
  const action = random(5);
  if (action === 0) {
    await request("DELETE", `/${path}`);
    paths.splice(paths.indexOf(path), 1);
  } else if (action === 1) {
    await request("POST", "/?bundle=put", makeRenames([[path, newPath]]));
    paths.splice(paths.indexOf(path), 1, newPath);
  } else if (action === 2) {
    // A moved directory.
    const directory = path.split("/")[0]!;
    const moved = paths.filter((each) => each.startsWith(`${directory}/`)).slice(0, 60);
    const renames = moved.map((from, index) => [from, `${newPath}/${index}`] as const);
    await request("POST", "/?bundle=put", makeRenames(renames));
    for (const [from, to] of renames) paths.splice(paths.indexOf(from), 1, to);
  } else {
    const target = action === 3 ? path : newPath;
    await request("PUT", `/${target}`, new TextEncoder().encode(`content ${Date.now()}`));
    if (action === 4) paths.push(newPath);
  }
  ahead += 60_000;
  console.log(JSON.stringify({ time: Date.now(), done: change }));
}
