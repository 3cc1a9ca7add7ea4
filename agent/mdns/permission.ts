/**
 * What mDNS may use.
 *
 * @module
 */

import type { SocketType } from "node:dgram";
import { GROUPS } from "./interfaces.ts";

/**
 * The protocols whose group may be used.
 *
 * @throws {Deno.errors.NotCapable} if none may be: opening a socket would then end the process. Also if the interfaces
 * may not be looked at: that happens in the background, and its error would be no more than a warning.
 */
export function permittedTypes(port: number): SocketType[] {
  const interfaces = { name: "sys", kind: "networkInterfaces" } as const;
  // As elsewhere, Deno asks on a terminal.
  if (Deno.permissions.requestSync(interfaces).state !== "granted") {
    throw new Deno.errors.NotCapable(
      "mDNS needs sys access to the interfaces of this machine; run again with " +
        "--allow-sys=networkInterfaces",
    );
  }
  const hosts = { udp4: `${GROUPS.udp4}:${port}`, udp6: `[${GROUPS.udp6}]:${port}` };
  const types = (["udp4", "udp6"] as const).filter((type) =>
    Deno.permissions.querySync({ name: "net", host: hosts[type] }).state === "granted"
  );
  if (types.length > 0) return types;
  throw new Deno.errors.NotCapable(
    `mDNS needs net access to ${hosts.udp4} or ${hosts.udp6}; run again with ` +
      `--allow-net=${hosts.udp4},${hosts.udp6}`,
  );
}
