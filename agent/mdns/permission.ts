/**
 * What mDNS may use.
 *
 * @module
 */

import { GROUPS, type Place } from "./interfaces.ts";

/**
 * The protocols whose group may be used.
 *
 * @throws {Deno.errors.NotCapable} if none may be: opening a socket would then end the process.
 */
export function permittedTypes(port: number): Place["type"][] {
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
