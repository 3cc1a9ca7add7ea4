/** A second copy of the library, as a program has if its packages need versions that differ. */

import { fromFileUrl, toFileUrl } from "@std/path";
import { createTempDir } from "./directories.ts";
import { testEachRow } from "./rows.ts";
import { ROOT } from "./tree.ts";

const FOLDERS = ["apps", "base", "internal", "misc", "net", "program", "web", "worker"];
const ENTRIES = ["base", "certificates", "client", "misc", "mod", "server"];

/** The version of the copy: no later version of the library. */
const COPY_VERSION = "0.0.1";

/** The names of all entries of a copy of the library. */
export type PackageCopy = Awaited<ReturnType<typeof loadEntries>>;

/** Loads the entries of the library a second time, from another directory. */
export async function loadCopy() {
  const root = fromFileUrl(ROOT);
  const { path, ...dir } = await createTempDir();
  for (const folder of FOLDERS) await copyTree(`${root}/${folder}`, `${path}/${folder}`);
  for (const entry of ENTRIES) await Deno.copyFile(`${root}/${entry}.ts`, `${path}/${entry}.ts`);
  const versionModule = `${path}/internal/copies.ts`;
  const code = await Deno.readTextFile(versionModule);
  const changedCode = code.replace(/(?<=^const VERSION = ")[^"]*/m, COPY_VERSION);
  await Deno.writeTextFile(versionModule, changedCode);
  return { ...dir, ...await loadEntries(toFileUrl(`${path}/`), COPY_VERSION) };
}

async function copyTree(from: string, to: string): Promise<void> {
  await Deno.mkdir(to);
  for await (const { name, isDirectory } of Deno.readDir(from)) {
    if (isDirectory) await copyTree(`${from}/${name}`, `${to}/${name}`);
    else if (name.endsWith(".ts")) await Deno.copyFile(`${from}/${name}`, `${to}/${name}`);
  }
}

async function loadEntries(url: URL | string, version: string) {
  const load = (entry: string) => import(new URL(`${entry}.ts`, url).href);
  const main: typeof import("@degu/degu") = await load("mod");
  const base: typeof import("@degu/degu/base") = await load("base");
  const client: typeof import("@degu/degu/client") = await load("client");
  const misc: typeof import("@degu/degu/misc") = await load("misc");
  const server: typeof import("@degu/degu/server") = await load("server");
  return { version, ...misc, ...server, ...client, ...base, ...main };
}

type RunWithCopies = (own: PackageCopy, other: PackageCopy) => Promise<void> | void;

/**
 * Loads a copy, which the caller disposes of after all tests. `inBothOrders` makes the function of a
 * test, with a step for each order of the two copies.
 *
 * @param version The version of the original.
 */
export async function loadCopies(version: string) {
  const copy = await loadCopy();
  const original = await loadEntries(ROOT, version);
  const orders: [name: string, own: PackageCopy, other: PackageCopy][] = [
    ["this copy with objects of the other copy", original, copy],
    ["the other copy with objects of this copy", copy, original],
  ];
  const inBothOrders = (run: RunWithCopies) => (t: Deno.TestContext): Promise<void> =>
    testEachRow(t, orders, (_name, ...copies) => run(...copies));
  return { copy, inBothOrders, dispose: async () => await copy[Symbol.asyncDispose]() };
}
