/**
 * Unfinished uploads in the reserved directory of a root, or of a mount point below the root:
 * temporary files of single requests, and parts, which have the received bytes of uploads that can
 * be resumed.
 */

import { chmodSync, mkdirSync, readdirSync, rmdirSync } from "node:fs";
import type { HeadersToSend } from "../../base.ts";
import type { Session } from "../../server.ts";
import { lockFile, type ModeSupport, probeModes, probeOwner } from "../disk/files.ts";
import { lstatOrNull, removeIfPresentSync } from "../disk/names.ts";
import { fileErrorCodeOf } from "../../internal/caught_errors.ts";
import { evictOldest } from "../../internal/collections.ts";
import {
  describeFullDisk,
  describeShortage,
  findShortage,
  isDiskFullError,
  isFileLimitReached,
  readFreeBytes,
} from "../disk/space.ts";
import { TemporaryFile, type TemporaryFileOptions } from "../disk/temporary.ts";
import { hashText } from "../wire/digest.ts";
import { isBeingWritten, removeIfUnused } from "../leftovers.ts";
import { chooseFileMode } from "../wire/metadata.ts";
import { inUseRefusal, otherDiskRefusal, Refusal, refusalOf } from "../refusal.ts";
import { findReason, makeReasonHeader } from "../wire/refusal_reason.ts";
import {
  LOCKED_PREFIX,
  reservedDirectoryOf,
  UNFINISHED_NAME_PATTERN,
  UNLOCKED_PREFIX,
} from "../reserved.ts";
import type { Parent, Root } from "../root.ts";

const HOUR_MILLISECONDS = 60 * 60 * 1000;
const MAX_AGE_MILLISECONDS = 24 * HOUR_MILLISECONDS;

interface UnfinishedFile {
  readonly path: string;
  readonly size: number;
  /** The time of the last write, in milliseconds since 1970. */
  readonly modified: number;
}

export class UnfinishedUploads {
  readonly path: string;
  /** The root, or the mount point of another file system below it. */
  readonly #directory: string;
  readonly #isOtherDisk: boolean;
  readonly #onError: (message: string) => void;
  #modeSupport: ModeSupport | null | undefined;
  #sweptAt = -Infinity;

  /**
   * @param isOtherDisk True if the directory is the mount point of another file system below the
   * root. Refusals then have the reason `other-disk`.
   */
  constructor(
    directory: string,
    onError: (message: string) => void = () => {},
    isOtherDisk = false,
  ) {
    this.#directory = directory;
    this.#onError = onError;
    this.#isOtherDisk = isOtherDisk;
    this.path = reservedDirectoryOf(directory);
  }

  get #diskHeader(): HeadersToSend {
    return makeReasonHeader(this.#isOtherDisk ? "other-disk" : undefined);
  }

  /**
   * Creates the directory, with mode 0700, if it is missing. Also removes old files, at most once
   * an hour.
   *
   * @throws {Refusal} if an entry of another kind has this name.
   */
  makeDirectory(): void {
    // The clock may be set back.
    if (Math.abs(Date.now() - this.#sweptAt) >= HOUR_MILLISECONDS) this.sweep();
    const { path } = this;
    let stats = lstatOrNull(path);
    if (stats === null) {
      try {
        mkdirSync(path, { mode: 0o700 });
      } catch (error) {
        // Another process has created the directory.
        if (fileErrorCodeOf(error) !== "EEXIST") throw error;
      }
      stats = Deno.lstatSync(path);
    }
    if (!stats.isDirectory) {
      const problem = `${path} is needed for unfinished files, and is not a directory`;
      throw new Refusal(403, problem, this.#diskHeader);
    }
    if (((stats.mode ?? 0) & 0o077) === 0) return;
    try {
      chmodSync(path, 0o700);
    } catch {
      // On a file system without modes, the options of the mount decide who may read.
    }
  }

  #makeRandomPath(prefix = UNLOCKED_PREFIX): string {
    return `${this.path}/${prefix}${crypto.getRandomValues(new Uint8Array(16)).toHex()}`;
  }

  /** Creates an empty file in the directory, which must exist. */
  create(options: TemporaryFileOptions = {}): TemporaryFile {
    const prefix = options.isLocked ? LOCKED_PREFIX : UNLOCKED_PREFIX;
    return TemporaryFile.create(this.#makeRandomPath(prefix), options);
  }

  probeModes(): ModeSupport | null {
    if (this.#modeSupport === undefined) {
      this.#useDirectory(() => this.#modeSupport = probeModes(this.#makeRandomPath()));
    }
    return this.#modeSupport!;
  }

  probeModeMask(): number | null {
    return this.probeModes()?.mask ?? null;
  }

  checkWritable(): void {
    this.#useDirectory(() => this.create()[Symbol.dispose]());
  }

  /** If the directory was missing, it is removed again. */
  #useDirectory(use: () => void): void {
    const isMissing = lstatOrNull(this.path) === null;
    this.makeDirectory();
    try {
      use();
    } finally {
      if (isMissing) this.#removeDirectoryIfEmpty();
    }
  }

  #removeDirectoryIfEmpty(): void {
    try {
      rmdirSync(this.path);
    } catch {
      // Another process has begun to use the directory.
    }
  }

  /**
   * If another process is writing the file, the file is removed and created again: the other
   * process detects the removal before it renames the file.
   */
  async openPart(path: string, mode: number | null = null): Promise<TemporaryFile> {
    this.makeDirectory();
    const lock = async (file: Deno.FsFile) => {
      // Some file systems have no locks.
      if (await lockFile(file).catch(() => true)) return true;
      removeIfPresentSync(path);
      return false;
    };
    const modes = chooseFileMode(mode, this.probeModeMask());
    const probe = () => probeOwner(this.#makeRandomPath());
    const part = await TemporaryFile.open(path, lock, { ...modes, probeOwner: probe });
    if (part === null) throw inUseRefusal(`other processes write to ${path}`);
    part.isKept = false;
    return part;
  }

  /**
   * The path depends on the key of the client and of its authority, so another client can't find
   * the part. Clients without a certificate count as one client. The paths of one client differ
   * only after the last dash.
   */
  partPathOf(session: Session | undefined, uploadKey: readonly unknown[]): string {
    const key = JSON.stringify([...keysOf(session), ...uploadKey]);
    return `${this.#prefixOf(session)}-${hashText(key)}`;
  }

  #prefixOf(session: Session | undefined): string {
    return `${this.path}/part-${hashText(JSON.stringify(keysOf(session))).slice(0, 32)}`;
  }

  /** Lists the parts of a client that no request writes to. */
  #listIdleParts(session: Session | undefined, ownPath: string | null): UnfinishedFile[] {
    return this.#listFiles(this.#prefixOf(session))
      .filter(({ path }) => path !== ownPath && !isBeingWritten(path));
  }

