/**
 * Files that are being written, in the reserved directory of a root: those of a single request, and parts, the data of
 * interrupted uploads, which can be resumed. And what interrupted transfers have left.
 */

import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  rmdirSync,
  type Stats,
  unlinkSync,
} from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import type { PeerCertificate } from "../base/app/session.ts";
import { lockFile, lockIfFree, newFileMode, openLocked } from "../disk/files.ts";
import { codeOf, isOverload, isSameFile, removeIfPresentSync, statOrNull } from "../disk/names.ts";
import { startInterval } from "../net/deadline.ts";
import { fingerprintOf } from "./digest.ts";
import { Refusal } from "./refusal.ts";
import { isReservedName, prefixOf, reservedPath } from "./reserved.ts";

const MODE_BITS = 0o7777;
/** The pattern of the names of unfinished files; nothing else is ever removed. */
const NAME = /^(?:put-[0-9a-f]{32}|part-[0-9a-f]{32}-[0-9a-f]{64})$/;
/** The number of parts that clients of one authority may have. */
const MAX_PARTS = 16;
const HOUR = 60 * 60 * 1000;
/** How long an unfinished file is kept after the last write, in milliseconds. */
const KEPT_MILLISECONDS = 24 * HOUR;

/** The paths of the files that this process is writing. */
export const inUse = new Set<string>();

/** The directories that are swept, as long as somebody has them. */
const swept = new Set<WeakRef<UnfinishedFiles>>();

/** Does all sweeps that still matter. */
export function sweepAll(): void {
  for (const reference of swept) {
    const files = reference.deref();
    if (files === undefined) swept.delete(reference);
    else files.sweep();
  }
}

// A single timer for all apps, started when the module is loaded: an app has no end at which it could clear its own,
// and a test of a program with an app would fail because of the leaked timer.
startInterval(sweepAll, HOUR);

/** A file in the reserved directory. */
interface Listed {
  readonly path: string;
  readonly size: number;
  /** When it was last written to, in milliseconds since 1970. */
  readonly modified: number;
  /** True if this process is not writing it. */
  readonly isIdle: boolean;
}

/** The unfinished files of a root. */
export class UnfinishedFiles {
  /** The path of their directory, which is made when it is needed. */
  readonly path: string;
  #report: (message: string) => void = () => {};

  /** Looks at nothing yet. */
  constructor(root: string) {
    this.path = reservedPath(root);
  }

  /**
   * Creates the directory, with mode 0700, if there is none.
   *
   * @throws {Refusal} if something else has this name.
   */
  makeDirectory(): void {
    const { path } = this;
    let state = statOrNull(path);
    if (state === null) {
      try {
        mkdirSync(path, { mode: 0o700 });
      } catch (error) {
        // Another process was first.
        if (codeOf(error) !== "EEXIST") throw error;
      }
      state = lstatSync(path, { bigint: true });
    }
    if (!state.isDirectory()) {
      throw new Refusal(403, `${path} is needed for unfinished files, and is not a directory`);
    }
    if ((state.mode & 0o077n) === 0n) return;
    try {
      chmodSync(path, 0o700);
    } catch {
      // A file system without modes: the mount decides who may read.
    }
  }

  /** A path in the directory that nobody else chooses. */
  newPath(): string {
    return `${this.path}/put-${crypto.getRandomValues(new Uint8Array(16)).toHex()}`;
  }

  /** Creates an empty file that is removed on dispose, unless it was given a name. */
  async create(): Promise<Unfinished> {
    this.makeDirectory();
    const path = this.newPath();
    return await register(path, async () => {
      const handle = await open(path, "wx+", 0o666);
      return new Unfinished(path, handle, await handle.stat());
    });
  }

  /**
   * Creates or opens the file of a part; only this user can read it. One that another process is writing
   * is removed, and a new one created: the other process notices before it gives the file a name.
   */
  async openPart(path: string): Promise<Unfinished> {
    this.makeDirectory();
    const newMode = modeBits(newFileMode(this.newPath()));
    return await register(path, async () => {
      const locked = await openLocked(path, async (file) => {
        // Some file systems have no locks.
        if (await lockFile(file).catch(() => true)) return true;
        removeIfPresentSync(path);
        return false;
      });
      if (locked === null) throw new Refusal(409, `other processes write to ${path}`);
      let handle: FileHandle | null = null;
      try {
        handle = await open(path, "r+");
        const state = await handle.stat();
        if (!isSameFile(state, locked.state)) throw new Refusal(409, `${path} was replaced`);
        return new Unfinished(path, handle, state, locked.file, newMode);
      } catch (error) {
        await handle?.close();
        locked.file.close();
        throw error;
      }
    });
  }

