/** Lists of directories and of trees as the bodies of responses, in JSON. */

import { BodyError, type Chunk, ChunkedBodyIter } from "../../base.ts";
import { EMPTY_BYTES } from "../../internal/bytes.ts";
import { TimeSlice } from "../../internal/disk/files.ts";
import { formatEntry, TREE_END } from "../entries.ts";
import {
  type ListedDirectory,
  type ListOptions,
  readBelow,
  readListedDirectory,
  rootOfList,
} from "../listing.ts";
import type { Root } from "../root.ts";
import { nullIfAbsent, resolvePath } from "./resolve_path.ts";

/** The minimum number of characters in a chunk, except the last. */
const CHUNK_CHARACTERS = 32768;

const encoder = new TextEncoder();

/**
 * Makes a body with an array of everything in a directory, or in the tree below it. The directory
 * is read while the body is sent. Reserved names are omitted; an entry that can't be served is of
 * the kind `"other"`. If the entries can't be found out, the body is cut.
 *
 * @param root The directory that is served.
 * @param names The names that lead from the root to the directory that is listed.
 * @param hasModes Whether the list says the permission bits of files.
 * @returns `null` if a peer may see no directory at that path.
 * @throws {Refusal} if the directory can't be read.
 */
export async function listBelow(
  root: Root,
  names: readonly string[],
  isTree: boolean,
  hasModes: boolean,
): Promise<ChunkedBodyIter | null> {
  try {
    const resolved = await resolvePath(root, names);
    if (resolved === null || !resolved.stats.isDirectory()) return null;
    const { path } = resolved;
    const options = { root, path, timeSlice: new TimeSlice(), hasModes };
    const first = rootOfList(path, resolved.stats);
    const batches = isTree ? treeTexts(options, first) : listTexts(options, first);
    const begin = batches.next();
    // Errors of the directory are found out now, while the response can still have another status.
    await begin.catch((error) => {
      if (!(error instanceof BodyError)) throw error;
    });
    return new ChunkedBodyIter(chunksOf(begin, batches));
  } catch (error) {
    return nullIfAbsent(root, error, names);
  }
}

async function* listTexts(
  options: ListOptions,
  first: ListedDirectory,
): AsyncGenerator<string[], void, void> {
  for await (const entries of readListedDirectory(options, first)) {
    yield entries.map((entry) => formatEntry({ name: entry.name }, entry));
  }
}

async function* treeTexts(
  options: ListOptions,
  first: ListedDirectory,
): AsyncGenerator<string[], void, void> {
  for await (const entries of readBelow(options, first)) {
    yield entries.map((entry) => formatEntry({ path: entry.path }, entry));
  }
  yield [TREE_END];
}

async function* chunksOf(
  begin: Promise<IteratorResult<string[], void>>,
  batches: AsyncGenerator<string[], void, void>,
): AsyncGenerator<Chunk, void, void> {
  let text = "[";
  let separator = "\n";
  for (let batch = await begin; batch.done !== true; batch = await batches.next()) {
    for (const element of batch.value) {
      text += separator + element;
      separator = ",\n";
    }
    if (text.length < CHUNK_CHARACTERS) continue;
    yield [null, encoder.encode(text)];
    text = "";
  }
  yield [null, encoder.encode(`${text}\n]\n`)];
  yield [null, EMPTY_BYTES];
}