  /**
   * Checks the space for a file, before its body is read.
   *
   * @param partBytes The bytes of the part that is continued. Any other part will be overwritten.
   */
  checkSpace(
    session: Session | undefined,
    partPath: string | null,
    length: number,
    partBytes: number,
  ): void {
    const foundBytes = partSizeOf(partPath);
    const shortage = findShortage(this.#directory, length - partBytes, foundBytes - partBytes);
    if (shortage === null) return;
    const { neededBytes, freeBytes } = shortage;
    const parts = this.#listIdleParts(session, partPath);
    if (sumSizes(parts) >= neededBytes - freeBytes) return removeParts(parts);
    const headers = {
      "upload-offset": `${foundBytes}`,
      "disk-free": `${freeBytes}`,
      ...this.#diskHeader,
    };
    throw new Refusal(507, describeShortage(shortage) + this.#describeParts(null), headers);
  }

  /**
   * Converts the error of a full disk to a refusal with the needed and free bytes, and the bytes of
   * kept parts, and removes the client's idle parts.
   */
  toDiskRefusal(
    error: unknown,
    length: number | null,
    session: Session | undefined,
    partPath: string | null,
  ): unknown {
    if (!isDiskFullError(error)) {
      const refusal = this.#isOtherDisk && !(error instanceof Refusal) ? refusalOf(error) : null;
      const isDiskError = refusal?.status === 403 && findReason(refusal.headers) === undefined;
      return isDiskError ? otherDiskRefusal(error) : error;
    }
    const neededBytes = length === null ? null : Math.max(0, length - partSizeOf(partPath));
    const freeBytes = readFreeBytes(this.#directory);
    removeParts(this.#listIdleParts(session, partPath));
    const problem = describeFullDisk(error, "", neededBytes, freeBytes);
    const freeHeader = freeBytes === null ? {} : { "disk-free": `${freeBytes}` };
    const headers: HeadersToSend = {
      ...isFileLimitReached(error, neededBytes, freeBytes)
        ? makeReasonHeader("file-limit")
        : freeHeader,
      ...this.#diskHeader,
    };
    return new Refusal(507, `${problem}${this.#describeParts(partPath)}`, headers, {
      cause: error,
    });
  }

  /**
   * @param partPath The part of the upload that the message is about, which counts even if it is in
   * progress.
   */
  #describeParts(partPath: string | null): string {
    const parts = this.#listFiles(`${this.path}/part-`);
    const idleParts = parts.filter(({ path }) => path === partPath || !isBeingWritten(path));
    const bytes = sumSizes(idleParts);
    return bytes === 0 ? "" : `; ${this.path} keeps ${bytes} bytes of interrupted uploads`;
  }

  #listFiles(prefix: string): UnfinishedFile[] {
    if (!lstatOrNull(this.path)?.isDirectory) return [];
    const files: UnfinishedFile[] = [];
    for (const name of readdirSync(this.path)) {
      const path = `${this.path}/${name}`;
      if (!path.startsWith(prefix) || !UNFINISHED_NAME_PATTERN.test(name)) continue;
      const stats = lstatOrNull(path);
      if (!stats?.isFile) continue;
      files.push({ path, size: stats.size, modified: Number(stats.mtime) });
    }
    return files;
  }

  /**
   * Removes each file 24 hours after its last write, unless a process writes to it. The first sweep
   * also removes the files that a killed process has left, and that can't be resumed.
   */
  sweep(): void {
    const isFirst = this.#sweptAt === -Infinity;
    this.#sweptAt = Date.now();
    try {
      for (const { path, modified } of this.#listFiles("")) {
        // Times in the future are from a clock that was ahead.
        const isRecent = Math.abs(Date.now() - modified) <= MAX_AGE_MILLISECONDS;
        // A file that another process has locked is kept.
        const isAbandoned = isFirst && path.startsWith(`${this.path}/${LOCKED_PREFIX}`);
        if (!isRecent || isAbandoned) removeIfUnused(path);
      }
    } catch (error) {
      this.#onError(`an old unfinished file can't be removed: ${error}`);
    }
  }
}

function sumSizes(files: readonly UnfinishedFile[]): number {
  return files.reduce((sum, { size }) => sum + size, 0);
}

function removeParts(parts: readonly UnfinishedFile[]): void {
  for (const { path } of parts) removeIfUnused(path);
}

function keysOf(session: Session | undefined): readonly [string, string] {
  const client = session?.peerCertificate;
  return [client?.authority?.publicKey256 ?? "", client?.publicKey256 ?? ""];
}

export function partSizeOf(partPath: string | null): number {
  const stats = partPath === null ? null : lstatOrNull(partPath);
  return stats?.isFile ? stats.size : 0;
}

const partWriters = new Map<string, {
  /** Aborted when a newer request needs the same part. */
  readonly abortController: AbortController;
  readonly ended: Promise<void>;
}>();

/** Another request may have begun before the caller continues. */
export async function abortWriter(partPath: string): Promise<void> {
  for (let writer; (writer = partWriters.get(partPath)) !== undefined;) {
    writer.abortController.abort(inUseRefusal("a newer request for the same part"));
    await writer.ended;
  }
}

export async function withExclusiveWriter<T>(
  partPath: string,
  write: (supersededSignal: AbortSignal) => Promise<T>,
): Promise<T> {
  while (partWriters.has(partPath)) await abortWriter(partPath);
  const abortController = new AbortController();
  const { promise: ended, resolve } = Promise.withResolvers<void>();
  partWriters.set(partPath, { abortController, ended });
  try {
    return await write(abortController.signal);
  } finally {
    partWriters.delete(partPath);
    resolve();
  }
}

/** A forgotten directory is found again by a rename that fails. */
const MAX_SEPARATE_DIRECTORIES = 1000;

/**
 * The file systems below a root, each with its own unfinished uploads, because a file can't be
 * renamed to another file system.
 */
export class UploadDisks {
  readonly rootUploads: UnfinishedUploads;
  readonly #root: Root;
  readonly #onError: (message: string) => void;
  /** The unfinished uploads on other file systems, by the path of the mount point. */
  readonly #otherDisks = new Map<string, {
    readonly device: number;
    readonly uploads: UnfinishedUploads;
  }>();

  /**
   * The unfinished uploads of directories into which no file can be renamed from the reserved
   * directory of their disk, by path.
   */
  readonly #separateDirectories = new Map<string, UnfinishedUploads>();

  constructor(root: Root, onError: (message: string) => void) {
    this.#root = root;
    this.#onError = onError;
    this.rootUploads = new UnfinishedUploads(root.path, onError);
  }

  find(parent: Parent): UnfinishedUploads {
    return this.#separateDirectories.get(parent.path) ?? this.#findByDisk(parent);
  }

  /** Lets a directory, which must exist, have its own unfinished uploads. */
  separate(parent: Parent): UnfinishedUploads {
    const { path } = parent;
    const known = this.#separateDirectories.get(path);
    if (known !== undefined) return known;
    const isOtherDisk = this.#findByDisk(parent) !== this.rootUploads;
    const uploads = new UnfinishedUploads(path, this.#onError, isOtherDisk);
    this.#separateDirectories.set(path, uploads);
    evictOldest(this.#separateDirectories, MAX_SEPARATE_DIRECTORIES);
    return uploads;
  }

  #findByDisk(parent: Parent): UnfinishedUploads {
    const path = this.#root.mountPathOf(parent);
    if (path === this.#root.path) return this.rootUploads;
    const device = parent.directoryInfos.at(-1)!.dev;
    let disk = this.#otherDisks.get(path);
    // Another disk may have been mounted, perhaps without permission bits.
    if (disk?.device !== device) {
      disk = { device, uploads: new UnfinishedUploads(path, this.#onError, true) };
      this.#otherDisks.set(path, disk);
    }
    return disk.uploads;
  }
}
