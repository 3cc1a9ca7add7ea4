/**
 * The space on disks: how much of it is free, and how much is meant for files that are being
 * written.
 */

import { statfsSync } from "node:fs";
import { codeOf } from "./names.ts";

const FULL: ReadonlySet<unknown> = new Set(["ENOSPC", "EDQUOT"]);

/** Whether an error says that a disk is full, or that a quota is reached. */
export function isDiskFull(error: unknown): boolean {
  return FULL.has(codeOf(error));
}

/**
 * How many bytes this user can still write in a directory, as far as its file system tells; `null`
 * if the space is not known.
 *
 * Needs `--allow-sys=statfs`, and `--allow-read` of the directory. Without them the space is not
 * known.
 */
export function freeBytes(directory: string): number | null {
  const needed = [{ name: "sys", kind: "statfs" }, { name: "read", path: directory }] as const;
  // A prompt on a terminal must not ask anybody for this.
  if (needed.some((each) => Deno.permissions.querySync(each).state !== "granted")) return null;
  try {
    // The blocks that are reserved for root are free, and not available.
    const { bsize, blocks, bavail } = statfsSync(directory);
    // File systems in user space, on networks and in memory often report no figures, only zeros.
    return blocks > 0 && bavail <= blocks ? bavail * bsize : null;
  } catch {
    // A failed look refuses nothing: whatever is wrong shows when the file is written.
    return null;
  }
}

/** A file needs more space than there is. */
export interface Shortage {
  /** Bytes that are left to write. */
  readonly needed: number;
  /** Bytes that are free, without those that other files being written still need. */
  readonly free: number;
}

/** The figures of a message on space, behind its problem; a figure that is `null` is left out. */
export function spaceFigures(needed: number | null, free: number | null): string {
  const figures = [
    needed === null ? [] : [`${needed} bytes are needed`],
    free === null ? [] : [`${free} are free`],
  ].flat();
  return figures.length === 0 ? "" : `: ${figures.join(", and ")}`;
}

/** The claims for files that are being written, by file system and owner. */
const claims = new Map<string, Set<Claim>>();

/** The space that a file being written still needs. Dispose of it when nothing more is written. */
export class Claim implements Disposable {
  readonly #key: string;
  #left: number;

  constructor(key: string, bytes: number) {
    this.#key = key;
    this.#left = bytes;
    const among = claims.get(key) ?? new Set();
    claims.set(key, among.add(this));
  }

  /** Bytes that are left to write. */
  get left(): number {
    return this.#left;
  }

  /** Counts written bytes: the disk reports them as used. */
  wrote(count: number): void {
    this.#left = Math.max(0, this.#left - count);
  }

  [Symbol.dispose](): void {
    const among = claims.get(this.#key);
    among?.delete(this);
    if (among?.size === 0) claims.delete(this.#key);
  }
}

/**
 * Compares the rest of a file with the free space, and claims that much of it: the same space is
 * not promised to two files that are written at the same time. Without figures from the disk every
 * file gets its claim.
 *
 * @param directory Where the file is written.
 * @param owner Only claims of the same owner count: the announcement of one owner takes no space
 * from another.
 * @param bytes Bytes that are left to write.
 * @param freed Bytes that are given up before.
 * @param refuse Makes the error if there is less.
 */
export function claimSpace(
  directory: string,
  owner: string,
  bytes: number,
  freed: number,
  refuse: (shortage: Shortage) => Error,
): Claim {
  const available = freeBytes(directory);
  const key = available === null ? "" : `${Deno.statSync(directory).dev} ${owner}`;
  if (available !== null && bytes > 0) {
    let free = available + freed;
    for (const { left } of claims.get(key) ?? []) free -= left;
    if (bytes > free) throw refuse({ needed: bytes, free: Math.max(0, free) });
  }
  return new Claim(key, bytes);
}
