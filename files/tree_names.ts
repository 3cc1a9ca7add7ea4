/**
 * The names by which the target has the entries of the source. The disk of the target may ignore
 * case, or drop dots at the end: then it lists an entry by another name, or takes two names of the
 * source for the same.
 */

import type { NameRecord } from "./bundle.ts";
import type { Lanes } from "./lanes.ts";
import type { Route } from "./route.ts";
import { byName, type TreeNode } from "./tree.ts";

/** The most names that are asked for in a request. */
const BATCH_NAMES = 512;

/** The questions about names that a target answers. */
export interface NamingTarget {
  /** Finds the names by which the target lists nodes of the source; `null` if it can't tell. */
  listedNames(route: Route, nodes: readonly TreeNode[]): Promise<readonly NameRecord[] | null>;
  /** The names in a directory of the target; `null` if it is gone. */
  names(route: Route, path: readonly string[]): Promise<ReadonlySet<string> | null>;
}

/** Entries that the target lists by other names than the source. */
export class Spellings {
  /** The nodes of the target, by those of the source that they are. */
  readonly targets = new Map<TreeNode, TreeNode>();
  /**
   * Nodes of the source that the target takes for the same as another node of the source, with that
   * node; `null` where the other node can't be told.
   */
  readonly rivals = new Map<TreeNode, TreeNode | null>();
  /**
   * Nodes of the source to which nothing of another kind gives way: the entry of the target may
   * belong to another node of the source.
   */
  readonly contested = new Set<TreeNode>();
}

/**
 * The entries of a directory of the target, each with the node of the source that has claimed it.
 */
type Claims = Map<string, TreeNode>;

/** Claims an entry for a node; returns the node that has claimed it before, or `null`. */
function claim(claims: Claims, entry: string, node: TreeNode): TreeNode | null {
  const owner = claims.get(entry) ?? null;
  if (owner === null) claims.set(entry, node);
  return owner;
}

/** An entry of both ends; unless both are directories, nothing in it is looked for. */
type Pair = readonly [source: TreeNode, target: TreeNode];

/** A directory of both ends, in which the target may have a node of the source by another name. */
interface Doubtful {
  readonly target: TreeNode;
  readonly claims: Claims;
  /**
   * Nodes of the source that the target does not list by their names, in the order of their claims.
   */
  readonly unlisted: readonly TreeNode[];
  /** Nodes of the source to which an entry of another kind may have to give way. */
  readonly obstructed: readonly TreeNode[];
}

/** The names of a target, and the nodes of the source that they belong to. */
export class TargetNames {
  readonly #target: NamingTarget;
  readonly #lanes: Lanes;
  /** The names that the target had before anything was changed. */
  readonly spellings = new Spellings();
  /** Nodes of the source, taken at the target, that it lists by other names. */
  readonly respelled = new Map<TreeNode, string>();

  constructor(target: NamingTarget, lanes: Lanes) {
    this.#target = target;
    this.#lanes = lanes;
  }

  /**
   * Finds the nodes of the source that the target lists by other names. Asked for is each node that
   * the target does not list by the same name, in directories in which the target lists anything
   * that the source does not have, or has as another kind.
   */
  async find(source: TreeNode, target: TreeNode): Promise<void> {
    for (let pairs: Pair[] = [[source, target]]; pairs.length > 0;) {
      const doubtful = [...doubtfulIn(pairs)];
      const names = await this.#ask(doubtful.flatMap(({ unlisted }) => unlisted));
      pairs = doubtful.flatMap((directory) => this.#findIn(directory, names));
    }
  }

  /**
   * Finds the nodes that the entries of a directory belong to.
   *
   * @returns The entries that the target has by another name.
   */
  #findIn(
    { target, claims, unlisted, obstructed }: Doubtful,
    names: ReadonlyMap<TreeNode, NameRecord> | null,
  ): Pair[] {
    const { targets, rivals, contested } = this.spellings;
    const found: Pair[] = [];
    // If the target can't tell the entry of one node, that entry may be any in the directory.
    const isUntold = names === null || unlisted.some((node) => names.get(node)?.status === 409);
    for (const node of isUntold ? obstructed : []) contested.add(node);
    for (const node of unlisted) {
      const record = names?.get(node);
      if (record?.status === 409) rivals.set(node, null);
      const there = record?.status === 200 ? target.get(record.name) : null;
      // An entry that is new since the target was listed shows when the node is copied.
      if (there === null || there.name === node.name) continue;
      const rival = claim(claims, there.name, node);
      if (rival !== null) {
        rivals.set(node, rival);
        contested.add(rival);
        continue;
      }
      targets.set(node, there);
      found.push([node, there]);
    }
    return found;
  }

