import { BodyError, type Chunk, ChunkedBodyIter } from "../../base.ts";
import { TimeSlice } from "../disk/files.ts";
import { formatEntry, TREE_END } from "../wire/entries.ts";
import {
  type ListedDirectory,
  type ListOptions,
  makeListRoot,
  readDirectory,
  readTree,
} from "../listing.ts";
import type { Root } from "../root.ts";
import { type FileRequest, MAX_SILENCE_MILLISECONDS } from "./file_request.ts";
import { resolvePath, toNullIfAbsent } from "./resolve_path.ts";

/** The minimum number of characters in a chunk, except the last, and except on a slow disk. */
const MIN_CHUNK_CHARACTERS = 32768;

const encoder = new TextEncoder();

/**
 * The directory is read while the body is sent. If the directory can't be read to its end, the body
 * is cut.
 */
export async function makeListBody(
  root: Root,
  names: readonly string[],
  isTree: boolean,
  hasModes: boolean,
  reportCut: FileRequest["reportCut"],
): Promise<ChunkedBodyIter | null> {
  try {
    const resolvedPath = await resolvePath(root, names);
    if (resolvedPath === null || !resolvedPath.stats.isDirectory) return null;
    const options = { root, timeSlice: new TimeSlice(), hasModes };
    const listRoot = makeListRoot(resolvedPath.path, resolvedPath.stats);
    const batches = isTree
      ? formatTreeBatches(options, listRoot)
      : formatListBatches(options, listRoot);
    const firstBatch = batches.next();
    // Read the first batch now, while the response to an error can still have another status.
    await firstBatch.catch((error) => {
      if (!(error instanceof BodyError)) throw error;
    });
    return new ChunkedBodyIter(encodeChunks(firstBatch, batches, reportCut));
  } catch (error) {
    return toNullIfAbsent(root, error, names);
  }
}

async function* formatListBatches(
  options: ListOptions,
  listRoot: ListedDirectory,
): AsyncGenerator<string[], void, void> {
  for await (const { entries } of readDirectory(options, listRoot)) {
    yield entries.map((entry) => formatEntry({ name: entry.name }, entry));
  }
}

async function* formatTreeBatches(
  options: ListOptions,
  listRoot: ListedDirectory,
): AsyncGenerator<string[], void, void> {
  for await (const { names, entries } of readTree(options, listRoot)) {
    yield entries.map((entry) => formatEntry({ path: [...names, entry.name] }, entry));
  }
  yield [TREE_END];
}

async function* encodeChunks(
  firstBatch: Promise<IteratorResult<string[], void>>,
  batches: AsyncGenerator<string[], void, void>,
  reportCut: FileRequest["reportCut"],
): AsyncGenerator<Chunk, void, void> {
  let text = "[";
  let separator = "\n";
  let startedAt = performance.now();
  try {
    for (let batch = await firstBatch; batch.done !== true; batch = await batches.next()) {
      for (const element of batch.value) {
        text += separator + element;
        separator = ",\n";
      }
      const isSlow = performance.now() - startedAt > MAX_SILENCE_MILLISECONDS;
      if (text.length < MIN_CHUNK_CHARACTERS && !isSlow) continue;
      yield [null, encoder.encode(text)];
      text = "";
      startedAt = performance.now();
    }
  } catch (error) {
    throw reportCut(error);
  }
  yield [null, encoder.encode(`${text}\n]\n`)];
  yield [null, new Uint8Array(0)];
}
