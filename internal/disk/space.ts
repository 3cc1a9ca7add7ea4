/** The space on disks: how much of it is free, and whether a file fits. */

import { statfsSync } from "node:fs";
import { fileErrorCode } from "./names.ts";

const FULL_DISK_CODES: ReadonlySet<unknown> = new Set(["ENOSPC", "EDQUOT"]);

/** Whether an error says that a disk is full, or that a quota is reached. */
export function isDiskFull(error: unknown): boolean {
  return FULL_DISK_CODES.has(fileErrorCode(error));
}

/**
 * The number of bytes that this user can still write in a directory, as far as its file system
 * tells; `null` if the space is not known.
 *
 * Needs `--allow-sys=statfs`, and `--allow-read` of the directory. Without these permissions the
 * space is not known.
 */
export function freeBytes(directory: string): number | null {
  const needed = [{ name: "sys", kind: "statfs" }, { name: "read", path: directory }] as const;
  // A prompt on a terminal must not ask anybody for this.
  if (needed.some((each) => Deno.permissions.querySync(each).state !== "granted")) return null;
  try {
    // The blocks that are reserved for root count as free, and this user can't have them.
    const { bsize, blocks, bavail } = statfsSync(directory);
    // File systems in user space, on networks and in memory often report no figures, only zeros.
    return blocks > 0 && bavail <= blocks ? bavail * bsize : null;
  } catch {
    // A disk that can't tell its space refuses nothing: its fault shows when the file is written.
    return null;
  }
}

export interface Shortage {
  /** Bytes that are left to write. */
  readonly needed: number;
  readonly free: number;
}

/** The figures at the end of a message on space; an unknown figure, `null`, is left out. */
export function spaceFigures(needed: number | null, free: number | null): string {
  const figures = [
    needed === null ? [] : [`${needed} bytes are needed`],
    free === null ? [] : [`${free} are free`],
  ].flat();
  return figures.length === 0 ? "" : `: ${figures.join(", and ")}`;
}

/**
 * Compares the rest of a file with the free space, before any of it is written. Without figures
 * from the disk every file may fit.
 *
 * @param directory The directory in which the file is written.
 * @param needed The number of bytes that are left to write.
 * @param freed The number of bytes that are given up before.
 * @param refuse Makes the error if there is too little space.
 */
export function checkSpace(
  directory: string,
  needed: number,
  freed: number,
  refuse: (shortage: Shortage) => Error,
): void {
  if (needed === 0) return;
  const free = freeBytes(directory);
  if (free !== null && needed > free + freed) throw refuse({ needed, free: free + freed });
}
