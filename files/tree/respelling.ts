import type { TreeAttempt } from "./attempt.ts";
import type { DeletionScope } from "./plan.ts";
import { normalizeName, type TreeNode } from "./tree.ts";

export interface RespelledNode {
  readonly node: TreeNode;
  readonly listedName: string | null;
}

/**
 * The scopes in which no entry is deleted. The value is the first node whose name the
 * target's disk has changed, or `null` if the directory can't be listed.
 */
export type RespelledScopes = ReadonlyMap<DeletionScope, RespelledNode | null>;

/**
 * In a directory with a changed name, no entry may be deleted: any extra entry could be the entry
 * with this name.
 */
export async function findRespelledScopes(
  attempt: TreeAttempt,
  scopes: ReadonlySet<DeletionScope>,
  onError: (scope: DeletionScope, error: unknown) => void,
): Promise<Map<DeletionScope, RespelledNode | null>> {
  const respelledScopes = new Map<DeletionScope, RespelledNode | null>();
  await attempt.run([[...scopes]], async ({ client, target }, scope) => {
    const { directory, expectedNodes, skippedNodes } = scope;
    try {
      const entries = await target.listDirectory(directory.path);
      const listedNames = entries && new Set(entries.map(({ name }) => name));
      let renamedNode = listedNames &&
        expectedNodes.find((node) => !listedNames.has(node.name));
      for (const skippedNode of skippedNodes) {
        if (renamedNode === undefined && await target.lookUpEntry(skippedNode) !== null) {
          renamedNode = skippedNode;
        }
      }
      if (renamedNode === undefined) return;
      const key = renamedNode && normalizeName(renamedNode.name);
      const listedName = entries?.find(({ name }) => normalizeName(name) === key)?.name ?? null;
      respelledScopes.set(scope, renamedNode && { node: renamedNode, listedName });
    } catch (error) {
      await attempt.rethrowIfFatal(error, client);
      respelledScopes.set(scope, null);
      onError(scope, error);
    }
  });
  return respelledScopes;
}
