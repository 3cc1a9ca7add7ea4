/**
 * The addresses at which a new peer will find this device.
 *
 * @module
 */

import type { Address } from "../base.ts";
import type { Device } from "../device.ts";
import { DEFAULT_PORT } from "./commands.ts";
import type { Context } from "./context.ts";

/**
 * The addresses to send to a new peer: those given; else where `degu serve` runs, which is looked up when they
 * are sent; else, so that it may be started later, the default port of every address of this machine.
 *
 * @returns `undefined` for those that are looked up.
 */
export async function servingAddresses(
  { output }: Context,
  device: Device,
  given: Address[] | undefined,
): Promise<Address[] | undefined> {
  if (given !== undefined || (await device.serving()).length > 0) return given;
  const permission = { name: "sys", kind: "networkInterfaces" } as const;
  if (Deno.permissions.querySync(permission).state === "granted") return [["::", DEFAULT_PORT]];
  output.note(
    "the addresses of this machine are not sent, as --allow-sys=networkInterfaces is missing: give them with " +
      "--serving, if this device is to serve the other one",
  );
  return undefined;
}
