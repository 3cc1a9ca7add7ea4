/**
 * Requests for bundles, and with bundles: many small files at once, each with the promises of a single one.
 *
 * Small files are read and written with synchronous operations, in turns: an asynchronous operation costs several times
 * as much, and whatever is checked holds until the end of the turn. Only what waits for the disk is asynchronous.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { type BigIntStats, closeSync, constants, fstatSync, openSync } from "node:fs";
import { ChunkedBodyIter } from "../base/body/body_iter.ts";
import { EMPTY } from "../base/bytes.ts";
import type { Request, ResponseTuple } from "../base/app/message.ts";
import { syncAllIfPossible } from "../disk/names.ts";
import { Turns } from "../disk/turns.ts";
import type { Chunk } from "../base/wire/chunk.ts";
import {
  type AbsentStatus,
  BUNDLE_END,
  BUNDLE_TYPE,
  BUNDLED_BELOW_BYTES,
  BundleParser,
  formatRecord,
  type FoundRecord,
  MAX_LINE_BYTES,
  MAX_PATHS_BYTES,
  MAX_RECORDS,
  parsePaths,
  PUT_REQUEST,
  type PutRecord,
  type PutStatus,
} from "./bundle.ts";
import {
  checkStillThere,
  type Complete,
  findParent,
  makeDirectoryAt,
  moveTo,
  type Parent,
  withNames,
} from "./destination.ts";
import type { Report } from "./file_event.ts";
import { isName, MAX_DEPTH } from "./file_name.ts";
import { readWhole } from "./file_pieces.ts";
import { type FileIdentity, isSameFile, isUnchanged } from "./file_state.ts";
import { isServed, openBelow } from "./open_file.ts";
import { checkAdmission, type WriteRequest } from "./put.ts";
import { Refusal, refusalOf, unreadable, type Warn } from "./refusal.ts";
import { isReservedName, makeReserved, prefixOf } from "./reserved.ts";
import { inUse, newPath, removeIfThere } from "./unfinished.ts";

/** About how many bytes are sent at once. */
const PIECE_BYTES = 262144;
/** How often a file is read that changes meanwhile. */
const ATTEMPTS = 3;
/** How many files get their names together. */
const BATCH = 64;
/** How many directories wait at most until they are synced: their paths are held, and a path of 4 KiB can make 250 of them. */
const MAX_CHANGED = 1024;
/** For so many new files it is faster to list their directory than to look for each of them. */
const LISTED_FROM = 16;

const encoder = new TextEncoder();

/** A request for files, and its context. */
export interface BundleRequest {
  readonly request: Request;
  /** The real path of the directory that is served. */
  readonly root: string;
  /** The names of the directory where the paths of the request begin. */
  readonly names: readonly string[];
  readonly report: Report;
  readonly warn: Warn;
}

/** Answers with the files that a request names, or only with their digests. */
export async function getBundle(
  bundle: BundleRequest,
  hasContent: boolean,
): Promise<ResponseTuple> {
  const paths: (readonly string[])[] = [];
  const turns = new Turns();
  for (const path of parsePaths(await readPaths(bundle.request))) {
    paths.push(path);
    if (turns.isOver) await turns.next(bundle.root);
  }
  const body = new ChunkedBodyIter(foundChunks(bundle, paths, hasContent));
  return [200, "OK", { "content-type": BUNDLE_TYPE }, body];
}

async function readPaths({ body }: Request): Promise<Uint8Array> {
  const tooMuch = () => new Refusal(413, `more than ${MAX_PATHS_BYTES} bytes of paths`);
  if (body === null) return EMPTY;
  if (!body.chunked) {
    if (body.contentLength > MAX_PATHS_BYTES) throw tooMuch();
    return await body.read();
  }
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const [, data] of body) {
    length += data.length;
    if (length > MAX_PATHS_BYTES) throw tooMuch();
    pieces.push(data);
  }
  return new Uint8Array(await new Blob(pieces as Uint8Array<ArrayBuffer>[]).arrayBuffer());
}

