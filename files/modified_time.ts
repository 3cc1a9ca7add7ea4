/**
 * The modification time of a file, as its sender reports it.
 *
 * @module
 */

import type { FileState } from "./file_state.ts";
import { Refusal } from "./refusal.ts";

/**
 * Sets the modification time of a file. Synchronous, so that no other request of the process runs
 * between a check of the file and this.
 *
 * @param seen The metadata of the file.
 * @throws {Refusal} if another file has the path now, or the program may not write to it.
 */
export function setModified(
  path: string,
  seen: Pick<FileState, "dev" | "ino">,
  modified: Date,
): void {
  // Deno needs no permission to set the times of an open file.
  const { state } = Deno.permissions.querySync({ name: "write", path });
  if (state !== "granted") throw new Refusal(403, `no permission to write to ${path}`);
  // Not with node:fs: it has times in seconds as floating-point numbers, and is off by a millisecond.
  using file = Deno.openSync(path, { read: true });
  const { dev, ino } = file.statSync();
  if (dev !== Number(seen.dev) || ino !== Number(seen.ino)) {
    throw new Refusal(409, `${path} was replaced meanwhile`);
  }
  file.utimeSync(new Date(), modified);
}
