/** A second copy of the package, as a program has if a dependency imports another version. */

import { fromFileUrl, toFileUrl } from "@std/path";
import { createTempDir } from "./directories.ts";
import { ROOT } from "./tree.ts";

const FOLDERS = ["apps", "base", "disk", "files", "internal", "net", "web"];
const ENTRIES = ["base.ts", "client.ts", "files.ts", "mod.ts", "server.ts"];

/** Loads client, server, apps and files a second time, from another directory. */
export async function loadCopy() {
  const root = fromFileUrl(ROOT);
  const { path, ...dir } = await createTempDir();
  for (const folder of FOLDERS) await copyTree(`${root}/${folder}`, `${path}/${folder}`);
  for (const entry of ENTRIES) await Deno.copyFile(`${root}/${entry}`, `${path}/${entry}`);
  const load = (entry: string) => import(toFileUrl(`${path}/${entry}`).href);
  const main: typeof import("@degu/degu") = await load("mod.ts");
  const client: typeof import("@degu/degu/client") = await load("client.ts");
  const files: typeof import("@degu/degu/files") = await load("files.ts");
  const server: typeof import("@degu/degu/server") = await load("server.ts");
  return { ...dir, ...server, ...files, ...client, ...main };
}

async function copyTree(from: string, to: string): Promise<void> {
  await Deno.mkdir(to);
  for await (const { name, isDirectory } of Deno.readDir(from)) {
    if (isDirectory) await copyTree(`${from}/${name}`, `${to}/${name}`);
    else await Deno.copyFile(`${from}/${name}`, `${to}/${name}`);
  }
}
