/** The reference of a public module, as `deno doc --json` prints it. */

import { runOrThrow } from "./commands.ts";
import { ROOT } from "./tree.ts";

export interface DocNode {
  readonly kind?: string;
  readonly name?: string;
  readonly location?: { readonly filename: string; readonly line: number };
  readonly jsDoc?: { readonly doc?: string; readonly tags?: readonly DocTag[] };
  readonly accessibility?: "private" | "protected" | "public";
  readonly isStatic?: boolean;
  readonly params?: readonly Parameter[];
  readonly functionDef?: { readonly params: readonly Parameter[]; readonly hasBody?: boolean };
  readonly def?: { readonly [kind: string]: readonly DocNode[] } & {
    readonly params?: readonly Parameter[];
    readonly hasBody?: boolean;
  };
}

interface DocTag {
  readonly kind: string;
  readonly name?: string;
  readonly doc?: string;
  readonly tsType?: { readonly repr: string };
}

export interface Parameter {
  readonly kind: string;
  readonly name?: string;
  readonly left?: Parameter;
  readonly arg?: Parameter;
}

interface ModuleDoc {
  readonly module_doc: DocNode["jsDoc"];
  readonly symbols: readonly { readonly name: string; readonly declarations: DocNode[] }[];
}

export async function readDoc(path: string): Promise<ModuleDoc> {
  const json = await runOrThrow([Deno.execPath(), "doc", "--json", path], { cwd: ROOT });
  return JSON.parse(json).nodes[new URL(path, ROOT).href];
}
