/**
 * Requests for bundles: many small files in one response, each with the promises of a single GET.
 *
 * Small files are read with synchronous operations, in turns: an asynchronous operation costs
 * several times as much.
 */

import { type BigIntStats, fstatSync } from "node:fs";
import type { Request } from "../../server.ts";
import { type Chunk, ChunkedBodyIter, type ResponseTuple } from "../../base.ts";
import { isTooLong } from "../../base/body/bodies.ts";
import { EMPTY } from "../../internal/bytes.ts";
import { isMissing, isOverload } from "../../internal/disk/names.ts";
import { Turns } from "../../internal/disk/files.ts";
import {
  type AbsentStatus,
  BUNDLE_TYPE,
  BundleBuffer,
  BUNDLED_BELOW_BYTES,
  MAX_PATHS_BYTES,
  parsePaths,
} from "../bundle.ts";
import { sha256Of } from "../digest.ts";
import { isName, MAX_DEPTH } from "../file_name.ts";
import { bitsOf, formatMode, wantsMode } from "../modes.ts";
import { readOpenSmall, readSmall } from "../file_pieces.ts";
import type { FileRequest } from "./file_request.ts";
import { openBelow, refusalToRead } from "./below_root.ts";
import { belongsInLog, notFound, Refusal, refusalOf, rootIsGone } from "../refusal.ts";
import { isReservedName, prefixOf } from "../reserved.ts";
import type { Parent } from "../root.ts";

/** How often a file is read that changes meanwhile. */
const MAX_READINGS = 3;

/** Answers with the files that a request names, or only with their digests. */
export async function getBundle(bundle: FileRequest): Promise<ResponseTuple> {
  const paths: (readonly string[])[] = [];
  const turns = new Turns();
  for (const path of parsePaths(await readPaths(bundle.request))) {
    paths.push(path);
    if (turns.isOver) await turns.next(bundle.root.path);
  }
  const hasContent = bundle.request.query === "bundle=get";
  const body = new ChunkedBodyIter(foundChunks(bundle, paths, hasContent));
  return [200, "OK", { "content-type": BUNDLE_TYPE }, body];
}

async function readPaths({ body }: Request): Promise<Uint8Array> {
  if (body === null) return EMPTY;
  try {
    return await body.bytes({ maxBytes: MAX_PATHS_BYTES });
  } catch (error) {
    if (!isTooLong(body, error)) throw error;
    throw new Refusal(413, `more than ${MAX_PATHS_BYTES} bytes of paths`);
  }
}

async function* foundChunks(
  bundle: FileRequest,
  paths: readonly (readonly string[])[],
  hasContent: boolean,
): AsyncGenerator<Chunk, void, void> {
  const reader = new BundleReader(bundle, paths, hasContent);
  for (let isOver = false; !isOver;) {
    isOver = await reader.fill();
    const sizes = reader.takeSizes();
    let isSent = false;
    try {
      yield [null, reader.buffer.take(isOver)];
      isSent = true;
    } finally {
      if (hasContent) {
        for (const { path, size } of sizes) bundle.report("get", path, size, isSent, 200);
      }
    }
  }
  yield [null, EMPTY];
}

/** Reads files into a buffer, those of one directory together. */
class BundleReader {
  readonly buffer = new BundleBuffer();
  readonly #request: FileRequest;
  /** The names of the directory where the paths begin. */
  readonly #names: readonly string[];
  readonly #paths: readonly (readonly string[])[];
  readonly #hasContent: boolean;
  readonly #hasModes: boolean;
  readonly #turns = new Turns();
  /** The position of the next path. */
  #next = 0;
  #sizes: { path: readonly string[]; size: number }[] = [];
  readonly #content = new Uint8Array(BUNDLED_BELOW_BYTES - 1);
  /** The directory of the files that were read last, until the turn is over. */
  #entered: Parent | null = null;

  constructor(request: FileRequest, paths: readonly (readonly string[])[], hasContent: boolean) {
    this.#request = request;
    this.#names = request.target.names;
    this.#paths = paths;
    this.#hasContent = hasContent;
    this.#hasModes = wantsMode(request.request.headers);
  }

