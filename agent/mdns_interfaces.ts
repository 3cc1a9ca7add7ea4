/** The interfaces that announcements and searches use. */

import { parseHost } from "@degu/degu/base";

export type InterfaceAddress = Pick<
  Deno.NetworkInterfaceInfo,
  "family" | "name" | "address" | "netmask"
>;

/**
 * Skips interfaces without an IPv4 address, and the loopback interface unless it is the only
 * interface.
 */
export function groupByInterface(
  addresses: readonly InterfaceAddress[],
): readonly InterfaceAddress[][] {
  const groups = [...Map.groupBy(addresses, ({ name }) => name).values()]
    .filter((group) => group.some(({ family }) => family === "IPv4"));
  const nonLoopbackGroups = groups.filter((group) =>
    !group.some(({ address }) => parseHost(address)?.reach === "loopback")
  );
  return nonLoopbackGroups.length > 0 ? nonLoopbackGroups : groups;
}
