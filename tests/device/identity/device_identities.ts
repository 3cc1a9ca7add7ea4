/** Helpers for tests of device identities. */

import { createDevicePki } from "@degu/degu/device";
import { assertRejects } from "@std/assert";

/**
 * Asserts that the identity of a camera is refused, for example because other users can access its
 * directory.
 */
export async function assertRefused(
  dir: string,
  name: "InvalidData" | "NotFound" | "PermissionDenied",
  words = "",
): Promise<Error> {
  return await assertRejects(() => createDevicePki(dir, "camera-1"), Deno.errors[name], words);
}

/** The permissions of a program that may not write. */
export function readOnly(dir: string): string[] {
  return [`--allow-read=${dir}`, "--allow-sys=uid"];
}
