/** A directory that gives way to a file. */

import { Buffer } from "node:buffer";
import { type BigIntStats, rmdirSync } from "node:fs";
import { dirname } from "node:path";
import { BodyError } from "../base/errors.ts";
import { isSameFile, statOrNull } from "../disk/names.ts";
import { Turns } from "../disk/files.ts";
import { Aside, recoverIn } from "./aside.ts";
import { digestTree, type TreeEntry } from "./entries.ts";
import { findLeftovers } from "./leftovers.ts";
import { readTree } from "./listing.ts";
import { Refusal } from "./refusal.ts";
import { prefixOf, unusedPath } from "./reserved.ts";
import type { Condition, Replaceable, Root } from "./root.ts";

/** The most entries of a directory that gives way: all of them are held in memory. */
const MAX_ENTRIES = 100_000;

/** A file that has its name, and what became of a directory that had it. */
export interface Replaced<Placed> {
  /** The result of giving the file its name. */
  readonly placed: Placed;
  /** The names of the files that were removed. */
  readonly removed: readonly (readonly string[])[];
  /** The refusal to remove what the client has not seen, which is kept aside. */
  readonly kept: Refusal | null;
}

/**
 * Gives a file its name. A directory gives way to it if the directory has exactly what the client has
 * seen: it is put aside before, put back if the file can't get its name, and removed afterwards.
 *
 * @param condition Decides, by the directory, whether it may be removed.
 * @param confirm Called before anything is changed.
 * @param place Gives the file its name, in the turn in which it is called.
 * @throws {Refusal} if the directory has anything else, or anything that a peer could not delete; then
 * nothing has changed.
 */
export async function replaceDirectory<Placed>(
  root: Root,
  names: readonly string[],
  replaceable: Replaceable,
  condition: Condition,
  confirm: () => Promise<void>,
  place: () => Placed,
): Promise<Replaced<Placed>> {
  const seen = await look(root, names, replaceable, condition);
  await confirm();
  using aside = seen?.putAside() ?? null;
  let placed: Placed;
  try {
    placed = place();
  } catch (error) {
    aside?.putBack();
    throw error;
  }
  const removed: (readonly string[])[] = [];
  const kept = await seen?.remove(aside!, (path) => removed.push([...names, ...path])) ?? null;
  await recoverIn(dirname(root.pathOf(names)));
  return { placed, removed, kept };
}

/** Looks at the directory that may have to give way; `null` if there is none. */
async function look(
  root: Root,
  names: readonly string[],
  replaceable: Replaceable,
  condition: Condition,
): Promise<SeenDirectory | null> {
  if (replaceable.directory === null) return null;
  const { path, existing } = root.findFile(names, replaceable);
  if (!existing?.isDirectory()) return null;
  condition(existing);
  const seen = new SeenDirectory(path);
  await seen.read(root, replaceable.directory);
  return seen;
}

const { byteLength } = Buffer;

/** A directory that has what the client has seen. */
class SeenDirectory {
  readonly #path: string;
  readonly #turns = new Turns();
  readonly #entries = new Map<string, TreeEntry>();
  /** Each directory, and what is left over in it, before its names were read for the last time. */
  readonly #states = new Map<string, BigIntStats>();

  constructor(path: string) {
    this.#path = path;
  }

  /**
   * Reads all that is in it.
   *
   * @param digest The digest of the tree that the client has seen.
   * @throws {Refusal} if it is another tree, or somebody writes to something that is left over in it.
   */
  async read(root: Root, digest: string): Promise<void> {
    const turns = this.#turns;
    try {
      for await (const entries of readTree({ root, path: this.#path, turns })) {
        for (const entry of entries) this.#entries.set(entry.path.join("/"), entry);
        if (this.#entries.size > MAX_ENTRIES) {
          throw new Refusal(409, `more than ${MAX_ENTRIES} entries`);
        }
      }
    } catch (error) {
      throw error instanceof BodyError ? this.#changed() : error;
    }
    if (digestTree(this.#entries.values()) !== digest) throw this.#changed();
    await this.#readDirectory("");
    for (const [name, { kind }] of this.#entries) {
      if (turns.isOver) await turns.next(root.path);
      if (kind === "directory") await this.#readDirectory(name);
    }
  }

  /** Reads a directory once more: what comes from now on changes its state. */
  async #readDirectory(name: string): Promise<void> {
    const path = this.#at(name);
    checkWritable(path);
    this.#note(path);
    const { leftovers, names } = await findLeftovers(path);
    for (const left of leftovers) this.#note(left);
    const prefix = name === "" ? "" : `${name}/`;
    if (!names.every((each) => this.#entries.has(prefix + each))) throw this.#changed();
  }

  #note(path: string): void {
    const state = statOrNull(path);
    if (state === null) throw this.#changed();
    const first = this.#states.values().next().value ?? state;
    if (state.dev !== first.dev) throw new Refusal(409, `a disk is mounted at ${path}`);
    this.#states.set(path, state);
  }

  #at(name: string): string {
    return name === "" ? this.#path : prefixOf(this.#path) + name;
  }

  #changed(): Refusal {
    return new Refusal(409, `${this.#path} is not what the client has seen`);
  }

  /** Whether something in it is what the client has seen. A link to a file was listed as that file. */
  #isSeen(name: string, now: Deno.FileInfo): boolean {
    const entry = this.#entries.get(name);
    if (entry === undefined || entry.kind === "other") return false;
    if (entry.kind === "directory") return now.isDirectory;
    return now.isFile && now.size === entry.size &&
      (now.mtime?.getTime() ?? 0) === entry.modified.getTime();
  }

  /**
   * Puts it aside, after a last look at all that is in it, in the same turn.
   *
   * @throws {Refusal} if it is not what the client has seen, or a peer could not delete it.
   */
  putAside(): Aside {
    for (const [path, before] of this.#states) {
      const now = statOrNull(path);
      const isSame = now !== null && isSameFile(now, before) && now.mtimeNs === before.mtimeNs &&
        now.ctimeNs === before.ctimeNs;
      if (!isSame) throw this.#changed();
    }
    let longest = "";
    for (const name of this.#entries.keys()) {
      if (!this.#isSeen(name, Deno.lstatSync(this.#at(name)))) throw this.#changed();
      if (byteLength(name) > byteLength(longest)) longest = name;
    }
    return Aside.put(this.#path, longest);
  }

  /** Removes it from where it was put aside; returns why something stays there. */
  async remove(
    aside: Aside,
    onRemoved: (path: readonly string[]) => void,
  ): Promise<Refusal | null> {
    const nameOf = (path: string) => path.slice(aside.path.length + 1);
    return await aside.removeTree((path, now) => {
      return path === aside.path ? now.isDirectory : this.#isSeen(nameOf(path), now);
    }, (path) => onRemoved(this.#entries.get(nameOf(path))!.path));
  }
}

/**
 * Checks that this user may remove what is in a directory, which shows only when something is made
 * there.
 *
 * @throws the error of the system if that may not be.
 */
function checkWritable(directory: string): void {
  const path = unusedPath(directory);
  Deno.mkdirSync(path);
  rmdirSync(path);
}
