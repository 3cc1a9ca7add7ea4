/**
 * The permissions for mDNS, in a module without its sockets, because the messages of every command
 * may name missing permissions.
 */

/** The address at which packets of mDNS over IPv4 are received, and its group (RFC 6762 §3). */
export const ANY_HOST = "0.0.0.0";
const MULTICAST_GROUP = "224.0.0.251";
export const MDNS_PORT = 5353;

function listHosts(port: number): string[] {
  return [`${ANY_HOST}:${port}`, `${MULTICAST_GROUP}:${port}`];
}

export const MDNS_HOSTS: readonly string[] = listHosts(MDNS_PORT);

const INTERFACES_PERMISSION = { name: "sys", kind: "networkInterfaces" } as const;

function areHostsPermitted(hosts: readonly string[]): boolean {
  return hosts.every((host) =>
    Deno.permissions.querySync({ name: "net", host }).state === "granted"
  );
}

export function isMdnsPermitted(): boolean {
  return Deno.permissions.querySync(INTERFACES_PERMISSION).state === "granted" &&
    areHostsPermitted(MDNS_HOSTS);
}

export function checkPermissions(port: number): void {
  if (Deno.permissions.requestSync(INTERFACES_PERMISSION).state !== "granted") {
    throw new Deno.errors.NotCapable(
      "mDNS needs sys access to the interfaces of this machine; run again with " +
        "--allow-sys=networkInterfaces",
    );
  }
  const hosts = listHosts(port);
  // An error of an unpermitted socket would end the process.
  if (areHostsPermitted(hosts)) return;
  throw new Deno.errors.NotCapable(
    `mDNS needs net access to ${hosts.join(" and ")}; run again with --allow-net=${
      hosts.join(",")
    }`,
  );
}
