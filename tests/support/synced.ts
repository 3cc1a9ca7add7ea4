/** Files and names that are synced to the disk, and so survive a power failure. */

import { fstatSync } from "node:fs";
import { open } from "node:fs/promises";

/**
 * Runs `work`, and resolves to the sorted paths below a directory that `work` has synced, and not
 * removed.
 */
export async function syncedWhile(root: string, work: () => Promise<unknown>): Promise<string[]> {
  const synced = new Set<number | null>();
  await using handle = await open(root);
  const ofHandle = Object.getPrototypeOf(handle);
  const ofFile = Deno.FsFile.prototype;
  const { sync } = ofHandle;
  const { sync: syncFile, syncData } = ofFile;
  ofHandle.sync = function () {
    synced.add(fstatSync(this.fd).ino);
    return sync.call(this);
  };
  ofFile.sync = function () {
    synced.add(this.statSync().ino);
    return syncFile.call(this);
  };
  ofFile.syncData = function () {
    synced.add(this.statSync().ino);
    return syncData.call(this);
  };
  try {
    await work();
  } finally {
    Object.assign(ofHandle, { sync });
    Object.assign(ofFile, { sync: syncFile, syncData });
  }
  const paths: string[] = [];
  const look = (path: string, name: string) => {
    const { ino, isDirectory } = Deno.lstatSync(path);
    if (synced.has(ino)) paths.push(name);
    if (!isDirectory) return;
    for (const { name: inner } of Deno.readDirSync(path)) {
      look(`${path}/${inner}`, `${name}/${inner}`);
    }
  };
  look(root, ".");
  return paths.toSorted();
}
