import { BodyError, type Chunk, ChunkedBodyIter } from "../../base.ts";
import { TimeSlice } from "../disk/files.ts";
import { formatEntry, TREE_END } from "../wire/entries.ts";
import { type ListedDirectory, type ListOptions, makeListRoot, readTree } from "../listing.ts";
import { type FileRequest, MAX_SILENCE_MILLISECONDS } from "./file_request.ts";
import { isModeRequested } from "../wire/metadata.ts";
import { formatPageLine, formatPageStart, PAGE_END } from "./list_page.ts";
import { resolvePath, toNullIfAbsent } from "./resolve_path.ts";

/** The minimum number of characters in a chunk, except the last, and except on a slow disk. */
const MIN_CHUNK_CHARACTERS = 32768;

const encoder = new TextEncoder();

/** The text before, between and after the lines of a list. */
interface ListFrame {
  readonly start: string;
  readonly separator: string;
  readonly end: string;
}

const JSON_FRAME: ListFrame = { start: "[", separator: ",", end: "\n]\n" };

export function isTreeRequested({ query }: FileRequest["request"]): boolean {
  return query === "tree";
}

/**
 * The directory is read while the body is sent. If the directory can't be read to its end, the body
 * is cut.
 */
export async function makeListBody(
  { request, root, target: { names }, reportCut }: FileRequest,
  isPage: boolean,
): Promise<ChunkedBodyIter | null> {
  try {
    const resolvedPath = await resolvePath(root, names);
    if (resolvedPath === null || !resolvedPath.stats.isDirectory) return null;
    const hasModes = isModeRequested(request.headers);
    const isFlat = !isTreeRequested(request);
    const options = { root, timeSlice: new TimeSlice(), hasModes, isSorted: isPage, isFlat };
    const listRoot = makeListRoot(resolvedPath.path, resolvedPath.stats);
    const batches = formatBatches(options, listRoot, isPage);
    const frame = isPage
      ? { start: formatPageStart(request.mount, names), separator: "", end: PAGE_END }
      : JSON_FRAME;
    const firstBatch = batches.next();
    // Read the first batch now, while the response to an error can still have another status.
    await firstBatch.catch((error) => {
      if (!(error instanceof BodyError)) throw error;
    });
    return new ChunkedBodyIter(encodeChunks(frame, firstBatch, batches, reportCut));
  } catch (error) {
    return toNullIfAbsent(root, error, names);
  }
}

async function* formatBatches(
  options: ListOptions,
  listRoot: ListedDirectory,
  isPage: boolean,
): AsyncGenerator<string[], void, void> {
  const { isFlat } = options;
  for await (const { names, entries } of readTree(options, listRoot)) {
    yield entries.map((entry) => {
      const { name } = entry;
      if (isPage) return formatPageLine(entry);
      return formatEntry(isFlat ? { name } : { path: [...names, name] }, entry);
    });
  }
  if (!isFlat) yield [TREE_END];
}

async function* encodeChunks(
  { start, separator, end }: ListFrame,
  firstBatch: Promise<IteratorResult<string[], void>>,
  batches: AsyncGenerator<string[], void, void>,
  reportCut: FileRequest["reportCut"],
): AsyncGenerator<Chunk, void, void> {
  let text = start;
  let lineEnd = "\n";
  let startedAt = performance.now();
  try {
    for (let batch = await firstBatch; batch.done !== true; batch = await batches.next()) {
      for (const element of batch.value) {
        text += lineEnd + element;
        lineEnd = `${separator}\n`;
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
  yield [null, encoder.encode(text + end)];
  yield [null, new Uint8Array(0)];
}
