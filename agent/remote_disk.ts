import { statfsSync } from "node:fs";
import { join } from "./paths.ts";

/** The file systems that can wait for another machine or program, by their type in statfs(2). */
const REMOTE_TYPES: Readonly<Record<number, string>> = {
  0x6969: "NFS",
  0x517b: "SMB",
  0xff534d42: "SMB",
  0xfe534d42: "SMB",
  0x65735546: "FUSE",
  0x01021997: "9p",
  0x00c36400: "Ceph",
};

/**
 * Finds a directory on a network disk or a FUSE disk: the given one, or a mount directly in it.
 * Returns `null` without the permission `--allow-sys=statfs`.
 */
export async function findRemoteDisk(dir: string): Promise<{ path: string; type: string } | null> {
  const permission = { name: "sys", kind: "statfs" } as const;
  if ((await Deno.permissions.query(permission)).state !== "granted") return null;
  const { dev } = await Deno.lstat(dir);
  const paths = [dir];
  for await (const { name, isDirectory } of Deno.readDir(dir)) {
    if (isDirectory) paths.push(join(dir, name));
  }
  for (const path of paths) {
    try {
      if (path !== dir && (await Deno.lstat(path)).dev === dev) continue;
      const type = REMOTE_TYPES[statfsSync(path).type >>> 0];
      if (type !== undefined) return { path, type };
    } catch {
      // A request for the directory reports the error.
    }
  }
  return null;
}
