/** Names as a disk lists them, of what it also finds by others: it may drop dots at the end, or ignore case. */

import type { BigIntStats } from "node:fs";
import type { ResponseTuple } from "../base/app/message.ts";
import { isSameFile, statOrNull } from "../disk/names.ts";
import { Turns } from "../disk/files.ts";
import { BUNDLE_END, BUNDLE_TYPE, formatRecord, type NameRecord, parsePaths } from "./bundle.ts";
import { MAX_DEPTH } from "./file_name.ts";
import type { FileRequest } from "./file_request.ts";
import { isServedName, readPaths } from "./get_bundle.ts";
import { notFound, Refusal } from "./refusal.ts";
import { prefixOf } from "./reserved.ts";
import { isAbsence, type Root } from "./root.ts";

const encoder = new TextEncoder();

const ABSENT: NameRecord = { status: 404 };
const UNTOLD: NameRecord = { status: 409 };

/** Answers by which names the directories list what has the paths of a request. */
export async function nameBundle(request: FileRequest): Promise<ResponseTuple> {
  if (!request.list) throw notFound();
  const { root, target: { names } } = request;
  const paths: (readonly string[])[] = [];
  for (const path of parsePaths(await readPaths(request.request))) paths.push([...names, ...path]);
  const records = await findListedNames(root, paths);
  const answer = records.map(formatRecord).join("") + BUNDLE_END;
  return [200, "OK", { "content-type": BUNDLE_TYPE }, encoder.encode(answer)];
}

/**
 * Finds out by which names directories list what has these paths; what lies behind a link counts as absent.
 *
 * @param paths Those in one directory follow each other.
 */
export async function findListedNames(
  root: Root,
  paths: readonly (readonly string[])[],
): Promise<NameRecord[]> {
  const turns = new Turns();
  const records: NameRecord[] = [];
  for (let start = 0, stop; start < paths.length; start = stop) {
    const directory = paths[start]!.slice(0, -1);
    const names: string[] = [];
    for (stop = start; stop < paths.length; stop++) {
      const path = paths[stop]!;
      const isIn = path.length === directory.length + 1 &&
        directory.every((name, i) => path[i] === name);
      if (!isIn) break;
      names.push(path.at(-1)!);
    }
    const isServed = directory.length < MAX_DEPTH && directory.every(isServedName);
    if (isServed) records.push(...await findIn(root, directory, names, turns));
    else records.push(...names.map(() => ABSENT));
  }
  return records;
}

/** What a look at a name tells: what has it, if anything, or nothing. */
type Look = BigIntStats | null | "untold";

async function findIn(
  root: Root,
  directory: readonly string[],
  names: readonly string[],
  turns: Turns,
): Promise<NameRecord[]> {
  const path = pathWithoutLinks(root, directory);
  if (path === null) return names.map(() => ABSENT);
  const looks: Look[] = [];
  for (const name of names) {
    if (turns.isOver) await turns.next(root.path);
    looks.push(isServedName(name) ? lookAt(prefixOf(path) + name) : null);
  }
  if (looks.every((look) => look === null)) return names.map(() => ABSENT);
  const listed = new Set<string>();
  try {
    for await (const { name } of Deno.readDir(path)) listed.add(name);
  } catch (error) {
    if (!isAbsence(error)) throw error;
    return looks.map((look) => look === null ? ABSENT : UNTOLD);
  }
  let entries: Entries | null = null;
  const records: NameRecord[] = [];
  for (const [i, look] of looks.entries()) {
    const name = names[i]!;
    if (look === null) records.push(ABSENT);
    else if (listed.has(name)) records.push({ status: 200, name });
    else if (look === "untold") records.push(UNTOLD);
    else {
      entries ??= await Entries.read(root, path, listed, turns);
      const found = entries.nameOf(look);
      records.push(found === null ? UNTOLD : { status: 200, name: found });
    }
  }
  // Another process may have exchanged a directory for a link meanwhile: then these are names from elsewhere.
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

/** The entries of a directory, by what they are. */
class Entries {
  readonly #byState = new Map<string, { readonly name: string; readonly state: BigIntStats }[]>();

  static async read(
    root: Root,
    path: string,
    names: Iterable<string>,
    turns: Turns,
  ): Promise<Entries> {
    const entries = new Entries();
    for (const name of names) {
      if (turns.isOver) await turns.next(root.path);
      const state = lookAt(prefixOf(path) + name);
      if (state === null || state === "untold") continue;
      const key = keyOf(state);
      const others = entries.#byState.get(key);
      if (others === undefined) entries.#byState.set(key, [{ name, state }]);
      else others.push({ name, state });
    }
    return entries;
  }

  /** The name of an entry; `null` if none, or more than one, can be it. */
  nameOf(state: BigIntStats): string | null {
    const alike = this.#byState.get(keyOf(state)) ?? [];
    const same = alike.filter((entry) => isSameFile(entry.state, state));
    // Some file systems number a file for each of its spellings anew: all else that they say of it is the same.
    const [only, another] = same.length > 0 ? same : alike;
    return only === undefined || another !== undefined ? null : only.name;
  }
}

function keyOf({ mode, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return `${mode} ${size} ${mtimeNs} ${ctimeNs}`;
}
