/** How two trees differ, and what makes one the copy of the other. No input, no output. */

import { checkBoolean } from "../base/checks.ts";
import { digestTree } from "./entries.ts";
import { NOTHING, type Replaceable } from "./root.ts";
import { TransferError } from "./transfer_error.ts";
import { byName, isSameTime, show, type TreeNode } from "./tree.ts";
import type { PlanRules } from "./tree_options.ts";
import { Spellings } from "./tree_names.ts";

/** What is in the way, and goes when what takes its place has arrived. */
export interface Obstacle {
  readonly kind: "link" | "file" | "directory";
  readonly node: TreeNode;
  /** What is deleted for it: nothing for a link; a directory with everything in it, innermost first. */
  readonly nodes: readonly TreeNode[];
}

/** What may give way at the target: exactly what was seen there. */
export function replaceableFor(obstacle: Obstacle | null): Replaceable {
  if (obstacle === null) return NOTHING;
  const { kind, node, nodes } = obstacle;
  if (kind === "link") return { ...NOTHING, link: true };
  if (kind === "file") {
    return { ...NOTHING, file: { size: node.size, modified: new Date(node.modified) } };
  }
  const depth = node.path.length;
  const entries = nodes.filter((each) => each !== node).map(({ entry }) => {
    return { ...entry, path: entry.path.slice(depth) };
  });
  return { ...NOTHING, directory: digestTree(entries) };
}

/** A file that is to be copied. */
export interface Copy {
  /** Of the source. */
  readonly node: TreeNode;
  /** What the target has of it. */
  readonly target: TreeNode | null;
  /** What is in its way; a file is in the way of a directory that it is in. */
  readonly obstacle: Obstacle | null;
  /** Whether nothing may have its name: else the target takes it for one with another name. */
  readonly isNew: boolean;
}

/** A directory that is to be made. */
export type Make = Pick<Copy, "node" | "obstacle">;

/** A directory with a file in its way, which goes once the first file of the directory has arrived. */
export interface Blocked {
  readonly obstacle: Obstacle;
  readonly copies: Copy[];
  /** It, and those in it. */
  readonly makes: Make[];
}

/** A directory of both ends, of which all that is superfluous goes, or nothing. */
export interface Judged {
  /** The source's. */
  readonly directory: TreeNode;
  /** The nodes that the target must list by the same names. */
  readonly wanted: TreeNode[];
}

/** Something of the target that the source does not have. */
interface Deletion {
  readonly node: TreeNode;
  /** The innermost directory on the way to it that both ends have by the same name. */
  readonly judged: Judged;
}

/** A span of time, in milliseconds since 1970. */
export interface TimeSpan {
  /** The moment after which it begins. */
  readonly after: number;
  /** Its last moment. */
  readonly until: number;
}

/** A directory that can't be made, why, and what is below it: each directory before what is in it. */
interface Unmade {
  readonly error: unknown;
  readonly below: TreeNode[];
}

/** What both ends have of one path, and what is so for all that is below it. */
interface Pair {
  readonly source: TreeNode | null;
  readonly target: TreeNode | null;
  /** The directory because of which nothing below can be copied; `null` if it can. */
  readonly unmade: Unmade | null;
  /** The directory, with a file in its way, that it is in. */
  blocked: Blocked | null;
}

/** What is to be done to make the target like the source. */
export class Plan {
  readonly copies: Copy[] = [];
  /** Files of equal sizes, whose contents have to be compared. */
  readonly compares: Copy[] = [];
  readonly blocked: Blocked[] = [];
  /** Missing directories, each before what is in it. */
  readonly makes: Make[] = [];
  readonly unchanged: TreeNode[] = [];
  readonly skipped: { readonly node: TreeNode; readonly reason: string }[] = [];
  readonly failed: { readonly node: TreeNode; readonly error: unknown }[] = [];
  /** Innermost first. */
  readonly deletions: Deletion[] = [];
  /** Superfluous entries of the target that stay, as they can't be named. */
  readonly unnameable: TreeNode[] = [];
  /** Directories of the target that stay because of what is in them. */
  readonly staying = new Set<TreeNode>();
  /** Whether something of the source is not known. */
  isIncomplete = false;
  /** Whether nothing is left of the source. */
  isEmpty = true;
  readonly #rules: PlanRules;
  readonly #unsettled: TimeSpan | null;
  readonly #spellings: Spellings;

  /** @param unsettled Files that the source has modified in this time are still being written. */
  constructor(
    source: TreeNode,
    target: TreeNode | null,
    rules: PlanRules,
    unsettled: TimeSpan | null = null,
    spellings: Spellings = new Spellings(),
  ) {
    this.#rules = rules;
    this.#unsettled = unsettled;
    this.#spellings = spellings;
    this.#compare({ source, target, unmade: null, blocked: null }, null);
  }

  fail(node: TreeNode, error: unknown): void {
    this.failed.push({ node, error });
  }

  /** Something of the target stays, and so do the directories that it is in. */
  keep({ parent }: TreeNode): void {
    for (let node = parent; node !== null && !this.staying.has(node); node = node.parent) {
      this.staying.add(node);
    }
  }

