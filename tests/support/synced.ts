/** A record of the files and directories that are synced to the disk. */

import { fstatSync } from "node:fs";
import { open } from "node:fs/promises";
import { assertEquals } from "@std/assert";

/**
 * Runs `work`, and resolves to the sorted paths below a directory that `work` synced and didn't
 * remove.
 */
export async function recordSyncedPaths(
  root: string,
  work: () => Promise<unknown>,
): Promise<string[]> {
  const syncedInodes = new Set<number | null>();
  await using handle = await open(root);
  const handlePrototype = Object.getPrototypeOf(handle);
  const filePrototype = Deno.FsFile.prototype;
  const { sync } = handlePrototype;
  const { sync: syncFile, syncData } = filePrototype;
  handlePrototype.sync = function () {
    syncedInodes.add(fstatSync(this.fd).ino);
    return sync.call(this);
  };
  filePrototype.sync = function () {
    syncedInodes.add(this.statSync().ino);
    return syncFile.call(this);
  };
  filePrototype.syncData = function () {
    syncedInodes.add(this.statSync().ino);
    return syncData.call(this);
  };
  try {
    await work();
  } finally {
    Object.assign(handlePrototype, { sync });
    Object.assign(filePrototype, { sync: syncFile, syncData });
  }
  const paths: string[] = [];
  const collectPaths = (path: string, name: string) => {
    const { ino, isDirectory } = Deno.lstatSync(path);
    if (syncedInodes.has(ino)) paths.push(name);
    if (!isDirectory) return;
    for (const { name: inner } of Deno.readDirSync(path)) {
      collectPaths(`${path}/${inner}`, `${name}/${inner}`);
    }
  };
  collectPaths(root, ".");
  return paths.toSorted();
}

/**
 * Asserts that exactly the expected paths below a directory were synced. Windows can't sync
 * directories: there, only the files must be synced.
 */
export function assertSynced(
  root: string,
  syncedPaths: readonly string[],
  expectedPaths: readonly string[],
): void {
  const canSync = (path: string) =>
    Deno.build.os !== "windows" || !Deno.lstatSync(`${root}/${path}`).isDirectory;
  assertEquals(syncedPaths, expectedPaths.filter(canSync));
}
