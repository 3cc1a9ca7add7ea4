/**
 * Names as a directory lists them. A disk may also find a file by other names: some disks ignore
 * case, or drop dots at the end.
 */

import type { BigIntStats } from "node:fs";
import type { ResponseTuple } from "../base/app/message.ts";
import { isSameFile, isUnreadable, readNames, statOrNull } from "../disk/names.ts";
import { Turns } from "../disk/files.ts";
import { BUNDLE_TYPE, formatBundle, type NameRecord, parsePaths } from "./bundle.ts";
import { MAX_DEPTH } from "./file_name.ts";
import type { FileRequest } from "./file_request.ts";
import { isServedName, readPaths } from "./get_bundle.ts";
import { isAbsence } from "./reading.ts";
import { notFound, Refusal } from "./refusal.ts";
import { prefixOf } from "./reserved.ts";
import type { Root } from "./root.ts";

const ABSENT: NameRecord = { status: 404 };
const UNTOLD: NameRecord = { status: 409 };

/** Answers a request for the names by which directories list the files at some paths. */
export async function nameBundle(request: FileRequest): Promise<ResponseTuple> {
  if (!request.list) throw notFound();
  const { root, session, target: { names } } = request;
  const paths: (readonly string[])[] = [];
  for (const path of parsePaths(await readPaths(request.request))) paths.push([...names, ...path]);
  const records = await findListedNames(root, paths, session?.signal);
  return [200, "OK", { "content-type": BUNDLE_TYPE }, formatBundle(records)];
}

/**
 * Finds the names by which directories list the files at some paths. A file behind a link counts as
 * absent. Each directory is read at most once, in whatever order the paths are.
 *
 * @param signal Aborts the search with its reason.
 */
export async function findListedNames(
  root: Root,
  paths: readonly (readonly string[])[],
  signal: AbortSignal | undefined,
): Promise<NameRecord[]> {
  const turns = new Turns();
  const pause = async () => {
    if (!turns.isOver) return;
    await turns.next(root.path);
    signal?.throwIfAborted();
  };
  const records = paths.map((): NameRecord => ABSENT);
  const directories = Map.groupBy(paths.entries(), ([, path]) => path.slice(0, -1).join("/"));
  for (const entries of directories.values()) {
    const directory = entries[0]![1].slice(0, -1);
    if (directory.length >= MAX_DEPTH || !directory.every(isServedName)) continue;
    const names = entries.map(([, path]) => path.at(-1)!);
    const found = await findIn(root, directory, names, pause);
    for (const [i, [at]] of entries.entries()) records[at] = found[i]!;
  }
  return records;
}

/** The result of a look at a name: the file, `null` for nothing, or `"untold"` after an error. */
type Look = BigIntStats | null | "untold";

async function findIn(
  root: Root,
  directory: readonly string[],
  names: readonly string[],
  pause: () => Promise<void>,
): Promise<NameRecord[]> {
  const path = pathWithoutLinks(root, directory);
  if (path === null) return names.map(() => ABSENT);
  const looks: Look[] = [];
  for (const name of names) {
    await pause();
    looks.push(isServedName(name) ? lookAt(prefixOf(path) + name) : null);
  }
  if (looks.every((look) => look === null)) return names.map(() => ABSENT);
  let records: NameRecord[];
  try {
    const all = await readNames(path);
    const listed = new Set(all);
    const alike = new Map<string, Entry[]>();
    for (const [i, look] of looks.entries()) {
      if (isState(look) && !listed.has(names[i]!)) alike.set(keyOf(look), []);
    }
    for (const name of alike.size === 0 ? [] : all) {
      await pause();
      const state = lookAt(prefixOf(path) + name);
      if (isState(state)) alike.get(keyOf(state))?.push({ name, state });
    }
    records = looks.map((look, i) => {
      if (look === null) return ABSENT;
      const name = names[i]!;
      return listed.has(name) ? { status: 200, name } : nameOf(look, alike);
    });
  } catch (error) {
    if (!isAbsence(error) && !isUnreadable(error)) throw error;
    return looks.map((look) => look === null ? ABSENT : UNTOLD);
  }
  // Another process may have exchanged a directory for a link: then the names are from elsewhere.
  if (pathWithoutLinks(root, directory) !== path) return names.map(() => UNTOLD);
  return records;
}

/** The path of a directory; `null` if there is none, or a link is on the way. */
function pathWithoutLinks(root: Root, directory: readonly string[]): string | null {
  try {
    const { path, missing } = root.findParent(directory);
    return missing.length === 0 ? path : null;
  } catch (error) {
    if (error instanceof Refusal || isAbsence(error)) return null;
    throw error;
  }
}

function lookAt(path: string): Look {
  try {
    return statOrNull(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    return isAbsence(error) ? null : "untold";
  }
}

interface Entry {
  readonly name: string;
  readonly state: BigIntStats;
}

/**
 * The name of the only entry that can be a file; not told if no entry can be, or more than one can.
 *
 * @param alike The entries that look like one of the files, by the key of the file.
 */
function nameOf(look: Look, alike: ReadonlyMap<string, readonly Entry[]>): NameRecord {
  if (!isState(look)) return UNTOLD;
  const all = alike.get(keyOf(look))!;
  const same = all.filter(({ state }) => isSameFile(state, look));
  // Some file systems give a file another number for each spelling; all else is the same.
  const [only, another] = same.length > 0 ? same : all;
  if (only === undefined || another !== undefined) return UNTOLD;
  return { status: 200, name: only.name };
}

function isState(look: Look): look is BigIntStats {
  return look !== null && look !== "untold";
}

function keyOf({ mode, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return `${mode} ${size} ${mtimeNs} ${ctimeNs}`;
}
