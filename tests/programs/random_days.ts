/**
 * Changes random files of a directory by an app that keeps versions, until it is killed. Each
 * change takes minutes by the clock of this process. Prints a line of JSON before each change, and
 * one after.
 *
 * Arguments: the directory, and the milliseconds by which the clock is ahead at the start.
 */
import { Client, Server } from "@degu/degu";
import { FilesApp } from "@degu/degu/files";
import { listFiles } from "../../files/tests/long/random_days.ts";

const [dir = "", start = "0"] = Deno.args;
const { now } = Date;
let ahead = Number(start);
Date.now = () => now() + ahead;
const random = (count: number) => Math.floor(Math.random() * count);
const app = new FilesApp(dir, { write: true, keep: 3000 });

const server = await Server.start(["127.0.0.1", 0], app);
const client = new Client(server.address);

async function request(method: "PUT" | "DELETE", uri: string, bytes?: Uint8Array) {
  const response = await client.request(method, uri, {}, bytes ?? null);
  await response.bytes();
}

/** Moves a file, as a client does: its content gets the new name before the old name goes. */
async function move(from: string, to: string) {
  await request("PUT", `/${to}`, Deno.readFileSync(`${dir}/${from}`));
  await request("DELETE", `/${from}`);
  paths.splice(paths.indexOf(from), 1, to);
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
    await move(path, newPath);
  } else if (action === 2) {
    // A moved directory.
    const directory = path.split("/")[0]!;
    const moved = paths.filter((each) => each.startsWith(`${directory}/`)).slice(0, 60);
    for (const [index, from] of moved.entries()) await move(from, `${newPath}/${index}`);
  } else {
    const target = action === 3 ? path : newPath;
    await request("PUT", `/${target}`, new TextEncoder().encode(`content ${Date.now()}`));
    if (action === 4) paths.push(newPath);
  }
  ahead += 60_000;
  console.log(JSON.stringify({ time: Date.now(), done: change }));
}
