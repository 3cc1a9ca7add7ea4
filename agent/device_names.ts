import { isDeviceName } from "@degu/device";
import type { CommonOptions } from "./command.ts";

export const MAX_NAME_LENGTH = 63;

export function makeNameKey(name: string): string {
  return name.toLowerCase();
}

export function findNameOptionProblem(
  { name, as }: Pick<CommonOptions, "name" | "as">,
): string | null {
  for (const [option, value] of Object.entries({ name, as })) {
    if (value === undefined || isDeviceName(value)) continue;
    return `--${option}: must be 1 to ${MAX_NAME_LENGTH} letters, digits, "-" and "_", the first a letter or digit, and neither an id of ` +
      `a device nor a name that Windows reserves, such as con; got ${JSON.stringify(value)}`;
  }
  return null;
}

export function makeDefaultName(hostname: string = Deno.hostname()): string {
  const [label = ""] = hostname.split(".");
  const name = label.normalize("NFKD").replaceAll(/\p{M}/gu, "")
    .replaceAll(/[^0-9A-Za-z_-]+/g, "-").replace(/^[^0-9A-Za-z]+/, "")
    .slice(0, MAX_NAME_LENGTH).replace(/-+$/, "");
  return isDeviceName(name) ? name : "device";
}
