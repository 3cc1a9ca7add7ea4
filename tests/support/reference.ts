/** The reference of a public module, from `deno doc --json`. */

import { mustRun } from "./commands.ts";
import { ROOT } from "./tree.ts";

/** Something with a doc comment: a symbol of the module, or a member of one. */
type Documented = ReturnType<typeof documented>;

export type Reference = Awaited<ReturnType<typeof readReference>>;

interface DocNode {
  readonly kind?: string;
  readonly name?: string;
  readonly location?: { readonly filename: string; readonly line: number };
  readonly jsDoc?: { readonly doc?: string; readonly tags?: readonly DocTag[] };
  readonly accessibility?: "private" | "protected" | "public";
  readonly isStatic?: boolean;
  readonly params?: readonly Parameter[];
  readonly functionDef?: { readonly params: readonly Parameter[] };
  readonly def?: { readonly [kind: string]: readonly DocNode[] } & {
    readonly params?: readonly Parameter[];
  };
}

interface DocTag {
  readonly kind: string;
  readonly name?: string;
  readonly doc?: string;
}

interface Parameter {
  readonly kind: string;
  readonly name?: string;
  readonly left?: Parameter;
  readonly arg?: Parameter;
}

export async function readReference(path: string) {
  const json = await mustRun([Deno.execPath(), "doc", "--json", path], { cwd: ROOT });
  const { nodes } = JSON.parse(json);
  const { module_doc, symbols } = nodes[new URL(path, ROOT).href];
  const all: Documented[] = [];
  for (const { name, declarations } of symbols) {
    for (const node of declarations as DocNode[]) {
      if (node.kind === "reference") {
        all.push({ ...documented(name, node, null), isReference: true });
      } else all.push(...describe(name, node));
    }
  }
  return {
    text: textOf(module_doc),
    all,
    /** The names of the types in its signatures that belong to the platform. */
    platformTypes: new Set(platformTypesIn(symbols)),
  };
}

/** A type that is neither declared nor imported has no resolution. */
function* platformTypesIn(value: unknown): Generator<string, void> {
  if (typeof value !== "object" || value === null) return;
  if ("typeName" in value && !("resolution" in value)) yield String(value.typeName);
  for (const each of Object.values(value)) yield* platformTypesIn(each);
}

/** A symbol and its members, without what users can't reach. */
function* describe(name: string, node: DocNode): Generator<Documented, void> {
  const { def = {} as NonNullable<DocNode["def"]>, kind } = node;
  const isCallable = kind === "function";
  yield documented(name, node, isCallable ? def.params ?? [] : null);
  for (const each of def["constructors"] ?? []) {
    if (isHidden(each)) continue;
    yield documented(`${name}.constructor`, each, each.params ?? []);
  }
  for (const each of [...def["methods"] ?? [], ...def["properties"] ?? []]) {
    if (isHidden(each)) continue;
    const isMember = kind === "class" && each.isStatic !== true;
    const isMethod = kind === "class" && each.kind === "method" && !each.name?.startsWith("[");
    const parameters = isMethod ? each.functionDef?.params ?? [] : null;
    yield documented(`${name}${isMember ? ".prototype" : ""}.${each.name}`, each, parameters);
  }
}

/** Whether this is no part of the interface: private, protected, internal, or behind its overloads. */
function isHidden({ accessibility, jsDoc, kind, params }: DocNode): boolean {
  const isOverloaded = kind === undefined && params !== undefined && jsDoc === undefined;
  const isInternal = jsDoc?.tags?.some((tag) => tag.kind === "internal") ?? false;
  return accessibility === "private" || accessibility === "protected" || isInternal || isOverloaded;
}

/**
 * @param name How a link names it: `Server`, `Server.prototype.close`, `Device.open`, `ServerOptions.timeout`.
 * @param parameters For what can be called: a function, a constructor or a method of a class; else `null`.
 */
function documented(
  name: string,
  { location, jsDoc }: DocNode,
  parameters: readonly Parameter[] | null,
) {
  const tags = jsDoc?.tags ?? [];
  return {
    name,
    /** `file:line` of its declaration, in this project. */
    location: `${location?.filename.replace(ROOT.href, "")}:${location?.line}`,
    /** All of its text, tags included; empty if it has none. */
    text: textOf(jsDoc),
    parameters: parameters && parameters.map(nameOf),
    documentedParameters: tags.flatMap((tag) => tag.kind === "param" ? tag.name ?? [] : []),
    hasThrows: tags.some((tag) => tag.kind === "throws"),
    /** Whether the module exports it from another public one, which documents it. */
    isReference: false as boolean,
  };
}

function textOf(jsDoc: DocNode["jsDoc"]): string {
  return [jsDoc?.doc, ...(jsDoc?.tags ?? []).map(({ doc }) => doc)].join("\n").trim();
}

function nameOf({ name, left, arg }: Parameter): string {
  const inner = left ?? arg;
  return inner === undefined ? name ?? "" : nameOf(inner);
}
