/** Network and mount namespaces, in which a test can change the network and mount small disks. */
import { findObstacle, runOrThrow } from "./commands.ts";

/** A command that runs the appended command in a network namespace. */
export const THROUGH_NAMESPACE: readonly string[] = ["unshare", "--map-root-user", "--net"];

/** Returns the reason why network namespaces can't be created; `null` if they can. */
export function findNetworkObstacle(): Promise<string | null> {
  const link = "ip link add left type veth peer name right".split(" ");
  return findObstacle([...THROUGH_NAMESPACE, ...link]);
}

/** A command that runs the appended command in a mount namespace. */
export const THROUGH_MOUNT_NAMESPACE: readonly string[] = ["unshare", "--map-root-user", "--mount"];

/** The same, whose processes are all killed with the command, and don't see those outside. */
export const THROUGH_PROCESS_NAMESPACE: readonly string[] = [
  ...THROUGH_MOUNT_NAMESPACE,
  ...["--pid", "--fork", "--kill-child", "--mount-proc"],
];

/** Returns the reason why a namespace can't mount disks; `null` if it can. */
export function findMountObstacle(): Promise<string | null> {
  return findObstacle([...THROUGH_MOUNT_NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]);
}

export async function runIp(...args: string[]): Promise<void> {
  await runOrThrow(["ip", ...args]);
}

/**
 * Connects `left` with fe80::1 to `right` with fe80::2 in this namespace. Duplicate addresses are
 * not detected, so that the addresses are usable at once.
 */
export async function createCable(): Promise<void> {
  await runIp("link", "set", "lo", "up");
  await runIp("link", "add", "left", "type", "veth", "peer", "name", "right");
  for (const [end, address] of [["left", "fe80::1/64"], ["right", "fe80::2/64"]] as const) {
    await runIp("address", "add", address, "dev", end, "nodad");
    await runIp("link", "set", end, "up");
  }
}

/** Returns the scope of an interface, which must be up. */
export function scopeOf(interfaceName: string): number {
  const networkInterface = Deno.networkInterfaces().find(({ name, scopeid }) =>
    name === interfaceName && scopeid
  );
  return networkInterface?.scopeid ?? 0;
}
