import { Failure } from "./failure.ts";

/** Set `areTested` together with the switch in `files/disk/names.ts`. */
export const windowsDeletions = { areTested: false };

/** Refuses a command or an option before its first request. */
export function checkDeleting(name: string): void {
  if (Deno.build.os !== "windows" || windowsDeletions.areTested) return;
  throw new Failure(`${name}: not tested on Windows yet: no file is deleted`);
}
