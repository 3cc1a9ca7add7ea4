/** A second copy of the packages' files, as a program has if a dependency imports another version. */

import { fromFileUrl, toFileUrl } from "@std/path";
import { createTempDir } from "./directories.ts";
import { ROOT } from "./tree.ts";

const FOLDERS = ["apps", "base", "device", "files", "internal", "misc", "net", "web", "worker"];
const ENTRIES = ["base", "certificates", "client", "internal", "misc", "mod", "server"];

/** Copies the library, devices and files; `url` is that of the root's directory. */
export async function copyPackages() {
  const root = fromFileUrl(ROOT);
  const { path, ...dir } = await createTempDir();
  for (const folder of FOLDERS) await copyTree(`${root}/${folder}`, `${path}/${folder}`, path);
  for (const entry of ENTRIES) await Deno.copyFile(`${root}/${entry}.ts`, `${path}/${entry}.ts`);
  return { ...dir, url: toFileUrl(`${path}/`) };
}

async function copyTree(from: string, to: string, root: string): Promise<void> {
  await Deno.mkdir(to);
  for await (const { name, isDirectory } of Deno.readDir(from)) {
    if (isDirectory) {
      if (name !== "tests") await copyTree(`${from}/${name}`, `${to}/${name}`, root);
    } else if (name.endsWith(".ts")) await copyModule(`${from}/${name}`, `${to}/${name}`, root);
  }
}

/** The packages import each other by name, which would lead to the first copy. */
async function copyModule(from: string, to: string, root: string): Promise<void> {
  const text = await Deno.readTextFile(from);
  const url = toFileUrl(root).href;
  await Deno.writeTextFile(to, text.replaceAll(/"@degu\/degu\/(\w+)"/g, `"${url}/$1.ts"`));
}
