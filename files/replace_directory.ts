/** A directory that gives way to a file. */

import type { BigIntStats } from "node:fs";
import { dirname } from "node:path";
import { BodyError } from "../base/errors.ts";
import { readNames, statOrNull } from "../disk/names.ts";
import { checkRemovable, Turns } from "../disk/files.ts";
import { Aside, recoverIn } from "./aside.ts";
import { digestTree, type ListedEntry } from "./entries.ts";
import { isUnchanged } from "./file_pieces.ts";
import { findLeftovers } from "./leftovers.ts";
import { readTree } from "./listing.ts";
import { Refusal } from "./refusal.ts";
import { prefixOf, unusedPath } from "./reserved.ts";
import { type Complete, type Move, type Moved, NOTHING, type Root } from "./root.ts";

/** The most entries of a directory that gives way: all of them are held in memory. */
const MAX_ENTRIES = 100_000;

/** The outcome for a file that was given its name, and for a directory that had the name. */
interface Replaced extends Moved {
  /** The names of the files that were removed. */
  readonly removed: readonly (readonly string[])[];
  /** The refusal to remove a part that the client has not seen, and that is kept aside. */
  readonly kept: Refusal | null;
}

/**
 * Gives a file its name, as {@linkcode Root.place} does. A directory that has the name gives way if
 * the client has seen exactly its content: the directory is put aside, put back if the file can't
 * get the name, and removed afterwards.
 *
 * @param move Its condition decides, by the directory, whether the directory may be removed.
 * @param confirm Called before anything is changed.
 * @throws {Refusal} if the directory has anything else, or anything that a peer could not delete;
 * then nothing has changed.
 */
export async function replaceDirectory(
  root: Root,
  names: readonly string[],
  file: Complete,
  move: Move,
  confirm: () => Promise<void>,
): Promise<Replaced> {
  await recoverIn(dirname(root.pathOf(names)));
  const seen = await look(root, names, move);
  await confirm();
  using aside = seen?.putAside(file.path) ?? null;
  let moved: Moved;
  try {
    moved = root.place(names, file, move);
  } catch (error) {
    aside?.putBack();
    throw error;
  }
  const removed: (readonly string[])[] = [];
  const kept = await aside?.removeTree(
    (name, now) => seen!.isSeen(name, now),
    (name) => removed.push([...names, ...seen!.entries.get(name)!.path]),
  ) ?? null;
  return { ...moved, removed, kept };
}

/** Looks at the directory that has the name and may give way; `null` if there is none. */
async function look(
  root: Root,
  names: readonly string[],
  { replaceable = NOTHING, condition }: Move,
): Promise<SeenDirectory | null> {
  if (replaceable.directory === null) return null;
  const { path, existing } = root.findFile(names, replaceable);
  if (!existing?.isDirectory()) return null;
  condition?.(existing);
  const seen = new SeenDirectory(path);
  await seen.read(root, replaceable.directory);
  return seen;
}

/** A directory with exactly the content that the client has seen. */
class SeenDirectory {
  readonly #path: string;
  readonly #turns = new Turns();
  /** All entries, by their paths from the directory on. */
  readonly entries = new Map<string, ListedEntry>();
  /**
   * The state of each directory and leftover, from before the last time that its names were read.
   */
  readonly #states = new Map<string, BigIntStats>();

  constructor(path: string) {
    this.#path = path;
  }

  /**
   * Reads the whole directory.
   *
   * @param digest The digest of the tree that the client has seen.
   * @throws {Refusal} if there is another tree, or if somebody still writes to a leftover in it.
   */
  async read(root: Root, digest: string): Promise<void> {
    const turns = this.#turns;
    try {
      for await (const entries of readTree({ root, path: this.#path, turns })) {
        for (const entry of entries) this.entries.set(entry.path.join("/"), entry);
        if (this.entries.size > MAX_ENTRIES) {
          throw new Refusal(409, `more than ${MAX_ENTRIES} entries`);
        }
      }
    } catch (error) {
      throw error instanceof BodyError ? this.#changed() : error;
    }
    if (digestTree(this.entries.values()) !== digest) throw this.#changed();
    await this.#readDirectory("");
    for (const [name, { kind, link }] of this.entries) {
      if (turns.isOver) await turns.next(root.path);
      // A link to a file is listed as that file.
      if (kind === "other" || link) throw this.#changed();
      if (kind === "directory") await this.#readDirectory(name);
    }
  }

  /**
   * Notes the state of a directory, and then reads its names once more: a change of names after
   * this is a change of the state that was noted.
   */
  async #readDirectory(name: string): Promise<void> {
    const path = name === "" ? this.#path : prefixOf(this.#path) + name;
    // An empty directory below needs no such check: to remove it takes the right to write above it.
    if (name === "" || (await readNames(path)).length > 0) checkRemovable(unusedPath(path));
    this.#note(path);
    const { leftovers, names } = await findLeftovers(path);
    for (const left of leftovers) this.#note(left);
    const prefix = name === "" ? "" : `${name}/`;
    if (!names.every((each) => this.entries.has(prefix + each))) throw this.#changed();
  }

  #note(path: string): void {
    const state = statOrNull(path);
    if (state === null) throw this.#changed();
    const first = this.#states.values().next().value ?? state;
    if (state.dev !== first.dev) throw new Refusal(409, `a disk is mounted at ${path}`);
    this.#states.set(path, state);
  }

  #changed(): Refusal {
    return new Refusal(409, `${this.#path} is not what the client has seen`);
  }

  /** Whether an entry, or with the name `""` the directory itself, is as the client has seen it. */
  isSeen(name: string, now: Deno.FileInfo): boolean {
    if (name === "") return now.isDirectory;
    const entry = this.entries.get(name);
    if (entry === undefined) return false;
    if (entry.kind === "directory") return now.isDirectory;
    return now.isFile && now.size === entry.size &&
      (now.mtime?.getTime() ?? 0) === entry.modified.getTime();
  }

  /**
   * Puts the directory aside, after a last look at each directory and leftover in it, in the same
   * turn.
   *
   * @param successor The path of the file for which the directory gives way.
   * @throws {Refusal} if the client has not seen exactly this content, or a peer could not delete
   * it.
   */
  putAside(successor: string): Aside {
    for (const [path, before] of this.#states) {
      const now = statOrNull(path);
      if (now === null || !isUnchanged(before, now)) throw this.#changed();
    }
    return Aside.put(this.#path, successor);
  }
}
