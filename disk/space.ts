/** The space on disks: how much of it is free, and how much is meant for files that are being written. */

import { statfsSync } from "node:fs";
import { codeOf } from "./names.ts";

const FULL: ReadonlySet<unknown> = new Set(["ENOSPC", "EDQUOT"]);

/** Whether an error says that a disk is full, or that a quota is reached. */
export function isDiskFull(error: unknown): boolean {
  return FULL.has(codeOf(error));
}

/**
 * How many bytes this user can still write in a directory, as far as its file system tells; `null` if that is not known.
 *
 * Needs `--allow-sys=statfs`, and `--allow-read` of the directory. Without them nothing is asked for, and nothing is known.
 */
export function freeBytes(directory: string): number | null {
  const needed = [{ name: "sys", kind: "statfs" }, { name: "read", path: directory }] as const;
  // A program that may be asked by a prompt must not be asked for this.
  if (needed.some((each) => Deno.permissions.querySync(each).state !== "granted")) return null;
  try {
    // The blocks that are reserved for root are free, and not available.
    const { bsize, blocks, bavail } = statfsSync(directory);
    // Many file systems in user space, on networks and in memory have no figures: all of them are 0 then.
    return blocks > 0 && bavail <= blocks ? bavail * bsize : null;
  } catch {
    // A comparison that can't be made refuses nothing: whatever is wrong shows when the file is written.
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

/** The files that are being written, by the file system and by who writes them. */
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

  /** Counts bytes that were written, which are free no more. */
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
 * Compares what is left of a file with what is free, and claims that much, so that several files that are written at the same
 * time are not promised the same space. Without figures from the disk there is space for all of them.
 *
 * @param directory Where the file is written.
 * @param owner Only files of one owner reckon with each other: what one has announced takes no space from another.
 * @param bytes What is left to write.
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