  /**
   * The path of the part of an upload, whether or not there is one. Only the client that sent it finds it: another one, by
   * its own key or its authority's, gets another path. Those of one authority differ behind the last dash.
   *
   * @param upload Identifies it among those of the client.
   */
  partOf(client: PeerCertificate | null | undefined, upload: readonly unknown[]): string {
    const authority = client?.authority?.publicKey256 ?? "";
    const identity = JSON.stringify([authority, client?.publicKey256 ?? "", ...upload]);
    return `${this.path}/part-${fingerprintOf(authority).slice(0, 32)}-${fingerprintOf(identity)}`;
  }

  /**
   * Makes room for one more part: removes the oldest idle ones of the same authority if there are too many,
   * but none that another process writes to.
   *
   * The announced length of the upload has no effect: bytes take no room until they arrive.
   *
   * @throws {Refusal} if too many parts of the authority are being written.
   */
  makeRoom(part: string): void {
    const left = this.#removeOldest(part, ({ length }) => length < MAX_PARTS);
    if (left.length < MAX_PARTS) return;
    throw new Refusal(507, `${MAX_PARTS} uploads of this authority at once`);
  }

  /**
   * Makes room for the bytes of a part: removes the oldest idle ones of the same authority. Call it in
   * the same turn in which the part is truncated to the result: otherwise another part gets the same room.
   *
   * @param maxBytes The limit for all parts of the authority, including those that are being written.
   * @returns How many of the bytes there is room for.
   */
  findRoom(part: string, bytes: number, maxBytes: number): number {
    const wanted = Math.min(bytes, maxBytes);
    const room = (left: readonly Listed[]) => left.reduce((sum, { size }) => sum - size, maxBytes);
    const left = this.#removeOldest(part, (left) => room(left) >= wanted);
    return Math.max(0, Math.min(wanted, room(left)));
  }

  /** Removes other parts of the same authority, the oldest idle ones first, until there is enough room; returns those left. */
  #removeOldest(
    part: string,
    isEnough: (left: readonly Listed[]) => boolean,
  ): readonly Listed[] {
    const ofAuthority = part.slice(0, part.lastIndexOf("-") + 1);
    let left = this.#list(ofAuthority).filter(({ path }) => path !== part);
    const idle = left.filter(({ isIdle }) => isIdle).sort((a, b) => a.modified - b.modified);
    for (const oldest of idle) {
      if (isEnough(left)) break;
      if (removeUnlocked(oldest.path)) left = left.filter((other) => other !== oldest);
    }
    return left;
  }

  /** The unfinished files whose paths begin so. */
  #list(prefix: string): Listed[] {
    if (!statOrNull(this.path)?.isDirectory()) return [];
    const listed: Listed[] = [];
    for (const name of readdirSync(this.path)) {
      const path = `${this.path}/${name}`;
      if (!path.startsWith(prefix) || !NAME.test(name)) continue;
      const state = statOrNull(path);
      if (!state?.isFile()) continue;
      const size = Number(state.size);
      listed.push({ path, size, modified: Number(state.mtimeMs), isIdle: !inUse.has(path) });
    }
    return listed;
  }

  /**
   * Sweeps now, and then once an hour as long as somebody has this object.
   *
   * @param report Called with the error if a file can't be removed.
   */
  keepSwept(report: (message: string) => void): void {
    this.#report = report;
    swept.add(new WeakRef(this));
    this.sweep();
  }

  /** Removes the files 24 hours after the last write, unless a process writes to them. */
  sweep(): void {
    try {
      for (const { path, modified, isIdle } of this.#list("")) {
        // A time in the future is from a clock that was ahead.
        if (isIdle && Math.abs(Date.now() - modified) > KEPT_MILLISECONDS) removeUnlocked(path);
      }
    } catch (error) {
      this.#report(`an old unfinished file can't be removed: ${error}`);
    }
  }
}

/** A file that is being written. */
export class Unfinished implements AsyncDisposable {
  readonly path: string;
  /** To write with: that takes three quarters of the time of a `Deno.FsFile`. */
  readonly handle: FileHandle;
  /** Its metadata when it was opened. */
  readonly state: Stats;
  /** Its mode. */
  readonly mode: bigint;
  /** The default mode of new files. */
  readonly newMode: bigint;
  /** Where the next byte is written. */
  position = 0;
  /** Whether it is kept if it does not get a name. */
  isKept = false;
  /** Keeps other processes from writing to a part; a file with a random name needs none. */
  readonly #lock: Deno.FsFile | null;

