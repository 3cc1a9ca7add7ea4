/**
 * Files that are being written, in the reserved directory: those of a single request, and parts, the data of interrupted
 * uploads, which can be resumed.
 */

import { readdirSync, type Stats } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import type { PeerCertificate } from "../base/app/session.ts";
import { lockFile, lockIfFree, newFileMode, openLocked } from "../disk/files.ts";
import { isOverload, isSameFile, removeIfPresentSync, statOrNull } from "../disk/names.ts";
import { startInterval } from "../net/deadline.ts";
import { sha256Of } from "./digest.ts";
import { Refusal } from "./refusal.ts";
import { makeReserved, prefixOf, reservedPath } from "./reserved.ts";

const MODE_BITS = 0o7777;
/** The pattern of the names of unfinished files; nothing else is ever removed. */
const NAME = /^(?:put-[0-9a-f]{32}|part-[0-9a-f]{32}-[0-9a-f]{64})$/;

/** The paths of the files that this process is writing. */
export const inUse = new Set<string>();

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

  private constructor(
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

  /** Creates an empty file that is removed on dispose, unless it was given a name. */
  static async create(root: string): Promise<Unfinished> {
    makeReserved(root);
    const path = newPath(root);
    return await Unfinished.#register(path, async () => {
      const handle = await open(path, "wx+", 0o666);
      return new Unfinished(path, handle, await handle.stat());
    });
  }

  /**
   * Creates or opens the file of a part; only this user can read it. One that another process is writing
   * is removed, and a new one created: the other process notices before it gives the file a name.
   */
  static async openPart(path: string, root: string): Promise<Unfinished> {
    makeReserved(root);
    const newMode = modeBits(newFileMode(newPath(root)));
    return await Unfinished.#register(path, async () => {
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

  static async #register(path: string, open: () => Promise<Unfinished>): Promise<Unfinished> {
    inUse.add(path);
    try {
      return await open();
    } catch (error) {
      inUse.delete(path);
      throw error;
    }
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

function modeBits(mode: number | null): bigint {
  return BigInt((mode ?? 0) & MODE_BITS);
}

/** Returns the path of a file in the reserved directory. */
export function pathOf(root: string, name: string): string {
  return prefixOf(reservedPath(root)) + name;
}

/** Returns a path in the reserved directory that nobody else chooses. */
export function newPath(root: string): string {
  return pathOf(root, `put-${crypto.getRandomValues(new Uint8Array(16)).toHex()}`);
}

/** Whether a name is that of an unfinished file. */
export function isUnfinishedName(name: string): boolean {
  return NAME.test(name);
}

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
export function isHeld(path: string): boolean {
  if (inUse.has(path)) return true;
  using file = openIfPossible(path);
  return file !== null && !lockIfFree(file);
}

/** A file in the reserved directory. */
interface Listed {
  readonly path: string;
  readonly size: number;
  /** When it was last written to, in milliseconds since 1970. */
  readonly modified: number;
  /** True if this process is not writing it. */
  readonly isIdle: boolean;
}

/** The unfinished files whose names have this prefix. */
function listUnfinished(root: string, prefix: string): Listed[] {
  if (!statOrNull(reservedPath(root))?.isDirectory()) return [];
  const listed: Listed[] = [];
  for (const name of readdirSync(reservedPath(root))) {
    if (!name.startsWith(prefix) || !NAME.test(name)) continue;
    const path = pathOf(root, name);
    const state = statOrNull(path);
    if (!state?.isFile()) continue;
    const size = Number(state.size);
    listed.push({ path, size, modified: Number(state.mtimeMs), isIdle: !inUse.has(path) });
  }
  return listed;
}

const HOUR = 60 * 60 * 1000;
/** How long an unfinished file is kept after the last write, in milliseconds. */
const KEPT_MILLISECONDS = 24 * HOUR;

const sweeps = new Set<WeakRef<() => void>>();

/** Does all sweeps that still matter. */
export function sweepAll(): void {
  for (const reference of sweeps) {
    const sweep = reference.deref();
    if (sweep === undefined) sweeps.delete(reference);
    else sweep();
  }
}

// A single timer for all apps, started when the module is loaded: an app has no end at which it could clear its own,
// and a test of a program with an app would fail because of the leaked timer.
startInterval(sweepAll, HOUR);

/**
 * Removes the unfinished files below a directory 24 hours after the last write, unless a process writes to them: now, and
 * then once an hour.
 *
 * @param report Called with the error if a file can't be removed.
 * @returns Does the same; as long as somebody has it, it is done.
 */
export function keepSwept(root: string, report: (message: string) => void): () => void {
  const sweep = () => {
    try {
      for (const { path, modified, isIdle } of listUnfinished(root, "")) {
        // A time in the future is from a clock that was ahead.
        if (isIdle && Math.abs(Date.now() - modified) > KEPT_MILLISECONDS) removeUnlocked(path);
      }
    } catch (error) {
      report(`an old unfinished file can't be removed: ${error}`);
    }
  };
  sweeps.add(new WeakRef(sweep));
  sweep();
  return sweep;
}

/** The number of parts that clients of one authority may have. */
const MAX_PARTS = 16;

/** Where a part is kept, whether or not there is one. */
export interface PartName {
  readonly path: string;
  /** The prefix of the names of all parts of the same authority. */
  readonly prefix: string;
}

/**
 * Returns where the part of an upload is kept. Only the client that sent it finds it: another one, by
 * its own key or its authority's, gets another path.
 *
 * @param upload Identifies it among those of the client.
 */
export function partNameOf(
  root: string,
  client: PeerCertificate | null | undefined,
  upload: readonly unknown[],
): PartName {
  const authority = client?.authority?.publicKey256 ?? "";
  const prefix = `part-${sha256Of(authority).slice(0, 32)}-`;
  const identity = JSON.stringify([authority, client?.publicKey256 ?? "", ...upload]);
  return { path: pathOf(root, prefix + sha256Of(identity)), prefix };
}

/** Bytes of a part; 0 if there is none. */
export function partSize({ path }: PartName): number {
  const state = statOrNull(path);
  return state?.isFile() ? Number(state.size) : 0;
}

/**
 * Makes room for one more part: removes the oldest idle ones of the same authority if there are too many,
 * but none that another process writes to.
 *
 * The announced length of the upload has no effect: bytes take no room until they arrive.
 *
 * @throws {Refusal} if too many parts of the authority are being written.
 */
export function makeRoom(root: string, part: PartName): void {
  const left = removeOldest(root, part, ({ length }) => length < MAX_PARTS);
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
export function findRoom(root: string, part: PartName, bytes: number, maxBytes: number): number {
  const wanted = Math.min(bytes, maxBytes);
  const room = (left: readonly Listed[]) => left.reduce((sum, { size }) => sum - size, maxBytes);
  const left = removeOldest(root, part, (left) => room(left) >= wanted);
  return Math.max(0, Math.min(wanted, room(left)));
}

/** Removes other parts of the same authority, the oldest idle ones first, until there is enough room; returns those left. */
function removeOldest(
  root: string,
  { path, prefix }: PartName,
  isEnough: (left: readonly Listed[]) => boolean,
): readonly Listed[] {
  let left = listUnfinished(root, prefix).filter((other) => other.path !== path);
  const idle = left.filter(({ isIdle }) => isIdle).sort((a, b) => a.modified - b.modified);
  for (const part of idle) {
    if (isEnough(left)) break;
    if (removeUnlocked(part.path)) left = left.filter((other) => other !== part);
  }
  return left;
}

/** An upload in progress. */
interface Upload {
  /** Aborts once a newer request has asked for the same part. */
  readonly newer: AbortController;
  /** Resolves when it has ended. */
  readonly done: Promise<void>;
}

/** The uploads of this process, by the path of their part. */
const uploads = new Map<string, Upload>();

/** Ends the uploads to a part; resolves when none is in progress. Another one may have begun in the turn after that. */
export async function endUploads({ path }: PartName): Promise<void> {
  for (let upload; (upload = uploads.get(path)) !== undefined;) {
    upload.newer.abort(new Refusal(409, "a newer request for the same part"));
    await upload.done;
  }
}

/**
 * Runs an upload alone: those in progress to the same part are ended before.
 *
 * @param work Gets a signal that aborts when a newer request asks for the part.
 */
export async function asUpload<T>(
  part: PartName,
  work: (newer: AbortSignal) => Promise<T>,
): Promise<T> {
  while (uploads.has(part.path)) await endUploads(part);
  const newer = new AbortController();
  const { promise: done, resolve } = Promise.withResolvers<void>();
  uploads.set(part.path, { newer, done });
  try {
    return await work(newer.signal);
  } finally {
    uploads.delete(part.path);
    resolve();
  }
}
