/** The free space on disks, and checks whether a file fits. */

import { statfsSync } from "node:fs";
import { fileErrorCode } from "./names.ts";

const FULL_DISK_CODES: ReadonlySet<unknown> = new Set(["ENOSPC", "EDQUOT"]);

/** Whether an error says that a disk is full, or that a quota is reached. */
export function isDiskFull(error: unknown): boolean {
  return FULL_DISK_CODES.has(fileErrorCode(error));
}

/**
 * Returns the number of bytes that this user can still write in a directory; `null` if the file
 * system doesn't report it, or without `--allow-sys=statfs` and `--allow-read` of the directory.
 */
export function freeBytes(directory: string): number | null {
  const permissions = [{ name: "sys", kind: "statfs" }, { name: "read", path: directory }] as const;
  // Without this check Deno would prompt for the permissions on a terminal.
  if (
    permissions.some((permission) => {
      return Deno.permissions.querySync(permission).state !== "granted";
    })
  ) return null;
  try {
    // Not `bfree`, which includes the blocks that are reserved for root.
    const { bsize, blocks, bavail } = statfsSync(directory);
    // File systems in user space, on networks and in memory often report zeros.
    return blocks > 0 && bavail <= blocks ? bavail * bsize : null;
  } catch {
    // Refuse nothing after an error: a damaged disk fails when the file is written.
    return null;
  }
}

export interface Shortage {
  /** Bytes that remain to be written. */
  readonly needed: number;
  readonly free: number;
}

/** Formats the figures at the end of a message; an unknown figure, `null`, is left out. */
export function spaceFigures(needed: number | null, free: number | null): string {
  const figures = [
    needed === null ? [] : [`${needed} bytes are needed`],
    free === null ? [] : [`${free} are free`],
  ].flat();
  return figures.length === 0 ? "" : `: ${figures.join(", and ")}`;
}

/**
 * Checks that the rest of a file fits on a disk, before any of it is written. If the free space is
 * unknown, every file passes.
 *
 * @param directory The directory in which the file is written.
 * @param needed The number of bytes that remain to be written.
 * @param freed The number of bytes that are freed first.
 * @param makeError Makes the error for too little space.
 */
export function checkSpace(
  directory: string,
  needed: number,
  freed: number,
  makeError: (shortage: Shortage) => Error,
): void {
  if (needed === 0) return;
  const free = freeBytes(directory);
  if (free !== null && needed > free + freed) throw makeError({ needed, free: free + freed });
}
