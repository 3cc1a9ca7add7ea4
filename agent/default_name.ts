/**
 * The name of a device that was given none.
 *
 * @module
 */

import { isDeviceName, MAX_NAME_LENGTH } from "../device/device_name.ts";

const FALLBACK = "device";

/** The name of this machine, adapted to the rules for device names. Needs `--allow-sys=hostname`. */
export function defaultName(hostname: string = Deno.hostname()): string {
  const [label = ""] = hostname.split(".");
  const name = label.normalize("NFKD").replaceAll(/\p{M}/gu, "")
    .replaceAll(/[^0-9A-Za-z_-]+/g, "-").replace(/^[^0-9A-Za-z]+/, "")
    .slice(0, MAX_NAME_LENGTH).replace(/-+$/, "");
  return isDeviceName(name) ? name : FALLBACK;
}
