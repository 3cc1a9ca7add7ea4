/** The entries of a second copy of the packages. */

import { copyPackages } from "./copied_files.ts";
import { testEachRow } from "./rows.ts";
import { ROOT } from "./tree.ts";

/** The names of all entries of a copy of the packages. */
export type PackageCopy = Awaited<ReturnType<typeof loadEntries>>;

/** Loads the entries of the library, devices and files a second time, from another directory. */
export async function loadCopy() {
  const { url, ...dir } = await copyPackages();
  return { ...dir, ...await loadEntries(url) };
}

async function loadEntries(url: URL | string) {
  const load = (entry: string) => import(new URL(`${entry}.ts`, url).href);
  const main: typeof import("@degu/degu") = await load("mod");
  const base: typeof import("@degu/degu/base") = await load("base");
  const client: typeof import("@degu/degu/client") = await load("client");
  const misc: typeof import("@degu/degu/misc") = await load("misc");
  const server: typeof import("@degu/degu/server") = await load("server");
  const device: typeof import("@degu/device") = await load("device/mod");
  const testing: typeof import("@degu/device/testing") = await load("device/testing");
  const files: typeof import("@degu/files") = await load("files/mod");
  return { ...misc, ...device, ...testing, ...server, ...files, ...client, ...base, ...main };
}

type RunWithCopies = (first: PackageCopy, second: PackageCopy) => Promise<void> | void;

/**
 * Loads a copy, which the caller disposes of after all tests. `inBothOrders` makes the function of a
 * test, with a step for each order of the two copies.
 */
export async function loadCopies() {
  const copy = await loadCopy();
  const original = await loadEntries(ROOT);
  const orders: [name: string, first: PackageCopy, second: PackageCopy][] = [
    ["this copy first", original, copy],
    ["the other copy first", copy, original],
  ];
  const inBothOrders = (run: RunWithCopies) => (t: Deno.TestContext): Promise<void> =>
    testEachRow(t, orders, (_name, ...copies) => run(...copies));
  return { inBothOrders, dispose: async () => await copy[Symbol.asyncDispose]() };
}
