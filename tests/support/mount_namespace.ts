/**
 * Mount namespaces, in which a test may mount small disks.
 *
 * @module
 */

import { tempDir } from "./directories.ts";

/** The command that runs the command behind it in a namespace. */
export const THROUGH_MOUNT_NAMESPACE: readonly string[] = [
  "unshare",
  "--map-root-user",
  "--mount",
];

/** Makes a namespace, and mounts a disk in it; says why where that can't be. */
export async function mountObstacle(): Promise<string | null> {
  await using dir = await tempDir();
  const mount = ["mount", "-t", "tmpfs", "tmpfs", dir.path];
  try {
    const [program = "", ...args] = [...THROUGH_MOUNT_NAMESPACE, ...mount];
    const { success, stderr } = await new Deno.Command(program, { args }).output();
    return success ? null : new TextDecoder().decode(stderr).trim();
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
