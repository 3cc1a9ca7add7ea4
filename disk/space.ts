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
  /** Free bytes, without the bytes that other files being written still need. */
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

/** The claims for files that are being written, by file system and owner. */
const claims = new Map<string, Set<Claim>>();

/**
 * The space that a file being written still needs. Dispose of a claim when nothing more is written.
 */
export class Claim implements Disposable {
  readonly #key: string;
  /** Bytes that are left to write. */
  left: number;

  constructor(key: string, bytes: number) {
    this.#key = key;
    this.left = bytes;
    const among = claims.get(key) ?? new Set();
    claims.set(key, among.add(this));
  }

  wrote(count: number): void {
    this.left = Math.max(0, this.left - count);
  }

  [Symbol.dispose](): void {
    const among = claims.get(this.#key);
    among?.delete(this);
    if (among?.size === 0) claims.delete(this.#key);
  }
}

/**
 * Compares the rest of a file with the free space, and claims that much of the space: two files
 * that are written at the same time don't get the same space. Without figures from the disk every
 * file gets its claim.
 *
 * @param directory The directory in which the file is written.
 * @param owner Only claims of the same owner count: the announcement of one owner takes no space
 * from another.
 * @param bytes The number of bytes that are left to write.
 * @param freed The number of bytes that are given up before.
 * @param refuse Makes the error if there is too little space.
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
