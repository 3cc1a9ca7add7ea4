import { statfsSync } from "node:fs";
import { fileErrorCodeOf } from "@degu/degu/internal";

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

/** A file of this length, of which some bytes are at the target. */
export interface IncompleteFile {
  readonly length: number;
  readonly partBytes: number;
}

export interface Shortage {
  readonly neededBytes: number;
  readonly freeBytes: number;
  /** The bytes that running transfers of this process will write to the disk. */
  readonly reservedBytes: number;
}

export function availableBytesOf({ freeBytes, reservedBytes }: Shortage): number {
  return Math.max(0, freeBytes - reservedBytes);
}

export function describeShortage(
  { neededBytes, freeBytes, reservedBytes }: Shortage,
  location = "",
): string {
  const reservedText = reservedBytes === 0
    ? ""
    : `, but ${reservedBytes} bytes are needed by running transfers`;
  const figures = formatSpaceFigures(neededBytes, freeBytes);
  return `there is too little space${location}${figures}${reservedText}`;
}

function formatSpaceFigures(neededBytes: number | null, freeBytes: number | null): string {
  const figures = [
    neededBytes === null ? [] : [`${neededBytes} bytes are needed`],
    freeBytes === null ? [] : [`${freeBytes} are free`],
  ].flat();
  return figures.length === 0 ? "" : `: ${figures.join(", and ")}`;
}

export function describeFullDisk(
  error: unknown,
  location: string,
  neededBytes: number | null,
  freeBytes: number | null,
): string {
  if (fileErrorCodeOf(error) === "EDQUOT") {
    return `a quota is reached${location}${formatSpaceFigures(neededBytes, null)}`;
  }
  // The length of a stream is unknown, and its received bytes were already removed.
  if (neededBytes === null && freeBytes !== null) {
    return `there was no space left${location}: ${freeBytes} bytes are free now`;
  }
  const figures = formatSpaceFigures(neededBytes, freeBytes);
  if (neededBytes === null || freeBytes === null || freeBytes < neededBytes) {
    return `there is no space left${location}${figures}`;
  }
  // Other uploads had filled the disk, or the limit is a quota, a reserve of the file system, or
  // the number of files.
  return `there was no space left${location} for a moment, or for another file${figures} now; or ` +
    "the file system keeps more space free, as minfreespace of mergerfs";
}

const reservedBytesByDevice = new Map<number, number>();

export class SpaceReservation implements Disposable {
  readonly #deviceNumber: number;
  #remainingBytes = 0;

  constructor(deviceNumber: number, bytes: number) {
    this.#deviceNumber = deviceNumber;
    this.#add(bytes);
  }

  #add(bytes: number): void {
    this.#remainingBytes += bytes;
    const reservedBytes = (reservedBytesByDevice.get(this.#deviceNumber) ?? 0) + bytes;
    if (reservedBytes > 0) reservedBytesByDevice.set(this.#deviceNumber, reservedBytes);
    else reservedBytesByDevice.delete(this.#deviceNumber);
  }

  /** Reduces the reservation by bytes that were written, which are no longer free. */
  reduce(bytes: number): void {
    this.#add(-Math.min(bytes, this.#remainingBytes));
  }

  [Symbol.dispose](): void {
    this.reduce(this.#remainingBytes);
  }
}

/**
 * Reserves space for the remaining bytes of a file, so that files that are written at the same time
 * don't fill the disk together.
 *
 * @param freedBytes The number of bytes that the caller frees before it writes.
 * @param onShortage Called while there is too little space: frees space, or throws an error.
 */
export function reserveSpace(
  directory: string,
  neededBytes: number,
  freedBytes: number,
  onShortage: (shortage: Shortage) => void,
): SpaceReservation | null {
  if (neededBytes === 0) return null;
  for (;;) {
    const freeBytes = readFreeBytes(directory);
    if (freeBytes === null) return null;
    const device = Deno.statSync(directory).dev;
    const reservedBytes = reservedBytesByDevice.get(device) ?? 0;
    const shortage = { neededBytes, freeBytes: freeBytes + freedBytes, reservedBytes };
    if (neededBytes <= availableBytesOf(shortage)) return new SpaceReservation(device, neededBytes);
    onShortage(shortage);
  }
}