  /** Reads until the buffer is full; returns true once all files have been read. */
  async fill(): Promise<boolean> {
    this.#entered = null;
    while (this.#next < this.#paths.length && !this.buffer.isFull) {
      if (this.#turns.isOver) {
        await this.#turns.next(this.#request.root.path);
        this.#entered = null;
      }
      if (this.#readGroup()) continue;
      await this.#readAlone();
      this.#entered = null;
    }
    return this.#next === this.#paths.length;
  }

  takeSizes(): readonly { path: readonly string[]; size: number }[] {
    const sizes = this.#sizes;
    this.#sizes = [];
    return sizes;
  }

  /**
   * Reads the next files that are in one directory, in one turn, up to one that is to be read
   * alone.
   *
   * @returns False if nothing was read.
   */
  #readGroup(): boolean {
    const first = this.#next;
    const parent = this.#paths[first]!.slice(0, -1);
    const names = [...this.#names, ...parent];
    if (names.length >= MAX_DEPTH || !names.every(isName)) return false;
    try {
      this.#entered = this.#request.root.findParent(names, { known: this.#entered });
    } catch {
      return false;
    }
    const { path, missing } = this.#entered;
    if (missing.length > 0) return false;
    while (this.#next < this.#paths.length && !this.buffer.isFull) {
      const wanted = this.#paths[this.#next]!;
      if (!isEntryOf(wanted, parent) || !this.#readFile(path, wanted)) break;
      this.#next++;
      if (this.#turns.isOver) break;
    }
    return this.#next > first;
  }

  /**
   * Reads a file in a directory that was checked, or tells that nothing has its name; false if the
   * file is to be read alone: any other status is told only then.
   */
  #readFile(directory: string, wanted: readonly string[]): boolean {
    const name = wanted.at(-1)!;
    if (!isServedName(name)) return false;
    const path = prefixOf(directory) + name;
    try {
      const seen = Deno.lstatSync(path);
      // Special files are not opened: opening a device can have effects.
      if (!seen.isFile) return false;
      const state = readSmall(path, seen, this.#content);
      if (state === null) return false;
      this.#addFile(wanted, state);
      return true;
    } catch (error) {
      if (!isMissing(error)) return false;
      const status = this.#statusOf(notFound(), [...this.#names, ...wanted]);
      this.buffer.add({ path: wanted, status });
      return true;
    }
  }

  /** Reads the next file as a single GET does. */
  async #readAlone(): Promise<void> {
    const wanted = this.#paths[this.#next++]!;
    const status = await this.#readBelow(wanted);
    if (status !== null) this.buffer.add({ path: wanted, status });
  }

  /** Reads a file; returns `null`, or the reason why it was not read. */
  async #readBelow(wanted: readonly string[]): Promise<AbsentStatus | null> {
    const names = [...this.#names, ...wanted];
    if (names.length > MAX_DEPTH || !names.every(isName)) return 404;
    try {
      for (let reading = 0; reading < MAX_READINGS; reading++) {
        const found = await openBelow(this.#request.root, names);
        if (found === "directory") return 404;
        if (found === null) return this.#statusOf(notFound(), names);
        const { handle, size } = found;
        try {
          if (size >= BUNDLED_BELOW_BYTES) return 413;
          const state = fstatSync(handle.fd, { bigint: true });
          if (!readOpenSmall(handle.fd, state, this.#content)) continue;
          this.#addFile(wanted, state);
          return null;
        } finally {
          await handle.close();
        }
      }
      return 409;
    } catch (error) {
      return this.#statusOf(error, names);
    }
  }

  #addFile(path: readonly string[], state: BigIntStats): void {
    const size = Number(state.size);
    const content = this.#content.subarray(0, size);
    const sha256 = sha256Of(content);
    this.#sizes.push({ path: [...this.#names, ...path], size });
    const modified = new Date(Number(state.mtimeMs));
    const bits = this.#hasModes ? bitsOf(state.mode) : null;
    const mode = bits === null ? {} : { mode: formatMode(bits) };
    const record = { path, status: 200, size, modified, sha256, ...mode } as const;
    this.buffer.add(record, this.#hasContent ? content : EMPTY);
  }

  /** The status of a file that can't be read; a bad sector costs no other file. */
  #statusOf(error: unknown, names: readonly string[]): AbsentStatus {
    const { root, isThere, warn } = this.#request;
    // Without the root, no file can be read, and the body is cut.
    if (!isThere()) throw rootIsGone(root.path);
    const isRefusal = error instanceof Refusal || isOverload(error);
    const refusal = isRefusal ? refusalOf(error)! : refusalToRead(root, error, names);
    if (belongsInLog(refusal)) warn(refusal, names.join("/"));
    return refusal.status as AbsentStatus;
  }
}

/** Whether a file or directory that is served can have this name. */
function isServedName(name: string): boolean {
  return isName(name) && !isReservedName(name);
}

function isEntryOf(path: readonly string[], directory: readonly string[]): boolean {
  return path.length === directory.length + 1 &&
    directory.every((name, i) => path[i] === name);
}
