import { statfsSync } from "node:fs";
import { fileErrorCodeOf } from "../../internal/caught_errors.ts";

const FULL_DISK_CODES: ReadonlySet<unknown> = new Set(["ENOSPC", "EDQUOT"]);

export function isDiskFullError(error: unknown): boolean {
  return FULL_DISK_CODES.has(fileErrorCodeOf(error));
}

export function readFreeBytes(directory: string): number | null {
  const permissions = [{ name: "sys", kind: "statfs" }, { name: "read", path: directory }] as const;
  const isGranted = (permission: Deno.PermissionDescriptor) =>
    Deno.permissions.querySync(permission).state === "granted";
  // Without this check Deno would prompt for the permissions on a terminal.
  if (!permissions.every(isGranted)) return null;
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
  readonly neededBytes: number;
  readonly freeBytes: number;
}

/** @param freedBytes The number of bytes that the caller frees before it writes. */
export function findShortage(
  directory: string,
  neededBytes: number,
  freedBytes: number,
): Shortage | null {
  const diskBytes = neededBytes <= 0 ? null : readFreeBytes(directory);
  if (diskBytes === null) return null;
  const freeBytes = diskBytes + freedBytes;
  return neededBytes <= freeBytes ? null : { neededBytes, freeBytes };
}

export function describeShortage({ neededBytes, freeBytes }: Shortage, location = ""): string {
  return `there is too little space${location}${formatSpaceFigures(neededBytes, freeBytes)}`;
}

function formatSpaceFigures(neededBytes: number | null, freeBytes: number | null): string {
  const figures = [
    neededBytes === null ? [] : [`${neededBytes} bytes are needed`],
    freeBytes === null ? [] : [`${freeBytes} are free`],
  ].flat();
  return figures.length === 0 ? "" : `: ${figures.join(", and ")}`;
}

/** Reports whether a disk has space for the bytes of a file, but not for another file. */
export function isFileLimitReached(
  error: unknown,
  neededBytes: number | null,
  freeBytes: number | null,
): boolean {
  const areBytesFree = neededBytes !== null && freeBytes !== null && neededBytes <= freeBytes;
  return areBytesFree && fileErrorCodeOf(error) === "ENOSPC";
}

export function describeFullDisk(
  error: unknown,
  location: string,
  neededBytes: number | null,
  freeBytes: number | null,
): string {
  if (fileErrorCodeOf(error) === "EDQUOT") {
    return `a quota is reached${location}${formatSpaceFigures(neededBytes, freeBytes)}`;
  }
  if (isFileLimitReached(error, neededBytes, freeBytes)) {
    return `no more files fit on the disk${location}`;
  }
  return `there is no space left${location}${formatSpaceFigures(neededBytes, freeBytes)}`;
}