  /** Decides about a file of which it is known what the target has of it. */
  #decideContent(node: TreeNode, target: TreeNode | null): void {
    const { compare, replace } = this.#rules;
    const copy = { node, target, obstacle: null, isNew: target === null };
    if (target === null) return void this.copies.push(copy);
    // Whether an unreadable one is a file only the attempt tells.
    const isFile = target.kind === "file" || target.reason === "unreadable";
    if (!isFile) return this.fail(node, inTheWay(node, target));
    const hasSize = target.kind === "file" && target.size === node.size;
    if (hasSize && compare === "time" && isSameTime(target.modified, node.modified)) {
      this.unchanged.push(node);
    } else if (hasSize && (compare === "digest" || (compare === "time" && !replace))) {
      if (node.size === 0) this.unchanged.push(node);
      else this.compares.push(copy);
    } else if (replace) {
      this.copies.push(copy);
    } else {
      this.fail(node, existsAlready(node));
    }
  }

  /**
   * Compares what is in a directory.
   *
   * @param above What it is judged by, if the target has it by another name, or the source does not
   * have it.
   */
  #compare(directory: Pair, above: Judged | null): void {
    const { source } = directory;
    const own: Judged = { directory: source!, wanted: [] };
    const judged = above ?? own;
    for (const pair of this.#pairsIn(directory)) {
      // What the target has of it, which nobody can tell, stays, whatever becomes of it here.
      const isUntold = pair.source !== null && this.#spellings.rivals.get(pair.source) === null;
      if (isUntold) own.wanted.push(pair.source!);
      if (!this.#isIncluded(pair)) continue;
      if (pair.source !== null && pair.source.reason !== "reserved") this.isEmpty = false;
      if (this.#decide(pair, own)) {
        const isPlain = pair.target === null || pair.source?.name === pair.target.name;
        this.#compare(pair, above === null && isPlain ? null : judged);
      }
      if (!this.#rules.delete || pair.target === null) continue;
      // An entry that the source has by another name is no exception: the rule for all names keeps
      // it.
      const isSuperfluous = pair.source === null || this.#spellings.targets.has(pair.source);
      if (!isSuperfluous) continue;
      if (pair.target.reason === "name") this.unnameable.push(pair.target);
      if (pair.target.kind === "other") this.keep(pair.target);
      else this.deletions.push({ node: pair.target, judged });
    }
  }

  /** The entries of a directory: those of the source by name, then those of the target alone. */
  *#pairsIn({ source, target, unmade, blocked }: Pair): Generator<Pair, void, void> {
    const found = new Set<TreeNode>();
    for (const child of [...source?.children?.values() ?? []].sort(byName)) {
      const there = child.reason === "name"
        ? null
        : target?.get(child.name) ?? this.#spellings.targets.get(child) ?? null;
      if (there !== null) found.add(there);
      yield { source: child, target: target && there, unmade, blocked };
    }
    for (const child of target?.children?.values() ?? []) {
      if (!found.has(child)) yield { source: null, target: child, unmade, blocked };
    }
  }

  /** Asks the filter; what it excludes is at neither end. */
  #isIncluded({ source, target }: Pair): boolean {
    const node = source ?? (this.#rules.delete ? target : null);
    if (node === null || this.#passesFilter(node)) return true;
    if (target !== null) this.keep(target);
    return false;
  }

  #passesFilter(node: TreeNode): boolean {
    const { filter } = this.#rules;
    if (filter === undefined) return true;
    const passes: unknown = filter(node.entry);
    // The promise of an async function would include everything, and a forgotten `return` nothing.
    checkBoolean("filter: what it returns", passes);
    return passes;
  }

  /**
   * Decides what is done about a pair.
   *
   * @returns Whether what is in it has to be compared.
   */
  #decide(pair: Pair, { wanted }: Judged): boolean {
    const { source, target, unmade } = pair;
    if (source === null) return target!.kind === "directory";
    unmade?.below.push(source);
    const rival = this.#spellings.rivals.get(source);
    const isSkipped = source.kind === "other" ||
      source.kind === "file" && this.#isUnsettled(source);
    // By whatever name the target has it, nobody may delete it.
    if (isSkipped && target !== null) wanted.push(source);
    if (source.kind === "other") this.#leaveOut(source);
    else if (source.kind === "directory") return this.#decideDirectory(pair, wanted, rival);
    else if (isSkipped) {
      this.skipped.push({ node: source, reason: "still being written" });
    } else if (unmade !== null) this.fail(source, directoryMissing(source, unmade.error));
    else if (rival !== undefined) this.fail(source, sameFile(source, rival));
    else {
      wanted.push(source);
      this.#decideFile(pair);
    }
    return false;
  }

  #isUnsettled({ modified }: TreeNode): boolean {
    const span = this.#unsettled;
    return span !== null && modified > span.after && modified <= span.until;
  }

  #leaveOut(node: TreeNode): void {
    const { reason } = node;
    if (reason !== "unreadable" && reason !== "name") {
      return void this.skipped.push({ node, reason: reason! });
    }
    this.isIncomplete = true;
    const error = reason === "name"
      ? problem(
        "BAD_NAME",
        node,
        ": its name can't be sent: it is not UTF-8, or too long; rename it",
      )
      : problem(
        "UNREADABLE",
        node,
        " can't be read where it is; change its permissions, or leave it out by a filter",
      );
    this.fail(node, error);
  }

  #decideDirectory(
    pair: Pair,
    wanted: TreeNode[],
    rival: TreeNode | null | undefined,
  ): boolean {
    const { source, target, unmade, blocked } = pair;
    const node = source!;
    wanted.push(node);
    if (unmade !== null) return true;
    if (rival !== undefined) {
      const own: Unmade = { error: sameFile(node, rival), below: [] };
      this.#compare({ ...pair, target: null, unmade: own }, null);
      this.fail(node, own.error);
      return false;
    }
    if (target?.kind === "directory") return true;
    if (target === null) {
      (blocked ?? this).makes.push({ node, obstacle: null });
      return true;
    }
    const mayGo = this.#mayGiveWay(node);
    if (target.kind === "file" && mayGo) {
      const obstacle = { kind: "file", node: target, nodes: [target] } as const;
      pair.blocked = { obstacle, copies: [], makes: [{ node, obstacle }] };
      this.blocked.push(pair.blocked);
      return true;
    }
    const own: Unmade = { error: inTheWay(node, target), below: [] };
    this.#compare({ ...pair, target: null, unmade: own }, null);
    const hasOnlyDirectories = own.below.every(({ kind }) => kind === "directory");
    if (hasOnlyDirectories && target.reason === "link" && mayGo) {
      // Nothing is below it, so that the link is not on the way to anything.
      this.makes.push({ node, obstacle: { kind: "link", node: target, nodes: [] } });
      for (const inner of own.below) this.makes.push({ node: inner, obstacle: null });
    } else {
      this.fail(node, own.error);
    }
    return false;
  }

  #decideFile({ source, target, blocked }: Pair): void {
    const node = source!;
    if (blocked !== null) {
      return void blocked.copies.push({ node, target: null, obstacle: null, isNew: true });
    }
    if (target?.kind !== "directory" && target?.reason !== "link") {
      return this.#decideContent(node, target);
    }
    const obstacle = this.#mayGiveWay(node) ? this.#obstacleOf(target) : null;
    if (obstacle === null) this.fail(node, inTheWay(node, target));
    else this.copies.push({ node, target: null, obstacle, isNew: false });
  }

  /** Whether something of another kind may give way to a node of the source. */
  #mayGiveWay(node: TreeNode): boolean {
    return this.#rules.delete && this.#rules.replace && !this.#spellings.contested.has(node);
  }

  /** What has to go for a file; `null` if it may not. */
  #obstacleOf(node: TreeNode): Obstacle | null {
    const nodes: TreeNode[] = [];
    if (node.kind === "other") return { kind: "link", node, nodes };
    return this.#collect(node, nodes) ? { kind: "directory", node, nodes } : null;
  }

  /** Collects a directory of the target, innermost first; false if something in it has to stay. */
  #collect(node: TreeNode, nodes: TreeNode[]): boolean {
    for (const child of node.children?.values() ?? []) {
      if (child.kind === "other" || !this.#passesFilter(child)) return false;
      if (child.kind === "file") nodes.push(child);
      else if (!this.#collect(child, nodes)) return false;
    }
    nodes.push(node);
    return true;
  }
}

