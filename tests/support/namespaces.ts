/** Network and mount namespaces, in which a test can change the network and mount small disks. */
import { tempDir } from "./directories.ts";

/** The command that runs the command behind it in a namespace. */
export const THROUGH_NAMESPACE: readonly string[] = ["unshare", "--map-root-user", "--net"];

/** Makes a namespace, and what is needed in it; says why where that can't be. */
export async function networkObstacle(): Promise<string | null> {
  const script = "ip link add left type veth peer name right";
  try {
    const [program = "", ...args] = [...THROUGH_NAMESPACE, ...script.split(" ")];
    const { success, stderr } = await new Deno.Command(program, { args }).output();
    return success ? null : new TextDecoder().decode(stderr).trim();
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

// Mount namespaces, in which a test may mount small disks.

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