async function* foundChunks(
  bundle: BundleRequest,
  paths: readonly (readonly string[])[],
  hasContent: boolean,
): AsyncGenerator<Chunk, void, void> {
  const reader = new BundleReader(bundle, paths, hasContent);
  for (let isOver = false; !isOver;) {
    isOver = await reader.fill();
    const { bytes, sizes } = reader.take(isOver);
    let isSent = false;
    try {
      yield [null, bytes];
      isSent = true;
    } finally {
      if (hasContent) {
        for (const { path, size } of sizes) bundle.report("get", path, size, isSent, 200);
      }
    }
  }
  yield [null, EMPTY];
}

/** A file that was read in this turn, by its path, so that it can be looked at again. */
interface JustRead {
  readonly path: string;
  readonly state: BigIntStats;
}

/** Reads files into a buffer, those of one directory together. */
class BundleReader {
  readonly #root: string;
  readonly #names: readonly string[];
  readonly #paths: readonly (readonly string[])[];
  readonly #hasContent: boolean;
  readonly #warn: Warn;
  readonly #turns = new Turns();
  /** The position of the next path. */
  #next = 0;
  readonly #buffer = new Uint8Array(PIECE_BYTES + 2 * MAX_LINE_BYTES);
  #length = 0;
  #sizes: { path: readonly string[]; size: number }[] = [];
  readonly #content = new Uint8Array(BUNDLED_BELOW_BYTES);

  constructor(
    { root, names, warn }: BundleRequest,
    paths: readonly (readonly string[])[],
    hasContent: boolean,
  ) {
    this.#root = root;
    this.#names = names;
    this.#warn = warn;
    this.#paths = paths;
    this.#hasContent = hasContent;
  }