function problem(
  code: TransferError["code"],
  node: TreeNode,
  text: string,
  options?: ErrorOptions,
): TransferError {
  return new TransferError(code, `${show(node.path)}${text}`, options);
}

export function existsAlready(node: TreeNode, options?: ErrorOptions): TransferError {
  const text = ": another file has this name at the target; with replace: true it is replaced";
  return problem("CONFLICT", node, text, options);
}

/**
 * The error of two names that are one file, or one directory, at the target.
 *
 * @param other The other one, if it is known.
 */
export function sameFile(node: TreeNode, other: TreeNode | null): TransferError {
  const text = other === null
    ? ": the target has it by another name, and can't tell which; rename it"
    : ` and ${show(other.path)} are one ${node.kind} at the target, which takes their names ` +
      "for the same; rename one of them";
  return problem("CONFLICT", node, text);
}

export function directoryMissing(node: TreeNode, cause: unknown): TransferError {
  const text = ": a directory that it is in could not be made at the target";
  return problem("CONFLICT", node, text, { cause });
}

function inTheWay(node: TreeNode, { kind, reason }: TreeNode): TransferError {
  const what = kind !== "other"
    ? `a ${kind}`
    : reason === "link"
    ? "a symbolic link, which is not followed,"
    : reason === "special"
    ? "a pipe, a socket or a device"
    : "something that can't be read";
  const advice = reason === "link"
    ? "; with delete: true it gives way, but only to a file"
    : kind !== "other"
    ? "; with delete: true it gives way, unless something in it has to stay"
    : "";
  const text = `: ${what} has this name at the target${advice}; remove or rename one of the two`;
  return problem("CONFLICT", node, text);
}
