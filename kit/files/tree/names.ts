/**
 * The names by which a target lists what the source has. Its disk may ignore case, compose letters
 * otherwise, or drop dots at the end: it shows that by names that are taken, and were not listed.
 */

import type { DirectoryEntry } from "../entries.ts";
import { comparableName, directoryAbove, type TreeNode } from "./tree.ts";
import type { Copy } from "./plan.ts";

export class TargetNames {
  readonly #entriesOf: (path: readonly string[]) => Promise<readonly DirectoryEntry[] | null>;
  /** Whether the target is there, and can't be listed: any name may be there. */
  isUnlisted = false;
  /** Directories of the source that the target lists by other names. */
  readonly respelled = new Set<TreeNode>();

  /** @param entriesOf Lists a directory of the target; `null` if it can't be listed. */
  constructor(entriesOf: (path: readonly string[]) => Promise<readonly DirectoryEntry[] | null>) {
    this.#entriesOf = entriesOf;
  }

  /** Whether the target has had a file all along, and lists it by another name. */
  isRespelled({ node, listed }: Copy): boolean {
    const isOther = listed !== undefined && listed.name !== node.name;
    return isOther || directoryAbove(node, this.respelled) !== null;
  }

  /**
   * The entries that the target lists for nodes whose names are taken there: of their own names, or
   * else of the only name that is alike and that the source does not have; `null` if there is none,
   * or if the source has another name that is alike and not listed: then the disk there takes two
   * names for the same. The result lacks nodes whose directory can't be listed.
   */
  async listedAs(
    nodes: readonly TreeNode[],
  ): Promise<ReadonlyMap<TreeNode, DirectoryEntry | null>> {
    const found = new Map<TreeNode, DirectoryEntry | null>();
    for (const [parent, some] of Map.groupBy(nodes, ({ parent }) => parent!)) {
      const entries = await this.#entriesOf(parent.path);
      if (entries === null) continue;
      const listed = new Map(entries.map((entry) => [entry.name, entry]));
      const others = entries.filter(({ name }) => parent.get(name) === null);
      const othersAlike = Map.groupBy(others, ({ name }) => comparableName(name));
      const unlisted = [...parent.children!.values()].filter(({ name }) => !listed.has(name));
      const unlistedAlike = Map.groupBy(unlisted, ({ name }) => comparableName(name));
      for (const node of some) {
        const key = comparableName(node.name);
        const rivals = unlistedAlike.get(key)?.filter((each) => each !== node) ?? [];
        const [only, another] = othersAlike.get(key) ?? [];
        const entry = listed.get(node.name) ?? (another === undefined ? only : undefined);
        found.set(node, rivals.length > 0 ? null : entry ?? null);
      }
    }
    return found;
  }
}
