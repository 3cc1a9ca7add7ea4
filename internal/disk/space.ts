/** The free space on disks, and checks whether a file fits. */

import { statfsSync } from "node:fs";
import { fileErrorCodeOf } from "../system_errors.ts";

const FULL_DISK_CODES: ReadonlySet<unknown> = new Set(["ENOSPC", "EDQUOT"]);

/** Reports whether an error means that a disk is full, or that a quota is reached. */
export function isDiskFullError(error: unknown): boolean {
  return FULL_DISK_CODES.has(fileErrorCodeOf(error));
}

/**
 * Returns the number of bytes that this user can still write in a directory; `null` if the file
 * system doesn't report it, or without `--allow-sys=statfs` and `--allow-read` of the directory.
 */
export function readFreeBytes(directory: string): number | null {
  const permissions = [{ name: "sys", kind: "statfs" }, { name: "read", path: directory }] as const;
  // Without this check Deno would prompt for the permissions on a terminal.
  if (
    permissions.some((permission) => {
      return Deno.permissions.querySync(permission).state !== "granted";
    })
  ) return null;
  try {
    // `bavail` is without the blocks that are reserved for root; `bfree` includes them.
    const { bsize, blocks, bavail } = statfsSync(directory);
    // File systems in user space, on networks and in memory often report zeros.
    return blocks > 0 && bavail <= blocks ? bavail * bsize : null;
  } catch {
    // Don't refuse a file after an error: a damaged disk fails when the file is written.
    return null;
  }
}

export interface Shortage {
  /** Bytes that remain to be written. */
  readonly neededBytes: number;
  readonly freeBytes: number;
}

/** Formats the figures at the end of a message; an unknown figure, `null`, is left out. */
export function formatSpaceFigures(neededBytes: number | null, freeBytes: number | null): string {
  const figures = [
    neededBytes === null ? [] : [`${neededBytes} bytes are needed`],
    freeBytes === null ? [] : [`${freeBytes} are free`],
  ].flat();
  return figures.length === 0 ? "" : `: ${figures.join(", and ")}`;
}

/**
 * Describes the limit that a write to a full disk has reached. An unknown figure is `null`.
 *
 * @param error The error of the write.
 * @param location The end of the text about the disk, such as `" on this device"`.
 * @param freeBytes The free space after the write, when parts may have been removed.
 */
export function describeFullDisk(
  error: unknown,
  location: string,
  neededBytes: number | null,
  freeBytes: number | null,
): string {
  if (fileErrorCodeOf(error) === "EDQUOT") {
    return `a quota is reached${location}${formatSpaceFigures(neededBytes, null)}`;
  }
  const figures = formatSpaceFigures(neededBytes, freeBytes);
  if (neededBytes === null || freeBytes === null || freeBytes < neededBytes) {
    return `there is no space left${location}${figures}`;
  }
  // Other uploads had filled the disk, or the limit is a quota or the number of files.
  return `there was no space left${location} for a moment, or for another file${figures} now`;
}

/**
 * Checks that the remaining bytes of a file fit on a disk, before a write. If the free space is
 * unknown, every file passes.
 *
 * @param directory The directory in which the file is written.
 * @param neededBytes The number of bytes that remain to be written.
 * @param freedBytes The number of bytes that are freed first.
 * @param makeError Makes the error for too little space.
 */
export function checkSpace(
  directory: string,
  neededBytes: number,
  freedBytes: number,
  makeError: (shortage: Shortage) => Error,
): void {
  if (neededBytes === 0) return;
  const freeBytes = readFreeBytes(directory);
  if (freeBytes !== null && neededBytes > freeBytes + freedBytes) {
    throw makeError({ neededBytes, freeBytes: freeBytes + freedBytes });
  }
}
