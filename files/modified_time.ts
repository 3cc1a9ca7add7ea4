/**
 * The time that a file was last changed, as whoever sends the file says.
 *
 * @module
 */

import type { FileState } from "./file_state.ts";
import { Refusal } from "./refusal.ts";

/**
 * Sets the time of the last change of a file. Synchronous, so that no other request of the process comes
 * between a look at the file and this.
 *
 * @param seen What the file system said of the file.
 * @throws {Refusal} if another file has the path now, or the program may not write to it.
 */
export function setModified(
  path: string,
  seen: Pick<FileState, "dev" | "ino">,
  modified: Date,
): void {
  // Deno asks for no permission to set the times of a file that is open.
  const { state } = Deno.permissions.querySync({ name: "write", path });
  if (state !== "granted") throw new Refusal(403, `no permission to write to ${path}`);
  // Not by way of node:fs: it has times in seconds as floating-point numbers, and is a millisecond off.
  using file = Deno.openSync(path, { read: true });
  const { dev, ino } = file.statSync();
  if (dev !== Number(seen.dev) || ino !== Number(seen.ino)) {
    throw new Refusal(409, `${path} was replaced meanwhile`);
  }
  file.utimeSync(new Date(), modified);
}
