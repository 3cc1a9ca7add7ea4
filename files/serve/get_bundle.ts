/**
 * Small files are read with synchronous operations, in time slices, because asynchronous operations
 * take several times as much processor time.
 */

import type { Request, ResponseTuple } from "../../server.ts";
import { BodyError, type Chunk, ChunkedBodyIter } from "../../base.ts";
import { isTooManyOpenFilesError } from "../../internal/caught_errors.ts";
import { findEntryNameProblem } from "../disk/names.ts";
import { TimeSlice } from "../disk/files.ts";
import {
  BUNDLE_TYPE,
  BundleBuffer,
  BUNDLED_BELOW_BYTES,
  parsePaths,
  type RefusedFile,
} from "../wire/bundle.ts";
import { sentTimeOf } from "../wire/conditions.ts";
import { hashContent } from "../wire/digest.ts";
import { isFileName, isSamePath, MAX_DEPTH } from "../wire/file_name.ts";
import { formatMode, isModeRequested, permissionBitsOf } from "../wire/metadata.ts";
import { NoSizeError, type OpenFileStats, readSmallFile } from "../disk/file_pieces.ts";
import { type FileRequest, MAX_SILENCE_MILLISECONDS } from "./file_request.ts";
import { toReadRefusal } from "./resolve_path.ts";
import {
  belongsInLog,
  missingRootRefusal,
  notFoundRefusal,
  Refusal,
  refusalOf,
} from "../refusal.ts";
import { findReason } from "../wire/refusal_reason.ts";
import { isReservedName, withTrailingSlash } from "../reserved.ts";
import type { Parent } from "../root.ts";

const MAX_PATHS_BYTES = 4 * 1024 * 1024;
const MAX_READ_ATTEMPTS = 3;

export async function getBundle(fileRequest: FileRequest): Promise<ResponseTuple> {
  const paths: (readonly string[])[] = [];
  const timeSlice = new TimeSlice();
  for (const path of parsePaths(await readPaths(fileRequest.request))) {
    paths.push(path);
    if (timeSlice.isUsedUp) await timeSlice.yield(fileRequest.root.path);
  }
  const hasContent = fileRequest.request.query === "bundle=get";
  const body = new ChunkedBodyIter(readBundleChunks(fileRequest, paths, hasContent), {
    sequential: true,
  });
  return [200, "OK", { "content-type": BUNDLE_TYPE }, body];
}

async function readPaths({ body }: Request): Promise<Uint8Array> {
  if (body === null) return new Uint8Array(0);
  try {
    return await body.bytes({ maxBytes: MAX_PATHS_BYTES });
  } catch (error) {
    if (!(error instanceof BodyError) || error.code !== "TOO_LONG") throw error;
    throw new Refusal(413, `more than ${MAX_PATHS_BYTES} bytes of paths`);
  }
}

async function* readBundleChunks(
  fileRequest: FileRequest,
  paths: readonly (readonly string[])[],
  hasContent: boolean,
): AsyncGenerator<Chunk, void, void> {
  const reader = new BundleReader(fileRequest, paths, hasContent);
  for (let hasEnded = false; !hasEnded;) {
    hasEnded = await reader.fill().catch((error) => {
      throw fileRequest.reportCut(error);
    });
    const fileSizes = reader.takeFileSizes();
    let isSent = false;
    try {
      yield [null, reader.buffer.take(hasEnded)];
      isSent = true;
    } finally {
      if (hasContent) {
        const event = { action: "get", complete: isSent, status: 200 } as const;
        for (const { path, size } of fileSizes) fileRequest.report({ ...event, path, bytes: size });
      }
    }
  }
  yield [null, new Uint8Array(0)];
}

/** Consecutive files of one directory share the checks of the directory. */
class BundleReader {
  readonly buffer = new BundleBuffer();
  readonly #fileRequest: FileRequest;
  readonly #paths: readonly (readonly string[])[];
  readonly #hasContent: boolean;
  readonly #hasModes: boolean;
  readonly #timeSlice = new TimeSlice();
  #nextIndex = 0;
  readonly #fileSizes: { path: readonly string[]; size: number }[] = [];
  readonly #content = new Uint8Array(BUNDLED_BELOW_BYTES - 1);
  /** The directory of the last file, confirmed after other code has run. */
  #lastDirectory: Parent | null = null;

