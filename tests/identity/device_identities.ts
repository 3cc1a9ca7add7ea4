/** Changes to the identity of a device. */

import { createDevicePki } from "@degu/degu/device";
import { assertRejects } from "@std/assert";
import { join } from "@std/path";

/** Asserts that the identity of a camera is refused, for example because something in its directory is open to others. */
export async function assertRefused(
  dir: string,
  name: "InvalidData" | "NotFound" | "PermissionDenied",
  words = "",
): Promise<Error> {
  return await assertRejects(() => createDevicePki(dir, "camera-1"), Deno.errors[name], words);
}

/** The permissions of a program that may only use what is there. */
export function readOnly(dir: string): string[] {
  return [`--allow-read=${dir}`, "--allow-sys=uid"];
}

/** Makes what a call leaves behind that is cut, so many hours ago. */
export async function plantTemporary(parent: string, name: string, hours: number): Promise<void> {
  const path = join(parent, name);
  if (/\.pem/.test(name)) {
    await Deno.writeTextFile(path, "half a certif", { mode: 0o600 });
  } else {
    await Deno.mkdir(path, { mode: 0o700 });
    await Deno.writeTextFile(join(path, "ca.pem"), "half a certif", { mode: 0o600 });
  }
  const time = new Date(Date.now() - hours * 60 * 60 * 1000);
  await Deno.utime(path, time, time);
}