  /**
   * Takes over an open file.
   *
   * @param newMode That of new files, if it is another than its own.
   */
  constructor(
    path: string,
    handle: FileHandle,
    state: Stats,
    lock: Deno.FsFile | null = null,
    newMode?: bigint,
  ) {
    this.path = path;
    this.handle = handle;
    this.state = state;
    this.mode = modeBits(state.mode);
    this.newMode = newMode ?? this.mode;
    this.#lock = lock;
  }

  /** Writes some of the bytes; returns how many. */
  async write(bytes: Uint8Array): Promise<number> {
    const { bytesWritten } = await this.handle.write(bytes, 0, bytes.length, this.position);
    this.position += bytesWritten;
    return bytesWritten;
  }

  /** Closes the file, and removes it unless it is kept or was given a name. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.handle.close();
      if (!this.isKept) removeIfPresentSync(this.path);
    } finally {
      this.#lock?.close();
      inUse.delete(this.path);
    }
  }
}

/** Notes that this process writes to a file, unless that can't be opened. */
async function register(path: string, open: () => Promise<Unfinished>): Promise<Unfinished> {
  inUse.add(path);
  try {
    return await open();
  } catch (error) {
    inUse.delete(path);
    throw error;
  }
}

function modeBits(mode: number | null): bigint {
  return BigInt((mode ?? 0) & MODE_BITS);
}

/** Bytes of a part; 0 if there is none. */
export function partSize(part: string): number {
  const state = statOrNull(part);
  return state?.isFile() ? Number(state.size) : 0;
}

// ───────────────────────── what is left of them

/**
 * Removes an unfinished file unless another process is writing it.
 *
 * @returns False if one is.
 */
export function removeUnlocked(path: string): boolean {
  const before = statOrNull(path);
  using file = openIfPossible(path);
  if (file !== null && !lockIfFree(file)) return false;
  const now = statOrNull(path);
  // A file that another process has just put there is in use.
  if (before !== null && now !== null && !isSameFile(before, now)) return false;
  removeIfPresentSync(path);
  return true;
}

/**
 * Opens a file; `null` if it is gone, or left from a process that made it read-only before renaming it. Without a descriptor
 * left nobody can tell whether another process has locked it.
 */
function openIfPossible(path: string): Deno.FsFile | null {
  try {
    return Deno.openSync(path, { write: true });
  } catch (error) {
    if (isOverload(error)) throw error;
    return null;
  }
}

/**
 * Reports whether this process writes to a file, or another one has locked it. An upload of another process that can't be resumed
 * has no lock; if its file is removed, it notices, and is refused.
 */
function isHeld(path: string): boolean {
  if (inUse.has(path)) return true;
  using file = openIfPossible(path);
  return file !== null && !lockIfFree(file);
}

/** Removes a directory that is empty, or has nothing but left-over parts. */
export function removeDirectory(path: string): void {
  try {
    return rmdirSync(path);
  } catch (error) {
    const code = codeOf(error);
    if (code !== "ENOTEMPTY" && code !== "EEXIST") throw error;
  }
  const { files, directories, isElseEmpty } = findLeftovers(path);
  if (!isElseEmpty) throw new Refusal(409, `${path} is not empty`);
  for (const file of files) unlinkSync(file);
  for (const directory of directories) rmdirSync(directory);
  rmdirSync(path);
}

/** What interrupted transfers have left in a directory. */
interface Leftovers {
  /** Parts of downloads with their records, and unfinished files of an app that has served the directory. */
  readonly files: readonly string[];
  /** The directories of such apps. */
  readonly directories: readonly string[];
  /** True if there is nothing else in it. */
  readonly isElseEmpty: boolean;
}

/** The refusal to remove a part that somebody still writes to. */
export class HeldPart extends Refusal {
  /** Creates a refusal. */
  constructor(message: string) {
    super(409, message);
  }
}

/** @throws {Refusal} if somebody still writes to one of them. */
export function findLeftovers(path: string): Leftovers {
  const files: string[] = [];
  const directories: string[] = [];
  let isElseEmpty = true;
  for (const name of readdirSync(path)) {
    const at = prefixOf(path) + name;
    const state = isReservedName(name) ? statOrNull(at) : null;
    if (state?.isFile()) {
      files.push(at);
    } else if (state?.isDirectory()) {
      directories.push(at);
      for (const inner of readdirSync(at)) {
        if (!NAME.test(inner)) {
          throw new Refusal(409, `${prefixOf(at)}${inner} is no part of a transfer`);
        }
        files.push(prefixOf(at) + inner);
      }
    } else if (state !== null) {
      throw new Refusal(409, `${at} is no part of a transfer`);
    } else {
      isElseEmpty = false;
    }
  }
  const held = files.find(isHeld);
  if (held !== undefined) throw new HeldPart(`${held} is the part of a transfer in progress`);
  return { files, directories, isElseEmpty };
}