  constructor(
    fileRequest: FileRequest,
    paths: readonly (readonly string[])[],
    hasContent: boolean,
  ) {
    this.#fileRequest = fileRequest;
    this.#paths = paths;
    this.#hasContent = hasContent;
    this.#hasModes = isModeRequested(fileRequest.request.headers);
  }

  async fill(): Promise<boolean> {
    this.#lastDirectory = this.#fileRequest.root.confirmParent(this.#lastDirectory);
    const startedAt = performance.now();
    while (this.#nextIndex < this.#paths.length && !this.buffer.isFull) {
      if (this.buffer.length > 0 && performance.now() - startedAt > MAX_SILENCE_MILLISECONDS) break;
      if (this.#timeSlice.isUsedUp) await this.#yield();
      const path = this.#paths[this.#nextIndex++]!;
      let refusedFile = this.#readFile(path);
      for (let attempt = 1; refusedFile?.status === 409 && attempt < MAX_READ_ATTEMPTS; attempt++) {
        await this.#yield();
        refusedFile = this.#readFile(path);
      }
      if (refusedFile !== null) this.buffer.add({ path, ...refusedFile });
    }
    return this.#nextIndex === this.#paths.length;
  }

  async #yield(): Promise<void> {
    const { root } = this.#fileRequest;
    await this.#timeSlice.yield(root.path);
    this.#lastDirectory = root.confirmParent(this.#lastDirectory);
  }

  takeFileSizes(): readonly { path: readonly string[]; size: number }[] {
    return this.#fileSizes.splice(0);
  }

  #readFile(path: readonly string[]): RefusedFile | null {
    const names = [...this.#fileRequest.target.names, ...path];
    try {
      const name = names.at(-1)!;
      const directory = this.#findDirectory(names.slice(0, -1));
      if (!isServedName(directory, name)) return { status: 404 };
      const file = withTrailingSlash(directory) + name;
      const info = Deno.lstatSync(file);
      // Don't open special files: opening a device can have side effects.
      if (!info.isFile) return { status: 404 };
      if (info.size >= BUNDLED_BELOW_BYTES) return { status: 413 };
      const stats = readSmallFile(file, info, this.#content);
      if (stats === null) return { status: 409 };
      this.#addFile(path, names, stats);
      return null;
    } catch (error) {
      return this.#handleReadError(error, names);
    }
  }

  #findDirectory(names: readonly string[]): string {
    if (this.#lastDirectory === null || !isSamePath(this.#lastDirectory.names, names)) {
      if (names.length >= MAX_DEPTH || !names.every(isFileName)) throw notFoundRefusal();
      try {
        this.#lastDirectory = this.#fileRequest.root.findParent(names, this.#lastDirectory);
      } catch (error) {
        throw error instanceof Refusal ? notFoundRefusal() : error;
      }
    }
    if (this.#lastDirectory.missingDirectories.length > 0) throw notFoundRefusal();
    return this.#lastDirectory.path;
  }

  #addFile(path: readonly string[], names: readonly string[], stats: OpenFileStats): void {
    const { size } = stats;
    const content = this.#content.subarray(0, size);
    const sha256 = hashContent(content);
    this.#fileSizes.push({ path: names, size });
    const modified = sentTimeOf(stats.mtime);
    const permissionBits = this.#hasModes ? permissionBitsOf(stats.mode) : null;
    const mode = permissionBits === null ? {} : { mode: formatMode(permissionBits) };
    const record = { path, status: 200, size, modified, sha256, ...mode } as const;
    this.buffer.add(record, this.#hasContent ? content : new Uint8Array(0));
  }

  /**
   * Returns the record of a file that can't be read, and logs the reason. After a bad sector, the
   * other files are still sent.
   */
  #handleReadError(error: unknown, names: readonly string[]): RefusedFile {
    const { root, isRootPresent, warn } = this.#fileRequest;
    // The error cuts the body, because no file can be read without the root.
    if (!isRootPresent()) throw missingRootRefusal(root.path);
    // The client sends a request for this file alone.
    if (error instanceof NoSizeError) return { status: 413 };
    const refusal = error instanceof Refusal || isTooManyOpenFilesError(error)
      ? refusalOf(error)!
      : toReadRefusal(root, error, names);
    if (belongsInLog(refusal)) warn(refusal, names.join("/"));
    const status = refusal.status as RefusedFile["status"];
    return { status, reason: findReason(refusal.headers) };
  }
}

function isServedName(directory: string, name: string): boolean {
  return isFileName(name) && !isReservedName(name) &&
    findEntryNameProblem(directory, name) === null;
}
