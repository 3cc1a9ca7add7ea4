/**
 * The last step of a call with `delete`: superfluous entries of the target are deleted. If an entry
 * of the source has the same name as a superfluous entry of another kind, the entry of the source
 * has failed, and the next call copies it.
 */

import type { TreeResult } from "../errors.ts";
import { isUnanswered } from "../transfer_error.ts";
import type { TreeAttempt, TreeWorker } from "./attempt.ts";
import type { DeletionScope, Plan } from "./plan.ts";
import type { TreeTarget } from "./sides.ts";
import { normalizeName, type TreeNode } from "./tree.ts";
import { renamedByDiskError, unnameableError } from "./tree_errors.ts";

interface RespelledNode {
  readonly node: TreeNode;
  readonly listedName: string | null;
}

/**
 * The scopes in which no entry is deleted. The value is the first node whose name the target's disk
 * has changed, or `null` if the directory can't be listed.
 */
type RespelledScopes = Map<DeletionScope, RespelledNode | null>;

export class TreeDeletions {
  readonly #attempt: TreeAttempt;
  readonly #plan: Plan;

  constructor(attempt: TreeAttempt, plan: Plan) {
    this.#attempt = attempt;
    this.#plan = plan;
  }

  async run(): Promise<TreeResult["deletionsSkipped"]> {
    const skipReason = this.#findSkipReason();
    if (skipReason !== null) return skipReason;
    const respelledScopes = await this.#findRespelledScopes();
    await this.#deleteAll(respelledScopes);
    for (const node of this.#plan.unnameableNodes) {
      this.#attempt.report.reportFailed(node, unnameableError(node), "target");
    }
    return [...respelledScopes.values()].some((respelledNode) => respelledNode !== null)
      ? "spelling"
      : null;
  }

  #findSkipReason(): TreeResult["deletionsSkipped"] {
    const { report } = this.#attempt;
    const { isIncomplete, toleratedFailureCount } = this.#plan;
    if (isIncomplete) return "incomplete";
    return report.failureCount > toleratedFailureCount ? "failed" : null;
  }

  /**
   * In a directory with a changed name, no entry may be deleted: any extra entry could be the entry
   * with this name.
   */
  async #findRespelledScopes(): Promise<RespelledScopes> {
    const respelledScopes: RespelledScopes = new Map();
    // In a dry run no file was copied that could show changed names.
    if (this.#attempt.settings.dryRun) return respelledScopes;
    const { deletions, keptDirectories } = this.#plan;
    const scopes = new Set<DeletionScope>();
    for (const { node, scope } of deletions) if (!keptDirectories.has(node)) scopes.add(scope);
    await this.#attempt.run([[...scopes]], async ({ client, target }, scope) => {
      try {
        const respelledNode = await findRespelledNode(target, scope);
        if (respelledNode !== undefined) respelledScopes.set(scope, respelledNode);
      } catch (error) {
        await this.#attempt.rethrowIfFatal(error, client);
        respelledScopes.set(scope, null);
        this.#attempt.report.reportFailed(scope.directory, error, "target");
      }
    });
    return respelledScopes;
  }

  async #deleteAll(respelledScopes: RespelledScopes): Promise<void> {
    const { report, settings } = this.#attempt;
    const { deletions, keptDirectories } = this.#plan;
    const deletedNodes: TreeNode[] = [];
    for (const { node, scope } of deletions) {
      if (respelledScopes.has(scope)) this.#keep(node);
      else if (!keptDirectories.has(node)) deletedNodes.push(node);
    }
    // Delete entries before their directory, and entries of equal depth at the same time.
    for (const nodes of groupByDepth(deletedNodes)) {
      if (settings.dryRun) nodes.forEach((node) => report.reportDeleted(node));
      else await this.#attempt.run([nodes], (worker, node) => this.#deleteNode(worker, node));
    }
    for (const [{ directory }, respelledNode] of respelledScopes) {
      if (respelledNode === null) continue;
      const { node, listedName } = respelledNode;
      report.reportFailed(directory, renamedByDiskError(node, listedName), "target");
    }
  }

  async #deleteNode({ client, target }: TreeWorker, node: TreeNode): Promise<void> {
    if (this.#plan.keptDirectories.has(node)) return;
    const { report } = this.#attempt;
    try {
      await target.remove(node);
    } catch (error) {
      const mayBeDeleted = isUnanswered(error) || this.#attempt.settings.signal.aborted;
      if (mayBeDeleted) report.noteUnansweredDeletion(node);
      await this.#attempt.rethrowIfFatal(error, client);
      this.#keep(node);
      return report.reportFailed(node, error, "target");
    }
    report.reportDeleted(node);
  }

  #keep(node: TreeNode): void {
    this.#plan.keptDirectories.add(node);
    this.#plan.keepParents(node);
  }
}

/** Resolves to `undefined` if the target lists each name, and to `null` if it lists none. */
async function findRespelledNode(
  target: TreeTarget,
  { directory, expectedNodes, skippedNodes }: DeletionScope,
): Promise<RespelledNode | null | undefined> {
  const entries = await target.listDirectory(directory.path);
  if (entries === null) return null;
  const listedNames = new Set(entries.map(({ name }) => name));
  let node = expectedNodes.find(({ name }) => !listedNames.has(name));
  for (const skippedNode of skippedNodes) {
    if (node === undefined && await target.lookUpEntry(skippedNode) !== null) node = skippedNode;
  }
  if (node === undefined) return undefined;
  const key = normalizeName(node.name);
  return {
    node,
    listedName: entries.find(({ name }) => normalizeName(name) === key)?.name ?? null,
  };
}

function groupByDepth(nodes: readonly TreeNode[]): TreeNode[][] {
  const levels = Map.groupBy(nodes, ({ path }) => path.length);
  return [...levels].sort(([a], [b]) => b - a).map(([, level]) => level);
}
