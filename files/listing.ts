/**
 * The content of a directory, as JSON.
 *
 * @module
 */

import { ChunkedBodyIter } from "../base/body/body_iter.ts";
import { EMPTY } from "../base/bytes.ts";
import type { Chunk } from "../base/wire/chunk.ts";
import { BodyError } from "../base/errors.ts";
import { escapeName } from "./file_name.ts";
import { isAbsence, resolveBelow } from "./open_file.ts";
import { printable } from "./printable.ts";
import { isReserved, isReservedName, prefixOf } from "./reserved.ts";

/** The number of entries that are read at a time. */
const AT_A_TIME = 32;
/** The minimum number of characters in a chunk, except the last. */
const CHUNK_CHARACTERS = 16384;
/** Deno's replacement for bytes that are not UTF-8. */
const NOT_UTF8 = "\ufffd";

/** A directory that is being read. */
interface Listing {
  readonly root: string;
  /** Its path, without links. */
  readonly path: string;
}

const encoder = new TextEncoder();

/**
 * Makes a body with an array of the files and directories in a directory, each with `name`, `kind`,
 * `size` and `modified`. What can't be served is omitted. Entries are read while they are sent.
 *
 * @param root The real path of the directory that is served.
 * @param names The names that lead from it to the one that is read.
 * @returns `null` if there is no directory that may be seen.
 */
export async function listBelow(
  root: string,
  names: readonly string[],
): Promise<ChunkedBodyIter | null> {
  try {
    const resolved = await resolveBelow(root, names);
    if (resolved === null || !resolved.seen.isDirectory()) return null;
    const path = resolved.real;
    // Only to check that it can be read: a body that is never sent must not leave it open.
    for await (const _entry of Deno.readDir(path)) break;
    return new ChunkedBodyIter(chunksOf({ root, path }));
  } catch (error) {
    if (isAbsence(error)) return null;
    throw error;
  }
}

async function* chunksOf(listing: Listing): AsyncGenerator<Chunk, void, void> {
  let text = "[";
  let separator = "\n";
  for await (const names of batchesOf(listing)) {
    for (const entry of await Promise.all(names.map((name) => describe(listing, name)))) {
      if (entry === null) continue;
      text += separator + entry;
      separator = ",\n";
    }
    if (text.length < CHUNK_CHARACTERS) continue;
    yield [null, encoder.encode(text)];
    text = "";
  }
  yield [null, encoder.encode(`${text}\n]\n`)];
  yield [null, EMPTY];
}

/** The names that can be served, some at a time. */
async function* batchesOf({ path }: Listing): AsyncGenerator<string[], void, void> {
  const doubtful = new Set<string>();
  let batch: string[] = [];
  for await (const { name } of Deno.readDir(path)) {
    if (!isRepresentable(name, doubtful)) continue;
    batch.push(name);
    if (batch.length < AT_A_TIME) continue;
    checkPath(path);
    yield batch;
    batch = [];
  }
  checkPath(path);
  yield batch;
}

/** Checks, once names have been read, that the directory was not replaced by a link. */
function checkPath(path: string): void {
  if (Deno.realPathSync(path) === path) return;
  throw new BodyError(`${printable(path)} was replaced while it was listed`);
}

/** Reports whether a name can be escaped. Of equal-looking names only the first can be the real one. */
function isRepresentable(name: string, doubtful: Set<string>): boolean {
  if (name.includes(NOT_UTF8)) {
    if (doubtful.has(name)) return false;
    doubtful.add(name);
  }
  try {
    escapeName(name);
    return true;
  } catch {
    return false;
  }
}

/** An entry as JSON; `null` if it is not served. */
async function describe({ root, path }: Listing, name: string): Promise<string | null> {
  if (isReservedName(name)) return null;
  try {
    const info = await infoOf(root, path, name);
    if (info === null || !(info.isFile || info.isDirectory)) return null;
    if (info.isDirectory && isReserved(path, name)) return null;
    return JSON.stringify({
      name,
      kind: info.isFile ? "file" : "directory",
      size: info.isFile ? info.size : 0,
      modified: (info.mtime ?? new Date(0)).toISOString(),
    });
  } catch (error) {
    // It was removed meanwhile, or has a time that no Date can hold.
    if (isAbsence(error) || error instanceof RangeError) return null;
    throw error;
  }
}

/**
 * The kind of an entry; of a link, that of its target, if it is a file that is served. Not a directory: two
 * links can lead to each other, and a client that follows the list would never finish.
 */
async function infoOf(root: string, path: string, name: string): Promise<Deno.FileInfo | null> {
  const entry = prefixOf(path) + name;
  const info = await Deno.lstat(entry);
  if (!info.isSymlink) return info;
  const names = entry.slice(prefixOf(root).length).split("/");
  const resolved = await resolveBelow(root, names);
  return resolved?.seen.isFile() ? await Deno.lstat(resolved.real) : null;
}
