/** Network and mount namespaces, in which a test can change the network and mount small disks. */
import { obstacleTo } from "./commands.ts";

/** The command that runs the command behind it in a network namespace. */
export const THROUGH_NAMESPACE: readonly string[] = ["unshare", "--map-root-user", "--net"];

/** Why there can be no network namespace with what is needed in it; `null` if there can. */
export function networkObstacle(): Promise<string | null> {
  const link = "ip link add left type veth peer name right".split(" ");
  return obstacleTo([...THROUGH_NAMESPACE, ...link]);
}

/** The command that runs the command behind it in a mount namespace. */
export const THROUGH_MOUNT_NAMESPACE: readonly string[] = ["unshare", "--map-root-user", "--mount"];

/** Why no disk can be mounted in a namespace; `null` if it can. */
export function mountObstacle(): Promise<string | null> {
  return obstacleTo([...THROUGH_MOUNT_NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]);
}
