/**
 * The last step of a call with `delete`: superfluous entries of the target are deleted. If an entry
 * of the source has the same name as a superfluous entry of another kind, the entry of the source
 * has failed, and the next call copies it.
 */

import type { TreeResult } from "../errors.ts";
import type { TreeAttempt, TreeWorker } from "./attempt.ts";
import type { DeletionScope, Plan } from "./plan.ts";
import { findRespelledScopes, type RespelledNode, type RespelledScopes } from "./respelling.ts";
import type { TreeNode } from "./tree.ts";
import { renamedByDiskError, unnameableError } from "./tree_errors.ts";

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

  async #findRespelledScopes(): Promise<Map<DeletionScope, RespelledNode | null>> {
    const { report, settings } = this.#attempt;
    // In a dry run no file was copied that could show changed names.
    if (settings.dryRun) return new Map();
    const { deletions, keptDirectories } = this.#plan;
    const scopes = new Set<DeletionScope>();
    for (const { node, scope } of deletions) if (!keptDirectories.has(node)) scopes.add(scope);
    return await findRespelledScopes(this.#attempt, scopes, ({ directory }, error) => {
      report.reportFailed(directory, error, "target");
    });
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

function groupByDepth(nodes: readonly TreeNode[]): TreeNode[][] {
  const levels = Map.groupBy(nodes, ({ path }) => path.length);
  return [...levels].sort(([a], [b]) => b - a).map(([, level]) => level);
}