  /**
   * Finds nodes of the source whose name leads, at the target, to the entry of another node of the
   * source. The entry belongs to the node whose exact name the target lists, or else to the first
   * one by name. The result has `null` where that node can't be told.
   *
   * @param suspects Nodes that the target did not list, and whose names are taken nevertheless.
   * @param root The root of the target as it was listed.
   */
  async rivalsOf(
    suspects: readonly TreeNode[],
    root: TreeNode | null,
  ): Promise<ReadonlyMap<TreeNode, TreeNode | null>> {
    const rivals = new Map<TreeNode, TreeNode | null>();
    for (const [parent, nodes] of Map.groupBy(suspects, ({ parent }) => parent!)) {
      const target = this.#targetOf(parent, root);
      const claims: Claims = new Map();
      const unlisted: TreeNode[] = [];
      for (const node of [...parent.children!.values()].sort(byName)) {
        if (node.kind === "other") continue;
        const there = target?.get(node.name) ?? this.spellings.targets.get(node);
        if (there === undefined) unlisted.push(node);
        else claim(claims, there.name, node);
      }
      const names = await this.#ask(unlisted);
      const isSuspect = new Set(nodes);
      unlisted.sort((one, other) => Number(isSuspect.has(one)) - Number(isSuspect.has(other)));
      for (const node of unlisted) {
        // A node that has gone meanwhile is in nobody's way.
        const record = names === null ? { status: 409 } as const : names.get(node);
        const rival = record?.status === 200 ? claim(claims, record.name, node) : null;
        if (record?.status === 200 && record.name !== node.name) {
          this.respelled.set(node, record.name);
        }
        const hasRival = rival !== null || record?.status === 409;
        if (hasRival && isSuspect.has(node)) rivals.set(node, rival);
      }
    }
    return rivals;
  }

  /** The node of the target for a directory of the source. */
  #targetOf(node: TreeNode, root: TreeNode | null): TreeNode | null {
    if (node.parent === null) return root;
    const there = this.#targetOf(node.parent, root)?.get(node.name);
    return there ?? this.spellings.targets.get(node) ?? null;
  }

  /**
   * The first of some nodes that a directory of the target does not list by its name now; `null` if
   * all are listed, and `"gone"` if there is no such directory.
   */
  async firstUnlisted(
    route: Route,
    directory: TreeNode,
    wanted: readonly TreeNode[],
  ): Promise<TreeNode | "gone" | null> {
    const names = await this.#target.names(route, directory.path);
    if (names === null) return "gone";
    return wanted.find(({ name }) => !names.has(name)) ?? null;
  }

  /**
   * Asks by which names the target lists nodes, in batches; returns `null` if the target can't
   * tell.
   */
  async #ask(nodes: readonly TreeNode[]): Promise<ReadonlyMap<TreeNode, NameRecord> | null> {
    const found = new Map<TreeNode, NameRecord>();
    let canTell = true;
    const batches: TreeNode[][] = [];
    for (let start = 0; start < nodes.length; start += BATCH_NAMES) {
      batches.push(nodes.slice(start, start + BATCH_NAMES));
    }
    await this.#lanes.run([batches], async (route, batch) => {
      const records = canTell ? await this.#target.listedNames(route, batch) : null;
      if (records === null) canTell = false;
      for (const [i, record] of records?.entries() ?? []) {
        found.set(batch[i]!, record);
      }
    });
    return canTell ? found : null;
  }
}

/** Finds doubtful directories among some, and among those in them that both ends have. */
function* doubtfulIn(pairs: readonly Pair[]): Generator<Doubtful, void, void> {
  const all = [...pairs];
  // The array grows by the directories in each directory.
  for (const [source, target] of all) {
    const claims: Claims = new Map();
    const unlisted: TreeNode[] = [];
    const obstructed: TreeNode[] = [];
    let common = 0;
    for (const node of source.children?.values() ?? []) {
      if (node.reason === "name" || node.reason === "reserved") continue;
      const there = target.get(node.name);
      if (there === null) {
        unlisted.push(node);
        continue;
      }
      common++;
      claims.set(there.name, node);
      if (node.kind !== there.kind) obstructed.push(node);
      else if (node.kind === "directory") all.push([node, there]);
    }
    const hasOthers = (target.children?.size ?? 0) > common;
    if (unlisted.length === 0 || !hasOthers && obstructed.length === 0) continue;
    yield { target, claims, unlisted: unlisted.sort(byName), obstructed };
  }
}
