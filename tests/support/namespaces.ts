/** Network and mount namespaces, in which a test can change the network and mount small disks. */
import { findObstacle, runOrThrow } from "./commands.ts";

/** The command that runs the command behind it in a network namespace. */
export const THROUGH_NAMESPACE: readonly string[] = ["unshare", "--map-root-user", "--net"];

/** The reason why no network namespace with all its devices can be made; `null` if it can. */
export function findNetworkObstacle(): Promise<string | null> {
  const link = "ip link add left type veth peer name right".split(" ");
  return findObstacle([...THROUGH_NAMESPACE, ...link]);
}

/** The command that runs the command behind it in a mount namespace. */
export const THROUGH_MOUNT_NAMESPACE: readonly string[] = ["unshare", "--map-root-user", "--mount"];

/** The reason why no disk can be mounted in a namespace; `null` if it can. */
export function findMountObstacle(): Promise<string | null> {
  return findObstacle([...THROUGH_MOUNT_NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]);
}

export async function runIp(...args: string[]): Promise<void> {
  await runOrThrow(["ip", ...args]);
}

/**
 * Lays a cable in this namespace, from `left` with fe80::1 to `right` with fe80::2. The addresses
 * are usable at once: duplicates are not looked for.
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

/**
 * The command that runs the command behind it beside a systemd of its own, as that of a user, on a
 * machine without other addresses than those of the loopback interface.
 */
export const THROUGH_SYSTEMD: readonly string[] = [
  ..."unshare --map-root-user --net --mount --pid --fork --mount-proc bash -c".split(" "),
  `mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system && mkdir -m 700 /run/user || exit
ip link set lo up
export XDG_RUNTIME_DIR=/run/user
/usr/lib/systemd/systemd --user &> /dev/null &
for ((i = 0; i < 300; i++)); do
  systemctl --user show &> /dev/null && break
  sleep 0.1
done
systemctl --user show > /dev/null && "$@"
code=$?
systemctl --user exit && wait # it removes its groups of processes, but not its own
rmdir /sys/fs/cgroup/*/init.scope &> /dev/null
exit $code`,
  "bash",
];

/** The reason why no systemd can be started so; `null` if it can. */
export function findSystemdObstacle(): Promise<string | null> {
  return findObstacle([...THROUGH_SYSTEMD, "true"]);
}
