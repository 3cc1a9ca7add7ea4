/** A second copy of the packages, as a program has if a dependency imports another version. */

import { fromFileUrl, toFileUrl } from "@std/path";
import { createTempDir } from "./directories.ts";
import { ROOT } from "./tree.ts";

const FOLDERS = ["apps", "base", "files", "internal", "net", "web"];
const ENTRIES = ["base.ts", "client.ts", "internal.ts", "mod.ts", "server.ts"];

/** Loads client, server, apps and files a second time, from another directory. */
export async function loadCopy() {
  const root = fromFileUrl(ROOT);
  const { path, ...dir } = await createTempDir();
  for (const folder of FOLDERS) await copyTree(`${root}/${folder}`, `${path}/${folder}`, path);
  for (const entry of ENTRIES) await Deno.copyFile(`${root}/${entry}`, `${path}/${entry}`);
  const load = (entry: string) => import(toFileUrl(`${path}/${entry}`).href);
  const main: typeof import("@degu/degu") = await load("mod.ts");
  const client: typeof import("@degu/degu/client") = await load("client.ts");
  const files: typeof import("@degu/files") = await load("files/mod.ts");
  const server: typeof import("@degu/degu/server") = await load("server.ts");
  return { ...dir, ...server, ...files, ...client, ...main };
}

async function copyTree(from: string, to: string, root: string): Promise<void> {
  await Deno.mkdir(to);
  for await (const { name, isDirectory } of Deno.readDir(from)) {
    if (isDirectory && name !== "tests") {
      await copyTree(`${from}/${name}`, `${to}/${name}`, root);
    } else if (name.endsWith(".ts")) await copyModule(`${from}/${name}`, `${to}/${name}`, root);
  }
}

/** The packages import each other by name, which would lead to the first copy. */
async function copyModule(from: string, to: string, root: string): Promise<void> {
  const text = await Deno.readTextFile(from);
  const url = toFileUrl(root).href;
  await Deno.writeTextFile(to, text.replaceAll(/"@degu\/degu\/(\w+)"/g, `"${url}/$1.ts"`));
}
