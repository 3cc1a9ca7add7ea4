/** The API reference: its completeness, and the targets of its links. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { type DocNode, type Parameter, readDoc } from "@degu/testing/doc_nodes.ts";
import { readEntries } from "@degu/internal/tools/packages.ts";
import { ROOT } from "@degu/testing/tree.ts";

/** Functions with parameters that don't throw errors of their own. Each entry must be needed. */
const THROWS_NOTHING = [
  "DeguError.constructor",
  "MessageBody.prototype.cancel",
  "ProtocolError.constructor",
  "Session.prototype.close",
  "describeArgumentError",
  "describeConnectionError",
  "isTimeout",
  "isTransient",
];

const references = new Map<string, Reference>();
/** The names of the functions, classes and constants that each entry exports. */
const values = new Map<string, readonly string[]>();
for (const path of (await readEntries()).values()) {
  references.set(path, await readReference(path));
  values.set(path, Object.keys(await import(new URL(path, ROOT).href)));
}

Deno.test("every public module has an example", () => {
  for (const [path, { text }] of references) assertMatch(text, /^```(ts|sh)$/m, path);
});

Deno.test("the comment of every public module links each function, class and constant of its own", () => {
  const ofBase = values.get("base.ts")!;
  const repeated = [ofBase, ...["client.ts", "server.ts"].map((path) => values.get(path)!)];
  for (const [path, { text }] of references) {
    // base has the errors and the classes of arguments.
    const otherNames = path === "mod.ts" ? repeated.flat() : path === "base.ts" ? [] : ofBase;
    const ownNames = new Set(values.get(path)).difference(new Set(otherNames));
    // A link to a name that Deno also has would lead to Deno's page.
    const missing = [...ownNames.difference(new Set(linksOf(text)))].filter((name) =>
      !(name in globalThis)
    );
    assertEquals(missing, [], path);
  }
});

Deno.test("base, client and server repeat no names of each other but errors, loggers, publicKey256 and Response", () => {
  const counts = new Map<string, number>();
  for (const path of ["base.ts", "client.ts", "server.ts"]) {
    for (const name of new Set(targetsOf(references.get(path)!))) {
      if (!name.includes(".")) counts.set(name, (counts.get(name) ?? 0) + 1);
    }
  }
  const repeated = [...counts].flatMap(([name, count]) => count > 1 ? name : []);
  // Without an import, `Response` would be the global class.
  const names = repeated.filter((name) => !name.endsWith("Error"));
  const allowed = ["LogDetails", "Logger", "Response", "publicKey256", "standardLogger"];
  assertEquals(names.toSorted(), allowed);
});

Deno.test("everything public has a doc comment", () => {
  for (const { name, location, text, isReference } of everything()) {
    assert(text !== "" || isReference, `${location}: ${name}`);
  }
});

Deno.test("the first sentence of a doc comment says more than the name, and mentions options", () => {
  const little = wordsOf("a an the of for to is one its");
  const problems = new Set<string>();
  for (const { name, location, text, isReference } of everything()) {
    if (isReference) continue;
    const first = text.split(/\.(?:\s|$)/)[0]!;
    const newWords = wordsOf(first).difference(wordsOf(name)).difference(little);
    if (newWords.size === 0 || /^(the )?options (of|for) /i.test(first)) {
      problems.add(`${location}: ${name}: ${first}`);
    }
  }
  assertEquals([...problems], []);
});

Deno.test("every parameter of a public function or method has its @param", () => {
  const problems = new Set<string>();
  for (const { name, location, parameters, documentedParameters } of everything()) {
    if (parameters === null) continue;
    const needed = parameters.filter((parameter) => !parameter.startsWith("_"));
    if (needed.join() === documentedParameters.join()) continue;
    problems.add(`${location}: ${name}(${needed}) has @param of ${documentedParameters}`);
  }
  assertEquals([...problems], []);
});

Deno.test("every public function or method with parameters documents its errors", () => {
  const silent = new Map<string, string>();
  for (const { name, location, parameters, hasThrows } of everything()) {
    if (parameters?.length && !hasThrows) silent.set(name, location);
  }
  assertEquals([...silent.keys()].toSorted(), THROWS_NOTHING, [...silent.values()].join(" "));
});

Deno.test("every link of a doc comment leads to a documented export", () => {
  const everywhere = new Set([...references.values()].flatMap(targetsOf));
  const problems = new Set<string>();
  for (const [path, reference] of references) {
    for (const { location, text } of [{ location: path, text: reference.text }, ...reference.all]) {
      for (const target of linksOf(text)) {
        // On the page of all symbols, a link leads to the symbol of Deno with this name.
        if (everywhere.has(target) && !(target in globalThis)) continue;
        problems.add(`${location}: {@linkcode ${target}}`);
      }
    }
  }
  assertEquals([...problems], []);
});

Deno.test("no platform type has the same name as an export to which a link would lead", () => {
  for (const [path, { all, platformTypes }] of references) {
    const problems = all.flatMap(({ name }) => platformTypes.has(name) ? name : []);
    assertEquals(problems, [], `${path}: write globalThis.${problems[0]}`);
  }
});

function* everything(): Generator<Reference["all"][number], void> {
  for (const { all } of references.values()) yield* all;
}

function targetsOf({ all }: Reference): string[] {
  return all.map(({ name }) => name);
}

/** Returns the words of a text or of a camelCase name, in lower case and singular. */
function wordsOf(text: string): Set<string> {
  const plainText = text.replace(/\{@\w+ ([^|}]+)[^}]*\}/g, "$1")
    .replace(/([a-z])([A-Z])/g, "$1 $2");
  return new Set(
    plainText.toLowerCase().match(/[a-z0-9]+/g)?.map((word) => word.replace(/s$/, "")),
  );
}

/** Returns the names that a comment links to, without links to URLs. */
function linksOf(text: string): string[] {
  const links = text.matchAll(/\{@link(?:code|plain)?\s+([^\s|}]+)[^}]*\}/g);
  return [...links].flatMap(([, target = ""]) => /^https?:/.test(target) ? [] : target);
}

/** Something with a doc comment: a symbol of the module, or a member of one. */
type Documented = ReturnType<typeof documented>;

type Reference = Awaited<ReturnType<typeof readReference>>;

/** Returns the reference of a public module, from `deno doc --json`. */
async function readReference(path: string) {
  const { module_doc, symbols } = await readDoc(path);
  const entries: Documented[] = [];
  for (const { name, declarations } of symbols) {
    for (const node of declarations) {
      if (node.kind === "reference") {
        entries.push({ ...documented(name, node, null), isReference: true });
      } else if (!isImplementation(node, declarations)) entries.push(...describe(name, node));
    }
  }
  return {
    text: textOf(module_doc),
    all: entries,
    /** The names of platform types in the signatures. */
    platformTypes: new Set(platformTypesIn(symbols)),
  };
}

/** Whether this is the implementation of an overloaded function. */
function isImplementation({ kind, def }: DocNode, declarations: readonly DocNode[]): boolean {
  const isFunction = kind === "function" && def?.hasBody === true;
  return isFunction && declarations.some(({ def }) => def?.hasBody !== true);
}

/** Finds types that are neither declared nor imported, which have no resolution. */
function* platformTypesIn(value: unknown): Generator<string, void> {
  if (typeof value !== "object" || value === null) return;
  if ("typeName" in value && !("resolution" in value)) yield String(value.typeName);
  for (const property of Object.values(value)) yield* platformTypesIn(property);
}

/** Yields a symbol and its public members. */
function* describe(name: string, node: DocNode): Generator<Documented, void> {
  const { def = {} as NonNullable<DocNode["def"]>, kind } = node;
  const isCallable = kind === "function";
  yield documented(name, node, isCallable ? def.params ?? [] : null);
  for (const constructorDef of def["constructors"] ?? []) {
    if (isHidden(constructorDef)) continue;
    yield documented(`${name}.constructor`, constructorDef, constructorDef.params ?? []);
  }
  const methods: readonly DocNode[] = def["methods"] ?? [];
  for (const member of [...methods, ...def["properties"] ?? []]) {
    const isOverloaded = member.functionDef?.hasBody === true &&
      methods.some(({ name, functionDef }) => name === member.name && !functionDef?.hasBody);
    if (isHidden(member) || isOverloaded) continue;
    const isMember = kind === "class" && member.isStatic !== true;
    const isMethod = kind === "class" && member.kind === "method" && !member.name?.startsWith("[");
    const parameters = isMethod ? member.functionDef?.params ?? [] : null;
    yield documented(`${name}${isMember ? ".prototype" : ""}.${member.name}`, member, parameters);
  }
}

/**
 * Whether this is not part of the API: private, protected, internal, or the implementation of
 * overloads.
 */
function isHidden({ accessibility, jsDoc, kind, params }: DocNode): boolean {
  const isOverloaded = kind === undefined && params !== undefined && jsDoc === undefined;
  const isInternal = jsDoc?.tags?.some((tag) => tag.kind === "internal") ?? false;
  return accessibility === "private" || accessibility === "protected" || isInternal || isOverloaded;
}

/**
 * @param name Its name in links: `Server`, `Server.prototype.close`, `Device.open`,
 * `ServerOptions.timeout`.
 *
 * @param parameters The parameters of a function, a constructor or a method of a class; otherwise
 * `null`.
 */
function documented(
  name: string,
  { location, jsDoc }: DocNode,
  parameters: readonly Parameter[] | null,
) {
  const tags = jsDoc?.tags ?? [];
  return {
    name,
    /** The `file:line` of its declaration in this project. */
    location: `${location?.filename.replace(ROOT.href, "")}:${location?.line}`,
    /** The text of the comment, including tags; empty without a comment. */
    text: textOf(jsDoc),
    parameters: parameters && parameters.map(nameOf),
    documentedParameters: tags.flatMap((tag) => tag.kind === "param" ? tag.name ?? [] : []),
    hasThrows: tags.some((tag) => tag.kind === "throws"),
    /** Whether the module re-exports it from another public module, which documents it. */
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