  /** Reads until the buffer is full, or all files have been read: then it returns true. */
  async fill(): Promise<boolean> {
    while (this.#next < this.#paths.length && this.#length < PIECE_BYTES) {
      if (this.#turns.isOver) await this.#turns.next(this.#root);
      if (!this.#readGroup()) await this.#readAlone();
    }
    return this.#next === this.#paths.length;
  }

  /** What was read, valid until the next call of `fill`. */
  take(isLast: boolean): { bytes: Uint8Array; sizes: { path: readonly string[]; size: number }[] } {
    if (isLast) this.#write(BUNDLE_END, EMPTY);
    const taken = { bytes: this.#buffer.subarray(0, this.#length), sizes: this.#sizes };
    this.#length = 0;
    this.#sizes = [];
    return taken;
  }

  /**
   * Reads the next files that are in one directory, in one turn. The directory must be the same place before and after
   * all of them were read, and each path must still lead to the file that was read; only then anything is kept.
   *
   * @returns False if nothing was read: links are on the way, or somebody is exchanging something.
   */
  #readGroup(): boolean {
    const [first, length, count] = [this.#next, this.#length, this.#sizes.length];
    const parent = this.#paths[first]!.slice(0, -1);
    const names = [...this.#names, ...parent];
    const directory = prefixOf(this.#root) + names.join("/");
    // Without a last slash, as real paths are.
    const path = names.length === 0 ? this.#root : directory;
    const read: JustRead[] = [];
    let refused: AbsentStatus | null = null;
    try {
      if (names.length >= MAX_DEPTH || !names.every(isServedName)) refused = 404;
      else if (Deno.realPathSync(path) !== path) return false;
      else if (!isServed(this.#root, path)) refused = 404;
    } catch (error) {
      refused = this.#statusOf(error, names);
    }
    while (this.#next < this.#paths.length && this.#length < PIECE_BYTES) {
      const wanted = this.#paths[this.#next]!;
      if (!isSamePath(wanted, parent)) break;
      const found = refused ?? this.#readFile(path, wanted, read);
      if (found === "link") break;
      this.#next++;
      if (typeof found === "number") this.#add({ path: wanted, status: found }, EMPTY);
      if (this.#turns.isOver) break;
    }
    if (read.length > 0 && !areStillThere(path, read)) {
      [this.#next, this.#length, this.#sizes.length] = [first, length, count];
      return false;
    }
    return this.#next > first;
  }

  /** Reads a file in a directory that was checked; returns why not, or `"link"` if it is one, and `null` after it was read. */
  #readFile(
    directory: string,
    wanted: readonly string[],
    read: JustRead[],
  ): AbsentStatus | "link" | null {
    const name = wanted.at(-1)!;
    if (!isServedName(name)) return 404;
    const path = prefixOf(directory) + name;
    try {
      for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
        const seen = Deno.lstatSync(path);
        if (seen.isSymlink) return "link";
        // Opening a device can have effects.
        if (!seen.isFile) return 404;
        if (seen.size >= BUNDLED_BELOW_BYTES) return 413;
        const state = this.#readUnchanged(path, seen);
        if (state === null) continue;
        read.push({ path, state });
        this.#addFile(wanted, state);
        return null;
      }
      return 409;
    } catch (error) {
      return this.#statusOf(error, [...this.#names, ...wanted]);
    }
  }

  /** Reads a small file into the buffer for contents; `null` if it was replaced or changed meanwhile. */
  #readUnchanged(path: string, seen: FileIdentity): BigIntStats | null {
    const flags = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW;
    const file = openSync(path, flags);
    try {
      const state = fstatSync(file, { bigint: true });
      if (!state.isFile() || !isSameFile(state, seen)) return null;
      const size = Number(state.size);
      if (size >= BUNDLED_BELOW_BYTES) return null;
      if (!readWhole(file, this.#content.subarray(0, size), Number(state.ctimeMs))) return null;
      return isUnchanged(state, fstatSync(file, { bigint: true })) ? state : null;
    } finally {
      closeSync(file);
    }
  }

  /** Reads the next file as a single GET does, through a link to a file that is served. */
  async #readAlone(): Promise<void> {
    const wanted = this.#paths[this.#next++]!;
    const names = [...this.#names, ...wanted];
    let status: AbsentStatus | null;
    try {
      status = names.length <= MAX_DEPTH && names.every(isName)
        ? await this.#readBelow(names, wanted)
        : 404;
    } catch (error) {
      status = this.#statusOf(error, names);
    }
    if (status !== null) this.#add({ path: wanted, status }, EMPTY);
  }

  /** Reads a file; returns why not, and `null` after it was read. */
  async #readBelow(
    names: readonly string[],
    wanted: readonly string[],
  ): Promise<AbsentStatus | null> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const found = await openBelow(this.#root, names);
      if (found === null || found === "directory") return 404;
      const { handle, size } = found;
      try {
        if (size >= BUNDLED_BELOW_BYTES) return 413;
        const state = fstatSync(handle.fd, { bigint: true });
        const isWhole = Number(state.size) === size &&
          readWhole(handle.fd, this.#content.subarray(0, size), Number(state.ctimeMs)) &&
          isUnchanged(state, fstatSync(handle.fd, { bigint: true }));
        if (!isWhole) continue;
        this.#addFile(wanted, state);
        return null;
      } finally {
        await handle.close();
      }
    }
    return 409;
  }

  #addFile(path: readonly string[], state: BigIntStats): void {
    const size = Number(state.size);
    const content = this.#content.subarray(0, size);
    const sha256 = createHash("sha256").update(content).digest("hex");
    this.#sizes.push({ path: [...this.#names, ...path], size });
    const modified = new Date(Number(state.mtimeMs));
    this.#add({ path, status: 200, size, modified, sha256 }, this.#hasContent ? content : EMPTY);
  }

  #add(record: FoundRecord, content: Uint8Array): void {
    this.#write(formatRecord(record), content);
  }

  /** The status of a file that can't be read: a bad sector, too, costs no other file. */
  #statusOf(error: unknown, names: readonly string[]): AbsentStatus {
    const { code } = error as { code?: unknown };
    if (error instanceof Deno.errors.NotCapable || code === "EACCES" || code === "EPERM") {
      return 403;
    }
    if (ABSENT_CODES.has(code)) return 404;
    this.#warn(unreadable(error), names.join("/"));
    return 503;
  }

  #write(line: string, content: Uint8Array): void {
    const { written } = encoder.encodeInto(line, this.#buffer.subarray(this.#length));
    this.#length += written;
    this.#buffer.set(content, this.#length);
    this.#length += content.length;
  }
}

/** Whether a name can be that of something that is served. */
function isServedName(name: string): boolean {
  return isName(name) && !isReservedName(name);
}

/** Whether a path is that of something in a directory. */
function isSamePath(path: readonly string[], directory: readonly string[]): boolean {
  return path.length === directory.length + 1 &&
    directory.every((name, i) => path[i] === name);
}

/**
 * Checks that files were read where they seemed to be: who exchanges a directory for a link while they are opened must
 * exchange it back and forth between these looks, too.
 */
function areStillThere(directory: string, read: readonly JustRead[]): boolean {
  try {
    if (Deno.realPathSync(directory) !== directory) return false;
    for (const { path, state } of read) {
      if (!isSameFile(Deno.lstatSync(path), state)) return false;
    }
    return Deno.realPathSync(directory) === directory;
  } catch {
    return false;
  }
}

const ABSENT_CODES: ReadonlySet<unknown> = new Set([
  "ENOENT",
  "ENOTDIR",
  "ELOOP",
  "ENAMETOOLONG",
  "ENXIO",
]);

/** Writes the files of a bundle, and answers with a status for each. */
export async function putBundle(write: WriteRequest, warn: Warn): Promise<ResponseTuple> {
  await using writer = new BundleWriter(write, warn);
  const parser = new BundleParser(PUT_REQUEST);
  try {
    for await (const piece of piecesOf(write.request)) {
      writer.forget();
      for (const { record, content } of parser.push(piece)) await writer.add(record, content);
    }
  } finally {
    // What has arrived whole is not lost, so that the client can go on behind it.
    await writer.flush();
  }
  parser.end();
  const answer = writer.statuses.map((status) => formatRecord({ status })).join("") + BUNDLE_END;
  return [200, "OK", { "content-type": BUNDLE_TYPE }, encoder.encode(answer)];
}

async function* piecesOf({ body }: Request): AsyncGenerator<Uint8Array, void, void> {
  if (body === null) return;
  if (!body.chunked) return yield* body;
  for await (const [, data] of body) yield data;
}

/** A file or directory that has arrived, and has no name yet. */
interface Arrived {
  /** The position of its status. */
  readonly index: number;
  readonly names: readonly string[];
  readonly record: PutRecord;
  /** `null` for a directory. */
  readonly file: Written | null;
}

/** A file without a name. */
interface Written extends Complete {
  /** Resolves to `null` once the content is on the disk, or to the error. */
  readonly synced: Promise<unknown>;
}

/** Where files get their names in one turn. */
interface Place {
  readonly key: string;
  readonly parent: Parent;
  readonly placed: Arrived[];
}

/** Writes the files of a bundle: while some are synced and renamed, others arrive. */
class BundleWriter implements AsyncDisposable {
  /** The statuses of all records, in their order. */
  readonly statuses: PutStatus[] = [];
  readonly #write: WriteRequest;
  readonly #warn: Warn;
  readonly #turns = new Turns();
  readonly #changed = new Set<string>();
  /** Where files get their names in this turn. */
  #place: Place | null = null;
  /** The directory that was listed last for the files that get their names now: where that takes a turn, not again in each. */
  #listed: string | null = null;
  #arrived: Arrived[] = [];
  /** The files before those that arrive now. */
  #naming: Promise<void> = Promise.resolve();
  /** The directory of the previous file, as long as nothing else could run. */
  #parent: { readonly key: string; readonly parent: Parent } | null = null;

  constructor(write: WriteRequest, warn: Warn) {
    this.#write = write;
    this.#warn = warn;
  }

  /** Forgets what was checked: call it after anything has been waited for. */
  forget(): void {
    this.#parent = null;
  }

  /** Writes a file, which gets its name later. */
  async add(record: PutRecord, content: Uint8Array): Promise<void> {
    const index = this.statuses.length;
    if (index === MAX_RECORDS) throw new Refusal(413, `more than ${MAX_RECORDS} records`);
    const names = [...this.#write.target.names, ...record.path];
    this.statuses.push(201);
    try {
      const file = "kind" in record
        ? this.#checkDirectory(names)
        : this.#receive(names, record, content);
      this.#arrived.push({ index, names, record, file });
    } catch (error) {
      this.#refuse(index, names, error);
    }
    if (this.#arrived.length === BATCH) await this.#nameArrived();
    else if (!this.#turns.isOver) return;
    else await this.#turns.next(this.#write.root);
    this.forget();
  }

  #refuse(index: number, names: readonly string[], error: unknown): void {
    const refusal = refusalOf(error);
    if (refusal === null) throw error;
    // No other status is the result of what is done here.
    this.statuses[index] = refusal.status as PutStatus;
    this.#warn(refusal, names.join("/"));
  }

  #checkDirectory(names: readonly string[]): null {
    checkNames(names);
    findParent(this.#write.root, names.slice(0, -1));
    return null;
  }

  /** Checks all that can be checked before a file is complete, and writes it. */
  #receive(
    names: readonly string[],
    record: Exclude<PutRecord, { kind: "directory" }>,
    content: Uint8Array,
  ): Written {
    const { root, maxBytes } = this.#write;
    checkNames(names);
    // What has the name itself is looked at once, when the file gets it.
    const parent = names.slice(0, -1);
    const key = parent.join("/");
    if (this.#parent?.key !== key) {
      makeReserved(root);
      this.#parent = { key, parent: findParent(root, parent) };
    }
    if (record.size > maxBytes) {
      throw new Refusal(413, `${record.size} bytes, more than ${maxBytes}`);
    }
    const sha256 = createHash("sha256").update(content).digest("hex");
    if (sha256 !== record.sha256) throw new Refusal(400, "the file does not have its digest");
    return this.#writeFile(record.modified, content);
  }

  #writeFile(modified: Date, content: Uint8Array): Written {
    const path = newPath(this.#write.root);
    const open = Deno.openSync(path, { write: true, createNew: true, mode: 0o666 });
    inUse.add(path);
    try {
      for (let length = 0; length < content.length;) {
        length += open.writeSync(content.subarray(length));
      }
      open.utimeSync(new Date(), modified);
      // Not of the open file: for that Deno resolves the path once more.
      const state = Deno.lstatSync(path);
      const mode = BigInt((state.mode ?? 0) & 0o7777);
      // It is closed without waiting for more: a client that sends nothing must not hold a descriptor for each file.
      const synced = open.sync().then(() => null, (error) => error).finally(() => open.close());
      return { path, state, mode, newMode: mode, synced };
    } catch (error) {
      open.close();
      removeUnfinished(path);
      throw error;
    }
  }

  /** Lets what has arrived get its names, after what has arrived before. */
  async #nameArrived(): Promise<void> {
    await this.#naming;
    const arrived = this.#arrived;
    this.#arrived = [];
    this.#naming = this.#name(arrived);
    // It is awaited later.
    this.#naming.catch(() => {});
  }

  /** Waits until all that has arrived has its name, and the names are on the disk. */
  async flush(): Promise<void> {
    try {
      await this.#nameArrived();
      await this.#naming;
    } finally {
      await this.#syncChanged();
    }
  }

  async #syncChanged(): Promise<void> {
    const changed = [...this.#changed];
    this.#changed.clear();
    await syncAllIfPossible(changed);
  }

  /** Gives files their names. */
  async #name(arrived: readonly Arrived[]): Promise<void> {
    const { root, session } = this.#write;
    this.#listed = null;
    try {
      for (const { index, names, file } of arrived) {
        const error = await file?.synced ?? null;
        if (error !== null) this.#refuse(index, names, error);
      }
      let isAdmitted = false;
      for (const [i, item] of arrived.entries()) {
        if (!isAdmitted || this.#turns.isOver) {
          this.#leave();
          if (isAdmitted) await this.#turns.next(root);
          await checkAdmission(session);
          isAdmitted = true;
        }
        if (this.statuses[item.index] !== 201) continue;
        try {
          this.#finish(item, arrived.slice(i, i + LISTED_FROM));
        } catch (error) {
          this.#refuse(item.index, item.names, error);
        }
        // Whatever happens to directories, they are looked at again.
        if (this.#place !== null && this.#place.parent.missing.length > 0) this.#leave();
      }
    } finally {
      for (const { file } of arrived) {
        if (file !== null && inUse.has(file.path)) removeUnfinished(file.path);
      }
      this.#leave();
    }
    if (this.#changed.size > MAX_CHANGED) await this.#syncChanged();
  }

  /**
   * Gives a file its name, or creates a directory.
   *
   * @param rest What gets its name next, from this file on.
   */
  #finish(item: Arrived, rest: readonly Arrived[]): void {
    const { index, names, record, file } = item;
    const { root } = this.#write;
    const isNew = "if-none-match" in record;
    const condition = (existing: BigIntStats | null) => {
      if (isNew && existing !== null) throw alreadyExists();
    };
    const directory = names.slice(0, -1);
    const key = directory.join("/");
    if (file === null || this.#place?.key !== key) this.#leave();
    if (file === null) {
      const { created, changed } = makeDirectoryAt(root, names, condition);
      this.statuses[index] = created ? 201 : 204;
      for (const path of changed) this.#changed.add(path);
      return;
    }
    if (this.#place === null) {
      const parent = findParent(root, directory);
      const last = rest[LISTED_FROM - 1];
      const areMany = last !== undefined && isSamePath(last.names, directory);
      const isListed = areMany && this.#listed !== key;
      if (isListed) this.#listed = key;
      this.#place = { key, parent: isListed ? withNames(parent) : parent, placed: [] };
    }
    const { parent, placed } = this.#place;
    const { created, changed } = moveTo(root, names, file, { condition, isNew, parent });
    inUse.delete(file.path);
    this.statuses[index] = created ? 201 : 204;
    for (const path of changed) this.#changed.add(path);
    placed.push(item);
  }

  /** Checks that the directory was not replaced while files got their names in it; the next file is looked for anew. */
  #leave(): void {
    const place = this.#place;
    this.#place = null;
    if (place === null) return;
    let error: unknown = null;
    try {
      checkStillThere(place.parent);
    } catch (thrown) {
      error = thrown;
    }
    for (const { index, names, record } of place.placed) {
      if (error !== null) this.#refuse(index, names, error);
      const status = this.statuses[index]!;
      const { size } = record as { size: number };
      if (error === null) this.#write.report("put", names, size, true, status);
    }
  }

  /** Removes what has no name. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#naming.catch(() => {});
    for (const { file } of this.#arrived) {
      await file?.synced;
      if (file !== null) removeUnfinished(file.path);
    }
  }
}

function checkNames(names: readonly string[]): void {
  if (names.length > MAX_DEPTH || !names.every(isName)) {
    throw new Refusal(404, "a name that no file can have");
  }
}

function alreadyExists(): Refusal {
  return new Refusal(412, "it already exists");
}

function removeUnfinished(path: string): void {
  try {
    removeIfThere(path);
  } finally {
    inUse.delete(path);
  }
}
