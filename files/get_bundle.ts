/**
 * Requests for bundles: many small files at once, each with the promises of a single one.
 *
 * Small files are read with synchronous operations, in turns: an asynchronous operation costs several times
 * as much, and whatever is checked holds until the end of the turn.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { basename, dirname } from "node:path";
import { ChunkedBodyIter } from "../base/body/body_iter.ts";
import { EMPTY } from "../base/bytes.ts";
import type { Request, ResponseTuple } from "../base/app/message.ts";
import { codeOf } from "../disk/names.ts";
import { Turns } from "../disk/turns.ts";
import type { Chunk } from "../base/wire/chunk.ts";
import {
  type AbsentStatus,
  BUNDLE_TYPE,
  BundleBuffer,
  BUNDLED_BELOW_BYTES,
  MAX_PATHS_BYTES,
  parsePaths,
} from "./bundle.ts";
import { isName, MAX_DEPTH } from "./file_name.ts";
import { readSmall } from "./file_pieces.ts";
import type { FileRequest } from "./file_request.ts";
import { isAbsence, isServed } from "./open_file.ts";
import { Refusal, unreadable } from "./refusal.ts";
import { isReservedName, prefixOf } from "./reserved.ts";

/** How often a file is read that changes meanwhile. */
const ATTEMPTS = 3;

/** Answers with the files that a request names, or only with their digests. */
export async function getBundle(
  bundle: FileRequest,
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
  bundle: FileRequest,
  paths: readonly (readonly string[])[],
  hasContent: boolean,
): AsyncGenerator<Chunk, void, void> {
  const { root, target } = bundle;
  const reader = new SmallReader(root);
  const buffer = new BundleBuffer();
  for (let next = 0, isOver = false; !isOver;) {
    const sizes: [names: readonly string[], size: number][] = [];
    for (; next < paths.length && !buffer.isFull; next++) {
      const path = paths[next]!;
      const names = [...target.names, ...path];
      await reader.pause();
      const found = reader.read(names, (error) => bundle.warn(unreadable(error), names.join("/")));
      if (typeof found === "number") {
        buffer.add({ path, status: found });
        continue;
      }
      const sha256 = createHash("sha256").update(found.content).digest("hex");
      const { length: size } = found.content;
      const record = { path, status: 200, size, modified: found.modified, sha256 } as const;
      buffer.add(record, hasContent ? found.content : EMPTY);
      sizes.push([names, size]);
    }
    isOver = next === paths.length;
    let isSent = false;
    try {
      yield [null, buffer.take(isOver)];
      isSent = true;
    } finally {
      if (hasContent) {
        for (const [names, size] of sizes) bundle.report("get", names, size, isSent, 200);
      }
    }
  }
  yield [null, EMPTY];
}

/** A small file, valid until the next is read. */
interface SmallContent {
  readonly content: Uint8Array;
  readonly modified: Date;
}

/** Reads small files as a single GET does, through links to what is served, too. */
class SmallReader {
  readonly #root: string;
  readonly #turns = new Turns();
  readonly #content = new Uint8Array(BUNDLED_BELOW_BYTES - 1);
  /** The directory of the previous file, which is served, as long as the turn takes. */
  #served: string | null = null;

  constructor(root: string) {
    this.#root = root;
  }

  /** Lets others have their turn. */
  async pause(): Promise<void> {
    if (!this.#turns.isOver) return;
    await this.#turns.next(this.#root);
    this.#served = null;
  }

  /**
   * Reads a file; returns why not, if it can't be read.
   *
   * Who exchanges a directory for a link while it is opened must exchange it back and forth between two looks, too.
   *
   * @param warn Gets an error of the disk: a bad sector, too, costs no other file.
   */
  read(names: readonly string[], warn: (error: unknown) => void): SmallContent | AbsentStatus {
    if (names.length > MAX_DEPTH || !names.every(isServedName)) return 404;
    const path = prefixOf(this.#root) + names.join("/");
    try {
      for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
        const real = Deno.realPathSync(path);
        if (!this.#isServed(real)) return 404;
        const seen = Deno.lstatSync(real);
        // Opening a device can have effects.
        if (!seen.isFile) return 404;
        if (seen.size >= BUNDLED_BELOW_BYTES) return 413;
        const state = readSmall(real, seen, this.#content);
        if (state === null || Deno.realPathSync(path) !== real) continue;
        const content = this.#content.subarray(0, Number(state.size));
        return { content, modified: new Date(Number(state.mtimeMs)) };
      }
      return 409;
    } catch (error) {
      const code = codeOf(error);
      if (error instanceof Deno.errors.NotCapable || code === "EACCES" || code === "EPERM") {
        return 403;
      }
      if (isAbsence(error)) return 404;
      warn(error);
      return 503;
    }
  }

  #isServed(real: string): boolean {
    const directory = dirname(real);
    if (this.#served !== directory && !isServed(this.#root, directory)) return false;
    this.#served = directory;
    return !isReservedName(basename(real));
  }
}

/** Whether a name can be that of something that is served. */
function isServedName(name: string): boolean {
  return isName(name) && !isReservedName(name);
}
